//! Polling of a run until it ends, and the error of an end other than completed. It only observes: a run continues when
//! its watch ends.

use std::time::Duration;

use super::{Client, Error, RunEnd, RunFilter};
use crate::api::{LiveStatus, RunId, RunStatus};
use crate::net::{Kind, RetryBudget, is_loopback};

/// Shortest time that a poll gets, however near the deadline is.
const MIN_POLL_TIME: Duration = Duration::from_secs(1);

/// Consecutive polls of a run that was already seen which may be refused, or answered by something that is no state: an
/// authentication service that is away, a replica that lags. Some 20 s at the vendor's pace; by eye.
const ODD_POLLS: u32 = 4;

/// Intervals between polls, which grow by half each time.
#[derive(Clone, Copy, Debug)]
pub struct PollPace {
    /// The first interval.
    pub first: Duration,
    /// Upper bound of the intervals.
    pub longest: Duration,
}

impl PollPace {
    /// Intervals for a hosted service: 2 s, growing to 10 s, as in the vendor's own clients.
    pub const HOSTED: PollPace = PollPace { first: Duration::from_secs(2), longest: Duration::from_secs(10) };
    /// Intervals for a service on this machine: 100 ms, growing to 2 s.
    pub const LOOPBACK: PollPace = PollPace { first: Duration::from_millis(100), longest: Duration::from_secs(2) };

    /// Returns the interval after `polls` earlier polls. `jitter` is a random number in 0..1.
    fn wait(&self, polls: u32, jitter: f64) -> Duration {
        let grown = self.first.as_secs_f64() * 1.5f64.powi(polls.min(64) as i32);
        // Up to a tenth shorter, so that many watchers do not poll in step.
        Duration::from_secs_f64(grown.min(self.longest.as_secs_f64()) * (1.0 - 0.1 * jitter))
    }
}

/// Options of a watch.
#[derive(Clone, Copy, Debug)]
pub struct WatchOptions {
    /// Intervals between polls.
    pub pace: PollPace,
    /// Time during which a 404 means that the run is not visible yet. Zero for runs that existed before; see
    /// [`WatchOptions::of_new_run`].
    pub grace: Duration,
    /// Time after which the watch fails with [`Error::Deadline`]; `None` for no limit. The run continues.
    pub deadline: Option<Duration>,
}

impl WatchOptions {
    /// Returns options for runs that existed before this command, without a deadline.
    pub fn of(client: &Client) -> Self {
        let pace = if is_loopback(client.http().base()) { PollPace::LOOPBACK } else { PollPace::HOSTED };
        WatchOptions { pace, grace: Duration::ZERO, deadline: None }
    }

    /// Returns options for a run that was just started, which the API may not show everywhere yet: 30 s of grace.
    pub fn of_new_run(client: &Client) -> Self {
        WatchOptions { grace: Duration::from_secs(30), ..WatchOptions::of(client) }
    }
}

