//! An input that is cut into parts, each the input of a run of its own: the results are those of one run, no part is
//! started twice, and outputs hold all parts or none.

use std::io::BufReader;
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::plans::{self, SeededRng};
use crate::support::{Done, Place, Service, exit, interrupt, read_until, rows};

/// Kills of a run in parts, if all plans are executed.
const KILLS: u32 = 60;

/// A workflow that returns its input.
fn write_workflow(place: &Place) {
    let source = json!({"sequence_number": 1, "block_type": "io", "block_name": "read_csv", "specs": {}});
    let graph = json!({"workflow_name": "Copy", "workflow_definition": {"blocks": [source], "edges": []}});
    place.write("copy.json", graph.to_string());
}

fn service_with(more: &[&str]) -> (Place, Service, Place) {
    let service_place = Place::new();
    let service = Service::start(&service_place, "data", more);
    let place = Place::with_service(&service.url);
    write_workflow(&place);
    (service_place, service, place)
}

fn record(id: usize) -> Value {
    json!({"id": id, "name": format!("Zoë, \"{}\"\nof {}", id % 7, id % 13), "tags": ["a", id % 3], "x": 1.5})
}

fn write_ndjson(place: &Place, name: &str, count: usize) {
    place.write(name, (0..count).map(|id| format!("{}\n", record(id))).collect::<String>());
}

fn runs(place: &Place) -> Vec<Value> {
    place.run_line("runs ls --limit 500 -o ndjson").ok().records()
}

/// Runs `line` after `run copy.json`.
fn run_copy(place: &Place, line: &str) -> Done {
    place.run_line(&format!("run copy.json {line}"))
}

#[track_caller]
fn assert_ids(place: &Place, output: &str, ids: impl IntoIterator<Item = usize>) {
    let expected: Vec<Value> = ids.into_iter().map(record).collect();
    rows::assert_same(&rows::ndjson(&place.read(output)), &expected);
}

#[test]
fn the_results_are_those_of_one_run() {
    let (_dir, _service, place) = service_with(&["--rate-limit", "0"]);
    write_ndjson(&place, "in.ndjson", 1000);
    let done = run_copy(&place, "--input in.ndjson --rows-per-run 130 --runs-at-once 3 -o out.ndjson").ok();
    done.says("part 8 (90 rows) started as run").says("8 runs of copy completed");
    assert_ids(&place, "out.ndjson", 0..1000);
    assert_eq!(runs(&place).len(), 8);
    // As one run: steps see all records, and the same values come in the same types.
    run_copy(&place, "--input in.ndjson -o one.parquet --new-run").ok();
    run_copy(&place, "--input in.ndjson --bytes-per-run 7KB -o parts.parquet").ok();
    let parquet = |name: &str| (rows::parquet_schema(place.read(name)), rows::parquet(place.read(name)));
    assert_eq!(parquet("one.parquet"), parquet("parts.parquet"));
    run_copy(&place, "--input in.ndjson --rows-per-run 300 --dedupe x --limit 5 -o first.ndjson").ok();
    assert_ids(&place, "first.ndjson", [0]);
    // CSV, whose cells are all text; compressed, from standard input, and several files.
    place.write("head.csv", "id,note\r\n1,\"a\nb\"\r\n02,\r\n");
    place.write("tail.csv", "id,note\n3,\"\"\"\"\n4,é\n5,z");
    run_copy(&place, "--input head.csv --input tail.csv --rows-per-run 2 -o cells.csv --format csv").ok();
    let cells = place.read_text("cells.csv");
    assert_eq!(cells, "id,note\n1,\"a\nb\"\n02,\n3,\"\"\"\"\n4,é\n5,z\n");
    place.run_line("convert in.ndjson -o in.ndjson.zst").ok();
    run_copy(&place, "--input in.ndjson.zst --rows-per-run 400 -o zst.ndjson").ok().says("3 runs of copy");
    assert_ids(&place, "zst.ndjson", 0..1000);
    let text = place.read("in.ndjson");
    let line = "run copy.json --input - --rows-per-run 999 -o - --to ndjson";
    let done = place.run_with_stdin(&line.split(' ').collect::<Vec<_>>(), &text).ok();
    rows::assert_same(&done.records(), &(0..1000).map(record).collect::<Vec<_>>());
    // An input that fits into one part, and one without records.
    run_copy(&place, "--input head.csv --rows-per-run 50 -o few.csv").ok().says("1 run of copy completed, 2 rows in");
    place.write("none.csv", "id,note\n");
    run_copy(&place, "--input none.csv --rows-per-run 50 --format csv -o none.parquet").ok().says("1 run of copy");
    assert_eq!(rows::parquet_schema(place.read("none.parquet")).len(), 2);
}

