//! Finds the files that loads left behind: data and metadata of a load that ended before its commit. No reader sees them.

use std::collections::HashSet;
use std::io;
use std::time::Duration;

use super::catalog::Catalog;
use super::files::{FileAccess, TableFiles, is_metadata, without_scheme};
use super::load::{attempt_in, directories, no_table};
use super::manifest::{ManifestList, files_of};
use super::metadata::TableMetadata;
use crate::sink::{remove_ended, running_attempts};
use crate::warehouse::data_files::{attempt_of, remove_empty_directories};
use crate::warehouse::storage::{age, load_error};
use crate::warehouse::{LoadError, Orphans};

/// Age from which the temporary file of metadata was left by a process that has ended: it gets its name at once.
const METADATA_IS_LEFT: Duration = Duration::from_secs(600);

/// Removes the files of loads that no snapshot names and that are at least as old as `least`, or lists them if `only_list`.
/// Files of another table in the same place are kept, as far as its metadata is there: one that was renamed, or that another
/// catalog has.
///
/// The files are listed before the metadata is read: a commit that was made in between names its files. A load that is running
/// elsewhere has files that no snapshot names yet, which is what the age is for; on this machine its lock is looked at, too.
pub(super) fn remove_orphans(
    catalog: &dyn Catalog,
    access: &FileAccess,
    table: &str,
    least: Duration,
    only_list: bool,
) -> Result<Orphans, LoadError> {
    let failed = |error| load_error(table, error);
    let missing = || no_table(table);
    let found = catalog.load()?.ok_or_else(missing)?;
    let access = access.with(&found.options);
    let files = TableFiles::new(access.clone());
    let (data, metadata) = directories(&found.metadata);
    let mut candidates = Vec::new();
    for file in files.list(&data).map_err(failed)? {
        let attempt = attempt_of(&file.name).map(str::to_owned);
        candidates.extend(attempt.map(|attempt| (&data, file, attempt)));
    }
    for file in files.list(&metadata).map_err(failed)? {
        let attempt = match file.name.ends_with(".tmp") {
            true => file.name.starts_with(".drawoff-").then(String::new),
            false => attempt_in(&file.name),
        };
        candidates.extend(attempt.map(|attempt| (&metadata, file, attempt)));
    }
    let place = access.place(&data).map_err(failed)?;
    let running = match place.store {
        None => running_attempts(&place.path).map_err(failed)?,
        Some(_) => Default::default(),
    };
    let unfinished = catalog.unfinished()?;
    let unreadable = |cause| LoadError::Refused { table: table.to_owned(), cause, hint: None, is_transient: false };
    let found = catalog.load()?.ok_or_else(missing)?;
    let mut named = HashSet::new();
    named_files(&found.metadata, found.metadata_location.as_deref(), &files, &mut named).map_err(unreadable)?;
    let own = format!("{}/metadata", found.metadata.location());
    for directory in std::iter::once(&metadata).chain((own != metadata).then_some(&own)) {
        for file in files.list(directory).map_err(failed)?.iter().filter(|file| is_metadata(&file.name)) {
            let url = format!("{directory}/{}", file.name);
            if named.contains(without_scheme(&url)) || unfinished.contains(&url) {
                continue;
            }
            let bytes = match files.read(&url) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                bytes => bytes.map_err(failed)?,
            };
            let other = TableMetadata::of_file(&bytes)
                .map_err(|cause| unreadable(format!("{url} cannot be read, and may be of another table: {cause}")))?;
            if other.uuid() != found.metadata.uuid() {
                named_files(&other, Some(&url), &files, &mut named).map_err(unreadable)?;
            }
        }
    }
    let mut orphans = Orphans::default();
    for (directory, file, attempt) in candidates {
        let url = format!("{directory}/{}", file.name);
        if named.contains(without_scheme(&url)) {
            continue;
        }
        let is_running = match attempt.is_empty() {
            true => age(file.modified) < METADATA_IS_LEFT,
            false => running.contains(&attempt),
        };
        if is_running || age(file.modified) < least {
            orphans.kept += 1;
            continue;
        }
        if !only_list {
            files.remove_in(directory, &file.name).map_err(failed)?;
            if unfinished.contains(&url) {
                catalog.forget_unfinished(&url)?;
            }
            remove_empty_directories(&place, &file.name);
        }
        orphans.bytes += file.bytes;
        orphans.removed.push(url);
    }
    if place.store.is_none() && !only_list && place.path.is_dir() {
        remove_ended(&place.path).map_err(failed)?;
    }
    orphans.removed.sort();
    Ok(orphans)
}

/// Adds all files that the metadata of a table and its snapshots name, without schemes. `current` is the URL of the metadata.
fn named_files(
    metadata: &TableMetadata,
    current: Option<&str>,
    files: &TableFiles,
    named: &mut HashSet<String>,
) -> Result<(), String> {
    let mut add = |url: &str| named.insert(without_scheme(url).to_owned());
    let last_list = metadata.current_snapshot().and_then(|snapshot| snapshot.get("manifest-list")?.as_str());
    for url in current.into_iter().chain(metadata.metadata_log()).chain(metadata.statistics_files()) {
        add(url);
    }
    let mut manifests = HashSet::new();
    let failed = |url: &str, cause: &dyn std::fmt::Display| format!("{url} cannot be read: {cause}");
    for url in metadata.manifest_lists() {
        add(url);
        let bytes = match files.read(url) {
            // Of a snapshot that another tool is expiring: it names nothing any more.
            Err(error) if error.kind() == io::ErrorKind::NotFound && Some(url) != last_list => continue,
            bytes => bytes.map_err(|error| failed(url, &error))?,
        };
        let list = ManifestList::read(&bytes).map_err(|cause| failed(url, &cause))?;
        manifests.extend(list.paths().map(str::to_owned));
    }
    for url in &manifests {
        add(url);
        let bytes = files.read(url).map_err(|error| failed(url, &error))?;
        files_of(&bytes).map_err(|cause| failed(url, &cause))?.iter().for_each(|file| {
            add(file);
        });
    }
    Ok(())
}
