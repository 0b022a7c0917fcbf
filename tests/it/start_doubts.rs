//! A start whose outcome is in doubt: only what the API itself says of this very start ends the doubt, and a doubt that no
//! repetition can end has a message with the remedy.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::support::hosted::{Hosted, Instead, age_start, lost, now};
use crate::support::http::Answer;
use crate::support::plans::{self, SeededRng};
use crate::support::{Place, exit, wait_for};

const RUN: [&str; 8] = [
    "run",
    "testdata/workflows/webhook-leads.json",
    "--payload",
    "@testdata/leads.json",
    "-o",
    "out.ndjson",
    "--deadline",
    "0s",
];

fn running() -> (Hosted, Place) {
    let hosted = Hosted::start();
    hosted.set(|store| store.status = "running");
    let place = hosted.place();
    (hosted, place)
}

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&RUN[..], more].concat()
}

/// Kills the command while it waits for the response to its start, which is older than any grace period then.
fn leave_pending(hosted: &Hosted, place: &Place, processed: bool) {
    let before = hosted.store.lock().unwrap().requests;
    hosted.set(|store| store.stop_at = Some((before + 4, processed)));
    let mut child = place.command(&RUN).spawn().unwrap();
    wait_for("the start", || hosted.stopped.load(Ordering::Acquire).then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
    hosted.released.store(true, Ordering::Release);
    assert_eq!((hosted.runs(), hosted.workflows()), (usize::from(processed), 1), "list, create, show, start");
    age_start(place);
}

fn delete_workflows(hosted: &Hosted) {
    hosted.set(|store| store.workflows.clear());
}

#[test]
fn a_new_run_that_the_api_refuses_leaves_the_active_one() {
    let (hosted, place) = running();
    place.run(&RUN).code(exit::DEADLINE_PASSED);
    hosted.responds("/workflows/run", false, 1, Answer::error(402, "Insufficient credits"));
    place.run(&with(&["--new-run"])).code(exit::REFUSED);
    place.run(&RUN).code(exit::DEADLINE_PASSED).says("already started as run-0, which is active");
    assert_eq!(hosted.runs(), 1);
}

#[test]
fn an_api_key_of_another_organisation_says_nothing_of_a_start() {
    // A start without a response.
    let (hosted, place) = running();
    leave_pending(&hosted, &place, true);
    hosted.set(|store| store.owner = crate::support::MARKED_KEY);
    let place = place.env("SIXTYFOUR_API_KEY", "another");
    for _ in 0..2 {
        place
            .run(&RUN)
            .code(exit::NOT_FOUND)
            .hints("with another API key; use that key, or start another run with `--new-run`");
    }
    let place = place.env("SIXTYFOUR_API_KEY", crate::support::MARKED_KEY);
    place.run(&RUN).code(exit::DEADLINE_PASSED).says("already started as run-0");
    // A run.
    age_start(&place);
    let place = place.env("SIXTYFOUR_API_KEY", "another");
    place.run(&RUN).code(exit::NOT_FOUND).hints("ago with another API key; use that key");
    // A new key of the same organisation finds it.
    hosted.set(|store| store.owner = "another");
    place.run(&RUN).code(exit::DEADLINE_PASSED).says("already started as run-0, which is active");
    assert_eq!(hosted.runs(), 1);
    // A start without a response and a new key: the API may keep idempotency keys for each key apart, so the run that
    // began since is named.
    let (hosted, place) = running();
    leave_pending(&hosted, &place, true);
    let place = place.env("SIXTYFOUR_API_KEY", "another");
    place.run(&RUN).code(exit::USAGE).says("runs have begun since: run-0").hints("drawoff pull RUN");
    assert_eq!(hosted.runs(), 1);
}

/// Responses that the frameworks of gateways write, to a request that the API has processed.
#[test]
fn json_of_another_server_is_no_refusal() {
    let bodies = [
        json!({"statusCode": 404, "error": "Not Found", "message": "Cannot POST /workflows/run"}),
        json!({"timestamp": now(), "path": "/workflows/run", "error": "Not Found", "message": ""}),
        json!({"type": "about:blank", "title": "Not Found", "status": 404, "detail": "no route"}),
        json!({"error": {"code": 404, "message": "Requested entity was not found."}}),
        json!({"message": "no Route matched with those values"}),
    ];
    std::thread::scope(|scope| {
        for body in &bodies {
            scope.spawn(move || {
                let (hosted, place) = running();
                let answer = Answer { status: 404, ..Answer::json(body) };
                hosted.responds("/workflows/run", true, 1, answer);
                place.run(&RUN).code(exit::DEADLINE_PASSED);
                place.run(&RUN).code(exit::DEADLINE_PASSED).says("already started as run-0");
                assert_eq!(hosted.runs(), 1, "{body}");
            });
        }
    });
}

/// The first response says nothing of what happened behind it, though the API wrote it; the second one is a refusal.
#[test]
fn a_refusal_after_a_timeout_of_the_api_or_a_redirect_is_not_certain() {
    for first in [Answer::error(408, "timeout"), Answer::error(504, "timeout")] {
        let (hosted, place) = running();
        hosted.set(|store| {
            let instead = |processed, answer| Instead { path: "/workflows/run", processed, answer, times: 1 };
            store.instead =
                vec![instead(true, first.clone()), instead(false, Answer::error(404, "Workflow not found"))];
        });
        place.run(&RUN).code(exit::NOT_FOUND).hints("repeat the same command");
        place.run(&RUN).code(exit::DEADLINE_PASSED).says("already started as run-0");
        assert_eq!(hosted.runs(), 1);
    }
    let (hosted, place) = running();
    let elsewhere = format!("{}/workflows/elsewhere", hosted.server.url);
    let redirect = Answer { status: 303, ..Answer::bytes("text/plain", "") }.header("location", &elsewhere);
    hosted.responds("/workflows/run", true, 1, redirect);
    place.run(&RUN).code(exit::NOT_FOUND).hints("repeat the same command");
    place.run(&RUN).code(exit::DEADLINE_PASSED).says("already started as run-0");
    assert_eq!(hosted.runs(), 1);
}

#[test]
fn a_list_that_may_lack_the_run_is_no_proof() {
    // The workflow is deleted, and the runs of all others fill the page.
    let (hosted, place) = running();
    leave_pending(&hosted, &place, true);
    delete_workflows(&hosted);
    hosted.set(|store| store.other_runs = 600);
    for _ in 0..2 {
        place.run(&RUN).code(exit::NOT_FOUND).hints("more runs have begun since than the API lists");
    }
    assert_eq!(hosted.runs(), 1);
    // The API lists fewer runs than were asked for, all of them younger.
    let (hosted, place) = running();
    place.run(&RUN).code(exit::DEADLINE_PASSED);
    age_start(&place);
    change_record(&place, "starts", |record| record["content"]["run"] = "not-listed".into());
    hosted.set(|store| {
        let workflow = store.runs[0].1.clone();
        store.runs.extend((0..100).map(|n| (format!("other {n}"), workflow.clone())));
        store.page_size = Some(100);
    });
    place.run(&RUN).code(exit::NOT_FOUND).hints("too few runs to tell whether it is gone; repeat the command later");
    assert_eq!(hosted.runs(), 101);
}

/// Changes the only record in a directory of the state.
fn change_record(place: &Place, directory: &str, change: impl FnOnce(&mut Value)) {
    let mut paths =
        std::fs::read_dir(place.path(&format!("state/drawoff/{directory}"))).unwrap().map(|e| e.unwrap().path());
    let path = paths.find(|path| path.extension().is_some_and(|e| e == "json")).unwrap();
    let mut record: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut record);
    std::fs::write(&path, record.to_string()).unwrap();
}

