//! Parquet and Arrow IPC as sources: their rows are columns already, and are read as batches of bounded size. Values are
//! converted to drawoff's types without loss; a type that has none is an error. Decodes no text and applies no step.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, RecordBatchReader, UInt32Array, make_array};
use arrow_schema::{ArrowError, SchemaRef};
use arrow_select::take::take;

use crate::column::number::fits_double;
use crate::column::{Batch, Field, Schema, Type, TypeMerge};
use crate::format::{arrow_input, parquet};
use crate::source::{BoxedError, ColumnsRead};
use crate::transform::{ForeignRules, arrow_to_batch, arrow_to_schema};
use crate::unwind::contained;

/// Rows of one batch at most. By eye: what DataFusion takes.
const MAX_BATCH_ROWS: usize = 8192;

/// Bytes of decoded values that one batch should not exceed by much; a single row may be larger.
const BATCH_BYTES: usize = 4 << 20;

type RecordBatches = Box<dyn Iterator<Item = Result<RecordBatch, BoxedError>> + Send>;

/// Rules for the columns of a Parquet or Arrow source.
#[derive(Debug, Default)]
pub(super) struct ColumnarRules {
    /// The columns that steps and outputs read.
    pub columns_read: ColumnsRead,
    /// NaN and infinities that are null.
    pub null_numbers: Vec<f64>,
    /// True if the other ones are values.
    pub keeps_not_finite: bool,
}

impl ColumnarRules {
    /// Calls `convert` with these rules.
    fn with<T>(&self, convert: impl FnOnce(&ForeignRules) -> T) -> T {
        let is_read = |name: &str| self.columns_read.contains(name);
        convert(&ForeignRules {
            is_read: &is_read,
            null_numbers: &self.null_numbers,
            keeps_not_finite: self.keeps_not_finite,
        })
    }
}

/// Rows of a Parquet or Arrow source. Yields at least one batch, which has no rows if the source has none.
pub(super) struct ColumnarRows {
    batches: RecordBatches,
    /// The types of the source.
    schema: Arc<Schema>,
    /// The same, with the integers so far: those exact in doubles can become doubles.
    seen: Arc<Schema>,
    arrow: SchemaRef,
    /// The rest of a batch that is larger than [`MAX_BATCH_ROWS`].
    rest: Option<RecordBatch>,
    /// True if all buffers of a batch are in one allocation, as those of an Arrow message are.
    shares_memory: bool,
    rules: ColumnarRules,
    /// True once a batch was returned.
    begun: bool,
    /// True after an error.
    failed: bool,
}

impl ColumnarRows {
    /// Opens a Parquet file. It is read row group by row group; its index is at the end, so that a pipe cannot be read.
    pub(super) fn parquet(file: File, rules: ColumnarRules) -> Result<Self, BoxedError> {
        undamaged(|| {
            let builder = parquet::open(file, &|name| rules.columns_read.contains(name))?;
            // The row group with the widest rows decides, so that wide rows make small batches.
            let row_bytes = builder.metadata().row_groups().iter().map(|group| {
                let rows = usize::try_from(group.num_rows()).unwrap_or(0).max(1);
                usize::try_from(group.total_byte_size()).unwrap_or(0) / rows
            });
            let row_bytes = row_bytes.max().unwrap_or(0).max(1);
            let rows = (BATCH_BYTES / row_bytes).clamp(16, MAX_BATCH_ROWS);
            let leaves = builder.metadata().file_metadata().schema_descr_ptr();
            let reader = builder.with_batch_size(rows).build()?;
            let arrow = parquet::with_uuid_marks(&reader.schema(), leaves.columns());
            ColumnarRows::new(reader, arrow, false, rules)
        })
    }

    /// Opens an Arrow IPC file, which is read by its index.
    pub(super) fn arrow_file(file: File, rules: ColumnarRules) -> Result<Self, BoxedError> {
        undamaged(|| {
            let file = arrow_input::ArrowFile::try_new(file)?;
            let arrow = file.schema();
            ColumnarRows::new(file, arrow, true, rules)
        })
    }

