//! The columns of encoded rows: which column of the rows goes into which column of the table, and in which type. Pure;
//! workers and the writer come to the same layout for the same columns.

use std::sync::Arc;

use super::types::{ColumnType, fits, new_type};
use super::value::{write_bytes, write_len};
use crate::column::{Fixed, Schema, Type};
use crate::warehouse::defaults::FirstColumns;
use crate::warehouse::described::described;
use crate::warehouse::row_check::COMPUTED;
use crate::warehouse::row_encoder::NO_COLUMN;
use crate::warehouse::{ColumnNames, Misfit, Widening};

/// Bytes of the name of a column. The server has no limit; files are named after columns, with up to three bytes for one.
pub(super) const MAX_NAME_BYTES: usize = 127;

/// Returns the name that a column of the table has for a column of this name.
pub(super) fn column_name(name: &Arc<str>) -> Arc<str> {
    ColumnNames::new(MAX_NAME_BYTES, false).name(name)
}

/// A column of an existing table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TableColumn {
    pub(super) name: Arc<str>,
    /// The type in the server's words.
    pub(super) sql: String,
    /// `None` for types of which rows have no exact form.
    pub(super) ty: Option<ColumnType>,
    /// True if it has a default.
    pub(super) has_default: bool,
    /// True if the server computes it.
    pub(super) is_computed: bool,
    /// True if the table is sorted or partitioned by it, so that its type cannot change.
    pub(super) is_in_key: bool,
}

/// The rules by which rows become rows of the table.
#[derive(Clone, Debug)]
pub(super) struct Mapping {
    /// The columns of an existing table; `None` for a table that the load makes.
    pub(super) table: Option<Vec<TableColumn>>,
    pub(super) widening: Widening,
    /// A column with the same text in each row.
    pub(super) load_column: Option<Arc<str>>,
    pub(super) first: FirstColumns,
}

/// One column of encoded rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LayoutColumn {
    /// Index of the column in the rows.
    pub(super) index: usize,
    /// The column of the rows.
    pub(super) source: Arc<str>,
    /// The column of the table.
    pub(super) name: Arc<str>,
    pub(super) ty: ColumnType,
    /// The type in the server's words.
    pub(super) sql: String,
    /// True if it is of text, and its texts are those of JSON: `"12"` has its quotes.
    pub(super) is_json: bool,
    /// The change of the table that it needs.
    pub(super) change: Option<Change>,
}

/// A change of an existing table for a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The table gets the column.
    Add,
    /// The column gets the wider type.
    Widen,
}

/// The columns of encoded rows.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Layout {
    pub(super) columns: Vec<LayoutColumn>,
}

impl Layout {
    /// Returns true if no column of `other` has another form here.
    pub(super) fn agrees(&self, other: &Layout) -> bool {
        other.columns.iter().all(|column| {
            self.find(&column.name).is_none_or(|own| own.sql == column.sql && own.is_json == column.is_json)
        })
    }

    pub(super) fn find(&self, name: &str) -> Option<&LayoutColumn> {
        self.columns.iter().find(|column| *column.name == *name)
    }

    /// Returns the head of encoded rows, by which the server checks that they are of its table: the names and types.
    pub(super) fn header(&self) -> Vec<u8> {
        let mut out = Vec::new();
        write_len(self.columns.len() as u64, &mut out);
        self.columns.iter().for_each(|column| write_bytes(column.name.as_bytes(), &mut out));
        self.columns.iter().for_each(|column| write_bytes(column.sql.as_bytes(), &mut out));
        out
    }
}

/// The thing by which columns are judged against those of an existing table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judgement {
    /// The type of all values, before the first row: what fits nowhere is named at once.
    Types,
    /// Each value by itself.
    Values,
    /// The values of some rows, which all fit.
    Rows,
}

impl Mapping {
    /// Returns the names of the table's columns for the columns of rows. Fails if two of them meet.
    pub(super) fn names(&self, schema: &Schema) -> Result<Vec<Arc<str>>, Misfit> {
        let rules = ColumnNames::new(MAX_NAME_BYTES, false);
        let names = rules.names(schema.fields.iter().map(|field| &field.name));
        names.map_err(|shared| Misfit {
            column: shared.second,
            what: format!("would be `{}` in the table, as would `{}`", shared.name, shared.first),
        })
    }

