//! `plan`: writes the work items of runs, without links, and lists which of them are done.

use std::time::Instant;

use serde::Serialize;

use super::plan_settings;
use super::results::PullOptions;
use super::run_words::selected_runs;
use super::several_runs::{Collected, SeveralRuns};
use crate::cli::args::ResultArgs;
use crate::cli::choices::ListFormat;
use crate::cli::context::Context;
use crate::cli::error::{Error, Failure};
use crate::cli::exit::Exit;
use crate::cli::plan_place::PlanPlace;
use crate::cli::scale_args::{PlanArgs, PlanCommand};
use crate::cli::sinks::OutputArgs;
use crate::cli::{engine, outputs, table};
use crate::client::{Client, ResultFormat, result_source};
use crate::net::Download;
use crate::pipeline::{Control, SchemaSource, explain_steps};
use crate::scale::{Created, FailedAttempt, ItemSource, Plan, PlanStore, Receipts, ScaleError};
use crate::text::{counted, escape_for_terminal, human_count};

/// Writes a plan, or lists its items.
pub(crate) async fn plan(context: &Context, mut args: PlanArgs) -> Result<Exit, Failure> {
    if let Some(PlanCommand::Status { plan, output }) = args.command {
        return status(context, &PlanPlace::open(&plan)?, output).await;
    }
    let Some(output) = args.output.take() else {
        return Err(Failure::new(
            Error::Usage("no place of the plan is specified".to_owned()),
            "specify a directory or a prefix of a store: `-o PLAN`",
        ));
    };
    let place = PlanPlace::open(&output)?;
    plan_settings::check(&args, context)?;
    args.steps.add_run_column(args.run_column.as_deref());
    let client = context.client()?;
    let runs = context.unless_interrupted(selected_runs(context, &client, &args.selection)).await?;
    let formats = match args.format {
        Some(format) => vec![ResultFormat::from(format)],
        None => vec![ResultFormat::Ndjson, ResultFormat::Csv],
    };
    let results = ResultArgs {
        block: args.block,
        all_blocks: false,
        run_column: None,
        deadline: args.deadline,
        cancel_on_interrupt: false,
        no_state: true,
    };
    let pull = PullOptions {
        results: &results,
        plan: &plan_settings::bare_args(OutputArgs::default()),
        formats: &formats,
        declared: None,
        start: Instant::now(),
        of_new_run: false,
        again: false,
    };
    let several = SeveralRuns {
        pull: &pull,
        runs: &runs,
        on_failed: args.selection.on_failed_run,
        skip_flag: "--on-failed-run skip",
        resume: "the same command",
    };
    let collected = context.unless_interrupted(several.collect(context, &client, &Default::default())).await;
    context.screen.clear();
    let collected = collected?;
    let format = collected.runs.first().map_or(formats[0], |(_, results)| results.format);
    let sources = collected.runs.iter().flat_map(|(run, results)| {
        results.links.iter().map(|link| ItemSource {
            run_id: run.run.0.clone(),
            workflow_id: run.workflow.0.clone(),
            block: link.block_number,
            filename: link.filename.clone(),
            row_count: link.row_count,
            file_size: link.file_size,
        })
    });
    let settings = plan_settings::settings(&args, context, format, &collected.declared)?;
    check_steps(context, &client, &args, &collected).await?;
    let plan = Plan::new(settings, sources.collect());
    let created = create(context, &place, plan.clone()).await?;
    let items = counted(plan.items.len() as u64, "item");
    let rows = plan.row_count().map(|rows| format!(" of {} rows", human_count(rows))).unwrap_or_default();
    let there = if created == Created::Before { ", there before" } else { "" };
    let name = escape_for_terminal(place.name());
    context.screen.note(&format!("{name}: {items}{rows}{there}, plan {}", &plan.digest[..8]));
    Ok(if collected.skipped > 0 { Exit::Partial } else { Exit::Success })
}

/// Checks the steps against the first records of the first item that has some, as a command on one machine does. Workers
/// accept names that their item lacks.
async fn check_steps(
    context: &Context,
    client: &Client,
    args: &PlanArgs,
    collected: &Collected,
) -> Result<(), Failure> {
    let steps = args.steps.steps()?;
    let mut runs = collected.runs.iter();
    let first = runs.find(|(_, results)| results.links.first().is_some_and(|link| link.row_count != Some(0)));
    let Some((run, results)) = first.filter(|_| !steps.is_empty()) else { return Ok(()) };
    let requests = client.download_requests(&run.run, results).into_iter().take(1);
    let downloads = requests.map(|request| context.downloads().start(client.http(), request)).collect::<Vec<_>>();
    let stoppers = downloads.iter().map(Download::stopper).collect();
    let sources = downloads.into_iter().zip(&results.links);
    let sources = sources.map(|(download, link)| result_source(link, results.format, download)).collect();
    let choice = SchemaSource {
        declared: Some(collected.declared.clone()),
        enforced: outputs::read_schema_file(args.schema.as_deref(), &context.settings)?,
        policy: args.schema_policy.into(),
        ..SchemaSource::default()
    };
    let limits = context.settings.limits();
    let work = move |control: &Control| explain_steps(sources, steps, Vec::new(), &choice, &limits, control);
    let explained = engine::run_blocking(context, "reading", None, stoppers, |_, _| {}, work).await?;
    for name in &explained.unseen {
        context
            .screen
            .note(&escape_for_terminal(&format!("the first item has no column `{name}`; others may have it")));
    }
    Ok(())
}

