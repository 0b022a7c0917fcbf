//! `filter`, or `where`: keeps the rows that meet the conditions of the vendor's block, or of which an expression is true.

use std::sync::Arc;

use arrow_array::BooleanArray;
use arrow_array::cast::AsArray;
use arrow_buffer::BooleanBufferBuilder;

use crate::column::{Batch, Schema, TypeMerge};
use crate::position::FieldPath;
use crate::transform::binding::Binding;
use crate::transform::cell::{Cell, cell_of};
use crate::transform::describe::StepText;
use crate::transform::error::Error;
use crate::transform::expr::{self, Expr, Operand, Predicate};
use crate::transform::kind::{Properties, RunningStep, StepKind, WrittenStep};
use crate::transform::needed::Needed;
use crate::transform::options::{OnBadCast, StepOptions};
use crate::transform::row_tracker::RowTracker;

/// The choice of the rows that stay.
#[derive(Clone, Debug)]
pub enum Filter {
    /// Those that meet the conditions, joined left to right.
    Conditions(Vec<Condition>),
    /// Those of which the expression is true.
    Expression(Expr),
}

/// One condition of the vendor's filter block.
#[derive(Clone, Debug)]
pub struct Condition {
    /// Column, by its name.
    pub column: String,
    /// The test that the column must pass.
    pub test: Test,
    /// The way in which it is joined to those before it. Of no meaning on the first.
    pub logic: Logic,
}

/// The way in which a condition is joined to those before it, left to right without precedence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Logic {
    /// Both.
    #[default]
    And,
    /// Either.
    Or,
}

/// The eleven operators of the vendor's filter block. Two values that both are numbers, or text
/// that reads as a number against a number, are compared as numbers; everything else as text.
#[derive(Clone, Debug)]
pub enum Test {
    /// Same value.
    Equals(serde_json::Value),
    /// Another value; true of null.
    NotEquals(serde_json::Value),
    /// Text holds the text; a list holds the value.
    Contains(serde_json::Value),
    /// The opposite; true of null.
    NotContains(serde_json::Value),
    /// Greater; false of null and of what cannot be compared.
    Greater(serde_json::Value),
    /// Less; likewise.
    Less(serde_json::Value),
    /// One of these.
    In(Vec<serde_json::Value>),
    /// None of these; true of null.
    NotIn(Vec<serde_json::Value>),
    /// Null, absent, empty text, empty list or object.
    IsEmpty,
    /// The opposite.
    IsNotEmpty,
    /// The pattern is found in the text.
    Matches(regex::Regex),
}

impl Filter {
    /// Reads an expression.
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
            Filter::Expression(expr) => StepText::new(Self::WORD, &*expr.text),
        }
    }

    fn properties(&self) -> Properties {
        let needs_places = match self {
            Filter::Conditions(_) => false,
            Filter::Expression(expr) => computes(&expr.node),
        };
        Properties { keeps_records: true, needs_places, ..Properties::default() }
    }

    fn bind(&mut self, columns: &mut Binding) -> Result<(), expr::Error> {
        let Filter::Expression(expr) = self else { return Ok(()) };
        let text = expr.text.clone();
        columns.resolve_each(&text, |each| expr.node.paths_mut(each))?;
        columns.check_tests(&text, |each| expr.node.tests(each))?;
        if columns.type_merge() == TypeMerge::Json {
            expr::check_node(&expr.node, columns.schema()).map_err(|fault| fault.in_text(&text))?;
        }
        Ok(())
    }

    fn add_needed(&self, needed: &mut Needed) {
        match self {
            Filter::Conditions(conditions) => needed.add(conditions.iter().map(|c| c.column.as_str())),
            Filter::Expression(expr) => expr.node.paths(&mut |path| needed.add([&*path.column])),
        }
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

/// True if values in it are worked out, of which some may be impossible.
fn computes(node: &expr::ExprNode) -> bool {
    let mut found = false;
    node.tests(&mut |test, _| {
        found |= test.operands().into_iter().flatten().any(|o| matches!(o, Operand::Computed(_)));
    });
    found
}

/// A filter at work.
#[derive(Debug)]
pub enum Running {
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
        let (yes, bad) = predicate.rows(&batch)?;
        let yes = BooleanArray::new(yes, None);
        if rows.on_bad_cast == OnBadCast::Reject && !bad.is_empty() {
            // Neither kept nor left out.
            let (batch, good) = rows.set_aside(batch, bad, &FieldPath::root())?;
            let yes = arrow_select::filter::filter(&yes, &good)?.as_boolean().clone();
            return rows.keep(batch, &yes);
        }
        if !bad.is_empty() {
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

/// A condition with the values of its test made into cells once.
#[derive(Debug)]
pub struct Prepared {
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

/// A list holds the value as an element; everything else holds its text.
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
            let decided = i > 0
                && match condition.logic {
                    Logic::And => !kept,
                    Logic::Or => kept,
                };
            if decided {
                continue;
            }
            let cell = match column {
                Some(c) => Cell::at(&batch.columns[*c], &batch.schema.fields[*c].ty, row),
                None => Cell::Null,
            };
            kept = condition.test.holds(&cell);
        }
        keep.append(kept);
    }
    BooleanArray::new(keep.finish(), None)
}
