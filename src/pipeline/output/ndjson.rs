//! Files of NDJSON: records as the workers encoded them, one behind the other.

use std::sync::Arc;

use super::writer::{FileError, FileWriter, TextSink};
use crate::column::Schema;
use crate::format::Compression;
use crate::sink::Sink;

/// An NDJSON file in the making.
pub struct NdjsonFile(TextSink);

impl NdjsonFile {
    /// Begins a file on `sink`.
    pub fn new(sink: Sink, compression: Compression) -> Self {
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

    fn finish(self: Box<Self>, _columns: &Schema) -> Result<(Sink, u64), FileError> {
        Ok(self.0.finish()?)
    }
}
