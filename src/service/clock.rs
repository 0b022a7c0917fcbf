//! The service's only source of time. A test or a client of `/admin/clock` can set, advance, speed up or stop it, so
//! that links expire and runs age without waiting.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

/// A clock that follows the system's time until it is changed. Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Clock(Arc<Mutex<Option<ClockMode>>>);

/// The mode of a clock that was changed.
#[derive(Clone, Copy, Debug)]
struct ClockMode {
    /// The time of this clock when the system's clock showed `since`.
    base: DateTime<Utc>,
    since: DateTime<Utc>,
    /// Seconds of this clock per second of the system's clock; 0 is stopped.
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
    /// Returns the current time of this clock.
    pub fn now(&self) -> DateTime<Utc> {
        self.lock().map_or_else(Utc::now, |course| course.now())
    }

    /// Moves the clock forward by `time`; saturates at the largest time.
    pub fn advance(&self, time: Duration) {
        let delta = TimeDelta::from_std(time).unwrap_or(TimeDelta::MAX);
        self.change(|course| course.base = course.base.checked_add_signed(delta).unwrap_or(DateTime::<Utc>::MAX_UTC));
    }

    /// Sets the current time to `time`; the speed stays.
    pub fn set(&self, time: DateTime<Utc>) {
        self.change(|course| course.base = time);
    }

    /// Sets the seconds of this clock per second of the system's clock; 0 stops the clock, the default is 1.
    pub fn set_speed(&self, speed: f64) {
        self.change(|course| course.speed = speed);
    }

    /// Returns the seconds of this clock per second of the system's clock.
    pub fn speed(&self) -> f64 {
        self.lock().map_or(1.0, |course| course.speed)
    }

    /// Returns the speed of a clock that was changed; `None` if it follows the system's time.
    pub(super) fn changed_speed(&self) -> Option<f64> {
        self.lock().map(|course| course.speed)
    }

    /// Lets the clock follow the system's time again.
    pub fn reset(&self) {
        *self.lock() = None;
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
        // A mode is replaced as a whole, so that a panic elsewhere leaves no half-changed state behind a poisoned lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `time` has passed on this clock, or `stopped` returns true. Safe to drop at any await.
    pub(super) async fn sleep(&self, time: Duration, stopped: impl Fn() -> bool) {
        // The longest delay until a change of the clock, or a stop, is noticed.
        const MAX_SLEEP: Duration = Duration::from_millis(20);
        let time = TimeDelta::from_std(time).unwrap_or(TimeDelta::MAX);
        let end = self.now().checked_add_signed(time).unwrap_or(DateTime::<Utc>::MAX_UTC);
        while !stopped() {
            let Ok(left) = (end - self.now()).to_std() else { return };
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(MAX_SLEEP)).await;
        }
    }
}

/// Formats `time` as the API writes it: ISO 8601 in UTC with milliseconds.
pub(super) fn timestamp(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_can_be_set_advanced_and_stopped() {
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
        assert!(clock.now() > time, "an overflow saturates");
    }
}
