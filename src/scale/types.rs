//! The written form of columns in a receipt: JSON that keeps every type exactly, also where a schema file for people need not,
//! such as whether all integers of a column are exact in doubles.

use serde_json::{Value, json};

use crate::column::{Field, Fixed, MAX_TYPE_DEPTH, Schema, Type, Unit};

/// Types without parameters, by their names.
const SCALARS: [(&str, Type); 8] = [
    ("null", Type::Null),
    ("bool", Type::Bool),
    ("int", Type::Int { fits_double: true }),
    ("int64", Type::Int { fits_double: false }),
    ("decimal", Type::Decimal),
    ("float", Type::Float),
    ("text", Type::Text),
    ("json", Type::Json),
];

/// Units of time stamps, by their names.
const UNITS: [(&str, Unit); 3] = [("ms", Unit::Millis), ("us", Unit::Micros), ("ns", Unit::Nanos)];

/// Returns the written form of `schema`; `None` for types that no Parquet file has.
pub(super) fn write(schema: &Schema) -> Option<Value> {
    fields_json(&schema.fields)
}

/// Reads columns; `None` if they are not as [`write`] makes them.
pub(super) fn read(value: &Value) -> Option<Schema> {
    fields_of(value, 0).map(Schema::new)
}

fn fields_json(fields: &[Field]) -> Option<Value> {
    fields.iter().map(|field| Some(json!([&*field.name, type_json(&field.ty)?]))).collect()
}

fn type_json(ty: &Type) -> Option<Value> {
    if let Some((name, _)) = SCALARS.iter().find(|(_, known)| known == ty) {
        return Some(json!(name));
    }
    Some(match ty {
        Type::Fixed(Fixed::Date) => json!("date"),
        Type::Fixed(Fixed::Timestamp { unit, local }) => {
            let (name, _) = UNITS.iter().find(|(_, known)| known == unit)?;
            json!({"timestamp": name, "local": local})
        }
        Type::Fixed(Fixed::Decimal { precision, scale }) => json!({"decimal": [precision, scale]}),
        Type::Struct(fields) => json!({"struct": fields_json(fields)?}),
        Type::List(item) => json!({"list": type_json(item)?}),
        Type::Map(value) => json!({"map": type_json(value)?}),
        _ => return None,
    })
}

fn fields_of(value: &Value, depth: usize) -> Option<Vec<Field>> {
    let field = |value: &Value| match value.as_array()?.as_slice() {
        [name, ty] => Some(Field::new(name.as_str()?, type_of(ty, depth)?)),
        _ => None,
    };
    value.as_array()?.iter().map(field).collect()
}

fn type_of(value: &Value, depth: usize) -> Option<Type> {
    // A receipt that something else wrote must not exhaust the stack.
    if depth > 2 * MAX_TYPE_DEPTH {
        return None;
    }
    if let Some(name) = value.as_str() {
        let scalar = SCALARS.iter().find(|(known, _)| *known == name).map(|(_, ty)| ty.clone());
        return scalar.or_else(|| (name == "date").then_some(Type::Fixed(Fixed::Date)));
    }
    if let Some(name) = value.get("timestamp") {
        let unit = UNITS.iter().find(|(known, _)| Some(*known) == name.as_str()).map(|(_, unit)| *unit)?;
        return Some(Type::Fixed(Fixed::Timestamp { unit, local: value.get("local")?.as_bool()? }));
    }
    if let Some(digits) = value.get("decimal") {
        let digit = |i: usize| u8::try_from(digits.get(i)?.as_u64()?).ok();
        return Some(Type::Fixed(Fixed::Decimal { precision: digit(0)?, scale: digit(1)? }));
    }
    if let Some(fields) = value.get("struct") {
        return fields_of(fields, depth + 1).map(Type::Struct);
    }
    if let Some(item) = value.get("list") {
        return Some(Type::List(Box::new(type_of(item, depth + 1)?)));
    }
    // Not `Type::map`, which would sort the members of its values again: they are as they were written.
    value.get("map").and_then(|value| Some(Type::Map(Box::new(type_of(value, depth + 1)?))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_of_a_file_is_read_back_as_it_was() {
        let scalars = SCALARS.iter().map(|(name, ty)| Field::new(*name, ty.clone()));
        let mut fields: Vec<Field> = scalars.collect();
        let fixed = |fixed| Type::Fixed(fixed);
        fields.push(Field::new("date", fixed(Fixed::Date)));
        for (name, unit) in UNITS {
            fields.push(Field::new(name, fixed(Fixed::Timestamp { unit, local: name == "us" })));
        }
        fields.push(Field::new("price", fixed(Fixed::Decimal { precision: 12, scale: 2 })));
        fields.push(Field::new("empty", Type::Struct(Vec::new())));
        fields.push(Field::new("map", Type::Map(Box::new(Type::Struct(fields.clone())))));
        fields.push(Field::new("list", Type::List(Box::new(Type::Null))));
        let schema = Schema::new(fields);
        assert_eq!(read(&write(&schema).unwrap()), Some(schema));
        for ty in [Type::Raw, Type::Opaque(crate::column::Container::List)] {
            assert_eq!(write(&Schema::new(vec![Field::new("x", ty)])), None);
        }
    }

    #[test]
    fn other_json_is_no_schema() {
        let mut deep = json!("int");
        for _ in 0..1000 {
            deep = json!({"list": deep});
        }
        for value in [json!({}), json!([["a"]]), json!([["a", "integer"]]), json!([["a", deep]]), json!([[1, "int"]])] {
            assert_eq!(read(&value), None);
        }
    }
}
