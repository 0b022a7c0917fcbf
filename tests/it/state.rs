//! What is remembered between commands: a run starts once, and what stands complete is not fetched again.

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

/// A hosted service whose run goes on until it is told to end, and that knows its idempotency keys.
struct Hosted {
    server: Loopback,
    /// The run has completed.
    ended: Arc<AtomicBool>,
    /// Answers to starts are lost: the connection is cut after the start was accepted.
    loses_answers: Arc<AtomicBool>,
    /// Keys of accepted starts.
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

/// Starts `args` and reads what it says until `text` comes.
fn spawn_until(place: &Place, args: &[&str], text: &str) -> (Child, BufReader<std::process::ChildStderr>, String) {
    let mut child = place.command(args).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let said = read_until(&mut stderr, text);
    (child, stderr, said)
}

/// The one file of state below `folder` with this extension.
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
fn a_start_whose_answer_is_lost_is_not_repeated() {
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
    // Its results are written: the next is a start of its own.
    place.run(&RUN_LEADS).ok().says("started");
    assert_eq!(hosted.started(), 2);
}

#[test]
fn a_run_that_goes_on_is_attached_to() {
    let hosted = Hosted::start();
    let place = hosted.place();
    let (mut child, ..) = spawn_until(&place, &RUN_LEADS, "started");
    kill(&mut child);
    let (mut child, ..) = spawn_until(&place, &RUN_LEADS, &format!("already started as {RUN_ID}, which is active"));
    kill(&mut child);
    // Another input, another workflow or the user's word is another start.
    let other = ["run", RUN_LEADS[1], "--payload", "[]", "-o", "out.ndjson"];
    let (mut child, ..) = spawn_until(&place, &other, "started");
    kill(&mut child);
    assert_eq!(hosted.started(), 2);
    let (mut child, ..) = spawn_until(&place, &[&RUN_LEADS[..], &["--new-run"]].concat(), &format!("run {RUN_ID} of"));
    kill(&mut child);
    assert_eq!(hosted.started(), 3);
    // A run that has ended is gone on with until its results are written.
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
        let done = place.run(&args).code(exit::REFUSED);
        assert!(!done.stderr.contains("got no response"), "{}", done.stderr);
    }
}

