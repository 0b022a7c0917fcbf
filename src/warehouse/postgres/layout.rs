//! The columns of one COPY: which column of the rows goes into which column of the table, in which binary form, and by which
//! cast if the form is not that of the column. Pure; workers and the writer come to the same layout for the same columns.

use std::sync::Arc;

use super::sql::quoted;
use super::types::{ColumnType, TYPE_WITHOUT_VALUES, Wire, fits, new_type};
use crate::column::{Container, Schema, Type};
use crate::warehouse::defaults::FirstColumns;
use crate::warehouse::described::described;
use crate::warehouse::row_check::COMPUTED;
use crate::warehouse::row_encoder::NO_COLUMN;
use crate::warehouse::{ColumnNames, Misfit, NulPolicy, Widening};

/// Bytes of a name beyond which the server cuts it.
pub(super) const MAX_NAME_BYTES: usize = 63;

/// Returns the name that the server gives a column of this name.
pub(super) fn column_name(name: &Arc<str>) -> Arc<str> {
    ColumnNames::new(MAX_NAME_BYTES, false).name(name)
}

/// A column of an existing table.
#[derive(Clone, Debug)]
pub(super) struct TableColumn {
    pub(super) name: Arc<str>,
    pub(super) ty: ColumnType,
    /// The type in SQL, with its limits.
    pub(super) sql_type: String,
    /// The type in SQL as it is stored: that below a domain.
    pub(super) base_type: String,
    /// The same without limits. A cast to a type with limits cuts what is too long, and an assignment refuses it.
    pub(super) cast_type: String,
    pub(super) takes_no_null: bool,
    /// True if it has a value of its own in rows that have none.
    pub(super) has_default: bool,
    /// True if the server computes it.
    pub(super) is_generated: bool,
}

/// The rules by which rows become rows of the table.
#[derive(Clone, Debug)]
pub(super) struct Mapping {
    /// The columns of an existing table; `None` for a table that the load makes.
    pub(super) table: Option<Vec<TableColumn>>,
    pub(super) widening: Widening,
    /// The columns of the key of a merge, which take no null.
    pub(super) key: Vec<Arc<str>>,
    pub(super) nul: NulPolicy,
    /// A column with the same text in each row.
    pub(super) load_column: Option<LoadColumn>,
    pub(super) first: FirstColumns,
}

/// The column that gets the commit key.
#[derive(Clone, Debug)]
pub(super) struct LoadColumn {
    pub(super) name: Arc<str>,
    /// `None` if the key is known at the end.
    pub(super) key: Option<Arc<str>>,
}

/// One column of a COPY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LayoutColumn {
    /// Index of the column in the rows.
    pub(super) index: usize,
    /// The column of the rows.
    pub(super) source: Arc<str>,
    /// The column of the table.
    pub(super) name: Arc<str>,
    pub(super) wire: Wire,
    /// The type in SQL that has this form.
    pub(super) wire_type: String,
    /// The expression that makes a value of the table's column of a staged value; `None` if they are of one type.
    pub(super) cast: Option<Cast>,
    /// The type that the column of the table must have at the end, if it is new or changes.
    pub(super) change: Option<Change>,
}

/// A cast from a staged value to the table's column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cast {
    /// By the type's own conversion.
    To(String),
    /// From a JSON list to this array type.
    ToArray(String),
}

/// A change of the table for a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The table gets the column, of this type.
    Add(String),
    /// The column gets this wider type.
    Widen(String),
}

/// The columns of one COPY.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Layout {
    pub(super) columns: Vec<LayoutColumn>,
}

impl Layout {
    /// Returns true if no column of `other` has another type here.
    pub(super) fn agrees(&self, other: &Layout) -> bool {
        other.columns.iter().all(|column| self.find(&column.name).is_none_or(|own| own.wire_type == column.wire_type))
    }

    fn find(&self, name: &str) -> Option<&LayoutColumn> {
        self.columns.iter().find(|column| *column.name == *name)
    }

    /// Returns the names of its columns as a list in SQL.
    pub(super) fn column_list(&self) -> String {
        self.columns.iter().map(|column| quoted(&column.name)).collect::<Vec<_>>().join(", ")
    }

    /// Returns its columns that the table does not have as they are.
    pub(super) fn changes(&self) -> impl Iterator<Item = (&LayoutColumn, &Change)> {
        self.columns.iter().filter_map(|column| Some((column, column.change.as_ref()?)))
    }

