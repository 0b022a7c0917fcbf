//! Temporary files that become outputs, and the removal of those that killed processes left behind.
//!
//! A partial file is named `.NAME.PID-RANDOM.partial`, in the directory of its output. Its writer locks it for its
//! whole life, and the system releases the lock when the process ends in any way. So a process that gets the lock
//! knows that the writer has ended, even if its pid is in use again. The pid in the name covers the moment between
//! creating and locking a file, and file systems without working locks.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Pid;
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use super::attributes;
use super::forced_end;
use crate::text::hex;

/// Suffix of partial files and of hidden directories.
const SUFFIX: &str = ".partial";

/// Prefix of the names of hidden directories.
const DIRECTORY_PREFIX: &str = ".parts.";

/// Name of the file in a hidden directory that its writer keeps locked.
const LOCK_FILE: &str = "lock";

/// Bytes of the output's name that the partial's name contains at most. With pid and suffix it must stay below the 255
/// bytes of a file name.
const MAX_STEM_BYTES: usize = 150;

/// Age from which an unlocked partial file is stale even if its pid is in use: another process has that pid by now.
/// Chosen by eye: a living writer holds its lock, or writes more often.
const ABANDONED_AFTER: Duration = Duration::from_secs(600);

/// Creates a locked partial file for `path`, after removing stale ones. With `private`, only its owner can open it.
pub(super) fn create(path: &Path, private: bool) -> io::Result<NamedTempFile> {
    // A stale file that stays does no harm; a directory that is not writable is reported below.
    let _ = remove_stale(path);
    let mut prefix = OsString::from(prefix(path)?);
    prefix.push(format!("{}-", std::process::id()));
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(SUFFIX);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // The umask decides for a new file, as for the output of any program; the default of temporary files is 0600.
        let mode = if private { attributes::PRIVATE_MODE } else { 0o666 };
        builder.permissions(std::fs::Permissions::from_mode(mode));
    }
    // In the directory of the output: a rename works only within one file system.
    let temp = builder.tempfile_in(directory_of(path))?;
    forced_end::record(temp.path().to_owned());
    // On a file system without locks only the pid in the name protects the file.
    let _ = temp.as_file().try_lock();
    Ok(temp)
}

/// Creates a hidden directory in `directory` for partial files, after removing stale ones. The returned file holds its
/// lock.
pub(super) fn create_directory(directory: &Path) -> io::Result<(PathBuf, File)> {
    let _ = remove_stale_directories(directory);
    let prefix = format!("{DIRECTORY_PREFIX}{}-", std::process::id());
    let hidden = tempfile::Builder::new().prefix(&prefix).suffix(SUFFIX).tempdir_in(directory)?;
    let lock = File::create(hidden.path().join(LOCK_FILE))?;
    let _ = lock.try_lock();
    forced_end::record(hidden.path().to_owned());
    // `Staging` removes it; the temporary directory's own removal is switched off.
    Ok((hidden.keep(), lock))
}

/// Removes the hidden directories in `directory` whose writers have ended, and returns their number.
pub(super) fn remove_stale_directories(directory: &Path) -> io::Result<u64> {
    let mut removed = 0;
    for (path, is_stale) in hidden_directories(directory)? {
        removed += u64::from(is_stale && std::fs::remove_dir_all(path).is_ok());
    }
    Ok(removed)
}

/// Returns the hidden directories in `directory` whose writers may be alive.
pub(super) fn running_directories(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let found = match hidden_directories(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        found => found?,
    };
    Ok(found.into_iter().filter(|(_, is_stale)| !is_stale).map(|(path, _)| path).collect())
}

/// Lists the hidden directories in `directory`; true for those whose writers have ended.
fn hidden_directories(directory: &Path) -> io::Result<Vec<(PathBuf, bool)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| pid_in_name(name, DIRECTORY_PREFIX)) else { continue };
        // Without a lock file it may be one that is being created, by a process that is alive.
        let stale = match std::fs::symlink_metadata(entry.path().join(LOCK_FILE)) {
            Ok(_) => is_stale(&entry.path().join(LOCK_FILE), pid),
            Err(_) => Ok(!is_alive(pid)),
        };
        found.push((entry.path(), stale.unwrap_or(false)));
    }
    Ok(found)
}

/// Returns the path of the lock file for rows that are appended to the file at `path`. No other name in its directory
/// has the same lock: a command that appends to both files would wait for itself.
pub(super) fn lock_path(path: &Path) -> io::Result<PathBuf> {
    let prefix = prefix(path)?;
    let name = path.file_name().unwrap_or_default().as_bytes();
    // The prefix of a long name is cut, and that of a name that is not UTF-8 contains replacement characters.
    let is_whole = prefix.len() == name.len() + 2 && prefix.as_bytes()[1..=name.len()] == *name;
    let digest = if is_whole { String::new() } else { hex(&Sha256::digest(name))[..16].to_owned() + "." };
    Ok(path.with_file_name(prefix + &digest + "drawoff-lock"))
}

