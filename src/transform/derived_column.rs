//! Columns computed by an expression, shared by the steps `with`, `cast` and `json`. Adds or replaces one column of a
//! batch; rows whose value cannot be computed are rejected or become null, as the plan says.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;

use super::error::Error;
use super::expr::{BuiltColumn, Computed, ComputedKind, ExprColumnBuilder, Operand, Readers, type_of};
use super::options::{OnBadCast, StepOptions};
use super::row_tracker::RowTracker;
use crate::column::{Batch, Field, Schema, Type, TypeMerge};
use crate::format::number::fits_double;
use crate::position::FieldPath;

/// The kinds of values of one computed column so far, shared by all threads of an execution.
#[derive(Clone, Debug, Default)]
pub(super) struct ValuesSeen(Arc<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// True once a value was an integer that a double cannot represent exactly, so that the column can be neither of
    /// doubles nor become that.
    exceeds_double: AtomicBool,
    /// The type of the numbers of a cast to such; `None` before the first.
    numbers: Mutex<Option<Type>>,
}

impl ValuesSeen {
    fn exceeds_double(&self) -> bool {
        self.0.exceeds_double.load(Ordering::Relaxed)
    }

    fn set_exceeds_double(&self) {
        self.0.exceeds_double.store(true, Ordering::Relaxed);
    }

    fn numbers(&self) -> Type {
        self.0.numbers.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or(Type::Null)
    }

    fn join_numbers(&self, numbers: &Type, type_merge: TypeMerge) {
        let mut seen = self.0.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        *seen = Some(seen.as_ref().map_or_else(|| numbers.clone(), |seen| seen.join(numbers, type_merge)));
    }
}

/// One computed column. Each worker has its own.
#[derive(Debug)]
pub(super) struct DerivedColumn {
    name: Arc<str>,
    operand: Operand,
    builder: ExprColumnBuilder,
    /// True if only an existing column is changed and none is added.
    existing_only: bool,
    /// True once a value was an integer that a double cannot represent exactly. This worker's own state: its rows must not
    /// change their type between computation and encoding.
    exceeds_double: bool,
    /// The type of the numbers that this worker has seen, for a cast to such, which are of the types of JSON numbers.
    numbers: Option<Type>,
    /// The state of all threads.
    seen: ValuesSeen,
    /// Name of the column in report notes: the step with its text.
    label: Arc<str>,
}

impl DerivedColumn {
    /// Creates the column `name` from `operand`, which is part of `text`. It replaces an existing column of that name.
    /// `seen` is shared by the computations of this column on all threads.
    pub(super) fn new(
        name: Arc<str>,
        operand: Operand,
        text: &str,
        label: String,
        seen: ValuesSeen,
        type_merge: TypeMerge,
    ) -> Self {
        let builder = ExprColumnBuilder::new(&operand, text, type_merge, false);
        let numbers = operand.is_number_cast().then(|| seen.numbers());
        DerivedColumn {
            name,
            operand,
            builder,
            existing_only: false,
            exceeds_double: seen.exceeds_double(),
            numbers,
            seen,
            label: label.into(),
        }
    }

    /// Creates a column that replaces the existing column `name` by `kind`, which reads it. Does nothing on batches
    /// without that column.
    pub(super) fn replacing(
        name: Arc<str>,
        kind: ComputedKind,
        text: &str,
        label: String,
        seen: ValuesSeen,
        type_merge: TypeMerge,
    ) -> Self {
        let operand = Operand::Computed(Box::new(Computed { kind, span: 0..text.len() }));
        let builder = ExprColumnBuilder::new(&operand, text, type_merge, true);
        let numbers = operand.is_number_cast().then(|| seen.numbers());
        DerivedColumn {
            name,
            operand,
            builder,
            existing_only: true,
            exceeds_double: false,
            numbers,
            seen,
            label: label.into(),
        }
    }

