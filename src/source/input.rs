//! One input of an execution plan: its name, its bytes or rows, and the properties that the user or the API specified.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::archive::ArchiveMember;
use super::byte_source::ByteSource;
use super::kept_stream::KeptStream;
use super::listing::DirectoryColumns;
use crate::column::Batch;
use crate::format::csv::CsvDialect;
use crate::format::encoding::TextEncoding;
use crate::format::{Format, SourceCodec};

/// An input of an execution plan.
pub struct Source {
    /// Name in positions and messages.
    pub name: Arc<str>,
    /// Origin of the bytes or rows.
    pub input: Input,
    /// Format, if specified. `None` infers it from the media type of a stream, the name, and the first bytes.
    pub format: Option<Format>,
    /// Dialect of CSV, as far as it is specified.
    pub csv: CsvDialect,
    /// True if `csv` does not apply to other formats; by default it is an error for them.
    pub csv_is_optional: bool,
    /// Encoding of the text, if specified. `None` is UTF-8, or UTF-16 by its byte order mark.
    pub encoding: Option<TextEncoding>,
    /// Compression, if specified. `None` infers it from the first bytes, and from the name where these cannot tell.
    pub compression: Option<SourceCodec>,
    /// Columns that all records have, from the names of directories; appended as text after the columns of the records.
    pub columns: DirectoryColumns,
    /// The columns that steps and outputs read. The others of Parquet and Arrow may have types and values without a
    /// counterpart.
    pub columns_read: ColumnsRead,
    /// True if NaN and infinities are values of Parquet and Arrow; by default they are errors, as few outputs have them.
    pub keeps_not_finite: bool,
    /// The API's `row_count`, which the report compares with the rows read; `None` for other inputs.
    pub expected_rows: Option<u64>,
    /// Id of the run whose result the source is; `None` for other inputs.
    pub run: Option<Arc<str>>,
}

/// The columns of a source that steps and outputs read; all by default.
#[derive(Clone, Debug, Default)]
pub struct ColumnsRead {
    /// These alone, if it is not `None`.
    pub only: Option<Arc<[String]>>,
    /// None of these.
    pub dropped: Arc<[String]>,
}

impl ColumnsRead {
    /// Returns true if the column `name` is among them.
    pub fn contains(&self, name: &str) -> bool {
        let is_among = |names: &[String]| names.iter().any(|other| other == name);
        self.only.as_deref().is_none_or(is_among) && !is_among(&self.dropped)
    }
}

/// The origin of the bytes or rows of a [`Source`].
pub enum Input {
    /// A file, which can be read again.
    File(PathBuf),
    /// A member of a zip archive, which can be read again.
    Member(ArchiveMember),
    /// Standard input, which can be read only once.
    Stdin,
    /// An open stream, such as a download.
    Stream(Box<dyn ByteSource>),
    /// One of the two, whose bytes are kept as they arrive.
    Kept(KeptStream),
    /// Rows that are already columnar, such as the result of a query.
    Rows(Box<dyn RowSource>),
}

/// An iterator of batches in order, all with the same columns: at least one, which may have no rows. It ends after an
/// error.
pub trait RowSource: Iterator<Item = Result<Batch, BoxedError>> + Send {}

impl<T: Iterator<Item = Result<Batch, BoxedError>> + Send> RowSource for T {}

/// An error of a source of rows.
pub type BoxedError = Box<dyn std::error::Error + Send + Sync>;

impl Source {
    /// Creates a source from the path of a file, which is also its name.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Source::of(path.display().to_string().into(), Input::File(path))
    }

    /// Creates a source from a member of an archive, whose name is behind that of the archive.
    pub fn member(member: ArchiveMember) -> Self {
        Source::of(member.display_name().into(), Input::Member(member))
    }

    /// Creates the source of standard input, named `stdin`.
    pub fn stdin() -> Self {
        Source::of("stdin".into(), Input::Stdin)
    }

    /// Creates a source from an open stream.
    pub fn stream(name: impl Into<Arc<str>>, stream: Box<dyn ByteSource>) -> Self {
        Source::of(name.into(), Input::Stream(stream))
    }

    /// Creates a source from `reader`, which is read once. Format and compression are inferred from the name and the
    /// first bytes; set [`Source::format`] if they are known.
    pub fn reader(name: impl Into<Arc<str>>, reader: impl io::Read + Send + 'static) -> Self {
        Source::stream(name, Box::new(Reader(reader)))
    }

    /// Creates a source from columnar rows.
    pub fn rows(name: impl Into<Arc<str>>, rows: Box<dyn RowSource>) -> Self {
        Source::of(name.into(), Input::Rows(rows))
    }

    fn of(name: Arc<str>, input: Input) -> Self {
        Source {
            name,
            input,
            format: None,
            csv: CsvDialect::default(),
            csv_is_optional: false,
            encoding: None,
            compression: None,
            columns: DirectoryColumns::default(),
            columns_read: ColumnsRead::default(),
            keeps_not_finite: false,
            expected_rows: None,
            run: None,
        }
    }
}

/// A reader as a source of bytes: its size is unknown, and it is taken to be always ready.
struct Reader<R>(R);

impl<R: io::Read> io::Read for Reader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl<R: io::Read + Send> ByteSource for Reader<R> {}
