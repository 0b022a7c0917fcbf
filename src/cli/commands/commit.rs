//! `commit`: puts the rows of all items of a plan into a target, once, under the digest of the plan as the key. It reads only the
//! parts that the chosen receipts name, in the order of the items, in columns that hold the values of all of them.

use std::sync::Arc;
use std::time::Instant;

use super::work::now;
use super::{commit_records, plan_settings};
use crate::cli::args::PipelineArgs;
use crate::cli::context::Context;
use crate::cli::dialect::InputDialect;
use crate::cli::error::{Error, Failure};
use crate::cli::exit::Exit;
use crate::cli::plan_place::PlanPlace;
use crate::cli::report::{OutputReport, already_loaded};
use crate::cli::scale_args::CommitArgs;
use crate::cli::settings::Origin;
use crate::cli::sinks::TypedOutput;
use crate::cli::store_checks::check_stores;
use crate::cli::test_stop::{StopPlace, stop_at};
use crate::cli::{engine, output_checks, outputs, tables};
use crate::client::ResultFormat;
use crate::column::{Fixed, Schema, Type, TypeMerge};
use crate::format::{OutputFormat, ParquetOptions};
use crate::pipeline::{
    Control, Directory, ExecutionPlan, Output, ReadyFile, Report, Target, TypedPart, columns_after, publish_ready_files,
};
use crate::scale::{CommitRecord, CommitTarget, Part, Plan, PlanStore, Receipt, ScaleError};
use crate::source::Source;
use crate::text::{counted, escape_for_terminal, human_bytes};

/// The prefix of file names in a directory, as of several runs that `pull` writes: both replace the files of the other.
const SET: &str = "runs";

/// Runs that are named in the metadata of a file; with more, the plan is.
const NAMED_RUNS: usize = 100;

