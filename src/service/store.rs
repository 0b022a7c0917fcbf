//! The embedded database: workflows, runs, uploads, notebooks, idempotency keys and signing secrets. Every change is
//! one transaction, durable before the call returns, and all calls block. Result files and uploaded files are not in
//! it: a row names a file that is already complete on disk.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, IntoDeserializer};
use serde::{Deserialize, Serialize};

use super::notebooks::NotebookRow;
use super::rows::{JobRow, RunRow, UploadRow};
use super::sign::Signer;
use super::signing_secrets::SigningSecrets;
use super::{private_files, stored_names};
use crate::api::{HandleId, RunId, RunStatus, Workflow, WorkflowId};

/// Name of the database in the data directory.
const FILE_NAME: &str = "drawoff.redb";

/// Size of the page cache. Few rows are read repeatedly; redb's default of 1 GiB is for databases that are the main
/// workload of a process.
const CACHE_BYTES: usize = 8 << 20;

/// Lifetime of an idempotency key. Our reading: a day.
const KEY_LIFE: TimeDelta = TimeDelta::hours(24);

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const WORKFLOWS: TableDefinition<&str, &[u8]> = TableDefinition::new("workflows");
const RUNS: TableDefinition<&str, &[u8]> = TableDefinition::new("runs");
/// Run ids in the order in which they were queued.
const RUN_ORDER: TableDefinition<u64, &str> = TableDefinition::new("run_order");
const UPLOADS: TableDefinition<&str, &[u8]> = TableDefinition::new("uploads");
const NOTEBOOKS: TableDefinition<&str, &[u8]> = TableDefinition::new("notebooks");
const KEYS: TableDefinition<&str, &[u8]> = TableDefinition::new("idempotency_keys");
/// Graph and input of each queued run, by run id; a run that has started has no entry.
const JOBS: TableDefinition<&str, &[u8]> = TableDefinition::new("jobs");
/// Webhook URLs to notify of the end of a bulk job, by run id.
const NOTIFY: TableDefinition<&str, &[u8]> = TableDefinition::new("notify");
/// Key in [`META`] of the secrets that outgoing webhooks are signed with.
const SIGNING_SECRETS: &str = "signing_secrets";

