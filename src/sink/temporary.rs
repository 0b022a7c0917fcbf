//! Files and directories for temporary use. One that a killed process left is removed by the next process that needs one.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::partial;

/// Creates a file in the directory for temporary files that only its user can read. `name` says what is in it.
pub fn temporary_file(name: &str) -> io::Result<NamedTempFile> {
    partial::create(&std::env::temp_dir().join(name), true)
}

/// Creates a file without a name in `directory`, or in that for temporary files. It is gone when it is closed.
pub fn unnamed_file(directory: Option<&Path>) -> io::Result<File> {
    match directory {
        Some(directory) => tempfile::tempfile_in(directory),
        None => tempfile::tempfile(),
    }
}

/// A directory that only its user can read. Removed when it is dropped.
#[derive(Debug)]
pub struct TemporaryDirectory {
    /// The hidden directory with the lock file.
    hidden: PathBuf,
    /// The directory inside, which has no other files.
    path: PathBuf,
    /// Shows other processes that the owner is alive.
    _lock: File,
}

impl TemporaryDirectory {
    /// Creates a directory in `parent`, such as that of [`std::env::temp_dir`].
    pub fn create(parent: &Path) -> io::Result<Self> {
        let (hidden, lock) = partial::create_directory(parent)?;
        let made = TemporaryDirectory { path: hidden.join("files"), hidden, _lock: lock };
        std::fs::create_dir(&made.path)?;
        Ok(made)
    }

    /// Returns the path of the empty directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        // One that stays is removed by the next process.
        let _ = std::fs::remove_dir_all(&self.hidden);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_of_ended_processes_are_removed() {
        let parent = tempfile::tempdir().unwrap();
        let left = parent.path().join(".parts.2000000000-abcdef.partial");
        std::fs::create_dir_all(left.join("files")).unwrap();
        std::fs::write(left.join("lock"), "").unwrap();
        std::fs::write(left.join("files/rows"), "x").unwrap();
        let first = TemporaryDirectory::create(parent.path()).unwrap();
        assert!(!left.exists());
        let second = TemporaryDirectory::create(parent.path()).unwrap();
        assert!(std::fs::read_dir(first.path()).unwrap().next().is_none(), "its owner lives");
        drop((first, second));
        assert!(std::fs::read_dir(parent.path()).unwrap().next().is_none());
    }
}
