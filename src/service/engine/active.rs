//! A run that has not ended: its state, and the handle on the block that is under way.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};

use crate::api::{RunId, RunStatus};
use crate::pipeline::Control;
use crate::service::notebooks::NotebookRow;
use crate::service::rows::{BlockStatus, ResultFormat, RunRow};
use crate::service::store::{self, Store};

/// One run between its start and its end.
pub(in crate::service) struct Active {
    id: RunId,
    /// As the store has it, or about to be. Held while the store writes; never while waiting for
    /// `steering`, and `steering` never while waiting for it.
    state: Mutex<RunRow>,
    /// It waits for the next service, and does not begin here. Set and heeded under the lock of `state`.
    shelved: AtomicBool,
    steering: Mutex<Steering>,
}

#[derive(Default)]
struct Steering {
    /// A request outweighs the service's own.
    stop: Option<Stop>,
    current: Option<Current>,
}

/// The block that is under way.
struct Current {
    index: usize,
    control: Control,
    total_bytes: u64,
}

/// Who asked a run to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::service) enum Stop {
    /// A request to cancel it.
    Request,
    /// The service, which is about to end.
    Service,
}

impl Stop {
    /// The word of `status_reason`.
    pub(in crate::service) fn reason(self) -> &'static str {
        match self {
            Stop::Request => "cancelled_by_request",
            Stop::Service => "service_stopped",
        }
    }

    /// The text of the block that was under way.
    pub(in crate::service) fn why(self) -> &'static str {
        match self {
            Stop::Request => "cancelled before its end",
            Stop::Service => "the service was stopped before its end",
        }
    }
}

impl Active {
    /// A run that is queued.
    pub(super) fn new(row: RunRow) -> Self {
        Active {
            id: row.id.clone(),
            state: Mutex::new(row),
            shelved: AtomicBool::new(false),
            steering: Mutex::default(),
        }
    }

    /// Keeps a run that waits from beginning; false if it does not wait.
    pub(super) fn shelve(&self) -> bool {
        let state = lock(&self.state);
        let waits = state.status == RunStatus::Queued;
        self.shelved.fetch_or(waits, Ordering::SeqCst);
        waits
    }

    /// True if it is not to begin here.
    pub(super) fn is_shelved(&self) -> bool {
        self.shelved.load(Ordering::SeqCst)
    }

    /// Its id.
    pub(super) fn id(&self) -> &RunId {
        &self.id
    }

    /// The formats that its links offer.
    pub(super) fn formats(&self) -> Vec<ResultFormat> {
        lock(&self.state).formats.clone()
    }

    /// Its state as it was last recorded.
    pub(super) fn row(&self) -> RunRow {
        lock(&self.state).clone()
    }

