use super::*;
use crate::base::place::{At, Place, Problems};
use crate::pipeline::chain::{Chain, Stage};
use crate::pipeline::selfmetrics::Counter;
use crate::processor::ottl::Context;
use crate::signal::names::{PROBE_DURATION, PROBE_SUCCESS, TARGETS};
use crate::signal::series::{Attributes, Resource};
use settings::{RawFilter, RawItem};

fn rule(text: &str, context: Context, errors: ErrorMode) -> Rule {
    Rule { condition: Condition::new(text, Some(context)).expect(text), errors }
}

fn filter(rules: Vec<Rule>) -> Chain {
    let settings = Settings { rules, ..Settings::default() };
    let processor = Box::new(Filter::new("filter", Arc::new(settings)));
    Chain::new(vec![Stage { processor, dropped: Counter::default() }])
}

fn series(metric: &'static Metric, pairs: &[(&str, &str)]) -> Arc<Series> {
    let resource = Arc::new(Resource::new("j", "i", []));
    Series::new(metric, Attributes::default(), Attributes::new(pairs.iter().copied()), resource)
}

fn left(chain: &mut Chain, list: &[(&Arc<Series>, f64)]) -> Result<Vec<f64>, Refused> {
    let sample =
        |(series, value): &(&Arc<Series>, f64)| Sample::number(series, Timestamp(1), *value);
    let batch = Batch { samples: list.iter().map(sample).collect(), lifetime: None };
    let values = chain.process(batch, BootTime::default())?.samples.into_iter();
    Ok(values
        .map(|s| if let crate::signal::batch::Value::Double(v) = s.value { v } else { 0.0 })
        .collect())
}

