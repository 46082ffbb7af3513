//! A condition's text in tokens.

use super::OttlError;

/// A token and where it begins, in characters.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) offset: usize,
    pub(super) kind: TokenKind,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum TokenKind {
    /// `[a-z][a-z0-9_]*`: keywords too.
    Lower(String),
    /// `[A-Z][A-Za-z0-9_]*`: converters and named numbers.
    Upper(String),
    Int(i64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    /// Punctuation.
    Sign(&'static str),
    End,
}

/// Longer ones first.
const SIGNS: [&str; 20] = [
    "==", "!=", "<=", ">=", "<", ">", "(", ")", "[", "]", "{", "}", ",", ".", ":", "=", "+", "-",
    "*", "/",
];

pub(super) fn tokens(text: &str) -> Result<Vec<Token>, OttlError> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(char) = chars.get(at).copied() {
        if char.is_whitespace() {
            at += 1;
            continue;
        }
        let offset = at;
        let rest = &chars[at..];
        let kind = if char == '"' {
            text_literal(rest, offset, &mut at)?
        } else if char.is_ascii_alphabetic() {
            let word: String =
                rest.iter().take_while(|c| c.is_ascii_alphanumeric() || **c == '_').collect();
            at += word.len();
            if char.is_ascii_uppercase() {
                TokenKind::Upper(word)
            } else if word.chars().any(|c| c.is_ascii_uppercase()) {
                let message = format!(
                    "{word:?} mixes cases: paths are lower-case, converters begin with a capital"
                );
                return Err(OttlError::new(offset, message));
            } else {
                TokenKind::Lower(word)
            }
        } else if char.is_ascii_digit()
            || (char == '.' && rest.get(1).is_some_and(char::is_ascii_digit))
        {
            number(rest, offset, &mut at)?
        } else {
            let sign = SIGNS.iter().find(|sign| {
                sign.chars().enumerate().all(|(index, char)| rest.get(index) == Some(&char))
            });
            let Some(sign) = sign else {
                let hint = match char {
                    '\'' | '\u{201c}' | '\u{201d}' => ": texts stand in straight double quotes",
                    '&' => ": write `and`",
                    '|' => ": write `or`",
                    '!' => ": write `not`",
                    _ => "",
                };
                return Err(OttlError::new(offset, format!("unexpected {char:?}{hint}")));
            };
            at += sign.len();
            TokenKind::Sign(sign)
        };
        tokens.push(Token { offset, kind });
    }
    tokens.push(Token { offset: chars.len(), kind: TokenKind::End });
    Ok(tokens)
}

fn text_literal(rest: &[char], offset: usize, at: &mut usize) -> Result<TokenKind, OttlError> {
    let mut text = String::new();
    let mut chars = rest.iter().enumerate().skip(1);
    while let Some((index, char)) = chars.next() {
        match char {
            '"' => {
                *at += index + 1;
                return Ok(TokenKind::Text(text));
            }
            '\\' => match chars.next() {
                Some((_, 'n')) => text.push('\n'),
                Some((_, 'r')) => text.push('\r'),
                Some((_, 't')) => text.push('\t'),
                Some((_, other)) => text.push(*other),
                None => break,
            },
            other => text.push(*other),
        }
    }
    Err(OttlError::new(offset, "the text has no closing quote"))
}

fn number(rest: &[char], offset: usize, at: &mut usize) -> Result<TokenKind, OttlError> {
    if rest.starts_with(&['0', 'x']) {
        let digits: String = rest[2..].iter().take_while(|c| c.is_ascii_hexdigit()).collect();
        *at += 2 + digits.len();
        if digits.is_empty() || digits.len() % 2 == 1 {
            return Err(OttlError::new(offset, "bytes have an even number of digits: 0x00ff"));
        }
        let byte = |n: usize| u8::from_str_radix(&digits[2 * n..2 * n + 2], 16).unwrap_or(0);
        return Ok(TokenKind::Bytes((0..digits.len() / 2).map(byte).collect()));
    }
    let digits = |from: usize| rest[from..].iter().take_while(|c| c.is_ascii_digit()).count();
    let mut end = digits(0);
    let mut fraction = false;
    if rest.get(end) == Some(&'.') && rest.get(end + 1).is_some_and(char::is_ascii_digit) {
        fraction = true;
        end += 1 + digits(end + 1);
        if matches!(rest.get(end), Some('e' | 'E')) {
            let sign = usize::from(matches!(rest.get(end + 1), Some('+' | '-')));
            let exponent = digits(end + 1 + sign);
            if exponent > 0 {
                end += 1 + sign + exponent;
            }
        }
    }
    *at += end;
    let text: String = rest[..end].iter().collect();
    if fraction {
        let double: f64 = text.parse().unwrap_or(f64::NAN);
        if !double.is_finite() {
            return Err(OttlError::new(offset, format!("{text} is too large for a number")));
        }
        return Ok(TokenKind::Double(double));
    }
    let int =
        text.parse().map_err(|_| OttlError::new(offset, format!("{text} does not fit 64 bits")))?;
    Ok(TokenKind::Int(int))
}
