//! Names of columns in a target: kept as they are, cut with a hash where the target would cut them, and refused where two
//! of them meet.

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::identity::hexadecimal;

/// Bytes of the suffix of a cut name: an underscore and eight digits.
const SUFFIX_BYTES: usize = 9;

/// The names of columns in a target.
#[derive(Clone, Debug)]
pub struct ColumnNames {
    max_bytes: usize,
    /// True if the target does not tell `A` from `a`.
    folds_case: bool,
}

/// Two columns that would have one name in the target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("columns `{first}` and `{second}` would both be `{name}`")]
pub struct SharedColumn {
    /// The earlier column.
    pub first: String,
    /// The later column.
    pub second: String,
    /// The name of both.
    pub name: String,
}

/// Returns the names of columns that a target keeps under another one, as a JSON object, and a sentence on each. The target
/// keeps `max_bytes` bytes of a name.
#[cfg(any(feature = "postgres", feature = "clickhouse"))]
pub(super) fn renamed_columns<'a>(
    names: impl Iterator<Item = (&'a Arc<str>, Arc<str>)>,
    max_bytes: usize,
) -> (String, Vec<String>) {
    let (mut renamed, mut notes) = (serde_json::Map::new(), Vec::new());
    for (column, name) in names.filter(|(column, name)| **column != *name) {
        notes.push(format!("the column `{column}` is `{name}` in the table: names have at most {max_bytes} bytes"));
        renamed.insert(column.to_string(), name.to_string().into());
    }
    (serde_json::Value::Object(renamed).to_string(), notes)
}

impl ColumnNames {
    /// Creates the rules of a target whose names have at most `max_bytes` bytes, at least 16.
    pub fn new(max_bytes: usize, folds_case: bool) -> Self {
        ColumnNames { max_bytes: max_bytes.max(16), folds_case }
    }

    /// Returns the name of the column `name` in the target: the name itself, or its first bytes with a hash of the whole.
    pub fn name(&self, name: &Arc<str>) -> Arc<str> {
        if name.len() <= self.max_bytes {
            return name.clone();
        }
        let mut end = self.max_bytes - SUFFIX_BYTES;
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        let hash = hexadecimal(&Sha256::digest(name.as_bytes()));
        format!("{}_{}", &name[..end], &hash[..SUFFIX_BYTES - 1]).into()
    }

    /// Returns the names of `columns` in the target, in order. Fails if two of them would be the same.
    pub fn names<'a>(&self, columns: impl Iterator<Item = &'a Arc<str>>) -> Result<Vec<Arc<str>>, SharedColumn> {
        let mut known: BTreeMap<String, &Arc<str>> = BTreeMap::new();
        let mut names = Vec::new();
        for column in columns {
            let name = self.name(column);
            let compared = if self.folds_case { name.to_lowercase() } else { name.to_string() };
            if let Some(first) = known.insert(compared, column) {
                let (first, second) = (first.to_string(), column.to_string());
                return Err(SharedColumn { first, second, name: name.to_string() });
            }
            names.push(name);
        }
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_at_a_character_and_stay_apart() {
        let rules = ColumnNames::new(63, false);
        let name = |text: &str| rules.name(&text.into()).to_string();
        assert_eq!(name("domain"), "domain");
        assert_eq!(name(&"a".repeat(63)), "a".repeat(63));
        let cut = name(&"é".repeat(40));
        assert!(cut.len() <= 63 && cut.starts_with(&"é".repeat(27)), "{cut}");
        let (one, other) = (format!("{}x", "a".repeat(70)), format!("{}y", "a".repeat(70)));
        assert_ne!(name(&one), name(&other));
    }

    #[test]
    fn two_columns_of_one_name_are_refused() {
        let columns: [Arc<str>; 2] = ["Name".into(), "name".into()];
        assert!(ColumnNames::new(63, false).names(columns.iter()).is_ok());
        let error = ColumnNames::new(63, true).names(columns.iter()).unwrap_err();
        assert_eq!(error.to_string(), "columns `Name` and `name` would both be `name`");
    }
}
