//! `filter`, or `where`: keeps the rows that satisfy the conditions of the vendor's `filter` block, evaluated value by
//! value, or for which an expression is true, evaluated column by column.

use std::sync::Arc;

use arrow_array::BooleanArray;
use arrow_array::cast::AsArray;
use arrow_buffer::BooleanBufferBuilder;

use crate::column::{Batch, Schema, TypeMerge};
use crate::position::FieldPath;
use crate::transform::binding::Binding;
use crate::transform::cell::{Cell, cell_of};
use crate::transform::describe::{StepMemory, StepText};
use crate::transform::error::Error;
use crate::transform::expr::{self, Expr, Operand, Predicate};
use crate::transform::kind::{Properties, RunningStep, StepKind, WrittenStep};
use crate::transform::needed::Needed;
use crate::transform::options::{OnBadCast, StepOptions};
use crate::transform::row_tracker::RowTracker;

/// Parameters of `filter`: the rows that pass.
#[derive(Clone, Debug)]
pub enum Filter {
    /// Rows that satisfy the conditions, combined left to right.
    Conditions(Vec<Condition>),
    /// Rows for which the expression is true.
    Expression(Expr),
}

/// One condition of the vendor's filter block.
#[derive(Clone, Debug)]
pub struct Condition {
    /// Name of the column.
    pub column: String,
    /// Test of the column's value.
    pub test: Test,
    /// Operator that combines it with the conditions before it. Ignored on the first condition.
    pub logic: Logic,
}

/// Operator that combines a condition with those before it, left to right without precedence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Logic {
    /// True if both sides are true.
    #[default]
    And,
    /// True if either side is true.
    Or,
}

/// The eleven operators of the vendor's `filter` block. Two numbers, or a number and text that parses as one, are
/// compared as numbers; everything else as text.
#[derive(Clone, Debug)]
pub enum Test {
    /// True for an equal value.
    Equals(serde_json::Value),
    /// True for any other value, and for null.
    NotEquals(serde_json::Value),
    /// True for text that contains the text, and for a list that contains the value.
    Contains(serde_json::Value),
    /// Negation of `Contains`; true for null.
    NotContains(serde_json::Value),
    /// True for a greater value; false for null and for values that do not compare.
    Greater(serde_json::Value),
    /// True for a lesser value; false for null and for values that do not compare.
    Less(serde_json::Value),
    /// True for one of the values.
    In(Vec<serde_json::Value>),
    /// Negation of `In`; true for null.
    NotIn(Vec<serde_json::Value>),
    /// True for null, an absent key, empty text, and an empty list or object.
    IsEmpty,
    /// Negation of `IsEmpty`; false for null.
    IsNotEmpty,
    /// True if the pattern is found in the text of the value; false for null.
    Matches(regex::Regex),
}

impl Filter {
    /// Parses an expression, which must be a condition.
    pub fn parse(text: &str) -> Result<Self, expr::Error> {
        expr::parse(text).map(Filter::Expression)
    }
}

impl WrittenStep for Filter {
    const WORD: &'static str = "where";

    fn parse(text: &str, _: u64) -> Result<Vec<Self>, expr::Error> {
        Filter::parse(text).map(|filter| vec![filter])
    }
}

impl StepKind for Filter {
    type Running = Running;

    fn describe(&self) -> StepText {
        match self {
            Filter::Conditions(conditions) => StepText::new("filter", format!("{} conditions", conditions.len())),
            Filter::Expression(expr) => {
                let memory = StepMemory::of_expression(expr.node.reads_row_number());
                StepText::new(Self::WORD, &*expr.text).with_memory(memory)
            }
        }
    }

    fn properties(&self) -> Properties {
        let needs_record_spans = match self {
            Filter::Conditions(_) => false,
            Filter::Expression(expr) => computes(&expr.node),
        };
        let needs_order = matches!(self, Filter::Expression(expr) if expr.node.reads_row_number());
        Properties { keeps_records: true, needs_record_spans, needs_order, ..Properties::default() }
    }

    fn bind(&mut self, columns: &mut Binding) -> Result<(), expr::Error> {
        let Filter::Expression(expr) = self else { return Ok(()) };
        let text = expr.text.clone();
        columns.resolve_each(&text, |each| expr.node.paths_mut(each))?;
        columns.check_tests(&text, |each| expr.node.tests(each))?;
        // CSV columns have no types to check; each comparison decides how cells are parsed.
        if columns.type_merge() == TypeMerge::Json {
            expr::check_node(&expr.node, columns.schema()).map_err(|error| error.in_text(&text))?;
        }
        Ok(())
    }

    fn add_needed(&self, needed: &mut Needed) {
        match self {
            Filter::Conditions(conditions) => needed.add(conditions.iter().map(|c| c.column.as_str())),
            Filter::Expression(expr) => expr.node.paths(&mut |path| needed.add([&*path.column])),
        }
    }

    fn add_looked_at(&self, looked_at: &mut Needed) {
        self.add_needed(looked_at);
    }

    fn start(&self, options: &StepOptions) -> Running {
        match self {
            Filter::Conditions(conditions) => Running::Conditions(conditions.iter().map(prepare).collect()),
            Filter::Expression(expr) => {
                Running::Expression(Box::new(Predicate::new(expr, options.type_merge)), expr.text.clone())
            }
        }
    }
}

/// Returns true if `node` computes values, which may fail for some rows.
fn computes(node: &expr::ExprNode) -> bool {
    let mut found = false;
    node.tests(&mut |test, _| {
        found |= test.operands().into_iter().flatten().any(|o| matches!(o, Operand::Computed(_)));
    });
    found
}

