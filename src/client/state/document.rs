//! A file of state: a JSON document with a version, replaced atomically. The types of the content are those of `ledger`
//! and `start`.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::error::StateError;

/// Version that is written, and the only one that is read.
const VERSION: u64 = 1;

/// Reads the content of the document at `path`; `None` if there is no file.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StateError> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(StateError::Unusable { path: path.to_owned(), cause }),
    };
    let damaged = |text: String| StateError::Damaged { path: path.to_owned(), text };
    let mut document: Value = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    // Check the version before the content, whose shape depends on it.
    match document.get("version").and_then(Value::as_u64) {
        Some(VERSION) => {}
        Some(found) if found > VERSION => {
            return Err(StateError::Newer { path: path.to_owned(), found, known: VERSION });
        }
        _ => return Err(damaged("it has no valid `version`".to_owned())),
    }
    serde_json::from_value(document["content"].take()).map(Some).map_err(|error| damaged(error.to_string()))
}

/// Replaces the document at `path` atomically: after a kill or a power failure at any point it is either the old or the
/// new one. The caller holds the lock, so no other process uses the temporary name.
pub(super) fn write<T: Serialize>(path: &Path, content: &T) -> Result<(), StateError> {
    let replace = || -> io::Result<()> {
        let new = path.with_extension("json.new");
        let mut options = File::options();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(0o600);
        }
        let mut file = options.open(&new)?;
        let mut text = serde_json::to_vec_pretty(&json!({"version": VERSION, "content": content}))?;
        text.push(b'\n');
        file.write_all(&text)?;
        // Contents before the name: a rename may reach the disk first.
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        // Some file systems cannot sync a directory. The rename is done in any case.
        if let Some(Ok(directory)) = path.parent().map(File::open) {
            let _ = directory.sync_all();
        }
        Ok(())
    };
    replace().map_err(|cause| StateError::Unusable { path: path.to_owned(), cause })
}
