//! Counters of what the network did and the client survived, for the report of a command.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Shared counters of one process. Cheap to clone; all clones count together.
#[derive(Clone, Debug, Default)]
pub struct Recoveries(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    resumed: AtomicU64,
    fresh_links: AtomicU64,
    retries: AtomicU64,
    waited_ms: AtomicU64,
}

/// The counts at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Downloads that continued, or started over, after their connection broke or stalled.
    pub resumed: u64,
    /// Links that were replaced because they had expired, or were about to.
    pub fresh_links: u64,
    /// Requests that were repeated after a wait.
    pub retries: u64,
    /// Time of these waits together. Requests that wait at the same time count each.
    pub waited: Duration,
}

impl Recoveries {
    /// Returns the present counts.
    pub fn counts(&self) -> Recovered {
        let Counters { resumed, fresh_links, retries, waited_ms } = &*self.0;
        let [resumed, fresh_links, retries, waited_ms] =
            [resumed, fresh_links, retries, waited_ms].map(|counter| counter.load(Ordering::Relaxed));
        Recovered { resumed, fresh_links, retries, waited: Duration::from_millis(waited_ms) }
    }

    pub(super) fn add_resume(&self) {
        self.0.resumed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_fresh_link(&self) {
        self.0.fresh_links.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_wait(&self, wait: Duration) {
        self.0.retries.fetch_add(1, Ordering::Relaxed);
        self.0.waited_ms.fetch_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}
