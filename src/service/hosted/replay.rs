//! Replays of recorded pairs. The pairs of one request are served in the order in which they were recorded. The last
//! response to a question is given again and again after that, so that a client that polls more often than before still sees
//! the end; what was recorded of a change is given once, because each of its responses stands for one.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::pair::{Pair, RecordedBody};
use super::redact;
use crate::api::routes::UPLOAD_FILE;
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
    served: HashMap<String, Served>,
    replayed: u64,
    unknown: u64,
}

/// Replays of one request.
#[derive(Default)]
struct Served {
    count: usize,
    /// Position of the last success by idempotency key.
    by_key: HashMap<String, usize>,
}

/// A request that is looked for among the recorded ones.
pub(in crate::service) struct ReplayedRequest<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub query: &'a str,
    pub body: RecordedBody,
    pub range: Option<&'a str>,
    pub idempotency_key: Option<&'a str>,
    /// Key of the request, which the recording has nowhere.
    pub key: &'a str,
}

/// Reason why there is no response to a request.
#[derive(Debug, PartialEq)]
pub(in crate::service) enum Missing {
    /// The request was not recorded.
    Unknown,
    /// It was recorded this many times, and all responses were replayed.
    Exhausted(usize),
}

impl Replay {
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        let pairs = Pair::read_all(directory)?;
        if pairs.is_empty() {
            return Err(io::Error::other("there are no recorded pairs"));
        }
        Ok(Replay { directory: directory.to_owned(), pairs, state: Mutex::default() })
    }

    /// Begins the recorded sequences again.
    pub(in crate::service) fn reset(&self) {
        self.lock().served.clear();
    }

    /// Returns the next pair of a request. Its query may have another order; its body must be the same. The range selects
    /// among the downloads of one link; a download of the whole file stands for any. A retry with the idempotency key of an
    /// earlier success gets that one again, and an upload of the same file the last handle.
    pub(in crate::service) fn next(&self, request: &ReplayedRequest<'_>) -> Result<&Pair, Missing> {
        let query = sorted(&redact::query(request.query, request.key));
        let path = redact::path(request.path, request.key);
        let is_same = |pair: &&Pair| {
            let recorded = &pair.request;
            recorded.method == request.method
                && recorded.path == path
                && sorted(&recorded.query) == query
                && recorded.body == request.body
        };
        let all: Vec<&Pair> = self.pairs.iter().filter(is_same).collect();
        let of_range = |pair: &&&Pair| pair.request.headers.get("range").map(String::as_str) == request.range;
        let mut fitting: Vec<&Pair> = all.iter().filter(of_range).copied().collect();
        if fitting.is_empty() {
            let is_whole = |pair: &&Pair| pair.response.status == 200 && pair.response.is_complete;
            fitting = all.into_iter().filter(is_whole).collect();
        }
        let mut state = self.lock();
        let Some(last) = fitting.len().checked_sub(1) else {
            state.unknown += 1;
            return Err(Missing::Unknown);
        };
        let name = format!("{} {path}?{query:?} {:?} {:?}", request.method, request.range, request.body);
        let served = state.served.entry(name).or_default();
        let repeats = matches!(request.method, "GET" | "HEAD") || path == UPLOAD_FILE;
        let earlier = request.idempotency_key.and_then(|key| served.by_key.get(key)).copied();
        let at = match earlier {
            Some(at) => at,
            None if served.count <= last || repeats => {
                let at = served.count.min(last);
                served.count += 1;
                at
            }
            None => {
                state.unknown += 1;
                return Err(Missing::Exhausted(last + 1));
            }
        };
        let pair = fitting[at];
        if let Some(key) = request.idempotency_key
            && pair.response.status < 400
        {
            served.by_key.insert(key.to_owned(), at);
        }
        state.replayed += 1;
        Ok(pair)
    }

    /// Returns the path of a file beside the pairs.
    pub(in crate::service) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub(super) fn summary(&self) -> Vec<String> {
        let state = self.lock();
        let mut lines =
            vec![format!("{} replayed from {}", counted(state.replayed, "response"), self.directory.display())];
        if state.unknown > 0 {
            lines.push(format!("{} not among the recorded ones", counted(state.unknown, "request")));
        }
        lines
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic cannot leave a partial count, so a poisoned lock is usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the parameters of a query in alphabetical order.
fn sorted(query: &str) -> Vec<(String, String)> {
    let mut pairs: Vec<_> = Query::parse(Some(query)).pairs().to_vec();
    pairs.sort();
    pairs
}
