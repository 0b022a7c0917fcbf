use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::testing::{any_flat_rows, any_rows, array, batch, expected, infer, infer_schema, same, value};
use super::super::{Schema, TypeMerge};
use super::*;

fn ty(sample: Value) -> Type {
    infer(&sample, TypeMerge::Json)
}

/// Builds an array of `from` with `rows`, casts it to `to`, and returns the values.
fn cast(rows: Value, from: &Type, to: &Type) -> Vec<Value> {
    let rows = rows.as_array().unwrap().clone();
    let narrow = array(&rows.iter().map(Some).collect::<Vec<_>>(), from);
    let wide = cast_array(&narrow, from, to).unwrap();
    assert_eq!(wide.data_type(), &to.to_arrow());
    (0..rows.len()).map(|i| value(&wide, to, i)).collect()
}

#[test]
fn scalars_become_text() {
    let int = Type::Int { fits_double: true };
    assert_eq!(cast(json!([1, null, -2]), &int, &Type::Json), [json!("1"), Value::Null, json!("-2")]);
    assert_eq!(cast(json!([true, false]), &Type::Bool, &Type::Text), [json!("true"), json!("false")]);
    assert_eq!(
        cast(json!([1.5, 1.0, 1e300]), &Type::Float, &Type::Text),
        [json!("1.5"), json!("1.0"), json!("1e+300")]
    );
    assert_eq!(
        cast(json!(["a\"b\\\n\u{1}é", "", null]), &Type::Text, &Type::Json),
        [json!("\"a\\\"b\\\\\\n\\u0001é\""), json!("\"\""), Value::Null]
    );
    assert_eq!(cast(json!([1, "x"]), &Type::Json, &Type::Text), [json!("1"), json!("\"x\"")]);
}

#[test]
fn integers_widen_exactly() {
    let small = Type::Int { fits_double: true };
    let big = Type::Int { fits_double: false };
    assert_eq!(cast(json!([1, null]), &small, &Type::Float), [json!(1.0), Value::Null]);
    assert_eq!(cast(json!([i64::MIN, i64::MAX]), &big, &Type::Decimal), [json!(i64::MIN), json!(i64::MAX)]);
    let array = array(&[Some(&json!(1))], &big);
    let refused = |from: &Type, to: &Type| cast_array(&array, from, to).unwrap_err().to_string();
    assert_eq!(refused(&big, &Type::Float), "cannot widen int to float without loss");
    assert_eq!(refused(&big, &small), "cannot widen int to int without loss");
    assert_eq!(refused(&big, &Type::Raw), "cannot widen int to raw without loss");
    assert_eq!(refused(&Type::Bool, &Type::Json), "an Arrow array of Int64 cannot carry type bool");
}

#[test]
fn decimals_keep_all_their_digits() {
    let digits = 99_999_999_999_999_999_999_999_999_999_999_999_999_i128;
    let narrow: ArrayRef =
        Arc::new(Decimal128Array::from(vec![digits, -digits]).with_precision_and_scale(38, 0).unwrap());
    let text = cast_array(&narrow, &Type::Decimal, &Type::Json).unwrap();
    assert_eq!(value(&text, &Type::Json, 0), json!(digits.to_string()));
    assert_eq!(value(&text, &Type::Json, 1), json!((-digits).to_string()));
}

#[test]
fn structs_widen_to_structs_maps_and_text() {
    let narrow = ty(json!({"b": 1, "a": {"x": null}}));
    let wide = ty(json!({"b": 1, "new": [1]})).join(&ty(json!({"a": {"x": "s", "y": 1}, "b": 1.5})), TypeMerge::Json);
    let rows = json!([{"b": 1, "a": {}}, null, {"a": null}, {}]);
    assert_eq!(cast(rows.clone(), &narrow, &wide), [json!({"b": 1.0, "a": {}}), Value::Null, json!({}), json!({})]);
    assert_eq!(cast(rows, &narrow, &Type::Json), [json!("{\"a\":{},\"b\":1}"), Value::Null, json!("{}"), json!("{}")]);

    let map = Type::Map(Box::new(Type::Float));
    let rows = json!([{"a": 1, "long key beyond a view": 2}, null, {}, {"long key beyond a view": 3}]);
    assert_eq!(
        cast(rows, &ty(json!({"a": 1, "long key beyond a view": 2})), &map),
        [
            json!({"a": 1.0, "long key beyond a view": 2.0}),
            Value::Null,
            json!({}),
            json!({"long key beyond a view": 3.0})
        ]
    );
    let array = array(&[Some(&json!({"a": 1}))], &ty(json!({"a": 1})));
    let other = ty(json!({"b": 1}));
    assert!(matches!(cast_array(&array, &ty(json!({"a": 1})), &other), Err(CastError::NotWider { .. })));
}

