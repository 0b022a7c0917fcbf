//! Time stamps as text, for files of state.

use std::time::{Duration, SystemTime};

use chrono::{DateTime, NaiveDateTime, SecondsFormat, Utc};

/// Returns the current time as RFC 3339 text, in UTC to the second.
pub(super) fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Returns the time since `stamp`; zero if it is in the future, `None` if it is not a valid time. See [`age_at`].
pub(super) fn age_of(stamp: &str) -> Option<Duration> {
    age_at(stamp, SystemTime::now())
}

/// Returns the time from `stamp` to `now`; zero if it is later. `None` unless it is an RFC 3339 time, or one without an
/// offset, which counts as UTC: it is what Python prints for a time without a zone.
pub fn age_at(stamp: &str, now: SystemTime) -> Option<Duration> {
    let stamp = stamp.trim();
    let naive = |format| NaiveDateTime::parse_from_str(stamp, format).ok().map(|time| time.and_utc());
    let then = DateTime::parse_from_rfc3339(stamp).ok().map(|time| time.with_timezone(&Utc));
    let then = then.or_else(|| naive("%Y-%m-%dT%H:%M:%S%.f")).or_else(|| naive("%Y-%m-%d %H:%M:%S%.f"))?;
    Some((DateTime::<Utc>::from(now) - then).to_std().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_without_an_offset_is_utc() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_793_613_610);
        let age = |stamp| age_at(stamp, now).map(|age| age.as_secs());
        assert_eq!(age("2026-11-02T08:00:00Z"), age("2026-11-02T09:00:00+01:00"));
        assert_eq!(age("2026-11-02T08:00:00Z"), age("2026-11-02T08:00:00.000000"));
        assert_eq!(age("2026-11-02T08:00:00Z"), age("2026-11-02 08:00:00"));
        assert_eq!((age("2099-01-01T00:00:00"), age("yesterday"), age("2026-11-02")), (Some(0), None, None));
    }
}
