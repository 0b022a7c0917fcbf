//! The API's rate limit, enforced on the client's side: requests per minute and key, over all tasks of the process.
//!
//! Every request that carries a key waits here before it is sent. A 429 that arrives
//! nevertheless holds back every request of that key.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Clock;
use crate::secret::ApiKey;

/// Requests per minute and key. Source: the vendor's API docs.
pub const REQUESTS_PER_MINUTE: usize = 500;

/// Length of the sliding window of the limit.
const PERIOD: Duration = Duration::from_secs(60);

/// A sliding-window rate limiter: for each key at most [`REQUESTS_PER_MINUTE`] requests within any minute, in the order
/// of their calls. Cheap to clone; clones share their counts, so a process needs one.
#[derive(Clone, Default)]
pub struct Limiter(Arc<Mutex<Vec<(ApiKey, KeyRequests)>>>);

/// The recent and the scheduled requests of one key.
struct KeyRequests {
    /// Instants at which the last requests were or will be sent, ascending; at most [`REQUESTS_PER_MINUTE`].
    scheduled: VecDeque<Instant>,
    /// No request is sent before this instant: the server refused one until then.
    not_before: Instant,
}

impl Limiter {
    /// Reserves the next free instant under `key`. It stays used even if its request is never sent.
    fn reserve(&self, key: &ApiKey, now: Instant) -> Instant {
        self.with(key, now, |requests| {
            let mut at = now.max(requests.not_before);
            // A full window: this request may be sent one period after the oldest of it.
            if requests.scheduled.len() == REQUESTS_PER_MINUTE {
                let oldest = requests.scheduled.pop_front().expect("it is full");
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
        }
    }

    /// Holds back all requests under `key` for `time`, because one of them got a 429. Of two holds
    /// the later end counts.
    pub fn hold(&self, key: &ApiKey, clock: &Clock, time: Duration) {
        let now = clock.now();
        self.with(key, now, |requests| requests.not_before = requests.not_before.max(now + time));
    }

    fn with<T>(&self, key: &ApiKey, now: Instant, act: impl FnOnce(&mut KeyRequests) -> T) -> T {
        // The counts are valid after every step, so a poisoned lock is no reason to fail.
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