/// The clocks of the API and of this machine differ by an hour, in either direction.
#[test]
fn a_run_is_a_candidate_by_either_clock() {
    for ahead in [-3600, 3600] {
        let (hosted, place) = running();
        hosted.set(|store| store.ahead = ahead);
        leave_pending(&hosted, &place, true);
        delete_workflows(&hosted);
        for _ in 0..2 {
            place.run(&RUN).code(exit::NOT_FOUND).hints("runs have begun since: run-0");
        }
        assert_eq!(hosted.runs(), 1);
    }
}

/// A start that certainly began no run is forgotten, though runs of the same workflow began about then: those that this
/// machine started have keys of their own.
#[test]
fn a_start_without_a_run_is_not_kept_for_other_runs() {
    for naive_times in [false, true] {
        let (hosted, place) = running();
        hosted.set(|store| store.naive_times = naive_times);
        leave_pending(&hosted, &place, false);
        let other = ["run", RUN[1], "--payload", "[]", "-o", "other.ndjson", "--deadline", "0s"];
        place.run(&other).code(exit::DEADLINE_PASSED).says("run-0");
        // Forgotten, and said; the next one starts.
        hosted.responds("/workflows/run", false, 1, Answer::error(422, "no"));
        place.run(&RUN).code(exit::REFUSED).hints("the earlier start began no run; repeat the command to start one");
        place.run(&RUN).code(exit::DEADLINE_PASSED).says("run run-1");
        // One that is unknown here is a candidate, which is named, with the way out.
        let (hosted, place) = running();
        hosted.set(|store| store.naive_times = naive_times);
        leave_pending(&hosted, &place, false);
        hosted.set(|store| {
            let workflow = store.workflows.keys().next().unwrap().clone();
            store.runs.push(("another machine's".into(), workflow));
        });
        hosted.responds("/workflows/run", false, usize::MAX, Answer::error(422, "no"));
        place.run(&RUN).code(exit::REFUSED).hints("runs have begun since: run-0");
        place.run(&RUN).code(exit::REFUSED).hints("start another run with `--new-run`");
        assert_eq!(hosted.runs(), 1);
    }
}

