//! The partial files, hidden directories and uploads of this process, for an end that cannot wait for their writers: a writer may block for ever, in a
//! full pipe or in a store that hangs.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Paths of all partial files that were created. A file that became an output has another name, and no other process uses
/// these names, so a path that is no partial file any more is simply absent.
static PARTIAL_FILES: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Paths of output directories that this process created, to be removed if they are empty.
static CREATED_DIRECTORIES: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Records an output directory that this process created.
pub(super) fn record_created(directory: PathBuf) {
    CREATED_DIRECTORIES.lock().unwrap_or_else(PoisonError::into_inner).push(directory);
}

/// Paths of the files that appeared under their final names.
static COMPLETE_FILES: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Records a file that appeared under its final name.
pub(super) fn record_complete(path: &Path) {
    COMPLETE_FILES.lock().unwrap_or_else(PoisonError::into_inner).push(path.to_owned());
}

/// Returns the files that this process has completed so far: after a forced end they are there, though others of the same
/// command are not.
pub fn complete_files() -> Vec<PathBuf> {
    COMPLETE_FILES.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Records a partial file, or a hidden directory of them.
pub(super) fn record(path: PathBuf) {
    PARTIAL_FILES.lock().unwrap_or_else(PoisonError::into_inner).push(path);
}

/// URLs of the objects whose uploads have begun, and were neither completed nor aborted.
static OPEN_UPLOADS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Records the upload of an object in parts, until it is dropped.
#[cfg(feature = "object-store")]
#[derive(Debug)]
pub(super) struct OpenUpload(String);

#[cfg(feature = "object-store")]
impl OpenUpload {
    pub(super) fn record(url: &str) -> Self {
        OPEN_UPLOADS.lock().unwrap_or_else(PoisonError::into_inner).push(url.to_owned());
        OpenUpload(url.to_owned())
    }
}

#[cfg(feature = "object-store")]
impl Drop for OpenUpload {
    fn drop(&mut self) {
        let mut open = OPEN_UPLOADS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = open.iter().position(|url| *url == self.0) {
            open.swap_remove(at);
        }
    }
}

/// Returns a sentence for each upload whose parts remain in a store if the process ends now.
pub fn unfinished_uploads() -> Vec<String> {
    let open = OPEN_UPLOADS.lock().unwrap_or_else(PoisonError::into_inner);
    let sentence = |url: &String| {
        format!(
            "the parts of an incomplete upload of {url} remain in the store; a lifecycle rule for incomplete uploads \
             removes such parts"
        )
    };
    open.iter().map(sentence).collect()
}

/// Removes all partial files of this process. Only for the very end of it: their writers may still write to them, and a
/// commit that is underway then fails.
pub fn remove_partial_files() {
    // Kept locked: no partial file is created any more.
    let paths = PARTIAL_FILES.lock().unwrap_or_else(PoisonError::into_inner);
    for path in paths.iter() {
        // One that cannot be removed now is removed by the next writer of its output, as after a kill. So are the files of a
        // directory whose publishing was underway, by their journal.
        let _ = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    }
    for directory in CREATED_DIRECTORIES.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        // Fails if it has results, as it should.
        let _ = std::fs::remove_dir(directory);
    }
    std::mem::forget(paths);
}
