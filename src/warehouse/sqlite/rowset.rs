//! Columns of a table while rows go into it: the table of the load itself, or a temporary table, the stage. A column that
//! the load makes may become wider from one row on; those before keep their form until the end of the load.

use std::sync::Arc;

use super::database::{CONVERT, Database};
use super::layout::{LayoutColumn, Place};
use super::sql::{is_same_name, quoted};
use super::values::{Form, TYPE_WITHOUT_VALUES};
use crate::column::{Type, TypeMerge};
use crate::warehouse::LoadError;

/// Name of the stage in SQL.
pub(super) const STAGE: &str = "temp.\"_drawoff_stage\"";

/// Names of the number that SQLite gives each row; a column may have one of these names.
const ROW_NUMBERS: [&str; 3] = ["rowid", "_rowid_", "oid"];

/// A table that takes rows.
#[derive(Clone, Debug)]
pub(super) struct Rowset {
    /// The table in SQL.
    pub(super) sql_name: String,
    /// `OR ABORT` if its own rules for rows that break a constraint must not apply; else empty.
    pub(super) or_abort: &'static str,
    pub(super) columns: Vec<HeldColumn>,
    /// Rows in it, of this load.
    pub(super) rows: u64,
}

/// One of its columns.
#[derive(Clone, Debug)]
pub(super) struct HeldColumn {
    pub(super) name: Arc<str>,
    /// The type of all values so far; `None` for a column of an existing table, whose values are final.
    pub(super) ty: Option<Type>,
    /// Rows, from the first on, that have values of another form: the number of rows up to there, and the form.
    earlier: Vec<(u64, Form)>,
}

impl HeldColumn {
    /// Returns the form of values that are added now; `None` for final values.
    pub(super) fn form(&self) -> Option<Form> {
        self.ty.as_ref().and_then(Form::of)
    }
}

/// The difference that rows make to a column.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Change {
    /// The column is not there.
    Add,
    /// It gets a wider type, in which its values have another form.
    Widen(Type),
    /// It gets a wider type, in which its values have the same form.
    Same(Type),
}

impl Rowset {
    pub(super) fn new(sql_name: String, or_abort: &'static str) -> Self {
        Rowset { sql_name, or_abort, columns: Vec::new(), rows: 0 }
    }

    pub(super) fn find(&self, name: &str) -> Option<&HeldColumn> {
        self.columns.iter().find(|column| is_same_name(&column.name, name))
    }

    /// Returns the change that values of `column` need; `None` if there is none.
    pub(super) fn change(&self, column: &LayoutColumn, type_merge: TypeMerge) -> Option<Change> {
        let Some(held) = self.find(&column.name) else { return Some(Change::Add) };
        let ty = held.ty.as_ref()?;
        let joined = ty.join(&column.ty, type_merge);
        if joined == *ty {
            return None;
        }
        match Form::of(ty) == Form::of(&joined) {
            true => Some(Change::Same(joined)),
            false => Some(Change::Widen(joined)),
        }
    }

    /// Adds a column that the table has in SQL, with values of the type of `column`.
    pub(super) fn add(&mut self, column: &LayoutColumn) {
        let ty = (column.place == Place::New).then(|| column.ty.clone());
        self.columns.push(HeldColumn { name: column.name.clone(), ty, earlier: Vec::new() });
    }

    /// Gives a column a wider type for the rows from here on.
    pub(super) fn widen(&mut self, name: &str, to: Type) {
        let rows = self.rows;
        let Some(held) = self.columns.iter_mut().find(|column| is_same_name(&column.name, name)) else { return };
        let Some(from) = held.ty.replace(to) else { return };
        let (old, new) = (Form::of(&from), held.form());
        if let Some(old) = old.filter(|old| Some(*old) != new && rows > 0) {
            held.earlier.push((rows, old));
        }
    }

    /// Returns true if a column has values of another form than that of its final type.
    pub(super) fn differs(&self, name: &str, to: Option<Form>) -> bool {
        let Some(held) = self.find(name).filter(|held| held.ty.is_some()) else { return false };
        let is_other = match (held.form(), to) {
            (Some(form), Some(to)) => form != to,
            // Without values, it was declared as text.
            (None, Some(to)) => to.declared() != TYPE_WITHOUT_VALUES,
            (_, None) => false,
        };
        is_other || !held.earlier.is_empty()
    }

    /// Returns the expression for a column's values in its final form. Only for a table in which no column was widened.
    pub(super) fn converted(&self, name: &str, to: Option<Form>) -> String {
        match (self.find(name).and_then(HeldColumn::form), to) {
            (Some(from), Some(to)) if from != to => {
                format!("{CONVERT}({}, {}, {})", quoted(name), from.number(), to.number())
            }
            _ => quoted(name),
        }
    }

    /// Returns the expression for a column's values in its final form, with rows of every form that it has had; `None` if all
    /// of them have it.
    pub(super) fn settled(&self, db: &Database, name: &str, to: Option<Form>) -> Result<Option<String>, LoadError> {
        let (Some(held), Some(to)) = (self.find(name), to) else { return Ok(None) };
        let now = held.form().map(|form| (self.rows, form));
        let forms: Vec<(u64, Form)> = held.earlier.iter().copied().chain(now).collect();
        if forms.iter().all(|(_, from)| *from == to) {
            return Ok(None);
        }
        let column = quoted(&held.name);
        let converted = |from: Form| match from == to {
            true => column.clone(),
            false => format!("{CONVERT}({column}, {}, {})", from.number(), to.number()),
        };
        if let [(_, from)] = forms[..] {
            return Ok(Some(converted(from)));
        }
        let number = self.row_number().ok_or_else(|| self.unnumbered(db))?;
        let ranges = forms.iter().map(|(end, from)| format!("WHEN {number} <= {end} THEN {}", converted(*from)));
        Ok(Some(format!("CASE {} ELSE {column} END", ranges.collect::<Vec<_>>().join(" "))))
    }

    /// Converts the values of all columns of the stage to their final forms, in place and in one pass.
    pub(super) fn settle(&self, db: &Database, last: &[(Arc<str>, Option<Form>)]) -> Result<(), LoadError> {
        let mut changes = Vec::new();
        for (name, to) in last {
            if let Some(value) = self.settled(db, name, *to)? {
                changes.push(format!("{} = {value}", quoted(name)));
            }
        }
        match changes.is_empty() {
            true => Ok(()),
            false => db.execute(&format!("UPDATE {} SET {}", self.sql_name, changes.join(", "))),
        }
    }

    /// Returns a name of the number of a row that no column has; `None` if columns have all of them.
    pub(super) fn row_number(&self) -> Option<&'static str> {
        ROW_NUMBERS.into_iter().find(|number| self.find(number).is_none())
    }

    /// Returns the error of a table whose columns have all names of a row's number.
    pub(super) fn unnumbered(&self, db: &Database) -> LoadError {
        LoadError::Unsupported {
            table: db.table().to_owned(),
            what: "rows with columns `rowid`, `_rowid_` and `oid` cannot be merged, nor get a wider type".into(),
            hint: Some("rename one of them".into()),
        }
    }

    /// Returns the names of its columns as a list in SQL.
    pub(super) fn column_list(&self) -> Vec<String> {
        self.columns.iter().map(|column| quoted(&column.name)).collect()
    }
}
