//! Facts of certificates, read from their DER whether they are trusted or not, in the spelling of
//! Go's standard library, because dashboards of blackbox_exporter show it.

use std::collections::HashMap;
use std::fmt::Write as _;

use crate::base::text::foreign;
use ring::digest;
use x509_parser::prelude::{FromDer as _, GeneralName, ParsedExtension, X509Certificate, X509Name};

/// Facts of one certificate. Whoever owns it has written the texts: they are sanitised, and at most 1 KiB long.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// SHA-256 of the DER, lower-case hex.
    pub fingerprint_sha256: String,
    /// The subject, as Go prints it.
    pub subject: String,
    /// The issuer, as Go prints it.
    pub issuer: String,
    /// DNS names, separated by commas.
    pub dns_names: String,
    /// The serial number, lower-case hex, two digits a byte.
    pub serial_number: String,
    /// Begin of validity, in seconds since 1970.
    pub not_before: i64,
    /// End of validity, in seconds since 1970.
    pub not_after: i64,
}

/// What is needed to follow a chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    subject: Vec<u8>,
    issuer: Vec<u8>,
    not_after: i64,
}

impl Link {
    /// End of validity, in seconds since 1970.
    #[must_use]
    pub fn not_after(&self) -> i64 {
        self.not_after
    }
}

/// Reads the facts of a certificate; `None` when it is no certificate.
#[must_use]
pub fn facts(der: &[u8]) -> Option<Facts> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let names =
        certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => Some(names),
            _ => None,
        });
    let dns_names: Vec<&str> = names
        .iter()
        .flat_map(|names| &names.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(*name),
            _ => None,
        })
        .collect();
    let serial = certificate.raw_serial();
    let first = serial.iter().position(|byte| *byte != 0).unwrap_or(serial.len());
    Some(Facts {
        fingerprint_sha256: hex(digest::digest(&digest::SHA256, der).as_ref()),
        subject: foreign(&name(certificate.subject())),
        issuer: foreign(&name(certificate.issuer())),
        dns_names: foreign(&dns_names.join(",")),
        serial_number: foreign(&hex(&serial[first..])),
        not_before: certificate.validity().not_before.timestamp(),
        not_after: certificate.validity().not_after.timestamp(),
    })
}

/// Reads what [`chain_expiry`] needs.
#[must_use]
pub fn link(der: &[u8]) -> Option<Link> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(Link {
        subject: certificate.subject().as_raw().to_vec(),
        issuer: certificate.issuer().as_raw().to_vec(),
        not_after: certificate.validity().not_after.timestamp(),
    })
}

/// Of all chains from the leaf over presented certificates to a trusted root, the one that lasts longest: its earliest
/// end of validity. For chains that were verified already; names alone are followed here.
///
/// A widest path: a certificate is followed again only when more time is left at it than before, so the work is bounded
/// by the square of what was presented.
#[must_use]
pub fn chain_expiry(presented: &[Link], roots: &[Link]) -> Option<i64> {
    let (leaf, others) = presented.split_first()?;
    let mut best = None;
    let mut known: HashMap<&[u8], i64> = HashMap::new();
    let mut open = vec![(leaf, leaf.not_after)];
    while let Some((at, until)) = open.pop() {
        if known.get(at.issuer.as_slice()).is_some_and(|known| until <= *known) {
            continue;
        }
        known.insert(&at.issuer, until);
        let ends = roots.iter().filter(|root| root.subject == at.issuer || *root == at);
        best = best.max(ends.map(|root| until.min(root.not_after)).max());
        let issuers = others.iter().filter(|next| next.subject == at.issuer);
        open.extend(issuers.map(|next| (next, until.min(next.not_after))));
    }
    best
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// The parts of a name that have a short word, in the order in which Go writes them.
const PARTS: [(&str, &str); 9] = [
    ("2.5.4.5", "SERIALNUMBER"),
    ("2.5.4.3", "CN"),
    ("2.5.4.11", "OU"),
    ("2.5.4.10", "O"),
    ("2.5.4.17", "POSTALCODE"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.6", "C"),
];

/// A name as Go's standard library writes it: the known parts in a fixed order, those of one kind
/// joined with `+`, then the others as the hex of their DER, last one first.
fn name(name: &X509Name<'_>) -> String {
    let all: Vec<_> =
        name.iter_attributes().map(|part| (part.attr_type().to_id_string(), part)).collect();
    let mut parts: Vec<String> = Vec::new();
    for (oid, word) in PARTS {
        let same: Vec<String> = all
            .iter()
            .filter(|(have, _)| have == oid)
            .map(|(_, part)| {
                let lossy = || String::from_utf8_lossy(part.as_slice()).into_owned();
                format!("{word}={}", escape(&part.as_str().map_or_else(|_| lossy(), str::to_owned)))
            })
            .collect();
        if !same.is_empty() {
            parts.push(same.join("+"));
        }
    }
    for (oid, part) in
        all.iter().rev().filter(|(oid, _)| !PARTS.iter().any(|(known, _)| known == oid))
    {
        let value = part.attr_value();
        parts.push(format!("{oid}=#{}", hex(&der(value.tag().0 as u8, part.as_slice()))));
    }
    parts.join(",")
}

/// A value as DER: tag, length, content.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match content.len() {
        short @ 0..=127 => out.push(short as u8),
        long => {
            let bytes = long.to_be_bytes();
            let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len() - 1);
            out.push(0x80 | (bytes.len() - first) as u8);
            out.extend_from_slice(&bytes[first..]);
        }
    }
    out.extend_from_slice(content);
    out
}

