//! One load: the table is looked at, the engine writes data files, and a log entry names them.
//!
//! ```text
//! begin ─► snapshot, ids ─► files ─► commit: look for the id ─► put entry n+1 ─┬► written: done
//!                                       ▲                                      ├► another's: read it, look again
//!                                       └──────────────────────────────────────┴► answer lost: read entry n+1
//! ```
//!
//! An entry whose answer was lost is never given up while it may still appear: its files are named by it then.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::actions::{Add, load_of, rows_of};
use super::entry::{Entry, NO_LOCAL_TIMES};
use super::features::{LOCAL_TIMES, has_feature, refusal};
use super::ledger::{self, KEY_TABLE};
use super::schema::{DeltaRules, has_local_times, table_columns, unfit_names};
use super::snapshot::{LOG, ReadError, Snapshot, entry_name};
use crate::column::{Field, Schema, Type, TypeMerge};
use crate::sink::{DirectoryStorage, PutNew, UploadControl};
use crate::warehouse::earlier::{Replaceable, earlier_load};
use crate::warehouse::load_facts::LoadFacts;
use crate::warehouse::storage::{load_error, new_attempt};
use crate::warehouse::table_rows::{FormatRules as _, TableColumn, TableRows};
use crate::warehouse::{
    Begun, CommitKey, Committed, DataFile, FilesAttempt, FilesLoad, FilesPlace, LedgerRow, LoadEnd, LoadError,
    LoadMode, LoadRequest, LoadSummary, Misfit, RowEncoder, TableTarget, Widening,
};

/// Time after which the files of a load are looked for before its commit: those that are left over may be removed when they
/// are a day old.
const FILES_ARE_SAFE: Duration = Duration::from_secs(12 * 3600);

/// Waits between attempts to learn the outcome of a commit. Together longer than a store is away for a restart.
const WAITS: [Duration; 6] = [
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(15),
];

/// A table that exists and takes loads.
pub(super) struct KnownTable {
    columns: Vec<TableColumn>,
    /// The columns by whose values it is divided.
    partition_by: Arc<[Arc<str>]>,
}

/// A load that has begun.
pub(super) struct DeltaLoad {
    storage: DirectoryStorage,
    target: TableTarget,
    snapshot: Snapshot,
    /// The key, if it is known.
    key: Option<CommitKey>,
    attempt: FilesAttempt,
    rows: Arc<TableRows<DeltaRules>>,
    widening: Widening,
    type_merge: TypeMerge,
    cancel: UploadControl,
    began: Instant,
}

impl DeltaLoad {
    /// Reads the table and begins a load, or returns the earlier one of the same key.
    pub(super) fn begin(place: FilesPlace, request: &LoadRequest<'_>) -> Result<Begun, LoadError> {
        let target = request.target.clone();
        let mut place = place;
        if let Some(location) = &mut place.store {
            location.uploads = request.cancel.clone();
        }
        let table = target.name();
        let failed = |error| load_error(&table, error);
        let storage = place.open().map_err(failed)?;
        let removes = target.mode == LoadMode::Replace || target.again;
        let snapshot = Snapshot::read(&storage, removes).map_err(|error| read_error(&table, error))?;
        let key = target.identity.key_before(KEY_TABLE);
        if let Some(key) = key.as_ref().filter(|_| !target.again)
            && let Some(row) = earlier(&snapshot, &target, key)?
        {
            return Ok(Begun::Loaded(with_rows_there(&storage, row)));
        }
        let (columns, partition_by) = match snapshot.version {
            None => (None, target.files.clone().unwrap_or_default().partition_by),
            Some(_) => {
                let KnownTable { columns, partition_by } = writable(&snapshot, &target)?;
                (Some(columns), partition_by)
            }
        };
        let attempt = new_attempt();
        storage.require_put_new(LOG, &attempt).map_err(failed)?;
        let prefix = match &key {
            Some(key) => format!("drawoff-{}-{attempt}", key.short()),
            None => format!("drawoff-{attempt}"),
        };
        let may_widen = request.widening == Widening::Evolve;
        let rows = Arc::new(TableRows::new(columns, partition_by.clone(), request.type_merge, may_widen));
        let load = DeltaLoad {
            storage,
            target,
            snapshot,
            key,
            attempt: FilesAttempt { place, id: attempt, prefix, partition_by, row_check: rows.clone() },
            rows,
            widening: request.widening,
            type_merge: request.type_merge,
            cancel: request.cancel.clone(),
            began: Instant::now(),
        };
        load.replaced_loads()?;
        Ok(Begun::Files(Box::new(load)))
    }

