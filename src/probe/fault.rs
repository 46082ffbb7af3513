//! What the network's faults mean for a target: its own failure, or ours.

use std::io;

use crate::net::dial::{Fault, fault_of};
use crate::net::resolve::{ResolveError, ResolveFault};
use crate::net::tls::{TlsError, TlsFault, handshake_error, is_tls_error};
use crate::probe::trace::Stop;
use crate::signal::outcome::{Phase, Reason, Skip};

impl From<ResolveError> for Stop {
    fn from(error: ResolveError) -> Self {
        let reason = match error.fault {
            ResolveFault::Nxdomain => Reason::DnsNxdomain,
            ResolveFault::Servfail => Reason::DnsServfail,
            ResolveFault::Timeout => Reason::DnsTimeout,
            ResolveFault::Refused => Reason::DnsRefused,
            ResolveFault::NoAddress => Reason::NoAddress,
        };
        Stop::down(reason, error.detail)
    }
}

impl From<TlsError> for Stop {
    fn from(error: TlsError) -> Self {
        let reason = match error.fault {
            TlsFault::Handshake => Reason::TlsHandshake,
            TlsFault::Expired => Reason::TlsExpired,
            TlsFault::NotYetValid => Reason::TlsNotYetValid,
            TlsFault::Untrusted => Reason::TlsUntrusted,
            TlsFault::NameMismatch => Reason::TlsNameMismatch,
            TlsFault::Version => Reason::TlsVersion,
            TlsFault::NotJudged => return Stop::Skip(Skip::Internal, error.detail),
        };
        Stop::down(reason, error.detail)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        if is_tls_error(&error) {
            return handshake_error(&error).into();
        }
        let detail = error.to_string();
        let reason = match fault_of(&error) {
            Fault::Refused => Reason::ConnectionRefused,
            Fault::Reset => Reason::ConnectionReset,
            Fault::Timeout => Reason::ConnectionTimeout,
            Fault::NetworkUnreachable => Reason::NetworkUnreachable,
            Fault::HostUnreachable => Reason::HostUnreachable,
            Fault::Eof => Reason::Eof,
            Fault::NoDescriptor => return Stop::Skip(Skip::NoDescriptor, detail),
            Fault::NoBuffer => return Stop::Skip(Skip::NoBuffer, detail),
            Fault::NoSocket => return Stop::Skip(Skip::NoSocket, detail),
            Fault::Other => Reason::Unclassified,
        };
        Stop::down(reason, detail)
    }
}

/// What running out of time in a phase means.
pub(super) fn timed_out(phase: Phase) -> Reason {
    match phase {
        Phase::Resolve => Reason::DnsTimeout,
        Phase::Connect | Phase::Setup => Reason::ConnectionTimeout,
        Phase::Tls => Reason::TlsHandshake,
        Phase::Processing | Phase::Transfer => Reason::ReadTimeout,
        Phase::Rtt => Reason::IcmpTimeout,
    }
}
