//! The ledger of one run, or of several whose results are written together: the outputs written from them, and the progress
//! of each. It lets a repeated command skip outputs that are complete and intact; without it everything is downloaded again.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::document;
use super::error::StateError;
use super::lock::Lock;
use super::stamp::now;
use crate::api::{DownloadLink, RunId, WorkflowId};
use crate::client::IdempotencyKey;
use crate::client::digest::{digest_of, digest_of_file, file_stem};
use crate::secret::SecretUrl;
use crate::text::counted;

/// The record of one run, or of a set of runs, on this machine. The field names are the keys of the JSON file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ledger {
    /// Base URL of the API that has the run.
    pub endpoint: String,
    /// Id of the run; for a set of runs a name with the digest of their ids, since there may be thousands.
    pub run: RunId,
    /// Number of runs of the set; `None` for a single run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs: Option<u64>,
    /// Id of its workflow; `None` until it is known, and for a set of runs.
    pub workflow: Option<WorkflowId>,
    /// Name of the workflow; `None` unless the run was started here.
    pub workflow_name: Option<String>,
    /// Idempotency key of the start; `None` unless the run was started here.
    pub key: Option<IdempotencyKey>,
    /// Time of creation of the ledger; ISO 8601, as all times here.
    pub created_at: String,
    /// Time of the last save.
    pub updated_at: String,
    /// Last observed state of the run, in the API's word.
    pub status: Option<String>,
    /// Time at which a command had written all its outputs; `None` until then.
    pub delivered_at: Option<String>,
    /// Links to the results, as last listed; empty for a set of runs.
    pub links: Vec<SeenLink>,
    /// Outputs that were begun; the last begun is the last of the list.
    pub outputs: Vec<OutputRecord>,
}

/// A link without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenLink {
    /// Name of the file in the API. Never used as a path.
    pub filename: String,
    /// Number of the block that wrote the file.
    pub block: Option<i64>,
    /// Format of the file, in the API's word.
    pub format: String,
    /// The API's `row_count`.
    pub rows: Option<u64>,
    /// URL without query, fragment and user info; `None` if the API listed none.
    pub address: Option<String>,
}

impl SeenLink {
    /// Extracts the parts of `link` that may be stored.
    pub fn of(link: &DownloadLink, format: &str) -> Self {
        let address = link.download_url.as_ref().map(|url| SecretUrl::new(url.clone()).without_query());
        SeenLink {
            filename: link.filename.clone(),
            block: link.block_number,
            format: format.to_owned(),
            rows: link.row_count,
            address,
        }
    }
}

/// A result file that an output is written from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilePulled {
    /// Name of the file in the API.
    pub filename: String,
    /// Number of the block that wrote the file.
    pub block: Option<i64>,
    /// Size of the download in bytes; `None` if the server does not announce it.
    pub bytes: Option<u64>,
}

/// Progress of an attempt over all files of an output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileProgress {
    /// Bytes received from the downloads.
    pub bytes: u64,
    /// Rows read from these bytes.
    pub rows: u64,
}

/// The output of one pass over results: a file, a directory, or several of these together.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OutputRecord {
    /// Absolute path of the file or directory; the first of several.
    pub path: PathBuf,
    /// Absolute paths of the others, in the order of the command.
    #[serde(default)]
    pub more: Vec<PathBuf>,
    /// Digest of everything that determines the contents.
    pub plan: String,
    /// Time at which the last attempt began.
    pub began_at: String,
    /// Number of attempts, the current one included.
    pub attempts: u32,
    /// Result files it is written from, in order; empty for a set of runs.
    pub files: Vec<FilePulled>,
    /// Progress of the last attempt, as of the last save.
    pub position: FileProgress,
    /// Bytes of interrupted attempts that were downloaded again.
    pub repeated_bytes: u64,
    /// Path of the rejects file; `None` if rejects are not kept.
    pub rejects: Option<PathBuf>,
    /// Set when the output is complete.
    pub done: Option<CompletedOutput>,
}

/// A complete output.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CompletedOutput {
    /// Time of completion.
    pub at: String,
    /// All files of the output. An empty list, the default where the key is missing, proves nothing: the output is then
    /// written again.
    #[serde(default)]
    pub files: Vec<FileFingerprint>,
    /// Records read.
    pub rows_in: u64,
    /// Records written to the output.
    pub rows_written: u64,
    /// Records rejected as invalid.
    pub rows_rejected: u64,
    /// The rejects file; `None` if nothing was rejected or rejects are not kept.
    pub rejects: Option<RejectsRecord>,
}