#[test]
fn a_struct_without_fields_widens_although_it_is_carried_as_text() {
    let empty = Type::Struct(Vec::new());
    let rows = json!([{}, null]);
    assert_eq!(cast(rows.clone(), &empty, &ty(json!({"a": [{}]}))), [json!({}), Value::Null]);
    assert_eq!(cast(rows.clone(), &empty, &Type::Map(Box::new(Type::Bool))), [json!({}), Value::Null]);
    assert_eq!(cast(rows.clone(), &empty, &Type::Json), [json!("{}"), Value::Null]);
    assert_eq!(cast(rows, &empty, &Type::Text), [json!("{}"), Value::Null]);
}

#[test]
fn lists_and_maps_widen_inside() {
    let rows = json!([[1, null], [], null]);
    assert_eq!(cast(rows.clone(), &ty(json!([1])), &ty(json!([1.5]))), [json!([1.0, null]), json!([]), Value::Null]);
    assert_eq!(cast(rows, &ty(json!([1])), &Type::Json), [json!("[1,null]"), json!("[]"), Value::Null]);
    let narrow = Type::Map(Box::new(ty(json!({"a": 1}))));
    let wide = Type::Map(Box::new(ty(json!({"a": 1, "b": 2}))));
    assert_eq!(cast(json!([{"k": {"a": 1}, "n": null}]), &narrow, &wide), [json!({"k": {"a": 1}, "n": null})]);
    assert_eq!(
        cast(json!([{"k\"": {"a": 1}, "n": null}, {}]), &narrow, &Type::Text),
        [json!("{\"k\\\"\":{\"a\":1},\"n\":null}"), json!("{}")]
    );
}

#[test]
fn a_slice_casts_as_a_whole_array_sliced_afterwards() {
    let rows = [json!({"a": [1, 2]}), json!({"a": [3]}), Value::Null, json!({"a": []})];
    let narrow = ty(json!({"a": [1]}));
    let full = array(&rows.iter().map(Some).collect::<Vec<_>>(), &narrow);
    for to in [Type::Json, ty(json!({"a": [1.5], "b": 1})), Type::Map(Box::new(ty(json!([1.5]))))] {
        let wide = cast_array(&full.slice(1, 3), &narrow, &to).unwrap();
        let whole = cast_array(&full, &narrow, &to).unwrap();
        assert_eq!(&wide, &whole.slice(1, 3));
    }
}

/// Checks that a cast exists for every join, and that it keeps the values.
fn assert_casts_follow_joins(a: &[Value], b: &[Value], type_merge: TypeMerge) {
    let narrow = Arc::new(infer_schema(a, type_merge));
    let wide: Schema = narrow.join(&infer_schema(b, type_merge), type_merge);
    let batch = batch(a, narrow.clone());
    for (i, field) in narrow.fields.iter().enumerate() {
        let to = &wide.fields[i].ty;
        let cast = cast_array(&batch.columns[i], &field.ty, to).unwrap();
        assert_eq!(cast.data_type(), &to.to_arrow());
        if keeps_carrier(&field.ty, to) {
            assert_eq!(&cast, &batch.columns[i]);
        }
        for (row, original) in a.iter().enumerate() {
            let original = original.get(&*field.name).unwrap_or(&Value::Null);
            let (found, wanted) = (value(&cast, to, row), expected(original, to));
            assert!(same(&found, &wanted, to), "{} -> {to}: {found} is not {wanted}", field.ty);
        }
    }
}

proptest! {
    #[test]
    fn casts_follow_joins(a in any_rows(5), b in any_rows(5)) {
        assert_casts_follow_joins(&a, &b, TypeMerge::Json);
    }

    /// Only CSV merges to text, and its records are flat.
    #[test]
    fn casts_follow_joins_of_cells(a in any_flat_rows(5), b in any_flat_rows(5)) {
        assert_casts_follow_joins(&a, &b, TypeMerge::Text);
    }
}
