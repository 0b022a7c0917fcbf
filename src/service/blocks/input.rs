//! Input of a run's source block: resolved when the run is requested, persisted in the store while the run is queued.
//! It only locates the rows; the engine reads them.

use std::cell::Cell;
use std::io;
use std::path::PathBuf;

use crate::api::{HandleId, RunId};
use crate::service::directories::{Directories, INPUT_FILE};
use crate::service::notebooks::NotebookRow;
use crate::service::payload::{self, Payload, PayloadLimits};
use crate::service::private_files;
use crate::service::rows::{InputRow, UploadRow};
use crate::service::store::{self, Store};
use crate::service::stored_names::UploadFile;

/// Input of the source block of a run.
pub(in crate::service) enum Input {
    /// Rows of the request or of a notebook, one per line, copied to a file of this run.
    Payload {
        /// NDJSON file in the directory of the run.
        path: PathBuf,
        /// Name of the rows in messages.
        name: String,
        /// Number of rows in the file.
        rows: u64,
    },
    /// No input: a provider or a table produces the rows.
    Nothing,
    /// An uploaded file, shared with other runs.
    Upload {
        /// Name of the file in the directory of uploads.
        file: UploadFile,
        /// Path of that file.
        path: PathBuf,
        /// File name that the client specified.
        name: String,
    },
}

/// Request that starts a run, reduced to the parts that a source needs.
pub(in crate::service) struct InputRequest<'a> {
    pub store: &'a Store,
    pub directories: &'a Directories,
    pub run: &'a RunId,
    /// Name of the source block.
    pub block_name: &'a str,
    /// Rows of the payload, which the block takes; `None` if the request has none.
    pub payload: Cell<Option<Payload>>,
    /// Limits for rows that are in the specs of the block.
    pub limits: PayloadLimits,
}

/// Failure to resolve the input of a run, which therefore cannot start.
#[derive(Debug, thiserror::Error)]
pub(in crate::service) enum InputError {
    /// The request does not suit the source block; the text is returned to the client.
    #[error("{0}")]
    Refused(String),
    /// The rows are not valid, or cannot be stored.
    #[error(transparent)]
    Payload(#[from] payload::Error),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The rows cannot be written to the directory of the run.
    #[error("cannot store the input rows of the run")]
    Io(#[from] io::Error),
}

impl Input {
    /// Moves the rows of a payload to the input file of the run.
    pub(super) fn of_payload(request: &InputRequest<'_>, payload: Payload) -> io::Result<Input> {
        let path = payload_path(request)?;
        let rows = payload.persist(&path)?;
        Ok(Input::Payload { path, name: "webhook_payload".to_owned(), rows })
    }

    /// Copies the committed rows of a notebook to the input file of the run, so that rows appended later do not reach
    /// this run.
    pub(super) fn copy_notebook(request: &InputRequest<'_>, notebook: &NotebookRow) -> io::Result<Input> {
        let path = payload_path(request)?;
        notebook.copy_to(&request.directories.notebooks(), &path)?;
        Ok(Input::Payload { path, name: "the notebook".to_owned(), rows: notebook.rows })
    }

    /// Returns an upload as the input of a run.
    pub(in crate::service) fn upload(
        directories: &Directories,
        handle: &HandleId,
        upload: UploadRow,
    ) -> io::Result<Input> {
        let file = UploadFile::of(handle, upload.extension).map_err(io::Error::other)?;
        Ok(Input::Upload { path: directories.upload(&file), file, name: upload.filename })
    }

    /// Converts the input to the row that the store keeps while the run is queued.
    pub(in crate::service) fn to_row(&self) -> InputRow {
        match self {
            Input::Payload { name, rows, .. } => InputRow::Payload { name: name.clone(), rows: *rows },
            Input::Nothing => InputRow::Nothing,
            Input::Upload { file, name, .. } => InputRow::Upload { file: file.clone(), name: name.clone() },
        }
    }

    /// Restores an input from the store. Paths are rebuilt, because the data directory may have moved since.
    pub(in crate::service) fn from_row(row: InputRow, directories: &Directories, run: &RunId) -> Input {
        match row {
            InputRow::Payload { name, rows } => {
                Input::Payload { path: directories.run(run).join(INPUT_FILE), name, rows }
            }
            InputRow::Nothing => Input::Nothing,
            InputRow::Upload { file, name } => Input::Upload { path: directories.upload(&file), file, name },
        }
    }
}

fn payload_path(request: &InputRequest<'_>) -> io::Result<PathBuf> {
    let directory = request.directories.run(request.run);
    private_files::create_directory(&directory)?;
    Ok(directory.join(INPUT_FILE))
}
