//! The rejects file: one JSON object per rejected record. It appears complete, with the outputs; a device or a pipe at
//! its path is written to directly, as [`TargetKind`] says. Decides nothing: the writer applies the policy.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::format::Reject;
use crate::pipeline::error::Error;
use crate::position::Position;
use crate::sink::{Sink, TargetKind};
use crate::text::hex;

/// The rejects file of one execution, created by the first reject.
pub(crate) struct RejectsFile {
    path: PathBuf,
    file: Option<BufWriter<Sink>>,
}

impl RejectsFile {
    pub(crate) fn new(path: &Path) -> Self {
        RejectsFile { path: path.to_owned(), file: None }
    }

    /// Returns the final path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes one rejected record. `raw` is `None` if its bytes were skipped. Raw bytes that are not UTF-8
    /// are written in hexadecimal, so that none of them is lost.
    pub(crate) fn write(&mut self, position: &Position, reject: &Reject, raw: Option<&[u8]>) -> Result<(), Error> {
        let fail = |cause| Error::write(&self.path, cause);
        let file = match &mut self.file {
            Some(file) => file,
            // Created late, so that an execution without rejects makes no file.
            None => self.file.insert(BufWriter::new(Sink::file(&self.path, false).map_err(fail)?)),
        };
        let mut line = json!({
            "source": &*position.source,
            "byte": position.byte,
            "line": position.line,
            "record": position.record,
            "path": reject.path.as_str(),
            "offset": reject.offset,
            "reason": reject.reason,
        });
        match raw.map(std::str::from_utf8) {
            Some(Ok(text)) => line["raw"] = text.into(),
            Some(Err(_)) => {
                line["raw_hex"] = hex(raw.unwrap_or_default()).into();
            }
            None => line["raw"] = serde_json::Value::Null,
        }
        writeln!(file, "{line}").map_err(fail)
    }

    /// Syncs the file to disk, so that only the rename is left.
    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.flush().and_then(|()| file.get_mut().sync()).map_err(|cause| Error::write(&self.path, cause))
    }

    /// Renames the file to its final path and returns that. Without rejects there is no file: `None`, and a rejects
    /// file of an earlier execution at this path is removed, so that it cannot be mistaken for this one's;
    /// any other file stays.
    pub(crate) fn commit(self) -> Result<Option<PathBuf>, Error> {
        match self.file {
            Some(file) => {
                let file = file.into_inner().map_err(|e| Error::write(&self.path, e.into_error()))?;
                file.commit().map_err(|cause| Error::write(&self.path, cause))?;
                Ok(Some(self.path))
            }
            None => {
                if let Some(file) = earlier_file(&self.path) {
                    std::fs::remove_file(file).map_err(|cause| Error::write(&self.path, cause))?;
                }
                Ok(None)
            }
        }
    }
}

/// Returns true if the file at `path` is a rejects file, by its first line. Other kinds of outputs are not read: a pipe
/// would block, or lose what its reader waits for.
pub fn is_rejects_file(path: &Path) -> bool {
    earlier_file(path).is_some()
}

/// Returns the rejects file at `path`, with symbolic links resolved; `None` if there is none.
fn earlier_file(path: &Path) -> Option<PathBuf> {
    let path = TargetKind::existing_file(path)?;
    let mut first = String::new();
    // A raw record may be long, and the keys before it are enough.
    let mut line = BufReader::new(File::open(&path).ok()?).take(1 << 10);
    let _ = line.read_line(&mut first);
    (first.starts_with(r#"{"source":"#) && first.contains(r#","record":"#)).then_some(path)
}
