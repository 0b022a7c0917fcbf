//! `sync`: writes every completed run of a workflow that the target does not have yet, oldest first. The target itself
//! says which runs it has, so that the command may be killed, moved to another machine, or run twice at once.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::ledger_session::{self, LedgerSession, StateNeed};
use super::results::{FINAL_BLOCK, PullOptions};
use super::run_list::{ListedRuns, MOST_RUNS, list_runs};
use crate::api::{Run, RunStatus};
use crate::cli::args::SyncArgs;
use crate::cli::context::Context;
use crate::cli::error::{Error, Failure};
use crate::cli::exit::Exit;
use crate::cli::outputs;
use crate::client::{Client, ResultFormat, RunFilter};
use crate::pipeline::{self, Output, Target};
use crate::sink::UploadControl;
use crate::text::{counted, escape_for_terminal};
use crate::warehouse::{LedgerRow, LoadError, LoadMode};

/// The outcome of one round over all runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Round {
    /// Runs whose results were written.
    written: u64,
    /// Runs that the target had.
    present: u64,
    /// Runs whose results could not be written.
    failed: u64,
    /// Runs of which some records were rejected.
    partial: u64,
    /// True if the API lists no more runs than were looked at, and may have older ones.
    is_cut: bool,
}

/// Writes the missing runs, once or at an interval until it is interrupted.
pub(crate) async fn sync(context: &Context, args: SyncArgs) -> Result<Exit, Failure> {
    check_outputs(context, &args)?;
    let client = context.client()?;
    let workflow = context.unless_interrupted(async { Ok(client.find_workflow(&args.workflow).await?) }).await?;
    loop {
        let started = Instant::now();
        let filter = RunFilter {
            status: Some("completed".to_owned()),
            workflow: Some(workflow.id.clone()),
            limit: Some(MOST_RUNS),
        };
        let listed = context.unless_interrupted(list_runs(context, &client, &filter, &args.period)).await;
        let round = match listed {
            Ok(runs) => round(context, &args, &client, runs).await,
            Err(failure) => Err(failure),
        };
        let exit = match (round, args.every) {
            (Ok(round), _) => {
                report(context, &args, round);
                if round.failed > 0 || round.partial > 0 { Exit::Partial } else { Exit::Success }
            }
            (Err(failure), None) => return Err(failure),
            (Err(failure), Some(_)) if matches!(failure.error(), Error::Interrupted) => return Err(failure),
            // The next round tries it again.
            (Err(failure), Some(_)) => {
                failure.lines().iter().for_each(|line| context.screen.always(line));
                Exit::Partial
            }
        };
        let Some(every) = args.every else { return Ok(exit) };
        let wait = every.saturating_sub(started.elapsed()).max(Duration::from_secs(1));
        context
            .unless_interrupted(async {
                tokio::time::sleep(wait).await;
                Ok(())
            })
            .await?;
    }
}

/// Fails for outputs that cannot hold several runs.
fn check_outputs(context: &Context, args: &SyncArgs) -> Result<(), Failure> {
    let usage = |what: String, hint: &str| Err(Failure::new(Error::Usage(what), hint));
    if args.plan.load.load_key.is_some() {
        return usage(
            "`--load-key` identifies one load, and `sync` makes one of each run".to_owned(),
            "leave it out: each load is identified by its run",
        );
    }
    for output in outputs::outputs(&args.plan, &context.settings, "part")? {
        match &output.target {
            Target::Directory(_) => {}
            Target::Table(target) if target.mode != LoadMode::Replace => {}
            Target::Table(_) => {
                return usage(
                    "`sync` cannot replace a table: each run would replace the one before".to_owned(),
                    "leave `--load` out, or use `--load merge --key COLS`",
                );
            }
            _ => {
                return usage(
                    format!("{} holds one run, and `sync` writes several", outputs::target_name(&output)),
                    "write into a directory (`-o results/`), a store (`-o s3://BUCKET/PREFIX/`) or a table",
                );
            }
        }
    }
    Ok(())
}

