//! Encodes a batch for each output, in a worker: as text or as Arrow rows, for partitioned outputs separately for each
//! directory. Row groups are encoded in `row_groups`. Knows no path, no sink and no file.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::builder::StringViewBuilder;
use arrow_array::cast::AsArray;
use arrow_array::{Array, BooleanArray, RecordBatch};
use arrow_select::nullif::nullif;

use super::partition::by_directory;
use super::rows::{EncodedBatch, EncodedRows, FileRows, PartitionPath, PartitionRows};
use super::spec::{OutputSpec, OutputSpecs};
use super::spilled::to_spilled;
use crate::column::json_text::JsonValues;
use crate::column::{AsRead, Batch, Field, Fixed, Schema, Type, TypeMerge};
use crate::format::arrow_ipc::plain_batch;
use crate::format::compress::PieceCompressor;
use crate::format::csv::{CsvEncoder, SheetCounts};
use crate::format::{Compression, OutputFormat, RowForm, ndjson};
use crate::pipeline::error::Error;

/// Encodes `batch` for every output except those that take row groups. `decoded` is the schema of its records before
/// any step. Fails if the values of partition columns make no usable directory names.
pub(crate) fn encode_rows(outputs: &OutputSpecs, batch: &Batch, decoded: &Arc<Schema>) -> Result<EncodedBatch, Error> {
    let mut sheet = SheetCounts::default();
    // Several Arrow outputs share the converted rows.
    let mut plain_rows = None;
    let mut encoded = Vec::with_capacity(outputs.specs.len());
    for spec in &outputs.specs {
        let form = spec.format.properties().rows;
        let batch = &*as_written(batch, form, outputs.type_merge);
        let present;
        let batch = match outputs.flattened && form == RowForm::Json {
            true => {
                present = without_nulls(batch)?;
                &present
            }
            false => batch,
        };
        encoded.push(match spec.format {
            _ if spec.takes_row_groups() => EncodedRows::InRowGroups,
            _ if spec.is_typed_channel => EncodedRows::Typed(batch.clone()),
            _ if spec.is_multi_file => {
                let batch = spec.file_rows(batch)?;
                let parts = by_directory(&batch, &spec.partition_by, spec.keeps_partition_columns)?.into_iter();
                EncodedRows::Partitions(
                    parts
                        .map(|(directory, batch)| encode_partition(spec, directory, batch, &mut sheet))
                        .collect::<Result<_, _>>()?,
                )
            }
            OutputFormat::Table => {
                let encoder = spec.table.as_ref().ok_or_else(|| Error::Bug("a table has no encoder".into()))?;
                EncodedRows::Load(encoder.encode(batch, outputs.text_buffers.take())?)
            }
            OutputFormat::Arrow(_) => {
                let rows = match &plain_rows {
                    Some(rows) => RecordBatch::clone(rows),
                    None => plain_rows.insert(plain_batch(batch)?).clone(),
                };
                EncodedRows::Arrow(rows)
            }
            format => match encode_into(format, batch, outputs.text_buffers.take(), &mut sheet)? {
                // Workers compress, in parallel: gzip members and zstd frames can be concatenated.
                FileRows::Text(plain) if spec.compression != Compression::None => {
                    let packed = compressed(spec.compression, &plain);
                    outputs.text_buffers.give_back(plain);
                    EncodedRows::Text(packed)
                }
                FileRows::Text(plain) => EncodedRows::Text(plain),
                FileRows::Arrow(rows) => EncodedRows::Arrow(rows),
            },
        });
    }
    Ok(EncodedBatch {
        columns: batch.schema.clone(),
        decoded: decoded.clone(),
        rows: batch.rows as u64,
        encoded,
        sheet,
    })
}

/// Returns `batch` with the columns that an output of `form` takes. Text outputs beside typed ones get values as they were
/// read, so that they are the same as without the others.
fn as_written(batch: &Batch, form: RowForm, type_merge: TypeMerge) -> Cow<'_, Batch> {
    if batch.as_read.is_empty() || form == RowForm::Columns {
        return Cow::Borrowed(batch);
    }
    let mut written = Batch { as_read: Vec::new(), ..batch.clone() };
    let mut schema = (*batch.schema).clone();
    for (i, as_read) in batch.as_read.iter().enumerate() {
        let Some(AsRead { array, ty }) = as_read else { continue };
        let ty = match (form, type_merge, &schema.fields[i].ty) {
            // A column of text has its cells as they are, and steps see the numbers in them.
            (RowForm::Cells, TypeMerge::Text, Type::Text) if *ty == Type::Text => continue,
            (RowForm::Cells, ..) | (_, TypeMerge::Json, _) => ty.clone(),
            // The digits of the cell are a number of JSON.
            (_, TypeMerge::Text, Type::Float | Type::Fixed(Fixed::Decimal { .. })) if *ty == Type::Text => Type::Json,
            // Other cells have a JSON form of their own: `True` is `true`.
            (_, TypeMerge::Text, _) => continue,
        };
        schema.fields[i].ty = ty;
        written.columns[i] = array.clone();
    }
    written.schema = Arc::new(schema);
    Cow::Owned(written)
}

