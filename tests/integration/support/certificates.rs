//! Certificates of every kind that a target may show.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig, SupportedProtocolVersion};

pub const DAY: i64 = 86_400;

/// An authority with a name, valid from a day ago to so many days ahead.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate with its key, and those to present with it.
pub struct Leaf {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: KeyPair,
}

/// Now, in days from 1970 to so many days ahead, as the certificates count.
pub fn days_ahead(days: i64) -> SystemTime {
    let now = SystemTime::now();
    // To the second, as certificates have it.
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64 + days * DAY;
    SystemTime::UNIX_EPOCH + Duration::from_secs(now as u64)
}

fn params(name: &str, names: &[&str], from: i64, to: i64) -> CertificateParams {
    let mut params =
        CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = days_ahead(from).into();
    params.not_after = days_ahead(to).into();
    params
}

impl Authority {
    pub fn new(name: &str, days: i64) -> Self {
        Self::with_key(name, days, KeyPair::generate().unwrap())
    }

    /// With a key of its own, so that two authorities may share one.
    pub fn with_key(name: &str, days: i64, key: KeyPair) -> Self {
        let mut params = params(name, &[], -1, days);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { issuer: CertifiedIssuer::self_signed(params, key).unwrap() }
    }

    pub fn der(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A server's certificate for these names, valid in these days from now.
    pub fn leaf(&self, names: &[&str], from: i64, to: i64) -> Leaf {
        let key = KeyPair::generate().unwrap();
        let certificate = params("leaf", names, from, to).signed_by(&key, &self.issuer).unwrap();
        Leaf { chain: vec![certificate.der().clone()], key }
    }
}

/// A certificate that nobody but itself vouches for.
pub fn self_signed(names: &[&str], from: i64, to: i64) -> (Leaf, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = params("self", names, from, to).self_signed(&key).unwrap();
    let pem = certificate.pem();
    (Leaf { chain: vec![certificate.der().clone()], key }, pem)
}

impl Leaf {
    /// The chain and the key, as servers that are not ours read them.
    pub fn pem(&self) -> (String, String) {
        let block = |der: &CertificateDer<'_>| {
            let text = base64::engine::general_purpose::STANDARD.encode(der);
            let lines: Vec<&str> =
                text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
            let lines = lines.join("\n");
            format!("-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n")
        };
        (self.chain.iter().map(block).collect(), self.key.serialize_pem())
    }

    /// A server that shows it, with these versions of TLS (empty: all) and ALPN protocols.
    pub fn server(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        alpn: &[&str],
    ) -> ServerConfig {
        let versions = if versions.is_empty() { rustls::ALL_VERSIONS } else { versions };
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
        config
    }
}

/// A file with this text, in a folder that lives as long as the test process.
pub fn pem_file(folder: &tempfile::TempDir, name: &str, pem: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, pem).unwrap();
    path
}
