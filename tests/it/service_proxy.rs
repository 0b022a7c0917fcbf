//! `drawoff serve` before the hosted service: requests are handed on, recorded without secrets, compared with the contract,
//! and replayed. A service of our own, or a script, stands in for the hosted one.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};

use serde_json::{Value, json};

use crate::support::http::{Answer, Loopback};
use crate::support::{MARKED_KEY, Place, Service, block_on, exit, wait_for};

const WORKFLOW: &str = "testdata/workflows/qualify-companies.json";
const RUN: &str =
    "run testdata/workflows/qualify-companies.json --input testdata/companies.csv -o rows.ndjson --new-run";

/// Texts of all files of a directory of pairs, by name.
fn recorded(place: &Place, directory: &str) -> Vec<(String, String)> {
    let mut files: Vec<_> = std::fs::read_dir(place.path(directory))
        .unwrap()
        .filter_map(|entry| {
            let path = entry.unwrap().path();
            // A file that is being written has another name until it is complete.
            let text = std::fs::read_to_string(&path).ok()?;
            Some((path.file_name().unwrap().to_string_lossy().into_owned(), text))
        })
        .collect();
    files.sort();
    files
}

fn pairs(place: &Place, directory: &str) -> Vec<Value> {
    let files = recorded(place, directory);
    files
        .iter()
        .filter(|(name, _)| name.ends_with(".json"))
        .map(|(_, text)| serde_json::from_str(text).unwrap())
        .collect()
}

