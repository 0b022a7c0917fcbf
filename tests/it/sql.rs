//! `--sql`: results compared with DuckDB, query plans, errors, and types of results.

use crate::support::{Done, Place, exit, root, tool};

#[test]
fn duckdb_gives_the_same_results() {
    let Some(python) = tool("DRAWOFF_TEST_PYTHON") else { return };
    let place = Place::new();
    let mut command = place.program(python);
    command.arg(root().join("tests/readers/check_sql.py")).args([env!("CARGO_BIN_EXE_drawoff"), "."]);
    let done = Done::of(command).ok();
    assert_eq!(done.text().trim(), "30 comparisons");
}

#[test]
fn explain_prints_how_a_query_runs() {
    let place = Place::new();
    let explain = |source: &str, query: &str| place.run(&["explain", source, "--sql", query]).ok().text().to_owned();
    let rows = explain("testdata/companies.ndjson", "SELECT upper(city) FROM results WHERE employee_count > 5");
    assert!(rows.contains("streams") && rows.contains("upper(city)"), "{rows}");
    let whole = explain("testdata/companies.ndjson", "SELECT country, count(*) AS n FROM results GROUP BY country");
    assert!(whole.contains("temporary file") && whole.contains("n        int"), "{whole}");
}

#[test]
fn query_errors_are_reported() {
    let place = Place::new();
    let refused = |code: i32, flags: &[&str]| {
        let done = place.run(&[&["convert", "testdata/companies.ndjson", "-o", "out.ndjson"], flags].concat());
        assert_eq!(done.code, code, "{}", done.stderr);
        assert!(place.leftovers().is_empty());
        done.stderr
    };
    let said = refused(exit::USAGE, &["--sql", "SELECT a, FROM results WHERE"]);
    assert!(said.contains("\n  SELECT a, FROM results WHERE\n                              ^"), "{said}");
    let said = refused(exit::USAGE, &["--sql", "SELECT contry FROM results"]);
    assert!(said.contains("No field named contry. Did you mean 'results.country'?"), "{said}");
    assert!(said.contains("drawoff explain"), "{said}");
    assert!(refused(exit::USAGE, &["--sql", "SELECT 1 FROM other"]).contains("--table other=FILE"));
    assert!(refused(exit::USAGE, &["--sql", "DROP TABLE results"]).contains("only SELECT queries are supported"));
    assert!(
        refused(exit::USAGE, &["--sql", "SELECT 1 FROM results", "--limit", "3"]).contains("must be the last step")
    );
    assert!(refused(exit::USAGE, &["--table", "a=b.csv"]).contains("`--table` requires `--sql`"));
    let two = "SELECT a.city, b.city FROM results a JOIN results b ON a.city = b.city";
    assert!(refused(exit::USAGE, &["--sql", two]).contains("duplicate column `city` in the result"));
    let text = "SELECT CAST(company_name AS INT) AS n FROM results";
    let said = refused(exit::BAD_DATA, &["--sql", text]);
    assert!(said.contains("cannot cast a value to Int32") && said.contains("TRY_CAST"), "{said}");
    let said = refused(exit::BAD_DATA, &["--sql", &format!("{text} ORDER BY n")]);
    assert!(said.contains("cannot cast a value to Int32") && said.contains("TRY_CAST"), "{said}");
}

#[test]
fn queries_keep_types_and_digits() {
    let place = Place::new();
    let lines = [
        r#"{"id":9007199254740993,"mixed":5,"big":123456789012345678901234567890,"o":{"a":1.5,"l":[1,null]},"n":null}"#,
        r#"{"id":9007199254740995,"mixed":"five","big":7,"o":{"a":2,"l":[]},"n":null}"#,
        r#"{"id":9007199254740997,"mixed":{"deep":[true]},"big":0,"o":null,"n":null}"#,
    ];
    place.write("in.ndjson", lines.join("\n") + "\n");
    let done = |query: &str| place.run(&["convert", "in.ndjson", "-o", "-", "--sql", query]).ok().text().to_owned();
    let all = lines.join("\n").replace("\"a\":2,", "\"a\":2.0,") + "\n";
    assert_eq!(done("SELECT * FROM results"), all);
    assert_eq!(done("SELECT * FROM results ORDER BY id"), all);
    assert_eq!(
        done("SELECT max(id) AS id, sum(big) AS big FROM results"),
        "{\"id\":9007199254740997,\"big\":123456789012345678901234567897}\n"
    );
    let late: String = (0..20_000).map(|i| format!("{{\"id\":{i}}}\n")).collect();
    place.write("late.ndjson", &(late + "{\"id\":20000,\"late\":\"x\"}\n"));
    let found = place
        .run(&["convert", "late.ndjson", "-o", "-", "--sql", "SELECT id, late FROM results WHERE late > 'a'"])
        .ok();
    assert_eq!(found.text(), "{\"id\":20000,\"late\":\"x\"}\n");
    assert!(found.stderr.contains("20 001 rows in"), "{}", found.stderr);
}

#[test]
fn a_run_is_queried_as_it_is_downloaded() {
    let place = Place::new();
    let run = "run testdata/workflows/qualify-companies.json --local --input testdata/companies.csv -o out.parquet --report json";
    let query = "SELECT industry, count(*) AS n FROM results GROUP BY industry ORDER BY n DESC, industry";
    let done = place.run(&[&run.split(' ').collect::<Vec<_>>()[..], &["--sql", query]].concat()).ok();
    let report: serde_json::Value =
        done.stderr.lines().find_map(|line| serde_json::from_str(line).ok()).expect("a report");
    assert_eq!(report["rows_queried"], report["rows_in"]);
    assert_eq!(report["expected_rows"], report["rows_in"]);
    assert!(report["rows_written"].as_u64().unwrap() < report["rows_in"].as_u64().unwrap());
}
