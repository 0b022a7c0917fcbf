//! Removes from a batch what is null in all of its rows: columns, and members of objects. What is left can be widened to
//! the batch's own types again, so that rows can wait for further columns in as much memory as their values take.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, ListArray, StructArray, new_null_array};
use arrow_schema::DataType;

use super::{Batch, Field, Schema, Type};

/// Memory of an array besides its values, in bytes: its buffers' counts, its type, its place in a vector. By eye.
const ARRAY_OVERHEAD_BYTES: usize = 256;

/// Memory of one value in bytes, at most: a string view, or a decimal.
const VALUE_BYTES: usize = 16;

impl Batch {
    /// Returns the rows without columns and members of objects that are null in all of them, for outputs alone: without
    /// values as read and source records.
    pub fn pruned(&self) -> Self {
        let columns = self.schema.fields.iter().zip(&self.columns);
        let kept = columns.filter_map(|(field, column)| {
            let (column, ty) = pruned(column, &field.ty)?;
            Some((Field::new(field.name.clone(), ty), column))
        });
        let (fields, columns) = kept.unzip();
        Batch::new(Arc::new(Schema::new(fields)), columns, self.rows)
    }

    /// Returns about how many bytes the columns hold besides the bytes of their morsel, nested ones by their leaves.
    pub fn size_beside_morsel(&self) -> usize {
        self.schema.n_leaves() * (ARRAY_OVERHEAD_BYTES + self.rows * VALUE_BYTES)
    }
}

impl Schema {
    /// Returns the columns that have had values, nested ones with the members that have, and the names of the others. A column
    /// of empty lists, or of objects without values, has none.
    pub fn without_empty(&self) -> (Self, Vec<Arc<str>>) {
        let (mut kept, mut empty) = (Vec::new(), Vec::new());
        for field in &self.fields {
            match valued(&field.ty) {
                Some(ty) => kept.push(Field::new(field.name.clone(), ty)),
                None => empty.push(field.name.clone()),
            }
        }
        (Schema::new(kept), empty)
    }
}

impl Batch {
    /// Returns the rows with the columns of [`Schema::without_empty`], for outputs alone.
    pub fn without_empty(&self) -> Self {
        let (schema, empty) = self.schema.without_empty();
        let kept = self.schema.fields.iter().zip(&self.columns).filter(|(field, _)| !empty.contains(&field.name));
        let columns = kept.zip(&schema.fields).map(|((field, array), kept)| narrowed(array, &field.ty, &kept.ty));
        Batch::new(Arc::new(schema.clone()), columns.collect(), self.rows)
    }
}

/// Returns the part of a type that has had values; `None` if it has none.
fn valued(ty: &Type) -> Option<Type> {
    match ty {
        Type::Null => None,
        Type::Struct(fields) => {
            let member = |field: &Field| Some(Field::new(field.name.clone(), valued(&field.ty)?));
            let fields: Vec<Field> = fields.iter().filter_map(member).collect();
            (!fields.is_empty()).then_some(Type::Struct(fields))
        }
        Type::List(item) => Some(Type::List(Box::new(valued(item)?))),
        Type::Map(value) => valued(value).map(|_| ty.clone()),
        other => Some(other.clone()),
    }
}

/// Returns the array, which carries `from`, without the members that `to` does not have. Maps have them all.
fn narrowed(array: &ArrayRef, from: &Type, to: &Type) -> ArrayRef {
    match (from, to) {
        _ if from == to => array.clone(),
        (Type::Struct(all), Type::Struct(kept)) => {
            let members = kept.iter().filter_map(|kept| {
                let i = all.iter().position(|field| field.name == kept.name)?;
                Some(narrowed(array.as_struct().column(i), &all[i].ty, &kept.ty))
            });
            let arrow = kept.iter().map(Field::to_arrow).collect();
            Arc::new(StructArray::new(arrow, members.collect(), array.nulls().cloned()))
        }
        (Type::List(all), Type::List(kept)) => {
            let list: &ListArray = array.as_list();
            let values = narrowed(list.values(), all, kept);
            let DataType::List(field) = to.to_arrow() else { unreachable!("a list is carried as a list") };
            Arc::new(ListArray::new(field, list.offsets().clone(), values, list.nulls().cloned()))
        }
        _ => array.clone(),
    }
}

/// Returns the array, which carries `ty`, without members that are null throughout, with its type; `None` if it has only
/// nulls.
fn pruned(array: &ArrayRef, ty: &Type) -> Option<(ArrayRef, Type)> {
    if array.null_count() == array.len() {
        return None;
    }
    Some(match ty {
        Type::Struct(fields) if !fields.is_empty() => prune_struct(array.as_struct(), fields),
        Type::List(item) => {
            let list: &ListArray = array.as_list();
            let (values, item) = pruned(list.values(), item)
                .unwrap_or_else(|| (new_null_array(&Type::Null.to_arrow(), list.values().len()), Type::Null));
            let ty = Type::List(Box::new(item));
            let DataType::List(field) = ty.to_arrow() else { unreachable!("a list is carried as a list") };
            (Arc::new(ListArray::new(field, list.offsets().clone(), values, list.nulls().cloned())), ty)
        }
        other => (array.clone(), other.clone()),
    })
}

