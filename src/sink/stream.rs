//! Standard output, and devices and pipes that a path names: what is written is out.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use super::target::Target;
use crate::pipe;

/// A stream that is open.
#[derive(Debug)]
pub struct Stream(File);

impl Stream {
    /// Standard output, through a handle of its own.
    pub fn stdout() -> io::Result<Self> {
        Ok(Stream::of(rustix::io::dup(io::stdout())?.into()))
    }

    /// The device or pipe at `path`.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Stream::of(File::options().write(true).open(path)?))
    }

    fn of(file: File) -> Self {
        pipe::enlarge(&file, pipe::ROOM_TO_WRITE);
        Stream(file)
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Target for Stream {}
