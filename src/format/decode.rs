//! Results and rules of decoding one morsel, shared by the formats: a batch with its rejects, or the
//! wider schema that the morsel needs first. The decoders are in [`super::csv`] and [`super::ndjson`].

use std::borrow::Cow;
use std::sync::Arc;

use super::Reject;
use super::cell_kinds::CellKinds;
#[cfg(doc)]
use crate::column::Morsel;
use crate::column::{Batch, Field, Schema, Type};

/// Factor by which a reservation exceeds the size extrapolated from a morsel's first records, so that
/// one reservation is enough as a rule.
pub(super) const SURPLUS: f64 = 1.1;

/// The result for a morsel whose records fit their schema.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The accepted records, in order.
    pub batch: Batch,
    /// The rejected records, in order.
    pub rejects: Vec<RejectedRecord>,
    /// Bytes of the morsel that were decoded: all, unless the columns of the rest would take too much
    /// memory at once. The rest is decoded as a morsel of its own; see [`Morsel::rest`].
    pub consumed: usize,
    /// Records decoded, rejected ones included: `batch.rows + rejects.len()`.
    pub records: u64,
    /// Line breaks decoded, by which the next morsel knows its first line.
    pub lines: u64,
    /// Duplicate keys inside one record; the last value was kept.
    pub duplicate_keys: u64,
    /// The kinds of the cells of CSV columns by name, where [`RecordRules::cell_kinds`] demands them; else empty.
    pub cell_kinds: Vec<(Arc<str>, CellKinds)>,
    /// The types of this morsel's values alone, field by field as in `batch.schema`: narrower than the
    /// batch's where no value of the morsel needs the width (`Null` for a column without values,
    /// integers that fit a double in a float column). Cells of CSV text columns count as text,
    /// whatever they hold.
    pub observed: Schema,
}

/// A rejected record, positioned relative to its morsel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedRecord {
    /// Reason, and position inside the record.
    pub reject: Reject,
    /// Offset of the record in the morsel.
    pub byte: usize,
    /// Length of the record in bytes, without the line end.
    pub len: usize,
    /// Lines before it in the morsel.
    pub line: u64,
    /// Records before it in the morsel, rejected ones included.
    pub record: u64,
    /// True if the record is valid, and an output whose columns stay as they are cannot hold it.
    pub is_misfit: bool,
}

/// A value or key that the schema does not hold, positioned relative to its morsel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaMismatch {
    /// The given schema, joined with the types of all records of this morsel.
    pub schema: Schema,
    /// Offset in the morsel of the first record that does not fit.
    pub byte: usize,
    /// Lines before that record in the morsel.
    pub line: u64,
    /// Records before it in the morsel, rejected ones included.
    pub record: u64,
    /// Message for people: ``column `zip`: expected int, found text``.
    pub what: String,
}

/// The outcome of decoding one morsel.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// All records fit the schema, or were rejected.
    Decoded(Decoded),
    /// The schema must widen to [`SchemaMismatch::schema`] before the morsel can be decoded.
    SchemaMismatch(SchemaMismatch),
}

/// The treatment of a value that does not fit the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnMisfit {
    /// Return [`Outcome::SchemaMismatch`], so that the schema widens.
    SchemaMismatch,
    /// Reject the record: the schema is frozen.
    Reject,
}

/// The enforced schema: columns whose types are given and do not widen. A value of another type is a
/// misfit of its record, whatever else happens to the schema.
#[derive(Clone, Copy, Debug)]
pub struct EnforcedColumns<'a> {
    /// Columns with their given types.
    pub fields: &'a [Field],
    /// Accept keys that `fields` lacks, and any value where the given type is null, which means not
    /// yet known. If false, both are misfits.
    pub open: bool,
    /// Treatment of a misfit.
    pub on_misfit: OnMisfit,
}

