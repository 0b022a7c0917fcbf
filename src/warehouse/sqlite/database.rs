//! A connection to a file: opened, waited for while others have it locked, and its errors as those of loads. Statements end
//! when the execution is cancelled.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::functions::FunctionFlags;
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OpenFlags, Params, Row};

use super::location::Location;
use super::values::{Form, convert};
use crate::sink::{UploadControl, check_can_create_file};
use crate::warehouse::LoadError;

/// Time to wait for a lock of others. A load holds the only lock for writing that a file has, and may take long; a command
/// that is repeated loads only what is not there.
const LOCK_WAIT: Duration = Duration::from_secs(30);

/// Time that SQLite itself waits for a lock in one statement. Short, because no cancel ends it.
const SHORT_WAIT: Duration = Duration::from_secs(1);

/// Time between two attempts at a lock.
const LOCK_POLL: Duration = Duration::from_millis(20);

/// Steps of SQLite's machine between two looks for a cancel, about a millisecond.
const STEPS_PER_LOOK: i32 = 10_000;

/// Page cache of a connection and of its temporary tables, in KiB each.
const CACHE_KIB: u32 = 16 << 10;

/// Name of the SQL function that converts a value from one form to another.
pub(super) const CONVERT: &str = "drawoff_convert";

/// An open file. Dropped within a transaction, it rolls back.
pub(super) struct Database {
    connection: Connection,
    cancel: UploadControl,
    location: Location,
    /// The table in messages.
    table: String,
}

