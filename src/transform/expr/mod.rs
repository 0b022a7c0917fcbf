//! The expression language of the steps `where`, `with` and `cast`: conditions on rows, and values computed from them.
//!
//! A text is scanned (`scan`), parsed (`parse`) into a syntax tree (`ast`), bound to columns, typed (`infer`), and
//! compiled for batches (`eval`). The grammar:
//!
//! ```text
//! expression = expression "or" expression | expression "and" expression | "not" expression
//!            | value ( "=" | "!=" | "<>" | "<" | "<=" | ">" | ">=" ) value
//!            | value "is" ["not"] "null"
//!            | value ["not"] "in" "(" literal { "," literal } ")"
//!            | value ["not"] "between" value "and" value
//!            | value ["not"] ( "like" | "ilike" ) text        % any characters, _ one, \ takes it literally
//!            | value ( "~" | "!~" ) text                      a regular expression matches a part of it
//!            | value
//! value      = value "||" value | value ( "+" | "-" ) value | value ( "*" | "/" | "//" | "%" ) value | "-" value
//!            | function "(" [ expression { "," expression } ] ")"
//!            | "cast" "(" expression "as" type ")"
//!            | ( "source" | "run" | "row_number" ) "(" ")"
//!            | ( "date" | "timestamp" | "number" ) "(" expression { "," parameter } ")"
//!            | "case" { "when" expression "then" expression } [ "else" expression ] "end"
//!            | column | literal | "(" expression ")"
//! column     = name { "." name | "[" digits "]" }             hq.city, emails[0]
//! name       = letters, digits and _ | "…" | `…`
//! literal    = number | '…' | "true" | "false" | "null"
//! ```
//!
//! Keywords and function names are case-insensitive. Precedence from loosest to tightest: `or`, `and`, `not`,
//! comparisons, `||`, sums, products, signs. A quote inside quotes is doubled.
//!
//! # Semantics of comparisons
//!
//! Three-valued logic as in SQL: a comparison with null is unknown, and a row passes only if the whole condition is
//! true. An absent key is null. Numbers compare exactly, whatever their size or number of digits; text by code points;
//! false is before true. Values of different kinds, such as text and a number, do not compare: the result is unknown,
//! and counted. CSV cells have no type, so the other operand decides: against a number the cell is parsed as a number,
//! against text it is text.
//!
//! # Errors at run time
//!
//! A value that cannot be computed (text where a number is needed, a sum beyond 64 bits, a division by zero) rejects
//! its record or is null, by the policy of the plan. Inside a condition it is unknown, so `b <> 0 and a / b > 2` never
//! fails on a division by zero.

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
mod eval_error;
mod functions;
mod hint;
mod infer;
mod like;
mod mask;
mod number_format;
mod parse;
mod parse_type;
mod parser;
mod path;
mod scan;
mod time_format;
mod value;

pub use ast::{Compare, Computed, ComputedKind, Expr, ExprNode, Literal, Operand, Origin, Test};
pub use cast::{parse_days, parse_micros};
pub use cast_type::CastType;
pub use column_builder::{BuiltColumn, ExprColumnBuilder, Readers};
pub use compute::RowContext;
pub use decimal::{Decimal, write_canonical_number};
pub use error::Error;
pub use eval::Predicate;
pub use eval_error::EvalError;
pub use functions::Function;
pub use hint::Hint;
pub use infer::{TypeError, type_of};
pub(super) use infer::{check_node, check_operand, describe_type};
pub use like::Pattern;
pub use parse::{
    Assignment, SelectedPath, parse, parse_assignments, parse_casts, parse_names, parse_renames, parse_selection,
};
pub use path::{Path, PathSegment, Quotes, as_read_at, column_at, type_at};

#[cfg(test)]
mod tests;
