//! `/proc/net/*`: interfaces, protocols, sockets, queues, connection tracking.

use crate::host::scan::{hex, lines, number, words};

/// The counters of one direction of an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
    /// Errors.
    pub errors: u64,
    /// Dropped packets; received ones with those that the device missed.
    pub dropped: u64,
    /// Errors of the device's queue.
    pub fifo: u64,
    /// Received: framing errors of all kinds. Transmitted: collisions.
    pub frame_or_collisions: u64,
    /// Transmitted: carrier errors of all kinds.
    pub carrier: u64,
}

/// An interface. Its name may be any bytes but `/`, `:` and blanks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface<'a> {
    /// The name.
    pub name: &'a [u8],
    /// What came in.
    pub received: Traffic,
    /// What went out.
    pub transmitted: Traffic,
}

/// Reads `/proc/net/dev`.
pub fn interfaces(bytes: &[u8]) -> impl Iterator<Item = Interface<'_>> {
    lines(bytes).skip(2).filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let mut numbers = words(&line[colon + 1..]).map_while(number);
        let mut eight = || -> Option<[u64; 8]> {
            let mut fields = [0; 8];
            for field in &mut fields {
                *field = numbers.next()?;
            }
            Some(fields)
        };
        let [bytes, packets, errors, dropped, fifo, frame, _, _] = eight()?;
        let received = Traffic {
            bytes,
            packets,
            errors,
            dropped,
            fifo,
            frame_or_collisions: frame,
            carrier: 0,
        };
        let [bytes, packets, errors, dropped, fifo, collisions, carrier, _] = eight()?;
        let transmitted = Traffic {
            bytes,
            packets,
            errors,
            dropped,
            fifo,
            frame_or_collisions: collisions,
            carrier,
        };
        Some(Interface { name: line[..colon].trim_ascii(), received, transmitted })
    })
}

/// Columns of `/proc/net/snmp` and `/proc/net/netstat` by name: pairs of lines, names and values,
/// which begin with the protocol.
pub struct Columns<'a>(&'a [u8]);

impl<'a> Columns<'a> {
    /// Columns of a file.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The values of columns of a protocol (`Tcp:`), each where there is one.
    #[must_use]
    pub fn get<const N: usize>(&self, protocol: &str, names: [&str; N]) -> [Option<u64>; N] {
        let mut found = [None; N];
        let mut rows = lines(self.0).filter(|line| words(line).next() == Some(protocol.as_bytes()));
        let (Some(heads), Some(values)) = (rows.next(), rows.next()) else { return found };
        for (head, value) in words(heads).zip(words(values)).skip(1) {
            if let Some(at) = names.iter().position(|name| name.as_bytes() == head) {
                found[at] = number(value);
            }
        }
        found
    }
}

/// A value of `/proc/net/sockstat`: the number behind a word in the line of a protocol.
#[must_use]
pub fn sockstat(bytes: &[u8], protocol: &str, key: &str) -> Option<u64> {
    let mut rows = lines(bytes).map(words);
    let mut row = rows.find_map(|mut row| (row.next()? == protocol.as_bytes()).then_some(row))?;
    while let Some(word) = row.next() {
        let value = row.next()?;
        if word == key.as_bytes() {
            return number(value);
        }
    }
    None
}

/// A CPU's row of `/proc/net/softnet_stat`: dropped, and squeezed. Both have 32 bits.
pub fn softnet(bytes: &[u8]) -> impl Iterator<Item = (u64, u64)> {
    lines(bytes).filter_map(|line| {
        let mut words = words(line).skip(1);
        Some((hex(words.next()?)?, hex(words.next()?)?))
    })
}

/// Columns of `/proc/net/stat/nf_conntrack`, summed over CPUs. Which columns there are depends on
/// the kernel.
#[must_use]
pub fn conntrack<const N: usize>(bytes: &[u8], names: [&str; N]) -> [Option<u64>; N] {
    let mut found = [None; N];
    let mut rows = lines(bytes);
    let Some(heads) = rows.next() else { return found };
    let columns: Vec<Option<usize>> =
        words(heads).map(|head| names.iter().position(|name| name.as_bytes() == head)).collect();
    for row in rows {
        for (column, value) in columns.iter().zip(words(row)) {
            if let (Some(at), Some(value)) = (*column, hex(value)) {
                found[at] = Some(found[at].unwrap_or(0) + value);
            }
        }
    }
    found
}

/// The names of TCP's states as the Collector writes them, by the kernel's numbers.
pub const TCP_STATES: [(usize, &str); 11] = [
    (1, "ESTABLISHED"),
    (2, "SYN_SENT"),
    (SYN_RECEIVED, "SYN_RECEIVED"),
    (4, "FIN_WAIT_1"),
    (5, "FIN_WAIT_2"),
    (6, "TIME_WAIT"),
    (7, "CLOSE"),
    (8, "CLOSE_WAIT"),
    (9, "LAST_ACK"),
    (10, "LISTEN"),
    (11, "CLOSING"),
];
/// The kernel's number for half-open connections.
pub const SYN_RECEIVED: usize = 3;
/// Its number for requests that are being answered and have no socket yet.
pub const NEW_SYN_RECEIVED: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    /// Edge case 9: names of any bytes, and one bad line that hides no other.
    #[test]
    fn odd_interfaces() {
        let text = b"Inter-|   Receive\n face |bytes packets\n\
              lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n\
            x\xffy:100 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n\
            broken: 1 2 3\n\
            \"q\": 5 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n";
        let found: Vec<Interface<'_>> = interfaces(text).collect();
        let names: Vec<&[u8]> = found.iter().map(|i| i.name).collect();
        let expected: [&[u8]; 3] = [b"lo", b"x\xffy", b"\"q\""];
        assert_eq!(names, expected);
        let lo = &found[0];
        assert_eq!((lo.received.bytes, lo.received.dropped, lo.received.fifo), (1, 4, 5));
        assert_eq!((lo.transmitted.bytes, lo.transmitted.carrier), (9, 15));
        assert_eq!(lo.transmitted.frame_or_collisions, 14);
    }

    #[test]
    fn columns_by_name() {
        let text = b"Ip: Forwarding DefaultTTL\nIp: 1 64\nTcp: MaxConn CurrEstab RetransSegs\n\
            Tcp: -1 4 227\nUdp: InErrors\n";
        let columns = Columns::new(text);
        let tcp = columns.get("Tcp:", ["RetransSegs", "CurrEstab", "OutRsts", "MaxConn"]);
        assert_eq!(tcp, [Some(227), Some(4), None, None]);
        assert_eq!(columns.get("Udp:", ["InErrors"]), [None]);
    }

    #[test]
    fn sockets_queues_and_tracking() {
        let text =
            b"sockets: used 229\nTCP: inuse 4 orphan 0 tw 4 alloc 17 mem 1\nUDP: inuse 0 mem\n";
        assert_eq!(sockstat(text, "TCP:", "alloc"), Some(17));
        assert_eq!((sockstat(text, "UDP:", "mem"), sockstat(text, "RAW:", "x")), (None, None));
        let text = b"00 00000029 00000001 0\n00 ffffffff 0000000a\nzz\n";
        let rows: Vec<(u64, u64)> = softnet(text).collect();
        assert_eq!(rows, [(41, 1), (4_294_967_295, 10)]);
        let text =
            b"entries searched drop early_drop\n00000021 0 0000000a 1\n00000021 0 00000001 0\n";
        assert_eq!(conntrack(text, ["drop", "early_drop", "x"]), [Some(11), Some(1), None]);
    }
}
