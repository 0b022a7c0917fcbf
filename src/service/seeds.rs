//! Workflows and uploads that a service is started with. Their ids follow from their names, so that a test can rely on
//! them: the same name has the same id in every data directory.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::clock::timestamp;
use super::config::Config;
use super::directories::{Directories, PARTIAL_PREFIX};
use super::graph;
use super::location::Location;
use super::rows::UploadRow;
use super::store::{self, Store};
use super::stored_names::{Extension, UploadFile, id_from_name, is_workflow_id, upload_from_name};
use crate::api::{CreateWorkflow, Workflow, WorkflowId};

/// Key of a source block's specs that names an upload.
const HANDLE: &str = "resource_handle_id";

/// An error of a workflow or upload to start with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The definition of a workflow cannot run.
    #[error("cannot start with the workflow `{name}`: {reason}")]
    Workflow {
        /// Name of the workflow.
        name: String,
        /// The problems that were found, as fragments.
        reason: String,
    },
    /// The file of an upload cannot be copied to the data directory.
    #[error("cannot start with the upload {}", path.display())]
    Upload {
        /// Path of the file.
        path: PathBuf,
        /// The I/O error.
        #[source]
        cause: io::Error,
    },
    /// The name of an upload does not end in the extension of a format that the service reads.
    #[error("cannot start with the upload {}: the name must end in .csv, .json, .jsonl or .ndjson", path.display())]
    Extension {
        /// Path of the file.
        path: PathBuf,
    },
    /// Two items have one id, so that the second would replace the first.
    #[error("cannot start with two items of the id {id}: {first} and {second}")]
    Duplicate {
        /// The id of both.
        id: String,
        /// Kind and name of the first.
        first: String,
        /// Kind and name of the second.
        second: String,
    },
    /// The store cannot be written.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// A workflow or an upload that a service was started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seeded {
    /// `workflow` or `upload`.
    pub kind: &'static str,
    /// Id of the workflow, or handle of the upload.
    pub id: String,
    /// Name of the workflow, or file name of the upload.
    pub name: String,
}

/// Adds the workflows and uploads of the configuration to the store. Those with the same ids are replaced: the user's
/// files are what counts. Blocks.
pub(super) fn install(config: &Config, store: &Store, directories: &Directories) -> Result<Vec<Seeded>, Error> {
    let mut seeded: Vec<Seeded> = Vec::new();
    let mut add = |new: Seeded| match seeded.iter().find(|old| (old.kind, &old.id) == (new.kind, &new.id)) {
        None => {
            seeded.push(new);
            Ok(())
        }
        Some(old) => {
            let name = |item: &Seeded| format!("{} `{}`", item.kind, item.name);
            Err(Error::Duplicate { id: new.id.clone(), first: name(old), second: name(&new) })
        }
    };
    for path in &config.uploads {
        add(upload(path, config, store, directories)?)?;
    }
    for definition in &config.workflows {
        add(workflow(definition, config, store)?)?;
    }
    Ok(seeded)
}

fn upload(path: &Path, config: &Config, store: &Store, directories: &Directories) -> Result<Seeded, Error> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let extension = Extension::parse(&extension).ok_or_else(|| Error::Extension { path: path.to_owned() })?;
    let handle = upload_from_name(&name);
    let copy = || {
        let mut from = File::open(path)?;
        let mut to = tempfile::Builder::new().prefix(PARTIAL_PREFIX).tempfile_in(directories.uploads())?;
        let size_bytes = io::copy(&mut from, &mut to)?;
        to.as_file().sync_all()?;
        let file = UploadFile::of(&handle, extension).map_err(io::Error::other)?;
        to.persist(directories.upload(&file)).map_err(|error| error.error)?;
        // The directory entry must be durable before the row that names the file.
        File::open(directories.uploads())?.sync_all()?;
        Ok(size_bytes)
    };
    let size_bytes = copy().map_err(|cause| Error::Upload { path: path.to_owned(), cause })?;
    let row = UploadRow { filename: name.clone(), extension, size_bytes, created_at: config.clock.now() };
    store.add_upload(&handle, &row)?;
    Ok(Seeded { kind: "upload", id: handle.0, name })
}

fn workflow(definition: &CreateWorkflow, config: &Config, store: &Store) -> Result<Seeded, Error> {
    let CreateWorkflow { id, workflow_name: name, workflow_description, workflow_definition } = definition.clone();
    let refused = |reason: String| Error::Workflow { name: name.clone(), reason };
    let id = id.unwrap_or_else(|| WorkflowId(id_from_name("workflow", &name)));
    if !is_workflow_id(&id.0) {
        return Err(refused(format!("{:?} is not a valid id", id.0)));
    }
    let mut definition = workflow_definition;
    for block in &mut definition.blocks {
        // The file name of an upload stands for its handle.
        if let Some(serde_json::Value::String(handle)) = block.specs.get_mut(HANDLE)
            && let Some(known) = store.upload_by_name(handle)?
        {
            *handle = known.0;
        }
    }
    let checked = graph::check(graph::with_ids(definition), &Location::root("workflow_definition"));
    let checked = checked.map_err(|errors| {
        let reasons: Vec<String> = errors.into_iter().map(|error| error.msg).collect();
        refused(reasons.join("; "))
    })?;
    let now = timestamp(config.clock.now());
    store.put_workflow(Workflow::ready(&id, name.clone(), workflow_description, checked.graph, now))?;
    Ok(Seeded { kind: "workflow", id: id.0, name })
}
