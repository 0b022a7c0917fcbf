//! Loading of the API key from a file or from the output of a shell command. Neither the key nor the command appears in
//! an error.

use std::fmt;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::{Deserialize, Deserializer};

use super::setting::{Error, Origin};
use crate::secret::ApiKey;

/// A shell command that prints the key. Its `Debug` output is redacted, because the command may contain secrets itself.
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

/// Bytes that are read of a file or of a command's output. No key is longer; the limit keeps a wrong file from filling
/// the memory.
const MAX_KEY_BYTES: u64 = 64 << 10;

/// Reads the key from a file. A plain file that others can access is an error; pipes, such as a shell's `<(command)`,
/// have no owner check.
pub(super) fn from_file(path: &Path, origin: &Origin) -> Result<ApiKey, Error> {
    let fail = |cause| Error::KeyFile { path: path.to_owned(), origin: origin.clone(), cause };
    let mut file = std::fs::File::open(path).map_err(fail)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // The open file is checked, not its path, which may name another file by now.
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

/// Runs `command` in the shell and returns the first line of its output as the key. The command may prompt on standard
/// error and the terminal; its standard input is empty. Blocks until the command ends.
pub(super) fn from_command(KeyCommand(command): &KeyCommand, origin: &Origin) -> Result<ApiKey, Error> {
    let fail = |text: String| Error::KeyCommand { origin: origin.clone(), text };
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = shell.spawn().map_err(|cause| fail(format!("cannot be started: {cause}")))?;
    let mut printed = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        // The pipe is dropped after that, which ends a command that prints more.
        let read = stdout.take(MAX_KEY_BYTES).read_to_end(&mut printed);
        read.map_err(|cause| fail(format!("cannot be read: {cause}")))?;
    }
    let status = child.wait().map_err(|cause| fail(format!("cannot be waited for: {cause}")))?;
    if !status.success() {
        return Err(fail(format!("ended with {status}")));
    }
    let line = printed.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = std::str::from_utf8(line).map_err(|_| fail("printed a line that is not UTF-8".to_owned()))?;
    let key = ApiKey::new(line);
    if key.is_empty() {
        return Err(fail("printed nothing on its first line".to_owned()));
    }
    Ok(key)
}
