//! Type inference of expressions from the types of their columns, and checks of argument types, before any record is
//! written.

use super::ast::{ComputedKind, ExprNode, Literal, Operand, Origin};
use super::cast_type::CastType;
use super::datum::Datum;
use super::error::Error;
use super::functions::Function;
use super::path::type_at;
use crate::column::{Fixed, Schema, Type, TypeMerge};

/// Infers the type of the column that `operand` computes over columns of `schema`. It widens when their types widen.
pub fn type_of(operand: &Operand, schema: &Schema, type_merge: TypeMerge) -> Type {
    match operand {
        Operand::Column(path) => type_at(schema, path),
        Operand::Literal(literal) => literal_type(literal),
        Operand::Computed(computed) => match &computed.kind {
            ComputedKind::Truth(_) => Type::Bool,
            ComputedKind::Origin(Origin::RowNumber) => Type::Int { fits_double: true },
            ComputedKind::Origin(Origin::Source | Origin::Run) => Type::Text,
            ComputedKind::Cast(of, ty) => match scalar(type_of(of, schema, type_merge)) {
                // A cast to JSON parses text and leaves other values unchanged.
                of if *ty == CastType::Json && !matches!(of, Type::Text | Type::Json | Type::Raw) => of,
                _ => ty.ty(),
            },
            ComputedKind::Extract(..) | ComputedKind::ReplaceFound(..) => Type::Text,
            ComputedKind::Case(branches, otherwise) => {
                let values = branches.iter().map(|(_, value)| value).chain(otherwise);
                // A branch of another type widens the column, as records of several types would.
                values.fold(Type::Null, |ty, value| ty.join(&scalar(type_of(value, schema, type_merge)), type_merge))
            }
            // JSON text of nested values is text; so is that of mixed values, their only common type.
            ComputedKind::Call(Function::JsonText, args) => match scalar(type_of(&args[0], schema, type_merge)) {
                Type::Json => Type::Text,
                other => other,
            },
            ComputedKind::Call(function, args) => {
                let ty = |arg: &Operand| scalar(type_of(arg, schema, type_merge));
                call_type(*function, &mut args.iter().map(ty), type_merge)
            }
        },
    }
}

fn call_type(function: Function, args: &mut dyn Iterator<Item = Type>, type_merge: TypeMerge) -> Type {
    use Function::*;
    match function {
        Divide => Type::Float,
        Add | Subtract | Multiply | FloorDivide | Remainder | Negate | Abs => {
            args.map(|ty| number_kind(&ty)).reduce(arithmetic_kind).map_or(Type::Null, |n| n.ty(type_merge))
        }
        Round | Floor | Ceil => args.next().map_or(Type::Null, |ty| number_kind(&ty).ty(type_merge)),
        Join | Lower | Upper | Trim | Substr | Replace | SplitPart | Concat => Type::Text,
        Length => Type::Int { fits_double: true },
        StartsWith | EndsWith | Contains => Type::Bool,
        Coalesce => args.fold(Type::Null, |ty, arg| ty.join(&arg, type_merge)),
        NullIf | JsonText => args.next().unwrap_or(Type::Null),
    }
}

/// Returns the type as functions see it: nested values are JSON text.
fn scalar(ty: Type) -> Type {
    match ty {
        Type::Struct(_) | Type::List(_) | Type::Map(_) | Type::Raw => Type::Json,
        other => other,
    }
}

/// Kind of the numbers that an operand of a type can yield.
#[derive(Clone, Copy, PartialEq, Eq)]
enum NumberKind {
    None,
    Int,
    Decimal,
    Float,
    Any,
}

impl NumberKind {
    fn ty(self, type_merge: TypeMerge) -> Type {
        match self {
            NumberKind::None => Type::Null,
            NumberKind::Int => Type::Int { fits_double: true },
            NumberKind::Decimal => Type::Decimal,
            NumberKind::Float => Type::Float,
            NumberKind::Any if type_merge == TypeMerge::Text => Type::Text,
            NumberKind::Any => Type::Json,
        }
    }
}

/// Returns the kind of numbers that a column of type `ty` yields.
fn number_kind(ty: &Type) -> NumberKind {
    match ty {
        Type::Null => NumberKind::None,
        Type::Int { .. } => NumberKind::Int,
        Type::Decimal | Type::Fixed(Fixed::Decimal { scale: 0, .. }) => NumberKind::Decimal,
        Type::Float | Type::Fixed(Fixed::Decimal { .. }) => NumberKind::Float,
        _ => NumberKind::Any,
    }
}

/// Returns the kind of the result of arithmetic on two kinds; null if one side is always null.
fn arithmetic_kind(a: NumberKind, b: NumberKind) -> NumberKind {
    use NumberKind::*;
    match (a, b) {
        // Arithmetic with null is null.
        (None, _) | (_, None) => None,
        (Any, _) | (_, Any) => Any,
        (Float, _) | (_, Float) => Float,
        (Decimal, _) | (_, Decimal) => Decimal,
        (Int, Int) => Int,
    }
}

fn literal_type(literal: &Literal) -> Type {
    match Datum::of_literal(literal) {
        Datum::Null => Type::Null,
        Datum::Bool(_) => Type::Bool,
        Datum::Int(int) => match i64::try_from(int) {
            Ok(int) => Type::Int { fits_double: crate::format::number::fits_double(int) },
            Err(_) => Type::Decimal,
        },
        Datum::Text(_) => Type::Text,
        digits => match digits.number() {
            Ok(_) => Type::Float,
            Err(_) => Type::Json,
        },
    }
}

