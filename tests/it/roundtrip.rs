//! Random records converted to every format and read back by pyarrow, DuckDB and Python.

use crate::support::{Done, Place, plans, root, tool};

/// Cases, if all plans are executed.
const CASES: u32 = 120;

#[test]
fn other_readers_find_the_rows_that_were_written() {
    let Some(python) = tool("DRAWOFF_TEST_PYTHON") else { return };
    let place = Place::new();
    let mut command = place.program(python);
    command.arg(root().join("tests/readers/check_roundtrip.py")).arg(env!("CARGO_BIN_EXE_drawoff"));
    command.args([plans::count(CASES).to_string(), plans::seed().to_string()]);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    let done = Done::of(command).ok();
    assert!(done.text().contains("cases from seed"));
}
