//! `drawoff serve` from its start to its end: what it begins with, the command that it runs, the parent that it follows,
//! archives, and flags from the environment and the configuration file.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::{Done, Place, Service, block_on, exit, read_until, wait_for};

const WORKFLOW: &str = "testdata/workflows/webhook-leads.json";
const UPLOAD: &str = "testdata/companies.csv";

/// Lines on standard output of a service that is stopped at once.
fn first_lines(place: &Place, flags: &[&str]) -> Vec<String> {
    let mut command = place.command(&[&["serve", "--port", "0"], flags].concat());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    read_until(&mut std::io::BufReader::new(child.stderr.take().unwrap()), "clock: ");
    crate::support::interrupt(&child);
    let mut text = String::new();
    std::io::Read::read_to_string(&mut child.stdout.take().unwrap(), &mut text).unwrap();
    assert_eq!(wait_for("the end", || child.try_wait().unwrap()).code(), Some(exit::SUCCESS));
    text.lines().map(str::to_owned).collect()
}

#[test]
fn the_first_line_is_the_address_and_seeds_have_fixed_ids() {
    let place = Place::new();
    let flags = ["--workflow", WORKFLOW, "--upload", UPLOAD];
    let lines = first_lines(&place, &flags);
    assert!(lines[0].starts_with("http://127.0.0.1:"), "{lines:?}");
    let seeds = &lines[1..];
    assert_eq!(seeds.len(), 2, "{seeds:?}");
    assert!(seeds[0].starts_with("upload ") && seeds[0].ends_with(" companies.csv"), "{seeds:?}");
    assert!(seeds[1].starts_with("workflow ") && seeds[1].ends_with(" Webhook leads"), "{seeds:?}");
    assert_eq!(first_lines(&place, &flags)[1..], *seeds, "the same names have the same ids in every store");
    // An id of the file counts, and seeds replace what an earlier start has left.
    let mut definition: Value =
        serde_json::from_slice(&std::fs::read(crate::support::root().join(WORKFLOW)).unwrap()).unwrap();
    definition["id"] = "leads".into();
    place.write("leads.json", definition.to_string());
    let service = Service::start(&place, "data", &["--workflow", "leads.json"]);
    assert_eq!(service.call("GET", "/workflows/leads", None).1["name"], "Webhook leads");
    service.stop();
    definition["workflow_name"] = "Renamed".into();
    place.write("leads.json", definition.to_string());
    let service = Service::start(&place, "data", &["--workflow", "leads.json"]);
    assert_eq!(service.call("GET", "/workflows/leads", None).1["name"], "Renamed");
}

#[test]
fn uploads_are_found_by_their_names() {
    let place = Place::new();
    let block = |specs: Value| {
        json!({ "workflow_name": "Companies", "workflow_description": "", "workflow_definition": { "edges": [], "blocks": [
            { "sequence_number": 1, "block_type": "x", "block_name": "read_csv", "block_id": "a", "specs": specs } ] } })
    };
    place.write("fixed.json", block(json!({ "resource_handle_id": "companies.csv" })).to_string());
    let service = Service::start(&place, "data", &["--workflow", "fixed.json", "--upload", UPLOAD]);
    let (_, workflows) = service.call("GET", "/workflows", None);
    let id = workflows[0]["id"].as_str().unwrap();
    let ended = |body: Option<Value>| {
        let (status, started) = service.call("POST", &format!("/workflows/run?workflow_id={id}"), body);
        assert_eq!(status, 200, "{started}");
        let path = format!("/workflows/runs/{}/live_status", started["job_id"].as_str().unwrap());
        wait_for("the run", || {
            Some(service.call("GET", &path, None).1).filter(|live| live["overall_status"] == "completed")
        })
    };
    assert_eq!(ended(None)["blocks"][0]["metrics"]["row_count"], 2650);
    ended(Some(json!({ "specs_override": { "resource_handle_id": "companies.csv" } })));
    let (status, body) = service.call(
        "POST",
        &format!("/workflows/run?workflow_id={id}"),
        Some(json!({ "specs_override": { "resource_handle_id": "other.csv" } })),
    );
    assert_eq!(status, 400, "{body}");
}

