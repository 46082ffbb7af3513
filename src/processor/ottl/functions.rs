//! The converters.

use std::borrow::Cow;

use super::ast::Comparison;
use super::value::{Val, compare};
use crate::base::duration;

/// What a converter makes of its arguments.
pub(super) type Convert = for<'a> fn(&[Val<'a>]) -> Result<Val<'a>, String>;

/// A converter.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) name: &'static str,
    pub(super) parameters: &'static [&'static str],
    /// How many of them may be left out, at the end.
    pub(super) optional: usize,
    pub(super) work: Work,
}

/// How it works.
#[derive(Clone, Copy, Debug)]
pub(super) enum Work {
    /// From its arguments alone.
    Plain(Convert),
    /// A regular expression that is read once.
    Match,
    /// The time of day.
    Now,
    /// Whether a point of the metric has an attribute, and this value.
    PointHas,
    /// Whether a point of the metric has an attribute.
    PointHasKey,
}

const fn plain(
    name: &'static str,
    parameters: &'static [&'static str],
    convert: Convert,
) -> Function {
    Function { name, parameters, optional: 0, work: Work::Plain(convert) }
}

/// All that exist here.
pub(super) static FUNCTIONS: [Function; 25] = [
    Function {
        name: "IsMatch",
        parameters: &["target", "pattern"],
        optional: 0,
        work: Work::Match,
    },
    Function { name: "Now", parameters: &[], optional: 0, work: Work::Now },
    Function {
        name: "HasAttrOnDatapoint",
        parameters: &["key", "expectedVal"],
        optional: 0,
        work: Work::PointHas,
    },
    Function {
        name: "HasAttrKeyOnDatapoint",
        parameters: &["key"],
        optional: 0,
        work: Work::PointHasKey,
    },
    plain("HasPrefix", &["target", "prefix"], |a| {
        Ok(Val::Bool(strict(&a[0])?.starts_with(strict(&a[1])?)))
    }),
    plain("HasSuffix", &["target", "suffix"], |a| {
        Ok(Val::Bool(strict(&a[0])?.ends_with(strict(&a[1])?)))
    }),
    plain("Len", &["target"], len),
    plain("Int", &["target"], int),
    plain("Double", &["target"], double),
    plain("String", &["target"], |a| {
        Ok(if a[0] == Val::Nil { Val::Nil } else { Val::Text(Cow::Owned(text_of(&a[0]))) })
    }),
    plain("Concat", &["values", "delimiter"], |a| {
        let Val::List(list) = &a[0] else { return Err(expected("a list", &a[0])) };
        let parts: Vec<String> = list
            .iter()
            .map(|value| if *value == Val::Nil { "<nil>".to_owned() } else { text_of(value) })
            .collect();
        Ok(Val::Text(Cow::Owned(parts.join(strict(&a[1])?))))
    }),
    plain("Substring", &["target", "start", "length"], substring),
    plain("Split", &["target", "delimiter"], |a| {
        let (text, delimiter) = (strict(&a[0])?, strict(&a[1])?);
        let owned = |part: &str| Val::Text(Cow::Owned(part.to_owned()));
        Ok(Val::List(if delimiter.is_empty() {
            text.chars().map(|char| owned(char.encode_utf8(&mut [0; 4]))).collect()
        } else {
            text.split(delimiter).map(owned).collect()
        }))
    }),
    plain("ToLowerCase", &["target"], |a| Ok(Val::Text(Cow::Owned(strict(&a[0])?.to_lowercase())))),
    plain("ToUpperCase", &["target"], |a| Ok(Val::Text(Cow::Owned(strict(&a[0])?.to_uppercase())))),
    plain("ContainsValue", &["target", "item"], |a| {
        let Val::List(list) = &a[0] else { return Err(expected("a list", &a[0])) };
        Ok(Val::Bool(list.iter().any(|v| compare(v, Comparison::Equal, &a[1]) == Some(true))))
    }),
    plain("IsString", &["value"], |a| Ok(Val::Bool(matches!(a[0], Val::Text(_))))),
    plain("IsInt", &["value"], |a| Ok(Val::Bool(matches!(a[0], Val::Int(_))))),
    plain("IsDouble", &["value"], |a| Ok(Val::Bool(matches!(a[0], Val::Double(_))))),
    plain("IsBool", &["value"], |a| Ok(Val::Bool(matches!(a[0], Val::Bool(_))))),
    plain("IsMap", &["value"], |a| Ok(Val::Bool(matches!(a[0], Val::Map(_))))),
    plain("IsList", &["value"], |a| Ok(Val::Bool(matches!(a[0], Val::List(_))))),
    plain("Duration", &["duration"], |a| {
        let text = strict(&a[0])?;
        let (negative, bare) = match text.strip_prefix('-') {
            Some(bare) => (true, bare),
            None => (false, text),
        };
        let nanos = duration::parse(bare)?.as_nanos();
        let nanos = i64::try_from(nanos).map_err(|_| "longer than 292 years".to_owned())?;
        Ok(Val::Span(if negative { -nanos } else { nanos }))
    }),
    plain("UnixSeconds", &["time"], |a| match &a[0] {
        Val::Time(nanos) => Ok(Val::Int(nanos.div_euclid(1_000_000_000))),
        other => Err(expected("a time", other)),
    }),
    plain("UnixNano", &["time"], |a| match &a[0] {
        Val::Time(nanos) => Ok(Val::Int(*nanos)),
        other => Err(expected("a time", other)),
    }),
];

