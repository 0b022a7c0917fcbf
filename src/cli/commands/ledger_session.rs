//! The ledger of the current run, or of several that are written together: finds outputs that are already complete, and records progress while results are
//! written. Without a state directory it records nothing, and a ledger that cannot be written never fails the command.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::api::{DownloadLink, RunId};
use crate::cli::context::Context;
use crate::cli::error::{Error, Failure};
use crate::cli::outputs;
use crate::client::{
    Client, CompletedOutput, FileProgress, FilePulled, OpenLedger, RejectsRecord, ResultFormat, SeenLink, StateDir,
    StateError, digest_of_file,
};
use crate::pipeline::{Control, Directory, Output, Report, SUCCESS, Target};
use crate::sink::remove_stale;
use crate::text::{error_chain, human_bytes};

/// Interval between two saves of a download's progress. Each save syncs a small file.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);

/// The need of a command for the state directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StateNeed {
    /// Without it the command fails: a start whose response is lost could be paid for twice.
    Required,
    /// Without it the command continues with a note, and downloads everything again.
    Helpful,
}

/// Opens the state directory; `None` under `no_state`, or if it cannot be opened and is only [`StateNeed::Helpful`].
pub(super) fn state_dir(context: &Context, no_state: bool, need: StateNeed) -> Result<Option<StateDir>, Failure> {
    if no_state {
        return Ok(None);
    }
    let opened = match &context.settings.state_dir {
        Some(setting) => StateDir::open(&setting.value),
        None => Err(StateError::Unusable {
            path: "the user's state directory".into(),
            cause: std::io::Error::new(std::io::ErrorKind::NotFound, "the system has none"),
        }),
    };
    match (opened, need) {
        (Ok(state), _) => Ok(Some(state)),
        (Err(error), StateNeed::Required) => Err(Failure::new(
            Error::State(error),
            "specify a directory with `--state-dir` or DRAWOFF_STATE_DIR; `--no-state` starts without one, but if the response is lost, the same command starts a second run",
        )),
        (Err(error), StateNeed::Helpful) => {
            let error = error_chain(&error);
            context.screen.note(&format!("{error}; continuing without a ledger, so a broken download starts again"));
            Ok(None)
        }
    }
}

/// Returns the API's base URL as it is written in the state directory: without a slash at the end.
pub(super) fn endpoint_of(client: &Client) -> String {
    client.http().base().as_str().trim_end_matches('/').to_owned()
}

/// The open ledger of one run or of a set of runs, or none: then nothing is recorded, and every output is written.
pub(crate) struct LedgerSession {
    open: Option<OpenLedger>,
    saved: Instant,
}

impl LedgerSession {
    /// Creates a session without a ledger.
    pub(crate) fn disabled() -> Self {
        LedgerSession { open: None, saved: Instant::now() }
    }

    /// Opens and locks the ledger of `run`, and removes temporary files that killed processes left beside its outputs.
    /// Fails if another process holds the lock; with `may_do_without`, as for outputs that know themselves what they have,
    /// the command continues without a ledger then.
    pub(crate) fn open(
        context: &Context,
        state: Option<&StateDir>,
        client: &Client,
        run: &RunId,
        may_do_without: bool,
    ) -> Result<Self, Failure> {
        LedgerSession::open_set(context, state, client, std::slice::from_ref(run), may_do_without)
    }

    /// Opens the ledger of `runs` as one set, as [`LedgerSession::open`] does that of one run.
    pub(crate) fn open_set(
        context: &Context,
        state: Option<&StateDir>,
        client: &Client,
        runs: &[RunId],
        may_do_without: bool,
    ) -> Result<Self, Failure> {
        context.result_file.add_runs(runs);
        let Some(state) = state else { return Ok(LedgerSession::disabled()) };
        let open = match state.ledger_of_runs(&endpoint_of(client), runs) {
            Err(StateError::Busy { .. }) if may_do_without => return Ok(LedgerSession::disabled()),
            Err(error @ StateError::Busy { .. }) => {
                let hint = match runs {
                    [run] => format!(
                        "wait for the run with `drawoff runs watch {run}`, or write its results here as well with `--no-state`"
                    ),
                    _ => "wait for that process, or write the results here as well with `--no-state`".to_owned(),
                };
                return Err(Failure::new(error, hint));
            }
            opened => opened?,
        };
        if let Some(damaged) = &open.damaged_copy {
            let (subject, damaged) = (open.ledger.subject(), damaged.display());
            context.screen.note(&format!(
                "the ledger of {subject} was damaged and is now in {damaged}; its results are written again"
            ));
        }
        // The lock is held, so no other process is writing these outputs.
        for output in open.ledger.outputs.iter().filter(|output| output.done.is_none()) {
            for path in output.paths().chain(&output.rejects) {
                // An error is harmless: the next attempt removes the file.
                let _ = remove_stale(path);
            }
        }
        Ok(LedgerSession { open: Some(open), saved: Instant::now() })
    }

    /// Changes the ledger, if there is one, and saves it. A ledger that cannot be saved is given up with a note.
    pub(crate) fn record(&mut self, context: &Context, change: impl FnOnce(&mut OpenLedger)) {
        let Some(open) = &mut self.open else { return };
        change(open);
        self.saved = Instant::now();
        if let Err(error) = open.save() {
            // The results matter more: without a ledger, an interruption only costs a second download.
            let error = error_chain(&error);
            context.screen.note(&format!("{error}; continuing without a ledger, so a broken download starts again"));
            self.open = None;
        }
    }

