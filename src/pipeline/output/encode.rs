//! Rows encoded for each output, by a worker: text or Arrow rows; for outputs that are divided by the values of columns,
//! each directory's by themselves. Row groups are made in `row_groups`.

use std::sync::Arc;

use arrow_array::RecordBatch;

use super::partition::by_directory;
use super::rows::{EncodedBatch, EncodedRows, FileRows, PartitionPath, PartitionRows};
use super::spec::{OutputSpec, OutputSpecs};
use super::spilled::spilled;
use crate::column::{Batch, Schema};
use crate::format::arrow_ipc::plain_batch;
use crate::format::compress::PieceCompressor;
use crate::format::csv::{CsvEncoder, SheetCounts};
use crate::format::{Compression, OutputFormat, ndjson};
use crate::pipeline::error::Error;

/// Rows for every output but those that take row groups.
pub fn encode_rows(outputs: &OutputSpecs, batch: &Batch, decoded: &Arc<Schema>) -> Result<EncodedBatch, Error> {
    let mut sheet = SheetCounts::default();
    let mut plain_rows = None;
    let mut encoded = Vec::with_capacity(outputs.specs.len());
    for spec in &outputs.specs {
        encoded.push(match spec.format {
            _ if spec.takes_row_groups() => EncodedRows::InRowGroups,
            _ if spec.in_parts => {
                let parts = by_directory(batch, &spec.partition_by)?.into_iter();
                EncodedRows::Partitions(
                    parts
                        .map(|(directory, batch)| part(spec, directory, batch, &mut sheet))
                        .collect::<Result<_, _>>()?,
                )
            }
            // Several Arrow outputs share the rows.
            OutputFormat::Arrow(_) => {
                let rows = match &plain_rows {
                    Some(rows) => RecordBatch::clone(rows),
                    None => plain_rows.insert(plain_batch(batch)?).clone(),
                };
                EncodedRows::Arrow(rows)
            }
            format => match encode_body(format, batch, outputs.text_buffers.take(), &mut sheet)? {
                FileRows::Text(plain) if spec.compression != Compression::None => {
                    let packed = compressed(spec.compression, &plain);
                    outputs.text_buffers.give(plain);
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

fn part(
    spec: &OutputSpec,
    directory: PartitionPath,
    batch: Batch,
    sheet: &mut SheetCounts,
) -> Result<PartitionRows, Error> {
    let body = match spec.is_spilled() {
        true => body_of(OutputFormat::Ndjson, &spilled(batch.clone()), sheet)?,
        false => body_of(spec.format, &batch, sheet)?,
    };
    Ok(PartitionRows { directory, batch, body })
}

/// `batch` as it goes into a file of `format`, not compressed yet.
pub fn body_of(format: OutputFormat, batch: &Batch, sheet: &mut SheetCounts) -> Result<FileRows, Error> {
    encode_body(format, batch, Vec::new(), sheet)
}

/// [`body_of`], in the buffer `text` where it is text: the one table of formats whose rows are encoded batch by batch.
fn encode_body(
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
            // The writer puts the separator between pieces.
            text.truncate(text.len().saturating_sub(2));
        }
        OutputFormat::Arrow(_) => return Ok(FileRows::Arrow(plain_batch(batch)?)),
        OutputFormat::Parquet(_) => return Err(Error::Bug("rows of Parquet come in row groups".into())),
    }
    Ok(FileRows::Text(text))
}

/// `plain` as it goes into an output of this compression; nothing stays nothing.
pub fn compressed(compression: Compression, plain: &[u8]) -> Vec<u8> {
    if compression == Compression::None || plain.is_empty() {
        return plain.to_vec();
    }
    let mut out = Vec::new();
    // Pieces are about a morsel each; a compressor's set-up is lost in that.
    let result = PieceCompressor::new(compression).and_then(|mut c| c.compress(plain, &mut out));
    result.expect("compressing into memory fails only when there is none");
    out
}
