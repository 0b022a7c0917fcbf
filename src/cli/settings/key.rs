//! The API key from a file or from a command.

use std::fmt;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::{Deserialize, Deserializer};

use super::setting::{Error, Origin};
use crate::secret::ApiKey;

/// A shell command that prints the key. It may hold secrets itself, so that it is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyCommand(String);

impl From<String> for KeyCommand {
    fn from(command: String) -> Self {
        KeyCommand(command)
    }
}

impl fmt::Debug for KeyCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyCommand(redacted)")
    }
}

impl<'de> Deserialize<'de> for KeyCommand {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(KeyCommand)
    }
}

/// No key is longer. A file or a command that goes on is not one that holds a key.
const MAX_KEY_BYTES: u64 = 64 << 10;

/// The text of a file that only its owner can read. Pipes (as of a shell's `<(command)`) are read as they are.
pub(super) fn from_file(path: &Path, origin: &Origin) -> Result<ApiKey, Error> {
    let fail = |cause| Error::KeyFile { path: path.to_owned(), origin: origin.clone(), cause };
    let mut file = std::fs::File::open(path).map_err(fail)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // Asked of the open file: its name may mean another one by now.
        let metadata = file.metadata().map_err(fail)?;
        let mode = metadata.permissions().mode() & 0o777;
        if metadata.is_file() && mode & 0o077 != 0 {
            return Err(Error::KeyFileOpen { path: path.to_owned(), origin: origin.clone(), mode });
        }
    }
    let mut text = String::new();
    (&mut file).take(MAX_KEY_BYTES).read_to_string(&mut text).map_err(fail)?;
    Ok(ApiKey::new(&text))
}

/// The first line that `command` prints, run by the shell. It may talk to its user on standard error and the terminal;
/// standard input is not its own.
pub(super) fn from_command(KeyCommand(command): &KeyCommand, origin: &Origin) -> Result<ApiKey, Error> {
    let fail = |text: String| Error::KeyCommand { origin: origin.clone(), text };
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = shell.spawn().map_err(|cause| fail(format!("cannot be started: {cause}")))?;
    let mut printed = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        let read = stdout.take(MAX_KEY_BYTES).read_to_end(&mut printed);
        read.map_err(|cause| fail(format!("cannot be read: {cause}")))?;
    }
    let status = child.wait().map_err(|cause| fail(format!("cannot be waited for: {cause}")))?;
    if !status.success() {
        return Err(fail(format!("ended with {status}")));
    }
    let line = printed.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = std::str::from_utf8(line).map_err(|_| fail("printed what is not text".to_owned()))?;
    let key = ApiKey::new(line);
    if key.is_empty() {
        return Err(fail("printed nothing on its first line".to_owned()));
    }
    Ok(key)
}
