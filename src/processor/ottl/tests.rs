use proptest::prelude::*;

use super::ast::{Comparison, Expr, ExprKind, Field, Operator};
use super::*;
use crate::base::clock::Timestamp;
use crate::signal::any_value::AnyValue;
use crate::signal::batch::{Histogram, Sample, Value};
use crate::signal::names::{PROBE_ATTEMPTS, PROBE_DURATION, SLOT_LATENESS};
use crate::signal::series::{Attributes, Metric, Resource, Series};
use std::sync::Arc;

const NOW: Timestamp = Timestamp(2_000_000_000_000_000_000);
const TIME: Timestamp = Timestamp(1_999_999_990_000_000_000);

fn series(metric: &'static Metric) -> Arc<Series> {
    let list = AnyValue::List([AnyValue::from("x"), 2.into()].into());
    let own = Attributes::new([
        ("state", AnyValue::from("idle")),
        ("cpu", AnyValue::from("0")),
        ("port", AnyValue::Int(443)),
        ("share", AnyValue::Double(0.5)),
        ("on", AnyValue::Bool(true)),
        ("list", list),
        ("empty", AnyValue::from("")),
    ]);
    let shared = Attributes::new([("humanname", "Web"), ("cpu", "shared never wins")]);
    let resource = Arc::new(Resource::new("probe", "a:1", [("host.name", "pi")]));
    Series::new(metric, shared, own, resource)
}

fn sample(value: Value) -> Sample {
    let metric = match value {
        Value::Int(_) => &PROBE_ATTEMPTS,
        Value::Histogram(_) => &SLOT_LATENESS,
        _ => &PROBE_DURATION,
    };
    Sample { series: series(metric), start: Some(Timestamp(7)), time: TIME, value }
}

fn ask(text: &str, sample: &Sample) -> Result<Answer, String> {
    let condition = Condition::new(text, Some(Context::Datapoint)).map_err(|e| e.to_string())?;
    condition.ask(&View::of_sample(sample, NOW))
}

fn check(text: &str, expected: bool) {
    let found = ask(text, &sample(Value::Double(1.5)));
    assert_eq!(found, Ok(if expected { Answer::Yes } else { Answer::No }), "{text}");
}

fn fails(text: &str, part: &str) {
    let error = ask(text, &sample(Value::Double(1.5))).expect_err(text);
    assert!(error.contains(part), "{text}: {error}");
}

