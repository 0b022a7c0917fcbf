//! Writes NDJSON files from the records that workers encoded, one after the other. Encodes no record; late columns need
//! no change of earlier ones.

use std::sync::Arc;

use super::writer::{FileError, FileWriter, TextSink, WrittenFile};
use crate::column::Schema;
use crate::format::Compression;
use crate::sink::Sink;

/// An NDJSON file that is being written.
pub(super) struct NdjsonFile(TextSink);

impl NdjsonFile {
    /// Creates a file on `sink`, or appends to the records that it has.
    pub(super) fn new(sink: Sink, compression: Compression) -> Self {
        NdjsonFile(TextSink::new(sink, compression))
    }
}

impl FileWriter for NdjsonFile {
    fn append_text(&mut self, text: &[u8], _columns: &Arc<Schema>) -> Result<(), FileError> {
        Ok(self.0.write(text)?)
    }

    fn bytes(&self) -> u64 {
        self.0.bytes
    }

    fn park(&mut self) -> Result<(), FileError> {
        self.0.sink.park();
        Ok(())
    }

    fn finish(self: Box<Self>, _columns: &Schema) -> Result<WrittenFile, FileError> {
        Ok(self.0.finish()?.into())
    }
}
