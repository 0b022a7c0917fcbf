//! The layout of the data directory: one subdirectory each for runs, uploads, notebooks and temporary files. Creates
//! them, names the files in them, and removes the leftovers of a crash at the next start; never reads a file's content.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::api::{HandleId, RunId};
use crate::service::rows::{RunRow, UploadRow};

/// The subdirectories of one data directory.
#[derive(Clone, Debug)]
pub(in crate::service) struct Directories {
    root: PathBuf,
}

impl Directories {
    /// Creates the data directory and its subdirectories if absent, with mode 0700: results are personal data.
    pub(in crate::service) fn create(root: &Path) -> io::Result<Self> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        for directory in ["", "runs", "uploads", "notebooks", "tmp"].map(|name| root.join(name)) {
            builder.create(directory)?;
        }
        Ok(Directories { root: root.to_owned() })
    }

    /// Returns the directory of a run's payload and result files.
    pub(in crate::service) fn run(&self, run: &RunId) -> PathBuf {
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

    /// Returns the path of an upload's file. The service chose both parts of its name, so it cannot lead elsewhere.
    pub(in crate::service) fn upload(&self, handle: &HandleId, row: &UploadRow) -> PathBuf {
        self.uploads().join(format!("{}.{}", handle.0, row.extension))
    }

    /// Removes the leftovers of a service that was killed: files of `interrupted` runs, and directories of runs and
    /// uploads, that no row of the store names. Only names of the service's own pattern are removed.
    pub(in crate::service) fn remove_leftovers(
        &self,
        interrupted: &[RunRow],
        is_run: impl Fn(&RunId) -> bool,
        is_upload: impl Fn(&HandleId) -> bool,
    ) -> io::Result<()> {
        for run in interrupted {
            let recorded: HashSet<&str> =
                run.blocks.iter().flat_map(|block| &block.files).map(|file| file.filename.as_str()).collect();
            for name in names(&self.run(&run.id))? {
                if !recorded.contains(name.as_str()) {
                    fs::remove_file(self.run(&run.id).join(name))?;
                }
            }
        }
        // Directories without a row are those of deleted runs, or of starts that crashed before the run was recorded.
        for name in names(&self.root.join("runs"))? {
            if Uuid::parse_str(&name).is_ok() && !is_run(&RunId(name.clone())) {
                fs::remove_dir_all(self.root.join("runs").join(name))?;
            }
        }
        // Temporary files are unlinked right after creation; a kill in between leaves the name.
        for name in names(&self.tmp())? {
            if name.starts_with(".tmp") {
                fs::remove_file(self.tmp().join(name))?;
            }
        }
        // Uploads that were interrupted, or that were renamed but not recorded.
        for name in names(&self.uploads())? {
            let handle = HandleId(name.split('.').next().unwrap_or_default().to_owned());
            let is_handle = Uuid::parse_str(&handle.0).is_ok();
            let is_partial = name.starts_with(PARTIAL_PREFIX);
            if is_partial || is_handle && !is_upload(&handle) {
                fs::remove_file(self.uploads().join(name))?;
            }
        }
        Ok(())
    }
}

/// Prefix of the names of uploads that are not complete yet.
pub(in crate::service) const PARTIAL_PREFIX: &str = ".partial-";

/// Lists the names in a directory; empty if it does not exist.
fn names(directory: &Path) -> io::Result<Vec<String>> {
    match fs::read_dir(directory) {
        Ok(entries) => entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
