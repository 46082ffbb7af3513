//! The `Authorization` header of an attempt. Files are read at each attempt, because secrets are rotated.

use std::time::Duration;

use http::HeaderValue;
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use crate::probe::module::{Credentials, Http, Secret};
use crate::probe::trace::Stop;
use crate::signal::outcome::Skip;

/// Time that reading a secret may take.
const READ_WITHIN: Duration = Duration::from_millis(500);

pub(super) async fn read(module: &Http, url: &Url) -> Result<Option<HeaderValue>, Stop> {
    use base64::Engine as _;
    let basic = |user: &str, password: &str| {
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        format!("Basic {pair}")
    };
    let text = match &module.credentials {
        Some(Credentials::Basic { username, password }) => {
            let username = secret(username).await?;
            let password = match password {
                Some(password) => secret(password).await?,
                None => SecretString::default(),
            };
            basic(username.expose_secret(), password.expose_secret())
        }
        Some(Credentials::Scheme { scheme, credentials }) => {
            format!("{scheme} {}", secret(credentials).await?.expose_secret())
        }
        None if !url.username().is_empty() || url.password().is_some() => {
            let plain = |text| percent_decode_str(text).decode_utf8_lossy();
            basic(&plain(url.username()), &plain(url.password().unwrap_or_default()))
        }
        None => return Ok(None),
    };
    let mut value = HeaderValue::try_from(text)
        .map_err(|_| unreadable("credentials with control characters".to_owned()))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn unreadable(why: String) -> Stop {
    Stop::Skip(Skip::NoCredentials, why)
}

/// Reads a secret. A file system that hangs holds up nobody else.
async fn secret(secret: &Secret) -> Result<SecretString, Stop> {
    let read = tokio::time::timeout(READ_WITHIN, secret.read()).await.unwrap_or_else(|_| {
        let path = secret.file().map(|path| path.display().to_string()).unwrap_or_default();
        Err(format!("{path}: not read within {READ_WITHIN:?}"))
    });
    read.map_err(unreadable)
}
