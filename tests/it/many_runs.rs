//! Results of several runs as one output: order, counts, schemas that differ, selection of runs, faults, kills, and runs that
//! failed.

use std::process::Stdio;
use std::sync::{Arc, Mutex};

use reqwest::Client;
use serde_json::{Value, json};

use crate::support::http::{Answer, Loopback};
use crate::support::{Done, MARKED_KEY, Place, Service, block_on, exit, interrupt, rows, tool, wait_for};

/// A service with a workflow `Many`, which returns its payload, and a workflow `Broken`, whose runs fail.
struct Many {
    service: Service,
    place: Place,
    _service_place: Place,
    workflow: String,
    broken: String,
}

impl Many {
    fn start(flags: &[&str]) -> Self {
        let service_place = Place::new();
        let flags = [&["--rate-limit", "0", "--max-runs", "4"], flags].concat();
        let service = Service::start(&service_place, "data", &flags);
        let place = Place::with_service(&service.url);
        let source =
            json!({"sequence_number": 1, "block_type": "io", "block_name": "webhook", "block_id": "in", "specs": {}});
        let filter = json!({"sequence_number": 2, "block_type": "transform", "block_name": "filter", "block_id": "out",
                            "specs": {"filters": [{"column": "absent", "operator": "greater", "value": 1}]}});
        let edges = json!([{"from_block_id": "in", "to_block_id": "out"}]);
        let create = |name: &str, graph: Value| {
            let body = json!({"workflow_name": name, "workflow_description": "", "workflow_definition": graph});
            let created = post(&service.url, "/workflows/create_workflow", vec![("", body)]);
            created[0]["id"].as_str().unwrap().to_owned()
        };
        let workflow = create("Many", json!({"blocks": [source], "edges": []}));
        let broken = create("Broken", json!({"blocks": [source, filter], "edges": edges}));
        Many { service, place, _service_place: service_place, workflow, broken }
    }

    /// Starts a run for each payload, in order, and returns their ids. Does not wait for their ends.
    fn runs(&self, payloads: impl Iterator<Item = Value>) -> Vec<String> {
        self.runs_with("&result_formats=ndjson", payloads)
    }

    fn runs_with(&self, parameters: &str, payloads: impl Iterator<Item = Value>) -> Vec<String> {
        let bodies = payloads.map(|rows| ("", json!({"webhook_payload": rows}))).collect();
        self.start_runs(&self.workflow, parameters, bodies)
    }

    fn broken_run(&self) -> String {
        self.start_runs(&self.broken, "", vec![("", json!({"webhook_payload": [{"n": 1}]}))]).remove(0)
    }

    fn start_runs(&self, workflow: &str, parameters: &str, bodies: Vec<(&str, Value)>) -> Vec<String> {
        let started = post(&self.service.url, &format!("/workflows/run?workflow_id={workflow}{parameters}"), bodies);
        started.iter().map(|started| started["job_id"].as_str().unwrap().to_owned()).collect()
    }

    fn await_ends(&self) {
        wait_for("the ends of all runs", || {
            let active = self.place.run(&["runs", "ls", "--status", "active", "-o", "ndjson"]).ok();
            active.records().is_empty().then_some(())
        });
    }

    fn pull(&self, args: &[&str]) -> Done {
        self.place.run(&[&["pull"], args].concat())
    }

    fn pull_words(&self, words: &[String], args: &[&str]) -> Done {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.pull(&[&words, args].concat())
    }

    /// The values of the column `n` of an NDJSON output.
    fn numbers(&self, out: &str) -> Vec<u64> {
        numbers(&rows::ndjson(&self.place.read(out)))
    }
}

/// Sends the requests one after the other over one connection.
fn post(base: &str, path: &str, bodies: Vec<(&str, Value)>) -> Vec<Value> {
    block_on(async {
        let (client, mut answers) = (Client::new(), Vec::new());
        for (more, body) in bodies {
            let request = client.post(format!("{base}{path}{more}")).header("x-api-key", MARKED_KEY).json(&body);
            let text = request.send().await.unwrap().error_for_status().unwrap().text().await.unwrap();
            answers.push(serde_json::from_str(&text).unwrap());
        }
        answers
    })
}

