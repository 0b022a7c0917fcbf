//! A table as a source of dbt: YAML with its name, its columns and their types.

use std::borrow::Cow;

use super::sql::name_parts;
use super::{LoadError, NewColumn, NewTable};
use crate::column::{Fixed, Schema, Type};

/// A table that dbt finds in its database, and what is known of it.
#[derive(Clone, Copy, Debug)]
pub struct Described<'a> {
    /// Name and columns.
    pub table: &'a NewTable,
    /// Meaning of the table; `None` leaves it out.
    pub description: Option<&'a str>,
    /// Meaning of each column, in their order; `None` leaves it out.
    pub columns: &'a [Option<&'a str>],
    /// True for a system that makes upper case of names without quotes, as Snowflake does: such names are in lower case then.
    pub is_upper_case: bool,
}

/// Name of the source of a table that is in the schema of the target.
const SOURCE: &str = "drawoff";

/// Words that SQL keeps for itself in most systems, so that a column of the name needs quotes.
const RESERVED: [&str; 58] = [
    "all",
    "and",
    "any",
    "as",
    "asc",
    "between",
    "by",
    "case",
    "cast",
    "check",
    "column",
    "create",
    "cross",
    "default",
    "delete",
    "desc",
    "distinct",
    "else",
    "end",
    "except",
    "exists",
    "false",
    "for",
    "foreign",
    "from",
    "full",
    "grant",
    "group",
    "having",
    "in",
    "inner",
    "insert",
    "intersect",
    "into",
    "is",
    "join",
    "left",
    "like",
    "limit",
    "not",
    "null",
    "offset",
    "on",
    "or",
    "order",
    "primary",
    "references",
    "right",
    "select",
    "set",
    "table",
    "then",
    "to",
    "true",
    "union",
    "unique",
    "user",
    "where",
];

/// Returns the file `sources.yml` of dbt for one table. A table without a schema in its name is looked for in the schema of
/// dbt's target. Templates in names and descriptions are text.
pub fn dbt_source(of: Described<'_>) -> String {
    let shown = |name: &str| scalar(&shown(name, of.is_upper_case));
    let (table, outer) = of.table.name.split_last().map_or(("", &[][..]), |(name, outer)| (name.as_str(), outer));
    let mut text = String::from("version: 2\n\nsources:\n");
    let mut line = |depth: usize, start: &str, value: &str| {
        text.push_str(&" ".repeat(depth));
        text.push_str(start);
        text.push_str(value);
        text.push('\n');
    };
    match outer {
        [.., schema] => line(2, "- name: ", &shown(schema)),
        [] => {
            line(2, "- name: ", SOURCE);
            line(4, "schema: ", "\"{{ target.schema }}\"");
        }
    }
    if let [database, _] = outer {
        line(4, "database: ", &shown(database));
    }
    line(4, "tables:", "");
    line(6, "- name: ", &shown(table));
    if let Some(description) = of.description {
        line(8, "description: ", &quoted(description));
    }
    if needs_quotes(table, of.is_upper_case) {
        line(8, "quoting:", "");
        line(10, "identifier: ", "true");
    }
    line(8, "columns:", if of.table.columns.is_empty() { " []" } else { "" });
    for (i, column) in of.table.columns.iter().enumerate() {
        line(10, "- name: ", &shown(&column.name));
        line(12, "data_type: ", &scalar(&column.sql_type));
        if let Some(description) = of.columns.get(i).copied().flatten() {
            line(12, "description: ", &quoted(description));
        }
        if needs_quotes(&column.name, of.is_upper_case) {
            line(12, "quote: ", "true");
        }
    }
    text
}

/// Returns a table without a system: its columns have types of standard SQL, objects and lists are `json`. There is no
/// statement. Fails if `name` is not a name of up to three parts.
pub fn standard_table(name: &str, columns: &Schema) -> Result<NewTable, LoadError> {
    let parts = name_parts(name, &['"', '`'], &[]).filter(|parts| parts.len() <= 3);
    let Some(parts) = parts else {
        let what = format!("`{name}` is not the name of a table");
        return Err(LoadError::Unsupported { table: name.to_owned(), what, hint: None });
    };
    let columns = columns.fields.iter().map(|field| NewColumn::new(&*field.name, standard_type(&field.ty))).collect();
    Ok(NewTable { name: parts.into_iter().map(|part| part.text).collect(), columns, statement: String::new() })
}

fn standard_type(ty: &Type) -> String {
    match ty {
        Type::Number(_) => standard_type(&ty.resolved()),
        Type::Bool => "boolean".to_owned(),
        Type::Int { .. } => "bigint".to_owned(),
        Type::Decimal => "decimal(38,0)".to_owned(),
        Type::Float => "double precision".to_owned(),
        Type::Fixed(Fixed::Date) => "date".to_owned(),
        Type::Fixed(Fixed::Timestamp { local: true, .. }) => "timestamp".to_owned(),
        Type::Fixed(Fixed::Timestamp { local: false, .. }) => "timestamp with time zone".to_owned(),
        Type::Fixed(Fixed::Decimal { precision, scale }) => format!("decimal({precision},{scale})"),
        Type::Null | Type::Text => "varchar".to_owned(),
        Type::Json | Type::Raw | Type::Opaque(_) | Type::Struct(_) | Type::List(_) | Type::Map(_) => "json".to_owned(),
    }
}

