//! Reads Arrow IPC from bytes that may be damaged: a stream message by message, a file by its index. Each length is
//! compared with the bytes that are there before anything is allocated or decoded. Knows no files and no types of
//! drawoff.
//!
//! The decoder of the messages themselves is `arrow-ipc`, which panics on some schemas and batches that no writer makes;
//! callers contain that.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_buffer::Buffer;
use arrow_ipc::convert::fb_to_schema;
use arrow_ipc::reader::{read_dictionary, read_footer_length, read_record_batch};
use arrow_ipc::{Block, Message, MessageHeader, root_as_footer, root_as_message};
use arrow_schema::{ArrowError, SchemaRef};

/// The first bytes of an Arrow file; a stream has none.
pub const FILE_MAGIC: &[u8; 6] = b"ARROW1";

/// The magic of a file with its padding.
const PADDED_MAGIC_BYTES: usize = 8;

/// Eight-byte words between that and the first message at most: writers align it to 8 or 64.
const MAX_PADDING_WORDS: usize = 8;

/// The length of the index and the magic, the last bytes of a file.
const FILE_END_BYTES: usize = 10;

/// The bytes that precede the length of a message.
const CONTINUATION: [u8; 4] = [0xff; 4];

/// Decompressed bytes of one message that are allowed at any ratio, and the ratio beyond: as for compressed sources.
const UNCHECKED_BYTES: u64 = 256 << 20;
const MAX_EXPANSION: u64 = 1000;

/// Failure to read Arrow IPC.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The source returned an error.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The bytes end before the data does.
    #[error("the Arrow data is truncated: its end is missing")]
    Truncated,
    /// Bytes behind the end of a stream.
    #[error("bytes follow the end of the Arrow stream; read streams that were joined one by one")]
    Trailing,
    /// A file whose first messages cannot be read without its index, which is at its end.
    #[error("this Arrow file cannot be read from its start; save it to a file, or write it as a stream")]
    NeedsIndex,
    /// A length, an offset or a message that cannot be.
    #[error("the Arrow data is damaged: {0}")]
    Damaged(String),
}

impl From<ArrowError> for Error {
    // Also an I/O error is one of the decompression here: sources are read before.
    fn from(error: ArrowError) -> Self {
        damaged(error)
    }
}

fn damaged(what: impl ToString) -> Error {
    Error::Damaged(what.to_string())
}

/// The batches of an Arrow stream, or of a file that is read like one.
pub struct ArrowStream<R> {
    source: R,
    decoder: Decoder,
    is_file: bool,
    /// True if continuation marks precede the messages: always but in the streams of old versions.
    has_marks: bool,
    ended: bool,
}

impl<R: Read> ArrowStream<R> {
    /// Reads the schema. Blocks until it is there.
    pub fn try_new(mut source: R) -> Result<Self, Error> {
        let mut first = [0; PADDED_MAGIC_BYTES];
        read_whole(&mut source, &mut first)?;
        let is_file = first.starts_with(FILE_MAGIC);
        if is_file {
            // A message does not begin with zeros.
            for _ in 0..MAX_PADDING_WORDS {
                read_whole(&mut source, &mut first)?;
                if first != [0; 8] {
                    break;
                }
            }
        }
        let has_marks = first[..4] == CONTINUATION;
        let needs_index = |error| if is_file { Error::NeedsIndex } else { error };
        let mut source = io::Cursor::new(first).chain(source);
        let Some(len) = next_length(&mut source, has_marks)? else { return Err(damaged("it has no schema")) };
        let metadata = read_bytes(&mut source, len)?;
        let schema = parsed(&metadata).map_err(needs_index)?.header_as_schema();
        let schema = schema.ok_or_else(|| needs_index(damaged("its first message is no schema")))?;
        let decoder = Decoder::try_new(schema)?;
        let source = source.into_inner().1;
        // The first words are read: a length and the metadata are longer than they.
        Ok(ArrowStream { source, decoder, is_file, has_marks, ended: false })
    }

