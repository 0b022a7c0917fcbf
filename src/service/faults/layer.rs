//! Where faults happen: around every request, outside of what answers it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{
    ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, ETAG, HeaderValue, IF_RANGE, RANGE, RETRY_AFTER,
};
use axum::http::{HeaderName, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use chrono::TimeDelta;
use serde_json::Value;

use super::body::{After, Lines, changed, encoded, spoiled};
use super::{Faults, Kind, Progress, Strike, Target};
use crate::api::routes as paths;
use crate::format::Compression;
use crate::net::random::mixed;
use crate::service::api_error::ApiError;
use crate::service::app::App;
use crate::service::paths::FILES_PREFIX;
use crate::service::query::Query;
use crate::service::request::drain;

/// Says that the service did this on purpose.
const MARK: HeaderName = HeaderName::from_static("x-drawoff-fault");

/// Answers of the API that are changed are not longer.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// Middleware.
pub(in crate::service) async fn spoil(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let Some(target) = Target::of(request.method(), &path) else { return next.run(request).await };
    let faults = &app.faults;
    let ranged = request.headers().contains_key(RANGE);
    let strikes = faults.strikes(target, &path, ranged);
    for strike in &strikes {
        if let Kind::Latency { time, jitter } = strike.kind {
            let more = jitter.mul_f64((mixed(strike.random) >> 11) as f64 / (1u64 << 53) as f64);
            tokio::time::sleep(time + more).await;
        }
    }
    let age = age_of_link(&request, &app);
    if let Some(refusal) = strikes.iter().find_map(|strike| refusal(strike, age)) {
        drain(request.into_body()).await;
        return marked(refusal);
    }
    if target == Target::Files {
        change_request(faults, &path, &strikes, &mut request);
    }
    let mut response = next.run(request).await;
    if !response.status().is_success() {
        return response;
    }
    match target {
        Target::Files => change_file(faults, &path, &strikes, response),
        Target::Status | Target::Links => {
            for strike in strikes {
                response = change_answer(&strike, response).await;
            }
            response
        }
        _ => response,
    }
}

impl Target {
    /// What a request is; `None` for those that nothing ever happens to.
    fn of(method: &Method, path: &str) -> Option<Target> {
        let is_run = |tail: &str| path.starts_with("/workflows/runs/") && path.ends_with(tail);
        if path.starts_with(FILES_PREFIX) {
            Some(Target::Files)
        } else if path == paths::RUN_WORKFLOW && method == Method::POST {
            Some(Target::Start)
        } else if path == paths::UPLOAD_FILE {
            Some(Target::Upload)
        } else if is_run("/live_status") {
            Some(Target::Status)
        } else if is_run("/results/download-links") {
            Some(Target::Links)
        } else {
            // The page, health, metrics and the admin's own paths must stay in hand.
            ["/workflows", "/bulk-intelligence", "/job-status", "/storage"]
                .iter()
                .any(|head| path.starts_with(head))
                .then_some(Target::Api)
        }
    }
}

/// How long the link of a request has been there, if it is one.
fn age_of_link(request: &Request, app: &App) -> Option<TimeDelta> {
    let query = Query::parse(request.uri().query());
    let expires = chrono::DateTime::from_timestamp(query.get("expires")?.parse().ok()?, 0)?;
    let made = expires - TimeDelta::from_std(app.config.link_life).ok()?;
    Some(app.config.clock.now() - made)
}

/// The answer that comes in the place of the real one.
fn refusal(strike: &Strike, age: Option<TimeDelta>) -> Option<Response> {
    let text = "a fault on purpose";
    match strike.kind {
        Kind::TooMany { retry_after, reset } => {
            let fault = ApiError::Text(StatusCode::TOO_MANY_REQUESTS, text.to_owned());
            let mut response = fault.into_response();
            let mut name = |header: HeaderName, time: Option<Duration>| {
                if let Some(time) = time {
                    // Whole seconds, upwards: none would be no wait.
                    response.headers_mut().insert(header, HeaderValue::from(time.as_secs_f64().ceil() as u64));
                }
            };
            name(RETRY_AFTER, retry_after);
            name(HeaderName::from_static("x-ratelimit-reset"), reset);
            Some(response)
        }
        Kind::Status(status) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Some(ApiError::Text(status, text.to_owned()).into_response())
        }
        Kind::Expire { life, status } => {
            let is_over = age.is_some_and(|age| age >= TimeDelta::from_std(life).unwrap_or(TimeDelta::MAX));
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN);
            is_over.then(|| ApiError::Text(status, "this link has expired".to_owned()).into_response())
        }
        _ => None,
    }
}

