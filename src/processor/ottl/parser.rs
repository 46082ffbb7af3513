//! From tokens to an expression. One pass, bounded depth; what is a condition and what a value is told
//! apart afterwards, so that parentheses need no second try.

use super::OttlError;
use super::ast::{Comparison, Expr, ExprKind, Field, Operator};
use super::lexer::{Token, TokenKind, tokens};

/// How deep expressions may nest.
const MAX_DEPTH: usize = 64;
/// How long a condition may be, in bytes.
const MAX_BYTES: usize = 64 << 10;

/// How often a condition may reckon: each time makes the tree deeper.
const MAX_MATH: usize = 256;

const KEYWORDS: [&str; 6] = ["and", "or", "not", "true", "false", "nil"];

/// Reads a condition.
///
/// # Errors
/// What is wrong, and where.
pub fn parse(text: &str) -> Result<Expr, OttlError> {
    if text.len() > MAX_BYTES {
        return Err(OttlError::new(0, format!("longer than {MAX_BYTES} bytes")));
    }
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0, math: 0 };
    let expr = parser.or()?;
    let next = parser.peek();
    if next.kind != TokenKind::End {
        let message = match &next.kind {
            TokenKind::Lower(word) if word == "where" => {
                "`where` belongs to statements; a filter has conditions only".to_owned()
            }
            kind => format!("unexpected {} after a whole condition", describe(kind)),
        };
        return Err(OttlError::new(next.offset, message));
    }
    condition(&expr)?;
    Ok(expr)
}

/// A condition, not a value.
fn condition(expr: &Expr) -> Result<(), OttlError> {
    match &expr.kind {
        ExprKind::Or(list) | ExprKind::And(list) => list.iter().try_for_each(condition),
        ExprKind::Not(inner) => condition(inner),
        ExprKind::Compare(left, _, right) => value(left).and_then(|()| value(right)),
        ExprKind::Bool(_) => Ok(()),
        ExprKind::Call { .. } => value(expr),
        _ => Err(OttlError::new(
            expr.offset,
            format!("{expr} is a value, not a condition: compare it with something"),
        )),
    }
}

