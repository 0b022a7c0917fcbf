//! The check of rows before they are encoded: every value of every column, and nulls where a table takes none. Pure.

use std::sync::Arc;

use super::cells::{Cells, Reason};
use super::row_encoder::{RowEncoder, UnfitRow, first_of_each_row};
use crate::column::{Batch, Type};
use crate::position::FieldPath;

/// One column of the rows, with the column of the table that takes it.
pub(super) trait CheckedColumn {
    /// Returns the name in the rows.
    fn source(&self) -> &Arc<str>;

    /// Returns true if the table takes no null.
    fn is_required(&self) -> bool;

    fn is_null(&self, row: usize) -> bool;

    /// Returns true if no value of the column can be refused.
    fn always_fits(&self) -> bool;

    /// Fails with a reason if the table cannot hold the value in `row`, which is not null. `scratch` is empty.
    fn check(&self, row: usize, scratch: &mut Vec<u8>) -> Result<(), Reason>;
}

/// The reason for a value in a column that the system fills by itself.
pub(super) const COMPUTED: &str = "the column is computed by the table";

/// Returns the rows with a value in a column that `encoder` refuses.
pub(super) fn refused_rows(encoder: &dyn RowEncoder, batch: &Batch) -> Vec<UnfitRow> {
    let mut refused = Vec::new();
    if !encoder.has_fixed_columns() {
        return refused;
    }
    for (index, field) in batch.schema.fields.iter().enumerate() {
        let Some(reason) = encoder.refusal(&field.name).filter(|_| field.ty != Type::Null) else { continue };
        let cells = Cells::new(batch, index);
        let valid = (0..batch.rows).filter(|&row| !cells.is_null(row));
        let path = FieldPath::root().field(&field.name);
        refused.extend(valid.map(|row| UnfitRow { row: row as u32, path: path.clone(), reason: reason.to_string() }));
    }
    refused
}

/// Returns those of the first `rows` rows that the table cannot hold, ascending, each once. `unfit` are known already, in any
/// order; `without_values` are required columns of which no row has a value.
pub(super) fn unfit_rows<'a>(
    rows: usize,
    mut unfit: Vec<UnfitRow>,
    without_values: impl Iterator<Item = &'a Arc<str>>,
    columns: &[impl CheckedColumn],
) -> Vec<UnfitRow> {
    let mut scratch = Vec::new();
    for name in without_values {
        unfit.extend((0..rows).map(|row| null_row(row, name)));
    }
    for column in columns {
        if column.is_required() {
            unfit.extend((0..rows).filter(|&row| column.is_null(row)).map(|row| null_row(row, column.source())));
        }
        if column.always_fits() {
            continue;
        }
        for row in (0..rows).filter(|&row| !column.is_null(row)) {
            scratch.clear();
            if let Err(reason) = column.check(row, &mut scratch) {
                let path = FieldPath::root().field(column.source());
                unfit.push(UnfitRow { row: row as u32, path, reason: reason.into_owned() });
            }
        }
    }
    first_of_each_row(&mut unfit);
    unfit
}

fn null_row(row: usize, column: &Arc<str>) -> UnfitRow {
    let path = FieldPath::root().field(column);
    UnfitRow { row: row as u32, path, reason: "it is null, and the column of the table takes no null".into() }
}