fn numbers(rows: &[Value]) -> Vec<u64> {
    rows.iter().map(|row| row["n"].as_u64().unwrap()).collect()
}

/// The rows of a run that is number `i`: `per_run` consecutive numbers.
fn payload(i: u64, per_run: u64) -> Value {
    (i * per_run..(i + 1) * per_run).map(|n| json!({"n": n, "name": format!("Somebody {n}")})).collect()
}

#[test]
fn two_hundred_runs_with_different_schemas_are_one_file() {
    const RUNS: u64 = 200;
    let many = Many::start(&[]);
    let ids = many.runs((0..RUNS).map(|i| {
        let score = |n: u64| match i % 3 {
            0 => json!(n as f64 + 0.5),
            1 => json!(n),
            _ => json!(format!("high {n}")),
        };
        let row = |n: u64| {
            let mut row = json!({"n": n, "score": score(n)});
            if i % 50 == 7 {
                row[format!("extra{i}")] = json!({"of": [i, n]});
            }
            row
        };
        (i * 50..(i + 1) * 50).map(row).collect()
    }));
    // Some are still active: the command waits for them.
    let args = ["-", "-o", "all.parquet", "--run-column", "run", "--report", "json"];
    let pull = |args: &[&str]| many.place.run_with_stdin(&[&["pull"], args].concat(), ids.join("\n").as_bytes());
    let done = pull(&args).ok();
    let report: Value = done.stderr.lines().find_map(|line| serde_json::from_str(line).ok()).expect("a report");
    for (name, value) in [("runs", RUNS), ("rows_in", RUNS * 50), ("expected_rows", RUNS * 50), ("rows_rejected", 0)] {
        assert_eq!(report[name], value, "{name}");
    }
    // A debug build in a busy container; one run takes some 80 MiB of it.
    assert!(report["peak_memory_bytes"].as_u64().is_none_or(|bytes| bytes < 256 << 20), "{report}");

    let all = rows::parquet(many.place.read("all.parquet"));
    assert_eq!(numbers(&all), (0..RUNS * 50).collect::<Vec<_>>());
    for (n, row) in all.iter().enumerate() {
        assert_eq!(row["run"], ids[n / 50], "row {n}");
    }
    // Numbers and texts stay apart in JSON text.
    let scores: Vec<&Value> = [0, 50, 100].iter().map(|&n| &all[n]["score"]).collect();
    assert_eq!(scores, ["0.5", "50", "\"high 100\""]);
    assert_eq!(all[7 * 50]["extra7"], json!({"of": [7, 350]}));
    assert!(all[0]["extra7"].is_null());
    assert_eq!(all[57 * 50 + 49]["extra57"], json!({"of": [57, 57 * 50 + 49]}));

    // The same runs in the same order are known, and their record is small.
    pull(&args[..5]).ok().says("all.parquet is already complete: 10 000 rows written");
    let ledgers = std::fs::read_dir(many.place.path("state/drawoff/runs")).unwrap();
    let bytes: u64 = ledgers.map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes < 4096, "{bytes}");
    let listed = many.place.run(&["runs", "ls", "--local-state"]).ok();
    assert!(listed.text().contains("200 runs (runs-") && listed.text().contains("complete, 10 000 rows"));

    // Of the workflow, they come in the order of their start.
    many.pull(&["--workflow", "Many", "-o", "listed.ndjson"]).ok().says("the counts of 200 runs agree");
    assert_eq!(many.numbers("listed.ndjson"), (0..RUNS * 50).collect::<Vec<_>>());
    // Steps are over all of them.
    let query = "SELECT count(*) AS rows, count(DISTINCT n) AS numbers, max(n) AS last FROM results";
    let args = ["--workflow", "Many", "--with", "n = n % 1000", "--dedupe", "n", "--sql", query, "-o", "-"];
    assert_eq!(many.pull(&args).ok().records(), [json!({"rows": 1000, "numbers": 1000, "last": 999})]);
    many.pull_words(&ids, &["-o", "first.ndjson", "--limit", "70"]).ok().says("stopped at the limit");
    assert_eq!(many.numbers("first.ndjson"), (0..70).collect::<Vec<_>>());

    // Beginnings of ids: among 200 runs, each digit begins several.
    let ambiguous = many.pull(&[&ids[0][..1], "-o", "no.csv"]).code(exit::USAGE).says("runs begin with `");
    assert!(ambiguous.stderr.contains("(Many, 20"), "{}", ambiguous.stderr);
    assert!(!many.place.path("no.csv").exists());

    let Some(python) = tool("DRAWOFF_TEST_PYTHON") else { return };
    let script = "import pyarrow.parquet as p\nt = p.read_table('all.parquet')\nn = t['n'].to_pylist()\n\
                  print(n == list(range(10000)), len(set(t['run'].to_pylist())), t.schema.field('score').type)\n\
                  print(t['extra157'].combine_chunks()[7850])";
    let mut command = many.place.program(python);
    command.args(["-c", script]);
    let read = Done::of(command).ok();
    assert_eq!(read.text(), "True 200 string\n[('of', [157, 7850])]\n");
}

