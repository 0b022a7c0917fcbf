//! A run from its start to its output file, through the HTTP API of a local service: upload, start, status requests,
//! links and download.

use crate::docs;
use crate::support::rows;
use crate::support::{Done, Place, Service, exit, root, testdata, tool};

const FACTS: &str = "company_enrichment=testdata/company_facts.ndjson:domain";
/// Rows of companies.csv, and those of them that the workflow keeps; `check_main_job.py` computes
/// the second from the first.
const ROWS_IN: usize = 2650;
const ROWS_OUT: usize = 1302;

/// README.md's first command, which is what a new user types.
fn first_command() -> Vec<String> {
    let line = docs::command_lines().into_iter().next().expect("README.md leads with a command");
    let rest = line.strip_prefix("cargo run -- ").expect("the first command runs the binary through cargo");
    rest.split_whitespace().map(str::to_owned).collect()
}

#[track_caller]
fn check_with_other_readers(place: &Place, results: &str, facts: bool) {
    let Some(python) = tool("DRAWOFF_TEST_PYTHON") else { return };
    let mut command = place.program(python);
    command.arg(root().join("tests/readers/check_main_job.py")).args([results, "testdata/companies.csv"]);
    if facts {
        command.arg("testdata/company_facts.ndjson");
    }
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    let done = Done::of(command).ok();
    assert_eq!(done.text().trim(), format!("{ROWS_OUT} rows"));
}

#[test]
fn the_first_command_of_the_readme() {
    let place = Place::new();
    let done = place.run(&first_command()).ok().quiet();
    // The report: what went in and came out, how long, how much memory, and the API's own count.
    let done = done.says("written").says("rejected").says("filtered").says("peak memory").says("row_count");
    assert!(
        done.stderr.replace([',', ' ', '\u{a0}', '\u{202f}', '_'], "").contains(&ROWS_OUT.to_string()),
        "{}",
        done.stderr
    );
    // Without a table the enrichment says that it had nothing to join with.
    done.says("company_enrichment");
    assert_eq!(place.leftovers(), ["results.parquet"]);
    check_with_other_readers(&place, "results.parquet", false);
}

#[test]
fn with_a_table_for_the_enrichment() {
    let place = Place::new();
    let mut args = first_command();
    args.extend(["--enrich".to_owned(), FACTS.to_owned()]);
    place.run(&args).ok().quiet();
    check_with_other_readers(&place, "results.parquet", true);
    assert_eq!(rows::parquet(place.read("results.parquet")).len(), ROWS_OUT);
}

#[test]
fn every_output_format_has_the_same_rows() {
    let place = Place::new();
    for out in ["out.parquet", "out.ndjson", "out.csv", "out.ndjson.zst", "out.csv.gz"] {
        let mut args = vec!["run", "testdata/workflows/qualify-companies.json", "--local"];
        args.extend(["--input", "testdata/companies.csv", "--enrich", FACTS, "-o", out]);
        place.run(&args).ok().quiet();
    }
    let parquet = rows::parquet(place.read("out.parquet"));
    assert_eq!(parquet.len(), ROWS_OUT);
    rows::assert_same(&rows::ndjson(&place.read("out.ndjson")), &parquet);
    rows::assert_same(&rows::csv_objects(&place.read("out.csv")), &parquet);
    assert_eq!(zstd::decode_all(&*place.read("out.ndjson.zst")).unwrap(), place.read("out.ndjson"));
    let mut plain = Vec::new();
    let gzip = place.read("out.csv.gz");
    std::io::copy(&mut flate2::read::MultiGzDecoder::new(&*gzip), &mut plain).unwrap();
    assert_eq!(plain, place.read("out.csv"));
}

#[test]
fn every_block_has_its_results() {
    let service_place = Place::new();
    let service = Service::start(&service_place, "data", &["--enrich", FACTS]);
    let place = Place::with_service(&service.url);
    let base = ["run", "testdata/workflows/qualify-companies.json", "--input", "testdata/companies.csv"];
    place.run(&[&base[..], &["--block", "1", "-o", "one.ndjson"]].concat()).ok();
    let first = rows::ndjson(&place.read("one.ndjson"));
    assert_eq!(first.len(), ROWS_IN);
    rows::assert_same(&first, &rows::csv_objects(&std::fs::read(testdata("companies.csv")).unwrap()));

    place.run(&[&base[..], &["--all-blocks", "-o", "all", "--to", "parquet"]].concat()).ok();
    let files = std::fs::read_dir(place.path("all")).unwrap().count();
    assert_eq!(files, 5, "one file per block");
}

#[test]
fn input_from_standard_input_and_from_ndjson() {
    let place = Place::new();
    let base = ["run", "testdata/workflows/qualify-companies.json", "--local", "-o", "-", "--to", "ndjson", "--input"];
    let file = place.run(&[&base[..], &["testdata/companies.ndjson"]].concat()).ok();
    assert!(!file.records().is_empty());
    let input = std::fs::read(testdata("companies.ndjson")).unwrap();
    let piped = place.run_with_stdin(&[&base[..], &["-", "--from", "ndjson"]].concat(), &input).ok();
    assert_eq!(file.text(), piped.text());
}

#[test]
fn payload_for_a_webhook() {
    let place = Place::new();
    let base = ["run", "testdata/workflows/webhook-leads.json", "--local", "-o", "-", "--to", "ndjson", "--payload"];
    let expected = serde_json::json!([
        { "full_name": "Åsa Lindqvist", "email": "asa@thistle-labs.se.example", "score": 42, "tags": ["vip", "fair, 2026"] },
        { "full_name": "佐藤 花子", "email": "hanako@kaze-optics.jp.example", "score": 11, "tags": null },
        { "full_name": "Jordan \"Jo\" O'Neal", "email": "jo@gantry-health.us.example", "score": 100, "tags": ["say \"hi\""] },
    ]);
    let done = place.run(&[&base[..], &["@testdata/leads.json"]].concat()).ok();
    rows::assert_same(&done.records(), expected.as_array().unwrap());

    let one = place.run(&[&base[..], &[r#"{"full_name":"A","email":"a@x.example","score":11}"#]].concat()).ok();
    assert_eq!(one.records().len(), 1, "one object is one row");
    let none = place.run(&[&base[..], &["[]"]].concat()).ok();
    assert!(none.stdout.is_empty(), "no rows in, no rows out");
}

#[test]
fn input_that_does_not_fit_the_workflow() {
    let place = Place::new();
    let webhook = "run testdata/workflows/webhook-leads.json --local -o out.parquet";
    let read_csv = "run testdata/workflows/qualify-companies.json --local -o out.parquet";
    // Each says what the workflow starts with and what it would take.
    place
        .run_line(&format!("{webhook} --input testdata/companies.csv"))
        .code(exit::USAGE)
        .says("webhook")
        .hints("--payload");
    place.run_line(&format!("{read_csv} --payload {{}}")).code(exit::USAGE).says("read_csv").hints("--input");
    place.run_line(read_csv).code(exit::USAGE).says("read_csv").hints("--input");
    assert!(place.leftovers().is_empty());
}
