//! The settings of a plan, made of the flags of `plan`, and taken apart again by `work`: the flags that determine the rows of
//! a part.

use std::path::Path;

use crate::cli::args::PipelineArgs;
use crate::cli::choices::{ReportFormat, SchemaFromArg, SchemaPolicyArg};
use crate::cli::context::Context;
use crate::cli::dialect::DialectArgs;
use crate::cli::error::{Error, Failure};
use crate::cli::load_args::LoadArgs;
use crate::cli::outputs;
use crate::cli::scale_args::{CommitArgs, PlanArgs};
use crate::cli::settings::SettingArgs;
use crate::cli::sinks::{OutputArgs, SinkArgs};
use crate::cli::steps::StepArgs;
use crate::client::ResultFormat;
use crate::column::Schema;
use crate::format::{Compression, CsvOptions, OutputFormat, ParquetCodec, ParquetOptions, schema_file};
use crate::pipeline::{ExecutionPlan, OnBadRecord, Output, SchemaSource, Target, check_steps};
use crate::scale::PlanSettings;
use crate::transform::Step;

/// Fails for flags that a plan cannot have, before any request.
pub(super) fn check(args: &PlanArgs, context: &Context) -> Result<(), Failure> {
    let usage = |what: String, hint: &str| Err(Failure::new(Error::Usage(what), hint));
    let steps = args.steps.steps()?;
    for step in &steps {
        let properties = step.properties();
        if matches!(step, Step::Flatten(_)) && args.schema.is_none() {
            return usage(
                "the step `flatten` makes columns of the objects that an item has, and those of other items differ"
                    .to_owned(),
                "declare the objects in a schema file, `--schema FILE`, or choose members with `--select`",
            );
        }
        if matches!(step, Step::Sql(_) | Step::Sample(_)) || properties.needs_order || properties.has_limit {
            let name = step.describe().name;
            return usage(
                format!("the step `{name}` looks at the rows of all items, and a worker has those of one"),
                "leave it out here, commit into a file or a table, and do it there: `drawoff convert FILE -o OUT`",
            );
        }
    }
    if matches!(args.on_bad_record, OnBadRecord::Limit(_)) {
        return usage(
            "a limit of bad records counts those of all items, and a worker has those of one".to_owned(),
            "use `--on-bad-record skip`: the commit reports their number",
        );
    }
    if args.schema.is_none() && args.schema_policy != SchemaPolicyArg::Evolve {
        return usage(
            "without a schema, the columns of each item would be those of its first records".to_owned(),
            "declare them in a schema file: `--schema FILE`",
        );
    }
    let enforced = outputs::read_schema_file(args.schema.as_deref(), &context.settings)?;
    let choice = SchemaSource { enforced, policy: args.schema_policy.into(), ..SchemaSource::default() };
    Ok(check_steps(&steps, &choice).map_err(Error::Pipeline)?)
}

/// Makes the settings of a plan. `declared` are the types that the workflows declare.
pub(super) fn settings(
    args: &PlanArgs,
    context: &Context,
    format: ResultFormat,
    declared: &Schema,
) -> Result<PlanSettings, Failure> {
    let read = |path: &Path| {
        std::fs::read_to_string(path).map_err(|cause| Failure::from(Error::Read { path: path.to_owned(), cause }))
    };
    Ok(PlanSettings {
        format: format.as_str().to_owned(),
        steps: args.steps.planned()?,
        on_bad_cast: args.steps.on_bad_cast_word().map(str::to_owned),
        skips_bad_records: args.on_bad_record == OnBadRecord::Skip,
        lossy_utf8: args.lossy_utf8,
        schema: args.schema.as_deref().map(read).transpose()?,
        schema_policy: policy_word(args.schema_policy).to_owned(),
        keeps_records: !args.columns_only,
        declared: PlanSettings::declared_form(declared),
        max_record_bytes: context.settings.max_record_bytes.value,
        max_columns: context.settings.max_columns.value,
    })
}

/// Returns the policy for bad records.
pub(super) fn on_bad_record(settings: &PlanSettings) -> OnBadRecord {
    if settings.skips_bad_records { OnBadRecord::Skip } else { OnBadRecord::Fail }
}

