//! Pieces of SQL: names and texts, quoted.

use crate::warehouse::sql::name_parts;
pub(super) use crate::warehouse::sql::quoted;

/// Returns `text` as a literal, which needs standard strings as every server since 9.1 has them.
pub(super) fn literal(text: &str) -> String {
    // Strings with a backslash are written in the form that means the same under every setting.
    let doubled = text.replace('\'', "''");
    match doubled.contains('\\') {
        true => format!(" E'{}'", doubled.replace('\\', "\\\\")),
        false => format!("'{doubled}'"),
    }
}

/// The name of a table, as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TableName {
    /// `None` for the first schema of the search path.
    pub(super) schema: Option<String>,
    pub(super) name: String,
}

impl TableName {
    /// Parses `name` or `schema.name` by the rules of SQL: names without quotes are in lower case. `None` for other text.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let parts = name_parts(text, &['"'], &['\0'])?.into_iter();
        let folded = parts.map(|part| if part.is_quoted { part.text } else { part.text.to_lowercase() });
        let mut parts: Vec<String> = folded.collect();
        let name = parts.pop()?;
        let schema = parts.pop();
        parts.is_empty().then_some(TableName { schema, name })
    }

    /// Returns the name in SQL, with its schema if it has one.
    pub(super) fn sql(&self) -> String {
        match &self.schema {
            Some(schema) => format!("{}.{}", quoted(schema), quoted(&self.name)),
            None => quoted(&self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tables_are_read_as_sql_reads_them() {
        let sql = |text: &str| TableName::parse(text).map(|name| name.sql());
        assert_eq!(sql("leads.Enriched").as_deref(), Some("\"leads\".\"enriched\""));
        assert_eq!(sql("\"Leads\".\"a.\"\"b\"").as_deref(), Some("\"Leads\".\"a.\"\"b\""));
        assert_eq!(sql("people").as_deref(), Some("\"people\""));
        for wrong in ["", ".", "a.", ".a", "a.b.c", "\"a", "a\"b", " a", "\"a\"b"] {
            assert_eq!(TableName::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn texts_are_quoted() {
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal(r"a\b'"), r" E'a\\b'''");
    }
}
