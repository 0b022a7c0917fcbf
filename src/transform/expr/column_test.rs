//! Tests of one value at a time, compiled from the syntax tree: comparison with a literal, `in`, `is null`, patterns.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use super::ast::{Compare, Literal};
use super::decimal::Decimal;
use super::like::Pattern;
use super::mask::Truth;
use super::value::{Value, boolean, number_order, with_text};
use crate::column::TypeMerge;

/// Test of the values of one column or computed operand.
#[derive(Debug)]
pub(super) enum ColumnTest {
    Truth,
    Compare(Compare, Literal),
    In(LiteralSet),
    IsNull,
    Matches(Pattern),
}

/// Literals of an `in` list, by kind.
#[derive(Debug, Default)]
pub(super) struct LiteralSet {
    texts: HashSet<Arc<str>>,
    numbers: Vec<Decimal>,
    bools: Vec<bool>,
    /// True if null is in the list: a value that equals none of the others is then unknown, not false.
    null: bool,
}

impl ColumnTest {
    /// Evaluates the test. CSV cells take the kind of the literal that they are compared with.
    #[inline]
    pub(super) fn evaluate(&self, value: Value<'_>, type_merge: TypeMerge, scratch: &mut Vec<u8>) -> Truth {
        if let Value::Null = value {
            return match self {
                ColumnTest::IsNull => Truth::Yes,
                _ => Truth::Unknown,
            };
        }
        match self {
            ColumnTest::IsNull => Truth::No,
            ColumnTest::Truth => match value {
                Value::Bool(b) => b.into(),
                Value::Cell(text) => boolean(text).map_or(Truth::Mismatch, Truth::from),
                _ => Truth::Mismatch,
            },
            ColumnTest::Compare(compare, literal) => match literal {
                Literal::Null => Truth::Unknown,
                Literal::Number(number) => match number_order(value, number) {
                    Some(order) => compare.holds(order).into(),
                    None => Truth::Mismatch,
                },
                Literal::Text(text) => with_text(value, type_merge, scratch, |value| match value {
                    Some(value) => {
                        // In CSV `True` and `true` are the same boolean, although they differ as text.
                        if let (TypeMerge::Text, Some(a), Some(b)) = (type_merge, boolean(value), boolean(text)) {
                            return compare.holds(a.cmp(&b)).into();
                        }
                        compare.holds(value.cmp(text)).into()
                    }
                    None => Truth::Mismatch,
                }),
                Literal::Bool(b) => match value {
                    Value::Bool(a) => compare.holds(a.cmp(b)).into(),
                    Value::Cell(text) => boolean(text).map_or(Truth::Mismatch, |a| compare.holds(a.cmp(b)).into()),
                    _ => Truth::Mismatch,
                },
            },
            ColumnTest::In(set) => set.evaluate(value, type_merge, scratch),
            ColumnTest::Matches(pattern) => with_text(value, type_merge, scratch, |text| {
                text.map_or(Truth::Mismatch, |text| pattern.matches(text).into())
            }),
        }
    }
}

impl LiteralSet {
    pub(super) fn new(list: &[Literal]) -> Self {
        let mut set = LiteralSet::default();
        for literal in list {
            match literal {
                Literal::Null => set.null = true,
                Literal::Bool(b) => set.bools.push(*b),
                Literal::Number(number) => set.numbers.push(number.clone()),
                Literal::Text(text) => {
                    set.texts.insert(text.clone());
                }
            }
        }
        set
    }

    /// Evaluates like an `or` of equality with each literal. A value is a mismatch only if no literal has its kind.
    fn evaluate(&self, value: Value<'_>, type_merge: TypeMerge, scratch: &mut Vec<u8>) -> Truth {
        let mut comparable = false;
        for number in &self.numbers {
            match number_order(value, number) {
                Some(Ordering::Equal) => return Truth::Yes,
                Some(_) => comparable = true,
                // The value is not a number, so no other number compares either.
                None => break,
            }
        }
        if !self.bools.is_empty() {
            let found = match value {
                Value::Bool(b) => Some(b),
                Value::Cell(text) => boolean(text),
                _ => None,
            };
            if let Some(b) = found {
                if self.bools.contains(&b) {
                    return Truth::Yes;
                }
                comparable = true;
            }
        }
        if !self.texts.is_empty() {
            let found = with_text(value, type_merge, scratch, |text| match text {
                Some(text) if self.texts.contains(text) => Truth::Yes,
                Some(text) if type_merge == TypeMerge::Text && boolean(text).is_some() => {
                    self.texts.iter().any(|t| boolean(t) == boolean(text)).into()
                }
                Some(_) => Truth::No,
                None => Truth::Mismatch,
            });
            match found {
                Truth::Yes => return Truth::Yes,
                Truth::No => comparable = true,
                _ => {}
            }
        }
        match (self.null, comparable) {
            (true, _) => Truth::Unknown,
            (false, true) => Truth::No,
            (false, false) => Truth::Mismatch,
        }
    }
}
