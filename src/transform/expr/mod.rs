//! The language of `--where`, `--with` and `--cast`: what is asked of a row, and what is worked out from it.
//!
//! ```text
//! expression = expression "or" expression | expression "and" expression | "not" expression
//!            | value ( "=" | "!=" | "<>" | "<" | "<=" | ">" | ">=" ) value
//!            | value "is" ["not"] "null"
//!            | value ["not"] "in" "(" literal { "," literal } ")"
//!            | value ["not"] "between" value "and" value
//!            | value ["not"] ( "like" | "ilike" ) text        % any characters, _ one, \ takes it literally
//!            | value ( "~" | "!~" ) text                      a regular expression is found in it
//!            | value
//! value      = value "||" value | value ( "+" | "-" ) value | value ( "*" | "/" | "//" | "%" ) value | "-" value
//!            | function "(" [ expression { "," expression } ] ")"
//!            | "cast" "(" expression "as" type ")"
//!            | "case" { "when" expression "then" expression } [ "else" expression ] "end"
//!            | column | literal | "(" expression ")"
//! column     = name { "." name | "[" digits "]" }             hq.city, emails[0]
//! name       = letters, digits and _ | "…" | `…`
//! literal    = number | '…' | "true" | "false" | "null"
//! ```
//!
//! Words are known in any case; from loosest to tightest, `or`, `and`, `not`, comparisons, `||`, sums,
//! products, signs. A quote inside quotes is written twice.
//!
//! # What comparisons mean
//!
//! SQL's three-valued logic: a comparison with null is neither true nor false, and a row stays only
//! if the whole is true. Absent and null are one. Numbers compare exactly, whatever their size or
//! number of digits; text by its characters' code points; false is before true. Values of different
//! kinds, such as text and a number, do not compare: neither true nor false, and counted. In CSV
//! every cell is text to begin with, so there the literal decides: against a number the cell is read
//! as one, against text its characters count.
//!
//! # What can go wrong
//!
//! A value that cannot be worked out (text where a number is needed, a sum beyond 64 bits, a division
//! by zero) makes its record a bad one, or is null, as the plan says. Inside a condition it counts as
//! neither true nor false, so that `b <> 0 and a / b > 2` is never asked to divide by zero.

mod cast;
mod compute;
mod datum;
mod decimal;
mod eval;
mod functions;
mod infer;
mod like;
mod mask;
mod parse;
mod scan;

use std::fmt;
use std::sync::Arc;

use std::ops::Range;

pub use cast::CastType;
pub use compute::{Bad, Maker};
pub use decimal::{Decimal, write_canonical_number};
pub use eval::Predicate;
pub use functions::Function;
pub use infer::{Fault, type_of};
pub(super) use infer::{check_node, check_operand, words};
pub use like::Pattern;
pub use parse::{Assignment, Error, parse, parse_assignments, parse_casts, parse_names, parse_renames};

/// Where a value sits: a column, and the way into it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Path {
    /// The column, or the first part of what may turn out to be its dotted name.
    pub column: Arc<str>,
    /// The way from there.
    pub way: Vec<Way>,
    /// How the first part was written.
    pub quotes: Quotes,
    /// Byte in the text where it was written.
    pub at: usize,
}

/// One step into a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// To a field of an object.
    Key(Arc<str>),
    /// To an element of a list, from 0.
    Index(usize),
}

/// How a name was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quotes {
    /// Bare.
    None,
    /// In double quotes.
    Double,
    /// In backticks: taken at its word, also when no such column has come yet.
    Backtick,
}

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
    pub how: How,
    /// The bytes of the text that say so.
    pub span: Range<usize>,
}

/// How a value is worked out.
#[derive(Clone, Debug)]
pub enum How {
    /// By a function or an operator.
    Call(Function, Vec<Operand>),
    /// The value of the first branch whose condition is true; else the last, else null.
    Case(Vec<(Node, Operand)>, Option<Operand>),
    /// Whether it is true.
    Truth(Node),
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
pub enum Node {
    /// All of them.
    And(Vec<Node>),
    /// Any of them.
    Or(Vec<Node>),
    /// The opposite.
    Not(Box<Node>),
    /// A question about values, and the bytes of the text that ask it.
    Test(Test, Range<usize>),
}

/// A parsed condition.
#[derive(Clone, Debug)]
pub struct Expr {
    /// As it was written.
    pub text: Arc<str>,
    /// What it says.
    pub node: Node,
}

impl Path {
    /// The path of a column of this very name.
    pub fn column(name: impl Into<Arc<str>>) -> Self {
        Path { column: name.into(), way: Vec::new(), quotes: Quotes::None, at: 0 }
    }
}

impl fmt::Display for Path {
    /// As results name it: `hq.city`, `emails[0]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.column)?;
        self.way.iter().try_for_each(|way| match way {
            Way::Key(key) => write!(f, ".{key}"),
            Way::Index(index) => write!(f, "[{index}]"),
        })
    }
}

impl Node {
    /// Calls `each` with every test and the bytes of the text that ask it.
    pub fn tests<'a>(&'a self, each: &mut dyn FnMut(&'a Test, &Range<usize>)) {
        match self {
            Node::And(nodes) | Node::Or(nodes) => nodes.iter().for_each(|node| node.tests(each)),
            Node::Not(node) => node.tests(each),
            Node::Test(test, span) => {
                test.operands().into_iter().flatten().for_each(|operand| operand.tests(each));
                each(test, span);
            }
        }
    }

    /// Calls `each` with every path.
    pub fn paths<'a>(&'a self, each: &mut dyn FnMut(&'a Path)) {
        match self {
            Node::And(nodes) | Node::Or(nodes) => nodes.iter().for_each(|node| node.paths(each)),
            Node::Not(node) => node.paths(each),
            Node::Test(test, _) => test.operands().into_iter().flatten().for_each(|operand| operand.paths(each)),
        }
    }

    /// As [`Node::paths`], to be changed.
    pub fn paths_mut(&mut self, each: &mut dyn FnMut(&mut Path)) {
        match self {
            Node::And(nodes) | Node::Or(nodes) => nodes.iter_mut().for_each(|node| node.paths_mut(each)),
            Node::Not(node) => node.paths_mut(each),
            Node::Test(test, _) => {
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
                How::Call(_, args) => args.iter_mut().for_each(|arg| arg.paths_mut(each)),
                How::Truth(node) => node.paths_mut(each),
                How::Cast(of, _) | How::Extract(of, ..) | How::ReplaceFound(of, ..) => of.paths_mut(each),
                How::Case(branches, otherwise) => {
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
    fn nodes(&self) -> impl Iterator<Item = &Node> {
        let (one, branches): (_, &[(Node, Operand)]) = match &self.how {
            How::Truth(node) => (Some(node), &[]),
            How::Case(branches, _) => (None, branches),
            _ => (None, &[]),
        };
        one.into_iter().chain(branches.iter().map(|(condition, _)| condition))
    }

    /// The values that it is worked out from.
    fn operands(&self) -> impl Iterator<Item = &Operand> {
        let (one, many, branches): (_, &[Operand], &[(Node, Operand)]) = match &self.how {
            How::Call(_, args) => (None, args, &[]),
            How::Case(branches, otherwise) => (otherwise.as_ref(), &[], branches),
            How::Truth(_) => (None, &[], &[]),
            How::Cast(of, _) | How::Extract(of, ..) | How::ReplaceFound(of, ..) => (Some(of), &[], &[]),
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

#[cfg(test)]
mod tests;
