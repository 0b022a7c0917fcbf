//! Delta tables, as their public protocol has them: data files, and a log whose next entry is written only if it does not
//! exist. One entry has the files of a load, new columns, and the commit key as a transaction id.
//!
//! ```text
//! begin: log ─► snapshot: columns, ids ─► engine: Parquet parts, final names ─► commit: entry n+1
//! ```
//!
//! A load that ends before its entry leaves files that no version names; [`crate::warehouse::Warehouse::remove_orphans`]
//! removes them. Features of a table that a writer has to honour are honoured or refused by name, before the first row.

mod actions;
mod checkpoint;
mod entry;
mod features;
mod ledger;
mod load;
mod location;
mod orphans;
mod schema;
mod snapshot;
mod statistics;
mod system;

pub use location::{LocationError, place_of};
pub use system::{Delta, new_table};
