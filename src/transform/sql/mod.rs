//! `--sql`: a query over the rows, done by DataFusion.
//!
//! A query that looks at one row at a time ([`Query::by_rows`]) goes with the other steps, batch by batch. Every other
//! one needs all rows: they are written to a Parquet file first, and the query is put to that ([`Query::over`]), with
//! sorts and groups that go to disk beyond their memory.

mod by_rows;
mod checked;
mod columns;
mod context;
mod error;
mod query;
mod sum;
mod table;
mod whole;

pub use by_rows::ByRows;
pub use context::RESULTS;
pub use error::SqlError;
pub use query::Query;
pub use table::TableFile;
pub use whole::{QueryResources, QueryRows};
