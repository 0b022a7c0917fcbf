//! Vectorized evaluation of conditions: each test runs down a whole column, and the resulting bit masks are combined 64
//! rows at a time. Tests of plain columns allocate nothing per row; computed operands go row by row through
//! `compute.rs`.

use std::sync::Arc;

use arrow_array::builder::StringViewBuilder;
use arrow_array::{Array, ArrayRef};
use arrow_buffer::BooleanBuffer;
use arrow_schema::ArrowError;

use super::ast::{Compare, ComputedKind, Expr, ExprNode, Literal, Operand, Origin, Test};
use super::column_test::{ColumnTest, LiteralSet};
use super::compute::{BatchInputs, CompiledOperand, RowContext, TruthMasks};
use super::datum::{CellForm, Datum, InputColumn};
use super::eval_error::EvalError;
use super::mask::{Mask, Truth};
use super::path::{Path, as_read_at, column_at, type_at};
use super::value::{Value, csv_text_as_cell, each, value, values_order};
use crate::column::{AsRead, Batch, Type, TypeMerge};
use crate::format::json_text::JsonValues;

/// A condition compiled for batches. Each worker has its own.
#[derive(Debug)]
pub struct Predicate {
    program: Program,
    node: CompiledNode,
}

/// Compiled expressions: the paths, tests and conditions that they share.
#[derive(Debug)]
pub(super) struct Program {
    /// Paths of all columns, which tests and operands refer to by index. True if nested values are needed as JSON text.
    paths: Vec<(Path, bool)>,
    /// Text of each test, in order, with the number of rows whose value was of an incomparable kind.
    tests: Vec<(Arc<str>, u64)>,
    /// Conditions inside operands, each after the conditions inside it.
    conditions: Vec<CompiledNode>,
    type_merge: TypeMerge,
    scratch: Vec<u8>,
    /// True if some operand is the position of the record.
    reads_row_number: bool,
}

#[derive(Debug)]
enum CompiledNode {
    And(Vec<CompiledNode>),
    Or(Vec<CompiledNode>),
    Not(Box<CompiledNode>),
    Always(Truth),
    Column {
        column_index: usize,
        column_test: ColumnTest,
        test_index: usize,
    },
    Columns {
        left: usize,
        compare: Compare,
        right: usize,
        test_index: usize,
    },
    /// Test of a computed operand.
    Computed {
        value: CompiledOperand,
        column_test: ColumnTest,
        test_index: usize,
    },
    /// Comparison of two operands, at least one of which is computed.
    Pair {
        left: CompiledOperand,
        compare: Compare,
        right: CompiledOperand,
        test_index: usize,
    },
}

impl Predicate {
    /// Compiles `expr`. `type_merge` is `Text` if values are CSV cells.
    pub fn new(expr: &Expr, type_merge: TypeMerge) -> Self {
        let mut program = Program::new(type_merge);
        let node = program.compile_node(&expr.node, &expr.text);
        Predicate { program, node }
    }

    /// Returns the mask of the rows for which the condition is true, and the rows for which it is unknown because a
    /// value cannot be computed, with the error.
    pub fn rows(
        &mut self,
        batch: &Batch,
        context: &RowContext<'_>,
    ) -> Result<(BooleanBuffer, Vec<(u32, EvalError)>), ArrowError> {
        let inputs = self.program.run(batch, context)?;
        let outcome = self.program.evaluate(&self.node, &inputs);
        Ok((outcome.mask.yes, outcome.bad))
    }

    /// Returns the tests that met values of incomparable kinds, as written, with the number of such rows since the last
    /// call.
    pub fn take_mismatches(&mut self) -> Vec<(Arc<str>, u64)> {
        self.program.take_mismatches()
    }
}

impl Program {
    pub(super) fn new(type_merge: TypeMerge) -> Self {
        Program {
            paths: Vec::new(),
            tests: Vec::new(),
            conditions: Vec::new(),
            type_merge,
            scratch: Vec::new(),
            reads_row_number: false,
        }
    }

    fn compile_node(&mut self, node: &ExprNode, text: &str) -> CompiledNode {
        match node {
            ExprNode::And(nodes) => CompiledNode::And(nodes.iter().map(|node| self.compile_node(node, text)).collect()),
            ExprNode::Or(nodes) => CompiledNode::Or(nodes.iter().map(|node| self.compile_node(node, text)).collect()),
            ExprNode::Not(node) => CompiledNode::Not(Box::new(self.compile_node(node, text))),
            ExprNode::Test(test, span) => {
                self.tests.push((text[span.clone()].into(), 0));
                self.compile_test(test, self.tests.len() - 1, text)
            }
        }
    }

