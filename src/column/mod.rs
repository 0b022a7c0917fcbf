//! Columns: the type lattice, schemas, and Arrow arrays made from records.
//!
//! Pure work: no files, sockets or clock.

mod batch;
pub mod build;
mod schema;
pub mod views;

pub use batch::{Batch, Morsel, RecordSpan};
pub use schema::{Field, MAX_COLUMNS, MAX_STRUCT_FIELDS, Mixing, Schema, Type};
