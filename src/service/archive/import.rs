//! Import of an archive. All files are first staged in the directory of temporary files, then the rows are checked
//! against them, then the files are renamed to their places and the rows added in one transaction. So a refused or
//! interrupted import adds nothing, except that one interrupted between renames leaves files that no row names, which
//! the next start removes.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use chrono::Utc;
use tar::Archive;
use tempfile::TempDir;

use super::{ArchiveSummary, Counted, Error, Line, STATE, VERSION, has_end_marker};
use crate::api::RunId;
use crate::service::count::RowCounter;
use crate::service::directories::Directories;
use crate::service::notebooks::NotebookRow;
use crate::service::private_files;
use crate::service::rows::{BlockRow, FileRow, RunRow};
use crate::service::store::{self, Store};
use crate::service::stored_names::{Extension, NotebookFile, ResultFile, UploadFile, is_generated_id};

/// Imports the archive `path` into `data_dir`, which is created if absent. An item whose id already exists is skipped.
/// A refused archive adds nothing. Fails while a service has the directory open. Blocks.
pub fn import(data_dir: &Path, path: &Path) -> Result<ArchiveSummary, Error> {
    let failed = |cause| Error::Archive { path: path.to_owned(), cause };
    let directory_failed = |cause| Error::DataDirectory { directory: data_dir.to_owned(), cause };
    let invalid = |reason: String| Error::InvalidArchive { path: path.to_owned(), reason };
    let mut file = File::open(path).map_err(failed)?;
    if !has_end_marker(&mut file).map_err(failed)? {
        return Err(invalid("not a tar archive, or truncated".to_owned()));
    }
    let directories = Directories::create(data_dir).map_err(directory_failed)?;
    let store = Store::open(data_dir, Utc::now())?;
    let staging = TempDir::new_in(directories.tmp()).map_err(directory_failed)?;
    let mut staged = HashMap::new();
    let mut state = None;
    let mut archive = Archive::new(BufReader::with_capacity(256 << 10, file));
    for entry in archive.entries().map_err(failed)? {
        let mut entry = entry.map_err(|error| invalid(error.to_string()))?;
        let size = entry.size();
        let name = name_of(&entry).map_err(invalid)?;
        let mut content = Counted { read: 0, from: &mut entry };
        let is_new = if name == STATE {
            let mut text = Vec::new();
            content.read_to_end(&mut text).map_err(failed)?;
            state.replace(text).is_none()
        } else {
            let place = Place::parse(&name).ok_or_else(|| invalid(format!("unexpected entry {name:?}")))?;
            let file = StagedFile { path: staging.path().join(staged.len().to_string()), counts: Counts::of(&place) };
            let file = file.write(&mut content).map_err(|error| match error {
                CopyError::Read(cause) => failed(cause),
                CopyError::Write(cause) => directory_failed(cause),
            })?;
            staged.insert(place, file).is_none()
        };
        if !is_new {
            return Err(invalid(format!("duplicate entry {name:?}")));
        }
        if content.read < size {
            return Err(invalid("the archive is truncated".to_owned()));
        }
    }
    let state = state.ok_or_else(|| invalid(format!("{STATE} is missing; the archive may be truncated")))?;
    let lines = read_lines(&state).map_err(invalid)?;
    check_duplicates(&lines, store.notebooks()?).map_err(invalid)?;
    let mut places = Vec::new();
    for line in &lines {
        let named = named_files(line, &staged).map_err(invalid)?;
        if is_missing(&store, line)? {
            places.extend(named);
        }
    }
    // From here on the archive is accepted.
    place(&directories, places, &staged).map_err(directory_failed)?;
    Ok(add_rows(&store, lines)?)
}

/// The place of an archived file in the data directory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Place {
    Result(RunId, ResultFile),
    Upload(UploadFile),
    Notebook(NotebookFile),
}

impl Place {
    /// Parses the name of an entry; `None` unless it has exactly the form that an export writes.
    fn parse(name: &str) -> Option<Self> {
        match *name.split('/').collect::<Vec<_>>() {
            ["runs", id, file] if is_generated_id(id) => {
                Some(Place::Result(RunId(id.to_owned()), ResultFile::try_from(file.to_owned()).ok()?))
            }
            ["uploads", file] => Some(Place::Upload(UploadFile::try_from(file.to_owned()).ok()?)),
            ["notebooks", file] => Some(Place::Notebook(NotebookFile::try_from(file.to_owned()).ok()?)),
            _ => None,
        }
    }

    fn path(&self, directories: &Directories) -> PathBuf {
        match self {
            Place::Result(run, file) => directories.run(run).join(file.as_str()),
            Place::Upload(file) => directories.upload(file),
            Place::Notebook(file) => directories.notebook(file),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Result(run, file) => write!(f, "runs/{run}/{file}"),
            Place::Upload(file) => write!(f, "uploads/{file}"),
            Place::Notebook(file) => write!(f, "notebooks/{file}"),
        }
    }
}

