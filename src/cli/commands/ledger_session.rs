//! The ledger of the run at hand: what is found in it, and what goes into it while results are written.

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

/// Between two saves of how far a download came. Each syncs a small file.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);

/// How much depends on the state directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateNeed {
    /// A start whose answer is lost could otherwise be paid for twice.
    Required,
    /// Without it everything is done anew.
    Helpful,
}

/// The state directory in force; `None` if there is to be none, or if there is none and it is only [`StateNeed::Helpful`].
pub fn state_dir(context: &Context, no_state: bool, need: StateNeed) -> Result<Option<StateDir>, Failure> {
    if no_state {
        return Ok(None);
    }
    let opened = match &context.settings.state_dir {
        Some(setting) => StateDir::open(&setting.value),
        None => Err(StateError::Unusable {
            path: "the user's folder for state".into(),
            cause: std::io::Error::new(std::io::ErrorKind::NotFound, "the system tells none"),
        }),
    };
    match (opened, need) {
        (Ok(state), _) => Ok(Some(state)),
        (Err(error), StateNeed::Required) => Err(Failure::new(
            Error::State(error),
            "give a folder with `--state-dir` or DRAWOFF_STATE_DIR; `--no-state` starts all the same, but if its answer is lost, the same command starts a second run",
        )),
        (Err(error), StateNeed::Helpful) => {
            let error = error_chain(&error);
            context.screen.note(&format!("{error}; going on without, so that a broken download starts anew"));
            Ok(None)
        }
    }
}

/// How the API's address stands in state.
pub fn endpoint_of(client: &Client) -> String {
    client.http().base().as_str().trim_end_matches('/').to_owned()
}

/// The open ledger of one run, or nothing: then everything is done anew and nothing remembered.
pub struct LedgerSession {
    open: Option<OpenLedger>,
    saved: Instant,
}

impl LedgerSession {
    /// Remembers nothing.
    pub fn nothing() -> Self {
        LedgerSession { open: None, saved: Instant::now() }
    }

    /// Opens the ledger of `run`. What dead processes left of the outputs in it is taken away. A command that writes
    /// to standard output needs no ledger, and goes on without if another one holds it.
    pub fn open(
        context: &Context,
        state: Option<&StateDir>,
        client: &Client,
        run: &RunId,
        to_stdout: bool,
    ) -> Result<Self, Failure> {
        let Some(state) = state else { return Ok(LedgerSession::nothing()) };
        let open = match state.ledger(&endpoint_of(client), run) {
            Err(StateError::Busy { .. }) if to_stdout => return Ok(LedgerSession::nothing()),
            Err(error @ StateError::Busy { .. }) => {
                return Err(Failure::new(
                    error,
                    format!("`drawoff runs watch {run}` waits for the run; `--no-state` writes its results here too"),
                ));
            }
            opened => opened?,
        };
        if let Some(aside) = &open.set_aside {
            let aside = aside.display();
            context.screen.note(&format!(
                "what was remembered of run {run} was damaged and is now in {aside}; its results are written anew"
            ));
        }
        for output in open.ledger.outputs.iter().filter(|output| output.done.is_none()) {
            for path in output.paths().chain(&output.rejects) {
                // A blemish that the next attempt meets again.
                let _ = remove_stale(path);
            }
        }
        Ok(LedgerSession { open: Some(open), saved: Instant::now() })
    }

    /// Changes the ledger, if there is one, and puts it on disk.
    pub fn record(&mut self, context: &Context, change: impl FnOnce(&mut OpenLedger)) {
        let Some(open) = &mut self.open else { return };
        change(open);
        self.saved = Instant::now();
        if let Err(error) = open.save() {
            // The results are what matters; without the ledger a break costs a download.
            let error = error_chain(&error);
            context.screen.note(&format!("{error}; going on without, so that a broken download starts anew"));
            self.open = None;
        }
    }

    /// Records the links to a run's results, without their secrets.
    pub fn saw(&mut self, context: &Context, links: &[DownloadLink], format: ResultFormat) {
        self.record(context, |open| {
            open.ledger.links = links.iter().map(|link| SeenLink::of(link, format.as_str())).collect();
        });
    }

    /// What is recorded of `outputs`, if they stand whole as they would be written again. Reads all their files.
    pub async fn standing(&self, outputs: &[Output], plan: &str) -> Option<CompletedOutput> {
        let record = self.open.as_ref()?.output(&paths_of(outputs)?)?.clone();
        let plan = plan.to_owned();
        tokio::task::spawn_blocking(move || record.standing(&plan).cloned()).await.ok()?
    }

    /// Records that `outputs`, which are written together, begin. Returns the bytes that attempts before had downloaded
    /// for nothing.
    pub fn begin(
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
        let begun = self.open.as_mut().and_then(OpenLedger::current);
        let Some(begun) = begun.filter(|begun| begun.attempts > 1 && begun.repeated_bytes > 0) else { return 0 };
        let again = begun.repeated_bytes;
        let name = outputs::target_names(outputs);
        context
            .screen
            .note(&format!("{name} was interrupted before; {} of it are downloaded again", human_bytes(again)));
        again
    }

    /// Notes how far the outputs that were begun last came; on disk now and then, and `at_once` if that is asked.
    pub fn advance(&mut self, context: &Context, outputs: &[Output], control: &Control, at_once: bool) {
        let position = FileProgress { bytes: control.bytes_read(), rows: control.rows_read() };
        if paths_of(outputs).is_some() && (at_once || self.saved.elapsed() >= SAVE_INTERVAL) {
            self.record(context, |open| {
                if let Some(begun) = open.current() {
                    begun.position = position;
                }
            });
        }
    }

    /// Records that `outputs` stand whole: at once by sizes and times, then by their digests.
    pub async fn finish(&mut self, context: &Context, outputs: &[Output], report: &Report) {
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
            if let Some(begun) = open.current() {
                begun.position = position;
                begun.done = Some(done.clone());
            }
        });
        let digested = tokio::task::spawn_blocking(move || done.digest().map(|()| done)).await;
        let Ok(Ok(done)) = digested else { return };
        self.record(context, |open| {
            if let Some(begun) = open.current() {
                begun.done = Some(done);
            }
        });
    }
}

/// The absolute paths of outputs that are written together, if they can be remembered: files and folders with names that
/// are text, and neither streams nor objects nor files that are added to, which are others each time.
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

/// All files that `outputs` became, absolute; `None` if one of them cannot be looked at again, such as a pipe with a name.
fn files_of(outputs: &[Output], report: &Report) -> Option<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = report.files.iter().map(|(path, _)| path.clone()).collect();
    for output in outputs {
        match &output.target {
            Target::File { path, .. } if !files.contains(path) => return None,
            // A folder without it may be half of another pass.
            Target::Directory(directory) => files.push(directory.path.join(SUCCESS)),
            _ => {}
        }
    }
    files.into_iter().map(|path| std::path::absolute(path).ok()).collect()
}
