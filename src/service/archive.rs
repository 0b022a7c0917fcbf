//! Export and import of a data directory's state as one archive, for a move or a backup: a plain tar, which any `tar`
//! lists and unpacks.
//!
//! The archive holds first the files (`runs/ID/NAME`, `uploads/NAME`, `notebooks/NAME`), then `state.ndjson` with the
//! rows of the store that name them. An interrupted import therefore leaves only files that no row names. Active runs,
//! the secrets of links and webhooks, and idempotency keys are never exported.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Component, Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use tar::{Archive, Builder, EntryType, Header};

use super::directories::Directories;
use super::notebooks::NotebookRow;
use super::rows::{RunRow, UploadRow};
use super::store::{self, RunFilter, Store};
use crate::api::{HandleId, RunId, Workflow};

/// Name of the entry that holds the rows, the last of an archive.
const STATE: &str = "state.ndjson";

/// Version of the format of [`STATE`].
const VERSION: u32 = 1;

/// Number of exported or imported items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArchiveSummary {
    /// Workflows, with their definitions.
    pub workflows: usize,
    /// Ended runs, with their result files.
    pub runs: usize,
    /// Uploads, with their files.
    pub uploads: usize,
    /// Notebooks, with their rows.
    pub notebooks: usize,
    /// Items of an import whose ids already exist; the existing ones are kept. 0 for an export.
    pub already_present: usize,
}

/// An error of an export or import.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Reading or writing the archive failed.
    #[error("cannot read or write the archive {}", path.display())]
    Archive {
        /// Path of the archive.
        path: PathBuf,
        /// The I/O error.
        #[source]
        cause: io::Error,
    },
    /// The data directory cannot be read or written.
    #[error("cannot use the data directory {}", directory.display())]
    DataDirectory {
        /// Path of the data directory.
        directory: PathBuf,
        /// The I/O error.
        #[source]
        cause: io::Error,
    },
    /// The archive is not an export of a service, or it is damaged.
    #[error("cannot import {}: {reason}", path.display())]
    InvalidArchive {
        /// Path of the archive.
        path: PathBuf,
        /// The first problem that was found, as a fragment.
        reason: String,
    },
    /// The store cannot be opened, read or written; locked while a service has it open.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// One line of [`STATE`]: the head first, the end last.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Head { version: u32, exported_at: DateTime<Utc> },
    Workflow(Box<Workflow>),
    Run(Box<RunRow>),
    Upload { id: HandleId, row: UploadRow },
    Notebook(NotebookRow),
    End { lines: usize },
}

/// Exports the state of `data_dir` to `path`, which appears whole by a rename. Fails while a service has the directory
/// open. Blocks.
pub fn export(data_dir: &Path, path: &Path) -> Result<ArchiveSummary, Error> {
    let now = Utc::now();
    if !data_dir.is_dir() {
        let cause = io::Error::from(io::ErrorKind::NotFound);
        return Err(Error::DataDirectory { directory: data_dir.to_owned(), cause });
    }
    let directories = Directories::create(data_dir)
        .map_err(|cause| Error::DataDirectory { directory: data_dir.to_owned(), cause })?;
    let store = Store::open(data_dir, now)?;
    let failed = |cause| Error::Archive { path: path.to_owned(), cause };
    // The temporary file is in the archive's own directory, so that the rename stays within one file system.
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = NamedTempFile::new_in(parent).map_err(failed)?;
    let mut summary = ArchiveSummary::default();
    {
        let mut out = Builder::new(BufWriter::with_capacity(256 << 10, &mut file));
        let mut lines = vec![Line::Head { version: VERSION, exported_at: now }];
        for row in store.workflows()? {
            summary.workflows += 1;
            lines.push(Line::Workflow(Box::new(row)));
        }
        // Oldest first: an import adds runs in this order, which the lists of runs follow.
        let all = RunFilter { limit: usize::MAX, ..RunFilter::default() };
        for row in store.runs(&all)?.into_iter().rev().filter(|run| run.status.is_terminal()) {
            for file in row.blocks.iter().flat_map(|block| &block.files) {
                let from = directories.run(&row.id).join(&file.filename);
                write_file(&mut out, &format!("runs/{}/{}", row.id, file.filename), &from, file.size_bytes)
                    .map_err(failed)?;
            }
            summary.runs += 1;
            lines.push(Line::Run(Box::new(row)));
        }
        for (id, row) in store.uploads()? {
            let from = directories.upload(&id, &row);
            let name = from.file_name().unwrap_or_default().to_string_lossy().into_owned();
            write_file(&mut out, &format!("uploads/{name}"), &from, row.size_bytes).map_err(failed)?;
            summary.uploads += 1;
            lines.push(Line::Upload { id, row });
        }
        for row in store.notebooks()? {
            if row.size_bytes > 0 {
                let from = row.path(&directories.notebooks());
                write_file(&mut out, &format!("notebooks/{}", row.file), &from, row.size_bytes).map_err(failed)?;
            }
            summary.notebooks += 1;
            lines.push(Line::Notebook(row));
        }
        // The count lets an import detect a truncated list.
        lines.push(Line::End { lines: lines.len() });
        let mut text = Vec::new();
        for line in &lines {
            serde_json::to_writer(&mut text, line).map_err(|error| failed(error.into()))?;
            text.push(b'\n');
        }
        write_entry(&mut out, STATE, text.len() as u64, &mut &*text).map_err(failed)?;
        out.into_inner().and_then(|mut out| out.flush()).map_err(failed)?;
    }
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(summary)
}

