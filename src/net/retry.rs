//! The retry policy: which failures are retried, after which delay, and how often.
//!
//! For API calls and downloads, three decisions are made in three places, and nowhere else:
//!
//! - *Is this failure worth another attempt?* [`RULES`], a table over the status of a response or the way in which
//!   there was none. It depends on what a second request would do ([`Repeatability`]), so each row has three
//!   verdicts ([`RetryAdvice`]). A failure without a row is final.
//! - *When?* [`RetryPolicy::delay`]: exponential backoff with full jitter, or the delay that the server names.
//! - *How often?* [`RetryBudget`]: attempts and time per kind of call.
//!
//! The decision uses statuses and kinds, never the text of an error. This module sends nothing: [`super::Http`] retries
//! API calls, and the transfer of [`super::Download`] retries connections, both by these rules. A test prints the
//! verdict on every status from 100 to 599.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Clock;

/// Advice on another attempt after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAdvice {
    /// Do not retry: the same request would fail in the same way.
    Never,
    /// Retry after a growing delay: the failure is transient.
    Soon,
    /// Retry after the delay that the server names, or after [`RetryPolicy::rate_limit_delay`]: a rate limit is
    /// exceeded, and all other requests of the key wait as well.
    Later,
    /// Retry with a fresh link: this one may have expired. Final if the download has no source of fresh links.
    FreshLink,
}

/// The effect of sending a request twice, when the server may have processed the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeatability {
    /// Idempotent: twice has the effect of once. Reads, and changes under an idempotency key.
    Safe,
    /// Not idempotent: retried only if the server cannot have processed it (no connection, or 429).
    IfUnseen,
    /// A file behind a link: idempotent, and a refusal may concern only the link, which can be replaced.
    ByLink,
}

/// The point that a request without a response reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportFailure {
    /// Not sent: the request could not be built, or a redirect led where it must not go.
    Unsendable,
    /// Not received: there was no connection, so the server cannot have processed it.
    Unsent,
    /// Unknown: the connection broke or timed out, and the server may have processed the request.
    Lost,
}

/// The failure that a [`RetryRule`] applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryCause {
    /// A response with a status from the first to the second, both included.
    Status(u16, u16),
    /// A 4xx status whose body is not an error of the API: a gateway or proxy responded in its place.
    ForeignRefusal,
    /// No response, or none that was complete.
    TransportFailure(TransportFailure),
}

/// One row of [`RULES`]: a failure, and the advice for each [`Repeatability`].
#[derive(Clone, Copy, Debug)]
pub struct RetryRule {
    /// The failure that the row applies to.
    pub cause: RetryCause,
    /// Advice for an idempotent request, [`Repeatability::Safe`].
    pub safe: RetryAdvice,
    /// Advice for a request that must not take effect twice, [`Repeatability::IfUnseen`].
    pub if_unseen: RetryAdvice,
    /// Advice for a file behind a link, [`Repeatability::ByLink`].
    pub by_link: RetryAdvice,
}

const fn rule(cause: RetryCause, safe: RetryAdvice, if_unseen: RetryAdvice, by_link: RetryAdvice) -> RetryRule {
    RetryRule { cause, safe, if_unseen, by_link }
}

