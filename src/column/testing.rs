//! A slow, obvious reference for tests: JSON values to types and arrays, and back.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float64Type, Int64Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int64Array, ListArray, MapArray, StringViewArray,
    StructArray,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::DataType;
use proptest::prelude::*;
use serde_json::{Map, Number, Value, json};

use super::{Batch, Field, Schema, Type, TypeMerge};

/// Infers the type of one value. Objects under the key `map` are maps.
pub(crate) fn infer(value: &Value, type_merge: TypeMerge) -> Type {
    infer_named("", value, type_merge)
}

fn infer_named(name: &str, value: &Value, type_merge: TypeMerge) -> Type {
    match value {
        Value::Null => Type::Null,
        Value::Bool(_) => Type::Bool,
        Value::Number(n) => match n.as_i64() {
            Some(i) => Type::Int { fits_double: i.unsigned_abs() <= 1 << 53 },
            None if n.is_u64() => Type::Decimal,
            None => Type::Float,
        },
        Value::String(_) => Type::Text,
        Value::Array(items) => {
            Type::List(Box::new(items.iter().fold(Type::Null, |t, v| t.join(&infer(v, type_merge), type_merge))))
        }
        Value::Object(members) if name == "map" => {
            Type::Map(Box::new(members.values().fold(Type::Null, |t, v| t.join(&infer(v, type_merge), type_merge))))
        }
        Value::Object(members) => {
            Type::Struct(members.iter().map(|(k, v)| Field::new(k.as_str(), infer_named(k, v, type_merge))).collect())
        }
    }
}

/// Joins the schemas of rows, each an object.
pub(crate) fn infer_schema(rows: &[Value], type_merge: TypeMerge) -> Schema {
    rows.iter().fold(Schema::default(), |schema, row| match infer(row, type_merge) {
        Type::Struct(fields) => schema.join(&Schema::new(fields), type_merge),
        _ => unreachable!("rows are objects"),
    })
}

/// Builds a batch of `schema` from rows.
pub(crate) fn batch(rows: &[Value], schema: Arc<Schema>) -> Batch {
    let columns =
        schema.fields.iter().map(|f| array(&rows.iter().map(|r| r.get(&*f.name)).collect::<Vec<_>>(), &f.ty)).collect();
    Batch::new(schema, columns, rows.len())
}

/// Builds the array of `ty` that holds `values`; absent ones are null.
pub(crate) fn array(values: &[Option<&Value>], ty: &Type) -> ArrayRef {
    let values: Vec<Option<&Value>> = values.iter().map(|v| v.filter(|v| !v.is_null())).collect();
    let nulls = || NullBuffer::from_iter(values.iter().map(Option::is_some));
    match ty {
        Type::Null => Arc::new(StringViewArray::from_iter(values.iter().map(|_| None::<&str>))),
        Type::Bool => Arc::new(BooleanArray::from_iter(values.iter().map(|v| v.map(|v| v.as_bool().unwrap())))),
        Type::Int { .. } => Arc::new(Int64Array::from_iter(values.iter().map(|v| v.map(|v| v.as_i64().unwrap())))),
        Type::Decimal => Arc::new(
            Decimal128Array::from_iter(values.iter().map(|v| v.map(|v| v.to_string().parse::<i128>().unwrap())))
                .with_precision_and_scale(38, 0)
                .unwrap(),
        ),
        Type::Fixed(_) | Type::Number(_) => unreachable!("only casts and cells of CSV make these"),
        Type::Opaque(_) => unreachable!("only rows of tables have these"),
        Type::Float => Arc::new(Float64Array::from_iter(values.iter().map(|v| v.map(|v| v.as_f64().unwrap())))),
        Type::Text => Arc::new(StringViewArray::from_iter(
            values.iter().map(|v| v.map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned))),
        )),
        Type::Json | Type::Raw => Arc::new(StringViewArray::from_iter(values.iter().map(|v| v.map(Value::to_string)))),
        Type::Struct(fields) if fields.is_empty() => {
            Arc::new(StringViewArray::from_iter(values.iter().map(|v| v.map(|_| "{}"))))
        }
        Type::Struct(fields) => {
            let children = fields
                .iter()
                .map(|f| array(&values.iter().map(|v| v.and_then(|v| v.get(&*f.name))).collect::<Vec<_>>(), &f.ty))
                .collect();
            let DataType::Struct(arrow_fields) = ty.to_arrow() else { unreachable!() };
            Arc::new(StructArray::new(arrow_fields, children, Some(nulls())))
        }
        Type::List(item) => {
            let lists: Vec<&[Value]> = values.iter().map(|v| v.map_or(&[][..], |v| v.as_array().unwrap())).collect();
            let items: Vec<Option<&Value>> = lists.iter().flat_map(|l| l.iter()).map(Some).collect();
            let DataType::List(field) = ty.to_arrow() else { unreachable!() };
            let offsets = OffsetBuffer::from_lengths(lists.iter().map(|l| l.len()));
            Arc::new(ListArray::new(field, offsets, array(&items, item), Some(nulls())))
        }
        Type::Map(value) => {
            let empty = Map::new();
            let maps: Vec<&Map<String, Value>> =
                values.iter().map(|v| v.map_or(&empty, |v| v.as_object().unwrap())).collect();
            let keys: Vec<Value> = maps.iter().flat_map(|m| m.keys()).map(|k| json!(k)).collect();
            let keys = array(&keys.iter().map(Some).collect::<Vec<_>>(), &Type::Text);
            let items: Vec<Option<&Value>> = maps.iter().flat_map(|m| m.values()).map(Some).collect();
            let DataType::Map(field, _) = ty.to_arrow() else { unreachable!() };
            let DataType::Struct(fields) = field.data_type().clone() else { unreachable!() };
            let offsets = OffsetBuffer::from_lengths(maps.iter().map(|m| m.len()));
            let entries = StructArray::new(fields, vec![keys, array(&items, value)], None);
            Arc::new(MapArray::new(field, offsets, entries, Some(nulls()), false))
        }
    }
}

