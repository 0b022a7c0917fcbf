//! Parquet and Arrow IPC as sources: their rows are columns already, and are read as batches of bounded size. Values are
//! converted to drawoff's types without loss; a type that has none is an error. Decodes no text and applies no step.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchReader};
use arrow_ipc::reader::StreamReader;
use arrow_schema::{ArrowError, SchemaRef};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::column::{Batch, Schema};
use crate::source::BoxedError;
use crate::transform::{arrow_to_batch, arrow_to_schema};

/// Rows of one batch at most. By eye: what DataFusion takes.
const MAX_BATCH_ROWS: usize = 8192;

/// Bytes of decoded values that one batch should not exceed by much; a single row may be larger.
const BATCH_BYTES: usize = 4 << 20;

/// Bytes before the stream in an Arrow file: its magic and padding.
const ARROW_FILE_MAGIC: &[u8; 8] = b"ARROW1\0\0";

/// Eight-byte words between that and the first message at most, and the first of the message itself.
const MAX_PADDING_WORDS: usize = 8;

/// The message that ends an Arrow stream.
const END_OF_STREAM: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

type RecordBatches = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>;

/// Rows of a Parquet or Arrow source. Yields at least one batch, which has no rows if the source has none.
pub(super) struct ColumnarRows {
    batches: RecordBatches,
    schema: Arc<Schema>,
    arrow: SchemaRef,
    /// The rest of a batch that is larger than [`MAX_BATCH_ROWS`].
    rest: Option<RecordBatch>,
    /// True once a batch was returned.
    begun: bool,
}

impl ColumnarRows {
    /// Opens a Parquet file. It is read row group by row group; its index is at the end, so that a pipe cannot be read.
    pub(super) fn parquet(file: File) -> Result<Self, BoxedError> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
        // The row group with the widest rows decides, so that wide rows make small batches.
        let row_bytes = builder.metadata().row_groups().iter().map(|group| {
            let rows = usize::try_from(group.num_rows()).unwrap_or(0).max(1);
            usize::try_from(group.total_byte_size()).unwrap_or(0) / rows
        });
        let row_bytes = row_bytes.max().unwrap_or(0).max(1);
        let rows = (BATCH_BYTES / row_bytes).clamp(16, MAX_BATCH_ROWS);
        let reader = builder.with_batch_size(rows).build()?;
        let arrow = reader.schema();
        ColumnarRows::new(Box::new(reader), arrow)
    }

    /// Opens an Arrow IPC file or stream from its first byte. Both are read from start to end.
    pub(super) fn arrow(mut bytes: Box<dyn Read + Send>) -> Result<Self, BoxedError> {
        let mut magic = [0; ARROW_FILE_MAGIC.len()];
        bytes.read_exact(&mut magic)?;
        let is_file = magic == *ARROW_FILE_MAGIC;
        if is_file {
            // Writers pad the magic to their alignment, which is 8 or 64; a message does not begin with zeros.
            for _ in 0..MAX_PADDING_WORDS {
                bytes.read_exact(&mut magic)?;
                if magic != [0; 8] {
                    break;
                }
            }
        }
        let bytes = Box::new(io::Cursor::new(magic).chain(bytes));
        let reader = StreamReader::try_new(TailReader { bytes, tail: [0; 8] }, None)?;
        let arrow = reader.schema();
        ColumnarRows::new(Box::new(ArrowBatches { reader, is_file, ended: false }), arrow)
    }

    fn new(batches: RecordBatches, arrow: SchemaRef) -> Result<Self, BoxedError> {
        let schema = Arc::new(arrow_to_schema(&arrow)?);
        Ok(ColumnarRows { batches, schema, arrow, rest: None, begun: false })
    }

    fn next_batch(&mut self) -> Result<Option<Batch>, BoxedError> {
        let batch = match self.rest.take() {
            Some(rest) => rest,
            None => match self.batches.next().transpose()? {
                Some(batch) => batch,
                None if self.begun => return Ok(None),
                None => RecordBatch::new_empty(self.arrow.clone()),
            },
        };
        self.begun = true;
        let rows = batch.num_rows();
        if rows > MAX_BATCH_ROWS {
            self.rest = Some(batch.slice(MAX_BATCH_ROWS, rows - MAX_BATCH_ROWS));
        }
        Ok(Some(arrow_to_batch(&batch.slice(0, rows.min(MAX_BATCH_ROWS)), &self.schema)?))
    }
}

impl Iterator for ColumnarRows {
    type Item = Result<Batch, BoxedError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_batch().transpose()
    }
}

/// The batches of an Arrow stream, and the proof that it is whole: its reader takes an end between two messages for the
/// end of the stream, which a broken transfer may be.
struct ArrowBatches {
    reader: StreamReader<TailReader>,
    is_file: bool,
    ended: bool,
}

impl Iterator for ArrowBatches {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let batch = self.reader.next();
        self.ended = !matches!(batch, Some(Ok(_)));
        match batch {
            None => self.reader.get_mut().require_end(self.is_file).err().map(|cause| Err(cause.into())),
            batch => batch,
        }
    }
}

/// A reader that keeps the last bytes read.
struct TailReader {
    bytes: Box<dyn Read + Send>,
    tail: [u8; 8],
}

impl TailReader {
    /// Fails unless the end of the stream was read and, in a file, the magic behind the index.
    fn require_end(&mut self, is_file: bool) -> io::Result<()> {
        let mut is_whole = self.tail == END_OF_STREAM;
        let mut buffer = vec![0; 64 << 10];
        // Behind the stream is the index of a file, or nothing.
        loop {
            match self.read(&mut buffer) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        is_whole &= !is_file || self.tail.ends_with(b"ARROW1");
        match is_whole {
            true => Ok(()),
            false => {
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the Arrow data is truncated: its end is missing"))
            }
        }
    }
}

impl Read for TailReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.bytes.read(buf)?;
        let kept = n.min(self.tail.len());
        self.tail.rotate_left(kept);
        let at = self.tail.len() - kept;
        self.tail[at..].copy_from_slice(&buf[n - kept..n]);
        Ok(n)
    }
}
