//! Staged files: their location as a system reads it, and their names.

use serde::{Deserialize, Serialize};

use super::system::CloudSystem;

/// Files that a statement names at most. More are copied by several statements.
pub(super) const MAX_FILES: usize = 1000;

/// The location of staged files as a system reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// A stage of Snowflake, with a path below it: `@CRM.LOADS/companies/`.
    Named(String),
    /// A URL that ends with a slash, with the clause behind it that names the rights to read it; empty for none.
    Url(String, String),
}

impl Stage {
    pub(super) fn sql(&self, system: CloudSystem) -> String {
        match self {
            Stage::Named(name) => name.clone(),
            Stage::Url(url, rights) if rights.is_empty() => system.literal(url),
            Stage::Url(url, rights) => format!("{} {rights}", system.literal(url)),
        }
    }
}

/// The files of a load, below its stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum StagedFiles {
    /// By their names.
    Names(Vec<String>),
    /// By the beginning of their names, behind which there are a number of five digits, from 1 on, and the extension.
    Numbered {
        /// Up to the hyphen.
        prefix: String,
        /// Number of files.
        count: usize,
    },
}

impl StagedFiles {
    pub(super) fn of(files: &[String]) -> Self {
        let numbered = StagedFiles::Numbered { prefix: file_prefix(files).to_owned(), count: files.len() };
        let mut sorted = files.to_vec();
        sorted.sort();
        match numbered.names() == sorted {
            true => numbered,
            false => StagedFiles::Names(files.to_vec()),
        }
    }

    pub(super) fn names(&self) -> Vec<String> {
        match self {
            StagedFiles::Names(names) => names.clone(),
            StagedFiles::Numbered { prefix, count } => {
                (1..=*count).map(|number| format!("{prefix}{number:05}.parquet")).collect()
            }
        }
    }
}

/// Returns the beginning of the names of all files, which no others have: names end with a hyphen, a number and the extension.
pub(super) fn file_prefix(files: &[String]) -> &str {
    let first = files.first().map_or("", String::as_str);
    first.rfind('-').map_or(first, |hyphen| &first[..=hyphen])
}