/// Returns the value at `row` of an array that carries `ty`; strings may be `Utf8` or `Utf8View`.
pub(crate) fn value(array: &dyn Array, ty: &Type, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match ty {
        t if t.is_text_like() => json!(match array.data_type() {
            DataType::Utf8View => array.as_string_view().value(row),
            DataType::Utf8 => array.as_string::<i32>().value(row),
            other => panic!("{ty} in {other}"),
        }),
        Type::Bool => json!(array.as_boolean().value(row)),
        Type::Int { .. } => json!(array.as_primitive::<Int64Type>().value(row)),
        Type::Decimal => {
            let digits = array.as_primitive::<Decimal128Type>().value(row);
            Value::Number(digits.to_string().parse().unwrap())
        }
        Type::Float => json!(array.as_primitive::<Float64Type>().value(row)),
        Type::Fixed(fixed) => {
            let mut out = Vec::new();
            fixed.write_json(fixed.value(array, row), &mut out);
            serde_json::from_slice(&out).unwrap()
        }
        Type::Struct(fields) => {
            let array = array.as_struct();
            assert_eq!(array.num_columns(), fields.len());
            Value::Object(
                fields
                    .iter()
                    .zip(array.columns())
                    .map(|(f, c)| (f.name.to_string(), value(c, &f.ty, row)))
                    .filter(|(_, v)| !v.is_null())
                    .collect(),
            )
        }
        Type::List(item) => {
            let items = array.as_list::<i32>().value(row);
            (0..items.len()).map(|i| value(&items, item, i)).collect()
        }
        Type::Map(inner) => {
            let map = array.as_map();
            let entries = map.value(row);
            let mut out = Map::new();
            for i in 0..entries.len() {
                let key = value(entries.column(0), &Type::Text, i);
                out.insert(key.as_str().unwrap().to_owned(), value(entries.column(1), inner, i));
            }
            Value::Object(out)
        }
        _ => unreachable!("text-like types are matched above"),
    }
}

/// Returns the result of [`value`] for `original` once it is carried as `ty`, up to [`same`].
pub(crate) fn expected(original: &Value, ty: &Type) -> Value {
    match (original, ty) {
        (Value::Null, _) => Value::Null,
        (Value::String(s), Type::Text) => json!(s),
        (other, t) if t.is_text_like() => json!(other.to_string()),
        (Value::Array(items), Type::List(item)) => items.iter().map(|v| expected(v, item)).collect(),
        (Value::Object(members), Type::Struct(fields)) => Value::Object(
            members
                .iter()
                .map(|(k, v)| {
                    let field = fields.iter().find(|f| *f.name == **k).expect("every key has a field");
                    (k.clone(), expected(v, &field.ty))
                })
                .collect(),
        ),
        (Value::Object(members), Type::Map(item)) => {
            Value::Object(members.iter().map(|(k, v)| (k.clone(), expected(v, item))).collect())
        }
        (other, _) => other.clone(),
    }
}