/// A value, not a condition.
fn value(expr: &Expr) -> Result<(), OttlError> {
    match &expr.kind {
        ExprKind::Or(_) | ExprKind::And(_) | ExprKind::Not(_) | ExprKind::Compare(..) => {
            Err(OttlError::new(expr.offset, "a value is expected here, not a condition"))
        }
        ExprKind::Math(left, _, right) => value(left).and_then(|()| value(right)),
        ExprKind::Sign(_, inner) => value(inner),
        ExprKind::List(list) => list.iter().try_for_each(value),
        ExprKind::Map(entries) => entries.iter().try_for_each(|(_, inner)| value(inner)),
        ExprKind::Path(fields) => {
            fields.iter().flat_map(|field| &field.indexes).try_for_each(value)
        }
        ExprKind::Call { arguments, indexes, .. } => {
            arguments.iter().map(|(_, argument)| argument).chain(indexes).try_for_each(value)
        }
        _ => Ok(()),
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    math: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn is(&self, sign: &str) -> bool {
        matches!(&self.peek().kind, TokenKind::Sign(have) if *have == sign)
    }

    fn takes(&mut self, sign: &str) -> bool {
        let is = self.is(sign);
        self.at += usize::from(is);
        is
    }

    fn takes_word(&mut self, word: &str) -> bool {
        let is = matches!(&self.peek().kind, TokenKind::Lower(have) if have == word);
        self.at += usize::from(is);
        is
    }

    fn expect(&mut self, sign: &str) -> Result<(), OttlError> {
        if self.takes(sign) {
            return Ok(());
        }
        let found = self.peek();
        let message = format!("{sign:?} is expected, found {}", describe(&found.kind));
        Err(OttlError::new(found.offset, message))
    }

    fn or(&mut self) -> Result<Expr, OttlError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let offset = self.peek().offset;
            return Err(OttlError::new(offset, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        let expr = self.several("or", Self::and, ExprKind::Or);
        self.depth -= 1;
        expr
    }

    fn and(&mut self) -> Result<Expr, OttlError> {
        self.several("and", Self::not, ExprKind::And)
    }

    fn several(
        &mut self,
        word: &str,
        part: fn(&mut Self) -> Result<Expr, OttlError>,
        put: fn(Vec<Expr>) -> ExprKind,
    ) -> Result<Expr, OttlError> {
        let first = part(self)?;
        let offset = first.offset;
        let mut list = vec![first];
        while self.takes_word(word) {
            list.push(part(self)?);
        }
        Ok(match list.len() {
            1 => list.swap_remove(0),
            _ => Expr { offset, kind: put(list) },
        })
    }

    fn not(&mut self) -> Result<Expr, OttlError> {
        let offset = self.peek().offset;
        if self.takes_word("not") {
            let inner = self.comparison()?;
            return Ok(Expr { offset, kind: ExprKind::Not(Box::new(inner)) });
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Expr, OttlError> {
        let left = self.sum()?;
        let how = match &self.peek().kind {
            TokenKind::Sign("==") => Comparison::Equal,
            TokenKind::Sign("!=") => Comparison::NotEqual,
            TokenKind::Sign("<") => Comparison::Less,
            TokenKind::Sign("<=") => Comparison::LessOrEqual,
            TokenKind::Sign(">") => Comparison::Greater,
            TokenKind::Sign(">=") => Comparison::GreaterOrEqual,
            TokenKind::Sign("=") => {
                return Err(OttlError::new(self.peek().offset, "`=` sets; compare with `==`"));
            }
            _ => return Ok(left),
        };
        self.at += 1;
        let right = self.sum()?;
        let offset = left.offset;
        Ok(Expr { offset, kind: ExprKind::Compare(Box::new(left), how, Box::new(right)) })
    }

    fn sum(&mut self) -> Result<Expr, OttlError> {
        let operators = [("+", Operator::Add), ("-", Operator::Subtract)];
        self.reckon(&operators, |parser| {
            parser.reckon(&[("*", Operator::Multiply), ("/", Operator::Divide)], Self::signed)
        })
    }

    fn reckon(
        &mut self,
        operators: &[(&str, Operator)],
        part: impl Fn(&mut Self) -> Result<Expr, OttlError>,
    ) -> Result<Expr, OttlError> {
        let mut left = part(self)?;
        while let Some((_, how)) = operators.iter().find(|(sign, _)| self.is(sign)) {
            self.math += 1;
            if self.math > MAX_MATH {
                let message = format!("more than {MAX_MATH} operators");
                return Err(OttlError::new(self.peek().offset, message));
            }
            self.at += 1;
            let right = part(self)?;
            let offset = left.offset;
            let kind = ExprKind::Math(Box::new(left), *how, Box::new(right));
            left = Expr { offset, kind };
        }
        Ok(left)
    }

    fn signed(&mut self) -> Result<Expr, OttlError> {
        let offset = self.peek().offset;
        let negative = self.is("-");
        if !negative && !self.is("+") {
            return self.primary();
        }
        self.at += 1;
        let number = matches!(self.peek().kind, TokenKind::Int(_) | TokenKind::Double(_));
        let inner = self.primary()?;
        let kind = match inner.kind {
            ExprKind::Int(int) if number => ExprKind::Int(if negative { -int } else { int }),
            ExprKind::Double(double) if number => {
                ExprKind::Double(if negative { -double } else { double })
            }
            kind => ExprKind::Sign(negative, Box::new(Expr { kind, ..inner })),
        };
        Ok(Expr { offset, kind })
    }

    fn primary(&mut self) -> Result<Expr, OttlError> {
        let Token { offset, kind } = self.next();
        let kind = match kind {
            TokenKind::Int(int) => ExprKind::Int(int),
            TokenKind::Double(double) => ExprKind::Double(double),
            TokenKind::Text(text) => ExprKind::Text(text),
            TokenKind::Bytes(bytes) => ExprKind::Bytes(bytes),
            TokenKind::Sign("(") => {
                let inner = self.or()?;
                self.expect(")")?;
                inner.kind
            }
            TokenKind::Sign("[") => ExprKind::List(self.list("]", Self::or)?),
            TokenKind::Sign("{") => ExprKind::Map(self.list("}", Self::entry)?),
            TokenKind::Upper(name) if self.takes("(") => {
                let arguments = self.list(")", Self::argument)?;
                let indexes = self.indexes()?;
                ExprKind::Call { name, arguments, indexes }
            }
            TokenKind::Upper(name) => ExprKind::Enum(name),
            TokenKind::Lower(word) => match word.as_str() {
                "nil" => ExprKind::Nil,
                "true" => ExprKind::Bool(true),
                "false" => ExprKind::Bool(false),
                word if KEYWORDS.contains(&word) => {
                    return Err(OttlError::new(
                        offset,
                        format!("a value is expected before {word:?}"),
                    ));
                }
                _ if self.is("(") => {
                    return Err(OttlError::new(
                        offset,
                        format!(
                            "{word} changes data: a filter has converters only, whose names begin with a capital"
                        ),
                    ));
                }
                _ => ExprKind::Path(self.path(word)?),
            },
            other => {
                let message = format!("a value is expected, found {}", describe(&other));
                return Err(OttlError::new(offset, message));
            }
        };
        Ok(Expr { offset, kind })
    }

    fn path(&mut self, first: String) -> Result<Vec<Field>, OttlError> {
        let mut fields = vec![Field { name: first, indexes: self.indexes()? }];
        while self.takes(".") {
            let Token { offset, kind } = self.next();
            let TokenKind::Lower(name) = kind else {
                let message =
                    format!("a name is expected after the dot, found {}", describe(&kind));
                return Err(OttlError::new(offset, message));
            };
            fields.push(Field { name, indexes: self.indexes()? });
        }
        Ok(fields)
    }

    fn indexes(&mut self) -> Result<Vec<Expr>, OttlError> {
        let mut indexes = Vec::new();
        while self.takes("[") {
            indexes.push(self.or()?);
            self.expect("]")?;
        }
        Ok(indexes)
    }

    fn list<T>(
        &mut self,
        end: &str,
        item: fn(&mut Self) -> Result<T, OttlError>,
    ) -> Result<Vec<T>, OttlError> {
        let mut list = Vec::new();
        while !self.takes(end) {
            if !list.is_empty() {
                self.expect(",")?;
            }
            list.push(item(self)?);
        }
        Ok(list)
    }

    fn entry(&mut self) -> Result<(String, Expr), OttlError> {
        let Token { offset, kind } = self.next();
        let TokenKind::Text(key) = kind else {
            let message = format!("a key in quotes is expected, found {}", describe(&kind));
            return Err(OttlError::new(offset, message));
        };
        self.expect(":")?;
        Ok((key, self.or()?))
    }

    fn argument(&mut self) -> Result<(Option<String>, Expr), OttlError> {
        let named = match (&self.peek().kind, self.tokens.get(self.at + 1).map(|t| &t.kind)) {
            (TokenKind::Lower(name), Some(TokenKind::Sign("="))) => Some(name.clone()),
            _ => None,
        };
        if named.is_some() {
            self.at += 2;
        }
        Ok((named, self.or()?))
    }
}

fn describe(kind: &TokenKind) -> String {
    match kind {
        TokenKind::Lower(word) | TokenKind::Upper(word) => format!("{word:?}"),
        TokenKind::Int(int) => int.to_string(),
        TokenKind::Double(double) => double.to_string(),
        TokenKind::Text(text) => format!("the text {text:?}"),
        TokenKind::Bytes(_) => "bytes".to_owned(),
        TokenKind::Sign(sign) => format!("{sign:?}"),
        TokenKind::End => "the end".to_owned(),
    }
}
