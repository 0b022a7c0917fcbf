//! Endpoints of schedules, and the task that starts their runs by the service's clock.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State};
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::account::not_offered;
use super::runs;
use super::workflows::{is_uuid, malformed_id, unknown_workflow};
use crate::api::WorkflowId;
use crate::api::routes as paths;
use crate::service::api_error::ApiError;
use crate::service::app::App;
use crate::service::body;
use crate::service::clock::timestamp;
use crate::service::request::{blocking, body_bytes, path_text};
use crate::service::schedule_bodies::ScheduleChange;
use crate::service::schedules::Schedule;

/// Interval of the look at the clock. A test that advances the clock waits this long.
const TICK: Duration = Duration::from_millis(100);

pub(super) async fn list(State(app): State<Arc<App>>) -> Result<Json<Vec<Schedule>>, ApiError> {
    blocking(move || Ok(Json(app.store.schedules()?))).await
}

pub(super) async fn create(
    State(app): State<Arc<App>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Schedule>, ApiError> {
    let body = body_bytes(body)?;
    blocking(move || {
        let change = ScheduleChange::read(&body::json(&body)?, true)?;
        let _no_reset = app.resetting.blocking_read();
        check_workflow(&app, &change)?;
        let schedule = change.create(Uuid::new_v4().to_string(), app.config.clock.now());
        app.store.put_schedule(&schedule)?;
        Ok(Json(schedule))
    })
    .await
}

pub(super) async fn one(
    State(app): State<Arc<App>>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<Schedule>, ApiError> {
    let id = path_text(path)?;
    // A path of its own in the hosted API.
    if let Some(text) = not_offered(&format!("{}/{id}", paths::SCHEDULES)) {
        return Err(ApiError::not_offered(text));
    }
    blocking(move || {
        let schedule = app.store.schedule(&id)?;
        Ok(Json(schedule.ok_or_else(|| unknown(&id))?))
    })
    .await
}

pub(super) async fn update(
    State(app): State<Arc<App>>,
    path: Result<Path<String>, PathRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Schedule>, ApiError> {
    let (id, body) = (path_text(path)?, body_bytes(body)?);
    blocking(move || {
        let change = ScheduleChange::read(&body::json(&body)?, false)?;
        let _no_reset = app.resetting.blocking_read();
        check_workflow(&app, &change)?;
        let now = app.config.clock.now();
        let changed = app.store.change_schedule(&id, |schedule| change.apply(schedule, now))?;
        Ok(Json(changed.ok_or_else(|| unknown(&id))?))
    })
    .await
}

/// Deletes a schedule and returns it, as the deletion of a workflow does.
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<Schedule>, ApiError> {
    let id = path_text(path)?;
    blocking(move || {
        let _no_reset = app.resetting.blocking_read();
        let removed = app.store.remove_schedule(&id)?;
        Ok(Json(removed.ok_or_else(|| unknown(&id))?))
    })
    .await
}

fn check_workflow(app: &App, change: &ScheduleChange) -> Result<(), ApiError> {
    let Some(id) = &change.workflow_id else { return Ok(()) };
    app.store.workflow(&WorkflowId(id.clone()))?.map(drop).ok_or_else(unknown_workflow)
}

fn unknown(id: &str) -> ApiError {
    if is_uuid(id) { ApiError::not_found("Schedule not found") } else { malformed_id("schedule_id", id) }
}

/// Starts the runs that are due, until it is aborted.
///
/// If the clock was set back, and at the start of the service, whose clock may be behind that of an earlier one, the next
/// times are those after the new time.
pub(in crate::service) async fn run_schedules(app: Arc<App>) {
    let mut last = None;
    loop {
        let now = app.config.clock.now();
        // The system's clock may go back by less when it is adjusted.
        let is_back = last.is_none_or(|last| last - now > TimeDelta::seconds(1));
        let shared = Arc::clone(&app);
        // An error of the store is met again by the next look.
        let looked = tokio::task::spawn_blocking(move || {
            if is_back {
                let _no_reset = shared.resetting.blocking_read();
                plan_earlier(&shared, now)?;
            }
            start_due(&shared)
        });
        if matches!(looked.await, Ok(Ok(()))) {
            last = Some(now);
        }
        tokio::time::sleep(TICK).await;
    }
}

/// Plans the schedules anew whose next time is not the first one after `now`.
fn plan_earlier(app: &App, now: DateTime<Utc>) -> Result<(), ApiError> {
    for schedule in app.store.schedules()? {
        if schedule.is_planned_late(now) {
            app.store.change_schedule(&schedule.id, |schedule| schedule.planned(now))?;
        }
    }
    Ok(())
}

/// Plans all schedules anew, from the time of the clock.
pub(super) fn plan_anew(app: &App) -> Result<(), ApiError> {
    for schedule in app.store.schedules()? {
        app.store.change_schedule(&schedule.id, |schedule| schedule.planned(app.config.clock.now()))?;
    }
    Ok(())
}

fn start_due(app: &App) -> Result<(), ApiError> {
    let is_due = |schedule: &Schedule| schedule.is_due(app.config.clock.now());
    if !app.store.schedules()?.iter().any(is_due) {
        return Ok(());
    }
    // A reset may have removed or restored schedules since.
    let _no_reset = app.resetting.blocking_read();
    for schedule in app.store.schedules()?.into_iter().filter(is_due) {
        let now = app.config.clock.now();
        let started = runs::start_scheduled(app, &WorkflowId(schedule.workflow_id.clone()));
        app.store.change_schedule(&schedule.id, |mut schedule| {
            schedule.plan_next(now);
            match started {
                Ok(run) => {
                    schedule.last_run_at = Some(timestamp(now));
                    schedule.last_run_id = Some(run.0);
                    schedule.last_error = None;
                }
                Err(error) => schedule.last_error = Some(error.to_text()),
            }
            schedule
        })?;
    }
    Ok(())
}
