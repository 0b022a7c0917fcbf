//! `drawoff serve`, killed at random moments and restarted: completed runs keep their results, interrupted runs begin again
//! or, if they had effects outside of them, have failed with a reason, and every offered file is complete.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::plans::{self, SeededRng};
use crate::support::{Done, MARKED_KEY, Place, Service, block_on, wait_for};

/// Kills of the service, if all plans are executed.
const KILLS: u32 = 12;
/// Upper bound of the time between a start of runs and the kill: between nothing done and everything done.
const LONGEST_WAIT: Duration = Duration::from_millis(900);

fn call(method: &str, url: &str, body: Option<Value>) -> Option<(StatusCode, Value)> {
    block_on(async {
        let request = reqwest::Client::new().request(method.parse().unwrap(), url).header("x-api-key", MARKED_KEY);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let answer = request.send().await.ok()?;
        let status = answer.status();
        Some((status, answer.json().await.ok()?))
    })
}

fn definition(read: bool) -> Value {
    let mut blocks = vec![json!({ "sequence_number": 1, "block_type": "x", "block_name": "webhook", "block_id": "b1",
        "specs": {} })];
    if read {
        blocks[0]["block_name"] = "read_notebook".into();
        blocks[0]["specs"] = json!({ "notebook_id": "all" });
    } else {
        blocks.push(json!({ "sequence_number": 2, "block_type": "x", "block_name": "append_to_notebook",
            "block_id": "b2", "specs": { "notebook_id": "all" } }));
        blocks.push(json!({ "sequence_number": 3, "block_type": "x", "block_name": "group_by", "block_id": "b3",
            "specs": { "columns": ["k"] } }));
    }
    let ids: Vec<&str> = blocks.iter().map(|block| block["block_id"].as_str().unwrap()).collect();
    let edges: Vec<Value> =
        ids.windows(2).map(|pair| json!({ "from_block_id": pair[0], "to_block_id": pair[1] })).collect();
    json!({ "workflow_name": "W", "workflow_description": "", "workflow_definition": { "blocks": blocks, "edges": edges } })
}

/// Downloads every link of a run and checks that size and row count are those of the link. Returns the number of files.
fn check_links(url: &str, run: &str) -> usize {
    let mut files = 0;
    for format in ["csv", "ndjson"] {
        let links = format!("{url}/workflows/runs/{run}/results/download-links?format={format}");
        let (status, links) = call("GET", &links, None).unwrap();
        assert_eq!(status, StatusCode::OK, "{links}");
        for link in links.as_array().unwrap() {
            let bytes = block_on(async {
                let answer = reqwest::get(link["download_url"].as_str().unwrap()).await.unwrap();
                assert_eq!(answer.status(), StatusCode::OK, "{link}");
                answer.bytes().await.unwrap()
            });
            assert_eq!(bytes.len() as u64, link["file_size"], "{link}");
            let rows = bytes.iter().filter(|byte| **byte == b'\n').count() as u64 - u64::from(format == "csv");
            assert_eq!(rows, link["row_count"], "{link}");
            files += 1;
        }
    }
    files
}