    /// Returns the layout of rows with these columns; columns that had only nulls so far are not in it. A column that exists
    /// takes every type, because its values are judged one by one. Fails with all columns that do not fit.
    pub(super) fn layout(&self, schema: &Schema) -> Result<Layout, Vec<Misfit>> {
        self.layout_by(schema, Judgement::Values)
    }

    /// As [`Mapping::layout`]; fails for columns of types of which the table holds no value.
    pub(super) fn first_layout(&self, schema: &Schema) -> Result<Layout, Vec<Misfit>> {
        self.layout_by(schema, Judgement::Types)
    }

    /// As [`Mapping::layout`], with the wider types that these rows need in columns of integers, by the encoder.
    pub(super) fn layout_of_rows(&self, columns: &Schema) -> Result<Layout, Vec<Misfit>> {
        self.layout_by(columns, Judgement::Rows)
    }

    fn layout_by(&self, schema: &Schema, judgement: Judgement) -> Result<Layout, Vec<Misfit>> {
        let names = self.names(schema).map_err(|misfit| vec![misfit])?;
        let (mut columns, mut misfits) = (Vec::new(), Vec::new());
        for (index, (field, name)) in schema.fields.iter().zip(names).enumerate() {
            let column = match self.load_column.as_ref() {
                Some(column) if *column == name => Err("has the name of the column for the commit key".to_owned()),
                _ if name.is_empty() => Err("has no name, which ClickHouse demands".to_owned()),
                _ => self.column(&field.ty, &name, judgement),
            };
            match column {
                Ok(Some((ty, sql, change))) => {
                    // Texts, dates and times have no quotes in a column of text. Nor has any text in a column of others,
                    // of which only the table's owner knows what is in it.
                    let is_text = matches!(field.ty, Type::Text | Type::Fixed(Fixed::Date | Fixed::Timestamp { .. }));
                    let is_own = self.table.is_none() || change == Some(Change::Add);
                    let is_json = *ty.inner() == ColumnType::Text && !is_text && is_own;
                    let source = field.name.clone();
                    columns.push(LayoutColumn { index, source, name, ty, sql, is_json, change });
                }
                Ok(None) => {}
                Err(what) => misfits.push(Misfit { column: field.name.to_string(), what }),
            }
        }
        if misfits.is_empty() { Ok(Layout { columns }) } else { Err(misfits) }
    }

    fn column(
        &self,
        ty: &Type,
        name: &Arc<str>,
        judgement: Judgement,
    ) -> Result<Option<(ColumnType, String, Option<Change>)>, String> {
        let new = |change| {
            let sql = new_type(ty)?;
            Some((ColumnType::parse(&sql)?, sql, change))
        };
        let Some(table) = &self.table else { return Ok(new(None)) };
        let Some(column) = table.iter().find(|column| column.name == *name) else {
            let members = table.iter().filter_map(|column| {
                let member = column.name.strip_prefix(&**name)?.strip_prefix('.')?;
                Some(format!("`{name}.{member}`"))
            });
            let members: Vec<String> = members.collect();
            if !members.is_empty() {
                return Err(format!(
                    "is of the type Nested in the table, which has a list for each member: rows need columns {}",
                    members.join(", ")
                ));
            }
            return Ok(match ty {
                Type::Null => None,
                // No row that fits has a value there.
                _ if self.is_fixed() => None,
                _ => new(Some(Change::Add)),
            });
        };
        if column.is_computed && self.is_fixed() {
            return Ok(None);
        }
        if column.is_computed {
            return Err("is computed by the table".to_owned());
        }
        if *ty == Type::Null {
            // A null is not the table's own value, and rows before and after the first value are alike.
            let is_sent = column.has_default && column.ty.as_ref().is_some_and(ColumnType::is_nullable);
            return Ok(column.ty.clone().filter(|_| is_sent).map(|ty| (ty, column.sql.clone(), None)));
        }
        let misfit = || format!("has {}, and the table has {}", described(ty), column.sql);
        let Some(own) = &column.ty else { return Err(misfit()) };
        // Only to wider numbers: a column of numbers that became text would break its readers.
        let wider = match (ty, own.inner()) {
            (Type::Float, ColumnType::Int { .. }) => Some("Float64"),
            (Type::Decimal, ColumnType::Int { bytes: ..=8, .. }) => Some("Decimal(38, 0)"),
            _ => None,
        };
        if let (Some(wider), Judgement::Rows, true) = (wider, judgement, self.may_widen(name).is_some()) {
            let sql = if own.is_nullable() { format!("Nullable({wider})") } else { wider.to_owned() };
            return Ok(ColumnType::parse(&sql).map(|ty| (ty, sql, Some(Change::Widen))));
        }
        match judgement == Judgement::Types && !fits(ty, own) {
            true => Err(misfit()),
            false => Ok(Some((own.clone(), column.sql.clone(), None))),
        }
    }

