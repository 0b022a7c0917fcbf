//! The reader: opens the sources of a plan one after the other, decompresses them, detects their formats and frames
//! their bytes into morsels of whole records. Runs on one thread; decodes no record.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::columnar::{ColumnarRows, ColumnarRules};
use super::columns::append_source_columns;
use super::digest::{Reading, RunningDigest, SourceDigests, reading};
use super::item::{CsvSource, Item, SourceInfo};
use crate::column::{Batch, Morsel, TypeMerge};
use crate::format::codec::decompressing;
use crate::format::csv::{CsvDecoder, CsvDialect, HeaderRecord, HeaderSearch, InferredDelimiter};
use crate::format::detect::{Columnar, InputFormat};
use crate::format::encoding::{NotInEncoding, TextEncoding};
use crate::format::frame::{BufferPool, Framed, Framer, Framing};
use crate::format::json_array::JsonArrayLines;
use crate::format::json_values::{self, JsonLayout};
use crate::format::ndjson::decode_cells;
use crate::format::{Format, SourceCodec, arrow_input, csv, detect};
use crate::pipeline::error::{Error, PlanError};
use crate::pipeline::plan::Limits;
use crate::pipeline::progress::Control;
use crate::position::Position;
use crate::source::{
    BoxedError, ByteSource, Expansion, FileSource, Input, RowSource, Source, StdinSource, TooMuchExpansion,
    format_of_media_type,
};

/// Reads the sources of a plan one after the other.
pub(crate) struct SourceReader {
    waiting: VecDeque<(usize, Source)>,
    /// The open source of bytes; `None` between sources, or while `rows` is `Some`.
    current: Option<OpenSource>,
    /// The open source of rows.
    rows: Option<OpenRows>,
    limits: Limits,
    /// Return whole records whenever the source pauses, because an output is live.
    flush_on_pause: bool,
    pool: BufferPool,
    control: Control,
    /// The digests of the sources; `None` if no output needs them.
    digests: Option<SourceDigests>,
    /// True if files are digested as a whole when they are opened, because a limit may end the execution before their end.
    digests_whole_files: bool,
    /// True if the first source is CSV; all others must be like it. `None` before the first.
    is_csv: Option<bool>,
    /// True if the first source is Parquet or Arrow; all others must be like it. `None` before the first.
    is_columnar: Option<bool>,
}

/// An open source of rows that are columns already.
struct OpenRows {
    rows: Box<dyn RowSource>,
    info: Arc<SourceInfo>,
    /// True for the result of a query, false for a file.
    is_query: bool,
    /// The bytes of a stream, whose digest is known at its end.
    raw: Option<SharedSource>,
}

impl OpenRows {
    fn next(&mut self) -> Result<Option<Batch>, Error> {
        self.rows.next().transpose().map_err(|error| match self.is_query {
            true => Error::of_query_rows(error),
            false => columnar_error(&self.info.name, error),
        })
    }
}

/// Returns the numbers that are null in a Parquet or Arrow source: the words for null of a CSV source, if these are NaN and
/// infinities, and none of them if another is among them.
fn null_numbers(csv: &CsvDialect) -> Vec<f64> {
    let words = csv.null_words.iter();
    let numbers: Option<Vec<f64>> =
        words.map(|word| word.parse::<f64>().ok().filter(|number| !number.is_finite())).collect();
    numbers.unwrap_or_default()
}

/// Converts an error of the reader of Parquet or Arrow IPC: one of the data, unless the source failed.
pub(super) fn columnar_error(name: &str, error: BoxedError) -> Error {
    let invalid = |error: BoxedError| io::Error::new(io::ErrorKind::InvalidData, error);
    let cause = match error.downcast::<arrow_input::Error>() {
        Ok(error) => match *error {
            arrow_input::Error::Io(cause) => cause,
            other => invalid(other.into()),
        },
        Err(other) => match other.downcast::<io::Error>() {
            Ok(cause) => *cause,
            Err(other) => invalid(other),
        },
    };
    Error::Read { name: name.to_owned(), cause }
}

/// A source after it was opened.
enum Opened {
    Bytes(Box<OpenSource>),
    Rows(OpenRows),
}

