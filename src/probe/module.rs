//! Modules: how a target is probed, in blackbox_exporter's words. [`raw`] is what may be written;
//! here is what will run, without anything left to decide.

pub mod raw;

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use secrecy::SecretString;
use tokio::sync::OnceCell;

use crate::base::files;
use crate::base::regexp::search::Pattern;
use crate::net::resolve::Family;
use crate::net::tls::{TlsClient, TlsSettings};

/// Headers that tell nothing of who asks.
const HARMLESS: [&str; 3] = ["accept", "accept-language", "user-agent"];

/// A module and its name.
#[derive(Debug)]
pub struct Module {
    /// The name by which targets ask for it.
    pub name: String,
    /// How long an attempt may take; `None`: min(interval, 10 s).
    pub timeout: Option<Duration>,
    /// What it does.
    pub prober: Prober,
}

/// What a module does.
#[derive(Debug)]
pub enum Prober {
    /// A request and its answer.
    Http(Box<Http>),
    /// A connection, perhaps with TLS and a dialogue.
    Tcp(Box<Tcp>),
    /// An echo.
    Icmp(Icmp),
}

impl Module {
    /// The files that an attempt reads: secrets, certificates, keys.
    #[must_use]
    pub fn files(&self) -> Vec<&PathBuf> {
        let (credentials, tls) = match &self.prober {
            Prober::Http(http) => (http.credentials.as_ref(), Some(&http.tls)),
            Prober::Tcp(tcp) => (None, tcp.tls.as_ref()),
            Prober::Icmp(_) => (None, None),
        };
        let secrets = match credentials {
            Some(Credentials::Basic { username, password }) => {
                vec![Some(username), password.as_ref()]
            }
            Some(Credentials::Scheme { credentials, .. }) => vec![Some(credentials)],
            None => Vec::new(),
        };
        let secrets = secrets.into_iter().flatten().filter_map(Secret::file);
        secrets.chain(tls.into_iter().flat_map(|tls| tls.settings.files())).collect()
    }
}

impl Module {
    /// Whether it may be pointed anywhere: it sends nothing that is meant for one host.
    #[must_use]
    pub fn gives_nothing_away(&self) -> bool {
        match &self.prober {
            Prober::Http(http) => {
                let Http { credentials, headers, body, tls, .. } = &**http;
                credentials.is_none()
                    && body.is_empty()
                    && headers.iter().all(|(name, _)| HARMLESS.contains(&name.as_str()))
                    && !tls.has_client_certificate()
            }
            Prober::Tcp(tcp) => {
                let Tcp { query_response, tls, .. } = &**tcp;
                query_response.iter().all(|step| step.send.is_none())
                    && !tls.as_ref().is_some_and(|tls| tls.has_client_certificate())
            }
            Prober::Icmp(_) => true,
        }
    }
}

impl Prober {
    /// The word for it in configurations and messages.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Prober::Http(_) => "http",
            Prober::Tcp(_) => "tcp",
            Prober::Icmp(_) => "icmp",
        }
    }
}

/// Text that is written in the configuration or kept in a file, which is read at each attempt.
#[derive(Clone)]
pub enum Secret {
    /// Written out.
    Inline(SecretString),
    /// In a file; a newline at its end does not count.
    File(PathBuf),
}

impl Secret {
    /// The text.
    ///
    /// # Errors
    /// A sentence with the path, when the file cannot be read.
    pub async fn read(&self) -> Result<SecretString, String> {
        match self {
            Secret::Inline(text) => Ok(text.clone()),
            Secret::File(path) => files::secret(path).await,
        }
    }

    /// The file that it is in.
    #[must_use]
    pub fn file(&self) -> Option<&PathBuf> {
        match self {
            Secret::Inline(_) => None,
            Secret::File(path) => Some(path),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Secret::Inline(_) => f.write_str("<secret>"),
            Secret::File(path) => write!(f, "<secret in {}>", path.display()),
        }
    }
}

