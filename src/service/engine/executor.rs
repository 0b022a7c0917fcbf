//! Engine of the service: accepts runs, executes their blocks one after the other, records every change in the store,
//! and shuts down without losing queued runs. The work of a single block is in `prepared`.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::active::{Active, Stop, lock};
use super::job::{Job, position_of};
use super::pace::wait_for_rows;
use super::prepared::{BlockOutcome, BlockRows, BlockSurroundings, INTERNAL_ERROR, prepare};
use super::recovery::has_left_traces;
use crate::api::{RunId, RunStatus};
use crate::pipeline::{Control, Limits};
use crate::service::blocks::{self, Delivery, Failure, Input};
use crate::service::clock::Clock;
use crate::service::config::Config;
use crate::service::directories::Directories;
use crate::service::enrichment_sources::EnrichmentSources;
use crate::service::faults::{Faults, RunFaults};
use crate::service::graph::{self, CheckedGraph};
use crate::service::location::Location;
use crate::service::metrics::Metrics;
use crate::service::retention::Retention;
use crate::service::rows::{BlockStatus, JobRow, RunRow};
use crate::service::store::{self, Store};
use crate::service::webhook::{Deliverer, Undelivered, WebhookTarget, host_of};
use crate::text::error_chain;

/// Size up to which the input rows of a run are kept with its results, so that they can be seen and another run be started
/// with them. By eye: what a test or a trial sends, and little beside the results.
const MAX_KEPT_INPUT_BYTES: u64 = 16 << 20;

/// Engine of one service, shared by its requests.
pub(in crate::service) struct Engine {
    store: Arc<Store>,
    clock: Clock,
    directories: Directories,
    sources: EnrichmentSources,
    faults: Arc<Faults>,
    retention: Retention,
    limits: Limits,
    /// One permit per executing run; queued runs acquire them in order of submission.
    slots: Arc<Semaphore>,
    /// Limit of the runs that are executing or queued at once.
    max_active: usize,
    /// Runs that have not ended. A run that is missing here is in the store and does not change.
    active: Mutex<HashMap<RunId, Arc<Active>>>,
    /// Held from the append of rows to a notebook until they are committed.
    append_lock: Mutex<()>,
    /// One task per run that has not ended. Finished ones are reaped at the next submission.
    tasks: Mutex<JoinSet<()>>,
    /// True once no further run begins.
    stopping: AtomicBool,
    runtime: Handle,
    metrics: Arc<Metrics>,
    deliverer: Deliverer,
}

impl Engine {
    /// Returns an engine whose runs are driven by the current runtime. Panics outside of a runtime.
    pub(in crate::service) fn new(
        config: &Config,
        store: Arc<Store>,
        directories: Directories,
        sources: EnrichmentSources,
        faults: Arc<Faults>,
        retention: Retention,
    ) -> Self {
        let max_runs = config.max_runs.max(1);
        let deliverer = Deliverer::new(config, Arc::clone(&store), directories.clone());
        Engine {
            store,
            clock: config.clock.clone(),
            directories,
            sources,
            faults,
            retention,
            limits: share_of(config, max_runs),
            slots: Arc::new(Semaphore::new(max_runs)),
            max_active: max_runs.saturating_add(config.max_waiting_runs),
            active: Mutex::new(HashMap::new()),
            append_lock: Mutex::new(()),
            tasks: Mutex::new(JoinSet::new()),
            stopping: AtomicBool::new(false),
            runtime: Handle::current(),
            metrics: Arc::default(),
            deliverer,
        }
    }

    /// Returns the counters since the start of the service.
    pub(in crate::service) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Returns the sender of outgoing webhooks.
    pub(in crate::service) fn deliverer(&self) -> &Deliverer {
        &self.deliverer
    }

    /// Returns the numbers of queued and of running runs.
    pub(in crate::service) fn run_counts(&self) -> (usize, usize) {
        let active = lock(&self.active);
        let queued = active.values().filter(|active| active.row().status == RunStatus::Queued).count();
        (queued, active.len() - queued)
    }

    /// Returns true if another run may be submitted.
    pub(in crate::service) fn has_capacity(&self) -> bool {
        lock(&self.active).len() < self.max_active
    }

