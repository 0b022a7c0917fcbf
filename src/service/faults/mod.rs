//! Faults on demand: what the service does wrong on purpose, so that whoever depends on it can see what becomes of it.
//!
//! ```text
//! scenario (data: a seed and rules) ─► for each request the rules that strike ─► layer: before, around and after it
//!                                  └─► for each run whether it ends as `timeout` (asked by the engine)
//! ```
//!
//! What strikes is decided from the seed, the rule, and how often the same thing was asked for before: not from the
//! time, and not from what others ask. Runs count in the order in which they were first asked about, so that the same
//! client meets the same faults again although ids differ. `docs/faults.md` lists the kinds, with examples that the
//! tests read.

mod body;
mod kind;
mod layer;
mod rule;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

pub use kind::{Kind, Progress};
pub(super) use layer::spoil;
pub use rule::{Error, Rule, Scenario, Target};

use crate::api::RunId;
use crate::net::random::mixed;

/// Keys whose counts are remembered; beyond that all are forgotten, and faults begin anew. A service that tests are
/// run against does not get there; one that stands for months must not grow.
const MAX_KEYS: usize = 200_000;

/// A scenario under way.
pub(super) struct Faults {
    scenario: Scenario,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    /// Of each rule and thing asked for: how often it was asked, and how often the rule struck.
    seen: HashMap<(usize, String), Seen>,
    /// Runs, in the order of first sight.
    runs: HashMap<String, usize>,
    /// How often the entity tag of a file was changed.
    editions: HashMap<String, u64>,
    /// How often each rule struck.
    struck: HashMap<usize, u64>,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    asked: u64,
    struck: u64,
}

/// A rule that strikes.
#[derive(Clone, Debug)]
pub(super) struct Strike {
    pub kind: Kind,
    /// How often it struck the same thing before.
    pub nth: u64,
    /// A number that belongs to this strike alone.
    pub random: u64,
}

impl Faults {
    pub(super) fn new(scenario: Scenario) -> Self {
        Faults { scenario, counts: Mutex::default() }
    }

    /// True if nothing goes wrong.
    pub(super) fn is_none(&self) -> bool {
        self.scenario.rules.is_empty()
    }

    /// The rules that strike a request for `path`, which is one of `target` and asks for a part of it if `ranged`.
    pub(super) fn strikes(&self, target: Target, path: &str, ranged: bool) -> Vec<Strike> {
        if self.is_none() {
            return Vec::new();
        }
        let mut counts = self.lock();
        let key = counts.stable(path);
        let mut strikes = Vec::new();
        let hit = |rule: &Rule| rule.hits(target) && rule.kind.can_strike(path, ranged);
        for (i, rule) in self.scenario.rules.iter().enumerate().filter(|(_, rule)| hit(rule)) {
            strikes.extend(self.strike(&mut counts, i, rule, key.clone()));
        }
        strikes
    }

    /// The word of each rule, and how often it struck.
    pub(super) fn struck(&self) -> Vec<(String, u64)> {
        let counts = self.lock();
        let struck = |i: usize| counts.struck.get(&i).copied().unwrap_or(0);
        self.scenario.rules.iter().enumerate().map(|(i, rule)| (rule.word.clone(), struck(i))).collect()
    }

    /// True if the run is to end as one that took too long.
    pub(super) fn times_out(&self, run: &RunId) -> bool {
        let mut counts = self.lock();
        let key = format!("run {}", counts.ordinal(&run.0));
        let rules = self.scenario.rules.iter().enumerate().filter(|(_, rule)| rule.kind == Kind::RunTimeout);
        rules.fold(false, |ends, (i, rule)| self.strike(&mut counts, i, rule, key.clone()).is_some() || ends)
    }

    /// The entity tag's edition of the file at `path`, after one more change if there is one now.
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
        if counts.seen.len() >= MAX_KEYS {
            *counts = Counts::default();
        }
        let dice = dice(self.scenario.seed, i as u64, &key);
        let seen = counts.seen.entry((i, key)).or_default();
        let asked = seen.asked;
        seen.asked += 1;
        let dice = mixed(dice ^ asked);
        let since = asked.checked_sub(rule.after)?;
        let is_turn = since.is_multiple_of(rule.every.max(1))
            && rule.times.is_none_or(|times| seen.struck < times)
            && rule.chance.is_none_or(|chance| ((dice >> 11) as f64 / (1u64 << 53) as f64) < chance);
        if !is_turn {
            return None;
        }
        seen.struck += 1;
        let nth = seen.struck - 1;
        *counts.struck.entry(i).or_default() += 1;
        Some(Strike { kind: rule.kind.clone(), nth, random: dice })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counts> {
        // Counts are whole at every moment.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn ordinal(&mut self, run: &str) -> usize {
        let next = self.runs.len();
        *self.runs.entry(run.to_owned()).or_insert(next)
    }

    /// `path` with the ids of runs replaced by their ordinals.
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
    /// False if there is nothing in a request for it to spoil.
    fn can_strike(&self, path: &str, ranged: bool) -> bool {
        match self {
            Kind::WrongRange(_) | Kind::IgnoreRange => ranged,
            Kind::BrokenLines(_) | Kind::LateType { .. } | Kind::DuplicateRows(_) => path.ends_with(".ndjson"),
            _ => true,
        }
    }
}

/// A number from the seed, the rule and the thing asked for.
fn dice(seed: u64, rule: u64, key: &str) -> u64 {
    // FNV-1a, then mixed: it must be the same in every build.
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
    fn chance_is_of_the_seed() {
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
