//! A directory of files that several processes share, in a file system or in a store: read, listed, and written under the
//! condition that a file does not exist, by which one of several writers wins. Knows no format of the files.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::object::ObjectPrefix;
use super::object_location::ObjectLocation;
use super::put_new::PutNew;
use super::temporary::temporary_file;

/// A directory of files that processes on several machines share.
#[derive(Debug)]
pub enum DirectoryStorage {
    /// In a file system.
    Local(PathBuf),
    /// In a store.
    Store(Box<ObjectPrefix>),
}

/// A file of the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFile {
    /// Path relative to the directory, with slashes.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Time of the last change.
    pub modified: SystemTime,
}

impl DirectoryStorage {
    /// Opens the directory at `path`, or the one in a store, which need not exist. Sends no request.
    pub fn open(path: &Path, store: Option<&ObjectLocation>) -> io::Result<Self> {
        Ok(match store {
            Some(location) => DirectoryStorage::Store(Box::new(ObjectPrefix::open(location)?)),
            None => DirectoryStorage::Local(path.to_owned()),
        })
    }

    /// Reads a file; `None` if it does not exist.
    pub fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match self {
            DirectoryStorage::Local(path) => match fs::read(path.join(name)) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            },
            DirectoryStorage::Store(store) => Ok(store.read_bytes(name)?.map(|bytes| bytes.to_vec())),
        }
    }

    /// Opens a file that may be large, from a store by way of a temporary file; `None` if it does not exist.
    pub fn open_file(&self, name: &str) -> io::Result<Option<File>> {
        match self {
            DirectoryStorage::Local(path) => match File::open(path.join(name)) {
                Ok(file) => Ok(Some(file)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            },
            DirectoryStorage::Store(store) => {
                let Some(mut reader) = store.reader(name)? else { return Ok(None) };
                let mut file = temporary_file("drawoff-object")?;
                io::copy(&mut reader, &mut file)?;
                Ok(Some(file.into_file()))
            }
        }
    }

    /// Lists the files directly in `directory`, or with `deep` all below it, hidden ones included, in any order. With `after`,
    /// a relative name, a store is asked only for greater names. `directory` is empty for this directory itself.
    pub fn list(&self, directory: &str, after: Option<&str>, deep: bool) -> io::Result<Vec<StoredFile>> {
        match self {
            DirectoryStorage::Local(path) => {
                let mut found = Vec::new();
                list_local(path, directory, deep, &mut found)?;
                Ok(found)
            }
            DirectoryStorage::Store(store) => {
                let listed = store.list(directory, after)?.into_iter();
                let is_direct = |name: &str| {
                    let inside = name.strip_prefix(directory).unwrap_or(name).trim_start_matches('/');
                    deep || !inside.contains('/')
                };
                let listed = listed.filter(|(name, ..)| is_direct(name));
                Ok(listed.map(|(name, bytes, modified)| StoredFile { name, bytes, modified }).collect())
            }
        }
    }

    /// Writes a file that must not exist: whole, durable, and never over another one.
    pub fn put_new(&self, name: &str, contents: &[u8]) -> io::Result<PutNew> {
        match self {
            DirectoryStorage::Local(path) => put_new_local(&path.join(name), contents),
            DirectoryStorage::Store(store) => store.put_new(name, contents),
        }
    }

    /// Writes a file whose name no other attempt has: whole and durable.
    pub fn put(&self, name: &str, contents: &[u8]) -> io::Result<()> {
        match self {
            DirectoryStorage::Local(path) => put_new_local(&path.join(name), contents).map(drop),
            DirectoryStorage::Store(store) => store.put(name, contents),
        }
    }

    /// Removes a file. Succeeds if it does not exist.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        match self {
            DirectoryStorage::Local(path) => match fs::remove_file(path.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
            DirectoryStorage::Store(store) => store.remove(name),
        }
    }

    /// Returns true if a file exists.
    pub fn exists(&self, name: &str) -> io::Result<bool> {
        match self {
            DirectoryStorage::Local(path) => path.join(name).try_exists(),
            DirectoryStorage::Store(store) => store.exists(name),
        }
    }

    /// Fails if the store replaces an object that it was told not to replace: two commits at once would then be one, and
    /// the rows of the other lost. S3 itself has the condition since 2024, its imitators not all. `directory` is that of the
    /// commits, where a file `name`, which nothing reads, is written and removed.
    pub fn require_put_new(&self, directory: &str, attempt: &str) -> io::Result<()> {
        let DirectoryStorage::Store(store) = self else { return Ok(()) };
        if !store.is_s3() {
            return Ok(());
        }
        let name = format!("{directory}/.drawoff-check-{attempt}.tmp");
        let second = store.put_new(&name, b"1").and_then(|_| store.put_new(&name, b"2"));
        let _ = store.remove(&name);
        match second? {
            PutNew::Exists => Ok(()),
            PutNew::Unclear(error) => Err(error),
            PutNew::Written => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the store replaces an object that must not be replaced: it does not know `If-None-Match: *`, so that two \
                 loads at once could lose rows",
            )),
        }
    }
}

