//! Sockets, and what went wrong with TCP and UDP.

use crate::host::read::network::{Columns, sockstat};
use crate::host::scraper::{Scraper, Turn};
use crate::host::source::Trouble;
use crate::signal::names::host as names;
use crate::signal::series::Metric;

/// Reads sockets.
pub struct Sockets;

/// Whether it is in `sockstat6`, the line, the word.
type Place = (bool, &'static str, &'static str);

/// Kinds of sockets: the word, and the places that are added up.
const KINDS: [(&str, &[Place]); 6] = [
    ("used", &[(false, "sockets:", "used")]),
    ("tcp_inuse", &[(false, "TCP:", "inuse"), (true, "TCP6:", "inuse")]),
    ("tcp_orphan", &[(false, "TCP:", "orphan")]),
    ("tcp_tw", &[(false, "TCP:", "tw")]),
    ("tcp_alloc", &[(false, "TCP:", "alloc")]),
    ("udp_inuse", &[(false, "UDP:", "inuse"), (true, "UDP6:", "inuse")]),
];

const SNMP: [(&str, &Metric); 3] = [
    ("RetransSegs", &names::TCP_RETRANSMITS),
    ("OutRsts", &names::TCP_RESETS),
    ("AttemptFails", &names::TCP_FAILED_OPENS),
];

const NETSTAT: [(&str, &Metric); 5] = [
    ("ListenOverflows", &names::TCP_LISTEN_OVERFLOWS),
    ("ListenDrops", &names::TCP_LISTEN_DROPS),
    ("TCPTimeouts", &names::TCP_TIMEOUTS),
    ("TCPSynRetrans", &names::TCP_SYN_RETRANSMITS),
    ("TCPRcvQDrop", &names::TCP_RCVQ_DROPS),
];

impl Sockets {
    fn sockstat(turn: &mut Turn<'_>) {
        let four = turn.source.proc("net/sockstat").map(<[u8]>::to_vec);
        let six = turn.source.proc("net/sockstat6").map(<[u8]>::to_vec);
        let Some(four) = turn.tell(four) else { return };
        let six = turn.optional(six).unwrap_or_default();
        for (kind, places) in KINDS {
            let values = places.iter().filter_map(|(is_six, protocol, key)| {
                sockstat(if *is_six { &six } else { &four }, protocol, key)
            });
            if let Some(count) = values.reduce(|sum, value| sum + value) {
                turn.points.whole(&names::SOCKETS, &[("kind", kind)], count);
            }
        }
        for (protocol, line) in [("tcp", "TCP:"), ("udp", "UDP:")] {
            if let Some(pages) = sockstat(&four, line, "mem") {
                let bytes = pages.saturating_mul(procfs::page_size());
                turn.points.whole(&names::SOCKETS_MEMORY, &[("protocol", protocol)], bytes);
            }
        }
    }
}

impl Scraper for Sockets {
    fn scrape(&mut self, turn: &mut Turn<'_>) -> Result<(), Trouble> {
        Self::sockstat(turn);
        let columns = SNMP.map(|(column, _)| column);
        let snmp = turn.source.proc("net/snmp").map(|bytes| {
            let columns_of = Columns::new(bytes);
            let udp = columns_of.get("Udp:", ["InErrors", "RcvbufErrors", "SndbufErrors"]);
            (columns_of.get("Tcp:", columns), udp)
        });
        if let Some((tcp, [errors, received, sent])) = turn.tell(snmp) {
            for ((_, metric), value) in SNMP.into_iter().zip(tcp) {
                if let Some(value) = value {
                    turn.points.whole(metric, &[], value);
                }
            }
            let udp = [
                (&names::UDP_ERRORS, "receive", errors),
                (&names::UDP_BUFFER_ERRORS, "receive", received),
                (&names::UDP_BUFFER_ERRORS, "transmit", sent),
            ];
            for (metric, direction, value) in udp {
                if let Some(value) = value {
                    turn.points.whole(metric, &[("direction", direction)], value);
                }
            }
        }
        let columns = NETSTAT.map(|(column, _)| column);
        let netstat = turn.source.proc("net/netstat");
        let netstat = netstat.map(|bytes| Columns::new(bytes).get("TcpExt:", columns));
        for ((_, metric), value) in NETSTAT.into_iter().zip(turn.tell(netstat).unwrap_or_default())
        {
            if let Some(value) = value {
                turn.points.whole(metric, &[], value);
            }
        }
        Ok(())
    }
}
