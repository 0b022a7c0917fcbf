//! Plans with a query: batch by batch where it looks at single rows and all columns can be known before, else over a
//! temporary file with all rows.

use std::time::Instant;

use super::error::{Error, PlanError};
use super::explain::explain_steps;
use super::input::{are_rereadable, read_again};
use super::plan::{ExecutionPlan, Limits, SchemaFrom};
use super::progress::Control;
use super::report::Report;
use super::run::pass;
use super::tables::{Scratch, open_tables, take_query};
use crate::column::Batch;
use crate::source::{BoxedError, Source};
use crate::transform::{Limit, Query, QueryResources, QueryRows, RESULTS, Step};

/// Carries out a plan that has a query among its steps.
pub(super) fn execute(mut plan: ExecutionPlan, control: &Control) -> Result<Report, Error> {
    let query = take_query(&mut plan.steps)?;
    let started = Instant::now();
    if are_rereadable(&plan.sources) {
        let sources = plan.sources.iter().map(read_again).collect();
        let quiet = control.without_counters();
        let known = explain_steps(sources, plan.steps.clone(), Vec::new(), &plan.schema, &plan.limits, &quiet)?;
        // What the query wants and the sample does not have may come later.
        if let Ok(Some(by_rows)) = query.by_rows(&known.output) {
            plan.steps.push(Step::Sql(query));
            plan.steps.extend(by_rows.limit().map(Limit).map(Step::from));
            // A type that widens late would leave the meaning of the rows before open.
            plan.schema.from = SchemaFrom::Full;
            return pass(plan, control);
        }
    }
    over_all_rows(plan, &query, control).map(|report| Report { elapsed: started.elapsed(), ..report })
}

fn over_all_rows(mut plan: ExecutionPlan, query: &Query, control: &Control) -> Result<Report, Error> {
    let scratch = Scratch::new(&plan.limits)?;
    let mut tables = open_tables(query, std::mem::take(&mut plan.tables), &scratch, &plan.limits, control)?;
    let is_read = query.tables().iter().any(|name| name == RESULTS);
    if !is_read {
        return Err(PlanError::QueryWithoutResults.into());
    }
    let outputs = std::mem::take(&mut plan.outputs);
    let (limits, metadata, sort_hint) =
        (plan.limits.clone(), plan.metadata.clone(), std::mem::take(&mut plan.sort_hint));
    plan.outputs = vec![scratch.output(RESULTS)];
    let taken = pass(plan, control)?;
    tables.push((RESULTS.to_owned(), scratch.open(RESULTS, &taken.schema)?));
    // The open files are all that is needed.
    drop(scratch);

    let bytes = usize::try_from(limits.max_memory_bytes / 2).unwrap_or(usize::MAX);
    let directory = limits.spill_dir.clone();
    let answer =
        query.execute(tables, &QueryResources { max_bytes: bytes, directory, workers: limits.worker_count() })?;
    let rows = Box::new(QuerySource(answer));
    let source = Source::rows("the query", rows);
    let output = outputs.first().cloned().ok_or(PlanError::NoOutput)?;
    let limits = Limits { max_memory_bytes: limits.max_memory_bytes / 2, ..limits };
    // Bytes read are those of the sources; the rest of what is counted starts again with the answer.
    let quiet = control.without_counters();
    let given =
        pass(ExecutionPlan { outputs, sort_hint, metadata, limits, ..ExecutionPlan::new(source, output) }, &quiet)?;
    Ok(Report {
        rows_queried: Some(taken.rows_written),
        rows_written: given.rows_written,
        bytes_out: given.bytes_out,
        cells_changed: given.cells_changed,
        schema: given.schema,
        files: given.files,
        stopped_early: given.stopped_early,
        notes: taken.notes.into_iter().chain(given.notes).collect(),
        ..taken
    })
}

/// An answer as a source.
struct QuerySource(QueryRows);

impl Iterator for QuerySource {
    type Item = Result<Batch, BoxedError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|batch| batch.map_err(BoxedError::from))
    }
}
