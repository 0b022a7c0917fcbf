//! The record of an input that is cut into parts, each the input of a run of its own.
//!
//! A part is started under a name made of the record's name, the number of the part and the number of the attempt, so that
//! the records of starts hold all that is known of its run ([`StartIdentity::once`]). This record has what no start has:
//! the name, the number of parts, that they were delivered, and the parts whose failed runs were given up.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::document;
use super::error::StateError;
use super::lock::Lock;
use super::stamp::{age_of, now};
use super::start::StartIdentity;
use crate::client::digest::{digest_of, file_stem};
use crate::client::idempotency::random_uuid;

/// Version of the digest of a [`PartsIdentity`].
const IDENTITY_VERSION: u32 = 1;

/// The identity of the parts of one input, by a digest of the start of the first part and of the bounds of the cut. Two
/// inputs with an equal first part are one, of which the second has changed: the starts of its other parts tell.
#[derive(Clone, Debug)]
pub struct PartsIdentity {
    workflow_name: String,
    digest: String,
    /// Name that the caller chose for the parts.
    once: Option<String>,
}

impl PartsIdentity {
    /// Creates the identity of the parts whose first is the input of `first`, cut at `rows` and `bytes`. With the
    /// caller's name `once`, parts of that name are the same ones, whatever their records.
    pub fn new(first: &StartIdentity, rows: Option<u64>, bytes: Option<u64>, once: Option<&str>) -> Self {
        let version = format!("parts {IDENTITY_VERSION}");
        let text = |bound: Option<u64>| bound.map_or_else(|| "none".to_owned(), |bound| bound.to_string());
        let digest = match once {
            Some(once) => digest_of(&[&version, "once", first.endpoint(), once]),
            None => digest_of(&[&version, first.digest(), &text(rows), &text(bytes)]),
        };
        PartsIdentity { workflow_name: first.workflow_name().to_owned(), digest, once: once.map(str::to_owned) }
    }
}

impl PartsIdentity {
    fn path(&self, directory: &Path) -> PathBuf {
        let name = self.once.as_deref().unwrap_or(&self.workflow_name);
        directory.join(file_stem(name, &[&self.digest]) + ".json")
    }

    /// Returns true if parts are still those of this identity: not delivered, or named by the caller.
    fn is_current(&self, parts: &RecordedParts) -> bool {
        self.once.is_some() || parts.delivered_at.is_none()
    }
}

/// Reads the present parts of an input without locking them; `None` if none are begun.
pub(super) fn peek(directory: &Path, identity: &PartsIdentity) -> Result<Option<RecordedParts>, StateError> {
    let found = document::read::<RecordedParts>(&identity.path(directory))?;
    Ok(found.filter(|parts| identity.is_current(parts)))
}

/// The parts of one input, as they are stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedParts {
    /// Name of the workflow at the time of the first start.
    pub workflow_name: String,
    /// Name of which those of the starts are made; no other parts have it.
    pub name: String,
    /// Time of the record's creation; ISO 8601.
    pub began_at: String,
    /// Number of the present attempt of each part whose earlier runs failed and were given up, by the number of the part
    /// from 1. All other parts are at their first.
    pub attempts: BTreeMap<u64, u32>,
    /// Number of parts; `None` until the last one was cut.
    #[serde(default)]
    pub total: Option<u64>,
    /// Time at which the results of all parts were written; ISO 8601. `None` before that.
    pub delivered_at: Option<String>,
}

impl RecordedParts {
    /// Returns the name of the start of a part, numbered from 1, in its present attempt.
    pub fn start_name(&self, part: u64) -> String {
        match self.attempts.get(&part) {
            None => format!("{} part {part}", self.name),
            Some(attempt) => format!("{} part {part} attempt {attempt}", self.name),
        }
    }

    /// Gives the run of a part up: its next start is another run.
    pub fn start_again(&mut self, part: u64) {
        *self.attempts.entry(part).or_insert(1) += 1;
    }

    /// Returns the time since the record was created; [`Duration::MAX`] if its time stamp is invalid.
    pub fn age(&self) -> Duration {
        age_of(&self.began_at).unwrap_or(Duration::MAX)
    }

    /// Marks the results of all parts as written.
    pub fn deliver(&mut self) {
        self.delivered_at = Some(now());
    }
}

/// The locked record of one input's parts.
#[derive(Debug)]
pub struct OpenParts {
    path: Option<PathBuf>,
    /// The record; changes are stored by [`OpenParts::save`].
    pub parts: RecordedParts,
    /// True if an earlier command created it, and not all results were written.
    pub is_continued: bool,
    _lock: Option<Lock>,
}

impl OpenParts {
    /// Creates a record that is not stored: it ends with this process.
    pub fn unstored(workflow_name: &str) -> Self {
        OpenParts { path: None, parts: RecordedParts::of(workflow_name, None), is_continued: false, _lock: None }
    }

    /// Opens the record of `identity`, locked until it is dropped. Parts that were delivered, and those that are not to be
    /// continued, give way to new ones with another name, unless the caller named them.
    pub(super) fn open(directory: &Path, identity: &PartsIdentity, anew: bool) -> Result<Self, StateError> {
        let path = identity.path(directory);
        let resource = format!("the input of workflow {}", identity.workflow_name);
        let lock = Lock::take(&path.with_extension("lock"), &resource)?;
        let found = document::read::<RecordedParts>(&path)?.filter(|parts| identity.is_current(parts) && !anew);
        let is_continued = found.is_some();
        let parts = found.unwrap_or_else(|| RecordedParts::of(&identity.workflow_name, identity.once.as_deref()));
        let open = OpenParts { path: Some(path), parts, is_continued, _lock: Some(lock) };
        if !is_continued {
            // Before the first start: its name must outlive this process.
            open.save()?;
        }
        Ok(open)
    }

    /// Stores the record; it is durable on return.
    pub fn save(&self) -> Result<(), StateError> {
        self.path.as_deref().map_or(Ok(()), |path| document::write(path, &self.parts))
    }
}

impl RecordedParts {
    fn of(workflow_name: &str, once: Option<&str>) -> Self {
        RecordedParts {
            workflow_name: workflow_name.to_owned(),
            name: once.map_or_else(random_uuid, str::to_owned),
            began_at: now(),
            attempts: BTreeMap::new(),
            total: None,
            delivered_at: None,
        }
    }
}
