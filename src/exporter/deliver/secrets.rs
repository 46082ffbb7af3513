//! Our own secrets in what a backend answers: one that echoes a request must not bring its credentials
//! into our log.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use http::HeaderMap;
use secrecy::{ExposeSecret as _, SecretString};

/// Shorter values are words that answers hold anyway.
const MIN: usize = 6;
/// The replacement of a secret.
const CUT: &str = "[secret]";

/// The secrets of a request, in the forms in which they may come back; the longest first.
#[derive(Debug, Default)]
pub(in crate::exporter) struct Secrets(Vec<SecretString>);

impl Secrets {
    /// Those that stand in sensitive headers: whole values, what follows the scheme, users' passwords,
    /// and base64 of each.
    pub(in crate::exporter) fn of(headers: &HeaderMap) -> Self {
        let mut plain: Vec<String> = Vec::new();
        for value in headers.values().filter(|value| value.is_sensitive()) {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            // The first word is the scheme, unless it is a cookie.
            let words = value.split([' ', ',', ';']).enumerate();
            for (_, word) in words.filter(|(index, word)| *index > 0 || word.contains('=')) {
                plain.push(word.to_owned());
                plain.extend(
                    word.split_once('=').map(|(_, part)| part.trim_matches('"').to_owned()),
                );
            }
            if let Some(word) = value.strip_prefix("Basic ")
                && let Ok(pair) = STANDARD.decode(word.trim())
                && let Ok(pair) = String::from_utf8(pair)
            {
                plain.extend(pair.split_once(':').map(|(_, password)| password.to_owned()));
                plain.push(pair);
            }
            plain.push(value);
        }
        let mut forms: Vec<String> = Vec::new();
        for text in plain.into_iter().filter(|text| text.len() >= MIN) {
            forms.push(STANDARD.encode(&text));
            forms.push(STANDARD_NO_PAD.encode(&text));
            forms.push(URL_SAFE_NO_PAD.encode(&text));
            // As JSON has it, where slashes may be escaped, and as a query has it.
            forms.push(
                serde_json::to_string(&text).unwrap_or_default().trim_matches('"').to_owned(),
            );
            forms.push(text.replace('/', "\\/"));
            forms.push(percent(&text));
            forms.push(text);
        }
        forms.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        forms.dedup();
        Self(forms.into_iter().map(SecretString::from).collect())
    }

    /// A text without them. A part of one at the end, where the text may have been cut off, goes too.
    pub(in crate::exporter) fn cut(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.0 {
            text = without(&text, secret.expose_secret());
        }
        let ends = self.0.iter().filter_map(|secret| {
            let secret = secret.expose_secret();
            let longest = secret.len().min(text.len());
            let lengths = (MIN..=longest).rev().filter(|len| secret.is_char_boundary(*len));
            lengths.into_iter().find(|len| ends_with(&text, &secret[..*len]))
        });
        if let Some(length) = ends.max() {
            text.truncate(text.len() - length);
            text.push_str(CUT);
        }
        text
    }
}

/// A text without a secret, however its letters are written: header values are often folded.
fn without(text: &str, secret: &str) -> String {
    let (lower, wanted) = (text.to_ascii_lowercase(), secret.to_ascii_lowercase());
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(found) = lower[at..].find(&wanted) {
        out.push_str(&text[at..at + found]);
        out.push_str(CUT);
        at += found + secret.len();
    }
    out + &text[at..]
}

fn ends_with(text: &str, end: &str) -> bool {
    let begin = text.len() - end.len();
    text.get(begin..).is_some_and(|tail| tail.eq_ignore_ascii_case(end))
}

fn percent(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(values: &[&str]) -> Secrets {
        let mut headers = HeaderMap::new();
        for value in values {
            let mut value = http::HeaderValue::from_str(value).expect("a value");
            value.set_sensitive(true);
            headers.append(http::header::AUTHORIZATION, value);
        }
        headers.insert("x-open", http::HeaderValue::from_static("nothing-secret"));
        Secrets::of(&headers)
    }

    #[test]
    fn what_a_backend_echoes_is_cut_in_every_form() {
        // me:hunter2/+x
        let basic = secrets(&["Basic bWU6aHVudGVyMi8reA=="]);
        for echo in [
            "Basic bWU6aHVudGVyMi8reA==",
            "basic bwu6ahvudgvymi8rea==",
            "bWU6aHVudGVyMi8reA==",
            "bWU6aHVudGVyMi8reA",
            "me:hunter2/+x",
            "hunter2/+x",
            "hunter2\\/+x",
            "hunter2%2F%2Bx",
            "aHVudGVyMi8reA==",
        ] {
            let said = basic.cut(&format!("500: {{\"got\": \"{echo}\"}} nothing-secret"));
            assert!(
                said.starts_with("500: {\"got\": \"[secret]")
                    && said.ends_with("\"} nothing-secret"),
                "{said}"
            );
        }
        let bearer = secrets(&["Bearer tok-canary-123"]);
        assert_eq!(bearer.cut("x tok-canary-123, y"), "x [secret], y");
        assert_eq!(bearer.cut("no secret"), "no secret");
        assert_eq!(bearer.cut("cut off: Bearer tok-ca"), "cut off: [secret]");
        assert_eq!(bearer.cut("cut off: tok-cana"), "cut off: [secret]");
        assert_eq!(secrets(&["abc"]).cut("abc"), "abc", "too short to be told from a word");
        assert_eq!(secrets(&["Bearer täken-1"]).cut("got täken-1 ä"), "got [secret] ä");
    }
}
