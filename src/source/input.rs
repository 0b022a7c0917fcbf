//! One input of a plan: its name, where its bytes or rows come from, and what is known of them beforehand.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::byte_source::ByteSource;
use crate::column::Batch;
use crate::format::{Compression, Format};

/// One input of a plan.
pub struct Source {
    /// Name for positions and messages.
    pub name: Arc<str>,
    /// Where the bytes come from.
    pub input: Input,
    /// Format, if told; else by the media type that comes with a stream, by name and first bytes.
    pub format: Option<Format>,
    /// Between the fields of CSV, if told; else by name and first bytes.
    pub delimiter: Option<u8>,
    /// Compression, if told; else by first bytes.
    pub compression: Option<Compression>,
    /// Rows that the API says the file has; the report compares.
    pub expected_rows: Option<u64>,
}

/// Where the bytes of a [`Source`] come from.
pub enum Input {
    /// A file, which can be read again.
    File(PathBuf),
    /// Standard input.
    Stdin,
    /// A stream that is open already, such as a download.
    Stream(Box<dyn ByteSource>),
    /// Rows that are columns already, such as the answer of a query.
    Rows(Box<dyn RowSource>),
}

/// Batches of rows in order, all of the same columns; at least one, which may have no rows. An error says why there are
/// no more.
pub trait RowSource: Iterator<Item = Result<Batch, BoxedError>> + Send {}

impl<T: Iterator<Item = Result<Batch, BoxedError>> + Send> RowSource for T {}

/// An error of a source of rows.
pub type BoxedError = Box<dyn std::error::Error + Send + Sync>;

impl Source {
    /// A file by its path.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Source::of(path.display().to_string().into(), Input::File(path))
    }

    /// Standard input.
    pub fn stdin() -> Self {
        Source::of("stdin".into(), Input::Stdin)
    }

    /// A stream under a name.
    pub fn stream(name: impl Into<Arc<str>>, stream: Box<dyn ByteSource>) -> Self {
        Source::of(name.into(), Input::Stream(stream))
    }

    /// The bytes of `reader`, which is read once, under a name for messages. Format and compression are inferred from the
    /// name and the first bytes; set [`Source::format`] where they are known.
    pub fn reader(name: impl Into<Arc<str>>, reader: impl io::Read + Send + 'static) -> Self {
        Source::stream(name, Box::new(Reader(reader)))
    }

    /// Rows under a name.
    pub fn rows(name: impl Into<Arc<str>>, rows: Box<dyn RowSource>) -> Self {
        Source::of(name.into(), Input::Rows(rows))
    }

    fn of(name: Arc<str>, input: Input) -> Self {
        Source { name, input, format: None, delimiter: None, compression: None, expected_rows: None }
    }
}

/// Any reader as a source of bytes: of unknown size, never known to wait.
struct Reader<R>(R);

impl<R: io::Read> io::Read for Reader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl<R: io::Read + Send> ByteSource for Reader<R> {}
