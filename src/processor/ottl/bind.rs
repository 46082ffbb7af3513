//! From an expression to a condition that can be asked: paths and converters are looked up once, by
//! the context in which the condition stands.

use regex::bytes::Regex;

use super::OttlError;
use super::ast::{Comparison, Expr, ExprKind, Field, Operator};
use super::functions::{FUNCTIONS, Function, LATER, Work};
use super::parser::parse;
use super::value::Val;
use crate::base::place::nearest;
use crate::base::regexp;

/// What a condition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Context {
    /// A resource.
    Resource,
    /// An instrumentation scope.
    Scope,
    /// A metric with all its points.
    Metric,
    /// A point of a metric.
    Datapoint,
}

impl Context {
    /// The word of the configuration.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Context::Resource => "resource",
            Context::Scope => "scope",
            Context::Metric => "metric",
            Context::Datapoint => "datapoint",
        }
    }

    /// The context of a word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        match word {
            "resource" => Some(Context::Resource),
            "scope" | "instrumentation_scope" => Some(Context::Scope),
            "metric" => Some(Context::Metric),
            "datapoint" => Some(Context::Datapoint),
            _ => None,
        }
    }
}

/// How much has to be known of a point before a condition can be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Needs {
    /// Its series.
    Series,
    /// Its value, its time, or the time of day.
    Sample,
    /// All points of its metric in the payload.
    Group,
}

/// A condition that can be asked.
#[derive(Debug)]
pub struct Condition {
    pub(super) root: Bound,
    /// The text as it was written, on one line.
    pub text: String,
    /// What it is about.
    pub context: Context,
    needs: Needs,
}

impl Condition {
    /// Whether it can be decided only with the sample.
    #[must_use]
    pub fn needs_sample(&self) -> bool {
        self.needs >= Needs::Sample
    }

    /// Whether it can be decided only with all points of the metric.
    #[must_use]
    pub fn needs_group(&self) -> bool {
        self.needs == Needs::Group
    }

    /// Reads a condition. Without a context, it is the narrowest that its paths name, and every path
    /// has to begin with one.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn new(text: &str, context: Option<Context>) -> Result<Self, OttlError> {
        let expr = parse(text)?;
        let (context, named) = match context {
            Some(context) => (context, false),
            None => (inferred(&expr)?, true),
        };
        let mut binder = Binder { context, named, needs: Needs::Series };
        let root = binder.bind(&expr)?;
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        Ok(Self { root, text, context, needs: binder.needs })
    }
}

