//! The memory of an execution, counted in bytes.
//!
//! The parts that may be alive at once, and where each is counted; "the memory" is [`Limits::max_memory_bytes`]:
//!
//! ```text
//!   morsels read but not yet encoded       <= a quarter of the memory, by permits inside them
//! + the open row group, encoded            <= an eighth of the memory, and a part
//! + pages that are not full, per worker    <= what the worker has taken of its part, so a part;
//!                                             1 MiB per leaf column of wide rows
//! + finished pieces that wait their turn   <= (workers + 1) x about 0.3 of a part's input;
//!                                             of text, 4 x workers x a morsel's text, or 8 MiB
//!                                             where a morsel becomes more than that
//! + what waits in a directory's files     <= an eighth of the memory, instead of the open row group
//! + parts of an object's upload            <= 24 MiB, outside of the sum
//! + downloads that wait to be read         <= a sixteenth of the memory, or 256 KiB per job
//! + the sample for the schema              <= 4 MiB and a morsel
//! + keys that steps remember              <= an eighth of the memory; the rest is on disk
//! + batches in the hands of workers        <= workers x about 2 morsels (views, not copies)
//! + the program itself                     about 16 MiB
//! ```
//!
//! A part takes half of its worker's share of that quarter as input, 16 MiB at most, so the sum is
//! rather more than half of the memory and 16 MiB; the rest is for what the allocator keeps and for data
//! that encode worse than most. The shares were measured on the wide rows of the benchmarks.
//!
//! Two things stand outside the sum, each with a limit of its own: records so long that they are their own
//! morsels ([`Limits::max_record_bytes`]), and rejected records until the writer has set them aside:
//! their bytes and 24 for each of them, so that a file of the wrong kind takes about as much as the rows that
//! it does not have.
//!
//! Only the reader waits for permits, it takes them in delivery order, and a morsel's permit is
//! given back by the thread that holds the morsel, which never waits for another: so there is no ring of waits.

use std::sync::{Arc, Condvar, Mutex};

use super::plan::Limits;

/// Larger parts make no smaller files, and the last ones leave workers idle. By eye.
const MAX_PART_BYTES: usize = 16 << 20;

/// The shares of the memory of an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes of morsels in flight.
    pub in_flight_bytes: u64,
    /// Input bytes that a worker takes at a time, for Parquet: a part of a row group.
    pub part_bytes: usize,
    /// Bytes at which the writer closes a row group, as encoded.
    pub row_group_bytes: usize,
    /// Bytes that wait in all files of an output of several files together.
    pub waiting_bytes: usize,
}

impl Sizes {
    /// The shares under `limits` with so many workers.
    pub fn of(limits: &Limits, workers: usize) -> Self {
        let morsel = limits.morsel_bytes as u64;
        let in_flight_bytes = (limits.max_memory_bytes / 4).max(2 * morsel);
        let share = usize::try_from(in_flight_bytes / 2 / workers as u64).unwrap_or(usize::MAX);
        let most = usize::try_from(limits.max_memory_bytes / 8).unwrap_or(usize::MAX);
        Sizes {
            in_flight_bytes,
            part_bytes: share.min(MAX_PART_BYTES).min(limits.row_group_bytes).max(limits.morsel_bytes),
            row_group_bytes: limits.row_group_bytes.min(most),
            waiting_bytes: most,
        }
    }
}

/// Counts bytes (or other things) that are in flight, up to a bound.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Shared>);

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

/// Bytes taken from a [`Budget`], given back on drop.
#[derive(Debug)]
pub struct Permit {
    budget: Budget,
    amount: u64,
}

impl Budget {
    /// A budget of `capacity`.
    pub fn new(capacity: u64) -> Self {
        let state = Mutex::new(State { in_flight: 0, closed: false });
        Budget(Arc::new(Shared { capacity, state, changed: Condvar::new() }))
    }

    /// Waits for `amount`. What is larger than the whole capacity waits for all of it and passes
    /// alone. `None` once the budget is closed.
    pub fn take(&self, amount: u64) -> Option<Permit> {
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

    /// Lets everybody who waits go, empty-handed.
    pub fn close(&self) {
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
    fn a_permit_is_given_back_by_drop() {
        let budget = Budget::new(10);
        let first = budget.take(8).unwrap();
        let waiting = std::thread::spawn({
            let budget = budget.clone();
            move || budget.take(5).is_some()
        });
        drop(first);
        assert!(waiting.join().unwrap());
        assert!(budget.take(1000).is_some(), "what is too large passes alone");
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