/// The retry table. A failure without a row is final, [`RetryAdvice::Never`]; the first row that applies counts.
///
/// | failure | why |
/// |---|---|
/// | 400, 401, 403 | Object stores refuse an expired link with 403, some with 400 or 401. For API calls they are final |
/// | 408, 425 | Retry is their definition: request timeout, too early (RFC 9110, RFC 8470) |
/// | 429 | The server did not process the request, so that even one that must not happen twice is retried |
/// | 500 | The vendor advises a retry |
/// | 502 to 504 | A gateway in front of a server that is down, overloaded or slow |
/// | 520 to 524, 527, 529, 530 | The same, from a proxy with statuses of its own |
/// | 4xx of another server | A gateway without a route to the API for a moment, or an authentication proxy whose backend is down. Only once the API has responded at this address, at most [`FOREIGN_REFUSAL_TRIES`] times, and not for the statuses that concern the request itself |
/// | no connection | The server did not see the request: every kind is retried |
/// | connection lost | The server may have processed the request: only idempotent ones are retried |
///
/// Left out: 501 and 505 to 511 describe the request and not the moment, and 525 and 526 a TLS configuration that the
/// next attempt would meet again.
pub const RULES: &[RetryRule] = {
    use RetryAdvice::*;
    use RetryCause::{ForeignRefusal, Status, TransportFailure as No};
    use TransportFailure::*;
    &[
        rule(Status(400, 401), Never, Never, FreshLink),
        rule(Status(403, 403), Never, Never, FreshLink),
        rule(Status(408, 408), Soon, Never, Soon),
        rule(Status(425, 425), Soon, Never, Soon),
        rule(Status(429, 429), Later, Later, Later),
        rule(Status(500, 500), Soon, Never, Soon),
        rule(Status(502, 504), Soon, Never, Soon),
        rule(Status(520, 524), Soon, Never, Soon),
        rule(Status(527, 527), Soon, Never, Soon),
        rule(Status(529, 530), Soon, Never, Soon),
        rule(ForeignRefusal, Soon, Never, Never),
        rule(No(Unsendable), Never, Never, Never),
        rule(No(Unsent), Soon, Soon, Soon),
        rule(No(Lost), Soon, Never, Soon),
    ]
};

/// Statuses of a gateway that concern the request itself, such as its method, its size (413: a whole upload) or the login
/// of a proxy (407), or the law: the next attempt would meet them again.
const REFUSALS_OF_THE_REQUEST: [u16; 11] = [405, 406, 407, 411, 413, 414, 415, 416, 417, 431, 451];

impl Repeatability {
    /// Returns the advice after a response with `status`.
    pub fn after_status(self, status: u16) -> RetryAdvice {
        self.find(|cause| matches!(cause, RetryCause::Status(from, to) if (from..=to).contains(&status)))
    }

    /// Returns the advice after a 4xx status that the API itself did not send.
    pub fn after_foreign_refusal(self, status: u16) -> RetryAdvice {
        if REFUSALS_OF_THE_REQUEST.contains(&status) {
            return RetryAdvice::Never;
        }
        self.find(|cause| cause == RetryCause::ForeignRefusal)
    }

    /// Returns the advice after a request without a response.
    pub fn after_transport_failure(self, transport: TransportFailure) -> RetryAdvice {
        self.find(|cause| cause == RetryCause::TransportFailure(transport))
    }

    fn find(self, applies: impl Fn(RetryCause) -> bool) -> RetryAdvice {
        RULES.iter().find(|rule| applies(rule.cause)).map_or(RetryAdvice::Never, |rule| match self {
            Repeatability::Safe => rule.safe,
            Repeatability::IfUnseen => rule.if_unseen,
            Repeatability::ByLink => rule.by_link,
        })
    }
}

impl TransportFailure {
    /// Classifies an error of the client library.
    pub fn of(error: &reqwest::Error) -> Self {
        if error.is_builder() || error.is_redirect() {
            TransportFailure::Unsendable
        } else if error.is_connect() {
            TransportFailure::Unsent
        } else {
            TransportFailure::Lost
        }
    }
}

/// Attempts of a call that another server than the API refuses, or whose successful response cannot be parsed: a moment
/// passes, a permanent fault is reported soon. By eye.
pub const FOREIGN_REFUSAL_TRIES: u32 = 4;

/// The attempts and the time that one kind of call may use. Whichever is used up first ends the retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBudget {
    /// Attempts, the first included.
    pub tries: u32,
    /// Time since the first attempt after which no other starts. An attempt that has begun may last longer, up to its
    /// timeouts.
    pub time: Duration,
}

