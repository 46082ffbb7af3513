//! Judges the certificates that a peer has presented. Its work is bounded by their number; it is done by the workers,
//! because a chain that is made for it still takes some 50 ms.

use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{self, CertificateError};

use super::{TlsError, TlsFault, Verifier};
use crate::net::x509::{self, Facts, Link};

/// The facts of certificates, and the verdict.
pub(super) struct Judged {
    pub(super) leaf: Option<Facts>,
    pub(super) earliest_expiry: Option<i64>,
    pub(super) chain_expiry: Option<i64>,
    pub(super) verdict: Result<(), TlsError>,
}

/// Reads and judges what was presented.
pub(super) fn judge(
    presented: &[CertificateDer<'_>],
    verifier: Option<&Verifier>,
    name: &ServerName<'_>,
) -> Judged {
    let links: Vec<Link> = presented.iter().filter_map(|der| x509::link(der)).collect();
    let verdict = verifier.map_or(Ok(()), |verifier| verify(presented, verifier, name));
    let chain_expiry = match (&verdict, verifier) {
        (Ok(()), Some((_, roots))) => x509::chain_expiry(&links, &roots.links),
        _ => None,
    };
    Judged {
        leaf: presented.iter().find_map(|der| x509::facts(der)),
        earliest_expiry: links.iter().map(Link::not_after).min(),
        chain_expiry,
        verdict,
    }
}

fn verify(
    presented: &[CertificateDer<'_>],
    (verifier, roots): &Verifier,
    name: &ServerName<'_>,
) -> Result<(), TlsError> {
    let Some((leaf, others)) = presented.split_first() else {
        return Err(TlsError {
            fault: TlsFault::Untrusted,
            detail: "no certificate was presented".into(),
        });
    };
    let now = UnixTime::now();
    let error = match verifier.verify_server_cert(leaf, others, name, &[], now) {
        Ok(_) => return Ok(()),
        Err(error) => error,
    };
    // A certificate that the user trusts by itself (self-signed, in `ca_file`) is trusted, as Go
    // does; the library refuses it when it is marked as an authority.
    if roots.given.iter().any(|given| given == leaf) {
        return verify_given(leaf, name, now);
    }
    Err(certificate_error(&error, leaf, now))
}

fn verify_given(
    leaf: &CertificateDer<'_>,
    name: &ServerName<'_>,
    now: UnixTime,
) -> Result<(), TlsError> {
    if let Some(error) = validity_error(leaf, now) {
        return Err(error);
    }
    let parsed =
        ParsedCertificate::try_from(leaf).map_err(|error| certificate_error(&error, leaf, now))?;
    rustls::client::verify_server_name(&parsed, name)
        .map_err(|error| certificate_error(&error, leaf, now))
}

fn validity_error(leaf: &CertificateDer<'_>, now: UnixTime) -> Option<TlsError> {
    let facts = x509::facts(leaf)?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let date = |seconds| {
        jiff::Timestamp::from_second(seconds)
            .map_or_else(|_| seconds.to_string(), |t| t.to_string())
    };
    if facts.not_after < now {
        let detail = format!("the certificate expired on {}", date(facts.not_after));
        return Some(TlsError { fault: TlsFault::Expired, detail });
    }
    if facts.not_before > now {
        let detail = format!("the certificate is valid from {}", date(facts.not_before));
        return Some(TlsError { fault: TlsFault::NotYetValid, detail });
    }
    None
}

/// Names why a certificate is refused. The library stops at its first finding; the leaf's dates are
/// looked at first, because they are what its owner has to mend.
fn certificate_error(error: &rustls::Error, leaf: &CertificateDer<'_>, now: UnixTime) -> TlsError {
    if let Some(error) = validity_error(leaf, now) {
        return error;
    }
    let detail = error.to_string();
    let rustls::Error::InvalidCertificate(kind) = error else {
        return TlsError { fault: TlsFault::Untrusted, detail };
    };
    let fault = match kind {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => TlsFault::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            TlsFault::NotYetValid
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            TlsFault::NameMismatch
        }
        _ => TlsFault::Untrusted,
    };
    TlsError { fault, detail: detail.trim_start_matches("invalid peer certificate: ").to_owned() }
}
