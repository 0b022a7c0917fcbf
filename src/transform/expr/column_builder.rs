//! Columns made of the values of an expression.

use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, Decimal128Builder, Float64Builder, Int64Builder, StringViewBuilder};
use arrow_array::{Array, ArrayRef};
use arrow_buffer::{BooleanBufferBuilder, NullBuffer};
use arrow_schema::ArrowError;

use super::ast::Operand;
use super::compute::Ready;
use super::datum::{Datum, EvalError};
use super::eval::Program;
use super::path::{Path, column_at};
use crate::column::{Batch, Fixed, Type, TypeMerge};

/// Makes a column of an expression's values. A worker keeps one.
#[derive(Debug)]
pub struct ExprColumnBuilder {
    program: Program,
    value: Ready,
    /// The whole is a column, or a value inside one.
    whole: Option<Path>,
    /// Of rows that lack the value it is made from, nothing is said.
    keeps_absent: bool,
    type_merge: TypeMerge,
}

impl ExprColumnBuilder {
    /// Makes `operand` ready; `text` is where it was written. With `keeps_absent`, for a column that is
    /// only changed: a row that has not the key still has not.
    pub fn new(operand: &Operand, text: &str, type_merge: TypeMerge, keeps_absent: bool) -> Self {
        let mut program = Program::new(type_merge);
        let value = program.ready(operand, text);
        let whole = match operand {
            Operand::Column(path) => Some(path.clone()),
            _ => None,
        };
        ExprColumnBuilder { program, value, whole, keeps_absent, type_merge }
    }

    /// The column for the rows of `batch`, of type `ty`; rows whose value cannot be worked out are null
    /// in it, and named.
    pub fn column(&mut self, batch: &Batch, ty: &Type) -> Result<(ArrayRef, Vec<(u32, EvalError)>), ArrowError> {
        if let Some(path) = &self.whole {
            let (array, found) = column_at(batch, path)?;
            if found == *ty || array.data_type() == &ty.to_arrow() && found.outline() == ty.outline() {
                return Ok((array, Vec::new()));
            }
        }
        let ran = self.program.run(batch)?;
        let mut column = ColumnBuffer::new(ty, batch.rows);
        let mut bad = Vec::new();
        let absent = |row: usize| self.keeps_absent && ran.columns.iter().all(|(array, _)| array.is_null(row));
        for row in 0..batch.rows {
            if absent(row) {
                column.push_absent();
                continue;
            }
            let pushed = self.value.value(row, &ran, self.type_merge).and_then(|value| column.push(&value));
            if let Err(reason) = pushed {
                column.push_null();
                bad.push((row as u32, reason));
            }
        }
        Ok((column.finish(), bad))
    }

    /// As of [`super::Predicate::take_mismatches`].
    pub fn take_mismatches(&mut self) -> Vec<(Arc<str>, u64)> {
        self.program.take_mismatches()
    }
}

/// A column in the making.
enum ColumnBuffer {
    /// As JSON text in which null is a word.
    Raw(StringViewBuilder, Vec<u8>),
    Json(StringViewBuilder, Vec<u8>),
    Text(StringViewBuilder),
    Bool(BooleanBuilder),
    Int(Int64Builder),
    Decimal(Decimal128Builder),
    Float(Float64Builder),
    Fixed(Fixed, Vec<i128>, BooleanBufferBuilder),
}

impl ColumnBuffer {
    fn new(ty: &Type, rows: usize) -> Self {
        match ty {
            Type::Raw => ColumnBuffer::Raw(StringViewBuilder::with_capacity(rows), Vec::new()),
            Type::Bool => ColumnBuffer::Bool(BooleanBuilder::with_capacity(rows)),
            Type::Int { .. } => ColumnBuffer::Int(Int64Builder::with_capacity(rows)),
            Type::Decimal => {
                ColumnBuffer::Decimal(Decimal128Builder::with_capacity(rows).with_data_type(Type::Decimal.to_arrow()))
            }
            Type::Float => ColumnBuffer::Float(Float64Builder::with_capacity(rows)),
            Type::Fixed(fixed) => {
                ColumnBuffer::Fixed(*fixed, Vec::with_capacity(rows), BooleanBufferBuilder::new(rows))
            }
            Type::Null | Type::Text => ColumnBuffer::Text(StringViewBuilder::with_capacity(rows)),
            _ => ColumnBuffer::Json(StringViewBuilder::with_capacity(rows), Vec::new()),
        }
    }

