//! Hash aggregation in bounded memory: groups rows by the values of key columns and aggregates the others. Groups are
//! returned in the order of their first rows.
//!
//! When memory is full, the partial groups are spilled, sorted by key. At the end the partials of each group are
//! merged, and the groups are sorted back into the order of their first rows.

use std::collections::HashMap;
use std::io;

use serde::{Deserialize, Serialize};

use super::cell::Cell;
use super::distinct::SpillBudget;
use super::key::{Key, KeyWriter};
use super::sorter::Sorter;

/// Maximum bytes of one group's list: a group must fit in memory when its partials are merged.
const MAX_LIST_BYTES: usize = 16 << 20;

/// Approximate bytes of a group in memory besides its texts.
const GROUP_OVERHEAD: usize = 160;

/// An aggregate function over the rows of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregate {
    /// Number of rows, nulls included.
    Count,
    /// Sum of the numbers; null if there are none. Exact over integers.
    Sum,
    /// Mean of the numbers; null if there are none.
    Mean,
    /// Least value that is not null.
    Min,
    /// Greatest value that is not null.
    Max,
    /// First value that is not null.
    First,
    /// Last value that is not null.
    Last,
    /// List of all values that are not null.
    List,
}

impl Aggregate {
    /// All aggregates with their names.
    pub const WORDS: [(&'static str, Aggregate); 8] = [
        ("count", Aggregate::Count),
        ("sum", Aggregate::Sum),
        ("mean", Aggregate::Mean),
        ("min", Aggregate::Min),
        ("max", Aggregate::Max),
        ("first", Aggregate::First),
        ("last", Aggregate::Last),
        ("list", Aggregate::List),
    ];

    /// Returns the aggregate named `word`, in any case; `avg` is an alias of `mean`. `None` for other words.
    pub fn parse(word: &str) -> Option<Aggregate> {
        let word = if word.eq_ignore_ascii_case("avg") { "mean" } else { word };
        Self::WORDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, aggregate)| *aggregate)
    }

    /// Returns the name of the aggregate.
    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, aggregate)| *aggregate == self).map_or("", |(word, _)| word)
    }
}

/// Error of grouping rows.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// A spill file cannot be written or read.
    #[error("cannot spill groups to a temporary file")]
    Spill(#[from] io::Error),
    /// The list of one group, whose key values are given as JSON text, exceeds `MAX_LIST_BYTES`.
    #[error("the list of the group {0} exceeds {MAX_LIST_BYTES} bytes")]
    LongList(String),
}

/// Hash aggregation at work.
#[derive(Debug)]
pub struct Groups {
    aggregates: Vec<Aggregate>,
    spill_budget: SpillBudget,
    held: HashMap<Key, Group>,
    held_bytes: usize,
    rows: u64,
    /// Spilled partial groups, sorted by key; `None` until memory was full for the first time.
    partials: Option<Sorter>,
    key: KeyWriter,
}

/// State of one group, complete or partial.
#[derive(Debug, Serialize, Deserialize)]
struct Group {
    /// Index of its first row.
    first: u64,
    /// Key values as JSON text, spelled as in its first row.
    keys: Vec<String>,
    states: Vec<State>,
}

#[derive(Debug, Serialize, Deserialize)]
enum State {
    Count(u64),
    Sum {
        numbers: u64,
        int_sum: i128,
        /// Sum of the numbers with a fraction, and of integers that would overflow `int_sum`; `None` if there are none.
        float_sum: Option<f64>,
    },
    /// Value kept so far, as JSON text.
    Value(Option<String>),
    /// Values as JSON text, separated by commas.
    List(String),
}

impl Groups {
    /// Creates an aggregation without groups. `spill_budget` covers all of its state.
    pub fn new(aggregates: Vec<Aggregate>, spill_budget: SpillBudget) -> Self {
        // Half for the groups, half for sorting and merging the spilled partials.
        let spill_budget = SpillBudget { max_bytes: spill_budget.max_bytes / 2, ..spill_budget };
        Groups {
            aggregates,
            spill_budget,
            held: HashMap::new(),
            held_bytes: 0,
            rows: 0,
            partials: None,
            key: KeyWriter::default(),
        }
    }