/// Returns the format of the result files.
pub(super) fn format(settings: &PlanSettings) -> Result<ResultFormat, Failure> {
    let formats = [ResultFormat::Ndjson, ResultFormat::Csv, ResultFormat::Json];
    formats.into_iter().find(|format| format.as_str() == settings.format).ok_or_else(|| newer(&settings.format))
}

/// Returns the flags of a command that writes records and types none but these outputs.
pub(super) fn bare_args(outputs: OutputArgs) -> PipelineArgs {
    PipelineArgs {
        outputs,
        sink: SinkArgs::default(),
        load: LoadArgs::default(),
        dialect: DialectArgs::default(),
        steps: StepArgs::default(),
        on_bad_record: OnBadRecord::Fail,
        rejects: None,
        lossy_utf8: false,
        schema: None,
        extra_column: None,
        schema_from: SchemaFromArg::Auto,
        schema_policy: SchemaPolicyArg::Evolve,
        settings: SettingArgs::default(),
        report: ReportFormat::Text,
        result_file: None,
    }
}

/// Returns the flags of a commit as those of a command that writes records and has no steps.
pub(super) fn commit_args(args: &CommitArgs) -> PipelineArgs {
    PipelineArgs {
        sink: args.sink.clone(),
        load: args.load.clone(),
        dialect: args.dialect.clone(),
        report: args.report,
        ..bare_args(args.outputs.clone())
    }
}

/// Returns the flags of a worker.
pub(super) fn worker_args(settings: &PlanSettings) -> Result<PipelineArgs, Failure> {
    let steps = StepArgs::of_plan(&settings.steps, settings.on_bad_cast.as_deref()).map_err(|what| newer(&what))?;
    let policies = [SchemaPolicyArg::Evolve, SchemaPolicyArg::Freeze, SchemaPolicyArg::Fail];
    let policy = policies.into_iter().find(|policy| policy_word(*policy) == settings.schema_policy);
    Ok(PipelineArgs {
        steps,
        on_bad_record: on_bad_record(settings),
        lossy_utf8: settings.lossy_utf8,
        schema_policy: policy.ok_or_else(|| newer(&settings.schema_policy))?,
        ..bare_args(OutputArgs::default())
    })
}

/// Returns the outputs of a worker in their order: columns, and text if the plan keeps records. The names are those of files of
/// an attempt.
pub(super) fn part_outputs(
    settings: &PlanSettings,
    codec: ParquetCodec,
) -> Result<Vec<(&'static str, Output)>, Failure> {
    let output = |format, compression| Output { format, compression, target: Target::Stdout };
    let parquet = output(OutputFormat::Parquet(ParquetOptions { codec }), Compression::None);
    let mut outputs = vec![(PART_FILE, parquet)];
    if settings.keeps_records {
        outputs.push(match format(settings)? {
            ResultFormat::Csv => ("0001.csv.zst", output(OutputFormat::Csv(CsvOptions::default()), Compression::Zstd)),
            _ => ("0001.ndjson.zst", output(OutputFormat::Ndjson, Compression::Zstd)),
        });
    }
    Ok(outputs)
}

/// File of the rows of an attempt, as columns.
const PART_FILE: &str = "0001.parquet";

/// Adds what the flags of a worker do not have to its execution plan: schemas and limits.
pub(super) fn complete(plan: &mut ExecutionPlan, settings: &PlanSettings) -> Result<(), Failure> {
    let schema = settings.schema.as_deref();
    let schema = schema.map(|text| schema_file::read_with_limit(text, settings.max_columns)).transpose();
    plan.schema.enforced =
        schema.map_err(|error| Error::Usage(format!("cannot use the schema file of the plan: {error}")))?;
    plan.schema.declared = Some(settings.declared());
    plan.schema.is_part = true;
    plan.limits.max_record_bytes = usize::try_from(settings.max_record_bytes).unwrap_or(usize::MAX);
    plan.limits.max_columns = settings.max_columns;
    Ok(())
}

fn policy_word(policy: SchemaPolicyArg) -> &'static str {
    match policy {
        SchemaPolicyArg::Evolve => "evolve",
        SchemaPolicyArg::Freeze => "freeze",
        SchemaPolicyArg::Fail => "fail",
    }
}

fn newer(word: &str) -> Failure {
    let error = Error::Usage(format!("the plan has `{word}`, which this version of drawoff does not know"));
    Failure::new(error, "use the same version on all machines")
}
