//! The engine of the service: takes runs, executes their blocks one after the other, records every change, and stops.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::active::{Active, Stop, lock};
use super::job::{Job, place_of};
use super::prepared::{BlockOutcome, BlockRows, BlockSurroundings, prepare};
use crate::api::{RunId, RunStatus};
use crate::pipeline::{Control, Limits};
use crate::service::blocks::{Delivery, Failure, Input, Traces};
use crate::service::clock::Clock;
use crate::service::config::Config;
use crate::service::directories::Directories;
use crate::service::enrichment_sources::EnrichmentSources;
use crate::service::faults::Faults;
use crate::service::graph::{self, CheckedGraph};
use crate::service::location::Location;
use crate::service::metrics::Metrics;
use crate::service::retention::Retention;
use crate::service::rows::{BlockStatus, JobRow, RunRow};
use crate::service::store::{self, Store};
use crate::service::webhook::{Deliverer, Undelivered, WebhookTarget, host_of};
use crate::text::error_chain;

/// The engine of one service.
pub(in crate::service) struct Engine {
    store: Arc<Store>,
    clock: Clock,
    folders: Directories,
    sources: EnrichmentSources,
    faults: Arc<Faults>,
    retention: Retention,
    limits: Limits,
    /// One permit per run that executes; those that wait are served in order.
    slots: Arc<Semaphore>,
    /// Runs that may be under way or waiting at once.
    max_active: usize,
    /// Runs that have not ended. What is not here is in the store and does not change.
    active: Mutex<HashMap<RunId, Arc<Active>>>,
    /// Held while a notebook grows.
    appending: Mutex<()>,
    tasks: Mutex<JoinSet<()>>,
    stopping: AtomicBool,
    runtime: Handle,
    tally: Arc<Metrics>,
    deliverer: Deliverer,
}

impl Engine {
    /// An engine whose runs are driven by the current runtime.
    pub(in crate::service) fn new(
        config: &Config,
        store: Arc<Store>,
        folders: Directories,
        sources: EnrichmentSources,
        faults: Arc<Faults>,
        retention: Retention,
    ) -> Self {
        let max_runs = config.max_runs.max(1);
        let deliverer = Deliverer::new(config, Arc::clone(&store));
        Engine {
            store,
            clock: config.clock.clone(),
            folders,
            sources,
            faults,
            retention,
            limits: share_of(config, max_runs),
            slots: Arc::new(Semaphore::new(max_runs)),
            max_active: max_runs.saturating_add(config.max_waiting_runs),
            active: Mutex::new(HashMap::new()),
            appending: Mutex::new(()),
            tasks: Mutex::new(JoinSet::new()),
            stopping: AtomicBool::new(false),
            runtime: Handle::current(),
            tally: Arc::default(),
            deliverer,
        }
    }

    /// The counters since the start.
    pub(in crate::service) fn tally(&self) -> &Arc<Metrics> {
        &self.tally
    }

    /// The sender of events to the outside.
    pub(in crate::service) fn deliverer(&self) -> &Deliverer {
        &self.deliverer
    }

    /// The runs that have not ended: those that wait, and those that are under way.
    pub(in crate::service) fn under_way(&self) -> (usize, usize) {
        let active = lock(&self.active);
        let queued = active.values().filter(|active| active.row().status == RunStatus::Queued).count();
        (queued, active.len() - queued)
    }

    /// True while another run may be submitted.
    pub(in crate::service) fn has_room(&self) -> bool {
        lock(&self.active).len() < self.max_active
    }

    /// Takes over a run that the store has as queued.
    pub(in crate::service) fn submit(self: &Arc<Self>, job: Job) {
        let active = Arc::new(Active::new(job.row));
        lock(&self.active).insert(active.id().clone(), Arc::clone(&active));
        let mut tasks = lock(&self.tasks);
        while tasks.try_join_next().is_some() {}
        let engine = Arc::clone(self);
        let carried = Arc::clone(&active);
        tasks.spawn_on(engine.carry(carried, job.checked, job.input), &self.runtime);
        drop(tasks);
        if self.is_stopping() {
            self.shelve_or_cancel(&active);
        }
    }

