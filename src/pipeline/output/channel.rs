//! Sends the rows of an output to a reader in this process, batch by batch, as the workers encoded them. Such an output
//! has no file, and batches that were sent cannot be rewritten.

use std::io;

use arrow_array::RecordBatch;

use crate::column::{Batch, Schema};
use crate::format::arrow_ipc::plain_schema;
use crate::pipeline::channel::BatchSender;

/// Sends the rows of an output, and counts them.
pub(super) struct ChannelWriter {
    sender: BatchSender,
    rows: u64,
    bytes: u64,
    sent_any: bool,
}

impl ChannelWriter {
    /// Creates a writer that has sent nothing.
    pub(super) fn new(sender: BatchSender) -> Self {
        ChannelWriter { sender, rows: 0, bytes: 0, sent_any: false }
    }

    /// Returns the rows sent so far.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Returns the bytes in memory of the batches sent so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Sends `batch` unless it is empty; blocks while the reader is behind. Fails with [`io::ErrorKind::BrokenPipe`] if
    /// the reader was dropped.
    pub(super) fn append(&mut self, batch: RecordBatch) -> io::Result<()> {
        match batch.num_rows() {
            0 => Ok(()),
            _ => self.send(batch),
        }
    }

    /// Sends `batch` with its types unless it is empty, as [`ChannelWriter::append`] does.
    pub(super) fn append_typed(&mut self, batch: Batch) -> io::Result<()> {
        if batch.rows == 0 {
            return Ok(());
        }
        let (rows, bytes) = (batch.rows as u64, batch.memory_size() as u64);
        self.sender.send_typed(batch)?;
        self.sent_any = true;
        self.rows += rows;
        self.bytes += bytes;
        Ok(())
    }

    /// Sends an empty batch if there was none: the reader of plain rows gets the columns from the first batch.
    pub(super) fn finish(&mut self, columns: &Schema) -> io::Result<()> {
        match self.sent_any || self.sender.is_typed() {
            true => Ok(()),
            false => self.send(RecordBatch::new_empty(plain_schema(columns, &[]))),
        }
    }

    fn send(&mut self, batch: RecordBatch) -> io::Result<()> {
        let (rows, bytes) = (batch.num_rows() as u64, batch.get_array_memory_size() as u64);
        self.sender.send(batch)?;
        self.sent_any = true;
        self.rows += rows;
        self.bytes += bytes;
        Ok(())
    }
}
