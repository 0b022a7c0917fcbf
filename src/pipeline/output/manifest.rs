//! Publishes a directory of files: renames them, writes the manifest that lists them, and removes the files that an
//! earlier execution left of the same set. Survives an interrupt at any point by a journal; encodes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::pipeline::plan::Directory;
use crate::sink::{PartFile, Staging};
use crate::text::hex;

/// The name of the file that lists the others. Readers of whole directories skip names that begin with `_`.
pub(super) const MANIFEST: &str = "_manifest.json";

/// The name of the file that marks a directory of outputs as complete.
pub const SUCCESS: &str = "_SUCCESS";

/// A complete file under a temporary name.
pub(super) struct StagedFile {
    /// Final path, relative to the directory.
    pub name: PathBuf,
    /// Number of rows.
    pub rows: u64,
    /// Size in bytes.
    pub bytes: u64,
    /// The temporary file.
    pub part: PartFile,
}

/// One file of the manifest.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Entry {
    pub path: String,
    rows: u64,
    pub bytes: u64,
    sha256: String,
    /// The prefix of its name: files of one set are replaced together.
    set: String,
}

#[derive(Debug, Deserialize, Serialize)]
struct Manifest {
    version: u32,
    writer: String,
    rows: u64,
    bytes: u64,
    files: Vec<Entry>,
}

/// Renames the files into `directory`, writes the manifest, and removes earlier files of the same set. Returns the
/// entries of `files`.
///
/// No file system renames many files at once, so the order of the steps makes an interrupt harmless: the journal first
/// lists every name that may be written or removed, `_SUCCESS` is absent while the directory is mixed, and the next
/// execution removes the files of the journal that its own set does not replace.
pub(super) fn publish(staging: &Staging, directory: &Directory, files: Vec<StagedFile>) -> std::io::Result<Vec<Entry>> {
    let mut entries = Vec::with_capacity(files.len());
    let mut sinks = Vec::with_capacity(files.len());
    for StagedFile { name, rows, bytes, part } in files {
        let path = name.to_string_lossy().into_owned();
        if directory.no_clobber && staging.exists(&name)? {
            let what = format!("{path} already exists, and overwriting is not allowed");
            return Err(std::io::Error::new(std::io::ErrorKind::AlreadyExists, what));
        }
        let sha256 = digest_of(part.reread()?)?;
        entries.push(Entry { path, rows, bytes, sha256, set: directory.set.clone() });
        sinks.push(part);
    }
    // Stale files: those that the old manifest or the journal of an interrupted execution lists, and this one does not
    // write. Files of other sets stay. An unreadable manifest lists none.
    let old = staging.read(MANIFEST)?.and_then(|text| serde_json::from_str::<Manifest>(&text).ok());
    let others: Vec<Entry> =
        old.iter().flat_map(|old| old.files.iter().filter(|file| file.set != directory.set).cloned()).collect();
    let journal: Vec<String> =
        staging.read_journal()?.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let kept: BTreeSet<&str> = entries.iter().chain(&others).map(|entry| &*entry.path).collect();
    let ours = old.iter().flat_map(|old| old.files.iter().filter(|file| file.set == directory.set));
    let stale: BTreeSet<String> = ours
        .map(|entry| entry.path.clone())
        .chain(journal)
        .filter(|path| !kept.contains(&**path) && is_below(path))
        .collect();
    let names: Vec<&str> = entries.iter().map(|entry| &*entry.path).chain(stale.iter().map(|path| &**path)).collect();
    staging.write_journal(&serde_json::to_vec(&names)?)?;
    // From here on the directory is incomplete, until `_SUCCESS` is written again.
    staging.remove(Path::new(SUCCESS))?;
    for (part, entry) in sinks.iter().zip(&entries) {
        staging.publish(part.path(), Path::new(&entry.path))?;
    }
    for path in &stale {
        staging.remove(Path::new(path))?;
    }
    // The renames must be durable before the manifest that lists the files.
    let directories: BTreeSet<PathBuf> =
        entries.iter().filter_map(|entry| Some(Path::new(&entry.path).parent()?.to_owned())).collect();
    staging.sync_directories(directories.into_iter());
    let mut all: BTreeMap<String, Entry> = others.into_iter().map(|entry| (entry.path.clone(), entry)).collect();
    all.extend(entries.iter().map(|entry| (entry.path.clone(), entry.clone())));
    let manifest = Manifest {
        version: 1,
        writer: concat!("drawoff ", env!("CARGO_PKG_VERSION")).to_owned(),
        rows: all.values().map(|entry| entry.rows).sum(),
        bytes: all.values().map(|entry| entry.bytes).sum(),
        files: all.into_values().collect(),
    };
    staging.write_whole(MANIFEST, &serde_json::to_vec_pretty(&manifest)?)?;
    staging.write_whole(SUCCESS, b"")?;
    staging.remove_journal()?;
    staging.sync_directories(std::iter::empty());
    Ok(entries)
}

/// Returns true if a path cannot lead out of its directory. A manifest is untrusted input, and its files are removed.
fn is_below(path: &str) -> bool {
    Path::new(path).components().all(|component| matches!(component, std::path::Component::Normal(_)))
}

fn digest_of(mut file: impl Read) -> std::io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => hash.update(&buffer[..n]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(hex(&hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_removes_nothing_outside() {
        assert!(is_below("a=1/part-00001.csv") && is_below("x"));
        assert!(!is_below("../x") && !is_below("/x") && !is_below("a/../../x"));
    }
}
