//! Writes files of one JSON array: brackets, separators, and the records that workers encoded. Encodes no record.

use std::sync::Arc;

use super::writer::{FileError, FileWriter, TextSink, WrittenFile};
use crate::column::Schema;
use crate::format::Compression;
use crate::sink::Sink;

/// A JSON array file that is being written.
pub(super) struct JsonArrayFile {
    text: TextSink,
    /// True once a record was written, so that the next one needs a separator.
    any: bool,
}

impl JsonArrayFile {
    /// Creates a file on `sink`; nothing is written before the first record or the end.
    pub(super) fn new(sink: Sink, compression: Compression) -> Self {
        JsonArrayFile { text: TextSink::new(sink, compression), any: false }
    }
}

impl FileWriter for JsonArrayFile {
    fn append_text(&mut self, text: &[u8], _columns: &Arc<Schema>) -> Result<(), FileError> {
        if text.is_empty() {
            return Ok(());
        }
        self.text.write_plain(if self.any { b",\n" } else { b"[\n" })?;
        self.any = true;
        Ok(self.text.write(text)?)
    }

    fn bytes(&self) -> u64 {
        self.text.bytes
    }

    fn park(&mut self) -> Result<(), FileError> {
        self.text.sink.park();
        Ok(())
    }

    fn finish(mut self: Box<Self>, _columns: &Schema) -> Result<WrittenFile, FileError> {
        self.text.write_plain(if self.any { b"\n]\n" } else { b"[]\n" })?;
        Ok(self.text.finish()?.into())
    }
}