/// Size, time and digest of a written file, to recognize it later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFingerprint {
    /// Absolute path of the file.
    pub path: PathBuf,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// Modification time in nanoseconds since 1970.
    pub modified_ns: u64,
    /// SHA-256 in hexadecimal. `None` until it is computed: size and time identify the file until then.
    pub sha256: Option<String>,
}

/// A complete rejects file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RejectsRecord {
    /// Absolute path of the file.
    pub path: PathBuf,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
}

impl CompletedOutput {
    /// Creates the record of files that were just written, without digests. `None` if the metadata of one cannot be
    /// read.
    pub fn of(paths: impl IntoIterator<Item = PathBuf>) -> Option<Self> {
        let files = paths.into_iter().map(FileFingerprint::of).collect::<Option<_>>()?;
        Some(CompletedOutput { at: now(), files, rows_in: 0, rows_written: 0, rows_rejected: 0, rejects: None })
    }

    /// Returns the size of all files together, in bytes.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Adds the digests. Reads all files.
    pub fn digest(&mut self) -> std::io::Result<()> {
        for file in &mut self.files {
            file.sha256 = Some(digest_of_file(&file.path)?);
        }
        Ok(())
    }
}

impl FileFingerprint {
    fn of(path: PathBuf) -> Option<Self> {
        let (bytes, modified_ns) = size_and_time(&path)?;
        Some(FileFingerprint { path, bytes, modified_ns, sha256: None })
    }

    /// Returns true if the file is unchanged. Compares the digest if there is one and the size is equal, which reads
    /// the file; else the modification time.
    fn is_intact(&self) -> bool {
        let Some((bytes, modified_ns)) = size_and_time(&self.path) else { return false };
        bytes == self.bytes
            && match &self.sha256 {
                Some(sha256) => digest_of_file(&self.path).is_ok_and(|found| found == *sha256),
                None => modified_ns == self.modified_ns,
            }
    }
}

impl OutputRecord {
    /// Returns the completed output if it was written under `plan` and all its files are intact. Reads all of them.
    pub fn intact_output(&self, plan: &str) -> Option<&CompletedOutput> {
        let done = self.done.as_ref().filter(|done| self.plan == plan && !done.files.is_empty())?;
        let has_rejects = |kept: &RejectsRecord| digest_of_file(&kept.path).is_ok_and(|found| found == kept.sha256);
        let all = done.files.iter().all(FileFingerprint::is_intact) && done.rejects.as_ref().is_none_or(has_rejects);
        all.then_some(done)
    }

    /// Returns the paths of the outputs, in the order of the command.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        std::iter::once(&self.path).chain(&self.more)
    }
}

fn size_and_time(path: &Path) -> Option<(u64, u64)> {
    let metadata = std::fs::metadata(path).ok().filter(|metadata| metadata.is_file())?;
    let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some((metadata.len(), u64::try_from(modified.as_nanos()).ok()?))
}

/// A locked ledger.
#[derive(Debug)]
pub struct OpenLedger {
    /// The contents. Changes are stored by [`OpenLedger::save`].
    pub ledger: Ledger,
    /// New path of a damaged ledger that was found and renamed; `None` if there was none.
    pub damaged_copy: Option<PathBuf>,
    path: PathBuf,
    _lock: Lock,
}

impl Ledger {
    /// Returns the name of what the ledger is of, such as `run 5f0c` or `the set of 200 runs`.
    pub fn subject(&self) -> String {
        subject(&self.run, self.runs)
    }
}

fn subject(run: &RunId, runs: Option<u64>) -> String {
    match runs {
        None => format!("run {run}"),
        Some(runs) => format!("this set of {}", counted(runs, "run")),
    }
}

/// Returns the name of the set of `runs`, in which order counts, as the id of its ledger.
fn set_id(runs: &[RunId]) -> RunId {
    let ids: Vec<&str> = runs.iter().map(|run| run.0.as_str()).collect();
    RunId(format!("runs-{}", &digest_of(&ids)[..32]))
}

