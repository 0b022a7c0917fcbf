//! Encodes batches as Arrow IPC, as a stream for pipes or as a file.
//!
//! Text is written as plain `Utf8`, not as the views in which batches carry it: every Arrow reader knows that type. There
//! are no dictionaries and no compression, so that readers can map the file. The columns are those of the first batch;
//! they never widen.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, ListArray, MapArray, RecordBatch, RecordBatchOptions, StructArray};
use arrow_ipc::writer::{FileWriter, StreamWriter};
use arrow_schema::{ArrowError, DataType, Field, Fields, SchemaRef};

use crate::column::{Batch, Schema};

/// The form of Arrow IPC that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArrowForm {
    /// `.arrows`: the schema, then the batches in order.
    Stream,
    /// `.arrow`: as a stream, with an index at the end.
    File,
}

/// Failure to write Arrow IPC.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The output returned an error.
    #[error("cannot write the output")]
    Io(#[from] io::Error),
    /// The Arrow writer returned an error of its own.
    #[error("cannot encode as Arrow")]
    Encode(#[source] ArrowError),
    /// More text in one column of one batch than 32-bit offsets reach.
    #[error("cannot encode as Arrow: a column has {bytes} bytes of text in one batch, and a Utf8 array holds 2 GiB")]
    TooMuchText {
        /// Bytes of text in the column.
        bytes: usize,
    },
}

impl From<ArrowError> for Error {
    /// Unwraps I/O errors, so that a closed pipe and a full disk stay recognisable.
    fn from(error: ArrowError) -> Self {
        match error {
            ArrowError::IoError(_, cause) => Error::Io(cause),
            other => Error::Encode(other),
        }
    }
}

/// Returns the Arrow schema of an output with the columns of `schema`, text as `Utf8`.
pub fn plain_schema(schema: &Schema, metadata: &[(String, String)]) -> SchemaRef {
    let fields: Fields = schema.fields.iter().map(|field| plain_field(&field.to_arrow())).collect();
    let metadata: HashMap<String, String> = metadata.iter().cloned().collect();
    Arc::new(arrow_schema::Schema::new_with_metadata(fields, metadata))
}

/// Converts `batch` to the arrays that are written. Fails if a column has more than 2 GiB of text.
pub fn plain_batch(batch: &Batch) -> Result<RecordBatch, Error> {
    let columns = batch.columns.iter().map(plain).collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.rows));
    Ok(RecordBatch::try_new_with_options(plain_schema(&batch.schema, &[]), columns, &options)?)
}

fn plain_field(field: &Field) -> Field {
    Field::new(field.name(), plain_type(field.data_type()), field.is_nullable())
}

fn plain_type(ty: &DataType) -> DataType {
    match ty {
        DataType::Utf8View => DataType::Utf8,
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(|field| plain_field(field)).collect()),
        DataType::List(item) => DataType::List(Arc::new(plain_field(item))),
        DataType::Map(entries, sorted) => DataType::Map(Arc::new(plain_field(entries)), *sorted),
        other => other.clone(),
    }
}

fn plain(array: &ArrayRef) -> Result<ArrayRef, Error> {
    Ok(match plain_type(array.data_type()) {
        DataType::Utf8 => {
            let views = array.as_string_view();
            // The builder would panic on offsets beyond 32 bits.
            let bytes = views.iter().flatten().map(str::len).sum();
            if bytes > i32::MAX as usize {
                return Err(Error::TooMuchText { bytes });
            }
            let mut texts = StringBuilder::with_capacity(views.len(), bytes);
            views.iter().for_each(|text| texts.append_option(text));
            Arc::new(texts.finish())
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns().iter().map(plain).collect::<Result<Vec<_>, _>>()?;
            Arc::new(StructArray::try_new_with_length(fields, columns, array.nulls().cloned(), array.len())?)
        }
        DataType::List(item) => {
            let list = array.as_list::<i32>();
            let values = plain(list.values())?;
            Arc::new(ListArray::try_new(item, list.offsets().clone(), values, list.nulls().cloned())?)
        }
        // Entries are converted as the struct that they are.
        DataType::Map(field, sorted) => {
            let map = array.as_map();
            let entries: ArrayRef = Arc::new(map.entries().clone());
            let entries = plain(&entries)?.as_struct().clone();
            Arc::new(MapArray::try_new(field, map.offsets().clone(), entries, map.nulls().cloned(), sorted)?)
        }
        _ => array.clone(),
    })
}

/// Writer of one stream or file.
pub struct ArrowWriter<W: Write> {
    form: Form<W>,
    schema: SchemaRef,
}

enum Form<W> {
    Stream(Box<StreamWriter<Counted<W>>>),
    File(Box<FileWriter<Counted<W>>>),
}