#[test]
fn two_processes_keep_off_one_run() {
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
fn several_outputs_and_folders_stand_complete_together() {
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
    // Whatever is missing of them, all are written anew, from one download.
    for (i, gone) in [part.clone(), place.path("all.csv"), place.path("parts/_SUCCESS")].into_iter().enumerate() {
        std::fs::remove_file(gone).unwrap();
        place.run(&pull).ok().says("2 written");
        assert!(is_whole(&place));
        assert_eq!(downloads(), i + 2);
    }
    // Other sizes of files are another content, and one of the outputs alone is another output.
    place.run(&[&pull[..pull.len() - 1], &["2"]].concat()).ok().says("2 written");
    place.run(&["pull", RUN_ID, "-o", "all.csv"]).ok().says("2 written");
    let listed = place.run_line("runs ls --local-state").ok();
    assert!(listed.text().contains("out.parquet + "), "{}", listed.text());
    // What goes to standard output as well is written each time.
    let piped = ["pull", RUN_ID, "-o", "out.ndjson", "-o", "-"];
    for _ in 0..2 {
        assert_eq!(place.run(&piped).ok().text().lines().count(), 2);
    }
}

#[test]
fn what_stands_complete_is_not_fetched_again() {
    let server = Script::default().start();
    let place = Place::with_service(&server.url);
    let downloads = || server.asked().iter().filter(|request| request.path.starts_with("/files/")).count();
    let pull = ["pull", RUN_ID, "-o", "out.parquet"];
    place.run(&pull).ok();
    place.run(&pull).ok().says("out.parquet is already complete: 2 rows");
    // How fast it comes changes nothing in it.
    place
        .run(&[&pull[..], &["--jobs", "1", "--min-speed", "1B", "--max-memory", "64MiB"]].concat())
        .ok()
        .says("already");
    // The same by another way to its name, and as data.
    let absolute = place.path("out.parquet").display().to_string();
    let done = place.run(&["pull", RUN_ID, "-o", &absolute, "--report", "json"]).ok();
    let report: Value = serde_json::from_str(done.stderr.lines().last().unwrap()).unwrap();
    assert_eq!((&report["already_complete"], &report["rows_written"]), (&true.into(), &2.into()));
    assert_eq!(downloads(), 1);
    // Written anew: when asked, when it would hold something else, when it is not what was written.
    let again: [&[&str]; 3] = [&["--again"], &["--codec", "snappy"], &["--format", "csv"]];
    for (i, more) in again.into_iter().enumerate() {
        let done = place.run(&[&pull[..], more].concat()).ok();
        assert!(!done.stderr.contains("already complete"), "{}", done.stderr);
        assert_eq!(downloads(), i + 2);
    }
    // What a schema file says counts, not its name.
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
    for name in ["a.json", "b.json"] {
        std::fs::remove_file(place.path(name)).unwrap();
    }
    place.run(&pull).ok();
    for change in [|path: PathBuf| std::fs::write(path, "mine").unwrap(), |path| std::fs::remove_file(path).unwrap()] {
        let before = downloads();
        change(place.path("out.parquet"));
        place.run(&pull).ok();
        assert_eq!(downloads(), before + 1);
    }
    // Standard output is never complete, and no state is no memory.
    for args in [["pull", RUN_ID, "-o", "-"], ["pull", RUN_ID, "-o", "-"]] {
        assert_eq!(place.run(&args).ok().records().len(), 2);
    }
    let before = downloads();
    place.run(&[&pull[..], &["--no-state"]].concat()).ok();
    assert_eq!(downloads(), before + 1);
    assert_eq!(place.leftovers(), ["out.parquet"]);
}

#[test]
fn rejects_belong_to_what_is_complete() {
    let body = b"{\"a\":1}\nnonsense\n".to_vec();
    let server = Script { body, ..Script::default() }.start();
    let place = Place::with_service(&server.url);
    let pull = ["pull", RUN_ID, "-o", "out.csv", "--on-bad-record", "skip"];
    place.run(&pull).code(exit::PARTIAL);
    place.run(&pull).code(exit::PARTIAL).says("already complete").says("1 rejected");
    std::fs::remove_file(place.path("out.rejects.ndjson")).unwrap();
    let done = place.run(&pull).code(exit::PARTIAL);
    assert!(!done.stderr.contains("already complete"), "{}", done.stderr);
    assert_eq!(place.leftovers(), ["out.csv", "out.rejects.ndjson"]);
}

#[test]
fn every_file_counts_by_itself() {
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
fn what_dead_processes_left_is_taken_away() {
    let server = Script::default().start();
    let place = Place::with_service(&server.url);
    // No process has this number; and a living one has its file.
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

    // Of a start nobody can tell without its record.
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
fn an_old_start_without_an_answer_is_looked_for() {
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
    // The API's list has a run that began after it: it may be that one.
    age("2020-01-01T00:00:00Z");
    let done = place.run(&RUN_LEADS).code(exit::USAGE).says("got no response").says(RUN_ID);
    done.hints("--new-run");
    assert_eq!(hosted.started(), 1);
}

#[test]
fn a_start_needs_a_place_to_be_remembered() {
    let hosted = Hosted::start();
    hosted.end();
    let place = hosted.place().env("DRAWOFF_STATE_DIR", "file/state");
    place.write("file", "");
    place.run(&RUN_LEADS).code(exit::CANNOT_WRITE).says("cannot keep state in file/state").hints("--no-state");
    assert_eq!(hosted.started(), 0);
    place.run(&[&RUN_LEADS[..], &["--no-state"]].concat()).ok();
    // A pull costs nothing to repeat.
    place.run(&["pull", RUN_ID, "-o", "out.csv"]).ok().says("continuing without a ledger");
    place.run(&["pull", RUN_ID, "-o", "out.csv", "--state-dir", "elsewhere"]).ok();
    assert!(place.path("elsewhere/runs").is_dir());
    // The service of `--local` goes with its command.
    place.run_line("run testdata/workflows/webhook-leads.json --local --payload [] -o local.ndjson").ok();
}

#[test]
fn what_is_remembered_can_be_listed() {
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

/// The command in backticks that `said` tells to go on with.
fn told_command(said: &str) -> &str {
    let hint = said.lines().find(|line| line.starts_with("hint: ")).unwrap_or_else(|| panic!("no hint in {said}"));
    hint.split('`').nth(1).unwrap_or_else(|| panic!("no command in {hint}"))
}

#[test]
fn an_interruption_tells_the_command_that_goes_on() {
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
fn only_when_asked_does_an_interruption_cancel_the_run() {
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