/// Returns true if both are the same value of `ty`: null members count as absent, and JSON text is
/// compared by its parsed value.
pub(crate) fn same(a: &Value, b: &Value, ty: &Type) -> bool {
    match (a, b, ty) {
        (Value::String(a), Value::String(b), Type::Text) => {
            // An integer that was cast to float first has a fraction as text.
            a == b || matches!((a.parse::<f64>(), b.parse::<f64>()), (Ok(a), Ok(b)) if a == b) || same_json(a, b)
        }
        (Value::String(a), Value::String(b), _) => same_json(a, b),
        (Value::Array(a), Value::Array(b), Type::List(item)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b, item))
        }
        (Value::Object(a), Value::Object(b), _) => {
            let member = |v: &Map<String, Value>, k: &str| v.get(k).cloned().unwrap_or(Value::Null);
            a.keys().chain(b.keys()).all(|k| {
                let item = match ty {
                    Type::Struct(fields) => &fields.iter().find(|f| *f.name == **k).expect("known key").ty,
                    Type::Map(item) => item,
                    _ => return false,
                };
                same(&member(a, k), &member(b, k), item)
            })
        }
        _ => plain(a) == plain(b),
    }
}

fn same_json(a: &str, b: &str) -> bool {
    match (serde_json::from_str::<Value>(a), serde_json::from_str::<Value>(b)) {
        (Ok(a), Ok(b)) => plain(&a) == plain(&b),
        _ => false,
    }
}

/// Returns `value` without null members and with whole doubles as integers.
fn plain(value: &Value) -> Value {
    match value {
        Value::Number(n) if n.is_f64() => match n.as_f64() {
            Some(f) if f.fract() == 0.0 && f.abs() <= (1_u64 << 53) as f64 => Value::Number(Number::from(f as i64)),
            // One spelling for each double.
            Some(f) => json!(f),
            None => value.clone(),
        },
        // A large double may be spelled without fraction and exponent.
        Value::Number(n) => match (n.to_string().parse::<i128>(), n.as_f64()) {
            (Ok(i), Some(f)) if i.unsigned_abs() > 1 << 53 && f as i128 == i => json!(f),
            _ => value.clone(),
        },
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Object(members) => {
            Value::Object(members.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.clone(), plain(v))).collect())
        }
        other => other.clone(),
    }
}

/// Generates any value, with few keys, so that rows share them; objects under `map` are maps.
pub(crate) fn any_value() -> impl Strategy<Value = Value> {
    any_scalar().prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((any_key(), inner), 0..4).prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

/// Generates null, a boolean, a number or a string.
pub(crate) fn any_scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        2 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        3 => (-5_i64..5).prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<u64>().prop_map(Value::from),
        2 => (-1000_i32..1000).prop_map(|n| json!(f64::from(n) / 8.0)),
        1 => any::<f64>().prop_filter("JSON numbers are finite", |f| f.is_finite()).prop_map(|f| json!(f)),
        3 => "[a-c\"\\\\\n\u{1}é東]{0,14}".prop_map(Value::from),
    ]
}

fn any_key() -> impl Strategy<Value = String> {
    prop_oneof![Just("a"), Just("b"), Just("c.d"), Just("map"), Just("\"q\"")].prop_map(str::to_owned)
}

/// Generates up to `max` rows of any values under few keys.
pub(crate) fn any_rows(max: usize) -> impl Strategy<Value = Vec<Value>> {
    let row =
        prop::collection::vec((any_key(), any_value()), 0..5).prop_map(|m| Value::Object(m.into_iter().collect()));
    prop::collection::vec(row, 0..max)
}

/// Generates up to `max` rows of scalars under few keys, as CSV has them.
pub(crate) fn any_flat_rows(max: usize) -> impl Strategy<Value = Vec<Value>> {
    let row =
        prop::collection::vec((any_key(), any_scalar()), 0..5).prop_map(|m| Value::Object(m.into_iter().collect()));
    prop::collection::vec(row, 0..max)
}
