//! State of a run that has not ended, shared between the thread that executes it and the requests about it, and the
//! handle that cancels its current block. It writes changes to the store but never decides what happens next.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};

use crate::api::{RunId, RunStatus};
use crate::pipeline::Control;
use crate::service::notebooks::NotebookRow;
use crate::service::rows::{BlockStatus, ResultFormat, RunRow};
use crate::service::store::{self, Store};

/// Run between its submission and its end.
pub(in crate::service) struct Active {
    id: RunId,
    /// State as committed to the store, or about to be: its lock is held while the store writes. The locks of `state`
    /// and of `cancellation` are never held together.
    state: Mutex<RunRow>,
    /// True if the run is left to the next start of the service and must not begin in this one. Set and read under the
    /// lock of `state`.
    shelved: AtomicBool,
    cancellation: Mutex<Cancellation>,
}

#[derive(Default)]
struct Cancellation {
    /// Origin of the stop, if one was requested. [`Stop::Request`] is never replaced by [`Stop::Service`].
    stop: Option<Stop>,
    current: Option<CurrentBlock>,
}

/// Block that is executing.
struct CurrentBlock {
    /// Position among the blocks of the run.
    position: usize,
    control: Control,
    /// Bytes that the block will read, for its progress.
    total_bytes: u64,
}

/// Origin of a request to stop a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::service) enum Stop {
    /// A request of the API to cancel the run.
    Request,
    /// The shutdown of the service.
    Service,
}

impl Stop {
    /// Returns the value of `status_reason`.
    pub(in crate::service) fn reason(self) -> &'static str {
        match self {
            Stop::Request => "cancelled_by_request",
            Stop::Service => "service_stopped",
        }
    }

    /// Returns the message of the block that was executing.
    pub(in crate::service) fn message(self) -> &'static str {
        match self {
            Stop::Request => "cancelled before it completed",
            Stop::Service => "interrupted because the service was stopped",
        }
    }
}

impl Active {
    /// Returns a run that is queued with the state `row`.
    pub(super) fn new(row: RunRow) -> Self {
        Active {
            id: row.id.clone(),
            state: Mutex::new(row),
            shelved: AtomicBool::new(false),
            cancellation: Mutex::default(),
        }
    }

    /// Leaves a queued run to the next start of the service. Returns false, without effect, if it is not queued.
    pub(super) fn shelve(&self) -> bool {
        let state = lock(&self.state);
        let is_queued = state.status == RunStatus::Queued;
        self.shelved.fetch_or(is_queued, Ordering::SeqCst);
        is_queued
    }

    /// Returns true if the run must not begin in this service.
    pub(super) fn is_shelved(&self) -> bool {
        self.shelved.load(Ordering::SeqCst)
    }

    pub(super) fn id(&self) -> &RunId {
        &self.id
    }

    /// Returns the formats of the result files.
    pub(super) fn formats(&self) -> Vec<ResultFormat> {
        lock(&self.state).formats.clone()
    }

    /// Returns the last recorded state.
    pub(super) fn row(&self) -> RunRow {
        lock(&self.state).clone()
    }

    /// Returns the state at `now`, including the progress of the current block.
    pub(in crate::service) fn snapshot(&self, now: DateTime<Utc>) -> RunRow {
        let mut row = self.row();
        let cancellation = lock(&self.cancellation);
        if let Some(current) = &cancellation.current {
            let block = &mut row.blocks[current.position];
            // The block may have ended between `row` and the second lock.
            if block.status == BlockStatus::Running {
                let read = current.control.rows_read();
                block.processed = block.total.map_or(read, |total| read.min(total));
                block.row_count = current.control.rows_written();
                block.fraction = match block.total {
                    Some(total) => block.processed as f64 / total.max(1) as f64,
                    None => current.control.bytes_read() as f64 / current.total_bytes.max(1) as f64,
                };
                block.updated_at = now;
                row.updated_at = now;
            }
        }
        row
    }

    /// Changes a queued run and commits it to the store. Returns false, without effect, if the run is no longer queued
    /// or is shelved.
    pub(super) fn change(&self, store: &Store, change: impl FnOnce(&mut RunRow)) -> Result<bool, store::Error> {
        let mut state = lock(&self.state);
        if state.status != RunStatus::Queued || self.is_shelved() {
            return Ok(false);
        }
        let mut row = state.clone();
        change(&mut row);
        store.put_run(&row)?;
        *state = row;
        Ok(true)
    }

