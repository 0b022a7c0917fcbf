//! SQL queries over the rows, planned and executed by DataFusion.
//!
//! A query that processes one row at a time ([`Query::by_rows`]) runs like the other steps, batch by batch. Every other
//! query needs all rows: they are written to a Parquet file first, which the query reads ([`Query::execute`]), with
//! sorts and aggregations that spill to disk beyond their memory.

mod by_rows;
mod bytes_text;
mod checked;
mod columns;
mod context;
mod error;
mod foreign;
mod query;
mod sum;
mod table;
mod whole;

pub use by_rows::ByRows;
pub use context::RESULTS;
pub use error::SqlError;
pub use foreign::{arrow_to_batch, arrow_to_schema};
pub use query::Query;
pub use table::TableFile;
pub use whole::{QueryResources, QueryRows};
