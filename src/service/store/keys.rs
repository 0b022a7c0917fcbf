//! Idempotency keys: each names the run that it started for a day, also after that run was deleted, because a client
//! that repeats a request must never start a second run.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use redb::{ReadableTable, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::tables::{Error, KEYS, RUNS, read_row, write_row};
use crate::api::{RunId, RunStatus, WorkflowId};
use crate::service::rows::RunRow;

/// Lifetime of an idempotency key. Our reading: a day.
const KEY_LIFE: TimeDelta = TimeDelta::hours(24);

/// The row of a key.
#[derive(Serialize, Deserialize)]
pub(super) struct KeyRow {
    pub run_id: RunId,
    created_at: DateTime<Utc>,
    /// Workflow of the run; absent in rows of earlier versions, whose keys end with their runs.
    #[serde(default)]
    workflow_id: Option<WorkflowId>,
    /// Final state of a run that was deleted since.
    #[serde(default)]
    status: Option<String>,
}

impl KeyRow {
    fn is_alive(&self, now: DateTime<Utc>) -> bool {
        now - self.created_at < KEY_LIFE
    }

    /// Returns the run of the key, given its row, if that still exists.
    fn started(self, run: Option<RunRow>) -> Option<StartedBefore> {
        if let Some(run) = run {
            return Some(StartedBefore { run_id: run.id, workflow_id: run.workflow_id, status: run.status });
        }
        let status = RunStatus::parse(self.status.as_deref()?);
        Some(StartedBefore { run_id: self.run_id, workflow_id: self.workflow_id?, status })
    }
}

/// The run that an earlier request with the same key has started.
#[derive(Clone, Debug)]
pub(in crate::service) struct StartedBefore {
    pub run_id: RunId,
    pub workflow_id: WorkflowId,
    pub status: RunStatus,
}

/// Returns the run that the row of a key names, if the key is alive.
pub(super) fn started(row: KeyRow, run: Option<RunRow>, now: DateTime<Utc>) -> Option<StartedBefore> {
    if row.is_alive(now) { row.started(run) } else { None }
}

/// Returns the run that `key` started before, or else lets it name the new run `row`.
pub(super) fn take(write: &WriteTransaction, key: &str, row: &RunRow) -> Result<Option<StartedBefore>, Error> {
    let now = row.queued_at;
    let before = read_row::<KeyRow>(write, KEYS, key)?.filter(|row| row.is_alive(now));
    if let Some(before) = before {
        let run = read_row(write, RUNS, &before.run_id.0)?;
        if let Some(started) = before.started(run) {
            return Ok(Some(started));
        }
    }
    let workflow_id = Some(row.workflow_id.clone());
    write_row(write, KEYS, key, &KeyRow { run_id: row.id.clone(), created_at: now, workflow_id, status: None })?;
    Ok(None)
}

/// Records the final states of runs that are about to be deleted with their keys.
pub(super) fn keep_states(write: &WriteTransaction, old: &[(u64, RunId)]) -> Result<(), Error> {
    let mut states = HashMap::new();
    for (_, id) in old {
        if let Some(run) = read_row::<RunRow>(write, RUNS, &id.0)? {
            states.insert(run.id, run.status);
        }
    }
    let mut changed = Vec::new();
    for entry in write.open_table(KEYS)?.iter()? {
        let (key, row) = entry?;
        let mut row: KeyRow = serde_json::from_slice(row.value())?;
        if let Some(status) = states.get(&row.run_id) {
            row.status = Some(status.as_str().to_owned());
            changed.push((key.value().to_owned(), row));
        }
    }
    changed.iter().try_for_each(|(key, row)| write_row(write, KEYS, key, row))
}

/// Deletes expired keys, and creates the table if absent. Until the next start an expired key is ignored by its time.
pub(super) fn remove_expired(write: &WriteTransaction, now: DateTime<Utc>) -> Result<(), Error> {
    let mut keys = write.open_table(KEYS)?;
    keys.retain(|_, row| serde_json::from_slice::<KeyRow>(row).is_ok_and(|row| row.is_alive(now)))?;
    Ok(())
}
