//! Detection of stalled connections: open, but below the minimum rate. The transfer replaces such a connection.

use std::time::Duration;

use crate::net::RetryPolicy;

/// The minimum number of bytes per period of waiting for the socket, at least one.
#[derive(Debug)]
pub(super) struct StallDetector {
    period: Duration,
    bytes: u64,
    waited: Duration,
    received: u64,
}

impl StallDetector {
    pub(super) fn new(policy: &RetryPolicy) -> Self {
        let bytes = policy.stall_time.as_secs_f64() * policy.min_bytes_per_second as f64;
        StallDetector { period: policy.stall_time, bytes: (bytes as u64).max(1), waited: Duration::ZERO, received: 0 }
    }

    /// Returns the longest wait for the next bytes, after which [`StallDetector::is_stalled`] decides.
    pub(super) fn patience(&self) -> Duration {
        self.period.saturating_sub(self.waited)
    }

    /// Adds `bytes` received after `waited`, and returns true if a period ended below the minimum. Only time spent
    /// waiting for the socket is added, so that a slow reader does not make a connection look slow.
    pub(super) fn is_stalled(&mut self, waited: Duration, bytes: u64) -> bool {
        self.waited += waited;
        self.received = self.received.saturating_add(bytes);
        if self.waited < self.period {
            return false;
        }
        let stalled = self.received < self.bytes;
        (self.waited, self.received) = (Duration::ZERO, 0);
        stalled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn detector(min_bytes_per_second: u64) -> StallDetector {
        StallDetector::new(&RetryPolicy { min_bytes_per_second, ..RetryPolicy::default() })
    }

    #[test]
    fn a_slow_connection_is_a_stall() {
        let mut detector = detector(1024);
        let stalled_after = (1..100).find(|_| detector.is_stalled(SECOND, 1000)).unwrap();
        assert_eq!(stalled_after, 30);
        assert!((0..100).all(|_| !detector.is_stalled(SECOND, 1024)));
        // Bursts with pauses keep the mean.
        assert!((0..100).all(|i| !detector.is_stalled(SECOND, if i % 10 == 0 { 11_000 } else { 0 })));
    }

    #[test]
    fn without_a_minimum_rate_only_silence_is_a_stall() {
        let mut detector = detector(0);
        assert_eq!(detector.patience(), 30 * SECOND);
        assert!((0..1000).all(|_| !detector.is_stalled(SECOND, 1)));
        let patience = detector.patience();
        assert!(!detector.is_stalled(patience, 0), "one came in this period");
        assert!(detector.is_stalled(detector.patience(), 0));
    }
}
