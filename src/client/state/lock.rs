//! An advisory file lock that ends with its process and names its owner by pid.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use super::error::StateError;

/// A held lock. Released when dropped, or by the system when the process ends in any way.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Acquires the lock file at `path` for `resource`, without waiting; fails with [`StateError::Busy`] if another
    /// process holds it. The file is never removed: a process could then lock the removed file while another locks a
    /// new one.
    pub(super) fn take(path: &Path, resource: &str) -> Result<Self, StateError> {
        let unusable = |cause| StateError::Unusable { path: path.to_owned(), cause };
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(0o600);
        }
        let mut file = options.open(path).map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // Empty between the other process's lock and its write of the pid.
                let _ = file.read_to_string(&mut text);
                return Err(StateError::Busy { resource: resource.to_owned(), pid: text.trim().parse().ok() });
            }
            Err(TryLockError::Error(cause)) => return Err(unusable(cause)),
        }
        // The pid only serves the message of the other process; the lock itself is the system's.
        let mut name_owner = || -> io::Result<()> {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        name_owner().map_err(unusable)?;
        Ok(Lock { _file: file })
    }
}
