//! Endpoints for tests against the service, served only with [`crate::service::Config::admin`]: a count of the injected
//! faults, and the service's clock, which can be set, advanced and sped up so that links and idempotency keys expire
//! and runs age without waiting. Not part of the OpenAPI description.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::middleware;
use axum::routing::get;
use axum::{Json, Router};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::key::require_key;
use crate::service::api_error::ApiError;
use crate::service::app::App;
use crate::service::body;
use crate::service::clock::timestamp;
use crate::service::request::body_bytes;
use crate::text::parse_duration;

/// `GET` returns the clock, `POST` changes it.
const CLOCK: &str = "/admin/clock";

/// `GET` returns the number of times that each fault was injected.
const FAULTS: &str = "/admin/faults";

/// Builds the router of these paths, which require the API key as all others do.
pub(super) fn router(app: &Arc<App>) -> Router<Arc<App>> {
    let clock = get(clock).post(set_clock);
    Router::new()
        .route(CLOCK, clock)
        .route(FAULTS, get(faults))
        .route_layer(middleware::from_fn_with_state(Arc::clone(app), require_key))
}

async fn faults(State(app): State<Arc<App>>) -> Json<Value> {
    let struck = app.faults.struck();
    Json(struck.into_iter().map(|(kind, struck)| json!({ "kind": kind, "struck": struck })).collect())
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
