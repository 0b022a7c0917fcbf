//! The state of a data folder as one file, to be moved or kept: a plain tar, which any `tar` lists and unpacks.
//!
//! First the files (`runs/ID/NAME`, `uploads/NAME`, `notebooks/NAME`), then `state.ndjson` with the rows that speak of
//! them. So an import that is broken off has brought nothing that anybody is offered. Runs that have not ended, links'
//! secrets and idempotency keys stay where they are.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Component, Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::folders::Folders;
use super::notebooks::NotebookRow;
use super::rows::{RunRow, UploadRow};
use super::store::{self, RunFilter, Store};
use crate::api::{HandleId, RunId, Workflow};

/// Name of the rows' entry.
const STATE: &str = "state.ndjson";

/// Of the rows' lines.
const VERSION: u32 = 1;

const BLOCK: usize = 512;

/// What was moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
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
pub fn export(data_dir: &Path, path: &Path) -> Result<Moved, Error> {
    let now = Utc::now();
    if !data_dir.is_dir() {
        let cause = io::Error::from(io::ErrorKind::NotFound);
        return Err(Error::Folder { folder: data_dir.to_owned(), cause });
    }
    let folders = Folders::make(data_dir).map_err(|cause| Error::Folder { folder: data_dir.to_owned(), cause })?;
    let store = Store::open(data_dir, now)?;
    let failed = |cause| Error::Archive { path: path.to_owned(), cause };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = NamedTempFile::new_in(folder).map_err(failed)?;
    let mut moved = Moved::default();
    {
        let mut out = BufWriter::with_capacity(256 << 10, &mut file);
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
        out.write_all(&[0; 2 * BLOCK]).and_then(|()| out.flush()).map_err(failed)?;
    }
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(moved)
}

/// Brings what `path` holds into `data_dir`, which is made if it is not there. What has an id that is there already
/// stays as it is. No service may have the folder open.
pub fn import(data_dir: &Path, path: &Path) -> Result<Moved, Error> {
    let folder_failed = |cause| Error::Folder { folder: data_dir.to_owned(), cause };
    let failed = |cause| Error::Archive { path: path.to_owned(), cause };
    let not_ours = |why: String| Error::NotOurs { path: path.to_owned(), why };
    let mut archive = BufReader::with_capacity(256 << 10, File::open(path).map_err(failed)?);
    let folders = Folders::make(data_dir).map_err(folder_failed)?;
    let store = Store::open(data_dir, Utc::now())?;
    let notebooks: HashSet<String> = store.notebooks()?.into_iter().map(|row| row.file).collect();
    let mut text = None;
    let mut brought: HashSet<String> = HashSet::new();
    while let Some((name, size)) = read_head(&mut archive).map_err(|error| not_ours(error.to_string()))? {
        let mut content = archive.by_ref().take(size);
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
        if content.limit() > 0 {
            return Err(not_ours("it is cut short".to_owned()));
        }
        let padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
        io::copy(&mut archive.by_ref().take(padding), &mut io::sink()).map_err(failed)?;
    }
    let text = text.ok_or_else(|| not_ours(format!("it has no {STATE}; it may be cut short")))?;
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

fn put_all(store: &Store, lines: Vec<Line>) -> Result<Moved, store::Error> {
    let mut moved = Moved::default();
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

fn write_file(out: &mut impl Write, name: &str, from: &Path, size: u64) -> io::Result<()> {
    let mut file = File::open(from)?.take(size);
    write_entry(out, name, size, &mut file)
}

/// One entry: head, content, and zeros up to the next block.
fn write_entry(out: &mut impl Write, name: &str, size: u64, content: &mut impl Read) -> io::Result<()> {
    out.write_all(&head(name, size)?)?;
    if io::copy(content, out)? != size {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("{name} is shorter than it was")));
    }
    let padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
    out.write_all(&[0; BLOCK][..padding as usize])
}

/// The head of a file's entry, as POSIX has it (ustar); sizes beyond 8 GiB as GNU has them.
fn head(name: &str, size: u64) -> io::Result<[u8; BLOCK]> {
    let mut head = [0; BLOCK];
    let (prefix, last) = name.rsplit_once('/').unwrap_or(("", name));
    let too_long = || io::Error::new(io::ErrorKind::InvalidInput, format!("{name} is too long a name for an archive"));
    let mut put = |at: usize, len: usize, text: &[u8]| {
        head.get_mut(at..at + text.len()).filter(|_| text.len() <= len).ok_or_else(too_long)?.copy_from_slice(text);
        Ok::<_, io::Error>(())
    };
    put(0, 100, last.as_bytes())?;
    put(345, 155, prefix.as_bytes())?;
    put(100, 8, b"0000600\0")?;
    put(108, 8, b"0000000\0")?;
    put(116, 8, b"0000000\0")?;
    if size < 1 << 33 {
        put(124, 12, format!("{size:011o}\0").as_bytes())?;
    } else {
        put(124, 4, &[0x80, 0, 0, 0])?;
        put(128, 8, &size.to_be_bytes())?;
    }
    put(136, 12, b"00000000000\0")?;
    put(156, 1, b"0")?;
    put(257, 8, b"ustar\x0000")?;
    put(148, 8, b"        ")?;
    let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
    head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(head)
}

/// Name and size of the next entry; `None` at the end.
fn read_head(archive: &mut impl Read) -> io::Result<Option<(String, u64)>> {
    let mut head = [0; BLOCK];
    archive.read_exact(&mut head).map_err(|_| io::Error::other("it is cut short"))?;
    if head == [0; BLOCK] {
        return Ok(None);
    }
    let bad = || io::Error::other("it is no tar, or damaged");
    let text = |from: usize, len: usize| {
        let bytes = &head[from..from + len];
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(len);
        std::str::from_utf8(&bytes[..end]).map(str::trim)
    };
    let octal = |from: usize, len: usize| u64::from_str_radix(text(from, len).ok()?, 8).ok();
    let sum: u64 = head.iter().enumerate().map(|(i, b)| if (148..156).contains(&i) { 32 } else { u64::from(*b) }).sum();
    if octal(148, 8) != Some(sum) || &head[257..262] != b"ustar" || !matches!(head[156], b'0' | 0) {
        return Err(bad());
    }
    let size = match head[124] {
        0x80 => u64::from_be_bytes(head[128..136].try_into().expect("eight bytes")),
        _ => octal(124, 12).ok_or_else(bad)?,
    };
    let (name, prefix) = (text(0, 100).map_err(|_| bad())?, text(345, 155).map_err(|_| bad())?);
    Ok(Some((if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") }, size)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_as_they_were_written() {
        for (name, size) in [("state.ndjson", 0), ("runs/a-b/block_1_x.csv", 513), ("uploads/x.csv", 5 << 40)] {
            let head = head(name, size).unwrap();
            assert_eq!(read_head(&mut &head[..]).unwrap(), Some((name.to_owned(), size)));
            let mut damaged = head;
            damaged[3] ^= 1;
            assert!(read_head(&mut &damaged[..]).is_err());
        }
        assert!(head(&"x".repeat(101), 1).is_err());
        assert_eq!(read_head(&mut &[0; BLOCK][..]).unwrap(), None);
        assert!(read_head(&mut &[0; 100][..]).is_err());
    }
}
