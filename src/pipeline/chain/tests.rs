use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::base::clock;
use crate::signal::names::{PROBE_DURATION, PROBE_SUCCESS};
use crate::signal::series::{Attributes, Metric, Resource};

type Judge = Box<dyn FnMut(&Arc<Series>) -> Result<Judgement, Refused> + Send>;

/// A processor out of closures, and how often it was asked about a series.
struct Fake {
    judge: Judge,
    asked: Arc<AtomicUsize>,
    changed: bool,
}

impl Processor for Fake {
    fn judge(&mut self, series: &Arc<Series>) -> Result<Judgement, Refused> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        (self.judge)(series)
    }

    fn keeps(&mut self, sample: &Sample) -> Result<bool, Refused> {
        match sample.value {
            Value::Double(value) if value < 0.0 => Err(Refused("negative".to_owned())),
            Value::Double(value) => Ok(value < 5.0),
            _ => Ok(true),
        }
    }

    fn tick(&mut self, _: Moment) -> bool {
        std::mem::take(&mut self.changed)
    }
}

fn stage(judge: impl FnMut(&Arc<Series>) -> Result<Judgement, Refused> + Send + 'static) -> Stage {
    let fake = Fake { judge: Box::new(judge), asked: Arc::default(), changed: false };
    Stage { processor: Box::new(fake), dropped: Counter::default() }
}

/// A stage that puts an attribute on every series.
fn tag(value: &'static str) -> Stage {
    stage(move |series| {
        let own = Attributes::new([("tag", value)]);
        let (shared, resource) = (series.shared.clone(), Arc::clone(&series.resource));
        Ok(Judgement::Replace(Series::new(series.metric, shared, own, resource)))
    })
}

fn series(metric: &'static Metric) -> Arc<Series> {
    let resource = Arc::new(Resource::new("j", "i", []));
    Series::new(metric, Attributes::default(), Attributes::default(), resource)
}

fn batch(samples: Vec<Sample>) -> Batch {
    Batch { samples, lifetime: None }
}

fn at(time: u64, series: &Arc<Series>, value: f64) -> Sample {
    Sample::number(series, Timestamp(time), value)
}

#[test]
fn a_series_is_judged_once_and_its_samples_follow() {
    let asked = Arc::new(AtomicUsize::new(0));
    let judge: Judge = Box::new(|series| {
        Ok(if series.metric.name == "probe.success" { Judgement::Drop } else { Judgement::Keep })
    });
    let fake = Fake { judge, asked: Arc::clone(&asked), changed: false };
    let dropped = Counter::default();
    let mut chain =
        Chain::new(vec![Stage { processor: Box::new(fake), dropped: dropped.clone() }, tag("x")]);
    let (success, duration) = (series(&PROBE_SUCCESS), series(&PROBE_DURATION));
    let now = clock::now().boot;
    let mut output = None;
    for time in 0..3 {
        let samples = vec![at(time, &success, 1.0), at(time, &duration, 0.5)];
        let out = chain.process(batch(samples), now).expect("passes");
        assert_eq!(out.len(), 1);
        let series = Arc::clone(&out.samples[0].series);
        assert_eq!(series.own.text("tag"), Some("x"));
        // The same series comes out each time, so that exporters know it again.
        assert_eq!(output.get_or_insert(series.id), &series.id);
    }
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    assert_eq!(dropped.get(), 3);
}

