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

mod ast;
mod call;
mod cast;
mod cast_type;
mod column_builder;
mod column_test;
mod compute;
mod datum;
mod decimal;
mod error;
mod eval;
mod functions;
mod hint;
mod infer;
mod like;
mod mask;
mod parse;
mod path;
mod scan;
mod value;

pub use ast::{Compare, Computed, ComputedKind, Expr, ExprNode, Literal, Operand, Test};
pub use cast_type::CastType;
pub use column_builder::ExprColumnBuilder;
pub use datum::EvalError;
pub use decimal::{Decimal, write_canonical_number};
pub use error::Error;
pub use eval::Predicate;
pub use functions::Function;
pub use hint::Hint;
pub use infer::{TypeError, type_of};
pub(super) use infer::{check_node, check_operand, words};
pub use like::Pattern;
pub use parse::{Assignment, parse, parse_assignments, parse_casts, parse_names, parse_renames};
pub use path::{Path, PathSegment, Quotes, column_at, type_at};

#[cfg(test)]
mod tests;
