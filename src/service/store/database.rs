//! The open database: every change is one transaction, durable before the call returns, and all calls block.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use serde::Serialize;
use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, IntoDeserializer};

use super::damage;
use super::keys::{self, KeyRow, StartedBefore};
use super::tables::{
    Error, JOBS, KEYS, META, NOTEBOOKS, NOTIFY, RUN_ORDER, RUNS, SCHEDULES, SIGNING_SECRETS, UPLOADS, WORKFLOWS,
    read_row, write_row,
};
use crate::api::{HandleId, RunId, RunStatus, Workflow, WorkflowId};
use crate::service::clock::timestamp;
use crate::service::notebooks::NotebookRow;
use crate::service::rows::{JobRow, RunRow, UploadRow};
use crate::service::sign::Signer;
use crate::service::signing_secrets::SigningSecrets;
use crate::service::{private_files, stored_names};

/// Name of the database in the data directory.
pub(super) const FILE_NAME: &str = "drawoff.redb";

/// Size of the page cache. Few rows are read repeatedly; redb's default of 1 GiB is for databases that are the main
/// workload of a process.
const CACHE_BYTES: usize = 8 << 20;

/// The open database, locked against other processes while it lives.
pub(in crate::service) struct Store {
    pub(super) database: Database,
    /// Path of the database, for messages.
    path: PathBuf,
    secret: [u8; 32],
}

/// The outcome of a request to start a run.
pub(in crate::service) enum StartOutcome {
    /// A new run was recorded.
    New,
    /// The idempotency key started this run before; nothing was written.
    Before(StartedBefore),
}

/// A filter of runs. The default limit is 0, which selects none.
#[derive(Default)]
pub(in crate::service) struct RunFilter {
    /// States to select; empty selects all.
    pub statuses: Vec<RunStatus>,
    /// Workflow to select; `None` selects all.
    pub workflow_id: Option<WorkflowId>,
    /// Text in the id of the run or the workflow, or in the workflow's name, in any case; empty selects all.
    pub text: String,
    /// Selected runs to leave out, the newest first.
    pub skip: usize,
    /// Most runs to return.
    pub limit: usize,
}

impl RunFilter {
    fn selects(&self, row: &RunRow) -> bool {
        let has_text = |of: &str| of.to_lowercase().contains(&self.text.to_lowercase());
        (self.statuses.is_empty() || self.statuses.contains(&row.status))
            && self.workflow_id.as_ref().is_none_or(|id| *id == row.workflow_id)
            && (self.text.is_empty()
                || has_text(&row.id.0)
                || has_text(&row.workflow_id.0)
                || has_text(&row.workflow_name))
    }
}

impl Store {
    /// Opens or creates the database in `directory`, and deletes expired idempotency keys.
    pub(in crate::service) fn open(directory: &Path, now: DateTime<Utc>) -> Result<Self, Error> {
        let path = directory.join(FILE_NAME);
        // The database holds the secrets of links and webhooks; redb itself would create it by the umask.
        let private = private_files::open_or_create(&path).and_then(|_| private_files::restrict_file(&path));
        private.map_err(|cause| Error::Database(Box::new(cause.into())))?;
        let store = damage::named(&path, || Store::open_at(directory, &path, now))?;
        // A row that cannot be decoded must be named here, not in the middle of a request.
        damage::named(&path, || damage::check_rows(&store.database))?;
        Ok(store)
    }

    fn open_at(directory: &Path, path: &Path, now: DateTime<Utc>) -> Result<Self, Error> {
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
            write.open_table(SCHEDULES)?;
            keys::remove_expired(&write, now)?;
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
        Ok(Store { database, path: path.to_owned(), secret })
    }

    /// Returns the secret that signs the links of this data directory.
    pub(in crate::service) fn secret(&self) -> [u8; 32] {
        self.secret
    }

    /// Returns all workflows, newest first.
    pub(in crate::service) fn workflows(&self) -> Result<Vec<Workflow>, Error> {
        let read = self.database.begin_read()?;
        let mut workflows = Vec::new();
        for row in read.open_table(WORKFLOWS)?.iter()? {
            workflows.push(serde_json::from_slice::<Workflow>(row?.1.value())?);
        }
        workflows.sort_by(|a, b| b.created_at.cmp(&a.created_at).then_with(|| a.id.cmp(&b.id)));
        Ok(workflows)
    }

    /// Returns a workflow; `None` if there is none with this id.
    pub(in crate::service) fn workflow(&self, id: &WorkflowId) -> Result<Option<Workflow>, Error> {
        self.get(WORKFLOWS, &id.0)
    }

