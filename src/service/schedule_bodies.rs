//! Bodies of requests that create and change schedules, with the checks of their fields.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde_json::Value;
use utoipa::ToSchema;

use super::api_error::ApiError;
use super::body::Check;
use super::clock::timestamp;
use super::cron::Cron;
use super::location::Location;
use super::schedules::Schedule;

/// Longest name, in characters, as the API has it.
const MAX_NAME_CHARS: usize = 120;

/// Body of a request that creates a schedule.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the source of a schema; the body is read by hand, for the locations of all problems")]
pub(super) struct CreateSchedule {
    workflow_id: String,
    name: String,
    cron_expression: String,
    timezone: Option<String>,
    description: Option<String>,
    is_active: Option<bool>,
}

/// Body of a request that changes a schedule.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the source of a schema")]
pub(super) struct UpdateSchedule {
    workflow_id: Option<String>,
    name: Option<String>,
    cron_expression: Option<String>,
    timezone: Option<String>,
    description: Option<String>,
    is_active: Option<bool>,
}

/// The fields of a body that were given.
#[derive(Default)]
pub(super) struct ScheduleChange {
    pub workflow_id: Option<String>,
    name: Option<String>,
    cron_expression: Option<String>,
    timezone: Option<String>,
    /// `Some(None)` for null, which removes it.
    description: Option<Option<String>>,
    is_active: Option<bool>,
}

impl ScheduleChange {
    /// Reads a body; 422 with every problem. `is_new` requires the fields without a default.
    pub(super) fn read(body: &Value, is_new: bool) -> Result<Self, ApiError> {
        let mut check = Check::default();
        let location = Location::root("body");
        let Some(object) = check.object(body, &location) else { return Err(check.into_error()) };
        let mut text = |key: &str| match is_new {
            true => check.text(object, key, &location),
            false => check.optional_text(object, key, &location),
        };
        let (workflow_id, name, cron_expression) = (text("workflow_id"), text("name"), text("cron_expression"));
        let timezone = check.optional_text(object, "timezone", &location);
        let description = check.optional_text(object, "description", &location);
        let description = object.contains_key("description").then_some(description);
        let is_active = match object.get("is_active") {
            None | Some(Value::Null) => None,
            Some(Value::Bool(flag)) => Some(*flag),
            Some(_) => {
                check.refuse(location.key("is_active").invalid("bool_type", "Input should be a valid boolean"));
                None
            }
        };
        if name.as_ref().is_some_and(|name| !(1..=MAX_NAME_CHARS).contains(&name.chars().count())) {
            let text = format!("String should have 1 to {MAX_NAME_CHARS} characters");
            check.refuse(location.key("name").invalid("value_error", text));
        }
        if let Some(Err(why)) = cron_expression.as_deref().map(Cron::parse) {
            check.refuse(location.key("cron_expression").invalid("value_error", why));
        }
        if timezone.as_deref().is_some_and(|name| name.parse::<Tz>().is_err()) {
            let text = "Input should be the IANA name of a time zone, such as Europe/Berlin";
            check.refuse(location.key("timezone").invalid("value_error", text));
        }
        check.ended()?;
        Ok(ScheduleChange { workflow_id, name, cron_expression, timezone, description, is_active })
    }

    /// Returns a new schedule.
    pub(super) fn create(self, id: String, now: DateTime<Utc>) -> Schedule {
        let new = Schedule {
            id,
            workflow_id: String::new(),
            name: String::new(),
            cron_expression: String::new(),
            timezone: "UTC".to_owned(),
            description: None,
            is_active: true,
            created_at: timestamp(now),
            updated_at: timestamp(now),
            next_run_at: None,
            last_run_at: None,
            last_run_id: None,
            last_error: None,
        };
        self.apply(new, now)
    }

    /// Returns the schedule with the given fields replaced.
    pub(super) fn apply(self, schedule: Schedule, now: DateTime<Utc>) -> Schedule {
        let mut changed = Schedule {
            workflow_id: self.workflow_id.unwrap_or(schedule.workflow_id),
            name: self.name.unwrap_or(schedule.name),
            cron_expression: self.cron_expression.unwrap_or(schedule.cron_expression),
            timezone: self.timezone.unwrap_or(schedule.timezone),
            description: self.description.unwrap_or(schedule.description),
            is_active: self.is_active.unwrap_or(schedule.is_active),
            updated_at: timestamp(now),
            ..schedule
        };
        changed.plan_next(now);
        changed
    }
}