    /// Returns the keys in the files of the earlier loads whose rows are replaced; none unless these are asked for. Fails if
    /// their rows cannot be told from others any more.
    fn replaced_loads(&self) -> Result<Vec<String>, LoadError> {
        let mut keys: Vec<String> = Vec::new();
        let Some(key) = self.key.as_ref().filter(|_| self.is_again()) else { return Ok(keys) };
        let claims = self.target.identity.claims(KEY_TABLE, key);
        let found: Vec<LedgerRow> = ledger::found(&self.snapshot, &claims).into_iter().flatten().collect();
        for row in &found {
            if keys.iter().any(|key| key == row.row_key()) {
                continue;
            }
            let of_load = |add: &&Add| load_of(add) == Some(row.row_key());
            let files = self.snapshot.files.iter().flat_map(|files| files.values()).filter(of_load);
            let rows: Option<u64> = files.map(rows_of).sum();
            // Runs that were loaded together and are not all loaded again.
            let together = found.iter().filter(|other| other.row_key() == row.row_key()).count() as u64;
            let is_whole = row.set.as_ref().is_none_or(|set| set.members == together);
            if is_whole && self.snapshot.has_lost(row) {
                // Another engine has removed its files; none of its rows can be in others.
                keys.push(row.row_key().to_owned());
                continue;
            }
            if rows != Some(row.rows) || !is_whole {
                return Err(self.target.refused(
                    "the rows of the earlier load are not in files of their own any more, so they cannot be told from others",
                    "load all of its runs again, delete its rows by another tool and load under a key of your own, or \
                     replace the whole table",
                ));
            }
            keys.push(row.row_key().to_owned());
        }
        Ok(keys)
    }

    /// Returns true if rows of an earlier load are replaced, and no others.
    fn is_again(&self) -> bool {
        self.target.again && self.target.mode == LoadMode::Append
    }

    fn table(&self) -> String {
        self.target.name()
    }

    fn refused(&self, cause: String, is_transient: bool) -> LoadError {
        LoadError::Refused { table: self.table(), cause, hint: None, is_transient }
    }

    /// Fails if the files, whose columns are `columns`, do not fit the table as others have left it meanwhile.
    fn check_again(&self, columns: &Schema) -> Result<(), LoadError> {
        let KnownTable { columns: known, partition_by } = writable(&self.snapshot, &self.target)?;
        let rows: TableRows<DeltaRules> =
            TableRows::new(Some(known), partition_by.clone(), self.type_merge, self.widening == Widening::Evolve);
        let wanted = rows.file_columns(columns);
        let fits = |(mine, wanted): (&Field, &Field)| {
            let is_empty = mine.ty == Type::Null && wanted.ty.is_text_like();
            mine.name == wanted.name && (mine.ty.is_like(&wanted.ty) || is_empty)
        };
        let fit = wanted.fields.len() == columns.fields.len() && columns.fields.iter().zip(&wanted.fields).all(fits);
        if partition_by != self.attempt.partition_by || !fit {
            let cause = "another command has changed its columns meanwhile".to_owned();
            return Err(self.refused(cause, true));
        }
        Ok(())
    }

    /// Puts the entry of a version. Returns true if it is this load's, false if it is another's.
    fn put(&self, version: u64, text: &[u8]) -> Result<bool, LoadError> {
        let (name, table) = (entry_name(version), self.table());
        let unknown = |cause: String| LoadError::Unknown { table: table.clone(), cause };
        let mut last = None;
        for wait in [Duration::ZERO].iter().chain(&WAITS) {
            std::thread::sleep(*wait);
            let may_be_there = last.is_some();
            match self.storage.put_new(&name, text) {
                Ok(PutNew::Written) => return Ok(true),
                Ok(PutNew::Exists) => {}
                Ok(PutNew::Unclear(error)) => last = Some(error),
                // An earlier request may still be carried out.
                Err(error) if may_be_there => return Err(unknown(error.to_string())),
                Err(error) => return Err(load_error(&table, error)),
            }
            match self.storage.read(&name) {
                Ok(Some(found)) => return Ok(found == text),
                Ok(None) => {}
                Err(error) => last = Some(error),
            }
            if self.cancel.is_cancelled() {
                break;
            }
        }
        Err(unknown(last.map_or_else(|| "the log does not take its entry".to_owned(), |error| error.to_string())))
    }

