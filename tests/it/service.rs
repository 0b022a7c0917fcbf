//! `drawoff serve`: the quick-start clients, signed links, idempotency keys, and state across restarts and kills.

use reqwest::StatusCode;
use reqwest::header::RANGE;
use serde_json::{Value, json};

use crate::support::rows;
use crate::support::{Done, MARKED_KEY, Place, Service, block_on, exit, root, tool};

const FACTS: &str = "company_enrichment=testdata/company_facts.ndjson:domain";

/// One call with the key; status and body.
fn call(method: &str, url: &str, body: Option<Value>) -> (StatusCode, Value) {
    block_on(async {
        let client = reqwest::Client::new();
        let mut request = client.request(method.parse().unwrap(), url).header("x-api-key", MARKED_KEY);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        (answer.status(), answer.json().await.unwrap_or(Value::Null))
    })
}

fn create(service: &Service, file: &str) -> String {
    let definition = std::fs::read(root().join("testdata/workflows").join(file)).unwrap();
    let definition = serde_json::from_slice(&definition).unwrap();
    let (status, workflow) = call("POST", &format!("{}/workflows/create_workflow", service.url), Some(definition));
    assert_eq!(status, StatusCode::OK, "{workflow}");
    workflow["id"].as_str().unwrap().to_owned()
}

#[test]
fn the_quick_start_clients() {
    let place = Place::new();
    let service = Service::start(&place, "data", &["--enrich", FACTS]);
    let id = create(&service, "qualify-companies.json");
    let mut outputs = Vec::new();
    let clients = [
        ("quickstart.sh", Some("bash".into())),
        ("quickstart.py", tool("DRAWOFF_TEST_PYTHON")),
        ("quickstart.mjs", tool("DRAWOFF_TEST_NODE")),
    ];
    for (client, program) in clients {
        let Some(program) = program else { continue };
        let mut command = place.program(program);
        // Nothing but the address, the key and the ids is ours.
        command
            .arg(root().join("tests/quickstart").join(client))
            .env("SIXTYFOUR_API_ENDPOINT", &service.url)
            .env("SIXTYFOUR_API_KEY", MARKED_KEY)
            .env("WORKFLOW_ID", &id)
            .env("INPUT", "testdata/companies.csv")
            .env("OUTPUT", format!("{client}.ndjson"))
            .env("POLL_SECONDS", "0.2");
        let done = Done::of(command).ok();
        let links = done.text().lines().filter(|line| line.starts_with("link: ")).count();
        assert_eq!(links, 5, "one link per block\n{}", done.text());
        assert!(done.text().contains("status: completed 100"), "{}", done.text());
        outputs.push(rows::ndjson(&place.read(&format!("{client}.ndjson"))));
    }
    assert!(outputs[0].len() > 1000);
    for other in &outputs[1..] {
        assert_eq!(*other, outputs[0], "every client gets the same rows");
    }
}

#[test]
fn requests_without_a_key_are_unauthorized() {
    let place = Place::new();
    let service = Service::start(&place, "data", &[]);
    for (method, path) in [("GET", "/workflows"), ("GET", "/workflows/runs?limit=0"), ("POST", "/workflows/run")] {
        let (status, body) = block_on(async {
            let request = reqwest::Client::new().request(method.parse().unwrap(), format!("{}{path}", service.url));
            let answer = request.send().await.unwrap();
            (answer.status(), answer.json::<Value>().await.unwrap())
        });
        // Before anything else about the request is looked at.
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path}");
        assert_eq!(body, json!({ "detail": "Invalid API key" }));
    }
}

#[test]
fn state_survives_a_restart() {
    let place = Place::new();
    let service = Service::start(&place, "data", &["--enrich", FACTS]);
    let client = Place::with_service(&service.url);
    let run = "run testdata/workflows/qualify-companies.json --input testdata/companies.csv -o first.ndjson";
    client.run_line(run).ok();
    let runs = client.run_line("runs ls -o ndjson").ok().records();
    let workflows = client.run_line("workflows ls -o ndjson").ok().records();
    assert_eq!(service.stop(), exit::SUCCESS, "a service that is asked to stop has done nothing wrong");

    let service = Service::start(&place, "data", &["--enrich", FACTS]);
    let again = client.env("SIXTYFOUR_API_ENDPOINT", &service.url);
    assert_eq!(again.run_line("runs ls -o ndjson").ok().records(), runs);
    assert_eq!(again.run_line("workflows ls -o ndjson").ok().records(), workflows);
    again.run(&["pull", runs[0]["job_id"].as_str().unwrap(), "-o", "second.ndjson"]).ok();
    assert_eq!(again.read("second.ndjson"), again.read("first.ndjson"));
    // The workflow is known by its name, too.
    again.run(&["run", "Qualify companies", "--input", "testdata/companies.csv", "-o", "third.ndjson"]).ok();
    assert_eq!(again.read("third.ndjson"), again.read("first.ndjson"));
}

