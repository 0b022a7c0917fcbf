//! Atomic files: written under a temporary name in the same directory, synced, and renamed when they are complete.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use tempfile::NamedTempFile;

use super::attributes;
use super::flush::Flusher;
use super::forced_end;
use super::kind::{FileTarget, TargetKind, identity};
use super::lock::{NameLock, OnWait};
use super::partial::{self, directory_of};
use super::target::{Reread, Target};

/// A file under a temporary name in the directory of its final one. Removed when dropped without
/// [`PendingFile::commit`].
#[derive(Debug)]
pub struct PendingFile {
    temp: NamedTempFile,
    flusher: Flusher,
    target: FileTarget,
    /// Mode of the file that is replaced; `None` for a new file, which has its mode already.
    mode: Option<u32>,
    no_clobber: bool,
    /// The file that rows are appended to; `None` if it is replaced.
    appended: Option<AppendedFile>,
    /// True if all written bytes are durable.
    synced: bool,
}

/// The file that rows are appended to, as it was copied.
#[derive(Debug)]
struct AppendedFile {
    /// `None` if there was no file.
    copied: Option<FileState>,
    /// Held from before the copy until after the rename, so that no other command appends rows in between.
    _lock: NameLock,
}

/// The identity and the contents of a file, as far as they can be compared without reading them.
#[derive(Debug, PartialEq, Eq)]
struct FileState {
    identity: (u64, u64),
    len: u64,
    modified: (i64, i64),
}

impl From<&Metadata> for FileState {
    fn from(metadata: &Metadata) -> Self {
        FileState {
            identity: identity(metadata),
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// The error of a file that another program changed while rows were appended to a copy of it.
#[derive(Debug, thiserror::Error)]
#[error("another program changed the file while rows were being appended to a copy of it; the file was not replaced")]
pub struct ChangedMeanwhile;

fn changed_meanwhile() -> io::Error {
    io::Error::other(ChangedMeanwhile)
}

impl PendingFile {
    /// Creates the temporary file for `target`, with the attributes of the file that it replaces. With `no_clobber` an
    /// existing file is an error, here and at the commit.
    pub fn create(target: FileTarget, no_clobber: bool) -> io::Result<Self> {
        if no_clobber && target.existing.is_some() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "already exists"));
        }
        target.check_replaceable()?;
        let temp = partial::create(&target.path, target.existing.is_some())?;
        let mode = target.existing.as_ref().map(|old| attributes::take_over(&target.path, old, temp.as_file()));
        Ok(PendingFile { temp, flusher: Flusher::default(), target, mode, no_clobber, appended: None, synced: false })
    }

    /// Creates the temporary file for `target`, which its owner alone can read, whatever the mode of a file that is there.
    pub fn create_private(target: FileTarget) -> io::Result<Self> {
        let mut pending = Self::create(target, false)?;
        // It has no contents yet.
        attributes::set_mode(pending.temp.as_file(), attributes::PRIVATE_MODE);
        pending.mode = pending.mode.map(|_| attributes::PRIVATE_MODE);
        Ok(pending)
    }

    /// Creates the temporary file for `target`, with a copy of the file that is there. A last line without a line feed
    /// gets one. Waits while another command appends rows to the same file.
    pub fn append(target: FileTarget, on_wait: OnWait<'_>) -> io::Result<Self> {
        let lock = NameLock::wait(partial::lock_path(&target.path)?, &target.path, on_wait)?;
        // The command that was waited for may have made the file or replaced it.
        let TargetKind::File(target) = TargetKind::of(&target.path)? else { return Err(changed_meanwhile()) };
        let mut pending = Self::create(target, false)?;
        let copied = match &pending.target.existing {
            Some(_) => Some(pending.copy_existing()?),
            None => None,
        };
        pending.appended = Some(AppendedFile { copied, _lock: lock });
        Ok(pending)
    }

