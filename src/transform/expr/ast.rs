//! Abstract syntax of expressions: conditions, and the operands that they and computed columns consist of. Built by
//! `parse.rs`, typed by `infer.rs`, compiled by `eval.rs`.

use std::ops::Range;
use std::sync::Arc;

use super::cast_type::CastType;
use super::decimal::Decimal;
use super::functions::Function;
use super::like::Pattern;
use super::path::Path;

/// A literal value of an expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// The literal `null`, which compares with nothing.
    Null,
    /// The literal `true` or `false`.
    Bool(bool),
    /// A number, exact to all its digits.
    Number(Decimal),
    /// Text in single quotes, unescaped.
    Text(Arc<str>),
}

/// A value: one side of a comparison, an argument of a function, or the value of a computed column.
#[derive(Clone, Debug)]
pub enum Operand {
    /// Value of a column, or inside one.
    Column(Path),
    /// Constant value, the same for all rows.
    Literal(Literal),
    /// Value computed from other operands.
    Computed(Box<Computed>),
}

/// A value computed from other operands.
#[derive(Clone, Debug)]
pub struct Computed {
    /// Kind of the computation, with its operands.
    pub kind: ComputedKind,
    /// Bytes of the expression's text that it was parsed from.
    pub span: Range<usize>,
}

/// Kind of a computed value.
#[derive(Clone, Debug)]
pub enum ComputedKind {
    /// Call of a function or an operator.
    Call(Function, Vec<Operand>),
    /// Value of the first branch whose condition is true, else of the `else` operand, else null.
    Case(Vec<(ExprNode, Operand)>, Option<Operand>),
    /// Condition as a boolean; null if it is unknown.
    Truth(ExprNode),
    /// Operand cast to a type.
    Cast(Operand, CastType),
    /// First match of a regular expression: the capture group of this number, 0 for the whole match.
    Extract(Operand, regex::Regex, usize),
    /// Text with all matches of a regular expression replaced.
    ReplaceFound(Operand, regex::Regex, Arc<str>),
    /// Fact about the origin of the row.
    Origin(Origin),
}

/// Fact about the origin of a row, which is the same for all rows of its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Name of the source, `source()`.
    Source,
    /// Id of the run whose result the source is, `run()`; null for other sources.
    Run,
    /// Position of the record among those of all sources, from 1, `row_number()`. Rejected and filtered records count.
    RowNumber,
}

/// Comparison operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// Operator `=` or `==`.
    Equal,
    /// Operator `!=` or `<>`.
    NotEqual,
    /// The operator `<`, less than.
    Less,
    /// The operator `<=`, at most.
    LessOrEqual,
    /// The operator `>`, greater than.
    Greater,
    /// The operator `>=`, at least.
    GreaterOrEqual,
}

/// Test of one value, or of two: true, false or unknown for each row.
#[derive(Clone, Debug)]
pub enum Test {
    /// True if the boolean operand is true.
    Truth(Operand),
    /// True if the comparison of both operands holds.
    Compare(Operand, Compare, Operand),
    /// True if the operand equals one of the literals.
    In(Operand, Vec<Literal>),
    /// True if the operand is null or absent; never unknown.
    IsNull(Operand),
    /// True if the text matches the pattern.
    Matches(Operand, Pattern),
}

/// Node of a condition.
#[derive(Clone, Debug)]
pub enum ExprNode {
    /// True if all nodes are true.
    And(Vec<ExprNode>),
    /// True if any node is true.
    Or(Vec<ExprNode>),
    /// Negation; an unknown condition stays unknown.
    Not(Box<ExprNode>),
    /// Test, and the bytes of the expression's text that it was parsed from.
    Test(Test, Range<usize>),
}

/// A parsed condition with its text.
#[derive(Clone, Debug)]
pub struct Expr {
    /// Text as written, which spans refer to.
    pub text: Arc<str>,
    /// Root node of the condition.
    pub node: ExprNode,
}

