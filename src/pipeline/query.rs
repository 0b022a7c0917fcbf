//! Plans with a query: batch by batch if the query handles each row alone and all columns can be inferred before, else
//! over a temporary file with all rows. Plans and runs no SQL itself; that is `transform::sql`.

use std::time::Instant;

use super::error::{Error, PlanError};
use super::explain::explain_steps;
use super::input::{can_be_reread, reopen};
use super::plan::{ExecutionPlan, Limits, SchemaFrom};
use super::progress::Control;
use super::report::Report;
use super::run::pass;
use super::tables::{Scratch, open_tables, take_query};
use crate::column::Batch;
use crate::source::{BoxedError, Source};
use crate::transform::{Limit, Query, QueryResources, QueryRows, RESULTS, Step};

/// Executes a plan that has a query among its steps.
pub(super) fn execute(mut plan: ExecutionPlan, control: &Control) -> Result<Report, Error> {
    let limit = take_limit(&mut plan.steps);
    let query = take_query(&mut plan.steps)?;
    let started = Instant::now();
    if can_be_reread(&plan.sources) {
        let sources = plan.sources.iter().map(reopen).collect();
        let quiet = control.without_counters();
        let known = explain_steps(sources, plan.steps.clone(), Vec::new(), &plan.schema, &plan.limits, &quiet)?;
        // A query that fails on the sample's columns may still fit: a column that it names may appear later.
        if let Ok(Some(by_rows)) = query.by_rows(&known.output) {
            plan.steps.push(Step::Sql(query));
            plan.steps.extend(by_rows.limit().map(Limit).map(Step::from).into_iter().chain(limit));
            // Infer from all records: a late widening would change the meaning of the query for earlier rows.
            plan.schema.from = SchemaFrom::Full;
            return pass(plan, control);
        }
    }
    run_on_all_rows(plan, &query, limit, control).map(|report| Report { elapsed: started.elapsed(), ..report })
}

/// Removes a limit behind the query from the steps and returns it.
fn take_limit(steps: &mut Vec<Step>) -> Option<Step> {
    steps.pop_if(|step| matches!(step, Step::Limit(_)))
}

/// Writes the rows before the query to a temporary Parquet file, runs the query over it, and writes its result up to the
/// `limit`.
fn run_on_all_rows(
    mut plan: ExecutionPlan,
    query: &Query,
    limit: Option<Step>,
    control: &Control,
) -> Result<Report, Error> {
    let scratch = Scratch::new(&plan.limits)?;
    let mut notes = Vec::new();
    let mut tables = open_tables(query, std::mem::take(&mut plan.tables), &scratch, &plan.limits, control, &mut notes)?;
    let is_read = query.tables().iter().any(|name| name == RESULTS);
    if !is_read {
        return Err(PlanError::QueryWithoutResults.into());
    }
    let outputs = std::mem::take(&mut plan.outputs);
    let (limits, metadata, sort_hint) =
        (plan.limits.clone(), plan.metadata.clone(), std::mem::take(&mut plan.sort_hint));
    let whole_streams = plan.whole_streams;
    plan.outputs = vec![scratch.output(RESULTS)];
    let input_report = pass(plan, control)?;
    tables.push((RESULTS.to_owned(), scratch.open(RESULTS, &input_report.schema)?));
    // The tables are open; their names are no longer needed, so a crash leaves no files.
    drop(scratch);

    // The query and the pass that writes its result run at the same time: each gets half of the memory.
    let bytes = usize::try_from(limits.max_memory_bytes / 2).unwrap_or(usize::MAX);
    let spills = Scratch::new(&limits)?;
    let directory = Some(spills.directory().to_owned());
    let query_rows =
        query.execute(tables, &QueryResources { max_bytes: bytes, directory, workers: limits.worker_count() })?;
    let rows = Box::new(QuerySource(query_rows));
    let source = Source::rows("the query", rows);
    let output = outputs.first().cloned().ok_or(PlanError::NoOutput)?;
    let limits = Limits { max_memory_bytes: limits.max_memory_bytes / 2, ..limits };
    // The second pass counts rows of the result, which must not be added to the records of the sources.
    let quiet = control.without_counters();
    let result = ExecutionPlan { steps: limit.into_iter().collect(), ..ExecutionPlan::new(source, output) };
    let output_report = pass(ExecutionPlan { outputs, sort_hint, metadata, whole_streams, limits, ..result }, &quiet)?;
    Ok(Report {
        rows_queried: Some(input_report.rows_written),
        rows_written: output_report.rows_written,
        bytes_out: output_report.bytes_out,
        cells_changed: output_report.cells_changed,
        schema: output_report.schema,
        files: output_report.files,
        loads: output_report.loads,
        stopped_early: output_report.stopped_early,
        reached_limit: input_report.reached_limit || output_report.reached_limit,
        notes: notes.into_iter().chain(input_report.notes).chain(output_report.notes).collect(),
        ..input_report
    })
}

/// The result rows of a query as a source.
struct QuerySource(QueryRows);

impl Iterator for QuerySource {
    type Item = Result<Batch, BoxedError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|batch| batch.map_err(BoxedError::from))
    }
}
