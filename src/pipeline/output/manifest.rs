//! Publishes a directory of files: chooses their names, renames them, writes the manifest that lists them, and removes
//! the files that they replace. Survives an interrupt at any point by a journal; encodes nothing.
//!
//! A directory may hold results of several runs and conversions, which readers take as one table. Files are replaced by
//! those of the same set alone, and within a set that several executions share by those of the same sources. The sources of
//! a set of runs are the sets that each of these runs would have alone, so that no rows are in a directory twice. A new file
//! never takes the name of a file that stays.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::pipeline::plan::Directory;
use crate::sink::{PartFile, Staging, check_changeable};
use crate::text::{counted, hex};

/// The name of the file that lists the others. Readers of whole directories skip names that begin with `_`.
pub(super) const MANIFEST: &str = "_manifest.json";

/// The name of the file that marks a directory of outputs as complete.
pub const SUCCESS: &str = "_SUCCESS";

/// The files that drawoff writes into every directory.
const MARKERS: [&str; 2] = [MANIFEST, SUCCESS];

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
    /// The conversion that wrote it, a key of [`Manifest::conversions`]; `None` if the set has no others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    conversion: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Manifest {
    version: u32,
    writer: String,
    rows: u64,
    bytes: u64,
    /// The sources of each conversion, as digests of their names; of each set of runs, as the sets of its runs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    conversions: BTreeMap<String, Vec<String>>,
    files: Vec<Entry>,
}

/// The reason for which files of a directory cannot be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryConflict {
    /// A conversion of some of the plan's sources and of others: its files would be lost, or some rows be there twice.
    #[error("it holds results of some of these sources together with results of others, which would be lost")]
    SharedSources,
    /// An interrupted command had replaced some files of a conversion of other sources, and not the others.
    #[error(
        "an interrupted command replaced only some of the results of other sources in it, and the others are outdated"
    )]
    HalfReplaced,
    /// Files of the same set appeared after the execution had begun.
    #[error("another command has written results of the same name into it meanwhile; they were not replaced")]
    WrittenMeanwhile,
}

impl From<DirectoryConflict> for io::Error {
    fn from(conflict: DirectoryConflict) -> Self {
        io::Error::other(conflict)
    }
}

impl Manifest {
    /// Parses the manifest of a directory. An unreadable one is taken for none: its files are kept.
    fn parse(text: Option<&str>) -> Option<Self> {
        text.and_then(|text| serde_json::from_str(text).ok())
    }

    /// Returns the entries that results for `directory` replace. Fails if a conversion would be replaced in part.
    fn replaced_by(&self, directory: &Directory) -> Result<Vec<&Entry>, DirectoryConflict> {
        let ours: BTreeSet<&String> = directory.sources.iter().collect();
        let mut replaced = Vec::new();
        for entry in &self.files {
            let theirs = entry.conversion.as_ref().and_then(|conversion| self.conversions.get(conversion));
            if entry.set != directory.set {
                match theirs {
                    _ if ours.contains(&entry.set) => replaced.push(entry),
                    Some(theirs) if theirs.contains(&directory.set) && theirs.len() > 1 => {
                        return Err(DirectoryConflict::SharedSources);
                    }
                    Some(theirs) if theirs.contains(&directory.set) => replaced.push(entry),
                    _ => {}
                }
                continue;
            }
            // Manifests of earlier versions do not name the sources.
            let common = theirs.map_or(0, |theirs| theirs.iter().filter(|source| ours.contains(source)).count());
            match theirs {
                Some(theirs) if !ours.is_empty() && common == 0 && !theirs.is_empty() => {}
                Some(theirs) if !ours.is_empty() && common < theirs.len() => {
                    return Err(DirectoryConflict::SharedSources);
                }
                _ => replaced.push(entry),
            }
        }
        Ok(replaced)
    }
}

/// The files that an execution may replace, as they were when it began: paths and digests. `None` for a store, which is
/// not asked before the end.
pub(super) type Replaceable = Option<BTreeSet<(String, String)>>;

/// Lists the files that results for `directory` will replace. Fails if they would replace a conversion in part.
pub(super) fn replaceable(staging: &Staging, directory: &Directory) -> io::Result<Replaceable> {
    if !staging.is_local() {
        return Ok(None);
    }
    let Some(manifest) = Manifest::parse(staging.read(MANIFEST)?.as_deref()) else { return Ok(Some(BTreeSet::new())) };
    let replaced = manifest.replaced_by(directory)?;
    check_changeable(&directory.path, names_to_change(&replaced))?;
    Ok(Some(replaced.into_iter().map(|entry| (entry.path.clone(), entry.sha256.clone())).collect()))
}

