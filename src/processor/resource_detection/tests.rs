use super::*;
use crate::base::clock;
use crate::signal::names::PROBE_SUCCESS;
use crate::signal::series::Resource;

fn host(series: &Judgement) -> String {
    let Judgement::Replace(series) = series else { panic!("{series:?}") };
    let attributes = &series.resource.attributes;
    format!(
        "{} {}",
        attributes.text("host.name").unwrap_or("-"),
        attributes.text("os.type").unwrap_or("-")
    )
}

#[test]
fn what_a_resource_has_stays_unless_it_is_overridden() {
    let facts = Arc::new(Facts::default());
    facts.set(vec![("host.name".into(), "pi".into()), ("os.type".into(), "linux".into())]);
    let resource = Arc::new(Resource::new("j", "i", [("host.name", "own")]));
    let series =
        Series::new(&PROBE_SUCCESS, Attributes::default(), Attributes::default(), resource);
    let mut keeps = ResourceDetection::new(false, Arc::clone(&facts));
    let mut overrides = ResourceDetection::new(true, Arc::clone(&facts));
    assert_eq!(host(&keeps.judge(&series).expect("passes")), "own linux");
    assert_eq!(host(&overrides.judge(&series).expect("passes")), "pi linux");
}

#[test]
fn what_is_found_later_is_noticed_once() {
    let facts = Arc::new(Facts::default());
    let mut processor = ResourceDetection::new(true, Arc::clone(&facts));
    let resource = Arc::new(Resource::new("j", "i", []));
    let series =
        Series::new(&PROBE_SUCCESS, Attributes::default(), Attributes::default(), resource);
    assert!(matches!(processor.judge(&series), Ok(Judgement::Keep)));
    assert!(!processor.tick(clock::now()));
    facts.set(vec![("host.name".into(), "pi".into())]);
    assert!(processor.tick(clock::now()));
    assert!(!processor.tick(clock::now()));
    assert_eq!(host(&processor.judge(&series).expect("passes")), "pi -");
    // The same again is nothing new.
    facts.set(vec![("host.name".into(), "pi".into())]);
    assert!(!processor.tick(clock::now()));
}
