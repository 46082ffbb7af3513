//! `basicauth`: a user and a password for backends.

use secrecy::SecretString;
use serde::Deserialize;

use crate::base::place::{At, Place, Problems, given as get};
use crate::net::auth::{Scheme, Secret};

/// Keys of the Collector's extension that are not built yet: there is no receiver to guard.
pub const LATER: &[(&str, &[&str])] = &[("RawBasicAuth", &["htpasswd"])];

/// The extension as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawBasicAuth {
    client_auth: Option<At<RawClientAuth>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawClientAuth {
    username: Option<At<String>>,
    password: Option<At<String>>,
    username_file: Option<At<String>>,
    password_file: Option<At<String>>,
}

impl RawBasicAuth {
    /// Turns what is written into what will run.
    #[must_use]
    pub fn settle(&self, place: &Place, problems: &mut Problems) -> Option<Scheme> {
        let Some(raw) = get(&self.client_auth) else {
            problems.error(place, "`client_auth:` is missing: a username and a password");
            return None;
        };
        let username = secret("username", &raw.username, &raw.username_file, problems);
        if raw.username.is_none() && raw.username_file.is_none() {
            let at = self.client_auth.as_ref().map_or(place, |at| &at.place);
            problems.error(at, "`username:` is missing");
        }
        let password = secret("password", &raw.password, &raw.password_file, problems);
        Some(Scheme::Basic {
            username: username?,
            password: password.unwrap_or(Secret::Inline(SecretString::default())),
        })
    }
}

/// A secret that is written, or the file that holds it.
pub(super) fn secret(
    key: &str,
    text: &Option<At<String>>,
    file: &Option<At<String>>,
    problems: &mut Problems,
) -> Option<Secret> {
    if let (Some(_), Some(at)) = (text, file) {
        problems.error(&at.place, format!("`{key}:` and a file of it exclude each other"));
    }
    match file {
        Some(at) => Some(Secret::File(at.place.beside(at.as_ref()?))),
        None => get(text).map(|text| Secret::Inline(SecretString::from(text.clone()))),
    }
}