/// Removes the partial files for `path` whose writers have ended, and returns their number. Files of living processes
/// stay. A directory that does not exist has none.
pub(super) fn remove_stale(path: &Path) -> io::Result<usize> {
    let prefix = prefix(path)?;
    let entries = match std::fs::read_dir(directory_of(path)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut removed = 0;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        // Only names of this exact form: files of the user are never touched.
        let Some(pid) = name.to_str().and_then(|name| pid_in_name(name, &prefix)) else { continue };
        // A file that vanished was removed by another process, and is not counted.
        if is_stale(&entry.path(), pid).unwrap_or(false) && std::fs::remove_file(entry.path()).is_ok() {
            removed += 1;
        }
    }
    Ok(removed)
}

/// Parses the pid in the name of a partial file with this `prefix`; `None` for other names.
fn pid_in_name(name: &str, prefix: &str) -> Option<u32> {
    let (pid, random) = name.strip_prefix(prefix)?.strip_suffix(SUFFIX)?.split_once('-')?;
    let random = !random.is_empty() && random.bytes().all(|b| b.is_ascii_alphanumeric());
    random.then(|| pid.parse().ok())?
}

/// Returns true if the file is not locked, and its writer has ended or has not written for [`ABANDONED_AFTER`].
fn is_stale(path: &Path, pid: u32) -> io::Result<bool> {
    // Opening a named pipe would block until its other end is opened.
    if !std::fs::symlink_metadata(path)?.is_file() {
        return Ok(false);
    }
    let file = File::options().write(true).open(path)?;
    // Its writer lives. The lock taken here is released when `file` is dropped.
    if file.try_lock().is_err() {
        return Ok(false);
    }
    let untouched = file.metadata()?.modified()?.elapsed().unwrap_or_default();
    Ok(untouched > ABANDONED_AFTER || !is_alive(pid))
}

fn is_alive(process: u32) -> bool {
    let Some(pid) = i32::try_from(process).ok().and_then(Pid::from_raw) else { return false };
    // Any error but ESRCH means that the process exists: EPERM for that of another user.
    rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH)
}

/// Returns the start of the names of the partial files of `path`: `.NAME.`, cut at a character boundary.
fn prefix(path: &Path) -> io::Result<String> {
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "has no file name"))?;
    let name = name.to_string_lossy();
    let end = (0..=MAX_STEM_BYTES.min(name.len())).rev().find(|&end| name.is_char_boundary(end)).unwrap_or(0);
    Ok(format!(".{}.", &name[..end]))
}

/// Returns the directory of `path`; `.` for a bare file name.
pub(super) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pid that no process has: it is far above the limit of the system.
    const DEAD_PID: u32 = 2_000_000_000;

    #[test]
    fn only_partial_files_of_ended_processes_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.csv");
        let mine = create(&path, false).unwrap();
        let kept = [
            // Of a living process that has not locked it yet.
            format!(".out.csv.{}-abcdef.partial", std::process::id()),
            // Of another output, and files of the user's own.
            format!(".other.csv.{DEAD_PID}-abcdef.partial"),
            ".out.csv.notes.partial".to_owned(),
            ".out.csv.12-.partial".to_owned(),
            format!(".out.csv.{DEAD_PID}-abcdef"),
        ];
        std::os::unix::fs::symlink("nowhere", directory.path().join(format!(".out.csv.{DEAD_PID}-link.partial")))
            .unwrap();
        let stale = format!(".out.csv.{DEAD_PID}-abcdef.partial");
        let locked = format!(".out.csv.{DEAD_PID}-ghijkl.partial");
        kept.iter().chain([&stale, &locked]).for_each(|name| std::fs::write(directory.path().join(name), "x").unwrap());
        let lock = File::open(directory.path().join(&locked)).unwrap();
        lock.try_lock().unwrap();

        assert_eq!(remove_stale(&path).unwrap(), 1);
        assert!(!directory.path().join(&stale).exists());
        assert!(kept.iter().chain([&locked]).all(|name| directory.path().join(name).exists()));
        assert!(mine.path().exists(), "its writer lives");
        drop(lock);
        assert_eq!(remove_stale(&path).unwrap(), 1, "a lock ends with its process");
        assert_eq!(remove_stale(Path::new("/nowhere/at/all.csv")).unwrap(), 0);
    }

    #[test]
    fn every_name_has_its_own_lock() {
        use std::ffi::OsStr;

        let long = "a".repeat(200);
        let names: [&OsStr; 6] = [
            "a".as_ref(),
            "a.csv".as_ref(),
            OsStr::from_bytes(b"\xe9"),
            OsStr::from_bytes(b"\xe8"),
            OsStr::new(&long),
            OsStr::from_bytes(&long.as_bytes()[1..]),
        ];
        let locks: std::collections::BTreeSet<PathBuf> =
            names.iter().map(|name| lock_path(&Path::new("/d").join(name)).unwrap()).collect();
        assert_eq!(locks.len(), names.len(), "{locks:?}");
        assert!(locks.contains(Path::new("/d/.a.csv.drawoff-lock")));
        assert!(locks.iter().all(|lock| lock.as_os_str().len() < 255));
    }

    #[test]
    fn a_long_name_is_cut_for_its_partial_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ü".repeat(120) + ".parquet");
        create(&path, false).unwrap();
    }
}