#[test]
fn seeds_that_cannot_be_used_are_named() {
    let place = Place::new();
    place.write("a.txt", "x");
    place
        .run_line("serve --port 0 --upload a.txt")
        .code(exit::USAGE)
        .says("must end in .csv, .json, .jsonl or .ndjson");
    place
        .run_line("serve --port 0 --upload none.csv")
        .code(exit::CANNOT_READ)
        .says("cannot start with the upload none.csv");
    place
        .run_line("serve --port 0 --workflow testdata/workflows/broken-cycle.json")
        .code(exit::USAGE)
        .says("cannot start with the workflow");
    std::fs::create_dir(place.path("other")).unwrap();
    place.write("other/companies.csv", "n\n1\n");
    place
        .run_line("serve --port 0 --upload testdata/companies.csv --upload other/companies.csv")
        .code(exit::USAGE)
        .says("upload `companies.csv` and upload `companies.csv`");
    place.run_line("serve --port 0 --workflow none.json").code(exit::CANNOT_READ).says("none.json");
}

#[test]
fn a_command_runs_under_the_service_and_its_exit_code_is_handed_on() {
    let place = Place::new().env("SIXTYFOUR_API_KEY", "of-the-hosted-service");
    let script = "drawoff run $WORKFLOW_ID --payload '{\"full_name\": \"Ada\", \"email\": \"a@b.test\", \"score\": 50}' \
                  -o rows.ndjson -q && echo $SIXTYFOUR_API_KEY $RESOURCE_HANDLE_ID && exit 7";
    let mut words = vec!["serve", "--port", "0", "--workflow", WORKFLOW, "--upload", UPLOAD];
    words.extend(["--export-on-exit", "state.tar", "--", "sh", "-c", script]);
    let done = place.run(&words).code(7);
    let printed: Vec<&str> = done.text().split_whitespace().collect();
    assert_eq!(printed[0], "local", "the key of the hosted service is not used: {}", done.text());
    assert!(done.text().lines().count() == 1, "standard output is the command's: {}", done.text());
    assert!(place.read_text("rows.ndjson").contains("Ada"));
    assert!(done.stderr.contains("exported 1 workflow, 1 run, 1 upload, 0 notebooks"), "{}", done.stderr);
    assert!(!done.stderr.contains("POST /workflows/run"), "there is no log: {}", done.stderr);
    place.run_line("serve --port 0 -- true").ok().quiet();
    place
        .run_line("serve --port 0 -- no-such-program")
        .code(exit::USAGE)
        .says("cannot run the command no-such-program");
    let killed = place.run(&["serve", "--port", "0", "--", "sh", "-c", "kill -9 $$"]);
    assert_eq!(killed.code, 137);
    let mut log = place.program("drawoff");
    log.args(["serve", "--port", "0", "--log", "human", "--api-key", "k", "--", "sh", "-c", "drawoff workflows ls"]);
    Done::of(log).ok().says("GET /workflows 200");
}

