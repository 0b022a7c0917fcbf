//! The threads of an execution and the channels between them. Decodes and writes nothing itself.
//!
//! ```text
//! reader thread ──item groups──► workers ──group results──► writer (the caller's thread)
//!      ▲  waits for: bytes of the budget, a slot for the group
//!      └──── both are returned by the threads behind it, which never wait for the reader to take them
//! ```
//!
//! The reader is not joined: it may block in a read of a silent pipe. It ends when it cannot send its next item, and
//! holds nothing that another thread waits for.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crossbeam_channel::{Receiver, Sender, bounded, select, unbounded};

use super::budget::{Budget, Sizes};
use super::error::Error;
use super::input::{Item, SourceReader};
use super::message::{GroupResult, InFlight, ItemGroup, ItemResult};
use super::prepared::ExecutionState;
use super::worker::Worker;
use crate::format::frame::BufferPool;

/// Input bytes of an item group if its rows are also encoded as text. By eye: less than the size at which a worker
/// sends partial results.
const MAX_GROUP_BYTES_WITH_TEXT: usize = 4 << 20;

/// Runs the reader and the workers on threads, and `consume` on this thread with the group results. Returns when
/// `consume` has returned and all workers have ended.
pub(super) fn with_workers<T>(
    shared: &ExecutionState,
    reader: SourceReader,
    sample: Vec<Item>,
    pool: &BufferPool,
    consume: impl FnOnce(&Receiver<GroupResult>) -> T,
) -> Result<T, Error> {
    let prepared = &shared.prepared;
    let sizes = Sizes::of(&prepared.limits, prepared.workers);
    let group_bytes = match (prepared.outputs.has_row_groups(), prepared.outputs.has_rows()) {
        (true, false) => sizes.group_bytes,
        // Text is sent with its group: a large group would hold back the text of the groups behind it.
        (true, true) => sizes.group_bytes.min(MAX_GROUP_BYTES_WITH_TEXT),
        // Without row groups, each morsel is a group: small results start to flow early and bound the memory.
        (false, _) => 0,
    };
    let budget = Budget::new(sizes.in_flight_bytes);
    // A slot more than workers keeps them busy while the writer appends.
    let slots = Budget::new(match prepared.outputs.has_row_groups() {
        true => prepared.workers as u64 + 1,
        false => prepared.workers as u64 * 4,
    });
    // A rendezvous: a group is created when a worker is free to take it.
    let (groups, tasks) = bounded::<ItemGroup>(0);
    // The slots already bound the results; the capacity only spares workers a wait while the writer is busy.
    let (finished, group_results) = bounded::<GroupResult>(prepared.workers * 2);
    // Never carries a message: dropping `quit` wakes all workers that wait for items.
    let (quit, quitting) = bounded::<()>(0);

    let dispatcher = Dispatcher {
        reader,
        sample,
        groups,
        budget: budget.clone(),
        slots: slots.clone(),
        group_bytes,
        morsel_bytes: prepared.limits.morsel_bytes,
        workers: prepared.workers,
    };
    std::thread::Builder::new()
        .name("reader".into())
        .spawn(move || dispatcher.run())
        .map_err(|e| Error::Bug(format!("cannot start a thread: {e}")))?;
    let workers: Vec<_> = (0..prepared.workers)
        .map(|i| {
            let worker = Worker::new(shared, pool);
            let (tasks, finished, quitting) = (tasks.clone(), finished.clone(), quitting.clone());
            std::thread::Builder::new()
                .name(format!("worker-{i}"))
                .spawn(move || run_worker(worker, &tasks, &finished, &quitting))
        })
        .collect::<Result<_, _>>()
        .map_err(|e| Error::Bug(format!("cannot start a thread: {e}")))?;
    // The channels close when the threads are gone, not when this function returns.
    drop((tasks, finished, quitting));

    let result = consume(&group_results);
    // End every wait, whether `consume` succeeded or failed; otherwise a join below could block for ever.
    drop((group_results, quit));
    budget.close();
    slots.close();
    shared.sequencer.end();
    for worker in workers {
        worker.join().map_err(|_| Error::Bug("a worker could not be joined".into()))?;
    }
    Ok(result)
}

/// Morsels of the smallest item groups, unless they have [`MIN_GROUP_BYTES`]: a group makes row groups of its own, and those
/// of a few records would cost more for their columns than for their rows. By eye.
const MIN_GROUP_MORSELS: usize = 64;