#[test]
fn what_meets_one_condition_is_dropped() {
    let mut chain = filter(vec![
        rule(r#"metric.name == "probe.success""#, Context::Datapoint, ErrorMode::Propagate),
        rule(
            r#"attributes["phase"] != "rtt" and value_double > 5"#,
            Context::Datapoint,
            ErrorMode::Propagate,
        ),
    ]);
    let (success, bare) = (series(&PROBE_SUCCESS, &[]), series(&PROBE_DURATION, &[]));
    let rtt = series(&PROBE_DURATION, &[("phase", "rtt")]);
    let kept = left(&mut chain, &[(&success, 1.0), (&bare, 2.0), (&bare, 9.0), (&rtt, 9.5)]);
    // The trap that is one in the Collector, too: an attribute that is missing is not "rtt".
    assert_eq!(kept, Ok(vec![2.0, 9.5]));
}

#[test]
fn a_condition_that_cannot_be_decided() {
    let text = r#"HasPrefix(attributes["none"], "a")"#;
    let one = series(&PROBE_DURATION, &[]);
    for (mode, expected) in
        [(ErrorMode::Ignore, true), (ErrorMode::Silent, true), (ErrorMode::Propagate, false)]
    {
        let mut chain = filter(vec![rule(text, Context::Datapoint, mode)]);
        let found = left(&mut chain, &[(&one, 1.0)]);
        assert_eq!(found.is_ok(), expected, "{mode:?} {found:?}");
        if let Err(why) = found {
            assert!(why.0.contains("HasPrefix") && why.0.contains("found nil"), "{why}");
        }
    }
    // What another condition has decided already needs no answer.
    let mut chain = filter(vec![
        rule("true", Context::Metric, ErrorMode::Propagate),
        rule(text, Context::Datapoint, ErrorMode::Propagate),
    ]);
    assert_eq!(left(&mut chain, &[(&one, 1.0)]), Ok(vec![]));
}

#[test]
fn a_metric_goes_with_all_its_points_when_one_has_the_attribute() {
    let text = r#"HasAttrOnDatapoint("phase", "tls")"#;
    let mut chain = filter(vec![rule(text, Context::Metric, ErrorMode::Propagate)]);
    let resource = Arc::new(Resource::new("j", "i", []));
    let of = |metric, phase: &str| {
        let own = Attributes::new([("phase", phase)]);
        Series::new(metric, Attributes::default(), own, Arc::clone(&resource))
    };
    let (tls, tcp) = (of(&PROBE_DURATION, "tls"), of(&PROBE_DURATION, "connect"));
    let other = of(&PROBE_SUCCESS, "connect");
    assert_eq!(left(&mut chain, &[(&tls, 1.0), (&tcp, 2.0), (&other, 3.0)]), Ok(vec![3.0]));
    assert_eq!(left(&mut chain, &[(&tcp, 2.0), (&other, 3.0)]), Ok(vec![2.0, 3.0]));
}

#[test]
fn the_old_blocks() {
    use crate::base::regexp;
    use legacy::{Block, Legacy, Matcher};
    let strict = |name: &str| Matcher::Strict(name.to_owned());
    let names = |list: Vec<Matcher>| Some(Block { metric_names: list, ..Block::default() });
    let of_resource = |value: &str| {
        Some(Block {
            resource_attributes: vec![("service.name".into(), strict(value))],
            ..Block::default()
        })
    };
    let regexp = |text: &str| Matcher::Regexp(regexp::build(text).expect(text));
    let resource = Resource::new("j", "i", []);
    for (include, exclude, dropped) in [
        (None, None, [false, false]),
        (names(vec![strict("probe.success")]), None, [false, true]),
        (names(vec![strict("probe")]), None, [true, true]),
        (names(vec![regexp("^probe\\.s")]), None, [false, true]),
        (None, names(vec![regexp("duration")]), [false, true]),
        (names(vec![regexp("probe")]), names(vec![strict("probe.success")]), [true, false]),
        (of_resource("j"), None, [false, false]),
        (of_resource("other"), None, [true, true]),
        (None, of_resource("j"), [true, true]),
    ] {
        let legacy = Legacy { include, exclude };
        let found = [&PROBE_SUCCESS, &PROBE_DURATION].map(|metric| legacy.drops(metric, &resource));
        assert_eq!(found, dropped, "{legacy:?}");
    }
}

#[test]
fn both_forms_are_read_and_resources_come_first() {
    let at = |text: &str| At { place: Place::default(), value: Some(text.to_owned()) };
    let items = vec![
        RawItem::Text(at(r#"datapoint.attributes["phase"] == "tls""#)),
        RawItem::Text(at(r#"resource.attributes["service.name"] == "x""#)),
        RawItem::Text(at(r#"metric.name == "y""#)),
        RawItem::Text(at(r#"attributes["phase"] == "tls""#)),
    ];
    let mut problems = Problems::default();
    let settings = RawFilter::default().settle(&Place::default(), Some(items), &mut problems);
    let contexts: Vec<Context> = settings.rules.iter().map(|r| r.condition.context).collect();
    assert_eq!(contexts, [Context::Resource, Context::Metric, Context::Datapoint]);
    assert_eq!(problems.sorted().len(), 1, "the one without a context");
}

#[test]
fn doubts_of_conditions_that_meet_nothing_or_everything() {
    let conditions = [
        (r#"metric.name == "probe.sucess""#, Some("no series")),
        (r#"metric.name == "probe.success""#, None),
        (
            r#"metric.name != "probe.success" or metric.name != "probe.duration""#,
            Some("nothing is left"),
        ),
        (r#"attributes["state"] == "x""#, None),
        (r#"attributes["state"] == "x" and metric.name == "none""#, Some("no series")),
        (r#"value_double > 1 or true"#, Some("nothing is left")),
    ];
    let rules = conditions.iter();
    let rules = rules.map(|(text, _)| rule(text, Context::Datapoint, ErrorMode::Ignore)).collect();
    let settings = Settings { rules, ..Settings::default() };
    let found = doubts(&settings, &[&PROBE_SUCCESS, &PROBE_DURATION, &TARGETS]);
    for (index, (text, expected)) in conditions.iter().enumerate() {
        let found = found.iter().find(|(at, _)| *at == index).map(|(_, doubt)| doubt.as_str());
        assert_eq!(found.is_some(), expected.is_some(), "{text}: {found:?}");
        assert!(
            found.is_none_or(|f| f.contains(expected.unwrap_or_default())),
            "{text}: {found:?}"
        );
    }
    assert!(doubts(&settings, &[]).is_empty(), "of nothing nothing is said");
}
