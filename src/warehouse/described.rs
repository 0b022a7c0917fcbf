//! Properties of types that are the same for every system: names in messages about columns, and spelling in cells of CSV.

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

/// Returns true for types of which a cell of CSV may have another spelling.
#[cfg(any(feature = "clickhouse", feature = "sqlite"))]
pub(super) fn is_of_cells(ty: &Type) -> bool {
    matches!(ty, Type::Float | Type::Int { .. } | Type::Decimal | Type::Bool | Type::Fixed(Fixed::Decimal { .. }))
}
