//! Types of columns: those that a new table gets, and those that an existing table has, as the server writes them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::column::{Container, Fixed, Type, Unit};

/// The type of a column, as far as it decides the binary form of a value. `LowCardinality` does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ColumnType {
    Bool,
    /// Integers of 1 to 32 bytes.
    Int {
        bytes: u8,
        signed: bool,
    },
    Float32,
    Float64,
    Decimal {
        precision: u8,
        scale: u8,
    },
    Text,
    /// Text of exactly so many bytes, filled up with U+0000.
    FixedText(usize),
    Date,
    Date32,
    DateTime,
    /// With so many digits after the second.
    DateTime64(u8),
    Uuid,
    Enum {
        bytes: u8,
        numbers: Arc<BTreeMap<String, i16>>,
    },
    Ipv4,
    Ipv6,
    /// An object, which the server takes apart.
    Json,
    Array(Box<ColumnType>),
    Map(Box<(ColumnType, ColumnType)>),
    Tuple(Vec<(Option<String>, ColumnType)>),
    Nullable(Box<ColumnType>),
}

impl ColumnType {
    /// Parses a type as the server writes it; `None` for types of which rows have no exact form, such as `Variant` and
    /// `AggregateFunction`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (name, arguments) = match text.split_once('(') {
            Some((name, rest)) => (name, split(rest.strip_suffix(')')?)?),
            None => (text, Vec::new()),
        };
        let first = arguments.first().copied();
        let int = |bytes, signed| Some(ColumnType::Int { bytes, signed });
        Some(match name {
            "Bool" => ColumnType::Bool,
            "Int8" => return int(1, true),
            "Int16" => return int(2, true),
            "Int32" => return int(4, true),
            "Int64" => return int(8, true),
            "Int128" => return int(16, true),
            "Int256" => return int(32, true),
            "UInt8" => return int(1, false),
            "UInt16" => return int(2, false),
            "UInt32" => return int(4, false),
            "UInt64" => return int(8, false),
            "UInt128" => return int(16, false),
            "UInt256" => return int(32, false),
            "Float32" => ColumnType::Float32,
            "Float64" => ColumnType::Float64,
            "Decimal" => ColumnType::Decimal {
                precision: first?.parse().ok()?,
                scale: arguments.get(1).map_or(Some(0), |scale| scale.parse().ok())?,
            },
            "String" => ColumnType::Text,
            "FixedString" => ColumnType::FixedText(first?.parse().ok()?),
            "Date" => ColumnType::Date,
            "Date32" => ColumnType::Date32,
            "DateTime" => ColumnType::DateTime,
            "DateTime64" => ColumnType::DateTime64(first?.parse().ok()?),
            "UUID" => ColumnType::Uuid,
            "Enum8" | "Enum16" => {
                let members = arguments.iter().map(|argument| {
                    let (name, number) = argument.rsplit_once('=')?;
                    Some((unquoted(name.trim())?, number.trim().parse().ok()?))
                });
                let numbers = Arc::new(members.collect::<Option<_>>()?);
                ColumnType::Enum { bytes: if name == "Enum8" { 1 } else { 2 }, numbers }
            }
            "IPv4" => ColumnType::Ipv4,
            "IPv6" => ColumnType::Ipv6,
            "JSON" => ColumnType::Json,
            "LowCardinality" => return ColumnType::parse(first?),
            "SimpleAggregateFunction" => return ColumnType::parse(arguments.last()?),
            "Nullable" => ColumnType::Nullable(Box::new(ColumnType::parse(first?)?)),
            "Array" => ColumnType::Array(Box::new(ColumnType::parse(first?)?)),
            "Map" => ColumnType::Map(Box::new((ColumnType::parse(first?)?, ColumnType::parse(arguments.get(1)?)?))),
            "Tuple" => {
                let members = arguments.iter().map(|argument| member(argument));
                ColumnType::Tuple(members.collect::<Option<_>>()?)
            }
            _ => return None,
        })
    }

    /// Returns the type without `Nullable`.
    pub(super) fn inner(&self) -> &ColumnType {
        match self {
            ColumnType::Nullable(inner) => inner,
            other => other,
        }
    }

    pub(super) fn is_nullable(&self) -> bool {
        matches!(self, ColumnType::Nullable(_))
    }
}

/// Parses a member of a tuple: `name Type`, `` `name` Type `` or `Type`.
fn member(text: &str) -> Option<(Option<String>, ColumnType)> {
    if let Some(rest) = text.strip_prefix('`') {
        let mut escaped = false;
        let end = rest.char_indices().find_map(|(at, c)| {
            let ends = c == '`' && !escaped;
            escaped = c == '\\' && !escaped;
            ends.then_some(at)
        })?;
        return Some((Some(unescaped(&rest[..end])), ColumnType::parse(&rest[end + 1..])?));
    }
    match text.split_once(' ') {
        Some((name, ty)) if !name.contains(['(', ',', '\'']) => Some((Some(name.to_owned()), ColumnType::parse(ty)?)),
        _ => Some((None, ColumnType::parse(text)?)),
    }
}

/// Splits arguments at the commas outside of brackets and quotes.
fn split(text: &str) -> Option<Vec<&str>> {
    let (mut parts, mut depth, mut quote, mut start) = (Vec::new(), 0usize, None, 0);
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match (quote, c) {
            (Some(_), '\\') => {
                chars.next()?;
            }
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '`') => quote = Some(c),
            (None, '(') => depth += 1,
            (None, ')') => depth = depth.checked_sub(1)?,
            (None, ',') if depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    (depth == 0 && quote.is_none()).then_some(parts)
}