    /// Changes the state after the change is committed to the store.
    pub(super) fn record(&self, store: &Store, change: impl FnOnce(&mut RunRow)) -> Result<(), store::Error> {
        let mut state = lock(&self.state);
        let mut row = state.clone();
        change(&mut row);
        store.put_run(&row)?;
        *state = row;
        Ok(())
    }

    /// Commits a change as [`Active::record`] does, in one transaction with the new size of a notebook.
    pub(super) fn record_with(
        &self,
        store: &Store,
        notebook: Option<&NotebookRow>,
        change: impl FnOnce(&mut RunRow),
    ) -> Result<(), store::Error> {
        let mut state = lock(&self.state);
        let mut row = state.clone();
        change(&mut row);
        store.put_run_with(&row, notebook)?;
        *state = row;
        Ok(())
    }

    /// Resets a running run to its state before it began and shelves it, once `record` has committed that state.
    pub(super) fn requeue(
        &self,
        now: DateTime<Utc>,
        record: impl FnOnce(&RunRow) -> Result<(), store::Error>,
    ) -> Result<RunRow, store::Error> {
        let mut state = lock(&self.state);
        let mut row = state.clone();
        row.rewind(now);
        record(&row)?;
        self.shelved.store(true, Ordering::SeqCst);
        *state = row.clone();
        Ok(row)
    }

    /// Sets the note and the number of input rows of a block. Kept in memory until the end of the block is recorded.
    pub(super) fn note(&self, position: usize, note: Option<String>, total: Option<u64>) {
        let mut state = lock(&self.state);
        state.blocks[position].note = note;
        state.blocks[position].total = total;
    }

    /// Marks a block as failed. Kept in memory until the end of the run is recorded.
    pub(super) fn fail_block(&self, position: usize, message: &str, now: DateTime<Utc>) {
        let mut state = lock(&self.state);
        let block = &mut state.blocks[position];
        block.status = BlockStatus::Failed;
        // A block that fails before any work has begun at that moment.
        block.started_at.get_or_insert(now);
        block.error_message = Some(message.to_owned());
        block.completed_at = Some(now);
        block.updated_at = now;
    }

    /// Ends the run. `record` commits the end to the store before it is visible here, so that no
    /// response from memory is ahead of one from the store.
    pub(super) fn end(&self, change: impl FnOnce(&mut RunRow), record: impl FnOnce(&RunRow)) {
        let mut state = lock(&self.state);
        let mut row = state.clone();
        if !row.status.is_terminal() {
            change(&mut row);
        }
        record(&row);
        *state = row;
    }

    /// Makes `control` the one that a stop cancels. Returns false if a stop was requested already: the block must not
    /// begin.
    pub(super) fn begin_block(&self, position: usize, control: &Control, total_bytes: u64) -> bool {
        let mut cancellation = lock(&self.cancellation);
        if cancellation.stop.is_some() {
            return false;
        }
        cancellation.current = Some(CurrentBlock { position, control: control.clone(), total_bytes });
        true
    }

    /// Detaches the current block, which has ended, and keeps its final row count.
    pub(super) fn end_block(&self) {
        // Copied out first, because the two locks are never held together.
        let read =
            lock(&self.cancellation).current.as_ref().map(|current| (current.position, current.control.rows_read()));
        if let Some((position, read)) = read {
            let mut state = lock(&self.state);
            let block = &mut state.blocks[position];
            block.processed = block.total.map_or(read, |total| read.min(total));
        }
        lock(&self.cancellation).current = None;
    }

    /// Requests the run to stop. A queued run is ended here by `end`, and its last state is returned; a running one
    /// ends soon afterwards, when its current block sees the cancellation.
    pub(super) fn stop(&self, stop: Stop, end: impl FnOnce(&mut RunRow)) -> Option<RunRow> {
        {
            let mut cancellation = lock(&self.cancellation);
            // A request to cancel takes precedence: the run must not begin again after the service's stop.
            if cancellation.stop != Some(Stop::Request) {
                cancellation.stop = Some(stop);
            }
            if let Some(current) = &cancellation.current {
                current.control.cancel();
            }
        }
        let mut state = lock(&self.state);
        (state.status == RunStatus::Queued).then(|| {
            end(&mut state);
            state.clone()
        })
    }

