//! Evaluates compiled operands row by row. Columns are resolved and conditions are evaluated for the whole batch
//! before.

use std::sync::Arc;

use super::ast::Origin;
use super::cast_type::CastType;
use super::datum::{Datum, InputColumn};
use super::eval_error::EvalError;
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
    pub origins: RowOrigins,
}

/// The origins of the rows of a batch, as far as an expression reads them.
#[derive(Debug, Default)]
pub(super) struct RowOrigins {
    source: String,
    run: Option<String>,
    row_numbers: Vec<u64>,
}

/// The origin of the rows of a batch, for the functions that return it.
#[derive(Clone, Copy, Debug, Default)]
pub struct RowContext<'a> {
    /// Name of the source.
    pub source: &'a str,
    /// Id of the run whose result the source is.
    pub run: Option<&'a str>,
    /// Records of all sources before the decoded rows.
    pub records_before: u64,
    /// Index of each row among the decoded rows; `None` for the index in the batch.
    pub origins: Option<&'a [u32]>,
    /// Indices of the records among those of the decoded rows that have no row, ascending.
    pub skipped: &'a [u64],
}

impl RowContext<'_> {
    /// Returns the origins of `rows` rows. Positions of records are computed only for `row_numbers`.
    pub(super) fn of_rows(&self, rows: usize, row_numbers: bool) -> RowOrigins {
        // Each record without a row that is before the record of a row adds one to its position. So many rows are before
        // each of them, which ascends, too.
        let rows_before: Vec<u64> = match row_numbers {
            true => self.skipped.iter().zip(0..).map(|(&record, before)| record - before).collect(),
            false => Vec::new(),
        };
        let number = |row: u64| {
            let skipped = rows_before.partition_point(|&before| before <= row) as u64;
            self.records_before + row + skipped + 1
        };
        let row_numbers = match (row_numbers, self.origins) {
            (false, _) => Vec::new(),
            (true, Some(origins)) => origins.iter().map(|&row| number(row.into())).collect(),
            (true, None) => (0..rows as u64).map(number).collect(),
        };
        RowOrigins { source: self.source.to_owned(), run: self.run.map(str::to_owned), row_numbers }
    }
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
    Origin(Origin),
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
            CompiledOperand::Origin(Origin::Source) => Ok(Datum::Text(inputs.origins.source.as_str().into())),
            CompiledOperand::Origin(Origin::Run) => {
                Ok(inputs.origins.run.as_deref().map_or(Datum::Null, |run| Datum::Text(run.into())))
            }
            CompiledOperand::Origin(Origin::RowNumber) => Ok(Datum::Int(inputs.origins.row_numbers[row].into())),
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