#[test]
fn a_run_is_handed_on_recorded_and_replayed() {
    let place = Place::new();
    let hosted = Service::start(&place, "hosted", &["--workflow", WORKFLOW]);
    let proxy = Service::start(&place, "proxy", &["--proxy", &hosted.url, "--record", "pairs"]);
    proxy.says(&format!("requests are handed on to {}", hosted.url));
    let client = Place::with_service(&proxy.url);
    client.run_line(RUN).ok();
    let rows = client.read_text("rows.ndjson");
    assert!(rows.lines().count() > 1, "{rows}");
    // Everything went through: the hosted service has the run, and its journal has the downloads.
    let (_, runs) = hosted.call("GET", "/workflows/runs", None);
    assert_eq!(runs.as_array().unwrap().len(), 1);
    let (_, handed_on) = hosted.call("GET", "/admin/requests?path=/storage/files/*", None);
    let (_, asked) = proxy.call("GET", "/admin/requests?path=/storage/files/*", None);
    assert!(!asked.as_array().unwrap().is_empty());
    assert_eq!(asked.as_array().unwrap().len(), handed_on.as_array().unwrap().len());
    let (_, starts) = proxy.call("GET", "/admin/requests?path=/workflows/run", None);
    assert_eq!((&starts[0]["run_id"], &starts[0]["differences"]), (&runs[0]["job_id"], &json!([])));
    // The same file in parts, and an error.
    let links = format!("/workflows/runs/{}/results/download-links?format=ndjson", runs[0]["job_id"].as_str().unwrap());
    let (_, all) = proxy.call("GET", &links, None);
    let link = all.as_array().unwrap().last().unwrap()["download_url"].as_str().unwrap().to_owned();
    assert!(link.starts_with(&proxy.url), "{link}");
    let part = |link: &str| {
        block_on(async {
            let request = reqwest::Client::new().get(link).header("range", "bytes=2-9");
            let response = request.send().await.unwrap();
            let range = response.headers()["content-range"].to_str().unwrap().to_owned();
            (response.status().as_u16(), range, response.text().await.unwrap())
        })
    };
    let of_proxy = part(&link);
    assert_eq!((of_proxy.0, of_proxy.2.len()), (206, 8));
    let unsigned = link.split('?').next().unwrap();
    assert_eq!(
        proxy.call("GET", unsigned.strip_prefix(&proxy.url).unwrap(), None).0,
        403,
        "a link is not to be guessed"
    );
    let unknown = "/workflows/runs/5b8f3a10-2f1e-4c52-b1de-7a0e5c2d9f31/live_status";
    assert_eq!(proxy.call("GET", unknown, None).0, 404);
    // Our own service keeps the contract, so there is no difference.
    proxy.interrupt();
    proxy.says("requests handed on");
    proxy.says("recorded in pairs");
    proxy.says("no difference from the contract");
    drop(proxy);
    drop(hosted);

    // The directory has no key and no signature, and others cannot read it.
    for (name, text) in recorded(&place, "pairs") {
        for secret in [MARKED_KEY, "sig=", "expires="] {
            assert!(!text.contains(secret), "{name} contains {secret}: {text}");
        }
    }
    use std::os::unix::fs::PermissionsExt as _;
    for entry in std::fs::read_dir(place.path("pairs")).unwrap() {
        assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    let found = pairs(&place, "pairs");
    let numbers: BTreeSet<u64> = found.iter().map(|pair| pair["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers.len(), found.len());
    let operations: BTreeSet<&str> = found.iter().map(|pair| pair["request"]["path"].as_str().unwrap()).collect();
    assert!(operations.contains("/storage/csv/upload") && operations.contains("/workflows/run"), "{operations:?}");

    // Without the hosted service, a client gets the same rows.
    let replay = Service::start(&place, "replay", &["--replay", "pairs"]);
    let again = Place::with_service(&replay.url);
    again.run_line(RUN).ok();
    assert_eq!(again.read_text("rows.ndjson"), rows);
    let (_, all) = replay.call("GET", &links, None);
    let link = all.as_array().unwrap().last().unwrap()["download_url"].as_str().unwrap().to_owned();
    assert!(link.starts_with(&replay.url), "{link}");
    assert_eq!(part(&link), of_proxy);
    assert_eq!(replay.call("GET", unknown, None).0, 404);
    let (status, body) = replay.call("GET", "/workflows/blocks", None);
    assert_eq!(status, 404);
    assert_eq!(body["detail"], "no response to this request is recorded: GET /workflows/blocks");
    assert_eq!(replay.stop(), exit::SUCCESS);
}

/// A hosted service that keeps the contract in some places and not in others.
fn hosted_by_script() -> Loopback {
    Loopback::start(|request| match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/workflows") => Answer::json(&json!([
            { "id": "a", "name": 7, "status": "active", "step": "completed", "created_at": "2026-09-01T08:00:00Z",
              "updated_at": "yesterday", "tier": "secret-of-a-row" },
        ])),
        ("POST", "/workflows/cancel") => {
            Answer { status: 202, ..Answer::json(&json!({ "job_id": "a", "status": "canceled" })) }
        }
        ("GET", "/workflows/runs") => Answer {
            status: 404,
            ..Answer::json(&json!({ "error": "Not Found", "message": format!("{MARKED_KEY} sees nothing") }))
        },
        ("GET", "/people") => Answer::json(&json!({ "found": [] })),
        ("GET", "/workflows/blocks") => Answer::bytes("text/html", "<html>").header("retry-after", "7"),
        ("GET", "/webhooks/signing-secret") => {
            Answer::json(&json!({ "secret": format!("sk_whsec_{}", "0".repeat(64)) }))
        }
        _ => Answer::error(500, "down"),
    })
}