/// An error of the service's database.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another service has the data directory open.
    #[error("the data directory {} is locked by another service", directory.display())]
    InUse {
        /// Path of the data directory.
        directory: PathBuf,
    },
    /// The database failed, for example because the disk is full or the file is damaged.
    #[error("cannot read or write the service's database")]
    Database(#[source] Box<redb::Error>),
    /// A row does not have the format of this version.
    #[error("cannot decode a row of the service's database")]
    Row(#[from] serde_json::Error),
}

/// Converts redb's errors, one type per operation, to [`Error::Database`].
macro_rules! from_database {
    ($($error:ty),*) => {$(
        impl From<$error> for Error {
            fn from(error: $error) -> Self {
                Error::Database(Box::new(error.into()))
            }
        }
    )*};
}
from_database!(redb::TransactionError, redb::TableError, redb::StorageError, redb::CommitError);

/// The open database, locked against other processes while it lives.
pub(super) struct Store {
    database: Database,
    secret: [u8; 32],
}

/// The outcome of a request to start a run.
pub(super) enum StartOutcome {
    /// A new run was recorded.
    New,
    /// The idempotency key started this run before; nothing was written.
    Before(Box<RunRow>),
}

/// A filter of runs. The default limit is 0, which selects none.
#[derive(Default)]
pub(super) struct RunFilter {
    /// States to select; empty selects all.
    pub statuses: Vec<RunStatus>,
    /// Workflow to select; `None` selects all.
    pub workflow_id: Option<WorkflowId>,
    /// Most runs to return.
    pub limit: usize,
}

/// The run that an idempotency key started.
#[derive(Serialize, Deserialize)]
struct KeyRow {
    run_id: RunId,
    created_at: DateTime<Utc>,
}

impl Store {
    /// Opens or creates the database in `directory`, and deletes expired idempotency keys.
    pub(super) fn open(directory: &Path, now: DateTime<Utc>) -> Result<Self, Error> {
        let path = directory.join(FILE_NAME);
        // The database holds the secrets of links and webhooks; redb itself would create it by the umask.
        let private = private_files::open_or_create(&path).and_then(|_| private_files::restrict_file(&path));
        private.map_err(|cause| Error::Database(Box::new(cause.into())))?;
        let opened = Database::builder().set_cache_size(CACHE_BYTES).create(path);
        let database = opened.map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => Error::InUse { directory: directory.to_owned() },
            error => Error::Database(Box::new(error.into())),
        })?;
        let write = database.begin_write()?;
        let secret = {
            // Opening a table for writing creates it; a read transaction fails on a table that does not exist.
            write.open_table(WORKFLOWS)?;
            write.open_table(RUNS)?;
            write.open_table(RUN_ORDER)?;
            write.open_table(UPLOADS)?;
            write.open_table(NOTEBOOKS)?;
            write.open_table(NOTIFY)?;
            write.open_table(JOBS)?;
            let mut keys = write.open_table(KEYS)?;
            // Keys are deleted only here; until the next start an expired one is ignored by its time.
            keys.retain(|_, row| {
                serde_json::from_slice::<KeyRow>(row).is_ok_and(|row| now - row.created_at < KEY_LIFE)
            })?;
            let mut meta = write.open_table(META)?;
            let stored: Option<[u8; 32]> = meta.get("secret")?.and_then(|secret| secret.value().try_into().ok());
            match stored {
                Some(secret) => secret,
                None => {
                    let secret = Signer::random_secret();
                    meta.insert("secret", secret.as_slice())?;
                    secret
                }
            }
        };
        write.commit()?;
        Ok(Store { database, secret })
    }

    /// Returns the secret that signs the links of this data directory.
    pub(super) fn secret(&self) -> [u8; 32] {
        self.secret
    }

    /// Returns all workflows, newest first.
    pub(super) fn workflows(&self) -> Result<Vec<Workflow>, Error> {
        let read = self.database.begin_read()?;
        let mut workflows = Vec::new();
        for row in read.open_table(WORKFLOWS)?.iter()? {
            workflows.push(serde_json::from_slice::<Workflow>(row?.1.value())?);
        }
        workflows.sort_by(|a, b| b.created_at.cmp(&a.created_at).then_with(|| a.id.cmp(&b.id)));
        Ok(workflows)
    }

    /// Returns a workflow; `None` if there is none with this id.
    pub(super) fn workflow(&self, id: &WorkflowId) -> Result<Option<Workflow>, Error> {
        self.get(WORKFLOWS, &id.0)
    }

    /// Replaces a workflow in one transaction: `change` maps the stored one, if any, to the new one. An error of
    /// `change` is returned and rolls the transaction back.
    pub(super) fn change_workflow<E: From<Error>>(
        &self,
        id: &WorkflowId,
        change: impl FnOnce(Option<Workflow>) -> Result<Workflow, E>,
    ) -> Result<Workflow, E> {
        let write = self.database.begin_write().map_err(Error::from)?;
        let workflow = change(read_row(&write, WORKFLOWS, &id.0)?)?;
        write_row(&write, WORKFLOWS, &id.0, &workflow)?;
        write.commit().map_err(Error::from)?;
        Ok(workflow)
    }

    /// Deletes a workflow and returns it; `None` if there is none. Its runs are kept.
    pub(super) fn remove_workflow(&self, id: &WorkflowId) -> Result<Option<Workflow>, Error> {
        let write = self.database.begin_write()?;
        let removed = read_row(&write, WORKFLOWS, &id.0)?;
        write.open_table(WORKFLOWS)?.remove(id.0.as_str())?;
        write.commit()?;
        Ok(removed)
    }

    /// Adds an upload, whose file must already be complete on disk.
    pub(super) fn add_upload(&self, handle: &HandleId, row: &UploadRow) -> Result<(), Error> {
        let write = self.database.begin_write()?;
        write_row(&write, UPLOADS, &handle.0, row)?;
        Ok(write.commit()?)
    }

    /// Returns an upload; `None` if there is none with this handle.
    pub(super) fn upload(&self, handle: &HandleId) -> Result<Option<UploadRow>, Error> {
        self.get(UPLOADS, &handle.0)
    }

    /// Returns the run that an idempotency key started within [`KEY_LIFE`].
    pub(super) fn started_before(&self, key: &str, now: DateTime<Utc>) -> Result<Option<RunRow>, Error> {
        match self.get::<KeyRow>(KEYS, key)? {
            Some(row) if now - row.created_at < KEY_LIFE => self.run(&row.run_id),
            _ => Ok(None),
        }
    }

    /// Adds a new run, unless its idempotency key started one before. Of two concurrent starts with one key, exactly
    /// one is new, because write transactions are serialized.
    ///
    /// `job` is the graph and input from which a later service can start the queued run; without it the run fails if
    /// this service stops before.
    pub(super) fn start_run(
        &self,
        row: &RunRow,
        job: Option<&JobRow>,
        key: Option<&str>,
    ) -> Result<StartOutcome, Error> {
        let now = row.queued_at;
        let write = self.database.begin_write()?;
        // The key is looked up in the same transaction that writes it; a look-up before could race with another start.
        if let Some(key) = key {
            let before = read_row::<KeyRow>(&write, KEYS, key)?.filter(|row| now - row.created_at < KEY_LIFE);
            if let Some(before) = before
                && let Some(run) = read_row(&write, RUNS, &before.run_id.0)?
            {
                return Ok(StartOutcome::Before(Box::new(run)));
            }
            // A key whose run was deleted by the retention policy starts a new one.
            write_row(&write, KEYS, key, &KeyRow { run_id: row.id.clone(), created_at: now })?;
        }
        // The workflow of a bulk job is not stored, and one may be deleted between the look-up and here.
        if let Some(mut workflow) = read_row::<Workflow>(&write, WORKFLOWS, &row.workflow_id.0)? {
            workflow.last_run_date = Some(super::clock::timestamp(now));
            write_row(&write, WORKFLOWS, &row.workflow_id.0, &workflow)?;
        }
        {
            // Numbers instead of timestamps: they are unique, and a clock that was set back does not reorder lists.
            let mut order = write.open_table(RUN_ORDER)?;
            let next = order.last()?.map_or(0, |(number, _)| number.value() + 1);
            order.insert(next, row.id.0.as_str())?;
        }
        write_row(&write, RUNS, &row.id.0, row)?;
        if let Some(job) = job {
            write_row(&write, JOBS, &row.id.0, job)?;
        }
        write.commit()?;
        Ok(StartOutcome::New)
    }

    /// Replaces the row of a run.
    pub(super) fn put_run(&self, row: &RunRow) -> Result<(), Error> {
        let write = self.database.begin_write()?;
        write_run(&write, row)?;
        Ok(write.commit()?)
    }

    /// Queues a run again, with the graph and input from which the next service starts it.
    pub(super) fn put_back(&self, row: &RunRow, job: &JobRow) -> Result<(), Error> {
        let write = self.database.begin_write()?;
        write_run(&write, row)?;
        write_row(&write, JOBS, &row.id.0, job)?;
        Ok(write.commit()?)
    }

    /// Returns the runs that an earlier service left queued, with graph and input, in the order of their start.
    pub(super) fn waiting(&self) -> Result<Vec<(RunRow, JobRow)>, Error> {
        let read = self.database.begin_read()?;
        let (jobs, runs) = (read.open_table(JOBS)?, read.open_table(RUNS)?);
        let mut waiting = Vec::new();
        for entry in jobs.iter()? {
            let (id, job) = entry?;
            let Some(row) = runs.get(id.value())? else { continue };
            waiting.push((serde_json::from_slice::<RunRow>(row.value())?, serde_json::from_slice(job.value())?));
        }
        // The table is ordered by run id, which is random.
        waiting.sort_by_key(|(row, _)| row.queued_at);
        Ok(waiting)
    }

    /// Replaces the rows of a run and of a notebook that it appended to, in one transaction.
    pub(super) fn put_run_with(&self, row: &RunRow, notebook: Option<&NotebookRow>) -> Result<(), Error> {
        let write = self.database.begin_write()?;
        write_run(&write, row)?;
        if let Some(notebook) = notebook {
            write_row(&write, NOTEBOOKS, &notebook.id, notebook)?;
        }
        Ok(write.commit()?)
    }

    /// Returns a notebook; `None` if there is none with this id.
    pub(super) fn notebook(&self, id: &str) -> Result<Option<NotebookRow>, Error> {
        self.get(NOTEBOOKS, id)
    }

    /// Returns all uploads with their handles.
    pub(super) fn uploads(&self) -> Result<Vec<(HandleId, UploadRow)>, Error> {
        let read = self.database.begin_read()?;
        let table = read.open_table(UPLOADS)?;
        let mut uploads = Vec::new();
        for entry in table.iter()? {
            let (id, row) = entry?;
            let id: StrDeserializer<'_, serde_json::Error> = id.value().into_deserializer();
            let handle = stored_names::handle_id(id)?;
            uploads.push((handle, serde_json::from_slice(row.value())?));
        }
        Ok(uploads)
    }

    /// Returns the ended runs beyond the newest `n` runs, with their keys in [`RUN_ORDER`].
    pub(super) fn runs_beyond(&self, n: usize) -> Result<Vec<(u64, RunId)>, Error> {
        let read = self.database.begin_read()?;
        let (order, runs) = (read.open_table(RUN_ORDER)?, read.open_table(RUNS)?);
        let mut found = Vec::new();
        // Active runs count among the newest `n`, but are never returned.
        for entry in order.iter()?.rev().skip(n) {
            let (number, id) = entry?;
            let Some(row) = runs.get(id.value())? else { continue };
            let row: RunRow = serde_json::from_slice(row.value())?;
            if row.status.is_terminal() {
                found.push((number.value(), row.id));
            }
        }
        Ok(found)
    }

    /// Returns the runs that ended before `time`, with their keys in [`RUN_ORDER`]. Stops at the first run that ended
    /// later: runs end roughly in the order of their starts, and a later sweep finds the rest.
    pub(super) fn runs_ended_before(&self, time: DateTime<Utc>) -> Result<Vec<(u64, RunId)>, Error> {
        let read = self.database.begin_read()?;
        let (order, runs) = (read.open_table(RUN_ORDER)?, read.open_table(RUNS)?);
        let mut found = Vec::new();
        for entry in order.iter()? {
            let (number, id) = entry?;
            let Some(row) = runs.get(id.value())? else { continue };
            let row: RunRow = serde_json::from_slice(row.value())?;
            match row.completed_at.filter(|_| row.status.is_terminal()) {
                Some(ended) if ended < time => found.push((number.value(), row.id)),
                Some(_) => break,
                None => {}
            }
        }
        Ok(found)
    }

    /// Deletes the rows of runs; their files are the caller's.
    pub(super) fn remove_runs(&self, old: &[(u64, RunId)]) -> Result<(), Error> {
        let write = self.database.begin_write()?;
        {
            let (mut order, mut runs) = (write.open_table(RUN_ORDER)?, write.open_table(RUNS)?);
            for (number, id) in old {
                order.remove(number)?;
                runs.remove(id.0.as_str())?;
            }
        }
        Ok(write.commit()?)
    }

    /// Begins an import of rows in one transaction.
    pub(super) fn import(&self) -> Result<Import, Error> {
        Ok(Import(self.database.begin_write()?))
    }

    /// Returns all notebooks, ordered by id.
    pub(super) fn notebooks(&self) -> Result<Vec<NotebookRow>, Error> {
        let read = self.database.begin_read()?;
        let table = read.open_table(NOTEBOOKS)?;
        let rows = table.iter()?;
        rows.map(|row| Ok(serde_json::from_slice(row?.1.value())?)).collect()
    }

    /// Returns a run; `None` if there is none with this id.
    pub(super) fn run(&self, id: &RunId) -> Result<Option<RunRow>, Error> {
        self.get(RUNS, &id.0)
    }

    /// Returns the runs that `filter` selects, newest first.
    pub(super) fn runs(&self, filter: &RunFilter) -> Result<Vec<RunRow>, Error> {
        let read = self.database.begin_read()?;
        let order = read.open_table(RUN_ORDER)?;
        let runs = read.open_table(RUNS)?;
        let mut found = Vec::new();
        // The newest rows are decoded first and only until the limit, so a filter that matches fewer runs decodes all.
        for entry in order.iter()?.rev() {
            if found.len() >= filter.limit {
                break;
            }
            let Some(row) = runs.get(entry?.1.value())? else { continue };
            let row: RunRow = serde_json::from_slice(row.value())?;
            let selected = (filter.statuses.is_empty() || filter.statuses.contains(&row.status))
                && filter.workflow_id.as_ref().is_none_or(|id| *id == row.workflow_id);
            if selected {
                found.push(row);
            }
        }
        Ok(found)
    }

    /// Returns the secrets that outgoing webhooks are signed with; `None` until the user has created one.
    pub(super) fn signing_secrets(&self) -> Result<Option<SigningSecrets>, Error> {
        self.get(META, SIGNING_SECRETS)
    }

    /// Replaces the signing secrets in one transaction: `change` maps the stored ones to the new ones and a result for
    /// the caller. An error of `change` is returned and rolls the transaction back.
    pub(super) fn change_signing_secrets<T, E: From<Error>>(
        &self,
        change: impl FnOnce(Option<SigningSecrets>) -> Result<(Option<SigningSecrets>, T), E>,
    ) -> Result<T, E> {
        let write = self.database.begin_write().map_err(Error::from)?;
        let (secrets, result) = change(read_row(&write, META, SIGNING_SECRETS)?)?;
        match secrets {
            Some(secrets) => write_row(&write, META, SIGNING_SECRETS, &secrets)?,
            None => {
                let mut meta = write.open_table(META).map_err(Error::from)?;
                meta.remove(SIGNING_SECRETS).map_err(Error::from)?;
            }
        }
        write.commit().map_err(Error::from)?;
        Ok(result)
    }

    /// Records the webhook URL to notify of the end of `run`.
    pub(super) fn set_notify(&self, run: &RunId, url: &str) -> Result<(), Error> {
        let write = self.database.begin_write()?;
        write_row(&write, NOTIFY, &run.0, &url)?;
        Ok(write.commit()?)
    }

    /// Returns the webhook URL to notify of the end of `run`; `None` if no notification was requested.
    pub(super) fn notify(&self, run: &RunId) -> Result<Option<String>, Error> {
        self.get(NOTIFY, &run.0)
    }

    /// Marks the runs that a killed service left active as failed and returns them. Skips the queued runs that
    /// [`Store::waiting`] can still start.
    pub(super) fn fail_interrupted(&self, now: DateTime<Utc>) -> Result<Vec<RunRow>, Error> {
        let statuses = vec![RunStatus::Queued, RunStatus::Running];
        let mut runs = self.runs(&RunFilter { statuses, workflow_id: None, limit: usize::MAX })?;
        let waiting: HashSet<RunId> = self.waiting()?.into_iter().map(|(row, _)| row.id).collect();
        runs.retain(|run| !waiting.contains(&run.id));
        if runs.is_empty() {
            return Ok(runs);
        }
        let write = self.database.begin_write()?;
        for run in &mut runs {
            let why = "the service stopped before the run ended";
            run.end(RunStatus::Failed, Some("interrupted"), why, now);
            run.error_message = Some(why.to_owned());
            write_run(&write, run)?;
        }
        write.commit()?;
        Ok(runs)
    }

    fn get<T: DeserializeOwned>(&self, table: TableDefinition<&str, &[u8]>, key: &str) -> Result<Option<T>, Error> {
        let read = self.database.begin_read()?;
        let row = read.open_table(table)?.get(key)?;
        Ok(row.map(|row| serde_json::from_slice(row.value())).transpose()?)
    }
}

