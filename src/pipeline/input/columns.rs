//! The columns that all records of a source have, from the names of directories: their arrays, beside the columns of the
//! records. Lists no directory.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, StringViewArray, UInt32Array, new_null_array};
use arrow_select::take::take;

use super::item::SourceInfo;
use crate::column::{Batch, Field, Morsel, Schema, Type};
use crate::format::decode::{Outcome, RecordRules};
use crate::format::ndjson::{self, DecodeOptions, UnknownKey, ValueTypes};
use crate::pipeline::error::{Error, PlanError};
use crate::source::{ColumnsRead, Source};
use crate::transform::{Step, columns_dropped, columns_needed};

/// Returns the names of the columns of the sources, in the order of first sight.
pub(crate) fn source_columns(sources: &[Source]) -> Vec<Arc<str>> {
    let mut names: Vec<Arc<str>> = Vec::new();
    for (name, _) in sources.iter().flat_map(|source| source.columns.iter()) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

/// Sets the columns of the sources that `steps` and the outputs behind them read.
pub(crate) fn set_columns_read(sources: &mut [Source], steps: &[Step]) {
    let only = columns_needed(steps, false).map(Arc::from);
    let read = ColumnsRead { only, dropped: columns_dropped(steps).into() };
    sources.iter_mut().for_each(|source| source.columns_read = read.clone());
}

/// Sets the columns of the source in rows that were decoded with them, and so have them without values. A column that
/// the batch lacks is not needed. Where columns are raw text, `contract` has the types of the explicit schema. Fails if the
/// records have values in one of them.
pub(crate) fn set_source_columns(batch: &mut Batch, info: &SourceInfo, contract: Option<&Schema>) -> Result<(), Error> {
    for (name, value) in info.columns.iter() {
        let Some(index) = batch.schema.position(name) else { continue };
        require_no_values(batch, index, info)?;
        let ty = batch.schema.fields[index].ty.clone();
        let enforced = contract.and_then(|contract| Some(&contract.fields[contract.position(name)?].ty));
        let column = constant(name, value.as_deref(), &ty, enforced, batch.rows, info)?;
        batch.put(name, ty, column, None);
    }
    Ok(())
}

/// Appends the columns of the source to rows that are columns already. Fails if they have values in one of them.
pub(crate) fn append_source_columns(batch: &mut Batch, info: &SourceInfo) -> Result<(), Error> {
    for (name, value) in info.columns.iter() {
        if let Some(index) = batch.schema.position(name) {
            require_no_values(batch, index, info)?;
        }
        let column = constant(name, value.as_deref(), &Type::Text, None, batch.rows, info)?;
        batch.put(name, Type::Text, column, None);
    }
    Ok(())
}

fn require_no_values(batch: &Batch, index: usize, info: &SourceInfo) -> Result<(), Error> {
    let (column, field) = (&batch.columns[index], &batch.schema.fields[index]);
    let has_values = match field.ty {
        // The text of the record, in which null is a word.
        Type::Raw => column.as_string_view().iter().flatten().any(|text| text != "null"),
        _ => column.null_count() < batch.rows,
    };
    match has_values {
        false => Ok(()),
        true => {
            Err(PlanError::ColumnOfDirectory { name: info.name.to_string(), column: field.name.to_string() }.into())
        }
    }
}

/// Returns `rows` times the text `value`, or null, as a column of type `ty`; `enforced` is the type that the explicit schema
/// has for it.
fn constant(
    name: &Arc<str>,
    value: Option<&str>,
    ty: &Type,
    enforced: Option<&Type>,
    rows: usize,
    info: &SourceInfo,
) -> Result<ArrayRef, Error> {
    let text = |text: String| -> ArrayRef { Arc::new(StringViewArray::from_iter_values([text])) };
    let quoted = |value: &str| serde_json::Value::from(value).to_string();
    // As JSON, a number is one and any other text a string.
    let typed = |value: &str, ty: &Type| {
        let json: Result<serde_json::Value, _> = serde_json::from_str(value);
        let value = if json.is_ok_and(|json| !json.is_string()) { value.to_owned() } else { quoted(value) };
        match decoded(name, &value, ty) {
            Some(column) => Ok((value, column)),
            None => Err(Error::from(PlanError::TypeOfDirectory {
                name: info.name.to_string(),
                column: name.to_string(),
                ty: ty.to_string(),
            })),
        }
    };
    let is_text = |ty: &Type| matches!(ty, Type::Text | Type::Json | Type::Null);
    let one = match (value, ty) {
        (None, Type::Raw) => text("null".to_owned()),
        (None, _) => return Ok(new_null_array(&ty.to_arrow(), rows)),
        (Some(value), Type::Text) => text(value.to_owned()),
        (Some(value), Type::Raw) => match enforced.filter(|enforced| !is_text(enforced)) {
            Some(enforced) => text(typed(value, enforced)?.0),
            None => text(quoted(value)),
        },
        (Some(value), Type::Json) => text(quoted(value)),
        // Only an explicit schema gives another type.
        (Some(value), _) => typed(value, ty)?.1,
    };
    let zeros = UInt32Array::from(vec![0; rows]);
    take(&one, &zeros, None).map_err(|error| Error::Bug(format!("cannot repeat a value: {error}")))
}

/// Decodes one JSON value as a column of type `ty`; `None` if it does not fit.
fn decoded(name: &Arc<str>, value: &str, ty: &Type) -> Option<ArrayRef> {
    let record = format!("{{{}:{value}}}\n", serde_json::Value::from(&**name));
    let (schema, len) = (Arc::new(Schema::new(vec![Field::new(name.clone(), ty.clone())])), record.len());
    let options = DecodeOptions {
        unknown_key: UnknownKey::SchemaMismatch,
        new_columns: ValueTypes::Typed,
        freeze: true,
        max_record_bytes: len,
        max_cells: len,
        record_spans: false,
        canonical_json: true,
    };
    let morsel = Morsel::from_vec(record.into_bytes(), 0, 0);
    match ndjson::decode_under(&morsel, &schema, &options, &RecordRules::default()) {
        Outcome::Decoded(decoded) if decoded.batch.rows == 1 => decoded.batch.columns.into_iter().next(),
        _ => None,
    }
}
