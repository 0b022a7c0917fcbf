//! Where bytes go: a file that appears whole, a file of a folder that does, an object in a store, or a stream.

mod file;
mod flush;
#[cfg(feature = "object-store")]
mod object;
#[cfg(not(feature = "object-store"))]
#[path = "no_object.rs"]
mod object;
mod partial;
mod staging;

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use crate::pipe;

pub use file::{PendingFile, check_writable};
pub use object::{ObjectFolder, ObjectPlace, ObjectUpload};
pub use partial::remove_stale;
pub use staging::{PartFile, Staging};

/// Opens what was written for reading, later.
pub type Reread = Box<dyn FnOnce() -> io::Result<File> + Send>;

/// An open target.
#[derive(Debug)]
pub enum Sink {
    /// A file under a temporary name, until it is committed.
    File(PendingFile),
    /// A file of a folder; the folder's [`Staging`] gives it its name.
    Part(PartFile),
    /// An object that is being uploaded; it appears when it is committed.
    Object(Box<ObjectUpload>),
    /// Standard output, or a device or pipe named by a path: what is written is out.
    Stream(File),
    /// In place of one that was taken away.
    Nothing,
}

impl Sink {
    /// Opens the target at `path`. Devices and pipes are written straight to; anything else is
    /// written beside its final name and renamed by [`Sink::commit`].
    pub fn file(path: &Path, no_clobber: bool) -> io::Result<Self> {
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => Err(io::Error::new(io::ErrorKind::IsADirectory, "is a folder")),
            Ok(metadata) if !metadata.is_file() => Ok(Sink::stream(File::options().write(true).open(path)?)),
            _ => Ok(Sink::File(PendingFile::create(path, no_clobber)?)),
        }
    }

    /// As [`Sink::file`], beginning with a copy of what stands there: it is added to, and that too appears whole or not
    /// at all.
    pub fn appending(path: &Path) -> io::Result<Self> {
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => Ok(Sink::File(PendingFile::create_with_contents(path)?)),
            _ => Sink::file(path, false),
        }
    }

    /// Standard output.
    pub fn stdout() -> io::Result<Self> {
        Ok(Sink::stream(rustix::io::dup(io::stdout())?.into()))
    }

    fn stream(file: File) -> Self {
        pipe::enlarge(&file, pipe::ROOM_TO_WRITE);
        Sink::Stream(file)
    }

    /// True when what was written can be read again and changed before anybody sees it.
    pub fn can_go_back(&self) -> bool {
        matches!(self, Sink::File(_) | Sink::Part(_))
    }

    /// True for a file of the file system that appears when it is committed.
    pub fn is_file(&self) -> bool {
        matches!(self, Sink::File(_))
    }

    /// Bytes that stand there from before.
    pub fn bytes_before(&self) -> u64 {
        match self {
            Sink::File(file) => file.bytes_before(),
            _ => 0,
        }
    }

    /// A second handle for reading what was written, if that is possible.
    pub fn reread(&self) -> io::Result<Option<File>> {
        match self {
            Sink::File(file) => file.reread().map(Some),
            Sink::Part(part) => part.reread().map(Some),
            _ => Ok(None),
        }
    }

    /// A way to read later what was written, if that is possible; [`Sink::reread`] for one who has given the sink away.
    pub fn rereader(&self) -> io::Result<Option<Reread>> {
        Ok(match self {
            Sink::File(file) => {
                let file = file.reread()?;
                Some(Box::new(move || Ok(file)))
            }
            Sink::Part(part) => {
                let path = part.path().to_owned();
                Some(Box::new(move || File::open(path)))
            }
            _ => None,
        })
    }

    /// An empty file to be written in place of this one.
    pub fn replacement(&self) -> io::Result<Self> {
        match self {
            Sink::File(file) => file.replacement().map(Sink::File),
            Sink::Part(part) => Ok(Sink::Part(part.replacement())),
            _ => Err(io::Error::other("what was written is out")),
        }
    }

    /// Closes a file that can be opened again for the next write.
    pub fn park(&mut self) {
        if let Sink::Part(part) = self {
            part.park();
        }
    }

    /// Makes the bytes durable before they appear; streams have nothing to do.
    pub fn sync(&mut self) -> io::Result<()> {
        match self {
            Sink::File(file) => file.sync(),
            Sink::Part(part) => part.sync(),
            Sink::Object(upload) => upload.sync(),
            Sink::Stream(_) | Sink::Nothing => Ok(()),
        }
    }

    /// Makes a file or an object appear under its name; streams have nothing left to do.
    pub fn commit(self) -> io::Result<()> {
        match self {
            Sink::File(file) => file.commit(),
            Sink::Object(upload) => upload.commit(),
            Sink::Part(_) | Sink::Stream(_) | Sink::Nothing => Ok(()),
        }
    }
}

impl Write for Sink {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Sink::File(file) => file.write(buf),
            Sink::Part(part) => part.write(buf),
            Sink::Object(upload) => upload.write(buf),
            Sink::Stream(file) => file.write(buf),
            Sink::Nothing => Err(io::Error::other("nothing is open")),
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