    /// Returns the origin of the requested stop; `None` if the run may go on.
    pub(super) fn stop_requested(&self) -> Option<Stop> {
        lock(&self.cancellation).stop
    }
}

/// Locks a mutex even if it is poisoned: every change replaces a whole row, so a panic leaves no partial one.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::WorkflowId;
    use crate::service::blocks::RowType;
    use crate::service::rows::BlockRow;

    fn queued() -> Active {
        let now = DateTime::from_timestamp(0, 0).unwrap();
        Active::new(RunRow {
            id: RunId("0b5c6f2e-6f0c-4d7e-9a3b-5d1f0a7c9e21".to_owned()),
            workflow_id: WorkflowId("w".to_owned()),
            workflow_name: "n".to_owned(),
            status: RunStatus::Queued,
            status_reason: None,
            error_message: None,
            queued_at: now,
            updated_at: now,
            started_at: None,
            completed_at: None,
            formats: vec![ResultFormat::Csv],
            is_single: false,
            blocks: Vec::new(),
        })
    }

    fn block(total: Option<u64>) -> BlockRow {
        let now = DateTime::from_timestamp(5, 0).unwrap();
        BlockRow {
            block_id: String::new(),
            block_name: "filter".to_owned(),
            sequence_number: 1,
            previous_block_ids: Vec::new(),
            rows: RowType::Lead,
            status: BlockStatus::Running,
            started_at: Some(now),
            completed_at: None,
            updated_at: now,
            processed: 0,
            total,
            row_count: 0,
            fraction: 0.0,
            note: None,
            error_message: None,
            files: Vec::new(),
            results: None,
        }
    }

    #[test]
    fn a_stop_reaches_the_block_under_way_and_the_next() {
        let active = queued();
        let running = |row: &mut RunRow| {
            row.status = RunStatus::Running;
            row.blocks = vec![block(None)];
        };
        active.end(running, |_| {});
        let control = Control::new();
        assert!(active.begin_block(0, &control, 0));
        assert!(active.stop(Stop::Request, |_| panic!("it is not queued")).is_none());
        assert!(control.is_cancelled());
        active.end_block();
        assert!(!active.begin_block(1, &Control::new(), 0));
        // The request to cancel keeps precedence over the later stop of the service.
        active.stop(Stop::Service, |_| panic!("it is not queued"));
        assert_eq!(active.stop_requested(), Some(Stop::Request));
    }

    #[test]
    fn a_snapshot_has_the_progress_of_the_current_block() {
        let active = queued();
        let now = DateTime::from_timestamp(5, 0).unwrap();
        let running = |row: &mut RunRow| {
            row.status = RunStatus::Running;
            row.blocks = vec![block(Some(8)), block(None)];
        };
        active.end(running, |_| {});
        let control = Control::new();
        control.add_rows_read(4);
        control.add_rows_written(3);
        control.add_bytes_read(30);
        assert!(active.begin_block(0, &control, 40));
        let live = active.snapshot(now).live();
        assert_eq!((live.blocks[0].processed_count, live.blocks[0].metrics.row_count), (4, 3));
        assert_eq!(live.blocks[0].progress_percentage, 50.0);
        assert_eq!(live.blocks[0].current_step.as_deref(), Some("4 of 8 rows"));
        assert_eq!(live.overall_progress_percentage, 25.0);
        // Without a total number of rows, progress is measured in bytes.
        active.end_block();
        assert_eq!(active.row().blocks[0].processed, 4);
        assert!(active.begin_block(1, &control, 40));
        assert_eq!(active.snapshot(now).live().blocks[1].progress_percentage, 75.0);
    }

    #[test]
    fn a_queued_run_ends_as_soon_as_it_is_stopped() {
        let active = queued();
        let now = DateTime::from_timestamp(1, 0).unwrap();
        let row = active.stop(Stop::Service, |row| row.end(RunStatus::Cancelled, None, "", now)).unwrap();
        assert_eq!(row.status, RunStatus::Cancelled);
        assert_eq!(active.row().completed_at, Some(now));
        // A terminal state never changes.
        active.end(|_| panic!("it has ended"), |_| {});
    }
}
