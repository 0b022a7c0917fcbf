//! Encodes rows as values that the writer binds, and finds values that their columns cannot hold. Pure.

use std::sync::Arc;

use super::kinds::{Kind, NO_NAN, Use};
use super::layout::{LayoutColumn, Mapping, Place};
use super::values::{put_float, put_int, put_null, put_text, put_text_with};
use crate::column::{Batch, Fixed};
use crate::warehouse::cells::{Cells, Reason, Values};
use crate::warehouse::defaults::mark_columns_without_values;
use crate::warehouse::row_check::{CheckedColumn, refused_rows, unfit_rows};
use crate::warehouse::{LoadError, LoadRows, RowEncoder, UnfitRow};

/// The encoder of a load.
#[derive(Debug)]
pub(super) struct ValueEncoder {
    pub(super) mapping: Mapping,
    /// The table in messages.
    pub(super) table: String,
}

impl RowEncoder for ValueEncoder {
    fn unfit(&self, batch: &Batch) -> Vec<UnfitRow> {
        // Columns that do not fit at all are an error of the writer, which knows the table.
        let Ok(layout) = self.mapping.layout(&batch.schema) else { return Vec::new() };
        // Required columns that the layout leaves out have only nulls.
        let names = self.mapping.names(&batch.schema).unwrap_or_default();
        let without_values = batch.schema.fields.iter().zip(names).enumerate();
        let without_values = without_values.filter(|(index, (_, name))| {
            self.mapping.is_required(name) && !layout.iter().any(|column| column.index == *index)
        });
        let without_values: Vec<&Arc<str>> = without_values.map(|(_, (field, _))| &field.name).collect();
        let columns: Vec<Column<'_>> = layout.iter().map(|column| Column::new(column, batch, &self.mapping)).collect();
        unfit_rows(batch.rows, refused_rows(self, batch), without_values.into_iter(), &columns)
    }

    fn has_fixed_columns(&self) -> bool {
        self.mapping.is_fixed()
    }

    fn refusal(&self, name: &str) -> Option<Reason> {
        self.mapping.refusal(name).map(Reason::from)
    }

    fn encode(&self, batch: &Batch, mut buffer: Vec<u8>) -> Result<LoadRows, LoadError> {
        let misfits = |misfits| LoadError::Misfits { table: self.table.clone(), misfits };
        let mut own = None;
        let open =
            |name: &str| self.mapping.open_defaults().find(|(own, _)| ***own == *name).map(|(_, is_strict)| is_strict);
        if self.mapping.open_defaults().next().is_some() {
            let names = self.mapping.names(&batch.schema).map_err(|misfit| misfits(vec![misfit]))?;
            mark_columns_without_values(batch, &names, &mut own, open).map_err(|misfit| misfits(vec![misfit]))?;
        }
        let layout = self.mapping.layout(own.as_ref().unwrap_or(&batch.schema));
        // Of columns that appear late: the others are checked before the first row.
        let layout = layout.map_err(misfits)?;
        let columns: Vec<Column<'_>> = layout.iter().map(|column| Column::new(column, batch, &self.mapping)).collect();
        for row in 0..batch.rows {
            for column in &columns {
                column.write(row, &mut buffer).map_err(|reason| LoadError::Bug(reason.into_owned()))?;
            }
        }
        Ok(match own {
            Some(own) => LoadRows::Typed(buffer, Arc::new(own)),
            None => LoadRows::Bytes(buffer),
        })
    }
}

struct Column<'a> {
    source: Arc<str>,
    cells: Cells<'a>,
    place: Place,
    is_required: bool,
}

impl<'a> Column<'a> {
    fn new(column: &LayoutColumn, batch: &'a Batch, mapping: &Mapping) -> Self {
        let place = match column.place {
            Place::Existing(Kind::Integer { .. }) if !mapping.takes_fractions() => {
                Place::Existing(Kind::Integer { only: true })
            }
            place => place,
        };
        let is_required = mapping.is_required(&column.name);
        Column { source: column.source.clone(), cells: Cells::new(batch, column.index), place, is_required }
    }

