//! From a run to its results: watch it, find its files, stream them into outputs. Shared by `run` and `pull`.

use std::path::Path;
use std::time::Instant;

use crate::api::{BlockLiveStatus, DownloadLink, LiveStatus, RunId, RunStatus};
use crate::cli::args::{ApiFormat, PlanArgs, ResultArgs, SchemaFromArg};
use crate::cli::context::Context;
use crate::cli::error::{Error, Failure};
use crate::cli::exit::Exit;
use crate::cli::report::Account;
use crate::cli::{engine, outputs};
use crate::client::{self, Client, ResultFormat, Wanted, WatchOptions, declared_types};
use crate::column::Schema;
use crate::pipeline::{self, Output, Target};
use crate::source::{ByteSource, Source};
use crate::text::{escape_for_terminal, human_count};

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
pub struct Pull<'a> {
    /// Which.
    pub results: &'a ResultArgs,
    /// What is written.
    pub plan: &'a PlanArgs,
    /// Formats to ask for, in this order.
    pub formats: &'a [ResultFormat],
    /// When the command began.
    pub start: Instant,
    /// The run is started by this command, and may not be known to the API at once.
    pub of_new_run: bool,
}

/// What results are of.
struct RunResults<'a> {
    run: &'a RunId,
    format: ResultFormat,
    /// Types that the run's workflow declares.
    declared: &'a Schema,
}

impl Pull<'_> {
    fn wanted(&self) -> Wanted {
        match (self.results.all_blocks, self.results.block) {
            (true, _) => Wanted::All,
            (false, Some(block)) => Wanted::Block(block),
            (false, None) => Wanted::Final,
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
        if !self.results.all_blocks {
            return outputs::check_writable(&outputs::output(self.plan, &context.settings)?, inputs);
        }
        // Any name will do to check flags and folder.
        let output = outputs::block_output(self.plan, &context.settings, "block", None, 0)?;
        if let Some(folder) = &self.plan.output {
            if folder.is_file() {
                let error = Error::Usage(format!("{} is a file; `--all-blocks` writes several", folder.display()));
                return Err(Failure::new(error, "give a folder with `-o`"));
            }
            std::fs::create_dir_all(folder).map_err(|cause| Error::Write { path: folder.clone(), cause })?;
        }
        outputs::check_writable(&output, inputs)
    }

    /// Waits for the end of `run` and writes its results.
    pub async fn carry_out(&self, context: &Context, client: &Client, run: &RunId) -> Result<Exit, Failure> {
        let asked = async {
            let options = match self.of_new_run {
                true => WatchOptions::of_new_run(client),
                false => WatchOptions::of(client),
            };
            let options = WatchOptions { deadline: self.results.deadline, ..options };
            let status = watch(context, client, run, &options).await.map_err(|failure| self.with_way_on(failure))?;
            client.require_completed(&status).await?;
            let results = client.result_links(run, self.formats, self.wanted()).await?;
            // The workflow may be gone or not ours to read: its results say enough without it.
            let workflow = client.workflow(&status.workflow_id).await.ok();
            let graph = workflow.and_then(|workflow| workflow.workflow_definition);
            Ok((results, graph.map(|graph| declared_types(&graph)).unwrap_or_default()))
        };
        let (client::Results { format, links, messages }, declared) = context.unless_interrupted(asked).await?;
        for (name, message) in messages {
            context.screen.note(&escape_for_terminal(&format!("{name}: {message}")));
        }
        if self.formats[0] != format {
            let words = [self.formats[0].as_str(), format.as_str()];
            context.screen.note(&format!("the run has no {} results; taking {}", words[0], words[1]));
        }
        let from = RunResults { run, format, declared: &declared };
        let mut exit = Exit::Success;
        if self.results.all_blocks {
            for (index, link) in links.iter().enumerate() {
                let (name, number) = (&link.filename, link.block_number);
                let output = outputs::block_output(self.plan, &context.settings, name, number, index)?;
                exit = worse(exit, self.write(context, client, &from, std::slice::from_ref(link), output).await?);
            }
        } else {
            let output = outputs::output(self.plan, &context.settings)?;
            exit = self.write(context, client, &from, &links, output).await?;
        }
        Ok(exit)
    }

    /// After a deadline the same results can still be had, under the same output.
    fn with_way_on(&self, failure: Failure) -> Failure {
        let Error::Client(client::Error::Deadline { run, .. }) = failure.error() else { return failure };
        let Some(output) = &self.plan.output else { return failure };
        let all = if self.results.all_blocks { " --all-blocks" } else { "" };
        let hint = format!(
            "the run goes on: `drawoff pull {run}{all} -o {}` waits for it and writes its results, `drawoff runs cancel {run}` ends it",
            output.display()
        );
        failure.with_hint(hint)
    }

    /// Streams `links` in order into one output.
    async fn write(
        &self,
        context: &Context,
        client: &Client,
        from: &RunResults<'_>,
        links: &[DownloadLink],
        output: Output,
    ) -> Result<Exit, Failure> {
        let (mut sources, mut stoppers, mut total_bytes) = (Vec::new(), Vec::new(), Some(0));
        for link in links {
            let download = context
                .unless_interrupted(async {
                    client.download(from.run, from.format, link).await.map_err(|error| match error {
                        client::Error::Net(cause) => Error::Download { name: link.filename.clone(), cause }.into(),
                        error => error.into(),
                    })
                })
                .await?;
            stoppers.push(download.stopper());
            total_bytes = total_bytes.zip(download.size_bytes()).map(|(a, b)| a + b);
            let mut source = Source::stream(link.filename.as_str(), Box::new(download));
            source.format = Some(from.format.format());
            source.expected_rows = link.row_count;
            sources.push(source);
        }
        let name = outputs::target_name(&output);
        let mut plan = outputs::plan(sources, output.clone(), self.plan, &context.settings)?;
        plan.schema.declared = Some(from.declared.clone());
        let executed = engine::execute(context, plan, "downloading", total_bytes, stoppers).await;
        let report = executed.map_err(|failure| match failure.error() {
            // Reading everything first, which is the usual way out, needs a file.
            Error::Pipeline(pipeline::Error::Schema { .. }) => failure.with_hint(schema_hint(&output)),
            _ => failure,
        })?;
        let account = Account {
            name,
            output: &output,
            report: &report,
            expected_rows: links.iter().map(|link| link.row_count).sum(),
            elapsed: self.start.elapsed(),
        };
        Ok(account.print(context, self.plan.report))
    }
}

