//! The writer's progress through the item groups, so that a worker can send a large group result in several partial
//! ones when its group is next. Holds no rows.
//!
//! A worker may wait here without a deadlock: all earlier groups were started before its own, their
//! workers wait for the writer alone, and the writer waits for them alone.

use std::sync::{Condvar, Mutex, MutexGuard};

/// The writer's progress through the item groups.
#[derive(Debug, Default)]
pub(super) struct Sequencer {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Index of the item group whose result the writer waits for.
    next: u64,
    /// Partial results that the writer has taken, of all groups.
    partials_taken: u64,
    /// True once the execution has ended, for whatever reason; all waits then fail.
    over: bool,
}

impl Sequencer {
    /// Waits until the writer waits for group `index`. Returns false if the execution has ended.
    pub(super) fn wait_for(&self, index: u64) -> bool {
        self.wait(|state| state.next >= index)
    }

    /// Returns true if the writer waits for group `index`.
    pub(super) fn is_at(&self, index: u64) -> bool {
        self.lock().next == index
    }

    /// Sends a partial result of the next group by `send` and waits until the writer has taken it, so that
    /// only one is in flight. Returns false if the execution has ended.
    pub(super) fn hand_over(&self, send: impl FnOnce() -> bool) -> bool {
        let before = self.lock().partials_taken;
        send() && self.wait(|state| state.partials_taken > before)
    }

    /// Records that the writer has taken a partial result.
    pub(super) fn partial_taken(&self) {
        self.lock().partials_taken += 1;
        self.changed.notify_all();
    }

    /// Records that the writer waits for group `next`.
    pub(super) fn advance(&self, next: u64) {
        self.lock().next = next;
        self.changed.notify_all();
    }

    /// Ends all waits, now and later: the execution has ended.
    pub(super) fn end(&self) {
        self.lock().over = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no one panics while holding this")
    }

    fn wait(&self, until: impl Fn(&State) -> bool) -> bool {
        let state = self.changed.wait_while(self.lock(), |state| !state.over && !until(state));
        !state.expect("no one panics while holding this").over
    }
}
