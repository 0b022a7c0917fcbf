//! The places of files in the data folder.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::api::{HandleId, RunId};
use crate::service::rows::{RunRow, UploadRow};

/// The folders below the data folder.
#[derive(Clone, Debug)]
pub(in crate::service) struct Directories {
    root: PathBuf,
}

impl Directories {
    /// Makes the folders that are not there. Only this user may look into a folder made here:
    /// results are personal data.
    pub(in crate::service) fn make(root: &Path) -> io::Result<Self> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        for folder in ["", "runs", "uploads", "notebooks", "tmp"].map(|name| root.join(name)) {
            builder.create(folder)?;
        }
        Ok(Directories { root: root.to_owned() })
    }

    /// The folder of a run's files.
    pub(in crate::service) fn run(&self, run: &RunId) -> PathBuf {
        self.root.join("runs").join(&run.0)
    }

    /// The folder of uploads.
    pub(in crate::service) fn uploads(&self) -> PathBuf {
        self.root.join("uploads")
    }

    /// The folder of temporary files.
    pub(in crate::service) fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// The folder of notebooks.
    pub(in crate::service) fn notebooks(&self) -> PathBuf {
        self.root.join("notebooks")
    }

    /// The file of an upload. Both parts of its name are ours.
    pub(in crate::service) fn upload(&self, handle: &HandleId, row: &UploadRow) -> PathBuf {
        self.uploads().join(format!("{}.{}", handle.0, row.extension))
    }

    /// Removes what a service that did not stop well left behind: files of `interrupted` runs that
    /// no row names, and runs and uploads that no row names. Only names of our making are touched.
    pub(in crate::service) fn clear_up(
        &self,
        interrupted: &[RunRow],
        is_run: impl Fn(&RunId) -> bool,
        is_upload: impl Fn(&HandleId) -> bool,
    ) -> io::Result<()> {
        for run in interrupted {
            let named: HashSet<&str> =
                run.blocks.iter().flat_map(|block| &block.files).map(|file| file.filename.as_str()).collect();
            for name in names(&self.run(&run.id))? {
                if !named.contains(name.as_str()) {
                    fs::remove_file(self.run(&run.id).join(name))?;
                }
            }
        }
        for name in names(&self.root.join("runs"))? {
            if Uuid::parse_str(&name).is_ok() && !is_run(&RunId(name.clone())) {
                fs::remove_dir_all(self.root.join("runs").join(name))?;
            }
        }
        // Temporary files whose names a kill left standing.
        for name in names(&self.tmp())? {
            if name.starts_with(".tmp") {
                fs::remove_file(self.tmp().join(name))?;
            }
        }
        for name in names(&self.uploads())? {
            let handle = HandleId(name.split('.').next().unwrap_or_default().to_owned());
            let ours = Uuid::parse_str(&handle.0).is_ok();
            let partial = name.starts_with(PARTIAL_PREFIX);
            if partial || ours && !is_upload(&handle) {
                fs::remove_file(self.uploads().join(name))?;
            }
        }
        Ok(())
    }
}

/// Uploads that are not whole yet begin with this.
pub(in crate::service) const PARTIAL_PREFIX: &str = ".partial-";

/// Names in a folder; none if it is not there.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
