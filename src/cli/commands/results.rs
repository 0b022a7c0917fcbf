//! From a run to its results: watch it, find its files, stream them into outputs. Shared by `run` and `pull`.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use super::ledger_session::LedgerSession;
use crate::api::{BlockLiveStatus, DownloadLink, LiveStatus, RunId, RunStatus};
use crate::cli::args::{PipelineArgs, ResultArgs};
use crate::cli::choices::{ApiFormat, ReportFormat, SchemaFromArg};
use crate::cli::context::Context;
use crate::cli::engine::ProgressTiming;
use crate::cli::error::{Error, Failure};
use crate::cli::exit::Exit;
use crate::cli::report::{OutputReport, already_complete};
use crate::cli::resume::pull_command;
use crate::cli::settings::SettingArgs;
use crate::cli::sinks::{OutputArgs, SinkArgs, TypedOutput};
use crate::cli::{engine, outputs};
use crate::client::{
    self, BlockSelection, Client, FilePulled, OpenLedger, RemainingEstimate, ResultFormat, WatchOptions, digest_of,
    digest_of_file, result_source,
};
use crate::column::Schema;
use crate::net::Download;
use crate::pipeline::{self, Control, Directory, Output, Target};
use crate::source::ByteSource;
use crate::text::{error_chain, escape_for_terminal, human_count, human_duration};

/// How long an answer to the cancelling of a run is waited for.
const CANCEL_PATIENCE: Duration = Duration::from_secs(10);

impl From<ApiFormat> for ResultFormat {
    fn from(format: ApiFormat) -> Self {
        match format {
            ApiFormat::Ndjson => ResultFormat::Ndjson,
            ApiFormat::Csv => ResultFormat::Csv,
            ApiFormat::Json => ResultFormat::Json,
        }
    }
}

/// What is done with a run's results.
pub struct PullOptions<'a> {
    /// Which.
    pub results: &'a ResultArgs,
    /// What is written.
    pub plan: &'a PipelineArgs,
    /// Formats to ask for, in this order.
    pub formats: &'a [ResultFormat],
    /// The types that were declared, where they are known already; else the run's workflow is asked.
    pub declared: Option<&'a Schema>,
    /// When the command began.
    pub start: Instant,
    /// The run is started by this command, and may not be known to the API at once.
    pub of_new_run: bool,
    /// Outputs that stand complete are written all the same.
    pub again: bool,
}

/// What results are of.
struct RunResults<'a> {
    format: ResultFormat,
    /// Types that the run's workflow declares.
    declared: &'a Schema,
    run: &'a RunId,
    workflow: &'a str,
}