impl RetryBudget {
    /// Lists and other reads that a person waits for: 5 attempts in 3 minutes.
    pub const ASK: RetryBudget = RetryBudget { tries: 5, time: Duration::from_secs(180) };
    /// One poll of a watch that may last hours: 40 attempts in 15 minutes, so that it survives the loss of a network.
    pub const POLL: RetryBudget = RetryBudget { tries: 40, time: Duration::from_secs(900) };
    /// The start of a run: 8 attempts in 10 minutes. The idempotency key makes retries safe, while giving up leaves it
    /// unknown whether the run has started.
    pub const START: RetryBudget = RetryBudget { tries: 8, time: Duration::from_secs(600) };
    /// Uploads: 4 attempts in 30 minutes; each sends the whole file again.
    pub const UPLOAD: RetryBudget = RetryBudget { tries: 4, time: Duration::from_secs(1800) };
    /// Connections of a download without progress between them: 8 in 15 minutes. Progress restores the whole budget.
    pub const DOWNLOAD: RetryBudget = RetryBudget { tries: 8, time: Duration::from_secs(900) };

    /// Returns true if an attempt that starts `delay` from now would exceed the budget, so that waiting for it is
    /// useless.
    pub(super) fn is_spent(&self, tries: u32, elapsed: Duration, delay: Duration) -> bool {
        tries >= self.tries || elapsed + delay >= self.time
    }
}

/// The delays, timeouts and limits of all requests. Built once, then read-only.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    /// Upper bound of the first backoff; it doubles with each attempt. Default 500 ms.
    pub first_delay: Duration,
    /// Upper bound of every backoff. Default 30 s.
    pub max_delay: Duration,
    /// Delay after a 429 that names none. Default 60 s, the vendor's advice.
    pub rate_limit_delay: Duration,
    /// Upper bound of a delay that a server names; longer ones are shortened to it. Default 5 min.
    pub retry_after_cap: Duration,
    /// Timeout for establishing a connection. Default 10 s.
    pub connect_timeout: Duration,
    /// Timeout of a request or a response body without a byte in either direction. Default 30 s.
    pub idle_timeout: Duration,
    /// Minimum rate of a download in bytes per second, as a mean over [`RetryPolicy::stall_time`]; a slower connection
    /// is replaced. 0 replaces only connections without a single byte. Default 1 KiB/s.
    pub min_bytes_per_second: u64,
    /// Period of that mean. Time spent waiting for the reader does not count. Default 30 s.
    pub stall_time: Duration,
    /// Maximum size of an API response; a longer one is an error. Default 64 MiB: some hold rows.
    pub max_response_bytes: usize,
    /// Smallest range of a file that is requested over several connections. Default 512 KiB: below, requests cost more than
    /// they bring.
    pub min_segment_bytes: usize,
    /// Source of jitter: returns a number in 0..1.
    pub jitter: fn() -> f64,
    /// Clock of the delays between attempts. Timeouts on sockets use the system's clock.
    pub clock: Clock,
}

/// Default of [`RetryPolicy::min_segment_bytes`].
pub(super) const MIN_SEGMENT_BYTES: usize = 512 << 10;

impl Default for RetryPolicy {
    fn default() -> Self {
        RetryPolicy {
            first_delay: Duration::from_millis(500),
            max_delay: Duration::from_secs(30),
            rate_limit_delay: Duration::from_secs(60),
            retry_after_cap: Duration::from_secs(300),
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            min_bytes_per_second: 1 << 10,
            stall_time: Duration::from_secs(30),
            max_response_bytes: 64 << 20,
            min_segment_bytes: MIN_SEGMENT_BYTES,
            jitter,
            clock: Clock::System,
        }
    }
}

impl RetryPolicy {
    /// Returns a policy with delays of a few milliseconds, for tests.
    #[cfg(test)]
    pub(crate) fn fast() -> Self {
        RetryPolicy {
            first_delay: Duration::from_millis(1),
            max_delay: Duration::from_millis(2),
            rate_limit_delay: Duration::from_millis(3),
            retry_after_cap: Duration::from_millis(5),
            idle_timeout: Duration::from_secs(5),
            ..RetryPolicy::default()
        }
    }

