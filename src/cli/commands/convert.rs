//! `convert`: reads files, standard input and URLs, and writes all outputs in one pass. Uses no API.

use std::path::Path;
use std::time::Instant;

use super::preview::preview;
use crate::cli::args::ConvertArgs;
use crate::cli::choices::SchemaFromArg;
use crate::cli::context::Context;
use crate::cli::copy_into::copy_into;
use crate::cli::error::{Correction, Error, Failure};
use crate::cli::exit::Exit;
use crate::cli::report::{OutputReport, already_loaded};
use crate::cli::store_checks::check_stores;
use crate::cli::{engine, output_checks, outputs, shell, sources, tables};
use crate::pipeline;

/// Checks the outputs, opens the sources, executes the plan and prints the report. The order matters: nothing is
/// downloaded for a command whose flags or outputs are not valid.
pub(crate) async fn convert(context: &Context, args: ConvertArgs) -> Result<Exit, Failure> {
    let start = Instant::now();
    let outputs = outputs::outputs(&args.plan, &context.settings, "part");
    let mut outputs = outputs.map_err(|failure| misplaced_output(&args, failure))?;
    // Parsed only to find errors: a download must not begin for steps that are not valid.
    args.plan.steps.steps()?;
    let dialect = args.input.resolve(&context.settings)?;
    output_checks::check(&args.plan, &outputs, &[])?;
    if args.preview {
        return preview(context, &args, outputs, &dialect).await;
    }
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

/// Adds the command that was probably meant to a failure, if the last source looks like an output without its flag.
fn misplaced_output(args: &ConvertArgs, failure: Failure) -> Failure {
    let [before @ .., last] = &args.sources[..] else { return failure };
    let is_output = !before.is_empty() && !last.exists() && outputs::format_of_name(last).0.is_some();
    if !args.plan.outputs.typed.is_empty() || !is_output {
        return failure;
    }
    let words = ["drawoff".to_owned(), "convert".to_owned()].into_iter();
    let words = words.chain(before.iter().map(|path| path.display().to_string()));
    let words = words.chain(["-o".to_owned(), last.display().to_string()]);
    let failure = failure.with_hint(format!("an output follows `-o`: `{}`", shell::joined(words)));
    failure.with_correction(Correction::IsOutput(last.display().to_string()))
}
