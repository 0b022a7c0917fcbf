//! The service's one source of the time, so that a test can let an hour pass.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

/// The system's clock, moved forward by an offset that clones share.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    offset_ms: Arc<AtomicI64>,
}

impl Clock {
    /// The time now.
    pub fn now(&self) -> DateTime<Utc> {
        Utc::now() + TimeDelta::milliseconds(self.offset_ms.load(Ordering::SeqCst))
    }

    /// Lets `time` pass at once, for this clock and its clones.
    pub fn advance(&self, time: Duration) {
        let ms = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        self.offset_ms.fetch_add(ms, Ordering::SeqCst);
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
