//! A schedule, on the wire and in the store, and when it is due. Starts no run; `routes` does.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::clock::timestamp;
use super::cron::Cron;

/// A schedule. Our reading: the response has the fields of the body that created it, its id and its times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub(super) struct Schedule {
    /// Id, a UUID.
    pub id: String,
    /// Workflow that is run.
    pub workflow_id: String,
    /// Name, 1 to 120 characters.
    pub name: String,
    /// Five fields: minute, hour, day, month, weekday.
    pub cron_expression: String,
    /// IANA name of the time zone of the expression.
    pub timezone: String,
    /// Description.
    pub description: Option<String>,
    /// False for a schedule that starts no runs.
    pub is_active: bool,
    /// Time of creation.
    pub created_at: String,
    /// Time of the last change by a request.
    pub updated_at: String,
    /// Time of the next run; null for an inactive schedule.
    pub next_run_at: Option<String>,
    /// Time of the last run; null before the first.
    pub last_run_at: Option<String>,
    /// Last run; null before the first.
    pub last_run_id: Option<String>,
    /// Reason why the last time has started no run; null if it has.
    pub last_error: Option<String>,
}

impl Schedule {
    /// Returns true if a run is due.
    pub(super) fn is_due(&self, now: DateTime<Utc>) -> bool {
        let next = self.next_run_at.as_deref().and_then(|next| DateTime::parse_from_rfc3339(next).ok());
        self.is_active && next.is_some_and(|next| next <= now)
    }

    /// Returns true if the next time is later than the first one after `now`, because it was planned by a clock that was
    /// ahead.
    pub(super) fn is_planned_late(&self, now: DateTime<Utc>) -> bool {
        let time = |text: &Option<String>| DateTime::parse_from_rfc3339(text.as_deref()?).ok();
        match (time(&self.next_run_at), time(&self.clone().planned(now).next_run_at)) {
            (Some(planned), Some(first)) => first < planned,
            _ => false,
        }
    }

    /// Returns the schedule with the next time after `now`.
    pub(super) fn planned(mut self, now: DateTime<Utc>) -> Self {
        self.plan_next(now);
        self
    }

    /// Sets the next time after `now`. Times that have passed since the last one are not made up for.
    pub(super) fn plan_next(&mut self, now: DateTime<Utc>) {
        let next = || {
            let zone: Tz = self.timezone.parse().ok()?;
            Cron::parse(&self.cron_expression).ok()?.next(zone, now)
        };
        self.next_run_at = if self.is_active { next().map(timestamp) } else { None };
    }
}
