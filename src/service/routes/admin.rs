//! Paths for whoever tests against the service; there only if asked for. They tell which faults struck. The clock of the service can be set, moved and
//! sped up: links expire, keys are forgotten and runs age without anybody waiting.

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

/// `GET` and `POST`.
const CLOCK: &str = "/admin/clock";

/// `GET`: how often each fault struck.
const FAULTS: &str = "/admin/faults";

/// The paths. They want the key as all others do.
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
    Json(shown(&app))
}

/// `{"speed": 60}`, `{"set": TIME}`, `{"advance": "1h"}`: what is given, in this order.
async fn set_clock(State(app): State<Arc<App>>, body: Result<Bytes, BytesRejection>) -> Result<Json<Value>, ApiError> {
    let body = body::json(&body_bytes(body)?)?;
    let Some(members) = body.as_object() else { return Err(ApiError::bad_request("the body must be an object")) };
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
                return Err(ApiError::bad_request(format!("unknown key '{other}': set, advance and speed are known")));
            }
        }
    }
    let clock = &app.config.clock;
    // A clock that is to stand still stands before it is set.
    if let Some(speed) = speed {
        clock.set_speed(speed);
    }
    if let Some(time) = set {
        clock.set(time.with_timezone(&Utc));
    }
    if let Some(time) = advance {
        clock.advance(time);
    }
    Ok(Json(shown(&app)))
}

fn shown(app: &App) -> Value {
    let clock = &app.config.clock;
    json!({ "now": timestamp(clock.now()), "speed": clock.speed() })
}
