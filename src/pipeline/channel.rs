//! A bounded channel of batches: the target of an output whose reader is in this process. The writer's half sends, and
//! [`BatchReader`](super::BatchReader) receives; neither sees a file.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use arrow_array::RecordBatch;

/// Capacity in batches: the reader uses one while the next is encoded. More would only occupy memory. By eye.
const QUEUED_BATCHES: usize = 2;

/// The sending end. Two are equal if they have the same receiver.
#[derive(Clone, Debug)]
pub struct BatchSender(Arc<SyncSender<RecordBatch>>);

impl PartialEq for BatchSender {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for BatchSender {}

impl BatchSender {
    /// Sends one batch; blocks while the channel is full. Fails with [`io::ErrorKind::BrokenPipe`] if the receiver was
    /// dropped, as a pipe without a reader does.
    pub(super) fn send(&self, batch: RecordBatch) -> io::Result<()> {
        self.0.send(batch).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// Creates a channel. The receiver ends when all clones of the sender are dropped.
pub(super) fn channel() -> (BatchSender, Receiver<RecordBatch>) {
    let (sender, receiver) = sync_channel(QUEUED_BATCHES);
    (BatchSender(Arc::new(sender)), receiver)
}
