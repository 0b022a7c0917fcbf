//! Arrow schemas as JSON, in the form that Arrow implementations exchange in their integration tests.
//! Describes output files to people and tools; nothing reads it back.

use serde_json::{Value, json};

use crate::column::{Field, Fixed, Schema, Type, Unit};

/// Returns the schema that an Arrow reader finds in a Parquet file with the columns of `schema`.
pub fn schema(schema: &Schema) -> Value {
    let fields: Vec<Value> = schema.fields.iter().map(|f: &Field| field(&f.name, true, &f.ty)).collect();
    json!({ "fields": fields })
}

fn field(name: &str, nullable: bool, ty: &Type) -> Value {
    let (ty, children) = match ty {
        t if t.is_text_like() => (json!({"name": "utf8"}), Vec::new()),
        Type::Bool => (json!({"name": "bool"}), Vec::new()),
        Type::Int { .. } => (json!({"name": "int", "bitWidth": 64, "isSigned": true}), Vec::new()),
        Type::Decimal => (json!({"name": "decimal", "precision": 38, "scale": 0, "bitWidth": 128}), Vec::new()),
        Type::Float => (json!({"name": "floatingpoint", "precision": "DOUBLE"}), Vec::new()),
        Type::Fixed(Fixed::Date) => (json!({"name": "date", "unit": "DAY"}), Vec::new()),
        Type::Fixed(Fixed::Timestamp { unit, local }) => {
            let unit = match unit {
                Unit::Millis => "MILLISECOND",
                Unit::Micros => "MICROSECOND",
                Unit::Nanos => "NANOSECOND",
            };
            let mut ty = json!({"name": "timestamp", "unit": unit});
            if !local {
                ty["timezone"] = json!("UTC");
            }
            (ty, Vec::new())
        }
        Type::Fixed(Fixed::Decimal { precision, scale }) => {
            (json!({"name": "decimal", "precision": precision, "scale": scale, "bitWidth": 128}), Vec::new())
        }
        Type::Struct(fields) => {
            (json!({"name": "struct"}), fields.iter().map(|f| field(&f.name, true, &f.ty)).collect())
        }
        Type::List(item) => (json!({"name": "list"}), vec![field("element", true, item)]),
        // The names of list elements and map entries are those of the Parquet standard, which readers take over.
        Type::Map(value) => {
            let entries = vec![field("key", false, &Type::Text), field("value", true, value)];
            let entries = json!({
                "name": "key_value", "nullable": false, "type": {"name": "struct"}, "children": entries,
            });
            (json!({"name": "map", "keysSorted": false}), vec![entries])
        }
        Type::Number(_) => return field(name, nullable, &ty.resolved()),
        Type::Null | Type::Text | Type::Json | Type::Raw | Type::Opaque(_) => {
            unreachable!("text-like types are matched above")
        }
    };
    json!({"name": name, "nullable": nullable, "type": ty, "children": children})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_types_have_children() {
        let inner = Type::Struct(vec![Field::new("a", Type::Null)]);
        let columns =
            vec![Field::new("m", Type::Map(Box::new(Type::List(Box::new(inner))))), Field::new("d", Type::Decimal)];
        let found = schema(&Schema::new(columns));
        let entries = &found["fields"][0]["children"][0];
        assert_eq!(entries["children"][0]["nullable"], false);
        let list = &entries["children"][1];
        assert_eq!((&list["type"]["name"], &list["children"][0]["name"]), (&json!("list"), &json!("element")));
        assert_eq!(list["children"][0]["children"][0]["type"]["name"], "utf8");
        assert_eq!(found["fields"][1]["type"]["precision"], 38);
    }
}
