//! The API's limit, kept by ourselves: so many requests a minute per key, whoever in the process sends them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Clock;
use crate::secret::ApiKey;

/// Requests a minute and key that the vendor allows.
pub const REQUESTS_PER_MINUTE: usize = 500;

/// What the limit counts over.
const PERIOD: Duration = Duration::from_secs(60);

/// Lets requests through, for each key at most [`REQUESTS_PER_MINUTE`] within any minute, in the order in which they
/// asked. Cheap to clone; clones share one account, so a process makes one.
#[derive(Clone, Default)]
pub struct Limiter(Arc<Mutex<Vec<(ApiKey, KeyRequests)>>>);

/// The requests of one key.
struct KeyRequests {
    /// When the last ones went or will go, at most [`REQUESTS_PER_MINUTE`], in order.
    going: VecDeque<Instant>,
    /// The server has said to come no earlier.
    not_before: Instant,
}

impl Limiter {
    /// When the next request under `key` may go. The place is taken: a request that then does not go has used it up.
    fn place(&self, key: &ApiKey, now: Instant) -> Instant {
        self.with(key, now, |account| {
            let mut at = now.max(account.not_before);
            if account.going.len() == REQUESTS_PER_MINUTE {
                let oldest = account.going.pop_front().expect("it is full");
                at = at.max(oldest + PERIOD);
            }
            // In order: nobody goes before those who asked earlier.
            at = at.max(account.going.back().copied().unwrap_or(at));
            account.going.push_back(at);
            at
        })
    }

    /// Waits for a place under `key`. `on_wait` is told if that takes time. Dropping it uses the place up.
    pub async fn acquire(&self, key: &ApiKey, clock: &Clock, on_wait: impl Fn(Duration)) {
        let mut at = self.place(key, clock.now());
        loop {
            let now = clock.now();
            if at <= now {
                return;
            }
            on_wait(at - now);
            clock.sleep(at - now).await;
            // A refusal in between holds up those too who have a place.
            at = self.with(key, now, |account| account.not_before);
        }
    }

    /// Lets nobody go under `key` for `time`: the server has refused one for that long.
    pub fn hold(&self, key: &ApiKey, clock: &Clock, time: Duration) {
        let now = clock.now();
        self.with(key, now, |account| account.not_before = account.not_before.max(now + time));
    }

    fn with<T>(&self, key: &ApiKey, now: Instant, act: impl FnOnce(&mut KeyRequests) -> T) -> T {
        // What a panic elsewhere left behind is still an account.
        let mut accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let index = accounts.iter().position(|(of, _)| of == key).unwrap_or_else(|| {
            accounts.push((key.clone(), KeyRequests { going: VecDeque::new(), not_before: now }));
            accounts.len() - 1
        });
        act(&mut accounts[index].1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Manual;
    use super::*;

    #[tokio::test]
    async fn any_minute_has_at_most_so_many_requests() {
        let manual = Manual::jumping();
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
    async fn a_refusal_holds_up_all_of_the_key() {
        let manual = Manual::jumping();
        let clock = Clock::Manual(manual.clone());
        let limiter = Limiter::default();
        let key = ApiKey::new("one");
        limiter.acquire(&key, &clock, |_| panic!("free")).await;
        limiter.hold(&key, &clock, Duration::from_secs(30));
        limiter.hold(&key, &clock, Duration::from_secs(5));
        let told = std::cell::Cell::new(Duration::ZERO);
        limiter.acquire(&key, &clock, |wait| told.set(wait)).await;
        assert_eq!((manual.passed().as_secs(), told.get().as_secs()), (30, 30));
        limiter.hold(&ApiKey::new("two"), &clock, Duration::from_secs(30));
        limiter.acquire(&key, &clock, |_| panic!("free")).await;
    }

    #[tokio::test]
    async fn a_refusal_holds_up_those_too_who_have_a_place() {
        let manual = Manual::standing();
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