impl ExprNode {
    /// Calls `each` with every test and its span in the text, inner tests first.
    pub fn tests<'a>(&'a self, each: &mut dyn FnMut(&'a Test, &Range<usize>)) {
        match self {
            ExprNode::And(nodes) | ExprNode::Or(nodes) => nodes.iter().for_each(|node| node.tests(each)),
            ExprNode::Not(node) => node.tests(each),
            ExprNode::Test(test, span) => {
                test.operands().into_iter().flatten().for_each(|operand| operand.tests(each));
                each(test, span);
            }
        }
    }

    /// Returns true if some operand is the position of the record.
    pub fn reads_row_number(&self) -> bool {
        match self {
            ExprNode::And(nodes) | ExprNode::Or(nodes) => nodes.iter().any(ExprNode::reads_row_number),
            ExprNode::Not(node) => node.reads_row_number(),
            ExprNode::Test(test, _) => test.operands().into_iter().flatten().any(Operand::reads_row_number),
        }
    }

    /// Calls `each` with every path of the condition.
    pub fn paths<'a>(&'a self, each: &mut dyn FnMut(&'a Path)) {
        match self {
            ExprNode::And(nodes) | ExprNode::Or(nodes) => nodes.iter().for_each(|node| node.paths(each)),
            ExprNode::Not(node) => node.paths(each),
            ExprNode::Test(test, _) => test.operands().into_iter().flatten().for_each(|operand| operand.paths(each)),
        }
    }

    /// Calls `each` with every path, to change it.
    pub fn paths_mut(&mut self, each: &mut dyn FnMut(&mut Path)) {
        match self {
            ExprNode::And(nodes) | ExprNode::Or(nodes) => nodes.iter_mut().for_each(|node| node.paths_mut(each)),
            ExprNode::Not(node) => node.paths_mut(each),
            ExprNode::Test(test, _) => {
                test.operands_mut().into_iter().flatten().for_each(|operand| operand.paths_mut(each));
            }
        }
    }
}

impl Operand {
    /// Calls `each` with every test inside the operand.
    pub fn tests<'a>(&'a self, each: &mut dyn FnMut(&'a Test, &Range<usize>)) {
        let Operand::Computed(computed) = self else { return };
        computed.nodes().for_each(|node| node.tests(each));
        computed.operands().for_each(|operand| operand.tests(each));
    }

    /// Calls `each` with every path inside the operand.
    pub fn paths<'a>(&'a self, each: &mut dyn FnMut(&'a Path)) {
        match self {
            Operand::Column(path) => each(path),
            Operand::Literal(_) => {}
            Operand::Computed(computed) => {
                computed.nodes().for_each(|node| node.paths(each));
                computed.operands().for_each(|operand| operand.paths(each));
            }
        }
    }

    /// Calls `each` with every path inside the operand, to change it.
    pub fn paths_mut(&mut self, each: &mut dyn FnMut(&mut Path)) {
        match self {
            Operand::Column(path) => each(path),
            Operand::Literal(_) => {}
            Operand::Computed(computed) => match &mut computed.kind {
                ComputedKind::Call(_, args) => args.iter_mut().for_each(|arg| arg.paths_mut(each)),
                ComputedKind::Truth(node) => node.paths_mut(each),
                ComputedKind::Origin(_) => {}
                ComputedKind::Cast(of, _) | ComputedKind::Extract(of, ..) | ComputedKind::ReplaceFound(of, ..) => {
                    of.paths_mut(each)
                }
                ComputedKind::Case(branches, otherwise) => {
                    for (condition, value) in branches {
                        condition.paths_mut(each);
                        value.paths_mut(each);
                    }
                    otherwise.iter_mut().for_each(|value| value.paths_mut(each));
                }
            },
        }
    }
}