/// Commits a plan, and removes orphans if that was asked for.
pub(crate) async fn commit(context: &Context, args: CommitArgs) -> Result<Exit, Failure> {
    let start = Instant::now();
    let pipeline_args = plan_settings::commit_args(&args);
    check_flags(&args)?;
    let mut outputs = outputs::outputs(&pipeline_args, &context.settings, SET)?;
    check_targets(&outputs)?;
    let place = PlanPlace::open(&args.plan)?;
    let loaded = place.with(context, |store| {
        let plan = store.load()?;
        let committed = store.commit(&plan)?;
        Ok((plan, committed))
    });
    let (plan, committed) = loaded.await?;
    let target = args.outputs.names().unwrap_or_default();
    let identity = identity(&args);
    refuse_targets_within(&args)?;
    if let Some(record) = committed {
        return committed_before(context, &args, &place, plan, record, &identity).await;
    }
    output_checks::check(&pipeline_args, &outputs, &[])?;
    let receipts = receipts(context, &place, &plan).await?;
    let reads_records = reads_records(&plan, &outputs)?;
    let columns = columns_of_all(&place, &plan, &receipts, reads_records)?;
    check_stores(context, &outputs).await?;
    tables::show_notes(context, &outputs);
    let sets = plan.items.iter().map(|item| outputs::set_of_run(&item.source.run_id, item.source.block));
    outputs::set_sources(&mut outputs, &sets.collect::<Vec<_>>());
    let names: Vec<String> = plan.runs().into_iter().map(|run| format!("run {run}")).collect();
    tables::set_origin(&mut outputs, &format!("plan {}", plan.digest), &tables::source_text(&names))?;
    let sum = |count: fn(&Receipt) -> u64| receipts.iter().map(count).sum::<u64>();
    let (rows, rejected) = (sum(|receipt| receipt.rows), sum(|receipt| receipt.rows_rejected));
    let exit = match tables::check_tables(context, &outputs).await? {
        // A commit that was killed before it could record itself.
        Some(loaded) => already_loaded(context, args.report, &outputs, &loaded),
        None => {
            let sources = match reads_records {
                true => commit_records::sources(&place, &plan, &receipts)?,
                false => sources(&place, &receipts, &columns),
            };
            let is_empty = sources.is_empty();
            let sources = if is_empty { vec![TypedPart::none(&columns.0)] } else { sources };
            let mut execution = execution(context, &pipeline_args, &plan, sources, outputs.clone())?;
            if reads_records && !is_empty {
                commit_records::complete(&mut execution, &plan, &receipts, &columns.0)?;
            }
            execution.on_bad_record = plan_settings::on_bad_record(&plan.settings);
            let name = outputs::target_names(&outputs);
            context.set_restart(&name);
            let begun = CommitTarget {
                plan_digest: plan.digest.clone(),
                target: target.clone(),
                identity: identity.clone(),
                began_at: now(),
            };
            let begun = place.with_uninterrupted(move |store| store.begin_commit(&begun)).await;
            let has_begun = begun.map_err(|failure| match failure.error() {
                Error::Scale(ScaleError::Begun { .. }) => failure.with_hint(
                    "repeat that commit; if nothing of it is in its target, remove target.json from the plan"
                        .to_owned(),
                ),
                _ => failure,
            })?;
            stop_at(StopPlace::BeforeCommit);
            let report = match as_they_are(context, &args, &outputs, &columns, rows > 0) {
                Some(directory) => copy_parts(context, directory, &place, &receipts, &columns.0).await,
                None => engine::execute(context, execution, "committing", None, Vec::new(), |_, _| {}).await,
            };
            let report = match report {
                Ok(report) => report,
                Err(failure) => {
                    // Another commit of the plan may have been faster.
                    let of = plan.clone();
                    let record = place.with_uninterrupted(move |store| store.commit(&of)).await.ok().flatten();
                    if let Some(record) = record.filter(|record| record.identity == identity) {
                        return committed_before(context, &args, &place, plan, record, &identity).await;
                    }
                    // The target has no row, except where the outcome is unknown: another may be chosen then.
                    if has_begun && !matches!(failure.exit(), Exit::LoadUnknown | Exit::Interrupted) {
                        let _ = place.with_uninterrupted(PlanStore::end_commit).await;
                    }
                    return Err(failure);
                }
            };
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
            output_report.print(context, args.report)
        }
    };
    stop_at(StopPlace::AfterCommit);
    let record = CommitRecord {
        plan_digest: plan.digest.clone(),
        target,
        identity,
        items: plan.items.len(),
        rows,
        rows_rejected: rejected,
        committed_at: now(),
        drawoff: env!("CARGO_PKG_VERSION").to_owned(),
    };
    // Not interrupted: the target has the rows.
    place.with_uninterrupted(move |store| store.put_commit(&record)).await?;
    if rejected > 0 {
        let name = escape_for_terminal(place.name());
        let rejected = counted(rejected, "record");
        context.screen.note(&format!("workers rejected {rejected}: see {name}/parts/*/*/rejects.ndjson"));
    }
    collect_garbage(context, &args, &place, &receipts).await?;
    Ok(if rejected > 0 && exit == Exit::Success { Exit::Partial } else { exit })
}

/// Fails for flags that a commit cannot have.
fn check_flags(args: &CommitArgs) -> Result<(), Failure> {
    let refused = [
        (args.sink.append, "--append", "a commit that is repeated would append the rows again"),
        (args.load.load_key.is_some(), "--load-key", "the digest of the plan is the key of the commit"),
        (args.load.commit_every.is_some(), "--commit-every", "a plan is committed as a whole"),
        (args.load.copy_into.is_some(), "--copy-into", "a plan is committed into files and tables"),
    ];
    match refused.into_iter().find(|(given, ..)| *given) {
        None => Ok(()),
        Some((_, flag, why)) => {
            let error = Error::Usage(format!("`{flag}` cannot be used here: {why}"));
            Err(Failure::new(error, "leave it out"))
        }
    }
}