    /// Fails if a file was removed while the load took long.
    fn check_files(&self, files: &[DataFile]) -> Result<(), LoadError> {
        if self.began.elapsed() < FILES_ARE_SAFE {
            return Ok(());
        }
        for file in files {
            if !self.storage.exists(&file.name).map_err(|error| load_error(&self.table(), error))? {
                return Err(self.refused(format!("its file {} was removed before the commit", file.name), true));
            }
        }
        Ok(())
    }
}

impl FilesLoad for DeltaLoad {
    fn files(&self) -> &FilesAttempt {
        &self.attempt
    }

    fn check(&mut self, columns: &Schema) -> Result<Vec<String>, LoadError> {
        let mut misfits = self.rows.misfits(columns);
        let has_local = |field: &&Field| has_local_times(&field.ty);
        if self.snapshot.version.is_some() && !has_feature(&self.snapshot, LOCAL_TIMES) {
            for field in columns.fields.iter().filter(has_local) {
                let what = format!("has local times, and the table {}", NO_LOCAL_TIMES.trim_start_matches("it "));
                misfits.push(Misfit { column: field.name.to_string(), what });
            }
        }
        if !misfits.is_empty() {
            return Err(LoadError::Misfits { table: self.table(), misfits });
        }
        let mut notes = Vec::new();
        if let Some(time) = self.snapshot.property("delta.setTransactionRetentionDuration") {
            notes.push(format!(
                "{} forgets loads after {time} (delta.setTransactionRetentionDuration): the same rows may be loaded again then",
                self.table()
            ));
        }
        Ok(notes)
    }

    fn file_columns(&mut self, columns: &Schema) -> Result<Schema, LoadError> {
        let columns = self.rows.file_columns(columns);
        let refuse = |column: &str, what: &str| {
            let misfit = Misfit { column: column.to_owned(), what: what.to_owned() };
            Err(LoadError::Misfits { table: self.table(), misfits: vec![misfit] })
        };
        if let Some(reason) = unfit_names(&columns.fields) {
            return Err(self.refused(reason, false));
        }
        for name in self.attempt.partition_by.iter() {
            match columns.position(name).map(|i| &columns.fields[i].ty) {
                Some(ty) if DeltaRules::can_partition(ty) => {}
                Some(_) => return refuse(name, "has values that cannot name a partition"),
                // It is null in all rows.
                None if self.snapshot.version.is_some() => {}
                None => return refuse(name, "divides the table, and no row has it"),
            }
        }
        if columns.fields.is_empty() && self.snapshot.version.is_none() {
            return Err(self.target.unsupported(
                "no column is known, so that the table cannot be created",
                "load rows, or declare the columns in an explicit schema",
            ));
        }
        let divides = |field: &Field| self.attempt.partition_by.contains(&field.name);
        if !columns.fields.is_empty() && columns.fields.iter().all(divides) {
            return Err(self.target.unsupported(
                "all columns divide the table, so that its files would have none",
                "divide it by fewer columns",
            ));
        }
        Ok(columns)
    }

    fn commit(
        mut self: Box<Self>,
        files: Vec<DataFile>,
        columns: &Schema,
        end: &LoadEnd,
    ) -> Result<Committed, LoadError> {
        let table = self.table();
        let key = self.target.identity.key_after(KEY_TABLE, end.digests.as_deref())?;
        let claims = self.target.identity.claims(KEY_TABLE, &key);
        let facts = LoadFacts::new(&self.target, end);
        self.check_files(&files)?;
        loop {
            let before = self.snapshot.metadata.clone();
            let was_there = self.snapshot.version.is_some();
            self.snapshot.advance(&self.storage).map_err(|error| read_error(&table, error))?;
            let row = earlier(&self.snapshot, &self.target, &key)?;
            match row {
                Some(row) if !self.target.again => {
                    return Ok(Committed::Already(with_rows_there(&self.storage, row)));
                }
                _ => {}
            }
            if self.snapshot.version.is_some() && (!was_there || self.snapshot.metadata != before) {
                self.check_again(columns)?;
            }
            if self.target.again && self.key.is_none() {
                // The key of a file is known only now.
                self.key = Some(key.clone());
            }
            let replaced = self.replaced_loads()?;
            let entry = Entry {
                files: &files,
                columns,
                partition_by: &self.attempt.partition_by,
                mode: &self.target.mode,
                claims: &claims,
                facts: facts.clone(),
                replaces: &replaced,
                attempt: &self.attempt.id,
                now: now(),
            };
            let written = entry.after(&self.snapshot).map_err(|cause| self.refused(cause, false))?;
            if self.cancel.is_cancelled() {
                return Err(LoadError::Cancelled);
            }
            let version = self.snapshot.version.map_or(0, |version| version + 1);
            if self.put(version, &written.text)? {
                let notes = written.notes.into_iter().map(|note| format!("{table}: {note}")).collect();
                return Ok(Committed::Loaded(LoadSummary { table, key, rows: end.rows, notes }));
            }
        }
    }
}

