//! A column that is made or changed by an expression, which several steps do.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;

use super::error::Error;
use super::expr::{Computed, ComputedKind, ExprColumnBuilder, Operand, type_of};
use super::options::{OnBadCast, StepOptions};
use super::row_tracker::RowTracker;
use crate::column::{Batch, Field, Schema, Type, TypeMerge};
use crate::format::number::fits_double;
use crate::position::FieldPath;

/// A column in the making. A worker keeps one.
#[derive(Debug)]
pub(super) struct DerivedColumn {
    name: Arc<str>,
    operand: Operand,
    maker: ExprColumnBuilder,
    /// Without a column of that name there is nothing to do.
    changes: bool,
    /// An integer beyond what every double holds was among the values.
    wide: bool,
    /// Its name in notes: the step with its text.
    label: Arc<str>,
}

impl DerivedColumn {
    /// The column `name`, made of `operand`, which was written in `text`; new, or in place of one of that name.
    pub fn new(name: Arc<str>, operand: Operand, text: &str, label: String, type_merge: TypeMerge) -> Self {
        let maker = ExprColumnBuilder::new(&operand, text, type_merge, false);
        DerivedColumn { name, operand, maker, changes: false, wide: false, label: label.into() }
    }

    /// The column `name`, if there is one, changed by `how`, which takes it.
    pub fn changed(name: Arc<str>, how: ComputedKind, text: &str, label: String, type_merge: TypeMerge) -> Self {
        let operand = Operand::Computed(Box::new(Computed { how, span: 0..text.len() }));
        let maker = ExprColumnBuilder::new(&operand, text, type_merge, true);
        DerivedColumn { name, operand, maker, changes: true, wide: false, label: label.into() }
    }

    /// The type of the column over columns of `schema`; `None` if there will be none.
    fn ty(&self, schema: &Schema, options: &StepOptions) -> Option<Type> {
        if self.changes && schema.position(&self.name).is_none() {
            return None;
        }
        let ty = type_of(&self.operand, schema, options.type_merge);
        Some(match (ty, &self.operand) {
            // Values of a column are as they are.
            (ty, Operand::Column(_)) if options.typed => ty,
            _ if !options.typed => Type::Raw,
            (Type::Int { fits_double }, _) => Type::Int { fits_double: fits_double && !self.wide },
            (ty, _) => ty,
        })
    }

    /// The columns with this one.
    pub fn output_schema(&self, mut schema: Schema, options: &StepOptions) -> Schema {
        let Some(ty) = self.ty(&schema, options) else { return schema };
        match schema.position(&self.name) {
            Some(place) => schema.fields[place].ty = ty,
            None => schema.fields.push(Field::new(self.name.clone(), ty)),
        }
        schema
    }

    /// The batch with this column. Rows whose value cannot be made are set aside, or have null.
    pub fn apply(
        &mut self,
        mut batch: Batch,
        rows: &mut RowTracker<'_>,
        options: &StepOptions,
    ) -> Result<Batch, Error> {
        let Some(ty) = self.ty(&batch.schema, options) else { return Ok(batch) };
        let (column, bad) = self.maker.column(&batch, &ty)?;
        if let (Type::Int { fits_double: true }, Operand::Computed(_)) = (&ty, &self.operand) {
            let values = column.as_primitive::<Int64Type>();
            self.wide |= values.iter().flatten().any(|v| !fits_double(v));
        }
        let schema = self.output_schema((*batch.schema).clone(), options);
        match batch.schema.position(&self.name) {
            Some(place) => batch.columns[place] = column,
            None => batch.columns.push(column),
        }
        batch.schema = Arc::new(schema);
        batch.records = None;
        if bad.is_empty() {
            return Ok(batch);
        }
        if rows.on_bad_cast == OnBadCast::Null {
            rows.note_nulled(&self.label, bad.len() as u64);
            return Ok(batch);
        }
        rows.set_aside(batch, bad, &FieldPath::root().field(&self.name)).map(|(batch, _)| batch)
    }

    /// As of [`super::kind::RunningStep::take_mismatches`].
    pub fn take_mismatches(&mut self) -> Vec<(Arc<str>, u64)> {
        self.maker.take_mismatches()
    }
}
