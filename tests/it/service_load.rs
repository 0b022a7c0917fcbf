//! `drawoff serve` under clients that send much, or nothing: payloads in pieces within bounded memory, and hundreds of
//! silent connections.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::{MARKED_KEY, Place, Service, block_on, plans, wait_for};

/// Rows of a payload of some 32 MiB, each some 1 KiB.
const ROWS: usize = 32 << 10;

fn create(service: &Service) -> String {
    let body = json!({ "workflow_name": "W", "workflow_description": "", "workflow_definition": { "edges": [], "blocks": [
        { "sequence_number": 1, "block_type": "x", "block_name": "webhook", "block_id": "a", "specs": {} }] } });
    let (status, made) = service.call("POST", "/workflows/create_workflow", Some(body));
    assert_eq!(status, 200, "{made}");
    made["id"].as_str().unwrap().to_owned()
}

/// Starts a run whose payload, of one row more than `rows`, is sent in pieces, and returns its id.
fn start_in_pieces(url: &str, workflow: &str, rows: usize) -> String {
    let row = format!("{{\"n\": 1.50, \"text\": \"{}\"}}", "x".repeat(1000));
    let piece = format!("{row},").repeat(512);
    let pieces = rows / 512;
    let head = "{\"webhook_payload\": [";
    let tail = format!("{row}]}}");
    let length = head.len() + pieces * piece.len() + tail.len();
    let address = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "POST /workflows/run?workflow_id={workflow} HTTP/1.1\r\nhost: {address}\r\nx-api-key: {MARKED_KEY}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{head}"
    )
    .unwrap();
    for _ in 0..pieces {
        stream.write_all(piece.as_bytes()).unwrap();
    }
    stream.write_all(tail.as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    let body = response.split_once("\r\n\r\n").unwrap().1;
    let started: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{response}"));
    started["job_id"].as_str().unwrap_or_else(|| panic!("{response}")).to_owned()
}

#[test]
fn payloads_are_received_within_bounded_memory() {
    let place = Place::new();
    // The runs themselves are slow, so that only the receipt is measured.
    let service = Service::start(&place, "data", &["--fault", "rows-per-second=1"]);
    let workflow = create(&service);
    let before = service.peak_memory_bytes();
    let (url, workflow) = (&service.url, &workflow);
    let runs: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(move || start_in_pieces(url, workflow, ROWS))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let grown = service.peak_memory_bytes().saturating_sub(before) >> 20;
    assert!(grown < 48, "{grown} MiB for three payloads of 32 MiB");
    for run in &runs {
        let input = place.path("data/runs").join(run).join("input.ndjson");
        let lines = std::fs::read_to_string(input).unwrap();
        assert_eq!(lines.lines().count(), ROWS + 1);
        assert!(lines.starts_with("{\"n\":1.50,\"text\":\"xxx"), "the digits and nothing but blanks between are kept");
        service.call("POST", &format!("/workflows/cancel?job_id={run}"), None);
    }
    // A client that disconnects in the middle starts nothing and leaves nothing.
    let before = service.call("GET", "/workflows/runs", None).1.as_array().unwrap().len();
    let address = service.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "POST /workflows/run?workflow_id={workflow} HTTP/1.1\r\nhost: {address}\r\nx-api-key: {MARKED_KEY}\r\n\
         content-length: 9000000\r\n\r\n{{\"webhook_payload\": ["
    )
    .unwrap();
    stream.write_all("{\"a\": 1},".repeat(100_000).as_bytes()).unwrap();
    drop(stream);
    let tmp = place.path("data/tmp");
    wait_for("the temporary file to go", || Some(()).filter(|()| std::fs::read_dir(&tmp).unwrap().count() == 0));
    assert_eq!(service.call("GET", "/workflows/runs", None).1.as_array().unwrap().len(), before);
}

/// A payload of a gigabyte, or the first tenth of it without `DRAWOFF_TEST_ALL`.
#[test]
fn a_gigabyte_of_payload_is_received_within_bounded_memory() {
    let rows = 512 * plans::count(2 << 10) as usize;
    let place = Place::new();
    let service = Service::start(&place, "data", &["--fault", "rows-per-second=1"]);
    let workflow = create(&service);
    let before = service.peak_memory_bytes();
    let run = start_in_pieces(&service.url, &workflow, rows);
    let grown = service.peak_memory_bytes().saturating_sub(before) >> 20;
    assert!(grown < 48, "{grown} MiB for a payload of {} MiB", rows >> 10);
    let input = place.path("data/runs").join(&run).join("input.ndjson");
    let size = std::fs::metadata(input).unwrap().len();
    assert_eq!(size, (rows as u64 + 1) * (r#"{"n":1.50,"text":""}"#.len() as u64 + 1001));
    service.call("POST", &format!("/workflows/cancel?job_id={run}"), None);
}

#[test]
fn three_hundred_silent_connections_keep_nobody_out() {
    let place = Place::new();
    let mut command = place.program("sh");
    // Fewer files than connections.
    command.args(["-c", "ulimit -n 256; exec drawoff serve --port 0 --data data"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut url = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut url).unwrap();
    let url = url.trim().to_owned();
    let address = url.trim_start_matches("http://");
    let mut silent = Vec::new();
    for i in 0..300 {
        let Ok(mut stream) = TcpStream::connect(address) else { break };
        let _ = stream.write_all(["", "GET /healthz HT", "GET /healthz HTTP/1.1\r\nhost: x\r\n"][i % 3].as_bytes());
        silent.push(stream);
    }
    assert_eq!(silent.len(), 300);
    for _ in 0..5 {
        let status = block_on(async { reqwest::get(format!("{url}/healthz")).await.unwrap().status() });
        assert_eq!(status, 200);
    }
    crate::support::interrupt(&child);
    assert_eq!(wait_for("the end", || child.try_wait().unwrap()).code(), Some(0));
}

#[test]
fn metrics_need_the_key_of_a_service_that_has_one() {
    let place = Place::new();
    let open = Service::start(&place, "open", &[]);
    let keyed = Service::start(&place, "keyed", &["--api-key", "k"]);
    let status = |service: &Service, name: &str, value: &str| {
        block_on(async {
            let request = reqwest::Client::new().get(format!("{}/metrics", service.url));
            request.header(name, value).send().await.unwrap().status().as_u16()
        })
    };
    assert_eq!(status(&open, "accept", "*/*"), 200);
    assert_eq!(status(&keyed, "accept", "*/*"), 401);
    assert_eq!(status(&keyed, "x-api-key", "k"), 200);
    assert_eq!(status(&keyed, "authorization", "Bearer k"), 200);
    assert_eq!(status(&keyed, "authorization", "Bearer x"), 401);
}