/// Returns true for a name that SQL without quotes would not find, or take for another.
fn needs_quotes(name: &str, is_upper_case: bool) -> bool {
    let is_letter = |c: char| c == '_' || if is_upper_case { c.is_ascii_uppercase() } else { c.is_ascii_lowercase() };
    let is_plain = name.starts_with(is_letter) && name.chars().all(|c| is_letter(c) || c.is_ascii_digit());
    !is_plain || RESERVED.contains(&&*name.to_ascii_lowercase())
}

/// Returns the name as people write it in SQL: in lower case, where the system makes upper case of that.
fn shown(name: &str, is_upper_case: bool) -> Cow<'_, str> {
    match is_upper_case && !needs_quotes(name, true) {
        true => Cow::Owned(name.to_ascii_lowercase()),
        false => Cow::Borrowed(name),
    }
}

/// Returns `text` as a value of YAML: as it is, if it can mean nothing else.
fn scalar(text: &str) -> String {
    /// Values of YAML 1.1 that are no text.
    const WORDS: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.ends_with(|c: char| is_word(c) || c == ')')
        && text.chars().all(|c| is_word(c) || matches!(c, ' ' | '(' | ')' | ','))
        && !WORDS.contains(&&*text.to_ascii_lowercase());
    if is_plain { text.to_owned() } else { quoted(text) }
}

/// Returns `text` in double quotes, with escapes of YAML. What would begin an expression of Jinja becomes an expression for
/// its first character, because dbt renders every text in the file.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '{' if matches!(chars.peek(), Some('{' | '%' | '#')) => out.push_str("{{ '{' }}"),
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            // Characters that YAML does not take as they are, and those that end a line for it.
            '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::{Field, Unit};

    fn source(name: &str, fields: Vec<Field>) -> String {
        let table = standard_table(name, &Schema::new(fields)).unwrap();
        dbt_source(Described { table: &table, description: None, columns: &[], is_upper_case: false })
    }

    #[test]
    fn a_table_in_a_schema_is_a_source_of_the_schema() {
        let timestamp = Type::Fixed(Fixed::Timestamp { unit: Unit::Micros, local: false });
        let table = standard_table(
            "raw.crm.Companies",
            &Schema::new(vec![
                Field::new("domain", Type::Text),
                Field::new("order", Type::Int { fits_double: true }),
                Field::new("at", timestamp),
                Field::new("Head Count", Type::Float),
                Field::new("no", Type::List(Box::new(Type::Text))),
            ]),
        )
        .unwrap();
        let columns = [Some("Where they are on the web: \"bare\""), None, None, Some("{{ total }}")];
        let described =
            Described { table: &table, description: Some("One row\neach"), columns: &columns, is_upper_case: false };
        let expected = r#"version: 2

sources:
  - name: crm
    database: raw
    tables:
      - name: Companies
        description: "One row\neach"
        quoting:
          identifier: true
        columns:
          - name: domain
            data_type: varchar
            description: "Where they are on the web: \"bare\""
          - name: order
            data_type: bigint
            quote: true
          - name: at
            data_type: timestamp with time zone
          - name: Head Count
            data_type: double precision
            description: "{{ '{' }}{ total }}"
            quote: true
          - name: "no"
            data_type: json
"#;
        assert_eq!(dbt_source(described), expected);
    }

    #[test]
    fn a_table_without_a_schema_is_in_that_of_the_target() {
        let text = source("results", Vec::new());
        let expected = "version: 2\n\nsources:\n  - name: drawoff\n    schema: \"{{ target.schema }}\"\n    tables:\n      \
                        - name: results\n        columns: []\n";
        assert_eq!(text, expected);
        for wrong in ["", "a.b.c.d", "a.", "\"a"] {
            assert!(standard_table(wrong, &Schema::default()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_in_upper_case_need_no_quotes_where_that_is_the_case_of_names() {
        assert!(!needs_quotes("DOMAIN", true) && needs_quotes("DOMAIN", false));
        assert!(needs_quotes("domain", true) && !needs_quotes("domain", false));
        let shown = |name| shown(name, true);
        assert_eq!([shown("DOMAIN"), shown("Domain"), shown("ORDER")], ["domain", "Domain", "ORDER"]);
        assert!(needs_quotes("ORDER", true) && needs_quotes("1st", false) && needs_quotes("", false));
    }

    #[test]
    fn text_is_never_another_value_or_a_template() {
        for (text, yaml) in [
            ("domain", "domain"),
            ("No", "\"No\""),
            ("1", "\"1\""),
            ("a: b", "\"a: b\""),
            ("a #b", "\"a #b\""),
            ("trailing ", "\"trailing \""),
            ("{{{%", "\"{{ '{' }}{{ '{' }}{{ '{' }}%\""),
            ("{a}", "\"{a}\""),
            ("a\tb\u{7f}\u{2028}é", "\"a\\u0009b\\u007f\\u2028é\""),
            ("", "\"\""),
        ] {
            assert_eq!(scalar(text), yaml, "{text:?}");
        }
    }
}