/// A file of the archive under a temporary name.
struct StagedFile {
    path: PathBuf,
    counts: Counts,
}

/// The side on which a copy failed.
enum CopyError {
    Read(io::Error),
    Write(io::Error),
}

impl StagedFile {
    /// Copies `content` to the file, counts it, and syncs the file.
    fn write(mut self, content: &mut impl Read) -> Result<Self, CopyError> {
        let mut out = private_files::create(&self.path).map_err(CopyError::Write)?;
        let mut chunk = vec![0; 256 << 10];
        loop {
            let n = match content.read(&mut chunk) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(CopyError::Read(error)),
            };
            self.counts.feed(&chunk[..n]);
            out.write_all(&chunk[..n]).map_err(CopyError::Write)?;
        }
        out.sync_all().map_err(CopyError::Write)?;
        Ok(self)
    }
}

/// The numbers of bytes and rows in a file that a service wrote.
struct Counts {
    size_bytes: u64,
    rows: Rows,
}

/// A count of rows that is exact for files written by this service, which end each row with a line feed.
enum Rows {
    /// Line feeds outside of quotes, the one of the header included. A row of one null is an empty line.
    Csv { line_feeds: u64, is_quoted: bool },
    /// Line feeds.
    Ndjson(u64),
    /// Items of a JSON array.
    Json(RowCounter),
    /// Not counted: an upload, whose rows are not recorded.
    Any,
}

impl Counts {
    fn of(place: &Place) -> Self {
        let rows = match place {
            Place::Result(_, file) if file.as_str().ends_with(".csv") => Rows::Csv { line_feeds: 0, is_quoted: false },
            Place::Result(_, file) if file.as_str().ends_with(".json") => Rows::Json(RowCounter::new(Extension::Json)),
            Place::Result(..) | Place::Notebook(_) => Rows::Ndjson(0),
            Place::Upload(_) => Rows::Any,
        };
        Counts { size_bytes: 0, rows }
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.size_bytes += bytes.len() as u64;
        match &mut self.rows {
            Rows::Csv { line_feeds, is_quoted } => {
                for byte in bytes {
                    match byte {
                        // An escaped quote (`""`) toggles twice.
                        b'"' => *is_quoted = !*is_quoted,
                        b'\n' if !*is_quoted => *line_feeds += 1,
                        _ => {}
                    }
                }
            }
            Rows::Ndjson(line_feeds) => *line_feeds += memchr::memchr_iter(b'\n', bytes).count() as u64,
            Rows::Json(counter) => counter.feed(bytes),
            Rows::Any => {}
        }
    }

    /// Returns the number of rows; `None` if they are not counted.
    fn rows(&self) -> Option<u64> {
        match &self.rows {
            Rows::Csv { line_feeds, .. } => Some(line_feeds.saturating_sub(1)),
            Rows::Ndjson(line_feeds) => Some(*line_feeds),
            Rows::Json(counter) => Some(counter.rows()),
            Rows::Any => None,
        }
    }
}

/// Parses [`STATE`] and checks its version and its number of lines.
fn read_lines(text: &[u8]) -> Result<Vec<Line>, String> {
    let mut lines = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let line = line.map_err(|error| format!("{STATE}: {error}"))?;
        let line = serde_json::from_str(&line).map_err(|error| {
            let text = error.to_string();
            // The line within the text is always 1.
            let text = text.rsplit_once(" at line ").map_or(&*text, |(text, _)| text);
            format!("{STATE} line {}: {text}", i + 1)
        })?;
        match line {
            // Before any other line: those of another version may have another form.
            Line::Head { version, .. } if version != VERSION => {
                return Err(format!("unsupported format version {version}; this drawoff reads version {VERSION}"));
            }
            line => lines.push(line),
        }
    }
    match (lines.first(), lines.last()) {
        (Some(Line::Head { .. }), Some(Line::End { lines: n })) if *n + 1 == lines.len() => Ok(lines),
        _ => Err(format!("{STATE} is truncated")),
    }
}

/// Fails if two rows have one id, or if two notebooks would share a file. `stored` are the notebooks of the data
/// directory.
fn check_duplicates(lines: &[Line], stored: Vec<NotebookRow>) -> Result<(), String> {
    let mut ids = HashSet::new();
    let mut notebooks: HashMap<NotebookFile, String> = stored.into_iter().map(|row| (row.file, row.id)).collect();
    for line in lines {
        let id = match line {
            Line::Head { .. } | Line::End { .. } => continue,
            Line::Workflow(row) => ("workflow", &row.id.0),
            Line::Run(row) => ("run", &row.id.0),
            Line::Upload { id, .. } => ("upload", &id.0),
            Line::Notebook(row) => ("notebook", &row.id),
        };
        if !ids.insert(id) {
            return Err(format!("duplicate {} {:?}", id.0, id.1));
        }
        if let Line::Notebook(row) = line
            && notebooks.insert(row.file.clone(), row.id.clone()).is_some_and(|other| other != row.id)
        {
            return Err(format!("the notebook {:?} has the file of another notebook", row.id));
        }
    }
    Ok(())
}