    /// Adds one row: the JSON texts of its key values, and of the value for each aggregate (`null` where an aggregate
    /// has no column). Fails if a list exceeds its limit or a spill file cannot be written.
    pub fn add(&mut self, keys: &[&str], values: &[&str]) -> Result<(), GroupError> {
        keys.iter().for_each(|json| self.key.value(&Cell::from_json(json)));
        let key = self.key.finish();
        let aggregates = &self.aggregates;
        let group = self.held.entry(key).or_insert_with(|| {
            self.held_bytes += GROUP_OVERHEAD + keys.iter().map(|json| json.len() + 24).sum::<usize>();
            Group {
                first: self.rows,
                keys: keys.iter().map(|json| (*json).to_owned()).collect(),
                states: aggregates.iter().map(|aggregate| State::new(*aggregate)).collect(),
            }
        });
        self.rows += 1;
        for ((state, aggregate), json) in group.states.iter_mut().zip(aggregates).zip(values) {
            let before = state.text_len();
            state.add(*aggregate, json);
            // A partial list has the limit of the whole list.
            if state.text_len() > MAX_LIST_BYTES {
                return Err(GroupError::LongList(group.keys.join(", ")));
            }
            // Only texts grow; counts and sums are part of the overhead of a group.
            self.held_bytes = self.held_bytes + state.text_len() - before;
        }
        // Spilled after the row, so memory exceeds the budget by one row at most.
        if self.held_bytes > self.spill_budget.max_bytes {
            self.spill()?;
        }
        Ok(())
    }

    /// Returns true once groups were spilled to disk.
    pub fn has_spilled(&self) -> bool {
        self.partials.is_some()
    }

    /// Passes all groups to `emit` in the order of their first rows: JSON texts of the key values, then of the
    /// aggregates.
    pub fn finish<E: From<GroupError>>(mut self, mut emit: impl FnMut(Vec<String>) -> Result<(), E>) -> Result<(), E> {
        if self.partials.is_none() {
            let mut groups: Vec<Group> = self.held.into_values().collect();
            groups.sort_unstable_by_key(|group| group.first);
            // Nothing was spilled: one sort in memory is enough.
            return groups.into_iter().try_for_each(|group| emit(group.into_json(&self.aggregates)));
        }
        let io = |error: io::Error| E::from(GroupError::Spill(error));
        self.spill().map_err(E::from)?;
        let partials = self.partials.take().expect("checked at the start");
        // Spilled partials are sorted by key; a second sort brings the merged groups back into the order of first rows.
        let mut in_order = Sorter::new(self.spill_budget.clone());
        let mut current: Option<(Key, Group)> = None;
        let mut push_group = |group: Group| in_order.push(group.first.into(), encoded(&group));
        for part in partials.finish().map_err(io)? {
            let (key, bytes) = part.map_err(io)?;
            let part: Group = decoded(&bytes).map_err(io)?;
            match &mut current {
                // The sorter is stable: partials of one group are merged in the order in which they were spilled.
                Some((of, group)) if *of == key => group.merge(part, &self.aggregates).map_err(E::from)?,
                _ => {
                    if let Some((_, done)) = current.replace((key, part)) {
                        push_group(done).map_err(io)?;
                    }
                }
            }
        }
        if let Some((_, done)) = current {
            push_group(done).map_err(io)?;
        }
        for group in in_order.finish().map_err(io)? {
            let (_, bytes) = group.map_err(io)?;
            let group: Group = decoded(&bytes).map_err(io)?;
            emit(group.into_json(&self.aggregates))?;
        }
        Ok(())
    }

