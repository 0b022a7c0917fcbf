//! Export of spans to an OpenTelemetry collector (OTLP over HTTP, as JSON): one of the command, and below it one of each request
//! and each download. On only if a variable of the environment names a collector. A collector that fails never changes what
//! a command does, nor its exit code.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use url::Url;

use super::exit::Exit;
use super::print;
use crate::net::spans::{Span, SpanValue, observe};
use crate::net::{client_builder, is_loopback};
use crate::secret::SecretUrl;
use crate::text::{counted, error_chain, escape_for_terminal};

/// Spans that wait for their export; more are dropped and counted.
const MAX_SPANS: usize = 8192;

/// Spans of one request.
const BATCH: usize = 512;

/// Time between two exports, as OpenTelemetry's own libraries have it.
const INTERVAL: Duration = Duration::from_secs(5);

/// Time for one export, unless the environment sets another one.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Kinds of OpenTelemetry.
const INTERNAL: u8 = 1;
const CLIENT: u8 = 3;

/// The export of one command; nothing if no collector is named.
pub(super) struct Telemetry(Option<Arc<Exporter>>);

struct Exporter {
    collector: Collector,
    resource: Value,
    trace: String,
    /// Id of the span of the command.
    root: String,
    /// Id of the span of the caller.
    parent: Option<String>,
    command: String,
    start: SystemTime,
    is_quiet: bool,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    spans: Vec<Value>,
    dropped: u64,
}

/// The collector, as the environment describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Collector {
    url: Url,
    headers: Vec<(String, String)>,
    timeout: Duration,
}

impl Telemetry {
    /// Begins the span of `command`, and exports what ends in it, if the environment names a collector.
    pub(super) fn begin(command: &str, is_quiet: bool) -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        let collector = match collector(&variable) {
            Ok(Some(collector)) => collector,
            Ok(None) => return Telemetry(None),
            Err(problem) => {
                warn(is_quiet, &problem);
                return Telemetry(None);
            }
        };
        let (trace, parent) = match variable("TRACEPARENT").as_deref().and_then(trace_parent) {
            Some((trace, parent)) => (trace, Some(parent)),
            None => (format!("{}{}", random_id(), random_id()), None),
        };
        let exporter = Arc::new(Exporter {
            collector,
            resource: resource(&variable),
            trace,
            root: random_id(),
            parent,
            command: command.to_owned(),
            start: SystemTime::now(),
            is_quiet,
            waiting: Mutex::default(),
        });
        let of_spans = Arc::clone(&exporter);
        observe(Box::new(move |span| of_spans.add(span)));
        let periodic = Arc::clone(&exporter);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(INTERVAL).await;
                // A failure is said once, at the end.
                let _ = periodic.export().await;
            }
        });
        Telemetry(Some(exporter))
    }

    /// Ends the span of the command, and exports what is left.
    pub(super) async fn end(self, exit: Exit) {
        let Some(exporter) = self.0 else { return };
        let failed = !matches!(exit, Exit::Success | Exit::Partial);
        let span = Span {
            name: format!("drawoff {}", exporter.command).trim_end().to_owned(),
            start: exporter.start,
            end: SystemTime::now(),
            attributes: vec![
                ("process.exit.code", SpanValue::Number(exit.code().into())),
                ("drawoff.exit", SpanValue::Text(exit.name().to_owned())),
            ],
            error: failed.then(|| exit.name().to_owned()),
        };
        let root = exporter.json(span, &exporter.root, exporter.parent.as_deref(), INTERNAL);
        exporter.waiting().spans.push(root);
        let exported = exporter.export().await;
        let dropped = exporter.waiting().dropped;
        if let Err(problem) = exported {
            warn(exporter.is_quiet, &format!("spans were not exported: {problem}"));
        } else if dropped > 0 {
            warn(exporter.is_quiet, &format!("{} not exported: the collector is too slow", counted(dropped, "span")));
        }
    }
}

impl Exporter {
    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a span below that of the command.
    fn add(&self, span: Span) {
        let json = self.json(span, &random_id(), Some(&self.root), CLIENT);
        let mut waiting = self.waiting();
        match waiting.spans.len() < MAX_SPANS {
            true => waiting.spans.push(json),
            false => waiting.dropped += 1,
        }
    }

