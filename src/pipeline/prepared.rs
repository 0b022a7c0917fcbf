//! The prepared plan, read-only and shared by all threads: steps bound to columns, the rules of the schema, and the
//! outputs as workers know them. Decides which steps run in workers and which in the writer; never reads a record by
//! itself.

use std::borrow::Cow;
use std::sync::Arc;

use super::error::{Error, PlanError};
use super::input::Item;
use super::output::{OutputSpecs, TableRows};
use super::plan::{ExecutionPlan, Limits, OnBadRecord, Output, SchemaPolicy, Target};
use super::schema::{AsReadDemand, Demands, SchemaRegistry, SchemaRules, UnseenColumns, known_columns};
use super::sequencer::Sequencer;
use crate::column::{Batch, Schema, TypeMerge};
use crate::format::decode::OutputColumns;
use crate::format::ndjson::ValueTypes;
use crate::format::{OutputFormat, RowForm};
use crate::transform::{
    CheckRows, FailedRow, OnBadCast, RowCheck, Step, StepOptions, Steps, bind, columns_looked_at, columns_needed,
    columns_opened, columns_written, keeps_records, needs_record_spans, needs_structs,
};
use crate::warehouse::{RowEncoder, UnfitRow};

/// A checked plan with all decisions taken.
#[derive(Debug)]
pub(super) struct Prepared {
    /// The rules by which records become columns.
    pub rules: SchemaRules,
    /// The outputs, without their targets.
    pub outputs: OutputSpecs,
    /// Steps that need one row at a time, for workers.
    pub row_steps: Vec<Step>,
    /// Steps that must see all rows in order, for the writer, after `row_steps`.
    pub ordered_steps: Vec<Step>,
    on_bad_cast: OnBadCast,
    /// Columns that steps name and the sample did not have.
    pub unseen: UnseenColumns,
    /// See [`SchemaSource::is_part`](super::SchemaSource::is_part).
    pub is_part: bool,
    /// True if text outputs beside typed ones, or tables, take values as they were read.
    writes_as_read: bool,
    /// True if a step ends the execution after a number of rows.
    pub has_limit: bool,
    /// True if the rows of the only output are committed in chunks: the writer then encodes them, because a chunk begins and
    /// ends at a record, and the table that later rows are encoded for is as the chunks before have left it.
    pub in_chunks: bool,
    /// The policy for a bad record.
    pub on_bad_record: OnBadRecord,
    /// True if a record that does not fit a table ends the execution, whatever the policy for bad records.
    pub stops_at_misfits: bool,
    /// True if rejects keep their raw records, for a rejects file.
    pub keep_rejects: bool,
    /// True if an output is live, so that rows are sent as soon as possible.
    pub is_live: bool,
    /// Bounds on memory and records, as in the plan.
    pub limits: Limits,
    /// Number of compute threads, at least 1.
    pub workers: usize,
}

/// The state that all threads of an execution share. Only the writer changes it: the schema in the registry, and its
/// own progress in the sequencer.
#[derive(Clone)]
pub(super) struct ExecutionState {
    pub prepared: Arc<Prepared>,
    pub registry: Arc<SchemaRegistry>,
    pub sequencer: Arc<Sequencer>,
}

impl ExecutionState {
    /// Creates the shared state, with the registry at the columns that were inferred.
    pub(super) fn new(prepared: Prepared, seen: Schema) -> Result<Self, Error> {
        let schema = prepared.rules.initial_schema(seen)?;
        // A step that fails on these columns reports a better error when it is applied.
        if let Ok(columns) = prepared.columns_after_steps(&schema) {
            prepared.outputs.require_named_columns(&columns)?;
        }
        Ok(ExecutionState {
            prepared: Arc::new(prepared),
            registry: Arc::new(SchemaRegistry::new(schema)),
            sequencer: Arc::new(Sequencer::default()),
        })
    }
}

