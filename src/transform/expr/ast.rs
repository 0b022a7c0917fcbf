//! Expressions as parsed: conditions, and the values that they and new columns are made of.

use std::ops::Range;
use std::sync::Arc;

use super::cast_type::CastType;
use super::decimal::Decimal;
use super::functions::Function;
use super::like::Pattern;
use super::path::Path;

/// A value that was written out.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Decimal),
    /// Text.
    Text(Arc<str>),
}

/// One side of a comparison, and whatever else has a value.
#[derive(Clone, Debug)]
pub enum Operand {
    /// The row's value there.
    Column(Path),
    /// The same for all rows.
    Literal(Literal),
    /// Worked out from others.
    Computed(Box<Computed>),
}

/// A value that is worked out.
#[derive(Clone, Debug)]
pub struct Computed {
    /// How.
    pub how: ComputedKind,
    /// The bytes of the text that say so.
    pub span: Range<usize>,
}

/// How a value is worked out.
#[derive(Clone, Debug)]
pub enum ComputedKind {
    /// By a function or an operator.
    Call(Function, Vec<Operand>),
    /// The value of the first branch whose condition is true; else the last, else null.
    Case(Vec<(ExprNode, Operand)>, Option<Operand>),
    /// Whether it is true.
    Truth(ExprNode),
    /// Brought to a type.
    Cast(Operand, CastType),
    /// What a regular expression finds first: the group of this number, 0 for all of it.
    Extract(Operand, regex::Regex, usize),
    /// With everything that a regular expression finds replaced.
    ReplaceFound(Operand, regex::Regex, Arc<str>),
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// What is asked of values.
#[derive(Clone, Debug)]
pub enum Test {
    /// Is it true?
    Truth(Operand),
    /// Do they stand so to each other?
    Compare(Operand, Compare, Operand),
    /// Is it one of these?
    In(Operand, Vec<Literal>),
    /// Is it null or absent?
    IsNull(Operand),
    /// Does its text look so?
    Matches(Operand, Pattern),
}

/// An expression.
#[derive(Clone, Debug)]
pub enum ExprNode {
    /// All of them.
    And(Vec<ExprNode>),
    /// Any of them.
    Or(Vec<ExprNode>),
    /// The opposite.
    Not(Box<ExprNode>),
    /// A question about values, and the bytes of the text that ask it.
    Test(Test, Range<usize>),
}

/// A parsed condition.
#[derive(Clone, Debug)]
pub struct Expr {
    /// As it was written.
    pub text: Arc<str>,
    /// What it says.
    pub node: ExprNode,
}

impl ExprNode {
    /// Calls `each` with every test and the bytes of the text that ask it.
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

    /// Calls `each` with every path.
    pub fn paths<'a>(&'a self, each: &mut dyn FnMut(&'a Path)) {
        match self {
            ExprNode::And(nodes) | ExprNode::Or(nodes) => nodes.iter().for_each(|node| node.paths(each)),
            ExprNode::Not(node) => node.paths(each),
            ExprNode::Test(test, _) => test.operands().into_iter().flatten().for_each(|operand| operand.paths(each)),
        }
    }

    /// As [`ExprNode::paths`], to be changed.
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
    /// Calls `each` with every test inside.
    pub fn tests<'a>(&'a self, each: &mut dyn FnMut(&'a Test, &Range<usize>)) {
        let Operand::Computed(computed) = self else { return };
        computed.nodes().for_each(|node| node.tests(each));
        computed.operands().for_each(|operand| operand.tests(each));
    }

    /// Calls `each` with every path inside.
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

    /// As [`Operand::paths`], to be changed.
    pub fn paths_mut(&mut self, each: &mut dyn FnMut(&mut Path)) {
        match self {
            Operand::Column(path) => each(path),
            Operand::Literal(_) => {}
            Operand::Computed(computed) => match &mut computed.how {
                ComputedKind::Call(_, args) => args.iter_mut().for_each(|arg| arg.paths_mut(each)),
                ComputedKind::Truth(node) => node.paths_mut(each),
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

impl Computed {
    /// Its conditions.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &ExprNode> {
        let (one, branches): (_, &[(ExprNode, Operand)]) = match &self.how {
            ComputedKind::Truth(node) => (Some(node), &[]),
            ComputedKind::Case(branches, _) => (None, branches),
            _ => (None, &[]),
        };
        one.into_iter().chain(branches.iter().map(|(condition, _)| condition))
    }

    /// The values that it is worked out from.
    pub(super) fn operands(&self) -> impl Iterator<Item = &Operand> {
        let (one, many, branches): (_, &[Operand], &[(ExprNode, Operand)]) = match &self.how {
            ComputedKind::Call(_, args) => (None, args, &[]),
            ComputedKind::Case(branches, otherwise) => (otherwise.as_ref(), &[], branches),
            ComputedKind::Truth(_) => (None, &[], &[]),
            ComputedKind::Cast(of, _) | ComputedKind::Extract(of, ..) | ComputedKind::ReplaceFound(of, ..) => {
                (Some(of), &[], &[])
            }
        };
        branches.iter().map(|(_, value)| value).chain(many).chain(one)
    }
}

impl Test {
    /// Its one or two operands.
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
    /// Whether values in this order meet it.
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

    /// The same question with its sides exchanged.
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
    /// Its kind in words.
    pub fn kind(&self) -> &'static str {
        match self {
            Literal::Null => "null",
            Literal::Bool(_) => "true or false",
            Literal::Number(_) => "a number",
            Literal::Text(_) => "text",
        }
    }
}
