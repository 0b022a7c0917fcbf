//! The files of a table that is a directory: failures of its storage as errors of a load, and ids of attempts. Knows no table
//! format.

use std::hash::{BuildHasher as _, Hasher as _};
use std::io;
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};

use super::error::LoadError;
use super::identity::hexadecimal;
use crate::sink::{StoreError, StoreProblem};

/// Returns true if the same request may succeed later.
fn is_transient(error: &io::Error) -> bool {
    let problem = error.get_ref().and_then(|cause| cause.downcast_ref::<StoreError>()).map(|error| &error.problem);
    matches!(problem, Some(StoreProblem::Unreachable))
}

/// Returns true if a cancel ended the request.
fn is_cancelled(error: &io::Error) -> bool {
    let problem = error.get_ref().and_then(|cause| cause.downcast_ref::<StoreError>()).map(|error| &error.problem);
    matches!(problem, Some(StoreProblem::Cancelled))
}

/// Returns the error of a table whose files cannot be read or written.
pub(super) fn load_error(table: &str, cause: io::Error) -> LoadError {
    if is_cancelled(&cause) {
        return LoadError::Cancelled;
    }
    if is_transient(&cause) {
        let cause = cause.to_string();
        return LoadError::Refused { table: table.to_owned(), cause, hint: None, is_transient: true };
    }
    if cause.kind() == io::ErrorKind::Unsupported {
        let hint = Some("use a store with conditional writes, or a directory".to_owned());
        return LoadError::Unsupported { table: table.to_owned(), what: cause.to_string(), hint };
    }
    LoadError::Write { table: table.to_owned(), cause, hint: None }
}

/// Returns an id that no other attempt has, on this or another machine, of 16 hexadecimal digits.
pub(super) fn new_attempt() -> String {
    let mut hash = Sha256::new();
    hash.update(std::process::id().to_le_bytes());
    hash.update(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos().to_le_bytes());
    for _ in 0..2 {
        // Seeded by the random source of the system.
        hash.update(std::hash::RandomState::new().build_hasher().finish().to_le_bytes());
    }
    hexadecimal(&hash.finalize()[..8])
}

/// Returns the time that has passed since `modified`; none for times in the future.
pub(super) fn age(modified: SystemTime) -> Duration {
    modified.elapsed().unwrap_or_default()
}