fn change_request(faults: &Faults, path: &str, strikes: &[Strike], request: &mut Request) {
    let headers = request.headers_mut();
    let is = |kind: fn(&Kind) -> bool| strikes.iter().any(|strike| kind(&strike.kind));
    // These have no parts: the file is another.
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
        && let Some(asked) = headers.get(IF_RANGE).and_then(|tag| tag.to_str().ok())
    {
        // The tag of the edition of now is the real one; that of another is of another file.
        let real =
            asked.strip_prefix(&format!("\"e{edition}-")).map_or_else(|| "\"other\"".to_owned(), |t| format!("\"{t}"));
        if let Ok(real) = real.parse() {
            headers.insert(IF_RANGE, real);
        }
    }
}

/// `bytes=N-...` from some bytes before.
fn shifted(range: &str, bytes: u64) -> Option<HeaderValue> {
    let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
    let from: u64 = from.parse().ok()?;
    format!("bytes={}-{to}", from.saturating_sub(bytes)).parse().ok()
}

fn change_file(faults: &Faults, path: &str, strikes: &[Strike], response: Response) -> Response {
    let (mut parts, mut body) = response.into_parts();
    let len = parts.headers.get(CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse().ok());
    let edition = faults.edition(path, false);
    if edition > 0
        && let Some(tag) =
            parts.headers.get(ETAG).and_then(|tag| tag.to_str().ok()?.strip_prefix('"').map(str::to_owned))
        && let Ok(tag) = format!("\"e{edition}-{tag}").parse()
    {
        parts.headers.insert(ETAG, tag);
    }
    let mut mark = false;
    // Lines first, then what is around them, and the way last.
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
        mark = true;
        body = match &strike.kind {
            Kind::BrokenLines(every) => changed(body, Lines::Broken(*every)),
            Kind::DuplicateRows(every) => changed(body, Lines::Twice(*every)),
            Kind::LateType { column, row } => changed(body, Lines::Late { column: column.clone(), row: *row }),
            Kind::Encode { compression, members, truncated } => {
                let name = if *compression == Compression::Gzip { "gzip" } else { "zstd" };
                parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static(name));
                encoded(body, len, *compression, *members, *truncated)
            }
            Kind::Cut(spot) => spoiled(body, spot.byte(len), After::Break),
            Kind::Stall { at, time } => spoiled(body, at.byte(len), After::Stall(*time)),
            Kind::Drip { at, bytes, every } => spoiled(body, at.byte(len), After::Drip(*bytes, *every)),
            _ => body,
        };
    }
    let response = Response::from_parts(parts, body);
    if mark { marked(response) } else { response }
}

impl Kind {
    /// True if the file is another because of it: it then has no parts.
    fn changes_bytes(&self) -> bool {
        matches!(self, Kind::BrokenLines(_) | Kind::LateType { .. } | Kind::DuplicateRows(_) | Kind::Encode { .. })
    }
}

/// The JSON of an answer of the API, changed.
async fn change_answer(strike: &Strike, response: Response) -> Response {
    if !matches!(strike.kind, Kind::Unsigned | Kind::State(_)) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(bytes) = to_bytes(body, MAX_ANSWER_BYTES).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let Ok(mut answer) = serde_json::from_slice::<Value>(&bytes) else {
        return Response::from_parts(parts, Body::from(bytes));
    };
    match &strike.kind {
        Kind::State(progress) => tell(progress, strike.nth, &mut answer),
        _ => {
            for link in answer.as_array_mut().into_iter().flatten() {
                link["download_url"] = Value::Null;
            }
        }
    }
    parts.headers.remove(CONTENT_LENGTH);
    marked(Response::from_parts(parts, Body::from(answer.to_string())))
}

/// The state as it is not.
fn tell(progress: &Progress, nth: u64, answer: &mut Value) {
    let word = match progress {
        Progress::Flap if nth.is_multiple_of(2) => "running",
        Progress::Flap | Progress::Jump => "queued",
        Progress::Stick => "running",
        Progress::Unknown(word) => word,
    };
    answer["overall_status"] = word.into();
    answer["completed_at"] = Value::Null;
    // Only what has ended is all done.
    if answer["overall_progress_percentage"].as_f64().is_some_and(|percentage| percentage >= 100.0) {
        answer["overall_progress_percentage"] = 99.9.into();
    }
    if word == "queued" {
        answer["overall_progress_percentage"] = 0.0.into();
        answer["completed_blocks"] = 0.into();
    }
}

fn marked(mut response: Response) -> Response {
    response.headers_mut().insert(MARK, HeaderValue::from_static("1"));
    response
}
