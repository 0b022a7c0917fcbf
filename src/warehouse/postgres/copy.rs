//! Encodes rows in the binary form of COPY, and finds values that their columns cannot hold before they are sent. Pure.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use super::layout::{Cast, Change, Layout, LayoutColumn, Mapping, column_name};
use super::types::Wire;
use super::value::{Slot, Width, is_suspicious, width};
use crate::column::{Batch, Schema, Type};
use crate::warehouse::cells::{Cells, Reason, Values};
use crate::warehouse::defaults::mark_columns_without_values;
use crate::warehouse::row_check::{CheckedColumn, refused_rows, unfit_rows};
use crate::warehouse::{LoadError, LoadRows, Misfit, NulPolicy, RowEncoder, UnfitRow};

/// The bytes before the first row of a COPY: the signature, no flags, no extension.
pub(super) const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// The bytes after the last row.
pub(super) const TRAILER: &[u8] = &[0xff, 0xff];

/// The length that marks a null.
const NULL: [u8; 4] = (-1i32).to_be_bytes();

/// The encoder of a load.
#[derive(Debug)]
pub(super) struct CopyEncoder {
    pub(super) mapping: Mapping,
    /// The table in messages.
    pub(super) table: String,
    /// New columns of doubles with a number whose digits another type would have to keep.
    pub(super) respelled: RespelledColumns,
}

/// Columns, added by workers and read by the writer. The columns of rows that are appended were added before.
#[derive(Debug, Default)]
pub(super) struct RespelledColumns(Mutex<BTreeSet<Arc<str>>>);

impl RespelledColumns {
    fn add(&self, name: &Arc<str>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone());
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(name)
    }
}

