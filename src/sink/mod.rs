//! Where bytes go: a file that appears whole, or a stream.

mod file;
mod flush;
mod partial;

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

pub use file::{PendingFile, check_writable};
pub use partial::remove_stale;

/// An open target.
#[derive(Debug)]
pub enum Sink {
    /// A file under a temporary name, until it is committed.
    File(PendingFile),
    /// Standard output, or a device or pipe named by a path: what is written is out.
    Stream(File),
}

impl Sink {
    /// Opens the target at `path`. Devices and pipes are written straight to; anything else is
    /// written beside its final name and renamed by [`Sink::commit`].
    pub fn file(path: &Path, no_clobber: bool) -> io::Result<Self> {
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => Err(io::Error::new(io::ErrorKind::IsADirectory, "is a folder")),
            Ok(metadata) if !metadata.is_file() => Ok(Sink::Stream(File::options().write(true).open(path)?)),
            _ => Ok(Sink::File(PendingFile::create(path, no_clobber)?)),
        }
    }

    /// Standard output.
    pub fn stdout() -> io::Result<Self> {
        Ok(Sink::Stream(rustix::io::dup(io::stdout())?.into()))
    }

    /// True when what was written can be read again and changed before anybody sees it.
    pub fn can_go_back(&self) -> bool {
        matches!(self, Sink::File(_))
    }

    /// A second handle for reading what was written, if that is possible.
    pub fn reread(&self) -> io::Result<Option<File>> {
        match self {
            Sink::File(file) => file.reread().map(Some),
            Sink::Stream(_) => Ok(None),
        }
    }

    /// Makes the bytes of a file durable before it appears; streams have nothing to do.
    pub fn sync(&mut self) -> io::Result<()> {
        match self {
            Sink::File(file) => file.sync(),
            Sink::Stream(_) => Ok(()),
        }
    }

    /// Makes a file appear under its name, durable; streams have nothing left to do.
    pub fn commit(self) -> io::Result<()> {
        match self {
            Sink::File(file) => file.commit(),
            Sink::Stream(_) => Ok(()),
        }
    }
}

impl Write for Sink {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Sink::File(file) => file.write(buf),
            Sink::Stream(file) => file.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The folder that holds `path`.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}
