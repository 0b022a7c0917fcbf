//! Estimate of the remaining time of a run, from the progress that the API reports. There is no estimate where progress
//! does not support one.

use std::time::{Duration, Instant};

use crate::api::{LiveStatus, RunStatus};

/// Smallest progress, as a fraction, from which a rate is computed.
const MIN_PROGRESS: f64 = 0.05;

/// Shortest time from which a rate is computed.
const MIN_TIME: Duration = Duration::from_secs(15);

/// A linear extrapolation of the reported progress. There is no estimate if the service reports that it has none, if
/// too little progress was observed, or if the progress pauses for longer than its rate explains.
#[derive(Debug, Default)]
pub struct RemainingEstimate {
    first: Option<(Instant, f64)>,
    last: Option<(Instant, f64)>,
}

impl RemainingEstimate {
    /// Adds a state observed at `now`, and returns the estimated remaining time; `None` if there is no estimate.
    pub fn observe(&mut self, status: &LiveStatus, now: Instant) -> Option<Duration> {
        let done = status.overall_progress_percentage / 100.0;
        let running = RunStatus::parse(&status.overall_status) == RunStatus::Running;
        if !running || status.estimation_blocked_by.is_some() || !(0.0..1.0).contains(&done) {
            *self = RemainingEstimate::default();
            return None;
        }
        // Rates are taken over the whole observed time, from the first state with progress.
        let (start, from) = *self.first.get_or_insert((now, done));
        let (last, _) = match self.last {
            Some((at, same)) if same == done => (at, same),
            // Less progress than before is a new scale, such as that of a block that turned out larger: start over.
            Some((_, more)) if more > done => {
                *self = RemainingEstimate { first: Some((now, done)), last: Some((now, done)) };
                return None;
            }
            _ => *self.last.insert((now, done)),
        };
        let (gained, elapsed) = (done - from, last - start);
        if gained < MIN_PROGRESS || elapsed < MIN_TIME {
            return None;
        }
        let left = elapsed.mul_f64((1.0 - done) / gained);
        let paused_for = now - last;
        // Progress is reported in uneven steps. A pause of more than half the observed time is not one of them.
        (paused_for <= elapsed / 2).then(|| left.saturating_sub(paused_for)).filter(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(percent: f64, blocked_by: Option<&str>) -> LiveStatus {
        let value = json!({"run_id": "r", "workflow_id": "w", "overall_status": "running", "last_updated": "t",
                           "overall_progress_percentage": percent, "estimation_blocked_by": blocked_by});
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn steady_progress_is_extrapolated_and_nothing_else() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut remaining = RemainingEstimate::default();
        assert_eq!(remaining.observe(&status(10.0, None), at(0)), None);
        assert_eq!(remaining.observe(&status(12.0, None), at(20)), None, "too little progress");
        let left = remaining.observe(&status(40.0, None), at(60)).unwrap();
        assert_eq!(left.as_secs_f64().round(), 120.0);
        // A pause: first the estimate runs down, then there is none.
        assert_eq!(remaining.observe(&status(40.0, None), at(70)).unwrap().as_secs_f64().round(), 110.0);
        assert_eq!(remaining.observe(&status(40.0, None), at(100)), None);
        assert_eq!(remaining.observe(&status(20.0, None), at(110)), None, "a step back");
        assert_eq!(remaining.observe(&status(30.0, None), at(120)), None, "too short");
        assert_eq!(remaining.observe(&status(60.0, None), at(150)).unwrap().as_secs_f64().round(), 40.0);
        assert_eq!(remaining.observe(&status(70.0, Some("find_email")), at(160)), None);
        assert_eq!(remaining.observe(&status(120.0, None), at(170)), None);
    }
}