#[test]
fn values_are_looked_at_where_that_is_wanted_and_a_refusal_is_one_of_the_payload() {
    let mut chain = Chain::new(vec![tag("seen"), stage(|_| Ok(Judgement::Ask)), tag("last")]);
    let one = series(&PROBE_DURATION);
    let now = clock::now().boot;
    let samples = vec![at(1, &one, 1.0), at(2, &one, 9.0), at(3, &one, 2.0)];
    let out = chain.process(batch(samples), now).expect("passes");
    let values: Vec<u64> = out.samples.iter().map(|sample| sample.time.0).collect();
    assert_eq!(values, [1, 3]);
    assert!(out.samples.iter().all(|sample| sample.series.own.text("tag") == Some("last")));
    // The end of a series passes, whatever its value would have said; that of one that never did does not.
    let other = series(&PROBE_DURATION);
    let ends = |series: &Arc<Series>| Sample::stale(Arc::clone(series), Timestamp(9));
    let out = chain.process(batch(vec![at(4, &other, 9.0), ends(&other)]), now).expect("passes");
    assert_eq!(out.len(), 0);
    let out = chain.process(batch(vec![at(4, &other, 1.0), ends(&other)]), now).expect("passes");
    assert_eq!(out.len(), 2);
    let refused = chain.process(batch(vec![at(4, &one, 1.0), at(5, &one, -1.0)]), now);
    assert_eq!(refused.map(|b| b.len()), Err(Refused("negative".to_owned())));
    assert_eq!(chain.process(batch(vec![at(6, &one, 1.0)]), now).map(|b| b.len()), Ok(1));
}

#[test]
fn what_comes_out_as_another_series_ends_as_the_one_it_was() {
    let (one, other) = (series(&PROBE_DURATION), series(&PROBE_DURATION));
    let mut old = Chain::new(vec![tag("old")]);
    let samples = vec![at(1, &one, 1.0), at(1, &other, 1.0)];
    let out = old.process(batch(samples), clock::now().boot).expect("passes");
    let before = Arc::clone(&out.samples[0].series);
    // One that has ended by itself does not end twice.
    let ends = batch(vec![Sample::stale(Arc::clone(&other), Timestamp(2))]);
    assert_eq!(old.process(ends, clock::now().boot).map(|b| b.len()), Ok(1));

    let moment = clock::now();
    let mut same = Chain::new(vec![tag("old")]);
    assert!(same.succeed(&old, moment).is_empty(), "the same names and labels go on");
    let mut next = Chain::new(vec![tag("next")]);
    let ended = next.succeed(&old, moment);
    assert_eq!(ended.len(), 1);
    assert_eq!((ended[0].series.id, &ended[0].value), (before.id, &Value::Stale));
    let mut gone = Chain::new(vec![stage(|_| Ok(Judgement::Drop))]);
    assert_eq!(gone.succeed(&old, moment).len(), 1, "what is dropped now ends, too");
    assert_eq!(old.farewell(Timestamp(3)).len(), 1);
    // The series is known to the next chain: it comes out as one and the same from now on.
    assert_eq!(next.succeed(&gone, moment).len(), 0);
}

#[test]
fn what_a_processor_learns_ends_the_old_series() {
    let value = Arc::new(Mutex::new("before"));
    let own = Arc::clone(&value);
    let judge: Judge = Box::new(move |series| {
        let own = Attributes::new([("host", *own.lock().expect("no panic"))]);
        let (shared, resource) = (series.shared.clone(), Arc::clone(&series.resource));
        Ok(Judgement::Replace(Series::new(series.metric, shared, own, resource)))
    });
    let fake = Fake { judge, asked: Arc::default(), changed: false };
    let mut chain =
        Chain::new(vec![Stage { processor: Box::new(fake), dropped: Counter::default() }]);
    let one = series(&PROBE_DURATION);
    let first = chain.process(batch(vec![at(1, &one, 1.0)]), clock::now().boot).expect("passes");
    assert!(chain.tick(clock::now()).is_empty());
    *value.lock().expect("no panic") = "after";
    // Nothing changes behind the chain's back: it is told.
    let stages = &mut chain.segments[0].stages;
    stages[0].processor = Box::new(Fake {
        judge: Box::new(|series| {
            let own = Attributes::new([("host", "after")]);
            let (shared, resource) = (series.shared.clone(), Arc::clone(&series.resource));
            Ok(Judgement::Replace(Series::new(series.metric, shared, own, resource)))
        }),
        asked: Arc::default(),
        changed: true,
    });
    let ended = chain.tick(clock::now());
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].series.id, first.samples[0].series.id);
    let second = chain.process(batch(vec![at(2, &one, 1.0)]), clock::now().boot).expect("passes");
    assert_eq!(second.samples[0].series.own.text("host"), Some("after"));
}