/// Lines that were dropped before the header.
struct Skipped {
    /// Their bytes.
    bytes: u64,
    /// Lines that the source lacks.
    missing_lines: u64,
    /// The bytes that were read beyond them.
    rest: Vec<u8>,
}

struct OpenSource {
    info: Arc<SourceInfo>,
    stream: Box<dyn Read + Send>,
    /// The source below the decompression, which knows its size and whether a read would block.
    raw: SharedSource,
    compression: SourceCodec,
    framer: Framer,
    /// The last byte that was read from `stream`; `None` before the first.
    last_byte: Option<u8>,
    /// True if it has no bytes.
    is_empty: bool,
    /// Decompressed bytes up to the end of the last returned morsel.
    delivered: u64,
    ended: bool,
    /// The delimiter of a CSV source whose header was not read yet; else `None`.
    header_delimiter: Option<HeaderDelimiter>,
    /// The search for that header.
    header_search: HeaderSearch,
    /// The specified dialect of a CSV source.
    dialect: CsvDialect,
}

/// The delimiter that splits a header, and its origin.
#[derive(Clone, Copy)]
enum HeaderDelimiter {
    /// Specified, or determined by the name.
    Known(u8),
    Inferred(InferredDelimiter),
}

impl HeaderDelimiter {
    fn byte(self) -> u8 {
        match self {
            HeaderDelimiter::Known(byte) | HeaderDelimiter::Inferred(InferredDelimiter::Other(byte)) => byte,
            HeaderDelimiter::Inferred(InferredDelimiter::Comma | InferredDelimiter::Doubtful(_)) => b',',
        }
    }
}

impl SourceReader {
    /// Creates a reader of `sources`; the first is opened by [`SourceReader::next`].
    pub(crate) fn new(
        sources: Vec<Source>,
        limits: &Limits,
        flush_on_pause: bool,
        pool: BufferPool,
        control: &Control,
    ) -> Self {
        SourceReader {
            waiting: sources.into_iter().enumerate().collect(),
            current: None,
            rows: None,
            limits: limits.clone(),
            flush_on_pause,
            pool,
            control: control.clone(),
            digests: None,
            digests_whole_files: false,
            is_csv: None,
            is_columnar: None,
        }
    }

    /// Enters the digest of each source into `digests`. With `whole_files`, files are read for it once more, so that the
    /// digest is known wherever the execution ends.
    pub(crate) fn digesting(mut self, digests: SourceDigests, whole_files: bool) -> Self {
        (self.digests, self.digests_whole_files) = (Some(digests), whole_files);
        self
    }

    /// Returns true if the source that is read has nothing more for now.
    pub(crate) fn would_wait(&self) -> bool {
        self.current.as_ref().is_some_and(|open| open.raw.would_wait())
    }

    /// Returns the merge of unlike scalars for the format of the sources so far: text for CSV, JSON otherwise.
    pub(crate) fn type_merge(&self) -> TypeMerge {
        if self.is_csv == Some(true) { TypeMerge::Text } else { TypeMerge::Json }
    }

    /// Estimates the decompressed bytes that are left. `None` before the last source or if its size is unknown.
    pub(crate) fn bytes_left(&self) -> Option<u64> {
        let open = self.current.as_ref().filter(|_| self.waiting.is_empty())?;
        let size = open.raw.size_bytes()?;
        let left = match open.compression {
            SourceCodec::None => size.saturating_sub(open.delivered),
            // Assumes the compression ratio so far.
            _ => {
                let read = open.raw.read.load(Ordering::Relaxed);
                let left = u128::from(size.saturating_sub(read)) * u128::from(open.delivered) / u128::from(read.max(1));
                u64::try_from(left).unwrap_or(u64::MAX)
            }
        };
        // Zero can only mean that the file has grown since its size was read.
        (left > 0).then_some(left)
    }