impl Database {
    /// Opens a file that exists; `None` if it does not, and can be created. `table` is the name for messages.
    pub(super) fn open_existing(
        location: &Location,
        table: String,
        cancel: &UploadControl,
    ) -> Result<Option<Self>, LoadError> {
        let write = |cause: io::Error| LoadError::Write { table: location.to_string(), cause, hint: None };
        match std::fs::metadata(location.plain()) {
            Ok(metadata) if metadata.is_dir() => {
                Err(write(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory")))
            }
            Ok(metadata) if !metadata.is_file() => {
                Err(write(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")))
            }
            Ok(metadata) if is_other_file(location, metadata.len()) => Err(not_a_database(location)),
            Ok(_) => Self::open(location, table, cancel, OpenFlags::SQLITE_OPEN_READ_WRITE).map(Some),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                check_can_create_file(location.directory()).map_err(write)?;
                Ok(None)
            }
            Err(cause) => Err(write(cause)),
        }
    }

    /// Opens a file, and creates it if it does not exist.
    pub(super) fn create(location: &Location, table: String, cancel: &UploadControl) -> Result<Self, LoadError> {
        if let Some(existing) = Self::open_existing(location, table.clone(), cancel)? {
            return Ok(existing);
        }
        Self::open(location, table, cancel, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)
    }

    fn open(location: &Location, table: String, cancel: &UploadControl, flags: OpenFlags) -> Result<Self, LoadError> {
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(location.plain(), flags)
            .map_err(|error| to_load_error(&error, &table, location, cancel))?;
        let own = cancel.clone();
        let set_up = connection.busy_timeout(SHORT_WAIT).and_then(|()| {
            connection.progress_handler(STEPS_PER_LOOK, Some(move || own.is_cancelled()))?;
            let flags =
                FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_DIRECTONLY;
            connection.create_scalar_function(CONVERT, 3, flags, |call| {
                let form = |index| call.get::<i64>(index).map(|number| Form::numbered(number).unwrap_or(Form::Text));
                let (from, to) = (form(1)?, form(2)?);
                let mut scratch = Vec::new();
                Ok(Value::try_from(convert(call.get_raw(0), from, to, &mut scratch))?)
            })
        });
        set_up.map_err(|error| to_load_error(&error, &table, location, cancel))?;
        let database = Database { connection, cancel: cancel.clone(), location: location.clone(), table };
        // The first statement that reads the file: it fails if it is no database.
        let version: i64 = database.patiently(|db| db.query_row("PRAGMA schema_version", [], |row| row.get(0)))?;
        let _ = version;
        if database.connection.is_readonly("main").unwrap_or(false) {
            return Err(read_only(&database.table));
        }
        // Foreign keys are obeyed, at the commit: rows may refer to later rows. A renamed table keeps its name in views.
        database.execute(&format!(
            "PRAGMA cache_size = -{CACHE_KIB}; PRAGMA temp.cache_size = -{CACHE_KIB}; PRAGMA foreign_keys = ON; \
             PRAGMA legacy_alter_table = ON"
        ))?;
        Ok(database)
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Returns the name of the table for messages.
    pub(super) fn table(&self) -> &str {
        &self.table
    }

    /// Begins the transaction for writing. Waits while another process has the lock.
    pub(super) fn begin(&self) -> Result<(), LoadError> {
        self.patiently(|db| db.execute_batch("BEGIN IMMEDIATE; PRAGMA defer_foreign_keys = ON"))
    }

    /// Commits the transaction. Waits while others read, if the file has a rollback journal.
    pub(super) fn commit(&self) -> Result<(), LoadError> {
        self.patiently(|db| db.execute_batch("COMMIT"))
    }

    /// Executes statements without results.
    pub(super) fn execute(&self, sql: &str) -> Result<(), LoadError> {
        self.await_readable()?;
        self.connection.execute_batch(sql).map_err(|error| self.error(&error))
    }

    /// Executes one statement and returns the number of rows that it changed.
    pub(super) fn changed(&self, sql: &str, values: impl Params) -> Result<u64, LoadError> {
        self.await_readable()?;
        self.connection.execute(sql, values).map(|rows| rows as u64).map_err(|error| self.error(&error))
    }

    /// Executes one query and returns its rows.
    pub(super) fn rows<T>(
        &self,
        sql: &str,
        values: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, LoadError> {
        self.await_readable()?;
        let rows = self.connection.prepare(sql).and_then(|mut query| query.query_map(values, read)?.collect());
        rows.map_err(|error| self.error(&error))
    }

    /// Fails if SQLite counts another number of rows than were sent.
    pub(super) fn check_count(&self, sent: u64, found: u64) -> Result<(), LoadError> {
        match sent == found {
            true => Ok(()),
            false => Err(LoadError::RowCount { table: self.table.clone(), sent, found }),
        }
    }

    fn check_cancel(&self) -> Result<(), LoadError> {
        if self.cancel.is_cancelled() { Err(LoadError::Cancelled) } else { Ok(()) }
    }

    /// Waits until a statement outside a transaction can read the file: another process that commits locks it for a moment,
    /// one whose rows have outgrown its cache until its end.
    fn await_readable(&self) -> Result<(), LoadError> {
        match self.connection.is_autocommit() {
            true => self.patiently(|db| db.query_row("PRAGMA schema_version", [], |_| Ok(()))),
            false => self.check_cancel(),
        }
    }

    /// Repeats `work` while the file is locked, for a limited time.
    pub(super) fn patiently<T>(&self, work: impl Fn(&Connection) -> rusqlite::Result<T>) -> Result<T, LoadError> {
        let start = Instant::now();
        let _wait = self.cancel.may_wait_for(&self.table);
        loop {
            self.check_cancel()?;
            match work(&self.connection) {
                Err(error) if is_locked(&error) && start.elapsed() < LOCK_WAIT => thread::sleep(LOCK_POLL),
                done => return done.map_err(|error| self.error(&error)),
            }
        }
    }

    /// Reads an error. Messages of SQLite have no values of rows.
    pub(super) fn error(&self, error: &rusqlite::Error) -> LoadError {
        to_load_error(error, &self.table, &self.location, &self.cancel)
    }
}

/// The smallest page, and so the smallest database. SQLite takes a shorter file for an empty one and writes over it.
const MIN_PAGE_BYTES: u64 = 512;

/// The first bytes of a database.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// Returns true for a file that is too short for a database and is not the beginning of one.
fn is_other_file(location: &Location, len: u64) -> bool {
    (1..MIN_PAGE_BYTES).contains(&len) && std::fs::read(location.plain()).is_ok_and(|bytes| !bytes.starts_with(MAGIC))
}

fn not_a_database(location: &Location) -> LoadError {
    LoadError::Connect {
        target: location.to_string(),
        cause: "the file is not an SQLite database, or it is encrypted".into(),
        hint: Some("load into another file; it is created if it does not exist".into()),
        is_transient: false,
    }
}

fn is_locked(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

fn read_only(table: &str) -> LoadError {
    LoadError::Write {
        table: table.to_owned(),
        cause: io::Error::new(io::ErrorKind::PermissionDenied, "the file is read-only"),
        hint: Some("make the file and its directory writable: SQLite keeps a journal beside the file".into()),
    }
}

fn to_load_error(error: &rusqlite::Error, table: &str, location: &Location, cancel: &UploadControl) -> LoadError {
    let table = table.to_owned();
    let refused = |cause: &str, hint: Option<&str>, is_transient| LoadError::Refused {
        table: table.clone(),
        cause: cause.to_owned(),
        hint: hint.map(str::to_owned),
        is_transient,
    };
    let write = |kind: io::ErrorKind, cause: &str, hint: Option<&str>| LoadError::Write {
        table: table.clone(),
        cause: io::Error::new(kind, cause.to_owned()),
        hint: hint.map(str::to_owned),
    };
    let (code, message) = match error {
        rusqlite::Error::SqliteFailure(error, message) => (error.code, message.clone()),
        rusqlite::Error::SqlInputError { error, msg, .. } => (error.code, Some(msg.clone())),
        other => return refused(&other.to_string(), None, false),
    };
    let message = message.unwrap_or_else(|| error.to_string());
    match code {
        ErrorCode::OperationInterrupted if cancel.is_cancelled() => LoadError::Cancelled,
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => refused(
            "the file is locked by another process",
            Some("nothing of this load is in the table; run the same command again when the other process has ended"),
            true,
        ),
        ErrorCode::NotADatabase => not_a_database(location),
        ErrorCode::DatabaseCorrupt => refused(&message, Some("check the file with `PRAGMA integrity_check`"), false),
        ErrorCode::DiskFull => write(
            io::ErrorKind::StorageFull,
            "the disk is full",
            Some("free space for the file, its journal and temporary tables; nothing of this load is in the table"),
        ),
        ErrorCode::ReadOnly => read_only(&table),
        ErrorCode::CannotOpen | ErrorCode::PermissionDenied => write(io::ErrorKind::PermissionDenied, &message, None),
        ErrorCode::SystemIoFailure => write(io::ErrorKind::Other, &message, None),
        ErrorCode::ConstraintViolation if message.starts_with("UNIQUE") => {
            refused(&message, Some("merge by the columns of that key, or load other rows"), false)
        }
        ErrorCode::ConstraintViolation if message.starts_with("FOREIGN KEY") => refused(
            &message,
            Some("load the rows that they refer to first; `PRAGMA foreign_key_list` of the table names their tables"),
            false,
        ),
        ErrorCode::ConstraintViolation if message.starts_with("CHECK") => {
            refused(&message, Some("filter the rows that break the rule of the table"), false)
        }
        _ => refused(&message, None, false),
    }
}
