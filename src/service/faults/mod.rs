//! Fault injection: failures of networks, stores and services that the local service produces on request, so that
//! clients can be tested against them. Without a scenario nothing here changes a response.
//!
//! ```text
//! scenario (data: a seed and rules) ─► per request: the strikes of its rules ─► layer: around the handler
//!                                  └─► per run: whether it ends as `timeout` (read by the engine)
//! ```
//!
//! A rule strikes by the seed, the rule, and the number of earlier requests for the same resource;
//! never on the time or on requests for other resources. Runs are numbered in the order of their first request, so that
//! the same client meets the same faults again although ids differ. `docs/faults.md` lists the kinds, with examples
//! that the tests parse.

mod body;
mod kind;
mod layer;
mod rule;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

pub use kind::{Kind, Progress};
pub(super) use layer::inject_faults;
pub use rule::{Error, Rule, Scenario, Target};

use crate::api::RunId;
use crate::net::random::mixed;

/// Limit of counted pairs of rule and resource. Beyond it all counts are reset and faults begin anew: a service under
/// test never reaches it, and one that runs for months must not grow.
const MAX_KEYS: usize = 200_000;

/// Scenario with the counts of its rules, shared by all requests.
pub(super) struct Faults {
    scenario: Scenario,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    /// Counts by index of the rule and resource (a path with numbers in place of run ids).
    seen: HashMap<(usize, String), Seen>,
    /// Number of each run, in the order of first requests.
    runs: HashMap<String, usize>,
    /// Number of changes of each file's entity tag.
    editions: HashMap<String, u64>,
    /// Total number of strikes of each rule.
    struck: HashMap<usize, u64>,
}

/// Counts of one rule for one resource.
#[derive(Clone, Copy, Default)]
struct Seen {
    requests: u64,
    struck: u64,
}

/// Fault to inject into one response: one strike of a rule.
#[derive(Clone, Debug)]
pub(super) struct Strike {
    pub kind: Kind,
    /// Number of earlier strikes of the rule on the same resource.
    pub nth: u64,
    /// Random number of this strike, reproducible from the seed.
    pub random: u64,
}

impl Faults {
    pub(super) fn new(scenario: Scenario) -> Self {
        Faults { scenario, counts: Mutex::default() }
    }

    /// Returns true if the scenario has no rules.
    pub(super) fn is_none(&self) -> bool {
        self.scenario.rules.is_empty()
    }

    /// Counts a request for `path` and returns the strikes of all rules on it. `ranged` is true for a range request.
    pub(super) fn strikes(&self, target: Target, path: &str, ranged: bool) -> Vec<Strike> {
        if self.is_none() {
            return Vec::new();
        }
        let mut counts = self.lock();
        let key = counts.stable(path);
        let mut strikes = Vec::new();
        // A request that a rule does not apply to is not counted for it.
        let applies = |rule: &Rule| rule.applies_to(target) && rule.kind.can_strike(path, ranged);
        for (i, rule) in self.scenario.rules.iter().enumerate().filter(|(_, rule)| applies(rule)) {
            strikes.extend(self.strike(&mut counts, i, rule, key.clone()));
        }
        strikes
    }

    /// Returns the kind of each rule, as written, with its total number of strikes.
    pub(super) fn struck(&self) -> Vec<(String, u64)> {
        let counts = self.lock();
        let struck = |i: usize| counts.struck.get(&i).copied().unwrap_or(0);
        self.scenario.rules.iter().enumerate().map(|(i, rule)| (rule.word.clone(), struck(i))).collect()
    }

    /// Returns true if the run must end with `timeout`. Counts as a request for the run, so call it once per run.
    pub(super) fn times_out(&self, run: &RunId) -> bool {
        let mut counts = self.lock();
        let key = format!("run {}", counts.ordinal(&run.0));
        let rules = self.scenario.rules.iter().enumerate().filter(|(_, rule)| rule.kind == Kind::RunTimeout);
        rules.fold(false, |ends, (i, rule)| self.strike(&mut counts, i, rule, key.clone()).is_some() || ends)
    }

    /// Returns the number of changes of the entity tag of the file at `path`, including one now if `changes`. 0 if the
    /// scenario changes no entity tags.
    fn edition(&self, path: &str, changes: bool) -> u64 {
        if !self.scenario.rules.iter().any(|rule| rule.kind == Kind::NewEtag) {
            return 0;
        }
        let mut counts = self.lock();
        let key = counts.stable(path);
        let edition = counts.editions.entry(key).or_default();
        *edition += u64::from(changes);
        *edition
    }

