//! `filter`: drops what meets one of its conditions. The verdict on a series is found once, unless a
//! condition reads values or times.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::clock::{BootTime, Moment, Timestamp};
use crate::base::seldom::Seldom;
use crate::pipeline::stage::{Judgement, Processor, Refused};
use crate::processor::ottl::{Answer, Condition, View};
use crate::signal::batch::{Batch, Sample};
use crate::signal::series::{Metric, Series};

pub mod legacy;
pub mod settings;

pub use settings::Settings;

/// What happens when a condition cannot be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorMode {
    /// It is logged, and the condition does not hold.
    Ignore,
    /// The condition does not hold.
    Silent,
    /// The payload is refused.
    Propagate,
}

/// A condition and its error mode.
#[derive(Debug)]
pub struct Rule {
    /// The condition.
    pub condition: Condition,
    /// What happens when it cannot be decided.
    pub errors: ErrorMode,
}

/// The processor.
pub struct Filter {
    name: String,
    settings: Arc<Settings>,
    /// Whether a condition has to see all points of a metric.
    groups: bool,
    boot: BootTime,
    wall: Timestamp,
    logged: Seldom,
}

impl Filter {
    /// A filter of this name.
    #[must_use]
    pub fn new(name: &str, settings: Arc<Settings>) -> Self {
        let groups = settings.rules.iter().any(|rule| rule.condition.needs_group());
        let name = name.to_owned();
        let (boot, wall) = (BootTime::default(), Timestamp::default());
        Self { name, settings, groups, boot, wall, logged: Seldom::default() }
    }

    /// Whether one of the conditions holds; `None`: more has to be known.
    fn drops(
        &mut self,
        view: &View<'_>,
        whole: bool,
        final_answer: bool,
    ) -> Result<Option<bool>, Refused> {
        let settings = Arc::clone(&self.settings);
        let mut unknown = false;
        // Resource before metric before datapoint, as the Collector asks them.
        for rule in settings.rules.iter().filter(|rule| whole || !rule.condition.needs_group()) {
            match rule.condition.ask(view) {
                Ok(Answer::Yes) => return Ok(Some(true)),
                Ok(Answer::No) => {}
                Ok(Answer::Unknown) => unknown = true,
                // What fails without the sample may not fail with it.
                Err(_) if !final_answer && rule.condition.needs_sample() => unknown = true,
                Err(why) => self.failed(rule, &why)?,
            }
        }
        Ok((!unknown).then_some(false))
    }

    fn failed(&mut self, rule: &Rule, why: &str) -> Result<(), Refused> {
        match rule.errors {
            ErrorMode::Silent => Ok(()),
            ErrorMode::Propagate => {
                Err(Refused(format!("{}: {}: {why}", self.name, rule.condition.text)))
            }
            ErrorMode::Ignore => {
                if self.logged.passes(self.boot) {
                    tracing::warn!(processor = %self.name, condition = %rule.condition.text, "a condition cannot be decided: {why}");
                }
                Ok(())
            }
        }
    }
}

impl Processor for Filter {
    fn judge(&mut self, series: &Arc<Series>) -> Result<Judgement, Refused> {
        if self.settings.legacy.drops(series.metric, &series.resource) {
            return Ok(Judgement::Drop);
        }
        Ok(match self.drops(&View::of_series(series), false, false)? {
            Some(true) => Judgement::Drop,
            Some(false) => Judgement::Keep,
            None => Judgement::Ask,
        })
    }

    fn keeps(&mut self, sample: &Sample) -> Result<bool, Refused> {
        let view = View::of_sample(sample, self.wall);
        Ok(self.drops(&view, false, true)? != Some(true))
    }

    fn wants_whole(&self) -> bool {
        self.groups
    }

    fn whole(&mut self, batch: &mut Batch) -> Result<(), Refused> {
        let mut groups: BTreeMap<(usize, usize), Vec<&Series>> = BTreeMap::new();
        for sample in &batch.samples {
            groups.entry(group_of(&sample.series)).or_default().push(&sample.series);
        }
        let mut dropped = Vec::new();
        for (key, group) in &groups {
            let view = View { group: Some(group), ..View::of_series(group[0]) };
            if self.drops(&view, true, true)? == Some(true) {
                dropped.push(*key);
            }
        }
        batch.samples.retain(|sample| !dropped.contains(&group_of(&sample.series)));
        Ok(())
    }

    fn tick(&mut self, now: Moment) -> bool {
        (self.boot, self.wall) = (now.boot, now.wall);
        false
    }
}

/// What makes points belong to one metric of one resource.
fn group_of(series: &Series) -> (usize, usize) {
    (Arc::as_ptr(&series.resource) as usize, std::ptr::from_ref(series.metric) as usize)
}

/// What `check` can say of a filter, from the metrics that its pipeline can carry.
#[must_use]
pub fn doubts(settings: &Settings, metrics: &[&'static Metric]) -> Vec<(usize, String)> {
    let mut doubts = Vec::new();
    if metrics.is_empty() {
        return doubts;
    }
    for (index, rule) in settings.rules.iter().enumerate() {
        let answers = metrics.iter().map(|metric| {
            let view = View { metric: Some(metric), ..View::default() };
            rule.condition.ask(&view).unwrap_or(Answer::Unknown)
        });
        let answers: Vec<Answer> = answers.collect();
        if answers.iter().all(|answer| *answer == Answer::No) {
            doubts.push((index, "no series of this pipeline can meet it".to_owned()));
        } else if answers.iter().all(|answer| *answer == Answer::Yes) {
            doubts.push((
                index,
                "every series of this pipeline meets it: nothing is left".to_owned(),
            ));
        }
    }
    doubts
}

#[cfg(test)]
mod tests;