/// Returns the files that a row names, after a check that the archive has them with the recorded sizes and rows.
fn named_files(line: &Line, staged: &HashMap<Place, StagedFile>) -> Result<Vec<Place>, String> {
    let check = |place: Place, size_bytes: u64, rows: Option<u64>| {
        let file = staged.get(&place).ok_or_else(|| format!("{place} is missing"))?;
        if file.counts.size_bytes != size_bytes {
            return Err(format!("{place} has {} bytes, but its row says {size_bytes}", file.counts.size_bytes));
        }
        match (file.counts.rows(), rows) {
            (Some(counted), Some(rows)) if counted != rows => {
                Err(format!("{place} has {counted} rows, but its row says {rows}"))
            }
            _ => Ok(place),
        }
    };
    match line {
        Line::Head { .. } | Line::End { .. } | Line::Workflow(_) => Ok(Vec::new()),
        Line::Upload { id, row } => {
            Ok(vec![check(Place::Upload(UploadFile::of(id, row.extension)?), row.size_bytes, None)?])
        }
        // A notebook without rows has no file.
        Line::Notebook(row) if row.size_bytes == 0 && row.rows == 0 => Ok(Vec::new()),
        Line::Notebook(row) => Ok(vec![check(Place::Notebook(row.file.clone()), row.size_bytes, Some(row.rows))?]),
        Line::Run(row) => {
            if !row.status.is_terminal() {
                return Err(format!("the run {} has not ended", row.id));
            }
            let mut places = Vec::new();
            for block in &row.blocks {
                check_block(row, block)?;
                for file in &block.files {
                    let place = Place::Result(row.id.clone(), file.filename.clone());
                    if places.contains(&place) {
                        return Err(format!("two results of the run {} have the file {}", row.id, file.filename));
                    }
                    places.push(check(place, file.size_bytes, Some(file.rows))?);
                }
            }
            Ok(places)
        }
    }
}

/// Checks the numbers of rows of a block against each other, and its formats against the names of its files.
fn check_block(run: &RunRow, block: &BlockRow) -> Result<(), String> {
    let inline = block.results.as_ref().map(|rows| rows.len() as u64);
    if block.files.iter().map(|file| file.rows).chain(inline).any(|rows| rows != block.row_count) {
        return Err(format!("the results of block {} of the run {} differ in rows", block.sequence_number, run.id));
    }
    let is_named = |file: &FileRow| file.filename.as_str().ends_with(&format!(".{}", file.format.as_str()));
    match block.files.iter().find(|file| !is_named(file)) {
        Some(file) => Err(format!("the file {} of the run {} is not {}", file.filename, run.id, file.format.as_str())),
        None => Ok(()),
    }
}

/// Returns true if the store lacks the item of a row.
fn is_missing(store: &Store, line: &Line) -> Result<bool, store::Error> {
    Ok(match line {
        Line::Head { .. } | Line::End { .. } => false,
        Line::Workflow(row) => store.workflow(&row.id)?.is_none(),
        Line::Run(row) => store.run(&row.id)?.is_none(),
        Line::Upload { id, .. } => store.upload(id)?.is_none(),
        Line::Notebook(row) => store.notebook(&row.id)?.is_none(),
    })
}

/// Renames staged files to their places and makes that durable.
fn place(directories: &Directories, places: Vec<Place>, staged: &HashMap<Place, StagedFile>) -> io::Result<()> {
    let mut changed = BTreeSet::new();
    for place in places {
        let path = place.path(directories);
        let Some(directory) = path.parent() else { continue };
        if changed.insert(directory.to_owned())
            && let Place::Result(..) = place
        {
            // A directory without a row is the leftover of a crash.
            match fs::remove_dir_all(directory) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => private_files::create_directory(directory)?,
            }
            changed.extend(directory.parent().map(Path::to_owned));
        }
        fs::rename(&staged[&place].path, &path)?;
    }
    changed.iter().try_for_each(|directory| File::open(directory)?.sync_all())
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

/// Returns the name of an entry, which must be a regular file with a UTF-8 name.
fn name_of(entry: &tar::Entry<'_, impl Read>) -> Result<String, String> {
    if !entry.header().entry_type().is_file() {
        return Err(format!("expected a regular file, found an entry of type {:?}", entry.header().entry_type()));
    }
    String::from_utf8(entry.path_bytes().into_owned()).map_err(|_| "the name of an entry is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::archive::export::write_entry;
    use tar::Builder;

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