#[test]
fn a_bare_response_to_a_start_is_enough() {
    let (hosted, place) = running();
    hosted.set(|store| store.bare_starts = true);
    place.run(&RUN).code(exit::DEADLINE_PASSED).says("run run-0");
    place.run(&RUN).code(exit::DEADLINE_PASSED).says("already started as run-0");
    assert_eq!(hosted.runs(), 1);
}

#[test]
fn a_name_without_shared_state_is_not_the_run_of_another_workflow() {
    let (hosted, place) = running();
    place.run(&with(&["--once", "2026-11-30"])).code(exit::DEADLINE_PASSED).says("run run-0");
    let place = hosted.place();
    let text = place.read_text(RUN[1]).replace("Webhook leads", "Other leads");
    place.write("other.json", text);
    let other =
        ["run", "other.json", "--payload", "[]", "-o", "out.ndjson", "--deadline", "0s", "--once", "2026-11-30"];
    place.run(&other).code(exit::DEADLINE_PASSED).says("run run-1");
}

#[test]
fn hints_for_a_named_start_name_no_flag_that_it_refuses() {
    let (hosted, place) = running();
    let once = with(&["--once", "nightly"]);
    place.run(&once).code(exit::DEADLINE_PASSED);
    age_start(&place);
    hosted.set(|store| store.forgets_runs = true);
    let gone = place.run(&once).code(exit::NOT_FOUND).hints("choose another `--once` name");
    assert!(!gone.text().contains("--new-run"));
    change_record(&place, "starts", |record| record["content"] = "damaged".into());
    let damaged = place.run(&once).code(exit::CANNOT_READ).hints("choose another `--once` name");
    assert!(!damaged.text().contains("--new-run"));
}

