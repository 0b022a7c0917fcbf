//! Writes Arrow IPC files and streams from rows that workers encoded. The first rows fix the columns; without rows, the
//! end of the execution does. Converts no values.

use std::io::{self, BufWriter};
use std::sync::Arc;

use arrow_array::RecordBatch;

use super::writer::{FileError, FileWriter, WriterOptions, WrittenFile};
use crate::column::Schema;
use crate::format::arrow_ipc::{ArrowForm, ArrowWriter, plain_schema};
use crate::sink::Sink;

/// An Arrow file that is being written.
pub(super) struct ArrowFile {
    /// The sink and its options until the columns are known; then `None`.
    unopened: Option<Unopened>,
    /// The writer once the columns are known.
    writer: Option<ArrowWriter<BufWriter<Sink>>>,
    /// The complete file and its bytes, once it gets no more rows.
    sealed: Option<(Sink, u64)>,
}

/// An Arrow file before its first rows, without a schema message.
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
    /// Creates a file on `sink`, and writes nothing before the columns are known.
    pub(super) fn new(sink: Sink, form: ArrowForm, options: &WriterOptions) -> Self {
        let (metadata, buffer_bytes) = (options.metadata.clone(), options.buffer_bytes);
        ArrowFile { unopened: Some(Unopened { sink, form, metadata, buffer_bytes }), writer: None, sealed: None }
    }

    /// Returns the writer, which is opened with `columns` by the first call.
    fn writer(&mut self, columns: &Schema) -> Result<&mut ArrowWriter<BufWriter<Sink>>, FileError> {
        match &mut self.writer {
            Some(writer) => Ok(writer),
            none => {
                let unopened = self.unopened.take();
                let unopened =
                    unopened.ok_or_else(|| FileError::Bug("rows follow a failed start of the file".into()))?;
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
        self.sealed.as_ref().map_or_else(|| self.writer.as_ref().map_or(0, ArrowWriter::bytes), |(_, bytes)| *bytes)
    }

    /// Writes the end of the file, whose columns are fixed.
    fn seal(&mut self) -> Result<(), FileError> {
        if let Some(writer) = self.writer.take() {
            self.sealed = Some(finish(writer)?);
        }
        Ok(())
    }

    fn park(&mut self) -> Result<(), FileError> {
        if let Some(writer) = &mut self.writer {
            writer.get_mut().get_mut().park();
        }
        if let Some((sink, _)) = &mut self.sealed {
            sink.park();
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>, columns: &Schema) -> Result<WrittenFile, FileError> {
        if let Some(sealed) = self.sealed.take() {
            return Ok(sealed.into());
        }
        self.writer(columns)?;
        Ok(finish(self.writer.ok_or_else(|| FileError::Bug("the file was never started".into()))?)?.into())
    }
}

fn finish(writer: ArrowWriter<BufWriter<Sink>>) -> Result<(Sink, u64), FileError> {
    let (buffered, bytes) = writer.finish()?;
    Ok((buffered.into_inner().map_err(io::IntoInnerError::into_error)?, bytes))
}
