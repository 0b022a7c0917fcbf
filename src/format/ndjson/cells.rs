//! JSON text in the cells of another format: a CSV column that is declared as nested.

use std::sync::Arc;

use arrow_array::{ArrayRef, new_null_array};

use super::{DecodeOptions, UnknownKey, ValueTypes, decode};
use crate::column::{Field, Morsel, Schema, Type, TypeMerge};
use crate::format::Reject;
use crate::format::decode::Outcome;

/// Reads cells that hold JSON text into an array of type `ty`, a null cell as null, and returns
/// the array with the type that the values need. Where that is wider than `ty`, the array means
/// nothing. An error names the first cell that is not JSON, by its index.
pub fn decode_cells(cells: &[Option<&str>], ty: &Type) -> Result<(ArrayRef, Type), (usize, Reject)> {
    // Each cell becomes the one field of a record, so that one parser reads all JSON there is.
    let bytes: usize = cells.iter().map(|cell| cell.map_or(4, str::len) + 8).sum();
    let mut lines = Vec::with_capacity(bytes + Morsel::PADDING);
    for (i, cell) in cells.iter().enumerate() {
        lines.extend_from_slice(b"{\"v\":");
        match cell {
            None => lines.extend_from_slice(b"null"),
            Some(text) if text.contains('\n') => {
                // Between tokens a line break is white space; in a string it is a fault, which a
                // blank in its place would hide.
                if serde_json::from_str::<serde::de::IgnoredAny>(text).is_err() {
                    let path = crate::position::FieldPath::root();
                    return Err((i, Reject { offset: 0, path, reason: "expected JSON".into() }));
                }
                lines.extend(text.bytes().map(|b| if b == b'\n' { b' ' } else { b }));
            }
            Some(text) => lines.extend_from_slice(text.as_bytes()),
        }
        lines.extend_from_slice(b"}\n");
    }
    let morsel = Morsel::from_vec(lines, 0, 0);
    let options = DecodeOptions {
        unknown_key: UnknownKey::SchemaMismatch,
        new_columns: ValueTypes::Typed,
        freeze: false,
        max_record_bytes: usize::MAX,
        max_cells: usize::MAX,
        record_spans: false,
    };
    let schema = Arc::new(Schema::new(vec![Field::new("v", ty.clone())]));
    match decode(&morsel, &schema, &options) {
        Outcome::Decoded(decoded) if decoded.duplicate_keys > 0 && first_bad(cells).is_some() => {
            // Such as `1,"v":2`, which is no JSON though its record is.
            let path = crate::position::FieldPath::root();
            let reject = Reject { offset: 0, path, reason: "expected one JSON value".into() };
            Err((first_bad(cells).unwrap_or_default(), reject))
        }
        Outcome::Decoded(mut decoded) => match decoded.rejects.into_iter().next() {
            Some(reject) => Err((reject.record as usize, reject.reject)),
            None => Ok((decoded.batch.columns.swap_remove(0), decoded.observed.fields.swap_remove(0).ty)),
        },
        Outcome::SchemaMismatch(surprise) => {
            // A key smuggled in by a cell such as `1,"x":2` is a column beside `v`: not JSON.
            if surprise.schema.fields.len() > 1 {
                let path = crate::position::FieldPath::root();
                let reject = Reject { offset: 0, path, reason: "expected one JSON value".into() };
                return Err((surprise.record as usize, reject));
            }
            let ty = ty.join(&surprise.schema.fields[0].ty, TypeMerge::Json);
            Ok((new_null_array(&ty.to_arrow(), cells.len()), ty))
        }
    }
}

/// The first cell that is not one JSON value, the slow way.
fn first_bad(cells: &[Option<&str>]) -> Option<usize> {
    let bad = |cell: &Option<&str>| cell.is_some_and(|c| serde_json::from_str::<serde::de::IgnoredAny>(c).is_err());
    cells.iter().position(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_read_as_json() {
        let offices = Type::List(Box::new(Type::Text));
        let (array, ty) = decode_cells(&[Some("[\"Oslo\",\n \"Leeds\"]"), None, Some("[]")], &offices).unwrap();
        assert_eq!((array.len(), array.null_count(), ty), (3, 1, offices.clone()));
        let (_, wider) = decode_cells(&[Some("[1.5]")], &offices).unwrap();
        assert_ne!(wider, offices);
        for bad in ["", "[", "[1] 2", "\"a\nb\"", "1,\"x\":2", "1,\"v\":2", "1}\n{\"v\":2"] {
            assert!(decode_cells(&[None, Some(bad)], &Type::Json).is_err_and(|(row, _)| row == 1), "{bad:?}");
        }
    }
}
