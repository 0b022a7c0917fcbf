//! Parses the target types of casts and their parameters: units, time zones, formats and marks.

use std::sync::Arc;

use super::cast_type::{CastType, KNOWN_TYPES, Zone};
use super::error::Error;
use super::number_format::NumberFormat;
use super::parser::{Parser, single_quotes_hint};
use super::scan::{Spanned, Token};
use super::time_format::{DIRECTIVES, TimeFormat, offset};

/// A parameter of a type.
pub(super) struct TypeParameter {
    /// Text without its quotes; a word in lower case.
    text: String,
    /// True if it was in single quotes.
    is_text: bool,
    /// Byte of the expression's text at which it starts.
    at: usize,
}

impl Parser<'_> {
    /// Parses the target type of a cast, with its parameters.
    pub(super) fn cast_type(&mut self) -> Result<CastType, Error> {
        let Spanned { token, span } = self.peek().clone();
        let Token::Word(word) = token else {
            return Err(self.error_here("expected a type").with_hint(KNOWN_TYPES));
        };
        self.advance();
        // All errors about types list the supported ones.
        let refuse = |message: String| Error::new(self.text, span.start, message).with_hint(KNOWN_TYPES);
        let Some(ty) = cast_type_of(&word.to_ascii_lowercase()) else {
            return Err(refuse(format!("there is no type `{word}`")));
        };
        if !self.accept(&Token::Open) {
            if let CastType::Decimal { .. } = ty {
                return Err(refuse("decimal needs a precision and a scale, as in decimal(12,2)".into()));
            }
            return Ok(ty);
        }
        let args = self.type_parameters()?;
        self.with_parameters(ty, &args)
    }

    /// Parses the parameters of a type up to the closing parenthesis.
    pub(super) fn type_parameters(&mut self) -> Result<Vec<TypeParameter>, Error> {
        let mut args = Vec::new();
        loop {
            let arg = self.advance();
            let at = arg.span.start;
            let (text, is_text) = match arg.token {
                Token::Word(word) => (word.to_ascii_lowercase(), false),
                Token::Text(text) => (text, true),
                Token::Number(number) => (number.text().to_owned(), false),
                ref other => {
                    let error = Error::new(self.text, at, "expected a parameter of the type");
                    return Err(single_quotes_hint(error, other));
                }
            };
            args.push(TypeParameter { text, is_text, at });
            if self.accept(&Token::Close) {
                return Ok(args);
            }
            self.expect(&Token::Comma, "expected `,` or `)`")?;
        }
    }

    /// Returns the type with its parameters.
    pub(super) fn with_parameters(&self, ty: CastType, args: &[TypeParameter]) -> Result<CastType, Error> {
        let invalid = |at: usize, message: &str| Err(Error::new(self.text, at, message).with_hint(KNOWN_TYPES));
        let format_of = |arg: &TypeParameter| {
            let format = TimeFormat::parse(&arg.text);
            format.map(Arc::new).map_err(|message| Error::new(self.text, arg.at, message).with_hint(DIRECTIVES))
        };
        let Some(first) = args.first() else { return Ok(ty) };
        match ty {
            CastType::Decimal { .. } => {
                // The library's parser takes a sign as well.
                let number = |i: usize| {
                    let text = &args.get(i).filter(|arg| !arg.is_text)?.text;
                    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u8>().ok())?
                };
                // One parameter is the precision, with a scale of 0, as in SQL.
                let (precision, scale) = (number(0), if args.len() > 1 { number(1) } else { Some(0) });
                match (precision, scale) {
                    (Some(precision @ 1..=38), Some(scale)) if scale <= precision && args.len() < 3 => {
                        Ok(CastType::Decimal { precision, scale })
                    }
                    _ => invalid(
                        first.at,
                        "the precision of a decimal must be between 1 and 38, its scale at most the precision",
                    ),
                }
            }
            CastType::Date { .. } => match args {
                [arg] if arg.is_text => Ok(CastType::Date { format: Some(format_of(arg)?) }),
                _ => invalid(first.at, "expected the format of a date in single quotes, as in date('%d/%m/%Y')"),
            },
            CastType::Number(_) => {
                let (decimal, thousands) = match args {
                    [decimal] if decimal.is_text => (decimal, None),
                    [decimal, thousands] if decimal.is_text && thousands.is_text => (decimal, Some(&*thousands.text)),
                    _ => {
                        let message = "expected the decimal mark, and the mark between thousands, in single quotes, as in number(',', '.')";
                        return invalid(first.at, message);
                    }
                };
                match NumberFormat::new(&decimal.text, thousands) {
                    Ok(format) => Ok(CastType::Number(format)),
                    Err(message) => Err(Error::new(self.text, first.at, message)),
                }
            }
            CastType::Timestamp { mut format, mut per_second, mut zone } => {
                for arg in args {
                    match arg.text.to_ascii_lowercase().as_str() {
                        "s" => per_second = 1,
                        "ms" => per_second = 1_000,
                        "us" => per_second = 1_000_000,
                        "ns" => per_second = 1_000_000_000,
                        "utc" => zone = Zone::Offset(0),
                        "local" => zone = Zone::Local,
                        _ if arg.is_text && arg.text.contains('%') => {
                            if format.is_some() {
                                return invalid(arg.at, "the format is specified twice");
                            }
                            format = Some(format_of(arg)?);
                        }
                        other => match offset(other) {
                            Some(Some(seconds)) => zone = Zone::Offset(seconds),
                            _ => {
                                return invalid(
                                    arg.at,
                                    "expected a unit (s, ms, us, ns), a time zone (utc, local, '+02:00') or a format",
                                );
                            }
                        },
                    }
                }
                Ok(CastType::Timestamp { format, per_second, zone })
            }
            _ => invalid(first.at, "the type takes no parameters"),
        }
    }
}

/// Returns the type of this name, in lower case, without its parameters; `None` if there is none.
pub(super) fn cast_type_of(name: &str) -> Option<CastType> {
    Some(match name {
        "int" | "integer" | "bigint" => CastType::Int,
        "float" | "double" => CastType::Float,
        "number" => CastType::Number(NumberFormat::default()),
        "bool" | "boolean" => CastType::Bool,
        "string" | "text" | "varchar" | "str" => CastType::Text,
        "json" => CastType::Json,
        "date" => CastType::Date { format: None },
        "timestamp" | "datetime" => CastType::Timestamp { format: None, per_second: 1_000_000, zone: Zone::Offset(0) },
        "decimal" | "numeric" => CastType::Decimal { precision: 38, scale: 0 },
        _ => return None,
    })
}
