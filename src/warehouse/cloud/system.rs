//! The systems, and what their SQL has in common: quoted names and literals.

use std::fmt;

/// A warehouse that copies Parquet files from a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloudSystem {
    /// Snowflake.
    Snowflake,
    /// Google BigQuery.
    BigQuery,
    /// Databricks SQL, with tables of Delta Lake.
    Databricks,
    /// Amazon Redshift.
    Redshift,
}

impl CloudSystem {
    /// All systems.
    pub const ALL: [CloudSystem; 4] =
        [CloudSystem::Snowflake, CloudSystem::BigQuery, CloudSystem::Databricks, CloudSystem::Redshift];

    /// Returns the name in lower case, as the scheme of URLs.
    pub fn word(self) -> &'static str {
        match self {
            CloudSystem::Snowflake => "snowflake",
            CloudSystem::BigQuery => "bigquery",
            CloudSystem::Databricks => "databricks",
            CloudSystem::Redshift => "redshift",
        }
    }

    /// Returns the system with this name in lower case; `None` for other words.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|system| system.word() == word)
    }

    /// Returns `name` as a quoted name. Quoted names may be reserved words.
    pub(super) fn quoted(self, name: &str) -> String {
        match self {
            CloudSystem::Snowflake | CloudSystem::Redshift => format!("\"{}\"", name.replace('"', "\"\"")),
            // No name of BigQuery has a backtick.
            CloudSystem::BigQuery => format!("`{name}`"),
            CloudSystem::Databricks => format!("`{}`", name.replace('`', "``")),
        }
    }

    /// Returns `text` as a literal. In all four systems a backslash begins an escape sequence.
    #[cfg(feature = "object-store")]
    pub(super) fn literal(self, text: &str) -> String {
        let text = text.replace('\\', "\\\\");
        let text = match self {
            CloudSystem::Snowflake | CloudSystem::Redshift => text.replace('\'', "''"),
            CloudSystem::BigQuery | CloudSystem::Databricks => {
                text.replace('\'', "\\'").replace('\n', "\\n").replace('\r', "\\r")
            }
        };
        format!("'{text}'")
    }
}

impl fmt::Display for CloudSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CloudSystem::Snowflake => "Snowflake",
            CloudSystem::BigQuery => "BigQuery",
            CloudSystem::Databricks => "Databricks",
            CloudSystem::Redshift => "Redshift",
        })
    }
}
