//! `head`: shows the first rows of its sources, and reads no further.

use crate::cli::context::Context;
use crate::cli::dialect::{InputDialect, doubt_note, text_column_note};
use crate::cli::error::{Error, Failure, RAISE_COLUMNS};
use crate::cli::exit::Exit;
use crate::cli::look::{FirstRows, HeadArgs, HeadFormat, LookArgs, read_first_rows};
use crate::cli::run_source::open_sources_or_run;
use crate::cli::sources::Sources;
use crate::cli::{engine, table};
use crate::column::Schema;
use crate::format::{Compression, CsvOptions, OutputFormat};
use crate::pipeline::{
    self, Control, ExecutionPlan, FixedSchema, Limits, Output, PlanError, Report, SchemaChange, SchemaSource, Target,
};
use crate::text::{counted, human_count};
use crate::transform::{Limit, Step};

/// Bytes of a morsel. Rows are shown when their morsel is complete, so it is small.
const MORSEL_BYTES: usize = 1 << 16;

/// Reads the first rows and prints them as a table, or in a format of files.
pub(crate) async fn head(context: &Context, args: HeadArgs) -> Result<Exit, Failure> {
    let HeadArgs { look, rows, output } = args;
    let steps = look.steps.steps()?;
    let dialect = look.input.resolve(&context.settings)?;
    // A step may need more rows than it lets through.
    let enough = steps.is_empty().then_some(rows);
    let (opened, declared) = open_sources_or_run(context, &look.sources, &dialect, enough).await?;
    let Sources { sources, total_bytes: _, stoppers, notes, .. } = opened;
    let mut plan = look_plan(context, &look, &dialect, declared)?;
    plan.sources = sources;
    plan.limits.morsel_bytes = MORSEL_BYTES.min(plan.limits.morsel_bytes);
    let format = match output {
        HeadFormat::Table => None,
        HeadFormat::Ndjson => Some(OutputFormat::Ndjson),
        HeadFormat::Csv => Some(OutputFormat::Csv(CsvOptions::default())),
        HeadFormat::Json => Some(OutputFormat::JsonArray),
    };
    let Some(format) = format else {
        // The other formats have no such values.
        plan.sources.iter_mut().for_each(|source| source.keeps_not_finite = true);
        let work = move |control: &Control| read_first_rows(plan, rows, control);
        let first = engine::run_blocking(context, "reading", None, stoppers, |_, _| {}, work).await;
        let first = first.map_err(look_failure)?;
        let advice = "choose with `--select`, or print all with `-o ndjson`";
        table::write_grid(&context.screen, &first.grid, look.width, advice)?;
        context.screen.note(&rows_note(&first, "the rest was not read"));
        return Ok(end(context, notes, &first.report));
    };
    plan.steps.push(Step::from(Limit(rows)));
    plan.outputs = vec![Output { format, compression: Compression::None, target: Target::Stdout }];
    let report = engine::execute(context, plan, "reading", None, stoppers, |_, _| {}).await.map_err(look_failure)?;
    Ok(end(context, notes, &report))
}

/// Says how many rows are shown, and `rest` if there may be more.
pub(super) fn rows_note(first: &FirstRows, rest: &str) -> String {
    match (first.grid.rows.len() as u64, first.may_have_more) {
        (0, true) => format!("no row is shown; {rest}"),
        (1, true) => format!("the first row; {rest}"),
        (n, true) => format!("the first {}; {rest}", counted(n, "row")),
        (0, false) => "no rows".to_owned(),
        (n, false) => format!("{} in all", counted(n, "row")),
    }
}

/// Builds the plan of a look, without sources and outputs.
pub(super) fn look_plan(
    context: &Context,
    look: &LookArgs,
    dialect: &InputDialect,
    declared: Option<Schema>,
) -> Result<ExecutionPlan, Failure> {
    let limits = context.settings.limits();
    Ok(ExecutionPlan {
        steps: look.steps.steps()?,
        tables: look.steps.tables(dialect),
        on_bad_cast: look.steps.on_bad_cast()?,
        schema: SchemaSource { declared, ..SchemaSource::default() },
        on_bad_record: look.on_bad_record,
        lossy_utf8: look.lossy_utf8,
        limits: Limits {
            max_columns: look.max_columns.unwrap_or(limits.max_columns),
            max_record_bytes: look.max_record_bytes.map_or(limits.max_record_bytes, |bytes| bytes as usize),
            ..limits
        },
        ..ExecutionPlan::reading(Vec::new())
    })
}

/// Gives an error of a look a hint with the flags that a look has.
pub(super) fn look_failure(failure: Failure) -> Failure {
    let is_too_wide = match failure.error() {
        Error::Pipeline(pipeline::Error::Schema { change, .. }) => {
            matches!(change, SchemaChange::Value { why: FixedSchema::TooManyColumns(_), .. })
        }
        Error::Pipeline(pipeline::Error::Plan(PlanError::TooManyColumns(_))) => true,
        _ => false,
    };
    match is_too_wide {
        true => failure.with_hint(format!("raise the limit with {RAISE_COLUMNS}")),
        false => failure,
    }
}

/// Prints what the engine noted about the rows, and returns the exit code.
pub(super) fn end(context: &Context, notes: Vec<String>, report: &Report) -> Exit {
    let text_columns = report.text_columns.iter().map(text_column_note);
    let doubt = report.other_delimiter.map(doubt_note);
    notes.into_iter().chain(report.notes.iter().cloned()).chain(text_columns).chain(doubt).for_each(|note| {
        context.screen.note(&note);
    });
    if report.rows_rejected > 0 {
        let bad = human_count(report.rows_rejected);
        context.screen.always(&format!("{bad} of {} left out as bad", counted(report.rows_in, "record")));
        return Exit::Partial;
    }
    Exit::Success
}
