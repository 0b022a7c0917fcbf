//! What is tried again, and after what time. The decision is data: a table by status, a list by kind of trouble.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, SystemTime};

/// What an answer or a trouble says about asking again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// The same question gets the same answer.
    Never,
    /// A passing fault: after a growing delay.
    Soon,
    /// A limit: after the time that the server names, or [`Policy::rate_limit_delay`].
    Later,
}

/// Statuses after which a request is repeated, as inclusive ranges. All others are final.
///
/// 408 and 425 ask for it by their meaning. 500 is in because the vendor advises it. 501 and 505 to 511 describe the
/// request, not the moment. 520 to 527 and 529, 530 come from proxies in front of a server that is away or overloaded.
pub const REPEATED: &[(u16, u16, Again)] = &[
    (408, 408, Again::Soon),
    (425, 425, Again::Soon),
    (429, 429, Again::Later),
    (500, 500, Again::Soon),
    (502, 504, Again::Soon),
    (520, 524, Again::Soon),
    (527, 527, Again::Soon),
    (529, 530, Again::Soon),
];

/// What `status` says about asking again.
pub fn after_status(status: u16) -> Again {
    REPEATED.iter().find(|(from, to, _)| (*from..=*to).contains(&status)).map_or(Again::Never, |(.., again)| *again)
}

/// How far a request came that got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It could not be made, or led to a forbidden redirect.
    Unsendable,
    /// No connection: the server has not seen it.
    Unsent,
    /// It broke, or nothing came in time: the server may have acted on it.
    Lost,
}

impl Trouble {
    /// Reads the client library's error.
    pub fn of(error: &reqwest::Error) -> Self {
        if error.is_builder() || error.is_redirect() {
            Trouble::Unsendable
        } else if error.is_connect() {
            Trouble::Unsent
        } else {
            Trouble::Lost
        }
    }

    /// What it says about asking again.
    pub fn again(self) -> Again {
        match self {
            Trouble::Unsendable => Again::Never,
            Trouble::Unsent | Trouble::Lost => Again::Soon,
        }
    }
}

/// What one kind of call may spend on trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Requests in all, the first included.
    pub tries: u32,
    /// No try starts after so long.
    pub time: Duration,
}

impl Budget {
    /// Questions that a person waits for.
    pub const ASK: Budget = Budget { tries: 5, time: Duration::from_secs(180) };
    /// One question of a watch that may last hours: it must outlive a lost network.
    pub const POLL: Budget = Budget { tries: 40, time: Duration::from_secs(900) };
    /// Starting a run: under one idempotency key repeating is safe, and giving up leaves its fate unknown.
    pub const START: Budget = Budget { tries: 8, time: Duration::from_secs(600) };
    /// Uploads send everything again.
    pub const UPLOAD: Budget = Budget { tries: 4, time: Duration::from_secs(1800) };
    /// Connections of a download that bring no progress; it is refilled by progress.
    pub const DOWNLOAD: Budget = Budget { tries: 8, time: Duration::from_secs(900) };
}

/// Delays and limits of all requests.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Upper bound of the first delay; it doubles from try to try. Default 500 ms.
    pub first_delay: Duration,
    /// No delay of a passing fault is longer. Default 30 s.
    pub max_delay: Duration,
    /// After a 429 that names no time. Default 60 s, the vendor's advice.
    pub rate_limit_delay: Duration,
    /// A longer `Retry-After` is cut to this. Default 5 min.
    pub retry_after_cap: Duration,
    /// For a connection to stand. Default 10 s.
    pub connect_timeout: Duration,
    /// Without a byte in either direction. Default 30 s.
    pub idle_timeout: Duration,
    /// An answer of the API that is longer is an error. Default 64 MiB: links may carry rows.
    pub max_answer_bytes: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            first_delay: Duration::from_millis(500),
            max_delay: Duration::from_secs(30),
            rate_limit_delay: Duration::from_secs(60),
            retry_after_cap: Duration::from_secs(300),
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            max_answer_bytes: 64 << 20,
        }
    }
}

impl Policy {
    /// Delays so short that a test does not feel them.
    #[cfg(test)]
    pub(crate) fn fast() -> Self {
        Policy {
            first_delay: Duration::from_millis(1),
            max_delay: Duration::from_millis(2),
            rate_limit_delay: Duration::from_millis(3),
            retry_after_cap: Duration::from_millis(5),
            idle_timeout: Duration::from_secs(5),
            ..Policy::default()
        }
    }

    /// The wait before try number `tries + 1`, where `chance` in 0..1 spreads clients that failed together (full
    /// jitter). What the server named in `retry_after` is a floor, not a suggestion, up to the cap.
    pub fn delay(&self, again: Again, tries: u32, retry_after: Option<Duration>, chance: f64) -> Duration {
        let named = retry_after.map(|named| named.min(self.retry_after_cap));
        match (again, named) {
            // A little on top, so that all who were told the same second do not come in the same second.
            (Again::Later, None) => self.rate_limit_delay.mul_f64(1.0 + chance * 0.1),
            (_, Some(named)) => named + self.first_delay.mul_f64(chance),
            _ => {
                let bound = self.first_delay.saturating_mul(1u32 << tries.saturating_sub(1).min(20));
                bound.min(self.max_delay).mul_f64(chance)
            }
        }
    }
}

/// Reads `Retry-After`: seconds, or an HTTP date seen from `now`. A date that is past is no wait.
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// A number in 0..1 that differs from call to call and from process to process. Not for secrets.
pub fn chance() -> f64 {
    // The standard library seeds each state from the system once and then counts on.
    let bits = RandomState::new().build_hasher().finish();
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_verdict() {
        let listed = |wanted: Again| (100..=599).filter(|&s| after_status(s) == wanted).collect::<Vec<u16>>();
        assert_eq!(listed(Again::Soon), [408, 425, 500, 502, 503, 504, 520, 521, 522, 523, 524, 527, 529, 530]);
        assert_eq!(listed(Again::Later), [429]);
        assert_eq!(listed(Again::Never).len(), 500 - 15);
    }

    #[test]
    fn delays_double_are_spread_and_capped() {
        let policy = Policy::default();
        let ms = |tries, chance| policy.delay(Again::Soon, tries, None, chance).as_millis();
        assert_eq!((ms(1, 1.0), ms(2, 1.0), ms(3, 1.0), ms(40, 1.0)), (500, 1000, 2000, 30_000));
        assert_eq!((ms(1, 0.0), ms(3, 0.5)), (0, 1000));
    }

    #[test]
    fn a_limit_waits_for_the_time_named_or_a_minute() {
        let policy = Policy::default();
        let seconds = |named: Option<u64>| policy.delay(Again::Later, 1, named.map(Duration::from_secs), 0.0).as_secs();
        assert_eq!(seconds(None), 60);
        assert_eq!(seconds(Some(7)), 7);
        assert_eq!(seconds(Some(86_400)), 300);
        assert_eq!(policy.delay(Again::Soon, 1, Some(Duration::from_secs(4)), 0.0).as_secs(), 4);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Wed, 04 Nov 2026 10:00:00 GMT").unwrap();
        assert_eq!(retry_after(" 12 ", now), Some(Duration::from_secs(12)));
        assert_eq!(retry_after("Wed, 04 Nov 2026 10:00:30 GMT", now), Some(Duration::from_secs(30)));
        assert_eq!(retry_after("Wed, 04 Nov 2026 09:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
    }

    #[test]
    fn chances_differ() {
        assert_ne!(chance(), chance());
        assert!((0..100).all(|_| (0.0..1.0).contains(&chance())));
    }
}
