//! Rate limiting: a fixed window of one minute per API key, with its state in the headers of every response. Counts and
//! decides; the routes reject.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use sha2::{Digest, Sha256};

use super::Clock;

/// Length of a window in seconds.
const PERIOD_SECONDS: i64 = 60;

/// Keys with a window of their own; further keys share one. Where any key is accepted, a client could otherwise use up
/// memory with ever new keys. By eye: some 1 MB.
const MAX_KEYS: usize = 10_000;

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// One limit, with the window of each key.
pub(super) struct RateLimit {
    per_minute: u32,
    clock: Clock,
    /// Windows by the SHA-256 of the key, so that no key stays in memory.
    windows: Mutex<HashMap<[u8; 32], Window>>,
}

/// A window that began with a key's first request.
#[derive(Clone, Copy)]
struct Window {
    /// End of the window, in milliseconds since 1970.
    ends_ms: i64,
    used: u32,
}

/// The state of a key's window after one more request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RateState {
    limit: u32,
    remaining: u32,
    /// End of the window, in seconds since 1970, rounded up.
    reset: i64,
    /// Seconds until the end of the window, rounded up.
    pub wait_seconds: i64,
    /// False if this request exceeds the limit.
    pub allowed: bool,
}

impl RateLimit {
    /// Returns a limit of `per_minute` requests; 0 is no limit.
    pub(super) fn new(per_minute: u32, clock: Clock) -> Self {
        RateLimit { per_minute, clock, windows: Mutex::default() }
    }

    /// Forgets all windows.
    pub(super) fn reset(&self) {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Counts a request of `key` and returns the state of its window; `None` without a limit. A rejected request is
    /// not counted.
    pub(super) fn take(&self, key: &str) -> Option<RateState> {
        if self.per_minute == 0 {
            return None;
        }
        let now = self.clock.now().timestamp_millis();
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut digest: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        if !windows.contains_key(&digest) && windows.len() >= MAX_KEYS {
            // Only a full table is swept, so that a request usually costs one look-up.
            windows.retain(|_, window| window.ends_ms > now);
            if windows.len() >= MAX_KEYS {
                digest = [0; 32];
            }
        }
        let fresh = Window { ends_ms: now + PERIOD_SECONDS * 1000, used: 0 };
        let window = windows.entry(digest).or_insert(fresh);
        // A window that ends later than a fresh one is from before the clock was set back; it must not block for hours.
        if window.ends_ms <= now || window.ends_ms > fresh.ends_ms {
            *window = fresh;
        }
        let allowed = window.used < self.per_minute;
        window.used += u32::from(allowed);
        Some(RateState {
            limit: self.per_minute,
            remaining: self.per_minute - window.used,
            reset: window.ends_ms.div_euclid(1000) + i64::from(window.ends_ms.rem_euclid(1000) > 0),
            wait_seconds: (window.ends_ms - now + 999) / 1000,
            allowed,
        })
    }
}

impl RateState {
    /// Writes the state to the headers of a response. Our reading: `X-RateLimit-Reset` is the natural third of the two
    /// that the vendor names, in seconds since 1970; `Retry-After` is on a 429 only.
    pub(super) fn write_headers(&self, headers: &mut HeaderMap) {
        headers.insert(LIMIT, HeaderValue::from(self.limit));
        headers.insert(REMAINING, HeaderValue::from(self.remaining));
        headers.insert(RESET, HeaderValue::from(self.reset));
        if !self.allowed {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(self.wait_seconds.max(1)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_key_has_its_own_window() {
        let clock = Clock::default();
        let limit = RateLimit::new(2, clock.clone());
        let take = |key: &str| {
            let state = limit.take(key).unwrap();
            (state.allowed, state.remaining)
        };
        assert_eq!([take("a"), take("a"), take("a")], [(true, 1), (true, 0), (false, 0)]);
        assert_eq!(take("b"), (true, 1));
        let refused = limit.take("a").unwrap();
        assert!((1..=60).contains(&refused.wait_seconds));
        assert!((0..=61).contains(&(refused.reset - clock.now().timestamp())));
        clock.advance(Duration::from_secs(61));
        assert_eq!(take("a"), (true, 1));
    }

    #[test]
    fn zero_is_no_limit_and_surplus_keys_share_a_window() {
        assert!(RateLimit::new(0, Clock::default()).take("a").is_none());
        let limit = RateLimit::new(1, Clock::default());
        for i in 0..MAX_KEYS {
            assert!(limit.take(&i.to_string()).unwrap().allowed);
        }
        assert!(limit.take("one more").unwrap().allowed);
        assert!(!limit.take("and one more").unwrap().allowed);
        assert!(limit.windows.lock().unwrap().len() <= MAX_KEYS + 1);
    }
}
