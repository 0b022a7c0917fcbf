//! Evaluates operators and functions on the values of one row. Integer arithmetic is exact and fails on overflow; all
//! other arithmetic is on doubles and fails on infinite results.

use std::borrow::Cow;

use super::datum::{Datum, Num, equal};
use super::eval_error::EvalError;
use super::functions::Function;
use crate::format::json_path;

impl Function {
    /// Evaluates the function on `args`, which it may move out of. A null argument gives null, except for `concat`,
    /// `nullif` and `coalesce`. The caller evaluates [`Function::Coalesce`] of several arguments itself, because it
    /// must not compute all of them.
    pub(super) fn call<'a>(self, args: &mut [Datum<'a>]) -> Result<Datum<'a>, EvalError> {
        use Function::*;
        // Functions that accept null come first; for all others a null argument gives null.
        let null = args.iter().any(|arg| matches!(arg, Datum::Null));
        match self {
            Concat => {
                let mut joined = String::new();
                for arg in args.iter().filter(|arg| !matches!(arg, Datum::Null)) {
                    joined.push_str(&arg.display_text());
                }
                return Ok(Datum::Text(joined.into()));
            }
            NullIf => {
                let second = std::mem::replace(&mut args[1], Datum::Null);
                let first = std::mem::replace(&mut args[0], Datum::Null);
                return Ok(if equal(&first, &second) { Datum::Null } else { first });
            }
            Coalesce => {
                let first = args.iter_mut().find(|arg| !matches!(arg, Datum::Null));
                return Ok(first.map_or(Datum::Null, |first| std::mem::replace(first, Datum::Null)));
            }
            _ if null => return Ok(Datum::Null),
            _ => {}
        }
        // Arithmetic needs no ownership of its arguments; text functions below move them out.
        if self.takes_numbers() {
            return self.number(args);
        }
        let mut taken = args.iter_mut().map(|arg| std::mem::replace(arg, Datum::Null));
        let mut next = || taken.next().unwrap_or(Datum::Null);
        match self {
            Join => {
                let mut joined = next().display_text().into_owned();
                joined.push_str(&next().display_text());
                Ok(Datum::Text(joined.into()))
            }
            Lower => Ok(Datum::Text(next().text()?.to_lowercase().into())),
            Upper => Ok(Datum::Text(next().text()?.to_uppercase().into())),
            Trim => {
                let (text, of) = (next().text()?, next());
                Ok(Datum::Text(match of {
                    Datum::Null => trimmed(text, char::is_whitespace),
                    of => {
                        let of = of.text()?;
                        trimmed(text, |c| of.contains(c))
                    }
                }))
            }
            Length => match next() {
                Datum::Nested(json) => Ok(Datum::Int(json_path::count(json.as_bytes()) as i128)),
                other => Ok(Datum::Int(other.text()?.chars().count() as i128)),
            },
            Substr => {
                let (text, start, len) = (next().text()?, next().count()?, next());
                let len = match len {
                    Datum::Null => None,
                    len => Some(len.count()?),
                };
                substr(text, start, len)
            }
            Replace => {
                let (text, from, to) = (next().text()?, next().text()?, next().text()?);
                // An empty pattern matches nowhere, unlike `str::replace`.
                let keep = from.is_empty() || !text.contains(&*from);
                Ok(Datum::Text(if keep { text } else { text.replace(&*from, &to).into() }))
            }
            SplitPart => {
                let (text, separator, part) = (next().text()?, next().text()?, next().count()?);
                if separator.is_empty() {
                    return Err("the separator is empty".into());
                }
                let nth = usize::try_from(part.unsigned_abs()).unwrap_or(usize::MAX);
                let found = match part {
                    0 => return Err("parts are counted from 1, found 0".into()),
                    1.. => text.split(&*separator).nth(nth - 1),
                    _ => text.rsplit(&*separator).nth(nth - 1),
                };
                Ok(found.map_or(Datum::Null, |part| Datum::Text(part.to_owned().into())))
            }
            StartsWith => Ok(Datum::Bool(next().text()?.starts_with(&*next().text()?))),
            EndsWith => Ok(Datum::Bool(next().text()?.ends_with(&*next().text()?))),
            Contains => Ok(Datum::Bool(next().text()?.contains(&*next().text()?))),
            JsonText => Ok(match next() {
                Datum::Nested(json) => Datum::Text(json),
                other => other,
            }),
            other => unreachable!("`{}` is handled above", other.name()),
        }
    }

    fn number<'a>(self, args: &[Datum<'_>]) -> Result<Datum<'a>, EvalError> {
        use Function::*;
        let first = args[0].number()?;
        let second = args.get(1).map(Datum::number).transpose()?;
        // Two 64-bit operands cannot overflow 128 bits, so the result is computed first and its range checked after.
        let wide = |n: i128| i64::try_from(n).is_err();
        match (first, second) {
            (Num::Int(a), None) => match self {
                Negate => integer(a.checked_neg(), wide(a)),
                Abs => integer(a.checked_abs(), wide(a)),
                _ => Ok(Datum::Int(a)),
            },
            (Num::Float(a), None) => float(match self {
                Negate => -a,
                Abs => a.abs(),
                Floor => a.floor(),
                Ceil => a.ceil(),
                _ => a.round_ties_even(),
            }),
            (a, Some(Num::Int(places))) if self == Round => match a {
                // An integer has no decimal places to round.
                Num::Int(a) if places >= 0 => Ok(Datum::Int(a)),
                // Rounded by the decimal digits of the double: 2.675 is 2.67499… and becomes 2.67.
                a if (0..=300).contains(&places) => {
                    let text = format!("{:.*}", places as usize, a.float());
                    float(text.parse().unwrap_or(f64::NAN))
                }
                _ => Err("the number of decimal places must be between 0 and 300".into()),
            },
            (_, Some(_)) if self == Round => Err("the number of decimal places must be an integer".into()),
            (Num::Int(a), Some(Num::Int(b))) if self != Divide => {
                let wide = wide(a) || wide(b);
                integer(
                    match self {
                        Add => a.checked_add(b),
                        Subtract => a.checked_sub(b),
                        Multiply => a.checked_mul(b),
                        _ if b == 0 => return Err("division by zero".into()),
                        FloorDivide => a.checked_div_euclid(b).map(|q| {
                            // Euclidean division leaves a positive remainder; rounding down is one less for a negative
                            // divisor.
                            if b < 0 && a.rem_euclid(b) != 0 { q - 1 } else { q }
                        }),
                        _ => a.checked_rem_euclid(b).map(|r| if b < 0 && r != 0 { r + b } else { r }),
                    },
                    wide,
                )
            }
            (a, Some(b)) => {
                let (a, b) = (a.float(), b.float());
                if b == 0.0 && matches!(self, Divide | FloorDivide | Remainder) {
                    return Err("division by zero".into());
                }
                float(match self {
                    Add => a + b,
                    Subtract => a - b,
                    Multiply => a * b,
                    Divide => a / b,
                    FloorDivide => (a / b).floor(),
                    _ => {
                        // Rust's `%` has the sign of the dividend; ours has that of the divisor.
                        let rest = a % b;
                        if rest != 0.0 && (rest < 0.0) != (b < 0.0) { rest + b } else { rest }
                    }
                })
            }
        }
    }
}