/// Every row of the table of comparisons.
#[test]
fn comparisons() {
    for (text, expected) in [
        // whole numbers and numbers are compared as numbers
        (r#"attributes["port"] == 443"#, true),
        (r#"attributes["port"] == 443.0"#, true),
        (r#"attributes["port"] != 443.5"#, true),
        (r#"attributes["port"] < 443.5"#, true),
        (r#"attributes["share"] >= 0.5"#, true),
        (r#"attributes["share"] < 1"#, true),
        (r#"1 == 1.0"#, true),
        (r#"-1 < 0"#, true),
        // different kinds are unequal, and in no order
        (r#"attributes["port"] == "443""#, false),
        (r#"attributes["port"] != "443""#, true),
        (r#"attributes["port"] < "443""#, false),
        (r#"attributes["port"] >= "443""#, false),
        (r#"attributes["on"] == 1"#, false),
        (r#"attributes["on"] != "true""#, true),
        (r#"0x01 == "01""#, false),
        // nil: a key that is missing
        (r#"attributes["none"] == nil"#, true),
        (r#"attributes["none"] <= nil"#, true),
        (r#"attributes["none"] >= nil"#, true),
        (r#"attributes["none"] != nil"#, false),
        (r#"attributes["none"] < nil"#, false),
        (r#"attributes["state"] != nil"#, true),
        (r#"attributes["state"] == nil"#, false),
        (r#"attributes["none"] < 1"#, false),
        (r#"attributes["none"] == """#, false),
        (r#"attributes["empty"] == """#, true),
        // the trap: what is missing is not equal to anything
        (r#"attributes["none"] != "X""#, true),
        // booleans: false before true
        (r#"false < true"#, true),
        (r#"attributes["on"] == true"#, true),
        (r#"attributes["on"] > false"#, true),
        // texts and bytes by their bytes
        (r#""a" < "b""#, true),
        (r#""B" < "a""#, true),
        (r#""é" > "z""#, true),
        (r#"0x00ff < 0x01"#, true),
        (r#"0x00FF == 0x00ff"#, true),
        // lists and maps are equal or not
        (r#"attributes["list"] == ["x", 2]"#, true),
        (r#"attributes["list"] != ["x", 3]"#, true),
        (r#"attributes["list"] < ["y"]"#, false),
        (r#"attributes["list"] >= ["x", 2]"#, false),
        (r#"{"a": 1} == {"a": 1.0}"#, true),
        (r#"{"a": 1} != {"b": 1}"#, true),
        (r#"{"a": 1} > {"a": 0}"#, false),
        // own attributes win over those of the target
        (r#"attributes["cpu"] == "0""#, true),
        (r#"attributes["humanname"] == "Web""#, true),
        // what is picked out
        (r#"attributes["list"][0] == "x""#, true),
        (r#"attributes["list"][1] == 2"#, true),
        (r#"attributes["none"]["deep"] == nil"#, true),
    ] {
        check(text, expected);
    }
}

/// `and`, `or` and `not`, with what is known and what is not.
#[test]
fn logic() {
    for (text, expected) in [
        ("true", true),
        ("false", false),
        ("not false", true),
        ("not true or true", true),
        ("not (true or true)", false),
        ("true and false or true", true),
        ("true or false and false", true),
        ("(true or false) and false", false),
        ("not 1 == 2 and true", true),
        ("true == true", true),
        (r#"IsString("a")"#, true),
        (r#"not IsString(1)"#, true),
    ] {
        check(text, expected);
    }
    // Without the sample its value is not known, and decides nothing.
    let sample = sample(Value::Double(1.5));
    for (text, expected) in [
        ("value_double > 1", Answer::Unknown),
        ("not value_double > 1", Answer::Unknown),
        ("value_double > 1 or true", Answer::Yes),
        ("true or value_double > 1", Answer::Yes),
        ("value_double > 1 and false", Answer::No),
        ("value_double > 1 or false", Answer::Unknown),
        ("value_double > 1 and true", Answer::Unknown),
        ("Int(value_double) == 1 and false", Answer::No),
        (r#"metric.name == "probe.duration" and value_double > 1"#, Answer::Unknown),
        (r#"metric.name == "other" and value_double > 1"#, Answer::No),
    ] {
        let condition = Condition::new(text, Some(Context::Datapoint)).expect(text);
        assert_eq!(condition.ask(&View::of_series(&sample.series)), Ok(expected), "{text}");
    }
}

#[test]
fn paths() {
    for (text, expected) in [
        (r#"metric.name == "probe.duration""#, true),
        (r#"metric.unit == "s" and metric.description != """#, true),
        ("metric.type == METRIC_DATA_TYPE_GAUGE", true),
        ("metric.aggregation_temporality == nil", true),
        ("metric.is_monotonic == nil", true),
        (r#"resource.attributes["host.name"] == "pi""#, true),
        (r#"resource.attributes["service.name"] == "probe""#, true),
        (r#"scope.name == "watchpost" and instrumentation_scope.version != nil"#, true),
        ("value_double == 1.5 and value_int == nil", true),
        ("flags == FLAG_NONE", true),
        ("time_unix_nano == 1999999990000000000 and start_time_unix_nano == 7", true),
        ("Now() - time == Duration(\"10s\")", true),
        ("time > start_time", true),
        ("UnixSeconds(time) == 1999999990", true),
        ("count == nil and explicit_bounds == nil and scale == nil", true),
        (r#"datapoint.attributes["state"] == "idle""#, true),
        (r#"Len(attributes) == 8"#, true),
        (r#"IsMap(attributes) and IsMap(resource.attributes)"#, true),
        ("exemplars == nil and cache[\"x\"] == nil", true),
    ] {
        check(text, expected);
    }
    let histogram = Histogram { bounds: &[1.0, 2.0], counts: vec![1, 2, 3], sum: 9.5 };
    let histogram = sample(Value::Histogram(Arc::new(histogram)));
    for text in [
        "count == 6 and sum == 9.5",
        "explicit_bounds == [1, 2] and bucket_counts == [1, 2, 3]",
        "metric.type == METRIC_DATA_TYPE_HISTOGRAM",
        "metric.aggregation_temporality == AGGREGATION_TEMPORALITY_CUMULATIVE",
        "value_double == nil",
    ] {
        assert_eq!(ask(text, &histogram), Ok(Answer::Yes), "{text}");
    }
    let counter = sample(Value::Int(3));
    for text in ["value_int == 3", "value_double == nil", "metric.is_monotonic", "metric.type == 2"]
    {
        match ask(text, &counter) {
            // A path alone is a value, not a condition.
            Err(why) => assert!(why.contains("not a condition") && text.ends_with("nic"), "{why}"),
            found => assert_eq!(found, Ok(Answer::Yes), "{text}"),
        }
    }
    let stale = sample(Value::Stale);
    assert_eq!(ask("flags == FLAG_NO_RECORDED_VALUE", &stale), Ok(Answer::Yes));
    assert_eq!(ask("value_double > 0", &stale), Ok(Answer::No));
}

#[test]
fn converters() {
    for (text, expected) in [
        (r#"IsMatch(metric.name, "^probe\\..*n$")"#, true),
        (r#"IsMatch(metric.name, "durat")"#, true),
        (r#"IsMatch(attributes["none"], ".*")"#, false),
        (r#"IsMatch(attributes["port"], "^44")"#, true),
        (r#"IsMatch(target = metric.name, pattern = "x")"#, false),
        (r#"HasPrefix(metric.name, "probe.")"#, true),
        (r#"HasSuffix(metric.name, ".duration")"#, true),
        (r#"Len("abc") == 3 and Len(attributes["list"]) == 2"#, true),
        (r#"Int("12") == 12 and Int(1.9) == 1 and Int(true) == 1"#, true),
        (r#"Int("x") == nil and Int(attributes["none"]) == nil"#, true),
        (r#"Double("1.5") == 1.5 and Double(3) == 3.0 and Double("x") == nil"#, true),
        (r#"String(1) == "1" and String(true) == "true" and String(nil) == nil"#, true),
        (r#"String(1.5) == "1.5" and String(attributes["list"]) == "[\"x\",2]""#, true),
        (r#"Concat(["a", 1, nil], "-") == "a-1-<nil>""#, true),
        (r#"Substring("abcdef", 1, 3) == "bcd""#, true),
        (r#"Split("a|b|c", "|") == ["a", "b", "c"]"#, true),
        (r#"Split("a|b", "|")[1] == "b""#, true),
        (r#"ContainsValue(attributes["list"], "x")"#, true),
        (r#"ContainsValue(Split("a,b", ","), "c")"#, false),
        (r#"ToLowerCase("AbC") == "abc" and ToUpperCase("ab") == "AB""#, true),
        (r#"IsString(metric.name) and IsInt(1) and IsDouble(1.0) and IsBool(true)"#, true),
        (r#"IsMap({"a": 1}) and IsList([]) and not IsList("a")"#, true),
        (r#"IsString(nil) or IsInt(nil)"#, false),
        (r#"Duration("1m") + Duration("30s") == Duration("90s")"#, true),
        (r#"Duration("-1s") < Duration("0s")"#, true),
        ("1 + 2 * 3 == 7", true),
        ("(1 + 2) * 3 == 9", true),
        ("7 / 2 == 3 and 7.0 / 2 == 3.5", true),
        ("1-2 == -1", true),
        ("-(1 + 2) == -3", true),
    ] {
        check(text, expected);
    }
    fails(
        r#"HasPrefix(attributes["port"], "4")"#,
        "HasPrefix: a text is expected, found a whole number",
    );
    fails(r#"HasSuffix(attributes["none"], "4")"#, "found nil");
    fails("Len(1) == 1", "Len: a text, a list or a map is expected");
    fails(r#"Substring("abc", 2, 5) == "c""#, "outside");
    fails("1 / 0 == 1", "divided by 0");
    fails("9223372036854775807 + 1 == 1", "64 bits");
    fails(r#""a" + 1 == 1"#, "cannot reckon");
    fails(r#"attributes["list"][9] == 1"#, "outside");
}

#[test]
fn conditions_about_metrics() {
    let (one, other) = (series(&PROBE_DURATION), series(&PROBE_DURATION));
    let group: Vec<&Series> = vec![&one, &other];
    for (text, expected) in [
        (r#"HasAttrOnDatapoint("state", "idle")"#, true),
        (r#"HasAttrOnDatapoint("state", "busy")"#, false),
        (r#"HasAttrOnDatapoint("port", 443)"#, true),
        (r#"HasAttrKeyOnDatapoint("cpu")"#, true),
        (r#"HasAttrKeyOnDatapoint("none")"#, false),
        (r#"name == "probe.duration" and HasAttrKeyOnDatapoint("cpu")"#, true),
        (r#"metric.name == "probe.duration" and type == METRIC_DATA_TYPE_GAUGE"#, true),
    ] {
        let condition = Condition::new(text, Some(Context::Metric)).expect(text);
        let view = View { group: Some(&group), ..View::of_series(&one) };
        let expected = if expected { Answer::Yes } else { Answer::No };
        assert_eq!(condition.ask(&view), Ok(expected), "{text}");
    }
    let condition = Condition::new(r#"HasAttrKeyOnDatapoint("cpu")"#, Some(Context::Metric));
    assert!(condition.expect("valid").needs_group());
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (text, place, part) in [
        ("", 1, "a value is expected, found the end"),
        ("attributes", 1, "not a condition"),
        (r#"attributes["a"] = "b""#, 17, "compare with `==`"),
        ("attributes['a'] == 1", 12, "double quotes"),
        (r#"attributes["a] == 1"#, 12, "no closing quote"),
        (r#"IsMatsch(metric.name, "a")"#, 1, "did you mean IsMatch?"),
        (r#"SHA256("a") == "b""#, 1, "SHA256 is not supported yet"),
        (r#"IsMatch(metric.name)"#, 1, "IsMatch(target, pattern) is called with 1 argument"),
        (r#"IsMatch(metric.name, attributes["x"])"#, 22, "must be a text"),
        (r#"IsMatch(metric.name, "(")"#, 22, "not a regular expression"),
        (r#"IsMatch(pattern = "a", metric.name)"#, 24, "without a name"),
        (r#"IsMatch(goal = metric.name, pattern = "a")"#, 16, "unknown argument of IsMatch goal"),
        (r#"set(attributes["a"], 1)"#, 1, "changes data"),
        ("metric.nmae == \"a\"", 1, "did you mean name?"),
        ("span.name == \"a\"", 1, "unknown path of a datapoint span.name"),
        ("value_duoble == 1", 1, "did you mean value_double?"),
        ("METRIC_DATA_TYPE_GUAGE == 1", 1, "did you mean METRIC_DATA_TYPE_GAUGE?"),
        ("true and", 9, "found the end"),
        ("true true", 6, "after a whole condition"),
        ("(true", 6, "\")\" is expected"),
        ("1 == 2 == 3", 8, "after a whole condition"),
        ("true == (1 == 1)", 9, "a value is expected here"),
        ("99999999999999999999 == 1", 1, "64 bits"),
        ("0x123 == 1", 1, "even number of digits"),
        ("a == 1 where b == 2", 8, "statements"),
        ("Abc_Def == 1", 1, "unknown name"),
        ("abcDef == 1", 1, "mixes cases"),
        (r#"HasAttrKeyOnDatapoint("a")"#, 1, "about a metric"),
    ] {
        let error = Condition::new(text, Some(Context::Datapoint)).expect_err(text);
        assert_eq!(error.offset + 1, place, "{text}: {error}");
        assert!(error.message.contains(part), "{text}: {error}");
    }
    let deep = format!("{}true{}", "(".repeat(1000), ")".repeat(1000));
    assert!(
        Condition::new(&deep, Some(Context::Metric)).expect_err("deep").message.contains("deeper")
    );
    let long = format!("1 == 1{}", "+1".repeat(10_000));
    assert!(
        Condition::new(&long, Some(Context::Metric))
            .expect_err("long")
            .message
            .contains("operators")
    );
    let error = Condition::new("datapoint.attributes[\"a\"] == 1", Some(Context::Metric));
    assert!(error.expect_err("narrower").message.contains("belongs to a datapoint"));
}

#[test]
fn the_context_is_the_narrowest_that_is_named() {
    for (text, context) in [
        (r#"metric.name == "a""#, Context::Metric),
        (r#"resource.attributes["a"] == "b""#, Context::Resource),
        (r#"scope.name == "a""#, Context::Scope),
        (r#"metric.name == "a" and datapoint.attributes["b"] == "c""#, Context::Datapoint),
        (r#"datapoint.attributes[metric.name] == "c""#, Context::Datapoint),
        (r#"HasAttrKeyOnDatapoint("a")"#, Context::Metric),
    ] {
        assert_eq!(Condition::new(text, None).expect(text).context, context, "{text}");
    }
    let error = Condition::new(r#"attributes["a"] == "b""#, None).expect_err("no context");
    assert!(error.message.contains("begin paths with datapoint."), "{error}");
    let error = Condition::new(r#"metric.name == "a" or name == "b""#, None).expect_err("mixed");
    assert!(error.message.contains("does not say what it is of"), "{error}");
}

fn expr(kind: ExprKind) -> Expr {
    Expr { offset: 0, kind }
}

fn boxed(inner: Expr) -> Box<Expr> {
    Box::new(inner)
}

fn literal() -> impl Strategy<Value = Expr> {
    prop_oneof![
        Just(ExprKind::Nil),
        any::<bool>().prop_map(ExprKind::Bool),
        (-i64::MAX..i64::MAX).prop_map(ExprKind::Int),
        (-1e15..1e15_f64).prop_map(ExprKind::Double),
        "[ -~é\n\t\"\\\\]{0,8}".prop_map(ExprKind::Text),
        proptest::collection::vec(any::<u8>(), 1..4).prop_map(ExprKind::Bytes),
        "[A-Z][A-Z0-9_]{0,6}".prop_map(ExprKind::Enum),
    ]
    .prop_map(expr)
}

fn name() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9_]{0,6}".prop_filter("keywords are no names", |word| {
        !["and", "or", "not", "true", "false", "nil", "where"].contains(&word.as_str())
    })
}

fn value() -> impl Strategy<Value = Expr> {
    let operator = prop_oneof![
        Just(Operator::Add),
        Just(Operator::Subtract),
        Just(Operator::Multiply),
        Just(Operator::Divide)
    ];
    literal().prop_recursive(3, 16, 3, move |inner| {
        let indexes = || proptest::collection::vec(inner.clone(), 0..2);
        let field = (name(), indexes()).prop_map(|(name, indexes)| Field { name, indexes });
        let argument = (proptest::option::of(name()), inner.clone());
        prop_oneof![
            proptest::collection::vec(field, 1..3).prop_map(ExprKind::Path),
            ("[A-Z][A-Za-z]{0,5}", proptest::collection::vec(argument, 0..3), indexes())
                .prop_map(|(name, arguments, indexes)| ExprKind::Call { name, arguments, indexes }),
            proptest::collection::vec(inner.clone(), 0..3).prop_map(ExprKind::List),
            proptest::collection::vec(("[ -~]{0,4}", inner.clone()), 0..3).prop_map(ExprKind::Map),
            (inner.clone(), operator.clone(), inner.clone())
                .prop_map(|(a, how, b)| ExprKind::Math(boxed(a), how, boxed(b))),
            (any::<bool>(), inner).prop_map(|(negative, a)| ExprKind::Sign(negative, boxed(a))),
        ]
        .prop_map(expr)
    })
}

fn condition() -> impl Strategy<Value = Expr> {
    let how = prop_oneof![
        Just(Comparison::Equal),
        Just(Comparison::NotEqual),
        Just(Comparison::Less),
        Just(Comparison::GreaterOrEqual)
    ];
    let leaf = (value(), how, value())
        .prop_map(|(a, how, b)| expr(ExprKind::Compare(boxed(a), how, boxed(b))));
    leaf.prop_recursive(4, 24, 3, |inner| {
        let several = || proptest::collection::vec(inner.clone(), 2..4);
        prop_oneof![
            several().prop_map(ExprKind::Or),
            several().prop_map(ExprKind::And),
            inner.clone().prop_map(|a| ExprKind::Not(boxed(a))),
        ]
        .prop_map(expr)
    })
}

/// The same tree, without places.
fn bare(of: &Expr) -> String {
    let mut text = format!("{of:?}");
    while let Some(at) = text.find("offset: ") {
        let end = text[at..].find(',').map_or(text.len(), |end| at + end);
        text.replace_range(at..end, "");
    }
    text
}

proptest! {
    #[test]
    fn what_is_printed_is_read_as_the_same(tree in condition()) {
        let text = tree.to_string();
        let read = parser::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        prop_assert_eq!(bare(&read), bare(&tree), "{}", text);
        prop_assert_eq!(read.to_string(), text);
    }

    #[test]
    fn no_text_makes_it_panic(text in "[a-zA-Z0-9_ .\"'\\\\()\\[\\]{}<>=!+*/,:x-]{0,60}") {
        let _ = Condition::new(&text, Some(Context::Datapoint));
        let _ = Condition::new(&text, None);
    }
}
