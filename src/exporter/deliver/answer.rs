//! What a backend says to a batch.

use http::Response;
use http::header::{CONTENT_TYPE, RETRY_AFTER};

use crate::base::clock;
use crate::base::text::tame;
use crate::exporter::deliver::secrets::Secrets;
use crate::exporter::retry::{Action, classify, retry_after};

/// What a backend has made of a batch.
#[doc(hidden)] // Public for the fuzz targets.
#[derive(Debug)]
pub struct Answer {
    /// What to do with the batch.
    pub action: Action,
    /// What it said.
    pub why: String,
    /// Of a batch that was taken over, how many samples were not.
    pub rejected: usize,
    /// There was none: nobody knows whether it was taken over.
    pub unanswered: bool,
}

impl Answer {
    pub(in crate::exporter) fn new(action: Action, why: impl Into<String>) -> Self {
        Self { action, why: why.into(), rejected: 0, unanswered: false }
    }

    /// The same, with a text that shows none of these secrets.
    pub(in crate::exporter) fn without(self, secrets: &Secrets) -> Self {
        Self { why: secrets.cut(&self.why), ..self }
    }

    /// No answer.
    pub(in crate::exporter) fn none(why: impl Into<String>) -> Self {
        Self { unanswered: true, ..Self::new(Action::Retry(None), why) }
    }

    /// The answer of an HTTP backend by its status, with what it says made fit for a log.
    #[must_use]
    pub fn of_http(response: &Response<bytes::Bytes>) -> Self {
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let after = header(RETRY_AFTER).and_then(|text| retry_after(text, clock::wall()));
        let text = String::from_utf8_lossy(response.body());
        let kind = header(CONTENT_TYPE).is_some_and(|kind| kind.starts_with("text/html"));
        // Somebody on the way asks for a password, or the address is that of another program. Some frameworks call
        // everything HTML, also nothing.
        if response.status().is_success() && kind && text.trim_start().starts_with('<') {
            let why =
                format!("{}, but a web page and no answer: {}", response.status(), short(&text));
            return Self::new(Action::Hold, why);
        }
        let action = classify(response.status().as_u16(), after, &text);
        Self::new(action, format!("{} {}", response.status(), short(&text)))
    }
}

/// Foreign text, short and on one line.
pub(in crate::exporter) fn short(text: &str) -> String {
    let one_line = |c: char| if c.is_whitespace() { ' ' } else { c };
    tame(&text.trim().chars().take(200).map(one_line).collect::<String>())
}