/// Imports the archive `path` into `data_dir`, which is created if absent. An item whose id already exists is skipped.
/// Rows are added in one transaction at the end, so a failed import adds none. Fails while a service has the directory
/// open. Blocks.
pub fn import(data_dir: &Path, path: &Path) -> Result<ArchiveSummary, Error> {
    let directory_failed = |cause| Error::DataDirectory { directory: data_dir.to_owned(), cause };
    let failed = |cause| Error::Archive { path: path.to_owned(), cause };
    let invalid = |reason: String| Error::InvalidArchive { path: path.to_owned(), reason };
    let mut file = File::open(path).map_err(failed)?;
    if !has_end_marker(&mut file).map_err(failed)? {
        return Err(invalid("not a tar archive, or truncated".to_owned()));
    }
    let mut archive = Archive::new(BufReader::with_capacity(256 << 10, file));
    let directories = Directories::create(data_dir).map_err(directory_failed)?;
    let store = Store::open(data_dir, Utc::now())?;
    let notebooks: HashSet<String> = store.notebooks()?.into_iter().map(|row| row.file).collect();
    let mut text = None;
    let mut entries_read: HashSet<String> = HashSet::new();
    for entry in archive.entries().map_err(failed)? {
        let mut entry = entry.map_err(|error| invalid(error.to_string()))?;
        let size = entry.size();
        let name = name_of(&entry).map_err(invalid)?;
        let mut content = Counted { read: 0, from: &mut entry };
        if name == STATE {
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes).map_err(failed)?;
            text = Some(bytes);
        } else {
            // Only the three known forms of names without `..` or a root are unpacked, so that an entry cannot be
            // written outside the data directory.
            let parts: Vec<&str> = name.split('/').collect();
            let plain = Path::new(&name).components().all(|part| matches!(part, Component::Normal(_)));
            let (to, exists) = match *parts {
                _ if !plain => return Err(invalid(format!("unexpected entry {name:?}"))),
                ["runs", id, file] => {
                    let id = RunId(id.to_owned());
                    (directories.run(&id).join(file), store.run(&id)?.is_some())
                }
                ["uploads", file] => {
                    let id = HandleId(file.split('.').next().unwrap_or_default().to_owned());
                    (directories.uploads().join(file), store.upload(&id)?.is_some())
                }
                ["notebooks", file] => (directories.notebooks().join(file), notebooks.contains(file)),
                _ => return Err(invalid(format!("unexpected entry {name:?}"))),
            };
            if exists {
                // An entry is read to its end in any case: the next one follows in the same stream.
                io::copy(&mut content, &mut io::sink()).map_err(failed)?;
            } else {
                if let Some(parent) = to.parent() {
                    fs::create_dir_all(parent).map_err(directory_failed)?;
                }
                let mut out = File::create(&to).map_err(directory_failed)?;
                io::copy(&mut content, &mut out).map_err(failed)?;
                out.sync_all().map_err(directory_failed)?;
            }
            entries_read.insert(name);
        }
        if content.read < size {
            return Err(invalid("the archive is truncated".to_owned()));
        }
    }
    let text = text.ok_or_else(|| invalid(format!("{STATE} is missing; the archive may be truncated")))?;
    let lines = read_lines(&text).map_err(invalid)?;
    // No row may enter the store without its files.
    let check_entry =
        |name: String| if entries_read.contains(&name) { Ok(()) } else { Err(invalid(format!("{name} is missing"))) };
    for line in &lines {
        match line {
            Line::Run(row) => {
                let files = row.blocks.iter().flat_map(|block| &block.files);
                files.map(|file| format!("runs/{}/{}", row.id, file.filename)).try_for_each(check_entry)?;
            }
            Line::Notebook(row) if row.size_bytes > 0 => check_entry(format!("notebooks/{}", row.file))?,
            _ => {}
        }
    }
    Ok(add_rows(&store, lines)?)
}

