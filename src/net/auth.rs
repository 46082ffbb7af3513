//! Who we say we are to a backend: headers of a request. A token in a file is read again when the
//! file has changed.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};

use crate::base::flight::Flights;
use crate::base::fs;

/// A secret, or the file that holds it.
#[derive(Clone, Debug)]
pub enum Secret {
    /// It is written in the configuration.
    Inline(SecretString),
    /// It is in a file.
    File(PathBuf),
}

/// How to authenticate.
#[derive(Clone, Debug)]
pub enum Scheme {
    /// RFC 7617.
    Basic {
        /// The user.
        username: Secret,
        /// The password.
        password: Secret,
    },
    /// A word and a token in a header: RFC 6750 unless it says otherwise.
    Token {
        /// The header.
        header: HeaderName,
        /// The word before the token; empty: none.
        scheme: String,
        /// The token.
        token: Secret,
    },
}

impl Scheme {
    /// The files that hold its secrets.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let secrets = match self {
            Scheme::Basic { username, password } => [Some(username), Some(password)],
            Scheme::Token { token, .. } => [Some(token), None],
        };
        secrets.into_iter().flatten().filter_map(|secret| match secret {
            Secret::File(path) => Some(path),
            Secret::Inline(_) => None,
        })
    }
}

/// Authenticates requests.
#[derive(Debug)]
pub struct Authenticator {
    scheme: Scheme,
    /// The last header, and the state of the files when it was made.
    made: Mutex<Option<(Vec<Stamp>, HeaderValue)>>,
    reading: Flights<(), Result<HeaderValue, String>>,
}

/// How long files with secrets may take to be read.
const READ_WITHIN: Duration = Duration::from_secs(5);

/// What tells two versions of a file apart.
type Stamp = Option<(SystemTime, u64)>;

impl Authenticator {
    /// An authenticator by this scheme.
    #[must_use]
    pub fn new(scheme: Scheme) -> Self {
        Self { scheme, made: Mutex::default(), reading: Flights::default() }
    }

    /// Adds the header.
    ///
    /// # Errors
    /// When a file cannot be read, or what is in it cannot stand in a header.
    pub async fn apply(self: &std::sync::Arc<Self>, headers: &mut HeaderMap) -> Result<(), String> {
        let name = match &self.scheme {
            Scheme::Basic { .. } => AUTHORIZATION,
            Scheme::Token { header, .. } => header.clone(),
        };
        let value = if self.secrets().iter().any(|secret| matches!(secret, Secret::File(_))) {
            // Files may hang: the runtime does not, and one thread does at most.
            let this = std::sync::Arc::clone(self);
            let reading = self.reading.read((), move || this.value());
            let read = tokio::time::timeout(READ_WITHIN, reading).await;
            let read = read.map_err(|_| format!("credentials not read within {READ_WITHIN:?}"))?;
            read.map_err(|error| error.to_string())??
        } else {
            self.value()?
        };
        headers.insert(name, value);
        Ok(())
    }

    fn secrets(&self) -> Vec<&Secret> {
        match &self.scheme {
            Scheme::Basic { username, password } => vec![username, password],
            Scheme::Token { token, .. } => vec![token],
        }
    }

    fn value(&self) -> Result<HeaderValue, String> {
        let stamps: Vec<Stamp> = self.secrets().iter().map(|secret| stamp(secret)).collect();
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, value)) = made.as_ref().filter(|(before, _)| *before == stamps) {
            return Ok(value.clone());
        }
        let text = match &self.scheme {
            Scheme::Basic { username, password } => {
                let pair = format!("{}:{}", read(username)?, read(password)?);
                format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
            }
            Scheme::Token { scheme, token, .. } if scheme.is_empty() => read(token)?,
            Scheme::Token { scheme, token, .. } => format!("{scheme} {}", read(token)?),
        };
        let mut value = HeaderValue::from_str(&text).map_err(|_| {
            "the credentials cannot stand in a header: control characters".to_owned()
        })?;
        value.set_sensitive(true);
        *made = Some((stamps, value.clone()));
        Ok(value)
    }
}

fn stamp(secret: &Secret) -> Stamp {
    let Secret::File(path) = secret else { return None };
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}

fn read(secret: &Secret) -> Result<String, String> {
    match secret {
        Secret::Inline(text) => Ok(text.expose_secret().to_owned()),
        Secret::File(path) => fs::read_secret(path).map(|text| text.trim().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    async fn header(authenticator: &Arc<Authenticator>, name: &str) -> String {
        let mut headers = HeaderMap::new();
        authenticator.apply(&mut headers).await.expect("readable");
        headers[name].to_str().expect("text").to_owned()
    }

    fn inline(text: &str) -> Secret {
        Secret::Inline(SecretString::from(text.to_owned()))
    }

    #[tokio::test]
    async fn basic_and_tokens() {
        let basic = Scheme::Basic { username: inline("user"), password: inline("pass:word") };
        let basic = Arc::new(Authenticator::new(basic));
        assert_eq!(header(&basic, "authorization").await, "Basic dXNlcjpwYXNzOndvcmQ=");
        let header_name = HeaderName::from_static("x-api-key");
        let key = Scheme::Token { header: header_name, scheme: String::new(), token: inline("k") };
        assert_eq!(header(&Arc::new(Authenticator::new(key)), "x-api-key").await, "k");
    }

    #[tokio::test]
    async fn a_token_file_that_changes_is_read_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        let token = Secret::File(path.clone());
        let scheme = Scheme::Token { header: AUTHORIZATION, scheme: "Bearer".to_owned(), token };
        let authenticator = Arc::new(Authenticator::new(scheme));
        assert!(authenticator.apply(&mut HeaderMap::new()).await.is_err());
        std::fs::write(&path, "one\n").expect("written");
        assert_eq!(header(&authenticator, "authorization").await, "Bearer one");
        std::fs::write(&path, "another\n").expect("written");
        assert_eq!(header(&authenticator, "authorization").await, "Bearer another");
    }
}
