//! Operators and functions: their names, and the arguments that they take.

/// An operator or a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`, always a double.
    Divide,
    /// `//`, rounded down.
    FloorDivide,
    /// `%`, with the sign of the divisor.
    Remainder,
    /// `-` before a value.
    Negate,
    /// `||`; null if one is.
    Join,
    /// Without the sign.
    Abs,
    /// To the nearest, ties to even, at so many decimal places.
    Round,
    /// To the integer below.
    Floor,
    /// To the integer above.
    Ceil,
    /// In small letters.
    Lower,
    /// In capital letters.
    Upper,
    /// Without blanks, or the characters given, at both ends.
    Trim,
    /// Characters of text, elements of a list, keys of an object.
    Length,
    /// Characters from a place on, counted from 1, or from the end if it is negative.
    Substr,
    /// With every occurrence of one text replaced by another.
    Replace,
    /// Part N, from 1, of what a text is between separators; from the end if N is negative.
    SplitPart,
    /// All texts one after the other; null is passed over.
    Concat,
    /// Whether a text starts with another.
    StartsWith,
    /// Whether a text ends with another.
    EndsWith,
    /// Whether a text has another in it.
    Contains,
    /// The first that is not null.
    Coalesce,
    /// The first, unless it equals the second: then null.
    NullIf,
    /// Objects and lists as their JSON text; other values as they are. Of `--json`.
    JsonText,
}

/// Functions by name, with the least and the most arguments that they take.
pub const FUNCTIONS: [(&str, Function, usize, usize); 22] = [
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

/// Names that the parser reads itself.
pub const FORMS: [&str; 5] = ["case", "cast", "if", "regexp_extract", "regexp_replace"];

impl Function {
    /// As it is called in messages.
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

    /// Of its arguments all must be numbers.
    pub fn takes_numbers(self) -> bool {
        use Function::*;
        matches!(
            self,
            Add | Subtract | Multiply | Divide | FloorDivide | Remainder | Negate | Abs | Round | Floor | Ceil
        )
    }

    /// Argument `index` must be text.
    pub fn takes_text(self, index: usize) -> bool {
        use Function::*;
        match self {
            Lower | Upper | Trim | Replace | StartsWith | EndsWith | Contains => true,
            Substr => index == 0,
            SplitPart => index < 2,
            _ => false,
        }
    }

    /// Argument `index` must be a whole number.
    pub fn takes_count(self, index: usize) -> bool {
        match self {
            Function::Substr => index > 0,
            Function::SplitPart => index == 2,
            _ => false,
        }
    }
}
