//! Results of an item group that a worker sends before the group is complete. Waits for the writer, and for nothing else.

use std::cell::Cell;

use crossbeam_channel::Sender;

use super::error::Error;
use super::message::{GroupResult, ItemResult};
use super::prepared::ExecutionState;

/// Bytes of results beyond which a worker sends a partial group result: short records under many columns become far
/// more text than they were.
pub(super) const LARGE_RESULT_BYTES: usize = 8 << 20;

/// Sends results to the writer before their item group is complete.
pub(super) struct PartialSender<'a> {
    shared: &'a ExecutionState,
    /// Index of the item group.
    index: u64,
    /// `None` if results are not sent before the group is complete.
    finished: Option<&'a Sender<GroupResult>>,
    /// Number of partial results sent.
    sent: Cell<u64>,
}

/// A place in the results of an item group.
#[derive(Clone, Copy)]
pub(super) struct Place {
    len: usize,
    /// Number of partial results sent before.
    sent: u64,
}

impl<'a> PartialSender<'a> {
    /// Creates a sender for the item group `index`. Without `finished` it sends nothing.
    pub(super) fn new(shared: &'a ExecutionState, index: u64, finished: Option<&'a Sender<GroupResult>>) -> Self {
        PartialSender { shared, index, finished, sent: Cell::new(0) }
    }

    /// Sends `results` if they have become large, and empties them. Waits until all earlier groups are written, which
    /// bounds the memory: only the group that is next may be larger than its slot. Fails if the execution has ended.
    pub(super) fn send_if_large(&self, results: &mut Vec<ItemResult>) -> Result<(), ItemResult> {
        let bytes: usize = results.iter().map(ItemResult::memory_size).sum();
        if bytes < LARGE_RESULT_BYTES || self.finished.is_none() {
            return Ok(());
        }
        self.wait_for_turn()?;
        self.send(results)
    }

    /// Sends `results` if an output is live and the writer waits for this group. Never waits for an earlier group.
    /// Fails if the execution has ended.
    pub(super) fn send_if_live(&self, results: &mut Vec<ItemResult>) -> Result<(), ItemResult> {
        if !self.shared.prepared.is_live || results.is_empty() || !self.shared.sequencer.is_at(self.index) {
            return Ok(());
        }
        self.send(results)
    }

    /// Waits until all earlier groups are written, and so their columns known. Fails if the execution has ended.
    pub(super) fn wait_for_turn(&self) -> Result<(), ItemResult> {
        match self.shared.sequencer.wait_for(self.index) {
            true => Ok(()),
            false => Err(ItemResult::Failed(Error::Cancelled)),
        }
    }

    /// Returns the place behind `results`, for [`PartialSender::since`].
    pub(super) fn place(&self, results: &[ItemResult]) -> Place {
        Place { len: results.len(), sent: self.sent.get() }
    }

    /// Returns the index of the first result behind `place`: 0 if those before were sent meanwhile.
    pub(super) fn since(&self, place: Place) -> usize {
        if self.sent.get() == place.sent { place.len } else { 0 }
    }

    fn send(&self, results: &mut Vec<ItemResult>) -> Result<(), ItemResult> {
        let Some(finished) = self.finished else { return Ok(()) };
        let partial = GroupResult { index: self.index, slot: None, more: true, results: std::mem::take(results) };
        self.sent.set(self.sent.get() + 1);
        let taken = self.shared.sequencer.hand_over(|| finished.send(partial).is_ok());
        if taken { Ok(()) } else { Err(ItemResult::Failed(Error::Cancelled)) }
    }
}
