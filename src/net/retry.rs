//! What is tried again, and after what time. The decision is data: one table by status and by kind of trouble.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Clock;

/// What an answer or a trouble says about asking again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAdvice {
    /// The same question gets the same answer.
    Never,
    /// A passing fault: after a growing delay.
    Soon,
    /// A limit: after the time that the server names, or [`RetryPolicy::rate_limit_delay`].
    Later,
    /// The link may have expired: with a fresh one, if there is a source of them.
    FreshLink,
}

/// Whether a request that may have been acted on is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeatability {
    /// Twice has the effect of once.
    Safe,
    /// Only while the server has not seen it, or has refused it for now (429).
    IfUnseen,
    /// A file behind a link: safe, and a refusal may be one of the link alone.
    ByLink,
}

/// How far a request came that got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportFailure {
    /// It could not be made, or led to a forbidden redirect.
    Unsendable,
    /// No connection: the server has not seen it.
    Unsent,
    /// It broke, or nothing came in time: the server may have acted on it.
    Lost,
}

/// What a [`RetryRule`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryCause {
    /// Statuses from the first to the second.
    Status(u16, u16),
    /// No answer.
    TransportFailure(TransportFailure),
}

/// One line of the table: what follows a failure, by [`Repeatability`].
#[derive(Clone, Copy, Debug)]
pub struct RetryRule {
    /// The failure.
    pub failure: RetryCause,
    /// Under [`Repeatability::Safe`].
    pub safe: RetryAdvice,
    /// Under [`Repeatability::IfUnseen`].
    pub if_unseen: RetryAdvice,
    /// Under [`Repeatability::ByLink`].
    pub by_link: RetryAdvice,
}

const fn rule(failure: RetryCause, safe: RetryAdvice, if_unseen: RetryAdvice, by_link: RetryAdvice) -> RetryRule {
    RetryRule { failure, safe, if_unseen, by_link }
}

/// After which failures a request is repeated. All that stands nowhere here is final.
///
/// 408 and 425 ask for it by their meaning. 500 is in because the vendor advises it. 501 and 505 to 511 describe the
/// request, not the moment. 520 to 527 and 529, 530 come from proxies in front of a server that is away or overloaded.
/// Expired links are refused with 403 by most stores, with 400 or 401 by some.
pub const RULES: &[RetryRule] = {
    use RetryAdvice::*;
    use RetryCause::{Status, TransportFailure as No};
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
        rule(No(Unsendable), Never, Never, Never),
        rule(No(Unsent), Soon, Soon, Soon),
        rule(No(Lost), Soon, Never, Soon),
    ]
};

impl Repeatability {
    /// What an answer of `status` says about asking again.
    pub fn after_status(self, status: u16) -> RetryAdvice {
        self.find(|failure| matches!(failure, RetryCause::Status(from, to) if (from..=to).contains(&status)))
    }

    /// What it says that no answer came.
    pub fn after_transport_failure(self, trouble: TransportFailure) -> RetryAdvice {
        self.find(|failure| failure == RetryCause::TransportFailure(trouble))
    }

    fn find(self, is: impl Fn(RetryCause) -> bool) -> RetryAdvice {
        RULES.iter().find(|rule| is(rule.failure)).map_or(RetryAdvice::Never, |rule| match self {
            Repeatability::Safe => rule.safe,
            Repeatability::IfUnseen => rule.if_unseen,
            Repeatability::ByLink => rule.by_link,
        })
    }
}

impl TransportFailure {
    /// Reads the client library's error.
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

/// What one kind of call may spend on trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBudget {
    /// Requests in all, the first included.
    pub tries: u32,
    /// No try starts after so long.
    pub time: Duration,
}

impl RetryBudget {
    /// Lists and other questions that a person waits for.
    pub const ASK: RetryBudget = RetryBudget { tries: 5, time: Duration::from_secs(180) };
    /// One question of a watch that may last hours: it must outlive a lost network.
    pub const POLL: RetryBudget = RetryBudget { tries: 40, time: Duration::from_secs(900) };
    /// Starting a run: under one idempotency key repeating is safe, and giving up leaves its fate unknown.
    pub const START: RetryBudget = RetryBudget { tries: 8, time: Duration::from_secs(600) };
    /// Uploads send everything again.
    pub const UPLOAD: RetryBudget = RetryBudget { tries: 4, time: Duration::from_secs(1800) };
    /// Connections of a download that bring no progress; it is refilled by progress.
    pub const DOWNLOAD: RetryBudget = RetryBudget { tries: 8, time: Duration::from_secs(900) };

