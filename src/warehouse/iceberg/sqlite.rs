//! Catalogs in an SQLite file, with the tables that pyiceberg's SqlCatalog and the JDBC catalog have. The current metadata of
//! a table is a file whose URL is in its row; a commit replaces the URL, if it is still the one that it was made from.

use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, params};
use serde_json::{Value, json};

use super::catalog::{Catalog, CatalogTable, Commit, CommitOutcome, NewTable, TableName};
use super::files::{FileAccess, TableFiles, is_metadata};
use super::location::SqliteSettings;
use super::metadata::TableMetadata;
use crate::sink::UploadControl;
use crate::warehouse::LoadError;
use crate::warehouse::storage::{load_error, new_attempt};

/// Time that SQLite waits for a lock in one statement. Short, because no cancel ends it.
const SHORT_WAIT: Duration = Duration::from_secs(1);

/// Statements that are tried again while others have the file locked.
const TRIES: u32 = 30;

/// The name of a catalog whose file has none.
const DEFAULT_CATALOG: &str = "default";

const CREATE: &str = "
    CREATE TABLE IF NOT EXISTS iceberg_tables (
        catalog_name VARCHAR(255) NOT NULL, table_namespace VARCHAR(255) NOT NULL, table_name VARCHAR(255) NOT NULL,
        metadata_location VARCHAR(1000), previous_metadata_location VARCHAR(1000), iceberg_type VARCHAR(5),
        PRIMARY KEY (catalog_name, table_namespace, table_name));
    CREATE TABLE IF NOT EXISTS iceberg_namespace_properties (
        catalog_name VARCHAR(255) NOT NULL, namespace VARCHAR(255) NOT NULL, property_key VARCHAR(255) NOT NULL,
        property_value VARCHAR(1000) NOT NULL, PRIMARY KEY (catalog_name, namespace, property_key));
    CREATE TABLE IF NOT EXISTS drawoff_unfinished (metadata_location VARCHAR(1000) NOT NULL PRIMARY KEY)";

/// One table of a catalog in SQLite.
pub(super) struct SqliteCatalog {
    settings: SqliteSettings,
    name: TableName,
    /// The table in messages.
    table: String,
    access: FileAccess,
}

/// A failure of SQLite, or of what is in its tables.
enum Failure {
    Sqlite(rusqlite::Error),
    Other(LoadError),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Failure::Sqlite(error)
    }
}

impl SqliteCatalog {
    pub(super) fn new(settings: &SqliteSettings, name: TableName, table: String, access: FileAccess) -> Self {
        SqliteCatalog { settings: settings.clone(), name, table, access }
    }

    fn cancel(&self) -> &UploadControl {
        &self.access.cancel
    }

    fn refused(&self, cause: impl Into<String>, is_transient: bool) -> LoadError {
        LoadError::Refused { table: self.table.clone(), cause: cause.into(), hint: None, is_transient }
    }

    /// Opens the file; `None` if it does not exist and is not to be created.
    fn open(&self, create: bool) -> Result<Option<Connection>, LoadError> {
        let file = &self.settings.file;
        if !create && !file.try_exists().unwrap_or(true) {
            return Ok(None);
        }
        let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        if create {
            flags |= OpenFlags::SQLITE_OPEN_CREATE;
        }
        let opened = Connection::open_with_flags(file, flags).and_then(|db| db.busy_timeout(SHORT_WAIT).map(|()| db));
        opened.map(Some).map_err(|error| LoadError::Connect {
            target: file.display().to_string(),
            cause: error.to_string(),
            hint: None,
            is_transient: false,
        })
    }

