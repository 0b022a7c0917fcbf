//! Names of tables and columns by the rules of each system: letters, length, case. Columns are found by the names that the
//! Parquet files have, so a name that a system cannot have is an error and not another name.

use std::collections::HashMap;

use super::system::CloudSystem;
use crate::warehouse::sql::{NamePart, name_parts};

/// The name of a table, with the names of what it is in, as far as they were typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudTable {
    system: CloudSystem,
    /// From the outermost to the table; not empty.
    parts: Vec<String>,
}

impl CloudTable {
    /// Parses a name of up to three parts with dots between, each quoted as in the SQL of the system or not. Unquoted names
    /// have the case that the system gives them. Fails with the reason.
    pub fn parse(system: CloudSystem, text: &str) -> Result<Self, String> {
        let quotes: &[char] = match system {
            CloudSystem::Snowflake | CloudSystem::Redshift => &['"'],
            CloudSystem::BigQuery | CloudSystem::Databricks => &['`'],
        };
        let parsed = name_parts(text, quotes, &[]).ok_or_else(|| format!("`{text}` is not the name of a table"))?;
        if parsed.len() > 3 {
            return Err(format!("`{text}` has more than three parts"));
        }
        let parts = parsed.into_iter().map(|part| table_part(system, part)).collect::<Result<_, _>>()?;
        Ok(CloudTable { system, parts })
    }

    /// Returns this name within `outer`, from the outermost part on, where it does not have parts of its own for them.
    #[must_use]
    pub fn within(mut self, outer: &[String]) -> Self {
        let missing = (outer.len() + 1).saturating_sub(self.parts.len());
        self.parts.splice(0..0, outer.iter().take(missing).cloned());
        self
    }

    /// Returns the table `name` beside this one.
    #[must_use]
    pub fn beside(&self, name: &str) -> Self {
        let mut parts = self.parts.clone();
        parts.pop();
        parts.push(name.to_owned());
        CloudTable { system: self.system, parts }
    }

    /// Returns the system whose name it is.
    pub fn system(&self) -> CloudSystem {
        self.system
    }

    /// Returns the parts, from the outermost to the table.
    pub fn parts(&self) -> &[String] {
        &self.parts
    }

    /// Returns the name of the table alone.
    pub fn name(&self) -> &str {
        self.parts.last().map_or("", String::as_str)
    }

    /// Returns the name as SQL.
    pub fn sql(&self) -> String {
        self.parts.iter().map(|part| self.system.quoted(part)).collect::<Vec<_>>().join(".")
    }

    /// Returns the parts with dots between, for messages, ledgers and commit keys.
    pub fn shown(&self) -> String {
        self.parts.join(".")
    }
}

fn table_part(system: CloudSystem, NamePart { text, is_quoted }: NamePart) -> Result<String, String> {
    let is_plain = is_plain(&text, if system == CloudSystem::Snowflake { "$" } else { "" });
    match system {
        CloudSystem::Snowflake if is_quoted => at_most(text, 255),
        CloudSystem::Snowflake if is_plain => at_most(text.to_ascii_uppercase(), 255),
        CloudSystem::Snowflake | CloudSystem::Redshift if !is_quoted && !is_plain => Err(format!(
            "the name `{text}` has other characters than letters, digits and `_`: quote it, as in \"{text}\""
        )),
        // Projects have hyphens.
        CloudSystem::BigQuery => match text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | ' ')) {
            true => at_most(text, 1024),
            false => Err(format!("`{text}` has other characters than letters, digits, `_` and `-`")),
        },
        CloudSystem::Databricks => match text.chars().any(|c| c.is_control() || matches!(c, '.' | ' ' | '/' | '"')) {
            true => Err(format!("`{text}` has a point, a space, a slash, a double quote or a control character")),
            false => at_most(text.to_lowercase(), 255),
        },
        CloudSystem::Snowflake | CloudSystem::Redshift => match text.len() > 127 {
            true => Err(format!("`{text}` is longer than 127 bytes")),
            // Quoted names too, unless a setting of the session says otherwise.
            false => Ok(text.to_lowercase()),
        },
    }
}

fn at_most(text: String, max_chars: usize) -> Result<String, String> {
    match text.chars().count() > max_chars {
        true => Err(format!("`{text}` is longer than {max_chars} characters")),
        false => Ok(text),
    }
}

/// Returns true for ASCII letters, digits, `_` and `more`, of which a digit is not the first.
fn is_plain(text: &str, more: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    text.starts_with(is_letter) && text.chars().all(|c| is_letter(c) || c.is_ascii_digit() || more.contains(c))
}

/// The beginnings of column names that BigQuery keeps for itself, in any case.
const BIGQUERY_PREFIXES: [&str; 9] = [
    "_TABLE_",
    "_FILE_",
    "_PARTITION",
    "_ROW_TIMESTAMP",
    "__ROOT__",
    "_COLIDENTIFIER",
    "_CHANGE_SEQUENCE_NUMBER",
    "_CHANGE_TYPE",
    "_CHANGE_TIMESTAMP",
];

/// Columns that every table of Redshift has.
const REDSHIFT_COLUMNS: [&str; 9] =
    ["oid", "tableoid", "xmin", "cmin", "xmax", "cmax", "ctid", "deletexid", "insertxid"];