    fn push(&mut self, value: &Datum<'_>) -> Result<(), EvalError> {
        if let (Datum::Null, false) = (value, matches!(self, ColumnBuffer::Raw(..))) {
            self.push_null();
            return Ok(());
        }
        match (self, value) {
            (ColumnBuffer::Raw(builder, scratch) | ColumnBuffer::Json(builder, scratch), value) => {
                scratch.clear();
                value.write_json(scratch);
                builder.append_value(std::str::from_utf8(scratch).expect("JSON text is UTF-8"));
            }
            (ColumnBuffer::Text(builder), value) => builder.append_value(value.shown()),
            (ColumnBuffer::Bool(builder), Datum::Bool(b)) => builder.append_value(*b),
            (ColumnBuffer::Int(builder), Datum::Int(int)) => {
                builder
                    .append_value(i64::try_from(*int).map_err(|_| EvalError::from("the result does not fit 64 bits"))?);
            }
            (ColumnBuffer::Decimal(builder), Datum::Int(int)) => builder.append_value(*int),
            (ColumnBuffer::Float(builder), Datum::Float(float)) => builder.append_value(*float),
            (ColumnBuffer::Float(builder), Datum::Int(int)) => {
                let float = *int as f64;
                if float as i128 != *int {
                    return Err("an integer that no double holds".into());
                }
                builder.append_value(float);
            }
            (ColumnBuffer::Float(builder), value @ Datum::Digits(_)) => builder.append_value(value.number()?.float()),
            (ColumnBuffer::Fixed(fixed, values, valid), Datum::Fixed(own, value)) if fixed == own => {
                values.push(*value);
                valid.append(true);
            }
            // Only if the types that were worked out are wrong.
            (_, other) => return Err(format!("{} does not go into the column", other.kind()).into()),
        }
        Ok(())
    }

    fn push_null(&mut self) {
        match self {
            ColumnBuffer::Raw(builder, _) => builder.append_value("null"),
            _ => self.push_absent(),
        }
    }

    fn push_absent(&mut self) {
        match self {
            ColumnBuffer::Raw(builder, _) | ColumnBuffer::Json(builder, _) | ColumnBuffer::Text(builder) => {
                builder.append_null()
            }
            ColumnBuffer::Bool(builder) => builder.append_null(),
            ColumnBuffer::Int(builder) => builder.append_null(),
            ColumnBuffer::Decimal(builder) => builder.append_null(),
            ColumnBuffer::Float(builder) => builder.append_null(),
            ColumnBuffer::Fixed(_, values, valid) => {
                values.push(0);
                valid.append(false);
            }
        }
    }

    fn finish(self) -> ArrayRef {
        match self {
            ColumnBuffer::Raw(mut builder, _)
            | ColumnBuffer::Json(mut builder, _)
            | ColumnBuffer::Text(mut builder) => Arc::new(builder.finish()),
            ColumnBuffer::Bool(mut builder) => Arc::new(builder.finish()),
            ColumnBuffer::Int(mut builder) => Arc::new(builder.finish()),
            ColumnBuffer::Decimal(mut builder) => Arc::new(builder.finish()),
            ColumnBuffer::Float(mut builder) => Arc::new(builder.finish()),
            ColumnBuffer::Fixed(fixed, values, mut valid) => {
                let nulls = NullBuffer::new(valid.finish());
                fixed.array(values, (nulls.null_count() > 0).then_some(nulls))
            }
        }
    }
}
