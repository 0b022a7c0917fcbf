//! The columns of rows in the table: which goes into which column, and in which form. Pure; workers and the writer come to
//! the same layout for the same columns.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::kinds::Kind;
use crate::column::{Schema, Type};
use crate::warehouse::defaults::FirstColumns;
use crate::warehouse::described::described;
use crate::warehouse::row_check::COMPUTED;
use crate::warehouse::row_encoder::NO_COLUMN;
use crate::warehouse::{Misfit, Widening};

/// The most columns that SQLite takes in a table.
const MAX_COLUMNS: usize = 2000;

/// A column of an existing table.
#[derive(Clone, Debug)]
pub(super) struct TableColumn {
    pub(super) name: Arc<str>,
    /// The declared type; empty if there is none.
    pub(super) declared: String,
    /// `None` if the column takes nothing that rows have.
    pub(super) kind: Option<Kind>,
    pub(super) takes_no_null: bool,
    /// True if it gets a value where rows have none.
    pub(super) has_default: bool,
    pub(super) is_generated: bool,
    /// The rule by which its texts are compared, if it is another of SQLite's own than by bytes.
    pub(super) collation: Option<&'static str>,
}

/// The rules by which rows become rows of the table.
#[derive(Clone, Debug)]
pub(super) struct Mapping {
    /// The columns of an existing table; `None` for a table that the load makes.
    pub(super) table: Option<Vec<TableColumn>>,
    pub(super) widening: Widening,
    /// The columns of the key of a merge, which take no null.
    pub(super) key: Vec<Arc<str>>,
    /// The column that gets the commit key.
    pub(super) load_column: Option<Arc<str>>,
    pub(super) first: FirstColumns,
    /// True if no row goes straight into the table.
    pub(super) is_staged: bool,
}

/// One column of rows.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LayoutColumn {
    /// Index of the column in the rows.
    pub(super) index: usize,
    /// The column of the rows.
    pub(super) source: Arc<str>,
    /// The column of the table.
    pub(super) name: Arc<str>,
    /// The type of the values.
    pub(super) ty: Type,
    pub(super) place: Place,
}

/// The column of the table that takes values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// One that the table has.
    Existing(Kind),
    /// One that the load makes.
    New,
}

impl Mapping {
    /// Returns the names of the table's columns for the columns of rows. Fails if two of them meet.
    pub(super) fn names(&self, schema: &Schema) -> Result<Vec<Arc<str>>, Misfit> {
        let mut known: BTreeMap<String, &Arc<str>> = BTreeMap::new();
        let mut names = Vec::with_capacity(schema.fields.len());
        for field in &schema.fields {
            let misfit = |what: String| Misfit { column: field.name.to_string(), what };
            if field.name.contains('\0') {
                return Err(misfit("has U+0000 in its name".into()));
            }
            if let Some(first) = known.insert(field.name.to_ascii_lowercase(), &field.name) {
                return Err(misfit(format!("would be one with `{first}`: SQLite ignores the case of names")));
            }
            names.push(self.existing(&field.name).map_or(&field.name, |column| &column.name).clone());
        }
        Ok(names)
    }

    /// Returns true if the columns of the table stay as they are.
    pub(super) fn is_fixed(&self) -> bool {
        self.table.is_some() && self.widening == Widening::Fixed
    }

