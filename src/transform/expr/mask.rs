//! The truth of many rows at once, in three values.

use arrow_buffer::{BooleanBuffer, Buffer};

/// For every row whether something is true, false, or neither.
#[derive(Clone, Debug)]
pub struct Mask {
    /// Rows of which it is true.
    pub yes: BooleanBuffer,
    /// Rows of which it is false; never the same.
    pub no: BooleanBuffer,
}

/// One row's truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// True.
    Yes,
    /// False.
    No,
    /// Neither: a null is compared.
    Unknown,
    /// Neither: values of kinds that do not compare.
    Mismatch,
}

impl From<bool> for Truth {
    #[inline(always)]
    fn from(yes: bool) -> Self {
        if yes { Truth::Yes } else { Truth::No }
    }
}

impl Mask {
    /// The same for `rows` rows.
    pub fn all(truth: Truth, rows: usize) -> Self {
        let bits = |set| if set { BooleanBuffer::new_set(rows) } else { BooleanBuffer::new_unset(rows) };
        Mask { yes: bits(truth == Truth::Yes), no: bits(truth == Truth::No) }
    }

    /// What `truth` says of each of `rows` rows, and of how many it says [`Truth::Mismatch`].
    #[inline]
    pub fn of(rows: usize, mut truth: impl FnMut(usize) -> Truth) -> (Self, u64) {
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

    /// Both.
    pub fn and(&self, other: &Mask) -> Mask {
        Mask { yes: &self.yes & &other.yes, no: &self.no | &other.no }
    }

    /// Either.
    pub fn or(&self, other: &Mask) -> Mask {
        Mask { yes: &self.yes | &other.yes, no: &self.no & &other.no }
    }

    /// The opposite.
    pub fn not(self) -> Mask {
        Mask { yes: self.no, no: self.yes }
    }
}
