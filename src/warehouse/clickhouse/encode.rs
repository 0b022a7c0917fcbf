//! Encodes rows as `RowBinary`, and finds values that their columns cannot hold before they are sent. Pure.

use std::sync::Arc;

use super::layout::{Change, Layout, LayoutColumn, Mapping, column_name};
use super::types::ColumnType;
use super::value::{Width, from_text, width, write_bytes, write_cell};
use crate::column::{Batch, Schema, Type};
use crate::warehouse::cells::{Cells, Reason, Values};
use crate::warehouse::defaults::mark_columns_without_values;
use crate::warehouse::row_check::{CheckedColumn, refused_rows, unfit_rows};
use crate::warehouse::{LoadError, LoadRows, Misfit, RowEncoder, UnfitRow};

/// The encoder of a load.
#[derive(Debug)]
pub(super) struct RowBinaryEncoder {
    pub(super) mapping: Mapping,
    /// The table in messages.
    pub(super) table: String,
}

impl RowBinaryEncoder {
    fn columns<'a>(&self, layout: &Layout, batch: &'a Batch, is_checked: bool) -> Vec<Column<'a>> {
        layout.columns.iter().map(|column| Column::new(column, batch, &self.mapping, is_checked)).collect()
    }

    /// Returns the columns of rows that all fit, with the types that their values alone need in columns of integers that may
    /// become wider, and without those of which no row has a value and the table has a default; `None` if there are no such
    /// columns.
    fn columns_of_rows(&self, batch: &Batch) -> Result<Option<Schema>, Misfit> {
        let is_open = |ty: &Type| !matches!(ty, Type::Null | Type::Int { .. });
        let mut columns: Option<Schema> = None;
        for (index, name) in self.mapping.names(&batch.schema)?.iter().enumerate() {
            let field = &batch.schema.fields[index];
            let Some(ty) = self.mapping.may_widen(name).filter(|_| is_open(&field.ty)) else { continue };
            let cells = Cells::new(batch, index);
            let values = (0..batch.rows).filter(|&row| !cells.is_null(row)).filter_map(|row| cells.get(row).ok());
            let (mut widest, mut has_large, mut has_double) = (Width::Small, false, false);
            for width in values.filter_map(|cell| width(&cell, ty).ok()) {
                widest = widest.max(width);
                has_large |= width == Width::Large;
                has_double |= width == Width::Double;
            }
            let misfit = |what: &str| Err(Misfit { column: field.name.to_string(), what: what.to_owned() });
            columns.get_or_insert_with(|| (*batch.schema).clone()).fields[index].ty = match widest {
                Width::Small | Width::Large => Type::Int { fits_double: !has_large },
                Width::Double if has_large => return misfit(NO_DOUBLE),
                Width::Double => Type::Float,
                Width::Decimal if has_double => return misfit(NO_NUMBER_FOR_BOTH),
                Width::Decimal => Type::Decimal,
            };
        }
        let open =
            |name: &str| self.mapping.open_defaults().find(|(own, _)| ***own == *name).map(|(_, is_strict)| is_strict);
        mark_columns_without_values(batch, &self.mapping.names(&batch.schema)?, &mut columns, open)?;
        Ok(columns)
    }

    fn misfits(&self, misfits: Vec<Misfit>) -> LoadError {
        LoadError::Misfits { table: self.table.clone(), misfits }
    }
}

/// The misfits of columns of integers that would have to become wider, and cannot.
pub(super) const NO_DOUBLE: &str = "has numbers with fractions, and there are integers beyond what a double holds";
pub(super) const NO_NUMBER_FOR_BOTH: &str =
    "has numbers with fractions and integers beyond 64 bits, which no number of the server holds";

impl RowEncoder for RowBinaryEncoder {
    fn unfit(&self, batch: &Batch) -> Vec<UnfitRow> {
        // Columns that do not fit at all are an error of the writer, which knows the table.
        let Ok(layout) = self.mapping.layout(&batch.schema) else { return Vec::new() };
        // Required columns that the layout leaves out have only nulls.
        let names = self.mapping.names(&batch.schema).unwrap_or_default();
        let without_values = batch.schema.fields.iter().zip(&names);
        let without_values =
            without_values.filter(|(field, name)| field.ty == Type::Null && self.mapping.is_required(name));
        let without_values: Vec<&Arc<str>> = without_values.map(|(field, _)| &field.name).collect();
        let refused = refused_rows(self, batch);
        unfit_rows(batch.rows, refused, without_values.into_iter(), &self.columns(&layout, batch, false))
    }

    fn has_fixed_columns(&self) -> bool {
        self.mapping.is_fixed()
    }

    fn refusal(&self, name: &str) -> Option<Reason> {
        self.mapping.refusal(&column_name(&name.into())).map(Reason::from)
    }

    fn encode(&self, batch: &Batch, mut buffer: Vec<u8>) -> Result<LoadRows, LoadError> {
        let own = self.columns_of_rows(batch).map_err(|misfit| self.misfits(vec![misfit]))?;
        let layout = self.mapping.layout_of_rows(own.as_ref().unwrap_or(&batch.schema));
        // Of columns that appear late: the others are checked before the first row.
        let layout = layout.map_err(|misfits| self.misfits(misfits))?;
        let columns = self.columns(&layout, batch, true);
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
    ty: ColumnType,
    /// True if the table does not have the column yet, so that its type follows that of the rows.
    is_new: bool,
    /// True if it is one of integers that may become wider.
    may_widen: bool,
    /// True if it was one, and these rows have made it wider.
    is_widened: bool,
    is_required: bool,
}

impl<'a> Column<'a> {
    /// `is_checked` is true if rows with values that their columns cannot hold are no longer among the rows of `batch`.
    fn new(column: &LayoutColumn, batch: &'a Batch, mapping: &Mapping, is_checked: bool) -> Self {
        Column {
            source: column.source.clone(),
            cells: Cells::new(batch, column.index),
            ty: column.ty.clone(),
            is_new: !mapping.has(&column.name),
            may_widen: !is_checked && mapping.may_widen(&column.name).is_some(),
            is_widened: column.change == Some(Change::Widen),
            is_required: match mapping.has(&column.name) {
                true => mapping.is_required(&column.name),
                false => !column.ty.is_nullable(),
            },
        }
    }

