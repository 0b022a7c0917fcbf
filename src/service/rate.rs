//! The rate limit: so many requests a minute for each API key, told in every answer.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use sha2::{Digest, Sha256};

use super::Clock;

/// What a limit counts over.
const PERIOD_SECONDS: i64 = 60;

/// Keys with a window of their own. Where any key is accepted a client could make them without end; those beyond share
/// one window.
const MAX_KEYS: usize = 10_000;

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// One limit and what has been used of it.
pub(super) struct RateLimit {
    per_minute: u32,
    clock: Clock,
    /// By the digest of the key.
    windows: Mutex<HashMap<[u8; 32], Window>>,
}

/// A minute that began with a key's first request.
#[derive(Clone, Copy)]
struct Window {
    /// In milliseconds since 1970.
    ends_ms: i64,
    used: u32,
}

/// Where a key stands after one more request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RateState {
    limit: u32,
    remaining: u32,
    /// When the window ends, in seconds since 1970.
    reset: i64,
    /// Seconds until then, at least 1.
    wait_seconds: i64,
    /// False if this request was one too many.
    pub allowed: bool,
}

impl RateLimit {
    /// A limit of `per_minute` requests; 0 is none.
    pub(super) fn new(per_minute: u32, clock: Clock) -> Self {
        RateLimit { per_minute, clock, windows: Mutex::default() }
    }

    /// Counts a request under `key`; `None` where there is no limit. One that is refused is not counted.
    pub(super) fn take(&self, key: &str) -> Option<RateState> {
        if self.per_minute == 0 {
            return None;
        }
        let now = self.clock.now().timestamp_millis();
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut name: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        if !windows.contains_key(&name) && windows.len() >= MAX_KEYS {
            windows.retain(|_, window| window.ends_ms > now);
            if windows.len() >= MAX_KEYS {
                name = [0; 32];
            }
        }
        let fresh = Window { ends_ms: now + PERIOD_SECONDS * 1000, used: 0 };
        let window = windows.entry(name).or_insert(fresh);
        // A clock that was set back must not leave a key out for hours.
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
    /// Tells it in the headers of an answer. Our reading: `X-RateLimit-Reset` is the natural third of the two that are
    /// named, in seconds since 1970; `Retry-After` comes with a refusal only.
    pub(super) fn tell(&self, headers: &mut HeaderMap) {
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
    fn a_key_has_its_minute() {
        let clock = Clock::default();
        let limit = RateLimit::new(2, clock.clone());
        let take = |key: &str| {
            let standing = limit.take(key).unwrap();
            (standing.allowed, standing.remaining)
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
    fn zero_is_no_limit_and_keys_without_end_share_one() {
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