#[test]
fn differences_from_the_contract_are_named() {
    let place = Place::new();
    let hosted = hosted_by_script();
    let proxy = Service::start(&place, "proxy", &["--proxy", &hosted.url, "--record", "pairs", "--log", "human"]);
    let (_, workflows) = proxy.call("GET", "/workflows", None);
    assert_eq!(workflows[0]["tier"], "secret-of-a-row", "the client gets what the hosted service says");
    proxy.says("differs from the contract: /[]/name: is not of type string, but number");
    assert_eq!(proxy.call("POST", "/workflows/cancel?job_id=a", None).0, 202);
    assert_eq!(proxy.call("GET", "/workflows/runs", None).0, 404);
    assert_eq!(proxy.call("GET", "/people", None).0, 200);
    for _ in 0..2 {
        assert_eq!(proxy.call("GET", "/workflows/blocks", None).0, 200);
    }
    let (_, secret) = proxy.call("GET", "/webhooks/signing-secret", None);
    assert!(secret["secret"].as_str().unwrap().starts_with("sk_whsec_0"), "the client needs it");
    // What the client sent went on, with its key.
    let asked = hosted.asked();
    assert_eq!((asked[1].query.as_str(), asked[1].headers["x-api-key"].as_str()), ("job_id=a", MARKED_KEY));
    let (_, journal) = proxy.call("GET", "/admin/requests?path=/workflows", None);
    let found: BTreeSet<&str> =
        journal[0]["differences"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    for expected in [
        "/[]/name: is not of type string, but number",
        "/[]/updated_at: is not a date-time",
        "/[]: the field tier is not described",
        "/[]: lacks the field workflow_definition",
    ] {
        assert!(found.contains(expected), "{expected}: {found:?}");
    }
    proxy.interrupt();
    proxy.says("7 requests handed on");
    let summary = proxy.says("GET /people: the operation is not described (1 response)");
    assert!(!summary.contains("secret-of-a-row"));
    proxy.says("GET /workflows/blocks: 200 as 'text/html' is not described (2 responses)");
    proxy.says("GET /workflows/runs: the body: lacks the field detail (1 response)");
    proxy.says("POST /workflows/cancel: the status 202 is not described (1 response)");
    let all = recorded(&place, "pairs").into_iter().map(|(_, text)| text).collect::<String>();
    assert!(all.contains("REDACTED sees nothing") && !all.contains(MARKED_KEY) && !all.contains("sk_whsec_"), "{all}");

    // Replayed in the order of the recording; the last response again and again. A page of HTML may say anything.
    drop(hosted);
    let replay = Service::start(&place, "replay", &["--replay", "pairs"]);
    let (status, body) = replay.call("GET", "/workflows/blocks", None);
    assert_eq!(status, 501);
    assert_eq!(body["detail"], "the body of the response was not recorded: 6 bytes that are neither JSON nor rows");
    for _ in 0..3 {
        assert_eq!(replay.call("GET", "/workflows", None).1, workflows);
    }
    assert_eq!(replay.call("POST", "/workflows/cancel?job_id=b", None).0, 404, "another run");
}

/// The order of a recording, polls included, is kept; two bodies of one path are told apart.
#[test]
fn a_replay_follows_the_recording() {
    let place = Place::new();
    let states = std::sync::atomic::AtomicUsize::new(0);
    let hosted = Loopback::start(move |request| match request.method.as_str() {
        "GET" => {
            let n = states.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Answer::json(&json!({ "overall_status": (["queued", "running", "completed"][n.min(2)]) }))
        }
        _ => {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            Answer::json(&json!({ "job_id": body["webhook_payload"][0]["n"].to_string() }))
        }
    });
    let proxy = Service::start(&place, "proxy", &["--proxy", &hosted.url, "--record", "pairs"]);
    let payload = |n: i32| Some(json!({ "webhook_payload": [{ "n": n }] }));
    let large = |n: i32| Some(json!({ "webhook_payload": [{ "n": n, "text": "x".repeat(1_200_000) }] }));
    for n in 0..3 {
        assert_eq!(
            proxy.call("POST", "/workflows/run?workflow_id=w&save_json=true", payload(n)).1["job_id"],
            n.to_string()
        );
        proxy.call("GET", "/workflows/runs/r/live_status", None);
    }
    for n in [10, 11] {
        assert_eq!(proxy.call("POST", "/workflows/run?workflow_id=w", large(n)).1["job_id"], n.to_string());
    }
    assert_eq!(proxy.stop(), exit::SUCCESS);
    drop(hosted);
    let replay = Service::start(&place, "replay", &["--replay", "pairs", "--admin", "--fault", "503,on=status"]);
    // A body that is too large to be kept differs from others too.
    for n in [11, 10] {
        assert_eq!(replay.call("POST", "/workflows/run?workflow_id=w", large(n)).1["job_id"], n.to_string());
    }
    for other in [large(12), payload(10), None] {
        assert_eq!(replay.call("POST", "/workflows/run?workflow_id=w", other).0, 404);
    }
    for n in [2, 0, 1] {
        let path = "/workflows/run?save_json=true&workflow_id=w";
        assert_eq!(replay.call("POST", path, payload(n)).1["job_id"], n.to_string());
    }
    assert_eq!(replay.call("POST", "/workflows/run?workflow_id=w&save_json=true", payload(9)).0, 404);
    // A change beyond the recorded ones is none of them, until a reset.
    let path = "/workflows/run?workflow_id=w&save_json=true";
    let (status, body) = replay.call("POST", path, payload(2));
    assert_eq!(status, 404);
    let text = body["detail"].as_str().unwrap();
    assert!(text.starts_with("no further response to this request is recorded, all 1 were replayed"), "{text}");
    assert_eq!(replay.call("POST", "/admin/reset", None).0, 200);
    assert_eq!(replay.call("POST", path, payload(2)).1["job_id"], "2");
    // Faults are injected as anywhere.
    assert_eq!(replay.call("GET", "/workflows/runs/r/live_status", None).0, 503);
    let states: Vec<_> =
        (0..4).map(|_| replay.call("GET", "/workflows/runs/r/live_status", None).1["overall_status"].clone()).collect();
    assert_eq!(json!(states), json!(["queued", "running", "completed", "completed"]));
}

/// A hosted service that cannot be reached, a transfer that breaks, and flags that cannot be meant.
#[test]
fn failures_of_the_hosted_service_are_named() {
    let place = Place::new();
    let gone = Loopback::start(|_| Answer::error(500, "x"));
    let url = gone.url.clone();
    drop(gone);
    let proxy = Service::start(&place, "proxy", &["--proxy", &url]);
    let (status, body) = wait_for("the listener to be gone", || {
        let response = proxy.call("GET", "/workflows", None);
        Some(response).filter(|(status, _)| *status == 502)
    });
    assert_eq!(status, 502);
    assert!(body["detail"].as_str().unwrap().starts_with("the hosted service cannot be reached: "), "{body}");
    let without_key = block_on(async { reqwest::get(format!("{}/workflows", proxy.url)).await.unwrap() });
    assert_eq!(without_key.status(), 401);
    drop(proxy);

    let hosted = Loopback::start(|_| Answer { cut_at: Some(3), ..Answer::bytes("text/csv", "a,b\n1,2\n") });
    let proxy = Service::start(&place, "proxy", &["--proxy", &hosted.url, "--record", "pairs"]);
    let cut = block_on(async {
        let request = reqwest::Client::new().get(format!("{}/files", proxy.url)).header("x-api-key", "k");
        request.send().await.unwrap().text().await
    });
    assert!(cut.is_err(), "a transfer that broke is not made whole");
    let pair = wait_for("the pair", || pairs(&place, "pairs").pop());
    assert_eq!(
        (&pair["response"]["is_complete"], &pair["response"]["body"]),
        (&json!(false), &json!({ "omitted": 3 }))
    );
    drop(proxy);
    for fault in ["timeout", "fail-block", "rows-per-second=5"] {
        let line = ["serve", "--port", "0", "--replay", "pairs", "--fault", fault];
        place.run(&line).code(exit::USAGE).says("never strikes here");
    }
    let replay = Service::start(&place, "replay", &["--replay", "pairs", "--admin"]);
    let (status, body) = replay.call("POST", "/admin/faults", Some(json!("timeout")));
    assert_eq!(status, 400, "{body}");
    drop(replay);

    place.run_line("serve --proxy http://api.test").code(exit::USAGE).says("it must be https, or http on this machine");
    place.run_line("serve --record pairs").code(exit::USAGE).says("--proxy");
    place.run_line("serve --replay pairs --proxy https://a.test").code(exit::USAGE);
    place.run(&["serve", "--replay", "pairs", "--workflow", WORKFLOW]).code(exit::USAGE);
    std::fs::create_dir(place.path("other")).unwrap();
    place.write("other/000001.json", "{}");
    for directory in ["none", "testdata", "other"] {
        let done = place.run(&["serve", "--port", "0", "--replay", directory]);
        assert_ne!(done.code, exit::SUCCESS);
        done.says(&format!("cannot use the recorded requests in {directory}"));
    }
}

/// The responses of a hosted service that fails are recorded as the client saw them, and replayed in the order of the requests.
#[test]
fn failures_of_the_hosted_service_are_replayed() {
    let place = Place::new();
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let hosted = Loopback::start(move |request| match request.path.as_str() {
        "/workflows" => match asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => Answer::error(429, "slowly").header("retry-after", "0"),
            1 => Answer { cut_at: Some(9), ..Answer::json(&json!([{ "id": "torn" }])) },
            _ => Answer::json(&json!([])),
        },
        "/large" => Answer::bytes("application/json", format!("[\"{}\"]", "x".repeat(65 << 20))),
        _ => Answer::json(&json!({ "job_id": "r" })),
    });
    let url = hosted.url.clone();
    let proxy = Service::start(&place, "proxy", &["--proxy", &url, "--record", "pairs"]);
    let statuses =
        |service: &Service| -> Vec<u16> { (0..3).map(|_| service.call("GET", "/workflows", None).0).collect() };
    assert_eq!(statuses(&proxy), [429, 502, 200]);
    // It has done what it was asked for, so the client gets it, however large it is.
    let (status, large) = proxy.call("GET", "/large", None);
    assert_eq!((status, large[0].as_str().unwrap().len()), (200, 65 << 20));
    let body = json!({ "webhook_payload": [{ "n": 1 }] });
    let start = "/workflows/run?workflow_id=w";
    drop(hosted);
    wait_for("the listener to be gone", || {
        let (status, _) = proxy.call("POST", start, Some(body.clone()));
        Some(()).filter(|()| status == 502)
    });
    proxy.interrupt();
    proxy.says("2 requests without a whole response (502)");
    proxy.says("GET /large: the body is too large to be compared (1 response)");
    drop(proxy);
    let replay = Service::start(&place, "replay", &["--replay", "pairs"]);
    assert_eq!(statuses(&replay), [429, 502, 200]);
    assert_eq!(replay.call("GET", "/large", None).0, 501);
    let failed = (0..20).map(|_| replay.call("POST", start, Some(body.clone()))).find(|(status, _)| *status == 502);
    let (_, text) = failed.expect("a start that was not answered");
    assert!(text["detail"].as_str().unwrap().starts_with("the hosted service cannot be reached: "), "{text}");
}

