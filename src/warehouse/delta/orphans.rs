//! Finds the data files that loads left behind: those of a load that ended before its entry. No reader sees them.

use std::collections::HashSet;
use std::time::Duration;

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
/// The files are listed before the log is read: an entry that was written in between names its files. A load that is running
/// elsewhere has files that no entry names yet, which is what the age is for; on this machine its lock is looked at, too.
pub(super) fn remove_orphans(
    place: &FilesPlace,
    table: &str,
    least: Duration,
    only_list: bool,
) -> Result<Orphans, LoadError> {
    let failed = |error| load_error(table, error);
    let storage = place.open().map_err(failed)?;
    let listed = storage.list("", None, true).map_err(failed)?;
    let candidates: Vec<StoredFile> = listed.into_iter().filter(|file| attempt_of(&file.name).is_some()).collect();
    let named = named_files(&storage).map_err(|error| read_error(table, error))?;
    if named.is_empty() && candidates.is_empty() && storage.list(LOG, None, false).map_err(failed)?.is_empty() {
        return Err(no_table(table));
    }
    let running = match place.store {
        None => running_attempts(&place.path).map_err(failed)?,
        Some(_) => Default::default(),
    };
    let mut orphans = Orphans::default();
    for file in candidates.into_iter().filter(|file| !named.contains(&file.name)) {
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

/// Returns the names of all files that an entry of the log, or its latest checkpoint, adds or removes.
fn named_files(storage: &DirectoryStorage) -> Result<HashSet<String>, ReadError> {
    let snapshot = Snapshot::read(storage, true)?;
    let mut named: HashSet<String> =
        snapshot.files.iter().flat_map(|files| files.keys()).filter_map(|(path, _)| decoded_path(path)).collect();
    named.extend(snapshot.removed.iter().filter_map(|path| decoded_path(path)));
    // Entries before the checkpoint name files of older versions, which readers may ask for.
    for version in Log::list(storage, None)?.entries {
        let Some(text) = storage.read(&entry_name(version))? else { continue };
        let read = each_action(&text, &mut |action| {
            let paths = action.add.map(|add| add.path).into_iter().chain(action.remove.map(|remove| remove.path));
            named.extend(paths.filter_map(|path| decoded_path(&path)));
            Ok(())
        });
        read.map_err(|cause| ReadError::Log(format!("entry {version} of its log cannot be read: {cause}")))?;
    }
    Ok(named)
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