    /// True if another try that starts `delay` from now is beyond it.
    pub(super) fn is_spent(&self, tries: u32, elapsed: Duration, delay: Duration) -> bool {
        tries >= self.tries || elapsed + delay >= self.time
    }
}

/// Delays and limits of all requests.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    /// Upper bound of the first delay; it doubles from try to try. Default 500 ms.
    pub first_delay: Duration,
    /// No delay of a passing fault is longer. Default 30 s.
    pub max_delay: Duration,
    /// After a 429 that names no time. Default 60 s, the vendor's advice.
    pub rate_limit_delay: Duration,
    /// A longer wait that a server names is cut to this. Default 5 min.
    pub retry_after_cap: Duration,
    /// For a connection to stand. Default 10 s.
    pub connect_timeout: Duration,
    /// Without a byte in either direction. Default 30 s.
    pub idle_timeout: Duration,
    /// A download that brings fewer bytes per second, as a mean over [`RetryPolicy::stall_time`], gets another connection;
    /// with 0 only one that brings nothing at all. Default 1 KiB.
    pub min_bytes_per_second: u64,
    /// The time that the mean is taken over. Waiting for our own reader does not count. Default 30 s.
    pub stall_time: Duration,
    /// An answer of the API that is longer is an error. Default 64 MiB: links may carry rows.
    pub max_answer_bytes: usize,
    /// Where jitter comes from: a number in 0..1 per call.
    pub chance: fn() -> f64,
    /// What waits between tries go by. Timeouts on sockets go by the system's time.
    pub clock: Clock,
}

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
            max_answer_bytes: 64 << 20,
            chance,
            clock: Clock::System,
        }
    }
}

impl RetryPolicy {
    /// Delays so short that a test does not feel them.
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

    /// The wait before try number `tries + 1`, spread so that clients that failed together come apart (full jitter).
    /// What the server `named` is a floor, not a suggestion, up to the cap.
    pub fn delay(&self, again: RetryAdvice, tries: u32, named: Option<Duration>) -> Duration {
        let chance = (self.chance)();
        let named = named.map(|named| named.min(self.retry_after_cap));
        match (again, named) {
            // A little on top, so that all who were told the same second do not come in the same second.
            (RetryAdvice::Later, None) => self.rate_limit_delay.mul_f64(1.0 + chance * 0.1),
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

/// Reads `X-RateLimit-Reset`, which no standard defines: seconds from now, or since 1970, or thousandths of these.
pub fn rate_limit_reset(value: &str, now: SystemTime) -> Option<Duration> {
    /// As seconds since 1970, these are in 2001; as seconds from now, 30 years away.
    const EPOCH_FROM: f64 = 1e9;
    let number: f64 = value.trim().parse().ok().filter(|n: &f64| n.is_finite() && *n >= 0.0)?;
    if number < EPOCH_FROM {
        return Some(Duration::from_secs_f64(number));
    }
    let seconds = if number < EPOCH_FROM * 1000.0 { number } else { number / 1000.0 };
    let reset = UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(seconds).ok()?)?;
    Some(reset.duration_since(now).unwrap_or_default())
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

    /// Every status from 100 to 599 and every trouble, neighbours of one verdict on one line.
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
        for trouble in [TransportFailure::Unsendable, TransportFailure::Unsent, TransportFailure::Lost] {
            let name = format!("{trouble:?}");
            lines.push(format!(
                "{name:<10} {}",
                verdicts(&|repeat: Repeatability| repeat.after_transport_failure(trouble))
            ));
        }
        lines.join("\n")
    }

    #[test]
    fn every_failure_has_its_verdict() {
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
Unsendable Never     Never     Never
Unsent     Soon      Soon      Soon
Lost       Soon      Never     Soon";
        assert_eq!(printed(), table);
    }

    fn policy(chance: fn() -> f64) -> RetryPolicy {
        RetryPolicy { chance, ..RetryPolicy::default() }
    }

    #[test]
    fn delays_double_are_spread_and_capped() {
        let ms = |tries, chance| policy(chance).delay(RetryAdvice::Soon, tries, None).as_millis();
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
    fn a_try_that_would_come_too_late_is_not_waited_for() {
        let second = Duration::from_secs(1);
        let budget = RetryBudget { tries: 3, time: 10 * second };
        assert!(!budget.is_spent(2, 5 * second, 4 * second));
        assert!(budget.is_spent(2, 5 * second, 6 * second) && budget.is_spent(3, Duration::ZERO, Duration::ZERO));
    }

    #[test]
    fn chances_differ() {
        assert_ne!(chance(), chance());
        assert!((0..100).all(|_| (0.0..1.0).contains(&chance())));
    }
}
