//! Parquet files that drawoff itself wrote, as sources: each is opened when its turn comes, and read in columns and types that
//! are given. What the file alone does not tell, such as a column that never had a value, is in the types of its writer.

use std::fs::File;
use std::io;
use std::sync::Arc;

use arrow_array::{ArrayRef, new_null_array};

use super::columnar::{ColumnarRows, ColumnarRules};
use super::reader::columnar_error;
use crate::column::{Batch, Schema, cast_array};
use crate::source::{BoxedError, Source};

/// A Parquet file with the columns that it is read in.
pub struct TypedPart {
    /// Name in errors.
    pub name: String,
    /// Opens the file, once, when the rows before it were read.
    pub open: Box<dyn FnOnce() -> io::Result<File> + Send>,
    /// Columns of the file, with the types that its writer knew.
    pub written: Arc<Schema>,
    /// Columns that all rows get: those of the file, each of the same type or a wider one, and others, which are null.
    pub columns: Arc<Schema>,
    /// Rows that the file must have.
    pub rows: u64,
}

impl TypedPart {
    /// Returns the source of no rows with these columns.
    pub fn none(columns: &Arc<Schema>) -> Source {
        let none = columns.fields.iter().map(|field| new_null_array(&field.ty.to_arrow(), 0)).collect();
        Source::rows("no rows", Box::new(std::iter::once(Ok(Batch::new(columns.clone(), none, 0)))))
    }

    /// Returns the source of its rows. Its errors are those of a file that cannot be read.
    pub fn into_source(self) -> Source {
        let name = self.name.clone();
        Source::rows(name, Box::new(PartRows { waiting: Some(self), open: None }))
    }
}

/// Rows of a part.
struct PartRows {
    /// The file until it is opened.
    waiting: Option<TypedPart>,
    /// The open file; `None` before, at the end, and after an error.
    open: Option<OpenPart>,
}

struct OpenPart {
    name: String,
    rows: ColumnarRows,
    written: Arc<Schema>,
    columns: Arc<Schema>,
    /// Position in the file of each column; `None` if it lacks the column.
    positions: Vec<Option<usize>>,
    /// Rows that are still to come.
    left: u64,
}

impl PartRows {
    fn next_batch(&mut self) -> Result<Option<Batch>, BoxedError> {
        if let Some(part) = self.waiting.take() {
            self.open = Some(OpenPart::open(part)?);
        }
        let Some(open) = &mut self.open else { return Ok(None) };
        match open.next_batch()? {
            Some(batch) => Ok(Some(batch)),
            None => {
                self.open = None;
                Ok(None)
            }
        }
    }
}

impl OpenPart {
    fn open(part: TypedPart) -> Result<Self, BoxedError> {
        let TypedPart { name, open, written, columns, rows } = part;
        let failed = |cause: BoxedError| -> BoxedError { Box::new(columnar_error(&name, cause)) };
        let file = open().map_err(|cause| failed(cause.into()))?;
        let read = ColumnarRows::parquet(file, ColumnarRules::default()).map_err(failed)?;
        let positions = columns.fields.iter().map(|field| written.position(&field.name)).collect();
        Ok(OpenPart { name, rows: read, written, columns, positions, left: rows })
    }

    fn next_batch(&mut self) -> Result<Option<Batch>, BoxedError> {
        let Some(batch) = self.rows.next() else {
            return match self.left {
                0 => Ok(None),
                left => Err(self.failed(format!("it ends {left} rows too early"))),
            };
        };
        let batch = batch.map_err(|error| -> BoxedError { Box::new(columnar_error(&self.name, error)) })?;
        let Some(left) = self.left.checked_sub(batch.rows as u64) else {
            return Err(self.failed("it has more rows than were written".to_owned()));
        };
        self.left = left;
        let names = |schema: &Schema| schema.fields.iter().map(|field| field.name.clone()).collect::<Vec<_>>();
        if names(&batch.schema) != names(&self.written) {
            return Err(self.failed("it has other columns than were written".to_owned()));
        }
        let widened = |(field, position): (&crate::column::Field, &Option<usize>)| -> Result<ArrayRef, BoxedError> {
            match *position {
                Some(at) => Ok(cast_array(&batch.columns[at], &self.written.fields[at].ty, &field.ty)?),
                None => Ok(new_null_array(&field.ty.to_arrow(), batch.rows)),
            }
        };
        let columns = self.columns.fields.iter().zip(&self.positions).map(widened).collect::<Result<Vec<_>, _>>();
        let columns = columns.map_err(|error| self.failed(error.to_string()))?;
        Ok(Some(Batch::new(self.columns.clone(), columns, batch.rows)))
    }

    fn failed(&self, what: String) -> BoxedError {
        Box::new(columnar_error(&self.name, io::Error::new(io::ErrorKind::InvalidData, what).into()))
    }
}

impl Iterator for PartRows {
    type Item = Result<Batch, BoxedError>;

    /// Ends after an error.
    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_batch().transpose();
        if matches!(next, Some(Err(_))) {
            self.open = None;
        }
        next
    }
}
