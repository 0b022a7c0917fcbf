//! The ledger of one run: what was fetched of it, and what stands where.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::document;
use super::error::StateError;
use super::lock::Lock;
use super::stamp::now;
use crate::api::{DownloadLink, RunId, WorkflowId};
use crate::client::IdempotencyKey;
use crate::client::digest::{digest_of_file, file_stem};
use crate::secret::SecretUrl;

/// What is known of a run on this machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ledger {
    /// Base address of the API that has the run.
    pub endpoint: String,
    /// The run.
    pub run: RunId,
    /// Its workflow, once that is known.
    pub workflow: Option<WorkflowId>,
    /// The workflow's name, if the run was started here.
    pub workflow_name: Option<String>,
    /// The key that started it, if it was started here.
    pub key: Option<IdempotencyKey>,
    /// ISO 8601, as the other times.
    pub created_at: String,
    /// The last change.
    pub updated_at: String,
    /// The last state of the run that was seen, in the API's word.
    pub status: Option<String>,
    /// When a command had written all that was wanted of it.
    pub delivered_at: Option<String>,
    /// Links to its results, as last seen.
    pub links: Vec<SeenLink>,
    /// Outputs that were begun, and what became of them.
    pub outputs: Vec<OutputRecord>,
}

/// A link without what makes it work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenLink {
    /// The file's name, in the API's words; it decides no path.
    pub filename: String,
    /// Number of the block that wrote it.
    pub block: Option<i64>,
    /// Format of the file.
    pub format: String,
    /// Rows that the API says.
    pub rows: Option<u64>,
    /// The address without its query.
    pub address: Option<String>,
}

impl SeenLink {
    /// What may be kept of `link`.
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

/// One result file that goes into an output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilePulled {
    /// The file's name, in the API's words.
    pub filename: String,
    /// Number of the block that wrote it.
    pub block: Option<i64>,
    /// Bytes of it as they are sent, if the server tells.
    pub bytes: Option<u64>,
}

/// How far something came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileProgress {
    /// Bytes taken from the download.
    pub bytes: u64,
    /// Rows read.
    pub rows: u64,
}

/// What one pass over results writes: a file, a folder, or several of these together.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OutputRecord {
    /// The absolute path of the file or folder; of several, of the first.
    pub path: PathBuf,
    /// The paths of the others, in their order.
    #[serde(default)]
    pub more: Vec<PathBuf>,
    /// The digest of all that decides its contents.
    pub plan: String,
    /// When it was begun.
    pub began_at: String,
    /// Times it was begun.
    pub attempts: u32,
    /// What it is made of, in this order.
    pub files: Vec<FilePulled>,
    /// How far the last attempt came, as of the last save.
    pub position: FileProgress,
    /// Bytes of attempts that were cut, which were downloaded again.
    pub repeated_bytes: u64,
    /// Where its rejects go, if they are kept.
    pub rejects: Option<PathBuf>,
    /// Set when it stands whole.
    pub done: Option<CompletedOutput>,
}

/// An output that stands whole.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CompletedOutput {
    /// When.
    pub at: String,
    /// All files of it. None at all say nothing: it is then written anew.
    #[serde(default)]
    pub files: Vec<FileFingerprint>,
    /// Records that came in.
    pub rows_in: u64,
    /// Records in it.
    pub rows_written: u64,
    /// Records that could not be used.
    pub rows_rejected: u64,
    /// Its file of rejects, if there were any and they are kept.
    pub rejects: Option<RejectsRecord>,
}

/// A file as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFingerprint {
    /// Its absolute path.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Its modification time in nanoseconds since 1970.
    pub modified_ns: u64,
    /// Its digest. `None` while it is being computed: size and time then tell whether it is the same.
    pub sha256: Option<String>,
}

/// A file of rejects that stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RejectsRecord {
    /// Where.
    pub path: PathBuf,
    /// Its digest.
    pub sha256: String,
}

impl CompletedOutput {
    /// Of files that were just written; their digests are still to come. `None` if one of them cannot be seen.
    pub fn of(paths: impl IntoIterator<Item = PathBuf>) -> Option<Self> {
        let files = paths.into_iter().map(FileFingerprint::of).collect::<Option<_>>()?;
        Some(CompletedOutput { at: now(), files, rows_in: 0, rows_written: 0, rows_rejected: 0, rejects: None })
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Adds the digests of the files, which are read for it.
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

    /// Whether it is still what was written. Reads it, unless its digest is not known or its size tells.
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
    /// What is recorded of it, if it stands as it was written under `plan`. Reads all its files.
    pub fn standing(&self, plan: &str) -> Option<&CompletedOutput> {
        let done = self.done.as_ref().filter(|done| self.plan == plan && !done.files.is_empty())?;
        let has_rejects = |kept: &RejectsRecord| digest_of_file(&kept.path).is_ok_and(|found| found == kept.sha256);
        let all = done.files.iter().all(FileFingerprint::is_intact) && done.rejects.as_ref().is_none_or(has_rejects);
        all.then_some(done)
    }

    /// The paths of its outputs, in their order.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        std::iter::once(&self.path).chain(&self.more)
    }
}

