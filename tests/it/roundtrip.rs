//! Random records through whole commands, read back by pyarrow, DuckDB and Python.

use crate::support::{Done, Place, root, tool};

/// Cases of a plain test run. `DRAWOFF_PROPERTY_CASES` asks for more, `DRAWOFF_PROPERTY_SEED` for
/// others.
const CASES: &str = "12";

#[test]
fn what_went_in_comes_out_whoever_reads_it() {
    let Some(python) = tool("DRAWOFF_TEST_PYTHON") else { return };
    let setting = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let place = Place::new();
    let mut command = place.program(python);
    command.arg(root().join("tests/readers/check_roundtrip.py")).arg(env!("CARGO_BIN_EXE_drawoff"));
    command.args([setting("DRAWOFF_PROPERTY_CASES", CASES), setting("DRAWOFF_PROPERTY_SEED", "1")]);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    let done = Done::of(command).ok();
    assert!(done.text().contains("cases from seed"));
}
