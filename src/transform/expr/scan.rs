//! Lexer of expressions: splits a text into tokens with their spans. Quotes and numbers are decoded here; keywords stay
//! words, because some are names elsewhere.

use std::ops::Range;

use super::ast::Compare;
use super::decimal::Decimal;
use super::error::Error;
use super::functions::Function;
use super::path::Quotes;

/// Token of an expression.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A bare word: a name or a keyword.
    Word(String),
    /// A name in double quotes or backticks, unescaped.
    Quoted(String, Quotes),
    /// Text in single quotes, unescaped.
    Text(String),
    /// A number, with its sign if no value precedes it.
    Number(Decimal),
    Compare(Compare),
    /// `~` or, negated, `!~`.
    Matches {
        negated: bool,
    },
    Open,
    Close,
    OpenIndex,
    CloseIndex,
    Comma,
    Colon,
    Dot,
    /// `+`, `-`, `*`, `/`, `//`, `%` or `||`.
    Operator(Function),
    End,
}

/// A token with its byte range in the text.
#[derive(Clone, Debug)]
pub(super) struct Spanned {
    pub(super) token: Token,
    pub(super) span: Range<usize>,
}

/// Splits `text` into tokens; the last is [`Token::End`].
pub(super) fn scan(text: &str) -> Result<Vec<Spanned>, Error> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let start = at;
        let second = bytes.get(at + 1);
        let (token, len) = match (c, second) {
            (c, _) if c.is_whitespace() => {
                at += c.len_utf8();
                continue;
            }
            ('(', _) => (Token::Open, 1),
            (')', _) => (Token::Close, 1),
            ('[', _) => (Token::OpenIndex, 1),
            (']', _) => (Token::CloseIndex, 1),
            (',', _) => (Token::Comma, 1),
            ('.', _) => (Token::Dot, 1),
            (':', _) => (Token::Colon, 1),
            ('*', _) => (Token::Operator(Function::Multiply), 1),
            ('/', Some(b'/')) => (Token::Operator(Function::FloorDivide), 2),
            ('/', _) => (Token::Operator(Function::Divide), 1),
            ('%', _) => (Token::Operator(Function::Remainder), 1),
            ('|', Some(b'|')) => (Token::Operator(Function::Join), 2),
            ('=', Some(b'=')) => (Token::Compare(Compare::Equal), 2),
            ('=', _) => (Token::Compare(Compare::Equal), 1),
            ('!', Some(b'=')) | ('<', Some(b'>')) => (Token::Compare(Compare::NotEqual), 2),
            ('!', Some(b'~')) => (Token::Matches { negated: true }, 2),
            ('<', Some(b'=')) => (Token::Compare(Compare::LessOrEqual), 2),
            ('<', _) => (Token::Compare(Compare::Less), 1),
            ('>', Some(b'=')) => (Token::Compare(Compare::GreaterOrEqual), 2),
            ('>', _) => (Token::Compare(Compare::Greater), 1),
            ('~', _) => (Token::Matches { negated: false }, 1),
            ('\'', _) => {
                let (text, len) = quoted(text, start, '\'', "unterminated text: missing closing quote")?;
                (Token::Text(text), len)
            }
            ('"', _) => {
                let (name, len) = quoted(text, start, '"', "unterminated name: missing closing quote")?;
                (Token::Quoted(name, Quotes::Double), len)
            }
            ('`', _) => {
                let (name, len) = quoted(text, start, '`', "unterminated name: missing closing quote")?;
                (Token::Quoted(name, Quotes::Backtick), len)
            }
            // A sign is part of the number unless it follows a value: `a -1` is a difference.
            ('0'..='9', _) | ('-' | '+', Some(b'0'..=b'9')) if c.is_ascii_digit() || !ends_value(&tokens) => {
                let len = number_len(&bytes[at..]);
                let written = &text[at..at + len];
                let number = Decimal::parse(written);
                // `1x` is a typo, or a column name that needs quotes, and not a number followed by a name.
                let word_follows = text[at + len..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
                let Some(number) = number.filter(|_| !word_follows) else {
                    let error = Error::new(text, start, "invalid number");
                    return Err(error.with_hint("put a column name that starts with a digit in double quotes"));
                };
                (Token::Number(number), len)
            }
            (c, _) if c.is_alphabetic() || c == '_' => {
                let rest = &text[at..];
                let len = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
                (Token::Word(rest[..len].to_owned()), len)
            }
            ('&', Some(b'&')) => {
                return Err(Error::new(text, start, "unknown operator `&&`").with_hint("use `and`"));
            }
            ('-', _) => (Token::Operator(Function::Subtract), 1),
            ('+', _) => (Token::Operator(Function::Add), 1),
            ('!', _) => return Err(Error::new(text, start, "unknown operator `!`").with_hint("use `not`")),
            (c, _) => return Err(Error::new(text, start, format!("unexpected character `{c}`"))),
        };
        at += len;
        tokens.push(Spanned { token, span: start..at });
    }
    tokens.push(Spanned { token: Token::End, span: text.len()..text.len() });
    Ok(tokens)
}

/// Returns true if the last token ends a value, so that a sign behind it is an operator.
fn ends_value(tokens: &[Spanned]) -> bool {
    match tokens.last().map(|last| &last.token) {
        Some(Token::Word(word)) => {
            // Literals end a value; `then -1` and `case -x` start one, although they follow a word.
            let literal = ["true", "false", "null"].iter().any(|literal| word.eq_ignore_ascii_case(literal));
            let opens = ["when", "then", "else", "case"].iter().any(|opens| word.eq_ignore_ascii_case(opens));
            literal || !is_keyword(word) && !opens
        }
        Some(Token::Quoted(..) | Token::Text(_) | Token::Number(_) | Token::Close | Token::CloseIndex) => true,
        _ => false,
    }
}

/// Returns true for words that are names only in quotes.
pub(super) fn is_keyword(word: &str) -> bool {
    const KEYWORDS: [&str; 11] = ["and", "or", "not", "is", "null", "in", "like", "ilike", "between", "true", "false"];
    KEYWORDS.iter().any(|keyword| word.eq_ignore_ascii_case(keyword))
}

/// Decodes the quoted text at `start`, in which a quote is doubled. Also returns its bytes with both quotes.
/// `unterminated` is the message if the closing quote is missing.
fn quoted(text: &str, start: usize, quote: char, unterminated: &str) -> Result<(String, usize), Error> {
    let mut inside = String::new();
    let mut chars = text[start..].char_indices().skip(1).peekable();
    while let Some((i, c)) = chars.next() {
        if c != quote {
            inside.push(c);
        } else if chars.next_if(|(_, next)| *next == quote).is_some() {
            inside.push(quote);
        } else {
            return Ok((inside, i + 1));
        }
    }
    Err(Error::new(text, start, unterminated))
}

/// Returns the bytes of the number at the start of `bytes`, which still needs validation.
fn number_len(bytes: &[u8]) -> usize {
    let mut len = 1;
    while let Some(&byte) = bytes.get(len) {
        // A sign inside a number is allowed only right after the `e` of an exponent.
        let exponent = len > 0 && matches!(bytes[len - 1], b'e' | b'E');
        let part = byte.is_ascii_digit()
            || byte == b'.' && bytes.get(len + 1).is_some_and(u8::is_ascii_digit)
            || matches!(byte, b'e' | b'E')
                && bytes.get(len + 1).is_some_and(|b| b.is_ascii_digit() || matches!(b, b'-' | b'+'))
            || matches!(byte, b'-' | b'+') && exponent;
        if !part {
            break;
        }
        len += 1;
    }
    len
}