/// Returns the names in a directory that change when `replaced` is replaced, as far as they are known before.
fn names_to_change<'a>(replaced: &[&'a Entry]) -> impl Iterator<Item = &'a Path> {
    replaced.iter().map(|entry| Path::new(&entry.path)).filter(|path| is_below(path)).chain(MARKERS.map(Path::new))
}

/// Fails if the results that an execution would replace in `directory` cannot be replaced or removed. Asked before the
/// work; again, for all names, before the first of them changes.
pub fn check_results_replaceable(directory: &Directory) -> io::Result<()> {
    let path = directory.path.join(MANIFEST);
    // Opening a pipe would block, and its reader reports it.
    let text = if path.is_file() { Some(std::fs::read_to_string(&path)?) } else { None };
    let manifest = Manifest::parse(text.as_deref());
    // Conflicts are reported when the set is known for certain.
    let replaced = manifest.as_ref().and_then(|manifest| manifest.replaced_by(directory).ok()).unwrap_or_default();
    check_changeable(&directory.path, names_to_change(&replaced))
}

/// Returns true if the manifest of `directory` lists `file`. A directory without a readable manifest lists none.
pub fn is_result(directory: &Path, file: &Path) -> bool {
    let path = directory.join(MANIFEST);
    let (Ok(directory), Ok(file)) = (directory.canonicalize(), file.canonicalize()) else { return false };
    let Ok(name) = file.strip_prefix(&directory) else { return false };
    // Opening a pipe would block.
    let Some(text) = path.is_file().then(|| std::fs::read(path).ok()).flatten() else { return false };
    let manifest: Result<Manifest, _> = serde_json::from_slice(&text);
    manifest.is_ok_and(|manifest| manifest.files.iter().any(|entry| Path::new(&entry.path) == name))
}

/// The files of an execution and their place in the directory. Made and used while the directory is locked.
pub(super) struct Publication {
    /// The files of this execution, with the names that they get.
    entries: Vec<Entry>,
    parts: Vec<PartFile>,
    /// The text of the manifest that the others follow from; `None` if there was none.
    before: Option<String>,
    /// The files of the manifest that stay, by their paths.
    kept: BTreeMap<String, Entry>,
    conversions: BTreeMap<String, Vec<String>>,
    /// The files that are removed: those that are replaced, and those of a killed process.
    stale: BTreeSet<String>,
    /// Sentences for the report about files that were kept or replaced.
    pub notes: Vec<String>,
}

/// Reads every file for its digest. Needs no lock.
pub(super) fn digests(files: &[StagedFile]) -> io::Result<Vec<String>> {
    files.iter().map(|file| digest_of(file.part.reread()?)).collect()
}