/// An import of rows in one transaction; dropping it before [`Import::commit`] adds none. Each method adds a row and
/// returns true, or returns false and keeps the stored row with the same id.
pub(super) struct Import(WriteTransaction);

impl Import {
    pub(super) fn workflow(&self, row: &Workflow) -> Result<bool, Error> {
        self.put(WORKFLOWS, &row.id.0, row)
    }

    /// Adds a run as the newest one of the lists.
    pub(super) fn run(&self, row: &RunRow) -> Result<bool, Error> {
        let new = self.put(RUNS, &row.id.0, row)?;
        if new {
            let mut order = self.0.open_table(RUN_ORDER)?;
            let next = order.last()?.map_or(0, |(number, _)| number.value() + 1);
            order.insert(next, row.id.0.as_str())?;
        }
        Ok(new)
    }

    pub(super) fn upload(&self, id: &HandleId, row: &UploadRow) -> Result<bool, Error> {
        self.put(UPLOADS, &id.0, row)
    }

    pub(super) fn notebook(&self, row: &NotebookRow) -> Result<bool, Error> {
        self.put(NOTEBOOKS, &row.id, row)
    }

    pub(super) fn commit(self) -> Result<(), Error> {
        Ok(self.0.commit()?)
    }

    fn put<T: Serialize + DeserializeOwned>(
        &self,
        table: TableDefinition<&str, &[u8]>,
        key: &str,
        row: &T,
    ) -> Result<bool, Error> {
        let new = read_row::<T>(&self.0, table, key)?.is_none();
        if new {
            write_row(&self.0, table, key, row)?;
        }
        Ok(new)
    }
}