fn escape(text: &str) -> String {
    let last = text.chars().count().saturating_sub(1);
    let mut out = String::with_capacity(text.len());
    for (index, char) in text.chars().enumerate() {
        let special = matches!(char, ',' | '+' | '"' | '\\' | '<' | '>' | ';')
            || (char == '#' && index == 0)
            || (char == ' ' && (index == 0 || index == last));
        if special {
            out.push('\\');
        }
        out.push(char);
    }
    out
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;

    fn test_link(subject: &str, issuer: &str, not_after: i64) -> Link {
        Link { subject: subject.into(), issuer: issuer.into(), not_after }
    }

    #[test]
    fn the_chain_that_lasts_longest_counts() {
        // A leaf until 2 under two roots of one name: one until 1 (also presented), one until 3.
        let leaf = test_link("leaf", "root", 2);
        let short = test_link("root", "root", 1);
        let long = test_link("root", "root", 3);
        assert_eq!(
            chain_expiry(&[leaf.clone(), short.clone()], &[long.clone(), short.clone()]),
            Some(2)
        );
        assert_eq!(chain_expiry(from_ref(&leaf), from_ref(&short)), Some(1));
        assert_eq!(chain_expiry(&[leaf], &[]), None);
        assert_eq!(chain_expiry(from_ref(&long), from_ref(&long)), Some(3));
    }

    #[test]
    fn a_hundred_superfluous_certificates_cost_nothing() {
        let leaf = test_link("leaf", "root", 1_000);
        let junk = (0..100).map(|n| test_link("root", "root", n));
        let presented: Vec<Link> = [leaf].into_iter().chain(junk).collect();
        let began = crate::base::clock::thread_cpu();
        assert_eq!(chain_expiry(&presented, &[test_link("root", "root", 500)]), Some(500));
        let took = crate::base::clock::thread_cpu() - began;
        assert!(took < std::time::Duration::from_millis(10), "{took:?}");
        // Each a little better than the one before: the worst order.
        let climbing: Vec<Link> = (0..16).map(|n| test_link("a", "a", n)).collect();
        assert_eq!(chain_expiry(&climbing, &climbing[15..]), Some(0));
    }

    #[test]
    fn names_of_a_certificate_are_short_and_printable() {
        let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).expect("no names");
        params.distinguished_name = rcgen::DistinguishedName::new();
        let nasty = format!("\u{1b}[31m\u{202e}{}", "x".repeat(5_000));
        params.distinguished_name.push(rcgen::DnType::CommonName, nasty);
        let key = rcgen::KeyPair::generate().expect("a key");
        let facts = facts(params.self_signed(&key).expect("signed").der()).expect("a certificate");
        assert!(facts.subject.len() <= 1_024 && facts.subject.ends_with('…'), "{}", facts.subject);
        assert!(!facts.subject.contains(['\u{1b}', '\u{202e}']));
    }

    #[test]
    fn names_are_escaped_as_go_does() {
        assert_eq!(escape(" a,b#c "), "\\ a\\,b#c\\ ");
        assert_eq!(escape("#x"), "\\#x");
    }

    #[test]
    fn facts_of_a_certificate() {
        let mut params =
            rcgen::CertificateParams::new(vec!["a.invalid".to_owned(), "b.invalid".to_owned()])
                .expect("names");
        params.serial_number = Some(rcgen::SerialNumber::from_slice(&[0x0b, 0xff]));
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "Some, Org");
        params.distinguished_name.push(rcgen::DnType::CommonName, "leaf");
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("signed");
        let facts = facts(certificate.der()).expect("a certificate");
        assert_eq!(facts.serial_number, "0bff");
        assert_eq!(facts.dns_names, "a.invalid,b.invalid");
        assert_eq!(facts.subject, "CN=leaf,O=Some\\, Org");
        assert_eq!(facts.fingerprint_sha256.len(), 64);
        assert!(super::facts(b"garbage").is_none());
    }
}