/// Returns the targets however they are typed: with absolute paths, in any order, and what distinguishes two in one place.
fn identity(args: &CommitArgs) -> String {
    let absolute = |name: &str| -> String {
        let (scheme, path) = match name.split_once(':') {
            Some(_) if name.contains("://") => return name.to_owned(),
            Some((scheme, path)) if !scheme.contains('/') => (format!("{scheme}:"), path),
            _ => (String::new(), name),
        };
        let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
        format!("{scheme}{}", path.display())
    };
    let of = |output: &TypedOutput| match output.to {
        Some(to) => format!("{} as {to:?}", absolute(&output.shown())),
        None => absolute(&output.shown()),
    };
    let mut names: Vec<String> = args.outputs.typed.iter().map(of).collect();
    names.sort();
    let into = args.load.into.as_deref().map(|into| format!(" into {into}")).unwrap_or_default();
    names.join(", ") + &into
}

/// Fails for targets among the files of the plan, which they would replace, and `--gc` remove.
fn refuse_targets_within(args: &CommitArgs) -> Result<(), Failure> {
    let absolute = |path: &std::path::Path| match path.to_string_lossy().contains("://") {
        true => path.to_owned(),
        false => std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
    };
    let plan = absolute(&args.plan);
    let within = args.outputs.typed.iter().map(|output| &output.path).find(|path| absolute(path).starts_with(&plan));
    match within {
        None => Ok(()),
        Some(path) => {
            let error = Error::Usage(format!("{} is within the plan", path.display()));
            Err(Failure::new(error, "commit into a place outside of the plan"))
        }
    }
}

/// Fails for targets that cannot get all rows or none.
fn check_targets(outputs: &[Output]) -> Result<(), Failure> {
    match outputs.iter().any(|output| output.is_live(false)) {
        false => Ok(()),
        true => Err(Failure::new(
            Error::Usage("a stream may end in the middle, and a plan is committed as a whole".to_owned()),
            "commit into a file, a directory, a store or a table",
        )),
    }
}

/// Ends a commit of a plan that has been committed.
async fn committed_before(
    context: &Context,
    args: &CommitArgs,
    place: &PlanPlace,
    plan: Plan,
    record: CommitRecord,
    identity: &str,
) -> Result<Exit, Failure> {
    if record.identity != identity {
        let CommitRecord { target, committed_at, .. } = record;
        let error = ScaleError::Committed { plan: place.name().to_owned(), target, committed_at };
        return Err(Failure::new(error, "commit into another target from a plan of its own, or convert the first one"));
    }
    let (name, target) = (escape_for_terminal(place.name()), escape_for_terminal(&record.target));
    let rows = counted(record.rows, "row");
    context
        .screen
        .note(&format!("{name}: committed into {target} on {} ({rows}); nothing was changed", record.committed_at));
    if args.gc {
        let receipts = receipts(context, place, &plan).await?;
        collect_garbage(context, args, place, &receipts).await?;
    }
    Ok(if record.rows_rejected > 0 { Exit::Partial } else { Exit::Success })
}

/// Reads the receipt that counts of every item. Fails if an item has none.
async fn receipts(context: &Context, place: &PlanPlace, plan: &Plan) -> Result<Vec<Receipt>, Failure> {
    let plan = plan.clone();
    let read = place.with(context, move |store| store.all_receipts(&plan)).await;
    read.map_err(|failure| match failure.error() {
        Error::Scale(ScaleError::Open { plan, .. }) => {
            let hint = format!("do them with `drawoff work {plan}`, and see why with `drawoff plan status {plan}`");
            failure.with_hint(hint)
        }
        _ => failure,
    })
}