    fn compile_test(&mut self, test: &Test, test_index: usize, text: &str) -> CompiledNode {
        let (operand, column_test) = match test {
            Test::Compare(Operand::Column(left), compare, Operand::Column(right)) => {
                let (left, right) = (self.column_index(left, false), self.column_index(right, false));
                return CompiledNode::Columns { left, compare: *compare, right, test_index };
            }
            // Two literals: the result is the same for all rows and computed below, once.
            Test::Compare(left @ Operand::Literal(_), compare, Operand::Literal(right)) => {
                (left, ColumnTest::Compare(*compare, right.clone()))
            }
            // The literal goes to the right, so that one kind of column test suffices.
            Test::Compare(Operand::Literal(left), compare, right) => {
                (right, ColumnTest::Compare(compare.flipped(), left.clone()))
            }
            Test::Compare(left, compare, Operand::Literal(right)) => {
                (left, ColumnTest::Compare(*compare, right.clone()))
            }
            Test::Compare(left, compare, right) => {
                let (left, right) = (self.compile(left, text), self.compile(right, text));
                return CompiledNode::Pair { left, compare: *compare, right, test_index };
            }
            Test::Truth(operand) => (operand, ColumnTest::Truth),
            Test::In(operand, list) => (operand, ColumnTest::In(LiteralSet::new(list))),
            Test::IsNull(operand) => (operand, ColumnTest::IsNull),
            Test::Matches(operand, pattern) => (operand, ColumnTest::Matches(pattern.clone())),
        };
        match operand {
            Operand::Column(path) => {
                CompiledNode::Column { column_index: self.column_index(path, false), column_test, test_index }
            }
            Operand::Computed(_) => {
                CompiledNode::Computed { value: self.compile(operand, text), column_test, test_index }
            }
            Operand::Literal(literal) => {
                let value = match literal {
                    Literal::Null => Value::Null,
                    Literal::Bool(b) => Value::Bool(*b),
                    Literal::Number(number) => Value::Digits(number.text()),
                    Literal::Text(text) => Value::Text(text),
                };
                CompiledNode::Always(column_test.evaluate(value, TypeMerge::Json, &mut Vec::new()))
            }
        }
    }

    /// Compiles an operand, which is part of `text`, to indices into the columns and conditions of a batch.
    pub(super) fn compile(&mut self, operand: &Operand, text: &str) -> CompiledOperand {
        let computed = match operand {
            Operand::Column(path) => return CompiledOperand::Column(self.column_index(path, true)),
            Operand::Literal(literal) => return CompiledOperand::Literal(Datum::of_literal(literal)),
            Operand::Computed(computed) => computed,
        };
        match &computed.kind {
            ComputedKind::Call(function, args) => {
                CompiledOperand::Call(*function, args.iter().map(|arg| self.compile(arg, text)).collect())
            }
            ComputedKind::Origin(origin) => {
                self.reads_row_number |= *origin == Origin::RowNumber;
                CompiledOperand::Origin(*origin)
            }
            ComputedKind::Truth(node) => CompiledOperand::Truth(self.compile_condition(node, text)),
            ComputedKind::Cast(of, ty) => CompiledOperand::Cast(Box::new(self.compile(of, text)), ty.clone()),
            ComputedKind::Extract(of, regex, group) => {
                CompiledOperand::Extract(Box::new(self.compile(of, text)), regex.clone(), *group)
            }
            ComputedKind::ReplaceFound(of, regex, by) => {
                CompiledOperand::ReplaceFound(Box::new(self.compile(of, text)), regex.clone(), by.clone())
            }
            ComputedKind::Case(branches, otherwise) => {
                let branches = branches.iter();
                let branches =
                    branches.map(|(node, value)| (self.compile_condition(node, text), self.compile(value, text)));
                let branches = branches.collect();
                CompiledOperand::Case(branches, otherwise.as_ref().map(|value| Box::new(self.compile(value, text))))
            }
        }
    }

