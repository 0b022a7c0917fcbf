//! The state of a data folder as one file, to be moved or kept: a plain tar, which any `tar` lists and unpacks.
//!
//! First the files (`runs/ID/NAME`, `uploads/NAME`, `notebooks/NAME`), then `state.ndjson` with the rows that speak of
//! them. So an import that is broken off has brought nothing that anybody is offered. Runs that have not ended, links'
//! secrets and idempotency keys stay where they are.

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

/// Name of the rows' entry.
const STATE: &str = "state.ndjson";

/// Of the rows' lines.
const VERSION: u32 = 1;

/// What was moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArchiveSummary {
    /// Workflows.
    pub workflows: usize,
    /// Runs that have ended.
    pub runs: usize,
    /// Uploads.
    pub uploads: usize,
    /// Notebooks.
    pub notebooks: usize,
    /// Rows of an import that were there already, and stay as they are.
    pub there_before: usize,
}

/// State could not be moved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The archive cannot be read or written.
    #[error("cannot move state: {}", path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The data folder cannot be used.
    #[error("cannot use the data folder {}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The archive is none of ours, or damaged.
    #[error("{} is no state of a service: {why}", path.display())]
    NotOurs {
        /// The archive.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The store. Says so itself when a service has it.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// One line of the rows.
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

/// Writes the state of `data_dir` to `path`, which appears whole. No service may have the folder open.
pub fn export(data_dir: &Path, path: &Path) -> Result<ArchiveSummary, Error> {
    let now = Utc::now();
    if !data_dir.is_dir() {
        let cause = io::Error::from(io::ErrorKind::NotFound);
        return Err(Error::Folder { folder: data_dir.to_owned(), cause });
    }
    let folders = Directories::make(data_dir).map_err(|cause| Error::Folder { folder: data_dir.to_owned(), cause })?;
    let store = Store::open(data_dir, now)?;
    let failed = |cause| Error::Archive { path: path.to_owned(), cause };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = NamedTempFile::new_in(folder).map_err(failed)?;
    let mut moved = ArchiveSummary::default();
    {
        let mut out = Builder::new(BufWriter::with_capacity(256 << 10, &mut file));
        let mut lines = vec![Line::Head { version: VERSION, exported_at: now }];
        for row in store.workflows()? {
            moved.workflows += 1;
            lines.push(Line::Workflow(Box::new(row)));
        }
        // Oldest first: imported in this order, lists are as they were.
        let all = RunFilter { limit: usize::MAX, ..RunFilter::default() };
        for row in store.runs(&all)?.into_iter().rev().filter(|run| run.status.is_terminal()) {
            for file in row.blocks.iter().flat_map(|block| &block.files) {
                let from = folders.run(&row.id).join(&file.filename);
                write_file(&mut out, &format!("runs/{}/{}", row.id, file.filename), &from, file.size_bytes)
                    .map_err(failed)?;
            }
            moved.runs += 1;
            lines.push(Line::Run(Box::new(row)));
        }
        for (id, row) in store.uploads()? {
            let from = folders.upload(&id, &row);
            let name = from.file_name().unwrap_or_default().to_string_lossy().into_owned();
            write_file(&mut out, &format!("uploads/{name}"), &from, row.size_bytes).map_err(failed)?;
            moved.uploads += 1;
            lines.push(Line::Upload { id, row });
        }
        for row in store.notebooks()? {
            if row.size_bytes > 0 {
                let from = row.path(&folders.notebooks());
                write_file(&mut out, &format!("notebooks/{}", row.file), &from, row.size_bytes).map_err(failed)?;
            }
            moved.notebooks += 1;
            lines.push(Line::Notebook(row));
        }
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
    Ok(moved)
}

/// Brings what `path` holds into `data_dir`, which is made if it is not there. What has an id that is there already
/// stays as it is. No service may have the folder open.
pub fn import(data_dir: &Path, path: &Path) -> Result<ArchiveSummary, Error> {
    let folder_failed = |cause| Error::Folder { folder: data_dir.to_owned(), cause };
    let failed = |cause| Error::Archive { path: path.to_owned(), cause };
    let not_ours = |why: String| Error::NotOurs { path: path.to_owned(), why };
    let mut file = File::open(path).map_err(failed)?;
    if !ends_whole(&mut file).map_err(failed)? {
        return Err(not_ours("it is no tar, or truncated".to_owned()));
    }
    let mut archive = Archive::new(BufReader::with_capacity(256 << 10, file));
    let folders = Directories::make(data_dir).map_err(folder_failed)?;
    let store = Store::open(data_dir, Utc::now())?;
    let notebooks: HashSet<String> = store.notebooks()?.into_iter().map(|row| row.file).collect();
    let mut text = None;
    let mut brought: HashSet<String> = HashSet::new();
    for entry in archive.entries().map_err(failed)? {
        let mut entry = entry.map_err(|error| not_ours(error.to_string()))?;
        let size = entry.size();
        let name = name_of(&entry).map_err(not_ours)?;
        let mut content = Counted { read: 0, from: &mut entry };
        if name == STATE {
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes).map_err(failed)?;
            text = Some(bytes);
        } else {
            let parts: Vec<&str> = name.split('/').collect();
            let plain = Path::new(&name).components().all(|part| matches!(part, Component::Normal(_)));
            let (to, is_there) = match *parts {
                _ if !plain => return Err(not_ours(format!("an entry is called {name:?}"))),
                ["runs", id, file] => {
                    let id = RunId(id.to_owned());
                    (folders.run(&id).join(file), store.run(&id)?.is_some())
                }
                ["uploads", file] => {
                    let id = HandleId(file.split('.').next().unwrap_or_default().to_owned());
                    (folders.uploads().join(file), store.upload(&id)?.is_some())
                }
                ["notebooks", file] => (folders.notebooks().join(file), notebooks.contains(file)),
                _ => return Err(not_ours(format!("an entry is called {name:?}"))),
            };
            if is_there {
                io::copy(&mut content, &mut io::sink()).map_err(failed)?;
            } else {
                if let Some(folder) = to.parent() {
                    fs::create_dir_all(folder).map_err(folder_failed)?;
                }
                let mut out = File::create(&to).map_err(folder_failed)?;
                io::copy(&mut content, &mut out).map_err(failed)?;
                out.sync_all().map_err(folder_failed)?;
            }
            brought.insert(name);
        }
        if content.read < size {
            return Err(not_ours("it is truncated".to_owned()));
        }
    }
    let text = text.ok_or_else(|| not_ours(format!("it has no {STATE}; it may be truncated")))?;
    let lines = read_lines(&text).map_err(not_ours)?;
    let missing =
        |name: String| if brought.contains(&name) { Ok(()) } else { Err(not_ours(format!("{name} is missing"))) };
    for line in &lines {
        match line {
            Line::Run(row) => {
                let files = row.blocks.iter().flat_map(|block| &block.files);
                files.map(|file| format!("runs/{}/{}", row.id, file.filename)).try_for_each(missing)?;
            }
            Line::Notebook(row) if row.size_bytes > 0 => missing(format!("notebooks/{}", row.file))?,
            _ => {}
        }
    }
    Ok(put_all(&store, lines)?)
}

fn read_lines(text: &[u8]) -> Result<Vec<Line>, String> {
    let lines: Vec<Line> = text
        .lines()
        .map(|line| line.and_then(|line| Ok(serde_json::from_str(&line)?)))
        .collect::<io::Result<_>>()
        .map_err(|error| format!("{STATE}: {error}"))?;
    match (lines.first(), lines.last()) {
        (Some(Line::Head { version: VERSION, .. }), Some(Line::End { lines: n })) if *n + 1 == lines.len() => Ok(lines),
        (Some(Line::Head { version, .. }), _) if *version != VERSION => {
            Err(format!("it was written by another version (its format is {version}, ours is {VERSION})"))
        }
        _ => Err(format!("{STATE} is not whole")),
    }
}

fn put_all(store: &Store, lines: Vec<Line>) -> Result<ArchiveSummary, store::Error> {
    let mut moved = ArchiveSummary::default();
    let import = store.import()?;
    for line in lines {
        let (count, new) = match line {
            Line::Head { .. } | Line::End { .. } => continue,
            Line::Workflow(row) => (&mut moved.workflows, import.workflow(&row)?),
            Line::Run(row) => (&mut moved.runs, import.run(&row)?),
            Line::Upload { id, row } => (&mut moved.uploads, import.upload(&id, &row)?),
            Line::Notebook(row) => (&mut moved.notebooks, import.notebook(&row)?),
        };
        if new {
            *count += 1;
        } else {
            moved.there_before += 1;
        }
    }
    import.commit()?;
    Ok(moved)
}

fn write_file(out: &mut Builder<impl Write>, name: &str, from: &Path, size: u64) -> io::Result<()> {
    let mut file = File::open(from)?.take(size);
    write_entry(out, name, size, &mut file)
}

/// One file of the archive; readable by its owner only, as the service keeps it.
fn write_entry(out: &mut Builder<impl Write>, name: &str, size: u64, content: &mut impl Read) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o600);
    header.set_mtime(0);
    header.set_size(size);
    let mut content = Counted { read: 0, from: content };
    out.append_data(&mut header, name, &mut content)?;
    if content.read != size {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("{name} is shorter than it was")));
    }
    Ok(())
}

/// True if an archive has the end that each has, two blocks of zeros. Leaves the file at its beginning.
fn ends_whole(file: &mut File) -> io::Result<bool> {
    let mut end = [1; 1024];
    if file.metadata()?.len() < end.len() as u64 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-(end.len() as i64)))?;
    file.read_exact(&mut end)?;
    file.rewind()?;
    Ok(end.iter().all(|byte| *byte == 0))
}

/// The name of an entry, which must be a plain file.
fn name_of(entry: &tar::Entry<'_, impl Read>) -> Result<String, String> {
    if !entry.header().entry_type().is_file() {
        return Err(format!("an entry is no file but {:?}", entry.header().entry_type()));
    }
    String::from_utf8(entry.path_bytes().into_owned()).map_err(|_| "an entry's name is not UTF-8".to_owned())
}

/// A reader that counts: an archive that ends early gives fewer bytes than it says.
struct Counted<R> {
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
        assert!(names(&damaged).is_err());
        let short = write_entry(&mut Builder::new(Vec::new()), "x", 5, &mut &b"four"[..]);
        assert_eq!(short.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
