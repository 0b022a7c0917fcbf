//! `convert`: from files, standard input and URLs to one output.

use std::path::Path;
use std::time::Instant;

use crate::cli::args::ConvertArgs;
use crate::cli::choices::SchemaFromArg;
use crate::cli::context::Context;
use crate::cli::error::{Error, Failure};
use crate::cli::exit::Exit;
use crate::cli::report::OutputReport;
use crate::cli::{engine, outputs, sources};
use crate::pipeline;

/// Carries it out.
pub async fn convert(context: &Context, args: ConvertArgs) -> Result<Exit, Failure> {
    let start = Instant::now();
    let made = outputs::outputs(&args.plan, &context.settings, "part")?;
    args.plan.steps.steps()?;
    outputs::check_all_writable(&made, &[])?;
    let opened = sources::open(context, &args.sources, args.from).await?;
    let files: Vec<&Path> = opened.files.iter().map(|path| path.as_path()).collect();
    outputs::check_inputs(&made, &files)?;
    if args.plan.schema_from == SchemaFromArg::Full && opened.files.len() < opened.sources.len() {
        return Err(Failure::new(
            Error::Usage("`--schema-from full` reads every source twice, which only files allow".into()),
            "save it to a file first, or leave `--schema-from` out and write a file: `-o FILE.parquet` follows changes",
        ));
    }
    let all_files = opened.files.len() == opened.sources.len();
    let name = outputs::target_names(&made);
    context.set_restart(&name);
    let plan = outputs::plan(opened.sources, made.clone(), &args.plan, &context.settings)?;
    let report = engine::execute(context, plan, "converting", opened.total_bytes, opened.stoppers, |_, _| {}).await;
    let report = report.map_err(|failure| match failure.error() {
        Error::Pipeline(pipeline::Error::Schema { change, .. }) if change.can_be_followed() => {
            failure.with_hint(outputs::schema_hint(&args.plan, &made, all_files))
        }
        _ => failure,
    })?;
    let account = OutputReport {
        name,
        outputs: &made,
        report: &report,
        expected_rows: None,
        repeated_bytes: 0,
        elapsed: start.elapsed(),
    };
    Ok(account.print(context, args.plan.report))
}