    fn compile_condition(&mut self, node: &ExprNode, text: &str) -> usize {
        let compiled = self.compile_node(node, text);
        self.conditions.push(compiled);
        self.conditions.len() - 1
    }

    fn column_index(&mut self, path: &Path, as_text: bool) -> usize {
        // Each path is resolved once per batch, however often the expression uses it.
        let same = |(known, _): &(Path, bool)| known.column == path.column && known.segments == path.segments;
        let place = self.paths.iter().position(same).unwrap_or_else(|| {
            self.paths.push((path.clone(), false));
            self.paths.len() - 1
        });
        self.paths[place].1 |= as_text;
        place
    }

    /// Resolves the columns of `batch` and evaluates the conditions inside operands.
    pub(super) fn run(&mut self, batch: &Batch, context: &RowContext<'_>) -> Result<BatchInputs, ArrowError> {
        let mut any_as_read = false;
        let look_up = |(path, as_text): &(Path, bool)| {
            if let Some(AsRead { array, ty }) = as_read_at(batch, path)? {
                any_as_read = true;
                let cell_form = CellForm::of(&type_at(&batch.schema, path));
                return Ok(InputColumn { array, ty, cell_form });
            }
            let (array, ty) = column_at(batch, path)?;
            let (array, ty) = match &ty {
                // As JSON text, so that the comparison has the same result as for a text output.
                Type::Fixed(_) => (json_text(&array, &ty), Type::Json),
                Type::Struct(_) | Type::List(_) | Type::Map(_) if *as_text => (json_text(&array, &ty), Type::Json),
                _ => (array, ty),
            };
            Ok(InputColumn { array, ty, cell_form: CellForm::Text })
        };
        let columns = self.paths.iter().map(look_up).collect::<Result<Vec<_>, ArrowError>>()?;
        let origins = context.of_rows(batch.rows, self.reads_row_number);
        let mut inputs = BatchInputs { columns, any_as_read, conditions: Vec::new(), rows: batch.rows, origins };
        // Taken out, because evaluation borrows `self`. In order: a condition may use those before it.
        let conditions = std::mem::take(&mut self.conditions);
        for condition in &conditions {
            let outcome = self.evaluate(condition, &inputs);
            inputs.conditions.push(outcome);
        }
        self.conditions = conditions;
        Ok(inputs)
    }

    fn evaluate(&mut self, node: &CompiledNode, inputs: &BatchInputs) -> TruthMasks {
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut evaluation = BatchEvaluation {
            inputs,
            type_merge: self.type_merge,
            tests: &mut self.tests,
            scratch: &mut scratch,
            bad: Vec::new(),
        };
        let mask = evaluation.mask(node);
        let mut bad = evaluation.bad;
        self.scratch = scratch;
        // `TruthMasks::of` searches by row; of several errors of a row the first is kept.
        bad.sort_by_key(|(row, _)| *row);
        bad.dedup_by_key(|(row, _)| *row);
        TruthMasks { mask, bad }
    }

    /// Returns the number of mismatches of each test so far.
    pub(super) fn mismatches(&self) -> Vec<u64> {
        self.tests.iter().map(|(_, rows)| *rows).collect()
    }

    /// Sets the counts back to `mismatches`, for a batch that is evaluated again.
    pub(super) fn set_mismatches(&mut self, mismatches: &[u64]) {
        self.tests.iter_mut().zip(mismatches).for_each(|((_, rows), before)| *rows = *before);
    }

    pub(super) fn take_mismatches(&mut self) -> Vec<(Arc<str>, u64)> {
        // Reading resets the count.
        let met = |(text, rows): &mut (Arc<str>, u64)| (*rows > 0).then(|| (text.clone(), std::mem::take(rows)));
        self.tests.iter_mut().filter_map(met).collect()
    }
}

/// Converts `array` to JSON text.
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

/// Evaluation of one condition over one batch.
struct BatchEvaluation<'a> {
    inputs: &'a BatchInputs,
    type_merge: TypeMerge,
    tests: &'a mut [(Arc<str>, u64)],
    scratch: &'a mut Vec<u8>,
    /// Rows whose values cannot be computed, with the error; in no order, and possibly several per row.
    bad: Vec<(u32, EvalError)>,
}