fn prune_struct(array: &StructArray, fields: &[Field]) -> (ArrayRef, Type) {
    let members = fields.iter().zip(array.columns()).filter_map(|(field, column)| {
        let (column, ty) = pruned(column, &field.ty)?;
        Some((Field::new(field.name.clone(), ty), column))
    });
    let (mut fields_left, mut columns): (Vec<Field>, Vec<ArrayRef>) = members.unzip();
    // Without fields it would be carried as text.
    if fields_left.is_empty() {
        fields_left.push(Field::new(fields[0].name.clone(), Type::Null));
        columns.push(new_null_array(&Type::Null.to_arrow(), array.len()));
    }
    let arrow = fields_left.iter().map(Field::to_arrow).collect();
    (Arc::new(StructArray::new(arrow, columns, array.nulls().cloned())), Type::Struct(fields_left))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::column::testing::{any_value, array, infer, value};
    use crate::column::{TypeMerge, cast_array};

    proptest! {
        #[test]
        fn pruned_rows_widen_to_the_same_rows(
            rows in prop::collection::vec(any_value(), 1..5),
            others in prop::collection::vec(any_value(), 0..4),
        ) {
            let ty = rows.iter().chain(&others).fold(Type::Null, |t, v| t.join(&infer(v, TypeMerge::Json), TypeMerge::Json));
            let column = array(&rows.iter().map(Some).collect::<Vec<_>>(), &ty);
            let batch = Batch::new(Arc::new(Schema::new(vec![Field::new("c", ty.clone())])), vec![column.clone()], rows.len());
            let pruned = batch.pruned();
            let Some(field) = pruned.schema.fields.first() else {
                prop_assert_eq!(column.null_count(), rows.len());
                return Ok(());
            };
            prop_assert_eq!(ty.join(&field.ty, TypeMerge::Json), ty.clone());
            let wide = cast_array(&pruned.columns[0], &field.ty, &ty).unwrap();
            for row in 0..rows.len() {
                prop_assert_eq!(value(&wide, &ty, row), value(&column, &ty, row));
            }
        }
    }

    #[test]
    fn members_without_values_are_left_out() {
        let rows: Vec<Value> = vec![json!({"a": 1, "l": [{"x": 1}]}), json!({"a": 2, "l": []})];
        let late = json!({"b": {"c": true}, "l": [{"y": 2}]});
        let ty =
            rows.iter().chain([&late]).fold(Type::Null, |t, v| t.join(&infer(v, TypeMerge::Json), TypeMerge::Json));
        let schema = Arc::new(Schema::new(vec![Field::new("o", ty.clone()), Field::new("n", Type::Text)]));
        let columns =
            vec![array(&rows.iter().map(Some).collect::<Vec<_>>(), &ty), new_null_array(&Type::Text.to_arrow(), 2)];
        let pruned = Batch::new(schema, columns, 2).pruned();
        let types: Vec<String> = pruned.schema.fields.iter().map(|f| format!("{}: {}", f.name, f.ty)).collect();
        assert_eq!(types, ["o: struct<a: int, l: list<struct<x: int>>>"]);
    }

    #[test]
    fn columns_and_members_without_values_are_left_out() {
        let row =
            json!({"n": null, "e": {}, "l": [], "h": {"x": null, "y": {"z": [{"a": 1, "b": null}]}}, "o": {"x": null}});
        let ty = infer(&row, TypeMerge::Json);
        let Type::Struct(fields) = &ty else { panic!("{ty}") };
        let rows = array(&[Some(&row), None, Some(&row)], &ty);
        let batch = Batch::new(Arc::new(Schema::new(fields.clone())), rows.as_struct().columns().to_vec(), 3);
        let found = batch.without_empty();
        let kept = Type::Struct(vec![Field::new(
            "y",
            Type::Struct(vec![Field::new(
                "z",
                Type::List(Box::new(Type::Struct(vec![Field::new("a", Type::Int { fits_double: true })]))),
            )]),
        )]);
        assert_eq!(found.schema.fields, [Field::new("h", kept.clone())]);
        let names: Vec<String> = batch.schema.without_empty().1.iter().map(|name| name.to_string()).collect();
        assert_eq!(names, ["n", "e", "l", "o"]);
        assert_eq!(value(&found.columns[0], &kept, 2), json!({"y": {"z": [{"a": 1}]}}));
    }
}
