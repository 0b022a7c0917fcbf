//! A run is started once, whatever happens: two commands at once, lost responses, the pages of gateways, a server that
//! rewrites what it stores, and state of earlier versions.

use std::process::Child;
use std::sync::atomic::Ordering;

use drawoff::api::{Graph, WorkflowId};
use drawoff::client::{Definition, IdempotencyKey, StartIdentity, StartSubject};
use serde_json::{Value, json};

use crate::support::hosted::{Hosted, Instead, age_start, lost, now, page};
use crate::support::http::Answer;
use crate::support::{Done, Place, Service, exit, plans, rows, wait_for};

const RUN_LEADS: [&str; 6] =
    ["run", "testdata/workflows/webhook-leads.json", "--payload", "@testdata/leads.json", "-o", "out.ndjson"];

fn assert_whole(place: &Place) {
    assert_eq!(rows::ndjson(&place.read("out.ndjson")).len(), 2);
}

#[test]
fn two_commands_at_once_start_one_run() {
    let service_place = Place::new();
    let service = Service::start(&service_place, "data", &["--fault", "latency=30ms,jitter=30ms"]);
    for round in 0..plans::count(40) {
        let place = Place::with_service(&service.url);
        let definition = place.read_text("testdata/workflows/webhook-leads.json");
        place.write("w.json", definition.replace("Webhook leads", &format!("Leads {round}")));
        let spawn = |n: u32| {
            let out = format!("out-{n}.ndjson");
            place.command(&["run", "w.json", "--payload", "@testdata/leads.json", "-o", &out]).spawn().unwrap()
        };
        let children: Vec<Child> = (0..2 + round % 5).map(spawn).collect();
        let codes: Vec<i32> =
            children.into_iter().map(|c| c.wait_with_output().unwrap().status.code().unwrap()).collect();
        assert!(
            codes.contains(&exit::SUCCESS) && codes.iter().all(|c| [exit::SUCCESS, exit::BUSY].contains(c)),
            "{codes:?}"
        );
        let list = |line: &str| place.run_line(line).ok().text().matches(&format!("Leads {round}")).count();
        assert_eq!(list("workflows ls -o ndjson"), 1, "workflows of round {round}");
        assert_eq!(list("runs ls -o ndjson"), 1, "runs of round {round}: {codes:?}");
    }
}

#[test]
fn commands_with_different_inputs_at_once_share_one_workflow() {
    let service_place = Place::new();
    let service = Service::start(&service_place, "data", &["--fault", "latency=30ms,jitter=30ms"]);
    let place = Place::with_service(&service.url);
    let run = |n: usize| {
        let (payload, out) =
            (format!("[{{\"full_name\":\"{n}\",\"email\":\"a@x.example\",\"score\":{n}}}]"), format!("out-{n}.ndjson"));
        let args = ["run", RUN_LEADS[1], "--payload", &payload, "-o", &out];
        place.command(&args).spawn().unwrap()
    };
    let children: Vec<Child> = (0..4).map(run).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(place.run_line("workflows ls -o ndjson").ok().text().matches("Webhook leads").count(), 1);
    assert_eq!(place.run_line("runs ls -o ndjson").ok().text().matches("Webhook leads").count(), 4);
}

/// A gateway's response to any try of a start is no verdict: the key is asked again, in the command or by the next one.
#[test]
fn a_start_that_a_gateway_answers_is_not_forgotten() {
    let answers = || [page(404), page(400), page(422), page(502), page(200), lost(), Answer::error(500, "x")];
    let cases = [false, true].into_iter().flat_map(|processed| answers().map(|answer| (processed, answer, 1)));
    // The cases wait for their retries at the same time.
    std::thread::scope(|scope| {
        for (processed, answer, times) in cases.chain([(true, page(404), 2), (true, lost(), 2)]) {
            scope.spawn(move || {
                let hosted = Hosted::start();
                let place = hosted.place();
                hosted.responds("/workflows/run", processed, times, answer.clone());
                run_leads(&place).ok();
                assert_eq!((hosted.runs(), hosted.workflows()), (1, 1), "{processed} {answer:?}");
                assert_whole(&place);
            });
        }
        // A gateway without a route for as long as the first command lasts.
        scope.spawn(|| {
            let hosted = Hosted::start();
            let place = hosted.place();
            hosted.responds("/workflows/run", true, usize::MAX, page(404));
            run_leads(&place).code(exit::NOT_FOUND).hints("repeat the same command");
            hosted.set(|store| store.instead.clear());
            run_leads(&place).ok().says("already started as run-0");
            assert_eq!((hosted.runs(), hosted.workflows()), (1, 1));
        });
    });
}