/// An expression with everything looked up.
#[derive(Debug)]
pub(super) enum Bound {
    Or(Vec<Bound>),
    And(Vec<Bound>),
    Not(Box<Bound>),
    Compare(Box<Bound>, Comparison, Box<Bound>),
    Math(Box<Bound>, Operator, Box<Bound>),
    Negative(Box<Bound>),
    Constant(Val<'static>),
    List(Vec<Bound>),
    Map(Vec<(String, Bound)>),
    Path(Path, Vec<Bound>),
    Call(&'static Function, Vec<Bound>, Vec<Bound>),
    Match(Box<Bound>, Regex),
}

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    Attributes,
    ResourceAttributes,
    ScopeName,
    ScopeVersion,
    ScopeAttributes,
    Name,
    Description,
    Unit,
    Type,
    Temporality,
    Monotonic,
    ValueDouble,
    ValueInt,
    Time,
    StartTime,
    TimeNano,
    StartTimeNano,
    Flags,
    Count,
    Sum,
    Bounds,
    BucketCounts,
    Scale,
    ZeroCount,
    PositiveOffset,
    PositiveCounts,
    NegativeOffset,
    NegativeCounts,
    /// What exists in the Collector's data and never here: always nil.
    Nothing,
}

const METRIC_PATHS: [(&str, Path); 6] = [
    ("name", Path::Name),
    ("description", Path::Description),
    ("unit", Path::Unit),
    ("type", Path::Type),
    ("aggregation_temporality", Path::Temporality),
    ("is_monotonic", Path::Monotonic),
];

const POINT_PATHS: [(&str, Path); 21] = [
    ("attributes", Path::Attributes),
    ("value_double", Path::ValueDouble),
    ("value_int", Path::ValueInt),
    ("time", Path::Time),
    ("start_time", Path::StartTime),
    ("time_unix_nano", Path::TimeNano),
    ("start_time_unix_nano", Path::StartTimeNano),
    ("flags", Path::Flags),
    ("count", Path::Count),
    ("sum", Path::Sum),
    ("explicit_bounds", Path::Bounds),
    ("bucket_counts", Path::BucketCounts),
    ("scale", Path::Scale),
    ("zero_count", Path::ZeroCount),
    ("positive.offset", Path::PositiveOffset),
    ("positive.bucket_counts", Path::PositiveCounts),
    ("negative.offset", Path::NegativeOffset),
    ("negative.bucket_counts", Path::NegativeCounts),
    ("quantile_values", Path::Nothing),
    ("exemplars", Path::Nothing),
    ("cache", Path::Nothing),
];

const SCOPE_PATHS: [(&str, Path); 3] = [
    ("name", Path::ScopeName),
    ("version", Path::ScopeVersion),
    ("attributes", Path::ScopeAttributes),
];

const RESOURCE_PATHS: [(&str, Path); 1] = [("attributes", Path::ResourceAttributes)];

const ENUMS: [(&str, i64); 11] = [
    ("METRIC_DATA_TYPE_NONE", 0),
    ("METRIC_DATA_TYPE_GAUGE", 1),
    ("METRIC_DATA_TYPE_SUM", 2),
    ("METRIC_DATA_TYPE_HISTOGRAM", 3),
    ("METRIC_DATA_TYPE_EXPONENTIAL_HISTOGRAM", 4),
    ("METRIC_DATA_TYPE_SUMMARY", 5),
    ("AGGREGATION_TEMPORALITY_UNSPECIFIED", 0),
    ("AGGREGATION_TEMPORALITY_DELTA", 1),
    ("AGGREGATION_TEMPORALITY_CUMULATIVE", 2),
    ("FLAG_NONE", 0),
    ("FLAG_NO_RECORDED_VALUE", 1),
];

/// The narrowest context that a path of the expression names.
fn inferred(expr: &Expr) -> Result<Context, OttlError> {
    fn walk(expr: &Expr, narrowest: &mut Option<Context>) {
        let mut all = |list: &[Expr]| list.iter().for_each(|inner| walk(inner, narrowest));
        match &expr.kind {
            ExprKind::Or(list) | ExprKind::And(list) | ExprKind::List(list) => all(list),
            ExprKind::Not(inner) | ExprKind::Sign(_, inner) => walk(inner, narrowest),
            ExprKind::Compare(a, _, b) | ExprKind::Math(a, _, b) => {
                walk(a, narrowest);
                walk(b, narrowest);
            }
            ExprKind::Map(entries) => entries.iter().for_each(|(_, inner)| walk(inner, narrowest)),
            ExprKind::Path(fields) => {
                fields.iter().for_each(|field| all(&field.indexes));
                *narrowest = (*narrowest).max(Context::of(&fields[0].name));
            }
            ExprKind::Call { name, arguments, indexes } => {
                all(indexes);
                arguments.iter().for_each(|(_, inner)| walk(inner, narrowest));
                if name.contains("OnDatapoint") {
                    *narrowest = (*narrowest).max(Some(Context::Metric));
                }
            }
            _ => {}
        }
    }
    let mut narrowest = None;
    walk(expr, &mut narrowest);
    narrowest.ok_or_else(|| {
        let message =
            "what it is about is not clear: begin paths with datapoint., metric. or resource.";
        OttlError::new(0, message)
    })
}

struct Binder {
    context: Context,
    /// Whether every path has to name its context.
    named: bool,
    needs: Needs,
}

impl Binder {
    fn bind(&mut self, expr: &Expr) -> Result<Bound, OttlError> {
        let one = |this: &mut Self, expr: &Expr| this.bind(expr).map(Box::new);
        Ok(match &expr.kind {
            ExprKind::Or(list) => Bound::Or(self.all(list)?),
            ExprKind::And(list) => Bound::And(self.all(list)?),
            ExprKind::Not(inner) => Bound::Not(one(self, inner)?),
            ExprKind::Compare(a, how, b) => Bound::Compare(one(self, a)?, *how, one(self, b)?),
            ExprKind::Math(a, how, b) => Bound::Math(one(self, a)?, *how, one(self, b)?),
            ExprKind::Sign(false, inner) => self.bind(inner)?,
            ExprKind::Sign(true, inner) => Bound::Negative(one(self, inner)?),
            ExprKind::Nil => Bound::Constant(Val::Nil),
            ExprKind::Bool(bool) => Bound::Constant(Val::Bool(*bool)),
            ExprKind::Int(int) => Bound::Constant(Val::Int(*int)),
            ExprKind::Double(double) => Bound::Constant(Val::Double(*double)),
            ExprKind::Text(text) => Bound::Constant(Val::Text(text.clone().into())),
            ExprKind::Bytes(bytes) => Bound::Constant(Val::Bytes(bytes.clone().into())),
            ExprKind::List(list) => Bound::List(self.all(list)?),
            ExprKind::Map(entries) => {
                let entry = |(key, value): &(String, Expr)| Ok((key.clone(), self.bind(value)?));
                Bound::Map(entries.iter().map(entry).collect::<Result<_, OttlError>>()?)
            }
            ExprKind::Enum(name) => match ENUMS.iter().find(|(known, _)| known == name) {
                Some((_, number)) => Bound::Constant(Val::Int(*number)),
                None => {
                    let known = ENUMS.iter().map(|(name, _)| *name);
                    return Err(unknown(expr.offset, "name", name, known));
                }
            },
            ExprKind::Path(fields) => self.path(expr.offset, fields)?,
            ExprKind::Call { name, arguments, indexes } => {
                self.call(expr.offset, name, arguments, indexes)?
            }
        })
    }

