//! `-v` and `--log FILE`: a line for each request and each wait, and no secret in any of them.

use serde_json::json;

use crate::support::{Place, Service};

fn place_of(service: &Service) -> Place {
    let place = Place::with_service(&service.url);
    let source = json!({"sequence_number": 1, "block_type": "io", "block_name": "read_csv", "specs": {}});
    let graph = json!({"workflow_name": "Copy", "workflow_definition": {"blocks": [source], "edges": []}});
    place.write("copy.json", graph.to_string());
    place.write("in.csv", "a\n1\n2\n");
    place
}

#[test]
fn each_request_and_each_wait_has_a_line() {
    let directory = Place::new();
    let service = Service::start(&directory, "data", &["--fault", "503,on=status,times=1", "--fault", "cut=2,times=1"]);
    let place = place_of(&service);
    place.run_line("run copy.json --input in.csv -o out.csv --log requests.log").ok();
    assert_eq!(place.read("out.csv"), b"a\n1\n2\n");
    let log = String::from_utf8(place.read("requests.log")).unwrap();
    let has = |parts: &[&str]| {
        let found = log.lines().any(|line| parts.iter().all(|part| line.contains(part)));
        assert!(found, "{parts:?} in\n{log}");
    };
    has(&["event=request method=POST", "status=200", "bytes=", "attempt=1"]);
    has(&["event=request method=GET", "status=503", "error="]);
    has(&["event=wait ms=", "reason="]);
    has(&["event=request method=GET", "?[redacted]", "status=200"]);
    has(&["event=request method=GET", "?[redacted]", "range=bytes=", "status=206"]);
    for line in log.lines() {
        assert!(line.starts_with("time=20") && line.contains(" event="), "{line}");
        assert!(!line.contains("x-api-key") && !line.contains("signature"), "{line}");
    }
    // Of the user alone, and added to.
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(place.path("requests.log").metadata().unwrap().permissions().mode() & 0o777, 0o600);
    place.run_line("runs ls --log requests.log").ok();
    assert!(place.read("requests.log").len() > log.len());
}

#[test]
fn lines_go_to_standard_error_only_when_asked() {
    let directory = Place::new();
    let service = Service::start(&directory, "data", &[]);
    let place = place_of(&service);
    assert!(!place.run_line("runs ls").ok().stderr.contains("event="));
    let done = place.run_line("runs ls -v").ok();
    assert!(done.stderr.contains("event=request method=GET") && !done.text().contains("event="), "{}", done.stderr);
    place.run_line("runs ls --log none/requests.log").code(crate::support::exit::CANNOT_WRITE);
}