impl Prepared {
    /// Checks `plan` against the columns of `sample` and decides how it is executed. `is_one_source` is true if the sample is
    /// of the only source; `source_columns` are those of directory names.
    pub(super) fn new(
        plan: &ExecutionPlan,
        type_merge: TypeMerge,
        sample: &[Item],
        is_one_source: bool,
        tables: Vec<Option<TableRows>>,
        source_columns: Vec<Arc<str>>,
    ) -> Result<Self, Error> {
        check_outputs(plan)?;
        // A query needs typed values, and rows from a query have them already.
        let has_query = plan.steps.iter().any(|step| matches!(step, Step::Sql(_)));
        let are_rows = sample.iter().any(|item| matches!(item, Item::Rows(..)));
        let typed = has_query || are_rows || plan.outputs.iter().any(|o| o.format.is_typed());
        if typed && plan.steps.iter().any(|step| step.properties().makes_raw_columns) {
            return Err(PlanError::LookupNeedsText.into());
        }
        let mut steps = plan.steps.clone();
        let unseen = match steps.is_empty() {
            true => Vec::new(),
            false => {
                let known =
                    known_columns(&plan.limits, &plan.schema, type_merge, sample, is_one_source, &source_columns);
                bind(&mut steps, known)?
            }
        };
        let are_records = !has_query && !are_rows;
        let is_judged = are_judged_by_tables(plan, &tables);
        let opaque_except = match are_records && takes_opaque(plan, type_merge, is_judged) {
            true => columns_opened(&steps),
            false => None,
        };
        // Behind all other steps: the rows are checked as they are written.
        steps
            .extend(tables.iter().flatten().map(|table| CheckRows(Arc::new(TableCheck(table.encoder.clone()))).into()));
        // A record to which columns are appended cannot be copied.
        let copies = source_columns.is_empty();
        let text_as_read = are_records && writes_as_read(plan, &steps, typed, type_merge, copies);
        // Nested values go into tables as their own JSON text: a null key there is not an absent one. A cell of CSV is what its
        // column of the table makes of it, also where the table is made of files.
        let has_tables = plan.outputs.iter().any(|output| output.format == OutputFormat::Table)
            || type_merge == TypeMerge::Text && tables.iter().flatten().next().is_some();
        let tables_as_read = are_records && has_tables;
        let writes_as_read = text_as_read || tables_as_read;
        let mut demands = demands(plan, &steps, typed, copies);
        match (text_as_read, tables_as_read) {
            (true, _) => demands.as_read = AsReadDemand::Every,
            (false, true) => demands.as_read = AsReadDemand::All,
            (false, false) => {}
        }
        demands.opaque_except = opaque_except;
        demands.keeps_cells = tables_as_read;
        if demands.columns_fixed {
            let written = columns_written(&plan.steps);
            demands.written_late =
                unseen.iter().map(|column| column.name.clone()).filter(|name| written.contains(name)).collect();
        }
        // A load in chunks goes on behind a record that it knows again.
        let in_chunks = plan.outputs.iter().any(Output::is_in_chunks);
        demands.record_spans |= in_chunks;
        let rules = SchemaRules::new(&plan.schema, demands, type_merge, &plan.limits);
        let maps = tables.iter().flatten().flat_map(|table| table.encoder.columns_with_maps().fields).collect();
        let mut rules = rules.with_source_columns(source_columns).with_maps(Schema::new(maps));
        if is_judged {
            rules.leave_to_tables();
            // Steps may make other columns of those of the records.
            let encoders: Vec<_> = tables.iter().flatten().map(|table| table.encoder.clone()).collect();
            if plan.steps.is_empty() && type_merge == TypeMerge::Json {
                rules.output_columns = Some(Arc::new(TableColumns(encoders)));
            }
        }
        let is_json = |item: &Item| matches!(item, Item::Morsel(_, info) if info.csv.is_none());
        if sample.iter().any(is_json) {
            rules.require_types_of_json()?;
        }
        let outputs = OutputSpecs::of(plan, type_merge, tables);
        // Ordered steps before row groups force one worker, which sees all rows in order: a row group is encoded
        // before the writer could apply a step. Text is ordered by the writer, which then applies those steps.
        let in_one_worker = outputs.has_parquet() && !Steps::split(&steps).1.is_empty();
        let (row_steps, ordered_steps) = if in_one_worker { (&steps[..], &[][..]) } else { Steps::split(&steps) };
        Ok(Prepared {
            rules,
            outputs,
            row_steps: row_steps.to_vec(),
            ordered_steps: ordered_steps.to_vec(),
            on_bad_cast: plan.on_bad_cast,
            unseen: UnseenColumns::new(unseen),
            writes_as_read,
            in_chunks,
            is_part: plan.schema.is_part,
            has_limit: steps.iter().any(|step| step.properties().has_limit),
            on_bad_record: plan.on_bad_record,
            stops_at_misfits: plan.schema.policy == SchemaPolicy::Fail,
            keep_rejects: plan.rejects.is_some(),
            is_live: plan.outputs.iter().any(|output| output.is_live(plan.whole_streams)),
            limits: plan.limits.clone(),
            workers: if in_one_worker { 1 } else { plan.limits.worker_count() },
        })
    }

    /// Returns true if the writer encodes the rows, because of what it alone knows of the rows before them.
    pub(super) fn writer_encodes(&self) -> bool {
        self.in_chunks || !self.ordered_steps.is_empty()
    }