    /// Returns the type of an existing column of integers that rows may make wider; `None` for all others.
    pub(super) fn may_widen(&self, name: &str) -> Option<&ColumnType> {
        let column = self.table.iter().flatten().find(|column| *column.name == *name)?;
        let ty = column.ty.as_ref().map(ColumnType::inner)?;
        let is_open = self.widening == Widening::Evolve && !column.is_in_key && !column.is_computed;
        (is_open && matches!(ty, ColumnType::Int { .. })).then_some(ty)
    }

    /// Returns true if the columns of the table stay as they are.
    pub(super) fn is_fixed(&self) -> bool {
        self.table.is_some() && self.widening == Widening::Fixed
    }

    /// Returns the reason for which no row has a value in the column `name` of a table whose columns stay as they are; `None` if
    /// rows may have one.
    pub(super) fn refusal(&self, name: &str) -> Option<&'static str> {
        let table = self.table.as_ref().filter(|_| self.is_fixed())?;
        match table.iter().find(|column| *column.name == *name) {
            None => Some(NO_COLUMN),
            Some(column) => column.is_computed.then_some(COMPUTED),
        }
    }

    /// Returns true if the table has the column `name` already.
    pub(super) fn has(&self, name: &str) -> bool {
        self.table.iter().flatten().any(|column| *column.name == *name)
    }

    /// Returns the columns of the table that take no null and have no default, and that rows with these columns lack. The
    /// server would fill them with zeros and empty texts.
    pub(super) fn missing(&self, schema: &Schema) -> Vec<Misfit> {
        let Ok(names) = self.names(schema) else { return Vec::new() };
        let is_given = |column: &TableColumn| {
            names.contains(&column.name) || self.load_column.as_ref().is_some_and(|own| *own == column.name)
        };
        // A list or a map that is missing is empty: they have no null.
        let is_required = |column: &TableColumn| {
            !column.has_default
                && !column.is_computed
                && !matches!(
                    column.ty,
                    Some(ColumnType::Nullable(_) | ColumnType::Array(_) | ColumnType::Map(_) | ColumnType::Json)
                )
        };
        let required = self.table.iter().flatten().filter(|column| is_required(column) && !is_given(column));
        required
            .map(|column| Misfit {
                column: column.name.to_string(),
                what: format!("is {} and has no default, and the rows do not have it", column.sql),
            })
            .collect()
    }

    /// Returns the column `name` of the table if it has another value than null in rows without it.
    pub(super) fn with_default(&self, name: &str) -> Option<&TableColumn> {
        let column = self.table.iter().flatten().find(|column| *column.name == *name)?;
        let has_null = column.ty.as_ref().is_some_and(ColumnType::is_nullable) && !column.has_default;
        (!has_null).then_some(column)
    }

    /// Returns true if the column `name` of the table takes no null.
    pub(super) fn is_required(&self, name: &str) -> bool {
        let takes_no_null = |column: &TableColumn| column.ty.as_ref().is_some_and(|ty| !ty.is_nullable());
        let mut columns = self.table.iter().flatten();
        columns.any(|column| *column.name == *name && takes_no_null(column))
            && !self.open_defaults().any(|(open, _)| **open == *name)
    }

    /// Returns the columns of the table that have another value than null in rows without them and that the first columns do
    /// not name, with true for those that take no null.
    pub(super) fn open_defaults(&self) -> impl Iterator<Item = (&Arc<str>, bool)> {
        let is_open = |column: &&TableColumn| {
            !column.is_computed && !self.first.contains(&column.name) && self.with_default(&column.name).is_some()
        };
        let takes_no_null = |column: &TableColumn| !column.ty.as_ref().is_some_and(ColumnType::is_nullable);
        self.table.iter().flatten().filter(is_open).map(move |column| (&column.name, takes_no_null(column)))
    }
}
