//! A bounded channel of batches: the target of an output whose reader is in this process. The writer's half sends, and
//! [`BatchReader`](super::BatchReader) receives; neither sees a file.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use arrow_array::RecordBatch;

/// Batches between writer and reader: one is used while the next is made. More would only hold memory. By eye.
const QUEUED_BATCHES: usize = 2;

/// The sending end. Two are equal if they lead to the same reader.
#[derive(Clone, Debug)]
pub struct BatchSender(Arc<SyncSender<RecordBatch>>);

impl PartialEq for BatchSender {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for BatchSender {}

impl BatchSender {
    /// Sends one batch; blocks while the channel is full. A reader that was dropped looks like a pipe without one.
    pub(super) fn send(&self, batch: RecordBatch) -> io::Result<()> {
        self.0.send(batch).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// A new channel. The receiver ends when all clones of the sender are dropped.
pub(super) fn channel() -> (BatchSender, Receiver<RecordBatch>) {
    let (sender, receiver) = sync_channel(QUEUED_BATCHES);
    (BatchSender(Arc::new(sender)), receiver)
}
