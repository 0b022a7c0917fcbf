//! The result file of a command, `--result FILE`: all that it did as one JSON object, for schedulers, also if it failed. Its
//! members are described in docs/result-file.md, and change only together with [`VERSION`].

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use super::error::{Error, Failure};
use super::exit::Exit;
use super::shell::shell_quoted;
use crate::api::RunId;
use crate::client::digest_of_file;
use crate::net::Recoveries;
use crate::pipeline::Report;
use crate::sink::TargetKind;

/// The version of the object. A member that goes, or means another thing, makes a new one; one that comes does not.
const VERSION: u32 = 1;

/// The hint where the result file is another file, too.
const OWN_FILE: &str = "give `--result` a file of its own";

/// The beginning of every result file. A file without it is not replaced.
const BEGINNING: &str = r#"{"drawoff_result":"#;

/// Facts for the result file of one command, collected while it proceeds. Cheap to clone; all clones share them. Without a
/// file nothing is collected.
#[derive(Clone, Debug, Default)]
pub(super) struct ResultFile(Arc<Mutex<Option<Facts>>>);

#[derive(Debug)]
struct Facts {
    path: PathBuf,
    command: &'static str,
    started_at: DateTime<Utc>,
    start: Instant,
    runs: Vec<RunId>,
    reports: Vec<Value>,
    files: Vec<(PathBuf, u64)>,
    recoveries: Option<Recoveries>,
}

impl ResultFile {
    /// Begins the result file of `command` at `path`, and removes that of an earlier command. Fails if it cannot be written
    /// there, if another file is there, or if it is one of the `inputs`.
    pub(super) fn begin(&self, path: &Path, command: &'static str, inputs: &[&Path]) -> Result<(), Failure> {
        let fail = |cause| Error::Write { path: path.to_owned(), cause };
        if path == Path::new("-") {
            let error = Error::Usage("the result file cannot be standard output".to_owned());
            return Err(Failure::new(error, "name a file, or write it to standard error with `--result /dev/stderr`"));
        }
        if inputs.iter().any(|input| TargetKind::is_same(path, input)) {
            let error = Error::Usage(format!("{} is an input and cannot be the result file, too", path.display()));
            return Err(Failure::new(error, OWN_FILE));
        }
        let path = match TargetKind::of(path).map_err(fail)? {
            TargetKind::Directory => {
                return Err(fail(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory")).into());
            }
            TargetKind::File(file) => {
                if file.existing.is_some() {
                    if !begins_with(&file.path, BEGINNING).map_err(fail)? {
                        let error = Error::Usage(format!("{} is not the result of an earlier command", path.display()));
                        return Err(Failure::new(error, OWN_FILE));
                    }
                    std::fs::remove_file(&file.path).map_err(fail)?;
                }
                // Found now rather than after the run.
                temporary_file(&file.path).map_err(fail)?;
                file.path
            }
            // Written at the end, where they stand.
            TargetKind::Descriptor(_) | TargetKind::Device => path.to_owned(),
        };
        let facts = Facts {
            path,
            command,
            started_at: Utc::now(),
            start: Instant::now(),
            runs: Vec::new(),
            reports: Vec::new(),
            files: Vec::new(),
            recoveries: None,
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(facts);
        Ok(())
    }

    /// Applies `add` to the facts, if there is a file for them.
    fn with(&self, add: impl FnOnce(&mut Facts)) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut().map(add);
    }

    /// Sets the counters of what the network did and the command survived.
    pub(super) fn count(&self, recoveries: &Recoveries) {
        self.with(|facts| facts.recoveries = Some(recoveries.clone()));
    }

    /// Adds runs that the command started, watches or writes; each is listed once.
    pub(super) fn add_runs(&self, runs: &[RunId]) {
        self.with(|facts| {
            for run in runs {
                if !facts.runs.contains(run) {
                    facts.runs.push(run.clone());
                }
            }
        });
    }

    /// Adds the report of outputs that were written, and their files.
    pub(super) fn add_report(&self, json: Value, report: &Report) {
        self.with(|facts| {
            facts.reports.push(json);
            facts.files.extend(report.files.iter().cloned());
        });
    }

    /// Adds the report of outputs that were complete already.
    pub(super) fn add_complete(&self, json: Value, files: impl Iterator<Item = (PathBuf, u64)>) {
        self.with(|facts| {
            facts.reports.push(json);
            facts.files.extend(files);
        });
    }

    /// Writes the file, once: a command that ends twice, by itself and by a signal, keeps its first result.
    pub(super) fn write(&self, exit: Exit, failure: Option<&Failure>) -> Result<(), Failure> {
        let facts = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(facts) = facts else { return Ok(()) };
        let path = facts.path.clone();
        let json = facts.into_json(exit, failure);
        write_whole(&path, &json).map_err(|cause| {
            let name = shell_quoted(&path.display().to_string());
            let hint = format!("only the result file is missing; give `--result` another file than {name}");
            Failure::new(Error::Write { path, cause }, hint)
        })
    }
}

impl Facts {
    fn into_json(self, exit: Exit, failure: Option<&Failure>) -> Value {
        let recovered = self.recoveries.map(|recoveries| recoveries.counts()).unwrap_or_default();
        // What one report does not know, the sum does not.
        let sum = |member: &str| self.reports.iter().map(|report| report[member].as_u64()).sum::<Option<u64>>();
        let time = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Millis, true);
        let error = failure.map(|failure| json!({"message": failure.message(), "hint": failure.hint()}));
        let loads: Vec<&Value> =
            self.reports.iter().filter_map(|report| report["loads"].as_array()).flatten().collect();
        json!({
            "drawoff_result": VERSION,
            "drawoff": env!("CARGO_PKG_VERSION"),
            "command": self.command,
            "exit_code": exit.code(),
            "exit": exit.name(),
            "retry": exit.retry().as_str(),
            "error": error,
            "runs": self.runs,
            "rows_in": sum("rows_in"),
            "rows_written": sum("rows_written"),
            "rows_rejected": sum("rows_rejected"),
            "outputs": self.files.iter().map(|(path, bytes)| file_json(path, *bytes)).collect::<Vec<_>>(),
            "loads": loads,
            "interruptions_resumed": recovered.resumed,
            "links_renewed": recovered.fresh_links,
            "requests_retried": recovered.retries,
            "retry_wait_seconds": recovered.waited.as_secs_f64(),
            "started_at": time(self.started_at),
            "ended_at": time(Utc::now()),
            "elapsed_seconds": self.start.elapsed().as_secs_f64(),
            "reports": self.reports,
        })
    }
}

/// Returns path, size and digest of a file that was written. Objects of a store, and what cannot be read, have no digest.
fn file_json(path: &Path, bytes: u64) -> Value {
    let digest =
        std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).and_then(|_| digest_of_file(path).ok());
    json!({"path": absolute(path).display().to_string(), "bytes": bytes, "sha256": digest})
}