/// Returns the columns that hold the values of all parts. Fails where cells of CSV would come out in another spelling.
fn columns_of_all(
    place: &PlanPlace,
    plan: &Plan,
    receipts: &[Receipt],
    reads_records: bool,
) -> Result<(Arc<Schema>, Vec<Arc<Schema>>), Failure> {
    let is_csv = plan_settings::format(&plan.settings)? == ResultFormat::Csv;
    let merge = if is_csv { TypeMerge::Text } else { TypeMerge::Json };
    let mut all = Schema::default();
    let mut each = Vec::with_capacity(receipts.len());
    for receipt in receipts {
        let Some(columns) = receipt.columns() else {
            let (file, what) = (format!("the receipt {}", receipt.attempt), "its columns cannot be read".to_owned());
            return Err(ScaleError::Unusable { plan: place.name().to_owned(), file, what }.into());
        };
        all = all.join(&columns, merge);
        each.push(Arc::new(columns));
    }
    require_seen(receipts)?;
    order_as_after_steps(&mut all, plan, receipts, merge)?;
    if is_csv && !reads_records {
        for (columns, receipt) in each.iter().zip(receipts) {
            let loses = |field: &&crate::column::Field| {
                let of_all = all.fields.iter().find(|other| other.name == field.name);
                let is_number = matches!(field.ty, Type::Float | Type::Fixed(Fixed::Decimal { .. }));
                is_number && of_all.is_some_and(|of_all| of_all.ty == Type::Text)
            };
            if let Some(field) = columns.fields.iter().find(loses) {
                let error = Error::Usage(format!(
                    "the column `{}` has numbers in item {} and text in others, where they would be spelled otherwise",
                    field.name, receipt.item
                ));
                let hint =
                    "make a plan in which a schema file declares the column as text: `drawoff plan … --schema FILE`";
                return Err(Failure::new(error, hint));
            }
        }
    }
    Ok((Arc::new(all), each))
}

/// Fails if the steps name a column that no item has, as one machine does at the end.
fn require_seen(receipts: &[Receipt]) -> Result<(), Failure> {
    let mut with_records = receipts.iter().filter(|receipt| receipt.rows_in > receipt.rows_rejected);
    let Some(first) = with_records.next() else { return Ok(()) };
    let rest: Vec<&Receipt> = with_records.collect();
    let in_none = |name: &&String| rest.iter().all(|receipt| receipt.unseen_columns.contains(name));
    match first.unseen_columns.iter().find(in_none) {
        None => Ok(()),
        Some(name) => Err(Failure::new(
            Error::Usage(format!(
                "no record of any item has a value in a column `{name}`, which the steps of the plan name"
            )),
            "make a plan with other steps; a name in backticks is accepted unchecked",
        )),
    }
}

/// Puts columns that steps make behind all columns of the records, where they are on one machine: an item that lacks a column
/// has them earlier.
fn order_as_after_steps(all: &mut Schema, plan: &Plan, receipts: &[Receipt], merge: TypeMerge) -> Result<(), Failure> {
    if plan.settings.steps.is_empty() {
        return Ok(());
    }
    let inputs: Option<Vec<Schema>> = receipts.iter().map(Receipt::input_columns).collect();
    let Some(inputs) = inputs else { return Ok(()) };
    let input = inputs.iter().fold(Schema::default(), |all, columns| all.join(columns, merge));
    let steps = plan_settings::worker_args(&plan.settings)?.steps.steps()?;
    let after = columns_after(&steps, &input, merge).map_err(Error::Pipeline)?;
    all.fields.sort_by_key(|field| after.position(&field.name).unwrap_or(usize::MAX));
    Ok(())
}

/// Returns true if the rows are read as text, from which the commit takes types as one machine does: for targets that have
/// values as text, and for cells of CSV.
fn reads_records(plan: &Plan, outputs: &[Output]) -> Result<bool, Failure> {
    let is_csv = plan_settings::format(&plan.settings)? == ResultFormat::Csv;
    let are_columns = |output: &Output| matches!(output.format, OutputFormat::Parquet(_) | OutputFormat::Arrow(_));
    Ok(plan.settings.keeps_records && (is_csv || !outputs.iter().all(are_columns)))
}

/// Returns the parts as sources, in the order of their rows.
fn sources(place: &PlanPlace, receipts: &[Receipt], (all, each): &(Arc<Schema>, Vec<Arc<Schema>>)) -> Vec<Source> {
    let parts = receipts.iter().zip(each).flat_map(|(receipt, columns)| {
        receipt.parts.iter().map(move |part| {
            let (store, own) = (Arc::clone(&place.0), part.clone());
            let typed = TypedPart {
                name: format!("{}/{}", place.name().trim_end_matches('/'), part.name),
                open: Box::new(move || store.open_part(&own)),
                written: Arc::clone(columns),
                columns: Arc::clone(all),
                rows: part.rows,
            };
            typed.into_source()
        })
    });
    parts.collect()
}