fn run_leads(place: &Place) -> Done {
    place.run(&RUN_LEADS)
}

/// The API refuses a repetition whose first try it may have accepted. The start is forgotten only when no run is listed.
#[test]
fn a_refusal_after_a_lost_response_is_held_against_the_list_of_runs() {
    for processed in [true, false] {
        let hosted = Hosted::start();
        let place = hosted.place();
        let instead = |processed, answer, times| Instead { path: "/workflows/run", processed, answer, times };
        hosted.set(|store| {
            store.instead =
                vec![instead(processed, lost(), 1), instead(false, Answer::error(404, "Workflow not found"), 1)];
        });
        run_leads(&place).code(exit::NOT_FOUND).hints("repeat the same command");
        assert_eq!(hosted.runs(), usize::from(processed));
        age_start(&place);
        run_leads(&place).ok();
        assert_eq!(hosted.runs(), 1);
        assert_whole(&place);
    }
}

#[test]
fn a_run_that_a_gateway_does_not_find_is_not_started_again() {
    let hosted = Hosted::start();
    let place = hosted.place();
    hosted.set(|store| store.status = "running");
    place.run(&[&RUN_LEADS[..], &["--deadline", "0s"]].concat()).code(exit::DEADLINE_PASSED);
    age_start(&place);
    let deadline = [&RUN_LEADS[..], &["--deadline", "0s"]].concat();
    // The page of a gateway in place of the run's state, for as long as it lasts.
    hosted.responds("/live_status", false, usize::MAX, page(404));
    place.run(&deadline).code(exit::NOT_FOUND).hints("it is unknown whether that is over");
    // The API does not find it by its id, but lists it.
    hosted.set(|store| {
        store.instead.clear();
        store.hides_runs = true;
    });
    place.run(&deadline).code(exit::DEADLINE_PASSED).says("already started as run-0, which is active");
    assert_eq!(hosted.runs(), 1);
    // Neither: the run is gone, which is said.
    hosted.set(|store| store.forgets_runs = true);
    place.run(&deadline).says("the API knows no run run-0").says("run-1");
    assert_eq!(hosted.runs(), 2);
}

#[test]
fn a_server_that_fills_in_defaults_gets_one_workflow_and_one_run() {
    let hosted = Hosted::start();
    hosted.set(|store| (store.fills_defaults, store.status) = (true, "running"));
    let place = hosted.place();
    let deadline = [&RUN_LEADS[..], &["--deadline", "0s"]].concat();
    place.run(&deadline).code(exit::DEADLINE_PASSED).says("created");
    place.run(&deadline).code(exit::DEADLINE_PASSED).says("already started as run-0");
    hosted.set(|store| store.status = "completed");
    run_leads(&place).ok().says("already started as run-0");
    // The results are written: a new run, of the same workflow. Also with another input.
    run_leads(&place).ok().says("run run-1");
    place.run(&["run", RUN_LEADS[1], "--payload", "[]", "-o", "out.ndjson"]).ok().says("run run-2");
    assert_eq!((hosted.runs(), hosted.workflows()), (3, 1));
    // A changed workflow is not the definition's any more.
    hosted.set(|store| {
        for workflow in store.workflows.values_mut() {
            workflow["workflow_definition"]["blocks"][1]["specs"]["filters"] = json!([]);
        }
    });
    run_leads(&place).ok().says("created");
    assert_eq!(hosted.workflows(), 2);
}