    /// Appends the value in `row`, or a null. Fails with a reason if the column cannot hold it.
    #[inline]
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), Reason> {
        match (self.cells.is_null(row), self.ty.is_nullable()) {
            (true, true) => {
                out.push(1);
                return Ok(());
            }
            (true, false) => return Err("a null was encoded for a column that takes none".into()),
            (false, true) => out.push(0),
            (false, false) => {}
        }
        self.write_value(row, out)
    }

    /// Appends a value that is not null, without the mark of that.
    #[inline]
    fn write_value(&self, row: usize, out: &mut Vec<u8>) -> Result<(), Reason> {
        let ty = self.ty.inner();
        // Values of the column's own type first; all others by what they are.
        match (&self.cells.values, ty) {
            (Values::Int(values), ColumnType::Int { bytes: 8, signed: true }) => {
                out.extend_from_slice(&values.value(row).to_le_bytes());
            }
            // A zero may be a number that no double is as small as.
            (Values::Float(values), ColumnType::Float64)
                if !self.is_widened && (self.is_new || values.value(row) != 0.0) =>
            {
                out.extend_from_slice(&values.value(row).to_le_bytes());
            }
            // A new column of text keeps the marks of numbers.
            (Values::Text(values), ColumnType::Text) if self.is_new => {
                write_bytes(values.value(row).as_bytes(), out);
            }
            (Values::Json { as_read, canonical }, ColumnType::Text) if self.is_new => {
                let text = as_read.value(row);
                // Nested values are never taken apart, and keep their text at any place.
                let text = if text.starts_with(['{', '[']) { text } else { canonical.value(row) };
                write_bytes(text.as_bytes(), out);
            }
            (_, ColumnType::Text) => write_bytes(self.cells.text(row)?.as_bytes(), out),
            (_, ColumnType::FixedText(_)) => return from_text(&self.cells.text(row)?, ty, out),
            _ => return write_cell(self.cells.get(row)?, ty, self.is_widened, out),
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
        match (&self.cells.values, self.ty.inner()) {
            // Not every string of JSON is Unicode.
            (Values::Json { .. }, ColumnType::Text) => self.is_new,
            (_, ColumnType::Text)
            | (Values::Bool(_), ColumnType::Bool)
            | (Values::Int(_), ColumnType::Int { bytes: 8.., signed: true }) => true,
            (Values::Float(_), ColumnType::Float64) => self.is_new || !self.cells.has_lost_zeros(),
            (Values::Int(_), ColumnType::Decimal { precision, scale }) => *precision >= 19 + *scale,
            _ => false,
        }
    }

    fn check(&self, row: usize, scratch: &mut Vec<u8>) -> Result<(), Reason> {
        match self.may_widen {
            true => width(&self.cells.get(row)?, self.ty.inner()).map(drop),
            false => self.write_value(row, scratch),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::TableColumn;
    use super::*;
    use crate::warehouse::Widening;
    use crate::warehouse::testing::{assert_same_rows, assert_values_stand_alone};

    #[test]
    fn nested_values_are_the_same_without_their_insides() {
        let column = |name: &str, sql: &str| TableColumn {
            name: name.into(),
            sql: sql.into(),
            ty: ColumnType::parse(sql),
            has_default: false,
            is_computed: false,
            is_in_key: false,
        };
        let tables = [
            None,
            Some(vec![column("o", "JSON"), column("l", "Array(Nullable(String))"), column("x", "FixedString(9)")]),
            Some(vec![column("o", "Map(String, Nullable(Float64))"), column("l", "Tuple(String, String)")]),
        ];
        for table in tables {
            let mapping = Mapping { table, widening: Widening::Evolve, load_column: None, first: Default::default() };
            assert_same_rows(&RowBinaryEncoder { mapping, table: "t".into() });
        }
    }

    #[test]
    fn a_value_does_not_depend_on_the_records_beside_it() {
        let types = [
            "Int64",
            "Int8",
            "UInt64",
            "Int128",
            "Float64",
            "Float32",
            "Decimal(38, 2)",
            "Decimal(76, 0)",
            "String",
            "FixedString(8)",
            "Bool",
            "Date32",
            "UUID",
            "JSON",
            "Array(Nullable(Float64))",
            "Map(String, Float64)",
            "Enum8('x' = 1, '12' = 2)",
        ];
        for ty in types {
            let column = TableColumn {
                name: "v".into(),
                sql: format!("Nullable({ty})"),
                ty: ColumnType::parse(ty).map(Box::new).map(ColumnType::Nullable),
                has_default: false,
                is_computed: false,
                is_in_key: false,
            };
            for widening in [Widening::Evolve, Widening::Fixed] {
                let table = Some(vec![column.clone()]);
                let mapping = Mapping { table, widening, load_column: None, first: Default::default() };
                let encoder = RowBinaryEncoder { mapping, table: "t".into() };
                assert_values_stand_alone(&encoder, &format!("{ty} {widening:?}"));
            }
        }
    }
}
