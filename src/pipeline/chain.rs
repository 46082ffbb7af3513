//! The processors of a pipeline, one after the other, with their verdicts kept for each series: a
//! sample costs one look into a table, unless a processor has to see its value.

use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::{BootTime, Moment, Timestamp};
use crate::pipeline::selfmetrics::Counter;
use crate::pipeline::stage::{Judgement, Processor, Refused};
use crate::signal::batch::{Batch, Sample, Value};
use crate::signal::series::{Series, SeriesTable};

/// A series that has not been seen for this long leaves the tables.
const UNSEEN: Duration = Duration::from_secs(2 * 3600);
/// How often the tables are looked through for such series.
const SWEEP_EVERY: Duration = Duration::from_secs(600);

/// A processor and what it has dropped.
pub struct Stage {
    /// The processor.
    pub processor: Box<dyn Processor>,
    /// Samples that it did not let pass.
    pub dropped: Counter,
}

/// What is kept of a series.
struct Known {
    input: Arc<Series>,
    route: Route,
    seen: BootTime,
    /// Whether a sample of it has come through to the end.
    passed: bool,
}

enum Route {
    /// Dropped by the stage of this number.
    Dropped(usize),
    /// Comes out as this series, unless one of the stages that have to be asked says no. They see
    /// the series as it is where they stand.
    Passes { asked: Box<[(usize, Arc<Series>)]>, output: Arc<Series> },
}

/// Stages whose verdicts can be put together.
#[derive(Default)]
struct Segment {
    stages: Vec<Stage>,
    known: SeriesTable<Known>,
}

/// Processors in their order.
pub struct Chain {
    /// All but the last end with a stage that wants whole payloads.
    segments: Vec<Segment>,
    swept: BootTime,
}

impl Chain {
    /// A chain of processors.
    #[must_use]
    pub fn new(stages: Vec<Stage>) -> Self {
        let mut segments = vec![Segment::default()];
        for stage in stages {
            let whole = stage.processor.wants_whole();
            segments.last_mut().expect("never empty").stages.push(stage);
            if whole {
                segments.push(Segment::default());
            }
        }
        Self { segments, swept: BootTime::default() }
    }

    /// Sends a payload through; what is left of it.
    ///
    /// # Errors
    /// When a processor refuses the payload.
    pub fn process(&mut self, mut batch: Batch, now: BootTime) -> Result<Batch, Refused> {
        let last = self.segments.len() - 1;
        for (at, segment) in self.segments.iter_mut().enumerate() {
            segment.process(&mut batch.samples, now)?;
            if at < last
                && let Some(stage) = segment.stages.last_mut()
            {
                let before = batch.len();
                stage.processor.whole(&mut batch)?;
                stage.dropped.add((before - batch.len()) as u64);
            }
        }
        Ok(batch)
    }

    /// Time has passed. Series whose identity has changed by what a processor has learned since end
    /// under the old one: their stale markers.
    pub fn tick(&mut self, now: Moment) -> Vec<Sample> {
        let stages = self.segments.iter_mut().flat_map(|segment| &mut segment.stages);
        // Every one hears of it, whatever the others say.
        let changed =
            stages.filter_map(|stage| stage.processor.tick(now).then_some(())).count() > 0;
        if now.boot.since(self.swept) >= SWEEP_EVERY {
            self.swept = now.boot;
            for segment in &mut self.segments {
                segment.known.retain(|_, known| now.boot.since(known.seen) < UNSEEN);
            }
        }
        if !changed {
            return Vec::new();
        }
        let live = self.live();
        for segment in &mut self.segments {
            segment.known.clear();
        }
        self.ended(live, now)
    }

    /// Takes the place of another chain: the stale markers of series that come out of this one as
    /// other series, or not at all.
    pub fn succeed(&mut self, old: &Chain, now: Moment) -> Vec<Sample> {
        let live = old.live();
        self.ended(live, now)
    }

    fn ended(&mut self, live: Vec<(Arc<Series>, Arc<Series>)>, now: Moment) -> Vec<Sample> {
        let mut ended = Vec::new();
        for (input, before) in live {
            match self.route(&input, now.boot) {
                Some(after) if after.is_same(&before) => {}
                _ => ended.push(Sample::stale(before, now.wall)),
            }
        }
        ended
    }