    /// Accepts a run that is committed to the store as queued. It executes when a slot is free.
    pub(in crate::service) fn submit(self: &Arc<Self>, job: Job) {
        let active = Arc::new(Active::new(job.row));
        lock(&self.active).insert(active.id().clone(), Arc::clone(&active));
        let mut tasks = lock(&self.tasks);
        // Reap finished tasks, or the set would grow with every run.
        while tasks.try_join_next().is_some() {}
        let engine = Arc::clone(self);
        let run = Arc::clone(&active);
        tasks.spawn_on(engine.drive(run, job.checked, job.input), &self.runtime);
        drop(tasks);
        // `stop` may have iterated over the active runs before this one was inserted.
        if self.is_stopping() {
            self.shelve_or_cancel(&active);
        }
    }

    /// Submits a run that was queued when an earlier service stopped. If the definition is no longer valid, the run is
    /// recorded as failed instead.
    pub(in crate::service) fn resume(self: &Arc<Self>, mut row: RunRow, job: JobRow) -> Result<(), store::Error> {
        let input = Input::from_row(job.input, &self.directories, &row.id);
        match graph::check(job.graph, &Location::root("workflow_definition")) {
            Ok(checked) => self.submit(Job { row, checked, input }),
            // Possible after an upgrade: another version of drawoff may validate definitions differently.
            Err(errors) => {
                let causes: Vec<String> = errors.into_iter().map(|error| error.msg).collect();
                let message = format!(
                    "cannot start the queued run: its workflow definition is no longer valid: {}",
                    causes.join("; ")
                );
                row.end(RunStatus::Failed, Some("interrupted"), &message, self.clock.now());
                row.error_message = Some(message);
                self.store.put_run(&row)?;
            }
        }
        Ok(())
    }

    /// Returns a run that has not ended; `None` if it has, or is unknown.
    pub(in crate::service) fn active(&self, id: &RunId) -> Option<Arc<Active>> {
        lock(&self.active).get(id).cloned()
    }

    /// Requests a run to stop. A queued run ends before this returns, a running one soon afterwards.
    pub(in crate::service) fn cancel(&self, active: &Active, stop: Stop) {
        let now = self.clock.now();
        let waiting = active.stop(stop, |row| row.end(RunStatus::Cancelled, Some(stop.reason()), stop.message(), now));
        if let Some(row) = waiting {
            self.record_end(&row);
        }
    }

    /// Requests all runs but `kept` to stop, and returns their number: 0 once they have ended.
    pub(in crate::service) fn cancel_others(&self, kept: &HashSet<String>) -> usize {
        let others: Vec<_> = self.all_active().into_iter().filter(|active| !kept.contains(&active.id().0)).collect();
        others.iter().for_each(|active| self.cancel(active, Stop::Request));
        others.len()
    }

    /// Returns true once no further run begins.
    pub(in crate::service) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Cancels a run that was left to the next start of the service, which then does not begin it.
    pub(in crate::service) fn cancel_shelved(&self, mut row: RunRow) {
        row.end(RunStatus::Cancelled, Some(Stop::Request.reason()), Stop::Request.message(), self.clock.now());
        self.record_end(&row);
        // The directory contains at most the payload; if it cannot be removed, it only takes up space.
        let _ = std::fs::remove_dir_all(self.directories.run(&row.id));
    }