#[test]
fn completed_runs_survive_a_kill_of_the_service() {
    let place = Place::new();
    let service = Service::start(&place, "data", &[]);
    let client = Place::with_service(&service.url);
    let run = "run testdata/workflows/webhook-leads.json --payload @testdata/leads.json -o first.ndjson";
    client.run_line(run).ok();
    let runs = client.run_line("runs ls -o ndjson").ok().records();
    // Not asked, killed.
    drop(service);

    let service = Service::start(&place, "data", &[]);
    let again = client.env("SIXTYFOUR_API_ENDPOINT", &service.url);
    again.run(&["pull", runs[0]["job_id"].as_str().unwrap(), "-o", "second.ndjson"]).ok();
    assert_eq!(again.read("second.ndjson"), again.read("first.ndjson"));
}

#[test]
fn links_are_signed_and_serve_ranges() {
    let place = Place::new();
    let service = Service::start(&place, "data", &[]);
    let client = Place::with_service(&service.url);
    let run = "run testdata/workflows/webhook-leads.json --payload @testdata/leads.json -o out.ndjson";
    client.run_line(run).ok();
    let id = client.run_line("runs ls -o ndjson").ok().records()[0]["job_id"].as_str().unwrap().to_owned();
    let links = format!("{}/workflows/runs/{id}/results/download-links", service.url);
    let (_, csv) = call("GET", &links, None);
    assert_eq!(csv.as_array().unwrap().len(), 2, "CSV is always written");
    let (_, json) = call("GET", &format!("{links}?format=json"), None);
    assert_eq!(json, json!([]), "JSON was not asked for");
    let (_, ndjson) = call("GET", &format!("{links}?format=ndjson"), None);
    let link = &ndjson[1];
    assert_eq!(link["download_expires_in_seconds"], 900);
    let url = link["download_url"].as_str().unwrap();

    block_on(async {
        let client = reqwest::Client::new();
        let get = |url: &str| client.get(url).header("x-api-key", MARKED_KEY);
        let whole = get(url).send().await.unwrap();
        assert_eq!(whole.status(), StatusCode::OK);
        let tag = whole.headers()["etag"].clone();
        let body = whole.bytes().await.unwrap();
        assert_eq!(body.len() as u64, link["file_size"].as_u64().unwrap());

        let part = get(url).header(RANGE, "bytes=10-").send().await.unwrap();
        assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
        assert_eq!(part.headers()["content-range"], format!("bytes 10-{}/{}", body.len() - 1, body.len()));
        assert_eq!(part.headers()["etag"], tag);
        assert_eq!(part.bytes().await.unwrap(), body.slice(10..));

        // A signature that was not made here.
        let (start, end) = url.split_at(url.len() - 1);
        let forged = format!("{start}{}", if end == "0" { "1" } else { "0" });
        assert_eq!(get(&forged).send().await.unwrap().status(), StatusCode::FORBIDDEN);
    });
}

#[test]
fn a_broken_definition_is_refused_when_it_is_created() {
    let place = Place::new();
    let service = Service::start(&place, "data", &[]);
    let definition = std::fs::read(root().join("testdata/workflows/broken-cycle.json")).unwrap();
    let definition = serde_json::from_slice(&definition).unwrap();
    let (status, body) = call("POST", &format!("{}/workflows/create_workflow", service.url), Some(definition));
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
}

#[test]
fn an_idempotency_key_starts_one_run() {
    let place = Place::new();
    let service = Service::start(&place, "data", &[]);
    let id = create(&service, "webhook-leads.json");
    let start = || {
        block_on(async {
            let url = format!("{}/workflows/run?workflow_id={id}", service.url);
            let request = reqwest::Client::new().post(url).header("x-api-key", MARKED_KEY);
            let request = request.header("Idempotency-Key", "one").json(&json!({ "webhook_payload": [] }));
            request.send().await.unwrap().json::<Value>().await.unwrap()
        })
    };
    let (first, second) = (start(), start());
    assert_eq!(first["already_started"], Value::Null);
    assert_eq!(second["already_started"], true);
    assert_eq!(first["job_id"], second["job_id"]);
}
