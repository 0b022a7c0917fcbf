//! Ledgers of runs and outputs: a repeated command starts no second run and downloads no complete output again; locks,
//! damaged ledgers, interruptions and resume.

use std::io::{BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::api::{RUN_ID, Script};
use crate::support::http::{Answer, Loopback, Request};
use crate::support::{Done, Place, Service, exit, read_until, rows, wait_for};

const RUN_LEADS: [&str; 6] =
    ["run", "testdata/workflows/webhook-leads.json", "--payload", "@testdata/leads.json", "-o", "out.ndjson"];

/// A service with one run, which is running until [`Hosted::end`], and with idempotency keys.
struct Hosted {
    server: Loopback,
    /// The run has completed.
    ended: Arc<AtomicBool>,
    /// Responses to starts are lost: the connection is cut after the start was accepted.
    loses_answers: Arc<AtomicBool>,
    /// Idempotency keys of accepted starts.
    keys: Arc<Mutex<Vec<String>>>,
}

impl Hosted {
    fn start() -> Self {
        let (ended, loses_answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let keys = Arc::new(Mutex::new(Vec::new()));
        let (over, lost, known) = (ended.clone(), loses_answers.clone(), keys.clone());
        let server = Loopback::start(move |request: &Request| {
            let status = if over.load(Ordering::Acquire) { "completed" } else { "running" };
            let answer = Script { status, ..Script::default() }.answer(request);
            if request.path != "/workflows/run" {
                return answer;
            }
            let key = request.headers["idempotency-key"].clone();
            let mut known = known.lock().unwrap();
            let already = known.contains(&key);
            if !already {
                known.push(key);
            }
            let mut started: Value = serde_json::from_slice(&answer.body).unwrap();
            started["already_started"] = already.then_some(true).into();
            let answer = Answer::json(&started);
            let cut_at = lost.load(Ordering::Acquire).then_some(5);
            Answer { cut_at, ..answer }
        });
        Hosted { server, ended, loses_answers, keys }
    }

    fn place(&self) -> Place {
        Place::with_service(&self.server.url)
    }

    fn started(&self) -> usize {
        self.keys.lock().unwrap().len()
    }

    fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }
}

fn kill(child: &mut Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Starts `args` and reads standard error until it contains `text`.
fn spawn_until(place: &Place, args: &[&str], text: &str) -> (Child, BufReader<std::process::ChildStderr>, String) {
    let mut child = place.command(args).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let said = read_until(&mut stderr, text);
    (child, stderr, said)
}

/// Finds the only state file below `folder` with this extension.
fn state_file(place: &Place, folder: &str, extension: &str) -> PathBuf {
    let folder = place.path("state/drawoff").join(folder);
    let mut found: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[test]
fn a_start_with_a_lost_response_is_not_repeated() {
    let hosted = Hosted::start();
    let place = hosted.place();
    hosted.loses_answers.store(true, Ordering::Release);
    let mut child = place.command(&RUN_LEADS).spawn().unwrap();
    wait_for("the start", || (hosted.started() > 0).then_some(()));
    kill(&mut child);
    let record = std::fs::read_to_string(state_file(&place, "starts", "json")).unwrap();
    assert!(record.contains(&hosted.keys.lock().unwrap()[0]) && record.contains("\"run\": null"), "{record}");

    hosted.loses_answers.store(false, Ordering::Release);
    hosted.end();
    let done = place.run(&RUN_LEADS).ok();
    done.says(&format!("already started as {RUN_ID}"));
    assert_eq!(rows::ndjson(&place.read("out.ndjson")).len(), 2);
    assert_eq!(hosted.started(), 1, "one key, one run");
    // After its results were written, the same command starts a new run.
    place.run(&RUN_LEADS).ok().says("started");
    assert_eq!(hosted.started(), 2);
}

#[test]
fn a_repeated_command_attaches_to_its_run() {
    let hosted = Hosted::start();
    let place = hosted.place();
    let (mut child, ..) = spawn_until(&place, &RUN_LEADS, "started");
    kill(&mut child);
    let (mut child, ..) = spawn_until(&place, &RUN_LEADS, &format!("already started as {RUN_ID}, which is active"));
    kill(&mut child);
    // Another input, another workflow or `--new-run` starts another run.
    let other = ["run", RUN_LEADS[1], "--payload", "[]", "-o", "out.ndjson"];
    let (mut child, ..) = spawn_until(&place, &other, "started");
    kill(&mut child);
    assert_eq!(hosted.started(), 2);
    let (mut child, ..) = spawn_until(&place, &[&RUN_LEADS[..], &["--new-run"]].concat(), &format!("run {RUN_ID} of"));
    kill(&mut child);
    assert_eq!(hosted.started(), 3);
    // A completed run is resumed until its results are written.
    hosted.end();
    place.run(&RUN_LEADS).ok().says("already started as").says("whose results were not written yet");
    assert_eq!(hosted.started(), 3);
}

#[test]
fn a_start_that_is_refused_is_forgotten() {
    let service_place = Place::new();
    let service = Service::start(&service_place, "data", &[]);
    let place = Place::with_service(&service.url);
    place.write(
        "w.json",
        r#"{"blocks":[{"sequence_number":1,"block_type":"io","block_name":"webhook","specs":
        {"input_schema":{"email":"string"}}}],"edges":[]}"#,
    );
    let args = ["run", "w.json", "--payload", "[{}]", "-o", "out.ndjson"];
    for _ in 0..2 {
        let done = place.run(&args).code(exit::REFUSED).says("required column 'email'");
        assert!(!done.stderr.contains("got no response"), "{}", done.stderr);
    }
}