/// A running filter, prepared or compiled.
#[derive(Debug)]
pub(crate) enum Running {
    Conditions(Vec<Prepared>),
    Expression(Box<Predicate>, Arc<str>),
}

impl RunningStep for Running {
    fn output_schema(&self, schema: Schema, _: &StepOptions) -> Result<Schema, Error> {
        Ok(schema)
    }

    fn apply(&mut self, batch: Batch, rows: &mut RowTracker<'_>, _: &StepOptions) -> Result<Batch, Error> {
        let (predicate, text) = match self {
            Running::Conditions(conditions) => {
                let keep = mask(&batch, conditions);
                return rows.keep(batch, &keep);
            }
            Running::Expression(predicate, text) => (predicate, text),
        };
        let (yes, bad) = predicate.rows(&batch, &rows.context())?;
        let yes = BooleanArray::new(yes, None);
        if rows.on_bad_cast == OnBadCast::Reject && !bad.is_empty() {
            // Rejected rows count neither as kept nor as filtered.
            let (batch, good) = rows.reject_rows(batch, bad, &FieldPath::root())?;
            let yes = arrow_select::filter::filter(&yes, &good)?.as_boolean().clone();
            return rows.keep(batch, &yes);
        }
        if !bad.is_empty() {
            // With `on_bad_cast = null` an unknown condition drops the row; the failures are only counted.
            rows.note_nulled(&format!("{} {text}", Filter::WORD).into(), bad.len() as u64);
        }
        rows.keep(batch, &yes)
    }

    fn take_mismatches(&mut self) -> Vec<(Arc<str>, u64)> {
        match self {
            Running::Conditions(_) => Vec::new(),
            Running::Expression(predicate, _) => predicate.take_mismatches(),
        }
    }
}

/// A condition whose test values are converted to cells once.
#[derive(Debug)]
pub(crate) struct Prepared {
    column: String,
    logic: Logic,
    test: PreparedTest,
}

#[derive(Debug)]
enum PreparedTest {
    Equals(Cell<'static>, bool),
    Contains(Cell<'static>, bool),
    Greater(Cell<'static>),
    Less(Cell<'static>),
    In(Vec<Cell<'static>>, bool),
    IsEmpty(bool),
    Matches(regex::Regex),
}

fn prepare(condition: &Condition) -> Prepared {
    let test = match &condition.test {
        Test::Equals(v) => PreparedTest::Equals(cell_of(v), true),
        Test::NotEquals(v) => PreparedTest::Equals(cell_of(v), false),
        Test::Contains(v) => PreparedTest::Contains(cell_of(v), true),
        Test::NotContains(v) => PreparedTest::Contains(cell_of(v), false),
        Test::Greater(v) => PreparedTest::Greater(cell_of(v)),
        Test::Less(v) => PreparedTest::Less(cell_of(v)),
        Test::In(list) => PreparedTest::In(list.iter().map(cell_of).collect(), true),
        Test::NotIn(list) => PreparedTest::In(list.iter().map(cell_of).collect(), false),
        Test::IsEmpty => PreparedTest::IsEmpty(true),
        Test::IsNotEmpty => PreparedTest::IsEmpty(false),
        Test::Matches(regex) => PreparedTest::Matches(regex.clone()),
    };
    Prepared { column: condition.column.clone(), logic: condition.logic, test }
}

impl PreparedTest {
    fn holds(&self, cell: &Cell<'_>) -> bool {
        match self {
            PreparedTest::Equals(value, wanted) => cell.equals(value) == *wanted,
            PreparedTest::Contains(value, wanted) => contains(cell, value) == *wanted,
            PreparedTest::Greater(value) => cell.compare(value) == Some(std::cmp::Ordering::Greater),
            PreparedTest::Less(value) => cell.compare(value) == Some(std::cmp::Ordering::Less),
            PreparedTest::In(values, wanted) => values.iter().any(|v| cell.equals(v)) == *wanted,
            PreparedTest::IsEmpty(wanted) => cell.is_empty() == *wanted,
            PreparedTest::Matches(regex) => !matches!(cell, Cell::Null) && regex.is_match(&cell.text()),
        }
    }
}

/// Returns true if a list contains `value` as an element, or the text of another value contains its text.
fn contains(cell: &Cell<'_>, value: &Cell<'_>) -> bool {
    if let Cell::Nested(text) = cell
        && let Ok(serde_json::Value::Array(items)) = serde_json::from_str(text)
    {
        return items.iter().any(|item| cell_of(item).equals(value));
    }
    !matches!(cell, Cell::Null) && cell.text().contains(&*value.text())
}

fn mask(batch: &Batch, conditions: &[Prepared]) -> BooleanArray {
    let columns: Vec<Option<usize>> = conditions.iter().map(|c| batch.schema.position(&c.column)).collect();
    let mut keep = BooleanBufferBuilder::new(batch.rows);
    for row in 0..batch.rows {
        let mut kept = true;
        for (i, (condition, column)) in conditions.iter().zip(&columns).enumerate() {
            // Short circuit: the test is skipped if it cannot change the result.
            let decided = i > 0
                && match condition.logic {
                    Logic::And => !kept,
                    Logic::Or => kept,
                };
            if decided {
                continue;
            }
            // A column that appears only in later batches is null here.
            let cell = match column {
                Some(c) => {
                    let (values, ty) = batch.seen(*c);
                    Cell::at(values, ty, row)
                }
                None => Cell::Null,
            };
            kept = condition.test.holds(&cell);
        }
        keep.append(kept);
    }
    BooleanArray::new(keep.finish(), None)
}