/// Writes the runs among `runs`, newest first, that the target does not have.
async fn round(context: &Context, args: &SyncArgs, client: &Client, listed: ListedRuns) -> Result<Round, Failure> {
    let ListedRuns { runs, is_cut, since } = listed;
    if is_cut {
        let since = since.map(|time| format!(", queued since {time}")).unwrap_or_default();
        context.screen.note(&escape_for_terminal(&format!(
            "the API lists the newest {MOST_RUNS} completed runs only{since}: older ones were not looked at, and may be \
             missing; write them with `drawoff pull RUN`"
        )));
    }
    let loaded = loaded_runs(context, args).await?;
    let mut round = Round { is_cut, ..Round::default() };
    // Only these: a later state may be a new word of the API.
    let wanted = runs.into_iter().rev().filter(|run| RunStatus::parse(&run.status) == RunStatus::Completed);
    for run in wanted {
        if loaded.contains(&run.job_id.0) {
            round.present += 1;
            continue;
        }
        let complete = context.complete.load(Ordering::Relaxed);
        match write(context, args, client, &run).await {
            Ok(exit) => {
                match context.complete.load(Ordering::Relaxed) > complete {
                    true => round.present += 1,
                    false => round.written += 1,
                }
                round.partial += u64::from(exit != Exit::Success);
            }
            Err(failure) if matches!(failure.error(), Error::Interrupted) => return Err(failure),
            // The others go on: one run must not hold them up.
            Err(failure) => {
                round.failed += 1;
                context.screen.always(&escape_for_terminal(&format!("run {} was not written:", run.job_id)));
                failure.lines().iter().for_each(|line| context.screen.always(line));
            }
        }
    }
    Ok(round)
}

/// Returns the runs that all tables among the outputs have, with these steps and this block, by one question for each
/// table. Empty if an output is no table: the others are known run by run.
async fn loaded_runs(context: &Context, args: &SyncArgs) -> Result<HashSet<String>, Failure> {
    let outputs = outputs::outputs(&args.plan, &context.settings, "part")?;
    let mut common: Option<HashSet<String>> = None;
    for Output { target, .. } in outputs {
        let Target::Table(target) = target else { return Ok(HashSet::new()) };
        // The first load creates the file.
        if target.warehouse.file().is_some_and(|file| !file.exists()) {
            return Ok(HashSet::new());
        }
        let (plan, block) = (target.identity.plan_digest(), args.results.block);
        let cancel = UploadControl::default();
        let own = cancel.clone();
        let listed = tokio::task::spawn_blocking(move || target.warehouse.loads(Some(&target.table), &own));
        let listed = context.unless_interrupted(async {
            let listed = listed.await.map_err(|error| Error::Bug(error.to_string()))?;
            match listed {
                // The first load creates it.
                Err(LoadError::NoTable { .. }) => Ok(Vec::new()),
                listed => Ok(listed.map_err(pipeline::Error::from)?),
            }
        });
        let listed = listed.await.inspect_err(|_| cancel.cancel())?.into_iter();
        // The number of the final block is known only run by run, so its loads say that they are of it.
        let is_same_block = |row: &LedgerRow| match block {
            Some(_) => row.block == block,
            None => row.source.ends_with(FINAL_BLOCK),
        };
        let same = listed.filter(|row| row.plan == plan && row.stands() && is_same_block(row));
        let runs: HashSet<String> = same.filter_map(|row| row.run_id).collect();
        common = Some(match common {
            None => runs,
            Some(common) => common.intersection(&runs).cloned().collect(),
        });
    }
    Ok(common.unwrap_or_default())
}

/// Writes the results of one run.
async fn write(context: &Context, args: &SyncArgs, client: &Client, run: &Run) -> Result<Exit, Failure> {
    let formats = match args.format {
        Some(format) => vec![ResultFormat::from(format)],
        None => vec![ResultFormat::Ndjson, ResultFormat::Csv],
    };
    let pull = PullOptions {
        results: &args.results,
        plan: &args.plan,
        formats: &formats,
        declared: None,
        start: Instant::now(),
        of_new_run: false,
        again: false,
    };
    pull.check(context, &[]).await?;
    let state = ledger_session::state_dir(context, args.results.no_state, StateNeed::Helpful)?;
    // Tables take a run once, also of two commands at a time.
    let outputs = outputs::outputs(&args.plan, &context.settings, "part")?;
    let are_tables = outputs.iter().all(|output| matches!(output.target, Target::Table(_)));
    let mut session = LedgerSession::open(context, state.as_ref(), client, &run.job_id, are_tables)?;
    pull.carry_out(context, client, &run.job_id, &mut session).await
}

fn report(context: &Context, args: &SyncArgs, round: Round) {
    let Round { written, present, failed, partial, is_cut } = round;
    let of = if is_cut { format!(" of the newest {MOST_RUNS}") } else { String::new() };
    let mut line = format!("{}: {}{of} written, {present} there before", args.workflow, counted(written, "run"));
    if failed > 0 {
        line.push_str(&format!(", {failed} failed"));
    }
    if partial > 0 {
        line.push_str(&format!(", {partial} with rejected records"));
    }
    context.screen.note(&escape_for_terminal(&line));
}
