//! Fault injection: failures of networks, stores and services that the local service produces on request, so that
//! clients can be tested against them. Without a scenario nothing here changes a response.
//!
//! ```text
//! scenario (data: a seed and rules) ─► per request: the strikes of its rules ─► layer: around the handler
//!                                  └─► per run: how it is slowed down or ended (read by the engine)
//! ```
//!
//! A rule strikes by the seed, the rule, and the number of earlier requests for the same resource;
//! never on the time or on requests for other resources. Runs are numbered in the order of their first request, so that
//! the same client meets the same faults again although ids differ. `docs/faults.md` lists the kinds, with examples
//! that the tests parse.

mod body;
mod kind;
mod layer;
mod refusal;
mod rule;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

pub(super) use body::flushed;
pub use kind::{ErrorShape, Kind, Progress, Refusal, Target};
pub(super) use layer::{RequestFaults, inject_faults};
pub use rule::{Error, Rule, Scenario};

use crate::api::RunId;
use crate::net::random::mixed;

/// Limit of counted pairs of rule and resource. Beyond it all counts are reset and faults begin anew: a service under
/// test never reaches it, and one that runs for months must not grow.
const MAX_KEYS: usize = 200_000;

/// Rules in force with their counts, shared by all requests. They begin as those of the scenario and can be changed
/// while the service runs.
pub(super) struct Faults {
    scenario: Scenario,
    state: Mutex<State>,
}

struct State {
    rules: Vec<ActiveRule>,
    /// Number of the next rule that is added.
    next: u64,
    counts: Counts,
    /// Rules for one run each, which the request that starts it brings along. Removed when the run begins.
    for_runs: HashMap<RunId, Vec<Rule>>,
}

/// Rule in force. Its number, not its index, identifies it in counts and random numbers, so that the removal of another
/// rule changes neither.
struct ActiveRule {
    number: u64,
    rule: Rule,
}

#[derive(Default)]
struct Counts {
    /// Counts by number of the rule and resource (a path with numbers in place of run ids).
    seen: HashMap<(u64, String), Seen>,
    /// Number of each run, in the order of first requests.
    runs: HashMap<String, usize>,
    /// Number of changes of each file's entity tag.
    editions: HashMap<String, u64>,
    /// Total number of strikes of each rule.
    struck: HashMap<u64, u64>,
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
    /// The rule as text.
    pub text: String,
    /// Number of earlier strikes of the rule on the same resource.
    pub nth: u64,
    /// Random number of this strike, reproducible from the seed.
    pub random: u64,
}

/// A rule in force, as the service shows it.
#[derive(Clone, Debug)]
pub(super) struct FaultInForce {
    /// Number by which it can be removed.
    pub number: u64,
    /// Kind, as written.
    pub kind: String,
    /// The whole rule as text.
    pub text: String,
    /// Total number of strikes.
    pub struck: u64,
}

/// Faults in the execution of one run.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct RunFaults {
    /// The run ends with `timeout` before its last block.
    pub times_out: bool,
    /// Block that fails, the last one for `None`, and its message.
    pub fails: Option<(Option<String>, String)>,
    /// Rows per second that each block reads at most.
    pub rows_per_second: Option<f64>,
}

impl State {
    fn of(scenario: &Scenario) -> Self {
        let rules = scenario.rules.iter().cloned();
        let rules: Vec<ActiveRule> = (0..).zip(rules).map(|(number, rule)| ActiveRule { number, rule }).collect();
        State { next: rules.len() as u64, rules, counts: Counts::default(), for_runs: HashMap::new() }
    }
}

impl Faults {
    pub(super) fn new(scenario: Scenario) -> Self {
        Faults { state: Mutex::new(State::of(&scenario)), scenario }
    }

    /// Restores the rules of the scenario, without counts.
    pub(super) fn reset(&self) {
        *self.lock() = State::of(&self.scenario);
    }

    /// Adds rules to those in force.
    pub(super) fn add(&self, rules: Vec<Rule>) {
        let mut state = self.lock();
        for rule in rules {
            let number = state.next;
            state.next += 1;
            state.rules.push(ActiveRule { number, rule });
        }
    }

