//! The files of tables by their URLs, as catalogs and metadata name them: `file:///srv/t/x`, `/srv/t/x`, `s3://bucket/t/x`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use crate::sink::{DirectoryStorage, ObjectLocation, StoredFile, UploadControl};
use crate::warehouse::FilesPlace;

/// The schemes of stores, with those that they are opened by.
const STORES: &[(&str, &str)] = &[
    ("s3", "s3"),
    ("s3a", "s3"),
    ("s3n", "s3"),
    ("gs", "gs"),
    ("gcs", "gs"),
    ("az", "az"),
    ("abfs", "abfs"),
    ("abfss", "abfss"),
    ("wasb", "abfs"),
    ("wasbs", "abfss"),
];

/// Access to the stores of tables.
#[derive(Clone, Default)]
pub(super) struct FileAccess {
    /// Credentials and endpoints of stores, as [`ObjectLocation`] has them.
    pub(super) options: Vec<(String, String)>,
    pub(super) cancel: UploadControl,
}

impl FileAccess {
    /// Adds options, which replace those of the same names.
    pub(super) fn with(&self, more: &[(String, String)]) -> Self {
        let mut options = self.options.clone();
        options.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
        options.extend(more.iter().cloned());
        FileAccess { options, cancel: self.cancel.clone() }
    }

    /// Returns the place of the files below a URL. Fails with the reason if files cannot be there.
    pub(super) fn place(&self, url: &str) -> io::Result<FilesPlace> {
        let url = url.trim_end_matches('/');
        if let Some(path) = local_path(url) {
            return Ok(FilesPlace { path: PathBuf::from(path), store: None });
        }
        let (scheme, rest) = url.split_once(':').unwrap_or(("", url));
        let Some((_, store)) = STORES.iter().find(|(name, _)| *name == scheme) else {
            let what = format!("files of `{scheme}:` are in no store that drawoff knows");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        };
        let url = format!("{store}:{rest}");
        let mut location = ObjectLocation::new(url.clone(), self.options.clone(), false);
        location.uploads = self.cancel.clone();
        Ok(FilesPlace { path: PathBuf::from(url), store: Some(location) })
    }
}

/// Returns the path of a URL in the file system; `None` for stores.
fn local_path(url: &str) -> Option<&str> {
    match url.strip_prefix("file:") {
        // As they are: `%` is a character of paths for all writers.
        Some(path) => Some(path.strip_prefix("//").filter(|path| path.starts_with('/')).unwrap_or(path)),
        None => (!url.contains("://")).then_some(url),
    }
}

/// Returns true if two URLs name the same file, or a directory and a file in it.
pub(super) fn without_scheme(url: &str) -> &str {
    match local_path(url) {
        Some(path) => path,
        None => url.split_once("://").map_or(url, |(_, rest)| rest),
    }
}

/// Returns true for the name of a file of metadata, by any writer.
pub(super) fn is_metadata(name: &str) -> bool {
    [".metadata.json", ".metadata.json.gz"].iter().any(|end| name.ends_with(end))
}

/// The files of one table.
pub(super) struct TableFiles {
    access: FileAccess,
    /// Storage by the URL of the directory.
    opened: RefCell<BTreeMap<String, DirectoryStorage>>,
}

impl TableFiles {
    pub(super) fn new(access: FileAccess) -> Self {
        TableFiles { access, opened: RefCell::default() }
    }

    fn with<T>(&self, directory: &str, work: impl FnOnce(&DirectoryStorage) -> io::Result<T>) -> io::Result<T> {
        let mut opened = self.opened.borrow_mut();
        let storage = match opened.entry(directory.to_owned()) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => entry.insert(self.access.place(directory)?.open()?),
        };
        work(storage)
    }

    /// Reads a file; fails if it does not exist.
    pub(super) fn read(&self, url: &str) -> io::Result<Vec<u8>> {
        let (directory, name) = split(url)?;
        let found = self.with(directory, |storage| storage.read(name))?;
        found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{url} is gone")))
    }

    /// Writes a file whose name no other attempt has: whole and durable.
    pub(super) fn put(&self, url: &str, contents: &[u8]) -> io::Result<()> {
        let (directory, name) = split(url)?;
        self.with(directory, |storage| storage.put(name, contents))
    }

    /// Removes a file. Succeeds if it does not exist.
    pub(super) fn remove(&self, url: &str) -> io::Result<()> {
        let (directory, name) = split(url)?;
        self.with(directory, |storage| storage.remove(name))
    }

    /// Removes `name` from a directory. Succeeds if it does not exist.
    pub(super) fn remove_in(&self, directory: &str, name: &str) -> io::Result<()> {
        self.with(directory, |storage| storage.remove(name))
    }

    /// Returns true if `name` exists in a directory.
    pub(super) fn exists_in(&self, directory: &str, name: &str) -> io::Result<bool> {
        self.with(directory, |storage| storage.exists(name))
    }

    /// Lists all files below a directory, with names relative to it.
    pub(super) fn list(&self, directory: &str) -> io::Result<Vec<StoredFile>> {
        self.with(directory, |storage| storage.list("", None, true))
    }
}

fn split(url: &str) -> io::Result<(&str, &str)> {
    let named = url.rsplit_once('/').filter(|(directory, name)| !directory.is_empty() && !name.is_empty());
    named.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("`{url}` names no file in a directory")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_every_writer_name_places() {
        let place = |url: &str| {
            let place = FileAccess::default().place(url).unwrap();
            (place.path.to_str().unwrap().to_owned(), place.store.is_some())
        };
        for url in ["file:///srv/a%20b/t", "file:/srv/a%20b/t/", "/srv/a%20b/t"] {
            assert_eq!(place(url), ("/srv/a%20b/t".to_owned(), false), "{url}");
        }
        assert_eq!(place("s3a://b/t/"), ("s3://b/t".to_owned(), true));
        assert_eq!(place("abfss://c@a.dfs.core.windows.net/t").0, "abfss://c@a.dfs.core.windows.net/t");
        assert!(FileAccess::default().place("hdfs://n/t").is_err());
        assert_eq!(without_scheme("s3a://b/t"), without_scheme("s3://b/t"));
        assert_eq!(without_scheme("file:///srv/t"), without_scheme("/srv/t"));
    }

    #[test]
    fn files_are_found_by_their_urls() {
        let directory = tempfile::tempdir().unwrap();
        let files = TableFiles::new(FileAccess::default());
        let url = format!("file://{}/t/metadata/a.avro", directory.path().display());
        files.put(&url, b"x").unwrap();
        assert_eq!(files.read(&url).unwrap(), b"x");
        assert_eq!(files.list(url.rsplit_once('/').unwrap().0).unwrap()[0].name, "a.avro");
        files.remove(&url).unwrap();
        assert_eq!(files.read(&url).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(files.read("nothing").is_err());
    }
}