fn list_local(root: &Path, directory: &str, deep: bool, found: &mut Vec<StoredFile>) -> io::Result<()> {
    let entries = match fs::read_dir(root.join(directory)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        // drawoff writes no name that is not UTF-8.
        let Ok(name) = entry.file_name().into_string() else { continue };
        let name = if directory.is_empty() { name } else { format!("{directory}/{name}") };
        let metadata = match entry.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            metadata => metadata?,
        };
        // Links are not followed: they may lead out of the directory.
        if metadata.is_dir() && deep {
            list_local(root, &name, deep, found)?;
        } else if metadata.is_file() {
            found.push(StoredFile { name, bytes: metadata.len(), modified: metadata.modified()? });
        }
    }
    Ok(())
}

/// Writes a file under a temporary name beside it, and links it to its name, which fails if that exists.
fn put_new_local(path: &Path, contents: &[u8]) -> io::Result<PutNew> {
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let mut temporary = tempfile::Builder::new();
    temporary.prefix(".drawoff-").suffix(".tmp");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // The umask decides, as for the other files of the directory.
        temporary.permissions(fs::Permissions::from_mode(0o666));
    }
    let mut temporary = temporary.tempfile_in(directory)?;
    temporary.write_all(contents)?;
    temporary.as_file().sync_all()?;
    let linked = match fs::hard_link(temporary.path(), path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(PutNew::Exists),
        // A file system without hard links.
        Err(_) => match renameat_with(CWD, temporary.path(), CWD, path, RenameFlags::NOREPLACE) {
            Err(rustix::io::Errno::EXIST) => return Ok(PutNew::Exists),
            renamed => renamed.map_err(|error| {
                io::Error::new(
                    io::Error::from(error).kind(),
                    format!("the file system cannot name a file without replacing another one: {error}"),
                )
            }),
        },
        Ok(()) => Ok(()),
    };
    linked?;
    drop(temporary);
    // Some file systems cannot sync a directory.
    if let Ok(directory) = File::open(directory) {
        let _ = directory.sync_all();
    }
    Ok(PutNew::Written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_once_and_whole() {
        let directory = tempfile::tempdir().unwrap();
        let storage = DirectoryStorage::Local(directory.path().join("t"));
        assert_eq!(storage.read("log/0.json").unwrap(), None);
        assert!(matches!(storage.put_new("log/0.json", b"one").unwrap(), PutNew::Written));
        assert!(matches!(storage.put_new("log/0.json", b"two").unwrap(), PutNew::Exists));
        assert_eq!(storage.read("log/0.json").unwrap().unwrap(), b"one");
        let names = |directory: &str, deep| {
            let mut names: Vec<String> =
                storage.list(directory, None, deep).unwrap().into_iter().map(|file| file.name).collect();
            names.sort();
            names
        };
        assert_eq!(names("log", false), ["log/0.json"], "no temporary file is left");
        assert!(names("", false).is_empty() && names("no", true).is_empty());
        assert_eq!(names("", true), ["log/0.json"]);
        storage.remove("log/0.json").unwrap();
        storage.remove("log/0.json").unwrap();
        assert!(!storage.exists("log/0.json").unwrap());
    }

    /// Of many writers of one name, one writes it.
    #[test]
    fn one_of_many_writers_wins() {
        let directory = tempfile::tempdir().unwrap();
        let written: usize = std::thread::scope(|scope| {
            let write = |i: u8| {
                let storage = DirectoryStorage::Local(directory.path().to_owned());
                matches!(storage.put_new("0.json", &[i; 1000]).unwrap(), PutNew::Written)
            };
            let threads: Vec<_> = (0..8).map(|i| scope.spawn(move || write(i))).collect();
            threads.into_iter().filter(|_| true).map(|thread| usize::from(thread.join().unwrap())).sum()
        });
        assert_eq!(written, 1);
        let bytes = fs::read(directory.path().join("0.json")).unwrap();
        assert!(bytes.len() == 1000 && bytes.iter().all(|byte| *byte == bytes[0]));
    }
}