#[test]
fn a_run_is_locked_by_one_process() {
    let hosted = Hosted::start();
    let place = hosted.place();
    let (mut child, ..) = spawn_until(&place, &RUN_LEADS, "started");
    let owner = format!("(pid {})", child.id());
    place.run(&RUN_LEADS).code(exit::BUSY).says(&owner).hints("--no-state");
    place.run(&["pull", RUN_ID, "-o", "other.ndjson"]).code(exit::BUSY).says(&owner).hints("runs watch");
    // Standard output needs no ledger.
    hosted.end();
    place.run(&["pull", RUN_ID, "-o", "-"]).ok();
    assert!(wait_for("the first", || child.try_wait().unwrap()).success());
    place.run(&["pull", RUN_ID, "-o", "other.ndjson"]).ok();
    assert_eq!(hosted.started(), 1);
}

#[test]
fn several_outputs_are_complete_only_together() {
    let server = Script::default().start();
    let place = Place::with_service(&server.url);
    let downloads = || server.asked().iter().filter(|request| request.path.starts_with("/files/")).count();
    let pull = ["pull", RUN_ID, "-o", "out.parquet", "-o", "all.csv", "-o", "parts/", "--to", "ndjson"];
    let pull = [&pull[..], &["--max-file-rows", "1"]].concat();
    place.run(&pull).ok();
    let told = place.run(&pull).ok();
    assert!(told.stderr.contains("out.parquet, all.csv, parts are already complete: 2 rows"), "{}", told.stderr);
    assert_eq!(downloads(), 1);
    let parts: Vec<PathBuf> =
        std::fs::read_dir(place.path("parts")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let part = parts.iter().find(|path| path.extension().is_some_and(|e| e == "ndjson")).expect("a file of rows");
    let is_whole = |place: &Place| {
        place.read_text("all.csv").lines().count() == 3 && place.path("parts/_SUCCESS").exists() && part.exists()
    };
    // If one of them is missing, all are written again, from one download.
    for (i, gone) in [part.clone(), place.path("all.csv"), place.path("parts/_SUCCESS")].into_iter().enumerate() {
        std::fs::remove_file(gone).unwrap();
        place.run(&pull).ok().says("2 written");
        assert!(is_whole(&place));
        assert_eq!(downloads(), i + 2);
    }
    // Another file size, or one of the outputs alone, is another output.
    place.run(&[&pull[..pull.len() - 1], &["2"]].concat()).ok().says("2 written");
    place.run(&["pull", RUN_ID, "-o", "all.csv"]).ok().says("2 written");
    let listed = place.run_line("runs ls --local-state").ok();
    assert!(listed.text().contains("out.parquet + "), "{}", listed.text());
    // Outputs beside standard output are written every time.
    let piped = ["pull", RUN_ID, "-o", "out.ndjson", "-o", "-"];
    for _ in 0..2 {
        assert_eq!(place.run(&piped).ok().text().lines().count(), 2);
    }
}

#[test]
fn a_complete_output_is_not_downloaded_again() {
    let server = Script::default().start();
    let place = Place::with_service(&server.url);
    let downloads = || server.asked().iter().filter(|request| request.path.starts_with("/files/")).count();
    let pull = ["pull", RUN_ID, "-o", "out.parquet"];
    place.run(&pull).ok();
    place.run(&pull).ok().says("out.parquet is already complete: 2 rows");
    // Flags for speed and memory do not change the output.
    place
        .run(&[&pull[..], &["--jobs", "1", "--min-speed", "1B", "--max-memory", "64MiB"]].concat())
        .ok()
        .says("already");
    // The same output by its absolute path, with a report in JSON.
    let absolute = place.path("out.parquet").display().to_string();
    let done = place.run(&["pull", RUN_ID, "-o", &absolute, "--report", "json"]).ok();
    let report: Value = serde_json::from_str(done.stderr.lines().last().unwrap()).unwrap();
    assert_eq!((&report["already_complete"], &report["rows_written"]), (&true.into(), &2.into()));
    assert_eq!(downloads(), 1);
    // The output is written again on request, and if its content would differ.
    let again: [&[&str]; 3] = [&["--again"], &["--codec", "snappy"], &["--format", "csv"]];
    for (i, more) in again.into_iter().enumerate() {
        let done = place.run(&[&pull[..], more].concat()).ok();
        assert!(!done.stderr.contains("already complete"), "{}", done.stderr);
        assert_eq!(downloads(), i + 2);
    }
    // The content of a schema file counts, not its name.
    let schema = |name: &'static str| [&pull[..], &["--schema", name]].concat();
    let text = |ty: &str| {
        json!({"drawoff_schema": 1, "fields": [{"name": "email", "type": "text"}, {"name": "score", "type": ty}]})
            .to_string()
    };
    place.write("a.json", text("int"));
    place.write("b.json", text("int"));
    place.run(&schema("a.json")).ok().says("2 written");
    place.run(&schema("b.json")).ok().says("already complete");
    place.write("b.json", text("float"));
    place.run(&schema("b.json")).ok().says("2 written");
    // So does that of a steps file, and the record limit.
    let steps = [&pull[..], &["--steps", "steps.toml"]].concat();
    place.write("steps.toml", "steps = [{ limit = 2 }]\n");
    place.run(&steps).ok().says("2 written");
    place.run(&steps).ok().says("already complete");
    place.write("steps.toml", "steps = [{ limit = 1 }]\n");
    place.run(&steps).ok().says("1 written");
    place.run(&[&steps[..], &["--max-record-bytes", "1MiB"]].concat()).ok().says("1 written");
    for name in ["a.json", "b.json", "steps.toml"] {
        std::fs::remove_file(place.path(name)).unwrap();
    }
    place.run(&pull).ok();
    for change in [|path: PathBuf| std::fs::write(path, "mine").unwrap(), |path| std::fs::remove_file(path).unwrap()] {
        let before = downloads();
        change(place.path("out.parquet"));
        place.run(&pull).ok();
        assert_eq!(downloads(), before + 1);
    }
    // Standard output is never complete, and neither is an output without a ledger.
    for args in [["pull", RUN_ID, "-o", "-"], ["pull", RUN_ID, "-o", "-"]] {
        assert_eq!(place.run(&args).ok().records().len(), 2);
    }
    let before = downloads();
    place.run(&[&pull[..], &["--no-state"]].concat()).ok();
    assert_eq!(downloads(), before + 1);
    assert_eq!(place.leftovers(), ["out.parquet"]);
}

#[test]
fn a_complete_output_includes_its_rejects() {
    let body = b"{\"a\":1}\nnonsense\n".to_vec();
    let server = Script { body, ..Script::default() }.start();
    let place = Place::with_service(&server.url);
    let pull = ["pull", RUN_ID, "-o", "out.csv", "--on-bad-record", "skip"];
    place.run(&pull).code(exit::PARTIAL).says("1 rejected");
    place.run(&pull).code(exit::PARTIAL).says("already complete").says("1 rejected");
    std::fs::remove_file(place.path("out.rejects.ndjson")).unwrap();
    let done = place.run(&pull).code(exit::PARTIAL).says("1 rejected");
    assert!(!done.stderr.contains("already complete"), "{}", done.stderr);
    assert_eq!(place.leftovers(), ["out.csv", "out.rejects.ndjson"]);
}

#[test]
fn files_of_all_blocks_are_complete_one_by_one() {
    let service_place = Place::new();
    let service = Service::start(&service_place, "data", &[]);
    let place = Place::with_service(&service.url);
    let args = ["run", "testdata/workflows/qualify-companies.json", "--input", "testdata/companies.csv"];
    place.run(&[&args[..], &["--all-blocks", "-o", "all"]].concat()).ok();
    let id = place.run_line("runs ls -o ndjson").ok().records()[0]["job_id"].as_str().unwrap().to_owned();
    let mut names: Vec<_> = std::fs::read_dir(place.path("all")).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    let contents = std::fs::read(&names[2]).unwrap();
    std::fs::remove_file(&names[2]).unwrap();
    let done = place.run(&["pull", &id, "--all-blocks", "-o", "all", "--report", "json"]).ok();
    let reports: Vec<&str> = done.stderr.lines().filter(|line| line.starts_with('{')).collect();
    let reports = rows::ndjson(reports.join("\n").as_bytes());
    let complete: Vec<_> = reports.iter().map(|report| report["already_complete"] == true).collect();
    assert_eq!(complete, [true, true, false, true, true]);
    assert_eq!(std::fs::read(&names[2]).unwrap(), contents);
}

#[test]
fn partial_files_of_dead_processes_are_removed() {
    let server = Script::default().start();
    let place = Place::with_service(&server.url);
    // No process has the first pid; the second is alive and keeps its file.
    place.write(".out.ndjson.2000000000-abcdef.partial", "half");
    let mine = format!(".out.ndjson.{}-abcdef.partial", std::process::id());
    place.write(&mine, "half");
    place.run(&["pull", RUN_ID, "-o", "out.ndjson"]).ok();
    assert_eq!(place.leftovers(), [mine.as_str(), "out.ndjson"]);
}

#[test]
fn a_damaged_ledger_costs_a_download_and_a_newer_one_is_refused() {
    let hosted = Hosted::start();
    hosted.end();
    let place = hosted.place();
    let pull = ["pull", RUN_ID, "-o", "out.ndjson"];
    place.run(&pull).ok();
    let ledger = state_file(&place, "runs", "json");
    let text = std::fs::read_to_string(&ledger).unwrap();
    std::fs::write(&ledger, &text[..text.len() / 2]).unwrap();
    let listed = place.run_line("runs ls --local-state -o ndjson").ok().says("is damaged");
    assert!(listed.records().is_empty());
    place.run(&pull).ok().says("was damaged").says("out.ndjson: 2 rows in");
    place.run(&pull).ok().says("already complete");
    std::fs::write(&ledger, text.replace("\"version\": 1", "\"version\": 2")).unwrap();
    place.run(&pull).code(exit::CANNOT_READ).says("newer drawoff").hints("--no-state");
    std::fs::write(&ledger, text).unwrap();

    // Without its record, a start cannot be resumed.
    place.run(&RUN_LEADS).ok();
    let start = state_file(&place, "starts", "json");
    std::fs::write(&start, "{").unwrap();
    let before = hosted.started();
    place.run(&RUN_LEADS).code(exit::CANNOT_READ).says("is damaged").hints("--new-run");
    assert_eq!(hosted.started(), before);
    place.run(&[&RUN_LEADS[..], &["--new-run"]].concat()).ok();
    assert_eq!(hosted.started(), before + 1);
}

#[test]
fn an_old_start_without_a_response_is_looked_up() {
    let hosted = Hosted::start();
    hosted.end();
    let place = hosted.place();
    place.run(&RUN_LEADS).ok();
    let file = state_file(&place, "starts", "json");
    let mut record: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    record["content"]["run"] = Value::Null;
    let mut age = |asked_at: &str| {
        record["content"]["asked_at"] = asked_at.into();
        std::fs::write(&file, record.to_string()).unwrap();
    };
    // The API lists a run that began later and may be the same.
    age("2020-01-01T00:00:00Z");
    let done = place.run(&RUN_LEADS).code(exit::USAGE).says("got no response").says(RUN_ID);
    done.hints("--new-run");
    assert_eq!(hosted.started(), 1);
}

#[test]
fn a_start_needs_a_writable_state_directory() {
    let hosted = Hosted::start();
    hosted.end();
    let place = hosted.place().env("DRAWOFF_STATE_DIR", "file/state");
    place.write("file", "");
    place.run(&RUN_LEADS).code(exit::CANNOT_WRITE).says("cannot keep state in file/state").hints("--no-state");
    assert_eq!(hosted.started(), 0);
    place.run(&[&RUN_LEADS[..], &["--no-state"]].concat()).ok();
    // A pull without a ledger is allowed: repeating it is free.
    place.run(&["pull", RUN_ID, "-o", "out.csv"]).ok().says("continuing without a ledger");
    place.run(&["pull", RUN_ID, "-o", "out.csv", "--state-dir", "elsewhere"]).ok();
    assert!(place.path("elsewhere/runs").is_dir());
    // `--local` needs no ledger: its service ends with the command.
    place.run_line("run testdata/workflows/webhook-leads.json --local --payload [] -o local.ndjson").ok();
}

#[test]
fn ledgers_are_listed_without_the_api() {
    let hosted = Hosted::start();
    hosted.end();
    let place = hosted.place();
    assert!(place.run_line("runs ls --local-state").ok().text().starts_with("RUN"));
    place.run(&RUN_LEADS).ok();
    let asked = hosted.server.asked().len();
    let table = place.run_line("runs ls --local-state").ok();
    assert!([RUN_ID, "Webhook leads", "out.ndjson (complete, 2 rows)"].iter().all(|w| table.text().contains(w)));
    let ledgers = place.run_line("runs ls --local-state -o ndjson").ok().records();
    assert_eq!(ledgers[0]["outputs"][0]["position"], json!({"bytes": hosted_body(), "rows": 2}));
    assert_eq!(hosted.server.asked().len(), asked, "the API is not asked");
}

fn hosted_body() -> usize {
    Script::default().body.len()
}

fn signalled(place: &Place, args: &[&str], signal: Signal) -> String {
    let (mut child, mut stderr, mut said) = spawn_until(place, args, "started");
    kill_process(Pid::from_child(&child), signal).unwrap();
    stderr.read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(exit::INTERRUPTED), "{said}");
    said
}

