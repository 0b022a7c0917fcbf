//! The results of several runs as one sequence of records, for `pull RUN...` and for a run that was started in parts: waits
//! for all of them, requests the links of each, and writes one output, which holds all of them or none.
//!
//! ```text
//! list of runs ─► watch those that are active ─► links, a few calls at a time, in order ─► downloads, --jobs at a time
//! ```
//!
//! The links are requested before the first byte, because counts and sizes identify the output in the ledger. A link that
//! expires before its turn is renewed by its download. Per run only its links and an idle task are in memory.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use super::ledger_session::LedgerSession;
use super::pulled_results::{PulledResults, RunFiles};
use super::results::{CANCEL_TIMEOUT, PullOptions, worse};
use super::run_list::MOST_RUNS;
use crate::api::{LiveStatus, RunId, RunStatus, WorkflowId};
use crate::cli::choices::OnFailed;
use crate::cli::context::Context;
use crate::cli::copy_into::copy_into;
use crate::cli::error::{Error, Failure};
use crate::cli::exit::Exit;
use crate::cli::outputs;
use crate::cli::report::{already_complete, already_loaded};
use crate::cli::tables;
use crate::client::{self, Client, OpenLedger, ResultFormat, Results, RunFilter, StateDir, WatchOptions};
use crate::column::{Schema, TypeMerge};
use crate::text::{counted, escape_for_terminal};
use crate::warehouse::LoadMember;

/// API calls at a time. The limit of calls per minute is far below what these reach; by eye.
const CALLS_AT_ONCE: usize = 8;

/// Runs that an error explains or a note names; the others are counted, or listed by their ids.
const NAMED_RUNS: usize = 5;

/// The prefix of file names in a directory. All sets share it, and their sources tell them apart.
const SET: &str = "runs";

/// Runs whose results are written together.
pub(crate) struct SeveralRuns<'a> {
    /// The options of the results, as of one run.
    pub pull: &'a PullOptions<'a>,
    /// The runs in the order of their records; each once.
    pub runs: &'a [RunId],
    /// Policy for runs without results.
    pub on_failed: OnFailed,
    /// The flag that skips these, for hints: `--on-failed-run skip`.
    pub skip_flag: &'static str,
    /// The command that resumes after an interruption, as the subject of a clause: `the same command`.
    pub resume: &'static str,
}

/// A run that has ended.
pub(super) struct EndedRun {
    pub run: RunId,
    pub workflow: WorkflowId,
    status: RunStatus,
    /// The last state, if the run was watched.
    live: Option<LiveStatus>,
}

/// The completed runs, with the links to their results.
pub(super) struct Collected {
    pub runs: Vec<(EndedRun, Results)>,
    /// Types that the workflows declare.
    pub declared: Schema,
    /// Number of runs without results.
    pub skipped: usize,
}

/// Waits for the end of all runs and writes their results as one sequence of records in their order. Outputs that are
/// complete according to the ledger of this set of runs are kept. A single run is written as by [`PullOptions::carry_out`].
pub(crate) async fn write_runs(
    context: &Context,
    client: &Client,
    several: &SeveralRuns<'_>,
    state: Option<&StateDir>,
) -> Result<Exit, Failure> {
    let SeveralRuns { pull, runs, .. } = several;
    if let [run] = runs {
        context.set_resume(run);
        let mut session = LedgerSession::open(context, state, client, run, pull.to_stdout())?;
        return pull.carry_out(context, client, run, &mut session).await;
    }
    if pull.results.all_blocks {
        return Err(all_blocks_of_several());
    }
    let resume = several.resume;
    context.set_resume_hint(format!("{resume} resumes; complete outputs were kept, and no partial file remains"));
    let mut session = LedgerSession::open_set(context, state, client, runs, pull.to_stdout())?;
    let ended = Mutex::default();
    let outcome =
        pull.with_load_retries(context, async || several.watch_and_write(context, client, &ended, &mut session).await);
    match outcome.await {
        Ok(exit) => {
            session.record(context, OpenLedger::delivered);
            Ok(exit)
        }
        Err(failure) if pull.results.cancel_on_interrupt && matches!(failure.error(), Error::Interrupted) => {
            // Bounded by `CANCEL_TIMEOUT`.
            context.interrupt.set_own_deadline();
            let ended = ended.into_inner().unwrap_or_else(PoisonError::into_inner);
            Err(failure.with_hint(several.cancel_active(client, &ended).await))
        }
        Err(failure) => Err(failure),
    }
}