/// A redirect leads to this service, whether it is to another path of the API or to a store; its address is a secret.
#[test]
fn redirects_lead_to_this_service() {
    let place = Place::new();
    let store = Loopback::start(|_| Answer::bytes("text/csv", "a\n1\n"));
    let signed = format!("{}/x.csv?X-Amz-Signature=signed-by-store", store.url);
    let hosted = Loopback::start(move |request| {
        let to = |to: &str| Answer { status: 307, ..Answer::bytes("text/plain", "") }.header("location", to);
        match request.path.as_str() {
            "/old" => to("/new?n=1"),
            "/file" => to(&signed),
            "/elsewhere" => to("ftp://files.test/x"),
            _ => Answer::json(&json!({ "path": request.path, "query": request.query })),
        }
    });
    let follow = |service: &Service, path: &str| {
        block_on(async {
            let none = reqwest::redirect::Policy::none();
            let client = reqwest::Client::builder().redirect(none).build().unwrap();
            let request = client.get(format!("{}{path}", service.url)).header("x-api-key", MARKED_KEY);
            let response = request.send().await.unwrap();
            let to = response.headers().get("location")?.to_str().unwrap().to_owned();
            let to = if to.starts_with('/') { format!("{}{to}", service.url) } else { to };
            assert!(to.starts_with(&service.url), "{to}");
            let request = client.get(to).header("x-api-key", MARKED_KEY);
            Some((response.status().as_u16(), request.send().await.unwrap().text().await.unwrap()))
        })
    };
    let expect = |service: &Service| {
        assert_eq!(follow(service, "/old"), Some((307, r#"{"path":"/new","query":"n=1"}"#.to_owned())));
        assert_eq!(follow(service, "/file"), Some((307, "a\n1\n".to_owned())));
        assert_eq!(follow(service, "/elsewhere"), None);
    };
    let proxy = Service::start(&place, "proxy", &["--proxy", &hosted.url, "--record", "pairs"]);
    expect(&proxy);
    let head = block_on(async {
        let request = reqwest::Client::new().head(format!("{}/new", proxy.url)).header("x-api-key", MARKED_KEY);
        request.send().await.unwrap()
    });
    assert_eq!((head.status().as_u16(), &head.headers()["content-length"]), (200, &"26".parse().unwrap()));
    assert_eq!(proxy.stop(), exit::SUCCESS);
    drop((hosted, store));
    let all = recorded(&place, "pairs").into_iter().map(|(_, text)| text).collect::<String>();
    assert!(!all.contains("signed-by-store"), "{all}");
    expect(&Service::start(&place, "replay", &["--replay", "pairs"]));
}

/// The command under a proxy has the key of the hosted service, because its requests go there.
#[test]
fn a_command_under_a_proxy_uses_the_real_key() {
    let place = Place::new().env("SIXTYFOUR_API_KEY", MARKED_KEY);
    let hosted = Service::start(&place, "hosted", &["--api-key", MARKED_KEY, "--workflow", WORKFLOW]);
    let done = place
        .run(&["serve", "--port", "0", "--proxy", &hosted.url, "--", "sh", "-c", "drawoff workflows ls -o ndjson"])
        .ok();
    assert_eq!(done.text().lines().count(), 1, "{}", done.text());
    done.says("no difference from the contract");
}

/// A transfer that was whole is whole in a replay, in parts too, and one that broke breaks again.
#[test]
fn downloads_end_in_a_replay_as_they_did() {
    let place = Place::new();
    let hosted = Loopback::start(|request| {
        let origin = format!("http://{}", request.headers["host"]);
        let link =
            |name: &str| json!({ "filename": name, "download_url": format!("{origin}/{name}?X-Amz-Signature=s") });
        match request.path.as_str() {
            "/whole.csv" => Answer::bytes("text/csv", "a,b\n1,2\n"),
            "/cut.csv" => Answer { cut_at: Some(3), ..Answer::bytes("text/csv", "a,b\n1,2\n") },
            "/denied.csv" => {
                Answer { status: 403, ..Answer::bytes("application/xml", "<Signature>s-of-store</Signature>") }
            }
            _ => Answer::json(&json!([link("whole.csv"), link("cut.csv"), link("denied.csv")])),
        }
    });
    let links = |service: &Service| {
        let (_, links) = service.call("GET", "/workflows/runs/r/results/download-links", None);
        let of = |at: usize| links[at]["download_url"].as_str().unwrap().to_owned();
        [of(0), of(1), of(2)]
    };
    let get = |link: &str, range: Option<&str>| {
        block_on(async {
            let mut request = reqwest::Client::new().get(link);
            if let Some(range) = range {
                request = request.header("range", range);
            }
            let response = request.send().await.unwrap();
            (response.status().as_u16(), response.text().await.ok())
        })
    };
    let whole = (200, Some("a,b\n1,2\n".to_owned()));
    let proxy = Service::start(&place, "proxy", &["--proxy", &hosted.url, "--record", "pairs"]);
    let second = place.run(&["serve", "--port", "0", "--proxy", &hosted.url, "--record", "pairs"]);
    assert_ne!(second.code, exit::SUCCESS);
    second.says("another service records in this directory");
    let [first, cut, denied] = links(&proxy);
    assert_eq!(get(&first, None), whole);
    assert_eq!(get(&cut, None), (200, None));
    assert_eq!(get(&denied, None).0, 403);
    wait_for("the pairs", || Some(()).filter(|()| pairs(&place, "pairs").len() == 4));
    assert_eq!(proxy.stop(), exit::SUCCESS);
    // Links that were not downloaded have numbers too.
    let proxy = Service::start(&place, "again", &["--proxy", &hosted.url, "--record", "pairs"]);
    links(&proxy);
    assert_eq!(proxy.stop(), exit::SUCCESS);
    drop(hosted);
    let found = pairs(&place, "pairs");
    let complete: Vec<_> = found.iter().map(|pair| pair["response"]["is_complete"].clone()).collect();
    assert_eq!(json!(complete), json!([true, true, false, true, true]));
    let all = recorded(&place, "pairs").into_iter().map(|(_, text)| text).collect::<String>();
    assert!(!all.contains("s-of-store") && !all.contains("X-Amz"), "{all}");
    let numbers: Vec<&str> = all.split("drawoff-link:").skip(1).map(|rest| rest.split('/').next().unwrap()).collect();
    assert_eq!(numbers.iter().collect::<BTreeSet<_>>().len(), 6, "{numbers:?}");

    let replay = Service::start(&place, "replay", &["--replay", "pairs"]);
    let [first, cut, denied] = links(&replay);
    assert_eq!(get(&first, None), whole);
    assert_eq!(get(&first, Some("bytes=4-")), whole, "the whole stands for a part");
    assert_eq!(get(&cut, None), (200, None));
    let (status, text) = get(&denied, None);
    assert!(status == 403 && text.unwrap().contains("was not recorded"));
    assert_eq!(replay.stop(), exit::SUCCESS);
}

/// Keys, signatures and secrets are neither in a recording nor in the log, wherever the hosted service or the client put
/// them.
#[test]
fn no_secret_is_recorded_or_logged() {
    let place = Place::new();
    let secret = format!("sk_whsec_{}", "0123456789abcdef".repeat(4));
    let in_answers = secret.clone();
    let hosted = Loopback::start(move |request| {
        let link = format!("http://{}/x.csv?X-Amz-Signature=signed-by-store", request.headers["host"]);
        let body = json!({
            "message": format!("see {link}"), "key": MARKED_KEY, MARKED_KEY: [in_answers], "client_secret": ["hidden-1"],
            "access_token": "hidden-2", "download_url": link,
        });
        match request.path.as_str() {
            "/text" => Answer::bytes("text/plain", format!("{MARKED_KEY} {in_answers} {link}")),
            "/html" => Answer { status: 502, ..Answer::bytes("text/html", format!("<p>{MARKED_KEY} {link}")) },
            "/problem" => Answer { status: 400, ..Answer::bytes("application/problem+json", body.to_string()) },
            "/untyped" => Answer::bytes("", body.to_string()),
            _ => Answer::json(&body),
        }
    });
    let proxy = Service::start(&place, "proxy", &["--proxy", &hosted.url, "--record", "pairs", "--log", "human"]);
    for path in ["/text", "/html", "/problem", "/untyped", "/json"] {
        proxy.call("GET", path, None);
    }
    let (_, body) = proxy.call("GET", "/untyped", None);
    assert!(body["download_url"].as_str().unwrap().starts_with(&proxy.url), "{body}");
    for query in [format!("apikey={MARKED_KEY}"), format!("foo={MARKED_KEY}"), "password=hidden-3".to_owned()] {
        proxy.call("GET", &format!("/query?{query}"), None);
    }
    // A URL would resolve it to a path that was not compared.
    let head = format!("GET /a/%2E%2e/query HTTP/1.0\r\nhost: 127.0.0.1\r\nx-api-key: {MARKED_KEY}\r\n\r\n");
    let mut stream = std::net::TcpStream::connect(proxy.url.trim_start_matches("http://")).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    assert!(response.contains(" 400 ") && response.contains("segment of dots"), "{response}");
    proxy.call("POST", "/body", Some(json!({ "password": "hidden-4", "list": [MARKED_KEY] })));
    proxy.interrupt();
    proxy.says("requests handed on");
    let logged = proxy.says("pairs recorded in pairs");
    let all = recorded(&place, "pairs").into_iter().map(|(_, text)| text).collect::<String>();
    assert_eq!(pairs(&place, "pairs").len(), 10);
    for text in [&all, &logged] {
        for hidden in [MARKED_KEY, &secret, "signed-by-store", "hidden-"] {
            assert!(!text.contains(hidden), "{hidden}: {text}");
        }
    }
    drop(proxy);
    drop(hosted);
    // The requests are found again.
    let replay = Service::start(&place, "replay", &["--replay", "pairs"]);
    assert_eq!(replay.call("GET", &format!("/query?foo={MARKED_KEY}"), None).0, 200);
    assert_eq!(replay.call("GET", "/problem", None).0, 400);
    assert_eq!(replay.call("GET", "/html", None).0, 502);
}

/// A service before the hosted one has nothing that the page could act on.
#[test]
fn the_page_of_a_proxy_acts_on_nothing() {
    let place = Place::new();
    let hosted = Loopback::start(|_| Answer::json(&json!([])));
    let proxy = Service::start(&place, "proxy", &["--proxy", &hosted.url]);
    let (status, page, action) = block_on(async {
        let client = reqwest::Client::new();
        let page = client.get(&proxy.url).send().await.unwrap();
        let (status, page) = (page.status().as_u16(), page.text().await.unwrap());
        let action = client.post(format!("{}/ui/actions/create_workflow", proxy.url));
        let action = action.header("x-drawoff-page", "1").header("x-api-key", MARKED_KEY).json(&json!({}));
        (status, page, action.send().await.unwrap().status().as_u16())
    });
    assert_eq!((status, action), (200, 404));
    assert!(page.contains("no workflows and runs of its own") && !page.contains("Make an example"), "{page}");
    assert_eq!(hosted.asked().len(), 0);
}
