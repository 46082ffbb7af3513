//! Authentication headers of requests to backends.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};

use crate::base::files;

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
}

/// How long files with secrets may take to be read.
const READ_WITHIN: Duration = Duration::from_secs(5);

impl Authenticator {
    /// An authenticator by this scheme.
    #[must_use]
    pub fn new(scheme: Scheme) -> Self {
        Self { scheme }
    }

    /// Adds the header. Files are read at each request, because secrets are rotated.
    ///
    /// # Errors
    /// When a file cannot be read, or what is in it cannot stand in a header.
    pub async fn apply(&self, headers: &mut HeaderMap) -> Result<(), String> {
        let name = match &self.scheme {
            Scheme::Basic { .. } => AUTHORIZATION,
            Scheme::Token { header, .. } => header.clone(),
        };
        let read = tokio::time::timeout(READ_WITHIN, self.value()).await;
        let value = read.map_err(|_| format!("credentials not read within {READ_WITHIN:?}"))??;
        headers.insert(name, value);
        Ok(())
    }

    async fn value(&self) -> Result<HeaderValue, String> {
        let text = match &self.scheme {
            Scheme::Basic { username, password } => {
                let pair = format!("{}:{}", read(username).await?, read(password).await?);
                format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
            }
            Scheme::Token { scheme, token, .. } if scheme.is_empty() => read(token).await?,
            Scheme::Token { scheme, token, .. } => format!("{scheme} {}", read(token).await?),
        };
        let mut value = HeaderValue::from_str(&text).map_err(|_| {
            "the credentials cannot stand in a header: control characters".to_owned()
        })?;
        value.set_sensitive(true);
        Ok(value)
    }
}

async fn read(secret: &Secret) -> Result<String, String> {
    match secret {
        Secret::Inline(text) => Ok(text.expose_secret().to_owned()),
        Secret::File(path) => Ok(files::secret(path).await?.expose_secret().trim().to_owned()),
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
