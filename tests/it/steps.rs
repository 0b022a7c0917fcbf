//! `--where`, `--select`, `--drop`, `--rename` and `--limit` from the command line.

use crate::support::rows;
use crate::support::{Done, Place, exit, root, tool};

#[test]
fn python_chooses_the_same_rows_and_columns() {
    let Some(python) = tool("DRAWOFF_TEST_PYTHON") else { return };
    let place = Place::new();
    let mut command = place.program(python);
    command.arg(root().join("tests/readers/check_steps.py")).args([env!("CARGO_BIN_EXE_drawoff"), "."]);
    let done = Done::of(command).ok();
    assert_eq!(done.text().trim(), "80 comparisons");
}

#[test]
fn faults_are_shown_at_their_place() {
    let place = Place::new();
    let convert = |flags: &[&str]| {
        let args = [&["convert", "testdata/companies.ndjson", "-o", "out.ndjson"], flags].concat();
        let done = place.run(&args);
        assert_eq!(done.code, exit::USAGE, "{}", done.stderr);
        assert!(place.leftovers().is_empty());
        done.stderr
    };
    assert_eq!(
        convert(&["--where", "city = 'Oslo' and emplyee_count > 5"]),
        "error: there is no column `emplyee_count`\n  city = 'Oslo' and emplyee_count > 5\n                    ^\n\
         hint: did you mean `employee_count`? A column that comes later goes in backticks: `emplyee_count`\n"
    );
    assert!(convert(&["--where", "city ="]).contains("\n  city =\n        ^\n"));
    assert!(convert(&["--select", "city,city"]).contains("would both be the column `city`"));
    assert!(convert(&["--rename", "city=country"]).contains("there is a column `country`"));
    assert!(convert(&["--limit", "few"]).contains("--limit"));
}

#[test]
fn a_limit_ends_a_pipe_that_goes_on() {
    let place = Place::new();
    let mut command = place.program("sh");
    // A source that never ends.
    command.arg("-c").arg("yes '{\"a\":1,\"b\":[2]}' | drawoff convert - -o - --select b --limit 3");
    let done = Done::of(command).ok();
    assert_eq!(done.text(), "{\"b\":[2]}\n".repeat(3));
    assert!(done.stderr.contains("stopped at the limit"), "{}", done.stderr);
}

#[test]
fn a_run_and_its_count_under_a_limit() {
    let place = Place::new();
    let run = "run testdata/workflows/qualify-companies.json --local --input testdata/companies.csv";
    let done = place.run_line(&format!("{run} -o out.ndjson --select company_name,employee_count --limit 5")).ok();
    assert!(done.stderr.contains("stopped at the limit"), "{}", done.stderr);
    let found = rows::ndjson(&place.read("out.ndjson"));
    assert_eq!(found.len(), 5);
    assert!(found.iter().all(|row| row.as_object().unwrap().len() <= 2 && row.get("company_name").is_some()));
    // Without a limit the count is compared, whatever is filtered.
    let done = place
        .run(&[&run.split(' ').collect::<Vec<_>>()[..], &["-o", "out.csv", "--where", "employee_count > 500"]].concat())
        .ok();
    assert!(done.stderr.contains("row_count") && !done.stderr.contains(" 0 filtered"), "{}", done.stderr);
}