#[test]
fn a_signal_to_the_service_ends_its_command() {
    let place = Place::new();
    let script = "trap 'echo asked; exit 3' TERM; echo ready >&2; while :; do sleep 0.05; done";
    let mut command = place.command(&["serve", "--port", "0", "--", "sh", "-c", script]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    read_until(&mut std::io::BufReader::new(child.stderr.take().unwrap()), "ready");
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
    assert_eq!(wait_for("the end", || child.try_wait().unwrap()).code(), Some(3));
}

#[test]
fn a_service_ends_with_its_parent() {
    let place = Place::new();
    let mut shell = place.program("sh");
    shell.args(["-c", "drawoff serve --port 0 --exit-with-parent > address 2> log & echo $!; read line"]);
    let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut pid = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(shell.stdout.take().unwrap()), &mut pid).unwrap();
    let url = wait_for("the address", || {
        let text = std::fs::read_to_string(place.path("address")).unwrap_or_default();
        text.lines().next().filter(|_| text.ends_with('\n')).map(str::to_owned)
    });
    let answers = || block_on(async { reqwest::get(format!("{url}/healthz")).await.is_ok() });
    assert!(answers());
    shell.kill().unwrap();
    shell.wait().unwrap();
    wait_for("the service to end", || Some(()).filter(|()| !answers()));
    wait_for("its last words", || Some(()).filter(|()| place.read_text("log").contains("stopping")));
}

#[test]
fn an_archive_is_imported_and_served() {
    let place = Place::new();
    let service = Service::start(&place, "one", &["--workflow", WORKFLOW, "--export-on-exit", "state.tar"]);
    let client = Place::with_service(&service.url);
    client.run_line("run testdata/workflows/webhook-leads.json --payload @testdata/leads.json -o first.ndjson").ok();
    let (_, workflows) = service.call("GET", "/workflows", None);
    assert_eq!(service.stop(), exit::SUCCESS);
    let service = Service::start(&place, "two", &["--import", "state.tar"]);
    assert_eq!(service.call("GET", "/workflows", None).1, workflows);
    let (_, runs) = service.call("GET", "/workflows/runs", None);
    assert_eq!(runs[0]["status"], "completed");
    service.stop();
    // Without a directory of its own, and with nothing to do but the import.
    place.run(&["serve", "--port", "0", "--import", "state.tar", "--", "true"]).ok().says("imported 1 workflow, 1 run");
    place.write("other.tar", "x");
    place.run_line("serve --port 0 --import other.tar").code(exit::BAD_DATA).says("not a state of a service");
    place.run_line("serve --data one --export a.tar --import state.tar").code(exit::USAGE);
}

#[test]
fn flags_come_from_the_environment_and_the_file() {
    let place = Place::new();
    place.write(
        "config.toml",
        "[serve]\nlike_hosted = true\nfault = ['503,on=links']\nadmin = true\nworkflow = ['w.json']\n",
    );
    place.write("w.json", std::fs::read(crate::support::root().join(WORKFLOW)).unwrap());
    let place = place.env("DRAWOFF_CONFIG", "config.toml").env("DRAWOFF_SERVE_RATE_LIMIT", "77");
    let service = Service::start(&place, "data", &[]);
    service.says("limits: 77 requests per minute and key; 10 bulk jobs");
    assert_eq!(service.call("GET", "/admin/faults", None).1[0]["fault"], "503,on=links");
    assert_eq!(service.call("GET", "/workflows", None).1[0]["name"], "Webhook leads");
    let service = Service::start(&place, "flags", &["--rate-limit", "5"]);
    service.says("limits: 5 requests per minute and key");
    let wrong = place.env("DRAWOFF_SERVE_MAX_RUNS", "none");
    wrong.run_line("serve --port 0").code(exit::USAGE).says("environment DRAWOFF_SERVE_MAX_RUNS: invalid value 'none'");
}

/// A place where the state cannot be kept is found before the work; a command that failed keeps its exit code.
#[test]
fn an_export_that_cannot_be_written_is_found_at_the_start() {
    let place = Place::new();
    let serve = |script: &str| {
        place.run(&["serve", "--port", "0", "--export-on-exit", "kept/state.tar", "--", "sh", "-c", script])
    };
    let done = serve("echo ran").code(exit::CANNOT_WRITE);
    assert!(!done.text().contains("ran"), "{}", done.text());
    std::fs::create_dir(place.path("kept")).unwrap();
    serve("rmdir kept; exit 5").code(5).says("error: ");
}