#[test]
fn runs_are_selected_by_words() {
    let many = Many::start(&[]);
    let mut ids = Vec::new();
    for i in 0..3 {
        ids.extend(many.runs([payload(i, 2)].into_iter()));
        many.await_ends();
    }
    let order = |order: &[u64]| order.iter().flat_map(|i| [i * 2, i * 2 + 1]).collect::<Vec<_>>();
    let words: Vec<String> = [&ids[2][..8], &ids[0]].map(str::to_owned).into();
    many.pull_words(&words, &["-o", "words.ndjson"]).ok();
    assert_eq!(many.numbers("words.ndjson"), order(&[2, 0]));
    many.pull(&["last", "-o", "last.ndjson"]).ok();
    assert_eq!(many.numbers("last.ndjson"), order(&[2]));
    // A run is written once, however often it is named.
    let words: Vec<String> = [&ids[1], "last", &ids[1][..9], &ids[2]].map(str::to_owned).into();
    many.pull_words(&words, &["-o", "once.ndjson"]).ok().says("named more than once, but written once: ");
    assert_eq!(many.numbers("once.ndjson"), order(&[1, 2]));

    // The list of runs, filtered by another tool or not.
    let listed = many.place.run(&["runs", "ls", "-o", "ndjson"]).ok();
    let quoted = ids.iter().rev().map(|id| format!("\"{id}\"\n")).collect::<String>();
    let mixed = format!("\n{}\r\n{}\n", ids[2], &ids[1][..10]);
    for (input, expected) in [(listed.text(), &[2, 1, 0][..]), (&quoted, &[2, 1, 0]), (&mixed, &[2, 1])] {
        let args = ["pull", "-", "--again", "-o", "stdin.ndjson"];
        many.place.run_with_stdin(&args, input.as_bytes()).ok();
        assert_eq!(many.numbers("stdin.ndjson"), order(expected), "{input}");
    }
    let args = ["pull", "-", "-o", "no.ndjson"];
    many.place.run_with_stdin(&args, b"").code(exit::NOT_FOUND).says("standard input has no id of a run");
    many.place.run_with_stdin(&args, b"{\"id\":1}").code(exit::USAGE).says("standard input is no list of runs");

    // Filters.
    many.pull(&["--workflow", "Many", "--since", "1d", "-o", "since.ndjson"]).ok();
    assert_eq!(many.numbers("since.ndjson"), order(&[0, 1, 2]));
    for flags in [&["--until", "2020-01-01"][..], &["--status", "cancelled"]] {
        let args = [&["--workflow", "Many", "-o", "no.ndjson"], flags].concat();
        many.pull(&args).code(exit::NOT_FOUND).says("has no run in state").hints("drawoff runs ls");
    }
    many.pull(&["last", "--workflow", "Broken", "-o", "no.ndjson"]).code(exit::NOT_FOUND).says("no run is selected");
    many.pull(&["--workflow", "Nobody", "-o", "no.ndjson"]).code(exit::NOT_FOUND).says("there is no workflow");
    many.pull(&["nobody", "-o", "no.ndjson"]).code(exit::NOT_FOUND).says("there is no run `nobody`");
    many.pull(&[&ids[0], "--since", "1d", "-o", "no.ndjson"]).code(exit::USAGE).says("`--since` applies only to");
    many.pull(&["-", "-", "-o", "no.ndjson"]).code(exit::USAGE).says("only once");
    many.pull(&["-o", "no.ndjson"]).code(exit::USAGE);
    many.pull_words(&ids, &["--all-blocks", "-o", "no"]).code(exit::USAGE).says("`--all-blocks`").hints("--block N");
    assert!(!many.place.leftovers().iter().any(|name| name.starts_with("no")));
}

