//! Arrow IPC files and streams: rows as the workers encoded them. The first rows, or the end, fix the columns.

use std::io::{self, BufWriter};
use std::sync::Arc;

use arrow_array::RecordBatch;

use super::writer::{FileError, FileWriter, WriterOptions};
use crate::column::Schema;
use crate::format::arrow_ipc::{ArrowForm, ArrowWriter, plain_schema};
use crate::sink::Sink;

/// An Arrow file in the making.
pub struct ArrowFile {
    /// Taken when the columns are known.
    unopened: Option<Unopened>,
    writer: Option<ArrowWriter<BufWriter<Sink>>>,
}

/// A file before its first rows.
struct Unopened {
    sink: Sink,
    form: ArrowForm,
    metadata: Arc<[(String, String)]>,
    buffer_bytes: usize,
}

impl Unopened {
    fn open(self, columns: &Schema) -> Result<ArrowWriter<BufWriter<Sink>>, FileError> {
        let buffered = BufWriter::with_capacity(self.buffer_bytes, self.sink);
        Ok(ArrowWriter::try_new(buffered, self.form, plain_schema(columns, &self.metadata))?)
    }
}

impl ArrowFile {
    /// Begins a file on `sink`.
    pub fn new(sink: Sink, form: ArrowForm, options: &WriterOptions) -> Self {
        let (metadata, buffer_bytes) = (options.metadata.clone(), options.buffer_bytes);
        ArrowFile { unopened: Some(Unopened { sink, form, metadata, buffer_bytes }), writer: None }
    }

    /// The writer, opened with these columns if it is not open yet.
    fn writer(&mut self, columns: &Schema) -> Result<&mut ArrowWriter<BufWriter<Sink>>, FileError> {
        match &mut self.writer {
            Some(writer) => Ok(writer),
            none => {
                let unopened = self.unopened.take();
                let unopened = unopened.ok_or_else(|| FileError::Bug("it failed to open before".into()))?;
                Ok(none.insert(unopened.open(columns)?))
            }
        }
    }
}

impl FileWriter for ArrowFile {
    fn append_arrow(&mut self, rows: &RecordBatch, columns: &Schema) -> Result<(), FileError> {
        Ok(self.writer(columns)?.write(rows)?)
    }

    fn bytes(&self) -> u64 {
        self.writer.as_ref().map_or(0, ArrowWriter::bytes)
    }

    fn park(&mut self) -> Result<(), FileError> {
        if let Some(writer) = &mut self.writer {
            writer.get_mut().get_mut().park();
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>, columns: &Schema) -> Result<(Sink, u64), FileError> {
        self.writer(columns)?;
        let writer = self.writer.ok_or_else(|| FileError::Bug("it failed to open before".into()))?;
        let (buffered, bytes) = writer.finish()?;
        let sink = buffered.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok((sink, bytes))
    }
}
