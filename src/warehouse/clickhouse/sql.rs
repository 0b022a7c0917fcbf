//! Pieces of SQL: names and texts, quoted.

use crate::warehouse::sql::name_parts;

/// Returns `name` as a quoted name.
pub(super) fn quoted(name: &str) -> String {
    format!("`{}`", escaped(name, '`'))
}

/// Returns `text` as a literal.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", escaped(text, '\''))
}

fn escaped(text: &str, quote: char) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\0' => out.push_str("\\0"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

/// The name of a table, as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TableName {
    /// `None` for the database of the connection.
    pub(super) database: Option<String>,
    pub(super) name: String,
}

impl TableName {
    /// Parses `name` or `database.name`; each may be quoted by `"` or `` ` ``, doubled inside. Case counts, as for the
    /// server. `None` for other text.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let parts = name_parts(text, &['"', '`'], &['\0', '\\'])?.into_iter();
        let mut parts: Vec<String> = parts.map(|part| part.text).collect();
        let name = parts.pop()?;
        let database = parts.pop();
        parts.is_empty().then_some(TableName { database, name })
    }

    /// Returns the name in SQL, with its database if it has one.
    pub(super) fn sql(&self) -> String {
        match &self.database {
            Some(database) => format!("{}.{}", quoted(database), quoted(&self.name)),
            None => quoted(&self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tables_keep_their_case() {
        let sql = |text: &str| TableName::parse(text).map(|name| name.sql());
        assert_eq!(sql("crm.People").as_deref(), Some("`crm`.`People`"));
        assert_eq!(sql("\"a.b\".`c``d`").as_deref(), Some("`a.b`.`c\\`d`"));
        for wrong in ["", ".", "a.", ".a", "a.b.c", "\"a", "a\"b", " a", "\"a\"b"] {
            assert_eq!(TableName::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn texts_are_quoted() {
        assert_eq!(literal("it's a\\b`\0"), "'it\\'s a\\\\b`\\0'");
    }
}