    fn all(&mut self, list: &[Expr]) -> Result<Vec<Bound>, OttlError> {
        list.iter().map(|expr| self.bind(expr)).collect()
    }

    fn path(&mut self, offset: usize, fields: &[Field]) -> Result<Bound, OttlError> {
        let written = Expr { offset, kind: ExprKind::Path(fields.to_vec()) };
        // `resource.attributes`, or `attributes` of what the condition is about.
        let (context, fields) = match (Context::of(&fields[0].name), fields) {
            (Some(context), [first, rest @ ..]) if !rest.is_empty() && first.indexes.is_empty() => {
                (context, rest)
            }
            _ if self.named => {
                return Err(OttlError::new(
                    offset,
                    format!(
                        "{written} does not say what it is of: datapoint.{written}, metric.{written} or resource.{written}"
                    ),
                ));
            }
            _ => (self.context, fields),
        };
        if context > self.context {
            return Err(OttlError::new(
                offset,
                format!(
                    "{written} belongs to a {}, and the condition is about a {}",
                    context.word(),
                    self.context.word()
                ),
            ));
        }
        let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
        let name = names.join(".");
        let known: &[(&str, Path)] = match context {
            Context::Resource => &RESOURCE_PATHS,
            Context::Scope => &SCOPE_PATHS,
            Context::Metric => &METRIC_PATHS,
            Context::Datapoint => &POINT_PATHS,
        };
        let Some((_, path)) = known.iter().find(|(have, _)| *have == name) else {
            let has = |list: &[(&str, Path)]| list.iter().any(|(have, _)| *have == name);
            let elsewhere = if context == Context::Metric && has(&POINT_PATHS) {
                Some(format!("{name} belongs to a datapoint: the condition is about a metric"))
            } else if context == Context::Datapoint && has(&METRIC_PATHS) {
                Some(format!("a datapoint has no {name}: write metric.{name}"))
            } else {
                None
            };
            if let Some(message) = elsewhere {
                return Err(OttlError::new(offset, message));
            }
            let what = format!("path of a {}", context.word());
            return Err(unknown(offset, &what, &name, known.iter().map(|(name, _)| *name)));
        };
        let (last, before) = fields.split_last().expect("a path has a field");
        if let Some(field) = before.iter().find(|field| !field.indexes.is_empty()) {
            let message = format!("{} has nothing to pick out of", field.name);
            return Err(OttlError::new(offset, message));
        }
        let series = matches!(
            path,
            Path::Attributes
                | Path::ResourceAttributes
                | Path::ScopeName
                | Path::ScopeVersion
                | Path::ScopeAttributes
                | Path::Nothing
        ) || METRIC_PATHS.iter().any(|(_, metric)| metric == path);
        if !series {
            self.needs = self.needs.max(Needs::Sample);
        }
        Ok(Bound::Path(*path, self.all(&last.indexes)?))
    }