    /// Replaces a workflow in one transaction: `change` maps the stored one, if any, to the new one. An error of
    /// `change` is returned and rolls the transaction back.
    pub(in crate::service) fn change_workflow<E: From<Error>>(
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
    pub(in crate::service) fn remove_workflow(&self, id: &WorkflowId) -> Result<Option<Workflow>, Error> {
        let write = self.database.begin_write()?;
        let removed = read_row(&write, WORKFLOWS, &id.0)?;
        write.open_table(WORKFLOWS)?.remove(id.0.as_str())?;
        write.commit()?;
        Ok(removed)
    }

    /// Adds an upload, whose file must already be complete on disk.
    pub(in crate::service) fn add_upload(&self, handle: &HandleId, row: &UploadRow) -> Result<(), Error> {
        let write = self.database.begin_write()?;
        write_row(&write, UPLOADS, &handle.0, row)?;
        Ok(write.commit()?)
    }

    /// Returns an upload; `None` if there is none with this handle.
    pub(in crate::service) fn upload(&self, handle: &HandleId) -> Result<Option<UploadRow>, Error> {
        self.get(UPLOADS, &handle.0)
    }

    /// Returns the run that an idempotency key started within its lifetime.
    pub(in crate::service) fn started_before(
        &self,
        key: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<StartedBefore>, Error> {
        let Some(row) = self.get::<KeyRow>(KEYS, key)? else { return Ok(None) };
        let run = self.run(&row.run_id)?;
        Ok(keys::started(row, run, now))
    }

    /// Adds a new run, unless its idempotency key started one before. Of two concurrent starts with one key, exactly
    /// one is new, because write transactions are serialized.
    ///
    /// `job` is the graph and input from which a later service can begin the run; without it the run fails if this
    /// service stops before its end.
    pub(in crate::service) fn start_run(
        &self,
        row: &RunRow,
        job: Option<&JobRow>,
        key: Option<&str>,
    ) -> Result<StartOutcome, Error> {
        let now = row.queued_at;
        let write = self.database.begin_write()?;
        // The key is looked up in the same transaction that writes it; a look-up before could race with another start.
        if let Some(key) = key
            && let Some(before) = keys::take(&write, key, row)?
        {
            return Ok(StartOutcome::Before(before));
        }
        // The workflow of a bulk job is not stored, and one may be deleted between the look-up and here.
        if let Some(mut workflow) = read_row::<Workflow>(&write, WORKFLOWS, &row.workflow_id.0)? {
            workflow.last_run_date = Some(timestamp(now));
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
    pub(in crate::service) fn put_run(&self, row: &RunRow) -> Result<(), Error> {
        let write = self.database.begin_write()?;
        write_row(&write, RUNS, &row.id.0, row)?;
        Ok(write.commit()?)
    }

    /// Returns the runs that an earlier service left queued or running, each with the graph and input from which it can
    /// begin again, in the order of their start. `None` for a run without them, which an earlier version left running.
    pub(in crate::service) fn unended(&self) -> Result<Vec<(RunRow, Option<JobRow>)>, Error> {
        let statuses = vec![RunStatus::Queued, RunStatus::Running];
        damage::named(&self.path, || {
            let runs = self.runs(&RunFilter { statuses, limit: usize::MAX, ..RunFilter::default() })?;
            // Lists of runs begin with the newest one.
            runs.into_iter()
                .rev()
                .map(|run| {
                    let job = self.job(&run.id)?;
                    Ok((run, job))
                })
                .collect()
        })
    }

    /// Replaces the rows of a run and of a notebook that it appended to, in one transaction.
    pub(in crate::service) fn put_run_with(&self, row: &RunRow, notebook: Option<&NotebookRow>) -> Result<(), Error> {
        let write = self.database.begin_write()?;
        write_row(&write, RUNS, &row.id.0, row)?;
        if let Some(notebook) = notebook {
            write_row(&write, NOTEBOOKS, &notebook.id, notebook)?;
        }
        Ok(write.commit()?)
    }

    /// Returns a notebook; `None` if there is none with this id.
    pub(in crate::service) fn notebook(&self, id: &str) -> Result<Option<NotebookRow>, Error> {
        self.get(NOTEBOOKS, id)
    }

    /// Returns all uploads with their handles.
    pub(in crate::service) fn uploads(&self) -> Result<Vec<(HandleId, UploadRow)>, Error> {
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
    pub(in crate::service) fn runs_beyond(&self, n: usize) -> Result<Vec<(u64, RunId)>, Error> {
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
    pub(in crate::service) fn runs_ended_before(&self, time: DateTime<Utc>) -> Result<Vec<(u64, RunId)>, Error> {
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

    /// Returns the graph and input of a run, also after its end; `None` for a run of an archive or of an earlier version.
    pub(in crate::service) fn job(&self, run: &RunId) -> Result<Option<JobRow>, Error> {
        self.get(JOBS, &run.0)
    }

    /// Deletes the rows of a run, as [`Store::remove_runs`] does; false if there is none with this id.
    pub(in crate::service) fn remove_run(&self, id: &RunId) -> Result<bool, Error> {
        let read = self.database.begin_read()?;
        let mut number = None;
        for entry in read.open_table(RUN_ORDER)?.iter()?.rev() {
            let (key, run) = entry?;
            if run.value() == id.0 {
                number = Some(key.value());
                break;
            }
        }
        drop(read);
        let Some(number) = number else { return Ok(false) };
        self.remove_runs(&[(number, id.clone())])?;
        Ok(true)
    }

    /// Deletes the rows of runs; their files are the caller's. Their idempotency keys stay.
    pub(in crate::service) fn remove_runs(&self, old: &[(u64, RunId)]) -> Result<(), Error> {
        let write = self.database.begin_write()?;
        keys::keep_states(&write, old)?;
        {
            let (mut order, mut runs) = (write.open_table(RUN_ORDER)?, write.open_table(RUNS)?);
            let mut jobs = write.open_table(JOBS)?;
            for (number, id) in old {
                order.remove(number)?;
                runs.remove(id.0.as_str())?;
                jobs.remove(id.0.as_str())?;
            }
        }
        Ok(write.commit()?)
    }

    /// Begins an import of rows in one transaction.
    pub(in crate::service) fn import(&self) -> Result<Import, Error> {
        Ok(Import(self.database.begin_write()?))
    }

    /// Returns all notebooks, ordered by id.
    pub(in crate::service) fn notebooks(&self) -> Result<Vec<NotebookRow>, Error> {
        let read = self.database.begin_read()?;
        let table = read.open_table(NOTEBOOKS)?;
        let rows = table.iter()?;
        rows.map(|row| Ok(serde_json::from_slice(row?.1.value())?)).collect()
    }

    /// Returns a run; `None` if there is none with this id.
    pub(in crate::service) fn run(&self, id: &RunId) -> Result<Option<RunRow>, Error> {
        self.get(RUNS, &id.0)
    }

    /// Returns the runs that `filter` selects, newest first.
    pub(in crate::service) fn runs(&self, filter: &RunFilter) -> Result<Vec<RunRow>, Error> {
        let read = self.database.begin_read()?;
        let order = read.open_table(RUN_ORDER)?;
        let runs = read.open_table(RUNS)?;
        let mut found = Vec::new();
        let mut skipped = 0;
        // The newest rows are decoded first and only until the limit, so a filter that matches fewer runs decodes all.
        for entry in order.iter()?.rev() {
            if found.len() >= filter.limit {
                break;
            }
            let Some(row) = runs.get(entry?.1.value())? else { continue };
            let row: RunRow = serde_json::from_slice(row.value())?;
            if !filter.selects(&row) {
                continue;
            }
            if skipped < filter.skip {
                skipped += 1;
            } else {
                found.push(row);
            }
        }
        Ok(found)
    }

    /// Returns the secrets that outgoing webhooks are signed with; `None` until the user has created one.
    pub(in crate::service) fn signing_secrets(&self) -> Result<Option<SigningSecrets>, Error> {
        self.get(META, SIGNING_SECRETS)
    }

    /// Replaces the signing secrets in one transaction: `change` maps the stored ones to the new ones and a result for
    /// the caller. An error of `change` is returned and rolls the transaction back.
    pub(in crate::service) fn change_signing_secrets<T, E: From<Error>>(
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
    pub(in crate::service) fn set_notify(&self, run: &RunId, url: &str) -> Result<(), Error> {
        let write = self.database.begin_write()?;
        write_row(&write, NOTIFY, &run.0, &url)?;
        Ok(write.commit()?)
    }

    /// Returns the webhook URL to notify of the end of `run`; `None` if no notification was requested.
    pub(in crate::service) fn notify(&self, run: &RunId) -> Result<Option<String>, Error> {
        self.get(NOTIFY, &run.0)
    }

    pub(super) fn get<T: DeserializeOwned>(
        &self,
        table: TableDefinition<&str, &[u8]>,
        key: &str,
    ) -> Result<Option<T>, Error> {
        let read = self.database.begin_read()?;
        let row = read.open_table(table)?.get(key)?;
        Ok(row.map(|row| serde_json::from_slice(row.value())).transpose()?)
    }
}

/// An import of rows in one transaction; dropping it before [`Import::commit`] adds none. Each method adds a row and
/// returns true, or returns false and keeps the stored row with the same id.
pub(in crate::service) struct Import(WriteTransaction);

impl Import {
    pub(in crate::service) fn workflow(&self, row: &Workflow) -> Result<bool, Error> {
        self.put(WORKFLOWS, &row.id.0, row)
    }

    /// Adds a run as the newest one of the lists.
    pub(in crate::service) fn run(&self, row: &RunRow) -> Result<bool, Error> {
        let new = self.put(RUNS, &row.id.0, row)?;
        if new {
            let mut order = self.0.open_table(RUN_ORDER)?;
            let next = order.last()?.map_or(0, |(number, _)| number.value() + 1);
            order.insert(next, row.id.0.as_str())?;
        }
        Ok(new)
    }

    pub(in crate::service) fn upload(&self, id: &HandleId, row: &UploadRow) -> Result<bool, Error> {
        self.put(UPLOADS, &id.0, row)
    }

    pub(in crate::service) fn notebook(&self, row: &NotebookRow) -> Result<bool, Error> {
        self.put(NOTEBOOKS, &row.id, row)
    }

    pub(in crate::service) fn commit(self) -> Result<(), Error> {
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
