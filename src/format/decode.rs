//! What decoding one morsel gives, whatever its format: a batch with the records that could not
//! be used, or the wider schema that the morsel needs first.

use super::Reject;
#[cfg(doc)]
use crate::column::Morsel;
use crate::column::{Batch, Schema};

/// A morsel whose records fit their schema.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The records that could be used, in order.
    pub batch: Batch,
    /// The records that could not, in order.
    pub rejects: Vec<RejectedRecord>,
    /// Bytes of the morsel that this is of: all, unless the columns of the rest would take too much
    /// memory at once. The rest is decoded as a morsel of its own; see [`Morsel::rest`].
    pub consumed: usize,
    /// Records in the morsel, the rejected ones among them: `batch.rows + rejects.len()`.
    pub records: u64,
    /// Line breaks in the morsel, so that the next one knows its first line.
    pub lines: u64,
    /// Keys that stood twice in one record; the last one won.
    pub duplicate_keys: u64,
    /// The types of this morsel's values alone, field by field as in `batch.schema`: narrower
    /// than the batch's where the morsel has nothing that needs the width (`Null` for a column
    /// without values, integers that fit a double in a float column). CSV does not look into the
    /// cells of text columns: they are text, whatever they say.
    pub observed: Schema,
}

/// A record that could not be used, placed relative to its morsel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedRecord {
    /// Why, and where in the record.
    pub reject: Reject,
    /// Offset of the record in the morsel.
    pub byte: usize,
    /// Its length in bytes, without the line end.
    pub len: usize,
    /// Lines before it in the morsel.
    pub line: u64,
    /// Records before it in the morsel, rejected ones among them.
    pub record: u64,
}

/// A value that the schema has no room for, placed relative to its morsel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surprise {
    /// The schema given, joined with the types of all records of this morsel.
    pub schema: Schema,
    /// Offset in the morsel of the first record that does not fit.
    pub byte: usize,
    /// Lines before that record in the morsel.
    pub line: u64,
    /// Records before it in the morsel, rejected ones among them.
    pub record: u64,
    /// What changed, in words: ``column `zip`: expected int, found text``.
    pub what: String,
}

/// What came of decoding one morsel.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// A batch.
    Decoded(Decoded),
    /// The schema must widen to [`Surprise::schema`] before the morsel can be decoded.
    Surprise(Surprise),
}

/// What a value that does not fit the schema does to its morsel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnMisfit {
    /// The outcome is [`Outcome::Surprise`].
    Surprise,
    /// The record is rejected: the schema is frozen.
    Reject,
}