impl Operand {
    /// Returns true for a cast to numbers, whose type depends on the values.
    pub fn is_number_cast(&self) -> bool {
        matches!(self, Operand::Computed(computed) if matches!(computed.kind, ComputedKind::Cast(_, CastType::Number(_))))
    }

    /// Returns true if some operand is the position of the record.
    pub fn reads_row_number(&self) -> bool {
        let Operand::Computed(computed) = self else { return false };
        matches!(computed.kind, ComputedKind::Origin(Origin::RowNumber))
            || computed.nodes().any(ExprNode::reads_row_number)
            || computed.operands().any(Operand::reads_row_number)
    }

    /// Returns true if some value is of a cast to numbers, which keeps digits that a typed column forgets.
    pub(super) fn reads_numbers(&self) -> bool {
        let Operand::Computed(computed) = self else { return false };
        self.is_number_cast() || computed.operands().any(Operand::reads_numbers)
    }
}

impl Computed {
    /// Iterates over its conditions: of the branches, or the condition that it is.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &ExprNode> {
        let (one, branches): (_, &[(ExprNode, Operand)]) = match &self.kind {
            ComputedKind::Truth(node) => (Some(node), &[]),
            ComputedKind::Case(branches, _) => (None, branches),
            _ => (None, &[]),
        };
        one.into_iter().chain(branches.iter().map(|(condition, _)| condition))
    }

    /// Iterates over the operands that it is computed from, without those inside its conditions.
    pub(super) fn operands(&self) -> impl Iterator<Item = &Operand> {
        let (one, many, branches): (_, &[Operand], &[(ExprNode, Operand)]) = match &self.kind {
            ComputedKind::Call(_, args) => (None, args, &[]),
            ComputedKind::Case(branches, otherwise) => (otherwise.as_ref(), &[], branches),
            ComputedKind::Truth(_) | ComputedKind::Origin(_) => (None, &[], &[]),
            ComputedKind::Cast(of, _) | ComputedKind::Extract(of, ..) | ComputedKind::ReplaceFound(of, ..) => {
                (Some(of), &[], &[])
            }
        };
        branches.iter().map(|(_, value)| value).chain(many).chain(one)
    }
}

impl Test {
    /// Returns its one or two operands.
    pub fn operands(&self) -> [Option<&Operand>; 2] {
        match self {
            Test::Compare(left, _, right) => [Some(left), Some(right)],
            Test::Truth(operand) | Test::In(operand, _) | Test::IsNull(operand) | Test::Matches(operand, _) => {
                [Some(operand), None]
            }
        }
    }

    fn operands_mut(&mut self) -> [Option<&mut Operand>; 2] {
        match self {
            Test::Compare(left, _, right) => [Some(left), Some(right)],
            Test::Truth(operand) | Test::In(operand, _) | Test::IsNull(operand) | Test::Matches(operand, _) => {
                [Some(operand), None]
            }
        }
    }
}

impl Compare {
    /// Returns true if values of this order satisfy the comparison.
    #[inline]
    pub fn holds(self, order: std::cmp::Ordering) -> bool {
        match self {
            Compare::Equal => order.is_eq(),
            Compare::NotEqual => order.is_ne(),
            Compare::Less => order.is_lt(),
            Compare::LessOrEqual => order.is_le(),
            Compare::Greater => order.is_gt(),
            Compare::GreaterOrEqual => order.is_ge(),
        }
    }

    /// Returns the comparison for exchanged sides: `a < b` is `b > a`.
    pub fn flipped(self) -> Self {
        match self {
            Compare::Less => Compare::Greater,
            Compare::LessOrEqual => Compare::GreaterOrEqual,
            Compare::Greater => Compare::Less,
            Compare::GreaterOrEqual => Compare::LessOrEqual,
            same => same,
        }
    }
}

impl Literal {
    /// Describes the kind of the literal for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Literal::Null => "null",
            Literal::Bool(_) => "a boolean",
            Literal::Number(_) => "a number",
            Literal::Text(_) => "text",
        }
    }
}