    /// Copies the file that is there, and returns its state.
    fn copy_existing(&mut self) -> io::Result<FileState> {
        let mut existing = File::open(&self.target.path)?;
        let state = FileState::from(&existing.metadata()?);
        let bytes = io::copy(&mut existing, self.temp.as_file_mut())?;
        // A copy of a file that is being written holds a part of a row, or of none of the file's states.
        if bytes != state.len || FileState::from(&existing.metadata()?) != state {
            return Err(changed_meanwhile());
        }
        if bytes > 0 {
            let mut last = [0];
            existing.seek(SeekFrom::End(-1))?;
            existing.read_exact(&mut last)?;
            // Without this the first appended row would continue the last line.
            if last != *b"\n" {
                self.write_all(b"\n")?;
            }
        }
        Ok(state)
    }

    /// Creates another empty temporary file for the same path. This one is removed when it is dropped.
    pub fn replacement(&self) -> io::Result<Self> {
        if self.appended.is_some() {
            return Err(io::Error::other("a file that rows are appended to cannot be written again"));
        }
        let target = FileTarget { path: self.target.path.clone(), existing: self.target.existing.clone() };
        Self::create(target, self.no_clobber)
    }

    /// Returns a note for the report on what the rename changes besides the contents; `None` for nothing.
    pub fn note(&self) -> Option<String> {
        self.target.note_on_links()
    }

    /// Makes the bytes durable, still under the temporary name. A full or failing disk is reported here, before any
    /// output appears, and so is a file at the final name that must not be replaced.
    pub fn sync(&mut self) -> io::Result<()> {
        if !self.synced {
            self.flusher.finish()?;
            self.temp.as_file().sync_all()?;
            self.synced = true;
        }
        self.check_unchanged()
    }

