//! Locks on names: one command at a time adds rows to a file, or publishes into a directory.
//!
//! A file that is replaced by a rename cannot carry its own lock, since the lock would stay with the old file. So the
//! lock is on a hidden file beside the name. Its owner removes it before the release; a process that then gets the lock
//! of the removed file notices that, and starts again with the file that is there now. The system releases a lock when
//! its process ends in any way, so a file that a killed process left is locked by the next one as it is.

use std::fs::{File, Metadata, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::io::Errno;

/// Interval between two attempts to lock. By eye: short beside the time that an owner takes for the smallest output.
const POLL: Duration = Duration::from_millis(10);

/// Removals of the lock file by its owners, one after another, after which the file system is taken for one that cannot
/// tell files apart. By eye: no command loses so many races.
const MAX_REMOVALS: usize = 10_000;

/// A function that is called again and again while a lock is waited for, with the name of the output. The wait ends with
/// the error that it returns.
pub type OnWait<'a> = &'a dyn Fn(&Path) -> io::Result<()>;

/// A held lock. Released when dropped.
#[derive(Debug)]
pub(super) struct NameLock {
    path: PathBuf,
    /// The locked file; `None` on file systems without locks.
    file: Option<File>,
}

impl NameLock {
    /// Waits for the lock file at `path`, which is for the output `name`. Where the file system has no locks, or the
    /// lock file is writable for another user only, the lock is held by name only, and its owner has to compare
    /// what it replaces. Fails if the directory of the lock file does not exist, or with the error of `on_wait`.
    pub(super) fn wait(path: PathBuf, name: &Path, on_wait: OnWait<'_>) -> io::Result<Self> {
        for _ in 0..MAX_REMOVALS {
            let (file, created) = match open(&path) {
                Ok(opened) => opened,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(error),
                Err(_) => return Ok(NameLock { path, file: None }),
            };
            loop {
                match file.try_lock() {
                    Ok(()) => break,
                    Err(TryLockError::WouldBlock) => {
                        on_wait(name)?;
                        thread::sleep(POLL);
                    }
                    Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                    // A file of a network file system that its owner has removed.
                    Err(TryLockError::Error(error)) if is_stale_handle(&error) => break,
                    Err(TryLockError::Error(_)) => {
                        if created {
                            let _ = std::fs::remove_file(&path);
                        }
                        return Ok(NameLock { path, file: None });
                    }
                }
            }
            // Else its owner removed the file before it released the lock.
            if is_at(&file, &path) {
                return Ok(NameLock { path, file: Some(file) });
            }
            on_wait(name)?;
        }
        Ok(NameLock { path, file: None })
    }
}

impl NameLock {
    /// Returns false where the file system has no locks.
    pub(super) fn is_held(&self) -> bool {
        self.file.is_some()
    }
}

impl Drop for NameLock {
    fn drop(&mut self) {
        // Before the release, which follows with the drop of the file. A file that cannot be removed is locked again by
        // the next command. One with contents belongs to a user.
        if self.file.as_ref().is_some_and(|file| file.metadata().is_ok_and(|found| found.len() == 0)) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Opens the lock file, and creates it if it is absent; true if it did. A symbolic link is not followed.
fn open(path: &Path) -> io::Result<(File, bool)> {
    let options = || {
        let mut options = File::options();
        options.read(true).custom_flags(OFlags::NOFOLLOW.bits() as i32);
        options
    };
    loop {
        // Not created while opening: in directories such as /tmp the system refuses that for files of other users.
        let mut opened = options().write(true).open(path);
        if matches!(&opened, Err(error) if error.kind() == io::ErrorKind::PermissionDenied) {
            // A lock needs no more than that on local file systems.
            opened = options().open(path);
        }
        match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened.map(|file| (file, false)),
        }
        match options().write(true).create_new(true).open(path) {
            // Another process was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => return created.map(|file| (file, true)),
        }
    }
}

fn is_stale_handle(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::STALE.raw_os_error())
}

/// Returns true if `file` is the one that `path` names.
fn is_at(file: &File, path: &Path) -> bool {
    let id = |metadata: &Metadata| (metadata.dev(), metadata.ino());
    matches!((file.metadata(), std::fs::symlink_metadata(path)), (Ok(a), Ok(b)) if id(&a) == id(&b))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const NO_WAIT: OnWait<'static> = &|_| Ok(());

    #[test]
    fn one_thread_at_a_time_holds_a_lock() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(".x.lock");
        let (inside, entered) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let lock = NameLock::wait(path.clone(), Path::new("x"), NO_WAIT).unwrap();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        entered.fetch_add(1, Ordering::SeqCst);
                        drop(lock);
                    }
                });
            }
        });
        assert_eq!(entered.into_inner(), 160);
        assert!(!path.exists(), "the last owner removes the file");
    }

    #[test]
    fn a_wait_can_be_given_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(".x.lock");
        let held = NameLock::wait(path.clone(), Path::new("x"), NO_WAIT).unwrap();
        let give_up = |name: &Path| {
            assert_eq!(name, Path::new("x"));
            Err(io::Error::from(io::ErrorKind::Interrupted))
        };
        let error = NameLock::wait(path.clone(), Path::new("x"), &give_up).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
        assert!(path.exists(), "the lock is still held");
        drop(held);
        let nowhere = directory.path().join("no/.x.lock");
        assert_eq!(NameLock::wait(nowhere, Path::new("x"), NO_WAIT).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_file_of_a_killed_process_is_locked_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(".x.lock");
        std::fs::write(&path, "").unwrap();
        let give_up: OnWait<'_> = &|_| Err(io::Error::other("it is locked"));
        drop(NameLock::wait(path.clone(), Path::new("x"), give_up).unwrap());
        assert!(!path.exists());
    }

    #[test]
    fn a_name_that_is_taken_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("own"), "precious").unwrap();
        std::os::unix::fs::symlink("own", at("link")).unwrap();
        std::os::unix::fs::symlink("nowhere", at("dangling")).unwrap();
        for name in ["own", "link", "dangling"] {
            drop(NameLock::wait(at(name), Path::new("x"), NO_WAIT).unwrap());
        }
        assert_eq!(std::fs::read(at("own")).unwrap(), b"precious");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 3);
    }
}