    /// Opens an Arrow IPC stream, or a file as a stream, from its first byte.
    pub(super) fn arrow_stream(bytes: impl Read + Send + 'static, rules: ColumnarRules) -> Result<Self, BoxedError> {
        undamaged(|| {
            let stream = arrow_input::ArrowStream::try_new(bytes)?;
            let arrow = stream.schema();
            ColumnarRows::new(stream, arrow, true, rules)
        })
    }

    fn new<E>(
        batches: impl Iterator<Item = Result<RecordBatch, E>> + Send + 'static,
        arrow: SchemaRef,
        shares_memory: bool,
        rules: ColumnarRules,
    ) -> Result<Self, BoxedError>
    where
        BoxedError: From<E>,
    {
        let schema = Arc::new(rules.with(|rules| arrow_to_schema(&arrow, rules))?);
        let batches = Box::new(batches.map(|batch| Ok(batch?)));
        let none = schema.fields.iter().map(|field| Field::new(field.name.clone(), observed(&field.ty, None)));
        let seen = Arc::new(Schema::new(none.collect()));
        Ok(ColumnarRows { batches, schema, seen, arrow, rest: None, shares_memory, rules, begun: false, failed: false })
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
        let batch = batch.slice(0, rows.min(MAX_BATCH_ROWS));
        let batch = if self.shares_memory { copied(&batch)? } else { batch };
        let mut batch = self.rules.with(|rules| arrow_to_batch(&batch, &self.arrow, &self.schema, rules))?;
        let columns = batch.columns.iter().zip(&self.schema.fields);
        let fields = columns.map(|(column, field)| Field::new(field.name.clone(), observed(&field.ty, Some(column))));
        let seen = self.seen.join(&Schema::new(fields.collect()), TypeMerge::Json);
        if seen != *self.seen {
            self.seen = Arc::new(seen);
        }
        batch.schema = self.seen.clone();
        Ok(Some(batch))
    }
}

/// Returns a copy of `slice` that shares no memory with the batch of which it is a part, nor among its columns. Memory is
/// counted by buffers, each as large as its allocation; and all elements of lists are converted, not only those of a slice.
fn copied(slice: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let rows = UInt32Array::from_iter_values(0..slice.num_rows() as u32);
    let columns = slice.columns().iter().map(|column| with_own_text(&take(column, &rows, None)?));
    let options = RecordBatchOptions::new().with_row_count(Some(slice.num_rows()));
    RecordBatch::try_new_with_options(slice.schema(), columns.collect::<Result<_, _>>()?, &options)
}

/// Returns `column` with the text of its views alone, which they share with others.
fn with_own_text(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    if let Some(text) = column.as_string_view_opt() {
        return Ok(Arc::new(text.gc()));
    }
    let data = column.to_data();
    if data.child_data().is_empty() {
        return Ok(column.clone());
    }
    let children = data.child_data().iter().map(|child| Ok(with_own_text(&make_array(child.clone()))?.to_data()));
    let children = children.collect::<Result<Vec<_>, ArrowError>>()?;
    Ok(make_array(data.into_builder().child_data(children).build()?))
}

/// Returns the type of the values of `column`, which are of type `ty`: an integer type says if all are exact in doubles. No
/// values, `None`, are exact.
fn observed(ty: &Type, column: Option<&dyn Array>) -> Type {
    match ty {
        Type::Int { .. } => {
            let ints = column.map(|column| column.as_primitive::<Int64Type>());
            Type::Int { fits_double: ints.is_none_or(|ints| ints.iter().flatten().all(fits_double)) }
        }
        Type::Struct(fields) => {
            let child = |i: usize| column.map(|column| &**column.as_struct().column(i));
            let fields = fields.iter().enumerate();
            let fields = fields.map(|(i, field)| Field::new(field.name.clone(), observed(&field.ty, child(i))));
            Type::Struct(fields.collect())
        }
        Type::List(item) => {
            Type::List(Box::new(observed(item, column.map(|column| &**column.as_list::<i32>().values()))))
        }
        Type::Map(value) => Type::map(observed(value, column.map(|column| &**column.as_map().values()))),
        other => other.clone(),
    }
}