    /// Returns the delay before attempt number `tries + 1`.
    ///
    /// A delay that the server `named` is a lower bound, shortened to [`RetryPolicy::retry_after_cap`]; up to
    /// `first_delay` is added to it. Without one the delay is uniform between 0 and `first_delay × 2^(tries − 1)`, at
    /// most `max_delay` (full jitter), so that clients that failed together do not return together. A rate limit
    /// without a named delay waits [`RetryPolicy::rate_limit_delay`] and up to a tenth more.
    pub fn delay(&self, advice: RetryAdvice, tries: u32, named: Option<Duration>) -> Duration {
        let jitter = (self.jitter)();
        let named = named.map(|named| named.min(self.retry_after_cap));
        match (advice, named) {
            // Up to a tenth more, so that clients that were refused together do not return together.
            (RetryAdvice::Later, None) => self.rate_limit_delay.mul_f64(1.0 + jitter * 0.1),
            (_, Some(named)) => named + self.first_delay.mul_f64(jitter),
            _ => {
                // The exponent is bounded to keep the shift valid; `max_delay` applies long before.
                let bound = self.first_delay.saturating_mul(1u32 << tries.saturating_sub(1).min(20));
                bound.min(self.max_delay).mul_f64(jitter)
            }
        }
    }
}

/// Parses `Retry-After`: seconds, or an HTTP date relative to `now`. Returns zero for a date in the past, and `None`
/// for any other text.
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// Parses `X-RateLimit-Reset`, which no standard defines: seconds from now, or seconds or milliseconds since 1970,
/// distinguished by their size. Returns zero for a time in the past, and `None` for any other text.
pub(super) fn rate_limit_reset(value: &str, now: SystemTime) -> Option<Duration> {
    /// Smallest number taken for a time since 1970: in seconds it is in 2001; as a delay it would be 30 years.
    const EPOCH_FROM: f64 = 1e9;
    let number: f64 = value.trim().parse().ok().filter(|n: &f64| n.is_finite() && *n >= 0.0)?;
    if number < EPOCH_FROM {
        return Some(Duration::from_secs_f64(number));
    }
    let seconds = if number < EPOCH_FROM * 1000.0 { number } else { number / 1000.0 };
    let reset = UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(seconds).ok()?)?;
    Some(reset.duration_since(now).unwrap_or_default())
}

