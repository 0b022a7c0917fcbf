//! Tables as targets: a load puts the rows of one execution into one table, once.
//!
//! A [`Warehouse`] is a system with tables: PostgreSQL, an SQLite file, ClickHouse. It is opened from a URL by the
//! caller; the engine knows it only by the two traits here.
//!
//! ```text
//! Warehouse::begin ─► Begun::Load ─► RowEncoder (workers: check and encode rows)
//!                        │        └► TableLoad  (writer: append, finish, commit)
//!                        ├► Begun::Files: a FilesLoad, whose rows are data files; see [`FilesLoad`]
//!                        └► Begun::Loaded: the table has the load already
//! ```
//!
//! # Once
//!
//! Every load has a commit key ([`LoadIdentity`]), which is recorded in a table of the target, [`LEDGER_TABLE`], in the
//! transaction of the rows where the target has one. The key of a run is known before its rows, so that a second load
//! ends before it reads any. The key of other sources is the digest of the bytes that were read: the row of the ledger
//! is then the last that is written, and a key that is there already rolls the rows back.
//!
//! One directory or file per system; none knows another. Adding one is a file that implements the traits.

#[cfg(any(feature = "postgres", feature = "sqlite", feature = "clickhouse", feature = "delta", feature = "iceberg"))]
mod cells;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod claims;
#[cfg(feature = "clickhouse")]
pub mod clickhouse;
pub mod cloud;
mod data_files;
mod dbt_source;
#[cfg(any(feature = "postgres", feature = "sqlite", feature = "clickhouse"))]
mod defaults;
#[cfg(feature = "delta")]
pub mod delta;
#[cfg(any(feature = "postgres", feature = "sqlite", feature = "clickhouse", feature = "delta", feature = "iceberg"))]
mod described;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub mod duckdb;
#[cfg(any(feature = "postgres", feature = "sqlite", feature = "delta", feature = "iceberg"))]
mod earlier;
mod error;
#[cfg(feature = "iceberg")]
pub mod iceberg;
mod identity;
#[cfg(any(feature = "postgres", feature = "sqlite", feature = "clickhouse", feature = "delta", feature = "iceberg"))]
mod json_text;
mod ledger;
mod load;
mod load_end;
#[cfg(any(feature = "delta", feature = "iceberg"))]
mod load_facts;
mod modes;
mod names;
#[cfg(any(feature = "delta", feature = "iceberg"))]
mod narrow;
mod new_table;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(any(feature = "postgres", feature = "sqlite", feature = "clickhouse"))]
mod row_check;
mod row_encoder;
mod sql;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(any(feature = "delta", feature = "iceberg"))]
mod storage;
#[cfg(any(feature = "delta", feature = "iceberg"))]
mod table_rows;
#[cfg(all(test, any(feature = "postgres", feature = "sqlite", feature = "clickhouse")))]
mod testing;
#[cfg(any(feature = "postgres", feature = "clickhouse"))]
mod uuid;

pub use data_files::{DataFile, FileLayout, FilesAttempt, FilesLoad, FilesPlace, Orphans};
pub use dbt_source::{Described, dbt_source, standard_table};
pub use error::{LoadError, Misfit};
pub(crate) use identity::hexadecimal;
pub use identity::{CommitKey, LoadClaim, LoadIdentity, LoadMember, LoadSet};
pub use ledger::{LEDGER_TABLE, LedgerRow, LoadProgress, LoadState, LoadSummary, RecordMark, RecordsDigest};
pub use load::{Begun, LoadRequest, TableLoad, TableTarget, Warehouse};
pub use load_end::{ChunkEnd, Committed, LoadEnd};
pub use modes::{LoadMode, NulPolicy, Widening};
pub use names::{ColumnNames, SharedColumn};
pub use new_table::{NewColumn, NewTable};
pub use row_encoder::{LoadRows, RowEncoder, UnfitRow};
