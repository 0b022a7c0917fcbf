//! Iceberg tables, as their public specification has them, format version 2: data files, manifests that name them, and
//! metadata whose current state a catalog knows. One snapshot has the files of a load; its summary and a property of the table
//! have the commit key.
//!
//! ```text
//! begin: catalog ─► metadata: columns, keys ─► engine: Parquet parts, final names ─► commit: manifest, list, snapshot
//! ```
//!
//! A load that ends before its commit leaves files that no snapshot names; [`crate::warehouse::Warehouse::remove_orphans`]
//! removes them.

mod avro;
mod catalog;
mod files;
mod ledger;
mod load;
mod location;
mod manifest;
mod metadata;
mod orphans;
mod rest;
mod sqlite;
mod system;
mod types;
mod values;
mod writable;

pub use location::{Location, LocationError};
pub use system::{Iceberg, new_table};
