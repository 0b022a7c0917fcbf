//! The threads of an execution, the channels between them, and who waits for whom.
//!
//! ```text
//! reader thread ──groups──► workers ──pieces──► writer (the caller's thread)
//!      ▲  waits for: bytes of the budget, a slot for the group
//!      └──── both are given back by those further on, who wait for nothing of the reader's
//! ```
//!
//! The reader is not joined: it may sit in a read of a pipe whose other end is silent. It notices that it is alone with its
//! next item, and holds nothing that another thread waits for.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crossbeam_channel::{Receiver, Sender, bounded, select, unbounded};

use super::budget::{Budget, Sizes};
use super::error::Error;
use super::input::{Item, SourceReader};
use super::message::{GroupResult, InFlight, ItemGroup, ItemResult};
use super::prepared::ExecutionState;
use super::worker::Worker;
use crate::format::frame::BufferPool;

/// Input bytes of a part of a row group where text is made of the same rows. By eye: less than a piece may have before it
/// is handed over in parts.
const MAX_PART_BYTES_WITH_TEXT: usize = 4 << 20;

/// Runs reader and workers, and `consume` on this thread with what they make.
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
        (true, false) => sizes.part_bytes,
        // The text of a group is handed over with it; what is larger would keep others waiting.
        (true, true) => sizes.part_bytes.min(MAX_PART_BYTES_WITH_TEXT),
        (false, _) => 0,
    };
    let budget = Budget::new(sizes.in_flight_bytes);
    // A slot more than workers keeps them busy while the writer appends.
    let slots = Budget::new(match prepared.outputs.has_row_groups() {
        true => prepared.workers as u64 + 1,
        false => prepared.workers as u64 * 4,
    });
    let (groups, tasks) = bounded::<ItemGroup>(0);
    let (finished, pieces) = bounded::<GroupResult>(prepared.workers * 2);
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
                .spawn(move || work(worker, &tasks, &finished, &quitting))
        })
        .collect::<Result<_, _>>()
        .map_err(|e| Error::Bug(format!("cannot start a thread: {e}")))?;
    drop((tasks, finished, quitting));

    let result = consume(&pieces);
    // Whatever the reason to stop, no thread may wait any longer.
    drop((pieces, quit));
    budget.close();
    slots.close();
    shared.sequencer.end();
    for worker in workers {
        worker.join().map_err(|_| Error::Bug("a worker could not be joined".into()))?;
    }
    Ok(result)
}

/// The reader's thread: cuts the items into groups.
struct Dispatcher {
    reader: SourceReader,
    sample: Vec<Item>,
    groups: Sender<ItemGroup>,
    budget: Budget,
    slots: Budget,
    /// Input bytes after which a group is closed.
    group_bytes: usize,
    morsel_bytes: usize,
    workers: usize,
}

impl Dispatcher {
    /// Ends quietly when no worker takes its groups any more.
    fn run(self) {
        let _ = self.feed();
    }

    fn feed(mut self) -> Option<()> {
        let mut sample = std::mem::take(&mut self.sample).into_iter();
        let mut index = 0;
        let mut item = next_item(&mut sample, &mut self.reader);
        while let Some(first) = item.take() {
            let slot = self.slots.take(1)?;
            // Unbounded in number, bounded in bytes: every morsel in it holds a permit.
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

    /// Towards the end groups become smaller, so that all workers come to theirs at about the same time.
    fn bytes_of_next_group(&self) -> usize {
        let half_of_a_share = self.reader.bytes_left().map(|left| left / (2 * self.workers as u64));
        let most = half_of_a_share.and_then(|half| usize::try_from(half).ok()).unwrap_or(usize::MAX);
        self.group_bytes.min(most.max(self.morsel_bytes))
    }
}

fn next_item(sample: &mut std::vec::IntoIter<Item>, reader: &mut SourceReader) -> Option<Result<Item, Error>> {
    match sample.next() {
        Some(item) => Some(Ok(item)),
        None => reader.next().transpose(),
    }
}

/// A worker's thread: group after group, until there is none or no writer for the pieces.
fn work(mut worker: Worker, tasks: &Receiver<ItemGroup>, finished: &Sender<GroupResult>, quitting: &Receiver<()>) {
    loop {
        let group = select! {
            recv(tasks) -> group => match group {
                Ok(group) => group,
                Err(_) => return,
            },
            recv(quitting) -> _ => return,
        };
        let index = group.index;
        let piece = match catch_unwind(AssertUnwindSafe(|| worker.run(group, quitting, finished))) {
            Ok(Some(piece)) => piece,
            Ok(None) => return,
            Err(panic) => {
                let text = panic
                    .downcast_ref::<&str>()
                    .map(|s| (*s).to_owned())
                    .or_else(|| panic.downcast_ref::<String>().cloned())
                    .unwrap_or_else(|| "a worker panicked".into());
                GroupResult { index, slot: None, more: false, parts: vec![ItemResult::Failed(Error::Bug(text))] }
            }
        };
        if finished.send(piece).is_err() {
            return;
        }
    }
}
