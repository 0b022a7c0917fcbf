//! What decoding one morsel gives, whatever its format: a batch with the records that could not
//! be used, or the wider schema that the morsel needs first.

use super::Reject;
#[cfg(doc)]
use crate::column::Morsel;
use crate::column::{Batch, Field, Schema, Type};

/// More room than the first records of a morsel tell of, so that one reservation does as a rule.
pub(super) const SURPLUS: f64 = 1.1;

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
pub struct SchemaMismatch {
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
    /// The schema must widen to [`SchemaMismatch::schema`] before the morsel can be decoded.
    SchemaMismatch(SchemaMismatch),
}

/// What a value that does not fit the schema does to its morsel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnMisfit {
    /// The outcome is [`Outcome::SchemaMismatch`].
    SchemaMismatch,
    /// The record is rejected: the schema is frozen.
    Reject,
}

/// Columns whose types are given and do not widen: a value of another type is a misfit of its
/// record, whatever else happens to the schema.
#[derive(Clone, Copy, Debug)]
pub struct EnforcedColumns<'a> {
    /// The columns.
    pub fields: &'a [Field],
    /// Keys that the law does not have may come, and values for what it gives the type null, which
    /// is no type yet. Else they are misfits too.
    pub open: bool,
    /// What a misfit does.
    pub on_misfit: OnMisfit,
}

impl EnforcedColumns<'_> {
    /// True if a value of type `seen` that is neither object nor list fits into `ty`.
    pub fn scalar_fits(ty: &Type, seen: &Type) -> bool {
        match (ty, seen) {
            (_, Type::Null) | (Type::Json | Type::Raw, _) => true,
            (Type::Bool, Type::Bool) | (Type::Text, Type::Text) | (Type::Float, Type::Float) => true,
            (Type::Int { .. } | Type::Decimal, Type::Int { .. }) | (Type::Decimal, Type::Decimal) => true,
            (Type::Float, Type::Int { fits_double }) => *fits_double,
            _ => false,
        }
    }

    /// The columns as they are decoded where every column is of type `carrier`.
    pub fn carried_as(fields: &[Field], carrier: &Type) -> Schema {
        Schema::new(fields.iter().map(|field| Field { name: field.name.clone(), ty: carrier.clone() }).collect())
    }
}

/// What holds for the records of a morsel besides the schema.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecordRules<'a> {
    /// Types that do not widen.
    pub enforced: Option<EnforcedColumns<'a>>,
    /// The columns do not carry the law's types, so that every record is checked by itself.
    pub check_all: bool,
    /// The schema's last column takes what has no other, as JSON text.
    pub extra: Option<ExtraColumn>,
    /// CSV notes where each record stands, as the batch's `records`.
    pub spans: bool,
}

/// What goes into an extra column: as one object per record, with the keys and the raw values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtraColumn {
    /// Keys that have no column.
    Keys,
    /// Also values that do not fit their column, which is null then.
    KeysAndMisfits,
}

/// What the records of one morsel say about the columns.
#[derive(Clone, Debug, Default)]
pub struct InferredColumns {
    /// The schema that holds every good record.
    pub schema: Schema,
    /// Records in the morsel, bad ones among them.
    pub records: u64,
    /// Line breaks in the morsel.
    pub lines: u64,
    /// Where that schema came from, record by record, if it was asked for.
    pub widenings: Vec<Widening>,
    /// Good records that do not fit the law; the schema does not hold them.
    pub misfits: u64,
    /// The first of them.
    pub first_misfit: Option<RejectedRecord>,
}

/// A record that the records before it in its morsel had no room for.
#[derive(Clone, Debug)]
pub struct Widening {
    /// Offset of the record in the morsel.
    pub byte: usize,
    /// Lines before it in the morsel.
    pub line: u64,
    /// Records before it in the morsel.
    pub record: u64,
    /// The record's own types. For CSV only of columns that it widened.
    pub schema: Schema,
}