impl EnforcedColumns<'_> {
    /// Returns true if a value of type `seen` that is neither object nor list fits into `ty`.
    pub fn scalar_fits(ty: &Type, seen: &Type) -> bool {
        match (ty, seen) {
            (_, Type::Null) | (Type::Json | Type::Raw, _) => true,
            (Type::Bool, Type::Bool) | (Type::Text, Type::Text) | (Type::Float, Type::Float) => true,
            (Type::Int { .. } | Type::Decimal, Type::Int { .. }) | (Type::Decimal, Type::Decimal) => true,
            (Type::Float, Type::Int { fits_double }) => *fits_double,
            _ => false,
        }
    }

    /// Returns the schema of `fields` with every column of type `carrier`, for records that are decoded as text.
    pub fn carried_as(fields: &[Field], carrier: &Type) -> Schema {
        Schema::new(fields.iter().map(|field| Field { name: field.name.clone(), ty: carrier.clone() }).collect())
    }
}

/// The columns of outputs that stay as they are.
pub trait OutputColumns: std::fmt::Debug + Send + Sync {
    /// Returns the reason for which no record can have a value in the column `name`; `None` if it can.
    fn refusal(&self, name: &str) -> Option<Cow<'static, str>>;
}

/// Rules for the records of a morsel besides the schema.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecordRules<'a> {
    /// Enforced schema; `None` if all types may widen.
    pub enforced: Option<EnforcedColumns<'a>>,
    /// Check every record against the enforced schema by itself, because the columns are decoded with
    /// other types than it gives.
    pub check_all: bool,
    /// Collect values without a column in the schema's last column, as JSON text. `None` for no such column.
    pub extra: Option<ExtraColumn>,
    /// Fill the batch's `records` for CSV too.
    pub spans: bool,
    /// Count the kinds of cells in CSV columns.
    pub cell_kinds: bool,
    /// Columns whose values are kept as they were read, too, where their type forgets something of them.
    pub as_read: AsReadColumns<'a>,
    /// Records with a value in another column are rejected; `None` if columns may be added.
    pub output_columns: Option<&'a dyn OutputColumns>,
}

/// Columns by name.
#[derive(Clone, Copy, Debug, Default)]
pub enum AsReadColumns<'a> {
    /// No column.
    #[default]
    None,
    /// The columns of these names.
    Only(&'a [String]),
    /// All columns.
    All,
    /// All columns, also those whose type forgets nothing but whether a key was absent or null.
    Every,
}

impl AsReadColumns<'_> {
    /// Returns true if the column `name` is among them.
    pub fn contains(self, name: &str) -> bool {
        match self {
            AsReadColumns::None => false,
            AsReadColumns::Only(names) => names.iter().any(|other| other == name),
            AsReadColumns::All | AsReadColumns::Every => true,
        }
    }
}

/// The content of an extra column: one object per record, of the keys and the raw values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtraColumn {
    /// Keys that have no column.
    Keys,
    /// Also values that do not fit their column, which is null then.
    KeysAndMisfits,
}

/// The columns inferred from the records of one morsel.
#[derive(Clone, Debug, Default)]
pub struct InferredColumns {
    /// The schema that holds every valid record.
    pub schema: Schema,
    /// Records in the morsel, invalid ones included.
    pub records: u64,
    /// Line breaks in the morsel.
    pub lines: u64,
    /// Records that widened the schema, in order; empty unless a trace was requested.
    pub widenings: Vec<Widening>,
    /// Valid records that do not fit the enforced schema; `schema` does not cover them.
    pub misfits: u64,
    /// The first of these misfits, with its reason.
    pub first_misfit: Option<RejectedRecord>,
    /// The kinds of the cells of CSV columns by name, without nested ones; empty unless a trace was requested.
    pub cell_kinds: Vec<(Arc<str>, CellKinds)>,
}

/// A record that the schema of the records before it in its morsel does not hold.
#[derive(Clone, Debug)]
pub struct Widening {
    /// Offset of the record in the morsel.
    pub byte: usize,
    /// Lines before it in the morsel.
    pub line: u64,
    /// Records before it in the morsel.
    pub record: u64,
    /// The record's own types; for CSV, only of the columns that it widened.
    pub schema: Schema,
}
