//! Conversion of the columns of files that others may have written.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{Array, ArrayRef, PrimitiveArray, RecordBatch, make_array, new_null_array};
use arrow_schema::{ArrowError, DataType};

use super::columns::{to_carrier, type_of, unwritable};
use crate::column::{Batch, Field, Schema, Type};
use crate::transform::foreign::{ForeignError, ForeignRules};

/// Converts the Arrow schema of a file that others may have written. Fails on duplicate names and on types without a
/// counterpart, such as decimals of 256 bits, of columns that are read; the others have no values.
pub fn arrow_to_schema(arrow: &arrow_schema::Schema, rules: &ForeignRules) -> Result<Schema, ForeignError> {
    let mut fields: Vec<Field> = Vec::with_capacity(arrow.fields().len());
    for field in arrow.fields() {
        let name = field.name();
        if fields.iter().any(|other| *other.name == **name) {
            return Err(ForeignError::Other(format!("duplicate column `{name}`")));
        }
        let ty = match type_of(field) {
            Some(ty) => ty,
            None if !(rules.is_read)(name) => Type::Null,
            None => {
                return Err(ForeignError::Type { column: name.clone(), ty: field.data_type().to_string() });
            }
        };
        fields.push(Field::new(name.as_str(), ty));
    }
    Ok(Schema::new(fields))
}

/// Converts rows of a file to a batch of `schema`, which [`arrow_to_schema`] made of `arrow` by the same rules. Fails for a
/// value that outputs would write differently, in a column that is read; in the others such values are null.
pub fn arrow_to_batch(
    rows: &RecordBatch,
    arrow: &arrow_schema::Schema,
    schema: &Arc<Schema>,
    rules: &ForeignRules,
) -> Result<Batch, ForeignError> {
    type Of<'a> = ((&'a ArrayRef, &'a Arc<arrow_schema::Field>), &'a Field);
    let converted = |((column, arrow), field): Of| -> Result<ArrayRef, ForeignError> {
        let column = to_carrier(column, arrow, field).map_err(|error| ForeignError::Other(error.message))?;
        let column = match rules.null_numbers {
            [] => column,
            numbers => without_numbers(&column, numbers).map_err(|error| ForeignError::Other(error.to_string()))?,
        };
        match unwritable(&column, rules.keeps_not_finite) {
            None => Ok(column),
            Some(value) => Err(ForeignError::Value { column: field.name.to_string(), value }),
        }
    };
    let checked = |((column, arrow), field): Of| -> Result<ArrayRef, ForeignError> {
        let none = || new_null_array(&field.ty.to_arrow(), column.len());
        match (rules.is_read)(&field.name) {
            true => converted(((column, arrow), field)),
            // Its type may have no counterpart, which a cast to the type of nulls would find out about.
            false if field.ty == Type::Null => Ok(none()),
            false => Ok(converted(((column, arrow), field)).unwrap_or_else(|_| none())),
        }
    };
    let columns =
        rows.columns().iter().zip(arrow.fields()).zip(&schema.fields).map(checked).collect::<Result<_, _>>()?;
    Ok(Batch::new(schema.clone(), columns, rows.num_rows()))
}

/// Returns `column`, which has the Arrow type of its drawoff type, with null for each of `numbers`, also within its values.
fn without_numbers(column: &ArrayRef, numbers: &[f64]) -> Result<ArrayRef, ArrowError> {
    let is_null = |value: f64| numbers.iter().any(|number| *number == value || number.is_nan() && value.is_nan());
    match column.data_type() {
        DataType::Float64 => {
            let values = column.as_primitive::<Float64Type>();
            if !values.iter().flatten().any(is_null) {
                return Ok(column.clone());
            }
            let kept = values.iter().map(|value| value.filter(|value| !is_null(*value)));
            Ok(Arc::new(kept.collect::<PrimitiveArray<Float64Type>>()))
        }
        DataType::Struct(_) | DataType::List(_) | DataType::Map(..) => {
            let data = column.to_data();
            let children = data
                .child_data()
                .iter()
                .map(|child| Ok(without_numbers(&make_array(child.clone()), numbers)?.to_data()));
            let children = children.collect::<Result<_, ArrowError>>()?;
            Ok(make_array(data.into_builder().child_data(children).build()?))
        }
        _ => Ok(column.clone()),
    }
}