    fn json(&self, span: Span, id: &str, parent: Option<&str>, kind: u8) -> Value {
        let attributes = span.attributes.iter().map(|(name, value)| attribute(name, value));
        let mut json = json!({
            "traceId": self.trace,
            "spanId": id,
            "name": span.name,
            "kind": kind,
            "startTimeUnixNano": nanos(span.start),
            "endTimeUnixNano": nanos(span.end),
            "attributes": attributes.collect::<Vec<_>>(),
        });
        if let Some(parent) = parent {
            json["parentSpanId"] = json!(parent);
        }
        if let Some(error) = span.error {
            json["status"] = json!({ "code": 2, "message": error });
        }
        json
    }

    /// Sends what waits, and keeps what is not accepted for the next time.
    async fn export(&self) -> Result<(), String> {
        loop {
            let batch: Vec<Value> = {
                let mut waiting = self.waiting();
                let most = waiting.spans.len().min(BATCH);
                waiting.spans.drain(..most).collect()
            };
            if batch.is_empty() {
                return Ok(());
            }
            let body = json!({
                "resourceSpans": [{
                    "resource": { "attributes": self.resource },
                    "scopeSpans": [{
                        "scope": { "name": "drawoff", "version": env!("CARGO_PKG_VERSION") },
                        "spans": batch,
                    }],
                }],
            });
            if let Err(problem) = self.collector.send(&body).await {
                self.waiting().spans.splice(0..0, batch);
                return Err(problem);
            }
        }
    }
}

impl Collector {
    async fn send(&self, body: &Value) -> Result<(), String> {
        let builder = client_builder().redirect(reqwest::redirect::Policy::none()).timeout(self.timeout);
        let builder = if is_loopback(&self.url) { builder.no_proxy() } else { builder };
        let client = builder.build().map_err(|error| error_chain(&error))?;
        let request = client.post(self.url.clone()).header("content-type", "application/json").body(body.to_string());
        let request = self.headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        let response = request.send().await.map_err(|error| error_chain(&error.without_url()))?;
        match response.status() {
            status if status.is_success() => Ok(()),
            status => Err(format!("{} responded {}", SecretUrl::new(self.url.as_str()), status.as_u16())),
        }
    }
}

/// Reads the variables of OpenTelemetry; `None` if they name no collector, or turn the export off.
fn collector(variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<Collector>, String> {
    let of_traces = |name: &str| {
        let specific = format!("OTEL_EXPORTER_OTLP_TRACES_{name}");
        let general = format!("OTEL_EXPORTER_OTLP_{name}");
        variable(&specific).map(|value| (specific, value)).or_else(|| variable(&general).map(|value| (general, value)))
    };
    let is_off = variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
        || variable("OTEL_TRACES_EXPORTER").is_some_and(|value| value.trim() == "none");
    let Some((name, text)) = of_traces("ENDPOINT").filter(|_| !is_off) else { return Ok(None) };
    if let Some((name, protocol)) = of_traces("PROTOCOL").filter(|(_, protocol)| protocol.trim() == "grpc") {
        return Err(format!("spans are not exported: {name} is {protocol}, and drawoff has http/json only"));
    }
    let url = Url::parse(text.trim()).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let Some(mut url) = url else {
        return Err(format!("spans are not exported: {name} is no URL of http or https"));
    };
    // Only the general one is a base.
    if !name.contains("TRACES") {
        url.set_path(&format!("{}/v1/traces", url.path().trim_end_matches('/')));
    }
    let headers = of_traces("HEADERS").map(|(_, text)| pairs(&text)).unwrap_or_default();
    let timeout = of_traces("TIMEOUT").and_then(|(_, text)| text.trim().parse().ok());
    Ok(Some(Collector { url, headers, timeout: timeout.map_or(TIMEOUT, Duration::from_millis) }))
}

/// Parses `name=value,name=value`, whose values have escapes as in URLs.
fn pairs(text: &str) -> Vec<(String, String)> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let value = percent_encoding::percent_decode_str(value.trim()).decode_utf8_lossy().into_owned();
        Some((name.trim().to_owned(), value)).filter(|(name, _)| !name.is_empty())
    };
    text.split(',').filter_map(pair).collect()
}

