//! Types of expressions, worked out from those of their columns before any record is read.

use super::ast::{ComputedKind, ExprNode, Literal, Operand};
use super::cast_type::CastType;
use super::datum::Datum;
use super::error::Error;
use super::functions::Function;
use super::path::type_at;
use crate::column::{Fixed, Schema, Type, TypeMerge};

/// The type of the column that `operand` makes over columns of `schema`. It widens as theirs do.
pub fn type_of(operand: &Operand, schema: &Schema, type_merge: TypeMerge) -> Type {
    match operand {
        Operand::Column(path) => type_at(schema, path),
        Operand::Literal(literal) => literal_type(literal),
        Operand::Computed(computed) => match &computed.how {
            ComputedKind::Truth(_) => Type::Bool,
            ComputedKind::Cast(of, ty) => match scalar(type_of(of, schema, type_merge)) {
                // What was no text is itself.
                of if *ty == CastType::Json && !matches!(of, Type::Text | Type::Json | Type::Raw) => of,
                _ => ty.ty(),
            },
            ComputedKind::Extract(..) | ComputedKind::ReplaceFound(..) => Type::Text,
            ComputedKind::Case(branches, otherwise) => {
                let values = branches.iter().map(|(_, value)| value).chain(otherwise);
                values.fold(Type::Null, |ty, value| ty.join(&scalar(type_of(value, schema, type_merge)), type_merge))
            }
            // Text of what is nested; of unlike values it is all that they have in common.
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
            args.map(|ty| number(&ty)).reduce(reckoned).map_or(Type::Null, |n| n.ty(type_merge))
        }
        Round | Floor | Ceil => args.next().map_or(Type::Null, |ty| number(&ty).ty(type_merge)),
        Join | Lower | Upper | Trim | Substr | Replace | SplitPart | Concat => Type::Text,
        Length => Type::Int { fits_double: true },
        StartsWith | EndsWith | Contains => Type::Bool,
        Coalesce => args.fold(Type::Null, |ty, arg| ty.join(&arg, type_merge)),
        NullIf | JsonText => args.next().unwrap_or(Type::Null),
    }
}

/// What is nested is JSON text in the hands of functions.
fn scalar(ty: Type) -> Type {
    match ty {
        Type::Struct(_) | Type::List(_) | Type::Map(_) | Type::Raw => Type::Json,
        other => other,
    }
}

/// What kind of numbers a column may give.
#[derive(Clone, Copy, PartialEq, Eq)]
enum NumberKinds {
    None,
    Int,
    Decimal,
    Float,
    Any,
}

impl NumberKinds {
    fn ty(self, type_merge: TypeMerge) -> Type {
        match self {
            NumberKinds::None => Type::Null,
            NumberKinds::Int => Type::Int { fits_double: true },
            NumberKinds::Decimal => Type::Decimal,
            NumberKinds::Float => Type::Float,
            NumberKinds::Any if type_merge == TypeMerge::Text => Type::Text,
            NumberKinds::Any => Type::Json,
        }
    }
}

fn number(ty: &Type) -> NumberKinds {
    match ty {
        Type::Null => NumberKinds::None,
        Type::Int { .. } => NumberKinds::Int,
        Type::Decimal | Type::Fixed(Fixed::Decimal { scale: 0, .. }) => NumberKinds::Decimal,
        Type::Float | Type::Fixed(Fixed::Decimal { .. }) => NumberKinds::Float,
        _ => NumberKinds::Any,
    }
}

