//! The input of the source block of a run: found when the run starts, kept by the store while the run waits.

use std::io;
use std::path::PathBuf;

use crate::api::RunId;
use crate::service::directories::Directories;
use crate::service::notebooks::NotebookRow;
use crate::service::rows::InputRow;
use crate::service::store::{self, Store};

/// The file of a run's own rows, in its folder.
const PAYLOAD: &str = "input.ndjson";

/// The input of the source block of a run.
pub(in crate::service) enum Input {
    /// Rows of the request or of a notebook, one per line, in a file of this run.
    Payload {
        /// Their file.
        path: PathBuf,
        /// A name for them in messages.
        name: String,
        /// Number of them.
        rows: u64,
    },
    /// Nothing: a provider finds the rows.
    Nothing,
    /// An uploaded file.
    Upload {
        /// Its place in the data folder.
        path: PathBuf,
        /// Name that the client gave it.
        name: String,
        /// Its extension, in lower case.
        extension: String,
    },
}

/// The request that starts a run, as far as a source may look at it.
pub(in crate::service) struct InputRequest<'a> {
    pub store: &'a Store,
    pub folders: &'a Directories,
    pub run: &'a RunId,
    /// Name of the source block.
    pub block_name: &'a str,
    /// JSON text of the payload, as it was sent.
    pub payload: Option<&'a str>,
}

/// A run that cannot start, because its source has nothing to read.
#[derive(Debug, thiserror::Error)]
pub(in crate::service) enum InputError {
    /// The request does not fit the source; the text is for its sender.
    #[error("{0}")]
    Refused(String),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The rows cannot be put where the run will read them.
    #[error("cannot keep the rows of the run")]
    Io(#[from] io::Error),
}

impl Input {
    /// Writes the rows of a payload, one per line, where the source block of the run will read them.
    pub(super) fn write_payload(request: &InputRequest<'_>, rows: &[String]) -> io::Result<Input> {
        let path = payload_path(request)?;
        let mut text = String::with_capacity(rows.iter().map(|row| row.len() + 1).sum());
        for row in rows {
            text.push_str(row);
            text.push('\n');
        }
        std::fs::write(&path, text)?;
        Ok(Input::Payload { path, name: "webhook_payload".to_owned(), rows: rows.len() as u64 })
    }

    /// Copies what a notebook holds to where the source block of the run will read it: what is appended later is not of
    /// this run.
    pub(super) fn copy_notebook(request: &InputRequest<'_>, notebook: &NotebookRow) -> io::Result<Input> {
        let path = payload_path(request)?;
        notebook.copy_to(&request.folders.notebooks(), &path)?;
        Ok(Input::Payload { path, name: "the notebook".to_owned(), rows: notebook.rows })
    }

    /// The row that the store keeps of it.
    pub(in crate::service) fn to_row(&self) -> InputRow {
        match self {
            Input::Payload { name, rows, .. } => InputRow::Payload { name: name.clone(), rows: *rows },
            Input::Nothing => InputRow::Nothing,
            Input::Upload { path, name, extension } => InputRow::Upload {
                file: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                name: name.clone(),
                extension: extension.clone(),
            },
        }
    }

    /// The input that the store kept; the data folder may stand elsewhere by now.
    pub(in crate::service) fn from_row(row: InputRow, folders: &Directories, run: &RunId) -> Input {
        match row {
            InputRow::Payload { name, rows } => Input::Payload { path: folders.run(run).join(PAYLOAD), name, rows },
            InputRow::Nothing => Input::Nothing,
            InputRow::Upload { file, name, extension } => {
                Input::Upload { path: folders.uploads().join(file), name, extension }
            }
        }
    }
}

fn payload_path(request: &InputRequest<'_>) -> io::Result<PathBuf> {
    let folder = request.folders.run(request.run);
    std::fs::create_dir_all(&folder)?;
    Ok(folder.join(PAYLOAD))
}
