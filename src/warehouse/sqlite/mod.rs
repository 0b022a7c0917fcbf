//! SQLite: one file with tables. A load is one transaction of one connection.
//!
//! ```text
//! workers: check and encode rows ─► bytes, row by row ─► writer: bind and insert ─► ledger; COMMIT
//! ```
//!
//! SQLite has types of values and not of columns: a column has an affinity, by which it converts what is stored in it.
//! The encoder stores only values that the affinity of their column leaves as they are; all others are bad rows.
//! The journal mode of a file is left as it is.

mod catalog;
mod database;
mod encode;
mod insert;
mod kinds;
mod layout;
mod ledger;
mod load;
mod location;
mod merge;
mod rowset;
mod sql;
mod system;
mod values;

pub use location::{Location, LocationError};
pub use system::{Sqlite, new_table};
