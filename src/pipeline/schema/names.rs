//! Notes on column names that databases bind to one column or cut, although every format here keeps them apart.

use std::collections::BTreeMap;

use crate::column::Schema;
use crate::text::counted;

/// The bytes that PostgreSQL keeps of a name.
const MAX_POSTGRES_NAME: usize = 63;

/// The most pairs of names in one note. By eye: a line of a terminal.
const MAX_PAIRS: usize = 3;

/// Returns the notes on the names of `columns`.
pub(crate) fn notes_on_names(columns: &Schema) -> Vec<String> {
    let mut notes = Vec::new();
    let mut first: BTreeMap<String, &str> = BTreeMap::new();
    let mut alike = Vec::new();
    for field in &columns.fields {
        match first.get(&field.name.to_lowercase()) {
            Some(other) => alike.push((*other, &*field.name)),
            None => _ = first.insert(field.name.to_lowercase(), &field.name),
        }
    }
    if !alike.is_empty() {
        let mut pairs: Vec<String> =
            alike.iter().take(MAX_PAIRS).map(|(one, other)| format!("`{one}` and `{other}`")).collect();
        if alike.len() > MAX_PAIRS {
            pairs.push(counted((alike.len() - MAX_PAIRS) as u64, "more pair"));
        }
        notes.push(format!(
            "columns {} differ only in upper and lower case; most databases take them for one column, so rename one of them",
            pairs.join(", ")
        ));
    }
    let mut long = columns.fields.iter().filter(|field| field.name.len() > MAX_POSTGRES_NAME).peekable();
    if let Some(first) = long.peek().map(|field| field.name.clone()) {
        notes.push(format!(
            "{} longer than {MAX_POSTGRES_NAME} bytes, which PostgreSQL cuts; the first is `{first}`",
            counted(long.count() as u64, "column name")
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::{Field, Type};

    #[test]
    fn names_that_databases_confuse() {
        let notes = |names: &[&str]| {
            notes_on_names(&Schema::new(names.iter().map(|name| Field::new(*name, Type::Text)).collect()))
        };
        assert!(notes(&["a", "b", "a_"]).is_empty());
        let expected = "columns `Id` and `id`, `É` and `é` differ only in upper and lower case; most databases take them for \
                        one column, so rename one of them";
        assert_eq!(notes(&["Id", "É", "x", "id", "é"]), [expected]);
        let many = notes(&["a", "A", "b", "B", "c", "C", "d", "D"]);
        assert!(many[0].contains("`c` and `C`, 1 more pair differ"), "{many:?}");
        let long = "é".repeat(32);
        assert_eq!(
            notes(&["a", &long]),
            [format!("1 column name longer than 63 bytes, which PostgreSQL cuts; the first is `{long}`")]
        );
    }
}
