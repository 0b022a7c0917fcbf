//! The API's rate limit, enforced on the client's side: requests per minute and key, over all tasks of the process, and over
//! all processes that share a directory.
//!
//! Every request that carries a key waits here before it is sent. A 429 that arrives
//! nevertheless holds back every request of that key.

mod shared;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use self::shared::{PERIOD, SharedRequests};
use super::Clock;
use crate::secret::ApiKey;

/// Requests per minute and key. Source: the vendor's API docs.
pub const REQUESTS_PER_MINUTE: usize = 500;

/// A sliding-window rate limiter: for each key at most so many requests within any minute, in the order
/// of their calls. Cheap to clone; clones share their counts, so a process needs one.
#[derive(Clone)]
pub struct Limiter {
    per_minute: usize,
    of_process: Arc<Mutex<Vec<(ApiKey, KeyRequests)>>>,
    /// Those of all processes; `None` if the process is by itself.
    shared: Option<SharedRequests>,
}

/// The recent and the scheduled requests of one key.
struct KeyRequests {
    /// Instants at which the last requests were or will be sent, ascending; at most those of one minute.
    scheduled: VecDeque<Instant>,
    /// No request is sent before this instant: the server refused one until then.
    not_before: Instant,
}

impl Default for Limiter {
    /// [`REQUESTS_PER_MINUTE`], of this process alone.
    fn default() -> Self {
        Limiter::new(REQUESTS_PER_MINUTE)
    }
}

impl Limiter {
    /// Creates a limiter of the requests of this process: `per_minute` for each key, at least 1.
    pub fn new(per_minute: usize) -> Self {
        Limiter { per_minute: per_minute.max(1), of_process: Arc::default(), shared: None }
    }

    /// Counts the requests of all processes with this `directory`, which is created for the first request. Where it cannot
    /// be used, those of this process count.
    pub fn shared_in(self, directory: &Path) -> Self {
        Limiter { shared: Some(SharedRequests::new(self.per_minute, directory)), ..self }
    }

    /// Returns the requests that a key may send in any minute.
    pub fn per_minute(&self) -> usize {
        self.per_minute
    }

    /// Reserves the next free instant under `key`. It stays used even if its request is never sent.
    fn reserve(&self, key: &ApiKey, now: Instant) -> Instant {
        let at = self.reserve_in_process(key, now);
        // A wait among all processes is a wait in each of them.
        match self.shared.as_ref().and_then(|shared| shared.reserve(key).ok()) {
            Some(wait) => at.max(now + wait),
            None => at,
        }
    }

    fn reserve_in_process(&self, key: &ApiKey, now: Instant) -> Instant {
        self.with(key, now, |requests| {
            let mut at = now.max(requests.not_before);
            // A full window: this request may be sent one period after the oldest of it.
            if requests.scheduled.len() == self.per_minute {
                let oldest = requests.scheduled.pop_front().unwrap_or(at);
                at = at.max(oldest + PERIOD);
            }
            // First come, first served: no request overtakes one that was scheduled earlier.
            at = at.max(requests.scheduled.back().copied().unwrap_or(at));
            requests.scheduled.push_back(at);
            at
        })
    }

    /// Waits until a request under `key` may be sent; calls `on_wait` with the delay before each wait. Dropping the
    /// future forfeits its reservation.
    pub async fn acquire(&self, key: &ApiKey, clock: &Clock, on_wait: impl Fn(Duration)) {
        let mut at = self.reserve(key, clock.now());
        loop {
            let now = clock.now();
            if at <= now {
                return;
            }
            on_wait(at - now);
            clock.sleep(at - now).await;
            // A 429 during the wait delays requests that were scheduled before it, too.
            at = self.with(key, now, |requests| requests.not_before);
            if let Some(held) = self.shared.as_ref().and_then(|shared| shared.held(key).ok()) {
                at = at.max(clock.now() + held);
            }
        }
    }