    fn spill(&mut self) -> Result<(), GroupError> {
        let partials = self.partials.get_or_insert_with(|| Sorter::new(self.spill_budget.clone()));
        // The order of groups within one spill does not matter; of one group each spill has one partial.
        for (key, group) in self.held.drain() {
            partials.push(key, encoded(&group))?;
        }
        self.held_bytes = 0;
        Ok(())
    }
}

fn encoded(group: &Group) -> Box<[u8]> {
    serde_json::to_vec(group).expect("a group is plain data").into()
}

fn decoded(bytes: &[u8]) -> io::Result<Group> {
    serde_json::from_slice(bytes).map_err(io::Error::other)
}

impl Group {
    /// Merges a later partial of the same group.
    fn merge(&mut self, later: Group, aggregates: &[Aggregate]) -> Result<(), GroupError> {
        self.first = self.first.min(later.first);
        for ((state, later), aggregate) in self.states.iter_mut().zip(later.states).zip(aggregates) {
            state.merge(later, *aggregate);
            if state.text_len() > MAX_LIST_BYTES {
                return Err(GroupError::LongList(self.keys.join(", ")));
            }
        }
        Ok(())
    }

    fn into_json(self, aggregates: &[Aggregate]) -> Vec<String> {
        let mut texts = self.keys;
        texts.extend(self.states.into_iter().zip(aggregates).map(|(state, aggregate)| state.into_json(*aggregate)));
        texts
    }
}

impl State {
    fn new(aggregate: Aggregate) -> Self {
        match aggregate {
            Aggregate::Count => State::Count(0),
            Aggregate::Sum | Aggregate::Mean => State::Sum { numbers: 0, int_sum: 0, float_sum: None },
            Aggregate::Min | Aggregate::Max | Aggregate::First | Aggregate::Last => State::Value(None),
            Aggregate::List => State::List(String::new()),
        }
    }

    fn text_len(&self) -> usize {
        match self {
            State::Value(Some(text)) | State::List(text) => text.len(),
            _ => 0,
        }
    }

    fn add(&mut self, aggregate: Aggregate, json: &str) {
        let cell = Cell::from_json(json);
        match self {
            State::Count(rows) => *rows += 1,
            _ if matches!(cell, Cell::Null) => {}
            State::Sum { numbers, int_sum, float_sum } => {
                // Values that are not numbers do not count, for the mean either.
                let Cell::Number(text) = cell else { return };
                *numbers += 1;
                match text.parse::<i128>().ok().and_then(|number| int_sum.checked_add(number)) {
                    Some(sum) => *int_sum = sum,
                    // Not an integer, or the sum would overflow.
                    None => *float_sum.get_or_insert(0.0) += text.parse::<f64>().unwrap_or(0.0),
                }
            }
            State::Value(kept) if replaces(aggregate, kept.as_deref(), &cell) => *kept = Some(json.to_owned()),
            State::Value(_) => {}
            State::List(texts) => push_to_list(texts, json),
        }
    }

    fn merge(&mut self, later: State, aggregate: Aggregate) {
        match (self, later) {
            (State::Count(rows), State::Count(more)) => *rows += more,
            (State::Sum { numbers, int_sum, float_sum }, State::Sum { numbers: n, int_sum: w, float_sum: b }) => {
                *numbers += n;
                match int_sum.checked_add(w) {
                    Some(sum) => *int_sum = sum,
                    None => *float_sum.get_or_insert(0.0) += w as f64,
                }
                if let Some(b) = b {
                    *float_sum.get_or_insert(0.0) += b;
                }
            }
            (State::Value(kept), State::Value(Some(json)))
                if replaces(aggregate, kept.as_deref(), &Cell::from_json(&json)) =>
            {
                *kept = Some(json);
            }
            (State::List(texts), State::List(more)) if !more.is_empty() => push_to_list(texts, &more),
            // Unreachable: partials of one group have the same aggregates.
            _ => {}
        }
    }

