//! Records and cells that do not fit: the reasons for which they are rejected, and their places.

use super::builder::{self, NestedCells};
use super::{CsvDecoder, Mapping};
use crate::column::{Field, Schema, Type};
use crate::format::Reject;
use crate::format::csv::delimiter::{delimiter_in, delimiter_name};
use crate::format::csv::infer::type_of;
use crate::format::csv::split::Span;
use crate::format::decode::EnforcedColumns;
use crate::position::FieldPath;
use crate::text::plural;

impl CsvDecoder {
    #[cold]
    pub(super) fn ragged(&self, found: usize) -> Reject {
        let expected = self.names.len();
        let mut reason = format!("expected {expected} field{}, found {found}", plural(expected as u64));
        if self.delimiter != b',' {
            reason.push_str(&format!("; the delimiter is {}", delimiter_name(self.delimiter)));
        } else if let [name] = &self.names[..]
            && let Some(other) = delimiter_in(name)
        {
            reason.push_str(&format!("; the delimiter may be {}, which the header contains", delimiter_name(other)));
        }
        Reject { offset: 0, path: FieldPath::root(), reason: reason.into() }
    }

    /// Finds the first field of a record that does not fit `schema`: returns its path, the message, and its offset in the
    /// morsel.
    pub(super) fn misfit(
        &self,
        bytes: &[u8],
        fields: &[Span],
        schema: &Schema,
        mapping: &Mapping,
    ) -> Option<(FieldPath, (String, usize))> {
        if let Some(&column) = mapping.unknown.iter().find(|&&column| !fields[column].is_null()) {
            let path = FieldPath::root().field(&self.names[column]);
            return Some((path, ("the schema has no such column".into(), fields[column].start())));
        }
        schema
            .fields
            .iter()
            .zip(mapping.indices.iter().zip(&mapping.is_given))
            .find_map(|(field, (index, &is_given))| self.misfit_of(bytes, fields, (*index)?, &field.ty, is_given, ""))
    }

    /// As [`CsvDecoder::misfit`], for the columns of the enforced schema.
    pub(super) fn enforced_misfit(
        &self,
        bytes: &[u8],
        fields: &[Span],
        enforced: &EnforcedColumns<'_>,
        mapping: &Mapping,
    ) -> Option<(FieldPath, (String, usize))> {
        // Null means that the type is not known yet: an open schema accepts any value there.
        let is_free = |field: &Field| enforced.open && field.ty == Type::Null;
        enforced
            .fields
            .iter()
            .zip(&mapping.indices)
            .filter(|(field, _)| !is_free(field))
            .find_map(|(field, index)| self.misfit_of(bytes, fields, (*index)?, &field.ty, true, " by the schema file"))
    }

    /// Checks the cell of a record in column `column` of the header against type `ty`, which `is_given` as in
    /// [`builder::Builder::new`]; see [`CsvDecoder::misfit`] for the result.
    fn misfit_of(
        &self,
        bytes: &[u8],
        fields: &[Span],
        column: usize,
        ty: &Type,
        is_given: bool,
        by: &str,
    ) -> Option<(FieldPath, (String, usize))> {
        let cell = fields[self.read_at() + column];
        if builder::fits(bytes, cell, ty, is_given, self.decode_cells) {
            return None;
        }
        let found = match type_of(cell.of(bytes)) {
            _ if NestedCells::are_for(ty) => "other text".to_string(),
            found => found.to_string(),
        };
        let path = FieldPath::root().field(&self.names[column]);
        Some((path, (format!("expected {}{by}, found {found}", ty.outline()), fields[column].start())))
    }
}
