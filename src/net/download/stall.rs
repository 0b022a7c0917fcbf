//! When a connection that is still there counts as stalled.

use std::time::Duration;

use crate::net::RetryPolicy;

/// The least that a connection must bring: so many bytes in any period of waiting for it, one at least.
#[derive(Debug)]
pub(super) struct StallDetector {
    period: Duration,
    bytes: u64,
    waited: Duration,
    came: u64,
}

impl StallDetector {
    pub fn new(policy: &RetryPolicy) -> Self {
        let bytes = policy.stall_time.as_secs_f64() * policy.min_bytes_per_second as f64;
        StallDetector { period: policy.stall_time, bytes: (bytes as u64).max(1), waited: Duration::ZERO, came: 0 }
    }

    /// How long may be waited for the next bytes.
    pub fn patience(&self) -> Duration {
        self.period.saturating_sub(self.waited)
    }

    /// After `waited`, so many bytes came. True if the connection has stalled. Time that our reader took is not
    /// waiting, so that a slow reader does not make a connection look slow.
    pub fn is_stalled(&mut self, waited: Duration, bytes: u64) -> bool {
        self.waited += waited;
        self.came = self.came.saturating_add(bytes);
        if self.waited < self.period {
            return false;
        }
        let stalled = self.came < self.bytes;
        (self.waited, self.came) = (Duration::ZERO, 0);
        stalled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn floor(min_bytes_per_second: u64) -> StallDetector {
        StallDetector::new(&RetryPolicy { min_bytes_per_second, ..RetryPolicy::default() })
    }

    #[test]
    fn a_drip_is_a_stall() {
        let mut floor = floor(1024);
        let stalled_after = (1..100).find(|_| floor.is_stalled(SECOND, 1000)).unwrap();
        assert_eq!(stalled_after, 30);
        assert!((0..100).all(|_| !floor.is_stalled(SECOND, 1024)));
        // Bursts with pauses keep the mean.
        assert!((0..100).all(|i| !floor.is_stalled(SECOND, if i % 10 == 0 { 11_000 } else { 0 })));
    }

    #[test]
    fn without_a_floor_only_silence_is_a_stall() {
        let mut floor = floor(0);
        assert_eq!(floor.patience(), 30 * SECOND);
        assert!((0..1000).all(|_| !floor.is_stalled(SECOND, 1)));
        let patience = floor.patience();
        assert!(!floor.is_stalled(patience, 0), "one came in this period");
        assert!(floor.is_stalled(floor.patience(), 0));
    }
}