impl SeveralRuns<'_> {
    /// Implements [`write_runs`] for several runs, without the end of the ledger and the cancellation. Adds the runs that
    /// have ended to `ended`.
    async fn watch_and_write(
        &self,
        context: &Context,
        client: &Client,
        ended: &Mutex<HashSet<RunId>>,
        session: &mut LedgerSession,
    ) -> Result<Exit, Failure> {
        // All requests are in one future, so that Ctrl-C drops whichever one is waiting.
        let collected = context.unless_interrupted(self.collect(context, client, ended)).await;
        context.screen.clear();
        let Collected { runs, declared, skipped } = collected?;
        let files: Vec<RunFiles<'_>> = runs
            .iter()
            .map(|(run, results)| RunFiles {
                run: &run.run,
                workflow: &run.workflow,
                format: results.format,
                links: &results.links,
            })
            .collect();
        let from = PulledResults { runs: &files, declared: &declared };
        let (plan, report) = (self.pull.plan, self.pull.plan.report);
        let mut outputs = outputs::outputs(plan, &context.settings, SET)?;
        let members: Vec<LoadMember> = files.iter().map(|run| self.pull.load_member(run.run, run.links)).collect();
        let copy = copy_into(plan, &outputs, self.pull.again)?;
        let mut loaded = None;
        if let Some(copy) = &copy {
            let copy = copy.of_runs(&members)?;
            outputs = outputs::outputs(plan, &context.settings, &copy.set())?;
            loaded = copy.find(context).await?.map(|found| vec![found]);
        }
        outputs::set_sources(&mut outputs, &sources_of(&files));
        tables::set_runs(&mut outputs, &members, self.pull.again)?;
        if copy.is_none() {
            loaded = tables::check_tables(context, &outputs).await?;
        }
        let done = if let Some(loaded) = loaded {
            already_loaded(context, report, &outputs, &loaded)
        } else {
            let contents = self.pull.contents(context, &from, &outputs);
            // Files that are complete may not be copied yet.
            let is_fresh = self.pull.again || copy.is_some();
            let complete = if is_fresh { None } else { session.complete_outputs(&outputs, &contents).await };
            match complete {
                Some(done) => already_complete(context, report, &outputs, &done),
                None => {
                    // An idle task each; `--jobs` of them are connected at a time, in order.
                    let downloads = context.downloads();
                    let requests = runs.iter().flat_map(|(run, results)| client.download_requests(&run.run, results));
                    let downloads = requests.map(|request| downloads.start(client.http(), request)).collect();
                    self.pull.write(context, &from, downloads, outputs, session).await?
                }
            }
        };
        Ok(worse(done, if skipped > 0 { Exit::Partial } else { Exit::Success }))
    }

    /// Waits for all runs and requests the links of those that completed.
    pub(super) async fn collect(
        &self,
        context: &Context,
        client: &Client,
        ended: &Mutex<HashSet<RunId>>,
    ) -> Result<Collected, Failure> {
        let all = self.watch_all(context, client, ended).await?;
        let total = all.len();
        let (completed, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|run| run.status == RunStatus::Completed);
        if !others.is_empty() {
            let skipped_all = completed.is_empty();
            if self.on_failed == OnFailed::Fail || skipped_all {
                return Err(self.ended_otherwise(client, total, &others, skipped_all).await);
            }
            let named = first_runs(others.iter().map(|run| format!("{} ({})", run.run, run.status.as_str())));
            let text = format!("left out {} of {total} runs that did not complete: {named}", others.len());
            context.screen.note(&escape_for_terminal(&text));
        }
        // Types are inferred from CSV by other rules than from JSON, so all are read in the first format that all have.
        let least = AtomicUsize::new(0);
        let mut results = self.request_links(context, client, &completed, &least).await?;
        let common = self.pull.formats[least.load(Ordering::Relaxed)];
        let other_format: Vec<usize> = (0..results.len()).filter(|&i| results[i].format != common).collect();
        if common != self.pull.formats[0] {
            let [preferred, common] = [self.pull.formats[0], common].map(ResultFormat::as_str);
            let without = completed.iter().zip(&results).find(|(_, results)| results.format.as_str() == common);
            let run = without.map(|(run, _)| run.run.to_string()).unwrap_or_default();
            let text = format!("run {run} has no {preferred} results; using {common} of all {} runs", completed.len());
            context.screen.note(&escape_for_terminal(&text));
        }
        let again: Vec<&EndedRun> = other_format.iter().map(|&i| &completed[i]).collect();
        let again = self.request_links(context, client, again, &least).await?;
        other_format.into_iter().zip(again).for_each(|(i, again)| results[i] = again);
        self.note_messages(context, &completed, &results);
        let declared = match self.pull.declared {
            Some(declared) => declared.clone(),
            None => declared_by_all(client, &completed).await,
        };
        Ok(Collected { runs: completed.into_iter().zip(results).collect(), declared, skipped: others.len() })
    }

    /// Requests the links of `runs`, a few calls at a time, and returns them in order. No format before number `least` is
    /// asked for; the number grows when a run has none of the formats before another.
    async fn request_links<'r>(
        &self,
        context: &Context,
        client: &Client,
        runs: impl IntoIterator<Item = &'r EndedRun, IntoIter: ExactSizeIterator>,
        least: &AtomicUsize,
    ) -> Result<Vec<Results>, Failure> {
        let runs = runs.into_iter();
        let total = runs.len();
        let mut links = stream::iter(runs)
            .map(async |run| {
                let formats = &self.pull.formats[least.load(Ordering::Relaxed)..];
                let results = client.result_links(&run.run, formats, self.pull.wanted()).await?;
                let number = self.pull.formats.iter().position(|&format| format == results.format);
                least.fetch_max(number.unwrap_or_default(), Ordering::Relaxed);
                Ok::<_, client::Error>(results)
            })
            .buffered(CALLS_AT_ONCE);
        let mut results = Vec::with_capacity(total);
        while let Some(next) = links.try_next().await? {
            results.push(next);
            let detail = format!("{} of {total} runs", results.len());
            context.screen.progress("requesting links", Some(results.len() as f64 / total as f64), &detail);
        }
        context.screen.clear();
        Ok(results)
    }

    /// Waits for the end of all runs, and returns them in order. Under [`OnFailed::Fail`] it fails as soon as one is
    /// known that ended otherwise than completed.
    async fn watch_all(
        &self,
        context: &Context,
        client: &Client,
        ended: &Mutex<HashSet<RunId>>,
    ) -> Result<Vec<EndedRun>, Failure> {
        let start = Instant::now();
        let total = self.runs.len();
        // One call tells the state of most runs. Without it, each is asked for its own.
        let filter = RunFilter { limit: Some(MOST_RUNS), ..RunFilter::default() };
        let listed = client.runs(&filter).await.unwrap_or_default();
        let listed: HashMap<&RunId, _> = listed.iter().map(|run| (&run.job_id, run)).collect();
        let mut found: Vec<Option<EndedRun>> = self
            .runs
            .iter()
            .map(|id| {
                let run = listed.get(id).filter(|run| RunStatus::parse(&run.status).is_terminal())?;
                let (workflow, status) = (run.workflow_id.clone(), RunStatus::parse(&run.status));
                Some(EndedRun { run: id.clone(), workflow, status, live: None })
            })
            .collect();
        let note_ended = |run: &RunId| {
            ended.lock().unwrap_or_else(PoisonError::into_inner).insert(run.clone());
        };
        found.iter().flatten().for_each(|run| note_ended(&run.run));
        let has_failed = |found: &[Option<EndedRun>]| {
            self.on_failed == OnFailed::Fail && found.iter().flatten().any(|run| run.status != RunStatus::Completed)
        };
        let active: Vec<usize> = (0..total).filter(|&i| found[i].is_none()).collect();
        let mut watches = stream::iter(active)
            .map(|i| async move { (i, self.watch_one(client, &self.runs[i], start).await) })
            .buffer_unordered(CALLS_AT_ONCE);
        loop {
            if has_failed(&found) {
                drop(watches);
                let known: Vec<EndedRun> =
                    found.into_iter().flatten().filter(|run| run.status != RunStatus::Completed).collect();
                return Err(self.ended_otherwise(client, total, &known, false).await);
            }
            let n_ended = found.iter().flatten().count();
            let detail = format!("{n_ended} of {total} runs ended");
            context.screen.progress("waiting", Some(n_ended as f64 / total as f64), &detail);
            let Some((i, status)) = watches.next().await else { break };
            let status = status?;
            note_ended(&self.runs[i]);
            found[i] = Some(EndedRun {
                run: self.runs[i].clone(),
                workflow: status.workflow_id.clone(),
                status: RunStatus::parse(&status.overall_status),
                live: Some(status),
            });
        }
        drop(watches);
        context.screen.clear();
        Ok(found.into_iter().flatten().collect())
    }

    /// Watches one run until its end or until the deadline of all, which counts from `start`.
    async fn watch_one(&self, client: &Client, run: &RunId, start: Instant) -> Result<LiveStatus, Failure> {
        let options = match self.pull.of_new_run {
            true => WatchOptions::of_new_run(client),
            false => WatchOptions::of(client),
        };
        let deadline = self.pull.results.deadline;
        let left = deadline.map(|deadline| deadline.saturating_sub(start.elapsed()));
        let status = client.watch(run, &WatchOptions { deadline: left, ..options }, |_| {}).await;
        status.map_err(|error| match (error, deadline) {
            (client::Error::Deadline { run, status, .. }, Some(waited)) => Failure::new(
                client::Error::Deadline { run, status, waited },
                "the runs continue, and the same command waits for them again",
            ),
            (error, _) => error.into(),
        })
    }

    /// Returns the error of runs that ended otherwise than completed, `others` of `total`.
    async fn ended_otherwise(&self, client: &Client, total: usize, others: &[EndedRun], skipped_all: bool) -> Failure {
        let (first, rest) = others.split_at(others.len().min(NAMED_RUNS));
        let mut ended = Vec::new();
        for run in first {
            // Only the state of the run itself has the failed block and its message.
            let live = match &run.live {
                Some(live) => Some(live.clone()),
                None => client.live_status(&run.run).await.ok(),
            };
            let end = match &live {
                Some(live) => client.end_of(live).await,
                None => None,
            };
            let end = end.unwrap_or(match run.status {
                RunStatus::Cancelled => client::RunEnd::Cancelled,
                RunStatus::TimedOut => client::RunEnd::TimedOut,
                _ => client::RunEnd::Failed { block: None, message: None },
            });
            ended.push((run.run.clone(), end));
        }
        let unexplained = rest.iter().map(|run| run.run.clone()).collect();
        let error = client::Error::SeveralEnded { total, ended, unexplained };
        match skipped_all {
            true => Failure::new(error, "nothing was written; see every block of a run with `drawoff runs status RUN`"),
            false => Failure::new(error, format!("nothing was written; write the others with `{}`", self.skip_flag)),
        }
    }

    /// Prints the API's messages about result files.
    fn note_messages(&self, context: &Context, runs: &[EndedRun], results: &[Results]) {
        let messages: Vec<String> = runs
            .iter()
            .zip(results)
            .flat_map(|(run, results)| {
                results.messages.iter().map(|(name, message)| format!("{}/{name}: {message}", run.run))
            })
            .collect();
        for message in messages.iter().take(NAMED_RUNS) {
            context.screen.note(&escape_for_terminal(message));
        }
        if messages.len() > NAMED_RUNS {
            let more = (messages.len() - NAMED_RUNS) as u64;
            context.screen.note(&format!("the API has {} about result files", counted(more, "more message")));
        }
    }

    /// Cancels the runs that have not ended, and returns the result as a hint.
    pub(super) async fn cancel_active(&self, client: &Client, ended: &HashSet<RunId>) -> String {
        let active: Vec<&RunId> = self.runs.iter().filter(|run| !ended.contains(run)).collect();
        let cancels = stream::iter(&active)
            .map(async |run| client.cancel(run).await.err().map(|_| run.to_string()))
            .buffered(CALLS_AT_ONCE)
            .filter_map(async |failed| failed)
            .collect::<Vec<_>>();
        match tokio::time::timeout(CANCEL_TIMEOUT, cancels).await {
            Ok(failed) if failed.is_empty() => format!("cancelled {}", counted(active.len() as u64, "active run")),
            Ok(failed) => format!(
                "cannot cancel {} of {}: {}; retry with `drawoff runs cancel RUN`",
                failed.len(),
                counted(active.len() as u64, "run"),
                first_runs(failed.into_iter())
            ),
            Err(_) => "no response to some of the cancellations; see the runs with `drawoff runs ls --status active`"
                .to_owned(),
        }
    }
}