/// Returns a number in 0..1 that differs between calls and between processes. Not for cryptographic use.
pub(super) fn jitter() -> f64 {
    // Each RandomState has a key of its own: seeded by the system once per thread, then incremented.
    let bits = RandomState::new().build_hasher().finish();
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Prints the advice on every status from 100 to 599 and on every transport failure; equal neighbours share a line.
    fn printed() -> String {
        let verdicts = |of: &dyn Fn(Repeatability) -> RetryAdvice| {
            let word = |repeat| format!("{:?}", of(repeat));
            format!(
                "{:<9} {:<9} {}",
                word(Repeatability::Safe),
                word(Repeatability::IfUnseen),
                word(Repeatability::ByLink)
            )
        };
        let mut runs: Vec<(u16, u16, String)> = Vec::new();
        for status in 100..=599 {
            let verdict = verdicts(&|repeat: Repeatability| repeat.after_status(status));
            match runs.last_mut() {
                Some((_, to, same)) if *same == verdict => *to = status,
                _ => runs.push((status, status, verdict)),
            }
        }
        let mut lines = vec!["           safe      if unseen by link".to_owned()];
        lines.extend(runs.iter().map(|(from, to, verdict)| format!("{from}-{to}    {verdict}")));
        lines.push(format!("Foreign    {}", verdicts(&|repeat: Repeatability| repeat.after_foreign_refusal(404))));
        for transport in [TransportFailure::Unsendable, TransportFailure::Unsent, TransportFailure::Lost] {
            let name = format!("{transport:?}");
            lines.push(format!(
                "{name:<10} {}",
                verdicts(&|repeat: Repeatability| repeat.after_transport_failure(transport))
            ));
        }
        lines.join("\n")
    }

    #[test]
    fn the_table_covers_every_failure() {
        let table = "           safe      if unseen by link
100-399    Never     Never     Never
400-401    Never     Never     FreshLink
402-402    Never     Never     Never
403-403    Never     Never     FreshLink
404-407    Never     Never     Never
408-408    Soon      Never     Soon
409-424    Never     Never     Never
425-425    Soon      Never     Soon
426-428    Never     Never     Never
429-429    Later     Later     Later
430-499    Never     Never     Never
500-500    Soon      Never     Soon
501-501    Never     Never     Never
502-504    Soon      Never     Soon
505-519    Never     Never     Never
520-524    Soon      Never     Soon
525-526    Never     Never     Never
527-527    Soon      Never     Soon
528-528    Never     Never     Never
529-530    Soon      Never     Soon
531-599    Never     Never     Never
Foreign    Soon      Never     Never
Unsendable Never     Never     Never
Unsent     Soon      Soon      Soon
Lost       Soon      Never     Soon";
        assert_eq!(printed(), table);
    }

    fn policy(jitter: fn() -> f64) -> RetryPolicy {
        RetryPolicy { jitter, ..RetryPolicy::default() }
    }

    #[test]
    fn delays_double_are_spread_and_capped() {
        let ms = |tries, jitter| policy(jitter).delay(RetryAdvice::Soon, tries, None).as_millis();
        assert_eq!((ms(1, || 1.0), ms(2, || 1.0), ms(3, || 1.0), ms(40, || 1.0)), (500, 1000, 2000, 30_000));
        assert_eq!((ms(1, || 0.0), ms(3, || 0.5)), (0, 1000));
    }

    #[test]
    fn a_limit_waits_for_the_time_named_or_a_minute() {
        let policy = policy(|| 0.0);
        let seconds =
            |named: Option<u64>| policy.delay(RetryAdvice::Later, 1, named.map(Duration::from_secs)).as_secs();
        assert_eq!(seconds(None), 60);
        assert_eq!(seconds(Some(7)), 7);
        assert_eq!(seconds(Some(86_400)), 300);
        assert_eq!(policy.delay(RetryAdvice::Soon, 1, Some(Duration::from_secs(4))).as_secs(), 4);
    }

    #[test]
    fn named_waits_are_read() {
        let now = httpdate::parse_http_date("Wed, 04 Nov 2026 10:00:00 GMT").unwrap();
        assert_eq!(retry_after(" 12 ", now), Some(Duration::from_secs(12)));
        assert_eq!(retry_after("Wed, 04 Nov 2026 10:00:30 GMT", now), Some(Duration::from_secs(30)));
        assert_eq!(retry_after("Wed, 04 Nov 2026 09:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
        let epoch = now.duration_since(UNIX_EPOCH).unwrap().as_secs();
        assert_eq!(rate_limit_reset("12", now), Some(Duration::from_secs(12)));
        assert_eq!(rate_limit_reset(&(epoch + 9).to_string(), now), Some(Duration::from_secs(9)));
        assert_eq!(rate_limit_reset(&((epoch + 9) * 1000).to_string(), now), Some(Duration::from_secs(9)));
        assert_eq!(rate_limit_reset(&(epoch - 9).to_string(), now), Some(Duration::ZERO));
        assert_eq!((rate_limit_reset("-1", now), rate_limit_reset("inf", now)), (None, None));
        assert_eq!(rate_limit_reset("1e300", now), None);
    }

    #[test]
    fn an_attempt_beyond_the_budget_is_not_waited_for() {
        let second = Duration::from_secs(1);
        let budget = RetryBudget { tries: 3, time: 10 * second };
        assert!(!budget.is_spent(2, 5 * second, 4 * second));
        assert!(budget.is_spent(2, 5 * second, 6 * second) && budget.is_spent(3, Duration::ZERO, Duration::ZERO));
    }

    #[test]
    fn jitter_differs_between_calls() {
        assert_ne!(jitter(), jitter());
        assert!((0..100).all(|_| (0.0..1.0).contains(&jitter())));
    }
}
