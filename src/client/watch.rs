//! Watching a run until it ends.

use std::time::Duration;

use super::{Client, Error, RunEnd, RunFilter};
use crate::api::{LiveStatus, RunId, RunStatus};
use crate::net::{Kind, RetryBudget, is_loopback};

/// However short a deadline is, a question gets so long.
const LEAST_PATIENCE: Duration = Duration::from_secs(1);

/// How often the state is asked for.
#[derive(Clone, Copy, Debug)]
pub struct PollPace {
    /// The first wait.
    pub first: Duration,
    /// The longest wait; each is half as long again as the one before.
    pub longest: Duration,
}

impl PollPace {
    /// For a service elsewhere: 2 s, growing to 10 s, as the vendor's own clients do.
    pub const HOSTED: PollPace = PollPace { first: Duration::from_secs(2), longest: Duration::from_secs(10) };
    /// For a service on this machine, which nobody shares.
    pub const LOOPBACK: PollPace = PollPace { first: Duration::from_millis(100), longest: Duration::from_secs(2) };

    fn wait(&self, asked: u32, chance: f64) -> Duration {
        let grown = self.first.as_secs_f64() * 1.5f64.powi(asked.min(64) as i32);
        // Up to a tenth less, so that many watchers do not stay in step.
        Duration::from_secs_f64(grown.min(self.longest.as_secs_f64()) * (1.0 - 0.1 * chance))
    }
}

/// How a run is watched.
#[derive(Clone, Copy, Debug)]
pub struct WatchOptions {
    /// How often to ask.
    pub pace: PollPace,
    /// So long a run that is not known is taken for one that is not known yet. Nothing by default: only a run that this
    /// process has just started is given time, see [`WatchOptions::of_new_run`].
    pub grace: Duration,
    /// Give up after so long; the run goes on.
    pub deadline: Option<Duration>,
}

impl WatchOptions {
    /// For runs behind this client that were there before.
    pub fn of(client: &Client) -> Self {
        let pace = if is_loopback(client.http().base()) { PollPace::LOOPBACK } else { PollPace::HOSTED };
        WatchOptions { pace, grace: Duration::ZERO, deadline: None }
    }

    /// For a run that was started a moment ago: the API may not know it everywhere yet.
    pub fn of_new_run(client: &Client) -> Self {
        WatchOptions { grace: Duration::from_secs(30), ..WatchOptions::of(client) }
    }
}

impl Client {
    /// Asks until the run has ended, telling each state to `on_status`. A state that is not known is not an end.
    /// The last state is returned whatever the end is; see [`Client::require_completed`].
    pub async fn watch(
        &self,
        run: &RunId,
        options: &WatchOptions,
        mut on_status: impl FnMut(&LiveStatus),
    ) -> Result<LiveStatus, Error> {
        let clock = &self.http().policy().clock;
        let start = clock.now();
        let mut last = "not known to the API".to_owned();
        for asked in 0.. {
            let passed = |last: &str, deadline: Duration| {
                Err(Error::Deadline { run: run.clone(), status: last.to_owned(), waited: deadline })
            };
            let question = self.live_status_within(run, RetryBudget::POLL);
            let answer = match options.deadline {
                None => question.await,
                // A network that is away must not hold up the deadline; the first question is asked in any case.
                Some(deadline) => {
                    let left = deadline.saturating_sub(clock.now() - start).max(LEAST_PATIENCE);
                    match tokio::time::timeout(left, question).await {
                        Ok(answer) => answer,
                        Err(_) => return passed(&last, deadline),
                    }
                }
            };
            match answer {
                Ok(status) => {
                    on_status(&status);
                    if RunStatus::parse(&status.overall_status).is_terminal() {
                        return Ok(status);
                    }
                    last = status.overall_status;
                }
                Err(Error::Net(error)) if error.kind() == Kind::NotFound && clock.now() - start < options.grace => {}
                Err(error) => return Err(error),
            }
            let mut wait = options.pace.wait(asked, (self.http().policy().chance)());
            if let Some(deadline) = options.deadline {
                let left = deadline.saturating_sub(clock.now() - start);
                if left.is_zero() {
                    return passed(&last, deadline);
                }
                wait = wait.min(left);
            }
            clock.sleep(wait).await;
        }
        unreachable!("the loop has no end but a return")
    }

    /// Turns an end that is not `completed` into its error, with the failing block's words.
    pub async fn require_completed(&self, status: &LiveStatus) -> Result<(), Error> {
        let end = match RunStatus::parse(&status.overall_status) {
            RunStatus::Failed => self.failure(status).await,
            RunStatus::Cancelled => RunEnd::Cancelled,
            RunStatus::TimedOut => RunEnd::TimedOut,
            _ => return Ok(()),
        };
        Err(Error::Ended { run: status.run_id.clone(), end })
    }

    async fn failure(&self, status: &LiveStatus) -> RunEnd {
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
            // Only the list of runs has a message of the run itself. Not having it is no reason to fail otherwise.
            let filter = RunFilter { workflow: Some(status.workflow_id.clone()), ..RunFilter::default() };
            let runs = self.runs(&filter).await.unwrap_or_default();
            let run = runs.into_iter().find(|run| run.job_id == status.run_id);
            message = run.and_then(|run| run.error_message.or(run.status_reason));
        }
        RunEnd::Failed { block, message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_grows_to_its_bound() {
        let waits: Vec<u128> = (0..7).map(|asked| PollPace::HOSTED.wait(asked, 0.0).as_millis()).collect();
        assert_eq!(waits, [2000, 3000, 4500, 6750, 10_000, 10_000, 10_000]);
        assert_eq!(PollPace::HOSTED.wait(0, 1.0).as_millis(), 1800);
        assert_eq!(PollPace::HOSTED.wait(u32::MAX, 0.0).as_secs(), 10);
    }
}
