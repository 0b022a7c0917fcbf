//! Middleware that injects faults around every request: it delays or refuses it, changes its headers, or changes the
//! response. Handlers know nothing of it, and requests of the page, health, metrics and admin paths pass untouched.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, ETAG, HeaderValue, IF_RANGE, RANGE,
};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use chrono::TimeDelta;
use serde_json::Value;

use super::body::{BodyFault, LineFault, with_body_fault, with_encoding, with_line_fault};
use super::refusal::refusal;
use super::{Faults, Kind, Progress, Rule, Strike, Target};
use crate::api::routes as paths;
use crate::format::Compression;
use crate::net::random::mixed;
use crate::service::api_error::ApiError;
use crate::service::app::App;
use crate::service::journal::{InjectedFaults, is_observation};
use crate::service::paths::{FILES_PREFIX, OPENAPI};
use crate::service::query::Query;
use crate::service::request::drain;

/// Header of every response with an injected fault, for tests of clients, and of a request that asks for faults.
const MARK: HeaderName = HeaderName::from_static("x-drawoff-fault");

/// Size limit of JSON responses that are changed, which are held in memory.
const MAX_JSON_BYTES: usize = 64 << 20;

/// Faults of the run that a request starts, as an extension of the request.
#[derive(Clone, Default)]
pub(in crate::service) struct RequestFaults(pub Vec<Rule>);

/// Passes a request to the next handler, with all faults that strike it: those in force, and those that the request
/// itself asks for. Latency comes first, then a refusal in place of the response, then changes of the response.
pub(in crate::service) async fn inject_faults(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path().to_owned();
    let Some(target) = Target::of(request.method(), &path) else { return next.run(request).await };
    let faults = &app.faults;
    let ranged = request.headers().contains_key(RANGE);
    let mut strikes = faults.strikes(target, &path, ranged);
    // Without administration the header has no effect: what a client sends must not change what others rely on.
    if app.config.admin {
        match requested(request.headers(), target, &path) {
            Ok((own, of_run)) => {
                strikes.extend(own);
                request.extensions_mut().insert(RequestFaults(of_run));
            }
            Err(why) => {
                drain(request.into_body()).await;
                return ApiError::bad_request(format!("{MARK}: {why}")).into_response();
            }
        }
    }
    if strikes.is_empty() && faults.edition(&path, false) == 0 {
        return next.run(request).await;
    }
    let mut applied = Vec::new();
    for strike in &strikes {
        if let Kind::Latency { time, jitter } = strike.kind {
            let extra = jitter.mul_f64((mixed(strike.random) >> 11) as f64 / (1u64 << 53) as f64);
            tokio::time::sleep(time + extra).await;
            applied.push(strike.text.clone());
        }
    }
    let age = age_of_link(&request, &app);
    if let Some((strike, refusal)) = strikes.iter().find_map(|strike| Some((strike, refusal(strike, age)?))) {
        // A body that is left unread would reset the connection, and the client might not see the status.
        drain(request.into_body()).await;
        applied.push(strike.text.clone());
        return marked(refusal, applied);
    }
    if target == Target::Files {
        change_request(faults, &path, &strikes, &mut request);
    }
    // These faults are in the contents, which are compressed inside of this layer.
    if strikes.iter().any(|strike| strike.kind.changes_bytes() || strike.kind.changes_json()) {
        request.headers_mut().remove(ACCEPT_ENCODING);
    }
    let mut response = next.run(request).await;
    // An error of the service itself is never disguised by a fault.
    if !response.status().is_success() {
        return marked(response, applied);
    }
    for strike in &strikes {
        response = change_json(strike, response, &mut applied).await;
    }
    let edition = if target == Target::Files { faults.edition(&path, false) } else { 0 };
    let response = change_body(edition, &strikes, response, &mut applied);
    marked(response, applied)
}

