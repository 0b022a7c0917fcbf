//! Bounded channels of batches: the target of an output whose reader is in this process. The writer's half sends, and
//! [`BatchReader`](super::BatchReader) or [`TypedReader`](super::TypedReader) receives; neither sees a file.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use arrow_array::RecordBatch;

use crate::column::Batch;

/// Capacity in batches: the reader uses one while the next is encoded. More would only occupy memory. By eye.
const QUEUED_BATCHES: usize = 2;

/// The sending end. Two are equal if they have the same receiver.
#[derive(Clone, Debug)]
pub struct BatchSender(Arc<Ends>);

/// The rows that a receiver takes.
#[derive(Debug)]
enum Ends {
    /// Arrow rows with plain types. The first fix the columns.
    Plain(SyncSender<RecordBatch>),
    /// Rows with their types, whose columns may widen from batch to batch.
    Typed(SyncSender<Batch>),
}

impl PartialEq for BatchSender {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for BatchSender {}

impl BatchSender {
    /// Returns true if the receiver takes rows with their types, and follows columns that widen.
    pub(super) fn is_typed(&self) -> bool {
        matches!(*self.0, Ends::Typed(_))
    }

    /// Sends one batch; blocks while the channel is full. Fails with [`io::ErrorKind::BrokenPipe`] if the receiver was
    /// dropped, as a pipe without a reader does.
    pub(super) fn send(&self, batch: RecordBatch) -> io::Result<()> {
        match &*self.0 {
            Ends::Plain(sender) => sender.send(batch).map_err(|_| io::ErrorKind::BrokenPipe.into()),
            Ends::Typed(_) => Err(io::Error::other("the receiver takes rows with their types")),
        }
    }

    /// Sends one batch with its types, as [`BatchSender::send`] does.
    pub(super) fn send_typed(&self, batch: Batch) -> io::Result<()> {
        match &*self.0 {
            Ends::Typed(sender) => sender.send(batch).map_err(|_| io::ErrorKind::BrokenPipe.into()),
            Ends::Plain(_) => Err(io::Error::other("the receiver takes rows with plain types")),
        }
    }
}

/// Creates a channel. The receiver ends when all clones of the sender are dropped.
pub(super) fn channel() -> (BatchSender, Receiver<RecordBatch>) {
    let (sender, receiver) = sync_channel(QUEUED_BATCHES);
    (BatchSender(Arc::new(Ends::Plain(sender))), receiver)
}

/// Creates a channel of rows with their types.
pub(super) fn typed_channel() -> (BatchSender, Receiver<Batch>) {
    let (sender, receiver) = sync_channel(QUEUED_BATCHES);
    (BatchSender(Arc::new(Ends::Typed(sender))), receiver)
}