/// Type error of an expression.
#[derive(Clone, Debug)]
pub struct TypeError {
    /// Byte of the expression's text.
    pub at: usize,
    /// Message, as a lowercase fragment.
    pub message: String,
    /// Hint for a fix; `None` if there is no obvious one.
    pub hint: Option<String>,
}

impl TypeError {
    /// Converts to an error of the expression's text.
    pub(in crate::transform) fn in_text(self, text: &str) -> Error {
        let error = Error::new(text, self.at, self.message);
        match self.hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}

/// Checks the arguments of all functions in `node`. Fails if no value of an argument's known type is accepted.
pub(in crate::transform) fn check_node(node: &ExprNode, schema: &Schema) -> Result<(), TypeError> {
    match node {
        ExprNode::And(nodes) | ExprNode::Or(nodes) => nodes.iter().try_for_each(|node| check_node(node, schema)),
        ExprNode::Not(node) => check_node(node, schema),
        ExprNode::Test(test, _) => test.operands().into_iter().flatten().try_for_each(|o| check_operand(o, schema)),
    }
}

/// Checks the arguments of all functions in `operand`, like [`check_node`]. Not called for CSV, whose types are
/// unknown.
pub(in crate::transform) fn check_operand(operand: &Operand, schema: &Schema) -> Result<(), TypeError> {
    let Operand::Computed(computed) = operand else { return Ok(()) };
    computed.nodes().try_for_each(|node| check_node(node, schema))?;
    computed.operands().try_for_each(|inner| check_operand(inner, schema))?;
    let at = computed.span.start;
    let (of, wants_text) = match &computed.kind {
        ComputedKind::Extract(of, ..) | ComputedKind::ReplaceFound(of, ..) => (vec![of], vec![true]),
        ComputedKind::Call(function, args) => {
            let args: Vec<_> = args.iter().enumerate().collect();
            let numbers = args.iter().filter(|(i, _)| function.takes_numbers() || function.takes_count(*i));
            for (_, arg) in numbers {
                check_argument(arg, schema, Some(*function), false, at)?;
            }
            // `length` accepts text, lists and objects, so only other scalars are rejected.
            if *function == Function::Length {
                let ty = type_of(args[0].1, schema, TypeMerge::Json);
                if matches!(ty, Type::Bool | Type::Int { .. } | Type::Float | Type::Decimal) {
                    return check_argument(args[0].1, schema, Some(*function), true, at);
                }
            }
            let texts = args.into_iter().filter(|(i, _)| function.takes_text(*i)).map(|(_, arg)| arg);
            let texts: Vec<_> = texts.collect();
            for arg in texts {
                check_argument(arg, schema, Some(*function), true, at)?;
            }
            return Ok(());
        }
        _ => return Ok(()),
    };
    of.into_iter().zip(wants_text).try_for_each(|(of, text)| check_argument(of, schema, None, text, at))
}

/// Checks that an argument can be text, or else a number. `function` is `None` for a regular expression; `at` is the
/// byte of the call, for arguments without a position of their own.
fn check_argument(
    arg: &Operand,
    schema: &Schema,
    function: Option<Function>,
    text: bool,
    at: usize,
) -> Result<(), TypeError> {
    let ty = type_of(arg, schema, TypeMerge::Json);
    let fits = match ty {
        Type::Null | Type::Json | Type::Raw => true,
        Type::Text => text,
        Type::Fixed(fixed) => fixed.is_number() != text,
        Type::Int { .. } | Type::Float | Type::Decimal | Type::Number(_) => !text,
        Type::Bool | Type::Struct(_) | Type::List(_) | Type::Map(_) | Type::Opaque(_) => false,
    };
    if fits {
        return Ok(());
    }
    let callee = match function {
        Some(function) => format!("`{}`", function.name()),
        None => "a regular expression".to_owned(),
    };
    let (expected, found) = (if text { "text" } else { "numbers" }, describe_type(&ty));
    let (message, cast) = match arg {
        Operand::Column(path) => {
            (format!("cannot apply {callee} to `{path}`: expected {expected}, found {found}"), Some(path.to_string()))
        }
        _ => (format!("cannot apply {callee}: expected {expected}, found {found}"), None),
    };
    // No cast makes a number or useful text of objects and lists.
    let nested = matches!(ty, Type::Struct(_) | Type::List(_) | Type::Map(_));
    let hint = cast.filter(|_| !nested).map(|column| match text {
        true => format!("convert it to text with `cast({column} as string)`"),
        false => format!("convert it to a number with `cast({column} as float)`"),
    });
    Err(TypeError { at: arg_start(arg).unwrap_or(at), message, hint })
}

/// Returns the byte at which an argument starts; `None` for literals, which have no position.
fn arg_start(arg: &Operand) -> Option<usize> {
    match arg {
        Operand::Column(path) => Some(path.at),
        Operand::Literal(_) => None,
        Operand::Computed(computed) => Some(computed.span.start),
    }
}

/// Describes the values of a column type for messages, in the plural.
pub(in crate::transform) fn describe_type(ty: &Type) -> &'static str {
    match ty {
        Type::Struct(_) | Type::Map(_) => "objects",
        Type::List(_) => "lists",
        Type::Bool => "booleans",
        Type::Int { .. } | Type::Float | Type::Decimal | Type::Fixed(Fixed::Decimal { .. }) => "numbers",
        Type::Fixed(Fixed::Date) => "dates",
        Type::Fixed(Fixed::Timestamp { .. }) => "timestamps",
        _ => "text",
    }
}