/// Who we say that we are.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// `Authorization: Basic`.
    Basic {
        /// The user's name.
        username: Secret,
        /// The password.
        password: Option<Secret>,
    },
    /// `Authorization: SCHEME CREDENTIALS`.
    Scheme {
        /// Such as `Bearer`.
        scheme: String,
        /// What follows.
        credentials: Secret,
    },
}

/// TLS settings and the client that is made of them when it is first needed, because reading the
/// machine's certificates takes time that a start without TLS need not spend.
pub struct LazyTls {
    settings: TlsSettings,
    alpn: &'static [&'static [u8]],
    client: OnceCell<TlsClient>,
}

impl LazyTls {
    /// Keeps the settings for later.
    #[must_use]
    pub fn new(settings: TlsSettings, alpn: &'static [&'static [u8]]) -> Self {
        Self { settings, alpn, client: OnceCell::new() }
    }

    /// Whether it shows a certificate of its own.
    #[must_use]
    pub fn has_client_certificate(&self) -> bool {
        self.settings.identity.is_some()
    }

    /// The client. Its files are read elsewhere.
    ///
    /// # Errors
    /// As [`TlsClient::load`]; it is tried again the next time, because files may appear.
    pub async fn client(&self) -> Result<&TlsClient, String> {
        self.client.get_or_try_init(|| TlsClient::load(self.settings.clone(), self.alpn)).await
    }
}

impl fmt::Debug for LazyTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

/// A rule about a header.
#[derive(Debug)]
pub struct HeaderRule {
    /// The header.
    pub header: HeaderName,
    /// What its value must (not) match.
    pub regexp: Pattern,
    /// Whether a response without the header passes.
    pub allow_missing: bool,
}

/// An `http` module.
#[derive(Debug)]
pub struct Http {
    /// Status codes that count as up, as ranges; empty: 200 to 299.
    pub valid_status_codes: Vec<(u16, u16)>,
    /// HTTP versions that count as up (`HTTP/1.1`, `HTTP/2.0`); empty: all.
    pub valid_http_versions: Vec<String>,
    /// Which addresses are wanted.
    pub family: Family,
    /// The method.
    pub method: Method,
    /// Headers, `Host` among them.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The request's body.
    pub body: Arc<str>,
    /// Who we say that we are.
    pub credentials: Option<Credentials>,
    /// Whether redirects are followed.
    pub follow_redirects: bool,
    /// Down when the answer came over TLS.
    pub fail_if_ssl: bool,
    /// Down when it came without.
    pub fail_if_not_ssl: bool,
    /// Down when the body matches one of these.
    pub fail_if_body_matches: Vec<Pattern>,
    /// Down when the body does not match all of these.
    pub fail_if_body_not_matches: Vec<Pattern>,
    /// Down when a value of the header matches.
    pub fail_if_header_matches: Vec<HeaderRule>,
    /// Down when no value of the header matches.
    pub fail_if_header_not_matches: Vec<HeaderRule>,
    /// The longest body that is accepted, in bytes, and how much of it rules see; `None`: 256 MiB are read, and rules
    /// see 1 MiB.
    pub body_size_limit: Option<u64>,
    /// How TLS is spoken.
    pub tls: LazyTls,
}

/// A step of a TCP dialogue.
#[derive(Debug)]
pub struct Step {
    /// Read lines until one matches.
    pub expect: Option<Pattern>,
    /// Then send this and a newline; `${1}` is the first group of this step's `expect`.
    pub send: Option<String>,
}

/// A `tcp` module.
#[derive(Debug)]
pub struct Tcp {
    /// Which addresses are wanted.
    pub family: Family,
    /// The address that we connect from.
    pub source: Option<IpAddr>,
    /// The dialogue.
    pub query_response: Vec<Step>,
    /// Whether and how TLS is spoken.
    pub tls: Option<LazyTls>,
}

/// An `icmp` module.
#[derive(Debug, Clone)]
pub struct Icmp {
    /// Which addresses are wanted.
    pub family: Family,
    /// The address that we send from.
    pub source: Option<IpAddr>,
    /// Bytes of payload; 0: 28 bytes of text.
    pub payload_size: usize,
    /// Hops that the request may take; `None`: as the system has it.
    pub ttl: Option<u32>,
}
