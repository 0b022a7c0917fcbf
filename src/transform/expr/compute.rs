//! Values worked out row by row, from columns that were looked up and conditions that were answered before.

use std::sync::Arc;

use arrow_array::ArrayRef;

use super::cast_type::CastType;
use super::datum::{Datum, EvalError};
use super::functions::Function;
use super::mask::Mask;
use crate::column::{Type, TypeMerge};

/// What became of a batch's columns and conditions.
pub(super) struct Ran {
    pub columns: Vec<(ArrayRef, Type)>,
    pub answers: Vec<TruthMasks>,
    pub rows: usize,
}

/// Of which rows a condition is true, and of which it cannot be told.
pub(super) struct TruthMasks {
    pub mask: Mask,
    /// By row; only of rows of which it is neither true nor false.
    pub bad: Vec<(u32, EvalError)>,
}

impl TruthMasks {
    /// For one row.
    pub fn of(&self, row: usize) -> Result<Option<bool>, EvalError> {
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

/// An [`Operand`] whose columns and conditions have places.
#[derive(Debug)]
pub(super) enum Ready {
    Column(usize),
    Literal(Datum<'static>),
    Call(Function, Vec<Ready>),
    /// The places of the conditions.
    Case(Vec<(usize, Ready)>, Option<Box<Ready>>),
    Truth(usize),
    Cast(Box<Ready>, CastType),
    Extract(Box<Ready>, regex::Regex, usize),
    ReplaceFound(Box<Ready>, regex::Regex, Arc<str>),
}

impl Ready {
    /// The value of `row`.
    pub fn value<'a>(&'a self, row: usize, ran: &'a Ran, type_merge: TypeMerge) -> Result<Datum<'a>, EvalError> {
        match self {
            Ready::Column(place) => {
                let (array, ty) = &ran.columns[*place];
                Ok(Datum::at(array, ty, type_merge, row))
            }
            Ready::Literal(datum) => Ok(datum.clone()),
            Ready::Call(function, args) => match &args[..] {
                [one] => function.call(&mut [one.value(row, ran, type_merge)?]),
                _ if *function == Function::Coalesce => {
                    for arg in args {
                        match arg.value(row, ran, type_merge)? {
                            Datum::Null => {}
                            found => return Ok(found),
                        }
                    }
                    Ok(Datum::Null)
                }
                [one, two] => function.call(&mut [one.value(row, ran, type_merge)?, two.value(row, ran, type_merge)?]),
                args => {
                    let args: Result<Vec<_>, _> = args.iter().map(|arg| arg.value(row, ran, type_merge)).collect();
                    function.call(&mut args?)
                }
            },
            Ready::Case(branches, otherwise) => {
                for (condition, value) in branches {
                    if ran.answers[*condition].of(row)? == Some(true) {
                        return value.value(row, ran, type_merge);
                    }
                }
                otherwise.as_ref().map_or(Ok(Datum::Null), |value| value.value(row, ran, type_merge))
            }
            Ready::Truth(condition) => Ok(ran.answers[*condition].of(row)?.map_or(Datum::Null, Datum::Bool)),
            Ready::Cast(of, ty) => ty.cast(of.value(row, ran, type_merge)?),
            Ready::Extract(of, regex, group) => match of.value(row, ran, type_merge)? {
                Datum::Null => Ok(Datum::Null),
                value => {
                    let text = value.text()?;
                    let found = regex.captures(&text).and_then(|found| found.get(*group));
                    Ok(found.map_or(Datum::Null, |found| Datum::Text(found.as_str().to_owned().into())))
                }
            },
            Ready::ReplaceFound(of, regex, by) => match of.value(row, ran, type_merge)? {
                Datum::Null => Ok(Datum::Null),
                value => {
                    let text = value.text()?;
                    Ok(Datum::Text(regex.replace_all(&text, &**by).into_owned().into()))
                }
            },
        }
    }
}
