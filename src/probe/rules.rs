//! The rules of an `http` module about an answer: status, headers, body, version, TLS. Pure.

use http::{HeaderMap, Version};

use crate::probe::module::{HeaderRule, Http};
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

pub(super) fn headers(module: &Http, headers: &HeaderMap) -> Result<(), Broken> {
    let matches = |rule: &HeaderRule| {
        headers.get_all(&rule.header).iter().any(|value| rule.regexp.is_match(value.as_bytes()))
    };
    let broken = |rule: &HeaderRule, what: &str| {
        Err((
            Reason::HeaderMismatch,
            format!("the header {} {what} {:?}", rule.header, rule.regexp.as_str()),
        ))
    };
    for (rules, forbidden) in
        [(&module.fail_if_header_matches, true), (&module.fail_if_header_not_matches, false)]
    {
        for rule in rules {
            if !headers.contains_key(&rule.header) {
                if !rule.allow_missing {
                    return Err((
                        Reason::HeaderMismatch,
                        format!("the header {} is missing", rule.header),
                    ));
                }
            } else if matches(rule) == forbidden {
                return broken(rule, if forbidden { "matches" } else { "does not match" });
            }
        }
    }
    Ok(())
}

pub(super) fn body(module: &Http, body: &[u8]) -> Result<(), Broken> {
    if let Some(regex) = module.fail_if_body_matches.iter().find(|regex| regex.is_match(body)) {
        return Err((Reason::BodyMismatch, format!("the body matches {:?}", regex.as_str())));
    }
    if let Some(regex) = module.fail_if_body_not_matches.iter().find(|regex| !regex.is_match(body))
    {
        return Err((
            Reason::BodyMismatch,
            format!("the body does not match {:?}", regex.as_str()),
        ));
    }
    Ok(())
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