fn unquoted(text: &str) -> Option<String> {
    Some(unescaped(text.strip_prefix('\'')?.strip_suffix('\'')?))
}

fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('r') => out.push('\r'),
                Some('b') => out.push('\u{8}'),
                Some('f') => out.push('\u{c}'),
                Some('0') => out.push('\0'),
                Some(other) => out.push(other),
                None => {}
            },
            c => out.push(c),
        }
    }
    out
}

/// Returns the type that a new table gets for values of `ty`, in the server's words. `None` for a column that had only
/// nulls so far, whose type is open.
pub(super) fn new_type(ty: &Type) -> Option<String> {
    let inner = match ty {
        Type::Null => return None,
        // Of inference alone: rows have the type that it stands for.
        Type::Number(_) => return new_type(&ty.resolved()),
        Type::Bool => "Bool".to_owned(),
        Type::Int { .. } => "Int64".to_owned(),
        Type::Decimal => "Decimal(38, 0)".to_owned(),
        Type::Float => "Float64".to_owned(),
        // Nested values as their own text: the type `JSON` would lose null members, and change numbers.
        Type::Text | Type::Json | Type::Raw | Type::Struct(_) | Type::List(_) | Type::Map(_) | Type::Opaque(_) => {
            "String".to_owned()
        }
        Type::Fixed(Fixed::Date) => "Date32".to_owned(),
        Type::Fixed(Fixed::Timestamp { unit, .. }) => {
            let digits = match unit {
                Unit::Millis => 3,
                Unit::Micros => 6,
                Unit::Nanos => 9,
            };
            format!("DateTime64({digits}, 'UTC')")
        }
        Type::Fixed(Fixed::Decimal { precision, scale }) => format!("Decimal({precision}, {scale})"),
    };
    Some(format!("Nullable({inner})"))
}

/// The type of a column that never had a value.
pub(super) const TYPE_WITHOUT_VALUES: &str = "Nullable(String)";

/// Returns true if values of `ty` have a form in `column`, at least some of them.
pub(super) fn fits(ty: &Type, column: &ColumnType) -> bool {
    use ColumnType as C;
    let column = column.inner();
    let is_number = matches!(column, C::Int { .. } | C::Float32 | C::Float64 | C::Decimal { .. });
    match (ty, column) {
        // Everything has a text.
        (_, C::Text | C::FixedText(_)) | (Type::Null, _) => true,
        // Decided value by value: a few cells that are no numbers make a column text.
        (Type::Text | Type::Json | Type::Raw, _) => true,
        (Type::Bool, C::Bool) => true,
        (Type::Int { .. } | Type::Decimal | Type::Float | Type::Number(_) | Type::Fixed(Fixed::Decimal { .. }), _) => {
            is_number
        }
        (Type::Fixed(Fixed::Date), C::Date | C::Date32) => true,
        (Type::Fixed(Fixed::Timestamp { .. }), C::DateTime | C::DateTime64(_)) => true,
        _ => match (ty.container(), column) {
            (Some(Container::List), C::Array(_)) => true,
            (Some(Container::List), C::Tuple(members)) => members.iter().all(|(name, _)| name.is_none()),
            (Some(Container::Object), C::Json | C::Map(_)) => true,
            (Some(Container::Object), C::Tuple(members)) => members.iter().all(|(name, _)| name.is_some()),
            _ => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read_as_the_server_writes_them() {
        use ColumnType as C;
        let parse = ColumnType::parse;
        let nullable = |ty| C::Nullable(Box::new(ty));
        assert_eq!(parse("LowCardinality(Nullable(String))"), Some(nullable(C::Text)));
        assert_eq!(parse("Decimal(9, 2)"), Some(C::Decimal { precision: 9, scale: 2 }));
        assert_eq!(parse("DateTime64(3, 'Europe/Berlin')"), Some(C::DateTime64(3)));
        assert_eq!(parse("JSON(max_dynamic_paths=4)"), Some(C::Json));
        let numbers = BTreeMap::from([("a'b, c=1)".to_owned(), -2), ("x".to_owned(), 1)]);
        assert_eq!(parse(r"Enum8('a\'b, c=1)' = -2, 'x' = 1)"), Some(C::Enum { bytes: 1, numbers: Arc::new(numbers) }));
        assert_eq!(
            parse("Map(String, Array(Nullable(Int64)))"),
            Some(C::Map(Box::new((C::Text, C::Array(Box::new(nullable(C::Int { bytes: 8, signed: true })))))))
        );
        assert_eq!(
            parse("Tuple(a UInt8, `b c` Tuple(String, Bool))"),
            Some(C::Tuple(vec![
                (Some("a".into()), C::Int { bytes: 1, signed: false }),
                (Some("b c".into()), C::Tuple(vec![(None, C::Text), (None, C::Bool)])),
            ]))
        );
        for unknown in
            ["Variant(String, Int64)", "Dynamic", "AggregateFunction(sum, Int64)", "Array(Point)", "Nullable("]
        {
            assert_eq!(parse(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn types_of_new_tables_are_read_back() {
        for ty in [Type::Decimal, Type::Float, Type::Fixed(Fixed::Timestamp { unit: Unit::Nanos, local: true })] {
            assert!(ColumnType::parse(&new_type(&ty).unwrap()).is_some_and(|column| fits(&ty, &column)), "{ty:?}");
        }
    }
}