    /// Records the links to a run's results, without the queries of their URLs.
    pub(crate) fn record_links(&mut self, context: &Context, links: &[DownloadLink], format: ResultFormat) {
        self.record(context, |open| {
            open.ledger.links = links.iter().map(|link| SeenLink::of(link, format.as_str())).collect();
        });
    }

    /// Returns the record of `outputs` if they are complete and would be written the same again under `plan`, a digest
    /// of the conversion. Reads all files of the outputs; `None` if anything differs.
    pub(crate) async fn complete_outputs(&self, outputs: &[Output], plan: &str) -> Option<CompletedOutput> {
        let record = self.open.as_ref()?.output(&paths_of(outputs)?)?.clone();
        let plan = plan.to_owned();
        tokio::task::spawn_blocking(move || record.intact_output(&plan).cloned()).await.ok()?
    }

    /// Records that the writing of `outputs` begins. Returns the bytes that interrupted attempts had downloaded
    /// already.
    pub(crate) fn begin(
        &mut self,
        context: &Context,
        outputs: &[Output],
        plan: &str,
        files: Vec<FilePulled>,
        rejects: Option<&Path>,
    ) -> u64 {
        let Some(paths) = paths_of(outputs).filter(|_| self.open.is_some()) else { return 0 };
        let rejects = rejects.and_then(|rejects| std::path::absolute(rejects).ok());
        self.record(context, |open| open.begin(&paths, plan.to_owned(), files, rejects));
        let current = self.open.as_mut().and_then(OpenLedger::current);
        let Some(current) = current.filter(|output| output.attempts > 1 && output.repeated_bytes > 0) else { return 0 };
        let repeated_bytes = current.repeated_bytes;
        let name = outputs::target_names(outputs);
        context
            .screen
            .note(&format!("{name} was interrupted before; downloading {} of it again", human_bytes(repeated_bytes)));
        repeated_bytes
    }

    /// Records the progress of the current outputs, at most once per [`SAVE_INTERVAL`] unless `at_once`.
    pub(crate) fn advance(&mut self, context: &Context, outputs: &[Output], control: &Control, at_once: bool) {
        // The control counts, so nothing is passed along with every batch.
        let position = FileProgress { bytes: control.bytes_read(), rows: control.rows_read() };
        if paths_of(outputs).is_some() && (at_once || self.saved.elapsed() >= SAVE_INTERVAL) {
            self.record(context, |open| {
                if let Some(output) = open.current() {
                    output.position = position;
                }
            });
        }
    }

    /// Records that `outputs` are complete: first with sizes and times, so that a kill during the digest loses nothing,
    /// then with their digests.
    pub(crate) async fn finish(&mut self, context: &Context, outputs: &[Output], report: &Report) {
        // Any early return leaves the outputs recorded as incomplete, so they are written again next time.
        if self.open.is_none() || paths_of(outputs).is_none() {
            return;
        }
        let Some(mut done) = files_of(outputs, report).and_then(CompletedOutput::of) else { return };
        done.rows_in = report.rows_in;
        done.rows_written = report.rows_written;
        done.rows_rejected = report.rows_rejected;
        if let Some(rejects) = report.rejects.as_ref().and_then(|rejects| std::path::absolute(rejects).ok()) {
            let Ok(sha256) = digest_of_file(&rejects) else { return };
            done.rejects = Some(RejectsRecord { path: rejects, sha256 });
        }
        let position = FileProgress { bytes: report.bytes_in, rows: report.rows_in };
        self.record(context, |open| {
            if let Some(output) = open.current() {
                output.position = position;
                output.done = Some(done.clone());
            }
        });
        // Reads all outputs again, on a thread of its own because that can take seconds.
        let digested = tokio::task::spawn_blocking(move || done.digest().map(|()| done)).await;
        let Ok(Ok(done)) = digested else { return };
        self.record(context, |open| {
            if let Some(output) = open.current() {
                output.done = Some(done);
            }
        });
    }
}

/// Returns the absolute paths of `outputs` if all of them can be recorded: files and directories whose names are UTF-8.
/// `None` if one is a stream, an object, or a file that is appended to, which differs after every command.
fn paths_of(outputs: &[Output]) -> Option<Vec<PathBuf>> {
    let path_of = |output: &Output| {
        let path = match &output.target {
            Target::File { path, append: false, .. } => std::path::absolute(path).ok()?,
            Target::Directory(Directory { store: None, path, .. }) => std::path::absolute(path).ok()?,
            _ => return None,
        };
        path.to_str().is_some().then_some(path)
    };
    outputs.iter().map(path_of).collect::<Option<Vec<_>>>().filter(|paths| !paths.is_empty())
}

/// Returns the absolute paths of all files that were written for `outputs`; `None` if one cannot be read again, such as
/// a named pipe.
fn files_of(outputs: &[Output], report: &Report) -> Option<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = report.files.iter().map(|(path, _)| path.clone()).collect();
    for output in outputs {
        match &output.target {
            Target::File { path, .. } if !files.contains(path) => return None,
            // A directory without `_SUCCESS` may be incomplete, so its presence is part of the record.
            Target::Directory(directory) => files.push(directory.path.join(SUCCESS)),
            _ => {}
        }
    }
    files.into_iter().map(|path| std::path::absolute(path).ok()).collect()
}