/// Returns the error of `--all-blocks` with several runs.
pub(super) fn all_blocks_of_several() -> Failure {
    Failure::new(
        Error::Usage("`--all-blocks` writes a file for each block of one run".to_owned()),
        "choose a block of every run with `--block N`, or write run by run, each into a directory of its own",
    )
}

/// Joins the first names, and counts the others.
fn first_runs(names: impl ExactSizeIterator<Item = String>) -> String {
    let more = names.len().saturating_sub(NAMED_RUNS);
    let mut text = names.take(NAMED_RUNS).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

/// Returns the types that the workflows of the runs declare, merged in the order of the runs.
async fn declared_by_all(client: &Client, runs: &[EndedRun]) -> Schema {
    let mut workflows: Vec<&WorkflowId> = Vec::new();
    let mut seen = HashSet::new();
    for run in runs.iter().filter(|run| !run.workflow.0.is_empty()) {
        if seen.insert(&run.workflow) {
            workflows.push(&run.workflow);
        }
    }
    let declared = stream::iter(workflows)
        .map(|workflow| client.declared_types_of(workflow))
        .buffered(CALLS_AT_ONCE)
        .collect::<Vec<_>>();
    let merged = declared.await.into_iter().reduce(|all, next| all.join(&next, TypeMerge::Json));
    merged.unwrap_or_default()
}

/// Returns the identities of result files in the manifest of a directory, which are the prefixes of the names that the
/// files of each run have alone: results of the same runs replace each other, and those of others are kept.
fn sources_of(runs: &[RunFiles<'_>]) -> Vec<String> {
    let sets = |run: &RunFiles<'_>| {
        run.links.iter().map(|link| outputs::set_of_run(&run.run.0, link.block_number)).collect::<Vec<_>>()
    };
    runs.iter().flat_map(sets).collect()
}
