//! Batches as NDJSON: one object per row and line, keys in the order of the columns.

use arrow_array::Array;

use crate::column::{Batch, Type};
use crate::format::json_text::{write_json_string, write_json_value};

/// Appends every row of `batch` to `out`, each followed by `end`.
///
/// Rows that still are records of the source are copied to the byte. Else an absent value of a raw
/// column is left out, and every other null is written as `null`.
pub fn encode(batch: &Batch, end: &[u8], out: &mut Vec<u8>) {
    if let Some((bytes, spans)) = &batch.records {
        for span in spans {
            out.extend_from_slice(&bytes[span.start as usize..(span.start + span.len) as usize]);
            out.extend_from_slice(end);
        }
        return;
    }
    let keys: Vec<Vec<u8>> = batch
        .schema
        .fields
        .iter()
        .map(|field| {
            let mut key = Vec::new();
            write_json_string(&field.name, &mut key);
            key.push(b':');
            key
        })
        .collect();
    for row in 0..batch.rows {
        out.push(b'{');
        let mut first = true;
        for ((column, field), key) in batch.columns.iter().zip(&batch.schema.fields).zip(&keys) {
            let null = column.is_null(row);
            if null && field.ty == Type::Raw {
                continue;
            }
            if !first {
                out.push(b',');
            }
            first = false;
            out.extend_from_slice(key);
            if null {
                out.extend_from_slice(b"null");
            } else {
                write_json_value(column, row, &field.ty, out);
            }
        }
        out.push(b'}');
        out.extend_from_slice(end);
    }
}
