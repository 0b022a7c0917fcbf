//! Types of columns: those that a new table gets, those that an existing table has, and the form in which COPY takes a value
//! from one to the other.

use crate::column::{Fixed, Type};

/// The binary form of a value in COPY. It must be exactly that of the column's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    /// Digits before and after the point, where the column limits them.
    Numeric(Option<(u16, i16)>),
    /// Characters, where the column limits them.
    Text(Option<u32>),
    Json,
    Jsonb,
    Date,
    /// With a time zone or without, both in UTC.
    Timestamp,
    Uuid,
}

/// The type of a column of an existing table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ColumnType {
    /// A type whose binary form is written.
    Known(Wire),
    /// An array, which takes lists by a cast.
    Array,
    /// Any other type, such as an enumeration: the server converts text.
    Other,
}

impl ColumnType {
    /// Reads the catalog: the name of the type, its kind (`e` for an enumeration, …), its category, and the modifier.
    pub(super) fn of(name: &str, kind: &str, category: &str, modifier: i32) -> Self {
        let limited = |modifier: i32| (modifier > 4).then(|| (modifier - 4) as u32);
        ColumnType::Known(match (kind, name) {
            ("b", "bool") => Wire::Bool,
            ("b", "int2") => Wire::Int2,
            ("b", "int4") => Wire::Int4,
            ("b", "int8") => Wire::Int8,
            ("b", "float4") => Wire::Float4,
            ("b", "float8") => Wire::Float8,
            ("b", "numeric") => Wire::Numeric((modifier >= 4).then(|| {
                let packed = modifier - 4;
                // The scale has 11 bits, with a sign since version 15.
                let scale = ((packed & 0x7ff) ^ 1024) - 1024;
                (((packed >> 16) & 0xffff) as u16, scale as i16)
            })),
            ("b", "text") => Wire::Text(None),
            // Shorter text is padded by the server.
            ("b", "varchar" | "bpchar") => Wire::Text(limited(modifier)),
            ("b", "json") => Wire::Json,
            ("b", "jsonb") => Wire::Jsonb,
            ("b", "date") => Wire::Date,
            ("b", "timestamp" | "timestamptz") => Wire::Timestamp,
            ("b", "uuid") => Wire::Uuid,
            _ if category == "A" => return ColumnType::Array,
            _ => return ColumnType::Other,
        })
    }
}

/// The type of a column that a load makes, and its name in SQL. `None` for a column that had only nulls so far, whose type
/// is open.
pub(super) fn new_type(ty: &Type) -> Option<(Wire, String)> {
    let plain = |wire, sql: &str| Some((wire, sql.to_owned()));
    match ty {
        Type::Null => None,
        // Of inference alone: rows have the type that it stands for.
        Type::Number(_) => new_type(&ty.resolved()),
        Type::Bool => plain(Wire::Bool, "boolean"),
        Type::Int { .. } => plain(Wire::Int8, "bigint"),
        Type::Decimal => plain(Wire::Numeric(None), "numeric"),
        Type::Float => plain(Wire::Float8, "double precision"),
        Type::Text => plain(Wire::Text(None), "text"),
        Type::Json | Type::Raw | Type::Struct(_) | Type::List(_) | Type::Map(_) | Type::Opaque(_) => {
            plain(Wire::Jsonb, "jsonb")
        }
        Type::Fixed(Fixed::Date) => plain(Wire::Date, "date"),
        Type::Fixed(Fixed::Timestamp { local: true, .. }) => plain(Wire::Timestamp, "timestamp"),
        Type::Fixed(Fixed::Timestamp { local: false, .. }) => plain(Wire::Timestamp, "timestamp with time zone"),
        Type::Fixed(Fixed::Decimal { precision, scale }) => {
            let limits = (u16::from(*precision), i16::from(*scale));
            Some((Wire::Numeric(Some(limits)), format!("numeric({precision},{scale})")))
        }
    }
}

/// The type in SQL of a column that never had a value.
pub(super) const TYPE_WITHOUT_VALUES: &str = "text";

/// Returns true if values of `ty` have a form in `wire`, at least some of them.
pub(super) fn fits(ty: &Type, wire: Wire) -> bool {
    use Wire::*;
    let is_number = |wire| matches!(wire, Int2 | Int4 | Int8 | Float4 | Float8 | Numeric(_));
    match (ty, wire) {
        // Everything has a JSON form, and a text.
        (_, Json | Jsonb | Text(_)) => true,
        (Type::Null, _) => true,
        (Type::Bool, Bool) => true,
        (
            Type::Int { .. } | Type::Decimal | Type::Float | Type::Number(_) | Type::Fixed(Fixed::Decimal { .. }),
            wire,
        ) => is_number(wire),
        // Decided value by value: a few cells that are no numbers make a column text.
        (Type::Text | Type::Json | Type::Raw, _) => true,
        (Type::Fixed(Fixed::Date), Date) => true,
        (Type::Fixed(Fixed::Timestamp { .. }), Timestamp) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modifiers_of_the_catalog_are_limits() {
        let known = |name, modifier| ColumnType::of(name, "b", "S", modifier);
        assert_eq!(known("varchar", 14), ColumnType::Known(Wire::Text(Some(10))));
        assert_eq!(known("varchar", -1), ColumnType::Known(Wire::Text(None)));
        assert_eq!(known("numeric", -1), ColumnType::Known(Wire::Numeric(None)));
        assert_eq!(known("numeric", ((10 << 16) | 2) + 4), ColumnType::Known(Wire::Numeric(Some((10, 2)))));
        assert_eq!(known("numeric", ((3 << 16) | (-2 & 0x7ff)) + 4), ColumnType::Known(Wire::Numeric(Some((3, -2)))));
        assert_eq!(ColumnType::of("_text", "b", "A", -1), ColumnType::Array);
        assert_eq!(ColumnType::of("mood", "e", "E", -1), ColumnType::Other);
        assert_eq!(known("bpchar", 7), ColumnType::Known(Wire::Text(Some(3))));
        assert_eq!(known("bpchar", -1), ColumnType::Known(Wire::Text(None)));
    }
}
