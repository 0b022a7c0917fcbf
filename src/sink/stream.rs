//! Streams: standard output and other open descriptors, and devices, pipes and sockets with a path. Written bytes are visible at once and cannot be taken
//! back, so a commit does nothing.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::descriptor;
use super::target::Target;
use crate::pipe;

/// An open stream.
#[derive(Debug)]
pub struct Stream(File);

impl Stream {
    /// Opens standard output through a duplicated handle, past the buffer of the standard library.
    pub fn stdout() -> io::Result<Self> {
        Stream::descriptor(1)
    }

    /// Opens a descriptor of this process through a duplicated handle: bytes are written where the descriptor stands.
    pub(super) fn descriptor(number: i32) -> io::Result<Self> {
        descriptor::duplicate(number).map(Stream::of)
    }

    /// Opens the device, pipe or socket at `path`. Blocks for a named pipe until it has a reader.
    pub fn open(path: &Path) -> io::Result<Self> {
        if std::fs::metadata(path)?.file_type().is_socket() {
            return Ok(Stream::of(OwnedFd::from(UnixStream::connect(path)?).into()));
        }
        Ok(Stream::of(File::options().write(true).open(path)?))
    }

    /// Returns a handle of the same stream.
    pub(super) fn duplicate(&self) -> io::Result<Self> {
        self.0.try_clone().map(Stream)
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
