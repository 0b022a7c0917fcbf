//! Three-valued truth of many rows as two bit masks, combined 64 rows at a time.

use arrow_buffer::{BooleanBuffer, Buffer};

/// Truth of a condition for every row: true, false, or neither.
#[derive(Clone, Debug)]
pub(super) struct Mask {
    /// Rows for which it is true.
    pub yes: BooleanBuffer,
    /// Rows for which it is false; disjoint from `yes`. A row in neither is unknown.
    pub no: BooleanBuffer,
}

/// Truth of a condition for one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Truth {
    /// The condition is true.
    Yes,
    /// The condition is false.
    No,
    /// Neither: an operand is null.
    Unknown,
    /// Neither: the operands are of incomparable kinds, which the report counts.
    Mismatch,
}

impl From<bool> for Truth {
    #[inline(always)]
    fn from(yes: bool) -> Self {
        if yes { Truth::Yes } else { Truth::No }
    }
}

impl Mask {
    /// Creates the mask of `rows` rows that all have `truth`.
    pub(super) fn all(truth: Truth, rows: usize) -> Self {
        let bits = |set| if set { BooleanBuffer::new_set(rows) } else { BooleanBuffer::new_unset(rows) };
        Mask { yes: bits(truth == Truth::Yes), no: bits(truth == Truth::No) }
    }

    /// Evaluates `truth` for each of `rows` rows. Also returns the number of rows with [`Truth::Mismatch`].
    #[inline]
    pub(super) fn of(rows: usize, mut truth: impl FnMut(usize) -> Truth) -> (Self, u64) {
        let words = rows.div_ceil(64);
        let (mut all_yes, mut all_no) = (Vec::with_capacity(words), Vec::with_capacity(words));
        let mut mismatches = 0;
        for start in (0..rows).step_by(64) {
            let (mut yes, mut no) = (0u64, 0u64);
            for bit in 0..64.min(rows - start) {
                match truth(start + bit) {
                    Truth::Yes => yes |= 1 << bit,
                    Truth::No => no |= 1 << bit,
                    Truth::Unknown => {}
                    Truth::Mismatch => mismatches += 1,
                }
            }
            all_yes.push(yes.to_le());
            all_no.push(no.to_le());
        }
        let bits = |words: Vec<u64>| BooleanBuffer::new(Buffer::from_vec(words), 0, rows);
        (Mask { yes: bits(all_yes), no: bits(all_no) }, mismatches)
    }

    /// Combines two masks by `and`: false wins over unknown.
    pub(super) fn and(&self, other: &Mask) -> Mask {
        Mask { yes: &self.yes & &other.yes, no: &self.no | &other.no }
    }

    /// Combines two masks by `or`: true wins over unknown.
    pub(super) fn or(&self, other: &Mask) -> Mask {
        Mask { yes: &self.yes | &other.yes, no: &self.no & &other.no }
    }

    /// Negates the mask: unknown stays unknown.
    pub(super) fn not(self) -> Mask {
        Mask { yes: self.no, no: self.yes }
    }
}