/// Returns the earlier load of the rows of `target`, whose key is `key`; `None` if there is none, or if a replacement has to
/// be made again.
pub(super) fn earlier(
    snapshot: &Snapshot,
    target: &TableTarget,
    key: &CommitKey,
) -> Result<Option<LedgerRow>, LoadError> {
    let claims = target.identity.claims(KEY_TABLE, key);
    let mut found = ledger::found(snapshot, &claims);
    if target.mode == LoadMode::Replace {
        let is_ours = |key: &str| claims.iter().any(|claim| claim.key.as_str() == key);
        let is_last = ledger::standing_keys(snapshot).all(|txn| is_ours(&txn.app_id));
        let is_replacement = found.iter().flatten().all(|row| row.mode == LoadMode::Replace.as_str());
        if !is_last || !is_replacement || found.iter().any(Option::is_none) {
            return Ok(None);
        }
    }
    if target.again {
        // Members that are loaded give way, whether all of them are or not.
        found = found.into_iter().map(|_| None).collect();
    }
    // Files of a load are known by its key.
    let replaceable = if target.mode == LoadMode::Append { Replaceable::ByKey } else { Replaceable::Always };
    earlier_load(&target.name(), &claims, found, replaceable)
}

/// Returns an earlier load with the rows that the table has of it, if it has none any more. A table that cannot be read
/// tells nothing.
pub(super) fn with_rows_there(storage: &DirectoryStorage, row: LedgerRow) -> LedgerRow {
    let is_lost = row.rows > 0 && Snapshot::read(storage, true).is_ok_and(|snapshot| snapshot.has_lost(&row));
    LedgerRow { rows_there: is_lost.then_some(0), ..row }
}

/// Returns the columns of a table and those that divide it. Fails if a load cannot write it.
pub(super) fn writable(snapshot: &Snapshot, target: &TableTarget) -> Result<KnownTable, LoadError> {
    let table = target.name();
    let schema = snapshot.schema().map_err(|error| read_error(&table, error))?;
    let refuse = |what: String, hint: &str| Err(target.refused(what, hint));
    if let Some(reason) = refusal(snapshot, &schema) {
        return refuse(reason, "load into a new table, and insert from it by the engine that made this one");
    }
    let removes = target.mode == LoadMode::Replace || target.again;
    if removes && snapshot.property("delta.appendOnly") == Some("true") {
        return refuse(
            "it has the property delta.appendOnly, so that no rows can be replaced".to_owned(),
            "append to it, or load into another table",
        );
    }
    let partition_by: Arc<[Arc<str>]> =
        snapshot.metadata.partition_columns.iter().map(|name| Arc::from(name.as_str())).collect();
    let asked = target.files.clone().unwrap_or_default().partition_by;
    if !asked.is_empty() && asked != partition_by {
        let by = |columns: &[Arc<str>]| match columns.is_empty() {
            true => "no column".to_owned(),
            false => columns.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
        };
        return Err(target.unsupported(
            format!("it is divided by {}, and not by {}", by(&partition_by), by(&asked)),
            "leave the partition columns out: a table that exists has its own",
        ));
    }
    match table_columns(&schema) {
        Some(columns) => Ok(KnownTable { columns, partition_by }),
        None => Err(read_error(&table, ReadError::Log("its schema cannot be read".to_owned()))),
    }
}

/// Returns the error of a place without a table.
pub(super) fn no_table(name: &str) -> LoadError {
    LoadError::NoTable {
        table: name.to_owned(),
        cause: "there is no Delta table".to_owned(),
        hint: "specify the directory of a table, which has a directory `_delta_log`".to_owned(),
    }
}

/// Returns the milliseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as i64
}

/// Returns the error of a table that cannot be read.
pub(super) fn read_error(table: &str, error: ReadError) -> LoadError {
    match error {
        ReadError::Io(cause) => load_error(table, cause),
        ReadError::Log(cause) => LoadError::Refused { table: table.to_owned(), cause, hint: None, is_transient: false },
    }
}