    /// Returns the next item, or `None` after the last. Blocks while a source has no bytes. After an error, the reader
    /// must not be used again.
    pub(crate) fn next(&mut self) -> Result<Option<Item>, Error> {
        // One flush per pause: a second would find nothing and spin instead of blocking in the read.
        let mut flushed = false;
        loop {
            if self.control.is_cancelled() {
                return Err(Error::Cancelled);
            }
            if let Some(open) = &mut self.rows {
                let (batch, info) = (open.next()?, open.info.clone());
                return Ok(Some(match batch {
                    Some(mut batch) => {
                        append_source_columns(&mut batch, &info)?;
                        Item::Rows(batch, info)
                    }
                    None => {
                        if let (Some(digests), Some(raw)) = (&self.digests, &mut open.raw) {
                            raw.end_digest(digests, info.index)
                                .map_err(|cause| Error::Read { name: info.name.to_string(), cause })?;
                        }
                        self.rows = None;
                        Item::SourceEnd(info)
                    }
                }));
            }
            // Sources are opened lazily, one at a time: a download's link may expire, and its window costs memory.
            let Some(open) = &mut self.current else {
                let Some((index, source)) = self.waiting.pop_front() else { return Ok(None) };
                if matches!(source.input, Input::Rows(_)) {
                    let info = SourceInfo::of_source(index, &source, false);
                    let Input::Rows(rows) = source.input else { unreachable!("matched above") };
                    self.rows = Some(OpenRows { rows, info: Arc::new(info), is_query: true, raw: None });
                    continue;
                }
                let name = source.name.clone();
                let opened = self.open(index, source)?;
                // The types of a text are inferred, and those of columns are given. An empty source has neither.
                let is_columnar = matches!(opened, Opened::Rows(_));
                let is_empty = matches!(&opened, Opened::Bytes(open) if open.is_empty);
                if !is_empty && *self.is_columnar.get_or_insert(is_columnar) != is_columnar {
                    return Err(PlanError::MixedColumnar(name.to_string()).into());
                }
                let open = match opened {
                    Opened::Bytes(open) => *open,
                    Opened::Rows(open) => {
                        self.rows = Some(open);
                        continue;
                    }
                };
                let is_csv = open.info.format == Format::Csv;
                // The merge of types is chosen once, by the first source.
                if *self.is_csv.get_or_insert(is_csv) != is_csv {
                    return Err(PlanError::MixedSources(open.info.name.to_string()).into());
                }
                self.current = Some(open);
                continue;
            };
            // Framed records first: the framer must be empty before it offers space for more bytes.
            match open.framer.pop() {
                Some(Framed::Morsel(morsel)) => {
                    open.delivered = morsel.byte_offset + morsel.len as u64;
                    let morsel = match open.header_delimiter {
                        Some(delimiter) => take_header(open, &morsel, delimiter)?,
                        None => Some(morsel),
                    };
                    match morsel {
                        Some(morsel) if morsel.len > 0 => return Ok(Some(Item::Morsel(morsel, open.info.clone()))),
                        // The morsel had only blank lines, or nothing behind the header.
                        _ => continue,
                    }
                }
                Some(Framed::Oversized(oversized)) => {
                    // Without its header a CSV source has no columns, so this is no reject but the end.
                    if open.header_delimiter.is_some() {
                        let (name, max_record_bytes) = (open.info.name.to_string(), self.limits.max_record_bytes);
                        return Err(PlanError::HeaderTooLong { name, max_record_bytes }.into());
                    }
                    return Ok(Some(Item::Oversized(oversized, open.info.clone())));
                }
                None => {}
            }
            // Only now, after the framer returned the last record without a line end.
            if open.ended {
                let info = open.info.clone();
                if open.header_delimiter.is_some() && open.header_search.has_dropped_records() {
                    return Err(PlanError::NoHeader(info.name.to_string()).into());
                }
                if let Some(digests) = &self.digests {
                    open.raw
                        .end_digest(digests, info.index)
                        .map_err(|cause| Error::Read { name: info.name.to_string(), cause })?;
                }
                self.current = None;
                return Ok(Some(Item::SourceEnd(info)));
            }
            // A live output shows records as they arrive, instead of waiting for a full morsel.
            if self.flush_on_pause && !flushed && open.raw.would_wait() {
                open.framer.flush();
                flushed = true;
                continue;
            }
            let space = open.framer.space();
            match open.stream.read(space) {
                // Checked before the last records are returned: those of a truncated source would be counted.
                Ok(0) => {
                    require_proven_end(open)?;
                    open.framer.finish();
                    open.ended = true;
                }
                Ok(n) => {
                    open.last_byte = space.get(n - 1).copied();
                    open.framer.filled(n);
                    flushed = false;
                }
                // A signal; the loop checks for a cancel before it reads again.
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(read_error(&open.info.name, open.compression, &open.raw, cause)),
            }
        }
    }

