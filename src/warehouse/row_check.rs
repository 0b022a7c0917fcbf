//! The check of rows before they are encoded: every value of every column, and nulls where a table takes none. Pure.

use std::sync::Arc;

use super::cells::Reason;
use super::row_encoder::UnfitRow;
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

/// Returns those of the first `rows` rows that the table cannot hold, ascending, each once. `without_values` are required
/// columns of which no row has a value.
pub(super) fn unfit_rows<'a>(
    rows: usize,
    without_values: impl Iterator<Item = &'a Arc<str>>,
    columns: &[impl CheckedColumn],
) -> Vec<UnfitRow> {
    let mut unfit: Vec<UnfitRow> = Vec::new();
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
    unfit.sort_by_key(|unfit| unfit.row);
    unfit.dedup_by_key(|unfit| unfit.row);
    unfit
}

fn null_row(row: usize, column: &Arc<str>) -> UnfitRow {
    let path = FieldPath::root().field(column);
    UnfitRow { row: row as u32, path, reason: "it is null, and the column of the table takes no null".into() }
}