    /// Appends the value in `row`. Fails with a reason if the column cannot hold it.
    #[inline]
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), Reason> {
        if self.cells.is_null(row) {
            put_null(out);
            return Ok(());
        }
        self.write_value(row, out)
    }

    #[inline]
    fn write_value(&self, row: usize, out: &mut Vec<u8>) -> Result<(), Reason> {
        let Place::Existing(kind) = self.place else { return self.write_new(row, out) };
        match (&self.cells.values, kind) {
            (Values::Json { .. }, Kind::Mixed) => return self.write_new(row, out),
            (Values::Int(values), kind) => return kind.put_int(values.value(row), out),
            (_, Kind::Text) => put_text(self.cells.text(row)?.as_bytes(), out),
            (_, kind) => return kind.put(self.cells.get(row)?, out),
        }
        Ok(())
    }

    /// Appends the value for a column that the load makes.
    #[inline]
    fn write_new(&self, row: usize, out: &mut Vec<u8>) -> Result<(), Reason> {
        match &self.cells.values {
            Values::Null => put_null(out),
            Values::Bool(values) => put_int(values.value(row).into(), out),
            Values::Int(values) => put_int(values.value(row), out),
            Values::Big(values) => put_text(itoa::Buffer::new().format(values.value(row)).as_bytes(), out),
            Values::Float(values) => match values.value(row) {
                value if value.is_nan() => return Err(NO_NAN.into()),
                value => put_float(value, out),
            },
            Values::Fixed(array, fixed) => put_text_with(out, |out| fixed.write(fixed.value(*array, row), out)),
            Values::Text(values) | Values::NestedText(values) => put_text(values.value(row).as_bytes(), out),
            Values::Json { as_read, canonical } => {
                let text = as_read.value(row);
                let text = match text.starts_with(['{', '[']) {
                    // Nested values are never taken apart, and keep their text at any place.
                    true => text,
                    // A column of REAL has no zero with a sign.
                    false if canonical.value(row) == "-0.0" => "0",
                    false => canonical.value(row),
                };
                put_text(text.as_bytes(), out);
            }
            Values::Nested(values) => put_text_with(out, |out| values.write(row, out)),
        }
        Ok(())
    }
}

impl CheckedColumn for Column<'_> {
    fn source(&self) -> &Arc<str> {
        &self.source
    }

    fn is_required(&self) -> bool {
        self.is_required
    }

    fn is_null(&self, row: usize) -> bool {
        self.cells.is_null(row)
    }

    fn always_fits(&self) -> bool {
        let Place::Existing(kind) = self.place else { return !self.cells.has_nan() };
        match (&self.cells.values, kind) {
            (Values::Null, _) | (Values::Json { .. }, Kind::Mixed) => true,
            (Values::Bool(_) | Values::Int(_), kind) => kind != Kind::Real,
            (Values::Float(_), Kind::Text) => true,
            (Values::Float(_), Kind::Integer { only: true }) => false,
            (Values::Float(_), _) => !self.cells.has_nan() && !self.cells.has_lost_zeros(),
            (Values::Text(_), Kind::Text | Kind::Any | Kind::Mixed) => true,
            (Values::Text(_), Kind::Numeric(Use::Json)) => !self.cells.has_undecided_texts(),
            (
                Values::Nested(_) | Values::NestedText(_) | Values::Fixed(_, Fixed::Date | Fixed::Timestamp { .. }),
                Kind::Text | Kind::Any | Kind::Mixed | Kind::Numeric(Use::Json),
            ) => true,
            _ => false,
        }
    }

    fn check(&self, row: usize, scratch: &mut Vec<u8>) -> Result<(), Reason> {
        self.write_value(row, scratch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::warehouse::Widening;
    use crate::warehouse::defaults::FirstColumns;
    use crate::warehouse::sqlite::layout::TableColumn;
    use crate::warehouse::testing::{assert_same_rows, assert_values_stand_alone};

    #[test]
    fn nested_values_are_the_same_without_their_insides() {
        let first = FirstColumns::default();
        let mapping = Mapping {
            table: None,
            widening: Widening::Evolve,
            key: Vec::new(),
            load_column: None,
            first,
            is_staged: false,
        };
        assert_same_rows(&ValueEncoder { mapping, table: "t".into() });
    }

    #[test]
    fn a_value_does_not_depend_on_the_records_beside_it() {
        let declared = ["INTEGER", "REAL", "TEXT", "", "NUMERIC", "BOOLEAN", "JSON", "DATETIME"].map(|ty| (ty, false));
        for (ty, strict) in
            declared.into_iter().chain([("INTEGER", true), ("REAL", true), ("TEXT", true), ("ANY", true)])
        {
            let column = TableColumn {
                name: "v".into(),
                declared: ty.to_owned(),
                kind: Kind::of(ty, strict, false),
                takes_no_null: false,
                has_default: false,
                is_generated: false,
                collation: None,
            };
            for widening in [Widening::Evolve, Widening::Fixed] {
                let table = Some(vec![column.clone()]);
                let first = FirstColumns::default();
                let mapping = Mapping { table, widening, key: Vec::new(), load_column: None, first, is_staged: false };
                let encoder = ValueEncoder { mapping, table: "t".into() };
                assert_values_stand_alone(&encoder, &format!("{ty} {strict} {widening:?}"));
            }
        }
    }
}