/// Returns the attributes of the process.
fn resource(variable: &dyn Fn(&str) -> Option<String>) -> Value {
    let mut found = variable("OTEL_RESOURCE_ATTRIBUTES").map(|text| pairs(&text)).unwrap_or_default();
    let named = found.iter().position(|(name, _)| name == "service.name").map(|at| found.remove(at).1);
    let service = variable("OTEL_SERVICE_NAME").or(named).unwrap_or_else(|| "drawoff".to_owned());
    let own =
        [("service.name".to_owned(), service), ("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned())];
    found.retain(|(name, _)| name != "service.version");
    let attributes = own.into_iter().chain(found);
    attributes.map(|(name, value)| attribute(&name, &SpanValue::Text(value))).collect()
}

fn attribute(name: &str, value: &SpanValue) -> Value {
    let value = match value {
        SpanValue::Text(text) => json!({ "stringValue": text }),
        // 64-bit numbers are texts in the JSON of protocol buffers.
        SpanValue::Number(number) => json!({ "intValue": number.to_string() }),
    };
    json!({ "key": name, "value": value })
}

/// Returns the ids of the trace and the span of a caller, as in the header of that name.
fn trace_parent(text: &str) -> Option<(String, String)> {
    let parts: Vec<&str> = text.trim().split('-').collect();
    let [_, trace, span, ..] = parts[..] else { return None };
    let is_id = |id: &str, digits: usize| {
        id.len() == digits
            && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            && id.bytes().any(|byte| byte != b'0')
    };
    (is_id(trace, 32) && is_id(span, 16)).then(|| (trace.to_owned(), span.to_owned()))
}

/// Returns 64 random bits in hexadecimal, not all zero.
fn random_id() -> String {
    format!("{:016x}", RandomState::new().build_hasher().finish().max(1))
}

fn nanos(time: SystemTime) -> String {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos()).to_string()
}

fn warn(is_quiet: bool, text: &str) {
    if !is_quiet {
        print::write_stderr(&format!("warning: {}", escape_for_terminal(text)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(set: &[(&str, &str)]) -> Result<Option<Collector>, String> {
        let set: Vec<(String, String)> = set.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        collector(&|name| set.iter().find(|(set, _)| set == name).map(|(_, value)| value.clone()))
    }

    #[test]
    fn the_variables_of_opentelemetry_are_read() {
        let url = |set: &[(&str, &str)]| read(set).map(|found| found.map(|collector| collector.url.to_string()));
        let general = "OTEL_EXPORTER_OTLP_ENDPOINT";
        assert_eq!(url(&[]), Ok(None));
        assert_eq!(url(&[(general, "http://c.test:4318/")]), Ok(Some("http://c.test:4318/v1/traces".into())));
        assert_eq!(url(&[(general, "http://c.test/a/")]), Ok(Some("http://c.test/a/v1/traces".into())));
        let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://c.test/t");
        assert_eq!(url(&[(general, "http://c.test"), own]), Ok(Some("https://c.test/t".into())));
        assert_eq!(url(&[own, ("OTEL_SDK_DISABLED", "true")]), Ok(None));
        assert_eq!(url(&[own, ("OTEL_TRACES_EXPORTER", "none")]), Ok(None));
        assert!(url(&[own, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]).unwrap_err().contains("http/json"));
        assert!(url(&[(general, "c.test:4318")]).unwrap_err().contains(general));
        let found =
            read(&[own, ("OTEL_EXPORTER_OTLP_HEADERS", "a=b%20c, d=e=f"), ("OTEL_EXPORTER_OTLP_TIMEOUT", "50")]);
        let found = found.unwrap().unwrap();
        assert_eq!(found.headers, [("a".into(), "b c".into()), ("d".into(), "e=f".to_owned())]);
        assert_eq!(found.timeout, Duration::from_millis(50));
    }

    #[test]
    fn a_caller_is_the_parent_if_it_is_one() {
        let (trace, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
        assert_eq!(trace_parent(&format!("00-{trace}-{span}-01")), Some((trace.into(), span.into())));
        for text in ["", "00-0-0-01", "00-00000000000000000000000000000000-b7ad6b7169203331-01", "x"] {
            assert_eq!(trace_parent(text), None, "{text}");
        }
        assert_eq!((random_id().len(), random_id() == random_id()), (16, false));
    }
}
