//! Conversions of staged values to the final types, as expressions of the server.

use super::layout::{Layout, LayoutColumn};
use super::sql::{literal, quoted};
use super::types::ColumnType;

/// Returns true if the server must take text for values of the type `JSON`.
pub(super) fn has_json(ty: &ColumnType) -> bool {
    match ty {
        ColumnType::Json => true,
        ColumnType::Nullable(inner) | ColumnType::Array(inner) => has_json(inner),
        ColumnType::Map(types) => has_json(&types.1),
        ColumnType::Tuple(members) => members.iter().any(|(_, ty)| has_json(ty)),
        _ => false,
    }
}

/// Returns the expression that makes a staged value one of the final stage.
pub(super) fn converted(column: &LayoutColumn, layout: &Layout) -> String {
    let name = quoted(&column.name);
    let Some(to) = layout.find(&column.name) else { return name };
    let (from_type, to_type) = (column.ty.inner(), to.ty.inner());
    if *to_type != ColumnType::Text {
        return if column.sql == to.sql { name } else { format!("CAST({name}, {})", literal(&to.sql)) };
    }
    let quoted_json = |text: String| match to.is_json {
        true => format!("if(isNull({name}), NULL, toJSONString(assumeNotNull({text})))"),
        false => text,
    };
    match from_type {
        ColumnType::Text if to.is_json && !column.is_json => quoted_json(name.clone()),
        ColumnType::Text => name.clone(),
        ColumnType::Float64 => float_text(&name),
        // As they are written elsewhere, without zeros at the end.
        ColumnType::DateTime64(_) => quoted_json(format!(
            "concat(replaceRegexpOne(replaceOne(toString({name}, 'UTC'), ' ', 'T'), '\\\\.?0*$', ''), 'Z')"
        )),
        ColumnType::Date32 => quoted_json(format!("toString({name})")),
        _ => format!("toString({name})"),
    }
}

/// Returns the expression for the canonical text of a double: whole numbers of 64 bits as integers, since their column no longer
/// tells 2 from 2.0; others as [`crate::column::number::write_float`] writes them. The server begins with exponents elsewhere.
fn float_text(name: &str) -> String {
    let text = format!("toString({name})");
    // The digits, and the number of the last ones before an exponent.
    let small = format!(
        "concat(replaceRegexpOne({text}, '^(-?)0\\\\.0000(0?)([1-9])([0-9]*)$', '\\\\1\\\\3.\\\\4'), \
         if(abs({name}) < 0.00001, 'e-06', 'e-05'))"
    );
    let large = format!(
        "concat(replaceRegexpOne({text}, '^(-?[0-9])([0-9]*?)0*$', '\\\\1.\\\\2'), 'e+', \
         toString(length(replaceOne({text}, '-', '')) - 1))"
    );
    let exponent =
        format!("replaceRegexpOne(replaceRegexpOne({text}, 'e([0-9])', 'e+\\\\1'), 'e([-+])([0-9])$', 'e\\\\10\\\\2')");
    format!(
        "multiIf(not isFinite({name}), {text}, {name} = 0, if(startsWith({text}, '-'), '-0.0', '0'), \
         {name} = trunc({name}) AND {name} >= -9223372036854775808 AND {name} < 9223372036854775808, \
         toString(toInt64({name})), \
         position({text}, 'e') > 0, {exponent}, \
         abs({name}) < 0.0001, replaceOne({small}, '.e', 'e'), \
         abs({name}) >= 1e16, replaceOne({large}, '.e', 'e'), {text})"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::{Field, Schema, Type};
    use crate::warehouse::Widening;
    use crate::warehouse::clickhouse::layout::Mapping;

    #[test]
    fn texts_become_json_where_values_are_of_several_types() {
        let mapping = Mapping { table: None, widening: Widening::Evolve, load_column: None, first: Default::default() };
        let layout = |ty: Type| {
            let fields = vec![Field { name: "a".into(), ty }];
            mapping.layout(&Schema { fields }).unwrap()
        };
        let json = layout(Type::Json);
        let of = |ty: Type| converted(&layout(ty).columns[0], &json);
        assert_eq!(of(Type::Text), "if(isNull(`a`), NULL, toJSONString(assumeNotNull(`a`)))");
        assert_eq!(of(Type::List(Box::new(Type::Text))), "`a`");
        assert_eq!(of(Type::Bool), "toString(`a`)");
        assert!(!layout(Type::Text).agrees(&json) && layout(Type::List(Box::new(Type::Text))).agrees(&json));
    }
}
