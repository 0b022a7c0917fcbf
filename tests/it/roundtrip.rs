//! Random records converted to every format and read back by pyarrow, DuckDB and Python.

use crate::support::{Done, Place, plans, root, rows, tool};

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

#[test]
fn names_that_look_like_something_else_are_read_back() {
    let place = Place::new();
    for name in ["a\rb", "\r", "\u{feff}a", "\u{feff}", "{a", " [a]", "PAR1", "a\r\nb", "\"a\rb"] {
        let row = serde_json::json!({name: "x", "b\rc": "y"});
        // In this order.
        let key = serde_json::Value::from(name);
        place.write("in.ndjson", format!("{{{key}:\"x\",\"b\\rc\":\"y\"}}\n"));
        for flags in ["", " --crlf", " --bom"] {
            place.run_line(&format!("convert in.ndjson -o names.csv{flags}")).ok();
            // By its name, and by its first bytes.
            place.run_line("convert names.csv -o back.ndjson").ok();
            assert_eq!(rows::ndjson(&place.read("back.ndjson")), std::slice::from_ref(&row), "{name:?}{flags}");
            std::fs::copy(place.path("names.csv"), place.path("names")).unwrap();
            place.run_line("convert names -o back.ndjson").ok();
            assert_eq!(rows::ndjson(&place.read("back.ndjson")), std::slice::from_ref(&row), "{name:?}{flags}");
        }
    }
}