impl PullOptions<'_> {
    fn wanted(&self) -> BlockSelection {
        match (self.results.all_blocks, self.results.block) {
            (true, _) => BlockSelection::All,
            (false, Some(block)) => BlockSelection::Block(block),
            (false, None) => BlockSelection::Final,
        }
    }

    /// Fails now if the outputs could not be written later.
    pub fn check(&self, context: &Context, inputs: &[&Path]) -> Result<(), Failure> {
        if self.plan.schema_from == SchemaFromArg::Full {
            return Err(Failure::new(
                Error::Usage("`--schema-from full` reads its source twice, and results come once".into()),
                "leave it out: `-o FILE.parquet` follows changes; or write `-o FILE.ndjson` and `drawoff convert` that",
            ));
        }
        self.plan.steps.steps()?;
        if !self.results.all_blocks {
            let outputs = outputs::outputs(self.plan, &context.settings, "part")?;
            outputs::check_schema(self.plan, &outputs)?;
            return outputs::check_all_writable(&outputs, inputs);
        }
        // Any name will do to check flags and folder.
        let outputs = outputs::block_outputs(self.plan, &context.settings, &[("block", None)])?;
        outputs::check_schema(self.plan, &outputs)?;
        if let Some(folder) = self.plan.outputs.typed.first().map(|typed| &typed.path) {
            if folder.is_file() {
                let error = Error::Usage(format!("{} is a file; `--all-blocks` writes several", folder.display()));
                return Err(Failure::new(error, "give a folder with `-o`"));
            }
            std::fs::create_dir_all(folder).map_err(|cause| Error::Write { path: folder.clone(), cause })?;
        }
        outputs::check_all_writable(&outputs, inputs)
    }

    /// True if the results go to standard output alone.
    pub fn to_stdout(&self) -> bool {
        self.plan.outputs.typed.iter().all(TypedOutput::is_stdout)
    }

    /// Waits for the end of `run` and writes its results. What stands complete according to `keeping` is left as it
    /// is; what is written is recorded there.
    pub async fn carry_out(
        &self,
        context: &Context,
        client: &Client,
        run: &RunId,
        keeping: &mut LedgerSession,
    ) -> Result<Exit, Failure> {
        let outcome = self.watch_and_write(context, client, run, keeping).await;
        match outcome {
            Ok(exit) => {
                keeping.record(context, OpenLedger::delivered);
                Ok(exit)
            }
            Err(failure) if self.results.cancel_on_interrupt && matches!(failure.error(), Error::Interrupted) => {
                Err(cancelled(client, run, failure).await)
            }
            Err(failure) => Err(failure),
        }
    }

    async fn watch_and_write(
        &self,
        context: &Context,
        client: &Client,
        run: &RunId,
        keeping: &mut LedgerSession,
    ) -> Result<Exit, Failure> {
        let asked = async {
            let options = match self.of_new_run {
                true => WatchOptions::of_new_run(client),
                false => WatchOptions::of(client),
            };
            let options = WatchOptions { deadline: self.results.deadline, ..options };
            let status = watch(context, client, run, &options).await.map_err(|failure| self.with_way_on(failure))?;
            client.require_completed(&status).await?;
            let results = client.result_links(run, self.formats, self.wanted()).await?;
            let declared = match self.declared {
                Some(declared) => declared.clone(),
                None => client.declared_types_of(&status.workflow_id).await,
            };
            Ok((status, results, declared))
        };
        let (status, results, declared) = context.unless_interrupted(asked).await?;
        let mut opens = client.opens(run, &results).into_iter();
        let client::Results { format, links, messages, .. } = results;
        keeping.record(context, |open| {
            open.ledger.workflow = Some(status.workflow_id.clone());
            open.ledger.status = Some(status.overall_status.clone());
        });
        keeping.saw(context, &links, format);
        for (name, message) in messages {
            context.screen.note(&escape_for_terminal(&format!("{name}: {message}")));
        }
        if self.formats[0] != format {
            let words = [self.formats[0].as_str(), format.as_str()];
            context.screen.note(&format!("the run has no {} results; taking {}", words[0], words[1]));
        }
        let from = RunResults { format, declared: &declared, run, workflow: &status.workflow_id.0 };
        let outputs = if self.results.all_blocks {
            let names: Vec<_> = links.iter().map(|link| (link.filename.as_str(), link.block_number)).collect();
            let outputs = outputs::block_outputs(self.plan, &context.settings, &names)?;
            outputs.into_iter().map(|output| vec![output]).zip(links.chunks(1)).collect::<Vec<_>>()
        } else {
            let block = if let [link] = &links[..] { link.block_number } else { None };
            let set = outputs::set_of_run(&run.0, block);
            vec![(outputs::outputs(self.plan, &context.settings, &set)?, &*links)]
        };
        // What stands complete is not downloaded. The rest comes in order and within one window: what is read later
        // is on its way while the first is read.
        let downloads = context.downloads();
        let start = |opens: Vec<_>| opens.into_iter().map(|open| downloads.start(client.http(), open)).collect();
        let mut files = Vec::new();
        for (outputs, links) in outputs {
            let opens = opens.by_ref().take(links.len()).collect::<Vec<_>>();
            let contents = self.contents(&from, links, &outputs);
            let standing = if self.again { None } else { keeping.standing(&outputs, &contents).await };
            let missing: Option<VecDeque<Download>> = standing.is_none().then(|| start(opens));
            files.push((outputs, links, standing, missing));
        }
        let mut exit = Exit::Success;
        for (outputs, links, standing, missing) in files {
            let done = match (standing, missing) {
                (Some(done), _) => already_complete(context, self.plan.report, &outputs, &done),
                (None, missing) => {
                    self.write(context, &from, links, missing.unwrap_or_default(), outputs, keeping).await?
                }
            };
            exit = worse(exit, done);
        }
        Ok(exit)
    }

    /// After a deadline the same results can still be had, under the same output.
    fn with_way_on(&self, failure: Failure) -> Failure {
        let Error::Client(client::Error::Deadline { run, .. }) = failure.error() else { return failure };
        let hint = format!(
            "the run goes on: `{}` waits for it and writes its results, `drawoff runs cancel {run}` ends it",
            pull_command(run)
        );
        failure.with_hint(hint)
    }

    /// Streams `downloads`, which are of `links`, in order into outputs that get the same.
    async fn write(
        &self,
        context: &Context,
        from: &RunResults<'_>,
        links: &[DownloadLink],
        downloads: VecDeque<Download>,
        outputs: Vec<Output>,
        keeping: &mut LedgerSession,
    ) -> Result<Exit, Failure> {
        let (name, contents) = (outputs::target_names(&outputs), self.contents(from, links, &outputs));
        let mut files = Vec::new();
        let (mut sources, mut stoppers, mut total_bytes) = (Vec::new(), Vec::new(), Some(0));
        for (i, (link, mut download)) in links.iter().zip(downloads).enumerate() {
            // Those that must wait for others are opened when it is their turn.
            if i < context.settings.jobs.value {
                context
                    .unless_interrupted(async {
                        let opened = download.opened().await;
                        opened.map_err(|cause| Error::Download { name: link.filename.clone(), cause }.into())
                    })
                    .await?;
            }
            stoppers.push(download.stopper());
            files.push(FilePulled {
                filename: link.filename.clone(),
                block: link.block_number,
                bytes: download.size_bytes(),
            });
            total_bytes = total_bytes.zip(download.size_bytes()).map(|(a, b)| a + b);
            sources.push(result_source(link, from.format, download));
        }
        let mut plan = outputs::plan(sources, outputs.clone(), self.plan, &context.settings)?;
        plan.schema.declared = Some(from.declared.clone());
        let blocks: Vec<String> = links.iter().filter_map(|link| Some(link.block_number?.to_string())).collect();
        let mut say = |key: &str, value: String| plan.metadata.push((format!("drawoff.{key}"), value));
        say("run", from.run.to_string());
        say("workflow", from.workflow.to_owned());
        if !blocks.is_empty() {
            say("block", blocks.join(","));
        }
        let repeated_bytes = keeping.begin(context, &outputs, &contents, files, plan.rejects.as_deref());
        let note =
            |control: &Control, moment| keeping.advance(context, &outputs, control, moment == ProgressTiming::Over);
        let executed = engine::execute(context, plan, "downloading", total_bytes, stoppers, note).await;
        let report = executed.map_err(|failure| match failure.error() {
            // Reading everything first, which is the usual way out, needs a file.
            Error::Pipeline(pipeline::Error::Schema { change, .. }) if change.can_be_followed() => {
                failure.with_hint(outputs::schema_hint(self.plan, &outputs, false))
            }
            _ => failure,
        })?;
        keeping.finish(context, &outputs, &report).await;
        let account = OutputReport {
            name,
            outputs: &outputs,
            report: &report,
            expected_rows: links.iter().map(|link| link.row_count).sum(),
            repeated_bytes,
            elapsed: self.start.elapsed(),
        };
        Ok(account.print(context, self.plan.report))
    }

    /// The digest of all that decides what `outputs` will hold: the files, and how they are converted. Flags that
    /// change nothing in it are left out; one that is added later counts by itself.
    fn contents(&self, from: &RunResults<'_>, links: &[DownloadLink], outputs: &[Output]) -> String {
        // What a schema file says counts, not where it is.
        let schema = self.plan.schema.as_deref().map(|path| digest_of_file(path).unwrap_or_default());
        let tables: Vec<String> =
            self.plan.steps.table_files().map(|path| digest_of_file(path).unwrap_or_default()).collect();
        let plan = PipelineArgs {
            outputs: OutputArgs::default(),
            sink: SinkArgs::default(),
            schema: None,
            // The codec is a part of each output's shape; the others change nothing.
            settings: SettingArgs::default(),
            report: ReportFormat::Text,
            ..self.plan.clone()
        };
        let files = links.iter().map(|link| {
            format!("{:?}", (&link.filename, link.block_number, link.row_count, link.file_size, &link.created_at))
        });
        let files = files.collect::<Vec<_>>().join(", ");
        digest_of(&[
            env!("CARGO_PKG_VERSION"),
            from.format.as_str(),
            &files,
            &outputs.iter().map(shape).collect::<String>(),
            &format!("{plan:?} {schema:?} {tables:?} {:?}", self.plan.sink.sort_hint),
            &format!("{:?}", from.declared),
        ])
    }
}

