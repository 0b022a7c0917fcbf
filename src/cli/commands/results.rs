//! The results of a run, for `run`, `bulk` and `pull`: waits for the run, requests the links of its result files, and
//! streams the downloads into outputs, except those that the ledger proves complete. Results of several runs take the
//! same way from their links on; [`super::several_runs`] collects these.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use super::ledger_session::LedgerSession;
use super::output_identity::output_identity;
use super::pulled_results::{PulledResults, RunFiles};
use crate::api::{BlockLiveStatus, DownloadLink, LiveStatus, RunId, RunStatus};
use crate::cli::args::{PipelineArgs, ResultArgs};
use crate::cli::choices::{ApiFormat, SchemaFromArg};
use crate::cli::context::Context;
use crate::cli::copy_into::copy_into;
use crate::cli::dialect::InputDialect;
use crate::cli::engine::ProgressTiming;
use crate::cli::error::{Error, Failure};
use crate::cli::exit::Exit;
use crate::cli::report::{OutputReport, already_complete, already_loaded};
use crate::cli::resume::pull_command;
use crate::cli::sinks::TypedOutput;
use crate::cli::store_checks::check_stores;
use crate::cli::{engine, output_checks, outputs, tables};
use crate::client::{
    self, BlockSelection, Client, FilePulled, OpenLedger, RemainingEstimate, ResultFormat, WatchOptions, result_source,
};
use crate::column::Schema;
use crate::net::Download;
use crate::pipeline::{self, Control, Output};
use crate::source::{ByteSource, Source};
use crate::text::{error_chain, escape_for_terminal, human_count, human_duration};
use crate::warehouse::LoadMember;

/// The most times that the results are downloaded again because the system of a table was lost.
const MAX_LOAD_RETRIES: u32 = 4;

/// The end of the source of loads that got the results of the final block, which no command numbered.
pub(super) const FINAL_BLOCK: &str = " (final)";

/// Time to wait for the response to the cancellation of a run.
pub(super) const CANCEL_TIMEOUT: Duration = Duration::from_secs(10);

impl From<ApiFormat> for ResultFormat {
    fn from(format: ApiFormat) -> Self {
        match format {
            ApiFormat::Ndjson => ResultFormat::Ndjson,
            ApiFormat::Csv => ResultFormat::Csv,
            ApiFormat::Json => ResultFormat::Json,
        }
    }
}

/// The options of writing a run's results.
pub(crate) struct PullOptions<'a> {
    /// Selection of blocks, deadline and interruption.
    pub results: &'a ResultArgs,
    /// Outputs, steps and policies.
    pub plan: &'a PipelineArgs,
    /// Formats to request, the preferred one first; not empty.
    pub formats: &'a [ResultFormat],
    /// Types that the workflow declares; `None` requests them from the API.
    pub declared: Option<&'a Schema>,
    /// Time at which the command began.
    pub start: Instant,
    /// True if this command started the run, which the API may not know everywhere yet.
    pub of_new_run: bool,
    /// True to write outputs again that are already complete.
    pub again: bool,
}