    /// Does work again while others have the file locked.
    fn patiently<T>(&self, mut work: impl FnMut() -> Result<T, Failure>) -> Result<T, LoadError> {
        let mut tries = 0;
        loop {
            let error = match work() {
                Ok(done) => return Ok(done),
                Err(Failure::Other(error)) => return Err(error),
                Err(Failure::Sqlite(error)) => error,
            };
            let is_locked =
                matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked));
            tries += 1;
            if self.cancel().is_cancelled() {
                return Err(LoadError::Cancelled);
            }
            if !is_locked || tries >= TRIES {
                let cause = format!("its catalog {}: {error}", self.settings.file.display());
                return Err(self.refused(cause, is_locked));
            }
        }
    }

    /// Returns the name of the catalog: the only one in the file, if none was asked for.
    fn catalog(&self, db: &Connection) -> Result<String, Failure> {
        if let Some(name) = &self.settings.catalog {
            return Ok(name.clone());
        }
        let sql = "SELECT catalog_name FROM iceberg_tables UNION SELECT catalog_name FROM iceberg_namespace_properties";
        let names: Vec<String> = db.prepare(sql)?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        match &names[..] {
            [] => Ok(DEFAULT_CATALOG.to_owned()),
            [one] => Ok(one.clone()),
            several => Err(Failure::Other(LoadError::Unsupported {
                table: self.table.clone(),
                what: format!("the file has several catalogs: {}", several.join(", ")),
                hint: Some("name one in the URL, as in iceberg+sqlite:catalog.db?catalog=NAME".to_owned()),
            })),
        }
    }

    /// Returns true if the file has the tables of a catalog.
    fn is_catalog(db: &Connection) -> rusqlite::Result<bool> {
        let sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'iceberg_tables'";
        db.query_row(sql, [], |row| row.get::<_, i64>(0)).map(|count| count > 0)
    }

    /// Fails if a file without a catalog has tables of another program.
    fn check_not_of_others(&self, db: &Connection) -> Result<(), Failure> {
        let sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite~_%' ESCAPE '~' AND \
                   name NOT IN ('iceberg_namespace_properties', 'drawoff_unfinished')";
        match db.query_row(sql, [], |row| row.get::<_, i64>(0))? {
            0 => Ok(()),
            _ => Err(Failure::Other(LoadError::Refused {
                table: self.table.clone(),
                cause: format!(
                    "{} is no Iceberg catalog: it has tables of another program",
                    self.settings.file.display()
                ),
                hint: Some("specify the file of a catalog, or one that does not exist".to_owned()),
                is_transient: false,
            })),
        }
    }

    /// Writes down that metadata of a new table is about to be written, until [`SqliteCatalog::replace`] names it.
    fn begin_table(&self, location: &str) -> Result<(), LoadError> {
        let Some(mut db) = self.open(true)? else { return Ok(()) };
        self.patiently(|| {
            let transaction = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            transaction.execute_batch(CREATE)?;
            transaction.execute("INSERT OR IGNORE INTO drawoff_unfinished VALUES (?1)", [location])?;
            Ok(transaction.commit()?)
        })
    }

    /// Returns true if the files of another table are at `location`, or may be: this file or another one may name its metadata.
    fn is_taken(&self, location: &str) -> Result<bool, LoadError> {
        if let Some(db) = self.open(false)? {
            let is_named = self.patiently(|| {
                let sql = "SELECT count(*) FROM iceberg_tables WHERE substr(metadata_location, 1, length(?1)) = ?1";
                Ok(Self::is_catalog(&db)?
                    && db.query_row(sql, [format!("{location}/")], |row| row.get::<_, i64>(0))? > 0)
            })?;
            if is_named {
                return Ok(true);
            }
        }
        let unfinished = self.unfinished()?;
        let directory = format!("{location}/metadata");
        let files = TableFiles::new(self.access.clone());
        let found = files.list(&directory).map_err(|error| load_error(&self.table, error))?;
        Ok(found
            .iter()
            .any(|file| is_metadata(&file.name) && !unfinished.contains(&format!("{directory}/{}", file.name))))
    }

    /// Returns true if rows have a type, as views have another.
    fn has_types(db: &Connection) -> rusqlite::Result<bool> {
        let sql = "SELECT count(*) FROM pragma_table_info('iceberg_tables') WHERE name = 'iceberg_type'";
        db.query_row(sql, [], |row| row.get::<_, i64>(0)).map(|count| count > 0)
    }

    /// Returns the names of all tables.
    pub(super) fn tables(&self) -> Result<Vec<TableName>, LoadError> {
        let Some(db) = self.open(false)? else { return Ok(Vec::new()) };
        self.patiently(|| {
            if !Self::is_catalog(&db)? {
                self.check_not_of_others(&db)?;
                return Ok(Vec::new());
            }
            let catalog = self.catalog(&db)?;
            let only = if Self::has_types(&db)? { "AND coalesce(iceberg_type, 'TABLE') = 'TABLE'" } else { "" };
            let sql = format!(
                "SELECT table_namespace, table_name FROM iceberg_tables WHERE catalog_name = ? {only} ORDER BY 1, 2"
            );
            let mut query = db.prepare(&sql)?;
            let rows = query.query_map([catalog], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
            let name = |(namespace, name): (String, String)| TableName {
                namespace: namespace.split('.').map(str::to_owned).collect(),
                name,
            };
            Ok(rows.map(|row| row.map(name)).collect::<Result<_, _>>()?)
        })
    }

    /// Puts the URL of new metadata into the row of the table. Returns false if the row is not what it was.
    fn replace(&self, location: &str, before: Option<&str>) -> Result<bool, LoadError> {
        let Some(mut db) = self.open(true)? else { return Ok(false) };
        self.patiently(|| {
            let transaction = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            transaction.execute_batch(CREATE)?;
            let catalog = self.catalog(&transaction)?;
            let (namespace, name) = (self.name.namespace_text(), &self.name.name);
            let changed = match before {
                Some(before) => transaction.execute(
                    "UPDATE iceberg_tables SET metadata_location = ?1, previous_metadata_location = ?2 WHERE \
                     catalog_name = ?3 AND table_namespace = ?4 AND table_name = ?5 AND metadata_location = ?2",
                    params![location, before, catalog, namespace, name],
                )?,
                None => {
                    transaction.execute(
                        "INSERT OR IGNORE INTO iceberg_namespace_properties VALUES (?1, ?2, 'exists', 'true')",
                        params![catalog, namespace],
                    )?;
                    let (column, value) =
                        if Self::has_types(&transaction)? { (", iceberg_type", ", 'TABLE'") } else { ("", "") };
                    let sql = format!(
                        "INSERT OR IGNORE INTO iceberg_tables (catalog_name, table_namespace, table_name, \
                         metadata_location{column}) VALUES (?1, ?2, ?3, ?4{value})"
                    );
                    transaction.execute("DELETE FROM drawoff_unfinished WHERE metadata_location = ?1", [location])?;
                    transaction.execute(&sql, params![catalog, namespace, name, location])?
                }
            };
            transaction.commit()?;
            Ok(changed == 1)
        })
    }

    /// Returns the URL of the current metadata; `None` if there is no table.
    fn current_location(&self) -> Result<Option<String>, LoadError> {
        let Some(db) = self.open(false)? else { return Ok(None) };
        self.patiently(|| {
            if !Self::is_catalog(&db)? {
                self.check_not_of_others(&db)?;
                return Ok(None);
            }
            let catalog = self.catalog(&db)?;
            let types = if Self::has_types(&db)? { "iceberg_type" } else { "NULL" };
            let sql = format!(
                "SELECT metadata_location, {types} FROM iceberg_tables WHERE catalog_name = ? AND table_namespace = ? AND \
                 table_name = ?"
            );
            let row = db.query_row(&sql, params![catalog, self.name.namespace_text(), self.name.name], |row| {
                Ok((row.get::<_, Option<String>>(0)?, row.get::<_, Option<String>>(1)?))
            });
            match row.optional()? {
                Some((_, Some(ty))) if ty != "TABLE" => {
                    Err(Failure::Other(self.refused(format!("the catalog has it as {ty}, not as a table"), false)))
                }
                Some((location, _)) => Ok(location),
                None => Ok(None),
            }
        })
    }
}

