//! Finds the data files that loads left behind: those of a load that ended before its entry. No reader sees them.

use std::collections::HashSet;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::actions::decoded_path;
use super::load::{no_table, read_error};
use super::snapshot::{LOG, Log, ReadError, Snapshot, each_action, entry_name};
use crate::sink::{DirectoryStorage, StoredFile, remove_ended, running_attempts};
use crate::warehouse::data_files::remove_empty_directories;
use crate::warehouse::storage::{age, load_error};
use crate::warehouse::{FilesPlace, LoadError, Orphans};

/// Age from which the temporary file of an entry was left by a process that has ended: it gets its name at once.
const ENTRY_IS_LEFT: Duration = Duration::from_secs(600);

/// Removes the files of loads that no entry names and that are at least as old as `least`, or lists them if `only_list`.
///
/// Files and running loads are looked at before the log is read: a load that ended in between has its entry there. One that is
/// running elsewhere has files that no entry names yet, which is what the age is for.
///
/// Directories below are those of the table's partitions, or of other tables, whose files are left alone.
pub(super) fn remove_orphans(
    place: &FilesPlace,
    table: &str,
    least: Duration,
    only_list: bool,
) -> Result<Orphans, LoadError> {
    let failed = |error| load_error(table, error);
    let storage = place.open().map_err(failed)?;
    let listed = storage.list("", None, true).map_err(failed)?;
    let others = other_tables(&listed);
    let is_candidate = |file: &StoredFile| attempt_of(&file.name).is_some() && is_of_table(&file.name, &others);
    let candidates: Vec<StoredFile> = listed.into_iter().filter(is_candidate).collect();
    let running = match place.store {
        None => running_attempts(&place.path).map_err(failed)?,
        Some(_) => Default::default(),
    };
    let (named, elsewhere) = named_files(&storage).map_err(|error| read_error(table, error))?;
    if named.is_empty() && candidates.is_empty() && storage.list(LOG, None, false).map_err(failed)?.is_empty() {
        return Err(no_table(table));
    }
    let is_named = |name: &str| named.contains(name) || elsewhere.iter().any(|path| has_end(path, name));
    let mut orphans = Orphans::default();
    for file in candidates.into_iter().filter(|file| !is_named(&file.name)) {
        let is_running = match attempt_of(&file.name) {
            Some("") | None => age(file.modified) < ENTRY_IS_LEFT,
            Some(attempt) => running.contains(attempt),
        };
        if is_running || age(file.modified) < least {
            orphans.kept += 1;
            continue;
        }
        if !only_list {
            storage.remove(&file.name).map_err(failed)?;
            remove_empty_directories(place, &file.name);
        }
        orphans.bytes += file.bytes;
        orphans.removed.push(file.name);
    }
    if place.store.is_none() && !only_list && place.path.is_dir() {
        remove_ended(&place.path).map_err(failed)?;
    }
    orphans.removed.sort();
    Ok(orphans)
}

/// Returns the names of all files that an entry of the log, or its latest checkpoint, adds or removes, and the absolute paths
/// among them, which may be of files in this directory.
fn named_files(storage: &DirectoryStorage) -> Result<(HashSet<String>, Vec<String>), ReadError> {
    let snapshot = Snapshot::read(storage, true)?;
    let (mut named, mut elsewhere) = (HashSet::new(), Vec::new());
    let mut add = |path: &str| match decoded_path(path) {
        Some(name) => drop(named.insert(name)),
        None => elsewhere.push(percent_decode_str(path).decode_utf8_lossy().into_owned()),
    };
    snapshot.files.iter().flat_map(|files| files.keys()).for_each(|(path, _)| add(path));
    snapshot.removed.iter().for_each(|path| add(path));
    // Entries before the checkpoint name files of older versions, which readers may ask for.
    for version in Log::list(storage, None)?.entries {
        let Some(text) = storage.read(&entry_name(version))? else { continue };
        let read = each_action(&text, &mut |action| {
            let paths = action.add.map(|add| add.path).into_iter().chain(action.remove.map(|remove| remove.path));
            paths.for_each(|path| add(&path));
            Ok(())
        });
        read.map_err(|cause| ReadError::Log(format!("entry {version} of its log cannot be read: {cause}")))?;
    }
    Ok((named, elsewhere))
}

