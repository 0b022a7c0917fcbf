//! A catalog: where the current metadata of a table is, and how it becomes the next one. Known by one trait, of which there
//! are two implementations, over HTTP and in SQLite.

use serde_json::Value;

use super::files::TableFiles;
use super::metadata::TableMetadata;
use crate::warehouse::LoadError;

/// The name of a table in a catalog.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TableName {
    pub(super) namespace: Vec<String>,
    pub(super) name: String,
}

impl TableName {
    /// Reads `namespace.table`; `None` if one is missing.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts: Vec<String> = text.split('.').map(str::to_owned).collect();
        let name = parts.pop()?;
        let is_whole = !parts.is_empty() && !name.is_empty() && parts.iter().all(|part| !part.is_empty());
        is_whole.then_some(TableName { namespace: parts, name })
    }

    /// Returns the namespace with dots between its parts.
    pub(super) fn namespace_text(&self) -> String {
        self.namespace.join(".")
    }
}

/// A table as a catalog has it.
#[derive(Clone, Debug)]
pub(super) struct CatalogTable {
    pub(super) metadata: TableMetadata,
    /// The URL of the metadata file; `None` if the catalog does not say.
    pub(super) metadata_location: Option<String>,
    /// Options of the stores that the catalog hands out for its files.
    pub(super) options: Vec<(String, String)>,
}

/// The place of a table that does not exist yet.
#[derive(Clone, Debug)]
pub(super) struct NewTable {
    /// Its URL, without a slash at its end.
    pub(super) location: String,
    /// The UUID that the catalog gave it; `None` for one of ours.
    pub(super) uuid: Option<String>,
    /// Options of the stores that the catalog hands out for its files.
    pub(super) options: Vec<(String, String)>,
}

/// A commit: what has to be true of the table, and what becomes of it.
pub(super) struct Commit<'a> {
    /// The table that the updates are made from; `None` to create it.
    pub(super) base: Option<&'a CatalogTable>,
    pub(super) requirements: &'a [Value],
    pub(super) updates: &'a [Value],
    pub(super) files: &'a TableFiles,
    /// URL of the directory of metadata, and the UUID for the name of a metadata file.
    pub(super) metadata_directory: &'a str,
    pub(super) file_uuid: &'a str,
    /// Milliseconds since 1970.
    pub(super) now: i64,
}

/// The outcome of a commit.
#[derive(Debug)]
pub(super) enum CommitOutcome {
    /// The table is what the updates made of it.
    Done,
    /// The table is not what the commit was made from, as the catalog says with this message. It may have been this commit that
    /// changed it, if a response was lost.
    Conflict(String),
}

/// One table of a catalog. Its methods block.
pub(super) trait Catalog: Send {
    /// Reads the table; `None` if there is none.
    fn load(&self) -> Result<Option<CatalogTable>, LoadError>;

    /// Returns the place for the table, which does not exist. Creates nothing that a reader of tables sees.
    fn new_table(&self) -> Result<NewTable, LoadError>;

    /// Returns the URLs of metadata of new tables that commits have written and the catalog has not taken. Its absence says
    /// nothing: not every catalog knows.
    fn unfinished(&self) -> Result<Vec<String>, LoadError> {
        Ok(Vec::new())
    }

    /// Forgets metadata that [`Catalog::unfinished`] has returned, after it was removed.
    fn forget_unfinished(&self, _location: &str) -> Result<(), LoadError> {
        Ok(())
    }

    /// Commits. An error but [`LoadError::Unknown`] promises that the table does not have the updates, and never will.
    fn commit(&self, commit: &Commit<'_>) -> Result<CommitOutcome, LoadError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_a_namespace() {
        let name = TableName::parse("a.b.t").unwrap();
        assert_eq!((name.namespace_text().as_str(), name.name.as_str()), ("a.b", "t"));
        for text in ["t", "", ".t", "a.", "a..t"] {
            assert_eq!(TableName::parse(text), None, "{text}");
        }
    }
}