#[test]
#[expect(clippy::print_stderr, reason = "the number of interrupted runs is a measurement")]
fn a_killed_service_offers_only_complete_files_after_its_restart() {
    let kills = plans::count(KILLS);
    let mut rng = SeededRng::new(plans::seed());
    let place = Place::new();
    let row = |i: usize| json!({ "k": i % 1300, "text": format!("some words {i}") });
    let payload = |rows: usize| json!({ "webhook_payload": (0..rows).map(row).collect::<Vec<_>>() });
    let mut started: Vec<(String, usize)> = Vec::new();
    let (mut completed, mut failed, mut files) = (0, 0, 0);
    let mut workflow = String::new();
    for kill in 0..=kills {
        let service = Service::start(&place, "data", &["--step-memory", "8K"]);
        let url = service.url.clone();
        // Every run started before has ended, completed or failed.
        (completed, failed, files) = (0, 0, 0);
        let mut appended = 0;
        for (run, rows) in &started {
            // Queued runs begin after the restart.
            let live = wait_for("a queued run to end", || {
                let (_, live) = call("GET", &format!("{url}/workflows/runs/{run}/live_status"), None)?;
                Some(live).filter(|live| live["overall_status"] != "queued" && live["overall_status"] != "running")
            });
            match live["overall_status"].as_str().unwrap() {
                "completed" => {
                    completed += 1;
                    assert_eq!(live["completed_blocks"], 3);
                }
                "failed" => {
                    failed += 1;
                    let (_, runs) = call("GET", &format!("{url}/workflows/runs?limit=500"), None).unwrap();
                    let listed = runs.as_array().unwrap().iter().find(|listed| listed["job_id"] == **run).unwrap();
                    assert_eq!(listed["status_reason"], "interrupted");
                    assert!(listed["error_message"].is_string());
                    // It had appended its rows, and its block has the reason.
                    assert_eq!(live["blocks"][1]["status"], "completed", "{live:#}");
                    assert_eq!(live["blocks"][2]["error_message"], listed["error_message"]);
                }
                other => panic!("kill {kill}: run {run} is {other}"),
            }
            files += check_links(&url, run);
            appended += u64::from(live["blocks"][1]["status"] == "completed") * *rows as u64;
        }
        // The notebook holds the rows of completed blocks only.
        if appended > 0 {
            let (_, reader) =
                call("POST", &format!("{url}/workflows/create_workflow"), Some(definition(true))).unwrap();
            let id = reader["id"].as_str().unwrap();
            let (status, run) = call("POST", &format!("{url}/workflows/run?workflow_id={id}"), None).unwrap();
            assert_eq!(status, StatusCode::OK, "{run}");
            let live = format!("{url}/workflows/runs/{}/live_status", run["job_id"].as_str().unwrap());
            let live = wait_for("the notebook to be read", || {
                Some(call("GET", &live, None)?.1).filter(|live| live["overall_status"] == "completed")
            });
            assert_eq!(live["blocks"][0]["metrics"]["row_count"], appended);
        }
        if kill == kills {
            break;
        }
        if workflow.is_empty() {
            let (_, made) = call("POST", &format!("{url}/workflows/create_workflow"), Some(definition(false))).unwrap();
            workflow = made["id"].as_str().unwrap().to_owned();
        }
        // Short and long runs.
        for rows in [10, 10, 4000, 10, 4000] {
            let run = format!("{url}/workflows/run?workflow_id={workflow}&result_formats=ndjson");
            let (_, run) = call("POST", &run, Some(payload(rows))).unwrap();
            started.push((run["job_id"].as_str().unwrap().to_owned(), rows));
        }
        std::thread::sleep(LONGEST_WAIT.mul_f64(rng.fraction()));
        // Dropping it kills the process.
        drop(service);
    }
    assert_eq!(completed + failed, started.len());
    eprintln!("{completed} runs completed, {failed} were interrupted, {files} files offered, all complete");
}

/// Waits until a run is in a state.
fn wait_for_state(url: &str, run: &str, state: &str) -> Value {
    let live = format!("{url}/workflows/runs/{run}/live_status");
    wait_for(state, || Some(call("GET", &live, None)?.1).filter(|live| live["overall_status"] == state))
}

#[test]
fn a_run_that_left_no_trace_begins_again_after_a_kill() {
    let place = Place::new();
    let slow = ["--fault", "rows-per-second=10"];
    let service = Service::start(&place, "data", &slow);
    let url = service.url.clone();
    place.write("a.csv", "k\n1\n1\n2\n");
    let block = |number: usize, name: &str, specs: Value| json!({ "sequence_number": number, "block_type": "x", "block_name": name, "block_id": format!("b{number}"), "specs": specs });
    let create = |blocks: [Value; 2]| {
        let body = json!({ "workflow_name": "W", "workflow_description": "", "workflow_definition": {
            "blocks": blocks, "edges": [{ "from_block_id": "b1", "to_block_id": "b2" }] } });
        let (status, made) = call("POST", &format!("{url}/workflows/create_workflow"), Some(body)).unwrap();
        assert_eq!(status, StatusCode::OK, "{made}");
        made["id"].as_str().unwrap().to_owned()
    };
    let start = |workflow: &str, body: Value| {
        let path = format!("{url}/workflows/run?workflow_id={workflow}&result_formats=ndjson");
        let (status, started) = call("POST", &path, Some(body)).unwrap();
        assert_eq!(status, StatusCode::OK, "{started}");
        started["job_id"].as_str().unwrap().to_owned()
    };
    let plain = create([block(1, "webhook", json!({})), block(2, "deduplicate", json!({}))]);
    let appending =
        create([block(1, "webhook", json!({})), block(2, "append_to_notebook", json!({ "notebook_id": "n" }))]);
    let rows = json!({ "webhook_payload": (0..500).map(|i| json!({ "k": i % 7 })).collect::<Vec<_>>() });
    let begun = [start(&plain, rows.clone()), start(&appending, rows.clone())];
    for run in &begun {
        wait_for_state(&url, run, "running");
    }
    let queued = start(&plain, rows);
    drop(service);

    // The deduplicated rows are there after the restart, the notebook has its rows once, and no run was lost or doubled.
    let service = Service::start(&place, "data", &["--max-runs", "1"]);
    for run in begun.iter().chain([&queued]) {
        let live = wait_for_state(&service.url, run, "completed");
        let expected = if *run == begun[1] { 500 } else { 7 };
        assert_eq!(live["blocks"][1]["metrics"]["row_count"], expected);
        assert_eq!(check_links(&service.url, run), 4);
    }
    let (_, runs) = call("GET", &format!("{}/workflows/runs", service.url), None).unwrap();
    assert_eq!(runs.as_array().unwrap().len(), 3);
    let folder = place.path("data/runs").join(&begun[0]);
    let names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 5, "the results and the input, nothing of the first attempt: {names:?}");
}