    /// Opens a source and decides its compression, its format and its framing: by the plan, else by the media type of
    /// the response, else by its content and its name. Blocks until enough bytes for that are there.
    fn open(&self, index: usize, source: Source) -> Result<Opened, Error> {
        let name = source.name.clone();
        let cannot_read = |cause: io::Error| Error::Read { name: name.to_string(), cause };
        let is_stream = match &source.input {
            Input::Stream(_) => true,
            Input::Kept(stream) => !stream.is_stdin(),
            _ => false,
        };
        let info = SourceInfo::of_source(index, &source, is_stream);
        let path = match &source.input {
            Input::File(path) if path.is_file() => Some(path.clone()),
            _ => None,
        };
        let mut input: Box<dyn ByteSource> = match source.input {
            Input::File(path) => Box::new(FileSource::open(&path).map_err(cannot_read)?),
            Input::Member(member) => Box::new(member.open(self.limits.max_expansion).map_err(cannot_read)?),
            Input::Stdin => Box::new(StdinSource::open().map_err(cannot_read)?),
            Input::Stream(stream) => stream,
            Input::Kept(stream) => stream.open().map_err(cannot_read)?,
            Input::Rows(_) => unreachable!("rows are not opened as bytes"),
        };
        let declared_format = match source.format {
            Some(format) => Some(format),
            None => input.media_type().map_err(cannot_read)?.as_deref().and_then(format_of_media_type),
        };
        // Below everything else: it counts the bytes as they were sent, and knows if it was the one that failed.
        let mut raw = SharedSource {
            source: Arc::new(Mutex::new(input)),
            control: self.control.clone(),
            failed: Arc::new(AtomicBool::new(false)),
            read: Arc::new(AtomicU64::new(0)),
            digest: self.digests.is_some().then(Arc::default),
        };
        if let (Some(digests), Some(path), true) = (&self.digests, &path, self.digests_whole_files) {
            digests.set_of_file(index, path).map_err(cannot_read)?;
        }
        let (head, compression) = match source.compression {
            Some(declared) => (Vec::new(), declared),
            None => {
                let mut head = read_head(&mut raw, SourceCodec::MIN_BYTES).map_err(cannot_read)?;
                let needed = SourceCodec::bytes_needed(&head);
                if needed > head.len() && head.len() >= SourceCodec::MIN_BYTES {
                    head.extend(read_head(&mut raw, needed - head.len()).map_err(cannot_read)?);
                }
                let compression = SourceCodec::of_source(&name, &head);
                (head, compression)
            }
        };
        // The bytes read for detection are put back in front.
        let stream = io::Cursor::new(head).chain(raw.clone());
        let mut stream: Box<dyn Read + Send> = match compression {
            SourceCodec::None => Box::new(stream),
            // A small file that expands without end must not fill the disk.
            _ => {
                let expansion = Expansion::new(self.limits.max_expansion);
                let counted = expansion.counting(stream);
                Box::new(expansion.limiting(decompressing(compression, counted)))
            }
        };
        let cannot_read = |cause| read_error(&source.name, compression, &raw, cause);
        let mut head = read_text_head(&mut *stream).map_err(cannot_read)?;
        // The property of CSV that the source must have, so that another format is an error.
        let required = source.csv.first_specified().filter(|_| !source.csv_is_optional);
        let specified = source.encoding.filter(|encoding| !encoding.is_utf8());
        let encoding = specified.or_else(|| TextEncoding::of_mark(&head));
        let is_read = |format: Option<Format>, delimiter: u8| {
            if let Some(digests) = &self.digests {
                let (csv, columns) = (&source.csv, &source.columns);
                digests.set_reading(index, reading(&Reading { csv, columns, encoding, format, delimiter }));
            }
        };
        if specified.is_some() && detect::columnar(&head).is_some() {
            return Err(PlanError::NotText(name.to_string()).into());
        }
        if let Some(encoding) = encoding.filter(|_| detect::columnar(&head).is_none()) {
            stream = Box::new(encoding.decoding(io::Cursor::new(head).chain(stream)));
            head = read_text_head(&mut *stream).map_err(cannot_read)?;
        }
        // An archive, Parquet, HTML and other contents that cannot be read get an error that names them, whatever the name
        // or the response says, and not an error of the first record.
        let foreign = |found| Error::Foreign { name: name.to_string(), found };
        if let Some(kind) = detect::columnar(&head) {
            let null_numbers = if source.csv_is_optional { Vec::new() } else { null_numbers(&source.csv) };
            let of_csv = match null_numbers.is_empty() {
                true => required,
                false => CsvDialect { null_words: Arc::default(), ..source.csv.clone() }.first_specified(),
            };
            if let Some(property) = of_csv {
                return Err(PlanError::NotCsv { name: name.to_string(), property }.into());
            }
            let rules = ColumnarRules {
                columns_read: source.columns_read.clone(),
                null_numbers,
                keeps_not_finite: source.keeps_not_finite,
            };
            let has_index = kind == Columnar::Parquet || head.starts_with(arrow_input::FILE_MAGIC);
            is_read(None, b',');
            let path = path.filter(|_| has_index && compression == SourceCodec::None);
            let is_stream = path.is_none();
            let rows = match (kind, path) {
                (_, Some(path)) => {
                    if let Some(digests) = &self.digests {
                        digests.set_of_file(index, &path).map_err(cannot_read)?;
                    }
                    let file = std::fs::File::open(path).map_err(cannot_read)?;
                    // The rest of its bytes is read through the index, out of sight of the counter.
                    let size = raw.size_bytes().unwrap_or(0);
                    self.control.add_bytes_read(size.saturating_sub(raw.read.load(Ordering::Relaxed)));
                    match kind {
                        Columnar::Parquet => ColumnarRows::parquet(file, rules),
                        Columnar::Arrow => ColumnarRows::arrow_file(file, rules),
                    }
                }
                (Columnar::Arrow, None) => ColumnarRows::arrow_stream(io::Cursor::new(head).chain(stream), rules),
                (Columnar::Parquet, None) => return Err(foreign(detect::STREAMED_PARQUET)),
            };
            let rows = Box::new(rows.map_err(|error| columnar_error(&name, error))?);
            let raw = is_stream.then_some(raw);
            return Ok(Opened::Rows(OpenRows { rows, info: Arc::new(info), is_query: false, raw }));
        }
        if let Some(found) = detect::foreign(&head) {
            return Err(foreign(found));
        }
        let InputFormat { format, delimiter } = match declared_format {
            Some(format) => InputFormat { format, delimiter: detect::delimiter_of_name(&source.name) },
            None => {
                let found = detect::input_format(None, Some(&source.name), &head);
                // An empty source has the kind of the others, so that it is never a mixed source.
                let is_csv = self.is_csv.unwrap_or(required.is_some());
                let format = if is_csv { Format::Csv } else { Format::Ndjson };
                found.unwrap_or(InputFormat { format, delimiter: None })
            }
        };
        if format != Format::Csv
            && let Some(property) = required
        {
            return Err(PlanError::NotCsv { name: name.to_string(), property }.into());
        }
        let mut format = format;
        // Results of the API and sources whose format is specified are one record on each line.
        let may_have_values = match source.format {
            None => format == Format::Ndjson,
            Some(specified) => specified == Format::JsonArray && first_text_byte(&head) == Some(b'{'),
        };
        if may_have_values && source.expected_rows.is_none() {
            let read_error = |cause| read_error(&source.name, compression, &raw, cause);
            format = match self.json_layout(&mut *stream, &mut head, read_error)? {
                JsonLayout::Lines => Format::Ndjson,
                JsonLayout::Values => Format::JsonValues,
                JsonLayout::Array => Format::JsonArray,
            };
        }
        let is_empty = head.is_empty();
        stream = Box::new(io::Cursor::new(head).chain(stream));
        let mut skipped_bytes = 0;
        if format == Format::Csv && source.csv.skip_lines > 0 {
            let read_error = |cause| read_error(&source.name, compression, &raw, cause);
            let Skipped { bytes, missing_lines, rest } =
                self.skip_lines(&mut *stream, source.csv.skip_lines, read_error)?;
            // An empty source has neither lines nor records.
            if missing_lines > 0 && bytes > 0 {
                return Err(PlanError::NoHeader(name.to_string()).into());
            }
            skipped_bytes = bytes;
            stream = Box::new(io::Cursor::new(rest).chain(stream));
        }
        let header_delimiter = match (format, source.csv.delimiter.or(delimiter)) {
            (Format::Ndjson | Format::JsonArray | Format::JsonValues, _) => None,
            (Format::Csv, Some(known)) => Some(HeaderDelimiter::Known(known)),
            (Format::Csv, None) => {
                let read_error = |cause| read_error(&source.name, compression, &raw, cause);
                let (head, found) = self.infer_delimiter(&mut *stream, &source.csv, read_error)?;
                stream = Box::new(io::Cursor::new(head).chain(stream));
                // Where nothing but the first bytes determines the format, a header with tabs and no comma is TSV.
                let is_unnamed = declared_format.is_none() && !detect::has_format(&source.name);
                Some(match found {
                    InferredDelimiter::Other(b'\t') | InferredDelimiter::Doubtful(b'\t') if is_unnamed => {
                        HeaderDelimiter::Known(b'\t')
                    }
                    found => HeaderDelimiter::Inferred(found),
                })
            }
        };
        // An empty source has no rows in any format.
        is_read((!is_empty).then_some(format), header_delimiter.map_or(b',', HeaderDelimiter::byte));
        let framing = match format {
            Format::Ndjson => Framing::Lines,
            Format::JsonValues => Framing::Values,
            Format::Csv => Framing::Csv {
                delimiter: header_delimiter.map_or(b',', HeaderDelimiter::byte),
                quote: source.csv.quote.byte(),
            },
            // The brackets and commas of the array become line ends, so that the framer cuts elements like lines.
            Format::JsonArray => {
                stream = Box::new(JsonArrayLines::new(stream));
                Framing::Elements
            }
        };
        let framer =
            Framer::new(framing, self.limits.max_record_bytes, index, self.pool.clone()).at_byte(skipped_bytes);
        let delimiter = header_delimiter.map_or(b',', HeaderDelimiter::byte);
        let info = SourceInfo { format, ..info };
        Ok(Opened::Bytes(Box::new(OpenSource {
            info: Arc::new(info),
            stream,
            raw,
            compression,
            framer,
            last_byte: None,
            is_empty,
            delivered: 0,
            ended: false,
            header_delimiter,
            header_search: HeaderSearch::new(delimiter, &source.csv).with_max_columns(self.limits.max_columns),
            dialect: source.csv,
        })))
    }