    /// Returns true if rows are written with their columns as keys, in the order that the worker knows. Elsewhere the writer
    /// orders the columns at the end.
    pub(super) fn orders_keys(&self) -> bool {
        let any_json = self.outputs.specs.iter().any(|spec| spec.format.properties().rows == RowForm::Json);
        any_json && !self.rules.demands.copies_records
    }

    /// Creates the steps of one worker.
    pub(super) fn worker_steps(&self) -> Steps {
        // The writer's steps look at values, too.
        let keeps_as_read = self.writes_as_read || !self.ordered_steps.is_empty();
        Steps::new(&self.row_steps, StepOptions { keeps_as_read, ..self.step_options() })
    }

    /// Creates the steps of the writer; `None` if there are none.
    pub(super) fn writer_steps(&self) -> Option<Steps> {
        (!self.ordered_steps.is_empty()).then(|| Steps::new(&self.ordered_steps, self.step_options()))
    }

    fn step_options(&self) -> StepOptions {
        StepOptions {
            spill_budget: self.limits.spill_budget(),
            type_merge: self.rules.type_merge,
            typed: self.rules.demands.typed,
            columns_fixed: self.rules.demands.columns_fixed,
            keeps_as_read: self.writes_as_read,
            writes_as_read: self.writes_as_read,
            on_bad_cast: self.on_bad_cast,
        }
    }

    /// Returns the columns after all steps for decoded columns `schema`, under the outputs' rule for late columns.
    pub(super) fn columns_after_steps(&self, schema: &Schema) -> Result<Schema, Error> {
        self.columns_after_steps_if(self.rules.demands.columns_fixed, schema)
    }

    /// Returns the columns after all steps. With `columns_fixed`, a column that never had a value is final; without,
    /// its type is still open.
    pub(super) fn columns_after_steps_if(&self, columns_fixed: bool, schema: &Schema) -> Result<Schema, Error> {
        let options = StepOptions { columns_fixed, ..self.step_options() };
        let columns = Steps::new(&self.row_steps, options.clone()).output_schema(schema)?;
        Ok(Steps::new(&self.ordered_steps, options).output_schema(&columns)?)
    }

    /// Returns a column that a step flattened from objects of `before`, and that is none any more with the columns `after`;
    /// `None` if there is none, or if the steps behind read neither it nor what took its place.
    pub(super) fn lost_by_flattening(&self, before: &Schema, after: &Schema) -> Result<Option<String>, Error> {
        let steps: Vec<Step> = self.row_steps.iter().chain(&self.ordered_steps).cloned().collect();
        let Some(last) = steps.iter().rposition(|step| step.properties().opens_objects) else { return Ok(None) };
        let (flattening, behind) = steps.split_at(last + 1);
        let options = StepOptions { columns_fixed: false, ..self.step_options() };
        let columns = |steps, schema| Steps::new(steps, options.clone()).output_schema(schema);
        // Columns that were columns before the step are not flattened: a computed one can be without its objects yet.
        let unflattened = columns(&steps[..last], before)?;
        let (before, after) = (columns(flattening, before)?, columns(flattening, after)?);
        let only_in = |one: &Schema, other: &Schema| -> Vec<Arc<str>> {
            let names = one.fields.iter().map(|field| field.name.clone());
            names.filter(|name| other.position(name).is_none()).collect()
        };
        let (mut lost, appeared) = (only_in(&before, &after), only_in(&after, &before));
        lost.retain(|name| unflattened.position(name).is_none());
        let Some(first) = lost.first() else { return Ok(None) };
        let needed = columns_needed(behind, false);
        let is_needed =
            |name: &Arc<str>| needed.as_ref().is_none_or(|needed| needed.iter().any(|other| **other == **name));
        Ok(lost.iter().chain(&appeared).any(is_needed).then(|| first.to_string()))
    }

    /// Returns true if a step flattens objects into columns.
    pub(super) fn flattens(&self) -> bool {
        self.row_steps.iter().chain(&self.ordered_steps).any(|step| step.properties().opens_objects)
    }
}

/// The check of a table as a step.
#[derive(Debug)]
struct TableCheck(Arc<dyn RowEncoder>);

impl RowCheck for TableCheck {
    fn bad_rows(&self, batch: &Batch) -> Vec<FailedRow> {
        let unfit = self.0.unfit(batch).into_iter();
        let failed = |UnfitRow { row, path, reason }| FailedRow { row, path, reason: reason.into(), is_misfit: true };
        unfit.map(failed).collect()
    }
}

/// The columns of tables that stay as they are.
#[derive(Debug)]
struct TableColumns(Vec<Arc<dyn RowEncoder>>);

