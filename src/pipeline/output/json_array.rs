//! Files of one JSON array: records as the workers encoded them, with separators between pieces and brackets around all.

use std::sync::Arc;

use super::writer::{FileError, FileWriter, TextSink};
use crate::column::Schema;
use crate::format::Compression;
use crate::sink::Sink;

/// A JSON array in the making.
pub struct JsonArrayFile {
    text: TextSink,
    /// There is a record.
    any: bool,
}

impl JsonArrayFile {
    /// Begins a file on `sink`.
    pub fn new(sink: Sink, compression: Compression) -> Self {
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

    fn finish(mut self: Box<Self>, _columns: &Schema) -> Result<(Sink, u64), FileError> {
        self.text.write_plain(if self.any { b"\n]\n" } else { b"[]\n" })?;
        Ok(self.text.finish()?)
    }
}
