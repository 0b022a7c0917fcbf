//! Builds Arrow arrays from the values of an expression, for computed columns.

use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, Decimal128Builder, Float64Builder, Int64Builder, StringViewBuilder};
use arrow_array::{Array, ArrayRef};
use arrow_buffer::{BooleanBufferBuilder, NullBuffer};
use arrow_schema::ArrowError;

use super::ast::Operand;
use super::compute::{CompiledOperand, RowContext};
use super::datum::{Datum, Num};
use super::eval::Program;
use super::eval_error::EvalError;
use super::path::{Path, as_read_at, column_at};
use super::value::boolean;
use crate::column::canonical::write_canonical;
use crate::column::{AsRead, Batch, Fixed, Type, TypeMerge};
use crate::format::ndjson::number_type;
use crate::format::number::parse_scaled;

/// Builds the column of an expression for one batch after the other. Each worker has its own.
#[derive(Debug)]
pub struct ExprColumnBuilder {
    program: Program,
    value: CompiledOperand,
    /// Path of an expression that is a plain column reference; its array is passed on without a copy.
    whole: Option<Path>,
    /// True if rows that lack the input value stay absent instead of null.
    keeps_absent: bool,
    type_merge: TypeMerge,
    /// True if the expression is a cast to numbers, whose types are inferred from the values.
    is_number_cast: bool,
    /// True if some value has the digits of a number that was text.
    reads_numbers: bool,
    /// True if the column was one of doubles before some value had to make it text.
    was_float: bool,
}

impl ExprColumnBuilder {
    /// Compiles `operand`, which is part of `text`. With `keeps_absent`, for columns that replace their input, a row
    /// without the key stays without it.
    pub fn new(operand: &Operand, text: &str, type_merge: TypeMerge, keeps_absent: bool) -> Self {
        let mut program = Program::new(type_merge);
        let value = program.compile(operand, text);
        let whole = match operand {
            Operand::Column(path) => Some(path.clone()),
            _ => None,
        };
        let (is_number_cast, reads_numbers) = (operand.is_number_cast(), operand.reads_numbers());
        ExprColumnBuilder {
            program,
            value,
            whole,
            keeps_absent,
            type_merge,
            is_number_cast,
            reads_numbers,
            was_float: false,
        }
    }

    /// From now on, writes the numbers of a column of text as one of doubles does that becomes text: the rows before are cast
    /// so, and which those are depends on the cuts between batches.
    pub fn widen_float(&mut self) {
        self.was_float = true;
    }

    /// Builds the column of type `ty` for the rows of `batch`, which are from `context`, and its values for `readers`
    /// besides.
    pub fn column(
        &mut self,
        batch: &Batch,
        ty: &Type,
        readers: Readers,
        context: &RowContext<'_>,
    ) -> Result<BuiltColumn, ArrowError> {
        if let Some(path) = &self.whole {
            let (array, found) = column_at(batch, path)?;
            // Same type, or one that differs only in facts about its values: no copy.
            if found == *ty || array.data_type() == &ty.to_arrow() && found.outline() == ty.outline() {
                return Ok(BuiltColumn {
                    array,
                    as_read: as_read_at(batch, path)?,
                    bad: Vec::new(),
                    exceeds_double: false,
                    numbers: Type::Null,
                });
            }
        }
        let mismatches = self.program.mismatches();
        let inputs = self.program.run(batch, context)?;
        let mut exceeds_double = false;
        let as_floats = self.was_float && *ty == Type::Text;
        let mut numbers = Type::Null;
        let mut column = ColumnBuffer::new(ty, batch.rows);
        // A cell and the digits of a number pass through functions such as `coalesce`, and a CSV column of text may hold
        // numbers that were computed.
        let has_digits = inputs.any_as_read || self.reads_numbers;
        let forgets = match self.type_merge {
            TypeMerge::Text => has_digits || *ty == Type::Text,
            TypeMerge::Json => has_digits && *ty == Type::Float || *ty == Type::Json,
        };
        let kept = match readers {
            Readers::None => false,
            Readers::Steps => forgets,
            // JSON tells an absent key from a null one, which no type does.
            Readers::TextOutputs => forgets || self.type_merge == TypeMerge::Json,
        };
        let mut as_read = kept.then(|| ColumnBuffer::new(&Type::Raw, batch.rows));
        let mut bad = Vec::new();
        // Absent only if all inputs are absent; raw columns distinguish that from null.
        let absent = |row: usize| self.keeps_absent && inputs.columns.iter().all(|column| column.array.is_null(row));
        for row in 0..batch.rows {
            if absent(row) {
                column.push_absent();
                as_read.iter_mut().for_each(ColumnBuffer::push_absent);
                continue;
            }
            let pushed = self.value.value(row, &inputs, self.type_merge).and_then(|value| {
                exceeds_double |= matches!((ty, &value), (Type::Float, Datum::Int(int)) if *int as f64 as i128 != *int);
                if self.is_number_cast {
                    numbers = numbers.join(&number_type_of(&value), self.type_merge);
                }
                let double = if as_floats { exact_double(&value) } else { None };
                match double {
                    Some(float) => column.push(&Datum::Float(float))?,
                    None => column.push(&value)?,
                }
                as_read.as_mut().map_or(Ok(()), |as_read| as_read.push(&value.as_seen()))
            });
            if let Err(reason) = pushed {
                column.push_null();
                as_read.iter_mut().for_each(ColumnBuffer::push_null);
                bad.push((row as u32, reason));
            }
        }
        let as_read = as_read.map(|buffer| AsRead { array: buffer.finish(), ty: Type::Raw });
        if exceeds_double || self.is_number_cast && numbers.join(ty, self.type_merge) != *ty {
            self.program.set_mismatches(&mismatches);
        }
        Ok(BuiltColumn { array: column.finish(), as_read, bad, exceeds_double, numbers })
    }