/// Checks the result of integer arithmetic: 64 bits, or 38 digits if `wide`, that is if an operand exceeds 64 bits.
fn integer<'a>(value: Option<i128>, wide: bool) -> Result<Datum<'a>, EvalError> {
    match value {
        Some(value) if i64::try_from(value).is_ok() => Ok(Datum::Int(value)),
        Some(value) if wide && value.unsigned_abs() < 10u128.pow(38) => Ok(Datum::Int(value)),
        _ if wide => Err("integer overflow: the result has more than 38 digits".into()),
        _ => Err("integer overflow: the result does not fit in 64 bits".into()),
    }
}

/// Checks the result of floating-point arithmetic, which must be finite.
fn float<'a>(value: f64) -> Result<Datum<'a>, EvalError> {
    if value.is_finite() { Ok(Datum::Float(value)) } else { Err("the result is too large for a double".into()) }
}

fn trimmed<'a>(text: Cow<'a, str>, of: impl Fn(char) -> bool) -> Cow<'a, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim_matches(of)),
        Cow::Owned(text) => Cow::Owned(text.trim_matches(of).to_owned()),
    }
}

/// Returns at most `len` characters from `start`, which counts from 1, or from the end if negative.
fn substr<'a>(text: Cow<'_, str>, start: i64, len: Option<i64>) -> Result<Datum<'a>, EvalError> {
    if len.is_some_and(|len| len < 0) {
        return Err("the length must not be negative".into());
    }
    let skip = match start {
        1.. => (start - 1) as usize,
        0 => return Err("characters are counted from 1, found 0".into()),
        _ => {
            let from_end = usize::try_from(start.unsigned_abs()).unwrap_or(usize::MAX);
            text.chars().count().saturating_sub(from_end)
        }
    };
    let rest = text.chars().skip(skip);
    // By characters, not bytes: positions in text count code points.
    let taken: String = match len {
        Some(len) => rest.take(len as usize).collect(),
        None => rest.collect(),
    };
    Ok(Datum::Text(taken.into()))
}
