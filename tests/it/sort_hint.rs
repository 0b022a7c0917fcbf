//! `--sort-hint`: only row groups that are sorted declare an order.

use crate::support::{Done, Place, exit, root, tool};

#[test]
fn pyarrow_confirms_the_declared_order() {
    let Some(python) = tool("DRAWOFF_TEST_PYTHON") else { return };
    let place = Place::new();
    let mut command = place.program(python);
    command.arg(root().join("tests/readers/check_sort_hint.py")).args([env!("CARGO_BIN_EXE_drawoff"), "."]);
    let done = Done::of(command).ok();
    assert_eq!(done.text().trim(), "9 files");
}

#[test]
fn a_wrong_sort_hint_is_reported() {
    let place = Place::new();
    let convert =
        |hint: &str| place.run(&["convert", "testdata/companies.ndjson", "-o", "out.parquet", "--sort-hint", hint]);
    assert!(convert("crm_row_id").ok().stderr.lines().count() == 2);
    let done = convert("country").ok();
    assert!(done.stderr.contains("1 of 1 row groups are not in the order of the sort hint"), "{}", done.stderr);
    let done = convert("contry");
    assert_eq!(done.code, exit::USAGE);
    assert!(done.stderr.contains("cannot apply the sort hint: there is no column `contry`"), "{}", done.stderr);
}
