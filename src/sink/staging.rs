//! A folder whose files appear together: written in a hidden folder inside it, and renamed when all of them are whole.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::object::{ObjectLocation, ObjectPrefix};
use super::partial;
use super::target::{Reread, Target};

/// Files in the making for one folder. Dropped before [`Staging::end`], it leaves nothing of them behind.
#[derive(Debug)]
pub struct Staging {
    home: StagingHome,
    /// The hidden folder, inside the other, or for a store in that of the system's temporary files.
    hidden: PathBuf,
    /// Held for its lock, by which others know that the writer lives.
    _lock: File,
}

/// Where the files will stand.
#[derive(Debug)]
enum StagingHome {
    Folder {
        path: PathBuf,
        /// It was not there before.
        made: bool,
    },
    Store(ObjectPrefix),
}

/// What stands in a folder that is being filled, for one who comes after a kill.
const JOURNAL: &str = ".drawoff-journal.json";

impl Staging {
    /// Begins to fill `folder`, which is made if it is not there; its parent must be. Takes away what dead writers left.
    pub fn create(folder: &Path) -> io::Result<Self> {
        let made = match std::fs::create_dir(folder) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(error),
        };
        let (hidden, lock) = partial::create_directory(folder)?;
        Ok(Staging { home: StagingHome::Folder { path: folder.to_owned(), made }, hidden, _lock: lock })
    }

    /// Begins to fill a folder of a store. Its files are made in the file system, and uploaded when they are published.
    pub fn in_store(place: &ObjectLocation) -> io::Result<Self> {
        let store = ObjectPrefix::open(place)?;
        let (hidden, lock) = partial::create_directory(&std::env::temp_dir())?;
        Ok(Staging { home: StagingHome::Store(store), hidden, _lock: lock })
    }

    /// A new file, empty.
    pub fn part(&self, number: usize) -> PartFile {
        PartFile { path: self.hidden.join(format!("{number}.partial")), file: None, written: 0 }
    }

    /// Gives a part its name below the folder. What stands there is replaced.
    pub fn publish(&self, part: &Path, name: &Path) -> io::Result<()> {
        match &self.home {
            StagingHome::Folder { path, .. } => {
                let to = path.join(name);
                if let Some(parent) = to.parent() {
                    std::fs::create_dir_all(parent)?;
                }
                std::fs::rename(part, to)
            }
            StagingHome::Store(store) => store.upload(part, object_name(name)?),
        }
    }

    /// True if something stands at `name` below the folder.
    pub fn exists(&self, name: &Path) -> io::Result<bool> {
        match &self.home {
            StagingHome::Folder { path, .. } => Ok(path.join(name).exists()),
            StagingHome::Store(store) => store.exists(object_name(name)?),
        }
    }

    /// The text of a small file below the folder, if there is one.
    pub fn read(&self, name: &str) -> io::Result<Option<String>> {
        match &self.home {
            StagingHome::Folder { path, .. } => match std::fs::read_to_string(path.join(name)) {
                Ok(text) => Ok(Some(text)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            },
            StagingHome::Store(store) => store.read(name),
        }
    }

    /// Removes a file below the folder, and the folders that it leaves empty. One that is not there is no error.
    pub fn remove(&self, name: &Path) -> io::Result<()> {
        let folder = match &self.home {
            StagingHome::Folder { path, .. } => path,
            StagingHome::Store(store) => return store.remove(object_name(name)?),
        };
        match std::fs::remove_file(folder.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        for parent in name.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
            if std::fs::remove_dir(folder.join(parent)).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Writes a small file below the folder, whole or not at all.
    pub fn write_whole(&self, name: &str, contents: &[u8]) -> io::Result<()> {
        if let StagingHome::Store(store) = &self.home {
            return store.put(name, contents);
        }
        let hidden = self.hidden.join(name);
        let mut file = File::create(&hidden)?;
        file.write_all(contents)?;
        file.sync_all()?;
        self.publish(&hidden, Path::new(name))
    }

    /// Names, as JSON, of what is about to be published: should this be the end, the next writer knows them.
    pub fn write_journal(&self, names: &[u8]) -> io::Result<()> {
        self.write_whole(JOURNAL, names)
    }

    /// The journal of a writer that did not come to its end.
    pub fn read_journal(&self) -> io::Result<Option<String>> {
        self.read(JOURNAL)
    }

    /// All is published: removes the journal.
    pub fn remove_journal(&self) -> io::Result<()> {
        self.remove(Path::new(JOURNAL))
    }

    /// Makes renames durable, of `folders` below the folder and its own.
    pub fn sync_directories(&self, folders: impl Iterator<Item = PathBuf>) {
        let StagingHome::Folder { path, .. } = &self.home else { return };
        // Some file systems cannot sync a folder; the renames themselves have happened.
        for folder in folders.map(|folder| path.join(folder)).chain([path.clone()]) {
            if let Ok(folder) = File::open(folder) {
                let _ = folder.sync_all();
            }
        }
    }

    /// Ends the filling.
    pub fn end(mut self) {
        if let StagingHome::Folder { made, .. } = &mut self.home {
            *made = false;
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.hidden);
        if let StagingHome::Folder { path, made: true } = &self.home {
            // Only an empty one goes.
            let _ = std::fs::remove_dir(path);
        }
    }
}

/// A path below a folder as a part of an object's name.
fn object_name(name: &Path) -> io::Result<&str> {
    name.to_str().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the name of an object is text"))
}

/// A file in a [`Staging`]. It can be closed between writes, so that there may be more of them than handles.
#[derive(Debug)]
pub struct PartFile {
    path: PathBuf,
    file: Option<File>,
    written: u64,
}

impl PartFile {
    /// Where it stands until it is published.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Closes the file until the next write.
    pub fn park(&mut self) {
        self.file = None;
    }

    /// Opens it for reading.
    pub fn reread(&self) -> io::Result<File> {
        File::open(&self.path)
    }

    /// Takes it away.
    pub fn remove(self) {
        // What stays goes with the folder that it is in.
        let _ = std::fs::remove_file(&self.path);
    }

    /// Another empty file in its place.
    pub fn replacement(&self) -> Self {
        PartFile { path: self.path.with_extension("again"), file: None, written: 0 }
    }

    /// Makes its bytes durable and closes it.
    pub fn sync(&mut self) -> io::Result<()> {
        self.open()?.sync_all()?;
        self.park();
        Ok(())
    }

    fn open(&mut self) -> io::Result<&mut File> {
        match &mut self.file {
            Some(file) => Ok(file),
            none => {
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

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn files_appear_when_they_are_published_and_not_before() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("out");
        let staging = Staging::create(&folder).unwrap();
        let (mut a, mut b) = (staging.part(0), staging.part(1));
        for _ in 0..3 {
            a.write_all(b"a").unwrap();
            a.park();
            b.write_all(b"b").unwrap();
        }
        assert!(names(&folder).iter().all(|name| name.starts_with('.')), "{:?}", names(&folder));
        a.sync().unwrap();
        staging.publish(a.path(), Path::new("x=1/a")).unwrap();
        staging.write_whole("done", b"yes").unwrap();
        staging.end();
        assert_eq!(names(&folder), ["done", "x=1"], "what was not published is gone");
        assert_eq!(std::fs::read(folder.join("x=1/a")).unwrap(), b"aaa");
    }

    #[test]
    fn what_dead_writers_left_is_taken_away() {
        let place = tempfile::tempdir().unwrap();
        // No process has this number.
        let dead = place.path().join(".parts.4194305-x7Yz.partial");
        std::fs::create_dir(&dead).unwrap();
        std::fs::write(dead.join("lock"), "").unwrap();
        std::fs::write(dead.join("0.partial"), "half").unwrap();
        let foreign = place.path().join(".parts.mine");
        std::fs::create_dir(&foreign).unwrap();
        let living = Staging::create(place.path()).unwrap();
        let other = Staging::create(place.path()).unwrap();
        assert!(!dead.exists() && foreign.exists());
        assert!(living.hidden.exists() && other.hidden.exists() && living.hidden != other.hidden);
    }

    #[test]
    fn a_folder_that_was_not_filled_is_gone() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("out");
        let staging = Staging::create(&folder).unwrap();
        staging.part(0).write_all(b"half").unwrap();
        drop(staging);
        assert!(!folder.exists());
        std::fs::create_dir(&folder).unwrap();
        drop(Staging::create(&folder).unwrap());
        assert_eq!(names(&folder), [""; 0], "one that was there stays");
    }

    #[test]
    fn removing_takes_empty_folders_along() {
        let place = tempfile::tempdir().unwrap();
        let staging = Staging::create(place.path()).unwrap();
        for name in ["a=1/b=1/x", "a=1/b=2/x"] {
            let mut part = staging.part(0);
            part.write_all(b"x").unwrap();
            staging.publish(part.path(), Path::new(name)).unwrap();
        }
        staging.remove(Path::new("a=1/b=1/x")).unwrap();
        assert_eq!(names(&place.path().join("a=1")), ["b=2"]);
        staging.remove(Path::new("a=1/b=2/x")).unwrap();
        staging.remove(Path::new("a=1/b=2/x")).unwrap();
        assert!(!place.path().join("a=1").exists());
    }
}