    fn call(
        &mut self,
        offset: usize,
        name: &str,
        arguments: &[(Option<String>, Expr)],
        indexes: &[Expr],
    ) -> Result<Bound, OttlError> {
        let Some(function) = FUNCTIONS.iter().find(|function| function.name == name) else {
            if LATER.contains(&name) {
                let message = format!("the function {name} is not supported yet");
                return Err(OttlError::new(offset, message));
            }
            let known = FUNCTIONS.iter().map(|function| function.name);
            return Err(unknown(offset, "function", name, known));
        };
        let mut given: Vec<Option<&Expr>> = vec![None; function.parameters.len()];
        let mut named = false;
        for (index, (by_name, argument)) in arguments.iter().enumerate() {
            let at = match by_name {
                Some(by_name) => {
                    named = true;
                    let Some(at) = function.parameters.iter().position(|p| p == by_name) else {
                        let known = function.parameters.iter().copied();
                        let what = format!("argument of {name}");
                        return Err(unknown(argument.offset, &what, by_name, known));
                    };
                    at
                }
                None if named => {
                    let message = "an argument without a name stands after one with a name";
                    return Err(OttlError::new(argument.offset, message));
                }
                None => index,
            };
            match given.get_mut(at) {
                Some(slot) if slot.is_none() => *slot = Some(argument),
                Some(_) => {
                    let message = format!("{} is here twice", function.parameters[at]);
                    return Err(OttlError::new(argument.offset, message));
                }
                None => return Err(arity(offset, function, arguments.len())),
            }
        }
        let required = function.parameters.len() - function.optional;
        if given.iter().take(required).any(Option::is_none) {
            return Err(arity(offset, function, arguments.len()));
        }
        match function.work {
            Work::PointHas | Work::PointHasKey => {
                if self.context != Context::Metric {
                    let message = format!("{name} belongs to conditions about a metric");
                    return Err(OttlError::new(offset, message));
                }
                self.needs = Needs::Group;
            }
            Work::Now => self.needs = self.needs.max(Needs::Sample),
            Work::Match => {
                let (Some(target), Some(pattern)) = (given[0], given[1]) else {
                    return Err(arity(offset, function, arguments.len()));
                };
                let ExprKind::Text(text) = &pattern.kind else {
                    let message = "the pattern of IsMatch must be a text in quotes";
                    return Err(OttlError::new(pattern.offset, message));
                };
                let regex =
                    regexp::build(text).map_err(|why| OttlError::new(pattern.offset, why))?;
                return Ok(Bound::Match(Box::new(self.bind(target)?), regex));
            }
            Work::Plain(_) => {}
        }
        let bound: Vec<Bound> =
            given.into_iter().flatten().map(|expr| self.bind(expr)).collect::<Result<_, _>>()?;
        Ok(Bound::Call(function, bound, self.all(indexes)?))
    }
}

fn arity(offset: usize, function: &Function, found: usize) -> OttlError {
    let wanted = function.parameters.join(", ");
    let plural = if found == 1 { "" } else { "s" };
    let message = format!("{}({wanted}) is called with {found} argument{plural}", function.name);
    OttlError::new(offset, message)
}

fn unknown<'n>(
    offset: usize,
    what: &str,
    name: &str,
    known: impl Iterator<Item = &'n str> + Clone,
) -> OttlError {
    let message = match nearest(name, known.clone()) {
        Some(near) => format!("unknown {what} {name} (did you mean {near}?)"),
        None => format!("unknown {what} {name} (known: {})", known.collect::<Vec<_>>().join(", ")),
    };
    OttlError::new(offset, message)
}
