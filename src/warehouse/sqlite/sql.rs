//! Pieces of SQL: names, quoted, and the name of a table as it was typed.

use crate::warehouse::sql::name_parts;
pub(super) use crate::warehouse::sql::quoted;

/// Returns true if SQLite takes both names for one: it ignores the case of ASCII letters.
pub(super) fn is_same_name(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
}

/// Parses the name of a table by the rules of SQL: `people`, `"People of ""us"""`, `main.people`. `None` for other text.
pub(super) fn table_name(text: &str) -> Option<String> {
    let mut parts = name_parts(text, &['"'], &['\0'])?;
    let name = parts.pop()?.text;
    match &parts[..] {
        [] => Some(name),
        [schema] if schema.text.eq_ignore_ascii_case("main") => Some(name),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tables_are_read_as_sql_reads_them() {
        assert_eq!(table_name("People").as_deref(), Some("People"));
        assert_eq!(table_name("main.people").as_deref(), Some("people"));
        assert_eq!(table_name("\"a.\"\"b\"").as_deref(), Some("a.\"b"));
        assert_eq!(table_name("Ärzte").as_deref(), Some("Ärzte"));
        for wrong in ["", "main.", "temp.people", "a.b.c", "\"a", "a\"b", " a", "\"a\"b\""] {
            assert_eq!(table_name(wrong), None, "{wrong}");
        }
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
    }
}
