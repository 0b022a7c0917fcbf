//! Whether rows stand in an order that was claimed for them. Row groups say so only where it is true: a reader may skip
//! what it takes to be out of range.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_row::{RowConverter, SortField};
use arrow_schema::{Schema as ArrowSchema, SortOptions};
use parquet::file::metadata::SortingColumn;

use crate::column::{Schema, Type};

/// One column of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SortKey {
    /// Its name.
    pub column: Arc<str>,
    /// Greater values come first.
    pub descending: bool,
    /// Nulls come before all values.
    pub nulls_first: bool,
}

/// Looks at the rows of one part.
#[derive(Debug)]
pub(super) struct OrderCheck {
    converter: RowConverter,
    /// The keys' columns.
    places: Vec<usize>,
    run: Run,
}

/// The columns of one row as bytes that compare like rows.
type Key = Box<[u8]>;

/// Rows that follow each other.
#[derive(Clone, Debug)]
pub(super) struct Run {
    /// The keys of the first and the last row; `None` of no rows.
    bounds: Option<(Key, Key)>,
    /// None comes before the one before it.
    in_order: bool,
}

impl OrderCheck {
    /// Makes a check of rows with the columns of `schema`, which `arrow` carries. `None` if no order was claimed, or
    /// the columns are not of a kind that has one.
    pub fn new(keys: &[SortKey], schema: &Schema, arrow: &ArrowSchema) -> Option<Self> {
        if keys.is_empty() {
            return None;
        }
        let mut places = Vec::new();
        let mut fields = Vec::new();
        for key in keys {
            let place = schema.position(&key.column)?;
            if !has_order(&schema.fields[place].ty) {
                return None;
            }
            places.push(place);
            let options = SortOptions { descending: key.descending, nulls_first: key.nulls_first };
            fields.push(SortField::new_with_options(arrow.field(place).data_type().clone(), options));
        }
        let converter = RowConverter::new(fields).ok()?;
        Some(OrderCheck { converter, places, run: Run { bounds: None, in_order: true } })
    }

    /// True if the column is one of the keys.
    pub fn wants(&self, place: usize) -> bool {
        self.places.contains(&place)
    }

    /// Takes up the next rows; `columns` are those wanted, in the order of the layout.
    pub fn see(&mut self, columns: &[(usize, ArrayRef)]) {
        let key = |place: &usize| columns.iter().find(|(at, _)| at == place).map(|(_, column)| column.clone());
        let keys: Option<Vec<ArrayRef>> = self.places.iter().map(key).collect();
        let Some(Ok(rows)) = keys.map(|keys| self.converter.convert_columns(&keys)) else {
            self.run.in_order = false;
            return;
        };
        let Some(last) = rows.num_rows().checked_sub(1) else { return };
        let in_order = self.run.in_order && (1..=last).all(|i| rows.row(i - 1) <= rows.row(i));
        let bounds = Some((rows.row(0).as_ref().into(), rows.row(last).as_ref().into()));
        self.run = Run::join([std::mem::replace(&mut self.run, Run::NOTHING), Run { bounds, in_order }]);
    }

    pub fn finish(self) -> Run {
        self.run
    }
}

impl Run {
    const NOTHING: Run = Run { bounds: None, in_order: true };

    /// Runs one after the other.
    pub fn join(runs: impl IntoIterator<Item = Run>) -> Run {
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

    /// True if all rows are in the order.
    pub fn is_in_order(&self) -> bool {
        self.in_order
    }
}

/// True for types whose values Parquet's readers compare as we do.
fn has_order(ty: &Type) -> bool {
    matches!(ty, Type::Bool | Type::Int { .. } | Type::Decimal | Type::Float | Type::Fixed(_) | Type::Text)
}

/// What a row group says whose rows were in the order when its columns were those of `then`: nothing if a key is another
/// type by now, whose order is another.
pub(super) fn sorting_columns(keys: &[SortKey], then: &Schema, last: &Schema) -> Option<Vec<SortingColumn>> {
    let columns = keys.iter().map(|key| {
        let old = then.position(&key.column).map(|place| &then.fields[place].ty)?;
        let place = last.position(&key.column)?;
        let leaves_before: usize = last.fields[..place].iter().map(|field| field.ty.n_leaves()).sum();
        last.fields[place].ty.is_like(old).then_some(SortingColumn {
            column_idx: i32::try_from(leaves_before).ok()?,
            descending: key.descending,
            nulls_first: key.nulls_first,
        })
    });
    columns.collect()
}