/// Parses the faults that a request asks for: those of its response, and those of the run that it starts. They have no
/// conditions, because they are for this request alone.
fn requested(headers: &HeaderMap, target: Target, path: &str) -> Result<(Vec<Strike>, Vec<Rule>), String> {
    let (mut strikes, mut of_run) = (Vec::new(), Vec::new());
    for value in headers.get_all(MARK) {
        let text = value.to_str().map_err(|_| "the fault is not ASCII".to_owned())?;
        let rule = Rule::for_one_request(text.trim())?;
        let is_ranged = headers.contains_key(RANGE);
        match rule.kind.only() {
            Some(Target::Runs) if target == Target::Start => of_run.push(rule),
            only if only.is_some_and(|only| only != target) || !rule.kind.can_strike(path, is_ranged) => {
                return Err(format!("`{}` has no effect on this request", rule.word));
            }
            _ => strikes.push(Strike { kind: rule.kind, text: rule.text, nth: 0, random: 0 }),
        }
    }
    Ok((strikes, of_run))
}

impl Target {
    /// Classifies a request; `None` if faults never apply to it.
    fn of(method: &Method, path: &str) -> Option<Target> {
        let is_run = |tail: &str| path.starts_with("/workflows/runs/") && path.ends_with(tail);
        if path.starts_with(FILES_PREFIX) {
            Some(Target::Files)
        } else if path == paths::RUN_WORKFLOW && method == Method::POST {
            Some(Target::Start)
        } else if path == paths::UPLOAD_FILE {
            Some(Target::Upload)
        } else if is_run("/live_status") || path.starts_with("/workflows/interactive/") && path.ends_with("/state") {
            Some(Target::Status)
        } else if is_run("/results/download-links") {
            Some(Target::Links)
        } else {
            // The page, health, metrics and admin paths stay reliable: tests observe the service through them.
            (!is_observation(path) && path != OPENAPI).then_some(Target::Api)
        }
    }
}

/// Returns the age of the signed link that is requested; `None` for other requests.
fn age_of_link(request: &Request, app: &App) -> Option<TimeDelta> {
    let query = Query::parse(request.uri().query());
    let expires = chrono::DateTime::from_timestamp(query.get("expires")?.parse().ok()?, 0)?;
    let created = expires - TimeDelta::from_std(app.config.link_life).ok()?;
    Some(app.config.clock.now() - created)
}

/// Changes the range headers of a download for the faults that the file handler carries out.
fn change_request(faults: &Faults, path: &str, strikes: &[Strike], request: &mut Request) {
    let headers = request.headers_mut();
    let is = |kind: fn(&Kind) -> bool| strikes.iter().any(|strike| kind(&strike.kind));
    // A file with changed bytes is always sent whole: ranges of the original do not apply to it.
    if is(|kind| matches!(kind, Kind::IgnoreRange)) || strikes.iter().any(|strike| strike.kind.changes_bytes()) {
        headers.remove(RANGE);
    }
    for strike in strikes {
        if let Kind::WrongRange(bytes) = strike.kind
            && let Some(shifted) = headers.get(RANGE).and_then(|range| shifted(range.to_str().ok()?, bytes))
        {
            headers.insert(RANGE, shifted);
        }
    }
    let edition = faults.edition(path, is(|kind| *kind == Kind::NewEtag));
    if edition > 0
        && let Some(requested) = headers.get(IF_RANGE).and_then(|tag| tag.to_str().ok())
    {
        // The client knows tags with the prefix of an edition. Translate that of the current edition back to the real
        // tag, and any other to one that does not match.
        let real = requested
            .strip_prefix(&format!("\"e{edition}-"))
            .map_or_else(|| "\"other\"".to_owned(), |tag| format!("\"{tag}"));
        if let Ok(real) = real.parse() {
            headers.insert(IF_RANGE, real);
        }
    }
}

/// Returns the header `bytes=N-...` with a start that is `bytes` lower; `None` if it has another
/// form.
fn shifted(range: &str, bytes: u64) -> Option<HeaderValue> {
    let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
    let from: u64 = from.parse().ok()?;
    format!("bytes={}-{to}", from.saturating_sub(bytes)).parse().ok()
}