/// Extracts the resume command, which is in backticks in the hint.
fn told_command(said: &str) -> &str {
    let hint = said.lines().find(|line| line.starts_with("hint: ")).unwrap_or_else(|| panic!("no hint in {said}"));
    hint.split('`').nth(1).unwrap_or_else(|| panic!("no command in {hint}"))
}

#[test]
fn an_interruption_prints_the_resume_command() {
    let hosted = Hosted::start();
    let place = hosted.place();
    let run = [&RUN_LEADS[..5], &["it's here.csv", "--to", "csv", "--new-run", "--schema-policy", "freeze"]].concat();
    let mut said = String::new();
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        said = signalled(&place, &run, signal);
        assert!(hosted.server.asked().iter().all(|request| request.path != "/workflows/cancel"));
    }
    let command = told_command(&said);
    assert_eq!(command, format!(r"drawoff pull {RUN_ID} -o 'it'\''s here.csv' --to csv --schema-policy freeze"));
    hosted.end();
    let mut shell = place.program("sh");
    shell.arg("-c").arg(command);
    Done::of(shell).ok();
    assert!(place.read_text("it's here.csv").starts_with("email,score\n"));
    assert_eq!(place.leftovers(), ["it's here.csv"]);
}

#[test]
fn cancel_on_interrupt_cancels_the_run() {
    let hosted = Hosted::start();
    let place = hosted.place();
    let said = signalled(&place, &[&RUN_LEADS[..], &["--cancel-on-interrupt"]].concat(), Signal::INT);
    assert!(said.contains(&format!("run {RUN_ID} was cancelled")), "{said}");
    let cancels = hosted.server.asked().iter().filter(|request| request.path == "/workflows/cancel").count();
    assert_eq!(cancels, 1);
}

#[test]
fn nohup_is_respected() {
    let hosted = Hosted::start();
    let place = hosted.place();
    let mut command: Command = place.program("sh");
    // The shell's child inherits that the signal is ignored.
    let line = format!("trap '' HUP; exec drawoff {}", RUN_LEADS.join(" "));
    let mut child = command.arg("-c").arg(line).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    read_until(&mut stderr, "started");
    kill_process(Pid::from_child(&child), Signal::HUP).unwrap();
    hosted.end();
    assert!(child.wait().unwrap().success());
}
