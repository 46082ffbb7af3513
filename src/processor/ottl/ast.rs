//! Expressions, and how they are written.

use std::fmt;

/// Anything that can stand in a condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// Where it begins, in characters.
    pub offset: usize,
    /// What it is.
    pub kind: ExprKind,
}

/// What an expression is.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// One of several holds.
    Or(Vec<Expr>),
    /// All of several hold.
    And(Vec<Expr>),
    /// It does not hold.
    Not(Box<Expr>),
    /// Two values compared.
    Compare(Box<Expr>, Comparison, Box<Expr>),
    /// Two values reckoned.
    Math(Box<Expr>, Operator, Box<Expr>),
    /// A sign before something that is not a number.
    Sign(bool, Box<Expr>),
    /// `nil`.
    Nil,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Double(f64),
    /// A text.
    Text(String),
    /// Bytes, `0x...`.
    Bytes(Vec<u8>),
    /// A list.
    List(Vec<Expr>),
    /// A map.
    Map(Vec<(String, Expr)>),
    /// A named number, such as `FLAG_NONE`.
    Enum(String),
    /// A path, such as `resource.attributes["host.name"]`.
    Path(Vec<Field>),
    /// A converter, such as `IsMatch(metric.name, "a")`.
    Call {
        /// Its name.
        name: String,
        /// Its arguments, some by name.
        arguments: Vec<(Option<String>, Expr)>,
        /// What is picked out of its result.
        indexes: Vec<Expr>,
    },
}

/// A part of a path.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// What is picked out of it.
    pub indexes: Vec<Expr>,
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// How two values are reckoned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
}

impl Expr {
    /// How tightly it holds together: what is looser than its surroundings needs parentheses.
    fn tightness(&self) -> u8 {
        match &self.kind {
            ExprKind::Or(_) => 0,
            ExprKind::And(_) => 1,
            ExprKind::Not(_) => 2,
            ExprKind::Compare(..) => 3,
            ExprKind::Math(_, Operator::Add | Operator::Subtract, _) => 4,
            ExprKind::Math(..) => 5,
            _ => 6,
        }
    }

    fn within(&self, tightness: u8, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.tightness() < tightness { write!(f, "({self})") } else { write!(f, "{self}") }
    }
}

fn joined(list: &[Expr], word: &str, tightness: u8, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (index, part) in list.iter().enumerate() {
        if index > 0 {
            write!(f, " {word} ")?;
        }
        part.within(tightness, f)?;
    }
    Ok(())
}

fn indexed(indexes: &[Expr], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    indexes.iter().try_for_each(|index| write!(f, "[{index}]"))
}

/// A text as it is written in a condition.
fn quoted(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("\"")?;
    for char in text.chars() {
        match char {
            '"' | '\\' => write!(f, "\\{char}")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            other => write!(f, "{other}")?,
        }
    }
    f.write_str("\"")
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Or(list) => joined(list, "or", 1, f),
            ExprKind::And(list) => joined(list, "and", 2, f),
            ExprKind::Not(inner) => {
                f.write_str("not ")?;
                inner.within(3, f)
            }
            ExprKind::Compare(left, how, right) => {
                left.within(4, f)?;
                write!(f, " {} ", how.word())?;
                right.within(4, f)
            }
            ExprKind::Math(left, how, right) => {
                let own = self.tightness();
                left.within(own, f)?;
                write!(f, " {} ", how.word())?;
                right.within(own + 1, f)
            }
            ExprKind::Sign(negative, inner) => {
                f.write_str(if *negative { "-" } else { "+" })?;
                // A sign before a number would belong to the number.
                match inner.kind {
                    ExprKind::Int(_) | ExprKind::Double(_) | ExprKind::Sign(..) => {
                        write!(f, "({inner})")
                    }
                    _ => inner.within(6, f),
                }
            }
            ExprKind::Nil => f.write_str("nil"),
            ExprKind::Bool(bool) => write!(f, "{bool}"),
            ExprKind::Int(int) => write!(f, "{int}"),
            // Always with a point, and never with an exponent.
            ExprKind::Double(double) => {
                let text = format!("{double}");
                f.write_str(&text)?;
                if text.contains('.') { Ok(()) } else { f.write_str(".0") }
            }
            ExprKind::Text(text) => quoted(text, f),
            ExprKind::Bytes(bytes) => {
                f.write_str("0x")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
            ExprKind::List(list) => {
                f.write_str("[")?;
                for (index, value) in list.iter().enumerate() {
                    write!(f, "{}{value}", if index > 0 { ", " } else { "" })?;
                }
                f.write_str("]")
            }
            ExprKind::Map(entries) => {
                f.write_str("{")?;
                for (index, (key, value)) in entries.iter().enumerate() {
                    f.write_str(if index > 0 { ", " } else { "" })?;
                    quoted(key, f)?;
                    write!(f, ": {value}")?;
                }
                f.write_str("}")
            }
            ExprKind::Enum(name) => f.write_str(name),
            ExprKind::Path(fields) => {
                for (index, field) in fields.iter().enumerate() {
                    write!(f, "{}{}", if index > 0 { "." } else { "" }, field.name)?;
                    indexed(&field.indexes, f)?;
                }
                Ok(())
            }
            ExprKind::Call { name, arguments, indexes } => {
                write!(f, "{name}(")?;
                for (index, (by_name, value)) in arguments.iter().enumerate() {
                    f.write_str(if index > 0 { ", " } else { "" })?;
                    if let Some(by_name) = by_name {
                        write!(f, "{by_name} = ")?;
                    }
                    write!(f, "{value}")?;
                }
                f.write_str(")")?;
                indexed(indexes, f)
            }
        }
    }
}

impl Comparison {
    fn word(self) -> &'static str {
        match self {
            Comparison::Equal => "==",
            Comparison::NotEqual => "!=",
            Comparison::Less => "<",
            Comparison::LessOrEqual => "<=",
            Comparison::Greater => ">",
            Comparison::GreaterOrEqual => ">=",
        }
    }
}

impl Operator {
    fn word(self) -> &'static str {
        match self {
            Operator::Add => "+",
            Operator::Subtract => "-",
            Operator::Multiply => "*",
            Operator::Divide => "/",
        }
    }
}