/// Changes the headers and the body of a response. The body is wrapped, never buffered.
fn change_body(edition: u64, strikes: &[Strike], response: Response, applied: &mut Vec<String>) -> Response {
    let (mut parts, mut body) = response.into_parts();
    let len = parts.headers.get(CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse().ok());
    let len = len.or_else(|| axum::body::HttpBody::size_hint(&body).exact());
    if edition > 0
        && let Some(tag) =
            parts.headers.get(ETAG).and_then(|tag| tag.to_str().ok()?.strip_prefix('"').map(str::to_owned))
        && let Ok(tag) = format!("\"e{edition}-{tag}").parse()
    {
        parts.headers.insert(ETAG, tag);
    }
    // From the inside to the outside: lines, then their compression, then the transport of the compressed bytes.
    let mut order: Vec<&Strike> = strikes.iter().collect();
    order.sort_by_key(|strike| match strike.kind {
        Kind::BrokenLines(_) | Kind::LateType { .. } | Kind::DuplicateRows(_) => 0,
        Kind::Encode { .. } => 1,
        _ => 2,
    });
    for strike in order {
        if strike.kind.changes_bytes() {
            parts.headers.remove(CONTENT_LENGTH);
            parts.headers.insert(ACCEPT_RANGES, HeaderValue::from_static("none"));
        }
        body = match &strike.kind {
            Kind::BrokenLines(every) => with_line_fault(body, LineFault::Truncated(*every)),
            Kind::DuplicateRows(every) => with_line_fault(body, LineFault::Duplicate(*every)),
            Kind::LateType { column, row } => {
                with_line_fault(body, LineFault::LateType { column: column.clone(), row: *row })
            }
            Kind::Encode { compression, members, truncated } => {
                let name = if *compression == Compression::Gzip { "gzip" } else { "zstd" };
                parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static(name));
                with_encoding(body, len, *compression, *members, *truncated)
            }
            Kind::Cut(at) => with_body_fault(body, at.byte(len), BodyFault::Cut),
            Kind::Stall { at, time } => with_body_fault(body, at.byte(len), BodyFault::Stall(*time)),
            Kind::Drip { at, bytes, every } => {
                with_body_fault(body, at.byte(len), BodyFault::Drip { bytes: *bytes, every: *every })
            }
            // These have taken effect by the request, at most.
            Kind::WrongRange(_) | Kind::IgnoreRange | Kind::NewEtag => body,
            _ => continue,
        };
        applied.push(strike.text.clone());
    }
    Response::from_parts(parts, body)
}

impl Kind {
    /// Returns true if the fault changes the bytes of a file, which then supports no ranges.
    fn changes_bytes(&self) -> bool {
        matches!(self, Kind::BrokenLines(_) | Kind::LateType { .. } | Kind::DuplicateRows(_) | Kind::Encode { .. })
    }

    /// Returns true if the fault changes a JSON response of the API.
    fn changes_json(&self) -> bool {
        matches!(self, Kind::Unsigned | Kind::State(_))
    }
}

/// Changes the JSON body of an API response. Bodies that are not JSON pass unchanged.
async fn change_json(strike: &Strike, response: Response, applied: &mut Vec<String>) -> Response {
    if !strike.kind.changes_json() {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(bytes) = to_bytes(body, MAX_JSON_BYTES).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let Ok(mut json) = serde_json::from_slice::<Value>(&bytes) else {
        return Response::from_parts(parts, Body::from(bytes));
    };
    match &strike.kind {
        Kind::State(progress) => falsify_status(progress, strike.nth, &mut json),
        _ => {
            for link in json.as_array_mut().into_iter().flatten() {
                link["download_url"] = Value::Null;
            }
        }
    }
    parts.headers.remove(CONTENT_LENGTH);
    applied.push(strike.text.clone());
    Response::from_parts(parts, Body::from(json.to_string()))
}

/// Replaces the status in a `live_status` response, and the fields that would contradict it.
fn falsify_status(progress: &Progress, nth: u64, json: &mut Value) {
    let status = match progress {
        Progress::Flap if nth.is_multiple_of(2) => "running",
        Progress::Flap | Progress::Jump => "queued",
        Progress::Stick => "running",
        Progress::Unknown(word) => word,
    };
    json["overall_status"] = status.into();
    json["completed_at"] = Value::Null;
    // Only a run that has ended is at 100 %.
    if json["overall_progress_percentage"].as_f64().is_some_and(|percentage| percentage >= 100.0) {
        json["overall_progress_percentage"] = 99.9.into();
    }
    if status == "queued" {
        json["overall_progress_percentage"] = 0.0.into();
        json["completed_blocks"] = 0.into();
    }
}

/// Marks a response with the faults that were applied to it, if any.
fn marked(mut response: Response, applied: Vec<String>) -> Response {
    if !applied.is_empty() {
        response.headers_mut().insert(MARK, HeaderValue::from_static("1"));
        response.extensions_mut().insert(InjectedFaults(applied));
    }
    response
}
