//! The rules of an `http` module about an answer: status, headers, body, version, TLS. Pure; those that search
//! foreign text are questions, which the workers answer.

pub(super) mod question;

use bytes::Bytes;
use http::{HeaderMap, Version};

use crate::base::regexp::search::Pattern;
use crate::probe::module::{HeaderRule, Http};
use crate::probe::rules::question::Question;
use crate::signal::outcome::Reason;

/// Why a rule failed.
pub(super) type Broken = (Reason, String);

pub(super) fn status(module: &Http, status: u16) -> Result<(), Broken> {
    let fine = match module.valid_status_codes.as_slice() {
        [] => (200..300).contains(&status),
        ranges => ranges.iter().any(|(low, high)| (*low..=*high).contains(&status)),
    };
    fine.then_some(()).ok_or_else(|| (Reason::HttpStatus, format!("status {status}")))
}

/// The rules about headers, as questions. A header that is missing answers some of them at once.
pub(super) fn headers(module: &Http, headers: &HeaderMap) -> Vec<Question> {
    let question = |rule: &HeaderRule, wanted: bool| {
        let values = headers.get_all(&rule.header).iter();
        let texts: Vec<Bytes> =
            values.map(|value| Bytes::copy_from_slice(value.as_bytes())).collect();
        let (header, regexp) = (&rule.header, rule.regexp.regex().as_str());
        let (pattern, detail) = match (texts.is_empty(), wanted) {
            (true, _) if rule.allow_missing => return None,
            (true, _) => (None, format!("the header {header} is missing")),
            (false, false) => {
                (Some(&rule.regexp), format!("the header {header} matches {regexp:?}"))
            }
            (false, true) => {
                (Some(&rule.regexp), format!("the header {header} does not match {regexp:?}"))
            }
        };
        let broken = (Reason::HeaderMismatch, detail);
        Some(Question { pattern: pattern.cloned(), texts, wanted, broken })
    };
    let forbidden = module.fail_if_header_matches.iter().map(|rule| question(rule, false));
    let wanted = module.fail_if_header_not_matches.iter().map(|rule| question(rule, true));
    forbidden.chain(wanted).flatten().collect()
}

/// The rules about the body, as questions.
pub(super) fn body(module: &Http, body: &Bytes) -> Vec<Question> {
    let question = |pattern: &Pattern, wanted: bool| {
        let what = if wanted { "does not match" } else { "matches" };
        let detail = format!("the body {what} {:?}", pattern.regex().as_str());
        let broken = (Reason::BodyMismatch, detail);
        Question { pattern: Some(pattern.clone()), texts: vec![body.clone()], wanted, broken }
    };
    let forbidden = module.fail_if_body_matches.iter().map(|pattern| question(pattern, false));
    forbidden
        .chain(module.fail_if_body_not_matches.iter().map(|pattern| question(pattern, true)))
        .collect()
}

pub(super) fn version(module: &Http, version: Version) -> Result<(), Broken> {
    let word = version_word(version);
    if module.valid_http_versions.is_empty()
        || module.valid_http_versions.iter().any(|valid| valid == word)
    {
        return Ok(());
    }
    Err((Reason::HttpVersion, format!("the answer came as {word}")))
}

pub(super) fn tls(module: &Http, ssl: bool) -> Result<(), Broken> {
    if ssl && module.fail_if_ssl {
        return Err((Reason::TlsUnwanted, "the final answer came over TLS".to_owned()));
    }
    if !ssl && module.fail_if_not_ssl {
        return Err((Reason::TlsMissing, "the final answer came without TLS".to_owned()));
    }
    Ok(())
}

fn version_word(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}

/// The version as a number, as it is published.
pub(super) fn version_number(version: Version) -> f64 {
    match version {
        Version::HTTP_09 => 0.9,
        Version::HTTP_10 => 1.0,
        Version::HTTP_2 => 2.0,
        Version::HTTP_3 => 3.0,
        _ => 1.1,
    }
}
