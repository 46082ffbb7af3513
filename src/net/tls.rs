//! TLS as a client. The certificate is judged after the handshake and before a byte of ours is sent,
//! so that its facts are known when it is refused, too. Sessions are never resumed: a resumed
//! handshake would measure something else.

mod judge;

use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring as provider};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use secrecy::{ExposeSecret as _, SecretString};
use tokio_rustls::{TlsConnector, client::TlsStream, rustls};

use crate::base::files;
use crate::base::flight::Flights;
use crate::base::workers::{self, Lost};
use crate::net::dial::Connection;
use crate::net::paced::Paced;
use crate::net::x509::{self, Facts, Link};

/// A connection that speaks TLS.
pub type Stream = Paced<TlsStream<Connection>>;

/// Presented certificates that are looked at; no server needs more.
const MAX_PRESENTED: usize = 16;
/// The largest PEM file that is read.
const MAX_PEM: u64 = 4 << 20;

/// A TLS version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// How to speak TLS.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsSettings {
    /// Trust these certificates instead of the machine's.
    pub ca_file: Option<PathBuf>,
    /// The client's certificate and key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name that the certificate must have, and that is sent as SNI; default: the host's.
    pub server_name: Option<String>,
    /// Take any certificate.
    pub insecure_skip_verify: bool,
    /// The lowest version to speak.
    pub min_version: Version,
    /// The highest version to speak.
    pub max_version: Version,
}

impl TlsSettings {
    /// The files that it names.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let identity = self.identity.iter().flat_map(|(certificate, key)| [certificate, key]);
        self.ca_file.iter().chain(identity)
    }
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self {
            ca_file: None,
            identity: None,
            server_name: None,
            insecure_skip_verify: false,
            min_version: Version::Tls12,
            max_version: Version::Tls13,
        }
    }
}

/// What is wrong with TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFault {
    /// The handshake itself.
    Handshake,
    /// The certificate's validity is over.
    Expired,
    /// The certificate's validity has not begun.
    NotYetValid,
    /// Nobody trusted signed it.
    Untrusted,
    /// It is for another name.
    NameMismatch,
    /// No common version.
    Version,
    /// Ours: the certificate could not be judged.
    NotJudged,
}

/// A fault and its particulars.
#[derive(Clone, Debug)]
pub struct TlsError {
    /// The fault.
    pub fault: TlsFault,
    /// In plain words.
    pub detail: String,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for TlsError {}

/// What a handshake showed.
#[derive(Clone, Debug)]
pub struct Handshake {
    /// `TLS 1.2` or `TLS 1.3`.
    pub version: &'static str,
    /// The cipher suite, in the spelling of IANA and Go.
    pub cipher: String,
    /// The protocol that ALPN agreed on.
    pub alpn: Option<Vec<u8>>,
    /// The leaf, when it could be read.
    pub leaf: Option<Facts>,
    /// The earliest end of validity among the presented certificates.
    pub earliest_expiry: Option<i64>,
    /// The verified chain's end of validity; `None` when nothing was verified.
    pub chain_expiry: Option<i64>,
    /// The verdict about the certificate; `Ok` also when it was not asked for.
    pub verdict: Result<(), TlsError>,
}

/// Trusted certificates: the verifier's form, and what is needed to follow chains.
struct Roots {
    store: Arc<RootCertStore>,
    links: Vec<Link>,
    /// The certificates themselves, where a file named them: one of them may be the server's own.
    given: Vec<CertificateDer<'static>>,
}

/// The verifier of certificates, and its roots.
type Verifier = (Arc<WebPkiServerVerifier>, Arc<Roots>);

/// Speaks TLS by one set of settings. Cheap to clone.
#[derive(Clone)]
pub struct TlsClient {
    connector: TlsConnector,
    verifier: Option<Verifier>,
    server_name: Option<ServerName<'static>>,
    stamp: u64,
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

impl TlsClient {
    /// Reads the files and builds a client that offers the given ALPN protocols. Neither is done on this thread.
    ///
    /// # Errors
    /// A sentence that names the file or the setting that is wrong. It waits as long as the file system does.
    pub async fn load(
        settings: TlsSettings,
        alpn: &'static [&'static [u8]],
    ) -> Result<Self, String> {
        let given = Given::read(&settings).await?;
        let system = match settings.insecure_skip_verify || given.ca.is_some() {
            true => None,
            false => Some(Roots::system().await?),
        };
        let build = move || Self::new(&settings, alpn, &given, system);
        tokio::task::spawn_blocking(build).await.map_err(|error| error.to_string())?
    }