#[test]
fn a_workflow_is_created_once_though_responses_are_lost() {
    for (processed, answer) in [
        (true, lost()),
        (false, lost()),
        (true, Answer::error(503, "x")),
        (false, Answer::error(500, "x")),
        (true, page(502)),
    ] {
        let hosted = Hosted::start();
        let place = hosted.place();
        hosted.responds("/create_workflow", processed, 2, answer.clone());
        run_leads(&place).ok().says("created");
        assert_eq!((hosted.runs(), hosted.workflows()), (1, 1), "{processed} {}", answer.status);
        // The same without state, by the id alone.
        let hosted = Hosted::start();
        hosted.responds("/create_workflow", processed, 2, answer);
        hosted.place().run(&[&RUN_LEADS[..], &["--no-state"]].concat()).ok();
        assert_eq!((hosted.runs(), hosted.workflows()), (1, 1));
    }
    // The command is killed before the response: the next one uses the same id.
    let hosted = Hosted::start();
    let place = hosted.place();
    hosted.set(|store| store.fills_defaults = true);
    hosted.responds("/create_workflow", true, usize::MAX, lost());
    let mut child = place.command(&RUN_LEADS).spawn().unwrap();
    wait_for("the creation", || (hosted.workflows() > 0).then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
    hosted.set(|store| store.instead.clear());
    run_leads(&place).ok();
    assert_eq!((hosted.runs(), hosted.workflows()), (1, 1));
}

#[test]
fn an_api_without_idempotency_keys_is_noticed() {
    let hosted = Hosted::start();
    let place = hosted.place();
    hosted.set(|store| store.ignores_keys = true);
    hosted.set(|store| store.stop_at = Some((4, true)));
    let mut child = place.command(&RUN_LEADS).spawn().unwrap();
    wait_for("the start", || hosted.stopped.load(Ordering::Acquire).then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
    hosted.released.store(true, Ordering::Release);
    assert_eq!(hosted.runs(), 1, "list, create, show, start");
    run_leads(&place).ok().says("may be its duplicates: run-0");
}

/// Kills the command at each of its requests, before and after the API has processed it. The same command then ends with
/// one workflow, one run and a whole output.
#[test]
fn a_command_that_is_killed_at_any_request_starts_one_run() {
    let definition = json!({
        "workflow_name": "From a file", "workflow_definition": { "edges": [], "blocks": [
            { "sequence_number": 1, "block_type": "io", "block_name": "read_csv", "specs": {} }
        ] },
    });
    let run = ["run", "w.json", "--input", "testdata/companies.csv", "-o", "out.ndjson"];
    let place_of = |hosted: &Hosted| {
        let place = hosted.place();
        place.write("w.json", definition.to_string());
        place
    };
    let whole = Hosted::start();
    place_of(&whole).run(&run).ok();
    let requests = whole.store.lock().unwrap().requests;
    assert!(requests >= 7, "list, create, upload, run, live_status, links, file: {requests}");
    std::thread::scope(|scope| {
        for point in (1..=requests).flat_map(|n| [(n, false), (n, true)]) {
            for fills_defaults in [false, true] {
                scope.spawn(move || {
                    let hosted = Hosted::start();
                    let place = place_of(&hosted);
                    hosted.set(|store| (store.stop_at, store.fills_defaults) = (Some(point), fills_defaults));
                    let mut child = place.command(&run).spawn().unwrap();
                    wait_for("the request", || hosted.stopped.load(Ordering::Acquire).then_some(()));
                    child.kill().unwrap();
                    child.wait().unwrap();
                    hosted.released.store(true, Ordering::Release);
                    place.run(&run).ok();
                    assert_whole(&place);
                    assert_eq!((hosted.runs(), hosted.workflows()), (1, 1), "killed at {point:?}");
                    assert!(place.leftovers().iter().all(|name| !name.contains("partial")), "{:?}", place.leftovers());
                });
            }
        }
    });
}

#[test]
fn one_name_is_one_run() {
    let hosted = Hosted::start();
    let place = hosted.place();
    let nightly = [&RUN_LEADS[..], &["--once", "nightly 2026-11-30"]].concat();
    place.run(&nightly).ok().says("run run-0");
    // Also after its results were written, and for a long time.
    age_start(&place);
    place.run(&nightly).ok().says("already started as run-0");
    std::fs::remove_file(place.path("out.ndjson")).unwrap();
    place.run(&nightly).ok();
    assert_whole(&place);
    assert_eq!(hosted.runs(), 1);
    // Another machine has no state, but the API knows the key.
    hosted.place().run(&nightly).ok().says("already started as run-0");
    assert_eq!(hosted.runs(), 1);
    assert_eq!(
        hosted.store.lock().unwrap().runs[0].0,
        IdempotencyKey::of_once("Webhook leads", "nightly 2026-11-30").to_string()
    );
    // The name of another start, and another name.
    let other = ["run", RUN_LEADS[1], "--payload", "[]", "-o", "out.ndjson", "--once", "nightly 2026-11-30"];
    place.run(&other).code(exit::USAGE).says("run-0").hints("another name");
    place.run(&[&RUN_LEADS[..], &["--once", "nightly 2026-12-01"]].concat()).ok().says("run run-1");
    // A run that is gone is not started again under its name.
    hosted.set(|store| store.forgets_runs = true);
    place.run(&nightly).code(exit::NOT_FOUND);
    assert_eq!(hosted.runs(), 2);
    for flag in ["--no-state", "--new-run", "--local"] {
        place.run(&[&nightly[..], &[flag]].concat()).code(exit::USAGE);
    }
}

/// The state directory of an earlier version identified a start by the workflow's id and its graph as the API returned it.
#[test]
fn a_start_that_an_earlier_version_recorded_is_found_again() {
    for fills_defaults in [false, true] {
        for run in [None, Some("run-0")] {
            let hosted = Hosted::start();
            let place = hosted.place();
            let text = place.read_text("testdata/workflows/webhook-leads.json");
            let definition = Definition::parse(&text, "").unwrap();
            hosted.set(|store| {
                (store.fills_defaults, store.status) = (fills_defaults, "running");
                store.create(&json!({
                    "id": "w", "workflow_name": "Webhook leads",
                    "workflow_definition": serde_json::from_str::<Value>(&text).unwrap()["workflow_definition"],
                }));
                store.runs.push(("the-key".into(), "w".into()));
            });
            let stored = hosted.store.lock().unwrap().workflows["w"]["workflow_definition"].clone();
            let graph: Graph = serde_json::from_value(stored).unwrap();
            let payload: Value = serde_json::from_str(&place.read_text("testdata/leads.json")).unwrap();
            let digest = definition.digest();
            let subject = StartSubject::Definition { name: "Webhook leads", digest: &digest };
            let identity = StartIdentity::new(&hosted.server.url, subject, None, Some(&payload.to_string()));
            let meaning = identity.earlier_form_digest(&WorkflowId("w".into()), &graph);
            std::fs::create_dir_all(place.path("state/drawoff/starts")).unwrap();
            let record = json!({"version": 1, "content": {
                "workflow": "w", "workflow_name": "Webhook leads", "meaning": meaning, "key": "the-key", "input": null,
                "asked_at": now(), "run": run,
            }});
            place.write("state/drawoff/starts/webhook_leads-0123456789abcdef.json", record.to_string());
            let deadline = [&RUN_LEADS[..], &["--deadline", "0s"]].concat();
            place.run(&deadline).code(exit::DEADLINE_PASSED).says("already started as run-0");
            assert_eq!((hosted.runs(), hosted.workflows()), (1, 1), "{fills_defaults} {run:?}");
            assert!(!place.path("state/drawoff/starts/webhook_leads-0123456789abcdef.json").exists());
            place.run(&deadline).code(exit::DEADLINE_PASSED).says("already started as run-0");
        }
    }
}
