//! Operators and functions: their names, and the number and kinds of their arguments.

/// An operator or a scalar function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// Addition, `a + b`.
    Add,
    /// Subtraction, `a - b`.
    Subtract,
    /// Multiplication, `a * b`.
    Multiply,
    /// Division, `a / b`; always a double.
    Divide,
    /// Integer division, `a // b`, rounded down.
    FloorDivide,
    /// Remainder, `a % b` or `mod(a, b)`, with the sign of the divisor.
    Remainder,
    /// Negation of a number, `-a`.
    Negate,
    /// Concatenation, `a || b`; null if one side is null.
    Join,
    /// Absolute value, `abs(a)`.
    Abs,
    /// Nearest number of the given decimal places, default 0; ties go to even.
    Round,
    /// Greatest integer that is not above the number.
    Floor,
    /// Least integer that is not below the number.
    Ceil,
    /// Text in lower case.
    Lower,
    /// Text in upper case.
    Upper,
    /// Text without whitespace, or without the given characters, at both ends.
    Trim,
    /// Number of characters of text, elements of a list, or keys of an object.
    Length,
    /// Substring from a position counted from 1, or from the end if it is negative; optionally of limited length.
    Substr,
    /// Text with every occurrence of one text replaced by another.
    Replace,
    /// Part N, from 1, of a text split at a separator; counted from the end if N is negative; null beyond the last.
    SplitPart,
    /// Concatenation of all arguments; null is skipped.
    Concat,
    /// True if a text starts with another.
    StartsWith,
    /// True if a text ends with another.
    EndsWith,
    /// True if a text contains another.
    Contains,
    /// First argument that is not null.
    Coalesce,
    /// First argument, or null if it equals the second.
    NullIf,
    /// Objects and lists as JSON text; other values unchanged. The step `json` uses it.
    JsonText,
}

/// Functions by name, with their minimum and maximum number of arguments.
pub(super) const FUNCTIONS: [(&str, Function, usize, usize); 22] = [
    ("abs", Function::Abs, 1, 1),
    ("ceil", Function::Ceil, 1, 1),
    ("coalesce", Function::Coalesce, 1, usize::MAX),
    ("concat", Function::Concat, 1, usize::MAX),
    ("contains", Function::Contains, 2, 2),
    ("ends_with", Function::EndsWith, 2, 2),
    ("floor", Function::Floor, 1, 1),
    ("json_text", Function::JsonText, 1, 1),
    ("len", Function::Length, 1, 1),
    ("length", Function::Length, 1, 1),
    ("lower", Function::Lower, 1, 1),
    ("mod", Function::Remainder, 2, 2),
    ("nullif", Function::NullIf, 2, 2),
    ("replace", Function::Replace, 3, 3),
    ("round", Function::Round, 1, 2),
    ("split_part", Function::SplitPart, 3, 3),
    ("starts_with", Function::StartsWith, 2, 2),
    ("substr", Function::Substr, 2, 3),
    ("substring", Function::Substr, 2, 3),
    ("trim", Function::Trim, 1, 2),
    ("upper", Function::Upper, 1, 1),
    ("ifnull", Function::Coalesce, 2, 2),
];

/// Functions with a syntax of their own, which the parser handles.
pub(super) const SPECIAL_FORMS: [&str; 11] = [
    "case",
    "cast",
    "date",
    "if",
    "number",
    "regexp_extract",
    "regexp_replace",
    "row_number",
    "run",
    "source",
    "timestamp",
];

impl Function {
    /// Returns the name or symbol for messages.
    pub fn name(self) -> &'static str {
        match self {
            Function::Add => "+",
            Function::Subtract | Function::Negate => "-",
            Function::Multiply => "*",
            Function::Divide => "/",
            Function::FloorDivide => "//",
            Function::Remainder => "%",
            Function::Join => "||",
            Function::Length => "length",
            Function::Substr => "substr",
            Function::Coalesce => "coalesce",
            other => FUNCTIONS.iter().find(|(_, function, ..)| *function == other).map_or("", |(name, ..)| name),
        }
    }

    /// Returns true if all arguments must be numbers.
    pub fn takes_numbers(self) -> bool {
        use Function::*;
        matches!(
            self,
            Add | Subtract | Multiply | Divide | FloorDivide | Remainder | Negate | Abs | Round | Floor | Ceil
        )
    }

    /// Returns true if argument `index` must be text.
    pub fn takes_text(self, index: usize) -> bool {
        use Function::*;
        match self {
            Lower | Upper | Trim | Replace | StartsWith | EndsWith | Contains => true,
            Substr => index == 0,
            SplitPart => index < 2,
            _ => false,
        }
    }

    /// Returns true if argument `index` must be an integer.
    pub fn takes_count(self, index: usize) -> bool {
        match self {
            Function::Substr => index > 0,
            Function::SplitPart => index == 2,
            _ => false,
        }
    }
}
