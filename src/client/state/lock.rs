//! A lock that ends with its process, and says whose it is.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use super::error::StateError;

/// Held until it is dropped, or until the process ends in whatever way.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock file at `path` for `what`. The file stays when the lock ends: removing it would let two
    /// processes hold locks of the same name.
    pub fn take(path: &Path, what: &str) -> Result<Self, StateError> {
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
                // Between the other's lock and its number there is nothing to read.
                let _ = file.read_to_string(&mut text);
                return Err(StateError::Busy { what: what.to_owned(), pid: text.trim().parse().ok() });
            }
            Err(TryLockError::Error(cause)) => return Err(unusable(cause)),
        }
        let mut name_owner = || -> io::Result<()> {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        name_owner().map_err(unusable)?;
        Ok(Lock { _file: file })
    }
}
