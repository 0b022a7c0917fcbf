//! What is kept between commands, so that a run starts once and a download that was cut goes on.
//!
//! The state directory holds two kinds of small files, each beside the lock that keeps two processes off it:
//!
//! - `starts/MEANING.json`: the last start of one meaning (workflow, input, overrides): its idempotency key, written
//!   before the request, and the run that it became, written after the answer.
//! - `runs/RUN.json`: the ledger of one run: links seen, outputs begun and finished, how far a download came.
//!
//! A file is replaced whole (a new one is written, synced and renamed), so that at any moment one of the two states
//! can be read. No file holds a key or the query of a signed link.

mod document;
mod ledger;
mod lock;
mod start;

use std::io;
use std::path::{Path, PathBuf};

use chrono::{DateTime, SecondsFormat, Utc};
use sha2::{Digest, Sha256};

pub use ledger::{Done, FilePulled, Ledger, OpenLedger, OutputRecord, Position, RejectsKept, SeenLink};
pub use start::{Meaning, OpenStart, Start};

use crate::api::RunId;

/// Why state cannot be kept or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The system refuses.
    #[error("cannot keep state in {path}")]
    Unusable {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A file is not what it was when it was written.
    #[error("{path} is damaged: {text}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        text: String,
    },
    /// A file of a version that this one does not know.
    #[error("{path} was written by a newer drawoff: it has version {found}, and this one knows version {known}")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// The newest that is known here.
        known: u64,
    },
    /// Another process holds the lock.
    #[error("{what} is in the hands of another drawoff{}", pid.map(|pid| format!(", process {pid}")).unwrap_or_default())]
    Busy {
        /// What both want.
        what: String,
        /// The other process, if it has said so yet.
        pid: Option<u32>,
    },
}

/// The state directory.
#[derive(Clone, Debug)]
pub struct StateDir {
    root: PathBuf,
}

impl StateDir {
    /// Opens `root`, or makes it, and makes sure that it can be written.
    pub fn open(root: &Path) -> Result<Self, StateError> {
        for folder in [root.join("starts"), root.join("runs")] {
            let writable = make_folder(&folder).and_then(|()| tempfile::tempfile_in(&folder).map(drop));
            writable.map_err(|cause| StateError::Unusable { path: folder, cause })?;
        }
        Ok(StateDir { root: root.to_owned() })
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The slot for starts of this meaning, locked until it is dropped.
    pub fn start(&self, meaning: &Meaning) -> Result<OpenStart, StateError> {
        OpenStart::open(&self.root.join("starts"), meaning)
    }

    /// The ledger of a run at `endpoint`, locked until it is dropped; a new one if there is none.
    pub fn ledger(&self, endpoint: &str, run: &RunId) -> Result<OpenLedger, StateError> {
        OpenLedger::open(&self.root.join("runs"), endpoint, run)
    }

    /// The ledger of a run as it stands, without its lock; `None` if there is none.
    pub fn peek(&self, endpoint: &str, run: &RunId) -> Result<Option<Ledger>, StateError> {
        ledger::peek(&self.root.join("runs"), endpoint, run)
    }

    /// All ledgers, the last changed first. One that cannot be read is its error, at the end.
    pub fn ledgers(&self) -> Result<Vec<Result<Ledger, StateError>>, StateError> {
        ledger::all(&self.root.join("runs"))
    }
}

#[cfg(unix)]
fn make_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    // Names of files and workflows are nobody else's business.
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(not(unix))]
fn make_folder(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)
}

/// A file's name for `text` from outside: its plain characters, so that people know it, and a digest of all that
/// distinguishes it.
fn file_stem(text: &str, parts: &[&str]) -> String {
    let plain: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c.to_ascii_lowercase() } else { '_' })
        .take(60)
        .collect();
    format!("{plain}-{}", &digest_of(parts)[..16])
}

/// The digest of `parts` in hexadecimal; where one ends and the next begins counts.
pub fn digest_of(parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    hex(&digest.finalize())
}

/// The digest of all that `from` still has to give, in hexadecimal.
pub(super) fn digest_of_reader(from: &mut dyn io::Read) -> io::Result<String> {
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(hex(&digest.finalize())),
            Ok(n) => digest.update(&buffer[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The digest of a file in hexadecimal.
pub fn digest_of_file(path: &Path) -> io::Result<String> {
    digest_of_reader(&mut std::fs::File::open(path)?)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The time since `stamp`; nothing if it lies ahead, `None` if it is no time.
pub fn age_of(stamp: &str) -> Option<std::time::Duration> {
    let then = DateTime::parse_from_rfc3339(stamp).ok()?;
    Some((Utc::now() - then.with_timezone(&Utc)).to_std().unwrap_or_default())
}

#[cfg(test)]
mod tests;
