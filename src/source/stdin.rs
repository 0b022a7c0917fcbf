//! Standard input as a source.

use std::io::{self, Read};

use super::byte_source::ByteSource;
use crate::pipe;

/// Standard input, read without the buffer of the standard library, because the morsel is the buffer.
pub struct StdinSource {
    file: std::fs::File,
}

impl StdinSource {
    /// Opens standard input through a duplicated handle. One per process: two would divide the bytes between them.
    pub fn open() -> io::Result<Self> {
        // A duplicate, because the standard library keeps its own handle open.
        let fd = rustix::io::dup(std::io::stdin())?;
        pipe::enlarge(&fd, pipe::READ_BUFFER_BYTES);
        Ok(StdinSource { file: fd.into() })
    }
}

impl Read for StdinSource {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.file.read(buf)
    }
}

impl ByteSource for StdinSource {
    fn would_wait(&mut self) -> bool {
        pipe::would_wait(&self.file)
    }
}