    /// Returns the schema of the batches.
    pub fn schema(&self) -> SchemaRef {
        self.decoder.schema.clone()
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>, Error> {
        while !self.ended {
            let Some(len) = next_length(&mut self.source, self.has_marks)? else {
                self.ended = true;
                return self.require_end().map(|()| None);
            };
            let metadata = read_bytes(&mut self.source, len)?;
            let body_len = body_length(&parsed(&metadata)?)?;
            let body = read_bytes(&mut self.source, body_len)?;
            if let Some(batch) = self.decoder.decode(&metadata, body)? {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }

    /// Fails unless the stream is followed by nothing, or in a file by its index, which a broken transfer may lack.
    fn require_end(&mut self) -> Result<(), Error> {
        let mut tail = Vec::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            match self.source.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) if self.is_file => {
                    tail.extend_from_slice(&buffer[..n]);
                    let kept = tail.len().min(FILE_MAGIC.len());
                    tail.drain(..tail.len() - kept);
                }
                // Padding, as of files that were read in blocks.
                Ok(n) if buffer[..n].iter().all(|&byte| byte == 0) => {}
                Ok(_) => return Err(Error::Trailing),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        if self.is_file && tail != FILE_MAGIC { Err(Error::Truncated) } else { Ok(()) }
    }
}

impl<R: Read> Iterator for ArrowStream<R> {
    type Item = Result<RecordBatch, Error>;

    /// Ends after an error: what follows it in the stream cannot be told.
    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_batch().transpose();
        self.ended |= !matches!(next, Some(Ok(_)));
        next
    }
}

/// The batches of an Arrow file, in the order of its index.
pub struct ArrowFile<R> {
    source: R,
    decoder: Decoder,
    blocks: VecDeque<Block>,
}

impl<R: Read + Seek> ArrowFile<R> {
    /// Reads the index and all dictionaries.
    pub fn try_new(mut source: R) -> Result<Self, Error> {
        let size = source.seek(SeekFrom::End(0))?;
        if size < (PADDED_MAGIC_BYTES + FILE_END_BYTES) as u64 {
            return Err(Error::Truncated);
        }
        source.seek(SeekFrom::End(-(FILE_END_BYTES as i64)))?;
        let mut end = [0; FILE_END_BYTES];
        read_whole(&mut source, &mut end)?;
        let index_len = match end.ends_with(FILE_MAGIC) {
            true => read_footer_length(end)?,
            false => return Err(Error::Truncated),
        };
        let index_start = (size - FILE_END_BYTES as u64)
            .checked_sub(index_len as u64)
            .ok_or_else(|| damaged("its index is longer than the file"))?;
        source.seek(SeekFrom::Start(index_start))?;
        let index = read_bytes(&mut source, index_len)?;
        let index = root_as_footer(&index).map_err(damaged)?;
        let schema = index.schema().ok_or_else(|| damaged("its index has no schema"))?;
        let mut decoder = Decoder::try_new(schema)?;
        let dictionaries: Vec<Block> = index.dictionaries().iter().flatten().copied().collect();
        for block in &dictionaries {
            let (metadata, body) = read_block(&mut source, block, index_start)?;
            decoder.decode(&metadata, body)?;
        }
        let blocks = index.recordBatches().ok_or_else(|| damaged("its index has no batches"))?;
        let blocks = blocks.iter().copied().collect();
        Ok(ArrowFile { source, decoder, blocks })
    }

    /// Returns the schema of the batches.
    pub fn schema(&self) -> SchemaRef {
        self.decoder.schema.clone()
    }
}

impl<R: Read + Seek> Iterator for ArrowFile<R> {
    type Item = Result<RecordBatch, Error>;

    /// Ends after an error.
    fn next(&mut self) -> Option<Self::Item> {
        let block = self.blocks.pop_front()?;
        let read = |source: &mut R| read_block(source, &block, u64::MAX);
        let batch = read(&mut self.source)
            .and_then(|(metadata, body)| self.decoder.decode(&metadata, body))
            .and_then(|batch| batch.ok_or_else(|| damaged("its index names a message that is no batch")));
        if batch.is_err() {
            self.blocks.clear();
        }
        Some(batch)
    }
}

/// Reads one message of a file, which must end before `end`.
fn read_block(source: &mut (impl Read + Seek), block: &Block, end: u64) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let lengths = (block.offset(), i64::from(block.metaDataLength()), block.bodyLength());
    let (Ok(offset), Ok(metadata_len), Ok(body_len)) =
        (u64::try_from(lengths.0), usize::try_from(lengths.1), usize::try_from(lengths.2))
    else {
        return Err(damaged("its index has a negative length"));
    };
    let after = offset.checked_add(metadata_len as u64).and_then(|end| end.checked_add(body_len as u64));
    if after.is_none_or(|after| after > end) {
        return Err(damaged("its index names a message beyond its end"));
    }
    source.seek(SeekFrom::Start(offset))?;
    let mut metadata = read_bytes(source, metadata_len)?;
    // The mark and the length, which is that in the index.
    let prefix = if metadata.starts_with(&CONTINUATION) { 8 } else { 4 };
    metadata.drain(..prefix.min(metadata_len));
    Ok((metadata, read_bytes(source, body_len)?))
}

/// Decodes messages under one schema.
struct Decoder {
    schema: SchemaRef,
    dictionaries: HashMap<i64, ArrayRef>,
}

impl Decoder {
    fn try_new(schema: arrow_ipc::Schema<'_>) -> Result<Self, Error> {
        if !schema.endianness().equals_to_target_endianness() {
            return Err(damaged("its numbers are in the byte order of another machine"));
        }
        Ok(Decoder { schema: Arc::new(fb_to_schema(schema)), dictionaries: HashMap::new() })
    }