/// Writes the row of a run, and deletes its job once it is no longer queued.
fn write_run(write: &WriteTransaction, row: &RunRow) -> Result<(), Error> {
    write_row(write, RUNS, &row.id.0, row)?;
    if row.status != RunStatus::Queued {
        write.open_table(JOBS)?.remove(row.id.0.as_str())?;
    }
    Ok(())
}

fn read_row<T: DeserializeOwned>(
    write: &WriteTransaction,
    table: TableDefinition<&str, &[u8]>,
    key: &str,
) -> Result<Option<T>, Error> {
    let table = write.open_table(table)?;
    let row = table.get(key)?;
    Ok(row.map(|row| serde_json::from_slice(row.value())).transpose()?)
}

fn write_row<T: Serialize>(
    write: &WriteTransaction,
    table: TableDefinition<&str, &[u8]>,
    key: &str,
    row: &T,
) -> Result<(), Error> {
    write.open_table(table)?.insert(key, serde_json::to_vec(row)?.as_slice())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::rows::ResultFormat;

    /// An id of the form that the service generates, for a run that a test calls `letter`.
    fn id(letter: &str) -> RunId {
        RunId(format!("{letter}0000000-0000-4000-8000-000000000000"))
    }

    fn run(letter: &str, workflow: &str, status: RunStatus, at: i64) -> RunRow {
        let at = DateTime::from_timestamp(at, 0).unwrap();
        RunRow {
            id: id(letter),
            workflow_id: WorkflowId(workflow.to_owned()),
            workflow_name: "n".to_owned(),
            status,
            status_reason: None,
            error_message: None,
            queued_at: at,
            updated_at: at,
            started_at: None,
            completed_at: None,
            formats: vec![ResultFormat::Csv],
            blocks: Vec::new(),
        }
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    #[test]
    fn rows_persist_and_interrupted_runs_fail() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), at(0)).unwrap();
        let secret = store.secret();
        for (letter, status) in [("a", RunStatus::Completed), ("b", RunStatus::Running), ("c", RunStatus::Queued)] {
            assert!(matches!(store.start_run(&run(letter, "w", status, 10), None, None).unwrap(), StartOutcome::New));
        }
        drop(store);
        let store = Store::open(directory.path(), at(20)).unwrap();
        assert_eq!(store.secret(), secret);
        assert_eq!(store.fail_interrupted(at(20)).unwrap().len(), 2);
        let filter = RunFilter { limit: 10, ..RunFilter::default() };
        let states: Vec<_> = store.runs(&filter).unwrap().into_iter().map(|r| (r.id, r.status)).collect();
        assert_eq!(
            states,
            [(id("c"), RunStatus::Failed), (id("b"), RunStatus::Failed), (id("a"), RunStatus::Completed)]
        );
        assert_eq!(store.run(&id("b")).unwrap().unwrap().status_reason.unwrap(), "interrupted");
    }

    #[test]
    fn a_row_with_an_id_that_is_a_path_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), at(0)).unwrap();
        let mut row = run("a", "w", RunStatus::Completed, 10);
        row.id = RunId("/an/absolute/path".to_owned());
        store.start_run(&row, None, None).unwrap();
        let error = store.runs(&RunFilter { limit: 10, ..RunFilter::default() }).unwrap_err();
        assert!(crate::text::error_chain(&error).contains("invalid run id"), "{error}");
        assert!(store.runs_beyond(0).is_err());
    }

    #[test]
    fn a_data_directory_is_locked_by_one_service() {
        let directory = tempfile::tempdir().unwrap();
        let _store = Store::open(directory.path(), at(0)).unwrap();
        let Err(error) = Store::open(directory.path(), at(0)) else { panic!("opened twice") };
        let expected = format!("the data directory {} is locked by another service", directory.path().display());
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_key_starts_one_run_a_day() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), at(0)).unwrap();
        let start =
            |letter: &str, at: i64| store.start_run(&run(letter, "w", RunStatus::Queued, at), None, Some("k")).unwrap();
        assert!(matches!(start("a", 0), StartOutcome::New));
        assert!(matches!(start("b", 86_399), StartOutcome::Before(before) if before.id == id("a")));
        assert!(store.started_before("k", at(86_399)).unwrap().is_some());
        assert!(store.started_before("k", at(86_400)).unwrap().is_none());
        assert!(matches!(start("c", 86_400), StartOutcome::New));
        assert!(store.run(&id("b")).unwrap().is_none());
    }

    #[test]
    fn lists_are_filtered_and_limited() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), at(0)).unwrap();
        for i in 0..6 {
            let status = if i % 2 == 0 { RunStatus::Completed } else { RunStatus::Failed };
            let workflow = if i < 4 { "w" } else { "v" };
            store.start_run(&run(&i.to_string(), workflow, status, i), None, None).unwrap();
        }
        let ids = |statuses: Vec<RunStatus>, workflow: Option<&str>, limit| {
            let workflow_id = workflow.map(|id| WorkflowId(id.to_owned()));
            let runs = store.runs(&RunFilter { statuses, workflow_id, limit }).unwrap();
            runs.into_iter().map(|run| run.id.0[..1].to_owned()).collect::<String>()
        };
        assert_eq!(ids(vec![], None, 100), "543210");
        assert_eq!(ids(vec![], None, 2), "54");
        assert_eq!(ids(vec![RunStatus::Failed], None, 100), "531");
        assert_eq!(ids(vec![], Some("w"), 3), "321");
    }
}
