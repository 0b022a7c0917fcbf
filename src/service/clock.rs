//! The service's one source of the time, so that a test can let an hour pass.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

/// A clock that shows the system's time until it is told otherwise. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Clock(Arc<Mutex<Option<ClockMode>>>);

/// How the time goes that is shown.
#[derive(Clone, Copy, Debug)]
struct ClockMode {
    /// Shown at the moment `since` of the system's clock.
    base: DateTime<Utc>,
    since: DateTime<Utc>,
    speed: f64,
}

impl ClockMode {
    fn now(&self) -> DateTime<Utc> {
        let passed = (Utc::now() - self.since).num_microseconds().unwrap_or(i64::MAX) as f64 * self.speed;
        let passed = TimeDelta::microseconds(passed as i64);
        self.base.checked_add_signed(passed).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

impl Clock {
    /// The time now.
    pub fn now(&self) -> DateTime<Utc> {
        self.lock().map_or_else(Utc::now, |course| course.now())
    }

    /// Lets `time` pass at once.
    pub fn advance(&self, time: Duration) {
        let delta = TimeDelta::from_std(time).unwrap_or(TimeDelta::MAX);
        self.change(|course| course.base = course.base.checked_add_signed(delta).unwrap_or(DateTime::<Utc>::MAX_UTC));
    }

    /// Shows `time` from now on.
    pub fn set(&self, time: DateTime<Utc>) {
        self.change(|course| course.base = time);
    }

    /// Lets so many seconds pass in one; 0 stops it.
    pub fn set_speed(&self, speed: f64) {
        self.change(|course| course.speed = speed);
    }

    /// Seconds that pass in one.
    pub fn speed(&self) -> f64 {
        self.lock().map_or(1.0, |course| course.speed)
    }

    fn change(&self, change: impl FnOnce(&mut ClockMode)) {
        let mut shared = self.lock();
        let now = Utc::now();
        let mut course = shared.map_or(ClockMode { base: now, since: now, speed: 1.0 }, |course| ClockMode {
            base: course.now(),
            since: now,
            ..course
        });
        change(&mut course);
        *shared = Some(course);
    }

    fn lock(&self) -> MutexGuard<'_, Option<ClockMode>> {
        // Changed whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `time` has passed on this clock, or it is `stopped`.
    pub(super) async fn sleep(&self, time: Duration, stopped: impl Fn() -> bool) {
        // So soon a clock that is moved, and a stop, are noticed.
        const LOOK: Duration = Duration::from_millis(20);
        let time = TimeDelta::from_std(time).unwrap_or(TimeDelta::MAX);
        let end = self.now().checked_add_signed(time).unwrap_or(DateTime::<Utc>::MAX_UTC);
        while !stopped() {
            let Ok(left) = (end - self.now()).to_std() else { return };
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(LOOK)).await;
        }
    }
}

/// `time` as the API writes it: ISO 8601, in UTC.
pub(super) fn timestamp(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_as_it_is_told() {
        let clock = Clock::default();
        assert!((clock.now() - Utc::now()).num_seconds().abs() < 5);
        clock.set_speed(0.0);
        let time = DateTime::from_timestamp(1000, 0).unwrap();
        clock.set(time);
        assert_eq!(clock.clone().now(), time);
        clock.advance(Duration::from_secs(900));
        assert_eq!(clock.now(), DateTime::from_timestamp(1900, 0).unwrap());
        clock.set_speed(1e6);
        assert!(clock.now() > time);
        clock.advance(Duration::MAX);
        assert!(clock.now() > time, "it stays at the end of time");
    }
}
