//! The flags that select runs by their time.

use std::time::Duration;

use crate::api::Run;

/// A span of time that selects runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub(super) struct Period {
    /// Only runs that were queued at this time or later: 2026-11-01, 2026-11-01T12:00:00Z, or 7d for the last seven days
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    pub since: Option<Moment>,
    /// Only runs that were queued before this time
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    pub until: Option<Moment>,
}

/// A point in time, in microseconds since 1970 in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(i64);

impl Period {
    /// Returns true if the run was queued within the period; runs without a time are in every period.
    pub(super) fn has(&self, run: &Run) -> bool {
        let Some(time) = time_of(run) else { return true };
        self.since.is_none_or(|since| since <= time) && self.until.is_none_or(|until| time < until)
    }

    /// Returns true if the period begins after the run was queued.
    pub(super) fn begins_after(&self, run: &Run) -> bool {
        self.since.is_some_and(|since| time_of(run).is_some_and(|time| time < since))
    }
}

/// Returns the time that selects a run; `None` if the API has none.
fn time_of(run: &Run) -> Option<Moment> {
    run.queued_at.as_ref().or(run.created_at.as_ref()).and_then(|time| moment_of(time))
}

/// Reads a time of the API, whose fraction may have more digits than a microsecond.
fn moment_of(time: &str) -> Option<Moment> {
    let parsed = chrono::DateTime::parse_from_rfc3339(time).map(|time| time.timestamp_micros());
    let local = || chrono::NaiveDateTime::parse_from_str(time, "%Y-%m-%dT%H:%M:%S%.f");
    parsed.ok().or_else(|| Some(local().ok()?.and_utc().timestamp_micros())).map(Moment)
}

fn parse_moment(text: &str) -> Result<Moment, String> {
    if let Some(moment) = moment_of(text) {
        return Ok(moment);
    }
    if let Ok(date) = chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        return Ok(Moment(date.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_micros()));
    }
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok());
    let before = match days {
        Some(days) => Ok(Duration::from_secs(days.saturating_mul(86_400))),
        None => crate::text::parse_duration(text),
    };
    let before = before
        .map_err(|_| "it must be a date, a time such as 2026-11-01T12:00:00Z, or a span such as 7d".to_owned())?;
    let micros = i64::try_from(before.as_micros()).unwrap_or(i64::MAX);
    Ok(Moment(chrono::Utc::now().timestamp_micros().saturating_sub(micros)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_dates_times_and_spans() {
        let at = |text: &str| parse_moment(text).unwrap();
        assert_eq!(at("2026-11-01"), at("2026-11-01T00:00:00Z"));
        assert_eq!(at("2026-11-01T02:00:00+02:00"), at("2026-11-01"));
        assert!(at("7d") < at("1h") && at("2d") > at("2026-01-01"));
        assert!(parse_moment("yesterday").is_err());
        assert_eq!(moment_of("2026-11-30T11:49:36.411123456Z"), moment_of("2026-11-30T11:49:36.411123Z"));
    }
}
