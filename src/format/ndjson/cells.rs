//! Decodes JSON text in the cells of another format, that is, of CSV columns that are declared nested.
//! Each cell becomes a record of one field, so that one parser decides what is JSON.

use std::sync::Arc;

use arrow_array::{ArrayRef, new_null_array};

use super::{DecodeOptions, UnknownKey, ValueTypes, decode};
use crate::column::{Field, Morsel, Schema, Type, TypeMerge};
use crate::format::Reject;
use crate::format::decode::Outcome;

/// Decodes cells of JSON text into an array of type `ty`, a null cell as null, and returns the array
/// with the type that the values need. If that is wider than `ty`, the array is meaningless. An error has
/// the index of the first cell that is not JSON.
pub fn decode_cells(cells: &[Option<&str>], ty: &Type) -> Result<(ArrayRef, Type), (usize, Reject)> {
    // Per cell: `{"v":`, its text or `null`, `}` and a line feed.
    let bytes: usize = cells.iter().map(|cell| cell.map_or(4, str::len) + 8).sum();
    let mut lines = Vec::with_capacity(bytes + Morsel::PADDING);
    for (i, cell) in cells.iter().enumerate() {
        lines.extend_from_slice(b"{\"v\":");
        match cell {
            None => lines.extend_from_slice(b"null"),
            Some(text) if text.contains('\n') => {
                // Between tokens a line break is white space, and a space does as well. In a string it is
                // an error that a space would hide, so that such cells are validated before.
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
        // Cells of JSON text keep their text; values inside others may have been typed before.
        canonical_json: *ty != Type::Json,
    };
    let schema = Arc::new(Schema::new(vec![Field::new("v", ty.clone())]));
    match decode(&morsel, &schema, &options) {
        Outcome::Decoded(decoded) if decoded.duplicate_keys > 0 && first_bad(cells).is_some() => {
            // A cell such as `1,"v":2` is not JSON although its record is.
            let path = crate::position::FieldPath::root();
            let reject = Reject { offset: 0, path, reason: "expected one JSON value".into() };
            Err((first_bad(cells).unwrap_or_default(), reject))
        }
        Outcome::Decoded(mut decoded) => match decoded.rejects.into_iter().next() {
            Some(reject) => Err((reject.record as usize, reject.reject)),
            None => Ok((decoded.batch.columns.swap_remove(0), decoded.observed.fields.swap_remove(0).ty)),
        },
        Outcome::SchemaMismatch(mismatch) => {
            // A cell such as `1,"x":2` is not JSON either, and adds a column beside `v`.
            if mismatch.schema.fields.len() > 1 {
                let path = crate::position::FieldPath::root();
                let reject = Reject { offset: 0, path, reason: "expected one JSON value".into() };
                return Err((mismatch.record as usize, reject));
            }
            let ty = ty.join(&mismatch.schema.fields[0].ty, TypeMerge::Json);
            Ok((new_null_array(&ty.to_arrow(), cells.len()), ty))
        }
    }
}

/// Finds the first cell that is not one JSON value, by parsing each with serde_json.
fn first_bad(cells: &[Option<&str>]) -> Option<usize> {
    let bad = |cell: &Option<&str>| cell.is_some_and(|c| serde_json::from_str::<serde::de::IgnoredAny>(c).is_err());
    cells.iter().position(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_decoded_as_json() {
        let offices = Type::List(Box::new(Type::Text));
        let (array, ty) = decode_cells(&[Some("[\"Oslo\",\n \"Leeds\"]"), None, Some("[]")], &offices).unwrap();
        assert_eq!((array.len(), array.null_count(), ty), (3, 1, offices.clone()));
        let (_, wider) = decode_cells(&[Some("[1.5]")], &offices).unwrap();
        assert_ne!(wider, offices);
        for (bad, reason) in [
            ("", "expected a value"),
            ("[", "expected a value"),
            ("[1] 2", "expected `,` or `}`"),
            ("\"a\nb\"", "expected JSON"),
            ("1,\"x\":2", "expected one JSON value"),
            ("1,\"v\":2", "expected one JSON value"),
            ("1}\n{\"v\":2", "expected JSON"),
        ] {
            let (row, reject) = decode_cells(&[None, Some(bad)], &Type::Json).unwrap_err();
            assert_eq!((row, &*reject.reason), (1, reason), "{bad:?}");
        }
    }
}
