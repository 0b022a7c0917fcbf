//! Names of types in messages about columns, the same for every system.

use crate::column::{Container, Fixed, Type};

/// Returns the name of a type in messages about columns: `text`, `objects`.
pub(super) fn described(ty: &Type) -> &'static str {
    match ty {
        Type::Null => "only nulls",
        Type::Bool => "booleans",
        Type::Int { .. } | Type::Decimal => "integers",
        Type::Float | Type::Number(_) => "numbers",
        Type::Text => "text",
        Type::Json | Type::Raw => "values of several types",
        Type::Struct(_) | Type::Map(_) | Type::Opaque(Container::Object) => "objects",
        Type::List(_) | Type::Opaque(Container::List) => "lists",
        Type::Fixed(Fixed::Date) => "dates",
        Type::Fixed(Fixed::Timestamp { .. }) => "timestamps",
        Type::Fixed(Fixed::Decimal { .. }) => "decimals",
    }
}
