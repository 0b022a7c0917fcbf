//! Warehouses that copy Parquet files from a stage into a table by a statement: Snowflake, BigQuery, Databricks, Redshift.
//!
//! ```text
//! names, types ─► ddl, ledger, stage ─► script: the statements of a load, printed or executed
//!                          └► client ─► snowflake, bigquery, databricks ─► http, token
//! ```
//!
//! The upper line is pure. The files are staged by others; this knows their names only.

#[cfg(feature = "object-store")]
mod bigquery;
#[cfg(feature = "object-store")]
mod client;
#[cfg(feature = "object-store")]
mod databricks;
mod ddl;
#[cfg(feature = "object-store")]
mod http;
#[cfg(feature = "object-store")]
mod ledger;
mod names;
#[cfg(feature = "object-store")]
mod rows;
#[cfg(feature = "object-store")]
mod script;
#[cfg(feature = "object-store")]
mod settings;
#[cfg(feature = "object-store")]
mod snowflake;
#[cfg(feature = "object-store")]
mod stage;
mod system;
#[cfg(feature = "object-store")]
mod token;
mod types;

#[cfg(feature = "object-store")]
pub use client::{CloudClient, CloudOutcome, FoundLoad};
pub use ddl::{CloudColumn, cloud_columns, new_table};
#[cfg(feature = "object-store")]
pub use ledger::CopyEntry;
pub use names::CloudTable;
#[cfg(feature = "object-store")]
pub use script::{CopyLoad, CopyScript, copy_script};
#[cfg(feature = "object-store")]
pub use settings::{CloudSettings, CloudSettingsError, TOKEN_COMMAND};
#[cfg(feature = "object-store")]
pub use stage::Stage;
pub use system::CloudSystem;
