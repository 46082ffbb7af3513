//! What a probe found: up, or down with a reason from a closed list and the phase where it happened.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use crate::base::clock::Timestamp;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal, $plain:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $(#[doc = $plain] $variant,)* }

        impl $name {
            /// All of them, in the order of the table.
            pub const ALL: &[$name] = &[$($name::$variant,)*];

            /// The word as it is published in labels, logs and JSON.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }

            /// The same in plain words, for people.
            #[must_use]
            pub fn plain(self) -> &'static str {
                match self { $($name::$variant => $plain,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(self.word()) }
        }
    };
}

words! {
    /// Why a target is down: a closed list.
    Reason {
        DnsNxdomain = "dns_nxdomain", "the name does not exist";
        DnsServfail = "dns_servfail", "the name server could not answer";
        DnsTimeout = "dns_timeout", "no name server answered in time";
        DnsRefused = "dns_refused", "the name server refused the question, or cannot be reached";
        NoAddress = "no_address", "the name has no address of the wanted family";
        NetworkUnreachable = "network_unreachable", "there is no route to the network";
        HostUnreachable = "host_unreachable", "the host cannot be reached";
        ConnectionRefused = "connection_refused", "nothing listens on the port";
        ConnectionReset = "connection_reset", "the other side cut the connection";
        ConnectionTimeout = "connection_timeout", "nobody answered the connection attempt in time";
        TlsHandshake = "tls_handshake", "the TLS handshake failed";
        TlsExpired = "tls_expired", "the certificate has expired";
        TlsNotYetValid = "tls_not_yet_valid", "the certificate is not valid yet";
        TlsUntrusted = "tls_untrusted", "the certificate is not signed by anyone trusted";
        TlsNameMismatch = "tls_name_mismatch", "the certificate is for another name";
        TlsVersion = "tls_version", "no TLS version is spoken by both sides";
        TlsMissing = "tls_missing", "the answer came without TLS, which the module demands";
        TlsUnwanted = "tls_unwanted", "the answer came over TLS, which the module forbids";
        HttpStatus = "http_status", "the status code is not one that counts as up";
        HttpVersion = "http_version", "the HTTP version is not one that counts as up";
        HttpProtocol = "http_protocol", "the answer is not proper HTTP";
        RedirectRefused = "redirect_refused", "a redirect leads where none may lead";
        TooManyRedirects = "too_many_redirects", "the redirects do not end";
        HeaderMismatch = "header_mismatch", "a header rule failed";
        BodyMismatch = "body_mismatch", "a body rule failed";
        BodyTooLarge = "body_too_large", "the body is larger than its limit";
        JsonMismatch = "json_mismatch", "a JSON rule failed";
        RuleTimeout = "rule_timeout", "the rules could not be checked in time";
        ReadTimeout = "read_timeout", "the answer did not come in time";
        Eof = "eof", "the other side closed before it had answered";
        UnexpectedResponse = "unexpected_response", "the answer is not the expected one";
        IcmpTimeout = "icmp_timeout", "no echo reply came in time";
        IcmpUnreachable = "icmp_unreachable", "a router or the host said: unreachable";
        IcmpTtlExceeded = "icmp_ttl_exceeded", "a router said: too many hops";
        GrpcStatus = "grpc_status", "the call ended with a status that is not OK";
        NotServing = "not_serving", "the service says that it is not serving";
        Unclassified = "unclassified", "an error without a name of its own: please report it";
    }
}

words! {
    /// The part of an attempt in which something happened.
    Phase {
        Resolve = "resolve", "looking up the name";
        Connect = "connect", "connecting";
        Tls = "tls", "the TLS handshake";
        Processing = "processing", "waiting for the answer";
        Transfer = "transfer", "reading the answer";
        Setup = "setup", "preparing the socket";
        Rtt = "rtt", "the round trip";
    }
}

words! {
    /// Why a slot was skipped: our own failures, never the target's.
    Skip {
        Overload = "overload", "too much was due at once";
        NoDescriptor = "no_descriptor", "no file descriptor was free";
        NoBuffer = "no_buffer", "the kernel had no room: its memory, or its neighbour table";
        NoSocket = "no_socket", "the socket could not be opened";
        NoCredentials = "no_credentials", "a file with credentials could not be read";
        Suspended = "suspended", "the machine or the process was suspended";
        Paused = "paused", "probing was paused";
        Internal = "internal", "a fault of ours: please report it";
    }
}

words! {
    /// The kind of a slot or attempt.
    Kind {
        Scheduled = "scheduled", "a slot of the schedule";
        First = "first", "the extra slot of a target without a fresh state";
        Confirm = "confirm", "a re-probe after a failure";
    }
}

/// Whether a target is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It answered as it should.
    Up,
    /// It did not.
    Down {
        /// Why.
        reason: Reason,
        /// In which phase.
        phase: Phase,
    },
}

