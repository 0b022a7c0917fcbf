//! `pull`: waits for existing runs and writes their results, except the outputs that are already complete.

use std::time::Instant;

use super::ledger_session::{self, StateNeed};
use super::results::PullOptions;
use super::run_words::selected_runs;
use super::several_runs::{SeveralRuns, all_blocks_of_several, write_runs};
use crate::cli::args::PullArgs;
use crate::cli::context::Context;
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::client::ResultFormat;

/// Writes the results of the runs, with their ledger if the state directory is usable.
pub(crate) async fn pull(context: &Context, mut args: PullArgs) -> Result<Exit, Failure> {
    args.plan.steps.add_run_column(args.results.run_column.as_deref());
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
        again: args.again,
    };
    // Before the directory is created.
    if args.results.all_blocks && args.selection.runs.len() != 1 {
        return Err(all_blocks_of_several());
    }
    pull.check(context, &[]).await?;
    let client = context.client()?;
    let state = ledger_session::state_dir(context, args.results.no_state, StateNeed::Helpful)?;
    let runs = context.unless_interrupted(selected_runs(context, &client, &args.selection)).await?;
    let several = SeveralRuns {
        pull: &pull,
        runs: &runs,
        on_failed: args.selection.on_failed_run,
        skip_flag: "--on-failed-run skip",
        resume: "the same command",
    };
    write_runs(context, &client, &several, state.as_ref()).await
}
