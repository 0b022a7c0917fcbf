//! The layout of the data directory: one subdirectory each for runs, uploads, notebooks and temporary files. Creates
//! them, names the files in them, and removes the leftovers of a crash at the next start; never reads a file's content.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::api::{HandleId, RunId};
use crate::service::private_files;
use crate::service::rows::RunRow;
use crate::service::store::RemovedItems;
use crate::service::stored_names::{NotebookFile, UploadFile, is_generated_id};

/// The subdirectories of one data directory.
#[derive(Clone, Debug)]
pub(in crate::service) struct Directories {
    root: PathBuf,
}

impl Directories {
    /// Creates the data directory and its subdirectories if absent, with mode 0700: results are personal data. If they
    /// exist, takes access to the subdirectories from others; the data directory itself may be shared on purpose. Fails
    /// if a subdirectory is a link.
    pub(in crate::service) fn create(root: &Path) -> io::Result<Self> {
        // The data directory itself may be a link: the user chose it.
        private_files::create_root(root)?;
        for directory in ["runs", "uploads", "notebooks", "tmp"].map(|name| root.join(name)) {
            private_files::create_directory(&directory)?;
            private_files::restrict_directory(&directory)?;
        }
        Ok(Directories { root: root.to_owned() })
    }

    /// Returns the directory of a run's payload and result files. Panics if the id is not one that the service
    /// generates: every id is checked when its row is read, so another one is a bug, and must not become a path.
    pub(in crate::service) fn run(&self, run: &RunId) -> PathBuf {
        assert!(is_generated_id(&run.0), "the id of a run is checked when it is read");
        self.root.join("runs").join(&run.0)
    }

    /// Returns the directory of uploaded files.
    pub(in crate::service) fn uploads(&self) -> PathBuf {
        self.root.join("uploads")
    }

    /// Returns the directory of temporary files, such as rows that blocks spill.
    pub(in crate::service) fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// Returns the directory of the notebooks' files.
    pub(in crate::service) fn notebooks(&self) -> PathBuf {
        self.root.join("notebooks")
    }

    /// Removes the files of items that the store no longer has. A file that cannot be removed is removed by the next
    /// start.
    pub(in crate::service) fn remove(&self, removed: &RemovedItems) {
        for run in &removed.runs {
            let _ = fs::remove_dir_all(self.run(run));
        }
        for (handle, row) in &removed.uploads {
            if let Ok(file) = UploadFile::of(handle, row.extension) {
                let _ = fs::remove_file(self.upload(&file));
            }
        }
        for notebook in &removed.notebooks {
            let _ = fs::remove_file(notebook.path(&self.notebooks()));
        }
    }

    /// Returns the path of a notebook's file.
    pub(in crate::service) fn notebook(&self, file: &NotebookFile) -> PathBuf {
        self.notebooks().join(file.as_str())
    }

    /// Returns the path of an uploaded file.
    pub(in crate::service) fn upload(&self, file: &UploadFile) -> PathBuf {
        self.uploads().join(file.as_str())
    }

    /// Removes the leftovers of a service that was killed: files of `interrupted` runs, and directories of runs and
    /// uploads, that no row of the store names. The input stays. Only names of the service's own
    /// pattern are removed.
    pub(in crate::service) fn remove_leftovers(
        &self,
        interrupted: &[RunRow],
        rewound: &[RunRow],
        is_run: impl Fn(&RunId) -> bool,
        is_upload: impl Fn(&HandleId) -> bool,
    ) -> io::Result<()> {
        for run in interrupted {
            let recorded: HashSet<&str> =
                run.blocks.iter().flat_map(|block| &block.files).map(|file| file.filename.as_str()).collect();
            let directory = self.run(&run.id);
            for name in names(&directory)? {
                if !recorded.contains(name.as_str()) && name != INPUT_FILE {
                    fs::remove_file(directory.join(name))?;
                }
            }
        }
        for run in rewound {
            let directory = self.run(&run.id);
            for name in names(&directory)?.into_iter().filter(|name| name != INPUT_FILE) {
                fs::remove_file(directory.join(name))?;
            }
        }
        // Directories without a row are those of deleted runs, or of starts that crashed before the run was recorded.
        for name in names(&self.root.join("runs"))? {
            if is_generated_id(&name) && !is_run(&RunId(name.clone())) {
                fs::remove_dir_all(self.root.join("runs").join(name))?;
            }
        }
        // Temporary files are unlinked right after creation; a kill in between leaves the name. An import that was
        // killed leaves a directory.
        for name in names(&self.tmp())? {
            if name.starts_with(TEMPORARY_PREFIX) {
                let path = self.tmp().join(name);
                match fs::symlink_metadata(&path)?.is_dir() {
                    true => fs::remove_dir_all(path)?,
                    false => fs::remove_file(path)?,
                }
            }
        }
        // Uploads that were interrupted, or that were renamed but not recorded.
        for name in names(&self.uploads())? {
            let handle = HandleId(name.split('.').next().unwrap_or_default().to_owned());
            let is_handle = is_generated_id(&handle.0);
            let is_partial = name.starts_with(PARTIAL_PREFIX);
            if is_partial || is_handle && !is_upload(&handle) {
                fs::remove_file(self.uploads().join(name))?;
            }
        }
        Ok(())
    }
}

/// Name of the file with a run's own input rows, in the directory of the run.
pub(in crate::service) const INPUT_FILE: &str = "input.ndjson";

/// Prefix of the names of uploads that are not complete yet.
pub(in crate::service) const PARTIAL_PREFIX: &str = ".partial-";

/// Prefix of the names of temporary files and directories, as `tempfile` makes them.
const TEMPORARY_PREFIX: &str = ".tmp";

/// Lists the names in a directory, which must not be a link; empty if it does not exist.
fn names(directory: &Path) -> io::Result<Vec<String>> {
    let entries = private_files::check_directory(directory).and_then(|()| fs::read_dir(directory));
    match entries {
        Ok(entries) => entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