impl Catalog for SqliteCatalog {
    fn load(&self) -> Result<Option<CatalogTable>, LoadError> {
        let location = self.current_location()?;
        let Some(location) = location else { return Ok(None) };
        let failed = |error| load_error(&self.table, error);
        let bytes = TableFiles::new(self.access.clone()).read(&location).map_err(failed)?;
        let metadata = TableMetadata::of_file(&bytes)
            .map_err(|cause| self.refused(format!("its metadata {location} cannot be read: {cause}"), false))?;
        Ok(Some(CatalogTable { metadata, metadata_location: Some(location), options: Vec::new() }))
    }

    fn new_table(&self) -> Result<NewTable, LoadError> {
        let of_namespace = match self.open(false)? {
            None => None,
            Some(db) => self.patiently(|| {
                if !Self::is_catalog(&db)? {
                    return Ok(None);
                }
                let catalog = self.catalog(&db)?;
                let sql = "SELECT property_value FROM iceberg_namespace_properties WHERE catalog_name = ? AND \
                           namespace = ? AND property_key = 'location'";
                let namespace = self.name.namespace_text();
                Ok(db.query_row(sql, params![catalog, namespace], |row| row.get::<_, String>(0)).optional()?)
            })?,
        };
        let (namespace, name) = (self.name.namespace_text(), &self.name.name);
        let location = match (of_namespace, &self.settings.warehouse) {
            (Some(location), _) => format!("{}/{name}", location.trim_end_matches('/')),
            (None, Some(warehouse)) => format!("{warehouse}/{namespace}/{name}"),
            (None, None) => {
                return Err(LoadError::Unsupported {
                    table: self.table.clone(),
                    what: "the table is new, and no place for its files is known".to_owned(),
                    hint: Some(
                        "add a directory or a URL, as in iceberg+sqlite:catalog.db?warehouse=s3://bucket/warehouse"
                            .to_owned(),
                    ),
                });
            }
        };
        if location.contains(['#', '?']) {
            return Err(LoadError::Unsupported {
                table: self.table.clone(),
                what: format!("the place of its files would be {location}, which readers cut at `#` or `?`"),
                hint: Some("name the table, its namespace and the directory without these characters".to_owned()),
            });
        }
        // Of a table that was renamed or dropped, or that another file has: two tables in one place cannot be told apart.
        let location = match self.is_taken(&location)? {
            true => format!("{location}-{}", &new_attempt()[..8]),
            false => location,
        };
        Ok(NewTable { location, uuid: None, options: Vec::new() })
    }