impl Publication {
    /// Decides which files of the directory are replaced, and names those of this execution, whose digests are
    /// `digests`. Changes nothing.
    pub(super) fn plan(
        staging: &Staging,
        directory: &Directory,
        replaceable: &Replaceable,
        files: Vec<StagedFile>,
        digests: Vec<String>,
    ) -> io::Result<Self> {
        let exists = |what: &str| io::Error::new(io::ErrorKind::AlreadyExists, what.to_owned());
        if directory.no_clobber && staging.exists(Path::new(MANIFEST))? {
            return Err(exists("already holds results, and overwriting is not allowed"));
        }
        let before = staging.read(MANIFEST)?;
        let manifest = Manifest::parse(before.as_deref());
        let replaced = manifest.as_ref().map_or(Ok(Vec::new()), |old| old.replaced_by(directory))?;
        let was_there = |entry: &&Entry| {
            let known = |known: &BTreeSet<_>| known.contains(&(entry.path.clone(), entry.sha256.clone()));
            // The same results, by a command of the same kind, are no loss.
            replaceable.as_ref().is_none_or(known) || digests.contains(&entry.sha256)
        };
        if !replaced.iter().all(was_there) {
            return Err(DirectoryConflict::WrittenMeanwhile.into());
        }
        let replaced: BTreeSet<&str> = replaced.into_iter().map(|entry| &*entry.path).collect();
        let (mut conversions, all) =
            manifest.as_ref().map(|old| (old.conversions.clone(), &*old.files)).unwrap_or_default();
        // The lock is held, so the writer of this journal has ended before it was done.
        let journal: BTreeSet<String> =
            staging.read_journal()?.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        let mut kept = BTreeMap::new();
        let mut lost = BTreeSet::new();
        for entry in all.iter().filter(|entry| !replaced.contains(&*entry.path)) {
            // It may have replaced a file of its own set, which the manifest still describes as it was.
            if !journal.contains(&entry.path) || is_intact(staging, entry)? {
                kept.insert(entry.path.clone(), entry.clone());
            } else {
                lost.insert((&entry.set, &entry.conversion));
            }
        }
        // With the rest alone, the directory would pass for complete.
        if kept.values().any(|entry| lost.contains(&(&entry.set, &entry.conversion))) {
            return Err(DirectoryConflict::HalfReplaced.into());
        }
        let stale = |path: &&str| !kept.contains_key(*path) && is_below(path);
        let mut stale: BTreeSet<String> = replaced
            .iter()
            .copied()
            .chain(journal.iter().map(|path| &**path))
            .filter(stale)
            .map(str::to_owned)
            .collect();
        let left = |path: &&String| journal.contains(*path) && staging.exists(Path::new(path)).unwrap_or(false);
        let mut notes = notes(directory, &kept, replaced.len() as u64, stale.iter().filter(left).count() as u64);
        let conversion = (!directory.sources.is_empty()).then(|| conversion_id(&directory.sources));
        let mut entries = Vec::with_capacity(files.len());
        let mut parts = Vec::with_capacity(files.len());
        let mut unlisted = 0;
        let mut taken: BTreeSet<String> = kept.keys().cloned().collect();
        for (StagedFile { name, rows, bytes, part }, sha256) in files.into_iter().zip(digests) {
            let mut path = name.to_string_lossy().into_owned();
            if directory.no_clobber && staging.exists(&name)? {
                return Err(exists(&format!("{path} already exists, and overwriting is not allowed")));
            }
            loop {
                if !taken.contains(&path) {
                    // A file that no manifest lists is not drawoff's, or its manifest is lost. A store is not asked for
                    // each name.
                    if stale.contains(&path) || !staging.is_local() || !staging.exists(Path::new(&path))? {
                        break;
                    }
                    unlisted += 1;
                }
                path = next_name(&path, &directory.set)
                    .ok_or_else(|| exists(&format!("{path} already exists, and no other name is free")))?;
            }
            taken.insert(path.clone());
            stale.remove(&path);
            let (set, conversion) = (directory.set.clone(), conversion.clone());
            entries.push(Entry { path, rows, bytes, sha256, set, conversion });
            parts.push(part);
        }
        // Now, because nothing has changed yet.
        stale.iter().try_for_each(|path| staging.check_removable(Path::new(path)))?;
        if staging.is_local() {
            let names = entries.iter().map(|entry| &entry.path).chain(&stale).map(Path::new);
            check_changeable(&directory.path, names.chain(MARKERS.map(Path::new)))?;
        }
        if unlisted > 0 {
            let (shown, files) = (directory.path.display(), counted(unlisted, "file"));
            notes.push(format!("{shown} has {files} of such names that its manifest does not list; kept"));
        }
        let in_use: BTreeSet<&String> = kept.values().filter_map(|entry| entry.conversion.as_ref()).collect();
        conversions.retain(|id, _| in_use.contains(id));
        if let Some(conversion) = conversion {
            conversions.insert(conversion, directory.sources.to_vec());
        }
        Ok(Publication { entries, parts, before, kept, conversions, stale, notes })
    }