    /// Reads the first bytes of a JSON source, of which `head` has some, until its layout is decided.
    fn json_layout(
        &self,
        stream: &mut dyn Read,
        head: &mut Vec<u8>,
        read_error: impl FnOnce(io::Error) -> Error,
    ) -> Result<JsonLayout, Error> {
        let mut is_all = head.is_empty();
        loop {
            if let Some(layout) = json_values::layout(head, is_all) {
                return Ok(layout);
            }
            if self.control.is_cancelled() {
                return Err(Error::Cancelled);
            }
            match read_head(stream, 1) {
                Ok(more) => {
                    is_all = more.is_empty();
                    head.extend_from_slice(&more);
                }
                Err(cause) => return Err(read_error(cause)),
            }
        }
    }

    /// Reads `lines` lines and drops them, fewer if the source ends before.
    fn skip_lines(
        &self,
        stream: &mut dyn Read,
        lines: u64,
        read_error: impl FnOnce(io::Error) -> Error,
    ) -> Result<Skipped, Error> {
        let (mut left, mut skipped, mut ends_open) = (lines, 0, false);
        loop {
            if self.control.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let mut more = match read_head(stream, 1) {
                Ok(more) => more,
                Err(cause) => return Err(read_error(cause)),
            };
            let mut end = 0;
            for line_feed in memchr::memchr_iter(b'\n', &more) {
                end = line_feed + 1;
                left -= 1;
                if left == 0 {
                    break;
                }
            }
            if left == 0 {
                let rest = more.split_off(end);
                return Ok(Skipped { bytes: skipped + end as u64, missing_lines: 0, rest });
            }
            if more.is_empty() {
                // A last line without a line end is one.
                let missing_lines = if ends_open { left - 1 } else { left };
                return Ok(Skipped { bytes: skipped, missing_lines, rest: more });
            }
            ends_open = !more.ends_with(b"\n");
            skipped += more.len() as u64;
        }
    }

