//! Export and import of a data directory's state as one archive, for a move or a backup: a plain tar, which any `tar`
//! lists and unpacks.
//!
//! The archive holds first the files (`runs/ID/NAME`, `uploads/NAME`, `notebooks/NAME`), then `state.ndjson` with the
//! rows of the store that name them. Active runs, the secrets of links and webhooks, and idempotency keys are never
//! exported.
//!
//! An archive may come from anybody. An import therefore trusts nothing in it: names are checked by their types, files
//! by the sizes and counts of the rows that name them, and nothing enters the data directory before all of it is
//! checked.

mod export;
mod import;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::notebooks::NotebookRow;
use super::rows::{RunRow, UploadRow};
use super::{store, stored_names};
use crate::api::{HandleId, Workflow};

pub(in crate::service) use export::export_store;
pub use export::{check_replaceable, export};
pub use import::import;

/// Name of the entry that holds the rows, the last of an archive.
const STATE: &str = "state.ndjson";

/// Version of the format of [`STATE`].
const VERSION: u32 = 1;

/// Number of exported or imported items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArchiveSummary {
    /// Workflows, with their definitions.
    pub workflows: usize,
    /// Ended runs, with their result files.
    pub runs: usize,
    /// Uploads, with their files.
    pub uploads: usize,
    /// Notebooks, with their rows.
    pub notebooks: usize,
    /// Items of an import whose ids already exist; the existing ones are kept. 0 for an export.
    pub already_present: usize,
}

/// An error of an export or import.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Reading or writing the archive failed.
    #[error("cannot read or write the archive {}", path.display())]
    Archive {
        /// Path of the archive.
        path: PathBuf,
        /// The I/O error.
        #[source]
        cause: io::Error,
    },
    /// The data directory cannot be read or written.
    #[error("cannot use the data directory {}", directory.display())]
    DataDirectory {
        /// Path of the data directory.
        directory: PathBuf,
        /// The I/O error.
        #[source]
        cause: io::Error,
    },
    /// The archive is not an export of a service, or it is damaged. Nothing was imported.
    #[error("cannot import {}: not a state of a service: {reason}", path.display())]
    InvalidArchive {
        /// Path of the archive.
        path: PathBuf,
        /// The first problem that was found, as a fragment.
        reason: String,
    },
    /// The file to export to exists and is not an export of a service. It is kept.
    #[error("{} exists and is not a state of a service; it is not replaced", path.display())]
    NotAnExport {
        /// Path of the file.
        path: PathBuf,
    },
    /// The store cannot be opened, read or written; locked while a service has it open.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// One line of [`STATE`]: the head first, the end last.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Head {
        version: u32,
        exported_at: DateTime<Utc>,
    },
    Workflow(#[serde(deserialize_with = "stored_names::workflow")] Box<Workflow>),
    Run(Box<RunRow>),
    Upload {
        #[serde(deserialize_with = "stored_names::handle_id")]
        id: HandleId,
        row: UploadRow,
    },
    Notebook(NotebookRow),
    End {
        lines: usize,
    },
}

/// A reader that counts its bytes, to detect an entry shorter than its header declares.
struct Counted<R> {
    /// Bytes read so far.
    read: u64,
    from: R,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buf)?;
        self.read += n as u64;
        Ok(n)
    }
}

/// Returns true if an archive ends with two blocks of zeros, as every complete tar does. Rewinds the file.
fn has_end_marker(file: &mut File) -> io::Result<bool> {
    let mut end = [1; 1024];
    if file.metadata()?.len() < end.len() as u64 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-(end.len() as i64)))?;
    file.read_exact(&mut end)?;
    file.rewind()?;
    Ok(end.iter().all(|byte| *byte == 0))
}