/// Returns the rows of `batch` as records of JSON without their nulls, each an absent key: columns without values are left
/// out, and those with nulls are raw.
///
/// A null of a flattened object would have a key or none by the records before it: without a known value it may stand for an
/// object whose keys are columns.
fn without_nulls(batch: &Batch) -> Result<Batch, Error> {
    let mut fields = Vec::with_capacity(batch.columns.len());
    let mut columns = Vec::with_capacity(batch.columns.len());
    for (array, field) in batch.columns.iter().zip(&batch.schema.fields) {
        let array = match &field.ty {
            Type::Null => continue,
            Type::Raw => {
                let texts = array.as_string_view();
                let nulls = BooleanArray::from_iter(texts.iter().map(|text| Some(text == Some("null"))));
                match nulls.has_true() {
                    true => nullif(array, &nulls).map_err(|error| Error::Bug(error.to_string()))?,
                    false => array.clone(),
                }
            }
            _ if array.logical_null_count() == 0 => {
                fields.push(field.clone());
                columns.push(array.clone());
                continue;
            }
            ty => {
                let (values, mut text) = (JsonValues::new(array, ty), Vec::new());
                let mut texts = StringViewBuilder::with_capacity(batch.rows);
                for row in 0..batch.rows {
                    if values.is_null(row) {
                        texts.append_null();
                        continue;
                    }
                    text.clear();
                    values.write(row, &mut text);
                    texts.append_value(std::str::from_utf8(&text).map_err(|error| Error::Bug(error.to_string()))?);
                }
                Arc::new(texts.finish())
            }
        };
        fields.push(Field::new(field.name.clone(), Type::Raw));
        columns.push(array);
    }
    Ok(Batch::new(Arc::new(Schema::new(fields)), columns, batch.rows))
}

/// Encodes the rows of one directory. The batch stays with them, because the writer may have to split it at the end of
/// a file.
fn encode_partition(
    spec: &OutputSpec,
    directory: PartitionPath,
    batch: Batch,
    sheet: &mut SheetCounts,
) -> Result<PartitionRows, Error> {
    let encoded = match spec.is_spilled() {
        true => encode_for_file(OutputFormat::Ndjson, &to_spilled(batch.clone()), sheet)?,
        false => encode_for_file(spec.format, &batch, sheet)?,
    };
    Ok(PartitionRows { directory, batch, encoded })
}

/// Encodes `batch` for a file of `format`, without compression. Changes for spreadsheets are added to `sheet`.
pub(super) fn encode_for_file(format: OutputFormat, batch: &Batch, sheet: &mut SheetCounts) -> Result<FileRows, Error> {
    encode_into(format, batch, Vec::new(), sheet)
}

/// Encodes `batch`, text formats into the buffer `text`. The only table of the formats whose rows are encoded batch by
/// batch.
fn encode_into(
    format: OutputFormat,
    batch: &Batch,
    mut text: Vec<u8>,
    sheet: &mut SheetCounts,
) -> Result<FileRows, Error> {
    match format {
        OutputFormat::Csv(options) => {
            let mut encoder = CsvEncoder::new(options);
            encoder.write_rows(batch, &mut text);
            sheet.add(encoder.take_counts(), 0);
        }
        OutputFormat::Ndjson => ndjson::encode(batch, b"\n", &mut text),
        OutputFormat::JsonArray => {
            ndjson::encode(batch, b",\n", &mut text);
            // The writer adds the separator between batches, as it knows which batch is the first.
            text.truncate(text.len().saturating_sub(2));
        }
        OutputFormat::Arrow(_) => return Ok(FileRows::Arrow(plain_batch(batch)?)),
        OutputFormat::Parquet(_) => return Err(Error::Bug("Parquet rows must be encoded as row groups".into())),
        OutputFormat::Table => return Err(Error::Bug("the rows of a table are encoded by its system".into())),
    }
    Ok(FileRows::Text(text))
}

/// Compresses `plain` into a gzip member or a zstd frame of its own; empty text stays empty.
pub(super) fn compressed(compression: Compression, plain: &[u8]) -> Vec<u8> {
    if compression == Compression::None || plain.is_empty() {
        return plain.to_vec();
    }
    let mut out = Vec::new();
    // Each text is about a morsel; the set-up of a compressor is negligible for that.
    let result = PieceCompressor::new(compression).and_then(|mut c| c.compress(plain, &mut out));
    result.expect("compressing into memory fails only when there is none");
    out
}
