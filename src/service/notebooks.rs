//! Notebooks: tables that stay between runs. Each is a file of NDJSON that only grows, and a row of the store that says
//! how much of it counts; what a crash left behind that is cut off by the next who appends.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What the store keeps of a notebook.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct NotebookRow {
    /// Its id, as workflows name it.
    pub id: String,
    /// Its name, for people.
    pub name: String,
    /// Name of its file, which is ours: an id may hold anything.
    pub file: String,
    /// Rows in it.
    pub rows: u64,
    /// Bytes of the file that count.
    pub size_bytes: u64,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

impl NotebookRow {
    /// An empty one. Without an id it gets one.
    pub(super) fn new(id: Option<&str>, name: Option<&str>, now: DateTime<Utc>) -> Self {
        let id = id.map_or_else(|| Uuid::new_v4().to_string(), str::to_owned);
        let name = name.map_or_else(|| id.clone(), str::to_owned);
        let file = format!("{}.ndjson", Uuid::new_v4());
        NotebookRow { id, name, file, rows: 0, size_bytes: 0, created_at: now, updated_at: now }
    }

    /// Where its file stands.
    pub(super) fn path(&self, folder: &Path) -> PathBuf {
        folder.join(&self.file)
    }

    /// Appends the lines of `feed` to the file and syncs it. They count once the store has the row that this answers.
    /// Nobody else may append meanwhile.
    pub(super) fn append(&self, folder: &Path, feed: &Path, rows: u64, now: DateTime<Utc>) -> io::Result<Self> {
        let path = self.path(folder);
        let mut file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        file.set_len(self.size_bytes)?;
        file.seek(SeekFrom::Start(self.size_bytes))?;
        let added = io::copy(&mut File::open(feed)?, &mut file)?;
        file.flush()?;
        file.sync_all()?;
        if self.size_bytes == 0 {
            // The name must be on disk before the row that speaks of it.
            File::open(folder)?.sync_all()?;
        }
        Ok(NotebookRow { rows: self.rows + rows, size_bytes: self.size_bytes + added, updated_at: now, ..self.clone() })
    }

    /// Copies what counts now.
    pub(super) fn copy_to(&self, folder: &Path, to: &Path) -> io::Result<()> {
        let mut out = File::create(to)?;
        if self.size_bytes > 0 {
            let copied = io::copy(&mut File::open(self.path(folder))?.take(self.size_bytes), &mut out)?;
            if copied < self.size_bytes {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
        }
        Ok(())
    }
}

/// Removes files that no row names.
pub(super) fn clear_up(folder: &Path, rows: &[NotebookRow]) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let ours = name.to_str().and_then(|name| Uuid::parse_str(name.strip_suffix(".ndjson")?).ok()).is_some();
        if ours && !rows.iter().any(|row| *row.file == name) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_recorded_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let now = DateTime::from_timestamp(0, 0).unwrap();
        let feed = folder.path().join("feed");
        fs::write(&feed, "{\"a\":1}\n").unwrap();
        let row = NotebookRow::new(Some("../odd id"), None, now);
        let one = row.append(folder.path(), &feed, 1, now).unwrap();
        // Appended, but the store never heard of it: a crash.
        one.append(folder.path(), &feed, 1, now).unwrap();
        fs::write(&feed, "{\"a\":2}\n").unwrap();
        let two = one.append(folder.path(), &feed, 1, now).unwrap();
        assert_eq!((two.rows, two.size_bytes), (2, 16));
        let copy = folder.path().join("copy");
        two.copy_to(folder.path(), &copy).unwrap();
        assert_eq!(fs::read_to_string(&copy).unwrap(), "{\"a\":1}\n{\"a\":2}\n");
        one.copy_to(folder.path(), &copy).unwrap();
        assert_eq!(fs::read_to_string(&copy).unwrap(), "{\"a\":1}\n");
        clear_up(folder.path(), std::slice::from_ref(&two)).unwrap();
        assert!(two.path(folder.path()).exists() && feed.exists());
        clear_up(folder.path(), &[]).unwrap();
        assert!(!two.path(folder.path()).exists() && feed.exists());
    }
}