/// Converters of the Collector that are not built here.
pub(super) const LATER: [&str; 36] = [
    "Base64Decode",
    "Coalesce",
    "CommunityID",
    "ConvertCase",
    "Day",
    "Decode",
    "ExtractGrokPatterns",
    "ExtractPatterns",
    "FNV",
    "Format",
    "FormatTime",
    "Hex",
    "Hour",
    "Hours",
    "InsertXML",
    "IsInCIDR",
    "IsRootSpan",
    "IsValidLuhn",
    "Keys",
    "Log",
    "MD5",
    "Minute",
    "Month",
    "ParseCSV",
    "ParseInt",
    "ParseJSON",
    "ParseKeyValue",
    "SHA1",
    "SHA256",
    "SHA512",
    "Time",
    "TruncateTime",
    "Trim",
    "UUID",
    "Values",
    "Year",
];

fn expected(what: &str, found: &Val<'_>) -> String {
    format!("{what} is expected, found {}", found.kind())
}

/// A text, and nothing that could be turned into one.
fn strict<'v>(value: &'v Val<'_>) -> Result<&'v str, String> {
    match value {
        Val::Text(text) => Ok(text),
        other => Err(expected("a text", other)),
    }
}

/// A value as text.
pub(super) fn text_of(value: &Val<'_>) -> String {
    match value {
        Val::Text(text) => text.clone().into_owned(),
        Val::Bool(bool) => bool.to_string(),
        Val::Int(int) | Val::Time(int) | Val::Span(int) => int.to_string(),
        Val::Double(double) => double.to_string(),
        Val::Bytes(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        Val::List(list) => {
            let parts: Vec<String> = list.iter().map(json).collect();
            format!("[{}]", parts.join(","))
        }
        Val::Map(entries) => {
            let pairs = entries.iter().map(|(k, v)| format!("{}:{}", json(&Val::text(k)), json(v)));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
        }
        Val::Nil | Val::Unknown => String::new(),
    }
}

fn json(value: &Val<'_>) -> String {
    match value {
        Val::Text(text) => format!("{text:?}"),
        Val::Nil => "null".to_owned(),
        other => text_of(other),
    }
}

fn len<'a>(a: &[Val<'a>]) -> Result<Val<'a>, String> {
    let len = match &a[0] {
        Val::Text(text) => text.len(),
        Val::Bytes(bytes) => bytes.len(),
        Val::List(list) => list.len(),
        Val::Map(entries) => entries.len(),
        other => return Err(expected("a text, a list or a map", other)),
    };
    Ok(Val::Int(i64::try_from(len).unwrap_or(i64::MAX)))
}

fn int<'a>(a: &[Val<'a>]) -> Result<Val<'a>, String> {
    Ok(match &a[0] {
        Val::Int(int) => Val::Int(*int),
        Val::Double(double) => Val::Int(*double as i64),
        Val::Bool(bool) => Val::Int(i64::from(*bool)),
        Val::Text(text) => text.parse().map_or(Val::Nil, Val::Int),
        _ => Val::Nil,
    })
}

fn double<'a>(a: &[Val<'a>]) -> Result<Val<'a>, String> {
    Ok(match &a[0] {
        Val::Int(int) => Val::Double(*int as f64),
        Val::Double(double) => Val::Double(*double),
        Val::Bool(bool) => Val::Double(f64::from(u8::from(*bool))),
        Val::Text(text) => text.parse().map_or(Val::Nil, Val::Double),
        _ => Val::Nil,
    })
}

fn substring<'a>(a: &[Val<'a>]) -> Result<Val<'a>, String> {
    let text = strict(&a[0])?;
    let number = |value: &Val<'_>| match value {
        Val::Int(int) => usize::try_from(*int).map_err(|_| format!("{int} is less than 0")),
        other => Err(expected("a whole number", other)),
    };
    let (start, length) = (number(&a[1])?, number(&a[2])?);
    if length == 0 {
        return Err("the length must be more than 0".to_owned());
    }
    start
        .checked_add(length)
        .and_then(|end| text.get(start..end))
        .map(|part| Val::Text(Cow::Owned(part.to_owned())))
        .ok_or_else(|| {
            format!("{start} to {start}+{length} is outside of a text of {}", text.len())
        })
}