/// Returns the directory that gets the parts as the workers wrote them: the only output, as Parquet without a division of its
/// own, if all parts have the same columns. `None` if rows have to be written anew.
fn as_they_are<'a>(
    context: &Context,
    args: &CommitArgs,
    outputs: &'a [Output],
    (all, each): &(Arc<Schema>, Vec<Arc<Schema>>),
    has_rows: bool,
) -> Option<&'a Directory> {
    let [Output { format: OutputFormat::Parquet(_), target: Target::Directory(directory), .. }] = outputs else {
        return None;
    };
    let is_alike = |columns: &Schema| {
        let pairs = columns.fields.iter().zip(&all.fields);
        columns.fields.len() == all.fields.len()
            && pairs.into_iter().all(|(a, b)| a.name == b.name && a.ty.is_like(&b.ty))
    };
    let is_plain =
        args.sink.directory_flag().is_none() && args.sink.sort_hint.is_empty() && !directory.leaves_out_empty;
    // The codec of workers is their own.
    let has_codec = matches!(context.settings.codec.origin, Origin::Flag(_));
    // Without a row, a file with the columns is written.
    (is_plain && !has_codec && has_rows && each.iter().all(|columns| is_alike(columns))).then_some(directory)
}

/// Copies the parts into a directory, where they appear together.
async fn copy_parts(
    context: &Context,
    directory: &Directory,
    place: &PlanPlace,
    receipts: &[Receipt],
    columns: &Schema,
) -> Result<Report, Failure> {
    let parts: Vec<Part> = receipts.iter().flat_map(|receipt| receipt.parts.clone()).collect();
    let total = parts.iter().map(|part| part.bytes).sum();
    let ready = parts.into_iter().map(|part| {
        let (store, own) = (Arc::clone(&place.0), part.clone());
        let name = format!("{}/{}", place.name().trim_end_matches('/'), part.name);
        let open = Box::new(move || store.open_part(&own));
        ReadyFile { open, name, rows: part.rows, bytes: part.bytes, sha256: part.sha256 }
    });
    let (ready, directory, columns) = (ready.collect(), directory.clone(), columns.clone());
    let extension = OutputFormat::Parquet(ParquetOptions::default()).extension();
    let work = move |control: &Control| publish_ready_files(&directory, ready, extension, columns, control);
    engine::run_blocking(context, "committing", Some(total), Vec::new(), |_, _| {}, work).await
}

/// Builds the plan of the engine.
fn execution(
    context: &Context,
    args: &PipelineArgs,
    plan: &Plan,
    sources: Vec<Source>,
    outputs: Vec<Output>,
) -> Result<ExecutionPlan, Failure> {
    let dialect = InputDialect::of_settings(&context.settings)?;
    let mut execution = outputs::plan(sources, outputs, args, &dialect, &context.settings)?;
    execution.limits.max_columns = plan.settings.max_columns;
    execution.metadata.push(("drawoff.plan".to_owned(), plan.digest.clone()));
    let runs = plan.runs();
    if runs.len() <= NAMED_RUNS {
        execution.metadata.push(("drawoff.run".to_owned(), runs.join(",")));
    }
    Ok(execution)
}

/// Removes the files that no chosen receipt names, if the flags ask for it. The plan is committed: attempts that still run are
/// too late for it, whatever they write.
async fn collect_garbage(
    context: &Context,
    args: &CommitArgs,
    place: &PlanPlace,
    receipts: &[Receipt],
) -> Result<(), Failure> {
    if !args.gc {
        return Ok(());
    }
    let receipts = receipts.to_vec();
    let removed = place.with(context, move |store: &PlanStore| {
        let orphans = store.orphans(&receipts)?;
        store.remove(&orphans)?;
        Ok(orphans)
    });
    let removed = removed.await?;
    let bytes = removed.iter().map(|file| file.bytes).sum();
    let files = counted(removed.len() as u64, "file");
    context.screen.note(&format!("removed {files} of attempts that do not count ({})", human_bytes(bytes)));
    Ok(())
}
