use super::*;
use crate::base::regexp;
use crate::signal::names::{PROBE_DURATION, PROBE_SUCCESS};

fn attributes(pairs: &[(&str, AnyValue)]) -> Attributes {
    Attributes::new(pairs.iter().cloned())
}

fn value(of: impl std::convert::Into<AnyValue>) -> Source {
    Source::Value(of.into())
}

fn pattern(text: &str) -> Regex {
    regexp::build(text).expect(text)
}

#[test]
fn each_action() {
    let before = attributes(&[
        ("a", "1".into()),
        ("b", 2.into()),
        ("url", "http://h.invalid/p".into()),
        ("flag", "true".into()),
    ]);
    let from = |name: &str| Source::Attribute(name.to_owned());
    let name = |name: &str| name.to_owned();
    let sha = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b";
    for (action, key, expected) in [
        (Action::Insert(name("new"), value("x")), "new", Some("x".into())),
        (Action::Insert(name("a"), value("x")), "a", Some("1".into())),
        (Action::Update(name("a"), value(5)), "a", Some(5.into())),
        (Action::Update(name("new"), value("x")), "new", None),
        (Action::Upsert(name("a"), value("x")), "a", Some("x".into())),
        (Action::Upsert(name("new"), from("b")), "new", Some(2.into())),
        (Action::Upsert(name("new"), from("none")), "new", None),
        (Action::Delete(Some(name("a")), None), "a", None),
        (Action::Delete(None, Some(pattern("^ur"))), "url", None),
        (Action::Delete(Some(name("a")), Some(pattern("^ur"))), "b", Some(2.into())),
        (Action::Hash(Some(name("a")), None), "a", Some(sha.into())),
        (
            Action::Extract(name("url"), pattern("://(?P<host>[^/]+)/")),
            "host",
            Some("h.invalid".into()),
        ),
        (Action::Extract(name("url"), pattern("(?P<none>x{9})")), "none", None),
        (Action::Convert(name("a"), Into::Int), "a", Some(1.into())),
        (Action::Convert(name("url"), Into::Int), "url", Some("http://h.invalid/p".into())),
        (Action::Convert(name("b"), Into::Text), "b", Some("2".into())),
        (Action::Convert(name("b"), Into::Double), "b", Some(2.0.into())),
        (Action::Convert(name("flag"), Into::Bool), "flag", Some(true.into())),
    ] {
        let after = apply(std::slice::from_ref(&action), &before);
        assert_eq!(after.get(key), expected.as_ref(), "{action:?}");
    }
}

#[test]
fn actions_follow_each_other() {
    let actions = [
        Action::Insert("x".into(), value("one")),
        Action::Upsert("y".into(), Source::Attribute("x".into())),
        Action::Delete(Some("x".into()), None),
    ];
    let after = apply(&actions, &Attributes::default());
    assert_eq!(after, attributes(&[("y", "one".into())]));
}

fn series(shared: &Attributes, own: &[(&str, &str)], resource: &Arc<Resource>) -> Arc<Series> {
    let own = Attributes::new(own.iter().copied());
    Series::new(&PROBE_DURATION, shared.clone(), own, Arc::clone(resource))
}

fn replaced(judgement: Result<Judgement, Refused>) -> Arc<Series> {
    match judgement {
        Ok(Judgement::Replace(series)) => series,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_resource_is_changed_once_for_all_its_series() {
    let resource = Arc::new(Resource::new("j", "i", []));
    let shared = Attributes::default();
    let action =
        Action::Insert("host.name".into(), Source::Attribute("service.instance.id".into()));
    let mut processor = ResourceActions::new(vec![action]);
    let one = replaced(processor.judge(&series(&shared, &[], &resource)));
    let other = replaced(processor.judge(&series(&shared, &[("phase", "tls")], &resource)));
    assert_eq!(one.resource.attributes.text("host.name"), Some("i"));
    assert!(Arc::ptr_eq(&one.resource, &other.resource));
    // What changes nothing makes no other series.
    let mut nothing = ResourceActions::new(vec![Action::Delete(Some("none".into()), None)]);
    assert!(matches!(nothing.judge(&one), Ok(Judgement::Keep)));
}

#[test]
fn what_all_series_of_a_target_have_stays_in_one_piece() {
    let resource = Arc::new(Resource::new("j", "i", []));
    let shared = Attributes::new([("humanname", "Web"), ("routing", "internal")]);
    let mut processor = PointActions::new(vec![
        Action::Upsert("site".into(), value("home")),
        Action::Delete(Some("routing".into()), None),
        Action::Update("phase".into(), value("handshake")),
    ]);
    let plain = replaced(processor.judge(&series(&shared, &[], &resource)));
    let phase = replaced(processor.judge(&series(&shared, &[("phase", "tls")], &resource)));
    assert!(plain.own.is_empty());
    assert!(plain.shared.is(&phase.shared));
    assert_eq!(plain.shared, Attributes::new([("humanname", "Web"), ("site", "home")]));
    assert_eq!(phase.own, Attributes::new([("phase", "handshake")]));
    let bare = Series::new(&PROBE_SUCCESS, Attributes::default(), Attributes::default(), resource);
    let bare = replaced(processor.judge(&bare));
    assert_eq!(bare.attributes(), [("site", &"home".into())]);
}

#[test]
fn resources_that_nobody_has_any_more_are_forgotten() {
    let mut processor = ResourceActions::new(vec![Action::Upsert("a".into(), value("b"))]);
    for _ in 0..3 {
        let resource = Arc::new(Resource::new("j", "i", []));
        drop(processor.judge(&series(&Attributes::default(), &[], &resource)));
    }
    let kept = Arc::new(Resource::new("j", "kept", []));
    drop(processor.judge(&series(&Attributes::default(), &[], &kept)));
    assert_eq!(processor.resources.known.len(), 4);
    let mut moment = crate::base::clock::now();
    moment.boot = moment.boot + SWEEP_EVERY;
    processor.tick(moment);
    assert_eq!(processor.resources.known.len(), 1);
}
