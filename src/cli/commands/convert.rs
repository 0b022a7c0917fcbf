//! `convert`: from files, standard input and URLs to one output.

use std::path::Path;
use std::time::Instant;

use crate::cli::args::ConvertArgs;
use crate::cli::context::Context;
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::report::Account;
use crate::cli::{engine, outputs, sources};

/// Carries it out.
pub async fn convert(context: &Context, args: ConvertArgs) -> Result<Exit, Failure> {
    let start = Instant::now();
    let output = outputs::output(&args.plan, &context.settings)?;
    outputs::check_writable(&output, &[])?;
    let opened = sources::open(context, &args.sources, args.from).await?;
    let files: Vec<&Path> = opened.files.iter().map(|path| path.as_path()).collect();
    outputs::check_writable(&output, &files)?;
    let name = outputs::target_name(&output);
    context.set_restart(&name);
    let plan = outputs::plan(opened.sources, output.clone(), &args.plan, &context.settings)?;
    let report = engine::execute(context, plan, "converting", opened.total_bytes, opened.stoppers).await?;
    let account = Account { name, output: &output, report: &report, expected_rows: None, elapsed: start.elapsed() };
    Ok(account.print(context, args.plan.report))
}
