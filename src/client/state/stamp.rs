//! Moments as text, for files of state.

use chrono::{DateTime, SecondsFormat, Utc};

/// The present moment, in UTC to the second.
pub(super) fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The time since `stamp`; nothing if it lies ahead, `None` if it is no time.
pub fn age_of(stamp: &str) -> Option<std::time::Duration> {
    let then = DateTime::parse_from_rfc3339(stamp).ok()?;
    Some((Utc::now() - then.with_timezone(&Utc)).to_std().unwrap_or_default())
}