    /// Decodes one message: returns the rows of a batch, and keeps a dictionary.
    fn decode(&mut self, metadata: &[u8], body: Vec<u8>) -> Result<Option<RecordBatch>, Error> {
        let message = parsed(metadata)?;
        let version = message.version();
        match message.header_type() {
            MessageHeader::RecordBatch => {
                let batch = message.header_as_record_batch().ok_or_else(|| damaged("a batch without contents"))?;
                check_buffers(&batch, &body)?;
                let body = Buffer::from_vec(body);
                let (schema, dictionaries) = (self.schema.clone(), &self.dictionaries);
                Ok(Some(read_record_batch(&body, batch, schema, dictionaries, None, &version)?))
            }
            MessageHeader::DictionaryBatch => {
                let dictionary =
                    message.header_as_dictionary_batch().ok_or_else(|| damaged("a dictionary without contents"))?;
                let values = dictionary.data().ok_or_else(|| damaged("a dictionary without values"))?;
                check_buffers(&values, &body)?;
                read_dictionary(&Buffer::from_vec(body), dictionary, &self.schema, &mut self.dictionaries, &version)?;
                Ok(None)
            }
            other => Err(damaged(format!("a message of type {other:?}"))),
        }
    }
}

/// Fails if a buffer of `batch` is not in `body`, or expands to more than a sound one would.
fn check_buffers(batch: &arrow_ipc::RecordBatch<'_>, body: &[u8]) -> Result<(), Error> {
    let mut expanded = 0_u64;
    for buffer in batch.buffers().iter().flatten() {
        let start = usize::try_from(buffer.offset()).ok();
        let len = usize::try_from(buffer.length()).ok();
        let range = start.zip(len).and_then(|(start, len)| body.get(start..start.checked_add(len)?));
        let bytes = range.ok_or_else(|| damaged("a buffer is not within its message"))?;
        if batch.compression().is_none() || bytes.is_empty() {
            continue;
        }
        // The size after the decompression; -1 stands before bytes that are not compressed.
        let size = bytes.first_chunk().map(|size| i64::from_le_bytes(*size));
        let size = size.ok_or_else(|| damaged("a compressed buffer without its size"))?;
        expanded = expanded.saturating_add(u64::try_from(size).unwrap_or(0));
    }
    let most = UNCHECKED_BYTES.max((body.len() as u64).saturating_mul(MAX_EXPANSION));
    if expanded > most { Err(damaged("a message expands to more than a sound one would")) } else { Ok(()) }
}

fn parsed(metadata: &[u8]) -> Result<Message<'_>, Error> {
    root_as_message(metadata).map_err(damaged)
}

fn body_length(message: &Message<'_>) -> Result<usize, Error> {
    usize::try_from(message.bodyLength()).map_err(|_| damaged("a message has a negative length"))
}

/// Reads the length of the next message; `None` at the mark that ends the stream.
fn next_length(source: &mut impl Read, has_marks: bool) -> Result<Option<usize>, Error> {
    let mut word = [0; 4];
    read_whole(source, &mut word)?;
    if has_marks {
        if word != CONTINUATION {
            return Err(damaged("a message does not begin with its mark"));
        }
        read_whole(source, &mut word)?;
    }
    match i32::from_le_bytes(word) {
        0 => Ok(None),
        len => usize::try_from(len).map(Some).map_err(|_| damaged("a message has a negative length")),
    }
}

/// Reads `len` bytes. Allocates no more than about twice of what is there, whatever the length says.
fn read_bytes(source: &mut impl Read, len: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::with_capacity(len.min(1 << 20));
    source.take(len as u64).read_to_end(&mut bytes)?;
    if bytes.len() < len { Err(Error::Truncated) } else { Ok(bytes) }
}

fn read_whole(source: &mut impl Read, buffer: &mut [u8]) -> Result<(), Error> {
    source.read_exact(buffer).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::Truncated,
        _ => Error::Io(error),
    })
}