    /// Takes over a run that waited when an earlier service stopped, from its beginning.
    pub(in crate::service) fn resume(self: &Arc<Self>, mut row: RunRow, job: JobRow) -> Result<(), store::Error> {
        let input = Input::from_row(job.input, &self.folders, &row.id);
        match graph::check(job.graph, &Location::root("workflow_definition")) {
            Ok(checked) => self.submit(Job { row, checked, input }),
            // Another version of this program has other rules.
            Err(_) => {
                let why = "the workflow cannot run any more: its definition is refused now";
                row.end(RunStatus::Failed, Some("interrupted"), why, self.clock.now());
                row.error_message = Some(why.to_owned());
                self.store.put_run(&row)?;
            }
        }
        Ok(())
    }

    /// A run that has not ended.
    pub(in crate::service) fn active(&self, id: &RunId) -> Option<Arc<Active>> {
        lock(&self.active).get(id).cloned()
    }

    /// Asks a run to stop. One that waits ends at once, one that is under way soon.
    pub(in crate::service) fn cancel(&self, active: &Active, stop: Stop) {
        let now = self.clock.now();
        let waiting = active.stop(stop, |row| row.end(RunStatus::Cancelled, Some(stop.reason()), stop.why(), now));
        if let Some(row) = waiting {
            self.settle(&row);
        }
    }

    /// True once it begins no more runs.
    pub(in crate::service) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Ends a run that was set aside for the next start, which then does not begin it.
    pub(in crate::service) fn cancel_shelved(&self, mut row: RunRow) {
        row.end(RunStatus::Cancelled, Some(Stop::Request.reason()), Stop::Request.why(), self.clock.now());
        self.settle(&row);
        // It has no more than its payload, and what cannot be removed is only in the way of space.
        let _ = std::fs::remove_dir_all(self.folders.run(&row.id));
    }