    /// Removes the rule with this number, or all rules for `None`. Returns false if there is no such rule.
    pub(super) fn remove(&self, number: Option<u64>) -> bool {
        let mut state = self.lock();
        let before = state.rules.len();
        state.rules.retain(|active| number.is_some_and(|number| active.number != number));
        number.is_none() || state.rules.len() < before
    }

    /// Records rules for the run that is about to be submitted.
    pub(super) fn set_for_run(&self, run: &RunId, rules: Vec<Rule>) {
        if !rules.is_empty() {
            self.lock().for_runs.insert(run.clone(), rules);
        }
    }

    /// Counts a request for `path` and returns the strikes of all rules on it. `ranged` is true for a range request.
    pub(super) fn strikes(&self, target: Target, path: &str, ranged: bool) -> Vec<Strike> {
        let mut state = self.lock();
        let State { rules, counts, .. } = &mut *state;
        if rules.is_empty() {
            return Vec::new();
        }
        let key = counts.stable(path);
        // A request that a rule does not apply to is not counted for it.
        let applies = |rule: &Rule| rule.applies_to(target) && rule.kind.can_strike(path, ranged);
        let rules = rules.iter().filter(|active| applies(&active.rule));
        rules.filter_map(|active| active.strike(self.scenario.seed, counts, &key, &key)).collect()
    }

    /// Returns the rules in force, in order.
    pub(super) fn in_force(&self) -> Vec<FaultInForce> {
        let state = self.lock();
        let shown = |ActiveRule { number, rule }: &ActiveRule| FaultInForce {
            number: *number,
            kind: rule.word.clone(),
            text: rule.text.clone(),
            struck: state.counts.struck.get(number).copied().unwrap_or(0),
        };
        state.rules.iter().map(shown).collect()
    }

    /// Returns the faults of a run that begins. Counts as the beginning of a run, so call it once per run.
    pub(super) fn of_run(&self, run: &RunId) -> RunFaults {
        let mut state = self.lock();
        let mut faults = RunFaults::default();
        let own = state.for_runs.remove(run).unwrap_or_default();
        let State { rules, counts, .. } = &mut *state;
        let rules: Vec<&ActiveRule> = rules.iter().filter(|active| active.rule.on == Target::Runs).collect();
        let mut kinds: Vec<Kind> = own.into_iter().map(|rule| rule.kind).collect();
        if !rules.is_empty() {
            // Runs are counted together, and each has its own random number.
            let key = format!("run {}", counts.ordinal(&run.0));
            let strikes = rules.iter().filter_map(|active| active.strike(self.scenario.seed, counts, "runs", &key));
            kinds.extend(strikes.map(|strike| strike.kind));
        }
        for kind in kinds {
            match kind {
                Kind::RunTimeout => faults.times_out = true,
                Kind::FailBlock { block, text } => faults.fails = Some((block, text)),
                Kind::RowsPerSecond(rate) => faults.rows_per_second = Some(rate),
                _ => {}
            }
        }
        faults
    }

    /// Returns the number of changes of the entity tag of the file at `path`, including one now if `changes`. 0 if no
    /// rule has changed any.
    fn edition(&self, path: &str, changes: bool) -> u64 {
        let mut state = self.lock();
        let counts = &mut state.counts;
        if !changes && counts.editions.is_empty() {
            return 0;
        }
        let key = counts.stable(path);
        let edition = counts.editions.entry(key).or_default();
        *edition += u64::from(changes);
        *edition
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // A panic cannot leave a partial count, so a poisoned lock is usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ActiveRule {
    /// Counts a request under `key` and returns the strike on it, if any. The random number depends on `random_key`.
    fn strike(&self, seed: u64, counts: &mut Counts, key: &str, random_key: &str) -> Option<Strike> {
        // `struck` is reset as well, so the counts that the service shows start over together with the faults.
        if counts.seen.len() >= MAX_KEYS {
            *counts = Counts::default();
        }
        let rule = &self.rule;
        let hash = hash_of(seed, self.number, random_key);
        let seen = counts.seen.entry((self.number, key.to_owned())).or_default();
        let n_earlier = seen.requests;
        seen.requests += 1;
        // A key of its own for each request needs no count in its random number.
        let random = mixed(hash ^ if key == random_key { n_earlier } else { 0 });
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
        *counts.struck.entry(self.number).or_default() += 1;
        Some(Strike { kind: rule.kind.clone(), text: rule.text.clone(), nth, random })
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
