//! The memory of an execution, counted in bytes: the shares of each stage, and the permits that bound the bytes in
//! flight. Limits nothing on disk.
//!
//! The buffers that may be alive at once, and the bound of each; "the memory" is [`Limits::max_memory_bytes`], and "an
//! item group" is the input of one:
//!
//! ```text
//!   morsels read but not yet encoded       <= a quarter of the memory, by permits inside them
//! + the open row group, encoded            <= an eighth of the memory, and an item group
//! + rows whose columns are not settled     <= a quarter of an item group and a morsel, per worker
//! + pages that are not full, per worker    <= the input of the worker's group so far, so an item group;
//!                                             1 MiB per leaf column of wide rows
//! + group results that wait in order       <= (workers + 1) x about 0.3 of an item group;
//!                                             of text, 4 x workers x a morsel's text, or 8 MiB
//!                                             where a morsel becomes more than that
//! + rows buffered for a directory's files  <= an eighth of the memory, instead of the open row group
//! + row groups of small files that wait    <= 8 MiB and a slice of rows, per worker
//! + footer entries of a Parquet file       <= a 32nd of the memory, the rest in a temporary file; one per
//!                                             file being written, so at most one per worker
//! + parts of an object's upload            <= 24 MiB, outside of the sum
//! + downloads buffered before the reader   <= a sixteenth of the memory, or 256 KiB per job
//! + the sample for the schema              <= 4 MiB and a morsel
//! + keys that stateful steps keep          <= an eighth of the memory; the rest spills to disk
//! + batches that workers process           <= workers x about 2 morsels (views, not copies)
//! + the program itself                     about 16 MiB
//! ```
//!
//! An item group takes half of its worker's share of that quarter as input, 16 MiB at most, so the sum is
//! rather more than half of the memory and 16 MiB; the rest is for what the allocator keeps and for data
//! that encode worse than most. The shares were measured on the wide rows of the benchmarks.
//!
//! Two things are outside the sum, each with a limit of its own: records so long that they are their own
//! morsels ([`Limits::max_record_bytes`]), and rejected records until the writer has written them:
//! their bytes and 24 for each of them, so that a file of the wrong format takes about as much as the rows that
//! it does not have.
//!
//! Only the reader waits for permits, it takes them in delivery order, and a morsel's permit is
//! returned by the thread that holds the morsel, which never waits for another: so there is no cycle of waits.

use std::sync::{Arc, Condvar, Mutex};

use super::plan::Limits;

/// Maximum input bytes of an item group. Larger ones make no smaller files, and the last ones leave workers idle. By
/// eye.
const MAX_GROUP_BYTES: usize = 16 << 20;

/// Bytes of rows that may wait for their columns where item groups are small, if that is no more than a 64th of the memory for
/// all workers. By eye.
const MIN_UNSETTLED_BYTES: usize = 1 << 20;

/// The shares of the memory of an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    /// Bytes of morsels between the reader and the encoders.
    pub in_flight_bytes: u64,
    /// Input bytes of an item group for Parquet outputs. The writer joins the row groups of several into larger ones.
    pub group_bytes: usize,
    /// Bytes of rows that wait in a worker until their columns are settled.
    pub unsettled_bytes: usize,
    /// Encoded bytes at which the writer closes a row group.
    pub row_group_bytes: usize,
    /// Bytes that an output of several files buffers, over all of its files.
    pub buffered_bytes: usize,
    /// Bytes of footer entries that a Parquet file keeps in memory.
    pub footer_bytes: usize,
}

impl Sizes {
    /// Computes the shares under `limits` for this number of workers, at least 1.
    pub(super) fn of(limits: &Limits, workers: usize) -> Self {
        let morsel = limits.morsel_bytes as u64;
        // Two morsels at least: one that is read and one that is decoded.
        let in_flight_bytes = (limits.max_memory_bytes / 4).max(2 * morsel);
        let share = usize::try_from(in_flight_bytes / 2 / workers as u64).unwrap_or(usize::MAX);
        let most = usize::try_from(limits.max_memory_bytes / 8).unwrap_or(usize::MAX);
        let group_bytes = share.min(MAX_GROUP_BYTES).min(limits.row_group_bytes).max(limits.morsel_bytes);
        let least_unsettled = usize::try_from(limits.max_memory_bytes / 64 / workers as u64).unwrap_or(usize::MAX);
        Sizes {
            in_flight_bytes,
            group_bytes,
            unsettled_bytes: (group_bytes / 4).max(least_unsettled.min(MIN_UNSETTLED_BYTES)),
            row_group_bytes: limits.row_group_bytes.min(most),
            buffered_bytes: most,
            footer_bytes: most / 4,
        }
    }
}

/// A semaphore over bytes, or over other units of capacity.
#[derive(Clone, Debug)]
pub(super) struct Budget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    capacity: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    in_flight: u64,
    closed: bool,
}

/// Units taken from a [`Budget`], returned on drop.
#[derive(Debug)]
pub(super) struct Permit {
    budget: Budget,
    amount: u64,
}

impl Budget {
    /// Creates a budget with `capacity` units, all free.
    pub(super) fn new(capacity: u64) -> Self {
        let state = Mutex::new(State { in_flight: 0, closed: false });
        Budget(Arc::new(Shared { capacity, state, changed: Condvar::new() }))
    }

    /// Blocks until `amount` is free and takes it. An amount above the capacity takes all of it and passes
    /// alone. `None` once the budget is closed.
    pub(super) fn take(&self, amount: u64) -> Option<Permit> {
        let amount = amount.min(self.0.capacity);
        let mut state = self.0.state.lock().expect("no one panics while holding this");
        while !state.closed && state.in_flight + amount > self.0.capacity {
            state = self.0.changed.wait(state).expect("no one panics while holding this");
        }
        if state.closed {
            return None;
        }
        state.in_flight += amount;
        Some(Permit { budget: self.clone(), amount })
    }

    /// Ends all waits, now and later, without a permit.
    pub(super) fn close(&self) {
        self.0.state.lock().expect("no one panics while holding this").closed = true;
        self.0.changed.notify_all();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let shared = &self.budget.0;
        shared.state.lock().expect("no one panics while holding this").in_flight -= self.amount;
        shared.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_is_returned_by_drop() {
        let budget = Budget::new(10);
        let first = budget.take(8).unwrap();
        let waiting = std::thread::spawn({
            let budget = budget.clone();
            move || budget.take(5).is_some()
        });
        drop(first);
        assert!(waiting.join().unwrap());
        assert!(budget.take(1000).is_some(), "an amount above the capacity passes alone");
    }

    #[test]
    fn a_closed_budget_lets_waiters_go() {
        let budget = Budget::new(10);
        let _all = budget.take(10);
        let waiting = std::thread::spawn({
            let budget = budget.clone();
            move || budget.take(1).is_none()
        });
        budget.close();
        assert!(waiting.join().unwrap());
    }
}
