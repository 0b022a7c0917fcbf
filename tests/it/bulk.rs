//! `drawoff bulk`: input file and field configuration, the resulting rows, ledger and run of the job, and mistakes in
//! the configuration.

use serde_json::json;

use crate::support::{Place, Service, exit, rows};

const FACTS: &str = "company_enrichment=testdata/company_facts.ndjson:domain";

fn settings(place: &Place) {
    let settings = json!({
        "struct": { "hiring_now": { "description": "Whether they hire", "type": "bool" }, "tech_stack": "What they use" },
        "tier": "low",
    });
    place.write("fields.json", settings.to_string().as_bytes());
}

#[test]
fn every_input_row_gets_the_requested_fields() {
    let place = Place::new();
    settings(&place);
    let command = "bulk company testdata/companies.csv --fields fields.json --local";
    let done = place.run_line(&format!("{command} --enrich {FACTS} -o out.ndjson")).ok();
    assert!(done.stderr.contains("Bulk Intelligence: company"), "{}", done.stderr);
    let rows = rows::ndjson(&place.read("out.ndjson"));
    let input = csv::Reader::from_path(place.path("testdata/companies.csv")).unwrap().into_records().count();
    assert_eq!(rows.len(), input);
    assert!(rows.iter().all(|row| row.get("hiring_now").is_some() && row.get("tech_stack").is_some()));
    assert!(rows.iter().any(|row| row["hiring_now"] == json!(true)));
}

#[test]
fn a_bulk_job_is_a_run_and_has_a_ledger() {
    let folder = Place::new();
    let service = Service::start(&folder, "data", &["--enrich", FACTS]);
    let place = Place::with_service(&service.url);
    settings(&place);
    let command = "bulk company testdata/companies.csv --fields fields.json -o out.parquet";
    place.run_line(command).ok();
    let runs = place.run_line("runs ls -o ndjson").ok().records();
    assert_eq!(runs.len(), 1);
    let run = runs[0]["job_id"].as_str().unwrap();
    let kept = place.run_line("runs ls --local-state -o ndjson").ok();
    assert!(kept.text().contains(run), "{}", kept.text());
    // The same id is a run's for every other command.
    place.run_line(&format!("pull {run} -o again.ndjson")).ok();
    place.run_line(&format!("runs status {run}")).ok();
    // Its results stand: the same command is a new start.
    place.run_line(command).ok();
    assert_eq!(place.run_line("runs ls -o ndjson").ok().records().len(), 2);
}

#[test]
fn mistakes_in_the_configuration_of_a_job_are_reported() {
    let place = Place::new();
    place.write("bad.json", b"{\"struct\": {\"a\": \"x\"}, \"colour\": 1}");
    let command = "bulk company testdata/companies.csv --local -o out.ndjson";
    let done = place.run_line(&format!("{command} --fields bad.json"));
    assert_eq!(done.code, exit::REFUSED, "{}", done.stderr);
    assert!(done.stderr.contains("config.colour"), "{}", done.stderr);
    let done = place.run_line(command);
    assert_eq!(done.code, exit::USAGE);
    assert!(done.stderr.contains("--fields FILE"), "{}", done.stderr);
    place.write("none.json", b"struct:");
    let done = place.run_line(&format!("{command} --fields none.json"));
    done.code(exit::USAGE).says("none.json is not valid JSON (line 1, column 1)").hints("struct");
}

#[test]
fn config_names_the_configuration_file_of_drawoff_as_everywhere() {
    let place = Place::new();
    settings(&place);
    place.write("drawoff.toml", b"workers = 99999\n");
    let command =
        format!("bulk company testdata/companies.csv --fields fields.json --local --enrich {FACTS} -o out.ndjson");
    let done = place.run_line(&format!("{command} --config drawoff.toml"));
    assert_eq!(done.code, exit::USAGE);
    let expected = "drawoff.toml): it must be from 1 to 1024, or 0 for one per core";
    assert!(done.stderr.contains("workers (") && done.stderr.contains(expected), "{}", done.stderr);
    place.write("drawoff.toml", b"workers = 1\n");
    place.run_line(&format!("{command} --config drawoff.toml")).ok();
    // The flag by which jobs were configured before.
    let done = place.run_line("bulk company testdata/companies.csv --config fields.json --local -o out.ndjson");
    assert_eq!(done.code, exit::USAGE);
    assert!(done.stderr.contains("the configuration file fields.json is not valid"), "{}", done.stderr);
    assert!(
        done.stderr.contains("hint: specify the JSON configuration of the bulk job with `--fields FILE`"),
        "{}",
        done.stderr
    );
}
