//! Endpoints for tests against the service. Those that observe it are always served: the journal of requests, the faults
//! in force and the clock. Those that change it exist only with [`crate::service::Config::admin`]: faults and the clock
//! can be set, and a reset returns to the state after the start. Not part of the OpenAPI description.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{StatusCode, Uri};
use axum::middleware;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::key::require_key;
use super::schedules::plan_anew;
use crate::service::api_error::ApiError;
use crate::service::app::App;
use crate::service::body;
use crate::service::clock::timestamp;
use crate::service::faults::Rule;
use crate::service::hosted::Hosted;
use crate::service::journal::{RequestFilter, RequestRecord};
use crate::service::request::{blocking, body_bytes, query};
use crate::text::parse_duration;

/// `GET` returns the clock, `POST` changes it.
const CLOCK: &str = "/admin/clock";

/// `GET` returns the faults in force with the number of times that each was injected, `POST` adds some, `DELETE`
/// removes one or all.
const FAULTS: &str = "/admin/faults";

/// `GET` returns the newest requests, `DELETE` forgets them.
const REQUESTS: &str = "/admin/requests";

/// `POST` returns to the state after the start.
const RESET: &str = "/admin/reset";

/// Time in which cancelled runs must end before a reset; it is refused beyond that. By eye: longer than an endpoint of
/// the user's may take for one batch.
const RESET_PATIENCE: Duration = Duration::from_secs(45);

/// Builds the router of the paths that observe the service. They require the API key as all others do, but have no rate
/// limit, because a test's look must not change what its client meets.
pub(super) fn observe(app: &Arc<App>) -> Router<Arc<App>> {
    let mut router = Router::new().route(REQUESTS, get(requests));
    if app.config.admin {
        router = router.route(CLOCK, get(clock)).route(FAULTS, get(faults));
    }
    router.route_layer(middleware::from_fn_with_state(Arc::clone(app), require_key))
}

/// Builds the router of the paths that change the service.
pub(super) fn control(app: &Arc<App>) -> Router<Arc<App>> {
    Router::new()
        .route(CLOCK, post(set_clock))
        .route(FAULTS, post(add_faults).delete(remove_faults))
        .route(REQUESTS, delete(forget_requests))
        .route(RESET, post(reset))
        .route_layer(middleware::from_fn_with_state(Arc::clone(app), require_key))
}

async fn requests(State(app): State<Arc<App>>, uri: Uri) -> Result<Json<Vec<RequestRecord>>, ApiError> {
    let query = query(&uri);
    let text = |name: &str| query.get(name).map(str::to_owned);
    let number = |name: &str, max: i64| match query.get(name) {
        None => Ok(None),
        Some(_) => query.number(name, 0, 0, max).map(Some),
    };
    let filter = RequestFilter {
        method: text("method"),
        path: text("path"),
        status: number("status", 999)?.and_then(|status| u16::try_from(status).ok()),
        run_id: text("run_id"),
        after: number("after", i64::MAX)?.and_then(|after| u64::try_from(after).ok()),
    };
    Ok(Json(app.journal.requests(&filter)))
}

async fn forget_requests(State(app): State<Arc<App>>) -> Json<Value> {
    app.journal.clear();
    Json(json!([]))
}

async fn faults(State(app): State<Arc<App>>) -> Json<Value> {
    Json(faults_state(&app))
}

fn faults_state(app: &App) -> Value {
    let faults = app.faults.in_force().into_iter();
    faults
        .map(|fault| json!({ "id": fault.number, "kind": fault.kind, "fault": fault.text, "struck": fault.struck }))
        .collect()
}

/// Adds a fault, or a list of them: each an object with the keys of a scenario file, or a text as on the command line.
/// Adds none if one of them is invalid.
async fn add_faults(State(app): State<Arc<App>>, body: Result<Bytes, BytesRejection>) -> Result<Json<Value>, ApiError> {
    let body = body::json(&body_bytes(body)?)?;
    let items = match body {
        Value::Array(items) => items,
        item => vec![item],
    };
    let rules = items.iter().map(|item| match item {
        // As `GET` returns it, with its id and count.
        Value::Object(members) if members.get("fault").is_some_and(Value::is_string) => {
            members["fault"].as_str().unwrap_or_default().parse()
        }
        Value::Object(members) => Rule::from_json(members),
        Value::String(text) => text.parse(),
        _ => Err("a fault must be an object such as {\"kind\": \"402\", \"on\": \"start\"}".to_owned()),
    });
    let rules = rules.collect::<Result<Vec<Rule>, String>>().map_err(ApiError::bad_request)?;
    if app.hosted.is_some()
        && let Some(why) = rules.iter().find_map(|rule| rule.never_strikes_before_hosted())
    {
        return Err(ApiError::bad_request(why));
    }
    app.faults.add(rules);
    Ok(Json(faults_state(&app)))
}

