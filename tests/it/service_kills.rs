//! `drawoff serve`, killed at random moments and restarted: completed runs keep their results, interrupted runs have
//! failed, and every offered file is complete.

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
    place.run(&["serve", "--data", "other", "--import", "state.tar"]).ok();
    let service = Service::start(&place, "other", &[]);
    assert_eq!(check_links(&service.url, &run), 3);
}
