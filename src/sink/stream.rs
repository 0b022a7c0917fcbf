//! Streams: standard output, and devices and pipes with a path. Written bytes are visible at once and cannot be taken
//! back, so a commit does nothing.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use super::target::Target;
use crate::pipe;

/// An open stream.
#[derive(Debug)]
pub struct Stream(File);

impl Stream {
    /// Opens standard output through a duplicated handle, past the buffer of the standard library.
    pub fn stdout() -> io::Result<Self> {
        Ok(Stream::of(rustix::io::dup(io::stdout())?.into()))
    }

    /// Opens the device or pipe at `path`. Blocks for a named pipe until it has a reader.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Stream::of(File::options().write(true).open(path)?))
    }

    fn of(file: File) -> Self {
        pipe::enlarge(&file, pipe::WRITE_BUFFER_BYTES);
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
