//! Expressions over the columns of batches: each test runs down a column, and the answers of many
//! rows are joined at once. No row costs an allocation.

use std::sync::Arc;

use arrow_array::builder::StringViewBuilder;
use arrow_array::{Array, ArrayRef};
use arrow_buffer::BooleanBuffer;
use arrow_schema::ArrowError;

use super::ast::{Compare, ComputedKind, Expr, ExprNode, Literal, Operand, Test};
use super::column_test::{ColumnTest, Set};
use super::compute::{Ran, Ready, TruthMasks};
use super::datum::{Datum, EvalError};
use super::mask::{Mask, Truth};
use super::path::{Path, column_at};
use super::value::{Value, each, in_mixing, value, values_order};
use crate::column::{Batch, Type, TypeMerge};
use crate::format::json_text::JsonValues;

/// An expression made ready for batches. A worker keeps one.
#[derive(Debug)]
pub struct Predicate {
    program: Program,
    node: Prepared,
}

/// What expressions need of a batch before their values are worked out row by row.
#[derive(Debug)]
pub(super) struct Program {
    /// Where the values come from; tests name them by their place here. With whether what is nested
    /// is wanted as JSON text.
    paths: Vec<(Path, bool)>,
    /// Tests, in the order of the text, and how many rows each could not be answered for because
    /// of the kind of the row's value.
    tests: Vec<(Arc<str>, u64)>,
    /// Conditions inside values, each after those inside it.
    conditions: Vec<Prepared>,
    type_merge: TypeMerge,
    scratch: Vec<u8>,
}

#[derive(Debug)]
enum Prepared {
    And(Vec<Prepared>),
    Or(Vec<Prepared>),
    Not(Box<Prepared>),
    Always(Truth),
    Column {
        column: usize,
        question: ColumnTest,
        test: usize,
    },
    Columns {
        left: usize,
        compare: Compare,
        right: usize,
        test: usize,
    },
    /// Of a value that is worked out.
    Computed {
        value: Ready,
        question: ColumnTest,
        test: usize,
    },
    /// Of two, at least one of which is worked out.
    Pair {
        left: Ready,
        compare: Compare,
        right: Ready,
        test: usize,
    },
}

impl Predicate {
    /// Makes `expr` ready. `type_merge` says whether values come from cells of CSV.
    pub fn new(expr: &Expr, type_merge: TypeMerge) -> Self {
        let mut program = Program::new(type_merge);
        let node = program.prepare(&expr.node, &expr.text);
        Predicate { program, node }
    }

    /// The rows of `batch` of which the expression is true, and those of which it could not be told
    /// because a value in it cannot be worked out.
    pub fn rows(&mut self, batch: &Batch) -> Result<(BooleanBuffer, Vec<(u32, EvalError)>), ArrowError> {
        let ran = self.program.run(batch)?;
        let answer = self.program.answer(&self.node, &ran);
        Ok((answer.mask.yes, answer.bad))
    }

    /// The tests that met values of a kind that they do not compare, with the number of such rows
    /// since the last call.
    pub fn take_mismatches(&mut self) -> Vec<(Arc<str>, u64)> {
        self.program.take_mismatches()
    }
}

impl Program {
    pub fn new(type_merge: TypeMerge) -> Self {
        Program { paths: Vec::new(), tests: Vec::new(), conditions: Vec::new(), type_merge, scratch: Vec::new() }
    }

    fn prepare(&mut self, node: &ExprNode, text: &str) -> Prepared {
        match node {
            ExprNode::And(nodes) => Prepared::And(nodes.iter().map(|node| self.prepare(node, text)).collect()),
            ExprNode::Or(nodes) => Prepared::Or(nodes.iter().map(|node| self.prepare(node, text)).collect()),
            ExprNode::Not(node) => Prepared::Not(Box::new(self.prepare(node, text))),
            ExprNode::Test(test, span) => {
                self.tests.push((text[span.clone()].into(), 0));
                self.prepare_test(test, self.tests.len() - 1, text)
            }
        }
    }