/// Writes the plan into its place. Notes a store without conditional writes.
async fn create(context: &Context, place: &PlanPlace, plan: Plan) -> Result<Created, Failure> {
    let name = place.name().to_owned();
    let made = place.with(context, move |store| {
        let is_exclusive = store.is_exclusive();
        let is_exclusive =
            is_exclusive.map_err(|cause| ScaleError::Write { plan: name, file: "a file".into(), cause })?;
        Ok((is_exclusive, store.create(&plan)?))
    });
    let (is_exclusive, created) = made.await?;
    if !is_exclusive {
        context.screen.note(
            "the store has no conditional writes: workers may run at once, but run one `drawoff commit` of this plan at a time",
        );
    }
    Ok(created)
}

/// The state of an item as it is printed.
#[derive(Serialize)]
struct ItemStatus {
    item: String,
    state: &'static str,
    run_id: String,
    block: Option<i64>,
    filename: String,
    row_count: Option<u64>,
    /// Attempts that have a receipt; more than one if workers raced.
    receipts: usize,
    failed_attempts: usize,
    /// The last failure of an item that is not done.
    error: Option<FailedAttempt>,
}

/// Prints the items of a plan.
async fn status(context: &Context, place: &PlanPlace, format: ListFormat) -> Result<Exit, Failure> {
    let read = place.with(context, |store| {
        let (plan, receipts, failures) = (store.load()?, store.receipts()?, store.failures()?);
        let statuses = statuses(store, &plan, &receipts, &failures)?;
        Ok((statuses, store.commit(&plan)?))
    });
    let (statuses, commit) = read.await?;
    table::write_list(format, &statuses, &["ITEM", "STATE", "RUN", "BLOCK", "ROWS", "FAILED", "LAST ERROR"], |item| {
        vec![
            item.item.clone(),
            item.state.to_owned(),
            item.run_id.clone(),
            item.block.map_or_else(|| "-".into(), |block| block.to_string()),
            item.row_count.map_or_else(|| "-".into(), human_count),
            item.failed_attempts.to_string(),
            item.error.as_ref().map(|failure| failure.error.clone()).unwrap_or_default(),
        ]
    })?;
    let of = |state: &str| statuses.iter().filter(|item| item.state == state).collect::<Vec<_>>();
    let rows = |items: &[&ItemStatus]| items.iter().map(|item| item.row_count.unwrap_or(0)).sum::<u64>();
    let (done, all) = (of("done"), statuses.iter().collect::<Vec<_>>());
    let failed = statuses.iter().map(|item| item.failed_attempts).sum::<usize>();
    let committed = match commit {
        Some(record) => format!("; committed into {} on {}", record.target, record.committed_at),
        None => String::new(),
    };
    let line = format!(
        "{}: {} of {} done, {} open, {}; {} of {} rows{committed}",
        place.name(),
        done.len(),
        counted(all.len() as u64, "item"),
        all.len() - done.len(),
        counted(failed as u64, "failed attempt"),
        human_count(rows(&done)),
        human_count(rows(&all)),
    );
    context.screen.note(&escape_for_terminal(&line));
    Ok(Exit::Success)
}

fn statuses(
    store: &PlanStore,
    plan: &Plan,
    receipts: &Receipts,
    failures: &Receipts,
) -> Result<Vec<ItemStatus>, ScaleError> {
    let status = |item: &crate::scale::WorkItem| -> Result<ItemStatus, ScaleError> {
        let is_done = receipts.chosen(&item.item).is_some();
        let last = failures.last(&item.item).filter(|_| !is_done);
        let state = match (is_done, last) {
            (true, _) => "done",
            (false, None) => "open",
            (false, Some(_)) => "failed",
        };
        let source = &item.source;
        Ok(ItemStatus {
            item: item.item.clone(),
            state,
            run_id: source.run_id.clone(),
            block: source.block,
            filename: source.filename.clone(),
            row_count: source.row_count,
            receipts: receipts.count(&item.item),
            failed_attempts: failures.count(&item.item),
            error: last.map(|attempt| store.failure(&item.item, attempt)).transpose()?,
        })
    };
    plan.items.iter().map(status).collect()
}