/// What decides the contents of one output besides the records: not where it is.
fn shape(output: &Output) -> String {
    let files = match &output.target {
        Target::Directory(Directory { set, max_file_rows, max_file_bytes, partition_by, .. }) => {
            format!(" {:?}", (set, max_file_rows, max_file_bytes, partition_by))
        }
        _ => String::new(),
    };
    format!("{:?} {:?}{files};", output.format, output.compression)
}

/// Cancels the run of a command that was interrupted, and says so in place of the way to go on.
async fn cancelled(client: &Client, run: &RunId, failure: Failure) -> Failure {
    match tokio::time::timeout(CANCEL_PATIENCE, client.cancel(run)).await {
        Ok(Ok(_)) => failure.with_hint(format!("run {run} was cancelled")),
        Ok(Err(error)) => failure.with_hint(format!(
            "run {run} could not be cancelled ({}); `drawoff runs cancel {run}` tries again",
            error_chain(&error)
        )),
        Err(_) => failure
            .with_hint(format!("run {run}: no answer to its cancelling; `drawoff runs cancel {run}` tries again")),
    }
}

fn worse(a: Exit, b: Exit) -> Exit {
    if a == Exit::Success { b } else { a }
}

/// Waits for the end of a run, showing how far it is.
pub async fn watch(
    context: &Context,
    client: &Client,
    run: &RunId,
    options: &WatchOptions,
) -> Result<LiveStatus, Failure> {
    let mut remaining = RemainingEstimate::default();
    let status = client.watch(run, options, |status| {
        let fraction = status.overall_progress_percentage / 100.0;
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

/// State, and block and rows of all that runs, in one line.
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