    fn prepare_test(&mut self, asked: &Test, test: usize, text: &str) -> Prepared {
        let (operand, question) = match asked {
            Test::Compare(Operand::Column(left), compare, Operand::Column(right)) => {
                let (left, right) = (self.column(left, false), self.column(right, false));
                return Prepared::Columns { left, compare: *compare, right, test };
            }
            Test::Compare(left @ Operand::Literal(_), compare, Operand::Literal(right)) => {
                (left, ColumnTest::Compare(*compare, right.clone()))
            }
            Test::Compare(Operand::Literal(left), compare, right) => {
                (right, ColumnTest::Compare(compare.flipped(), left.clone()))
            }
            Test::Compare(left, compare, Operand::Literal(right)) => {
                (left, ColumnTest::Compare(*compare, right.clone()))
            }
            Test::Compare(left, compare, right) => {
                let (left, right) = (self.ready(left, text), self.ready(right, text));
                return Prepared::Pair { left, compare: *compare, right, test };
            }
            Test::Truth(operand) => (operand, ColumnTest::Truth),
            Test::In(operand, list) => (operand, ColumnTest::In(Set::new(list))),
            Test::IsNull(operand) => (operand, ColumnTest::IsNull),
            Test::Matches(operand, pattern) => (operand, ColumnTest::Matches(pattern.clone())),
        };
        match operand {
            Operand::Column(path) => Prepared::Column { column: self.column(path, false), question, test },
            Operand::Computed(_) => Prepared::Computed { value: self.ready(operand, text), question, test },
            Operand::Literal(literal) => {
                let value = match literal {
                    Literal::Null => Value::Null,
                    Literal::Bool(b) => Value::Bool(*b),
                    Literal::Number(number) => Value::Digits(number.text()),
                    Literal::Text(text) => Value::Text(text),
                };
                Prepared::Always(question.evaluate(value, TypeMerge::Json, &mut Vec::new()))
            }
        }
    }

    /// Makes a value ready.
    pub fn ready(&mut self, operand: &Operand, text: &str) -> Ready {
        let computed = match operand {
            Operand::Column(path) => return Ready::Column(self.column(path, true)),
            Operand::Literal(literal) => return Ready::Literal(Datum::of_literal(literal)),
            Operand::Computed(computed) => computed,
        };
        match &computed.how {
            ComputedKind::Call(function, args) => {
                Ready::Call(*function, args.iter().map(|arg| self.ready(arg, text)).collect())
            }
            ComputedKind::Truth(node) => Ready::Truth(self.condition(node, text)),
            ComputedKind::Cast(of, ty) => Ready::Cast(Box::new(self.ready(of, text)), *ty),
            ComputedKind::Extract(of, regex, group) => {
                Ready::Extract(Box::new(self.ready(of, text)), regex.clone(), *group)
            }
            ComputedKind::ReplaceFound(of, regex, by) => {
                Ready::ReplaceFound(Box::new(self.ready(of, text)), regex.clone(), by.clone())
            }
            ComputedKind::Case(branches, otherwise) => {
                let branches = branches.iter();
                let branches = branches.map(|(node, value)| (self.condition(node, text), self.ready(value, text)));
                let branches = branches.collect();
                Ready::Case(branches, otherwise.as_ref().map(|value| Box::new(self.ready(value, text))))
            }
        }
    }

    fn condition(&mut self, node: &ExprNode, text: &str) -> usize {
        let prepared = self.prepare(node, text);
        self.conditions.push(prepared);
        self.conditions.len() - 1
    }

    fn column(&mut self, path: &Path, as_text: bool) -> usize {
        let same = |(known, _): &(Path, bool)| known.column == path.column && known.way == path.way;
        let place = self.paths.iter().position(same).unwrap_or_else(|| {
            self.paths.push((path.clone(), false));
            self.paths.len() - 1
        });
        self.paths[place].1 |= as_text;
        place
    }

    /// Looks up the columns of `batch` and answers the conditions inside values.
    pub fn run(&mut self, batch: &Batch) -> Result<Ran, ArrowError> {
        let column = |(path, as_text): &(Path, bool)| {
            let (array, ty) = column_at(batch, path)?;
            match &ty {
                // Seen as in a text output, so that both are compared alike.
                Type::Fixed(_) => Ok((json_text(&array, &ty), Type::Json)),
                Type::Struct(_) | Type::List(_) | Type::Map(_) if *as_text => Ok((json_text(&array, &ty), Type::Json)),
                _ => Ok((array, ty)),
            }
        };
        let columns = self.paths.iter().map(column).collect::<Result<Vec<_>, ArrowError>>()?;
        let mut ran = Ran { columns, answers: Vec::new(), rows: batch.rows };
        let conditions = std::mem::take(&mut self.conditions);
        for condition in &conditions {
            let answer = self.answer(condition, &ran);
            ran.answers.push(answer);
        }
        self.conditions = conditions;
        Ok(ran)
    }

    fn answer(&mut self, node: &Prepared, ran: &Ran) -> TruthMasks {
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut asking = BatchEvaluation {
            ran,
            type_merge: self.type_merge,
            tests: &mut self.tests,
            scratch: &mut scratch,
            bad: Vec::new(),
        };
        let mask = asking.mask(node);
        let mut bad = asking.bad;
        self.scratch = scratch;
        bad.sort_by_key(|(row, _)| *row);
        bad.dedup_by_key(|(row, _)| *row);
        TruthMasks { mask, bad }
    }

    pub fn take_mismatches(&mut self) -> Vec<(Arc<str>, u64)> {
        let met = |(text, rows): &mut (Arc<str>, u64)| (*rows > 0).then(|| (text.clone(), std::mem::take(rows)));
        self.tests.iter_mut().filter_map(met).collect()
    }
}

