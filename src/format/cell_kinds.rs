//! The kinds of CSV cells, and the marks of the numbers among them. Plain data; the decoder of CSV counts them.

/// The marks in the numbers of a CSV source. A cell that is a number by them is read as that number by steps and typed
/// outputs; columns of text keep it as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumberMarks {
    /// The mark before the fraction, a point or a comma. Default: a point.
    pub decimal: u8,
    /// The mark between groups of three digits before the fraction, other than a digit, a sign and `decimal`; a number may
    /// lack it. `None`, the default, for no groups.
    pub thousands: Option<char>,
}

impl Default for NumberMarks {
    fn default() -> Self {
        NumberMarks { decimal: b'.', thousands: None }
    }
}

/// The kinds of the cells of one column, from a part of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CellKinds {
    /// Cells that are numbers.
    pub numbers: u64,
    /// Cells that are booleans.
    pub booleans: u64,
    /// Cells that are neither, nor null.
    pub texts: u64,
    /// The first cell of text; `None` without any.
    pub first_text: Option<TextCell>,
    /// True if the count ended early because the column is one of text.
    pub is_text: bool,
}

/// A cell of text, positioned relative to its morsel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextCell {
    /// Offset of the first byte of the value.
    pub byte: usize,
    /// Lines before it in the morsel.
    pub line: u64,
    /// The form of the text.
    pub form: TextForm,
}

/// The form of a cell of text among numbers, by which it may be read as something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextForm {
    /// It has no digit: it may be a word for null.
    Word,
    /// It is a number by these marks.
    Number(NumberMarks),
    /// It is something else, such as `007` or a number with a unit.
    Other,
}