    /// Returns mismatched tests, as [`super::Predicate::take_mismatches`] does.
    pub fn take_mismatches(&mut self) -> Vec<(Arc<str>, u64)> {
        self.program.take_mismatches()
    }
}

/// The readers of a computed column's values besides typed outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// No later step looks at values.
    None,
    /// Later steps.
    Steps,
    /// Later steps, and outputs of text beside typed ones.
    TextOutputs,
}

/// A column that was built for one batch.
pub struct BuiltColumn {
    /// The values, of the type that was asked for.
    pub array: ArrayRef,
    /// The values as later steps see them, where the type forgets something of them.
    pub as_read: Option<AsRead>,
    /// The rows whose value cannot be computed, with the error; they are null in the column.
    pub bad: Vec<(u32, EvalError)>,
    /// True if the column is of doubles, and some value is an integer that no double holds exactly. The column must be
    /// built again with a wider type.
    pub exceeds_double: bool,
    /// The type of the numbers of a cast to such, null if there are none. If it is wider than the column's, the column must
    /// be built again.
    pub numbers: Type,
}

/// Returns the type that the column of a JSON number has.
fn number_type_of(value: &Datum<'_>) -> Type {
    match value {
        Datum::Null => Type::Null,
        Datum::Float(_) => Type::Float,
        other => number_type(&other.display_text()),
    }
}

/// Returns the value as a column of doubles has it; `None` for an integer that no double holds exactly, and for other values.
fn exact_double(value: &Datum<'_>) -> Option<f64> {
    match value {
        Datum::Float(_) | Datum::Int(_) | Datum::Digits(_) | Datum::Cell(..) => match value.number().ok()? {
            Num::Int(int) => Some(int as f64).filter(|float| *float as i128 == int),
            Num::Float(float) => Some(float),
        },
        _ => None,
    }
}

/// Array builder of one column, by column type.
enum ColumnBuffer {
    /// JSON text in which null is the text `null`, and a null slot an absent key.
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
            (ColumnBuffer::Raw(builder, scratch), value) => {
                scratch.clear();
                value.write_json(scratch);
                builder.append_value(std::str::from_utf8(scratch).expect("JSON text is UTF-8"));
            }
            (ColumnBuffer::Json(builder, scratch), value) => {
                scratch.clear();
                value.write_json(scratch);
                // As in columns of the source: some rows may have had a type of their own before.
                let mut canonical = Vec::with_capacity(scratch.len());
                write_canonical(std::str::from_utf8(scratch).expect("JSON text is UTF-8"), &mut canonical);
                builder.append_value(std::str::from_utf8(&canonical).expect("JSON text is UTF-8"));
            }
            (ColumnBuffer::Text(builder), value) => builder.append_value(value.display_text()),
            (ColumnBuffer::Bool(builder), Datum::Bool(b)) => builder.append_value(*b),
            (ColumnBuffer::Bool(builder), Datum::Cell(text, _)) => {
                builder.append_value(boolean(text).ok_or("expected a boolean, found other text")?);
            }
            // The digits or the cell of a column whose type says that all of its values are such numbers.
            (
                column @ (ColumnBuffer::Int(_) | ColumnBuffer::Decimal(_)),
                value @ (Datum::Digits(_) | Datum::Cell(..)),
            ) => {
                let Num::Int(int) = value.number()? else { return Err("expected an integer, found a fraction".into()) };
                return column.push(&Datum::Int(int));
            }
            (ColumnBuffer::Int(builder), Datum::Int(int)) => {
                builder.append_value(
                    i64::try_from(*int)
                        .map_err(|_| EvalError::from("integer overflow: the result does not fit in 64 bits"))?,
                );
            }
            (ColumnBuffer::Decimal(builder), Datum::Int(int)) => builder.append_value(*int),
            (ColumnBuffer::Float(builder), Datum::Float(float)) => builder.append_value(*float),
            (ColumnBuffer::Float(builder), Datum::Int(int)) => {
                // A double column must not round an integer silently.
                let float = *int as f64;
                if float as i128 != *int {
                    return Err("a double cannot represent the integer exactly".into());
                }
                builder.append_value(float);
            }
            (ColumnBuffer::Float(builder), value @ (Datum::Digits(_) | Datum::Cell(..))) => {
                builder.append_value(value.number()?.float());
            }
            (ColumnBuffer::Fixed(fixed, values, valid), Datum::Fixed(own, value)) if fixed == own => {
                values.push(*value);
                valid.append(true);
            }
            // The decimals of a CSV column are read as cells, and its type has room for the integers beside them.
            (
                ColumnBuffer::Fixed(Fixed::Decimal { precision, scale }, values, valid),
                value @ (Datum::Int(_) | Datum::Digits(_) | Datum::Cell(..) | Datum::Fixed(Fixed::Decimal { .. }, _)),
            ) => {
                let unscaled = parse_scaled(value.display_text().as_bytes(), *precision, *scale);
                values.push(unscaled.ok_or("the number has more digits than the decimals of its column")?);
                valid.append(true);
            }
            // Reached only if type inference and evaluation disagree.
            (_, other) => return Err(format!("cannot store {} in a column of another type", other.kind()).into()),
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