    /// Stops the engine. Queued runs stay in the store for the next start; running ones may complete within `grace`. A
    /// run that does not is queued again for the next start, or cancelled if a restart would repeat an effect outside
    /// of it. Completes when no run is executing.
    pub(in crate::service) async fn stop(self: &Arc<Self>, grace: Duration) {
        let deadline = tokio::time::Instant::now() + grace;
        if !grace.is_zero() {
            self.stopping.store(true, Ordering::SeqCst);
            self.all_active().iter().for_each(|active| self.shelve(active));
            while !lock(&self.active).is_empty() && tokio::time::Instant::now() < deadline {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        let engine = Arc::clone(self);
        // The store blocks on the disk, which must not happen on a thread of the runtime.
        let _ = tokio::task::spawn_blocking(move || engine.cancel_all()).await;
        let mut tasks = std::mem::take(&mut *lock(&self.tasks));
        while tasks.join_next().await.is_some() {}
    }

    fn all_active(&self) -> Vec<Arc<Active>> {
        lock(&self.active).values().cloned().collect()
    }

    /// Leaves a queued run to the next start: the store has it as queued, with its graph and input.
    fn shelve(&self, active: &Active) {
        if active.shelve() {
            lock(&self.active).remove(active.id());
        }
    }

    fn shelve_or_cancel(&self, active: &Active) {
        self.shelve(active);
        if !active.is_shelved() {
            self.cancel(active, Stop::Service);
        }
    }

    /// Shelves the queued runs and requests the others to stop; later submissions are treated alike. Does not wait for
    /// their ends.
    pub(in crate::service) fn cancel_all(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.all_active().iter().for_each(|active| self.shelve_or_cancel(active));
    }

    /// Occupies the slot of a run, so that runs stay queued until the permit is dropped.
    #[cfg(test)]
    pub(in crate::service) async fn hold(&self) -> tokio::sync::OwnedSemaphorePermit {
        Arc::clone(&self.slots).acquire_owned().await.expect("the slots are never closed")
    }

    /// Waits for a slot and executes the run on a blocking thread.
    async fn drive(self: Arc<Self>, active: Arc<Active>, checked: CheckedGraph, input: Input) {
        let Ok(_permit) = Arc::clone(&self.slots).acquire_owned().await else { return };
        let engine = Arc::clone(&self);
        let run = Arc::clone(&active);
        let outcome = tokio::task::spawn_blocking(move || engine.execute(&run, &checked, &input)).await;
        if outcome.is_err() {
            // A panic is a bug in drawoff: the run is recorded as failed, and the service goes on.
            let engine = Arc::clone(&self);
            let failed = tokio::task::spawn_blocking(move || {
                engine.end(&active, RunStatus::Failed, "internal_error", INTERNAL_ERROR);
            });
            let _ = failed.await;
        }
    }

    /// Executes the blocks of a run in order, records its end, and removes files that no link offers. Blocks the
    /// thread.
    fn execute(&self, active: &Active, checked: &CheckedGraph, input: &Input) {
        let now = self.clock.now();
        let started = active.change(&self.store, |row| {
            row.status = RunStatus::Running;
            row.started_at = Some(now);
            row.updated_at = now;
        });
        match started {
            Ok(true) => {}
            // Left to the next start, which needs its files.
            Ok(false) if active.is_shelved() => return,
            // Cancelled while it was queued.
            Ok(false) => return self.clean_up(active, input, &[]),
            Err(error) => return self.end(active, RunStatus::Failed, "internal_error", &error_chain(&error)),
        }
        let mut feeds: Vec<Option<BlockRows>> = checked.order.iter().map(|_| None).collect();
        let mut outcome = Ok(());
        let faults = self.faults.of_run(active.id());
        for &index in &checked.order {
            if let Some(failure) = injected_failure(&faults, checked, index) {
                outcome = Err((index, failure));
                break;
            }
            match self.execute_block(active, checked, index, input, &feeds, faults.rows_per_second) {
                Ok(feed) => feeds[index] = Some(feed),
                Err(failure) => {
                    outcome = Err((index, failure));
                    break;
                }
            }
        }
        match outcome {
            Ok(()) => self.end(active, RunStatus::Completed, "", ""),
            Err((_, Failure::Cancelled)) => {
                let stop = active.stop_requested().unwrap_or(Stop::Request);
                // A run without effects outside of it may begin again: the interruption left no trace.
                if stop == Stop::Service && !has_left_traces(&active.row(), checked) {
                    return self.requeue(active, input, &feeds);
                }
                self.end(active, RunStatus::Cancelled, stop.reason(), stop.message());
            }
            Err((index, Failure::TooLong)) => {
                let message = "the run exceeded its time limit (injected fault)";
                active.fail_block(position_of(checked, index), message, self.clock.now());
                self.end(active, RunStatus::TimedOut, "timeout", message);
            }
            Err((index, Failure::Failed(message))) => {
                active.fail_block(position_of(checked, index), &message, self.clock.now());
                let name = &checked.graph.blocks[index].block_name;
                self.end(active, RunStatus::Failed, "block_failed", &format!("{name}: {message}"));
            }
        }
        self.clean_up(active, input, &feeds);
    }

    /// Queues a run that the stop of the service has interrupted for the next start, which begins it anew. If the store
    /// cannot record that, the run is cancelled.
    fn requeue(&self, active: &Active, input: &Input, feeds: &[Option<BlockRows>]) {
        match active.requeue(self.clock.now(), |row| self.store.put_run(row)) {
            Ok(row) => {
                lock(&self.active).remove(active.id());
                for feed in feeds.iter().flatten() {
                    // A file that cannot be removed is overwritten by the next start.
                    let _ = std::fs::remove_file(&feed.path);
                }
                // A request to cancel may have arrived at the same time.
                if active.stop_requested() == Some(Stop::Request) {
                    self.cancel_shelved(row);
                }
            }
            Err(_) => {
                self.end(active, RunStatus::Cancelled, Stop::Service.reason(), Stop::Service.message());
                self.clean_up(active, input, feeds);
            }
        }
    }

    /// Executes the block at `index`, at most at `rows_per_second`, and records its start and completion. Returns its rows
    /// for the blocks after it.
    fn execute_block(
        &self,
        active: &Active,
        checked: &CheckedGraph,
        index: usize,
        input: &Input,
        feeds: &[Option<BlockRows>],
        rows_per_second: Option<f64>,
    ) -> Result<BlockRows, Failure> {
        let position = position_of(checked, index);
        let now = self.clock.now();
        // Recorded before any work: after a crash, the store shows in which block the run was interrupted.
        active.record(&self.store, |row| {
            let block = &mut row.blocks[position];
            block.status = BlockStatus::Running;
            block.started_at = Some(now);
            block.updated_at = now;
            row.updated_at = now;
        })?;
        let directory = self.directories.run(active.id());
        let block = &checked.blocks[index];
        let notebook = block.notebook(&self.store, now)?;
        let surroundings = BlockSurroundings {
            sources: &self.sources,
            directory: &directory,
            notebooks: &self.directories.notebooks(),
            notebook: notebook.clone(),
            formats: &active.formats(),
            spill_budget: self.limits.spill_budget(),
            runtime: self.runtime.clone(),
        };
        let (prepared, delivery) = prepare(checked, index, input, feeds, surroundings)?;
        active.note(position, prepared.note.clone(), prepared.total_rows);
        // From here on a stop cancels the block through `control`; one that was requested before is seen at once.
        let control = Control::new();
        if !active.begin_block(position, &control, prepared.total_bytes) {
            return Err(Failure::Cancelled);
        }
        let done = match rows_per_second {
            None => prepared.execute(&control, &self.limits, &self.clock),
            Some(rate) => {
                let total = prepared.count_rows(input)?;
                active.note(position, prepared.note.clone(), Some(total));
                let stopped = || active.stop_requested().is_some();
                wait_for_rows(total, rate, &control, &self.clock, stopped)
                    .and_then(|()| prepared.execute(&control.without_counters(), &self.limits, &self.clock))
            }
        };
        active.end_block();
        let done = done?;
        if let Delivery::Webhook(target) = &delivery {
            self.send(active, position, target, &done)?;
        }
        let now = self.clock.now();
        // Rows are appended beyond the committed size of the notebook; the new size and the completion of the block are
        // committed in one transaction, so neither counts without the other. The lock covers both, because the size is
        // read again under it: another run may have appended in the meantime.
        let (_append_guard, appended) = match (&delivery, notebook) {
            (Delivery::Notebook, Some(row)) => {
                let guard = lock(&self.append_lock);
                let row = self.store.notebook(&row.id)?.unwrap_or(row);
                let id = row.id.clone();
                let failed = |error| Failure::Failed(format!("cannot append to the notebook {id}: {error}"));
                let row = row.append(&self.directories.notebooks(), &done.feed.path, done.feed.rows, now);
                (Some(guard), Some(row.map_err(failed)?))
            }
            _ => (None, None),
        };
        active.record_with(&self.store, appended.as_ref(), |row| {
            let block = &mut row.blocks[position];
            block.note = match &appended {
                Some(notebook) => Some(format!("appended to the notebook {}", notebook.id)),
                // The plan's note, or the one that a delivery left in the meantime.
                None => done.note.or(block.note.take()),
            };
            block.status = BlockStatus::Completed;
            block.completed_at = Some(now);
            block.updated_at = now;
            block.processed = done.rows_in;
            block.total = Some(done.rows_in);
            block.row_count = done.feed.rows;
            block.files = done.files;
            block.results = done.results;
            row.updated_at = now;
        })?;
        Ok(done.feed)
    }

    /// Sends a block's rows to the address in its specs. Our reading: a failed delivery fails the block, because a
    /// delivery that is lost silently is worse.
    fn send(
        &self,
        active: &Active,
        position: usize,
        target: &WebhookTarget,
        done: &BlockOutcome,
    ) -> Result<(), Failure> {
        let (files, row_count) = (done.files.clone(), done.feed.rows);
        // The event may contain a link to the files, which must be valid when the receiver follows it.
        active.record(&self.store, |row| {
            row.blocks[position].files = files;
            row.blocks[position].row_count = row_count;
        })?;
        active.note(position, Some(format!("delivering to {}", host_of(&target.url))), Some(done.rows_in));
        let row = active.row();
        let stopped = || active.stop_requested().is_some();
        let sending = self.deliverer.send_rows(&row, done.results.clone(), row_count, &done.files, target, stopped);
        match self.runtime.block_on(sending) {
            Ok(note) => {
                active.note(position, Some(note), Some(done.rows_in));
                Ok(())
            }
            Err(Undelivered::Stopped) => Err(Failure::Cancelled),
            Err(error) => Err(Failure::Failed(error_chain(&error))),
        }
    }

    /// Ends a run with a status, a `status_reason` (none if empty) and a message.
    fn end(&self, active: &Active, status: RunStatus, reason: &str, message: &str) {
        let now = self.clock.now();
        let change = |row: &mut RunRow| {
            let failed = status == RunStatus::Failed;
            row.end(status, (!reason.is_empty()).then_some(reason), message, now);
            row.error_message = failed.then(|| message.to_owned());
        };
        active.end(change, |row| self.record_end(row));
    }

    /// Commits the end of a run to the store. If the store fails, the run stays in memory, where
    /// its end can still be requested; at the next start it counts as interrupted.
    fn record_end(&self, row: &RunRow) {
        if self.store.put_run(row).is_ok() {
            lock(&self.active).remove(&row.id);
            // A failed sweep is repeated at the end of the next run.
            let _ = self.retention.sweep();
        }
        self.metrics.ended(row);
        let deliverer = self.deliverer.clone();
        let row = row.clone();
        self.runtime.spawn(async move { deliverer.announce(&row).await });
    }

    /// Removes the files of an ended run that no link offers, except for a small input.
    fn clean_up(&self, active: &Active, input: &Input, feeds: &[Option<BlockRows>]) {
        let row = active.row();
        let offered = |path: &Path| {
            let name = path.file_name().and_then(|name| name.to_str());
            row.blocks.iter().flat_map(|block| &block.files).any(|file| Some(file.filename.as_str()) == name)
        };
        let payload = match input {
            Input::Payload { path, .. } => Some(path.clone()),
            Input::Upload { .. } | Input::Nothing => None,
        };
        let is_kept = |path: &Path| {
            Some(path) == payload.as_deref() && path.metadata().is_ok_and(|file| file.len() <= MAX_KEPT_INPUT_BYTES)
        };
        let paths = feeds.iter().flatten().map(|feed| feed.path.clone()).chain(payload.clone());
        for path in paths.filter(|path| !offered(path) && !is_kept(path)) {
            // A file that cannot be removed only takes up space.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Returns the injected failure in place of the block at `index`, if there is one.
fn injected_failure(faults: &RunFaults, checked: &CheckedGraph, index: usize) -> Option<Failure> {
    // A timeout, and a failure without a block, strike in place of the last block, after all others have completed.
    let is_last = checked.order.last() == Some(&index);
    if faults.times_out && is_last {
        return Some(Failure::TooLong);
    }
    let (block, text) = faults.fails.as_ref()?;
    let strikes = block.as_ref().map_or(is_last, |named| blocks::is_named(&checked.graph.blocks[index], named));
    strikes.then(|| Failure::Failed(text.clone()))
}

/// Returns the limits of each concurrent run. Memory and threads are divided evenly, so that all runs together stay
/// within the configured limits and none waits for the memory of another.
fn share_of(config: &Config, max_runs: usize) -> Limits {
    let limits = &config.limits;
    let workers = match limits.workers {
        0 => std::thread::available_parallelism().map_or(2, usize::from),
        n => n,
    };
    Limits {
        // Below 16 MiB a plan cannot execute, so many concurrent runs may exceed the configured total.
        max_memory_bytes: (limits.max_memory_bytes / max_runs as u64).max(16 << 20),
        max_step_bytes: limits.max_step_bytes.map(|bytes| bytes / max_runs),
        workers: workers.div_ceil(max_runs),
        spill_dir: Some(config.data_dir.join("tmp")),
        ..limits.clone()
    }
}
