//! Recorder of a proxy: numbers the requests, remembers the signed links behind its own, writes the pairs, and counts the
//! differences from the contract.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use url::Url;

use super::pair::{Pair, RecordedBody, body_file};
use super::redact;
use crate::service::private_files;
use crate::text::{counted, plural};

/// Signed links that are remembered; the oldest are forgotten. The hosted service's own live for 15 minutes.
const MAX_LINKS: usize = 10_000;

/// Kinds of differences that are counted one by one.
const MAX_DIFFERENCES: usize = 1000;

/// State of one proxy, shared by its requests.
pub(in crate::service) struct Recorder {
    directory: Option<PathBuf>,
    next: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    links: HashMap<u64, Url>,
    requests: u64,
    recorded: u64,
    failed: u64,
    /// Numbers of requests by operation and difference.
    differences: BTreeMap<(String, String), u64>,
}

impl Recorder {
    /// Prepares the directory of pairs; numbers go on after those that are there.
    pub(super) fn open(directory: Option<PathBuf>) -> io::Result<Self> {
        let mut next = 1;
        if let Some(directory) = &directory {
            private_files::create_root(directory)?;
            for entry in std::fs::read_dir(directory)? {
                let name = entry?.file_name();
                let number = name.to_string_lossy().split('.').next().and_then(|stem| stem.parse::<u64>().ok());
                next = next.max(number.map_or(0, |number| number + 1));
            }
        }
        Ok(Recorder { directory, next: AtomicU64::new(next), state: Mutex::default() })
    }

    /// Returns the number of the next request or link.
    pub(in crate::service) fn next_number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Remembers a signed link and returns the number of the link in its place.
    pub(in crate::service) fn add_link(&self, url: Url) -> u64 {
        let number = self.next_number();
        let mut state = self.lock();
        if state.links.len() >= MAX_LINKS
            && let Some(oldest) = state.links.keys().min().copied()
        {
            state.links.remove(&oldest);
        }
        state.links.insert(number, url);
        number
    }

    /// Returns the signed link with this number; `None` if it is unknown or forgotten.
    pub(in crate::service) fn link(&self, number: u64) -> Option<Url> {
        self.lock().links.get(&number).cloned()
    }

    /// Creates the file for the body of a response; `None` if nothing is recorded.
    pub(in crate::service) fn body_file(&self, number: u64) -> io::Result<Option<(String, impl Write + use<>)>> {
        let Some(directory) = &self.directory else { return Ok(None) };
        let name = body_file(number);
        let file = private_files::create(&directory.join(&name))?;
        Ok(Some((name, io::BufWriter::with_capacity(256 << 10, file))))
    }

    /// Counts the differences of a pair, removes secrets from it, and writes it. `key` is the key of its request. Blocks.
    pub(in crate::service) fn add(&self, mut pair: Pair, key: &str) {
        let request = &mut pair.request;
        {
            let mut state = self.lock();
            state.requests += 1;
            let operation = format!("{} {}", request.method, general(&request.path));
            for difference in &pair.differences {
                let kind = (operation.clone(), difference.clone());
                if state.differences.len() < MAX_DIFFERENCES || state.differences.contains_key(&kind) {
                    *state.differences.entry(kind).or_default() += 1;
                }
            }
        }
        let Some(directory) = &self.directory else { return };
        request.query = redact::query(&request.query);
        request.path = redact::text(&request.path, key);
        for body in [&mut request.body, &mut pair.response.body] {
            match body {
                RecordedBody::Json(value) => redact::json(value, key),
                RecordedBody::Text(text) => *text = redact::text(text, key),
                RecordedBody::None | RecordedBody::File(_) | RecordedBody::Omitted(_) => {}
            }
        }
        let headers = request.headers.values_mut().chain(pair.response.headers.values_mut());
        headers.for_each(|value| *value = redact::text(value, key));
        let written = pair.write(directory);
        let mut state = self.lock();
        match written {
            Ok(()) => state.recorded += 1,
            Err(_) => state.failed += 1,
        }
    }

    pub(super) fn summary(&self) -> Vec<String> {
        let state = self.lock();
        let mut lines = vec![format!("{} handed on", counted(state.requests, "request"))];
        if let Some(directory) = &self.directory {
            lines.push(format!("{} recorded in {}", counted(state.recorded, "pair"), directory.display()));
        }
        if state.failed > 0 {
            lines.push(format!("warning: {} could not be recorded", counted(state.failed, "pair")));
        }
        lines.push(match state.differences.len() {
            0 => "no difference from the contract".to_owned(),
            n => format!("{n} difference{} from the contract:", plural(n as u64)),
        });
        lines.extend(state.differences.iter().map(|((operation, difference), requests)| {
            format!("  {operation}: {difference} ({})", counted(*requests, "response"))
        }));
        lines
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic cannot leave a partial count, so a poisoned lock is usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns a path with `{id}` in place of ids, so that the requests for one operation are counted together.
fn general(path: &str) -> String {
    let is_id = |part: &str| {
        uuid::Uuid::parse_str(part).is_ok()
            || part.parse::<u64>().is_ok()
            || part.starts_with("wf_")
            || part.starts_with("run_")
    };
    path.split('/').map(|part| if is_id(part) { "{id}" } else { part }).collect::<Vec<_>>().join("/")
}