    /// Its state with what the block under way has done by now.
    pub(in crate::service) fn snapshot(&self, now: DateTime<Utc>) -> RunRow {
        let mut row = self.row();
        let steering = lock(&self.steering);
        if let Some(current) = &steering.current {
            let block = &mut row.blocks[current.index];
            // The block may have ended between the two locks.
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

    /// Changes and records a queued run; false if it is not queued any more, or not to begin here.
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

    /// Changes the state once the store has the change.
    pub(super) fn record(&self, store: &Store, change: impl FnOnce(&mut RunRow)) -> Result<(), store::Error> {
        let mut state = lock(&self.state);
        let mut row = state.clone();
        change(&mut row);
        store.put_run(&row)?;
        *state = row;
        Ok(())
    }

    /// [`Active::record`], with a notebook that has grown: both or neither.
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

    /// Brings a run that was stopped under way back to where it was before it began, once `record` has that. From then on
    /// it is as one that waits.
    pub(super) fn put_back(
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

    /// Says what is known of a block before it executes. It is recorded with the block's end.
    pub(super) fn note(&self, place: usize, note: Option<String>, total: Option<u64>) {
        let mut state = lock(&self.state);
        state.blocks[place].note = note;
        state.blocks[place].total = total;
    }

    /// Marks a block as failed; recorded with the end of the run.
    pub(super) fn fail_block(&self, place: usize, why: &str, now: DateTime<Utc>) {
        let mut state = lock(&self.state);
        let block = &mut state.blocks[place];
        block.status = BlockStatus::Failed;
        block.error_message = Some(why.to_owned());
        block.completed_at = Some(now);
        block.updated_at = now;
    }

    /// Ends the run: `record` brings the end into the store before anybody can see it here, so
    /// that no answer from memory is ahead of one from the store.
    pub(super) fn end(&self, change: impl FnOnce(&mut RunRow), record: impl FnOnce(&RunRow)) {
        let mut state = lock(&self.state);
        let mut row = state.clone();
        if !row.status.is_terminal() {
            change(&mut row);
        }
        record(&row);
        *state = row;
    }

    /// Makes `control` the one that a stop reaches; false if a stop was asked for already.
    pub(super) fn steer(&self, place: usize, control: &Control, total_bytes: u64) -> bool {
        let mut steering = lock(&self.steering);
        if steering.stop.is_some() {
            return false;
        }
        steering.current = Some(Current { index: place, control: control.clone(), total_bytes });
        true
    }

    /// The block under way has ended. What it had read by then stays known.
    pub(super) fn let_go(&self) {
        let read = lock(&self.steering).current.as_ref().map(|current| (current.index, current.control.rows_read()));
        if let Some((place, read)) = read {
            let mut state = lock(&self.state);
            let block = &mut state.blocks[place];
            block.processed = block.total.map_or(read, |total| read.min(total));
        }
        lock(&self.steering).current = None;
    }

    /// Asks the run to stop. If it still waits, `end` ends it here, and the answer is its last state.
    pub(super) fn stop(&self, stop: Stop, end: impl FnOnce(&mut RunRow)) -> Option<RunRow> {
        {
            let mut steering = lock(&self.steering);
            // Who wants it cancelled does not want it to begin again after the service's stop.
            if steering.stop != Some(Stop::Request) {
                steering.stop = Some(stop);
            }
            if let Some(current) = &steering.current {
                current.control.cancel();
            }
        }
        let mut state = lock(&self.state);
        (state.status == RunStatus::Queued).then(|| {
            end(&mut state);
            state.clone()
        })
    }

    /// Who asked it to stop.
    pub(super) fn stop_asked(&self) -> Option<Stop> {
        lock(&self.steering).stop
    }
}

/// Locks also after a panic: all changes are made to a whole row at a time.
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
            id: RunId("r".to_owned()),
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
        assert!(active.steer(0, &control, 0));
        assert!(active.stop(Stop::Request, |_| panic!("it does not wait")).is_none());
        assert!(control.is_cancelled());
        active.let_go();
        assert!(!active.steer(1, &Control::new(), 0));
        // The first who asked is the one that is told.
        active.stop(Stop::Service, |_| panic!("it does not wait"));
        assert_eq!(active.stop_asked(), Some(Stop::Request));
    }

    #[test]
    fn a_snapshot_has_the_counts_of_the_moment() {
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
        assert!(active.steer(0, &control, 40));
        let live = active.snapshot(now).live();
        assert_eq!((live.blocks[0].processed_count, live.blocks[0].metrics.row_count), (4, 3));
        assert_eq!(live.blocks[0].progress_percentage, 50.0);
        assert_eq!(live.blocks[0].current_step.as_deref(), Some("4 of 8 rows"));
        assert_eq!(live.overall_progress_percentage, 25.0);
        // Without a number of rows, bytes tell how far it is.
        active.let_go();
        assert_eq!(active.row().blocks[0].processed, 4);
        assert!(active.steer(1, &control, 40));
        assert_eq!(active.snapshot(now).live().blocks[1].progress_percentage, 75.0);
    }

    #[test]
    fn a_waiting_run_ends_where_it_is_stopped() {
        let active = queued();
        let now = DateTime::from_timestamp(1, 0).unwrap();
        let row = active.stop(Stop::Service, |row| row.end(RunStatus::Cancelled, None, "", now)).unwrap();
        assert_eq!(row.status, RunStatus::Cancelled);
        assert_eq!(active.row().completed_at, Some(now));
        // It is over: nothing changes it any more.
        active.end(|_| panic!("it has ended"), |_| {});
    }
}