#[test]
fn runs_that_failed_are_named_or_left_out() {
    let many = Many::start(&[]);
    let mut ids = many.runs((0..2).map(|i| payload(i, 3)));
    ids.insert(1, many.broken_run());
    // Active or ended when the command begins: the same.
    many.pull_words(&ids, &["-o", "out.ndjson"])
        .code(exit::RUN_FAILED)
        .says(&format!("1 of 3 runs did not complete: run {} failed in block 2 (filter): column 'absent'", ids[1]))
        .hints("nothing was written; write the others with `--on-failed-run skip`");
    assert!(!many.place.path("out.ndjson").exists());
    let skip = ["-o", "out.ndjson", "--on-failed-run", "skip"];
    let left_out = format!("left out 1 of 3 runs that did not complete: {} (failed)", ids[1]);
    many.pull_words(&ids, &skip).code(exit::PARTIAL).says(&left_out).says("the counts of 2 runs agree");
    assert_eq!(many.numbers("out.ndjson"), (0..6).collect::<Vec<_>>());
    many.pull_words(&ids, &skip).code(exit::PARTIAL).says(&left_out).says("out.ndjson is already complete");
    let failed = [ids[1].clone(), many.broken_run()];
    many.pull_words(&failed, &["-o", "no.ndjson", "--on-failed-run", "skip"])
        .code(exit::RUN_FAILED)
        .says("2 of 2 runs did not complete: run ")
        .hints("nothing was written; see every block");
    // All runs of a workflow are those that completed.
    many.pull(&["--workflow", "Broken", "-o", "no.ndjson"]).code(exit::NOT_FOUND);
    assert_eq!(many.place.leftovers(), ["out.ndjson"]);
}

#[test]
fn cut_connections_expired_links_and_refusals_change_nothing() {
    const RUNS: u64 = 16;
    // Two rounds of eight requests for links take longer than a link is used, so the first links are renewed.
    let many = Many::start(&[
        "--link-life",
        "3s",
        "--fault",
        "latency=1200ms,on=links",
        "--fault",
        "cut=50%",
        "--fault",
        "429,on=links,retry-after=1s,chance=0.2",
        "--fault",
        "503,on=status",
    ]);
    let ids = many.runs((0..RUNS).map(|i| payload(i, 2000)));
    let done = many.pull_words(&ids, &["-o", "out.ndjson", "--report", "json"]).ok();
    let report: Value = done.stderr.lines().find_map(|line| serde_json::from_str(line).ok()).expect("a report");
    assert!(
        report["links_renewed"].as_u64() > Some(0) && report["interruptions_resumed"].as_u64() > Some(0),
        "{report}"
    );
    assert_eq!(many.numbers("out.ndjson"), (0..RUNS * 2000).collect::<Vec<_>>());
    assert_eq!(report["expected_rows"], RUNS * 2000);
}

