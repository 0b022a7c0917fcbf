//! An open target of any kind.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use super::file::PendingFile;
use super::object::ObjectUpload;
use super::staging::PartFile;
use super::stream::Stream;
use super::target::{Reread, Target};

/// An open target.
#[derive(Debug)]
pub enum Sink {
    /// A file under a temporary name, until it is committed.
    File(PendingFile),
    /// A file of a folder; the folder's [`super::Staging`] gives it its name.
    Part(PartFile),
    /// An object that is being uploaded; it appears when it is committed.
    Object(Box<ObjectUpload>),
    /// Standard output, or a device or pipe named by a path: what is written is out.
    Stream(Stream),
}

impl Sink {
    /// Opens the target at `path`. Devices and pipes are written straight to; anything else is
    /// written beside its final name and renamed by [`Sink::commit`].
    pub fn file(path: &Path, no_clobber: bool) -> io::Result<Self> {
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => Err(io::Error::new(io::ErrorKind::IsADirectory, "is a folder")),
            Ok(metadata) if !metadata.is_file() => Stream::open(path).map(Sink::Stream),
            _ => PendingFile::create(path, no_clobber).map(Sink::File),
        }
    }

    /// As [`Sink::file`], beginning with a copy of what stands there: it is added to, and that too appears whole or not
    /// at all.
    pub fn appending(path: &Path) -> io::Result<Self> {
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => PendingFile::create_with_contents(path).map(Sink::File),
            _ => Sink::file(path, false),
        }
    }

    /// Standard output.
    pub fn stdout() -> io::Result<Self> {
        Stream::stdout().map(Sink::Stream)
    }

    fn target(&self) -> &dyn Target {
        match self {
            Sink::File(file) => file,
            Sink::Part(part) => part,
            Sink::Object(upload) => &**upload,
            Sink::Stream(stream) => stream,
        }
    }

    fn target_mut(&mut self) -> &mut dyn Target {
        match self {
            Sink::File(file) => file,
            Sink::Part(part) => part,
            Sink::Object(upload) => &mut **upload,
            Sink::Stream(stream) => stream,
        }
    }

    /// True when what was written can be read again and changed before anybody sees it.
    pub fn can_go_back(&self) -> bool {
        self.target().can_go_back()
    }

    /// True for a file of the file system that appears when it is committed.
    pub fn is_file(&self) -> bool {
        matches!(self, Sink::File(_))
    }

    /// Bytes that stand there from before.
    pub fn bytes_before(&self) -> u64 {
        self.target().bytes_before()
    }

    /// A second handle for reading what was written, if that is possible.
    pub fn reread(&self) -> io::Result<Option<File>> {
        self.target().reread()
    }

    /// A way to read later what was written, if that is possible; [`Sink::reread`] for one who has given the sink away.
    pub fn rereader(&self) -> io::Result<Option<Reread>> {
        self.target().rereader()
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
        self.target_mut().park();
    }

    /// Makes the bytes durable before they appear; streams have nothing to do.
    pub fn sync(&mut self) -> io::Result<()> {
        self.target_mut().sync()
    }

    /// Makes a file or an object appear under its name; streams have nothing left to do.
    pub fn commit(self) -> io::Result<()> {
        let target: Box<dyn Target> = match self {
            Sink::File(file) => Box::new(file),
            Sink::Part(part) => Box::new(part),
            Sink::Object(upload) => upload,
            Sink::Stream(stream) => Box::new(stream),
        };
        target.commit()
    }
}

impl Write for Sink {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.target_mut().write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