impl OutputColumns for TableColumns {
    fn refusal(&self, name: &str) -> Option<Cow<'static, str>> {
        self.0.iter().find_map(|encoder| encoder.refusal(name))
    }
}

/// Returns true if nothing but tables with columns that stay as they are decides which records fit: no explicit schema, and
/// no other output, whose columns and types are those of the first records.
fn are_judged_by_tables(plan: &ExecutionPlan, tables: &[Option<TableRows>]) -> bool {
    let schema = &plan.schema;
    let is_fixed = |table: &Option<TableRows>| table.as_ref().is_some_and(|table| table.encoder.has_fixed_columns());
    schema.policy != SchemaPolicy::Evolve
        && schema.enforced.is_none()
        && schema.extra_column.is_none()
        && !tables.is_empty()
        && tables.iter().all(is_fixed)
}

/// Rejects combinations of outputs that exclude each other.
fn check_outputs(plan: &ExecutionPlan) -> Result<(), PlanError> {
    if plan.outputs.is_empty() {
        return Err(PlanError::NoOutput);
    }
    if plan.outputs.iter().filter(|o| o.target == Target::Stdout).count() > 1 {
        return Err(PlanError::TwoStreams);
    }
    let keeps_every_key = |o: &Output| o.format.properties().rows == RowForm::Json;
    if plan.schema.extra_column.is_some() && plan.outputs.iter().any(keeps_every_key) {
        return Err(PlanError::ExtraColumnOfJson);
    }
    Ok(())
}

/// Returns true if nothing but steps looks into nested values of records: all outputs are tables, which take their text,
/// and no rule of the schema depends on what is inside.
fn takes_opaque(plan: &ExecutionPlan, type_merge: TypeMerge, is_judged: bool) -> bool {
    let schema = &plan.schema;
    type_merge == TypeMerge::Json
        && plan.outputs.iter().all(|output| output.format == OutputFormat::Table)
        && (schema.policy == SchemaPolicy::Evolve || is_judged)
        && schema.enforced.is_none()
        && schema.extra_column.is_none()
}

/// Returns true if an output of text would lose the spelling of values to the types of another output.
fn writes_as_read(plan: &ExecutionPlan, steps: &[Step], typed: bool, type_merge: TypeMerge, copies: bool) -> bool {
    let any = |form: RowForm| plan.outputs.iter().any(|o| o.format.properties().rows == form);
    let copies_records = copies && type_merge == TypeMerge::Json && keeps_records(steps);
    match (any(RowForm::Cells), any(RowForm::Json)) {
        (true, json) => typed || json && type_merge == TypeMerge::Text,
        (false, json) => typed && json && !copies_records,
    }
}

/// Returns the demands of the bound `steps` and of the outputs on decoded rows. `copies` is false if no record can be
/// copied as it is.
fn demands(plan: &ExecutionPlan, steps: &[Step], typed: bool, copies: bool) -> Demands {
    let outputs = &plan.outputs;
    let any = |form: RowForm| outputs.iter().any(|o| o.format.properties().rows == form);
    let (any_cells, any_json) = (any(RowForm::Cells), any(RowForm::Json));
    let partitioned = outputs.iter().any(|o| matches!(&o.target, Target::Directory(d) if !d.partition_by.is_empty()));
    // An extra column collects every key that is not decoded, and an explicit schema checks all of its columns:
    // neither allows to skip columns that no step reads.
    let all_columns = plan.schema.extra_column.is_some() || plan.schema.enforced.is_some() && typed;
    Demands {
        typed,
        // Values are parsed only as deep as steps and outputs read them; the rest passes as its own text.
        keys: match needs_structs(steps) {
            _ if typed => ValueTypes::Typed,
            None => ValueTypes::Raw,
            Some(false) => ValueTypes::RawInObjects,
            Some(true) => ValueTypes::RawInObjectsAndLists,
        },
        cells_as_text: !typed && any_cells && !any_json,
        only_columns: columns_needed(steps, copies && !typed && !any_cells && !partitioned).filter(|_| !all_columns),
        written_late: Vec::new(),
        columns_fixed: outputs.iter().any(|o| o.has_fixed_columns(plan.whole_streams)),
        arrays_fixed: outputs.iter().any(|o| o.has_fixed_columns(plan.whole_streams) && o.format.is_typed()),
        types_fixed: any_json,
        as_read: columns_looked_at(steps).map_or(AsReadDemand::All, AsReadDemand::Only),
        keeps_cells: false,
        opaque_except: None,
        lossy_utf8: plan.lossy_utf8,
        record_spans: needs_record_spans(steps),
        copies_records: copies && any_json && keeps_records(steps),
    }
}