/// What follows a change of the schema when the results cannot be read twice.
fn schema_hint(output: &Output) -> &'static str {
    match output.target {
        Target::Stdout => "`-o FILE.parquet` follows such a change; standard output cannot take back what it has shown",
        Target::File { .. } => "a Parquet file can follow such a change: `-o FILE.parquet`",
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
    let status = client.watch(run, options, |status| {
        let fraction = status.overall_progress_percentage / 100.0;
        context.screen.progress(&format!("run {run}"), Some(fraction), &describe(status));
    });
    let status = status.await;
    context.screen.clear();
    Ok(status?)
}

/// State, block and rows in one line.
fn describe(status: &LiveStatus) -> String {
    let mut text = RunStatus::parse(&status.overall_status).as_str().to_owned();
    let running = |block: &&BlockLiveStatus| RunStatus::parse(&block.status) == RunStatus::Running;
    let Some(block) = status.blocks.iter().find(running) else { return text };
    text.push_str(&format!("  block {} of {} ({})", block.sequence_number, status.total_blocks, block.block_name));
    let count = |n: i64| human_count(u64::try_from(n).unwrap_or(0));
    match (block.processed_count, block.total_count) {
        (done, total) if total > 0 => text.push_str(&format!("  {} of {} rows", count(done), count(total))),
        (done, _) if done > 0 => text.push_str(&format!("  {} rows", count(done))),
        _ => {}
    }
    if let Some(step) = &block.current_step {
        text.push_str(&format!("  {step}"));
    }
    text
}