    fn new(
        settings: &TlsSettings,
        alpn: &[&[u8]],
        given: &Given,
        system: Option<Arc<Roots>>,
    ) -> Result<Self, String> {
        let crypto = crypto();
        let versions: Vec<&rustls::SupportedProtocolVersion> =
            [(Version::Tls12, &rustls::version::TLS12), (Version::Tls13, &rustls::version::TLS13)]
                .into_iter()
                .filter(|(version, _)| {
                    (settings.min_version..=settings.max_version).contains(version)
                })
                .map(|(_, known)| known)
                .collect();
        let builder = ClientConfig::builder_with_provider(Arc::clone(&crypto))
            .with_protocol_versions(&versions)
            .map_err(|error| format!("TLS versions: {error}"))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(JudgeLater(
                crypto.signature_verification_algorithms,
            )));
        let mut config = match &given.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificate.certificates()?;
                let secret = PrivateKeyDer::from_pem_slice(key.bytes())
                    .map_err(|error| format!("{}: no private key: {error}", key.path.display()))?;
                builder.with_client_auth_cert(chain, secret).map_err(|error| {
                    format!("{} and {}: {error}", certificate.path.display(), key.path.display())
                })?
            }
        };
        config.resumption = Resumption::disabled();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        let roots = match &given.ca {
            Some(ca) => Some(Arc::new(Roots::given(ca)?)),
            None => system,
        };
        let verifier = roots.map(|roots| {
            WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots.store), crypto)
                .build()
                .map(|built| (built, roots))
                .map_err(|error| format!("trusted certificates: {error}"))
        });
        let server_name = settings.server_name.clone().map(ServerName::try_from).transpose();
        let server_name = server_name.map_err(|error| format!("server_name: {error}"))?;
        let connector = TlsConnector::from(Arc::new(config));
        Ok(Self { connector, verifier: verifier.transpose()?, server_name, stamp: given.stamp() })
    }

    /// A hash of its files.
    #[must_use]
    pub fn stamp(&self) -> u64 {
        self.stamp
    }

    /// Shakes hands over a stream with a host of this name. The certificate is not judged yet: nothing may be sent.
    ///
    /// # Errors
    /// When the handshake itself fails.
    pub async fn shake(&self, stream: Connection, host: &str) -> Result<Unjudged, TlsError> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => {
                let bare = host.trim_start_matches('[').trim_end_matches(']');
                ServerName::try_from(bare.to_owned()).map_err(|_| TlsError {
                    fault: TlsFault::NameMismatch,
                    detail: format!("{host:?} cannot be the name of a certificate"),
                })?
            }
        };
        let shaking = self.connector.connect(name.clone(), stream);
        let stream = shaking.await.map_err(|error| handshake_error(&error))?;
        Ok(Unjudged { stream, name, verifier: self.verifier.clone() })
    }

    /// Shakes hands, and judges the certificate.
    ///
    /// # Errors
    /// When the handshake itself fails. A certificate that is refused is no error here: it is in
    /// [`Handshake::verdict`], and nothing may be sent when it is.
    pub async fn handshake(
        &self,
        stream: Connection,
        host: &str,
    ) -> Result<(Stream, Handshake), TlsError> {
        let judged = self.shake(stream, host).await?.judge().await;
        judged.map_err(|lost| TlsError {
            fault: TlsFault::NotJudged,
            detail: format!("the certificate was not judged: {lost}"),
        })
    }
}

/// A connection whose certificate is not judged yet.
pub struct Unjudged {
    stream: TlsStream<Connection>,
    name: ServerName<'static>,
    verifier: Option<Verifier>,
}

impl Unjudged {
    /// Judges the certificate. How long that takes is decided by the peer, and by others whose certificates wait.
    ///
    /// # Errors
    /// When it cannot be judged, which is not the peer's fault.
    pub async fn judge(self) -> Result<(Stream, Handshake), Lost> {
        let Self { stream, name, verifier } = self;
        let (_, connection) = stream.get_ref();
        let certificates = connection.peer_certificates().unwrap_or_default();
        let presented: Vec<_> =
            certificates.iter().take(MAX_PRESENTED).map(|der| der.clone().into_owned()).collect();
        let judge = move || judge::judge(&presented, verifier.as_ref(), &name);
        let judged = workers::compute(judge).await?;
        let (_, connection) = stream.get_ref();
        let shown = Handshake {
            version: match connection.protocol_version() {
                Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2",
                Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
                _ => "unknown",
            },
            cipher: connection
                .negotiated_cipher_suite()
                .and_then(|suite| suite.suite().as_str())
                .map(|name| name.replacen("TLS13_", "TLS_", 1))
                .unwrap_or_default(),
            alpn: connection.alpn_protocol().map(<[u8]>::to_vec),
            earliest_expiry: judged.earliest_expiry,
            leaf: judged.leaf,
            chain_expiry: judged.chain_expiry,
            verdict: judged.verdict,
        };
        Ok((Paced::new(stream), shown))
    }
}

