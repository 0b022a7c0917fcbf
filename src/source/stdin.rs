//! Standard input as a source.

use std::io::{self, Read};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::ByteSource;

/// Standard input, read without the standard library's buffer: the morsel is the buffer.
pub struct StdinSource {
    file: std::fs::File,
}

impl StdinSource {
    /// Takes standard input; one per process.
    pub fn open() -> io::Result<Self> {
        let fd = rustix::io::dup(std::io::stdin())?;
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
        let mut fds = [PollFd::new(&self.file, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(poll(&mut fds, Some(&now)), Ok(0))
    }
}