/// Parses [`STATE`] and checks its version and its number of lines.
fn read_lines(text: &[u8]) -> Result<Vec<Line>, String> {
    let lines: Vec<Line> = text
        .lines()
        .map(|line| line.and_then(|line| Ok(serde_json::from_str(&line)?)))
        .collect::<io::Result<_>>()
        .map_err(|error| format!("{STATE}: {error}"))?;
    match (lines.first(), lines.last()) {
        (Some(Line::Head { version: VERSION, .. }), Some(Line::End { lines: n })) if *n + 1 == lines.len() => Ok(lines),
        (Some(Line::Head { version, .. }), _) if *version != VERSION => {
            Err(format!("unsupported format version {version}; this drawoff reads version {VERSION}"))
        }
        _ => Err(format!("{STATE} is truncated")),
    }
}

/// Adds all rows to the store in one transaction; rows whose ids exist are counted and skipped.
fn add_rows(store: &Store, lines: Vec<Line>) -> Result<ArchiveSummary, store::Error> {
    let mut summary = ArchiveSummary::default();
    let import = store.import()?;
    for line in lines {
        let (count, new) = match line {
            Line::Head { .. } | Line::End { .. } => continue,
            Line::Workflow(row) => (&mut summary.workflows, import.workflow(&row)?),
            Line::Run(row) => (&mut summary.runs, import.run(&row)?),
            Line::Upload { id, row } => (&mut summary.uploads, import.upload(&id, &row)?),
            Line::Notebook(row) => (&mut summary.notebooks, import.notebook(&row)?),
        };
        if new {
            *count += 1;
        } else {
            summary.already_present += 1;
        }
    }
    import.commit()?;
    Ok(summary)
}

fn write_file(out: &mut Builder<impl Write>, name: &str, from: &Path, size: u64) -> io::Result<()> {
    let mut file = File::open(from)?.take(size);
    write_entry(out, name, size, &mut file)
}

/// Writes one entry with mode 0600, as the service keeps its files, and a time of 0, so that equal states give equal
/// archives. Fails if `content` is shorter than `size`.
fn write_entry(out: &mut Builder<impl Write>, name: &str, size: u64, content: &mut impl Read) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o600);
    header.set_mtime(0);
    header.set_size(size);
    let mut content = Counted { read: 0, from: content };
    out.append_data(&mut header, name, &mut content)?;
    if content.read != size {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("{name} is truncated")));
    }
    Ok(())
}

/// Returns true if an archive ends with two blocks of zeros, as every complete tar does. Rewinds the file.
fn has_end_marker(file: &mut File) -> io::Result<bool> {
    let mut end = [1; 1024];
    if file.metadata()?.len() < end.len() as u64 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-(end.len() as i64)))?;
    file.read_exact(&mut end)?;
    file.rewind()?;
    Ok(end.iter().all(|byte| *byte == 0))
}

/// Returns the name of an entry, which must be a regular file with a UTF-8 name.
fn name_of(entry: &tar::Entry<'_, impl Read>) -> Result<String, String> {
    if !entry.header().entry_type().is_file() {
        return Err(format!("expected a regular file, found an entry of type {:?}", entry.header().entry_type()));
    }
    String::from_utf8(entry.path_bytes().into_owned()).map_err(|_| "the name of an entry is not UTF-8".to_owned())
}

/// A reader that counts its bytes, to detect an entry shorter than its header declares.
struct Counted<R> {
    /// Bytes read so far.
    read: u64,
    from: R,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buf)?;
        self.read += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_as_they_were_written() {
        let mut archive = Builder::new(Vec::new());
        let long = format!("runs/{}/{}.csv", "a".repeat(80), "b".repeat(200));
        for (name, content) in [("state.ndjson", ""), ("runs/a-b/block_1_x.csv", "a,b"), (&*long, "c")] {
            write_entry(&mut archive, name, content.len() as u64, &mut content.as_bytes()).unwrap();
        }
        let bytes = archive.into_inner().unwrap();
        let names = |bytes: &[u8]| -> io::Result<Vec<String>> {
            let mut archive = Archive::new(bytes);
            let names = archive.entries()?.map(|entry| name_of(&entry?).map_err(io::Error::other));
            names.collect()
        };
        assert_eq!(names(&bytes).unwrap(), ["state.ndjson", "runs/a-b/block_1_x.csv", &long]);
        let mut damaged = bytes.clone();
        damaged[3] ^= 1;
        assert!(names(&damaged).unwrap_err().to_string().contains("cksum"));
        let short = write_entry(&mut Builder::new(Vec::new()), "x", 5, &mut &b"four"[..]);
        assert_eq!(short.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
