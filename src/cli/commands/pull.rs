//! `pull`: waits for an existing run and writes its results, except the outputs that are already complete.

use std::time::Instant;

use super::ledger_session::{self, LedgerSession, StateNeed};
use super::results::PullOptions;
use crate::api::RunId;
use crate::cli::args::PullArgs;
use crate::cli::context::Context;
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::client::ResultFormat;

/// Writes the results of the run, with its ledger if the state directory is usable.
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
    pull.check(context, &[]).await?;
    let client = context.client()?;
    let state = ledger_session::state_dir(context, args.results.no_state, StateNeed::Helpful)?;
    let run = RunId(args.run_id);
    context.set_resume(&run);
    let mut session = LedgerSession::open(context, state.as_ref(), &client, &run, pull.to_stdout())?;
    pull.carry_out(context, &client, &run, &mut session).await
}
