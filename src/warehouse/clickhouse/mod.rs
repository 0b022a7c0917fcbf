//! ClickHouse over HTTP.
//!
//! The server has no transactions. A load goes into a table of its own, a stage, and its complete rows move into the
//! target by statements that can be repeated:
//!
//! ```text
//! rows ─► INSERT into the stage ─► count ─► RENAME: complete ─► CREATE TABLE the claim of the key   (one load wins)
//!      ─► ledger `loaded` ─► MOVE PARTITION, each ─► ledger `moved` ─► DROP the stage
//! ```
//!
//! # Once
//!
//! Names of stages are random, so that rows of a stage are those of one attempt. The server makes a table only if there
//! is none of its name, so one attempt makes the claim. Everything after it can be done by anyone, in any number, at any
//! time: the claim names the stage in its comment, the ledger gets the same row from all, and a partition that has moved
//! moves nothing again. The claim is dropped only after the ledger has the row, and an attempt that makes a claim reads the
//! ledger after that. So a loader that is killed anywhere leaves either nothing, or a load that the next one completes.

mod commit;
mod convert;
mod encode;
mod http;
mod layout;
mod ledger;
mod load;
mod owner;
mod settings;
mod sql;
mod system;
mod table;
mod types;
mod value;

pub use settings::{Settings, SettingsError};
pub use system::{ClickHouse, new_table};
