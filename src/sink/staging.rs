//! Output directories: their files are written in a hidden directory inside, and published by rename when all of them
//! are complete. In a store the hidden directory is a local temporary one, and files are published by upload.

use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::io::{self, Read as _, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;

use super::attributes;
use super::forced_end;
use super::kind::{FileTarget, TargetKind, check_can_create_file};
use super::lock::{NameLock, OnWait};
use super::object::ObjectPrefix;
use super::object_location::ObjectLocation;
use super::partial;
use super::sync_all::sync_all;
use super::target::{Reread, Target};

/// The unpublished files of one output directory. Dropping it removes them, and the directory itself if it was created
/// here, is empty, and [`Staging::end`] was not called.
#[derive(Debug)]
pub struct Staging {
    destination: Destination,
    /// The hidden directory: inside the output directory, or for a store in the system's temporary directory.
    hidden: PathBuf,
    /// Keeps the hidden directory locked, which shows other processes that its writer is alive.
    _hidden_lock: File,
    /// Held while files are published. See [`Staging::lock`].
    lock: Option<NameLock>,
}

/// The destination of the published files.
#[derive(Debug)]
enum Destination {
    Directory {
        path: PathBuf,
        /// True if this process created it, and may remove it again.
        created: bool,
    },
    Store(ObjectPrefix),
}

/// Name of the journal, from which the next writer learns the names that an interrupted one was publishing.
const JOURNAL: &str = ".drawoff-journal.json";

/// Attempts to create the directory while other processes remove it. By eye: more than as many processes need.
const MAX_CREATIONS: usize = 100;

/// Prefix of the file in a hidden directory that names its attempt.
const ATTEMPT: &str = "attempt.";

/// Name of the file that is locked while files are published.
const LOCK: &str = ".drawoff-lock";

impl Staging {
    /// Starts an output directory at `directory`, created if it does not exist; its parent must exist. Removes the
    /// hidden directories of ended processes.
    pub fn create(directory: &Path) -> io::Result<Self> {
        // Where a link without a directory leads.
        let directory = match TargetKind::of(directory)? {
            TargetKind::File(FileTarget { path, existing: None }) => path,
            _ => directory.to_owned(),
        };
        let mut attempts = 0..MAX_CREATIONS;
        loop {
            let created = match std::fs::create_dir(&directory) {
                Ok(()) => true,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
                Err(error) => return Err(error),
            };
            // Inside the output directory, so that publishing is a rename within one file system.
            match partial::create_directory(&directory) {
                Ok((hidden, lock)) => {
                    if created {
                        forced_end::record_created(directory.clone());
                    }
                    let destination = Destination::Directory { path: directory, created };
                    return Ok(Staging { destination, hidden, _hidden_lock: lock, lock: None });
                }
                // The process that created it ended without output, and removed it again.
                Err(error) if error.kind() == io::ErrorKind::NotFound && !created && attempts.next().is_some() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Starts an output directory in a store. Sends no request.
    pub fn in_store(location: &ObjectLocation) -> io::Result<Self> {
        let store = ObjectPrefix::open(location)?;
        let (hidden, lock) = partial::create_directory(&std::env::temp_dir())?;
        Ok(Staging { destination: Destination::Store(store), hidden, _hidden_lock: lock, lock: None })
    }

    /// Waits until no other command publishes into the directory, and keeps others out until this staging is ended or
    /// dropped. Called before the manifest and the journal are read: the writer of a journal that is found under the lock
    /// has ended. Stores have no locks, nor have some network file systems; there a directory must be written by one
    /// command at a time.
    pub fn lock(&mut self, on_wait: OnWait<'_>) -> io::Result<()> {
        if let Destination::Directory { path, .. } = &self.destination {
            self.lock = Some(NameLock::wait(path.join(LOCK), path, on_wait)?);
        }
        Ok(())
    }

    /// Returns true if no other command publishes into the directory; false without [`Staging::lock`], in stores, and on file
    /// systems without locks.
    pub fn is_locked(&self) -> bool {
        self.lock.as_ref().is_some_and(NameLock::is_held)
    }

    /// Returns true for a directory of the file system, false for one in a store.
    pub fn is_local(&self) -> bool {
        matches!(self.destination, Destination::Directory { .. })
    }

    /// Marks the unpublished files as those of the attempt with this id, for [`running_attempts`].
    pub fn name_attempt(&self, attempt: &str) -> io::Result<()> {
        File::create(self.hidden.join(format!("{ATTEMPT}{attempt}"))).map(drop)
    }

    /// Returns a new empty file, created with its first write. `number` must be unique within the directory.
    pub fn part(&self, number: usize) -> PartFile {
        PartFile { path: self.hidden.join(format!("{number}.partial")), file: None, written: 0 }
    }

    /// Moves or uploads a finished file to `name` in the output directory. An existing file is replaced, and its attributes
    /// are kept.
    pub fn publish(&self, part: &Path, name: &Path) -> io::Result<()> {
        match &self.destination {
            Destination::Directory { path, .. } => {
                let to = path.join(name);
                // Partitions are subdirectories, created with their first file.
                if let Some(parent) = to.parent() {
                    std::fs::create_dir_all(parent)?;
                }
                // The hidden directory is private, so that the part may have had any mode there.
                if let Some(old) = std::fs::symlink_metadata(&to).ok().filter(Metadata::is_file) {
                    let part = File::open(part)?;
                    let mode = attributes::take_over(&to, &old, &part);
                    attributes::set_mode(&part, mode);
                }
                std::fs::rename(part, to)
            }
            Destination::Store(store) => store.upload(part, object_name(name)?),
        }
    }

    /// Returns true if `name` exists in the output directory.
    pub fn exists(&self, name: &Path) -> io::Result<bool> {
        match &self.destination {
            // A link without a file is there, too.
            Destination::Directory { path, .. } => Ok(path.join(name).symlink_metadata().is_ok()),
            Destination::Store(store) => store.exists(object_name(name)?),
        }
    }

    /// Reads the text of a small file of the output directory; `None` if it does not exist.
    pub fn read(&self, name: &str) -> io::Result<Option<String>> {
        match &self.destination {
            Destination::Directory { path, .. } => match self.open(Path::new(name))? {
                Some(mut file) => {
                    let mut text = String::new();
                    file.read_to_string(&mut text).map_err(|cause| in_file(&path.join(name), cause))?;
                    Ok(Some(text))
                }
                None => Ok(None),
            },
            Destination::Store(store) => store.read(name),
        }
    }

    /// Opens a file of a directory of the file system for reading; `None` if it does not exist, and in a store. Fails if it
    /// is not a regular file: opening a pipe would block.
    pub fn open(&self, name: &Path) -> io::Result<Option<File>> {
        let Destination::Directory { path, .. } = &self.destination else { return Ok(None) };
        let path = path.join(name);
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => File::open(&path).map(Some),
            Ok(_) => Err(in_file(&path, io::Error::new(io::ErrorKind::InvalidInput, "is not a regular file"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Fails if [`Staging::remove`] would not remove a file of this name.
    pub fn check_removable(&self, name: &Path) -> io::Result<()> {
        let Destination::Directory { path, .. } = &self.destination else { return Ok(()) };
        open_parents(path, name).map(drop).map_err(|cause| in_file(&path.join(name), cause))
    }

    /// Removes a file of the output directory, and the subdirectories that become empty. Succeeds if it does not exist.
    pub fn remove(&self, name: &Path) -> io::Result<()> {
        let directory = match &self.destination {
            Destination::Directory { path, .. } => path,
            Destination::Store(store) => return store.remove(object_name(name)?),
        };
        remove_below(directory, name).map_err(|cause| in_file(&directory.join(name), cause))
    }

    /// Writes a small file of the output directory atomically.
    pub fn write_whole(&self, name: &str, contents: &[u8]) -> io::Result<()> {
        if let Destination::Store(store) = &self.destination {
            return store.put(name, contents);
        }
        let hidden = self.hidden.join(name);
        let mut file = File::create(&hidden)?;
        file.write_all(contents)?;
        file.sync_all()?;
        self.publish(&hidden, Path::new(name))
    }

    /// Writes the journal: the names, as JSON, of the files that are about to be published. If the process is killed,
    /// the next writer can remove them.
    pub fn write_journal(&self, names: &[u8]) -> io::Result<()> {
        self.write_whole(JOURNAL, names)
    }

    /// Reads the journal that an interrupted writer left; `None` if there is none.
    pub fn read_journal(&self) -> io::Result<Option<String>> {
        self.read(JOURNAL)
    }

    /// Removes the journal, after all files were published.
    pub fn remove_journal(&self) -> io::Result<()> {
        self.remove(Path::new(JOURNAL))
    }

    /// Makes the renames durable, in the subdirectories `directories` and in the output directory itself.
    pub fn sync_directories(&self, directories: impl Iterator<Item = PathBuf>) {
        let Destination::Directory { path, .. } = &self.destination else { return };
        // Some file systems cannot sync a directory. The renames are done in any case.
        let mut directories: Vec<PathBuf> = directories.map(|directory| path.join(directory)).collect();
        directories.push(path.clone());
        let synced: Result<(), std::convert::Infallible> = sync_all(&mut directories, |directory| {
            if let Ok(directory) = File::open(directory) {
                let _ = directory.sync_all();
            }
            Ok(())
        });
        let Ok(()) = synced;
    }

    /// Ends a successful output: keeps the output directory, and removes the hidden one with all unpublished files.
    pub fn end(mut self) {
        if let Destination::Directory { created, .. } = &mut self.destination {
            *created = false;
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // First, because its file is in the directory.
        self.lock = None;
        let _ = std::fs::remove_dir_all(&self.hidden);
        if let Destination::Directory { path, created: true } = &self.destination {
            // Fails if the directory is not empty, as it should.
            let _ = std::fs::remove_dir(path);
        }
    }
}

/// Opens `directory` and the directories of the file `name` below it; `None` if one does not exist. The names of manifests
/// and journals are input, so symbolic links on the way are not followed: they may lead anywhere.
fn open_parents(directory: &Path, name: &Path) -> io::Result<Option<Vec<OwnedFd>>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut parents = vec![openat(CWD, directory, flags, Mode::empty())?];
    for component in name.parent().into_iter().flat_map(Path::components) {
        let parent = parents.last().expect("the directory itself is the first");
        match openat(parent, component.as_os_str(), flags | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(opened) => parents.push(opened),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP | Errno::NOTDIR) => {
                return Err(io::Error::other("it is listed as a result, but is behind a symbolic link or a file"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Some(parents))
}

/// Removes the file `name` below `directory`, and then the subdirectories that are empty. Succeeds if it does not exist.
fn remove_below(directory: &Path, name: &Path) -> io::Result<()> {
    let Some(file) = name.file_name() else { return Err(io::ErrorKind::InvalidInput.into()) };
    let Some(parents) = open_parents(directory, name)? else { return Ok(()) };
    match parents.last().map(|parent| unlinkat(parent, file, AtFlags::empty())) {
        Some(Err(error)) if error != Errno::NOENT => return Err(error.into()),
        _ => {}
    }
    // Upwards to the output directory itself, which stays; the first that is not empty ends it.
    let components: Vec<_> = name.parent().into_iter().flat_map(Path::components).collect();
    for (parent, component) in parents.iter().zip(&components).rev() {
        if unlinkat(parent, component.as_os_str(), AtFlags::REMOVEDIR).is_err() {
            break;
        }
    }
    Ok(())
}

/// Returns the ids of the attempts that write into `directory`: their processes have locked their hidden directories, or are
/// those of this machine on a file system without locks. A directory that does not exist has none.
pub fn running_attempts(directory: &Path) -> io::Result<BTreeSet<String>> {
    let mut attempts = BTreeSet::new();
    for hidden in partial::running_directories(directory)? {
        for entry in std::fs::read_dir(hidden).into_iter().flatten().flatten() {
            attempts.extend(entry.file_name().to_str().and_then(|name| name.strip_prefix(ATTEMPT)).map(str::to_owned));
        }
    }
    Ok(attempts)
}

/// Removes the hidden directories in `directory` whose processes have ended, and returns their number.
pub fn remove_ended(directory: &Path) -> io::Result<u64> {
    partial::remove_stale_directories(directory)
}

/// Fails if a file cannot be given one of `names` in `directory`, or the file of that name not be replaced or removed.
/// Changes nothing.
pub fn check_changeable<'a>(directory: &Path, names: impl Iterator<Item = &'a Path>) -> io::Result<()> {
    let mut parents = BTreeSet::new();
    for name in names {
        let path = directory.join(name);
        match std::fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => {
                return Err(in_file(&path, io::Error::new(io::ErrorKind::IsADirectory, "it is a directory")));
            }
            Ok(found) if found.is_file() => {
                let file = FileTarget { path: path.clone(), existing: Some(found) };
                file.check_replaceable().map_err(|cause| in_file(&path, cause))?;
            }
            _ => {}
        }
        // Subdirectories that do not exist are created.
        parents.extend(path.ancestors().skip(1).find(|parent| parent.exists()).map(Path::to_owned));
    }
    parents.iter().try_for_each(|parent| check_can_create_file(parent).map_err(|cause| in_file(parent, cause)))
}

/// Adds the path of a file within the output directory to its error.
fn in_file(path: &Path, cause: io::Error) -> io::Error {
    io::Error::new(cause.kind(), format!("{}: {cause}", path.display()))
}

/// Returns a path within a directory as part of an object name. Fails if it is not valid UTF-8.
fn object_name(name: &Path) -> io::Result<&str> {
    name.to_str().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the object name is not valid UTF-8"))
}

/// An unpublished file of a [`Staging`]. It can be closed between writes, so that there may be more files than the
/// system allows open handles.
#[derive(Debug)]
pub struct PartFile {
    path: PathBuf,
    file: Option<File>,
    written: u64,
}

impl PartFile {
    /// Returns the path of the file until it is published.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Closes the handle; the next write opens the file again and appends.
    pub fn park(&mut self) {
        self.file = None;
    }

    /// Opens the file for reading.
    pub fn reread(&self) -> io::Result<File> {
        File::open(&self.path)
    }

    /// Removes the file. An error is ignored.
    pub fn remove(self) {
        // A file that stays is removed with the hidden directory.
        let _ = std::fs::remove_file(&self.path);
    }

    /// Returns another empty file, to be written in place of this one.
    pub fn replacement(&self) -> Self {
        PartFile { path: self.path.with_extension("again"), file: None, written: 0 }
    }

    /// Cuts the file to its first `bytes` bytes; the next write goes on there.
    pub(super) fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        self.park();
        File::options().write(true).open(&self.path)?.set_len(bytes)?;
        self.written = bytes;
        Ok(())
    }

    /// Makes the bytes durable and closes the file.
    pub fn sync(&mut self) -> io::Result<()> {
        self.open()?.sync_all()?;
        self.park();
        Ok(())
    }

    /// Returns the open handle, opened for appending if the file was parked.
    fn open(&mut self) -> io::Result<&mut File> {
        match &mut self.file {
            Some(file) => Ok(file),
            none => {
                // Truncate at the first write, in case a file of that name is left from before.
                let file = if self.written == 0 {
                    File::create(&self.path)?
                } else {
                    File::options().append(true).open(&self.path)?
                };
                Ok(none.insert(file))
            }
        }
    }
}

impl Target for PartFile {
    fn can_go_back(&self) -> bool {
        true
    }

    fn reread(&self) -> io::Result<Option<File>> {
        PartFile::reread(self).map(Some)
    }

    fn rereader(&self) -> io::Result<Option<Reread>> {
        let path = self.path.clone();
        Ok(Some(Box::new(move || File::open(path))))
    }

    fn park(&mut self) {
        PartFile::park(self);
    }

    fn sync(&mut self) -> io::Result<()> {
        PartFile::sync(self)
    }
}

impl Write for PartFile {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.open()?.write(buf)?;
        self.written += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn files_appear_when_they_are_published_and_not_before() {
        let location = tempfile::tempdir().unwrap();
        let directory = location.path().join("out");
        let staging = Staging::create(&directory).unwrap();
        let (mut a, mut b) = (staging.part(0), staging.part(1));
        for _ in 0..3 {
            a.write_all(b"a").unwrap();
            a.park();
            b.write_all(b"b").unwrap();
        }
        assert!(names(&directory).iter().all(|name| name.starts_with('.')), "{:?}", names(&directory));
        a.sync().unwrap();
        staging.publish(a.path(), Path::new("x=1/a")).unwrap();
        staging.write_whole("done", b"yes").unwrap();
        staging.end();
        assert_eq!(names(&directory), ["done", "x=1"], "what was not published is gone");
        assert_eq!(std::fs::read(directory.join("x=1/a")).unwrap(), b"aaa");
    }

    #[test]
    fn hidden_directories_of_ended_processes_are_removed() {
        let location = tempfile::tempdir().unwrap();
        // No process has this number.
        let dead = location.path().join(".parts.4194305-x7Yz.partial");
        std::fs::create_dir(&dead).unwrap();
        std::fs::write(dead.join("lock"), "").unwrap();
        std::fs::write(dead.join("0.partial"), "half").unwrap();
        let foreign = location.path().join(".parts.mine");
        std::fs::create_dir(&foreign).unwrap();
        let living = Staging::create(location.path()).unwrap();
        let other = Staging::create(location.path()).unwrap();
        assert!(!dead.exists() && foreign.exists());
        assert!(living.hidden.exists() && other.hidden.exists() && living.hidden != other.hidden);
    }

    #[test]
    fn a_directory_without_output_is_removed() {
        let location = tempfile::tempdir().unwrap();
        let directory = location.path().join("out");
        let staging = Staging::create(&directory).unwrap();
        staging.part(0).write_all(b"half").unwrap();
        drop(staging);
        assert!(!directory.exists());
        std::fs::create_dir(&directory).unwrap();
        drop(Staging::create(&directory).unwrap());
        assert_eq!(names(&directory), [""; 0], "one that was there stays");
    }

    #[test]
    fn nothing_is_removed_behind_a_link() {
        let location = tempfile::tempdir().unwrap();
        let at = |name: &str| location.path().join(name);
        std::fs::create_dir_all(at("out/sub")).unwrap();
        std::fs::create_dir(at("foreign")).unwrap();
        std::fs::write(at("foreign/v3"), "precious").unwrap();
        std::os::unix::fs::symlink("../foreign", at("out/lnk")).unwrap();
        std::os::unix::fs::symlink("../../foreign/v3", at("out/sub/v3")).unwrap();
        let staging = Staging::create(&at("out")).unwrap();
        assert!(staging.remove(Path::new("lnk/v3")).unwrap_err().to_string().contains("symbolic link"));
        staging.remove(Path::new("sub/v3")).unwrap();
        staging.remove(Path::new("no/v3")).unwrap();
        assert_eq!(std::fs::read(at("foreign/v3")).unwrap(), b"precious");
        assert!(!at("out/sub").exists());
    }

    #[test]
    fn a_link_without_a_directory_creates_it() {
        let location = tempfile::tempdir().unwrap();
        let link = location.path().join("link");
        std::os::unix::fs::symlink("real", &link).unwrap();
        let staging = Staging::create(&link).unwrap();
        staging.write_whole("done", b"yes").unwrap();
        staging.end();
        assert_eq!(names(&location.path().join("real")), ["done"]);
        std::os::unix::fs::symlink("no/real", location.path().join("lost")).unwrap();
        let lost = Staging::create(&location.path().join("lost"));
        assert_eq!(lost.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn one_staging_at_a_time_is_locked() {
        let location = tempfile::tempdir().unwrap();
        let directory = location.path().join("out");
        let mut a = Staging::create(&directory).unwrap();
        let mut b = Staging::create(&directory).unwrap();
        a.lock(&|_| Ok(())).unwrap();
        let refuse: OnWait<'_> = &|name| {
            assert_eq!(name, directory);
            Err(io::ErrorKind::Interrupted.into())
        };
        assert_eq!(b.lock(refuse).unwrap_err().kind(), io::ErrorKind::Interrupted);
        drop(a);
        b.lock(refuse).unwrap();
        b.end();
        assert_eq!(names(&directory), [""; 0], "no lock is left");
    }

    #[test]
    fn removing_a_file_removes_empty_directories() {
        let location = tempfile::tempdir().unwrap();
        let staging = Staging::create(location.path()).unwrap();
        for name in ["a=1/b=1/x", "a=1/b=2/x"] {
            let mut part = staging.part(0);
            part.write_all(b"x").unwrap();
            staging.publish(part.path(), Path::new(name)).unwrap();
        }
        staging.remove(Path::new("a=1/b=1/x")).unwrap();
        assert_eq!(names(&location.path().join("a=1")), ["b=2"]);
        staging.remove(Path::new("a=1/b=2/x")).unwrap();
        staging.remove(Path::new("a=1/b=2/x")).unwrap();
        assert!(!location.path().join("a=1").exists());
    }
}