#[test]
fn a_start_that_is_still_processed_is_waited_for() {
    let (hosted, place) = running();
    hosted.set(|store| {
        let instead = |processed, answer| Instead { path: "/workflows/run", processed, answer, times: 1 };
        store.instead = vec![instead(true, lost()), instead(false, Answer::error(409, "request in progress"))];
    });
    place.run(&RUN).code(exit::DEADLINE_PASSED).says("run run-0");
    // A conflict of the first attempt is another one.
    hosted.responds("/workflows/run", false, usize::MAX, Answer::error(409, "a run is active"));
    place.run(&with(&["--new-run"])).code(exit::REFUSED).says("status 409): a run is active");
    assert_eq!(hosted.runs(), 1);
}

#[test]
fn an_api_without_idempotency_keys_is_noticed_within_one_command() {
    let (hosted, place) = running();
    hosted.set(|store| store.ignores_keys = true);
    hosted.responds("/workflows/run", true, 1, lost());
    place.run(&RUN).code(exit::DEADLINE_PASSED).says("may be its duplicates: run-0");
    assert_eq!(hosted.runs(), 2);
}

#[test]
fn a_lost_start_without_state_is_told() {
    let (hosted, place) = running();
    hosted.responds("/workflows/run", true, usize::MAX, Answer { status: 404, ..Answer::bytes("text/html", "<html>") });
    place.run(&with(&["--no-state"])).code(exit::NOT_FOUND).hints("the same command starts another");
    assert_eq!(hosted.runs(), 1);
}

/// The same command again and again, with random failures on the way, and killed at random requests. However it ends
/// each time, there is one run, which the first command without failures attaches to.
#[test]
fn random_failures_and_kills_leave_one_run() {
    let attempt = |n: u32| {
        let mut random = SeededRng::new(plans::seed() + u64::from(n));
        let (hosted, place) = running();
        let more: &[&str] = if random.fraction() < 0.3 { &["--once", "nightly"] } else { &[] };
        let mut definition: Value = serde_json::from_str(&place.read_text(RUN[1])).unwrap();
        if random.fraction() < 0.3 {
            definition["id"] = "wf_leads".into();
        }
        place.write(RUN[1], definition.to_string());
        hosted.set(|store| {
            store.fills_defaults = random.fraction() < 0.5;
            store.faults = Some(SeededRng::new(plans::seed() ^ u64::from(n)));
        });
        for _ in 0..=(random.fraction() * 3.0) as u32 {
            let kill_at = hosted.store.lock().unwrap().requests + (random.fraction() * 20.0) as usize;
            let mut child = place.command(&with(more)).spawn().unwrap();
            let ended = wait_for("a request or the end", || match child.try_wait().unwrap() {
                Some(_) => Some(true),
                None => (hosted.store.lock().unwrap().requests >= kill_at).then_some(false),
            });
            if !ended {
                child.kill().unwrap();
            }
            child.wait().unwrap();
        }
        hosted.set(|store| store.faults = None);
        let last = place.run(&with(more)).code(exit::DEADLINE_PASSED);
        assert_eq!((hosted.runs(), hosted.workflows()), (1, 1), "plan {n}: {}", last.text());
    };
    let plans: Vec<u32> = (0..plans::count(200)).collect();
    // They wait for their retries at the same time.
    for some in plans.chunks(10) {
        std::thread::scope(|scope| some.iter().for_each(|n| drop(scope.spawn(move || attempt(*n)))));
    }
}