    /// What a series becomes, and the tables learn it as if it had passed.
    fn route(&mut self, input: &Arc<Series>, now: BootTime) -> Option<Arc<Series>> {
        let mut series = Arc::clone(input);
        for segment in &mut self.segments {
            let known = segment.learn(&series, now).ok()?;
            match &known.route {
                Route::Dropped(_) => return None,
                Route::Passes { output, .. } => {
                    let next = Arc::clone(output);
                    known.passed = true;
                    series = next;
                }
            }
        }
        Some(series)
    }

    /// Every series of which a sample has come through, as it came in and as it came out.
    fn live(&self) -> Vec<(Arc<Series>, Arc<Series>)> {
        let Some((first, others)) = self.segments.split_first() else { return Vec::new() };
        let mut live = Vec::new();
        'series: for known in first.known.values() {
            let mut step = known;
            for segment in others {
                let Route::Passes { output, .. } = &step.route else { continue 'series };
                let Some(next) = segment.known.get(&output.id) else { continue 'series };
                step = next;
            }
            if let (true, Route::Passes { output, .. }) = (step.passed, &step.route) {
                live.push((Arc::clone(&known.input), Arc::clone(output)));
            }
        }
        live
    }

    /// The stale markers of everything that has come through: for an exporter that ends.
    #[must_use]
    pub fn farewell(&self, at: Timestamp) -> Vec<Sample> {
        self.live().into_iter().map(|(_, output)| Sample::stale(output, at)).collect()
    }

    /// Bytes that the tables take, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let series: usize = self.segments.iter().map(|segment| segment.known.len()).sum();
        series * (size_of::<Known>() + size_of::<Series>() + 16)
    }
}

impl Segment {
    fn process(&mut self, samples: &mut Vec<Sample>, now: BootTime) -> Result<(), Refused> {
        let mut result = Ok(());
        samples.retain_mut(|sample| {
            if result.is_err() {
                return false;
            }
            match self.pass(sample, now) {
                Ok(passes) => passes,
                Err(refused) => {
                    result = Err(refused);
                    false
                }
            }
        });
        result
    }

    fn pass(&mut self, sample: &mut Sample, now: BootTime) -> Result<bool, Refused> {
        let input = sample.series.id;
        if !self.known.contains_key(&input) {
            self.learn(&sample.series, now)?;
        }
        let known = self.known.get_mut(&input).expect("learned above");
        known.seen = now;
        let mut passes = true;
        match &known.route {
            Route::Dropped(stage) => {
                self.stages[*stage].dropped.add(1);
                passes = false;
            }
            // The end of a series goes where its samples have gone.
            Route::Passes { asked, output }
                if sample.value == Value::Stale && !asked.is_empty() =>
            {
                passes = known.passed;
                sample.series = Arc::clone(output);
            }
            Route::Passes { asked, output } => {
                for (stage, series) in asked {
                    sample.series = Arc::clone(series);
                    let stage = &mut self.stages[*stage];
                    if !stage.processor.keeps(sample)? {
                        stage.dropped.add(1);
                        passes = false;
                        break;
                    }
                }
                known.passed |= passes;
                if passes && output.id != sample.series.id {
                    sample.series = Arc::clone(output);
                }
            }
        }
        if sample.value == Value::Stale {
            self.known.remove(&input);
        }
        Ok(passes)
    }

    fn learn(&mut self, input: &Arc<Series>, now: BootTime) -> Result<&mut Known, Refused> {
        let mut series = Arc::clone(input);
        let mut asked = Vec::new();
        let mut dropped = None;
        for (at, stage) in self.stages.iter_mut().enumerate() {
            match stage.processor.judge(&series)? {
                Judgement::Keep => {}
                Judgement::Replace(next) => series = next,
                Judgement::Ask => asked.push((at, Arc::clone(&series))),
                Judgement::Drop => {
                    dropped = Some(at);
                    break;
                }
            }
        }
        let route = match dropped {
            Some(at) => Route::Dropped(at),
            None => Route::Passes { asked: asked.into(), output: series },
        };
        let known = Known { input: Arc::clone(input), route, seen: now, passed: false };
        Ok(match self.known.entry(input.id) {
            Entry::Occupied(mut have) => {
                have.insert(known);
                have.into_mut()
            }
            Entry::Vacant(free) => free.insert(known),
        })
    }
}

#[cfg(test)]
mod tests;