    /// Returns the names of all files that are written, relative to the directory.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| &*entry.path).chain(MARKERS)
    }

    /// Renames the files into the directory, writes the manifest, and removes what they replace. Returns the entries of
    /// the files.
    ///
    /// No file system renames many files at once, so the order of the steps makes an interrupt harmless: the journal
    /// first lists every name that may be written or removed, `_SUCCESS` is absent while the directory is mixed, and the
    /// next execution removes the files of the journal that its own do not replace.
    pub(super) fn publish(self, staging: &Staging) -> io::Result<Vec<Entry>> {
        let Publication { entries, parts, before, kept, conversions, stale, .. } = self;
        let names: Vec<&str> =
            entries.iter().map(|entry| &*entry.path).chain(stale.iter().map(|path| &**path)).collect();
        staging.write_journal(&serde_json::to_vec(&names)?)?;
        // From here on the directory is incomplete, until `_SUCCESS` is written again.
        staging.remove(Path::new(SUCCESS))?;
        for (part, entry) in parts.iter().zip(&entries) {
            staging.publish(part.path(), Path::new(&entry.path))?;
        }
        for path in &stale {
            staging.remove(Path::new(path))?;
        }
        // The renames must be durable before the manifest that lists the files.
        let directories: BTreeSet<PathBuf> =
            entries.iter().filter_map(|entry| Some(Path::new(&entry.path).parent()?.to_owned())).collect();
        staging.sync_directories(directories.into_iter());
        // Without a lock, another command may have published meanwhile, and its files would be in no manifest.
        if !staging.is_locked() && staging.read(MANIFEST)? != before {
            return Err(DirectoryConflict::WrittenMeanwhile.into());
        }
        let mut all = kept;
        all.extend(entries.iter().map(|entry| (entry.path.clone(), entry.clone())));
        let manifest = Manifest {
            version: 1,
            writer: concat!("drawoff ", env!("CARGO_PKG_VERSION")).to_owned(),
            rows: all.values().map(|entry| entry.rows).sum(),
            bytes: all.values().map(|entry| entry.bytes).sum(),
            conversions,
            files: all.into_values().collect(),
        };
        staging.write_whole(MANIFEST, &serde_json::to_vec_pretty(&manifest)?)?;
        staging.write_whole(SUCCESS, b"")?;
        staging.remove_journal()?;
        staging.sync_directories(std::iter::empty());
        Ok(entries)
    }
}

/// Returns sentences for the report: how many files of an interrupted command are removed (`left`), and of a set that
/// several conversions share, how many files are kept and replaced.
fn notes(directory: &Directory, kept: &BTreeMap<String, Entry>, replaced: u64, left: u64) -> Vec<String> {
    let shown = directory.path.display();
    let mut notes = Vec::new();
    if left > 0 {
        notes.push(format!("removed {} of an interrupted command from {shown}", counted(left, "file")));
    }
    if directory.sources.is_empty() {
        return notes;
    }
    let others = kept.values().filter(|entry| entry.set == directory.set).count() as u64;
    if others > 0 {
        notes.push(format!("{shown} also holds {} of other sources, which were kept", counted(others, "file")));
    }
    if replaced > 0 {
        notes.push(format!("replaced {} of the same sources in {shown}", counted(replaced, "file")));
    }
    notes
}

/// Returns true if the file of `entry` has the contents that the manifest describes. A store is not read.
fn is_intact(staging: &Staging, entry: &Entry) -> io::Result<bool> {
    if !staging.is_local() {
        return Ok(true);
    }
    match staging.open(Path::new(&entry.path))? {
        Some(file) => Ok(digest_of(file)? == entry.sha256),
        None => Ok(false),
    }
}

/// Returns the identity of a conversion of `sources` in a manifest.
fn conversion_id(sources: &[String]) -> String {
    let mut hash = Sha256::new();
    let sorted: BTreeSet<&String> = sources.iter().collect();
    sorted.iter().for_each(|source| hash.update(source.as_bytes()));
    hex(&hash.finalize())[..16].to_owned()
}

/// Returns the name with the next number: `a=1/part-00002.csv` after `a=1/part-00001.csv`. `None` for names of another
/// form.
fn next_name(path: &str, set: &str) -> Option<String> {
    let (directory, name) = path.rsplit_once('/').map_or(("", path), |(directory, name)| (directory, name));
    let (number, extension) = name.strip_prefix(set)?.strip_prefix('-')?.split_once('.')?;
    let next = format!("{set}-{:05}.{extension}", number.parse::<u64>().ok()? + 1);
    Some(if directory.is_empty() { next } else { format!("{directory}/{next}") })
}

/// Returns true if a path cannot lead out of its directory. A manifest is untrusted input, and its files are removed.
fn is_below(path: impl AsRef<Path>) -> bool {
    path.as_ref().components().all(|component| matches!(component, Component::Normal(_)))
}