/// Returns the path from the root, so that a reader needs no working directory. URLs of objects are left as they are.
fn absolute(path: &Path) -> PathBuf {
    match path.to_str().is_some_and(|text| text.contains("://")) {
        true => path.to_owned(),
        false => std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
    }
}

/// Returns true if the file at `path` begins with `text`: a log or a result of an earlier command is known by that.
pub(super) fn begins_with(path: &Path, text: &str) -> io::Result<bool> {
    let mut beginning = Vec::new();
    File::open(path)?.take(text.len() as u64).read_to_end(&mut beginning)?;
    Ok(beginning == text.as_bytes())
}

/// Creates the file that becomes `path`. It is removed when it is dropped.
fn temporary_file(path: &Path) -> io::Result<tempfile::NamedTempFile> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // The rights of a file that any program makes: a scheduler may be another user.
    let permissions = std::fs::Permissions::from_mode(0o666);
    tempfile::Builder::new().prefix(".drawoff-result.").permissions(permissions).tempfile_in(directory)
}

/// Writes `json` as one line, whole or not at all; into a pipe or a device as it is.
fn write_whole(path: &Path, json: &Value) -> io::Result<()> {
    let line = format!("{json}\n");
    if TargetKind::is_stream(path) {
        return TargetKind::open_stream(path)?.write_all(line.as_bytes());
    }
    let mut file = temporary_file(path)?;
    file.write_all(line.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_written_once_and_replaces_results_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("result.json");
        let result = ResultFile::default();
        result.begin(&path, "convert", &[]).unwrap();
        result.write(Exit::Interrupted, None).unwrap();
        result.write(Exit::Success, None).unwrap();
        let json: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(
            (&json["drawoff_result"], &json["exit_code"], &json["retry"]),
            (&json!(1), &json!(130), &json!("helps"))
        );
        assert_eq!(json["error"], Value::Null);
        // That of an earlier command is gone when the next one begins.
        result.begin(&path, "convert", &[]).unwrap();
        assert!(!path.exists());
        std::fs::write(&path, "a,b\n").unwrap();
        assert_eq!(result.begin(&path, "convert", &[]).unwrap_err().exit(), Exit::Usage);
        assert_eq!(std::fs::read(&path).unwrap(), b"a,b\n");
        let left = std::fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(left, 1, "temporary files are removed");
    }

    #[test]
    fn a_directory_that_does_not_exist_is_found_at_the_beginning() {
        let path = tempfile::tempdir().unwrap().path().join("none").join("result.json");
        assert_eq!(ResultFile::default().begin(&path, "run", &[]).unwrap_err().exit(), Exit::CannotWrite);
    }
}
