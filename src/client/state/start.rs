//! The slot of a start: what makes a repeated `run` the same start and not another.

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

/// What is to be started. Two starts of one meaning are repetitions of each other.
#[derive(Clone, Debug)]
pub struct StartIdentity {
    workflow: WorkflowId,
    name: String,
    digest: String,
}

impl StartIdentity {
    /// Of `workflow` as it stands at `endpoint`, with an input file (its digest and its extension, which tells the API
    /// the format) and the rows of a payload. The formats of the results are no part of it: they change what can be
    /// fetched, not what is paid for.
    pub fn new(
        endpoint: &str,
        (workflow, name, graph): (&WorkflowId, &str, &Graph),
        input: Option<(&str, &str)>,
        payload: Option<&str>,
    ) -> Self {
        let graph = graph_digest(graph);
        let (input, extension) = input.unwrap_or(("none", ""));
        let payload = payload.map_or_else(|| "none".to_owned(), |payload| digest_of(&[payload]));
        let digest = digest_of(&[endpoint, &workflow.0, &graph, input, extension, &payload]);
        StartIdentity { workflow: workflow.clone(), name: name.to_owned(), digest }
    }

    /// Its digest in hexadecimal.
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

/// The last start of one meaning.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RecordedStart {
    /// The workflow.
    pub workflow: WorkflowId,
    /// Its name.
    pub workflow_name: String,
    /// The digest of the meaning.
    pub meaning: String,
    /// Every repetition of the request carries it.
    pub key: IdempotencyKey,
    /// The uploaded input; a repetition names the same.
    pub input: Option<HandleId>,
    /// When it was first asked for; ISO 8601.
    pub asked_at: String,
    /// The run that it became. `None`: no answer was received, and nobody knows whether there is a run.
    pub run: Option<RunId>,
}

impl RecordedStart {
    /// A new start, of which nothing is known yet.
    pub fn new(meaning: &StartIdentity, input: Option<HandleId>) -> Self {
        RecordedStart {
            workflow: meaning.workflow.clone(),
            workflow_name: meaning.name.clone(),
            meaning: meaning.digest.clone(),
            key: IdempotencyKey::fresh(&meaning.digest),
            input,
            asked_at: now(),
            run: None,
        }
    }

    /// The time since it was first asked for. A time that cannot be read is taken for long ago.
    pub fn age(&self) -> Duration {
        age_of(&self.asked_at).unwrap_or(Duration::MAX)
    }
}

/// A start's slot, locked.
#[derive(Debug)]
pub struct OpenStart {
    path: PathBuf,
    before: Result<Option<RecordedStart>, StateError>,
    _lock: Lock,
}

impl OpenStart {
    pub(super) fn open(folder: &Path, meaning: &StartIdentity) -> Result<Self, StateError> {
        let path = folder.join(file_stem(&meaning.name, &[&meaning.digest]) + ".json");
        let what = format!("the start of workflow {} with this input", meaning.name);
        let lock = Lock::take(&path.with_extension("lock"), &what)?;
        Ok(OpenStart { before: document::read(&path), path, _lock: lock })
    }

    /// The last start of this meaning, if there was one. A record that cannot be read is an error: it may be of a start
    /// whose fate is unknown.
    pub fn before(&mut self) -> Result<Option<RecordedStart>, StateError> {
        std::mem::replace(&mut self.before, Ok(None))
    }

    /// Records `start`; on return it is on disk.
    pub fn save(&self, start: &RecordedStart) -> Result<(), StateError> {
        document::write(&self.path, start)
    }

    /// Forgets the start: the API has refused it, so there is no run.
    pub fn forget(&self) -> Result<(), StateError> {
        match std::fs::remove_file(&self.path) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                Err(StateError::Unusable { path: self.path.clone(), cause })
            }
            _ => Ok(()),
        }
    }
}
