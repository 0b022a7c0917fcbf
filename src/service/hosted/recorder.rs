//! Recorder of a proxy: numbers the requests, remembers the signed links behind its own, writes the pairs, and counts the
//! differences from the contract.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use url::Url;

use super::pair::{LINK_PREFIX, Pair, RecordedBody, body_file};
use super::redact;
use crate::service::paths::FILES_PREFIX;
use crate::service::private_files;
use crate::text::{counted, plural};

/// Signed links that are remembered; the oldest are forgotten. The hosted service's own live for 15 minutes.
const MAX_LINKS: usize = 10_000;

/// Kinds of differences that are counted one by one.
const MAX_DIFFERENCES: usize = 1000;

/// File that is locked while a service records in the directory.
const LOCK_FILE: &str = ".lock";

/// Greatest number of a pair or link. By eye: more than any recording has, and far from an overflow.
const MAX_NUMBER: u64 = 1_000_000_000_000;

/// State of one proxy, shared by its requests.
pub(in crate::service) struct Recorder {
    directory: Option<PathBuf>,
    /// Held so that no other service records in the directory.
    _lock: Option<File>,
    next: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    links: HashMap<u64, Url>,
    requests: u64,
    recorded: u64,
    failed: u64,
    unanswered: u64,
    /// Numbers of requests by operation and difference.
    differences: BTreeMap<(String, String), u64>,
}

impl Recorder {
    /// Prepares the directory of pairs, which no other service may record in meanwhile; numbers go on after those that are
    /// there.
    pub(super) fn open(directory: Option<PathBuf>) -> io::Result<Self> {
        let (mut next, mut lock) = (1, None);
        if let Some(directory) = &directory {
            private_files::create_root(directory)?;
            let file = private_files::open_or_create(&directory.join(LOCK_FILE))?;
            match file.try_lock() {
                Ok(()) => lock = Some(file),
                Err(TryLockError::WouldBlock) => {
                    let text = "another service records in this directory";
                    return Err(io::Error::new(io::ErrorKind::ResourceBusy, text));
                }
                Err(TryLockError::Error(error)) => return Err(error),
            }
            next = greatest_number(directory)? + 1;
        }
        Ok(Recorder { directory, _lock: lock, next: AtomicU64::new(next), state: Mutex::default() })
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
        if let RecordedBody::Json(value) = &mut pair.response.body {
            redact::json(value, key, &request.path);
        }
        request.query = redact::query(&request.query, key);
        request.path = redact::path(&request.path, key);
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
        let headers = request.headers.values_mut().chain(pair.response.headers.values_mut());
        headers.for_each(|value| *value = redact::text(value, key));
        let written = pair.write(directory);
        let mut state = self.lock();
        match written {
            Ok(()) => state.recorded += 1,
            Err(_) => state.failed += 1,
        }
    }

    /// Counts a request that the hosted service has not answered, or not to the end.
    pub(in crate::service) fn count_unanswered(&self) {
        self.lock().unanswered += 1;
    }

    pub(super) fn summary(&self) -> Vec<String> {
        let state = self.lock();
        let mut lines = vec![format!("{} handed on", counted(state.requests, "request"))];
        if let Some(directory) = &self.directory {
            lines.push(format!("{} recorded in {}", counted(state.recorded, "pair"), directory.display()));
        }
        if state.unanswered > 0 {
            lines.push(format!("{} without a whole response (502)", counted(state.unanswered, "request")));
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

/// Returns the greatest number that a pair of the directory, or a link in one, has; 0 without any. Links have numbers of
/// their own, and files only if they were downloaded.
fn greatest_number(directory: &Path) -> io::Result<u64> {
    let mut greatest = 0;
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Some(number) = name.split('.').next().and_then(|stem| stem.parse::<u64>().ok()) else { continue };
        if number >= MAX_NUMBER {
            return Err(io::Error::other(format!("no number is left after that of {}", path.display())));
        }
        greatest = greatest.max(number);
        if name.ends_with(".json") {
            let text = io::read_to_string(private_files::open(&path)?)?;
            for prefix in [LINK_PREFIX, FILES_PREFIX] {
                let numbers = text.split(prefix).skip(1).filter_map(|rest| rest.split('/').next()?.parse().ok());
                // A greater one is a text of the user's, because none is given out.
                greatest = numbers.filter(|number| *number < MAX_NUMBER).fold(greatest, u64::max);
            }
        }
    }
    Ok(greatest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_on_after_pairs_and_links() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
        let open = || Recorder::open(Some(directory.path().to_owned()));
        assert_eq!(open().unwrap().next_number(), 1);
        write(
            "000001.json",
            r#"{"a": "drawoff-link:4/x.csv", "b": "drawoff-link:3/x", "c": "drawoff-link:999999999999999/x"}"#,
        );
        write("000002.body", "");
        assert_eq!(open().unwrap().next_number(), 5);
        write("000006.json", r#"{"path": "/storage/files/9/x.csv"}"#);
        let first = open().unwrap();
        assert_eq!(first.next_number(), 10);
        let error = open().err().unwrap().to_string();
        assert_eq!(error, "another service records in this directory");
        drop(first);
        write("18446744073709551615.json", "{}");
        let error = open().err().unwrap().to_string();
        assert!(error.starts_with("no number is left after that of "), "{error}");
    }
}
