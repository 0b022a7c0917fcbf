//! The sum of all targets, as the pipeline uses them.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use super::file::PendingFile;
use super::kind::TargetKind;
use super::lock::OnWait;
use super::object::ObjectUpload;
use super::staging::PartFile;
use super::stream::Stream;
use super::target::{Reread, Target};
use super::whole::WholeStream;

/// An open target of any kind.
#[derive(Debug)]
pub enum Sink {
    /// A file under a temporary name, until it is committed.
    File(Box<PendingFile>),
    /// A file of a directory, which [`super::Staging::publish`] gives its name.
    Part(PartFile),
    /// An object that is being uploaded, and appears when it is committed.
    Object(Box<ObjectUpload>),
    /// A descriptor such as standard output, a device or a pipe: written bytes cannot be taken back.
    Stream(Stream),
    /// Such a stream whose bytes are kept back until the commit.
    Whole(Box<WholeStream>),
}

impl Sink {
    /// Opens the target at `path`. A file is written under a temporary name and renamed by [`Sink::commit`]; any other
    /// kind is written directly.
    pub fn file(path: &Path, no_clobber: bool) -> io::Result<Self> {
        match TargetKind::of(path)? {
            TargetKind::File(file) => PendingFile::create(file, no_clobber).map(Sink::pending),
            kind => Sink::stream(kind, path),
        }
    }

    /// Opens the target at `path` as [`Sink::file`] does, but the file can be read by its owner only, also if it replaces another one.
    pub fn private_file(path: &Path) -> io::Result<Self> {
        match TargetKind::of(path)? {
            TargetKind::File(file) => PendingFile::create_private(file).map(Sink::pending),
            kind => Sink::stream(kind, path),
        }
    }

    /// Opens the target at `path` for appending. An existing file is copied first, so that the longer file, too,
    /// appears whole or not at all; while another command appends to it, this one waits. A stream is opened as usual.
    pub fn appending(path: &Path, on_wait: OnWait<'_>) -> io::Result<Self> {
        match TargetKind::of(path)? {
            TargetKind::File(file) => PendingFile::append(file, on_wait).map(Sink::pending),
            kind => Sink::stream(kind, path),
        }
    }

    fn pending(file: PendingFile) -> Self {
        Sink::File(Box::new(file))
    }

    fn stream(kind: TargetKind, path: &Path) -> io::Result<Self> {
        match kind {
            TargetKind::Descriptor(number) => Stream::descriptor(number).map(Sink::Stream),
            TargetKind::Device => Stream::open(path).map(Sink::Stream),
            TargetKind::File(_) | TargetKind::Directory => {
                Err(io::Error::new(io::ErrorKind::IsADirectory, "is a directory"))
            }
        }
    }

    /// Opens standard output.
    pub fn stdout() -> io::Result<Self> {
        Stream::stdout().map(Sink::Stream)
    }

    /// Returns the target as one that shows nothing before its commit: a stream then gets its bytes at once.
    pub fn whole(self) -> io::Result<Self> {
        match self {
            Sink::Stream(stream) => WholeStream::new(stream).map(|whole| Sink::Whole(Box::new(whole))),
            other => Ok(other),
        }
    }

    /// Returns true for a stream, also if its bytes are kept back.
    pub fn is_stream(&self) -> bool {
        matches!(self, Sink::Stream(_) | Sink::Whole(_))
    }

    fn target(&self) -> &dyn Target {
        match self {
            Sink::File(file) => &**file,
            Sink::Part(part) => part,
            Sink::Object(upload) => &**upload,
            Sink::Stream(stream) => stream,
            Sink::Whole(whole) => &**whole,
        }
    }

    fn target_mut(&mut self) -> &mut dyn Target {
        match self {
            Sink::File(file) => &mut **file,
            Sink::Part(part) => part,
            Sink::Object(upload) => &mut **upload,
            Sink::Stream(stream) => stream,
            Sink::Whole(whole) => &mut **whole,
        }
    }

    /// Returns true if written bytes can be read and replaced before the output becomes visible.
    pub fn can_go_back(&self) -> bool {
        self.target().can_go_back()
    }

    /// Returns true for a local file that appears when it is committed.
    pub fn is_file(&self) -> bool {
        matches!(self, Sink::File(_))
    }

    /// Returns a note for the report on what the commit of a file changes besides its contents; `None` for nothing.
    pub fn note(&self) -> Option<String> {
        match self {
            Sink::File(file) => file.note(),
            _ => None,
        }
    }

    /// Returns the number of bytes that were there before, when appending; else 0.
    pub fn bytes_before(&self) -> u64 {
        self.target().bytes_before()
    }

    /// Opens the written bytes for reading; `None` if the target cannot be read.
    pub fn reread(&self) -> io::Result<Option<File>> {
        self.target().reread()
    }

    /// Returns a function that opens the written bytes for reading later, after the sink was moved elsewhere; `None`
    /// if the target cannot be read.
    pub fn rereader(&self) -> io::Result<Option<Reread>> {
        self.target().rereader()
    }

    /// Creates an empty file that is to be written in place of this one. Fails for targets whose bytes cannot be taken
    /// back.
    pub fn replacement(&self) -> io::Result<Self> {
        match self {
            Sink::File(file) => file.replacement().map(Sink::pending),
            Sink::Part(part) => Ok(Sink::Part(part.replacement())),
            Sink::Whole(whole) => whole.replacement().map(|whole| Sink::Whole(Box::new(whole))),
            _ => Err(io::Error::other("cannot replace output that was already written to a stream or a store")),
        }
    }

    /// Returns true if [`Sink::truncate`] can cut the target.
    pub fn can_truncate(&self) -> bool {
        matches!(self, Sink::Part(_))
    }

    /// Cuts a file of a directory to its first `bytes` bytes; the next write goes on there. Fails for other targets.
    pub fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        match self {
            Sink::Part(part) => part.truncate(bytes),
            _ => Err(io::Error::other("only a file of a directory can be cut")),
        }
    }

    /// Closes the handle of a file that the next write opens again. Does nothing for other targets.
    pub fn park(&mut self) {
        self.target_mut().park();
    }

    /// Makes the bytes durable before they become visible. Does nothing for streams.
    pub fn sync(&mut self) -> io::Result<()> {
        self.target_mut().sync()
    }

    /// Makes a file or an object visible under its final name. Does nothing for streams.
    pub fn commit(self) -> io::Result<()> {
        let target: Box<dyn Target> = match self {
            Sink::File(file) => file,
            Sink::Part(part) => Box::new(part),
            Sink::Object(upload) => upload,
            Sink::Stream(stream) => Box::new(stream),
            Sink::Whole(whole) => whole,
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
