//! Export of the state of a data directory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;

use chrono::Utc;
use tar::{Archive, Builder, EntryType, Header};

use super::{ArchiveSummary, Counted, Error, Line, STATE, VERSION, has_end_marker};
use crate::service::directories::Directories;
use crate::service::private_files;
use crate::service::store::{RunFilter, Store};
use crate::service::stored_names::UploadFile;
use crate::sink::Sink;

/// Bytes of the first line of the list of rows at most; it has a version and a time.
const MAX_HEAD_BYTES: u64 = 1 << 10;

/// Exports the state of `data_dir` to `path`, which appears whole by a rename. Fails while a service has the directory
/// open. Blocks.
pub fn export(data_dir: &Path, path: &Path) -> Result<ArchiveSummary, Error> {
    if !data_dir.is_dir() {
        let cause = io::Error::new(io::ErrorKind::NotFound, "there is no such directory");
        return Err(Error::DataDirectory { directory: data_dir.to_owned(), cause });
    }
    let directories = Directories::create(data_dir)
        .map_err(|cause| Error::DataDirectory { directory: data_dir.to_owned(), cause })?;
    let store = Store::open(data_dir, Utc::now())?;
    export_store(&store, &directories, path)
}

/// Fails if an export to `path` would replace a file that is not itself an export. An empty file may be replaced, and
/// so may what is no regular file, because it is not replaced. Blocks.
pub fn check_replaceable(path: &Path) -> Result<(), Error> {
    let failed = |cause| Error::Archive { path: path.to_owned(), cause };
    match path.metadata() {
        Ok(metadata) if metadata.is_file() && metadata.len() > 0 => {}
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    }
    let file = File::open(path).map_err(failed)?;
    match is_export(file) {
        true => Ok(()),
        false => Err(Error::NotAnExport { path: path.to_owned() }),
    }
}

/// Returns true for an archive whose list of rows begins as an export writes it. What cannot be read is none.
fn is_export(mut file: File) -> bool {
    if !has_end_marker(&mut file).unwrap_or(false) {
        return false;
    }
    let mut archive = Archive::new(BufReader::new(file));
    let Ok(entries) = archive.entries_with_seek() else { return false };
    for entry in entries {
        let Ok(entry) = entry else { return false };
        if *entry.path_bytes() == *STATE.as_bytes() {
            let mut head = String::new();
            let read = BufReader::new(entry.take(MAX_HEAD_BYTES)).read_line(&mut head);
            return read.is_ok() && matches!(serde_json::from_str(&head), Ok(Line::Head { .. }));
        }
    }
    false
}

/// Exports the state of an open store to `path`. Blocks.
pub(in crate::service) fn export_store(
    store: &Store,
    directories: &Directories,
    path: &Path,
) -> Result<ArchiveSummary, Error> {
    let failed = |cause| Error::Archive { path: path.to_owned(), cause };
    // The state holds results and the addresses of webhooks.
    let mut file = Sink::private_file(path).map_err(failed)?;
    let mut summary = ArchiveSummary::default();
    {
        let mut out = Builder::new(BufWriter::with_capacity(256 << 10, &mut file));
        let mut lines = vec![Line::Head { version: VERSION, exported_at: Utc::now() }];
        for row in store.workflows()? {
            summary.workflows += 1;
            lines.push(Line::Workflow(Box::new(row)));
        }
        // Oldest first: an import adds runs in this order, which the lists of runs follow.
        let all = RunFilter { limit: usize::MAX, ..RunFilter::default() };
        for row in store.runs(&all)?.into_iter().rev().filter(|run| run.status.is_terminal()) {
            for file in row.blocks.iter().flat_map(|block| &block.files) {
                let from = directories.run(&row.id).join(file.filename.as_str());
                write_file(&mut out, &format!("runs/{}/{}", row.id, file.filename), &from, file.size_bytes)
                    .map_err(failed)?;
            }
            summary.runs += 1;
            lines.push(Line::Run(Box::new(row)));
        }
        for (id, row) in store.uploads()? {
            let name = UploadFile::of(&id, row.extension).map_err(|error| failed(io::Error::other(error)))?;
            let from = directories.upload(&name);
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
    file.commit().map_err(failed)?;
    Ok(summary)
}

fn write_file(out: &mut Builder<impl Write>, name: &str, from: &Path, size: u64) -> io::Result<()> {
    let mut file = private_files::open(from)?.take(size);
    write_entry(out, name, size, &mut file)
}

/// Writes one entry with mode 0600, as the service keeps its files, and a time of 0, so that equal states give equal
/// archives. Fails if `content` is shorter than `size`.
pub(super) fn write_entry(
    out: &mut Builder<impl Write>,
    name: &str,
    size: u64,
    content: &mut impl Read,
) -> io::Result<()> {
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