    /// Fails if a file appeared that must not be replaced, or if the file that rows are appended to is another than the
    /// one that was copied.
    fn check_unchanged(&self) -> io::Result<()> {
        let found = || match std::fs::metadata(&self.target.path) {
            Ok(metadata) => Ok(Some(FileState::from(&metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        match &self.appended {
            Some(appended) if appended.copied != found()? => Err(changed_meanwhile()),
            None if self.no_clobber && found()?.is_some() => {
                Err(io::Error::new(io::ErrorKind::AlreadyExists, "already exists"))
            }
            _ => Ok(()),
        }
    }

    /// Syncs the bytes, renames the file to its final name, and syncs the directory.
    pub fn commit(mut self) -> io::Result<()> {
        // The contents must be durable before the name: a crash after the rename could leave an empty file.
        self.sync()?;
        if let Some(mode) = self.mode {
            attributes::set_mode(self.temp.as_file(), mode);
        }
        let path = &self.target.path;
        let is_new = self.appended.as_ref().is_some_and(|appended| appended.copied.is_none());
        // `persist_noclobber` is atomic, so a file that appeared meanwhile is not replaced.
        let persisted = match self.no_clobber || is_new {
            true => self.temp.persist_noclobber(path),
            false => self.temp.persist(path),
        };
        match persisted {
            Ok(_) => {}
            Err(error) if is_new && error.error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(changed_meanwhile());
            }
            // Some file systems have no rename of that kind. No other command appends here, since the lock is held.
            Err(error) if is_new => drop(error.file.persist(path).map_err(|error| error.error)?),
            Err(error) => return Err(error.error),
        }
        forced_end::record_complete(path);
        // A killed process may still have held the lock on its partial file when this file was created.
        let _ = partial::remove_stale(path);
        // Some file systems cannot sync a directory. The rename is done in any case.
        if let Ok(directory) = File::open(directory_of(path)) {
            let _ = directory.sync_all();
        }
        Ok(())
    }
}

/// Removes the partial files of the output at `path` whose writers have ended, and returns their number. Files of living
/// processes stay. Streams and directories that do not exist have none.
pub fn remove_stale(path: &Path) -> io::Result<usize> {
    match TargetKind::of(path)? {
        TargetKind::File(file) => partial::remove_stale(&file.path),
        _ => Ok(0),
    }
}

impl Target for PendingFile {
    fn can_go_back(&self) -> bool {
        true
    }

    fn bytes_before(&self) -> u64 {
        self.appended.as_ref().and_then(|appended| appended.copied.as_ref()).map_or(0, |copied| copied.len)
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

#[cfg(test)]
mod tests {
    use super::*;

    const NO_WAIT: OnWait<'static> = &|_| Ok(());

    fn create(path: &Path, no_clobber: bool) -> io::Result<PendingFile> {
        PendingFile::create(target(path), no_clobber)
    }

    fn target(path: &Path) -> FileTarget {
        match TargetKind::of(path).unwrap() {
            TargetKind::File(file) => file,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.csv");
        std::fs::write(&path, "old").unwrap();

        let mut file = create(&path, false).unwrap();
        file.write_all(b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        drop(file);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left behind");

        let mut file = create(&path, false).unwrap();
        file.write_all(b"new").unwrap();
        file.commit().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn no_clobber_refuses_early_and_late() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.csv");
        let file = create(&path, true).unwrap();
        std::fs::write(&path, "appeared meanwhile").unwrap();
        assert_eq!(file.commit().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(create(&path, true).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"appeared meanwhile");
    }

    #[cfg(unix)]
    #[test]
    fn a_symbolic_link_is_kept_and_its_target_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let (real, link) = (directory.path().join("real"), directory.path().join("link"));
        std::fs::write(&real, "old").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let mut file = create(&link, false).unwrap();
        file.write_all(b"new").unwrap();
        file.commit().unwrap();
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(std::fs::read(&real).unwrap(), b"new");
    }

    #[test]
    fn a_link_without_a_file_is_kept_and_its_target_created() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("real", &link).unwrap();
        let mut file = create(&link, true).unwrap();
        file.write_all(b"new").unwrap();
        file.commit().unwrap();
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(std::fs::read(directory.path().join("real")).unwrap(), b"new");
    }

    #[test]
    fn appended_rows_never_replace_those_of_another_program() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        let append = || PendingFile::append(target(&path), NO_WAIT);
        let is_refused = |pending: PendingFile| {
            let error = pending.commit().unwrap_err();
            assert!(error.get_ref().is_some_and(|cause| cause.is::<ChangedMeanwhile>()), "{error}");
        };
        // Created by another program, changed in place, replaced, and removed.
        let mut pending = append().unwrap();
        pending.write_all(b"row\n").unwrap();
        std::fs::write(&path, "theirs\n").unwrap();
        is_refused(pending);
        assert_eq!(std::fs::read(&path).unwrap(), b"theirs\n");
        let pending = append().unwrap();
        assert_eq!(pending.bytes_before(), 7);
        File::options().append(true).open(&path).unwrap().write_all(b"more\n").unwrap();
        is_refused(pending);
        assert_eq!(std::fs::read(&path).unwrap(), b"theirs\nmore\n");
        let pending = append().unwrap();
        std::fs::rename(&path, directory.path().join("old")).unwrap();
        std::fs::copy(directory.path().join("old"), &path).unwrap();
        is_refused(pending);
        let pending = append().unwrap();
        std::fs::remove_file(&path).unwrap();
        is_refused(pending);
        let mut pending = append().unwrap();
        pending.write_all(b"row\n").unwrap();
        pending.commit().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"row\n");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2, "no lock and no partial file is left");
    }

    #[test]
    fn one_command_at_a_time_appends() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        std::thread::scope(|scope| {
            for i in 0..8 {
                let path = &path;
                scope.spawn(move || {
                    let mut pending = PendingFile::append(target(path), NO_WAIT).unwrap();
                    writeln!(pending, "{i}").unwrap();
                    pending.commit().unwrap();
                });
            }
        });
        let text = std::fs::read_to_string(&path).unwrap();
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["0", "1", "2", "3", "4", "5", "6", "7"]);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
