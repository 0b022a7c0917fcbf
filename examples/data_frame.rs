//! Reads files of records into a polars `DataFrame`, without a copy of their values, and sums a column:
//!
//! ```sh
//! cargo run --features polars --example data_frame -- employees testdata/companies.csv
//! ```

#![allow(clippy::print_stdout, reason = "a program that prints")]

use std::error::Error;
use std::path::PathBuf;

use drawoff::column::data_frame;
use drawoff::pipeline::{ExecutionPlan, SchemaFrom, read_batches};
use drawoff::source::Source;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let Some(column) = args.next() else { return Err("usage: data_frame COLUMN FILE...".into()) };
    let sources = args.map(|path| Source::file(PathBuf::from(path)));
    let mut plan = ExecutionPlan::reading(sources.collect());
    // All files are read for their types first: a frame has the same columns in every batch.
    plan.schema.from = SchemaFrom::Full;

    let batches = read_batches(plan)?;
    let schema = batches.schema();
    let frame = data_frame(&schema, batches.collect::<Result<Vec<_>, _>>()?)?;
    let (rows, columns) = frame.shape();
    let sum = frame.column(&column)?.as_materialized_series().sum::<f64>()?;
    println!("{rows} rows, {columns} columns, {column} together: {sum}");
    Ok(())
}
