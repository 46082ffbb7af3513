//! Questions to foreign text: whether an expression matches it. Asked in slices on the workers, never on a loop.

use std::ops::ControlFlow;

use bytes::Bytes;

use crate::base::clock;
use crate::base::regexp::search::{Pattern, SLICE, Search};
use crate::base::workers::{self, Lost};
use crate::probe::rules::Broken;
use crate::probe::trace::{Stop, Trace, Wait};

/// Whether one of some texts matches, and what follows.
pub(in crate::probe) struct Question {
    /// The searched text; `None`: the rule is broken without a search.
    pub(in crate::probe) pattern: Option<Pattern>,
    /// Where.
    pub(in crate::probe) texts: Vec<Bytes>,
    /// Whether a match is wanted, or forbidden.
    pub(in crate::probe) wanted: bool,
    /// The message otherwise.
    pub(in crate::probe) broken: Broken,
}

/// Questions, asked one after the other.
struct Asking {
    questions: std::vec::IntoIter<Question>,
    now: Option<(Question, usize, Option<Search>)>,
    /// The texts are cut off; what that means where it matters.
    cut: Option<Broken>,
    undecided: bool,
}

impl Asking {
    fn new(questions: Vec<Question>, cut: Option<Broken>) -> Self {
        Self { questions: questions.into_iter(), now: None, cut, undecided: false }
    }

    /// Searches for a while; `None`: there is more to search.
    fn slice(&mut self) -> Option<Result<(), Broken>> {
        let until = clock::instant() + SLICE;
        loop {
            let Some((question, at, search)) = &mut self.now else {
                let Some(next) = self.questions.next() else {
                    let cut = self.cut.take().filter(|_| self.undecided);
                    return Some(cut.map_or(Ok(()), Err));
                };
                let Some(pattern) = &next.pattern else { return Some(Err(next.broken)) };
                let search = Search::new(pattern);
                self.now = Some((next, 0, Some(search)));
                continue;
            };
            let found = match (question.texts.get(*at), search.as_mut()) {
                (Some(text), Some(search)) => {
                    match search.advance_until(text, self.cut.is_some(), until) {
                        ControlFlow::Continue(()) => return None,
                        ControlFlow::Break(false) => {
                            *at += 1;
                            search.restart();
                            continue;
                        }
                        ControlFlow::Break(true) => true,
                    }
                }
                _ => false,
            };
            let (question, ..) = self.now.take()?;
            match (found == question.wanted, found || self.cut.is_none()) {
                (false, true) => return Some(Err(question.broken)),
                (true, true) => {}
                // Nothing was found in what was seen.
                (_, false) => self.undecided = true,
            }
        }
    }
}

/// Asks questions in order; the first rule that is broken is returned. `cut` says that the texts are cut off: what that
/// means where no question has decided.
pub(in crate::probe) async fn ask(
    questions: Vec<Question>,
    cut: Option<Broken>,
    keep: impl Send + 'static,
    trace: &mut Trace,
) -> Result<Result<(), Broken>, Stop> {
    if questions.is_empty() {
        return Ok(Ok(()));
    }
    trace.waits = Some(Wait::Rules);
    let mut asking = Asking::new(questions, cut);
    let answer: Result<_, Lost> = workers::sliced(move || {
        // Memory that is counted is given back when the text is.
        let _keep = &keep;
        asking.slice()
    })
    .await;
    trace.waits = None;
    Ok(answer?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::outcome::Reason;

    fn decide(rules: &[(&str, bool)], text: &str, is_cut: bool) -> Result<(), Reason> {
        let text = Bytes::copy_from_slice(text.as_bytes());
        let questions = rules.iter().map(|(pattern, wanted)| Question {
            pattern: Some(Pattern::new(pattern).expect(pattern)),
            texts: vec![Bytes::new(), text.clone()],
            wanted: *wanted,
            broken: (Reason::BodyMismatch, String::new()),
        });
        let cut = is_cut.then(|| (Reason::BodyTooLarge, String::new()));
        let mut asking = Asking::new(questions.collect(), cut);
        std::iter::from_fn(|| Some(asking.slice()))
            .flatten()
            .next()
            .expect("it ends")
            .map_err(|(reason, _)| reason)
    }

    #[test]
    fn cut_text_decides_only_what_was_seen() {
        let (mismatch, large) = (Err(Reason::BodyMismatch), Err(Reason::BodyTooLarge));
        // A match is known at the byte behind it.
        for (rules, text, whole, cut) in [
            (&[("good", true)][..], "all good, they say", Ok(()), Ok(())),
            (&[("good", true)], "bad", mismatch, large),
            (&[("bad", false)], "all good", Ok(()), large),
            (&[("bad", false)], "bad!", mismatch, mismatch),
            (&[("bad", false), ("good", true)], "good", Ok(()), large),
            (&[("bad", false), ("worse", false)], "worse!", mismatch, mismatch),
            (&[("good$", true)], "all good", Ok(()), large),
            (&[("good", true), ("fine", true)], "fine and good!", Ok(()), Ok(())),
            (&[("good", true), ("fine", true)], "good", mismatch, large),
        ] {
            assert_eq!(decide(rules, text, false), whole, "{rules:?} in {text:?}");
            assert_eq!(decide(rules, text, true), cut, "{rules:?} in {text:?}, cut");
        }
    }
}