impl BatchEvaluation<'_> {
    /// Evaluates `node` and discards errors of rows that it decides without the failed value.
    fn mask(&mut self, node: &CompiledNode) -> Mask {
        let first = self.bad.len();
        let mask = self.mask_of(node);
        // `b <> 0 and a / b > 2` is false where b is 0, so the failed division does not matter there.
        if self.bad.len() > first {
            let of_node = self.bad.split_off(first);
            let open = |row: usize| !mask.yes.value(row) && !mask.no.value(row);
            self.bad.extend(of_node.into_iter().filter(|(row, _)| open(*row as usize)));
        }
        mask
    }

    fn mask_of(&mut self, node: &CompiledNode) -> Mask {
        let rows = self.inputs.rows;
        match node {
            CompiledNode::And(nodes) => {
                let all = Mask::all(Truth::Yes, rows);
                nodes.iter().fold(all, |mask, node| mask.and(&self.mask(node)))
            }
            CompiledNode::Or(nodes) => {
                let none = Mask::all(Truth::No, rows);
                nodes.iter().fold(none, |mask, node| mask.or(&self.mask(node)))
            }
            CompiledNode::Not(node) => self.mask(node).not(),
            CompiledNode::Always(truth) => {
                if *truth == Truth::Mismatch {
                    // Literals of incomparable kinds: not a fault of the data, so it is not counted.
                    return Mask::all(Truth::Unknown, rows);
                }
                Mask::all(*truth, rows)
            }
            CompiledNode::Column { column_index, column_test, test_index } => {
                let (type_merge, scratch) = (self.type_merge, &mut *self.scratch);
                let InputColumn { array, ty, .. } = &self.inputs.columns[*column_index];
                let (mask, mismatches) =
                    each(array, ty, type_merge, |value| column_test.evaluate(value, type_merge, scratch));
                self.tests[*test_index].1 += mismatches;
                mask
            }
            CompiledNode::Columns { left, compare, right, test_index } => {
                let [left, right] = [&self.inputs.columns[*left], &self.inputs.columns[*right]];
                let (type_merge, mut other) = (self.type_merge, Vec::new());
                let scratch = &mut *self.scratch;
                let (mask, mismatches) = Mask::of(rows, |row| {
                    let (a, b) = (
                        value(&left.array, &left.ty, type_merge, row),
                        value(&right.array, &right.ty, type_merge, row),
                    );
                    match values_order(a, b, scratch, &mut other) {
                        Ok(order) => compare.holds(order).into(),
                        Err(truth) => truth,
                    }
                });
                self.tests[*test_index].1 += mismatches;
                mask
            }
            CompiledNode::Computed { value, column_test, test_index } => {
                let (inputs, type_merge) = (self.inputs, self.type_merge);
                let (scratch, bad) = (&mut *self.scratch, &mut self.bad);
                let mut shown = String::new();
                let (mask, mismatches) = Mask::of(rows, |row| match value.value(row, inputs, type_merge) {
                    Ok(datum) => column_test.evaluate(
                        csv_text_as_cell(datum.as_value(&mut shown), type_merge),
                        type_merge,
                        scratch,
                    ),
                    Err(reason) => {
                        bad.push((row as u32, reason));
                        Truth::Unknown
                    }
                });
                self.tests[*test_index].1 += mismatches;
                mask
            }
            CompiledNode::Pair { left, compare, right, test_index } => {
                let (inputs, type_merge) = (self.inputs, self.type_merge);
                let (scratch, bad) = (&mut *self.scratch, &mut self.bad);
                // Either operand can fail; one error per row is enough.
                let (mut other, mut one_shown, mut two_shown) = (Vec::new(), String::new(), String::new());
                let (mask, mismatches) = Mask::of(rows, |row| {
                    let both = left
                        .value(row, inputs, type_merge)
                        .and_then(|a| Ok((a, right.value(row, inputs, type_merge)?)));
                    let (a, b) = match both {
                        Ok(both) => both,
                        Err(reason) => {
                            bad.push((row as u32, reason));
                            return Truth::Unknown;
                        }
                    };
                    let a = csv_text_as_cell(a.as_value(&mut one_shown), type_merge);
                    let b = csv_text_as_cell(b.as_value(&mut two_shown), type_merge);
                    match values_order(a, b, scratch, &mut other) {
                        Ok(order) => compare.holds(order).into(),
                        Err(truth) => truth,
                    }
                });
                self.tests[*test_index].1 += mismatches;
                mask
            }
        }
    }
}