/// `array` as JSON text.
fn json_text(array: &ArrayRef, ty: &Type) -> ArrayRef {
    let values = JsonValues::new(array, ty);
    let mut builder = StringViewBuilder::with_capacity(array.len());
    let mut text = Vec::new();
    for row in 0..array.len() {
        if array.is_null(row) {
            builder.append_null();
            continue;
        }
        text.clear();
        values.write(row, &mut text);
        builder.append_value(std::str::from_utf8(&text).expect("JSON text is UTF-8"));
    }
    Arc::new(builder.finish())
}

/// One batch being asked.
struct BatchEvaluation<'a> {
    ran: &'a Ran,
    type_merge: TypeMerge,
    tests: &'a mut [(Arc<str>, u64)],
    scratch: &'a mut Vec<u8>,
    /// Rows whose values cannot be worked out.
    bad: Vec<(u32, EvalError)>,
}

impl BatchEvaluation<'_> {
    fn mask(&mut self, node: &Prepared) -> Mask {
        let first = self.bad.len();
        let mask = self.mask_of(node);
        // What is decided without a value does not need it.
        if self.bad.len() > first {
            let of_node = self.bad.split_off(first);
            let open = |row: usize| !mask.yes.value(row) && !mask.no.value(row);
            self.bad.extend(of_node.into_iter().filter(|(row, _)| open(*row as usize)));
        }
        mask
    }

    fn mask_of(&mut self, node: &Prepared) -> Mask {
        let rows = self.ran.rows;
        match node {
            Prepared::And(nodes) => {
                let all = Mask::all(Truth::Yes, rows);
                nodes.iter().fold(all, |mask, node| mask.and(&self.mask(node)))
            }
            Prepared::Or(nodes) => {
                let none = Mask::all(Truth::No, rows);
                nodes.iter().fold(none, |mask, node| mask.or(&self.mask(node)))
            }
            Prepared::Not(node) => self.mask(node).not(),
            Prepared::Always(truth) => {
                if *truth == Truth::Mismatch {
                    // Not of the data: parsing would be the place to say so.
                    return Mask::all(Truth::Unknown, rows);
                }
                Mask::all(*truth, rows)
            }
            Prepared::Column { column, question, test } => {
                let (type_merge, scratch) = (self.type_merge, &mut *self.scratch);
                let (array, ty) = &self.ran.columns[*column];
                let (mask, mismatches) =
                    each(array, ty, type_merge, |value| question.evaluate(value, type_merge, scratch));
                self.tests[*test].1 += mismatches;
                mask
            }
            Prepared::Columns { left, compare, right, test } => {
                let [(left, left_ty), (right, right_ty)] = [&self.ran.columns[*left], &self.ran.columns[*right]];
                let (type_merge, mut other) = (self.type_merge, Vec::new());
                let scratch = &mut *self.scratch;
                let (mask, mismatches) = Mask::of(rows, |row| {
                    let (a, b) = (value(left, left_ty, type_merge, row), value(right, right_ty, type_merge, row));
                    match values_order(a, b, scratch, &mut other) {
                        Ok(order) => compare.holds(order).into(),
                        Err(truth) => truth,
                    }
                });
                self.tests[*test].1 += mismatches;
                mask
            }
            Prepared::Computed { value, question, test } => {
                let (ran, type_merge) = (self.ran, self.type_merge);
                let (scratch, bad) = (&mut *self.scratch, &mut self.bad);
                let mut shown = String::new();
                let (mask, mismatches) = Mask::of(rows, |row| match value.value(row, ran, type_merge) {
                    Ok(datum) => {
                        question.evaluate(in_mixing(datum.as_value(&mut shown), type_merge), type_merge, scratch)
                    }
                    Err(reason) => {
                        bad.push((row as u32, reason));
                        Truth::Unknown
                    }
                });
                self.tests[*test].1 += mismatches;
                mask
            }
            Prepared::Pair { left, compare, right, test } => {
                let (ran, type_merge) = (self.ran, self.type_merge);
                let (scratch, bad) = (&mut *self.scratch, &mut self.bad);
                let (mut other, mut one_shown, mut two_shown) = (Vec::new(), String::new(), String::new());
                let (mask, mismatches) = Mask::of(rows, |row| {
                    let both =
                        left.value(row, ran, type_merge).and_then(|a| Ok((a, right.value(row, ran, type_merge)?)));
                    let (a, b) = match both {
                        Ok(both) => both,
                        Err(reason) => {
                            bad.push((row as u32, reason));
                            return Truth::Unknown;
                        }
                    };
                    let a = in_mixing(a.as_value(&mut one_shown), type_merge);
                    let b = in_mixing(b.as_value(&mut two_shown), type_merge);
                    match values_order(a, b, scratch, &mut other) {
                        Ok(order) => compare.holds(order).into(),
                        Err(truth) => truth,
                    }
                });
                self.tests[*test].1 += mismatches;
                mask
            }
        }
    }
}
