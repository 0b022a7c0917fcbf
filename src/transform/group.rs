//! Rows put together by the values of some columns, with figures over each group; groups come in the order in which
//! their first rows came.
//!
//! Groups that memory does not hold go to disk as they are so far, sorted by key. In the end the parts of each group
//! meet again, and the groups are sorted back into their order.

use std::collections::HashMap;
use std::io;

use serde::{Deserialize, Serialize};

use super::cell::Cell;
use super::distinct::SpillBudget;
use super::key::{Key, KeyWriter};
use super::sorter::Sorter;

/// Bytes of one group's list at most: a group must fit into memory when its parts meet.
const MAX_LIST_BYTES: usize = 16 << 20;

/// What one group costs in memory beside its texts, about.
const GROUP_OVERHEAD: usize = 160;

/// A figure over the rows of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregate {
    /// Number of rows.
    Count,
    /// Sum of the numbers; null if there are none. Exact over integers.
    Sum,
    /// Mean of the numbers; null if there are none.
    Mean,
    /// The least value that is not null.
    Min,
    /// The greatest.
    Max,
    /// The first value that is not null.
    First,
    /// The last.
    Last,
    /// All values that are not null, as a list.
    List,
}

impl Aggregate {
    /// All, with their words.
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

    /// The figure called `word`; `avg` is the mean, too.
    pub fn parse(word: &str) -> Option<Aggregate> {
        let word = if word.eq_ignore_ascii_case("avg") { "mean" } else { word };
        Self::WORDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, figure)| *figure)
    }

    /// Its word.
    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, figure)| *figure == self).map_or("", |(word, _)| word)
    }
}

/// Why groups cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// The temporary files.
    #[error("the temporary file for groups that memory does not hold cannot be used")]
    Spill(#[from] io::Error),
    /// One group's list.
    #[error("the list of one group is longer than {MAX_LIST_BYTES} bytes; the group is {0}")]
    LongList(String),
}

/// Takes rows, gives groups.
#[derive(Debug)]
pub struct Groups {
    figures: Vec<Aggregate>,
    room: SpillBudget,
    held: HashMap<Key, Group>,
    held_bytes: usize,
    rows: u64,
    /// Parts of groups, by key; made when memory was full for the first time.
    parts: Option<Sorter>,
    key: KeyWriter,
}

/// A group so far.
#[derive(Debug, Serialize, Deserialize)]
struct Group {
    /// Number of its first row.
    first: u64,
    /// JSON texts of the values that its rows share, as the first row has them.
    keys: Vec<String>,
    states: Vec<State>,
}

#[derive(Debug, Serialize, Deserialize)]
enum State {
    Count(u64),
    Sum {
        numbers: u64,
        whole: i128,
        /// The sum of those that are no integers, or were too much.
        broken: Option<f64>,
    },
    /// JSON text of a value.
    Value(Option<String>),
    /// JSON texts, with commas.
    List(String),
}

impl Groups {
    /// No groups yet. `room` is for all that is remembered.
    pub fn new(figures: Vec<Aggregate>, room: SpillBudget) -> Self {
        // Half for the groups, half for their parts on the way to disk and back.
        let room = SpillBudget { max_bytes: room.max_bytes / 2, ..room };
        Groups { figures, room, held: HashMap::new(), held_bytes: 0, rows: 0, parts: None, key: KeyWriter::default() }
    }

    /// Takes one row: JSON texts of the values of the key columns, and of each figure's column (`null` where it has
    /// none).
    pub fn add(&mut self, keys: &[&str], values: &[&str]) -> Result<(), GroupError> {
        keys.iter().for_each(|json| self.key.value(&Cell::from_json(json)));
        let key = self.key.finish();
        let figures = &self.figures;
        let group = self.held.entry(key).or_insert_with(|| {
            self.held_bytes += GROUP_OVERHEAD + keys.iter().map(|json| json.len() + 24).sum::<usize>();
            Group {
                first: self.rows,
                keys: keys.iter().map(|json| (*json).to_owned()).collect(),
                states: figures.iter().map(|figure| State::new(*figure)).collect(),
            }
        });
        self.rows += 1;
        for ((state, figure), json) in group.states.iter_mut().zip(figures).zip(values) {
            let before = state.text_len();
            state.add(*figure, json);
            // The parts of a list are bounded as the whole is.
            if state.text_len() > MAX_LIST_BYTES {
                return Err(GroupError::LongList(group.keys.join(", ")));
            }
            self.held_bytes = self.held_bytes + state.text_len() - before;
        }
        if self.held_bytes > self.room.max_bytes {
            self.spill()?;
        }
        Ok(())
    }

    /// True once groups went to disk.
    pub fn has_spilled(&self) -> bool {
        self.parts.is_some()
    }

