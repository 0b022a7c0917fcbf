//! `convert`: reads files, standard input and URLs, and writes all outputs in one pass. Uses no API.

use std::path::Path;
use std::time::Instant;

use crate::cli::args::ConvertArgs;
use crate::cli::choices::SchemaFromArg;
use crate::cli::context::Context;
use crate::cli::copy_into::copy_into;
use crate::cli::error::{Error, Failure};
use crate::cli::exit::Exit;
use crate::cli::report::{OutputReport, already_loaded};
use crate::cli::store_checks::check_stores;
use crate::cli::{engine, output_checks, outputs, sources, tables};
use crate::pipeline;

/// Checks the outputs, opens the sources, executes the plan and prints the report. The order matters: nothing is
/// downloaded for a command whose flags or outputs are not valid.
pub(crate) async fn convert(context: &Context, args: ConvertArgs) -> Result<Exit, Failure> {
    let start = Instant::now();
    let mut outputs = outputs::outputs(&args.plan, &context.settings, "part")?;
    // Parsed only to find errors: a download must not begin for steps that are not valid.
    args.plan.steps.steps()?;
    let dialect = args.input.resolve(&context.settings)?;
    output_checks::check(&args.plan, &outputs, &[])?;
    check_stores(context, &outputs).await?;
    tables::show_notes(context, &outputs);
    let shown: Vec<String> = args.sources.iter().map(|name| name.display().to_string()).collect();
    tables::set_sources(&mut outputs, &tables::source_text(&shown), args.again)?;
    tables::require_key_of_chunks(&outputs)?;
    let copy = copy_into(&args.plan, &outputs, args.again)?;
    let copy = copy.as_ref().map(|copy| copy.of_sources(&tables::source_text(&shown))).transpose()?;
    if let Some(copy) = &copy {
        outputs = outputs::outputs(&args.plan, &context.settings, &copy.set())?;
        if let Some(found) = copy.find(context).await? {
            return Ok(already_loaded(context, args.plan.report, &outputs, &[found]));
        }
    }
    if let Some(loaded) = tables::check_tables(context, &outputs).await? {
        return Ok(already_loaded(context, args.plan.report, &outputs, &loaded));
    }
    let opened = sources::open(context, &args.sources, &dialect).await?;
    // Now that the sources are known: an output must not replace its own input.
    let stdin = args.sources.iter().find(|name| *name == Path::new("-"));
    let files: Vec<&Path> = opened.files.iter().chain(stdin).map(|path| path.as_path()).collect();
    output_checks::check_inputs(&args.plan, &outputs, &files)?;
    outputs::set_sources(&mut outputs, &opened.identities);
    if args.plan.schema_from == SchemaFromArg::Full && opened.files.len() < opened.sources.len() {
        return Err(Failure::new(
            Error::Usage("`--schema-from full` reads every source twice, so all must be files".into()),
            "save the source to a file first, or leave `--schema-from` out and write a file that can follow changes: `-o FILE.parquet`",
        ));
    }
    let all_files = opened.files.len() == opened.sources.len();
    if !all_files {
        tables::require_identity(&args.plan, &outputs)?;
    }
    let name = outputs::target_names(&outputs);
    context.set_restart(&name);
    let plan = outputs::plan(opened.sources, outputs.clone(), &args.plan, &dialect, &context.settings)?;
    let report = engine::execute(context, plan, "converting", opened.total_bytes, opened.stoppers, |_, _| {}).await;
    let mut report = report.map_err(|failure| match failure.error() {
        Error::Pipeline(pipeline::Error::Schema { change, .. }) if change.can_be_followed() => {
            let hint = outputs::schema_hint(&args.plan, &outputs, all_files, change);
            failure.with_hint(hint)
        }
        _ => failure,
    })?;
    report.notes.splice(0..0, opened.notes);
    if let Some(copy) = &copy {
        copy.load(context, &mut report).await?;
    }
    let output_report = OutputReport {
        name,
        outputs: &outputs,
        report: &report,
        runs: 0,
        expected_rows: None,
        repeated_bytes: 0,
        recovered: context.recovered(),
        elapsed: start.elapsed(),
    };
    Ok(output_report.print(context, args.plan.report))
}