/// Returns true if `path` is one of a file `name` in some directory.
fn has_end(path: &str, name: &str) -> bool {
    path.strip_suffix(name).is_some_and(|directory| directory.ends_with('/'))
}

/// Returns the directories below that have a log or metadata of their own.
fn other_tables(files: &[StoredFile]) -> HashSet<String> {
    let table_of = |file: &StoredFile| {
        let parts: Vec<&str> = file.name.split('/').collect();
        let at = parts.iter().position(|part| [LOG, "metadata"].contains(part)).filter(|&at| at > 0)?;
        Some(parts[..at].join("/"))
    };
    files.iter().filter_map(table_of).collect()
}

/// Returns true for a file of this table: beside its log, in it, or in directories that are values of partitions, none of which
/// is a table by itself.
fn is_of_table(name: &str, others: &HashSet<String>) -> bool {
    let directories = name.rsplit_once('/').map_or("", |(directories, _)| directories);
    let mut directory = String::new();
    for part in directories.split('/').filter(|part| !part.is_empty()) {
        directory.push_str(part);
        if !part.contains('=') && directory != LOG || others.contains(&directory) {
            return false;
        }
        directory.push('/');
    }
    true
}

/// Returns the id of the attempt that wrote a file, by its name; `None` for files of others. Temporary files of the log have
/// none that could run.
fn attempt_of(name: &str) -> Option<&str> {
    let file = name.rsplit('/').next()?;
    if name.starts_with(LOG) {
        return (file.starts_with(".drawoff-") && file.ends_with(".tmp")).then_some("");
    }
    crate::warehouse::data_files::attempt_of(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_tables_below_are_left_alone() {
        let file = |name: &str| StoredFile { name: name.into(), bytes: 1, modified: std::time::SystemTime::UNIX_EPOCH };
        let others = other_tables(&[
            file("_delta_log/00000000000000000000.json"),
            file("a/_delta_log/00000000000000000000.json"),
            file("c=1/metadata/v1.metadata.json"),
            file("c=2/x.parquet"),
        ]);
        let of = |name: &str| is_of_table(name, &others);
        let file = "drawoff-0123456789abcdef-00001.parquet";
        assert!(of(file) && of(&format!("c=2/{file}")) && of(&format!("c=2/d=%2F/{file}")));
        assert!(of("_delta_log/.drawoff-Ab3.tmp"));
        for directory in ["a", "b", "a/c=1", "c=1", "c=1/d=2", "c=2/x", "_delta_log/c=1/x"] {
            assert!(!of(&format!("{directory}/{file}")), "{directory}");
        }
        assert!(has_end("/srv/t/c=1/a.parquet", "c=1/a.parquet") && has_end("s3://b/t/a.parquet", "a.parquet"));
        assert!(!has_end("/srv/t/ba.parquet", "a.parquet"));
    }

    #[test]
    fn only_files_of_loads_are_looked_at() {
        let of = |name: &str| attempt_of(name).map(str::to_owned);
        assert_eq!(of("drawoff-0123456789abcdef-00001.parquet").unwrap(), "0123456789abcdef");
        assert_eq!(of("c=1/drawoff-01234567-0123456789abcdef-100000.parquet").unwrap(), "0123456789abcdef");
        assert_eq!(of("_delta_log/.drawoff-Ab3.tmp").unwrap(), "");
        for name in [
            "part-00001.parquet",
            "drawoff-0123456789abcdef-00001.csv",
            "drawoff-people-00001.parquet",
            "drawoff-0123456789abcdeg-00001.parquet",
            "_delta_log/00000000000000000001.json",
            "_delta_log/drawoff-0123456789abcdef-00001.parquet",
        ] {
            assert_eq!(of(name), None, "{name}");
        }
    }
}