    /// Reads the first bytes of a CSV source until its delimiter can be inferred from them, and returns both. That takes
    /// the header, and further records only if another delimiter than the comma splits it.
    fn infer_delimiter(
        &self,
        stream: &mut dyn Read,
        dialect: &CsvDialect,
        read_error: impl FnOnce(io::Error) -> Error,
    ) -> Result<(Vec<u8>, InferredDelimiter), Error> {
        let mut head = Vec::new();
        loop {
            if self.control.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let more = match read_head(stream, 1) {
                Ok(more) => more,
                Err(cause) => return Err(read_error(cause)),
            };
            head.extend_from_slice(&more);
            if let Some(found) = csv::infer_delimiter(&head, more.is_empty(), dialect) {
                return Ok((head, found));
            }
        }
    }
}

/// Fails unless the end of a source is proven to be its real end. Where the transport cannot tell an end from a dropped
/// connection, other evidence must do:
///
/// | format | evidence |
/// |---|---|
/// | JSON array | its closing bracket, which the framer demands |
/// | NDJSON | the API's row count; a cut line is no record |
/// | CSV | the row count and a line break at the end: a row that is cut in its last cell counts, too |
///
/// The end of a gzip member or a zstd frame is none: another one may follow.
fn require_proven_end(open: &OpenSource) -> Result<(), Error> {
    let info = &open.info;
    let is_checked_elsewhere = match info.format {
        Format::JsonArray => true,
        Format::Ndjson | Format::JsonValues => info.expected_rows.is_some(),
        Format::Csv => info.expected_rows.is_some() && matches!(open.last_byte, Some(b'\n' | b'\r')),
    };
    if is_checked_elsewhere || open.raw.is_end_proven() {
        return Ok(());
    }
    Err(Error::OpenEnd { name: info.name.to_string() })
}

