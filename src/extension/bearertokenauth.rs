//! `bearertokenauth`: a token for backends, written or in a file that may change.

use std::str::FromStr as _;

use http::HeaderName;
use http::header::AUTHORIZATION;
use serde::Deserialize;

use crate::base::place::{At, Place, Problems, given as get};
use crate::extension::basicauth::secret;
use crate::net::auth::Scheme;

/// Keys of the Collector's extension that are not built yet: there is no receiver to guard.
pub const LATER: &[(&str, &[&str])] = &[("RawBearerTokenAuth", &["tokens"])];

/// The extension as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawBearerTokenAuth {
    header: Option<At<String>>,
    scheme: Option<At<String>>,
    token: Option<At<String>>,
    filename: Option<At<String>>,
}

impl RawBearerTokenAuth {
    /// Turns what is written into what will run.
    #[must_use]
    pub fn settle(&self, place: &Place, problems: &mut Problems) -> Option<Scheme> {
        let header = match &self.header {
            None => AUTHORIZATION,
            Some(at) => {
                let name = at.as_ref()?;
                match HeaderName::from_str(name) {
                    Ok(header) => header,
                    Err(_) => {
                        problems.error(&at.place, format!("{name:?} is not a header name"));
                        return None;
                    }
                }
            }
        };
        if self.token.is_none() && self.filename.is_none() {
            problems.error(place, "`token:` or `filename:` is missing");
        }
        let token = secret("token", &self.token, &self.filename, problems)?;
        let scheme = get(&self.scheme).cloned().unwrap_or_else(|| "Bearer".to_owned());
        Some(Scheme::Token { header, scheme, token })
    }
}
