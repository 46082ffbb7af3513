//! A name server of the test's own: names are answered from a list, all others do not exist.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What the server does with a name.
#[derive(Clone, Debug)]
pub enum Answer {
    /// These addresses.
    Addresses(Vec<IpAddr>),
    /// This name, where an address was asked.
    Name(&'static str),
    /// This response code (2 SERVFAIL, 5 REFUSED).
    Code(u8),
    /// Nothing at all.
    Silence,
}

/// A running name server.
pub struct Dns {
    pub address: SocketAddr,
    stop: Arc<AtomicBool>,
}

impl Dns {
    pub fn new(names: impl IntoIterator<Item = (&'static str, Answer)>) -> Self {
        let names: BTreeMap<String, Answer> =
            names.into_iter().map(|(n, a)| (n.to_owned(), a)).collect();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let address = socket.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                let mut buffer = [0; 1500];
                while !stop.load(Ordering::SeqCst) {
                    if let Ok((length, peer)) = socket.recv_from(&mut buffer)
                        && let Some(answer) = answer(&buffer[..length], &names)
                    {
                        let _ = socket.send_to(&answer, peer);
                    }
                }
            }
        });
        Self { address, stop }
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

fn answer(query: &[u8], names: &BTreeMap<String, Answer>) -> Option<Vec<u8>> {
    let mut at = 12;
    let mut labels = Vec::new();
    while *query.get(at)? > 0 {
        let length = usize::from(query[at]);
        labels.push(String::from_utf8_lossy(query.get(at + 1..at + 1 + length)?).to_lowercase());
        at += 1 + length;
    }
    let question = query.get(12..at + 5)?;
    let kind = u16::from_be_bytes([question[question.len() - 4], question[question.len() - 3]]);
    let (code, addresses) = match names.get(&labels.join(".")) {
        None => (3, Vec::new()),
        Some(Answer::Silence) => return None,
        Some(Answer::Code(code)) => (*code, Vec::new()),
        Some(Answer::Addresses(list)) => (0, list.clone()),
        Some(Answer::Name(_)) => (0, Vec::new()),
    };
    let name = match names.get(&labels.join(".")) {
        Some(Answer::Name(name)) if kind == 12 => {
            let labels =
                name.split('.').map(|label| [&[label.len() as u8], label.as_bytes()].concat());
            Some(labels.collect::<Vec<_>>().concat())
        }
        _ => None,
    };
    let wanted: Vec<Vec<u8>> = addresses
        .iter()
        .filter_map(|ip| match (ip, kind) {
            (IpAddr::V4(ip), 1) => Some(ip.octets().to_vec()),
            (IpAddr::V6(ip), 28) => Some(ip.octets().to_vec()),
            _ => None,
        })
        .chain(name)
        .collect();
    let mut out = query[..2].to_vec();
    out.extend([0x81, 0x80 | code, 0, 1, 0, wanted.len() as u8, 0, 0, 0, 0]);
    out.extend_from_slice(question);
    for data in wanted {
        out.extend([0xc0, 12]);
        out.extend(kind.to_be_bytes());
        out.extend([0, 1, 0, 0, 0, 60]);
        out.extend((data.len() as u16).to_be_bytes());
        out.extend(data);
    }
    Some(out)
}