impl PullOptions<'_> {
    /// Returns the selection of blocks.
    pub(super) fn wanted(&self) -> BlockSelection {
        match (self.results.all_blocks, self.results.block) {
            (true, _) => BlockSelection::All,
            (false, Some(block)) => BlockSelection::Block(block),
            (false, None) => BlockSelection::Final,
        }
    }

    /// Fails if the outputs could not be written later, before a run is started or a byte is downloaded. Creates the
    /// directory of `--all-blocks`.
    pub(crate) async fn check(&self, context: &Context, inputs: &[&Path]) -> Result<(), Failure> {
        if self.plan.schema_from == SchemaFromArg::Full {
            return Err(Failure::new(
                Error::Usage(
                    "`--schema-from full` reads its source twice, but results can be downloaded only once".into(),
                ),
                "leave it out and write a file that can follow changes: `-o FILE.parquet`; or write `-o FILE.ndjson` and convert that with `drawoff convert`",
            ));
        }
        // Parsed only to find errors: a run must not start for steps that are not valid.
        self.plan.steps.steps()?;
        if !self.results.all_blocks {
            let outputs = outputs::outputs(self.plan, &context.settings, "part")?;
            outputs::check_schema(self.plan, &outputs, &context.settings)?;
            output_checks::check(self.plan, &outputs, inputs)?;
            check_stores(context, &outputs).await?;
            tables::show_notes(context, &outputs);
            if let Some(copy) = copy_into(self.plan, &outputs, self.again)? {
                copy.check(context).await?;
            }
            // The run is not known yet, and so no earlier load of it.
            return tables::check_tables(context, &outputs).await.map(drop);
        }
        if self.plan.load.copy_into.is_some() {
            return Err(Failure::new(
                Error::Usage("`--copy-into` and `--all-blocks` cannot be combined: it copies into one table".into()),
                "choose one block with `--block N`",
            ));
        }
        // The blocks are unknown before the run: any name serves to check flags and directory.
        let outputs = outputs::block_outputs(self.plan, &context.settings, &[("block", None)])?;
        outputs::check_schema(self.plan, &outputs, &context.settings)?;
        if let Some(directory) = self.plan.outputs.typed.first().map(|typed| &typed.path) {
            if directory.is_file() {
                let error = Error::Usage(format!("{} is a file; `--all-blocks` writes several", directory.display()));
                return Err(Failure::new(error, "specify a directory with `-o`"));
            }
            std::fs::create_dir_all(directory).map_err(|cause| Error::Write { path: directory.clone(), cause })?;
        }
        output_checks::check(self.plan, &outputs, inputs)
    }

    /// Returns true if [`check`](Self::check) is possible before it is known that there will be results: there are outputs, and
    /// no directory would be made for them.
    pub(crate) fn can_be_checked(&self) -> bool {
        !self.plan.outputs.typed.is_empty() && !self.results.all_blocks
    }

    /// Returns true if all outputs are standard output.
    pub(crate) fn to_stdout(&self) -> bool {
        self.plan.outputs.typed.iter().all(TypedOutput::is_stdout)
    }

    /// Waits for the end of `run` and writes its results. Outputs that are complete according to the ledger of
    /// `session` are kept; the others are recorded there. Cancels the run on an interruption if `--cancel-on-interrupt`
    /// is set.
    pub(crate) async fn carry_out(
        &self,
        context: &Context,
        client: &Client,
        run: &RunId,
        session: &mut LedgerSession,
    ) -> Result<Exit, Failure> {
        match self.with_load_retries(context, async || self.watch_and_write(context, client, run, session).await).await
        {
            Ok(exit) => {
                session.record(context, OpenLedger::delivered);
                Ok(exit)
            }
            Err(failure) if self.results.cancel_on_interrupt && matches!(failure.error(), Error::Interrupted) => {
                // Bounded by `CANCEL_TIMEOUT`.
                context.interrupt.set_own_deadline();
                Err(cancelled(client, run, failure).await)
            }
            Err(failure) => Err(failure),
        }
    }

    /// Calls `write` again, after a wait, when the system of a table was lost: what of the load is in the table is known then.
    pub(super) async fn with_load_retries(
        &self,
        context: &Context,
        mut write: impl AsyncFnMut() -> Result<Exit, Failure>,
    ) -> Result<Exit, Failure> {
        let mut retries = 0;
        loop {
            match write().await {
                // Nothing of the load is in the table, or what is there is known: the download begins again.
                Err(failure) if is_lost_target(failure.error()) && retries < MAX_LOAD_RETRIES => {
                    failure.lines().iter().take(1).for_each(|line| context.screen.note(line));
                    context.screen.note(match self.plan.load.commit_every {
                        None => "beginning again: nothing of this load is in the table",
                        Some(_) => "beginning again, behind the chunks that are in the table",
                    });
                    let wait = async {
                        tokio::time::sleep(Duration::from_secs(1 << retries)).await;
                        Ok(())
                    };
                    context.unless_interrupted(wait).await?;
                    retries += 1;
                }
                outcome => return outcome,
            }
        }
    }

    /// Implements [`PullOptions::carry_out`] without the end of the ledger and the cancellation.
    async fn watch_and_write(
        &self,
        context: &Context,
        client: &Client,
        run: &RunId,
        session: &mut LedgerSession,
    ) -> Result<Exit, Failure> {
        // All requests are in one future, so that Ctrl-C drops whichever one is waiting.
        let requests = async {
            let options = match self.of_new_run {
                true => WatchOptions::of_new_run(client),
                false => WatchOptions::of(client),
            };
            let options = WatchOptions { deadline: self.results.deadline, ..options };
            let status = watch(context, client, run, &options).await.map_err(|failure| self.with_pull_hint(failure))?;
            client.require_completed(&status).await?;
            let results = client.result_links(run, self.formats, self.wanted()).await?;
            let declared = match self.declared {
                Some(declared) => declared.clone(),
                None => client.declared_types_of(&status.workflow_id).await,
            };
            Ok((status, results, declared))
        };
        let (status, results, declared) = context.unless_interrupted(requests).await?;
        let mut opens = client.download_requests(run, &results).into_iter();
        let client::Results { format, links, messages, .. } = results;
        // Recorded before the first byte: an interrupted download is listed under its workflow.
        session.record(context, |open| {
            open.ledger.workflow = Some(status.workflow_id.clone());
            open.ledger.status = Some(status.overall_status.clone());
        });
        session.record_links(context, &links, format);
        for (name, message) in messages {
            context.screen.note(&escape_for_terminal(&format!("{name}: {message}")));
        }
        // The API may have fallen back to CSV, in which nested values are text: worth a note.
        if self.formats[0] != format {
            let words = [self.formats[0].as_str(), format.as_str()];
            context.screen.note(&format!("the run has no {} results; using {}", words[0], words[1]));
        }
        let files_of = |links| RunFiles { run, workflow: &status.workflow_id, format, links };
        // Under `--all-blocks` each file has an output of its own; otherwise all files are one sequence of records.
        let outputs = if self.results.all_blocks {
            let names: Vec<_> = links.iter().map(|link| (link.filename.as_str(), link.block_number)).collect();
            let outputs = outputs::block_outputs(self.plan, &context.settings, &names)?;
            outputs.into_iter().map(|output| vec![output]).zip(links.chunks(1)).collect::<Vec<_>>()
        } else {
            // The number of the block is in the names of a directory's files only if there is a single one.
            let block = if let [link] = &links[..] { link.block_number } else { None };
            let mut set = outputs::set_of_run(&run.0, block);
            let outputs = outputs::outputs(self.plan, &context.settings, &set)?;
            if let Some(copy) = copy_into(self.plan, &outputs, self.again)? {
                set = copy.of_runs(&[self.load_member(run, &links)])?.set();
            }
            vec![(outputs::outputs(self.plan, &context.settings, &set)?, &*links)]
        };
        // Complete outputs are not downloaded. All other downloads are started now, in order and within one memory
        // window, so that later files arrive while the first one is converted.
        let downloads = context.downloads();
        let start = |opens: Vec<_>| opens.into_iter().map(|open| downloads.start(client.http(), open)).collect();
        let mut files = Vec::new();
        let mut exit = Exit::Success;
        for (mut outputs, links) in outputs {
            let opens = opens.by_ref().take(links.len()).collect::<Vec<_>>();
            tables::set_runs(&mut outputs, &[self.load_member(run, links)], self.again)?;
            let mut loaded = tables::check_tables(context, &outputs).await?;
            let copy = copy_into(self.plan, &outputs, self.again)?;
            if let Some(copy) = &copy {
                loaded = copy.of_runs(&[self.load_member(run, links)])?.find(context).await?.map(|found| vec![found]);
            }
            if let Some(loaded) = loaded {
                exit = worse(exit, already_loaded(context, self.plan.report, &outputs, &loaded));
                continue;
            }
            let from = PulledResults { runs: &[files_of(links)], declared: &declared };
            let contents = self.contents(context, &from, &outputs);
            // Files that are complete may not be copied yet.
            let is_fresh = self.again || copy.is_some();
            let complete = if is_fresh { None } else { session.complete_outputs(&outputs, &contents).await };
            let missing: Option<VecDeque<Download>> = complete.is_none().then(|| start(opens));
            files.push((outputs, links, complete, missing));
        }
        for (outputs, links, complete, missing) in files {
            let done = match (complete, missing) {
                (Some(done), _) => already_complete(context, self.plan.report, &outputs, &done),
                (None, missing) => {
                    let from = PulledResults { runs: &[files_of(links)], declared: &declared };
                    self.write(context, &from, missing.unwrap_or_default(), outputs, session).await?
                }
            };
            exit = worse(exit, done);
        }
        Ok(exit)
    }

    /// Returns the identity of a load of the results of `run`: the run and the blocks that these links are of.
    pub(super) fn load_member(&self, run: &RunId, links: &[DownloadLink]) -> LoadMember {
        // Not the name of a file, which has the format in it: the rows are the same in every format.
        let part = |link: &DownloadLink| match link.block_number {
            Some(number) => format!("block {number}"),
            None => link.filename.split('.').next().unwrap_or_default().to_owned(),
        };
        let parts: Vec<String> = links.iter().map(part).collect();
        let origin = format!("run {run} {}", parts.join(", "));
        let block = if let [link] = links { link.block_number } else { None };
        let is_final = matches!(self.wanted(), BlockSelection::Final);
        let source = if is_final { format!("{origin}{FINAL_BLOCK}") } else { origin.clone() };
        LoadMember { origin, run_id: Some(run.0.clone()), block, source }
    }

    /// Adds the command that writes the same outputs later to a failure after the deadline.
    fn with_pull_hint(&self, failure: Failure) -> Failure {
        let Error::Client(client::Error::Deadline { run, .. }) = failure.error() else { return failure };
        let hint = format!(
            "the run continues: write its results with `{}`, which waits for it, or cancel it with `drawoff runs cancel {run}`",
            pull_command(run)
        );
        failure.with_hint(hint)
    }

    /// Streams `downloads`, one for each file of `from`, in order into `outputs`, which get the same records.
    pub(super) async fn write(
        &self,
        context: &Context,
        from: &PulledResults<'_>,
        downloads: VecDeque<Download>,
        outputs: Vec<Output>,
        session: &mut LedgerSession,
    ) -> Result<Exit, Failure> {
        let (name, contents) = (outputs::target_names(&outputs), self.contents(context, from, &outputs));
        let mut files = Vec::new();
        let (mut sources, mut stoppers, mut total_bytes) = (Vec::new(), Vec::new(), Some(0));
        for (i, ((run, link), mut download)) in from.files().zip(downloads).enumerate() {
            // Only `jobs` downloads run at once. The others connect when their turn comes, which keeps their links
            // fresh.
            if i < context.settings.jobs.value {
                context
                    .unless_interrupted(async {
                        let opened = download.opened().await;
                        opened.map_err(|cause| Error::Download { name: from.name_of(run, link), cause }.into())
                    })
                    .await?;
            }
            stoppers.push(download.stopper());
            // The record of a set of runs has their number alone: it is saved once a second.
            if let [_] = from.runs {
                files.push(FilePulled {
                    filename: link.filename.clone(),
                    block: link.block_number,
                    bytes: download.size_bytes(),
                });
            }
            total_bytes = total_bytes.zip(download.size_bytes().or(link.file_size)).map(|(a, b)| a + b);
            let source = result_source(link, run.format, download);
            let name = from.name_of(run, link).into();
            sources.push(Source { name, run: Some(run.run.0.as_str().into()), ..source });
        }
        // Of the tables alone: results are RFC 4180.
        let dialect = InputDialect::of_settings(&context.settings)?;
        let mut plan = outputs::plan(sources, outputs.clone(), self.plan, &dialect, &context.settings)?;
        plan.schema.declared = Some(from.declared.clone());
        plan.metadata.extend(from.metadata());
        // From here on a kill is recorded as an interrupted attempt.
        let repeated_bytes = session.begin(context, &outputs, &contents, files, plan.rejects.as_deref());
        let note =
            |control: &Control, moment| session.advance(context, &outputs, control, moment == ProgressTiming::Over);
        let executed = engine::execute(context, plan, "downloading", total_bytes, stoppers, note).await;
        let mut report = executed.map_err(|failure| match failure.error() {
            // `--schema-from full`, the usual remedy, is not possible for a download, so the hint names others.
            Error::Pipeline(pipeline::Error::Schema { change, .. }) if change.can_be_followed() => {
                let hint = outputs::schema_hint(self.plan, &outputs, false, change);
                failure.with_hint(hint)
            }
            _ => failure,
        })?;
        session.finish(context, &outputs, &report).await;
        if let Some(copy) = copy_into(self.plan, &outputs, self.again)? {
            let runs: Vec<LoadMember> = from.runs.iter().map(|run| self.load_member(run.run, run.links)).collect();
            copy.of_runs(&runs)?.load(context, &mut report).await?;
        }
        let output_report = OutputReport {
            name,
            outputs: &outputs,
            report: &report,
            runs: from.runs.len(),
            expected_rows: from.files().map(|(_, link)| link.row_count).sum(),
            repeated_bytes,
            recovered: context.recovered(),
            elapsed: self.start.elapsed(),
        };
        Ok(output_report.print(context, self.plan.report))
    }

    /// Returns the digest of everything that determines the contents of `outputs`: the result files and the conversion.
    /// Flags without an effect on the contents are reset first, so that a new flag counts unless it is added to them.
    pub(super) fn contents(&self, context: &Context, from: &PulledResults<'_>, outputs: &[Output]) -> String {
        let max_record_bytes = context.settings.max_record_bytes.value;
        output_identity(from.runs, outputs, self.plan, max_record_bytes, from.declared)
    }
}