    /// Returns the reason for which no row has a value in the column `name` of a table whose columns stay as they are; `None` if
    /// rows may have one.
    pub(super) fn refusal(&self, name: &str) -> Option<&'static str> {
        match self.existing(name) {
            _ if !self.is_fixed() => None,
            None => Some(NO_COLUMN),
            Some(column) => column.is_generated.then_some(COMPUTED),
        }
    }

    fn existing(&self, name: &str) -> Option<&TableColumn> {
        self.table.iter().flatten().find(|column| column.name.eq_ignore_ascii_case(name))
    }

    /// Returns the layout of rows with these columns; new columns that had only nulls so far are not in it. A column that
    /// exists takes every type, because its values are judged one by one. Fails with all columns that do not fit.
    pub(super) fn layout(&self, schema: &Schema) -> Result<Vec<LayoutColumn>, Vec<Misfit>> {
        self.layout_by(schema, |_, _| true)
    }

    /// As [`Mapping::layout`]; fails for columns of types of which the table holds no value.
    pub(super) fn first_layout(&self, schema: &Schema) -> Result<Vec<LayoutColumn>, Vec<Misfit>> {
        self.layout_by(schema, Kind::fits)
    }

    fn layout_by(&self, schema: &Schema, fits: impl Fn(Kind, &Type) -> bool) -> Result<Vec<LayoutColumn>, Vec<Misfit>> {
        let names = self.names(schema).map_err(|misfit| vec![misfit])?;
        let (mut columns, mut misfits) = (Vec::new(), Vec::new());
        let mut new = 0;
        for (index, (field, name)) in schema.fields.iter().zip(names).enumerate() {
            let misfit = |what: String| Misfit { column: field.name.to_string(), what };
            if self.load_column.as_ref().is_some_and(|column| column.eq_ignore_ascii_case(&name)) {
                misfits.push(misfit("has the name of the column for the commit key".into()));
                continue;
            }
            // No row that fits has a value there.
            if self.refusal(&name).is_some() {
                continue;
            }
            let place = match self.existing(&name) {
                // Rows get the default.
                Some(column) if field.ty == Type::Null && self.is_open(column) => continue,
                Some(column) => match existing_place(column, &field.ty, &fits) {
                    Ok(Some(place)) => place,
                    Ok(None) => continue,
                    Err(what) => {
                        misfits.push(misfit(what));
                        continue;
                    }
                },
                None => {
                    new += 1;
                    if field.ty == Type::Null {
                        continue;
                    }
                    Place::New
                }
            };
            columns.push(LayoutColumn { index, source: field.name.clone(), name, ty: field.ty.clone(), place });
        }
        let has_load_column = self.load_column.as_ref().is_some_and(|name| self.existing(name).is_none());
        let total = self.table.iter().flatten().count() + new + usize::from(has_load_column);
        if total > MAX_COLUMNS {
            let column = schema.fields.last().map_or(String::new(), |field| field.name.to_string());
            misfits.push(Misfit {
                column,
                what: format!("is one of {total} columns, and tables of SQLite have at most {MAX_COLUMNS}"),
            });
        }
        if misfits.is_empty() { Ok(columns) } else { Err(misfits) }
    }

    /// Returns the columns of the table that rows with these columns must have and do not.
    pub(super) fn missing(&self, schema: &Schema) -> Vec<Misfit> {
        let Ok(names) = self.names(schema) else { return Vec::new() };
        let is_given = |column: &TableColumn| {
            names.contains(&column.name)
                || self.load_column.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(&column.name))
        };
        let required = self.table.iter().flatten();
        let required = required
            .filter(|column| column.takes_no_null && !column.has_default && !column.is_generated && !is_given(column));
        let mut misfits: Vec<Misfit> = required
            .map(|column| Misfit {
                column: column.name.to_string(),
                what: "is required by the table, and the rows do not have it".into(),
            })
            .collect();
        let lacking = self.key.iter().filter(|key| !names.iter().any(|name| name.eq_ignore_ascii_case(key)));
        misfits.extend(lacking.map(|key| Misfit {
            column: key.to_string(),
            what: "is a column of the key, and the rows do not have it".into(),
        }));
        misfits
    }

    /// Returns true if the column `name` of the table takes no null.
    pub(super) fn is_required(&self, name: &str) -> bool {
        self.key.iter().any(|key| key.eq_ignore_ascii_case(name))
            || self.existing(name).is_some_and(|column| column.takes_no_null && !self.is_open(column))
    }

    /// Returns the columns of the table with a default that the first columns do not name, with true for those that all rows
    /// of the load must have or none: rows that have the default stay as they are.
    pub(super) fn open_defaults(&self) -> impl Iterator<Item = (&Arc<str>, bool)> {
        let open = self.table.iter().flatten().filter(|column| self.is_open(column));
        open.map(|column| (&column.name, column.takes_no_null || !self.is_staged))
    }

    /// Returns true if rows without a value in `column` may get its default, for all that is known before the first row.
    fn is_open(&self, column: &TableColumn) -> bool {
        column.has_default && !column.is_generated && !self.first.contains(&column.name)
    }

    /// Returns true if integer columns that are there may take numbers with fractions, as SQLite allows.
    pub(super) fn takes_fractions(&self) -> bool {
        self.widening == Widening::Evolve
    }
}

