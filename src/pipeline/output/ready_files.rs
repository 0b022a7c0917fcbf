//! Files that are complete already, such as those that other processes have encoded, as the files of a directory: copied, named,
//! and listed in its manifest, together. Reads and encodes no rows.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::manifest::{MANIFEST, Publication, StagedFile, replaceable};
use crate::column::Schema;
use crate::pipeline::error::Error;
use crate::pipeline::plan::Directory;
use crate::pipeline::progress::Control;
use crate::pipeline::report::Report;
use crate::sink::Staging;
use crate::text::counted;

/// A complete file.
pub struct ReadyFile {
    /// Opens the file, once; fails if its bytes are not those of `sha256`.
    pub open: Box<dyn FnOnce() -> io::Result<File> + Send>,
    /// Name in errors.
    pub name: String,
    /// Number of rows.
    pub rows: u64,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
}

/// Makes `files` the files of `directory`, in their order, with this extension; `columns` are those of all of them. They appear
/// together, as those of an execution, and replace earlier files of the same sources. Blocks.
pub fn publish_ready_files(
    directory: &Directory,
    files: Vec<ReadyFile>,
    extension: &str,
    columns: Schema,
    control: &Control,
) -> Result<Report, Error> {
    let started = Instant::now();
    let path = &directory.path;
    let failed = |cause: io::Error| Error::write(path, cause);
    let mut directory = directory.clone();
    if let Some(location) = &mut directory.store {
        location.uploads = control.uploads().clone();
    }
    let staging = match &directory.store {
        Some(location) => Staging::in_store(location),
        None => Staging::create(path),
    };
    let mut staging = staging.map_err(failed)?;
    if directory.no_clobber && staging.exists(Path::new(MANIFEST)).map_err(failed)? {
        let what = "already holds results, and overwriting is not allowed";
        return Err(failed(io::Error::new(io::ErrorKind::AlreadyExists, what)));
    }
    let replaceable = replaceable(&staging, &directory).map_err(failed)?;
    let (mut staged, mut digests) = (Vec::with_capacity(files.len()), Vec::with_capacity(files.len()));
    let (mut rows, mut bytes) = (0, 0);
    for (i, file) in files.into_iter().enumerate() {
        if control.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let mut opened = (file.open)().map_err(|cause| Error::Read { name: file.name, cause })?;
        let mut part = staging.part(i);
        io::copy(&mut opened, &mut part).and_then(|_| part.sync()).map_err(failed)?;
        (rows, bytes) = (rows + file.rows, bytes + file.bytes);
        control.add_bytes_read(file.bytes);
        let name = PathBuf::from(format!("{}-{:05}.{extension}", directory.set, i + 1));
        staged.push(StagedFile { name, rows: file.rows, bytes: file.bytes, part });
        digests.push(file.sha256);
    }
    control.waiting_for_locks(|on_wait| staging.lock(on_wait)).map_err(failed)?;
    let plan = Publication::plan(&staging, &directory, &replaceable, staged, digests);
    let mut publication = plan.map_err(failed)?;
    let mut notes = std::mem::take(&mut publication.notes);
    let entries = publication.publish(&staging).map_err(failed)?;
    staging.end();
    let n_files = counted(entries.len() as u64, "file");
    notes.push(format!("{n_files} as the workers wrote them, listed in {}", path.join(MANIFEST).display()));
    Ok(Report {
        rows_in: rows,
        rows_written: rows,
        bytes_in: bytes,
        bytes_out: bytes,
        elapsed: started.elapsed(),
        schema: columns,
        files: entries.into_iter().map(|entry| (path.join(entry.path), entry.bytes)).collect(),
        notes,
        ..Report::default()
    })
}
