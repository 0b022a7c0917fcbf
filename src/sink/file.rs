//! A file that appears under its name only when it is whole.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::flush::Flusher;
use super::partial::{self, directory_of};
use super::target::{Reread, Target};

/// A file being written under a temporary name in the folder of its final one. Dropped without
/// [`PendingFile::commit`], it leaves nothing behind.
#[derive(Debug)]
pub struct PendingFile {
    temp: NamedTempFile,
    flusher: Flusher,
    path: PathBuf,
    no_clobber: bool,
    /// Bytes copied from what stood there.
    bytes_before: u64,
    /// All that was written is durable.
    synced: bool,
}

impl PendingFile {
    /// Starts a file that will stand at `path`. A link there is followed, so that the file it
    /// names is replaced and not the link.
    pub fn create(path: &Path, no_clobber: bool) -> io::Result<Self> {
        let path = match std::fs::canonicalize(path) {
            Ok(real) => real,
            Err(_) => path.to_owned(),
        };
        if no_clobber && path.exists() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "exists already"));
        }
        let temp = partial::create(&path)?;
        Ok(PendingFile { temp, flusher: Flusher::default(), path, no_clobber, bytes_before: 0, synced: false })
    }

    /// As [`PendingFile::create`], beginning with a copy of the file at `path`. If its last line has no end, it gets one.
    pub fn create_with_contents(path: &Path) -> io::Result<Self> {
        let mut pending = Self::create(path, false)?;
        let mut there = File::open(&pending.path)?;
        let bytes = io::copy(&mut there, pending.temp.as_file_mut())?;
        if bytes > 0 {
            let mut last = [0];
            there.seek(SeekFrom::End(-1))?;
            there.read_exact(&mut last)?;
            if last != *b"\n" {
                pending.write_all(b"\n")?;
            }
        }
        pending.bytes_before = bytes;
        Ok(pending)
    }

    /// Starts over with a new, empty file for the same path; the old one goes when it is dropped.
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

    /// Makes the bytes durable, still under the temporary name: what may fail for want of space or by a
    /// broken disk fails here, before anything appears.
    pub fn sync(&mut self) -> io::Result<()> {
        if !self.synced {
            self.flusher.finish()?;
            self.temp.as_file().sync_all()?;
            self.synced = true;
        }
        Ok(())
    }

    /// Syncs the bytes, renames the file to its name, and syncs the folder.
    pub fn commit(mut self) -> io::Result<()> {
        self.sync()?;
        let persisted =
            if self.no_clobber { self.temp.persist_noclobber(&self.path) } else { self.temp.persist(&self.path) };
        persisted.map_err(|error| error.error)?;
        // A process that was just killed may have held its partial file still when this one began.
        let _ = partial::remove_stale(&self.path);
        // Some file systems cannot sync a folder; the rename itself has happened.
        if let Ok(folder) = File::open(directory_of(&self.path)) {
            let _ = folder.sync_all();
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
        self.flusher.wrote(n as u64, self.temp.as_file());
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Checks, by making a file without a name, that an output can be made at `path`: before a run is
/// paid for, not after.
pub fn check_writable(path: &Path) -> io::Result<()> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Err(io::Error::new(io::ErrorKind::IsADirectory, "is a folder")),
        Ok(metadata) if !metadata.is_file() => Ok(()),
        _ => tempfile::tempfile_in(directory_of(path)).map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.csv");
        std::fs::write(&path, "old").unwrap();

        let mut file = PendingFile::create(&path, false).unwrap();
        file.write_all(b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        drop(file);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left behind");

        let mut file = PendingFile::create(&path, false).unwrap();
        file.write_all(b"new").unwrap();
        file.commit().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn no_clobber_refuses_early_and_late() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.csv");
        let file = PendingFile::create(&path, true).unwrap();
        std::fs::write(&path, "appeared meanwhile").unwrap();
        assert_eq!(file.commit().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(PendingFile::create(&path, true).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"appeared meanwhile");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        std::fs::write(&real, "old").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let mut file = PendingFile::create(&link, false).unwrap();
        file.write_all(b"new").unwrap();
        file.commit().unwrap();
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(std::fs::read(&real).unwrap(), b"new");
    }
}
