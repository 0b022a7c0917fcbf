//! The table of docs/parquet.md: what readers of other makers find in Parquet files.

use crate::support::{Done, Place, root, tool};

/// Checks the table with the Python of this variable, which has these readers at least.
fn check(variable: &str, readers: &str) {
    let Some(python) = tool(variable) else { return };
    let place = Place::new();
    let mut command = place.program(python);
    command.arg(root().join("tests/readers/check_parquet_readers.py")).arg(env!("CARGO_BIN_EXE_drawoff"));
    command.arg(root().join("docs/parquet.md")).args(["--require", readers]);
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONWARNINGS", "ignore");
    let done = Done::of(command).ok();
    assert!(done.text().contains("rows of the table, read by"), "{}", done.text());
}

#[test]
fn pyarrow_and_duckdb_read_what_the_table_says() {
    check("DRAWOFF_TEST_PYTHON", "pyarrow,DuckDB");
}

#[test]
fn clickhouse_reads_what_the_table_says() {
    check("DRAWOFF_TEST_CHDB_PYTHON", "pyarrow,ClickHouse");
}

/// Only `.ci/full` has them all.
#[test]
fn all_readers_read_what_the_table_says() {
    if std::env::var_os("DRAWOFF_TEST_READERS_PYTHON").is_some() {
        check("DRAWOFF_TEST_READERS_PYTHON", "pyarrow,DuckDB,polars,Sail,ClickHouse,deltalake,pyiceberg");
    }
}