impl OpenLedger {
    /// Opens the ledger of one of `runs`, or of all of them together if there are several.
    pub(super) fn open(directory: &Path, endpoint: &str, runs: &[RunId]) -> Result<Self, StateError> {
        let (run, runs) = match runs {
            [run] => (run.clone(), None),
            runs => (set_id(runs), Some(runs.len() as u64)),
        };
        let path = ledger_path(directory, endpoint, &run);
        let lock = Lock::take(&path.with_extension("lock"), &subject(&run, runs))?;
        let mut damaged_copy = None;
        let found = match document::read(&path) {
            // A ledger only saves work, so a damaged one is no error: it is kept for inspection, and an empty one used.
            Err(StateError::Damaged { .. }) => {
                let renamed = path.with_extension("damaged");
                std::fs::rename(&path, &renamed).map_err(|cause| StateError::Unusable { path: path.clone(), cause })?;
                damaged_copy = Some(renamed);
                None
            }
            found => found?,
        };
        let ledger = found.unwrap_or_else(|| Ledger {
            endpoint: endpoint.to_owned(),
            run,
            runs,
            workflow: None,
            workflow_name: None,
            key: None,
            created_at: now(),
            updated_at: now(),
            status: None,
            delivered_at: None,
            links: Vec::new(),
            outputs: Vec::new(),
        });
        Ok(OpenLedger { ledger, damaged_copy, path, _lock: lock })
    }

    /// Stores the ledger; it is durable on return.
    pub fn save(&mut self) -> Result<(), StateError> {
        self.ledger.updated_at = now();
        document::write(&self.path, &self.ledger)
    }

    /// Records that the command has written all its outputs.
    pub fn delivered(&mut self) {
        self.ledger.delivered_at = Some(now());
    }

    /// Returns the record of the outputs at `paths`, which are written together. Order counts.
    pub fn output(&self, paths: &[PathBuf]) -> Option<&OutputRecord> {
        self.ledger.outputs.iter().find(|output| output.paths().eq(paths))
    }

    /// Records a new attempt at the outputs at `paths` (at least one), which starts from their first byte. Bytes that
    /// an interrupted attempt under the same `plan` had received are added to `repeated_bytes`.
    pub fn begin(&mut self, paths: &[PathBuf], plan: String, files: Vec<FilePulled>, rejects: Option<PathBuf>) {
        let Some((path, more)) = paths.split_first() else { return };
        // The record of these paths is replaced and moves to the end. Its counts go on only under the same plan.
        let previous = self.ledger.outputs.iter().position(|output| output.paths().eq(paths));
        let previous = previous.map(|i| self.ledger.outputs.remove(i)).filter(|previous| previous.plan == plan);
        let interrupted = previous.as_ref().filter(|previous| previous.done.is_none());
        self.ledger.outputs.push(OutputRecord {
            path: path.clone(),
            more: more.to_vec(),
            plan,
            began_at: now(),
            attempts: previous.as_ref().map_or(0, |previous| previous.attempts) + 1,
            files,
            position: FileProgress::default(),
            repeated_bytes: previous.as_ref().map_or(0, |previous| previous.repeated_bytes)
                + interrupted.map_or(0, |interrupted| interrupted.position.bytes),
            rejects,
            done: None,
        });
    }

    /// Returns the record of the output that was begun last.
    pub fn current(&mut self) -> Option<&mut OutputRecord> {
        self.ledger.outputs.last_mut()
    }
}

fn ledger_path(directory: &Path, endpoint: &str, run: &RunId) -> PathBuf {
    directory.join(file_stem(&run.0, &[endpoint, &run.0]) + ".json")
}

pub(super) fn peek(directory: &Path, endpoint: &str, run: &RunId) -> Result<Option<Ledger>, StateError> {
    document::read(&ledger_path(directory, endpoint, run))
}

pub(super) fn all(directory: &Path) -> Result<Vec<Result<Ledger, StateError>>, StateError> {
    let unusable = |cause| StateError::Unusable { path: directory.to_owned(), cause };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unusable)? {
        let path = entry.map_err(unusable)?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            found.extend(document::read::<Ledger>(&path).transpose());
        }
    }
    let changed = |ledger: &Result<Ledger, StateError>| ledger.as_ref().ok().map(|ledger| ledger.updated_at.clone());
    // Time stamps of one form and zone sort as text; `None`, for errors, is the smallest and so the last.
    found.sort_by_key(|ledger| std::cmp::Reverse(changed(ledger)));
    Ok(found)
}