#[test]
fn active_runs_are_waited_for_until_the_deadline_and_cancelled_on_request() {
    let ids = ["11111111-0000-4000-8000-000000000000", "22222222-0000-4000-8000-000000000000"];
    let cancelled = Arc::new(Mutex::new(Vec::new()));
    let known = cancelled.clone();
    // The list of runs has neither of them, as it may lag.
    let server = Loopback::start(move |request| match request.path.split('/').collect::<Vec<_>>()[..] {
        ["", "workflows", "runs"] => Answer::json(&json!([])),
        ["", "workflows", "runs", run, "live_status"] => Answer::json(&json!({
            "run_id": run, "workflow_id": "w", "overall_status": if run == ids[0] { "completed" } else { "running" },
        })),
        ["", "workflows", "cancel"] => {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            known.lock().unwrap().push(body["job_id"].as_str().unwrap().to_owned());
            Answer::json(&json!({"job_id": body["job_id"], "status": "canceled"}))
        }
        _ => Answer::error(404, "Not found"),
    });
    let place = Place::with_service(&server.url);
    let args = ["pull", ids[0], ids[1], "-o", "out.ndjson"];
    place
        .run(&[&args[..], &["--deadline", "0s"]].concat())
        .code(exit::DEADLINE_PASSED)
        .says(&format!("run {} is still running after", ids[1]))
        .hints("the runs continue, and the same command waits for them again");
    let asked = |run: &str| server.asked().iter().filter(|request| request.path.contains(run)).count();
    let before = asked(ids[1]);
    let child = place.command(&[&args[..], &["--cancel-on-interrupt"]].concat()).spawn().unwrap();
    wait_for("two polls of the run that is active", || (asked(ids[1]) >= before + 2).then_some(()));
    interrupt(&child);
    Done::of_child("pull".into(), child).code(exit::INTERRUPTED).hints("cancelled 1 active run");
    assert_eq!(*cancelled.lock().unwrap(), [ids[1]]);
    assert!(place.leftovers().is_empty());
}