/// Converts the error of a failed read: if the source below did not fail, the decompression did.
fn read_error(name: &str, compression: SourceCodec, raw: &SharedSource, cause: io::Error) -> Error {
    let name = name.to_owned();
    if let Some(&not_in_encoding) = cause.get_ref().and_then(|cause| cause.downcast_ref::<NotInEncoding>()) {
        return Error::Encoding { name, cause: not_in_encoding };
    }
    let too_large = cause.get_ref().is_some_and(|cause| cause.is::<TooMuchExpansion>());
    // One that expands too much is a whole file all the same.
    if compression == SourceCodec::None || too_large || raw.failed.load(Ordering::Relaxed) {
        Error::Read { name, cause }
    } else {
        Error::Damaged { name, cause }
    }
}

/// Splits the header off the first morsel of a CSV source and returns the rest; `None` if there are only blank lines.
/// From then on the source's items carry its decoder.
fn take_header(open: &mut OpenSource, morsel: &Morsel, found: HeaderDelimiter) -> Result<Option<Morsel>, Error> {
    let old = &open.info;
    let delimiter = found.byte();
    let cut = open.header_search.take(morsel).map_err(|bad| {
        let rejected = bad.rejected;
        let byte = morsel.byte_offset + rejected.byte as u64;
        let position = Position { source: old.name.clone(), byte, line: rejected.line + 1, record: 0 };
        Error::BadHeader { position, reject: rejected.reject, hint: bad.hint, is_too_wide: bad.is_too_wide }
    })?;
    let Some((mut header, rest)) = cut else { return Ok(None) };
    let is_absent = open.dialect.header == HeaderRecord::Absent;
    let mut other_delimiter = None;
    match found {
        HeaderDelimiter::Known(_) | HeaderDelimiter::Inferred(InferredDelimiter::Comma) => {}
        HeaderDelimiter::Inferred(InferredDelimiter::Other(other)) => {
            let other = csv::delimiter_name(other);
            let from = if is_absent { "the first records" } else { "the header and the first records" };
            header.notes.insert(0, format!("the delimiter is {other}, inferred from {from}"));
        }
        HeaderDelimiter::Inferred(InferredDelimiter::Doubtful(other)) => {
            other_delimiter = Some(other);
            let other = csv::delimiter_name(other);
            let what = if is_absent { "first record" } else { "header" };
            header.notes.insert(0, format!("read as one column, although its {what} contains {other}"));
        }
    }
    let decoder = CsvDecoder::new(header.names.clone(), delimiter, decode_cells).with_dialect(&open.dialect);
    open.info = Arc::new(SourceInfo {
        index: old.index,
        name: old.name.clone(),
        format: old.format,
        csv: Some(CsvSource { header, other_delimiter, decoder }),
        columns: old.columns.clone(),
        expected_rows: old.expected_rows,
        run: old.run.clone(),
        is_stream: old.is_stream,
    });
    open.header_delimiter = None;
    Ok(Some(rest))
}