impl<W: Write> ArrowWriter<W> {
    /// Writes the schema. `out` should be buffered: a message takes several writes.
    pub fn try_new(out: W, form: ArrowForm, schema: SchemaRef) -> Result<Self, Error> {
        let out = Counted { inner: out, bytes: 0 };
        let form = match form {
            ArrowForm::Stream => Form::Stream(Box::new(StreamWriter::try_new(out, &schema)?)),
            ArrowForm::File => Form::File(Box::new(FileWriter::try_new(out, &schema)?)),
        };
        Ok(ArrowWriter { form, schema })
    }

    /// Appends rows and flushes. Columns are matched to the schema by position.
    pub fn write(&mut self, rows: &RecordBatch) -> Result<(), Error> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let rows = RecordBatch::try_new_with_options(self.schema.clone(), rows.columns().to_vec(), &options)?;
        match &mut self.form {
            Form::Stream(writer) => {
                writer.write(&rows)?;
                writer.flush()?;
            }
            Form::File(writer) => {
                writer.write(&rows)?;
                writer.flush()?;
            }
        }
        Ok(())
    }

    /// Returns the output. Bytes written to it directly are not counted.
    pub fn get_mut(&mut self) -> &mut W {
        match &mut self.form {
            Form::Stream(writer) => &mut writer.get_mut().inner,
            Form::File(writer) => &mut writer.get_mut().inner,
        }
    }

    /// Returns the bytes written so far.
    pub fn bytes(&self) -> u64 {
        match &self.form {
            Form::Stream(writer) => writer.get_ref().bytes,
            Form::File(writer) => writer.get_ref().bytes,
        }
    }

    /// Ends the stream or file; returns the output, flushed, and the bytes written to it.
    pub fn finish(self) -> Result<(W, u64), Error> {
        let out = match self.form {
            Form::Stream(writer) => writer.into_inner()?,
            Form::File(writer) => writer.into_inner()?,
        };
        Ok((out.inner, out.bytes))
    }
}

struct Counted<W> {
    inner: W,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(buf)?;
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use arrow_ipc::reader::{FileReader, StreamReader};

    use super::*;
    use crate::column::Morsel;
    use crate::format::decode::Outcome;
    use crate::format::ndjson::{self, DecodeOptions, InferOptions, UnknownKey, ValueTypes};

    fn batch(text: &str) -> Batch {
        let morsel = Morsel::from_vec(text.as_bytes().to_vec(), 0, 0);
        let max_record_bytes = 1 << 20;
        let survey = InferOptions { keys: ValueTypes::Typed, max_record_bytes, enforced: None, trace: false };
        let schema = ndjson::infer_columns(&morsel, &survey).schema;
        let options = DecodeOptions {
            unknown_key: UnknownKey::SchemaMismatch,
            new_columns: ValueTypes::Typed,
            freeze: false,
            max_record_bytes,
            max_cells: 1 << 20,
            record_spans: false,
            canonical_json: false,
        };
        match ndjson::decode(&morsel, &Arc::new(schema), &options) {
            Outcome::Decoded(decoded) => decoded.batch,
            Outcome::SchemaMismatch(_) => panic!("the schema is of the same morsel"),
        }
    }

    const ROWS: &str = concat!(
        r#"{"a":"short","b":{"c":["a text of more than twelve bytes",null],"d":1},"e":null}"#,
        "\n",
        r#"{"a":null,"b":null,"e":null}"#,
        "\n",
        r#"{"a":"","b":{"c":[],"d":-2.5},"e":null}"#,
        "\n"
    );

    #[test]
    fn both_forms_are_read_back() {
        let batch = batch(ROWS);
        let rows = plain_batch(&batch).unwrap();
        let schema = plain_schema(&batch.schema, &[("drawoff.version".into(), "1".into())]);
        for form in [ArrowForm::Stream, ArrowForm::File] {
            let mut writer = ArrowWriter::try_new(Vec::new(), form, schema.clone()).unwrap();
            writer.write(&rows).unwrap();
            writer.write(&rows.slice(1, 2)).unwrap();
            let (bytes, counted) = writer.finish().unwrap();
            assert_eq!(bytes.len() as u64, counted);
            let read: Vec<RecordBatch> = match form {
                ArrowForm::Stream => StreamReader::try_new(&*bytes, None).unwrap().map(Result::unwrap).collect(),
                ArrowForm::File => {
                    FileReader::try_new(std::io::Cursor::new(&bytes), None).unwrap().map(Result::unwrap).collect()
                }
            };
            assert_eq!(read[0].schema(), schema);
            assert_eq!(read[0].columns(), rows.columns());
            assert_eq!(read[1].columns(), rows.slice(1, 2).columns());
            assert_eq!(read[0].column(0).data_type(), &DataType::Utf8);
        }
    }

    #[test]
    fn a_stream_of_no_rows_has_its_columns() {
        let batch = batch(ROWS);
        let schema = plain_schema(&batch.schema, &[]);
        let (bytes, _) = ArrowWriter::try_new(Vec::new(), ArrowForm::Stream, schema.clone()).unwrap().finish().unwrap();
        let mut reader = StreamReader::try_new(&*bytes, None).unwrap();
        assert_eq!(reader.schema(), schema);
        assert!(reader.next().is_none());
    }
}
