//! Encodes batches as NDJSON: one object per row and line, keys in the order of the columns. Rows
//! that are unchanged records are copied instead.

use crate::column::{Batch, Type};
use crate::format::json_text::{JsonValues, write_json_string};

/// Appends every row of `batch` to `out`, each followed by `end`.
///
/// Rows that are unchanged records of the source are copied byte for byte. Otherwise an absent value
/// of a raw column is left out, and every other null is written as `null`.
pub fn encode(batch: &Batch, end: &[u8], out: &mut Vec<u8>) {
    if let Some((bytes, spans)) = &batch.records {
        for span in spans {
            out.extend_from_slice(&bytes[span.start as usize..(span.start + span.len) as usize]);
            out.extend_from_slice(end);
        }
        return;
    }
    // Keys are escaped once per batch.
    let columns: Vec<Column<'_>> = batch
        .columns
        .iter()
        .zip(&batch.schema.fields)
        .map(|(array, field)| {
            let mut key = Vec::new();
            write_json_string(&field.name, &mut key);
            key.push(b':');
            Column { key, values: JsonValues::new(array, &field.ty), skip_null: field.ty == Type::Raw }
        })
        .collect();
    for row in 0..batch.rows {
        out.push(b'{');
        let mut first = true;
        for column in &columns {
            if column.skip_null && column.values.is_null(row) {
                continue;
            }
            if !first {
                out.push(b',');
            }
            first = false;
            out.extend_from_slice(&column.key);
            column.values.write(row, out);
        }
        out.push(b'}');
        out.extend_from_slice(end);
    }
}

struct Column<'a> {
    /// `"name":`, escaped.
    key: Vec<u8>,
    values: JsonValues<'a>,
    /// Leave the key out where the value is null: null means absent in a raw column.
    skip_null: bool,
}