    fn unfinished(&self) -> Result<Vec<String>, LoadError> {
        let Some(db) = self.open(false)? else { return Ok(Vec::new()) };
        self.patiently(|| {
            let sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'drawoff_unfinished'";
            if db.query_row(sql, [], |row| row.get::<_, i64>(0))? == 0 {
                return Ok(Vec::new());
            }
            let mut query = db.prepare("SELECT metadata_location FROM drawoff_unfinished")?;
            Ok(query.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
        })
    }

    fn forget_unfinished(&self, location: &str) -> Result<(), LoadError> {
        let Some(db) = self.open(false)? else { return Ok(()) };
        self.patiently(|| {
            db.execute("DELETE FROM drawoff_unfinished WHERE metadata_location = ?1", [location])?;
            Ok(())
        })
    }

    fn commit(&self, commit: &Commit<'_>) -> Result<CommitOutcome, LoadError> {
        let before = commit.base.and_then(|base| base.metadata_location.as_deref());
        let mut metadata = match commit.base {
            Some(base) => base.metadata.clone(),
            None => empty(),
        };
        metadata
            .update(commit.updates, before, commit.now)
            .map_err(|cause| self.refused(format!("its metadata cannot be changed: {cause}"), false))?;
        let version = before.map_or(0, |before| version_of(before) + 1);
        let location = format!("{}/{version:05}-{}.metadata.json", commit.metadata_directory, commit.file_uuid);
        let text = metadata.0.to_string();
        if before.is_none() {
            self.begin_table(&location)?;
        }
        commit.files.put(&location, text.as_bytes()).map_err(|error| load_error(&self.table, error))?;
        match self.replace(&location, before) {
            Ok(true) => Ok(CommitOutcome::Done),
            Ok(false) => {
                // One that stays is an orphan.
                if commit.files.remove(&location).is_ok() && before.is_none() {
                    let _ = self.forget_unfinished(&location);
                }
                Ok(CommitOutcome::Conflict("its row in the catalog is another".to_owned()))
            }
            // A commit that failed may have happened.
            Err(error) => match self.current_location() {
                Ok(found) if found.as_deref() == Some(&location) => Ok(CommitOutcome::Done),
                Ok(_) => Err(error),
                Err(_) => Err(LoadError::Unknown { table: self.table.clone(), cause: error.to_string() }),
            },
        }
    }
}

/// Returns the metadata that a new table's updates are made from.
fn empty() -> TableMetadata {
    TableMetadata(json!({
        "format-version": 2, "table-uuid": "", "location": "", "last-sequence-number": 0, "last-updated-ms": 0,
        "last-column-id": 0, "current-schema-id": 0, "schemas": [], "default-spec-id": 0, "partition-specs": [],
        "last-partition-id": 999, "default-sort-order-id": 0, "sort-orders": [], "properties": {},
        "current-snapshot-id": Value::Null, "refs": {}, "snapshots": [], "snapshot-log": [], "metadata-log": [],
    }))
}

/// Returns the number at the start of the name of a metadata file.
fn version_of(location: &str) -> u64 {
    let name = location.rsplit('/').next().unwrap_or_default();
    name.split('-').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_changes_only_from_what_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let settings =
            SqliteSettings { file: directory.path().join("c.db"), warehouse: Some("w".into()), catalog: None };
        let name = TableName::parse("a.t").unwrap();
        let catalog = SqliteCatalog::new(&settings, name, "t".into(), FileAccess::default());
        assert!(catalog.load().unwrap().is_none() && !settings.file.exists());
        assert_eq!(catalog.new_table().unwrap().location, "w/a/t");
        catalog.begin_table("m0").unwrap();
        catalog.begin_table("m1").unwrap();
        assert_eq!(catalog.unfinished().unwrap(), ["m0", "m1"]);
        assert!(catalog.replace("m0", None).unwrap());
        assert_eq!(catalog.unfinished().unwrap(), ["m1"], "the one that the row names is finished");
        assert!(!catalog.replace("m1", None).unwrap(), "it exists");
        assert!(catalog.replace("m1", Some("m0")).unwrap());
        assert!(!catalog.replace("m2", Some("m0")).unwrap());
        assert_eq!(catalog.tables().unwrap(), [TableName::parse("a.t").unwrap()]);
        assert_eq!(version_of("s3://b/00012-d4a0ff1e.metadata.json"), 12);
        assert_eq!(version_of("v3.metadata.json"), 0);
    }
}
