//! The digits of the numbers in a column of CSV cells, which decide between a double, a decimal and text; see
//! [`Type::resolved`](super::Type::resolved).

/// The most digits of a number in a column, while its type is open: among further cells one may need more digits than a
/// double has, and then the digits of all cells count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digits {
    /// The most digits before the decimal point; [`Digits::UNKNOWN`] if a number has an exponent.
    pub integer: u8,
    /// The most digits after it.
    pub scale: u8,
    /// True if a double does not keep all digits of all numbers.
    pub exceeds_double: bool,
}

impl Digits {
    /// The number of digits before the point of which nothing is known: no decimal has so many.
    pub const UNKNOWN: u8 = u8::MAX;

    /// Returns the digits of both columns together.
    pub fn join(self, other: Self) -> Self {
        Digits {
            integer: self.integer.max(other.integer),
            scale: self.scale.max(other.scale),
            exceeds_double: self.exceeds_double || other.exceeds_double,
        }
    }
}