impl Iterator for ColumnarRows {
    type Item = Result<Batch, BoxedError>;

    /// Ends after an error.
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = undamaged(|| self.next_batch()).transpose();
        self.failed = matches!(next, Some(Err(_)));
        next
    }
}

/// Calls `decode`. A panic in it is an error of the data: the readers of both formats have some for contents that no writer
/// makes.
fn undamaged<T>(decode: impl FnOnce() -> Result<T, BoxedError>) -> Result<T, BoxedError> {
    contained(decode).unwrap_or_else(|panic| {
        let panic = panic.lines().next().unwrap_or_default().to_owned();
        let what = format!("it is damaged, or has contents that are not supported: {panic}");
        Err(io::Error::new(io::ErrorKind::InvalidData, what).into())
    })
}

#[cfg(test)]
mod tests {
    use arrow_array::builder::{ListBuilder, StringViewBuilder};
    use arrow_array::{DictionaryArray, StructArray};
    use arrow_ipc::writer::StreamWriter;
    use arrow_schema::Fields;

    use super::*;

    /// One batch of `rows` rows whose text is in views, in lists of views and in a dictionary.
    fn batch(rows: usize) -> RecordBatch {
        let text = |i: usize| format!("a text of more than twelve bytes {i}");
        let (mut views, mut lists) = (StringViewBuilder::new(), ListBuilder::new(StringViewBuilder::new()));
        for i in 0..rows {
            views.append_value(text(i));
            (0..i % 3).for_each(|j| lists.values().append_value(text(i + j)));
            lists.append(i % 7 > 0);
        }
        let views: ArrayRef = Arc::new(views.finish());
        let words = (0..rows).map(|i| ["x", "y"][i % 2]);
        let dictionary: ArrayRef = Arc::new(words.collect::<DictionaryArray<arrow_array::types::Int32Type>>());
        let fields = Fields::from(vec![arrow_schema::Field::new("v", views.data_type().clone(), true)]);
        let object: ArrayRef = Arc::new(StructArray::new(fields, vec![views.clone()], None));
        let lists: ArrayRef = Arc::new(lists.finish());
        RecordBatch::try_from_iter([("v", views), ("l", lists), ("d", dictionary), ("o", object)]).unwrap()
    }

    #[test]
    fn a_large_batch_is_cut_into_parts_of_their_own() {
        let rows = 3 * MAX_BATCH_ROWS + 5;
        let whole = batch(rows);
        let mut bytes = Vec::new();
        let mut writer = StreamWriter::try_new(&mut bytes, &whole.schema()).unwrap();
        writer.write(&whole).unwrap();
        writer.finish().unwrap();
        drop(writer);
        let parts = ColumnarRows::arrow_stream(io::Cursor::new(bytes), ColumnarRules::default()).unwrap();
        let parts: Vec<Batch> = parts.map(Result::unwrap).collect();
        assert_eq!(parts.iter().map(|part| part.rows).collect::<Vec<_>>(), [8192, 8192, 8192, 5]);
        // If they shared memory, each would count all of it.
        let bytes: usize = parts.iter().map(Batch::memory_size).sum();
        assert!(bytes < 2 * whole.get_array_memory_size(), "{bytes} of {}", whole.get_array_memory_size());
        let text = |batches: &[Batch]| {
            let mut text = Vec::new();
            batches.iter().for_each(|batch| crate::format::ndjson::encode(batch, b"\n", &mut text));
            String::from_utf8(text).unwrap()
        };
        ColumnarRules::default().with(|rules| {
            let schema = Arc::new(arrow_to_schema(&whole.schema(), rules).unwrap());
            assert_eq!(text(&parts), text(&[arrow_to_batch(&whole, &whole.schema(), &schema, rules).unwrap()]));
        });
    }
}
