//! Columns: the type lattice, schemas, and the Arrow arrays that decoders build from records.
//!
//! The decoders of [`crate::format`] fill the builders; steps and encoders read the arrays. Pure
//! computation: no files, sockets or clock.

mod batch;
pub(crate) mod build;
pub mod canonical;
mod cast;
#[cfg(feature = "polars")]
mod data_frame;
mod digits;
mod fixed;
pub mod json_text;
pub mod number;
mod open_keys;
mod prune;
mod schema;
pub mod statistics;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod views;

pub use batch::{AsRead, Batch, Morsel, RecordSpan};
pub use cast::{CastError, cast_array, keeps_carrier};
#[cfg(feature = "polars")]
pub use data_frame::{DataFrameError, data_frame};
pub use digits::Digits;
pub use fixed::{Fixed, Unit};
pub use open_keys::{MAX_STRUCT_FIELDS, is_open_ended};
pub use schema::{
    Container, Field, MAX_COLUMN_LIMIT, MAX_COLUMNS, MAX_LEAVES, MAX_PRECISION, MAX_TYPE_DEPTH, Schema, Type, TypeMerge,
};
