//! A table as a load would create it.

/// A table that does not exist yet: the statement that creates it, and what that makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTable {
    /// Parts of the name, from the outermost to the table, as the system keeps them; not empty.
    pub name: Vec<String>,
    /// Columns in order: one for each of the rows.
    pub columns: Vec<NewColumn>,
    /// Statement with a semicolon and a line break at its end.
    pub statement: String,
}

/// A column of a [`NewTable`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewColumn {
    /// Name without quotes.
    pub name: String,
    /// Type in SQL.
    pub sql_type: String,
}

impl NewColumn {
    /// Creates a column.
    pub fn new(name: impl Into<String>, sql_type: impl Into<String>) -> Self {
        NewColumn { name: name.into(), sql_type: sql_type.into() }
    }
}