    /// Returns true if an existing table takes the rows only through a stage.
    pub(super) fn needs_stage(&self) -> bool {
        self.columns.iter().any(|column| column.cast.is_some() || column.change.is_some())
    }
}

/// The form of a column of rows, its type in SQL, the cast to the column of the table, and the change of the table.
type Placed = (Wire, String, Option<Cast>, Option<Change>);

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
        let is_no_name = |name: &&Arc<str>| name.is_empty() || name.contains('\0');
        if let Some(name) = schema.fields.iter().map(|field| &field.name).find(is_no_name) {
            let what = "has a name that PostgreSQL does not take: it is empty or has U+0000".to_owned();
            return Err(Misfit { column: name.escape_debug().to_string(), what });
        }
        let rules = ColumnNames::new(MAX_NAME_BYTES, false);
        let names = rules.names(schema.fields.iter().map(|field| &field.name));
        names.map_err(|shared| Misfit {
            column: shared.second,
            what: format!("would be `{}` in the table, as would `{}`", shared.name, shared.first),
        })
    }

    /// Returns the layout of rows with these columns; columns that had only nulls so far are in it only where the table has
    /// another value for rows without them, or where there are no others, because COPY needs one. A column that exists takes
    /// every type, because its values are judged one by one. Fails with all columns that do not fit.
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
        for (index, (field, name)) in schema.fields.iter().zip(names.clone()).enumerate() {
            if self.load_column.as_ref().is_some_and(|column| column.name == name) {
                misfits.push(Misfit {
                    column: field.name.to_string(),
                    what: "has the name of the column for the commit key".into(),
                });
                continue;
            }
            match self.column(&field.ty, &name, judgement) {
                Ok(Some((wire, wire_type, cast, change))) => {
                    columns.push(LayoutColumn {
                        index,
                        source: field.name.clone(),
                        name,
                        wire,
                        wire_type,
                        cast,
                        change,
                    });
                }
                Ok(None) => {}
                Err(what) => misfits.push(Misfit { column: field.name.to_string(), what }),
            }
        }
        if columns.is_empty() && misfits.is_empty() && !schema.fields.is_empty() {
            columns.push(self.column_of_nulls(schema, &names).map_err(|misfit| vec![misfit])?);
        }
        if misfits.is_empty() { Ok(Layout { columns }) } else { Err(misfits) }
    }

    /// Returns a column for rows that have only nulls. A null has the same form in every type.
    fn column_of_nulls(&self, schema: &Schema, names: &[Arc<str>]) -> Result<LayoutColumn, Misfit> {
        let known = |name: &Arc<str>| match &self.table {
            None => Some(TYPE_WITHOUT_VALUES.to_owned()),
            Some(table) => {
                let column = table.iter().find(|column| column.name == *name && !column.is_generated)?;
                Some(column.base_type.clone())
            }
        };
        // One whose rows have null anyway.
        let plain = |column: &&TableColumn| !column.has_default && !column.takes_no_null && !column.is_generated;
        let plain = self.table.iter().flatten().find(plain).map(|column| (0, &column.name, column.base_type.clone()));
        let known = names.iter().enumerate().find_map(|(index, name)| Some((index, name, known(name)?)));
        let found = match known {
            Some(known) => Some(plain.unwrap_or(known)),
            None => plain.filter(|_| self.is_fixed()),
        };
        let (index, name, wire_type) = found.ok_or_else(|| Misfit {
            column: names[0].to_string(),
            what: "has only nulls, and the table does not have it".into(),
        })?;
        let source = schema.fields[index].name.clone();
        Ok(LayoutColumn {
            index,
            source,
            name: name.clone(),
            wire: Wire::Text(None),
            wire_type,
            cast: None,
            change: None,
        })
    }

    fn column(&self, ty: &Type, name: &Arc<str>, judgement: Judgement) -> Result<Option<Placed>, String> {
        let Some(table) = &self.table else {
            return Ok(new_type(ty).map(|(wire, sql)| (wire, sql, None, None)));
        };
        // No row that fits has a value there.
        if self.refusal(name).is_some() {
            return Ok(None);
        }
        let Some(column) = table.iter().find(|column| column.name == *name) else {
            return Ok(new_type(ty).map(|(wire, sql)| (wire, sql.clone(), None, Some(Change::Add(sql)))));
        };
        if *ty == Type::Null {
            // A null is not the table's own value, and rows before and after the first value are alike.
            let is_omitted = self.is_open(column) && column.takes_no_null;
            let is_sent = column.has_default && !column.is_generated && !is_omitted;
            return Ok(is_sent.then(|| (Wire::Text(None), column.base_type.clone(), None, None)));
        }
        if column.is_generated {
            return Err("is computed by the table".to_owned());
        }
        let misfit = || Err(format!("has {}, and the table has {}", described(ty), column.sql_type));
        match column.ty {
            ColumnType::Known(wire) => {
                // Only to wider numbers: a column of numbers that became text would break its readers.
                let wider = match (ty, wire) {
                    (Type::Float, Wire::Int2 | Wire::Int4 | Wire::Int8) => Some((Wire::Float8, "double precision")),
                    (Type::Decimal, Wire::Int2 | Wire::Int4 | Wire::Int8) => Some((Wire::Numeric(None), "numeric")),
                    _ => None,
                };
                if let (Some((wire, sql)), Judgement::Rows, true) = (wider, judgement, self.may_widen(name)) {
                    return Ok(Some((wire, sql.to_owned(), None, Some(Change::Widen(sql.to_owned())))));
                }
                match judgement == Judgement::Types && !fits(ty, wire) {
                    true => misfit(),
                    false => Ok(Some((wire, column.base_type.clone(), None, None))),
                }
            }
            ColumnType::Array => match ty {
                Type::List(_) | Type::Opaque(Container::List) | Type::Json => Ok(Some(array(column))),
                _ if judgement == Judgement::Types => misfit(),
                _ => Ok(Some(array(column))),
            },
            ColumnType::Other => {
                let cast = Cast::To(column.cast_type.clone());
                Ok(Some((Wire::Text(None), "text".to_owned(), Some(cast), None)))
            }
        }
    }

    /// Returns true if rows may give an existing column of integers a wider type.
    pub(super) fn may_widen(&self, name: &str) -> bool {
        let is_integer = |column: &TableColumn| {
            matches!(column.ty, ColumnType::Known(Wire::Int2 | Wire::Int4 | Wire::Int8)) && !column.is_generated
        };
        self.widening == Widening::Evolve
            && self.table.iter().flatten().any(|column| *column.name == *name && is_integer(column))
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
            Some(column) => column.is_generated.then_some(COMPUTED),
        }
    }

    /// Returns true if the table has the column `name` already.
    pub(super) fn has(&self, name: &str) -> bool {
        self.table.iter().flatten().any(|column| *column.name == *name)
    }

    /// Returns the required columns of the table that rows with these columns lack.
    pub(super) fn missing(&self, schema: &Schema) -> Vec<Misfit> {
        let Ok(names) = self.names(schema) else { return Vec::new() };
        let is_given = |column: &TableColumn| {
            names.contains(&column.name) || self.load_column.as_ref().is_some_and(|own| own.name == column.name)
        };
        let required = self.table.iter().flatten();
        let required = required.filter(|column| column.takes_no_null && !column.has_default && !is_given(column));
        required
            .map(|column| Misfit {
                column: column.name.to_string(),
                what: "is required by the table, and the rows do not have it".into(),
            })
            .collect()
    }

    /// Returns true if the column `name` of the table takes no null.
    pub(super) fn is_required(&self, name: &str) -> bool {
        let takes_no_null = |column: &TableColumn| column.takes_no_null && !self.is_open(column);
        self.key.iter().any(|key| **key == *name)
            || self.table.iter().flatten().any(|column| *column.name == *name && takes_no_null(column))
    }

    /// Returns the columns of the table with a default that the first columns do not name, with true for those that take no
    /// null.
    pub(super) fn open_defaults(&self) -> impl Iterator<Item = (&Arc<str>, bool)> {
        let open = self.table.iter().flatten().filter(|column| self.is_open(column));
        open.map(|column| (&column.name, column.takes_no_null))
    }

    /// Returns true if rows without a value in `column` may get its default, for all that is known before the first row.
    fn is_open(&self, column: &TableColumn) -> bool {
        column.has_default && !column.is_generated && !self.first.contains(&column.name)
    }
}

/// Returns the place of lists in a column that is an array.
fn array(column: &TableColumn) -> Placed {
    (Wire::Jsonb, "jsonb".to_owned(), Some(Cast::ToArray(column.cast_type.clone())), None)
}