/// Removes the fault with the `id` of the query, or all of them.
async fn remove_faults(State(app): State<Arc<App>>, uri: Uri) -> Result<Json<Value>, ApiError> {
    let query = query(&uri);
    let number = match query.get("id") {
        None => None,
        Some(_) => Some(query.number("id", 0, 0, i64::MAX)?.unsigned_abs()),
    };
    if !app.faults.remove(number) {
        return Err(ApiError::not_found("no fault has this id"));
    }
    Ok(Json(faults_state(&app)))
}

/// Returns to the state after the start: later runs, uploads, workflows and notebooks go, with the journal, the changes
/// of faults and of the clock, and the counts of limits. What was stored before, and what the service was started with,
/// stays or is restored.
async fn reset(State(app): State<Arc<App>>) -> Result<Json<Value>, ApiError> {
    // From here on no run or upload is added until the end of the reset.
    let _exclusive = app.resetting.write().await;
    let deadline = tokio::time::Instant::now() + RESET_PATIENCE;
    loop {
        let shared = Arc::clone(&app);
        let active = blocking(move || {
            let baseline = shared.baseline.as_ref();
            Ok(baseline.map_or(0, |baseline| shared.engine.cancel_others(&baseline.runs)))
        });
        if active.await? == 0 {
            break;
        }
        if tokio::time::Instant::now() >= deadline {
            let text = "a run has not ended after it was cancelled; try again later".to_owned();
            return Err(ApiError::Later(StatusCode::SERVICE_UNAVAILABLE, text, 5));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let shared = Arc::clone(&app);
    let removed = blocking(move || {
        let Some(baseline) = &shared.baseline else { return Err(ApiError::not_found("Not Found")) };
        let removed = shared.store.restore(baseline)?;
        shared.directories.remove(&removed);
        Ok(removed)
    });
    let removed = removed.await?;
    app.faults.reset();
    app.config.clock.reset();
    let shared = Arc::clone(&app);
    // The times of the start have passed meanwhile, and are no reason for a run.
    blocking(move || plan_anew(&shared)).await?;
    if let Some(Hosted::Replay(replay)) = &app.hosted {
        replay.reset();
    }
    app.sessions.clear();
    app.rate_limit.reset();
    app.bulk_limit.reset();
    app.journal.clear();
    Ok(Json(json!({
        "workflows": removed.workflows,
        "runs": removed.runs.len(),
        "uploads": removed.uploads.len(),
        "notebooks": removed.notebooks.len(),
    })))
}

async fn clock(State(app): State<Arc<App>>) -> Json<Value> {
    Json(clock_state(&app))
}

/// Changes the clock by any of `{"speed": 60}`, `{"set": TIME}` and `{"advance": "1h"}`, applied in this order.
/// Nothing is applied if one of them is invalid.
async fn set_clock(State(app): State<Arc<App>>, body: Result<Bytes, BytesRejection>) -> Result<Json<Value>, ApiError> {
    let body = body::json(&body_bytes(body)?)?;
    let Some(members) = body.as_object() else { return Err(ApiError::bad_request("the body must be an object")) };
    // All members are validated before any is applied.
    let (mut set, mut advance, mut speed) = (None, None, None);
    for (key, value) in members {
        match key.as_str() {
            "set" => {
                let time = value.as_str().and_then(|text| DateTime::parse_from_rfc3339(text).ok());
                set =
                    Some(time.ok_or_else(|| ApiError::bad_request("set must be a time such as 2026-11-24T12:00:00Z"))?);
            }
            "advance" => {
                let wrong = |why: String| ApiError::bad_request(format!("advance: {why}"));
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                advance = Some(parse_duration(&text).map_err(wrong)?);
            }
            "speed" => {
                let wrong = || ApiError::bad_request("speed must be a number from 0 to 1000000");
                let number = value.as_f64().filter(|speed| (0.0..=1e6).contains(speed));
                speed = Some(number.ok_or_else(wrong)?);
            }
            other => {
                return Err(ApiError::bad_request(format!("unknown key '{other}': expected set, advance or speed")));
            }
        }
    }
    let clock = &app.config.clock;
    // The speed is first, so that a stopped clock shows exactly the time that is set.
    if let Some(speed) = speed {
        clock.set_speed(speed);
    }
    if let Some(time) = set {
        clock.set(time.with_timezone(&Utc));
    }
    if let Some(time) = advance {
        clock.advance(time);
    }
    Ok(Json(clock_state(&app)))
}

fn clock_state(app: &App) -> Value {
    let clock = &app.config.clock;
    json!({ "now": timestamp(clock.now()), "speed": clock.speed() })
}
