//! The steps, one file each: parameters, text form, binding to columns, output columns, and the transform of a batch.
//! No step knows another; [`super::step`] has the table of all steps.

pub(super) mod cast;
pub(super) mod check_rows;
pub(super) mod deduplicate;
pub(super) mod explode;
pub(super) mod filter;
pub(super) mod flatten;
pub(super) mod json_text;
pub(super) mod limit;
pub(super) mod lookup;
pub(super) mod remove_columns;
pub(super) mod rename;
pub(super) mod sample;
pub(super) mod select;
pub(super) mod sql;
pub(super) mod with;