#[test]
fn the_local_service_and_bulk_jobs_take_parts_too() {
    let place = Place::new();
    write_workflow(&place);
    write_ndjson(&place, "in.ndjson", 50);
    run_copy(&place, "--local --input in.ndjson --rows-per-run 20 -o out.ndjson").ok().says("3 runs of copy completed");
    assert_ids(&place, "out.ndjson", 0..50);
    place.write("fields.json", r#"{"struct": {"employees": {"description": "Number", "type": "int"}}}"#);
    let enrich = "--enrich company_enrichment=testdata/company_facts.ndjson:domain";
    let line = "bulk company testdata/companies.ndjson --fields fields.json --local";
    let one = place.run_line(&format!("{line} {enrich} -o one.ndjson")).ok();
    let parts = place.run_line(&format!("{line} {enrich} --rows-per-run 70 -o parts.ndjson")).ok();
    parts.says("part 5 (20 rows)");
    assert_eq!(one.code, 0);
    rows::assert_same(&rows::ndjson(&place.read("parts.ndjson")), &rows::ndjson(&place.read("one.ndjson")));
}

#[test]
fn a_dry_run_starts_nothing() {
    let (_dir, _service, place) = service_with(&[]);
    write_ndjson(&place, "in.ndjson", 25);
    let line = "--input in.ndjson --rows-per-run 10";
    let done = run_copy(&place, &format!("{line} --dry-run")).ok();
    let lines: Vec<&str> = done.text().lines().collect();
    assert!(lines[0].starts_with("part 1: rows 1 to 10, 10 rows, "), "{lines:?}");
    assert!(lines[2].starts_with("part 3: rows 21 to 25, 5 rows, "), "{lines:?}");
    assert_eq!(lines[3], "3 runs of Copy would be started for 25 rows");
    assert!(runs(&place).is_empty() && place.run_line("workflows ls -o ndjson").ok().records().is_empty());
    run_copy(&place, &format!("{line} -o missing/out.ndjson")).code(exit::CANNOT_WRITE);
    assert!(runs(&place).is_empty());
    // Without a cut: one run.
    let done = run_copy(&place, "--input in.ndjson --dry-run").ok();
    assert!(done.text().ends_with("1 run of Copy would be started for 25 rows\n"), "{}", done.text());
}

#[test]
fn mistakes_are_found_before_the_first_start() {
    let (_dir, _service, place) = service_with(&[]);
    place.write("in.csv", "a,b\n1,2\n3,\"4\n5,6\n");
    run_copy(&place, "--rows-per-run 5 -o x.csv").code(exit::USAGE).hints("--input FILE");
    run_copy(&place, "--input in.csv --rows-per-run 0 -o x.csv").code(exit::USAGE);
    run_copy(&place, "--input in.csv --rows-per-run 5 -o in.csv").code(exit::USAGE);
    let open = run_copy(&place, "--input in.csv --rows-per-run 5 -o x.csv").code(exit::BAD_DATA);
    open.says("in.csv line 3").says("quote is not closed").hints("correct the input");
    place.write("long.ndjson", format!("{{\"a\":1}}\n{{\"a\":\"{}\"}}\n", "x".repeat(5000)));
    let long = run_copy(&place, "--input long.ndjson --rows-per-run 5 --max-record-bytes 1000 -o x.csv");
    long.code(exit::BAD_DATA).says("long.ndjson line 2").hints("raise `--max-record-bytes SIZE`, or take");
    // Inputs that cannot be read together, behind parts that could be started.
    write_ndjson(&place, "in.ndjson", 20);
    let mixed = run_copy(&place, "--input in.ndjson --input in.csv --rows-per-run 5 -o x.csv").code(exit::USAGE);
    mixed.says("in.csv: cannot read CSV and JSON sources in one execution");
    run_copy(&place, "--input in.ndjson --input none.ndjson --rows-per-run 5 -o x.csv").code(exit::CANNOT_READ);
    place.run_line("convert testdata/companies.ndjson -o in.parquet").ok();
    run_copy(&place, "--input in.parquet --rows-per-run 5 -o x.csv").code(exit::BAD_DATA).hints("drawoff convert");
    let columnar = run_copy(&place, "--input in.ndjson --input in.parquet --rows-per-run 5 -o x.csv");
    columnar.code(exit::BAD_DATA).hints("drawoff convert");
    // A system that cannot record several runs in one load; nothing is connected to.
    if cfg!(feature = "clickhouse") {
        let table = run_copy(&place, "--input in.ndjson --rows-per-run 5 -o clickhouse://127.0.0.1:1/db --into t");
        table.code(exit::USAGE).hints("load each run by a command of its own");
    }
    assert!(runs(&place).is_empty());
}

/// Hints name what helps after the flags that were given.
#[test]
fn hints_go_by_the_flags_that_were_given() {
    let (_dir, _service, place) =
        service_with(&["--rate-limit", "0", "--max-upload", "3000", "--max-upload-rows", "50"]);
    place.write("in.ndjson", "{\"a\":1}\n{\"a\":2}\n{\"a\":\n{\"a\":4}\n");
    let failed = |more: &str| {
        let line = format!("--input in.ndjson --rows-per-run 1 --runs-at-once 1 -o out.ndjson {more}");
        run_copy(&place, line.trim_end())
    };
    failed("").code(exit::RUN_FAILED).says("part 3 failed").hints("add `--retry-failed` to the same command");
    failed("--retry-failed").code(exit::RUN_FAILED).hints("repeat the same command to start it again");
    failed("--new-run").code(exit::RUN_FAILED).hints("use `--retry-failed` in place of `--new-run`");
    for stateless in ["--no-state", "--local"] {
        failed(stateless).code(exit::RUN_FAILED).hints("the same command starts all parts again");
    }
    failed("--on-failed-part skip").code(exit::PARTIAL).says("add `--retry-failed` to the same command");
    failed("--on-failed-part skip --retry-failed").code(exit::PARTIAL).says("again, repeat the same command");
    // Files that are too large by bytes, and by rows.
    place.write("long.ndjson", "{\"a\":1}\n".repeat(60));
    place.write("wide.ndjson", format!("{{\"a\":\"{}\"}}\n", "x".repeat(5000)));
    for name in ["long", "wide"] {
        let parts = run_copy(&place, &format!("--input {name}.ndjson --rows-per-run 55 -o out.ndjson"));
        parts.code(exit::REFUSED).says("part 1 (rows 1 to").hints("choose smaller parts with `--rows-per-run N`");
        let one = run_copy(&place, &format!("--input {name}.ndjson -o out.ndjson"));
        one.code(exit::REFUSED).hints("cut it into inputs of several runs with `--rows-per-run N`");
    }
}

/// The deadline is one of all runs together, and so are the hints on what goes on.
#[test]
fn a_deadline_is_of_all_parts() {
    let (_dir, _service, place) = service_with(&["--rate-limit", "0", "--fault", "jump,times=always"]);
    write_ndjson(&place, "in.ndjson", 20);
    let line = "--input in.ndjson --rows-per-run 5 -o out.ndjson";
    let late = run_copy(&place, &format!("{line} --deadline 1s")).code(exit::DEADLINE_PASSED);
    late.says("after 1.0 s").hints("the same command goes on with them and starts none twice");
    let late = run_copy(&place, &format!("{line} --deadline 1s --new-run")).code(exit::DEADLINE_PASSED);
    late.hints("the same command without `--new-run` goes on with them");
    // All are attached to at once, although none of them has ended.
    let again = run_copy(&place, &format!("{line} --deadline 1s")).code(exit::DEADLINE_PASSED);
    again.says("part 4 (5 rows) was started before as run");
    assert_eq!(runs(&place).len(), 8);
}

#[test]
fn an_input_with_another_number_of_parts_has_changed() {
    let (_dir, _service, place) = service_with(&["--rate-limit", "0"]);
    let line = "--input in.ndjson --rows-per-run 10 --once november -o out.ndjson";
    let copy = |count: usize| {
        write_ndjson(&place, "in.ndjson", count);
        run_copy(&place, line)
    };
    copy(40).ok();
    copy(20).code(exit::USAGE).says("the input has changed").says("more than 2 parts").hints("another `--once` name");
    copy(60).code(exit::USAGE).says("the input has changed").says("only 4 parts").hints("another `--once` name");
    copy(40).ok().says("out.ndjson is already complete");
    assert_ids(&place, "out.ndjson", 0..40);
    assert_eq!(runs(&place).len(), 4);
    // A command that ended before its last part was cut.
    write_ndjson(&place, "in.ndjson", 20);
    let text = place.read_text("in.ndjson") + "{\n" + &place.read_text("in.ndjson");
    place.write("in.ndjson", text);
    let line = "--input in.ndjson --rows-per-run 10 --runs-at-once 1 -o rest.ndjson";
    run_copy(&place, line).code(exit::RUN_FAILED);
    let before = runs(&place).len();
    write_ndjson(&place, "in.ndjson", 20);
    run_copy(&place, line).code(exit::USAGE).says("more than 2 parts").hints("`--new-run`");
    assert!(!place.path("rest.ndjson").exists());
    assert_eq!(runs(&place).len(), before);
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The same command, after a kill anywhere, goes on with the runs that were started.
#[test]
fn a_kill_starts_no_part_twice() {
    let mut rng = SeededRng::new(plans::seed());
    for n in 0..plans::count(KILLS) {
        let (_dir, _service, place) = service_with(&["--rate-limit", "0", "--fault", "latency=4ms,jitter=6ms"]);
        write_ndjson(&place, "in.ndjson", 100);
        let args: Vec<String> = "run copy.json --input in.ndjson --rows-per-run 15 --runs-at-once 2 -o out.ndjson"
            .split(' ')
            .map(str::to_owned)
            .collect();
        for _ in 0..=(n % 3) {
            let mut child = place.command(&args).stdout(Stdio::null()).spawn().unwrap();
            let mut stderr = BufReader::new(child.stderr.take().unwrap());
            let part = 1 + (rng.fraction() * 8.0) as usize;
            let text = if part > 7 { "writing their results".to_owned() } else { format!("part {part} (") };
            read_until(&mut stderr, &text);
            std::thread::sleep(Duration::from_micros((rng.fraction() * 30_000.0) as u64));
            kill(child);
        }
        let done = place.run(&args);
        assert_eq!(done.code, exit::SUCCESS, "{}", done.stderr);
        assert_ids(&place, "out.ndjson", 0..100);
        // The results may have been written before the kill, so that the last command was a new one.
        let runs = runs(&place).len();
        assert!(runs == 7 || runs == 14 && !done.stderr.contains("going on with the parts"), "{runs}: {}", done.stderr);
        assert_eq!(place.leftovers(), ["copy.json", "in.ndjson", "out.ndjson"]);
    }
}

#[test]
fn an_interrupted_command_goes_on_and_two_at_once_are_one() {
    let (_dir, _service, place) = service_with(&["--rate-limit", "0", "--fault", "latency=30ms"]);
    write_ndjson(&place, "in.ndjson", 60);
    let args = "run copy.json --input in.ndjson --rows-per-run 10 --runs-at-once 1 -o out.ndjson";
    let args: Vec<&str> = args.split(' ').collect();
    let mut child = place.command(&args).stdout(Stdio::null()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    read_until(&mut stderr, "part 2 (");
    place.run(&args).code(exit::BUSY).hints("wait for that process");
    interrupt(&child);
    let seen = read_until(&mut stderr, "hint: ");
    assert!(seen.contains("the same command goes on with them and starts none twice"), "{seen}");
    assert_eq!(child.wait().unwrap().code(), Some(exit::INTERRUPTED));
    place.run(&args).ok().says("going on with the parts").says("part 2 (10 rows) was started before as run");
    assert_ids(&place, "out.ndjson", 0..60);
    assert_eq!(runs(&place).len(), 6);
    // After the results were written, the same command is a new one.
    place.run(&args).ok();
    assert_eq!(runs(&place).len(), 12);
    // Unless it has a name.
    let line = args[1..].join(" ") + " --once november";
    for _ in 0..2 {
        place.run_line(&format!("run {line}")).ok();
        assert_eq!(runs(&place).len(), 18);
    }
    let other = "--input in.ndjson --rows-per-run 11 --once november -o out.ndjson";
    run_copy(&place, other).code(exit::USAGE).says("the input has changed").hints("another `--once` name");
}

#[test]
fn an_input_that_changed_is_not_taken_for_the_same() {
    let (_dir, _service, place) = service_with(&["--rate-limit", "0", "--fault", "latency=20ms"]);
    write_ndjson(&place, "in.ndjson", 40);
    let args = "run copy.json --input in.ndjson --rows-per-run 10 --runs-at-once 1 -o out.ndjson";
    let args: Vec<&str> = args.split(' ').collect();
    let mut child = place.command(&args).stdout(Stdio::null()).spawn().unwrap();
    read_until(&mut BufReader::new(child.stderr.take().unwrap()), "part 3 (");
    kill(child);
    let text = place.read_text("in.ndjson").replace("\"id\":15", "\"id\":1500");
    place.write("in.ndjson", text);
    place.run(&args).code(exit::USAGE).says("part 2").says("the input has changed").hints("--new-run");
    assert_eq!(runs(&place).len(), 3);
    place.run(&[&args[..], &["--new-run"]].concat()).ok();
    assert_eq!((runs(&place).len(), rows::ndjson(&place.read("out.ndjson")).len()), (7, 40));
}

/// Runs that end with `timeout` by chance: a failed part costs itself alone.
#[test]
fn a_failed_part_is_named_skipped_or_started_again() {
    let faults = ["--rate-limit", "0", "--fault", "timeout,chance=0.4", "--fault-seed", "4"];
    let (_dir, _service, place) = service_with(&faults);
    write_ndjson(&place, "in.ndjson", 100);
    let line = "--input in.ndjson --rows-per-run 10 --runs-at-once 2";
    let failed = run_copy(&place, &format!("{line} -o out.ndjson")).code(exit::RUN_TIMED_OUT);
    let failed = failed.says("failed, and nothing was written").hints("--retry-failed").hints("--on-failed-part skip");
    assert!(!place.path("out.ndjson").exists());
    let started = runs(&place).len();
    assert!(started < 10, "parts were started after a failure\n{}", failed.stderr);
    // The same command starts nothing, and says the same.
    run_copy(&place, &format!("{line} -o out.ndjson")).code(exit::RUN_TIMED_OUT).says("was started before as run");
    assert_eq!(runs(&place).len(), started);
    let skipped = run_copy(&place, &format!("{line} --on-failed-part skip -o some.ndjson")).code(exit::PARTIAL);
    let some: Vec<usize> =
        rows::ndjson(&place.read("some.ndjson")).iter().map(|r| r["id"].as_u64().unwrap() as usize).collect();
    let missing = 100 - some.len();
    assert!(missing > 0 && missing.is_multiple_of(10) && some.is_sorted(), "{some:?}");
    let skipped = skipped.says(&format!("{missing} of 100 rows in"));
    assert_eq!(runs(&place).len(), 10, "{}", skipped.stderr);
    // Each retry starts the failed parts alone, until none is left.
    let mut failed_parts = missing / 10;
    for _ in 0..20 {
        let before = runs(&place).len();
        let done = run_copy(&place, &format!("{line} --retry-failed --on-failed-part skip -o out.ndjson"));
        assert_eq!(runs(&place).len() - before, failed_parts, "{}", done.stderr);
        failed_parts = (100 - rows::ndjson(&place.read("out.ndjson")).len()) / 10;
        assert_eq!(done.code, if failed_parts == 0 { exit::SUCCESS } else { exit::PARTIAL }, "{}", done.stderr);
        if failed_parts == 0 {
            break;
        }
    }
    assert_ids(&place, "out.ndjson", 0..100);
}

/// A million records over 20 runs, with faults; a tenth of them by default.
#[test]
fn many_records_over_many_runs_with_faults() {
    let faults = "429,retry-after=1s,chance=0.3,on=start cut=40% expire=3s unsigned,chance=0.3 503,chance=0.2,on=status latency=1ms,jitter=4ms";
    let faults: Vec<&str> = faults.split(' ').flat_map(|fault| ["--fault", fault]).collect();
    let (_dir, _service, place) = service_with(&[&["--rate-limit", "0"][..], &faults].concat());
    let count = plans::count(1_000_000) as usize;
    let text: String = (0..count).map(|id| format!("{{\"id\":{id},\"k\":\"{}\"}}\n", id * 7919 % 10_007)).collect();
    place.write("in.ndjson", text);
    let line = format!("--input in.ndjson --rows-per-run {} --runs-at-once 5 -o out.ndjson", count / 20);
    let done = run_copy(&place, &line).ok().says("20 runs of copy completed");
    assert_eq!(place.read("out.ndjson"), place.read("in.ndjson"), "{}", done.stderr);
    let state: u64 = files_below(&place.path("state")).iter().map(|path| path.metadata().unwrap().len()).sum();
    assert!(state < 200 << 10, "{state} bytes of state");
}

fn files_below(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}
