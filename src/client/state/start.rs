//! The record of the last start with one identity. By it a repeated command continues the same run, in place of
//! starting and paying for another.
//!
//! The identity is a digest of what the caller specified, in a written form with a version ([`StartIdentity::new`]).
//! Nothing in it comes from the API, which may rewrite what it stores. Records of the first version had the workflow's
//! id and graph as the API returned them; [`StateDir::earlier_form_starts`](super::StateDir::earlier_form_starts) lists
//! them, and [`StartIdentity::earlier_form_digest`] recognizes the own one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::document;
use super::error::StateError;
use super::lock::Lock;
use super::stamp::{age_of, now};
use crate::api::{Graph, HandleId, RunId, WorkflowId};
use crate::client::digest::{digest_of, file_stem};
use crate::client::{IdempotencyKey, graph_digest};

/// Version of the digest of a [`StartIdentity`]. Part of the digest, so that two versions are never equal.
const IDENTITY_VERSION: u32 = 2;

/// The work of a start, as the caller specified it.
#[derive(Clone, Copy, Debug)]
pub enum StartSubject<'a> {
    /// A definition file: its name, and the digest of its contents, [`Definition::digest`](crate::client::Definition::digest).
    Definition {
        /// Name of the workflow.
        name: &'a str,
        /// Digest of the definition.
        digest: &'a str,
    },
    /// A workflow that exists, by its id; for a bulk job, the path of its endpoint.
    Workflow {
        /// Name of the workflow.
        name: &'a str,
        /// Id of the workflow.
        id: &'a WorkflowId,
    },
}

/// The identity of a start, by its digest. Two starts with the same identity are the same start, repeated.
#[derive(Clone, Debug)]
pub struct StartIdentity {
    endpoint: String,
    name: String,
    digest: String,
    /// Digest of the work alone: equal to `digest` unless the caller named the start.
    work: String,
    input: (String, String),
    payload: String,
    once: Option<String>,
}

impl StartIdentity {
    /// Creates the identity of a start of `subject` at `endpoint`, with the input file (digest, and extension, from which
    /// the API infers the format) and the rows of a payload. Result formats are not part of it: they change what can be
    /// downloaded, not the work that is paid for.
    pub fn new(endpoint: &str, subject: StartSubject<'_>, input: Option<(&str, &str)>, payload: Option<&str>) -> Self {
        let (input, extension) = input.unwrap_or(("none", ""));
        let payload = payload.map_or_else(|| "none".to_owned(), |payload| digest_of(&[payload]));
        let (name, kind, value) = match subject {
            StartSubject::Definition { name, digest } => (name, "definition", digest),
            StartSubject::Workflow { name, id } => (name, "workflow", id.0.as_str()),
        };
        let version = format!("start {IDENTITY_VERSION}");
        let digest = digest_of(&[&version, endpoint, kind, value, input, extension, &payload]);
        StartIdentity {
            endpoint: endpoint.to_owned(),
            name: name.to_owned(),
            work: digest.clone(),
            digest,
            input: (input.to_owned(), extension.to_owned()),
            payload,
            once: None,
        }
    }

    /// Replaces the identity by a name that the caller chose: every start with this name at the endpoint is the same
    /// one, whatever its work. [`RecordedStart::has_same_work`] tells whether the name was used for other work.
    pub fn once(self, name: &str) -> Self {
        let version = format!("once {IDENTITY_VERSION}");
        let digest = digest_of(&[&version, &self.endpoint, name]);
        StartIdentity { digest, once: Some(name.to_owned()), ..self }
    }

    /// Returns the base URL of the API.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Returns the name of the workflow.
    pub fn workflow_name(&self) -> &str {
        &self.name
    }

    /// Returns the digest in hexadecimal.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Returns the digest that versions before the second gave to this start, of the workflow `id` whose graph the API
    /// returns as `graph`.
    pub fn earlier_form_digest(&self, id: &WorkflowId, graph: &Graph) -> String {
        let (input, extension) = &self.input;
        digest_of(&[&self.endpoint, &id.0, &graph_digest(graph), input, extension, &self.payload])
    }

    fn key(&self) -> IdempotencyKey {
        match &self.once {
            Some(once) => IdempotencyKey::of_once(&self.name, once),
            None => IdempotencyKey::fresh(&self.digest),
        }
    }
}

/// The last start with one identity, as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RecordedStart {
    /// Id of the started workflow.
    pub workflow: WorkflowId,
    /// Name of the workflow at the time of the start.
    pub workflow_name: String,
    /// Digest of the [`StartIdentity`].
    #[serde(rename = "meaning")]
    pub identity: String,
    /// Version of the digest; 0, the default, for the first one.
    #[serde(default)]
    pub identity_version: u32,
    /// Digest of the work alone. Differs from `identity` if the caller named the start; empty in the first version.
    #[serde(default)]
    pub work: String,
    /// Idempotency key, carried by every repetition of the request.
    pub key: IdempotencyKey,
    /// Handle of the uploaded input, used again by a repetition; `None` without an input file.
    pub input: Option<HandleId>,
    /// Time of the first request; ISO 8601.
    pub asked_at: String,
    /// Id of the run that was started. `None` if no response was received: it is unknown whether the run exists.
    pub run: Option<RunId>,
    /// Fingerprint of the API key that the start was requested with; `None` in earlier versions. Under another key, which
    /// may be that of another organisation, "not found" says nothing of this start.
    #[serde(default)]
    pub account: Option<String>,
}