impl CopyEncoder {
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
            if !is_open(&batch.schema.fields[index].ty) || !self.mapping.may_widen(name) {
                continue;
            }
            let cells = Cells::new(batch, index);
            let widths = (0..batch.rows).filter(|&row| !cells.is_null(row)).map(|row| {
                let cell = cells.get(row).ok()?;
                width(&cell, Wire::Int8).ok()
            });
            let (mut widest, mut has_large) = (Width::Small, false);
            for width in widths.flatten() {
                widest = widest.max(width);
                has_large |= width == Width::Large;
            }
            columns.get_or_insert_with(|| (*batch.schema).clone()).fields[index].ty = match widest {
                Width::Small | Width::Large => Type::Int { fits_double: !has_large },
                Width::Double if !has_large => Type::Float,
                Width::Double | Width::Numeric => Type::Decimal,
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

impl RowEncoder for CopyEncoder {
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
        for (column, place) in columns.iter().zip(&layout.columns) {
            if column.is_new && !self.respelled.contains(&place.name) && column.cells.is_respelled() {
                self.respelled.add(&place.name);
            }
        }
        let load_key = self.mapping.load_column.as_ref().and_then(|column| column.key.as_deref());
        let fields = columns.len() + usize::from(load_key.is_some());
        let fields =
            i16::try_from(fields).map_err(|_| LoadError::Bug("more than 32,767 columns".into()))?.to_be_bytes();
        for row in 0..batch.rows {
            buffer.extend_from_slice(&fields);
            for column in &columns {
                column.write(row, &mut buffer).map_err(|reason| LoadError::Bug(reason.into_owned()))?;
            }
            if let Some(key) = load_key {
                buffer.extend_from_slice(&(key.len() as i32).to_be_bytes());
                buffer.extend_from_slice(key.as_bytes());
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
    slot: Slot,
    is_required: bool,
    /// True if the table does not have the column yet, so that its type follows that of the rows.
    is_new: bool,
    /// True if it is one of integers that may become wider.
    may_widen: bool,
}

impl<'a> Column<'a> {
    /// `is_checked` is true if rows with values that their columns cannot hold are no longer among the rows of `batch`.
    fn new(column: &LayoutColumn, batch: &'a Batch, mapping: &Mapping, is_checked: bool) -> Self {
        let cells = Cells::new(batch, column.index);
        // Of checked rows, only what is replaced is still there.
        let may_have_suspects = !is_checked || mapping.nul == NulPolicy::Replace;
        let has_suspects = || match &cells.values {
            Values::Json { as_read, .. } | Values::NestedText(as_read) => is_suspicious(*as_read, &Type::Json),
            _ => is_suspicious(&batch.columns[column.index], &batch.schema.fields[column.index].ty),
        };
        let slot = Slot {
            wire: column.wire,
            takes_lists: matches!(column.cast, Some(Cast::ToArray(_))),
            is_widened: matches!(column.change, Some(Change::Widen(_))),
            nul: mapping.nul,
            is_suspicious: may_have_suspects && has_suspects(),
        };
        let may_widen = !is_checked && mapping.may_widen(&column.name);
        Column {
            source: column.source.clone(),
            cells,
            slot,
            is_required: mapping.is_required(&column.name),
            is_new: !mapping.has(&column.name),
            may_widen,
        }
    }

    /// Appends the length and the value in `row`. Fails with a reason if the column cannot hold it.
    #[inline]
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), Reason> {
        if self.cells.is_null(row) {
            out.extend_from_slice(&NULL);
            return Ok(());
        }
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        self.write_value(row, out)?;
        let len = out.len() - start - 4;
        out[start..start + 4].copy_from_slice(&(len as i32).to_be_bytes());
        Ok(())
    }

    #[inline]
    fn write_value(&self, row: usize, out: &mut Vec<u8>) -> Result<(), Reason> {
        // Values of the column's own type first; all others by what they are.
        match (&self.cells.values, self.slot.wire) {
            (Values::Int(values), Wire::Int8) => out.extend_from_slice(&values.value(row).to_be_bytes()),
            // A zero may be a number that no double is as small as.
            (Values::Float(values), Wire::Float8)
                if !self.slot.is_widened && (self.is_new || values.value(row) != 0.0) =>
            {
                out.extend_from_slice(&values.value(row).to_be_bytes());
            }
            // A new column of text keeps the marks of numbers.
            (Values::Text(values), Wire::Text(limit)) if self.is_new => {
                return self.slot.write_text(values.value(row), limit, out);
            }
            (_, Wire::Text(limit)) => return self.slot.write_text(&self.cells.text(row)?, limit, out),
            (Values::Json { as_read, .. }, Wire::Jsonb) => {
                return self.slot.write_json(as_read.value(row).as_bytes(), out);
            }
            _ => return self.slot.write(self.cells.get(row)?, out),
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
        if self.slot.takes_lists {
            return false;
        }
        match (&self.cells.values, self.slot.wire) {
            (Values::Bool(_), Wire::Bool | Wire::Text(None) | Wire::Json | Wire::Jsonb) => true,
            (Values::Int(_), Wire::Int8 | Wire::Numeric(None) | Wire::Text(None) | Wire::Json | Wire::Jsonb) => true,
            (Values::Float(_), Wire::Float8) => self.is_new || !self.cells.has_lost_zeros(),
            (Values::Float(_), Wire::Text(None)) => true,
            (
                Values::Text(_) | Values::Json { .. } | Values::Nested(_) | Values::NestedText(_),
                Wire::Text(None) | Wire::Json | Wire::Jsonb,
            ) => !self.slot.is_suspicious,
            _ => false,
        }
    }

    fn check(&self, row: usize, scratch: &mut Vec<u8>) -> Result<(), Reason> {
        match self.may_widen {
            true => width(&self.cells.get(row)?, self.slot.wire).map(drop),
            false => self.write_value(row, scratch),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::TableColumn;
    use super::super::types::ColumnType;
    use super::*;
    use crate::warehouse::Widening;
    use crate::warehouse::testing::{assert_same_rows, assert_values_stand_alone};

    #[test]
    fn nested_values_are_the_same_without_their_insides() {
        let column = |name: &str, ty, sql: &str| TableColumn {
            name: name.into(),
            ty,
            sql_type: sql.into(),
            base_type: sql.into(),
            cast_type: sql.into(),
            takes_no_null: name == "l",
            has_default: false,
            is_generated: false,
        };
        let tables = [
            None,
            Some(vec![
                column("o", ColumnType::Known(Wire::Json), "json"),
                column("l", ColumnType::Array, "text[]"),
                column("x", ColumnType::Known(Wire::Text(Some(9))), "varchar(9)"),
            ]),
            Some(vec![
                column("o", ColumnType::Other, "mood"),
                column("x", ColumnType::Known(Wire::Numeric(None)), "numeric"),
            ]),
        ];
        for table in tables {
            for nul in [NulPolicy::Reject, NulPolicy::Replace] {
                let widening = Widening::Evolve;
                let mapping = Mapping {
                    table: table.clone(),
                    widening,
                    key: Vec::new(),
                    nul,
                    load_column: None,
                    first: Default::default(),
                };
                assert_same_rows(&CopyEncoder { mapping, table: "t".into(), respelled: Default::default() });
            }
        }
    }

    #[test]
    fn a_value_does_not_depend_on_the_records_beside_it() {
        let known = [
            ("int8", -1),
            ("int4", -1),
            ("int2", -1),
            ("float8", -1),
            ("float4", -1),
            ("numeric", -1),
            ("numeric", ((12 << 16) | 2) + 4),
            ("text", -1),
            ("varchar", 8),
            ("bool", -1),
            ("jsonb", -1),
            ("json", -1),
            ("date", -1),
            ("timestamptz", -1),
            ("uuid", -1),
            ("_int4", -1),
            ("mood", -1),
        ];
        for (name, modifier) in known {
            let category = if name.starts_with('_') { "A" } else { "N" };
            let column = TableColumn {
                name: "v".into(),
                ty: ColumnType::of(name, "b", category, modifier),
                sql_type: name.into(),
                base_type: name.into(),
                cast_type: name.into(),
                takes_no_null: false,
                has_default: false,
                is_generated: false,
            };
            for widening in [Widening::Evolve, Widening::Fixed] {
                for nul in [NulPolicy::Reject, NulPolicy::Replace] {
                    let table = Some(vec![column.clone()]);
                    let mapping =
                        Mapping { table, widening, key: Vec::new(), nul, load_column: None, first: Default::default() };
                    let encoder = CopyEncoder { mapping, table: "t".into(), respelled: Default::default() };
                    match name {
                        // None of them is a time of day.
                        "timestamptz" => {}
                        _ => assert_values_stand_alone(&encoder, &format!("{name} {widening:?}")),
                    }
                }
            }
        }
    }
}
