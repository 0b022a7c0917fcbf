//! `pull`: the results of a run that exists.

use std::time::Instant;

use super::results::Pull;
use crate::api::RunId;
use crate::cli::args::PullArgs;
use crate::cli::context::Context;
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::client::ResultFormat;

/// Carries it out.
pub async fn pull(context: &Context, args: PullArgs) -> Result<Exit, Failure> {
    let formats = match args.format {
        Some(format) => vec![ResultFormat::from(format)],
        None => vec![ResultFormat::Ndjson, ResultFormat::Csv],
    };
    let pull =
        Pull { results: &args.results, plan: &args.plan, formats: &formats, start: Instant::now(), of_new_run: false };
    pull.check(context, &[])?;
    let client = context.client()?;
    let run = RunId(args.run_id);
    if let Some(output) = &args.plan.output {
        context.set_resume(&run, output);
    }
    pull.carry_out(context, &client, &run).await
}