/// Whatever the server does to ids and graphs, one definition is one workflow.
#[test]
fn a_definition_is_one_workflow() {
    for (has_id, replaces_ids, defaults_when_read) in
        [(true, true, false), (false, true, false), (true, false, true), (false, false, true)]
    {
        let (hosted, place) = running();
        hosted.set(|store| {
            store.status = "completed";
            (store.replaces_ids, store.defaults_when_read) = (replaces_ids, defaults_when_read);
        });
        let mut definition: Value = serde_json::from_str(&place.read_text(RUN[1])).unwrap();
        if has_id {
            definition["id"] = "wf_leads".into();
        }
        place.write("w.json", definition.to_string());
        for _ in 0..3 {
            place.run(&["run", "w.json", "--payload", "@testdata/leads.json", "-o", "out.ndjson"]).ok();
        }
        assert_eq!((hosted.runs(), hosted.workflows()), (3, 1), "{has_id} {replaces_ids} {defaults_when_read}");
    }
}

/// The creation of a workflow is interrupted, the workflow deleted, and its id stays taken.
#[test]
fn an_id_that_stays_taken_is_replaced() {
    let (hosted, place) = running();
    hosted.set(|store| store.stop_at = Some((2, true)));
    let mut child = place.command(&RUN).spawn().unwrap();
    wait_for("the creation", || hosted.stopped.load(Ordering::Acquire).then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
    hosted.released.store(true, Ordering::Release);
    hosted.set(|store| store.taken_ids = store.workflows.drain().map(|(id, _)| id).collect());
    place.run(&RUN).code(exit::DEADLINE_PASSED).says("created");
    assert_eq!((hosted.runs(), hosted.workflows()), (1, 1));
}

/// The recorded workflow of a definition is that of another organisation, which this key has no access to.
#[test]
fn a_forbidden_workflow_of_a_definition_is_not_used() {
    let (hosted, place) = running();
    place.run(&RUN).code(exit::DEADLINE_PASSED);
    let id = hosted.store.lock().unwrap().workflows.drain().next().unwrap().0;
    let path: &'static str = Box::leak(format!("/workflows/{id}").into_boxed_str());
    hosted.responds(path, false, usize::MAX, Answer::error(403, "Access denied"));
    place.run(&with(&["--new-run"])).code(exit::DEADLINE_PASSED).says("created");
    assert_eq!((hosted.runs(), hosted.workflows()), (2, 1));
}

/// A gateway refuses an upload for its size: it is not sent again.
#[test]
fn an_upload_that_a_gateway_refuses_for_its_size_is_sent_once() {
    let (hosted, place) = running();
    let definition = json!({ "workflow_name": "From a file", "workflow_definition": { "edges": [], "blocks": [
        { "sequence_number": 1, "block_type": "io", "block_name": "read_csv", "specs": {} }
    ]}});
    place.write("w.json", definition.to_string());
    let too_large = Answer { status: 413, ..Answer::bytes("text/html", "<html>") };
    hosted.responds("/storage/csv/upload", false, usize::MAX, too_large);
    place.run(&["run", "w.json", "--input", "testdata/companies.csv", "-o", "out.ndjson"]).code(exit::REFUSED);
    assert_eq!(hosted.store.lock().unwrap().requests, 4, "list, create, show, upload");
}

/// Records of an earlier version, of workflows that this key has no access to. Each workflow is requested once.
#[test]
fn earlier_records_of_forbidden_workflows_are_ignored() {
    let (hosted, place) = running();
    std::fs::create_dir_all(place.path("state/drawoff/starts")).unwrap();
    for n in 0..5 {
        let record = json!({"version": 1, "content": {
            "workflow": "forbidden", "workflow_name": "Webhook leads", "meaning": n.to_string(), "key": "k", "input": null,
            "asked_at": now(), "run": "run-9",
        }});
        place.write(&format!("state/drawoff/starts/webhook_leads-{n:016}.json"), record.to_string());
    }
    // The second response would be another one.
    hosted.responds("/workflows/forbidden", false, 1, Answer::error(403, "Access denied"));
    place.run(&RUN).code(exit::DEADLINE_PASSED).says("run run-0");
    let requests = hosted.store.lock().unwrap().requests;
    assert_eq!(requests, 6, "forbidden, list, create, show, start, live_status");
}