    fn into_json(self, aggregate: Aggregate) -> String {
        match self {
            State::Count(rows) => rows.to_string(),
            State::Sum { numbers: 0, .. } => "null".to_owned(),
            State::Sum { numbers, int_sum, float_sum } => match (aggregate, float_sum) {
                (Aggregate::Sum, None) => int_sum.to_string(),
                (Aggregate::Sum, Some(float_sum)) => float(int_sum as f64 + float_sum),
                (_, float_sum) => float((int_sum as f64 + float_sum.unwrap_or(0.0)) / numbers as f64),
            },
            State::Value(json) => json.unwrap_or_else(|| "null".to_owned()),
            State::List(texts) => format!("[{texts}]"),
        }
    }
}

/// Returns true if `cell` replaces the kept value. The first of values that do not compare is kept.
fn replaces(aggregate: Aggregate, kept: Option<&str>, cell: &Cell<'_>) -> bool {
    let Some(kept) = kept else { return true };
    match aggregate {
        Aggregate::Last => true,
        Aggregate::Min => cell.compare(&Cell::from_json(kept)).is_some_and(std::cmp::Ordering::is_lt),
        Aggregate::Max => cell.compare(&Cell::from_json(kept)).is_some_and(std::cmp::Ordering::is_gt),
        _ => false,
    }
}

fn push_to_list(texts: &mut String, json: &str) {
    if !texts.is_empty() {
        texts.push(',');
    }
    texts.push_str(json);
}

fn float(number: f64) -> String {
    if number.is_finite() { ryu::Buffer::new().format_finite(number).to_owned() } else { "null".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(max_bytes: usize, rows: &[(String, String)]) -> (Vec<Vec<String>>, bool) {
        let aggregates = Aggregate::WORDS.iter().map(|(_, aggregate)| *aggregate).collect();
        let mut groups = Groups::new(aggregates, SpillBudget { max_bytes, directory: None });
        for (key, value) in rows {
            groups.add(&[key], &[value.as_str(); 8]).unwrap();
        }
        let spilled = groups.has_spilled();
        let mut found = Vec::new();
        groups
            .finish(|group| {
                found.push(group);
                Ok::<(), GroupError>(())
            })
            .unwrap();
        (found, spilled)
    }

    #[test]
    fn aggregates_over_a_group() {
        let rows: Vec<(String, String)> = [
            ("\"a\"", "3"),
            ("\"b\"", "\"x\""),
            ("\"a\"", "null"),
            ("\"a\"", "10"),
            ("null", "null"),
            ("\"a\"", "0.5"),
            ("\"b\"", "{\"k\":1}"),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .to_vec();
        let (found, spilled) = groups(1 << 20, &rows);
        assert!(!spilled);
        assert_eq!(found[0], ["\"a\"", "4", "13.5", "4.5", "0.5", "10", "3", "0.5", "[3,10,0.5]"]);
        assert_eq!(
            found[1],
            ["\"b\"", "2", "null", "null", "\"x\"", "\"x\"", "\"x\"", "{\"k\":1}", "[\"x\",{\"k\":1}]"]
        );
        assert_eq!(found[2], ["null", "1", "null", "null", "null", "null", "null", "null", "[]"]);
    }

    #[test]
    fn spilled_groups_equal_groups_in_memory() {
        let rows: Vec<(String, String)> =
            (0u64..4000).map(|i| ((i * 7919 % 613).to_string(), (i % 50).to_string())).collect();
        let (held, spilled) = groups(1 << 30, &rows);
        assert!(!spilled && held.len() == 613);
        for max_bytes in [0, 10_000] {
            let (found, spilled) = groups(max_bytes, &rows);
            assert!(spilled);
            assert_eq!(found, held);
        }
    }

    #[test]
    fn sums_of_integers_are_exact() {
        let number = i128::from(u64::MAX).to_string();
        let rows = vec![("1".to_owned(), number.clone()), ("1.0".to_owned(), number)];
        let (found, _) = groups(0, &rows);
        assert_eq!(found.len(), 1, "1 and 1.0 are one value");
        assert_eq!(found[0][2], (2 * i128::from(u64::MAX)).to_string());
    }
}
