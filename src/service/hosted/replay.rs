//! Replays of recorded pairs. The pairs of one request are served in the order in which they were recorded, and the last
//! one again and again after that, so that a client that polls more often than before still sees the end.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use super::pair::{Pair, RecordedBody};
use super::redact;
use crate::service::query::Query;
use crate::text::counted;

/// Recorded pairs with the position of each request in them.
pub(in crate::service) struct Replay {
    directory: PathBuf,
    pairs: Vec<Pair>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Number of replays by request.
    served: HashMap<String, usize>,
    replayed: u64,
    unknown: u64,
}

impl Replay {
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        let pairs = Pair::read_all(directory)?;
        if pairs.is_empty() {
            return Err(io::Error::other("there are no recorded pairs"));
        }
        Ok(Replay { directory: directory.to_owned(), pairs, state: Mutex::default() })
    }

    /// Returns the next pair of a request. Its query may have another order. The bodies of two requests are compared if
    /// both are JSON; other bodies, such as forms, have parts that are different every time. `range` selects among the
    /// downloads of one link; a download of the whole file stands for any.
    pub(in crate::service) fn next(
        &self,
        method: &str,
        path: &str,
        query: &str,
        body: &[u8],
        range: Option<&str>,
    ) -> Option<&Pair> {
        let query = sorted(&redact::query(query));
        let body: Option<Value> = serde_json::from_slice(body).ok();
        let is_same = |pair: &&Pair| {
            let request = &pair.request;
            request.method == method
                && request.path == path
                && sorted(&request.query) == query
                && match (&request.body, &body) {
                    (RecordedBody::Json(recorded), Some(body)) => {
                        let mut body = body.clone();
                        redact::json(&mut body, "");
                        *recorded == body
                    }
                    _ => true,
                }
        };
        let all: Vec<&Pair> = self.pairs.iter().filter(is_same).collect();
        let of_range = |pair: &&&Pair| pair.request.headers.get("range").map(String::as_str) == range;
        let mut fitting: Vec<&Pair> = all.iter().filter(of_range).copied().collect();
        if fitting.is_empty() {
            let is_whole = |pair: &&Pair| pair.response.status == 200 && pair.response.is_complete;
            fitting = all.into_iter().filter(is_whole).collect();
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(last) = fitting.len().checked_sub(1) else {
            state.unknown += 1;
            return None;
        };
        state.replayed += 1;
        let key = format!("{method} {path}?{query:?} {range:?} {body:?}");
        let served = state.served.entry(key).or_default();
        let pair = fitting[(*served).min(last)];
        *served += 1;
        Some(pair)
    }

    /// Returns the path of a file beside the pairs.
    pub(in crate::service) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub(super) fn summary(&self) -> Vec<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines =
            vec![format!("{} replayed from {}", counted(state.replayed, "response"), self.directory.display())];
        if state.unknown > 0 {
            lines.push(format!("{} not among the recorded ones", counted(state.unknown, "request")));
        }
        lines
    }
}

/// Returns the parameters of a query in alphabetical order.
fn sorted(query: &str) -> Vec<(String, String)> {
    let mut pairs: Vec<_> = Query::parse(Some(query)).pairs().to_vec();
    pairs.sort();
    pairs
}
