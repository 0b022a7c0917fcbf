//! The number of the piece that the writer is at, so that a piece that grew large can be handed over in parts.
//!
//! A worker may wait for its turn: the groups before its own were given out before it, their
//! workers wait for the writer alone, and the writer waits for them alone.

use std::sync::{Condvar, Mutex, MutexGuard};

/// The writer's place among the pieces.
#[derive(Debug, Default)]
pub(super) struct Sequencer {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The piece that the writer waits for.
    next: u64,
    /// Parts of pieces that it has taken.
    parts_taken: u64,
    over: bool,
}

impl Sequencer {
    /// Waits until the writer is at piece `index`; false if the execution is over.
    pub fn wait_for(&self, index: u64) -> bool {
        self.wait(|state| state.next >= index)
    }

    /// True if the writer is at piece `index`.
    pub fn is_at(&self, index: u64) -> bool {
        self.lock().next == index
    }

    /// Hands a part over by `send`, in its turn, and waits until the writer has taken it, so that
    /// there is one at a time. False if the execution is over.
    pub fn hand_over(&self, send: impl FnOnce() -> bool) -> bool {
        let before = self.lock().parts_taken;
        send() && self.wait(|state| state.parts_taken > before)
    }

    /// The writer has taken a part of the piece that it is at.
    pub fn part_taken(&self) {
        self.lock().parts_taken += 1;
        self.changed.notify_all();
    }

    /// The writer is at piece `next`.
    pub fn advance(&self, next: u64) {
        self.lock().next = next;
        self.changed.notify_all();
    }

    /// The execution is over: all waits end.
    pub fn end(&self) {
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