    /// Ends: runs that wait stay in the store for the next start, those under way have so long to come to their ends. What is
    /// left of them then begins again at the next start, or is cancelled if that would do something twice. Waits until none
    /// is under way.
    pub(in crate::service) async fn stop(self: &Arc<Self>, grace: Duration) {
        let patience = tokio::time::Instant::now() + grace;
        if !grace.is_zero() {
            self.stopping.store(true, Ordering::SeqCst);
            self.all_active().iter().for_each(|active| self.shelve(active));
            while !lock(&self.active).is_empty() && tokio::time::Instant::now() < patience {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        let engine = Arc::clone(self);
        // The store writes to disk, which is not for this thread.
        let _ = tokio::task::spawn_blocking(move || engine.cancel_all()).await;
        let mut tasks = std::mem::take(&mut *lock(&self.tasks));
        while tasks.join_next().await.is_some() {}
    }

    fn all_active(&self) -> Vec<Arc<Active>> {
        lock(&self.active).values().cloned().collect()
    }

    /// Sets a run aside that has not begun: the store has it as queued, with all that it needs.
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

    /// Sets the runs aside that wait, and asks the others to stop; so with those still to come. Does not wait.
    pub(in crate::service) fn cancel_all(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.all_active().iter().for_each(|active| self.shelve_or_cancel(active));
    }

    /// Takes the place of a run, so that others wait until the permit is dropped.
    #[cfg(test)]
    pub(in crate::service) async fn hold(&self) -> tokio::sync::OwnedSemaphorePermit {
        Arc::clone(&self.slots).acquire_owned().await.expect("the slots are never closed")
    }

    async fn carry(self: Arc<Self>, active: Arc<Active>, checked: CheckedGraph, input: Input) {
        let Ok(_permit) = Arc::clone(&self.slots).acquire_owned().await else { return };
        let engine = Arc::clone(&self);
        let carried = Arc::clone(&active);
        let outcome = tokio::task::spawn_blocking(move || engine.execute(&carried, &checked, &input)).await;
        if outcome.is_err() {
            // A panic, which is our bug: the run ends like any other that failed.
            let engine = Arc::clone(&self);
            let failed = tokio::task::spawn_blocking(move || {
                engine.end(&active, RunStatus::Failed, "internal_error", "the service failed: a bug of ours");
            });
            let _ = failed.await;
        }
    }

    /// Executes a run to its end.
    fn execute(&self, active: &Active, checked: &CheckedGraph, input: &Input) {
        let now = self.clock.now();
        let started = active.change(&self.store, |row| {
            row.status = RunStatus::Running;
            row.started_at = Some(now);
            row.updated_at = now;
        });
        match started {
            Ok(true) => {}
            // The next service begins it.
            Ok(false) if active.is_shelved() => return,
            // Cancelled while it waited.
            Ok(false) => return self.clear_up(active, input, &[]),
            Err(error) => return self.end(active, RunStatus::Failed, "internal_error", &error_chain(&error)),
        }
        let mut feeds: Vec<Option<BlockRows>> = checked.order.iter().map(|_| None).collect();
        let mut ended = Ok(());
        // A run that is to take too long does so in its last block.
        let too_long = if self.faults.times_out(active.id()) { checked.order.last() } else { None };
        for index in &checked.order {
            let index = match too_long {
                Some(last) if last == index => {
                    ended = Err((*index, Failure::TooLong));
                    break;
                }
                _ => *index,
            };
            match self.execute_block(active, checked, index, input, &feeds) {
                Ok(feed) => feeds[index] = Some(feed),
                Err(failure) => {
                    ended = Err((index, failure));
                    break;
                }
            }
        }
        match ended {
            Ok(()) => self.end(active, RunStatus::Completed, "", ""),
            Err((_, Failure::Cancelled)) => {
                let stop = active.stop_asked().unwrap_or(Stop::Request);
                if stop == Stop::Service && !has_left_traces(&active.row(), checked) {
                    return self.put_back(active, checked, input, &feeds);
                }
                self.end(active, RunStatus::Cancelled, stop.reason(), stop.why());
            }
            Err((index, Failure::TooLong)) => {
                let why = "the run took longer than it may: a fault on purpose";
                active.fail_block(place_of(checked, index), why, self.clock.now());
                self.end(active, RunStatus::TimedOut, "timeout", why);
            }
            Err((index, Failure::Failed(why))) => {
                active.fail_block(place_of(checked, index), &why, self.clock.now());
                let name = &checked.graph.blocks[index].block_name;
                self.end(active, RunStatus::Failed, "block_failed", &format!("{name}: {why}"));
            }
        }
        self.clear_up(active, input, &feeds);
    }

    /// Leaves a run that the service's stop has cut short to the next start, where it begins again.
    fn put_back(&self, active: &Active, checked: &CheckedGraph, input: &Input, feeds: &[Option<BlockRows>]) {
        let job = Job::to_row(checked, input);
        match active.put_back(self.clock.now(), |row| self.store.put_back(row, &job)) {
            Ok(row) => {
                lock(&self.active).remove(active.id());
                for feed in feeds.iter().flatten() {
                    // What cannot be removed is written again.
                    let _ = std::fs::remove_file(&feed.path);
                }
                // Another request may have asked for its end at the same time.
                if active.stop_asked() == Some(Stop::Request) {
                    self.cancel_shelved(row);
                }
            }
            Err(_) => {
                self.end(active, RunStatus::Cancelled, Stop::Service.reason(), Stop::Service.why());
                self.clear_up(active, input, feeds);
            }
        }
    }

    fn execute_block(
        &self,
        active: &Active,
        checked: &CheckedGraph,
        index: usize,
        input: &Input,
        feeds: &[Option<BlockRows>],
    ) -> Result<BlockRows, Failure> {
        let place = place_of(checked, index);
        let now = self.clock.now();
        active.record(&self.store, |row| {
            let block = &mut row.blocks[place];
            block.status = BlockStatus::Running;
            block.started_at = Some(now);
            block.updated_at = now;
            row.updated_at = now;
        })?;
        let folder = self.folders.run(active.id());
        let block = &checked.blocks[index];
        let notebook = block.notebook(&self.store, now)?;
        let surroundings = BlockSurroundings {
            sources: &self.sources,
            folder: &folder,
            notebooks: &self.folders.notebooks(),
            notebook: notebook.clone(),
            formats: &active.formats(),
            room: self.limits.spill_budget(),
            runtime: self.runtime.clone(),
        };
        let (prepared, delivery) = prepare(checked, index, input, feeds, surroundings)?;
        active.note(place, prepared.note.clone(), prepared.total_rows);
        let control = Control::new();
        if !active.steer(place, &control, prepared.total_bytes) {
            return Err(Failure::Cancelled);
        }
        let done = prepared.execute(&control, &self.limits, &self.clock);
        active.let_go();
        let done = done?;
        if let Delivery::Webhook(target) = &delivery {
            self.send(active, place, target, &done)?;
        }
        let now = self.clock.now();
        // Appended rows and the end of the block that appended them are recorded together, so that the one never
        // counts without the other. Others who append wait.
        let (_alone, appended) = match (&delivery, notebook) {
            (Delivery::Notebook, Some(row)) => {
                let alone = lock(&self.appending);
                let row = self.store.notebook(&row.id)?.unwrap_or(row);
                let failed = |error| Failure::Failed(format!("the notebook cannot be written: {error}"));
                let row = row.append(&self.folders.notebooks(), &done.feed.path, done.feed.rows, now);
                (Some(alone), Some(row.map_err(failed)?))
            }
            _ => (None, None),
        };
        active.record_with(&self.store, appended.as_ref(), |row| {
            let block = &mut row.blocks[place];
            block.note = match &appended {
                Some(notebook) => Some(format!("appended to the notebook {}", notebook.id)),
                // A delivery has left word of its own.
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

    /// Sends a block's rows to where its specs say. Our reading: what is not delivered fails the block, for a
    /// delivery that is lost in silence is worse.
    fn send(&self, active: &Active, place: usize, target: &WebhookTarget, done: &BlockOutcome) -> Result<(), Failure> {
        let (files, row_count) = (done.files.clone(), done.feed.rows);
        // The event may hold a link to them.
        active.record(&self.store, |row| {
            row.blocks[place].files = files;
            row.blocks[place].row_count = row_count;
        })?;
        active.note(place, Some(format!("delivering to {}", host_of(&target.url))), Some(done.rows_in));
        let row = active.row();
        let stopped = || active.stop_asked().is_some();
        let sending = self.deliverer.send_rows(&row, done.results.clone(), row_count, &done.files, target, stopped);
        match self.runtime.block_on(sending) {
            Ok(note) => {
                active.note(place, Some(note), Some(done.rows_in));
                Ok(())
            }
            Err(Undelivered::Stopped) => Err(Failure::Cancelled),
            Err(error) => Err(Failure::Failed(error_chain(&error))),
        }
    }

    fn end(&self, active: &Active, status: RunStatus, reason: &str, why: &str) {
        let now = self.clock.now();
        let change = |row: &mut RunRow| {
            let failed = status == RunStatus::Failed;
            row.end(status, (!reason.is_empty()).then_some(reason), why, now);
            row.error_message = failed.then(|| why.to_owned());
        };
        active.end(change, |row| self.settle(row));
    }

    /// Brings the end of a run into the store. If the store fails, the run stays in memory, where
    /// its end can still be asked for; at the next start it counts as interrupted.
    fn settle(&self, row: &RunRow) {
        if self.store.put_run(row).is_ok() {
            lock(&self.active).remove(&row.id);
            // What cannot be removed now goes another time.
            let _ = self.retention.sweep();
        }
        self.tally.ended(row);
        let deliverer = self.deliverer.clone();
        let row = row.clone();
        self.runtime.spawn(async move { deliverer.announce(&row).await });
    }

    /// Removes the files of an ended run that no link offers.
    fn clear_up(&self, active: &Active, input: &Input, feeds: &[Option<BlockRows>]) {
        let row = active.row();
        let offered = |path: &Path| {
            let name = path.file_name().and_then(|name| name.to_str());
            row.blocks.iter().flat_map(|block| &block.files).any(|file| Some(file.filename.as_str()) == name)
        };
        let payload = match input {
            Input::Payload { path, .. } => Some(path.clone()),
            Input::Upload { .. } | Input::Nothing => None,
        };
        let paths = feeds.iter().flatten().map(|feed| feed.path.clone()).chain(payload);
        for path in paths.filter(|path| !offered(path)) {
            // What cannot be removed is only in the way of space.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The limits of each of the runs under way at once: memory and threads are shared out evenly, so that all together stay
/// within the limits and none waits for another's.
fn share_of(config: &Config, max_runs: usize) -> Limits {
    let limits = &config.limits;
    let workers = match limits.workers {
        0 => std::thread::available_parallelism().map_or(2, usize::from),
        n => n,
    };
    Limits {
        // Less is no execution any more.
        max_memory_bytes: (limits.max_memory_bytes / max_runs as u64).max(16 << 20),
        max_step_bytes: limits.max_step_bytes.map(|bytes| bytes / max_runs),
        workers: workers.div_ceil(max_runs),
        spill_dir: Some(config.data_dir.join("tmp")),
        ..limits.clone()
    }
}

/// True if a run has done what would be done twice if it began again: rows that were sent away or appended.
fn has_left_traces(row: &RunRow, checked: &CheckedGraph) -> bool {
    checked.order.iter().any(|&index| {
        let status = row.blocks[place_of(checked, index)].status;
        match checked.blocks[index].traces() {
            Traces::None => false,
            Traces::OnceBegun => status != BlockStatus::Pending,
            Traces::OnceCompleted => status == BlockStatus::Completed,
        }
    })
}
