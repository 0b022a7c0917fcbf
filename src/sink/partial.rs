//! Temporary files that become outputs, and what dead processes left of theirs.
//!
//! A partial file is called `.NAME.PID-RANDOM.partial` and stands beside the file that it will be. Its writer holds a
//! lock on it for as long as it lives, and a kill ends the lock with the process; so whoever gets the lock knows that
//! the writer is gone, however numbers of processes are used again. The number in the name covers the moment between
//! making a file and locking it, and file systems whose locks mean nothing.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Pid;
use tempfile::NamedTempFile;

const SUFFIX: &str = ".partial";

/// What the names of hidden folders begin with.
const DIRECTORY_PREFIX: &str = ".parts.";

/// The file in a hidden folder that its writer holds a lock on.
const LOCK: &str = "lock";

/// Of a longer name only so much stands in the partial's, which must not be longer than a name may be.
const MAX_STEM_BYTES: usize = 150;

/// A partial that nobody has locked or written for so long is stale, even if a process of its number lives: the number
/// is used again. By eye: a writer that lives writes more often, or holds its lock.
const ABANDONED: Duration = Duration::from_secs(600);

/// Makes a partial file for `path`, locked by this process, after taking away those of dead ones.
pub(super) fn create(path: &Path) -> io::Result<NamedTempFile> {
    // What cannot be removed is a blemish; what cannot be written is reported below.
    let _ = remove_stale(path);
    let mut prefix = OsString::from(prefix(path)?);
    prefix.push(format!("{}-", std::process::id()));
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(SUFFIX);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // As any program's output: the umask decides.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let temp = builder.tempfile_in(directory_of(path))?;
    // Some file systems have no locks; the number in the name is then all that protects it.
    let _ = temp.as_file().try_lock();
    Ok(temp)
}

/// Makes a hidden folder in `folder` for files in the making, after taking away those of dead processes. The file that is
/// returned holds the lock on it.
pub(super) fn create_directory(folder: &Path) -> io::Result<(PathBuf, File)> {
    let _ = remove_stale_directories(folder);
    let prefix = format!("{DIRECTORY_PREFIX}{}-", std::process::id());
    let hidden = tempfile::Builder::new().prefix(&prefix).suffix(SUFFIX).tempdir_in(folder)?;
    let lock = File::create(hidden.path().join(LOCK))?;
    let _ = lock.try_lock();
    Ok((hidden.keep(), lock))
}

fn remove_stale_directories(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(writer) = name.to_str().and_then(|name| writer_of(name, DIRECTORY_PREFIX)) else { continue };
        // Without its lock it may be one that is being made just now; then its process lives.
        let stale = match std::fs::symlink_metadata(entry.path().join(LOCK)) {
            Ok(_) => is_stale(&entry.path().join(LOCK), writer),
            Err(_) => Ok(!is_alive(writer)),
        };
        if stale.unwrap_or(false) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}

/// Removes the partial files for `path` whose writers are gone, and says how many there were. Those of living
/// processes stay. A folder that is not there has none.
pub fn remove_stale(path: &Path) -> io::Result<usize> {
    let prefix = prefix(path)?;
    let entries = match std::fs::read_dir(directory_of(path)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut removed = 0;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some(writer) = name.to_str().and_then(|name| writer_of(name, &prefix)) else { continue };
        // One that is gone meanwhile was removed by somebody else.
        if is_stale(&entry.path(), writer).unwrap_or(false) && std::fs::remove_file(entry.path()).is_ok() {
            removed += 1;
        }
    }
    Ok(removed)
}

/// The number of the process that writes the partial file `name`, if it is one with this `prefix`.
fn writer_of(name: &str, prefix: &str) -> Option<u32> {
    let (writer, random) = name.strip_prefix(prefix)?.strip_suffix(SUFFIX)?.split_once('-')?;
    let random = !random.is_empty() && random.bytes().all(|b| b.is_ascii_alphanumeric());
    random.then(|| writer.parse().ok())?
}

fn is_stale(path: &Path, writer: u32) -> io::Result<bool> {
    // Opening a pipe that somebody put there would wait for its other end.
    if !std::fs::symlink_metadata(path)?.is_file() {
        return Ok(false);
    }
    let file = File::options().write(true).open(path)?;
    if file.try_lock().is_err() {
        return Ok(false);
    }
    let untouched = file.metadata()?.modified()?.elapsed().unwrap_or_default();
    Ok(untouched > ABANDONED || !is_alive(writer))
}

fn is_alive(process: u32) -> bool {
    let Some(pid) = i32::try_from(process).ok().and_then(Pid::from_raw) else { return false };
    // Another user's process refuses the question, and so lives.
    rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH)
}

fn prefix(path: &Path) -> io::Result<String> {
    let name =
        path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "is not the name of a file"))?;
    let name = name.to_string_lossy();
    let end = (0..=MAX_STEM_BYTES.min(name.len())).rev().find(|&end| name.is_char_boundary(end)).unwrap_or(0);
    Ok(format!(".{}.", &name[..end]))
}

/// The folder that holds `path`.
pub fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No process has this number: the system's limit is far below it.
    const NOBODY: u32 = 2_000_000_000;

    #[test]
    fn only_what_dead_processes_left_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.csv");
        let mine = create(&path).unwrap();
        let kept = [
            // A living process that has no lock yet.
            format!(".out.csv.{}-abcdef.partial", std::process::id()),
            // Of another output, and files of the user's own.
            format!(".other.csv.{NOBODY}-abcdef.partial"),
            ".out.csv.notes.partial".to_owned(),
            ".out.csv.12-.partial".to_owned(),
            format!(".out.csv.{NOBODY}-abcdef"),
        ];
        std::os::unix::fs::symlink("nowhere", folder.path().join(format!(".out.csv.{NOBODY}-link.partial"))).unwrap();
        let stale = format!(".out.csv.{NOBODY}-abcdef.partial");
        let locked = format!(".out.csv.{NOBODY}-ghijkl.partial");
        kept.iter().chain([&stale, &locked]).for_each(|name| std::fs::write(folder.path().join(name), "x").unwrap());
        let lock = File::open(folder.path().join(&locked)).unwrap();
        lock.try_lock().unwrap();

        assert_eq!(remove_stale(&path).unwrap(), 1);
        assert!(!folder.path().join(&stale).exists());
        assert!(kept.iter().chain([&locked]).all(|name| folder.path().join(name).exists()));
        assert!(mine.path().exists(), "its writer lives");
        drop(lock);
        assert_eq!(remove_stale(&path).unwrap(), 1, "a lock ends with its process");
        assert_eq!(remove_stale(Path::new("/nowhere/at/all.csv")).unwrap(), 0);
    }

    #[test]
    fn a_long_name_has_room_for_its_partial() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ü".repeat(120) + ".parquet");
        create(&path).unwrap();
    }
}
