//! Steps between parser and sink.

mod apply;
mod bind;
mod cell;
mod columns;
mod describe;
mod distinct;
mod error;
pub mod expr;
mod group;
mod key;
mod needs;
mod nested;
mod places;
mod sorter;
#[cfg(feature = "sql")]
mod sql;
#[cfg(not(feature = "sql"))]
#[path = "no_sql.rs"]
mod sql;
mod step;
mod tally;

pub use apply::{Applied, StepOptions, Steps, lookup_entries};
pub use bind::{Known, bind};
pub use cell::Cell;
pub use describe::{Runs, StepText};
pub use distinct::{Distinct, Room};
pub use error::Error;
pub use group::{Figure, GroupError, Groups};
pub use key::{Key, KeyWriter};
pub use needs::{columns_needed, keeps_records, needs_places, needs_structs};
pub use places::Places;
pub use sql::{Answer, ByRows, Query, RESULTS, Resources, SqlError, TableFile};
pub use step::{Condition, Logic, Lookup, OnBadCast, Rename, Selected, Step, Test};
pub use tally::{BadRow, Tally};
