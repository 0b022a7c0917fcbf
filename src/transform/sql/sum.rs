//! An exact `sum`, which fails on overflow; DataFusion's own wraps around.
//!
//! Integers are summed as DECIMAL(38,0) and decimals of up to 38 digits as DECIMAL(76,s), by DataFusion's accumulators
//! for these types. No possible number of rows overflows them (5·10^18 rows of the largest 64-bit integer, 10^38 of the
//! largest decimal), so neither the order of the rows nor a partial sum beyond the range matters. The sum is cast back
//! to its type in the query when it leaves the accumulator; a sum that does not fit fails there.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, BooleanArray};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF, Signature,
};

/// Creates the function, under the name of the function that it replaces.
pub(super) fn exact_sum() -> AggregateUDF {
    AggregateUDF::from(ExactSum { inner: sum_udaf() })
}

/// DataFusion's `sum`, with wider accumulators.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ExactSum {
    inner: Arc<AggregateUDF>,
}

/// Returns the type in which values of type `narrow` are summed; `None` if DataFusion's sum cannot wrap around.
fn wide_type(narrow: &DataType) -> Option<DataType> {
    match narrow {
        DataType::Int64 | DataType::UInt64 => Some(DataType::Decimal128(38, 0)),
        DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) | DataType::Decimal128(_, scale) => {
            Some(DataType::Decimal256(76, *scale))
        }
        _ => None,
    }
}

fn with_type(field: &FieldRef, ty: &DataType) -> FieldRef {
    Arc::new(Field::clone(field).with_data_type(ty.clone()))
}

/// Creates an accumulator by `make` with arguments of the wide type, and wraps it; without a wide type, by `make`
/// alone.
fn widened<A>(
    arguments: AccumulatorArgs<'_>,
    make: impl Fn(AccumulatorArgs<'_>) -> Result<A>,
    wrap: impl Fn(Widened<A>) -> A,
) -> Result<A> {
    let narrow = arguments.return_field.data_type().clone();
    let Some(wide) = wide_type(&narrow) else { return make(arguments) };
    let fields: Vec<FieldRef> = arguments.expr_fields.iter().map(|field| with_type(field, &wide)).collect();
    let return_field = with_type(&arguments.return_field, &wide);
    let inner = make(AccumulatorArgs { return_field, expr_fields: &fields, ..arguments })?;
    Ok(wrap(Widened { inner, wide, narrow }))
}

impl AggregateUDFImpl for ExactSum {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments {
            // A column of nulls only, which DataFusion's sum rejects.
            [DataType::Null] => Ok(DataType::Int64),
            _ => self.inner.return_type(arguments),
        }
    }

    fn accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        widened(arguments, |arguments| self.inner.accumulator(arguments), |widened| Box::new(widened))
    }

    fn create_sliding_accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        widened(arguments, |arguments| self.inner.create_sliding_accumulator(arguments), |widened| Box::new(widened))
    }

    fn groups_accumulator_supported(&self, arguments: AccumulatorArgs<'_>) -> bool {
        self.inner.groups_accumulator_supported(arguments)
    }

    fn create_groups_accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        widened(arguments, |arguments| self.inner.create_groups_accumulator(arguments), |widened| Box::new(widened))
    }

    fn state_fields(&self, arguments: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        match wide_type(arguments.return_type()) {
            None => self.inner.state_fields(arguments),
            Some(wide) => {
                let return_field = with_type(&arguments.return_field, &wide);
                self.inner.state_fields(StateFieldsArgs { return_field, ..arguments })
            }
        }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// Accumulator with values and result of the narrow type and state of the wide type.
#[derive(Debug)]
struct Widened<A> {
    inner: A,
    wide: DataType,
    narrow: DataType,
}

impl<A> Widened<A> {
    fn widen(&self, values: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
        values.iter().map(|values| cast_strictly(values, &self.wide)).collect()
    }

    fn narrow(&self, sums: &ArrayRef) -> Result<ArrayRef> {
        cast_strictly(sums, &self.narrow).map_err(|_| {
            let wider = match self.narrow {
                DataType::Int64 | DataType::UInt64 => "sum(CAST(x AS DECIMAL(38,0)))",
                _ => "sum(CAST(x AS DOUBLE))",
            };
            DataFusionError::Execution(format!(
                "arithmetic overflow: a sum exceeds the range of {}; use {wider}",
                self.narrow
            ))
        })
    }
}

/// Casts `values` to `ty`. Fails, instead of returning null, for a value that does not fit.
fn cast_strictly(values: &ArrayRef, ty: &DataType) -> Result<ArrayRef> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    if values.data_type() == ty {
        return Ok(Arc::clone(values));
    }
    Ok(cast_with_options(values, ty, &options)?)
}

impl Accumulator for Widened<Box<dyn Accumulator>> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = self.widen(values)?;
        self.inner.update_batch(&values)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = self.widen(values)?;
        self.inner.retract_batch(&values)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let sum = self.inner.evaluate()?.to_array()?;
        ScalarValue::try_from_array(&self.narrow(&sum)?, 0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }
}

impl GroupsAccumulator for Widened<Box<dyn GroupsAccumulator>> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        n_groups: usize,
    ) -> Result<()> {
        let values = self.widen(values)?;
        self.inner.update_batch(&values, groups, filter, n_groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let sums = self.inner.evaluate(emit_to)?;
        self.narrow(&sums)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.inner.state(emit_to)
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], n_groups: usize) -> Result<()> {
        self.inner.merge_batch(states, groups, n_groups)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.inner.convert_to_state(&self.widen(values)?, filter)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }
}
