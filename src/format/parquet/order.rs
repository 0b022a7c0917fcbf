//! Checks whether rows are in the order that is declared for them. Row groups state an order only where it holds: a
//! reader may skip rows that it takes to be out of range. Nothing is sorted here.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_row::{RowConverter, SortField};
use arrow_schema::{Schema as ArrowSchema, SortOptions};
use parquet::file::metadata::SortingColumn;

use crate::column::{Schema, Type};

/// One column of a sort order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SortKey {
    /// Name of the column.
    pub column: Arc<str>,
    /// True if greater values come first.
    pub descending: bool,
    /// True if nulls come before all values.
    pub nulls_first: bool,
}

/// Check of the rows of one part.
#[derive(Debug)]
pub(super) struct OrderCheck {
    converter: RowConverter,
    /// Indices of the key columns, in the order of the keys.
    key_columns: Vec<usize>,
    run: Run,
}

/// The key columns of one row as bytes that compare like rows.
type Key = Box<[u8]>;

/// Consecutive rows, with their order.
#[derive(Clone, Debug)]
pub(super) struct Run {
    /// Keys of the first and the last row; `None` without rows.
    bounds: Option<(Key, Key)>,
    /// True if no row comes before its predecessor in the order.
    in_order: bool,
}

impl OrderCheck {
    /// Makes a check of rows with the columns of `schema`, which `arrow` carries. `None` if no order is declared, or
    /// a key is missing or of a type without an order.
    pub(super) fn new(keys: &[SortKey], schema: &Schema, arrow: &ArrowSchema) -> Option<Self> {
        if keys.is_empty() {
            return None;
        }
        let mut key_columns = Vec::new();
        let mut fields = Vec::new();
        for key in keys {
            let column = schema.position(&key.column)?;
            if !has_order(&schema.fields[column].ty) {
                return None;
            }
            key_columns.push(column);
            let options = SortOptions { descending: key.descending, nulls_first: key.nulls_first };
            fields.push(SortField::new_with_options(arrow.field(column).data_type().clone(), options));
        }
        let converter = RowConverter::new(fields).ok()?;
        Some(OrderCheck { converter, key_columns, run: Run { bounds: None, in_order: true } })
    }

    /// Returns true if the column is one of the keys.
    pub(super) fn wants(&self, column: usize) -> bool {
        self.key_columns.contains(&column)
    }

    /// Checks the next rows; `columns` are the wanted ones with their indices.
    pub(super) fn check(&mut self, columns: &[(usize, ArrayRef)]) {
        let key = |wanted: &usize| columns.iter().find(|(index, _)| index == wanted).map(|(_, column)| column.clone());
        let keys: Option<Vec<ArrayRef>> = self.key_columns.iter().map(key).collect();
        let Some(Ok(rows)) = keys.map(|keys| self.converter.convert_columns(&keys)) else {
            self.run.in_order = false;
            return;
        };
        let Some(last) = rows.num_rows().checked_sub(1) else { return };
        let in_order = self.run.in_order && (1..=last).all(|i| rows.row(i - 1) <= rows.row(i));
        let bounds = Some((rows.row(0).as_ref().into(), rows.row(last).as_ref().into()));
        self.run = Run::join([std::mem::replace(&mut self.run, Run::NOTHING), Run { bounds, in_order }]);
    }

    pub(super) fn finish(self) -> Run {
        self.run
    }
}

impl Run {
    const NOTHING: Run = Run { bounds: None, in_order: true };

    /// Concatenates runs.
    pub(super) fn join(runs: impl IntoIterator<Item = Run>) -> Run {
        runs.into_iter().fold(Run::NOTHING, |before, next| {
            let in_order = before.in_order && next.in_order;
            match (before.bounds, next.bounds) {
                (Some((first, last)), Some((from, to))) => {
                    Run { in_order: in_order && last <= from, bounds: Some((first, to)) }
                }
                (before, next) => Run { in_order, bounds: before.or(next) },
            }
        })
    }

    /// Returns true if all rows are in order.
    pub(super) fn is_in_order(&self) -> bool {
        self.in_order
    }
}

/// Returns true for types whose values Parquet readers compare in the same order.
fn has_order(ty: &Type) -> bool {
    matches!(ty, Type::Bool | Type::Int { .. } | Type::Decimal | Type::Float | Type::Fixed(_) | Type::Text)
}

/// Returns the sorting columns of a row group whose rows were in order under the schema `checked`. `None` if a key has
/// another type in the final schema, as values compare differently then.
pub(super) fn sorting_columns(keys: &[SortKey], checked: &Schema, last: &Schema) -> Option<Vec<SortingColumn>> {
    let columns = keys.iter().map(|key| {
        let old = checked.position(&key.column).map(|index| &checked.fields[index].ty)?;
        let index = last.position(&key.column)?;
        let leaves_before: usize = last.fields[..index].iter().map(|field| field.ty.n_leaves()).sum();
        last.fields[index].ty.is_like(old).then_some(SortingColumn {
            column_idx: i32::try_from(leaves_before).ok()?,
            descending: key.descending,
            nulls_first: key.nulls_first,
        })
    });
    columns.collect()
}