/// Returns the place of values of `ty` in a column of the table; `None` if there are no values and the column takes no null.
fn existing_place(
    column: &TableColumn,
    ty: &Type,
    fits: &impl Fn(Kind, &Type) -> bool,
) -> Result<Option<Place>, String> {
    if column.is_generated {
        return if *ty == Type::Null { Ok(None) } else { Err("is computed by the table".to_owned()) };
    }
    match column.kind {
        Some(kind) if fits(kind, ty) => Ok(Some(Place::Existing(kind))),
        None if *ty == Type::Null => Ok(Some(Place::Existing(Kind::Any))),
        _ if column.declared.is_empty() => {
            Err(format!("has {}, which the column of the table cannot hold", described(ty)))
        }
        _ => Err(format!("has {}, and the table has {}", described(ty), column.declared)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::Field;

    fn mapping(table: Option<Vec<TableColumn>>) -> Mapping {
        let first = FirstColumns::default();
        Mapping { table, widening: Widening::Evolve, key: Vec::new(), load_column: None, first, is_staged: false }
    }

    fn existing(name: &str, declared: &str) -> TableColumn {
        TableColumn {
            name: name.into(),
            declared: declared.to_owned(),
            kind: Kind::of(declared, false, false),
            takes_no_null: false,
            has_default: false,
            is_generated: false,
            collation: None,
        }
    }

    #[test]
    fn names_that_differ_by_case_are_one() {
        let schema = Schema::new(vec![Field::new("Name", Type::Text), Field::new("name", Type::Text)]);
        let misfits = mapping(None).layout(&schema).unwrap_err();
        assert_eq!(misfits[0].to_string(), "column `name` would be one with `Name`: SQLite ignores the case of names");
        let apart = Schema::new(vec![Field::new("É", Type::Text), Field::new("é", Type::Text)]);
        assert_eq!(mapping(None).layout(&apart).unwrap().len(), 2, "only of ASCII letters");
        let layout = mapping(Some(vec![existing("NAME", "TEXT")]))
            .layout(&Schema::new(vec![Field::new("name", Type::Text)]))
            .unwrap();
        assert_eq!((&*layout[0].name, layout[0].place), ("NAME", Place::Existing(Kind::Text)));
    }

    #[test]
    fn all_misfits_are_listed() {
        let mut generated = existing("total", "REAL");
        generated.is_generated = true;
        let mut required = existing("id", "INTEGER");
        required.takes_no_null = true;
        let mapping = mapping(Some(vec![existing("age", "INTEGER"), generated, required]));
        let schema = Schema::new(vec![
            Field::new("age", Type::List(Box::new(Type::Text))),
            Field::new("total", Type::Float),
            Field::new("new", Type::Text),
        ]);
        let misfits: Vec<String> = mapping.first_layout(&schema).unwrap_err().iter().map(ToString::to_string).collect();
        assert_eq!(
            misfits,
            ["column `age` has lists, and the table has INTEGER", "column `total` is computed by the table"]
        );
        let missing: Vec<String> = mapping.missing(&schema).iter().map(ToString::to_string).collect();
        assert_eq!(missing, ["column `id` is required by the table, and the rows do not have it"]);
    }

    #[test]
    fn columns_beyond_the_limit_are_refused() {
        let schema = |n: usize| Schema::new((0..n).map(|i| Field::new(format!("c{i}"), Type::Text)).collect());
        assert!(mapping(None).layout(&schema(2000)).is_ok());
        assert!(mapping(None).layout(&schema(2001)).unwrap_err()[0].to_string().contains("at most 2000"));
    }
}
