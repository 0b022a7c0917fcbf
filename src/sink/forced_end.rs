//! The partial files and hidden directories of this process, for an end that cannot wait for their writers: a writer may block for ever, in a
//! pipe that nobody reads or in a store that hangs.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// Paths of all partial files that were created. A file that became an output has another name, and no other process uses
/// these names, so a path that is no partial file any more is simply absent.
static PARTIAL_FILES: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Records a partial file, or a hidden directory of them.
pub(super) fn record(path: PathBuf) {
    PARTIAL_FILES.lock().unwrap_or_else(PoisonError::into_inner).push(path);
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
    std::mem::forget(paths);
}