impl Verdict {
    /// Whether it is up.
    #[must_use]
    pub fn is_up(self) -> bool {
        self == Verdict::Up
    }
}

/// How a slot ended: exactly one of these.
#[derive(Clone, Debug)]
pub enum SlotResult {
    /// An attempt was made and found this.
    Outcome(Box<Outcome>),
    /// No attempt was made, or none that says anything about the target.
    Skipped(Skip, String),
    /// The attempt was cut off: shutdown, or the target went away.
    Cancelled,
}

/// What an attempt found.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Up or down.
    pub verdict: Verdict,
    /// The particulars in plain words, bounded; text of a target may be in it.
    pub detail: Cow<'static, str>,
    /// When the attempt began.
    pub started: Timestamp,
    /// The time that the whole attempt took.
    pub duration: Duration,
    /// The time of each phase that was completed, in order.
    pub phases: Phases,
    /// How long the name lookup took, once it was reached.
    pub lookup: Option<Duration>,
    /// The address that was tried.
    pub address: Option<IpAddr>,
    /// Whether a regular expression decided; `None` where none was reached.
    pub failed_due_to_regex: Option<bool>,
    /// What HTTP said.
    pub http: Option<Http>,
    /// What TLS showed, also when verification failed.
    pub tls: Option<Box<Tls>>,
    /// What ICMP said.
    pub icmp: Option<Icmp>,
}

/// Durations by phase, in the order in which they happened; a phase that happens again adds up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Phases(Vec<(Phase, Duration)>);

impl Phases {
    /// Adds time to a phase.
    pub fn add(&mut self, phase: Phase, time: Duration) {
        match self.0.iter_mut().find(|(have, _)| *have == phase) {
            Some((_, sum)) => *sum += time,
            None => self.0.push((phase, time)),
        }
    }

    /// Phases and their times.
    pub fn iter(&self) -> impl Iterator<Item = (Phase, Duration)> + '_ {
        self.0.iter().copied()
    }

    /// The time of one phase.
    #[must_use]
    pub fn get(&self, phase: Phase) -> Option<Duration> {
        self.iter().find(|(have, _)| *have == phase).map(|(_, time)| time)
    }
}

/// What HTTP said; zeros where there was no response, as blackbox_exporter has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Http {
    /// The status code of the last response; 0: none.
    pub status: u16,
    /// 1.0, 1.1, 2; 0: none.
    pub version: f64,
    /// How many redirects were seen.
    pub redirects: u32,
    /// Whether the last response came over TLS.
    pub ssl: bool,
    /// `Content-Length` of the last response; -1 unknown, 0 none.
    pub content_length: i64,
    /// Bytes read of the last body.
    pub body_length: u64,
    /// `Last-Modified` of the last response, in seconds since 1970.
    pub last_modified: Option<i64>,
}

/// What TLS showed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tls {
    /// `TLS 1.2` or `TLS 1.3`; empty when the handshake did not get that far.
    pub version: String,
    /// The cipher suite in the spelling of IANA and Go; empty as above.
    pub cipher: String,
    /// The earliest end of validity among the presented certificates, in seconds since 1970.
    pub earliest_expiry: i64,
    /// The best verified chain's earliest end of validity; `None` when nothing was verified.
    pub chain_expiry: Option<i64>,
    /// SHA-256 of the leaf, lower-case hex.
    pub fingerprint_sha256: String,
    /// The leaf's subject, as Go prints it.
    pub subject: String,
    /// The leaf's issuer, as Go prints it.
    pub issuer: String,
    /// The leaf's DNS names, with commas.
    pub subject_alternative: String,
    /// The leaf's serial number, lower-case hex, two digits a byte.
    pub serial_number: String,
    /// The leaf's own end of validity, in seconds since 1970.
    pub not_after: i64,
    /// The leaf's begin of validity, in seconds since 1970.
    pub not_before: i64,
}

/// What ICMP said.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Icmp {
    /// TTL or hop limit of the reply, where the socket shows it.
    pub reply_hop_limit: Option<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_unique_and_snake_case() {
        let mut words: Vec<&str> = Reason::ALL.iter().map(|r| r.word()).collect();
        words.extend(Skip::ALL.iter().map(|s| s.word()));
        let count = words.len();
        assert!(words.iter().all(|w| w.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), count);
    }

    #[test]
    fn phases_add_up_in_order() {
        let mut phases = Phases::default();
        phases.add(Phase::Connect, Duration::from_millis(1));
        phases.add(Phase::Tls, Duration::from_millis(2));
        phases.add(Phase::Connect, Duration::from_millis(3));
        let list: Vec<_> = phases.iter().collect();
        assert_eq!(
            list,
            [(Phase::Connect, Duration::from_millis(4)), (Phase::Tls, Duration::from_millis(2))]
        );
    }
}