    /// Gives all groups to `take`, in the order of their first rows: JSON texts of the keys, then of the figures.
    pub fn finish<E: From<GroupError>>(mut self, mut take: impl FnMut(Vec<String>) -> Result<(), E>) -> Result<(), E> {
        if self.parts.is_none() {
            let mut groups: Vec<Group> = self.held.into_values().collect();
            groups.sort_unstable_by_key(|group| group.first);
            return groups.into_iter().try_for_each(|group| take(group.shown(&self.figures)));
        }
        let io = |error: io::Error| E::from(GroupError::Spill(error));
        self.spill().map_err(E::from)?;
        let parts = self.parts.take().expect("looked at above");
        let mut in_order = Sorter::new(self.room.clone());
        let mut current: Option<(Key, Group)> = None;
        let mut keep = |group: Group| in_order.push(group.first.into(), encoded(&group));
        for part in parts.finish().map_err(io)? {
            let (key, bytes) = part.map_err(io)?;
            let part: Group = decoded(&bytes).map_err(io)?;
            match &mut current {
                // Parts of one group come in the order in which they were made.
                Some((of, group)) if *of == key => group.join(part, &self.figures).map_err(E::from)?,
                _ => {
                    if let Some((_, done)) = current.replace((key, part)) {
                        keep(done).map_err(io)?;
                    }
                }
            }
        }
        if let Some((_, done)) = current {
            keep(done).map_err(io)?;
        }
        for group in in_order.finish().map_err(io)? {
            let (_, bytes) = group.map_err(io)?;
            let group: Group = decoded(&bytes).map_err(io)?;
            take(group.shown(&self.figures))?;
        }
        Ok(())
    }

    fn spill(&mut self) -> Result<(), GroupError> {
        let parts = self.parts.get_or_insert_with(|| Sorter::new(self.room.clone()));
        // Parts of one group must go in the order in which they were made; of different ones it does not matter.
        for (key, group) in self.held.drain() {
            parts.push(key, encoded(&group))?;
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
    /// Takes in a later part of the same group.
    fn join(&mut self, later: Group, figures: &[Aggregate]) -> Result<(), GroupError> {
        self.first = self.first.min(later.first);
        for ((state, later), figure) in self.states.iter_mut().zip(later.states).zip(figures) {
            state.join(later, *figure);
            if state.text_len() > MAX_LIST_BYTES {
                return Err(GroupError::LongList(self.keys.join(", ")));
            }
        }
        Ok(())
    }

    fn shown(self, figures: &[Aggregate]) -> Vec<String> {
        let mut texts = self.keys;
        texts.extend(self.states.into_iter().zip(figures).map(|(state, figure)| state.shown(*figure)));
        texts
    }
}

impl State {
    fn new(figure: Aggregate) -> Self {
        match figure {
            Aggregate::Count => State::Count(0),
            Aggregate::Sum | Aggregate::Mean => State::Sum { numbers: 0, whole: 0, broken: None },
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

    fn add(&mut self, figure: Aggregate, json: &str) {
        let cell = Cell::from_json(json);
        match self {
            State::Count(rows) => *rows += 1,
            _ if matches!(cell, Cell::Null) => {}
            State::Sum { numbers, whole, broken } => {
                let Cell::Number(text) = cell else { return };
                *numbers += 1;
                match text.parse::<i128>().ok().and_then(|number| whole.checked_add(number)) {
                    Some(sum) => *whole = sum,
                    // What is no integer, or too much for one.
                    None => *broken.get_or_insert(0.0) += text.parse::<f64>().unwrap_or(0.0),
                }
            }
            State::Value(kept) if replaces(figure, kept.as_deref(), &cell) => *kept = Some(json.to_owned()),
            State::Value(_) => {}
            State::List(texts) => push_to_list(texts, json),
        }
    }

    fn join(&mut self, later: State, figure: Aggregate) {
        match (self, later) {
            (State::Count(rows), State::Count(more)) => *rows += more,
            (State::Sum { numbers, whole, broken }, State::Sum { numbers: n, whole: w, broken: b }) => {
                *numbers += n;
                match whole.checked_add(w) {
                    Some(sum) => *whole = sum,
                    None => *broken.get_or_insert(0.0) += w as f64,
                }
                if let Some(b) = b {
                    *broken.get_or_insert(0.0) += b;
                }
            }
            (State::Value(kept), State::Value(Some(json)))
                if replaces(figure, kept.as_deref(), &Cell::from_json(&json)) =>
            {
                *kept = Some(json);
            }
            (State::List(texts), State::List(more)) if !more.is_empty() => push_to_list(texts, &more),
            // Parts of one group have the same figures.
            _ => {}
        }
    }

    fn shown(self, figure: Aggregate) -> String {
        match self {
            State::Count(rows) => rows.to_string(),
            State::Sum { numbers: 0, .. } => "null".to_owned(),
            State::Sum { numbers, whole, broken } => match (figure, broken) {
                (Aggregate::Sum, None) => whole.to_string(),
                (Aggregate::Sum, Some(broken)) => float(whole as f64 + broken),
                (_, broken) => float((whole as f64 + broken.unwrap_or(0.0)) / numbers as f64),
            },
            State::Value(json) => json.unwrap_or_else(|| "null".to_owned()),
            State::List(texts) => format!("[{texts}]"),
        }
    }
}

/// True if the value takes the place of the one that is kept. Values that do not compare stay as they came.
fn replaces(figure: Aggregate, kept: Option<&str>, cell: &Cell<'_>) -> bool {
    let Some(kept) = kept else { return true };
    match figure {
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
        let figures = Aggregate::WORDS.iter().map(|(_, figure)| *figure).collect();
        let mut groups = Groups::new(figures, SpillBudget { max_bytes, folder: None });
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
    fn figures_over_a_group() {
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
    fn groups_beyond_memory_are_those_within() {
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
