//! Spans at a collector of OpenTelemetry: a scripted one on this machine.

use serde_json::{Value, json};

use crate::support::http::{Answer, Loopback, Request};
use crate::support::{MARKED_KEY, Place, Service, exit};

fn collector() -> Loopback {
    Loopback::start(|_| Answer::json(&json!({})))
}

/// Returns the spans that arrived, and the attributes of the process.
fn spans(asked: &[Request]) -> (Vec<Value>, Value) {
    let mut spans = Vec::new();
    let mut resource = Value::Null;
    for request in asked {
        assert_eq!((&*request.method, &*request.path), ("POST", "/v1/traces"));
        assert_eq!(request.headers["content-type"], "application/json");
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        for of_resource in body["resourceSpans"].as_array().unwrap() {
            resource = of_resource["resource"]["attributes"].clone();
            for scope in of_resource["scopeSpans"].as_array().unwrap() {
                assert_eq!(scope["scope"]["name"], "drawoff");
                spans.extend(scope["spans"].as_array().unwrap().iter().cloned());
            }
        }
    }
    (spans, resource)
}

fn attribute<'a>(span: &'a Value, name: &str) -> &'a Value {
    let of_span = span.get("attributes").unwrap_or(span);
    let found = of_span.as_array().unwrap().iter().find(|attribute| attribute["key"] == name);
    &found.unwrap_or_else(|| panic!("no {name} in {span}"))["value"]
}

#[test]
fn a_command_its_requests_and_its_downloads_are_spans() {
    let service_place = Place::new();
    let service = Service::start(&service_place, "data", &[]);
    let collector = collector();
    let (trace, caller) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let place = Place::with_service(&service.url)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url)
        .env("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20marked-2")
        .env("OTEL_SERVICE_NAME", "nightly")
        .env("TRACEPARENT", &format!("00-{trace}-{caller}-01"));
    place.run_line("init").ok();
    let before = collector.asked().len();
    place.run_line("run workflow.json --input companies.csv -o results.ndjson").ok();
    let asked = collector.asked();
    let (spans, resource) = spans(&asked[before..]);
    assert_eq!(attribute(&resource, "service.name")["stringValue"], "nightly");
    assert_eq!(asked[before].headers["authorization"], "Bearer marked-2");
    let root = spans.iter().find(|span| span["name"] == "drawoff run").expect("the span of the command");
    assert_eq!((&root["parentSpanId"], &root["kind"]), (&json!(caller), &json!(1)));
    assert_eq!(attribute(root, "process.exit.code")["intValue"], "0");
    assert!(root.get("status").is_none(), "{root}");
    let of_name = |name: &str| spans.iter().filter(|span| span["name"] == name).collect::<Vec<_>>();
    let download = of_name("download");
    assert_eq!(download.len(), 1, "{spans:?}");
    assert!(
        attribute(download[0], "http.response.body.size")["intValue"].as_str().unwrap().parse::<u64>().unwrap() > 0
    );
    assert!(of_name("GET").len() > 2 && !of_name("POST").is_empty(), "{spans:?}");
    for span in &spans {
        assert_eq!(span["traceId"], trace);
        let time = |name: &str| span[name].as_str().unwrap().parse::<u128>().unwrap();
        assert!(time("startTimeUnixNano") <= time("endTimeUnixNano"));
        if span["name"] != "drawoff run" {
            assert_eq!(span["parentSpanId"], root["spanId"], "{span}");
            assert!(attribute(span, "url.full")["stringValue"].as_str().unwrap().starts_with(&service.url), "{span}");
        }
        if span["name"] == "GET" {
            assert_eq!(attribute(span, "http.response.status_code")["intValue"], "200", "{span}");
        }
    }
    let mut ids: Vec<&str> = spans.iter().map(|span| span["spanId"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), spans.len());
    // Neither the key nor the signature of a link.
    for request in &asked {
        let body = String::from_utf8_lossy(&request.body).replace("?[redacted]", "");
        assert!(!body.contains(MARKED_KEY) && !body.contains('?') && !body.contains("marked-2"), "{body}");
    }
}

#[test]
fn a_failure_is_the_status_of_its_spans() {
    let api = Loopback::start(|_| Answer::error(401, "no"));
    let collector = collector();
    let place = Place::with_service(&api.url)
        .env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &format!("{}/v1/traces", collector.url));
    place.run_line("runs ls").code(exit::KEY_REFUSED);
    let (spans, _) = spans(&collector.asked());
    let root = spans.iter().find(|span| span["name"] == "drawoff runs ls").unwrap();
    assert_eq!((&root["status"]["code"], &root["status"]["message"]), (&json!(2), &json!("key refused")));
    let get = spans.iter().find(|span| span["name"] == "GET").unwrap();
    assert_eq!(get["status"]["code"], 2);
    assert_eq!(attribute(get, "http.response.status_code")["intValue"], "401");
}

#[test]
fn a_collector_changes_nothing_of_the_command() {
    let place = Place::new();
    place.write("a.ndjson", "{\"a\":1}\n");
    let failing = Loopback::start(|_| Answer::error(503, "later"));
    for (endpoint, says) in
        [("http://127.0.0.1:1", "spans were not exported"), (&*failing.url, "responded 503"), ("nonsense", "no URL")]
    {
        let place = Place::new().env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
        place.write("a.ndjson", "{\"a\":1}\n");
        let done = place.run_line("convert a.ndjson -o -").ok().says(says);
        assert_eq!(done.text(), "{\"a\":1}\n");
        let done = place.run_line("-q convert a.ndjson -o -").ok().silent();
        assert_eq!(done.text(), "{\"a\":1}\n");
    }
    let off = place.env("OTEL_EXPORTER_OTLP_ENDPOINT", &failing.url).env("OTEL_SDK_DISABLED", "true");
    let before = failing.asked().len();
    off.run_line("convert a.ndjson -o - -q").ok().silent();
    assert_eq!(failing.asked().len(), before);
}