    fn strike(&self, counts: &mut Counts, i: usize, rule: &Rule, key: String) -> Option<Strike> {
        // `struck` is reset as well, so `/admin/faults` starts over together with the faults.
        if counts.seen.len() >= MAX_KEYS {
            *counts = Counts::default();
        }
        let hash = hash_of(self.scenario.seed, i as u64, &key);
        let seen = counts.seen.entry((i, key)).or_default();
        let n_earlier = seen.requests;
        seen.requests += 1;
        let random = mixed(hash ^ n_earlier);
        let n_after = n_earlier.checked_sub(rule.after)?;
        // The upper 53 bits as a fraction of 1: every double below 1 of that precision is equally likely.
        let strikes = n_after.is_multiple_of(rule.every.max(1))
            && rule.times.is_none_or(|times| seen.struck < times)
            && rule.chance.is_none_or(|chance| ((random >> 11) as f64 / (1u64 << 53) as f64) < chance);
        if !strikes {
            return None;
        }
        seen.struck += 1;
        let nth = seen.struck - 1;
        *counts.struck.entry(i).or_default() += 1;
        Some(Strike { kind: rule.kind.clone(), nth, random })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counts> {
        // A panic cannot leave a partial count, so a poisoned lock is usable.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    /// Returns the number of a run, from 0 in the order of first requests.
    fn ordinal(&mut self, run: &str) -> usize {
        let next = self.runs.len();
        *self.runs.entry(run.to_owned()).or_insert(next)
    }

    /// Returns `path` with ids replaced by the numbers of their runs, which a repetition of the test shares.
    fn stable(&mut self, path: &str) -> String {
        let parts: Vec<String> = path
            .split('/')
            .map(
                |part| {
                    if uuid::Uuid::parse_str(part).is_ok() { self.ordinal(part).to_string() } else { part.to_owned() }
                },
            )
            .collect();
        parts.join("/")
    }
}

impl Kind {
    /// Returns false if the fault has no effect on this request.
    fn can_strike(&self, path: &str, ranged: bool) -> bool {
        match self {
            Kind::WrongRange(_) | Kind::IgnoreRange => ranged,
            Kind::BrokenLines(_) | Kind::LateType { .. } | Kind::DuplicateRows(_) => path.ends_with(".ndjson"),
            _ => true,
        }
    }
}

/// Hashes the seed, the index of the rule and the resource.
fn hash_of(seed: u64, rule: u64, key: &str) -> u64 {
    // FNV-1a, then mixed. The standard library's hasher may differ between builds, which would change the faults.
    let hash = key
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    mixed(mixed(seed) ^ mixed(rule.wrapping_add(1)) ^ hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn struck(spec: &str, seed: u64, path: &str, n: usize) -> String {
        let faults = Faults::new(Scenario { seed, rules: vec![spec.parse().unwrap()] });
        (0..n).map(|_| if faults.strikes(Target::Files, path, false).is_empty() { '.' } else { 'x' }).collect()
    }

    #[test]
    fn rules_strike_by_count() {
        assert_eq!(struck("503", 0, "/a", 4), "x...");
        assert_eq!(struck("503,times=2,after=1", 0, "/a", 5), ".xx..");
        assert_eq!(struck("503,times=2,every=3", 0, "/a", 8), "x..x....");
        assert_eq!(struck("latency=1ms", 0, "/a", 3), "xxx");
        assert_eq!(struck("503,on=status", 0, "/a", 2), "..");
    }

    #[test]
    fn chance_depends_only_on_seed_and_path() {
        let one = struck("503,times=1000,chance=0.3", 1, "/a", 200);
        assert_eq!(one, struck("503,times=1000,chance=0.3", 1, "/a", 200));
        assert_ne!(one, struck("503,times=1000,chance=0.3", 2, "/a", 200));
        assert_ne!(one, struck("503,times=1000,chance=0.3", 1, "/b", 200));
        let hits = one.matches('x').count();
        assert!((35..85).contains(&hits), "{hits}");
    }

    #[test]
    fn ids_of_runs_make_no_difference() {
        let faults = || Faults::new(Scenario { seed: 1, rules: vec!["503,times=9,chance=0.5".parse().unwrap()] });
        let strikes = |faults: &Faults, id: &str| {
            (0..9).map(|_| faults.strikes(Target::Files, &format!("/x/{id}/y"), false).len()).collect::<Vec<_>>()
        };
        let (one, two) = (faults(), faults());
        for _ in 0..2 {
            let ids = [uuid::Uuid::new_v4().to_string(), uuid::Uuid::new_v4().to_string()];
            assert_eq!(strikes(&one, &ids[0]), strikes(&two, &ids[1]));
        }
    }
}