fn digest_of(mut file: impl Read) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => hash.update(&buffer[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(hex(&hash.finalize()))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_manifest_removes_nothing_outside() {
        assert!(is_below("a=1/part-00001.csv") && is_below("x"));
        assert!(!is_below("../x") && !is_below("/x") && !is_below("a/../../x"));
    }

    #[test]
    fn without_locks_another_manifest_is_not_replaced() {
        let location = tempfile::tempdir().unwrap();
        let directory = |source: &str| Directory {
            path: location.path().to_owned(),
            store: None,
            set: "part".to_owned(),
            sources: [source.to_owned()].into(),
            no_clobber: false,
            max_file_rows: None,
            max_file_bytes: None,
            partition_by: [].into(),
            leaves_out_empty: false,
        };
        let plan = |staging: &Staging, source: &str| {
            let mut part = staging.part(0);
            part.write_all(source.as_bytes()).unwrap();
            let files = vec![StagedFile { name: "part-00001.csv".into(), rows: 1, bytes: 1, part }];
            let digests = digests(&files).unwrap();
            let replaceable = replaceable(staging, &directory(source)).unwrap();
            Publication::plan(staging, &directory(source), &replaceable, files, digests).unwrap()
        };
        let (a, b) = (Staging::create(location.path()).unwrap(), Staging::create(location.path()).unwrap());
        let (plan_a, plan_b) = (plan(&a, "a"), plan(&b, "b"));
        plan_a.publish(&a).unwrap();
        let error = plan_b.publish(&b).unwrap_err();
        assert!(error.get_ref().is_some_and(|cause| cause.is::<DirectoryConflict>()), "{error}");
        assert_eq!(Manifest::parse(a.read(MANIFEST).unwrap().as_deref()).unwrap().files.len(), 1);
        // The journal of the second has its half results removed.
        let entries = plan(&b, "c").publish(&b).unwrap();
        assert_eq!(entries[0].path, "part-00001.csv");
        assert_eq!(std::fs::read(location.path().join("part-00001.csv")).unwrap(), b"c");
        assert!(b.read_journal().unwrap().is_none());
    }

    #[test]
    fn a_run_and_a_set_of_runs_with_it_replace_each_other_or_conflict() {
        let entry = |path: &str, set: &str, conversion: Option<&str>| Entry {
            path: path.to_owned(),
            rows: 1,
            bytes: 1,
            sha256: String::new(),
            set: set.to_owned(),
            conversion: conversion.map(str::to_owned),
        };
        let manifest = Manifest {
            version: 1,
            writer: String::new(),
            rows: 0,
            bytes: 0,
            conversions: [("ab", ["a", "b"].as_slice()), ("c", &["c"])]
                .map(|(id, sources)| (id.to_owned(), sources.iter().map(|source| (*source).to_owned()).collect()))
                .into(),
            files: vec![entry("1", "runs", Some("ab")), entry("2", "runs", Some("c")), entry("3", "d", None)],
        };
        let replaced = |set: &str, sources: &[&str]| {
            let directory = Directory {
                path: "x".into(),
                store: None,
                set: set.to_owned(),
                sources: sources.iter().map(|source| (*source).to_owned()).collect(),
                no_clobber: false,
                max_file_rows: None,
                max_file_bytes: None,
                partition_by: [].into(),
                leaves_out_empty: false,
            };
            let replaced = manifest.replaced_by(&directory);
            replaced.map(|entries| entries.iter().map(|entry| entry.path.clone()).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(replaced("runs", &["a", "b", "d"]).unwrap(), "1 3");
        assert_eq!(replaced("runs", &["e", "f"]).unwrap(), "");
        assert_eq!(replaced("c", &[]).unwrap(), "2");
        assert_eq!(replaced("d", &[]).unwrap(), "3");
        assert_eq!(replaced("e", &[]).unwrap(), "");
        for (set, sources) in [("a", &[][..]), ("runs", &["a", "e"])] {
            assert_eq!(replaced(set, sources), Err(DirectoryConflict::SharedSources), "{set}");
        }
    }

    #[test]
    fn names_are_counted_on() {
        assert_eq!(next_name("part-00001.csv", "part").unwrap(), "part-00002.csv");
        assert_eq!(next_name("a=1/b=2/run-7-99999.csv.gz", "run-7").unwrap(), "a=1/b=2/run-7-100000.csv.gz");
        assert_eq!(next_name("other-00001.csv", "part"), None);
    }
}