/// Reads at least `enough` bytes, at most 4,096; fewer if the source ends.
fn read_head(stream: &mut dyn Read, enough: usize) -> io::Result<Vec<u8>> {
    let mut head = vec![0; 4096];
    let mut len = 0;
    while len < enough {
        match stream.read(&mut head[len..]) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    head.truncate(len);
    Ok(head)
}

/// Reads until there is a byte that is not white space, 64 KiB are read, or the source ends.
fn read_text_head(stream: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    loop {
        let more = read_head(stream, 1)?;
        head.extend_from_slice(&more);
        if more.is_empty() || head.len() > 1 << 16 || has_text(&head) {
            return Ok(head);
        }
    }
}

/// Returns the first byte that is neither white space nor of a byte order mark.
fn first_text_byte(head: &[u8]) -> Option<u8> {
    head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start().first().copied()
}

/// Returns true if there is a byte other than white space and a byte order mark.
fn has_text(head: &[u8]) -> bool {
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    // A partial byte order mark is not text yet.
    !text.is_empty() && !b"\xef\xbb\xbf".starts_with(text)
}

/// A source with two owners on one thread: the decompression reads it, the reader queries its size and state.
#[derive(Clone)]
struct SharedSource {
    source: Arc<Mutex<Box<dyn ByteSource>>>,
    control: Control,
    /// True once a read failed, other than by an interrupt.
    failed: Arc<AtomicBool>,
    /// Bytes read so far, before decompression.
    read: Arc<AtomicU64>,
    /// Their digest; `None` if no output needs it.
    digest: Option<Arc<Mutex<RunningDigest>>>,
}

impl SharedSource {
    fn is_end_proven(&self) -> bool {
        self.source.lock().expect("one thread only").is_end_proven()
    }

    fn size_bytes(&self) -> Option<u64> {
        self.source.lock().expect("one thread only").size_bytes()
    }

    fn would_wait(&self) -> bool {
        self.source.lock().expect("one thread only").would_wait()
    }

    /// Reads what the decompression has left of the source, and enters its digest.
    fn end_digest(&mut self, digests: &SourceDigests, index: usize) -> io::Result<()> {
        io::copy(self, &mut io::sink())?;
        if let Some(digest) = &self.digest {
            digest.lock().expect("one thread only").end(digests, index);
        }
        Ok(())
    }
}

impl Read for SharedSource {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.source.lock().expect("one thread only").read(buf);
        let n = read.inspect_err(|error| {
            if error.kind() != io::ErrorKind::Interrupted {
                self.failed.store(true, Ordering::Relaxed);
            }
        })?;
        if let Some(digest) = &self.digest {
            digest.lock().expect("one thread only").update(&buf[..n]);
        }
        self.control.add_bytes_read(n as u64);
        self.read.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}