#[test]
fn a_killed_pull_of_a_set_leaves_nothing_and_is_repeated() {
    // The first request of each file sends a half of it and stops.
    let many = Many::start(&["--fault", "stall=50%"]);
    let ids = many.runs((0..4).map(|i| payload(i, 500)));
    many.await_ends();
    for out in ["out.ndjson", "out.parquet", "out/"] {
        // The files of another start are other resources for the faults.
        let ids = if out == "out.ndjson" { ids.clone() } else { many.runs((0..4).map(|i| payload(i, 500))) };
        many.await_ends();
        let words: Vec<&str> = ids.iter().map(String::as_str).collect();
        let args = [&["pull"], &words[..], &["-o", out, "--jobs", "4"]].concat();
        let mut first = many.place.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_for("the record of the attempt", || {
            let state = std::fs::read_dir(many.place.path("state/drawoff/runs")).ok()?;
            let documents = state.map(|entry| entry.unwrap().path()).filter(|path| path.extension().unwrap() == "json");
            let texts = documents.map(|path| std::fs::read_to_string(path).unwrap_or_default());
            texts
                .into_iter()
                .any(|text| text.contains(out.trim_end_matches('/')) && text.contains("\"done\": null"))
                .then_some(())
        });
        many.place.run(&args).code(exit::BUSY).says("this set of 4 runs is locked by another drawoff process");
        // Another set, to another output, is free.
        many.pull(&[words[0], words[1], "-o", "other.ndjson", "--limit", "1", "--again"]).ok();
        first.kill().unwrap();
        first.wait().unwrap();
        assert!(out.ends_with('/') || !many.place.path(out).exists());
        many.place.run(&args).ok().says("the counts of 4 runs agree with the API's row_count (2 000 in all)");
        many.place.run(&args).ok().says("already complete: 2 000 rows");
    }
    assert_eq!(many.place.leftovers(), ["other.ndjson", "out", "out.ndjson", "out.parquet"]);
    assert_eq!(many.numbers("out.ndjson"), (0..2000).collect::<Vec<_>>());
    assert_eq!(numbers(&rows::parquet(many.place.read("out.parquet"))), (0..2000).collect::<Vec<_>>());
    let files = std::fs::read_dir(many.place.path("out")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut files: Vec<String> = files.map(|name| name.into_string().unwrap()).collect();
    files.sort();
    assert_eq!(files, ["_SUCCESS", "_manifest.json", "runs-00001.parquet"]);
}

#[test]
fn a_directory_has_the_rows_of_a_run_once() {
    let many = Many::start(&[]);
    let ids = many.runs((0..4).map(|i| payload(i, 5)));
    let parts = |of: &str| {
        let files = std::fs::read_dir(many.place.path(of)).unwrap().map(|entry| entry.unwrap().path());
        let parts = files.filter(|path| path.extension().is_some_and(|extension| extension == "ndjson"));
        let mut numbers: Vec<u64> =
            parts.flat_map(|path| numbers(&rows::ndjson(&std::fs::read(path).unwrap()))).collect();
        numbers.sort_unstable();
        numbers
    };
    let pull = |runs: &[String], out: &str| many.pull_words(runs, &["-o", out, "--to", "ndjson"]);
    // A set with more runs replaces a smaller one, and the files of single runs.
    pull(&ids[..1], "out/").ok();
    pull(&ids[1..3], "out/").ok();
    assert_eq!(parts("out"), (0..15).collect::<Vec<_>>());
    pull(&ids, "out/").ok().says("replaced");
    assert_eq!(parts("out"), (0..20).collect::<Vec<_>>());
    // A part of a set is refused, as a run and as a set.
    for runs in [&ids[2..3], &ids[..2]] {
        pull(runs, "out/").code(exit::CANNOT_WRITE).says("results of others, which would be lost");
    }
    // Other runs are kept.
    pull(&ids[..2], "other/").ok();
    pull(&ids[2..], "other/").ok().says("also holds 1 file of other sources");
    assert_eq!(parts("other"), (0..20).collect::<Vec<_>>());
}

#[test]
fn all_runs_are_read_in_a_format_that_all_have() {
    let many = Many::start(&[]);
    let rows_of = |i: u64| json!([{"n": i, "zip": "01234", "tags": ["a", i]}]);
    let mut ids = many.runs((0..12).map(rows_of));
    ids.extend(many.runs_with("", (12..14).map(rows_of)));
    let done = many.pull_words(&ids, &["-o", "out.ndjson"]).ok();
    done.says(&format!("run {} has no ndjson results; using csv of all 14 runs", ids[12]));
    assert_eq!(many.numbers("out.ndjson"), (0..14).collect::<Vec<_>>());
    let rows = rows::ndjson(&many.place.read("out.ndjson"));
    assert!(rows.iter().all(|row| row["zip"] == "01234"));
    // Asked for by name, the format has to be there.
    many.pull_words(&ids, &["-o", "no.ndjson", "--format", "ndjson"])
        .code(exit::NOT_FOUND)
        .says(&format!("run {} has no results in the format ndjson", ids[12]));
}

#[cfg(feature = "sqlite")]
#[test]
fn a_table_has_all_runs_or_none() {
    let many = Many::start(&[]);
    let ids = many.runs((0..4).map(|i| payload(i, 5)));
    let load = |runs: &[String]| many.pull_words(runs, &["-o", "sqlite:crm.db", "--into", "people"]);
    let count = || {
        let database = rusqlite::Connection::open(many.place.path("crm.db")).unwrap();
        database.query_row("SELECT count(*), count(DISTINCT n) FROM people", [], |row| Ok((row.get(0)?, row.get(1)?)))
    };
    load(&ids[..3]).ok().says("loaded 15 rows into people");
    load(&ids[..3]).ok().says("nothing was changed");
    // Alone, a run is known, too.
    load(&ids[1..2]).ok().says("nothing was changed");
    load(&ids).code(exit::LOAD_REFUSED).hints(&ids[3]);
    assert_eq!(count(), Ok((15i64, 15i64)));
    load(&ids[3..]).ok().says("loaded 5 rows into people");
    load(&ids).ok().says("nothing was changed");
    assert_eq!(count(), Ok((20, 20)));
}