fn size_and_time(path: &Path) -> Option<(u64, u64)> {
    let metadata = std::fs::metadata(path).ok().filter(|metadata| metadata.is_file())?;
    let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some((metadata.len(), u64::try_from(modified.as_nanos()).ok()?))
}

/// A ledger, locked.
#[derive(Debug)]
pub struct OpenLedger {
    /// What it says; on disk with the next [`OpenLedger::save`].
    pub ledger: Ledger,
    /// A damaged one was found and set aside under this name.
    pub set_aside: Option<PathBuf>,
    path: PathBuf,
    _lock: Lock,
}

impl OpenLedger {
    pub(super) fn open(folder: &Path, endpoint: &str, run: &RunId) -> Result<Self, StateError> {
        let path = path_of(folder, endpoint, run);
        let lock = Lock::take(&path.with_extension("lock"), &format!("run {run}"))?;
        let mut set_aside = None;
        let found = match document::read(&path) {
            // What stands in it only saves work: without it everything is done anew.
            Err(StateError::Damaged { .. }) => {
                let aside = path.with_extension("damaged");
                std::fs::rename(&path, &aside).map_err(|cause| StateError::Unusable { path: path.clone(), cause })?;
                set_aside = Some(aside);
                None
            }
            found => found?,
        };
        let ledger = found.unwrap_or_else(|| Ledger {
            endpoint: endpoint.to_owned(),
            run: run.clone(),
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
        Ok(OpenLedger { ledger, set_aside, path, _lock: lock })
    }

    /// Puts it on disk.
    pub fn save(&mut self) -> Result<(), StateError> {
        self.ledger.updated_at = now();
        document::write(&self.path, &self.ledger)
    }

    /// Records that all that was wanted stands.
    pub fn delivered(&mut self) {
        self.ledger.delivered_at = Some(now());
    }

    /// What is recorded of the outputs at `paths`, which are written together.
    pub fn output(&self, paths: &[PathBuf]) -> Option<&OutputRecord> {
        self.ledger.outputs.iter().find(|output| output.paths().eq(paths))
    }

    /// Records that the outputs at `paths`, of which there is at least one, begin from nothing; what an attempt before
    /// had pulled is pulled again.
    pub fn begin(&mut self, paths: &[PathBuf], plan: String, files: Vec<FilePulled>, rejects: Option<PathBuf>) {
        let Some((path, more)) = paths.split_first() else { return };
        let before = self.ledger.outputs.iter().position(|output| output.paths().eq(paths));
        let before = before.map(|i| self.ledger.outputs.remove(i)).filter(|before| before.plan == plan);
        let cut = before.as_ref().filter(|before| before.done.is_none());
        self.ledger.outputs.push(OutputRecord {
            path: path.clone(),
            more: more.to_vec(),
            plan,
            began_at: now(),
            attempts: before.as_ref().map_or(0, |before| before.attempts) + 1,
            files,
            position: FileProgress::default(),
            repeated_bytes: before.as_ref().map_or(0, |before| before.repeated_bytes)
                + cut.map_or(0, |cut| cut.position.bytes),
            rejects,
            done: None,
        });
    }

    /// The record of the output that was begun last.
    pub fn current(&mut self) -> Option<&mut OutputRecord> {
        self.ledger.outputs.last_mut()
    }
}

fn path_of(folder: &Path, endpoint: &str, run: &RunId) -> PathBuf {
    folder.join(file_stem(&run.0, &[endpoint, &run.0]) + ".json")
}

pub(super) fn peek(folder: &Path, endpoint: &str, run: &RunId) -> Result<Option<Ledger>, StateError> {
    document::read(&path_of(folder, endpoint, run))
}

pub(super) fn all(folder: &Path) -> Result<Vec<Result<Ledger, StateError>>, StateError> {
    let unusable = |cause| StateError::Unusable { path: folder.to_owned(), cause };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unusable)? {
        let path = entry.map_err(unusable)?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            found.extend(document::read::<Ledger>(&path).transpose());
        }
    }
    let changed = |ledger: &Result<Ledger, StateError>| ledger.as_ref().ok().map(|ledger| ledger.updated_at.clone());
    found.sort_by_key(|ledger| std::cmp::Reverse(changed(ledger)));
    Ok(found)
}