fn reckoned(a: NumberKinds, b: NumberKinds) -> NumberKinds {
    use NumberKinds::*;
    match (a, b) {
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

/// Why an expression cannot go with the columns.
#[derive(Clone, Debug)]
pub struct TypeError {
    /// Byte in the text.
    pub at: usize,
    /// What is wrong.
    pub message: String,
    /// What can be done.
    pub hint: Option<String>,
}

impl TypeError {
    /// The error of the text of the expression.
    pub(in crate::transform) fn in_text(self, text: &str) -> Error {
        let error = Error::new(text, self.at, self.message);
        match self.hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}

/// Refuses an argument that no value seen so far can be right for.
pub(in crate::transform) fn check_node(node: &ExprNode, schema: &Schema) -> Result<(), TypeError> {
    match node {
        ExprNode::And(nodes) | ExprNode::Or(nodes) => nodes.iter().try_for_each(|node| check_node(node, schema)),
        ExprNode::Not(node) => check_node(node, schema),
        ExprNode::Test(test, _) => test.operands().into_iter().flatten().try_for_each(|o| check_operand(o, schema)),
    }
}

/// As [`check_node`]. In CSV nothing is known, so that it is not asked.
pub(in crate::transform) fn check_operand(operand: &Operand, schema: &Schema) -> Result<(), TypeError> {
    let Operand::Computed(computed) = operand else { return Ok(()) };
    computed.nodes().try_for_each(|node| check_node(node, schema))?;
    computed.operands().try_for_each(|inner| check_operand(inner, schema))?;
    let at = computed.span.start;
    let (of, wants_text) = match &computed.how {
        ComputedKind::Extract(of, ..) | ComputedKind::ReplaceFound(of, ..) => (vec![of], vec![true]),
        ComputedKind::Call(function, args) => {
            let args: Vec<_> = args.iter().enumerate().collect();
            let numbers = args.iter().filter(|(i, _)| function.takes_numbers() || function.takes_count(*i));
            for (_, arg) in numbers {
                needs(arg, schema, function.name(), false, at)?;
            }
            if *function == Function::Length {
                let ty = type_of(args[0].1, schema, TypeMerge::Json);
                if matches!(ty, Type::Bool | Type::Int { .. } | Type::Float | Type::Decimal) {
                    return needs(args[0].1, schema, "length", true, at);
                }
            }
            let texts = args.into_iter().filter(|(i, _)| function.takes_text(*i)).map(|(_, arg)| arg);
            let texts: Vec<_> = texts.collect();
            for arg in texts {
                needs(arg, schema, function.name(), true, at)?;
            }
            return Ok(());
        }
        _ => return Ok(()),
    };
    of.into_iter().zip(wants_text).try_for_each(|(of, text)| needs(of, schema, "a regular expression", text, at))
}

fn needs(arg: &Operand, schema: &Schema, who: &str, text: bool, at: usize) -> Result<(), TypeError> {
    let ty = type_of(arg, schema, TypeMerge::Json);
    let fits = match ty {
        Type::Null | Type::Json | Type::Raw => true,
        Type::Text => text,
        Type::Fixed(fixed) => fixed.is_number() != text,
        Type::Int { .. } | Type::Float | Type::Decimal => !text,
        Type::Bool | Type::Struct(_) | Type::List(_) | Type::Map(_) => false,
    };
    if fits {
        return Ok(());
    }
    let wanted = if text { "text" } else { "numbers" };
    let holds = words(&ty);
    let (message, cast) = match arg {
        Operand::Column(path) => {
            (format!("`{who}` needs {wanted}, and `{path}` holds {holds}"), Some(path.to_string()))
        }
        _ => (format!("`{who}` needs {wanted} and is given {holds}"), None),
    };
    let nested = matches!(ty, Type::Struct(_) | Type::List(_) | Type::Map(_));
    let hint = cast.filter(|_| !nested).map(|column| match text {
        true => format!("`cast({column} as string)` makes text of it"),
        false => format!("`cast({column} as float)` reads it as a number"),
    });
    Err(TypeError { at: arg_start(arg).unwrap_or(at), message, hint })
}

fn arg_start(arg: &Operand) -> Option<usize> {
    match arg {
        Operand::Column(path) => Some(path.at),
        Operand::Literal(_) => None,
        Operand::Computed(computed) => Some(computed.span.start),
    }
}

/// What a column holds, in words.
pub(in crate::transform) fn words(ty: &Type) -> &'static str {
    match ty {
        Type::Struct(_) | Type::Map(_) => "objects",
        Type::List(_) => "lists",
        Type::Bool => "true and false",
        Type::Int { .. } | Type::Float | Type::Decimal | Type::Fixed(Fixed::Decimal { .. }) => "numbers",
        Type::Fixed(Fixed::Date) => "dates",
        Type::Fixed(Fixed::Timestamp { .. }) => "times",
        _ => "text",
    }
}
