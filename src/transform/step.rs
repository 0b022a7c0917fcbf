//! Steps as plans have them.

use std::collections::HashMap;
use std::sync::Arc;

use super::expr;
use super::sql::Query;

/// One step of a plan. Rows keep their order; every row that goes is counted.
#[derive(Clone, Debug)]
pub enum Step {
    /// Keeps the rows that meet the conditions, joined left to right.
    Filter(Vec<Condition>),
    /// Drops columns; a name that is not there is not an error (a late key may bring it).
    RemoveColumns(Vec<String>),
    /// Keeps the first row of each distinct key over the columns; all columns when empty. Exact, whatever the number
    /// of keys: those that memory does not hold ([`Room`]) are remembered on disk.
    Deduplicate(Vec<String>),
    /// Adds or replaces columns by a look-up: what the reference table holds for the row's key.
    /// A row without a match passes as it is, with null in columns that it did not have; without a
    /// table that is every row.
    Lookup(Lookup),
    /// Keeps the rows of which an expression is true.
    Where(expr::Expr),
    /// Keeps these columns and values inside columns, in this order. With the text that says so, for
    /// messages; as below.
    Select(Vec<Selected>, Arc<str>),
    /// Drops columns, which are looked for by [`super::bind`].
    Drop(Vec<expr::Path>, Arc<str>),
    /// Gives columns new names; the others keep theirs, and all their places.
    Rename(Vec<Rename>, Arc<str>),
    /// Keeps the first rows, so many; what comes after them is not read.
    Limit(u64),
    /// Adds a column, or replaces the one of that name, by what an expression says of each row.
    With {
        /// Its name.
        name: Arc<str>,
        /// Byte in the text where that stands.
        at: usize,
        /// Its values.
        value: expr::Operand,
        /// What was written.
        text: Arc<str>,
    },
    /// Brings columns to types.
    Cast(Vec<(expr::Path, expr::CastType)>, Arc<str>),
    /// Objects and lists in these columns become their JSON text.
    JsonText(Vec<expr::Path>, Arc<str>),
    /// Structs become columns, named by the way to them.
    Flatten {
        /// Between the parts of their names.
        separator: Arc<str>,
    },
    /// Lists in this column become rows: one for each element, with the other values repeated.
    Explode(expr::Path, Arc<str>),
    /// Keeps the first row of each distinct key over these columns, which are looked for by [`super::bind`]; over all columns
    /// if there are none.
    Dedupe(Vec<expr::Path>, Arc<str>),
    /// Keeps about this part of the rows, chosen by where their records stand in the source.
    Sample {
        /// From 0 to 1.
        rate: f64,
        /// Another one chooses other rows.
        seed: u64,
    },
    /// What a query makes of the rows; the last step. One that looks at single rows runs as a step, which must then know
    /// all columns from the start. For others see [`Query::over`].
    Sql(Arc<Query>),
}

/// What a value does that a cast or an expression cannot make.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnBadCast {
    /// Its record cannot be used.
    #[default]
    Reject,
    /// It is null, and counted.
    Null,
}

/// One column of a selection.
#[derive(Clone, Debug)]
pub struct Selected {
    /// Where its values come from.
    pub path: expr::Path,
    /// Its name in the result.
    pub name: Arc<str>,
}

/// A new name.
#[derive(Clone, Debug)]
pub struct Rename {
    /// The column.
    pub from: expr::Path,
    /// What it is called from now on.
    pub to: Arc<str>,
}

/// One condition of a filter.
#[derive(Clone, Debug)]
pub struct Condition {
    /// Column, by its name.
    pub column: String,
    /// What must hold.
    pub test: Test,
    /// How it is joined to what stands before it. Of no meaning on the first.
    pub logic: Logic,
}

/// How a condition is joined to the ones before it, left to right without precedence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Logic {
    /// Both.
    #[default]
    And,
    /// Either.
    Or,
}

/// The eleven operators of the vendor's filter block. Two values that both are numbers, or text
/// that reads as a number against a number, are compared as numbers; everything else as text.
#[derive(Clone, Debug)]
pub enum Test {
    /// Same value.
    Equals(serde_json::Value),
    /// Another value; true of null.
    NotEquals(serde_json::Value),
    /// Text holds the text; a list holds the value.
    Contains(serde_json::Value),
    /// The opposite; true of null.
    NotContains(serde_json::Value),
    /// Greater; false of null and of what cannot be compared.
    Greater(serde_json::Value),
    /// Less; likewise.
    Less(serde_json::Value),
    /// One of these.
    In(Vec<serde_json::Value>),
    /// None of these; true of null.
    NotIn(Vec<serde_json::Value>),
    /// Null, absent, empty text, empty list or object.
    IsEmpty,
    /// The opposite.
    IsNotEmpty,
    /// The pattern is found in the text.
    Matches(regex::Regex),
}

/// A look-up into a reference table held in memory.
#[derive(Clone, Debug)]
pub struct Lookup {
    /// Columns that it adds, in order; they replace columns of the same name.
    pub fields: Vec<String>,
    /// Column whose text is the key.
    pub key: String,
    /// For each key the fields' values as JSON text, in the order of `fields`.
    pub table: Option<Arc<HashMap<String, Vec<Option<String>>>>>,
}