#[cfg(test)]
mod tests {
    use arrow_array::types::Int32Type;
    use arrow_array::{DictionaryArray, Int64Array, ListArray, StringArray};
    use arrow_ipc::MetadataVersion;
    use arrow_ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};

    use super::*;
    use crate::unwind::contained;

    /// Batches of integers, text, lists and a dictionary that grows.
    fn batches() -> Vec<RecordBatch> {
        let batch = |words: [&str; 2]| {
            let ints: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
            let text: ArrayRef = Arc::new(StringArray::from(words.to_vec()));
            let lists = [Some(vec![Some(1), None]), None];
            let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists));
            let dictionary: ArrayRef = Arc::new(words.into_iter().collect::<DictionaryArray<Int32Type>>());
            RecordBatch::try_from_iter([("i", ints), ("t", text), ("l", lists), ("d", dictionary)]).unwrap()
        };
        vec![batch(["a", "b"]), batch(["b", "a"])]
    }

    fn written(is_file: bool, options: IpcWriteOptions) -> Vec<u8> {
        let batches = &batches()[..if is_file { 1 } else { 2 }];
        let (schema, mut bytes) = (batches[0].schema(), Vec::new());
        if is_file {
            let mut writer = FileWriter::try_new_with_options(&mut bytes, &schema, options).unwrap();
            batches.iter().for_each(|batch| writer.write(batch).unwrap());
            writer.finish().unwrap();
        } else {
            let mut writer = StreamWriter::try_new_with_options(&mut bytes, &schema, options).unwrap();
            batches.iter().for_each(|batch| writer.write(batch).unwrap());
            writer.finish().unwrap();
        }
        bytes
    }

    fn stream(bytes: &[u8]) -> Result<Vec<RecordBatch>, Error> {
        ArrowStream::try_new(bytes)?.collect()
    }

    fn file(bytes: &[u8]) -> Result<Vec<RecordBatch>, Error> {
        ArrowFile::try_new(io::Cursor::new(bytes))?.collect()
    }

    #[test]
    fn streams_and_files_are_read_whole_or_not_at_all() {
        let bytes = written(false, IpcWriteOptions::default());
        assert_eq!(stream(&bytes).unwrap(), batches());
        for len in 0..bytes.len() {
            assert!(stream(&bytes[..len]).is_err(), "cut at {len}");
        }
        assert_eq!(stream(&[&bytes[..], &[0; 9]].concat()).unwrap(), batches(), "padding is no data");
        assert!(matches!(stream(&[&bytes[..], &bytes].concat()), Err(Error::Trailing)));
        let bytes = written(true, IpcWriteOptions::default());
        assert_eq!(file(&bytes).unwrap(), batches()[..1]);
        assert_eq!(stream(&bytes).unwrap(), batches()[..1]);
        for len in 0..bytes.len() {
            assert!(file(&bytes[..len]).is_err() && stream(&bytes[..len]).is_err(), "cut at {len}");
        }
    }

    #[test]
    fn messages_without_marks_are_those_of_old_versions() {
        let bytes = written(false, IpcWriteOptions::try_new(8, true, MetadataVersion::V4).unwrap());
        assert_ne!(bytes[..4], CONTINUATION);
        assert_eq!(stream(&bytes).unwrap(), batches());
    }

    #[test]
    fn a_file_needs_no_readable_messages_before_its_index() {
        // As polars writes them: behind the magic stands no message of a stream.
        let mut bytes = written(true, IpcWriteOptions::default());
        let schema = bytes.windows(4).position(|word| word == CONTINUATION).unwrap();
        bytes[schema..schema + 8].copy_from_slice(&[8, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(file(&bytes).unwrap(), batches()[..1]);
        assert!(matches!(stream(&bytes), Err(Error::NeedsIndex)));
    }

    /// Memory is not allocated for a length before its bytes are there: that would end the process, which no test survives.
    #[test]
    fn damage_is_an_error_at_every_byte() {
        for is_file in [false, true] {
            let bytes = written(is_file, IpcWriteOptions::default());
            let (mut read, mut refused) = (0, 0);
            for at in 0..bytes.len() {
                for value in [0, 0x7f, 0xff, bytes[at] ^ 1] {
                    let mut damaged = bytes.clone();
                    damaged[at] = value;
                    // A panic of the decoder is contained by the caller.
                    match contained(|| if is_file { file(&damaged) } else { stream(&damaged) }) {
                        Ok(Ok(_)) => read += 1,
                        Ok(Err(_)) | Err(_) => refused += 1,
                    }
                }
            }
            assert!(read > 0 && refused > bytes.len() / 2, "{read} were read, {refused} refused");
        }
    }

    #[test]
    fn a_buffer_must_be_in_its_message_and_expand_within_reason() {
        let bytes = written(false, IpcWriteOptions::default());
        let mut decoder = Decoder { schema: batches()[0].schema(), dictionaries: HashMap::new() };
        let mut source = &bytes[..];
        let mut is_tried = false;
        while let Some(len) = next_length(&mut source, true).unwrap() {
            let metadata = read_bytes(&mut source, len).unwrap();
            let message = parsed(&metadata).unwrap();
            let mut body = read_bytes(&mut source, body_length(&message).unwrap()).unwrap();
            if message.header_type() == MessageHeader::RecordBatch {
                body.truncate(8);
                let error = decoder.decode(&metadata, body).unwrap_err();
                assert_eq!(error.to_string(), "the Arrow data is damaged: a buffer is not within its message");
                is_tried = true;
            }
        }
        assert!(is_tried);
    }
}