/// Returns the name of a column or field of a struct in the table. Fails with the reason if the system cannot have it.
pub(super) fn column_name(system: CloudSystem, name: &str) -> Result<String, String> {
    if name.is_empty() {
        return Err(format!("has no name, which {system} demands"));
    }
    if name.contains('\0') {
        return Err("has U+0000 in its name".to_owned());
    }
    let too_long = |count: usize, max: usize, unit: &str| match count > max {
        true => Err(format!("has a name of {count} {unit}; {system} takes {max}")),
        false => Ok(()),
    };
    let chars = name.chars().count();
    match system {
        CloudSystem::Snowflake => {
            too_long(chars, 255, "characters")?;
            // As if it had been written without quotes, so that queries need none.
            Ok(if is_plain(name, "$") { name.to_ascii_uppercase() } else { name.to_owned() })
        }
        CloudSystem::BigQuery => {
            too_long(chars, 300, "characters")?;
            if !is_plain(name, "") {
                return Err(
                    "has a name with other characters than letters, digits and `_`, or with a digit first, which \
                            BigQuery does not load from Parquet"
                        .to_owned(),
                );
            }
            let upper = name.to_ascii_uppercase();
            match BIGQUERY_PREFIXES.iter().find(|prefix| upper.starts_with(*prefix)) {
                Some(prefix) => Err(format!("has a name that begins with {prefix}, which BigQuery keeps for itself")),
                None => Ok(name.to_owned()),
            }
        }
        CloudSystem::Databricks => too_long(chars, 255, "characters").map(|()| name.to_owned()),
        CloudSystem::Redshift => {
            too_long(name.len(), 127, "bytes")?;
            let lower = name.to_lowercase();
            match REDSHIFT_COLUMNS.contains(&&*lower) {
                true => Err("has a name that every table of Redshift has for a column of its own".to_owned()),
                false => Ok(lower),
            }
        }
    }
}

/// Returns true if a table of Databricks has a column or field of this name only with the mapping of columns by name.
pub(super) fn needs_mapping(name: &str) -> bool {
    name.contains([' ', ',', ';', '{', '}', '(', ')', '\n', '\t', '='])
}

/// Returns the names of columns or fields, in order, and of each that cannot be one its index and the reason. No system tells
/// columns apart by case, for Parquet at least.
pub(super) fn column_names<'a>(
    system: CloudSystem,
    names: impl Iterator<Item = &'a str>,
) -> (Vec<String>, Vec<(usize, String)>) {
    let (mut found, mut faults) = (Vec::new(), Vec::new());
    let mut known: HashMap<String, &str> = HashMap::new();
    for (index, name) in names.enumerate() {
        match column_name(system, name) {
            Ok(made) => match known.insert(made.to_lowercase(), name) {
                Some(first) => faults.push((index, format!("differs from the column `{first}` in case only"))),
                None => found.push(made),
            },
            Err(why) => faults.push((index, why)),
        }
    }
    (found, faults)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_the_case_of_their_system() {
        let sql = |system, text: &str| CloudTable::parse(system, text).map(|table| table.sql());
        assert_eq!(sql(CloudSystem::Snowflake, "crm.people").unwrap(), "\"CRM\".\"PEOPLE\"");
        assert_eq!(sql(CloudSystem::Snowflake, "crm.\"My \"\"own\"\"\"").unwrap(), "\"CRM\".\"My \"\"own\"\"\"");
        assert!(sql(CloudSystem::Snowflake, "my people").unwrap_err().contains("quote it"));
        assert_eq!(sql(CloudSystem::BigQuery, "my-project.crm.People").unwrap(), "`my-project`.`crm`.`People`");
        assert_eq!(sql(CloudSystem::Databricks, "Main.`CRM`.people").unwrap(), "`main`.`crm`.`people`");
        assert_eq!(sql(CloudSystem::Redshift, "CRM.\"a b\"").unwrap(), "\"crm\".\"a b\"");
        assert!(sql(CloudSystem::Redshift, &"a".repeat(128)).is_err());
        for system in CloudSystem::ALL {
            assert!(sql(system, "a.b.c.d").is_err() && sql(system, "").is_err() && sql(system, "a..b").is_err());
        }
    }

    #[test]
    fn a_table_is_completed_from_its_url() {
        let table = |text: &str| CloudTable::parse(CloudSystem::Snowflake, text).unwrap();
        let outer = ["DB".to_owned(), "CRM".to_owned()];
        assert_eq!(table("t").within(&outer).shown(), "DB.CRM.T");
        assert_eq!(table("other.t").within(&outer).shown(), "DB.OTHER.T");
        assert_eq!(table("a.b.t").within(&outer).shown(), "A.B.T");
        assert_eq!(table("t").within(&outer).beside("x").shown(), "DB.CRM.x");
    }

    #[test]
    fn names_that_a_system_cannot_have_are_refused() {
        let ok = |system, name: &str| column_name(system, name).is_ok();
        for (name, snowflake, bigquery, databricks, redshift) in [
            ("order", true, true, true, true),
            ("Company Name", true, false, true, true),
            ("1st", true, false, true, true),
            ("größe", true, false, true, true),
            ("_table_x", true, false, true, true),
            ("ctid", true, true, true, false),
            ("", false, false, false, false),
            ("a\0", false, false, false, false),
            (&"a".repeat(128), true, true, true, false),
            (&"a".repeat(256), false, true, false, false),
            (&"a".repeat(301), false, false, false, false),
        ] {
            let of = CloudSystem::ALL.map(|system| ok(system, name));
            assert_eq!(of, [snowflake, bigquery, databricks, redshift], "{name:?}");
        }
        assert_eq!(column_name(CloudSystem::Snowflake, "first_name").unwrap(), "FIRST_NAME");
        assert_eq!(column_name(CloudSystem::Snowflake, "First name").unwrap(), "First name");
        let (_, faults) = column_names(CloudSystem::BigQuery, ["a", "A", "b c"].into_iter());
        assert_eq!(faults.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1, 2]);
    }
}
