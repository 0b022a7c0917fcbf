//! Evaluates compiled operands row by row. Columns are resolved and conditions are evaluated for the whole batch
//! before.

use std::sync::Arc;

use super::cast_type::CastType;
use super::datum::{Datum, EvalError, InputColumn};
use super::functions::Function;
use super::mask::Mask;
use crate::column::TypeMerge;

/// Inputs of row-by-row evaluation: the resolved columns of a batch and the evaluated conditions.
pub(super) struct BatchInputs {
    pub columns: Vec<InputColumn>,
    /// True if some column is as it was read, so that a result may have a form that its type forgets.
    pub any_as_read: bool,
    pub conditions: Vec<TruthMasks>,
    pub rows: usize,
}

/// Result of a condition for all rows of a batch.
pub(super) struct TruthMasks {
    pub mask: Mask,
    /// Errors by ascending row; only of rows for which the condition is unknown.
    pub bad: Vec<(u32, EvalError)>,
}

impl TruthMasks {
    /// Returns the result for `row`: `None` if unknown, an error if a value could not be computed.
    pub(super) fn of(&self, row: usize) -> Result<Option<bool>, EvalError> {
        if self.mask.yes.value(row) {
            return Ok(Some(true));
        }
        if self.mask.no.value(row) {
            return Ok(Some(false));
        }
        match self.bad.binary_search_by_key(&(row as u32), |(bad, _)| *bad) {
            Ok(at) => Err(self.bad[at].1.clone()),
            Err(_) => Ok(None),
        }
    }
}

/// An operand with its columns and conditions replaced by indices into [`BatchInputs`].
#[derive(Debug)]
pub(super) enum CompiledOperand {
    Column(usize),
    Literal(Datum<'static>),
    Call(Function, Vec<CompiledOperand>),
    /// Conditions by index, with their values, and the `else` value.
    Case(Vec<(usize, CompiledOperand)>, Option<Box<CompiledOperand>>),
    Truth(usize),
    Cast(Box<CompiledOperand>, CastType),
    Extract(Box<CompiledOperand>, regex::Regex, usize),
    ReplaceFound(Box<CompiledOperand>, regex::Regex, Arc<str>),
}

impl CompiledOperand {
    /// Computes the value of `row`.
    pub(super) fn value<'a>(
        &'a self,
        row: usize,
        inputs: &'a BatchInputs,
        type_merge: TypeMerge,
    ) -> Result<Datum<'a>, EvalError> {
        match self {
            CompiledOperand::Column(place) => Ok(Datum::at(&inputs.columns[*place], type_merge, row)),
            CompiledOperand::Literal(datum) => Ok(datum.clone()),
            // One and two arguments, the common case, need no heap allocation.
            CompiledOperand::Call(function, args) => match &args[..] {
                [one] => function.call(&mut [one.value(row, inputs, type_merge)?]),
                // Lazy: `coalesce(a, 1 / 0)` must not fail if `a` is not null.
                _ if *function == Function::Coalesce => {
                    for arg in args {
                        match arg.value(row, inputs, type_merge)? {
                            Datum::Null => {}
                            found => return Ok(found),
                        }
                    }
                    Ok(Datum::Null)
                }
                [one, two] => {
                    function.call(&mut [one.value(row, inputs, type_merge)?, two.value(row, inputs, type_merge)?])
                }
                args => {
                    let args: Result<Vec<_>, _> = args.iter().map(|arg| arg.value(row, inputs, type_merge)).collect();
                    function.call(&mut args?)
                }
            },
            CompiledOperand::Case(branches, otherwise) => {
                for (condition, value) in branches {
                    // Branches behind the first true condition are not evaluated, so they cannot fail.
                    if inputs.conditions[*condition].of(row)? == Some(true) {
                        return value.value(row, inputs, type_merge);
                    }
                }
                otherwise.as_ref().map_or(Ok(Datum::Null), |value| value.value(row, inputs, type_merge))
            }
            CompiledOperand::Truth(condition) => {
                Ok(inputs.conditions[*condition].of(row)?.map_or(Datum::Null, Datum::Bool))
            }
            CompiledOperand::Cast(of, ty) => ty.cast(of.value(row, inputs, type_merge)?),
            CompiledOperand::Extract(of, regex, group) => match of.value(row, inputs, type_merge)? {
                Datum::Null => Ok(Datum::Null),
                value => {
                    let text = value.text()?;
                    let found = regex.captures(&text).and_then(|found| found.get(*group));
                    Ok(found.map_or(Datum::Null, |found| Datum::Text(found.as_str().to_owned().into())))
                }
            },
            CompiledOperand::ReplaceFound(of, regex, by) => match of.value(row, inputs, type_merge)? {
                Datum::Null => Ok(Datum::Null),
                value => {
                    let text = value.text()?;
                    Ok(Datum::Text(regex.replace_all(&text, &**by).into_owned().into()))
                }
            },
        }
    }
}