    /// Holds back all requests under `key` for `time`, because one of them got a 429. Of two holds
    /// the later end counts.
    pub fn hold(&self, key: &ApiKey, clock: &Clock, time: Duration) {
        let now = clock.now();
        self.with(key, now, |requests| requests.not_before = requests.not_before.max(now + time));
        if let Some(shared) = &self.shared {
            // The other processes get a 429 of their own otherwise.
            let _ = shared.hold(key, time);
        }
    }

    fn with<T>(&self, key: &ApiKey, now: Instant, act: impl FnOnce(&mut KeyRequests) -> T) -> T {
        // The counts are valid after every step, so a poisoned lock is no reason to fail.
        let mut keys = self.of_process.lock().unwrap_or_else(PoisonError::into_inner);
        let index = keys.iter().position(|(of, _)| of == key).unwrap_or_else(|| {
            keys.push((key.clone(), KeyRequests { scheduled: VecDeque::new(), not_before: now }));
            keys.len() - 1
        });
        act(&mut keys[index].1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Manual;
    use super::*;

    #[tokio::test]
    async fn any_minute_has_at_most_so_many_requests() {
        let manual = Manual::auto_advancing();
        let clock = Clock::Manual(manual.clone());
        let limiter = Limiter::default();
        let (key, other) = (ApiKey::new("one"), ApiKey::new("two"));
        let mut went = Vec::new();
        for i in 0..3 * REQUESTS_PER_MINUTE {
            if i % 7 == 0 {
                manual.advance(Duration::from_millis(100));
            }
            limiter.clone().acquire(&key, &clock, |_| ()).await;
            went.push(manual.passed());
        }
        let too_soon = went.windows(REQUESTS_PER_MINUTE + 1).any(|w| w[REQUESTS_PER_MINUTE] - w[0] < PERIOD);
        assert!(!too_soon);
        assert!(went[REQUESTS_PER_MINUTE - 1] < Duration::from_secs(10), "a burst is not held up");
        assert!(manual.passed() < 3 * PERIOD, "no longer than needed");
        limiter.acquire(&other, &clock, |_| panic!("another key has its own account")).await;
    }

    #[tokio::test]
    async fn a_429_delays_all_requests_of_the_key() {
        let manual = Manual::auto_advancing();
        let clock = Clock::Manual(manual.clone());
        let limiter = Limiter::default();
        let key = ApiKey::new("one");
        limiter.acquire(&key, &clock, |_| panic!("free")).await;
        limiter.hold(&key, &clock, Duration::from_secs(30));
        limiter.hold(&key, &clock, Duration::from_secs(5));
        let announced = std::cell::Cell::new(Duration::ZERO);
        limiter.acquire(&key, &clock, |wait| announced.set(wait)).await;
        assert_eq!((manual.passed().as_secs(), announced.get().as_secs()), (30, 30));
        limiter.hold(&ApiKey::new("two"), &clock, Duration::from_secs(30));
        limiter.acquire(&key, &clock, |_| panic!("free")).await;
    }

    #[tokio::test]
    async fn a_429_delays_requests_that_were_scheduled_before() {
        let manual = Manual::paused();
        let clock = Clock::Manual(manual.clone());
        let limiter = Limiter::default();
        let key = ApiKey::new("one");
        for _ in 0..REQUESTS_PER_MINUTE {
            limiter.acquire(&key, &clock, |_| panic!("free")).await;
        }
        let mut waiting = tokio::spawn({
            let (limiter, key, clock) = (limiter.clone(), key.clone(), clock.clone());
            async move { limiter.acquire(&key, &clock, |_| ()).await }
        });
        let still_waiting = async |task: &mut tokio::task::JoinHandle<()>| {
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            !task.is_finished()
        };
        assert!(still_waiting(&mut waiting).await);
        limiter.hold(&key, &clock, Duration::from_secs(90));
        manual.advance(PERIOD);
        assert!(still_waiting(&mut waiting).await);
        manual.advance(Duration::from_secs(30));
        waiting.await.unwrap();
    }
}