impl RecordedStart {
    /// Creates the record of a new start of `workflow` by `account`, with a new idempotency key and without a run.
    pub fn new(
        identity: &StartIdentity,
        workflow: &WorkflowId,
        input: Option<HandleId>,
        account: Option<String>,
    ) -> Self {
        RecordedStart {
            workflow: workflow.clone(),
            workflow_name: identity.name.clone(),
            identity: identity.digest.clone(),
            identity_version: IDENTITY_VERSION,
            work: identity.work.clone(),
            key: identity.key(),
            input,
            asked_at: now(),
            run: None,
            account,
        }
    }

    /// Returns the record under `identity`, which was found to be the same start in a later version.
    pub fn adopted(self, identity: &StartIdentity) -> Self {
        RecordedStart {
            identity: identity.digest.clone(),
            identity_version: IDENTITY_VERSION,
            work: identity.work.clone(),
            ..self
        }
    }

    /// Returns true if the recorded start is of the same workflow, input and payload as `identity`.
    pub fn has_same_work(&self, identity: &StartIdentity) -> bool {
        self.work == identity.work
    }

    /// Returns the time since the first request; [`Duration::MAX`] if its time stamp is invalid.
    pub fn age(&self) -> Duration {
        age_of(&self.asked_at).unwrap_or(Duration::MAX)
    }
}

/// The locked record of one start identity, possibly empty.
#[derive(Debug)]
pub struct OpenStart {
    path: PathBuf,
    previous: Result<Option<RecordedStart>, StateError>,
    _lock: Lock,
}

impl OpenStart {
    fn path(directory: &Path, identity: &StartIdentity) -> PathBuf {
        let name = identity.once.as_deref().unwrap_or(&identity.name);
        directory.join(file_stem(name, &[&identity.digest]) + ".json")
    }

    pub(super) fn open(directory: &Path, identity: &StartIdentity) -> Result<Self, StateError> {
        let path = OpenStart::path(directory, identity);
        let resource = match &identity.once {
            Some(once) => format!("the start `{once}`"),
            None => format!("the start of workflow {} with this input", identity.name),
        };
        // Read under the lock, so that no other process starts the same run in between.
        let lock = Lock::take(&path.with_extension("lock"), &resource)?;
        Ok(OpenStart { previous: document::read(&path), path, _lock: lock })
    }

    /// Takes the last start with this identity; `None` if there was none. An unreadable record is an error, because it
    /// may be of a run that exists and is paid for. Later calls return `None`.
    pub fn previous(&mut self) -> Result<Option<RecordedStart>, StateError> {
        std::mem::replace(&mut self.previous, Ok(None))
    }

    /// Stores `start`; it is durable on return.
    pub fn save(&self, start: &RecordedStart) -> Result<(), StateError> {
        document::write(&self.path, start)
    }

    /// Removes the record, after the API rejected the start: there is no run. A record that [`OpenStart::previous`] did
    /// not take is stored again: the start was to replace it, and its run may be active.
    pub fn forget(&mut self) -> Result<(), StateError> {
        match self.previous() {
            Ok(Some(previous)) => self.save(&previous),
            _ => remove(&self.path),
        }
    }
}

/// Reads the start with this identity without locking it; `None` if there is none.
pub(super) fn peek(directory: &Path, identity: &StartIdentity) -> Result<Option<RecordedStart>, StateError> {
    document::read(&OpenStart::path(directory, identity))
}

/// A start that an earlier version recorded under another digest.
#[derive(Debug)]
pub struct EarlierFormStart {
    /// The record.
    pub start: RecordedStart,
    path: PathBuf,
}

impl EarlierFormStart {
    /// Removes the record, after it was stored under its new digest.
    pub fn remove(&self) -> Result<(), StateError> {
        remove(&self.path)
    }
}

/// Reads the records of the first version in `directory`. Unreadable files are skipped: an unreadable record is found,
/// and reported, by the digest in its name.
pub(super) fn earlier_form(directory: &Path) -> Result<Vec<EarlierFormStart>, StateError> {
    let unusable = |cause| StateError::Unusable { path: directory.to_owned(), cause };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unusable)? {
        let path = entry.map_err(unusable)?.path();
        if path.extension().is_some_and(|extension| extension == "json")
            && let Ok(Some(start)) = document::read::<RecordedStart>(&path)
            && start.identity_version == 0
        {
            found.push(EarlierFormStart { start, path });
        }
    }
    Ok(found)
}

fn remove(path: &Path) -> Result<(), StateError> {
    match std::fs::remove_file(path) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            Err(StateError::Unusable { path: path.to_owned(), cause })
        }
        _ => Ok(()),
    }
}