/// Input bytes of the smallest item groups, or one morsel. By eye.
const MIN_GROUP_BYTES: usize = 64 << 10;

/// The reader's thread: divides the items into groups and sends them to workers.
struct Dispatcher {
    reader: SourceReader,
    sample: Vec<Item>,
    groups: Sender<ItemGroup>,
    budget: Budget,
    slots: Budget,
    /// Input bytes after which a group is closed; 0 for one item per group.
    group_bytes: usize,
    morsel_bytes: usize,
    workers: usize,
}

impl Dispatcher {
    /// Sends all items. Ends quietly when no worker receives any more, which is an end that others report.
    fn run(self) {
        let _ = self.dispatch();
    }

    /// Returns `None` if the execution ended before the sources.
    fn dispatch(mut self) -> Option<()> {
        let mut sample = std::mem::take(&mut self.sample).into_iter();
        let mut index = 0;
        let mut item = next_item(&mut sample, &mut self.reader);
        while let Some(first) = item.take() {
            // The slot is taken before any byte of the group, so that groups start in order.
            let slot = self.slots.take(1)?;
            // Unbounded in number, bounded in bytes: every morsel in the channel holds a permit.
            let (sender, items) = unbounded();
            self.groups.send(ItemGroup { index, slot, items }).ok()?;
            index += 1;
            let group_bytes = self.bytes_of_next_group();
            let mut bytes = 0;
            let mut current = Some(first);
            while let Some(next) = current.take() {
                let (size, ends) = match &next {
                    Ok(Item::Morsel(morsel, _)) => (morsel.len, false),
                    Ok(Item::Rows(batch, _)) => (batch.memory_size(), false),
                    Ok(_) => (0, false),
                    Err(_) => (0, true),
                };
                let permit = if size > 0 { Some(self.budget.take(size as u64)?) } else { None };
                sender.send(InFlight { value: next, permit }).ok()?;
                // After an error the reader has nothing more to say, and its later items must not be written.
                if ends {
                    return Some(());
                }
                bytes += size;
                if bytes >= group_bytes {
                    // Closed before the next read, which may have to wait for a slow source.
                    drop(sender);
                    item = next_item(&mut sample, &mut self.reader);
                    break;
                }
                current = next_item(&mut sample, &mut self.reader);
            }
        }
        Some(())
    }

    /// Returns the size of the next group. Towards the end of the input groups shrink to half of a worker's share of
    /// the rest, so that all workers finish at about the same time.
    fn bytes_of_next_group(&self) -> usize {
        let half_of_a_share = self.reader.bytes_left().map(|left| left / (2 * self.workers as u64));
        let most = half_of_a_share.and_then(|half| usize::try_from(half).ok()).unwrap_or(usize::MAX);
        let least = self.morsel_bytes.max((self.morsel_bytes * MIN_GROUP_MORSELS).min(MIN_GROUP_BYTES));
        self.group_bytes.min(most.max(least))
    }
}

fn next_item(sample: &mut std::vec::IntoIter<Item>, reader: &mut SourceReader) -> Option<Result<Item, Error>> {
    match sample.next() {
        Some(item) => Some(Ok(item)),
        None => reader.next().transpose(),
    }
}

/// Runs a worker's thread: group after group, until there is none, or no writer for the results. A panic becomes an
/// error at the position of its group.
fn run_worker(
    mut worker: Worker,
    tasks: &Receiver<ItemGroup>,
    finished: &Sender<GroupResult>,
    quitting: &Receiver<()>,
) {
    loop {
        let group = select! {
            recv(tasks) -> group => match group {
                Ok(group) => group,
                Err(_) => return,
            },
            recv(quitting) -> _ => return,
        };
        let index = group.index;
        // A panic without a result would leave the writer waiting for this group for ever. The state that a panic may
        // have broken is not used again: the error ends the execution.
        let result = match catch_unwind(AssertUnwindSafe(|| worker.run(group, quitting, finished))) {
            Ok(Some(result)) => result,
            Ok(None) => return,
            Err(panic) => {
                let text = panic
                    .downcast_ref::<&str>()
                    .map(|s| (*s).to_owned())
                    .or_else(|| panic.downcast_ref::<String>().cloned())
                    .unwrap_or_else(|| "a worker panicked".into());
                GroupResult { index, slot: None, more: false, results: vec![ItemResult::Failed(Error::Bug(text))] }
            }
        };
        if finished.send(result).is_err() {
            return;
        }
    }
}
