//! Where bytes come from: a file, standard input, or a stream that somebody else opened (a
//! download). A source yields bytes in order; decompression and framing come after it.

mod expansion;
mod file;
mod stdin;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

pub use expansion::Expansion;
pub use file::FileSource;
pub use stdin::StdinSource;

use crate::column::Batch;
use crate::format::{Compression, Format};

/// Bytes in order, pulled by the reader thread.
///
/// `read` blocks, and returns 0 at the end. An error that is more than the system's own (a broken
/// download) travels inside [`io::Error::other`] with its type, so that the edge can name it.
pub trait ByteSource: io::Read + Send {
    /// True when a read would have to wait for more to arrive: what is parsed is then flushed.
    /// Regular files never wait.
    fn would_wait(&mut self) -> bool {
        false
    }

    /// Bytes that the source will yield in all, when known; for progress, and to share the last of them out.
    fn size_bytes(&self) -> Option<u64> {
        None
    }

    /// False if the end that was read is an end by its looks only: something else must show that nothing is missing.
    fn is_end_proven(&mut self) -> bool {
        true
    }

    /// The media type that came with the bytes, in lower case and without parameters. May block until it is known.
    fn media_type(&mut self) -> io::Result<Option<String>> {
        Ok(None)
    }
}

/// The format that a media type tells. `application/json` tells none: lines of JSON are often sent as it.
pub fn format_of_media_type(media_type: &str) -> Option<Format> {
    match media_type {
        "text/csv" | "application/csv" => Some(Format::Csv),
        "application/x-ndjson"
        | "application/ndjson"
        | "application/jsonl"
        | "application/x-jsonlines"
        | "application/jsonlines" => Some(Format::Ndjson),
        _ => None,
    }
}

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

/// An error of whoever makes rows.
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

    /// Rows under a name.
    pub fn rows(name: impl Into<Arc<str>>, rows: Box<dyn RowSource>) -> Self {
        Source::of(name.into(), Input::Rows(rows))
    }

    fn of(name: Arc<str>, input: Input) -> Self {
        Source { name, input, format: None, delimiter: None, compression: None, expected_rows: None }
    }
}
