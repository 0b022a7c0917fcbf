//! One file of state: JSON under a version, replaced whole.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::error::StateError;

/// The version that is written, and the newest that is read.
const VERSION: u64 = 1;

/// What `path` holds; `None` if there is no file.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StateError> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(StateError::Unusable { path: path.to_owned(), cause }),
    };
    let damaged = |text: String| StateError::Damaged { path: path.to_owned(), text };
    let mut document: Value = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    // The version first: what follows may have another shape in another one.
    match document.get("version").and_then(Value::as_u64) {
        Some(VERSION) => {}
        Some(found) if found > VERSION => {
            return Err(StateError::Newer { path: path.to_owned(), found, known: VERSION });
        }
        _ => return Err(damaged("it has no known version".to_owned())),
    }
    serde_json::from_value(document["content"].take()).map(Some).map_err(|error| damaged(error.to_string()))
}

/// Puts `content` at `path`. After a kill or a loss of power at any moment either the old file stands there or the new
/// one. The caller holds the lock, so nobody else uses the name of the new file.
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
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        // Some file systems cannot sync a folder; the rename itself has happened.
        if let Some(Ok(folder)) = path.parent().map(File::open) {
            let _ = folder.sync_all();
        }
        Ok(())
    };
    replace().map_err(|cause| StateError::Unusable { path: path.to_owned(), cause })
}
