//! Buffers of encoded text, used again: a fresh one grows and faults its way to its size each time.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Buffers between the writer, which empties them, and the workers, who fill them.
#[derive(Debug)]
pub struct TextBuffers {
    buffers: Mutex<Vec<Vec<u8>>>,
    max_buffers: usize,
    /// Larger ones, made by an unusual morsel, are not kept.
    max_bytes: usize,
}

impl TextBuffers {
    /// Keeps `max_buffers` at most, of `max_bytes` each at most: as many as pieces can be on their way,
    /// and somewhat more than the text of an ordinary one.
    pub fn new(max_buffers: usize, max_bytes: usize) -> Self {
        TextBuffers { buffers: Mutex::default(), max_buffers, max_bytes }
    }

    /// An empty buffer.
    pub fn take(&self) -> Vec<u8> {
        self.lock().pop().unwrap_or_default()
    }

    /// Takes a buffer back whose contents are not needed any more.
    pub fn give(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut buffers = self.lock();
        if buffers.len() < self.max_buffers && (1..=self.max_bytes).contains(&buffer.capacity()) {
            buffers.push(buffer);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        // A list of buffers is whole after any panic.
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
