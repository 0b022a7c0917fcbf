//! Output directories: their files are written in a hidden directory inside, and published by rename when all of them
//! are complete. In a store the hidden directory is a local temporary one, and files are published by upload.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::object::{ObjectLocation, ObjectPrefix};
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
    _lock: File,
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

impl Staging {
    /// Starts an output directory at `directory`, created if it does not exist; its parent must exist. Removes the
    /// hidden directories of ended processes.
    pub fn create(directory: &Path) -> io::Result<Self> {
        let created = match std::fs::create_dir(directory) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(error),
        };
        // Inside the output directory, so that publishing is a rename within one file system.
        let (hidden, lock) = partial::create_directory(directory)?;
        Ok(Staging { destination: Destination::Directory { path: directory.to_owned(), created }, hidden, _lock: lock })
    }

    /// Starts an output directory in a store. Sends no request.
    pub fn in_store(location: &ObjectLocation) -> io::Result<Self> {
        let store = ObjectPrefix::open(location)?;
        let (hidden, lock) = partial::create_directory(&std::env::temp_dir())?;
        Ok(Staging { destination: Destination::Store(store), hidden, _lock: lock })
    }

    /// Returns a new empty file, created with its first write. `number` must be unique within the directory.
    pub fn part(&self, number: usize) -> PartFile {
        PartFile { path: self.hidden.join(format!("{number}.partial")), file: None, written: 0 }
    }

    /// Moves or uploads a finished file to `name` in the output directory. An existing file is replaced.
    pub fn publish(&self, part: &Path, name: &Path) -> io::Result<()> {
        match &self.destination {
            Destination::Directory { path, .. } => {
                let to = path.join(name);
                // Partitions are subdirectories, created with their first file.
                if let Some(parent) = to.parent() {
                    std::fs::create_dir_all(parent)?;
                }
                std::fs::rename(part, to)
            }
            Destination::Store(store) => store.upload(part, object_name(name)?),
        }
    }

    /// Returns true if `name` exists in the output directory.
    pub fn exists(&self, name: &Path) -> io::Result<bool> {
        match &self.destination {
            Destination::Directory { path, .. } => Ok(path.join(name).exists()),
            Destination::Store(store) => store.exists(object_name(name)?),
        }
    }

    /// Reads the text of a small file of the output directory; `None` if it does not exist.
    pub fn read(&self, name: &str) -> io::Result<Option<String>> {
        match &self.destination {
            Destination::Directory { path, .. } => match std::fs::read_to_string(path.join(name)) {
                Ok(text) => Ok(Some(text)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            },
            Destination::Store(store) => store.read(name),
        }
    }

    /// Removes a file of the output directory, and the subdirectories that become empty. Succeeds if it does not exist.
    pub fn remove(&self, name: &Path) -> io::Result<()> {
        let directory = match &self.destination {
            Destination::Directory { path, .. } => path,
            Destination::Store(store) => return store.remove(object_name(name)?),
        };
        match std::fs::remove_file(directory.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // Upwards to the output directory itself, which stays; the first that is not empty ends it.
        for parent in name.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
            if std::fs::remove_dir(directory.join(parent)).is_err() {
                break;
            }
        }
        Ok(())
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
        let _ = std::fs::remove_dir_all(&self.hidden);
        if let Destination::Directory { path, created: true } = &self.destination {
            // Fails if the directory is not empty, as it should.
            let _ = std::fs::remove_dir(path);
        }
    }
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
