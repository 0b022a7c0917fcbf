//! Time stamps as text, for files of state.

use chrono::{DateTime, SecondsFormat, Utc};

/// Returns the current time as RFC 3339 text, in UTC to the second.
pub(super) fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Returns the time since `stamp`; zero if it is in the future, `None` if it is not a valid RFC 3339 time.
pub fn age_of(stamp: &str) -> Option<std::time::Duration> {
    let then = DateTime::parse_from_rfc3339(stamp).ok()?;
    Some((Utc::now() - then.with_timezone(&Utc)).to_std().unwrap_or_default())
}