/// Returns true if the system of a table was lost, or cannot be reached now.
fn is_lost_target(error: &Error) -> bool {
    matches!(error, Error::Pipeline(pipeline::Error::Load(error)) if error.is_transient())
}

/// Cancels the run of an interrupted command and replaces the hint on resuming by the result.
pub(super) async fn cancelled(client: &Client, run: &RunId, failure: Failure) -> Failure {
    match tokio::time::timeout(CANCEL_TIMEOUT, client.cancel(run)).await {
        Ok(Ok(_)) => failure.with_hint(format!("run {run} was cancelled")),
        Ok(Err(error)) => failure.with_hint(format!(
            "cannot cancel run {run}: {}; retry with `drawoff runs cancel {run}`",
            error_chain(&error)
        )),
        Err(_) => failure
            .with_hint(format!("no response to the cancellation of run {run}; retry with `drawoff runs cancel {run}`")),
    }
}

/// Returns the first exit code that is not a success.
pub(super) fn worse(a: Exit, b: Exit) -> Exit {
    if a == Exit::Success { b } else { a }
}

/// Waits for the end of a run with progress, and returns its last status, which may be a failure of the run.
pub(super) async fn watch(
    context: &Context,
    client: &Client,
    run: &RunId,
    options: &WatchOptions,
) -> Result<LiveStatus, Failure> {
    let mut remaining = RemainingEstimate::default();
    let status = client.watch(run, options, |status| {
        let fraction = (status.overall_progress_percentage / 100.0).clamp(0.0, 1.0);
        let mut detail = describe(status);
        if let Some(left) = remaining.observe(status, Instant::now()) {
            detail.push_str(&format!("  about {} left", human_duration(left)));
        }
        context.screen.progress(&format!("run {run}"), Some(fraction), &detail);
    });
    let status = status.await;
    context.screen.clear();
    Ok(status?)
}

/// Formats the status of a run, and the rows and step of every running block, on one line.
fn describe(status: &LiveStatus) -> String {
    let mut text = RunStatus::parse(&status.overall_status).as_str().to_owned();
    let running = |block: &&BlockLiveStatus| RunStatus::parse(&block.status) == RunStatus::Running;
    let count = |n: i64| human_count(u64::try_from(n).unwrap_or(0));
    for block in status.blocks.iter().filter(running) {
        text.push_str(&format!("  block {} of {} ({})", block.sequence_number, status.total_blocks, block.block_name));
        match (block.processed_count, block.total_count, block.estimated_total_count) {
            (done, total, _) if total > 0 => text.push_str(&format!("  {} of {} rows", count(done), count(total))),
            (done, _, Some(total)) if total > 0 => {
                text.push_str(&format!("  {} of about {} rows", count(done), count(total)));
            }
            (done, ..) if done > 0 => text.push_str(&format!("  {} rows", count(done))),
            _ => {}
        }
        if let Some(step) = &block.current_step {
            text.push_str(&format!("  {step}"));
        }
    }
    text
}