impl Client {
    /// Polls until the run ends, and passes each state to `on_status`. Returns the last state, whatever the end; see
    /// [`Client::require_completed`]. A state with an unknown name is not an end. Cancel safe: a dropped watch does not
    /// affect the run.
    pub async fn watch(
        &self,
        run: &RunId,
        options: &WatchOptions,
        mut on_status: impl FnMut(&LiveStatus),
    ) -> Result<LiveStatus, Error> {
        let clock = &self.http().policy().clock;
        let start = clock.now();
        // Until the API has answered, as it may not under an outage.
        let mut last_status = "without a known state".to_owned();
        let (mut was_seen, mut odd_polls) = (false, 0);
        for polls in 0.. {
            let deadline_passed = |last_status: &str, deadline: Duration| {
                Err(Error::Deadline { run: run.clone(), status: last_status.to_owned(), waited: deadline })
            };
            let poll = self.live_status_within(run, RetryBudget::POLL);
            let response = match options.deadline {
                None => poll.await,
                // The retries of a poll, during a loss of the network, must not outlast the deadline. Even a deadline
                // of zero gets one poll.
                Some(deadline) => {
                    let left = deadline.saturating_sub(clock.now() - start).max(MIN_POLL_TIME);
                    match tokio::time::timeout(left, poll).await {
                        Ok(response) => response,
                        Err(_) => return deadline_passed(&last_status, deadline),
                    }
                }
            };
            match response {
                Ok(status) => {
                    (was_seen, odd_polls) = (true, 0);
                    on_status(&status);
                    if RunStatus::parse(&status.overall_status).is_terminal() {
                        return Ok(status);
                    }
                    // Also an unknown state: a newer API may have more of them.
                    last_status = status.overall_status;
                }
                Err(Error::Net(error)) if error.kind() == Kind::NotFound && clock.now() - start < options.grace => {
                    last_status = "unknown to the API".to_owned();
                }
                // The run continues, and its watch may last hours: one odd response is no reason to end it.
                Err(Error::Net(error)) if was_seen && odd_polls < ODD_POLLS && is_odd(error.kind()) => odd_polls += 1,
                Err(error) => return Err(error),
            }
            // The last wait ends at the deadline, for one more poll.
            let mut wait = options.pace.wait(polls, (self.http().policy().jitter)());
            if let Some(deadline) = options.deadline {
                let left = deadline.saturating_sub(clock.now() - start);
                if left.is_zero() {
                    return deadline_passed(&last_status, deadline);
                }
                wait = wait.min(left);
            }
            clock.sleep(wait).await;
        }
        unreachable!("the loop has no end but a return")
    }

    /// Fails with [`Error::Ended`] if the run failed, was cancelled or timed out. The error has the failed block and
    /// its message.
    pub async fn require_completed(&self, status: &LiveStatus) -> Result<(), Error> {
        match self.end_of(status).await {
            Some(end) => Err(Error::Ended { run: status.run_id.clone(), end }),
            None => Ok(()),
        }
    }

    /// Returns the state in which a run ended that failed, was cancelled or timed out; `None` for other states.
    pub async fn end_of(&self, status: &LiveStatus) -> Option<RunEnd> {
        match RunStatus::parse(&status.overall_status) {
            RunStatus::Failed => Some(self.failure(status).await),
            RunStatus::Cancelled => Some(RunEnd::Cancelled),
            RunStatus::TimedOut => Some(RunEnd::TimedOut),
            _ => None,
        }
    }

    async fn failure(&self, status: &LiveStatus) -> RunEnd {
        // The first failed block with a message explains most; then any failed block; then any block with a message.
        let mut blocks: Vec<_> = status.blocks.iter().collect();
        blocks.sort_by_key(|block| block.sequence_number);
        let failed = blocks
            .iter()
            .find(|b| b.error_message.is_some() && RunStatus::parse(&b.status) == RunStatus::Failed)
            .or_else(|| blocks.iter().find(|b| RunStatus::parse(&b.status) == RunStatus::Failed))
            .or_else(|| blocks.iter().find(|b| b.error_message.is_some()));
        let block = failed.map(|b| (b.block_name.clone(), b.sequence_number));
        let mut message = failed.and_then(|b| b.error_message.clone());
        if message.is_none() {
            // Only the list of runs has the message of the run itself. If the list fails, the error goes without one.
            let filter = RunFilter { workflow: Some(status.workflow_id.clone()), ..RunFilter::default() };
            let runs = self.runs(&filter).await.unwrap_or_default();
            let run = runs.into_iter().find(|run| run.job_id == status.run_id);
            message = run.and_then(|run| run.error_message.or(run.status_reason));
        }
        RunEnd::Failed { block, message }
    }
}

/// Returns true for refusals of a request that was accepted before.
fn is_odd(kind: Kind) -> bool {
    matches!(kind, Kind::NotFound | Kind::KeyRefused | Kind::Forbidden | Kind::Refused | Kind::BadResponse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_grows_to_its_bound() {
        let waits: Vec<u128> = (0..7).map(|polls| PollPace::HOSTED.wait(polls, 0.0).as_millis()).collect();
        assert_eq!(waits, [2000, 3000, 4500, 6750, 10_000, 10_000, 10_000]);
        assert_eq!(PollPace::HOSTED.wait(0, 1.0).as_millis(), 1800);
        assert_eq!(PollPace::HOSTED.wait(u32::MAX, 0.0).as_secs(), 10);
    }
}
