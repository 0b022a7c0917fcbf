//! Removes what commands no longer need from the state directory: the ledgers of results that were written long ago, and the
//! starts of their runs. Nothing that a repeated command relies on: no ledger with an output that is not complete, no start
//! whose run has none of these ledgers, and none with a name of the caller's, which stands for its run for ever.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::document;
use super::error::StateError;
use super::ledger::Ledger;
use super::lock::Lock;
use super::stamp::age_of;
use super::start::RecordedStart;
use crate::api::RunId;

/// The number of records that were removed, or would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Ledgers of runs, and of sets of runs.
    pub ledgers: u64,
    /// Starts of these runs.
    pub starts: u64,
    /// Records that another command uses.
    pub busy: u64,
}

/// Removes the ledgers under `runs` whose outputs were all written more than `age` ago, and the starts of their runs under
/// `starts`; counts them alone under `dry_run`.
pub(super) fn prune(runs: &Path, starts: &Path, age: Duration, dry_run: bool) -> Result<Pruned, StateError> {
    let mut pruned = Pruned::default();
    let done: Vec<(PathBuf, Ledger)> =
        records::<Ledger>(runs)?.into_iter().filter(|(_, ledger)| is_done(ledger, age)).collect();
    let ids: HashSet<&RunId> = done.iter().map(|(_, ledger)| &ledger.run).collect();
    let is_of_done = |start: &RecordedStart| {
        let is_named = start.identity != start.work && !start.work.is_empty();
        !is_named && start.run.as_ref().is_some_and(|run| ids.contains(run))
    };
    // Starts first: a start without its ledger is one of a run whose results were not written.
    for (path, _) in records::<RecordedStart>(starts)?.into_iter().filter(|(_, start)| is_of_done(start)) {
        pruned.starts += remove_unless_busy(&path, is_of_done, dry_run, &mut pruned.busy)?;
    }
    for (path, _) in &done {
        pruned.ledgers += remove_unless_busy(path, |ledger| is_done(ledger, age), dry_run, &mut pruned.busy)?;
    }
    Ok(pruned)
}

fn is_done(ledger: &Ledger, age: Duration) -> bool {
    let is_old = |stamp: &String| age_of(stamp).is_some_and(|passed| passed >= age);
    ledger.delivered_at.as_ref().is_some_and(is_old)
        && is_old(&ledger.updated_at)
        && ledger.outputs.iter().all(|output| output.done.is_some())
}

/// Reads all records in a directory; those that cannot be read stay.
fn records<T: serde::de::DeserializeOwned>(directory: &Path) -> Result<Vec<(PathBuf, T)>, StateError> {
    let unusable = |cause| StateError::Unusable { path: directory.to_owned(), cause };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unusable)? {
        let path = entry.map_err(unusable)?.path();
        if path.extension().is_some_and(|extension| extension == "json")
            && let Ok(Some(record)) = document::read::<T>(&path)
        {
            found.push((path, record));
        }
    }
    Ok(found)
}

/// Removes one record under its lock, if it still is as `is_removable` says. Its lock file stays: another process may be about
/// to lock it. Returns the number of removed records.
fn remove_unless_busy<T: serde::de::DeserializeOwned>(
    path: &Path,
    is_removable: impl Fn(&T) -> bool,
    dry_run: bool,
    busy: &mut u64,
) -> Result<u64, StateError> {
    let _lock = match Lock::take(&path.with_extension("lock"), "a record") {
        Ok(lock) => lock,
        Err(StateError::Busy { .. }) => {
            *busy += 1;
            return Ok(0);
        }
        Err(error) => return Err(error),
    };
    if !document::read::<T>(path).ok().flatten().is_some_and(|record| is_removable(&record)) {
        return Ok(0);
    }
    if !dry_run {
        std::fs::remove_file(path).map_err(|cause| StateError::Unusable { path: path.to_owned(), cause })?;
    }
    Ok(1)
}