#[test]
fn a_key_lives_its_day_whatever_is_retained() {
    let place = Place::new();
    let service = Service::start(&place, "data", &["--retain", "1", "--admin"]);
    let url = service.url.clone();
    let (_, made) = call("POST", &format!("{url}/workflows/create_workflow"), Some(definition(false))).unwrap();
    let path = format!("/workflows/run?workflow_id={}", made["id"].as_str().unwrap());
    let start = |service: &Service, key: &str| {
        let body = json!({ "webhook_payload": [{ "k": 1 }] });
        let (status, started) = service.call_with("POST", &path, &[("idempotency-key", key)], Some(body));
        assert_eq!(status, 200, "{started}");
        started
    };
    let first = start(&service, "one");
    let run = first["job_id"].as_str().unwrap();
    wait_for_state(&url, run, "completed");
    let second = start(&service, "two");
    wait_for_state(&url, second["job_id"].as_str().unwrap(), "completed");
    let gone = format!("/workflows/runs/{run}/live_status");
    wait_for("the first run to be deleted", || Some(()).filter(|()| service.call("GET", &gone, None).0 == 404));
    let again = start(&service, "one");
    assert_eq!((&again["job_id"], &again["already_started"]), (&first["job_id"], &json!(true)));
    assert_eq!(again["status"], "completed");
    service.terminate();
    let service = Service::start(&place, "data", &["--retain", "1", "--admin"]);
    assert_eq!(start(&service, "one")["already_started"], true);
    service.call("POST", "/admin/clock", Some(json!({ "advance": "24h" })));
    assert_eq!(start(&service, "one")["already_started"], Value::Null);
}

#[test]
fn a_damaged_store_is_named_with_what_to_do() {
    let place = Place::new();
    Service::start(&place, "data", &[]).terminate();
    let path = place.path("data/drawoff.redb");
    let length = std::fs::metadata(&path).unwrap().len() as usize;
    std::fs::write(&path, "x".repeat(length)).unwrap();
    let done = place.run_line("serve --port 0 --data data").code(4);
    let done = done.says("the database data/drawoff.redb is damaged: ");
    assert!(!done.stderr.contains("bug in drawoff"), "{}", done.stderr);
    done.hints("mv data/drawoff.redb data/drawoff.redb.damaged");
    std::fs::rename(&path, place.path("aside")).unwrap();
    assert_eq!(Service::start(&place, "data", &[]).terminate(), 0);
}

#[test]
fn a_stopped_service_exports_completed_runs() {
    let place = Place::new();
    let service = Service::start(&place, "data", &[]);
    let url = service.url.clone();
    let (_, made) = call("POST", &format!("{url}/workflows/create_workflow"), Some(definition(false))).unwrap();
    let run = format!("{url}/workflows/run?workflow_id={}", made["id"].as_str().unwrap());
    let (_, run) = call("POST", &run, Some(json!({ "webhook_payload": [{ "k": 1 }] }))).unwrap();
    let run = run["job_id"].as_str().unwrap().to_owned();
    let live = format!("{url}/workflows/runs/{run}/live_status");
    wait_for("the run", || call("GET", &live, None).filter(|(_, live)| live["overall_status"] == "completed"));
    assert_eq!(service.terminate(), 0);
    let done = place.run(&["serve", "--data", "data", "--export", "state.tar"]).ok();
    assert!(done.stderr.contains("exported 1 workflow, 1 run, 0 uploads, 1 notebook"), "{}", done.stderr);
    let listing = std::process::Command::new("tar").arg("tf").arg(place.path("state.tar")).output().unwrap();
    let listing = String::from_utf8(listing.stdout).unwrap();
    assert!(listing.contains(&format!("runs/{run}/block_3_group_by.csv")) && listing.ends_with("state.ndjson\n"));
    // Private, and into a pipe as into a file.
    assert_eq!(std::fs::metadata(place.path("state.tar")).unwrap().permissions().mode() & 0o777, 0o600);
    let mut piped = place.program("bash");
    piped.args(["-c", "drawoff serve --data data --export /dev/stdout | tar tf -; exit ${PIPESTATUS[0]}"]);
    assert_eq!(Done::of(piped).ok().text(), listing);
    assert!(!place.leftovers().iter().any(|name| name.starts_with('.')));
    let service = Service::start(&place, "other", &["--import", "state.tar"]);
    assert_eq!(check_links(&service.url, &run), 3);
}