/// An export replaces an earlier export, but no other file: that the name was mistyped is noticed before the work, and
/// also when the file came to be during it.
#[test]
fn an_export_replaces_exports_only() {
    let place = Place::new();
    let serve = |flags: &[&str], script: &str| {
        place.run(&[&["serve", "--port", "0"], flags, &["--", "sh", "-c", script]].concat())
    };
    let kept = "id,name\n1,Ada\n".repeat(200);
    place.write("people.csv", &kept);
    // A tar of another program, with a file of the same name as the list of rows.
    place.write("state.ndjson", "{\"other\":1}\n");
    assert!(place.program("tar").args(["-cf", "other.tar", "state.ndjson"]).status().unwrap().success());
    let other = std::fs::read(place.path("other.tar")).unwrap();
    for file in ["people.csv", "other.tar"] {
        let done = serve(&["--export-on-exit", file], "echo ran").code(exit::USAGE);
        assert!(done.text().is_empty(), "{}", done.text());
        done.says(&format!("{file} exists and is not a state of a service; it is not replaced")).says("`--overwrite`");
        place.run(&["serve", "--data", "kept", "--export", file]).code(exit::USAGE);
    }
    assert_eq!((place.read_text("people.csv"), std::fs::read(place.path("other.tar")).unwrap()), (kept, other));
    place.write("empty.tar", "");
    serve(&["--export-on-exit", "empty.tar"], "true").ok();
    serve(&["--export-on-exit", "empty.tar", "--workflow", WORKFLOW], "true").ok().says("exported 1 workflow");
    serve(&["--export-on-exit", "late.tar"], "echo mine > late.tar").code(exit::USAGE);
    serve(&["--export-on-exit", "late.tar"], "rm late.tar; exit 4").code(exit::USAGE);
    serve(&["--export-on-exit", "people.csv", "--overwrite"], "true").ok();
    place.run(&["serve", "--port", "0", "--import", "people.csv", "--", "true"]).ok();
}

/// Results in an archive are for its owner, whatever was there; standard output takes an archive.
#[test]
fn an_export_is_private_and_may_go_to_a_pipe() {
    use std::os::unix::fs::PermissionsExt as _;

    let place = Place::new();
    place.run(&["serve", "--port", "0", "--data", "kept", "--workflow", WORKFLOW, "--", "true"]).ok();
    let export = |flags: &[&str]| place.run(&[&["serve", "--data", "kept", "--export"], flags].concat());
    let mode = |name: &str| std::fs::metadata(place.path(name)).unwrap().permissions().mode() & 0o777;
    export(&["state.tar"]).ok();
    place.write("other.txt", "other");
    for (file, flags) in [("state.tar", &[][..]), ("other.txt", &["--overwrite"][..])] {
        std::fs::set_permissions(place.path(file), std::fs::Permissions::from_mode(0o644)).unwrap();
        export(&[&[file], flags].concat()).ok();
        assert_eq!(mode(file), 0o600, "{file}");
    }
    let piped = export(&["-"]).ok();
    place.write("piped.tar", &piped.stdout);
    place.run(&["serve", "--port", "0", "--import", "piped.tar", "--", "true"]).ok().says("imported 1 workflow");
    assert!(!place.path("-").exists());
    place.run(&["serve", "--port", "0", "--export-on-exit", "-", "--", "true"]).code(exit::USAGE).says("needs a file");
    let absent = place.run(&["serve", "--data", "none", "--export", "x.tar"]).code(exit::CANNOT_READ);
    absent.says("cannot use the data directory none: there is no such directory");
}

#[test]
fn a_variable_that_is_no_flag_is_named() {
    let place = Place::new().env("DRAWOFF_SERVE_PROT", "1").env("DRAWOFF_SERVE_ADMIN", "true");
    let done = place.run_line("serve --port 0 -q -- true").ok();
    assert_eq!(done.stderr, "warning: DRAWOFF_SERVE_PROT has no effect: `serve` has no such setting\n");
}
