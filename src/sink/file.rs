//! Atomic files: written under a temporary name in the same directory, synced, and renamed when they are complete.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::flush::Flusher;
use super::partial::{self, directory_of};
use super::target::{Reread, Target};

/// A file under a temporary name in the directory of its final one. Removed when dropped without
/// [`PendingFile::commit`].
#[derive(Debug)]
pub struct PendingFile {
    temp: NamedTempFile,
    flusher: Flusher,
    path: PathBuf,
    no_clobber: bool,
    /// Bytes copied from the existing file that is appended to.
    bytes_before: u64,
    /// True if all written bytes are durable.
    synced: bool,
}

impl PendingFile {
    /// Creates the temporary file for `path`. A symbolic link at `path` is followed: its target is replaced, and the
    /// link stays. With `no_clobber` an existing file is an error, here and at the commit.
    pub fn create(path: &Path, no_clobber: bool) -> io::Result<Self> {
        // Fails for a file that does not exist yet, which then gets this very path.
        let path = match std::fs::canonicalize(path) {
            Ok(real) => real,
            Err(_) => path.to_owned(),
        };
        if no_clobber && path.exists() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "already exists"));
        }
        let temp = partial::create(&path)?;
        Ok(PendingFile { temp, flusher: Flusher::default(), path, no_clobber, bytes_before: 0, synced: false })
    }

    /// Creates the temporary file as [`PendingFile::create`] does, with a copy of the file at `path`. A last line
    /// without a line feed gets one.
    pub fn create_with_contents(path: &Path) -> io::Result<Self> {
        let mut pending = Self::create(path, false)?;
        let mut existing = File::open(&pending.path)?;
        let bytes = io::copy(&mut existing, pending.temp.as_file_mut())?;
        if bytes > 0 {
            let mut last = [0];
            existing.seek(SeekFrom::End(-1))?;
            existing.read_exact(&mut last)?;
            // Without this the first appended row would continue the last line.
            if last != *b"\n" {
                pending.write_all(b"\n")?;
            }
        }
        pending.bytes_before = bytes;
        Ok(pending)
    }

    /// Creates another empty temporary file for the same path. This one is removed when it is dropped.
    pub fn replacement(&self) -> io::Result<Self> {
        let (temp, path) = (partial::create(&self.path)?, self.path.clone());
        Ok(PendingFile {
            temp,
            flusher: Flusher::default(),
            path,
            no_clobber: self.no_clobber,
            bytes_before: 0,
            synced: false,
        })
    }

    /// Makes the bytes durable, still under the temporary name. A full or failing disk is reported here, before any
    /// output appears.
    pub fn sync(&mut self) -> io::Result<()> {
        if !self.synced {
            self.flusher.finish()?;
            self.temp.as_file().sync_all()?;
            self.synced = true;
        }
        Ok(())
    }

    /// Syncs the bytes, renames the file to its final name, and syncs the directory.
    pub fn commit(mut self) -> io::Result<()> {
        // The contents must be durable before the name: a crash after the rename could leave an empty file.
        self.sync()?;
        // `persist_noclobber` is atomic, so a file that appeared meanwhile is not replaced.
        let persisted =
            if self.no_clobber { self.temp.persist_noclobber(&self.path) } else { self.temp.persist(&self.path) };
        persisted.map_err(|error| error.error)?;
        // A killed process may still have held the lock on its partial file when this file was created.
        let _ = partial::remove_stale(&self.path);
        // Some file systems cannot sync a directory. The rename is done in any case.
        if let Ok(directory) = File::open(directory_of(&self.path)) {
            let _ = directory.sync_all();
        }
        Ok(())
    }
}

impl Target for PendingFile {
    fn can_go_back(&self) -> bool {
        true
    }

    fn bytes_before(&self) -> u64 {
        self.bytes_before
    }

    fn reread(&self) -> io::Result<Option<File>> {
        self.temp.reopen().map(Some)
    }

    fn rereader(&self) -> io::Result<Option<Reread>> {
        let file = self.temp.reopen()?;
        Ok(Some(Box::new(move || Ok(file))))
    }

    fn sync(&mut self) -> io::Result<()> {
        PendingFile::sync(self)
    }

    fn commit(self: Box<Self>) -> io::Result<()> {
        PendingFile::commit(*self)
    }
}

impl Write for PendingFile {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.synced = false;
        let n = self.temp.as_file_mut().write(buf)?;
        self.flusher.note_written(n as u64, self.temp.as_file());
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Checks that an output can be created at `path`, by creating a file without a name in its directory. Called before a
/// run is started and paid for.
pub fn check_writable(path: &Path) -> io::Result<()> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Err(io::Error::new(io::ErrorKind::IsADirectory, "is a directory")),
        // A device or a pipe is written directly, whatever its directory allows.
        Ok(metadata) if !metadata.is_file() => Ok(()),
        _ => tempfile::tempfile_in(directory_of(path)).map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.csv");
        std::fs::write(&path, "old").unwrap();

        let mut file = PendingFile::create(&path, false).unwrap();
        file.write_all(b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        drop(file);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left behind");

        let mut file = PendingFile::create(&path, false).unwrap();
        file.write_all(b"new").unwrap();
        file.commit().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn no_clobber_refuses_early_and_late() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.csv");
        let file = PendingFile::create(&path, true).unwrap();
        std::fs::write(&path, "appeared meanwhile").unwrap();
        assert_eq!(file.commit().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(PendingFile::create(&path, true).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"appeared meanwhile");
    }

    #[cfg(unix)]
    #[test]
    fn a_symbolic_link_is_kept_and_its_target_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let (real, link) = (directory.path().join("real"), directory.path().join("link"));
        std::fs::write(&real, "old").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let mut file = PendingFile::create(&link, false).unwrap();
        file.write_all(b"new").unwrap();
        file.commit().unwrap();
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(std::fs::read(&real).unwrap(), b"new");
    }
}