fn crypto() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(provider::default_provider())))
}

/// A PEM file as it was read.
struct Pem {
    path: PathBuf,
    text: SecretString,
}

impl Pem {
    async fn read(path: &Path) -> Result<Self, String> {
        Ok(Self { path: path.to_owned(), text: files::read(path, MAX_PEM).await? })
    }

    fn bytes(&self) -> &[u8] {
        self.text.expose_secret().as_bytes()
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(self.bytes()).collect();
        let found = found.map_err(|error| format!("{}: {error}", self.path.display()))?;
        if found.is_empty() {
            return Err(format!("{}: no certificate in it", self.path.display()));
        }
        Ok(found)
    }
}

/// The files that settings name.
struct Given {
    ca: Option<Pem>,
    identity: Option<(Pem, Pem)>,
}

impl Given {
    async fn read(settings: &TlsSettings) -> Result<Self, String> {
        let ca = match &settings.ca_file {
            Some(path) if !settings.insecure_skip_verify => Some(Pem::read(path).await?),
            _ => None,
        };
        let identity = match &settings.identity {
            Some((certificate, key)) => {
                Some((Pem::read(certificate).await?, Pem::read(key).await?))
            }
            None => None,
        };
        Ok(Self { ca, identity })
    }

    fn stamp(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let identity = self.identity.iter().flat_map(|(certificate, key)| [certificate, key]);
        self.ca.iter().chain(identity).for_each(|pem| pem.bytes().hash(&mut hasher));
        hasher.finish()
    }
}

impl Roots {
    fn given(ca: &Pem) -> Result<Self, String> {
        let given = ca.certificates()?;
        let mut store = RootCertStore::empty();
        let (added, _) = store.add_parsable_certificates(given.iter().cloned());
        if added == 0 {
            return Err(format!("{}: no certificate in it can be trusted", ca.path.display()));
        }
        let links = given.iter().filter_map(|der| x509::link(der)).collect();
        Ok(Self { store: Arc::new(store), links, given })
    }

    /// The machine's roots; those of Mozilla where it has none. Read once.
    async fn system() -> Result<Arc<Self>, String> {
        static SYSTEM: OnceLock<Arc<Roots>> = OnceLock::new();
        static READING: LazyLock<Flights<(), Arc<Roots>>> = LazyLock::new(Flights::default);
        if let Some(roots) = SYSTEM.get() {
            return Ok(Arc::clone(roots));
        }
        let read = || Arc::clone(SYSTEM.get_or_init(|| Arc::new(Self::load_system())));
        READING.read((), read).await.map_err(|error| format!("the machine's certificates: {error}"))
    }

    fn load_system() -> Self {
        let native = rustls_native_certs::load_native_certs().certs;
        let mut store = RootCertStore::empty();
        let links = native.iter().filter_map(|der| x509::link(der)).collect();
        store.add_parsable_certificates(native);
        if store.is_empty() {
            store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        Self { store: Arc::new(store), links, given: Vec::new() }
    }
}

/// Names a failed handshake.
#[must_use]
pub fn handshake_error(error: &io::Error) -> TlsError {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(inner) = inner else {
        return TlsError { fault: TlsFault::Handshake, detail: error.to_string() };
    };
    let fault = match inner {
        rustls::Error::PeerIncompatible(_)
        | rustls::Error::AlertReceived(rustls::AlertDescription::ProtocolVersion) => {
            TlsFault::Version
        }
        _ => TlsFault::Handshake,
    };
    TlsError { fault, detail: inner.to_string() }
}

/// Whether an I/O error carries an error of TLS.
#[must_use]
pub fn is_tls_error(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

/// Checks that the peer owns the key, and leaves the certificate to [`judge`].
#[derive(Debug)]
struct JudgeLater(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for JudgeLater {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
