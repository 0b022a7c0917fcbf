//! A pool of buffers for encoded text. A new buffer would grow by copies and page faults for every batch. Workers take
//! buffers and the writer returns them.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Free buffers: workers fill them, the writer writes their text and returns them.
#[derive(Debug)]
pub(crate) struct TextBuffers {
    buffers: Mutex<Vec<Vec<u8>>>,
    max_buffers: usize,
    /// Larger buffers, from an unusual morsel, are freed.
    max_bytes: usize,
}

impl TextBuffers {
    /// Creates an empty pool that keeps at most `max_buffers` buffers of at most `max_bytes` each: as many as results
    /// can be in flight, and somewhat more than the text of an ordinary morsel.
    pub(crate) fn new(max_buffers: usize, max_bytes: usize) -> Self {
        TextBuffers { buffers: Mutex::default(), max_buffers, max_bytes }
    }

    /// Returns an empty buffer, with the capacity of an earlier use if the pool has one.
    pub(crate) fn take(&self) -> Vec<u8> {
        self.lock().pop().unwrap_or_default()
    }

    /// Returns a buffer to the pool; its contents are discarded.
    pub(crate) fn give_back(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut buffers = self.lock();
        if buffers.len() < self.max_buffers && (1..=self.max_bytes).contains(&buffer.capacity()) {
            buffers.push(buffer);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        // A list of buffers is consistent after any panic.
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
