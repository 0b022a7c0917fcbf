//! The language of `--where`: what a row must be like to stay.
//!
//! ```text
//! expression = expression "or" expression | expression "and" expression | "not" expression
//!            | value ( "=" | "!=" | "<>" | "<" | "<=" | ">" | ">=" ) value
//!            | value "is" ["not"] "null"
//!            | value ["not"] "in" "(" literal { "," literal } ")"
//!            | value ["not"] "between" value "and" value
//!            | value ["not"] ( "like" | "ilike" ) text        % any characters, _ one, \ takes it literally
//!            | value ( "~" | "!~" ) text                      a regular expression is found in it
//!            | column | "true" | "false" | "(" expression ")"
//! value      = column | literal | "(" value ")"
//! column     = name { "." name | "[" digits "]" }             hq.city, emails[0]
//! name       = letters, digits and _ | "…" | `…`
//! literal    = number | '…' | "true" | "false" | "null"
//! ```
//!
//! Words are known in any case; from loosest to tightest, `or`, `and`, `not`, comparisons. A quote
//! inside quotes is written twice.
//!
//! # What comparisons mean
//!
//! SQL's three-valued logic: a comparison with null is neither true nor false, and a row stays only
//! if the whole is true. Absent and null are one. Numbers compare exactly, whatever their size or
//! number of digits; text by its characters' code points; false is before true. Values of different
//! kinds, such as text and a number, do not compare: neither true nor false, and counted. In CSV
//! every cell is text to begin with, so there the literal decides: against a number the cell is read
//! as one, against text its characters count.

mod decimal;
mod eval;
mod like;
mod mask;
mod parse;

use std::fmt;
use std::sync::Arc;

pub use decimal::{Decimal, write_canonical_number};
pub use eval::Predicate;
pub use like::Pattern;
pub use parse::{Error, parse, parse_names, parse_renames};

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

/// One side of a comparison.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// The row's value there.
    Column(Path),
    /// The same for all rows.
    Literal(Literal),
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
    Test(Test, std::ops::Range<usize>),
}

/// A parsed `--where`.
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
    pub fn tests<'a>(&'a self, each: &mut impl FnMut(&'a Test, &std::ops::Range<usize>)) {
        match self {
            Node::And(nodes) | Node::Or(nodes) => nodes.iter().for_each(|node| node.tests(each)),
            Node::Not(node) => node.tests(each),
            Node::Test(test, span) => each(test, span),
        }
    }

    /// Calls `each` with every path.
    pub fn paths_mut(&mut self, each: &mut impl FnMut(&mut Path)) {
        match self {
            Node::And(nodes) | Node::Or(nodes) => nodes.iter_mut().for_each(|node| node.paths_mut(each)),
            Node::Not(node) => node.paths_mut(each),
            Node::Test(test, _) => test.operands_mut().into_iter().flatten().for_each(|operand| {
                if let Operand::Column(path) = operand {
                    each(path);
                }
            }),
        }
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

    /// Its columns.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.operands().into_iter().flatten().filter_map(|operand| match operand {
            Operand::Column(path) => Some(path),
            Operand::Literal(_) => None,
        })
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