    /// Infers the type of the column for input columns of `schema`; `None` if no column is produced.
    fn output_type(&self, schema: &Schema, options: &StepOptions) -> Option<Type> {
        if self.existing_only && schema.position(&self.name).is_none() {
            return None;
        }
        let output_type = type_of(&self.operand, schema, options.type_merge);
        Some(match (output_type, &self.operand) {
            // A plain column reference is passed on unchanged.
            (output_type, Operand::Column(_)) if options.typed => output_type,
            // Objects are opened where a later step flattens them.
            (opened @ Type::Struct(_), Operand::Column(_)) => opened,
            _ if !options.typed => Type::Raw,
            _ if let Some(numbers) = &self.numbers => numbers.clone(),
            (Type::Int { fits_double }, _) => Type::Int { fits_double: fits_double && !self.exceeds_double },
            // As for columns of the source: no integer is rounded to a double.
            (Type::Float, _) if self.exceeds_double => {
                Type::Float.join(&Type::Int { fits_double: false }, options.type_merge)
            }
            (output_type, _) => output_type,
        })
    }

    /// Makes the builder write what a column of doubles would become, if this is one that a value has widened.
    fn widen_float(&mut self, schema: &Schema, options: &StepOptions) {
        if self.exceeds_double && type_of(&self.operand, schema, options.type_merge) == Type::Float {
            self.builder.widen_float();
        }
    }

    fn note_exceeds_double(&mut self) {
        self.exceeds_double = true;
        self.seen.set_exceeds_double();
    }

    /// Returns `schema` with this column.
    pub(super) fn output_schema(&self, mut schema: Schema, options: &StepOptions) -> Schema {
        let Some(output_type) = self.output_type(&schema, options) else { return schema };
        match schema.position(&self.name) {
            Some(index) => schema.fields[index].ty = output_type,
            None => schema.fields.push(Field::new(self.name.clone(), output_type)),
        }
        schema
    }

    /// Returns the batch with this column. Rows whose value cannot be computed are rejected, or null, by `on_bad_cast`.
    pub(super) fn apply(
        &mut self,
        mut batch: Batch,
        rows: &mut RowTracker<'_>,
        options: &StepOptions,
    ) -> Result<Batch, Error> {
        let Some(mut output_type) = self.output_type(&batch.schema, options) else { return Ok(batch) };
        self.widen_float(&batch.schema, options);
        let readers = match (options.writes_as_read, rows.is_last_look) {
            (true, _) => Readers::TextOutputs,
            (false, false) => Readers::Steps,
            (false, true) => Readers::None,
        };
        let mut built = self.builder.column(&batch, &output_type, readers, &rows.context())?;
        if built.exceeds_double {
            self.note_exceeds_double();
            self.widen_float(&batch.schema, options);
            output_type = self.output_type(&batch.schema, options).unwrap_or(output_type);
            built = self.builder.column(&batch, &output_type, readers, &rows.context())?;
        }
        if let Some(numbers) = &mut self.numbers {
            let wider = match numbers.join(&built.numbers, options.type_merge) {
                // A number that no type holds, among cells.
                Type::Json if options.type_merge == TypeMerge::Text => Type::Text,
                wider => wider,
            };
            if wider != *numbers {
                self.seen.join_numbers(&wider, options.type_merge);
                *numbers = wider;
                output_type = self.output_type(&batch.schema, options).unwrap_or(output_type);
                built = self.builder.column(&batch, &output_type, readers, &rows.context())?;
            }
        }
        let BuiltColumn { array: column, as_read, bad, .. } = built;
        // The inferred type is optimistic: a computed integer can leave the range that doubles represent exactly.
        if let (Type::Int { fits_double: true }, Operand::Computed(_)) = (&output_type, &self.operand) {
            let values = column.as_primitive::<Int64Type>();
            if values.iter().flatten().any(|v| !fits_double(v)) {
                self.note_exceeds_double();
            }
        }
        // Once more, because the values may have widened it.
        let output_type = self.output_type(&batch.schema, options).unwrap_or(output_type);
        batch.put(&self.name, output_type, column, as_read);
        if bad.is_empty() {
            return Ok(batch);
        }
        // The builder has already put null in these rows.
        if rows.on_bad_cast == OnBadCast::Null {
            rows.note_nulled(&self.label, bad.len() as u64);
            return Ok(batch);
        }
        rows.reject_rows(batch, bad, &FieldPath::root().field(&self.name)).map(|(batch, _)| batch)
    }

    /// Returns mismatched comparisons, as [`super::kind::RunningStep::take_mismatches`] does.
    pub(super) fn take_mismatches(&mut self) -> Vec<(Arc<str>, u64)> {
        self.builder.take_mismatches()
    }
}
