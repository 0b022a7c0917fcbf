//! Checks of steps against the columns that are known before the first record is written, so that a misspelled name
//! fails at once and not after an hour. Applies no step.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_array::Array;
use arrow_array::cast::AsArray;

use super::rules::SchemaRules;
use crate::column::{Batch, Field, Schema, Type, TypeMerge};
use crate::pipeline::error::Error;
use crate::pipeline::input::{Item, first_records};
use crate::pipeline::plan::{Limits, SchemaPolicy, SchemaSource};
use crate::transform::expr;
use crate::transform::{KnownColumns, RESULTS, Step, StepOptions, Steps, UnknownColumn, bind};

/// Bytes of a sample that the columns for checking steps are inferred from. By eye: three hundred
/// records of results, in a millisecond.
const KNOWN_FROM_BYTES: usize = 256 << 10;

/// Returns the columns that are known before the first record is written: those of the explicit schema, the declared
/// ones, those of CSV headers and of the first records, and the `source_columns` of directory names. `is_one_source` is true if no other source follows the first.
pub(crate) fn known_columns(
    limits: &Limits,
    choice: &SchemaSource,
    type_merge: TypeMerge,
    sample: &[Item],
    is_one_source: bool,
    source_columns: &[Arc<str>],
) -> KnownColumns {
    let rules = SchemaRules::for_schema(choice, type_merge, limits);
    let mut schema = choice.enforced.clone().unwrap_or_default();
    let mut has_rows = false;
    let mut bytes_left = KNOWN_FROM_BYTES;
    for item in first_records(sample, limits.sample_bytes) {
        match &*item {
            // The same in every batch of the source; others may have more.
            Item::Rows(batch, _) => {
                schema = schema.join(&batch.schema, type_merge);
                has_rows = is_one_source;
            }
            // A header lists all columns, so that no record need be read.
            Item::Morsel(_, info) | Item::SourceEnd(info) if info.csv.is_some() => {
                schema = schema.join(&info.header_columns(), type_merge);
            }
            // A part of the first records is enough: names that they lack are reported as unseen, not as errors.
            Item::Morsel(morsel, info) if bytes_left > 0 => {
                let seen = rules.infer_columns(&morsel.beginning(bytes_left), info, false).schema;
                bytes_left = bytes_left.saturating_sub(morsel.len);
                schema = schema.join(&rules.with_declared_types(seen), type_merge);
            }
            _ => {}
        }
    }
    if type_merge == TypeMerge::Json {
        schema = schema.join(&rules.declared, type_merge);
    }
    let source_columns = source_columns.iter().map(|name| Field::new(name.clone(), Type::Text));
    schema = schema.join(&Schema::new(source_columns.collect()), type_merge);
    if let Some(name) = choice.extra_column.as_ref().filter(|name| schema.position(name).is_none()) {
        schema.fields.push(Field::new(name.clone(), Type::Json));
    }
    // Only a complete list makes an unknown name an error.
    let closed = choice.enforced.is_some() && choice.policy != SchemaPolicy::Evolve;
    KnownColumns {
        schema,
        complete: closed || !choice.is_part && (has_rows || type_merge == TypeMerge::Text),
        type_merge,
        removed: Vec::new(),
        is_part: choice.is_part,
    }
}

/// Returns the columns that `steps` make of `input`, in their order. `type_merge` is that of the sources.
pub fn columns_after(steps: &[Step], input: &Schema, type_merge: TypeMerge) -> Result<Schema, Error> {
    let mut steps = steps.to_vec();
    let schema = input.clone();
    bind(&mut steps, KnownColumns { schema, complete: false, type_merge, removed: Vec::new(), is_part: true })?;
    let options = StepOptions { type_merge, typed: true, columns_fixed: true, ..StepOptions::default() };
    Ok(Steps::new(&steps, options).output_schema(input)?)
}

/// Checks `steps` against the columns of an explicit schema alone, before anything is downloaded. Without an explicit
/// schema there is nothing to check.
pub fn check_steps(steps: &[Step], choice: &SchemaSource) -> Result<(), Error> {
    let Some(enforced) = &choice.enforced else { return Ok(()) };
    let complete = choice.policy != SchemaPolicy::Evolve;
    let known = KnownColumns {
        schema: enforced.clone(),
        complete,
        type_merge: TypeMerge::Json,
        removed: Vec::new(),
        is_part: false,
    };
    let mut steps = steps.to_vec();
    bind(&mut steps, known)?;
    // A query can only be planned against all of its columns and tables.
    if let Some(Step::Sql(query)) = steps.pop()
        && complete
        && query.tables() == [RESULTS]
    {
        let options = StepOptions { typed: true, columns_fixed: true, ..StepOptions::default() };
        let columns = Steps::new(&steps, options).output_schema(enforced)?;
        query.columns(&columns, &[])?;
    }
    Ok(())
}

/// Checks `steps` against the columns that a workflow declares, before a run of it is started. The records can have further
/// columns, of the input and of blocks, so that only a name that resembles a declared one is an error; in backticks any is
/// accepted.
pub fn check_steps_of_run(steps: &[Step], declared: &Schema) -> Result<(), expr::Error> {
    let known = KnownColumns {
        schema: declared.clone(),
        complete: false,
        type_merge: TypeMerge::Json,
        removed: Vec::new(),
        is_part: false,
    };
    bind(&mut steps.to_vec(), known).map(|_| ())
}

/// Columns that steps refer to and the sample did not have, each with a flag that its first value sets.
#[derive(Debug, Default)]
pub(crate) struct UnseenColumns(Vec<(UnknownColumn, AtomicBool)>);

impl UnseenColumns {
    /// Creates the list with all flags unset.
    pub(crate) fn new(columns: Vec<UnknownColumn>) -> Self {
        UnseenColumns(columns.into_iter().map(|column| (column, AtomicBool::new(false))).collect())
    }

    /// Sets the flags of the columns that have a value other than null in `batch`. A batch has every column that steps refer to, so that one
    /// of nulls alone does not show whether any record has the key. Called by all workers.
    pub(crate) fn record(&self, batch: &Batch) {
        for (column, seen) in &self.0 {
            let has_values = |i: usize| match batch.schema.fields[i].ty {
                // The text of the record, in which null is a word.
                Type::Raw => batch.columns[i].as_string_view().iter().flatten().any(|text| text != "null"),
                _ => batch.columns[i].null_count() < batch.rows,
            };
            if !seen.load(Ordering::Relaxed) && batch.schema.position(&column.name).is_some_and(has_values) {
                seen.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Returns the error of the first column that no record of `sample` has and that is not accepted unchecked. `sample` is
    /// the whole input; of an input without records nothing is known.
    pub(crate) fn error_in(
        &self,
        sample: &[Item],
        limits: &Limits,
        choice: &SchemaSource,
        type_merge: TypeMerge,
    ) -> Option<Error> {
        let mut candidates =
            self.0.iter().filter_map(|(column, _)| Some((&column.name, column.error.as_ref()?))).peekable();
        // Inference of the whole sample is for a suspicion only.
        candidates.peek()?;
        let rules = SchemaRules::for_schema(choice, type_merge, limits);
        let seen = sample.iter().fold(Schema::default(), |seen, item| match item {
            Item::Morsel(morsel, info) => seen.join(&rules.infer_columns(morsel, info, false).schema, type_merge),
            _ => seen,
        });
        if seen.fields.is_empty() {
            return None;
        }
        candidates.find(|(name, _)| seen.position(name).is_none()).map(|(_, error)| error.clone().into())
    }

    /// Returns the columns that had no value in any batch so far.
    pub(crate) fn never_seen(&self) -> impl Iterator<Item = &UnknownColumn> {
        self.0.iter().filter(|(_, seen)| !seen.load(Ordering::Relaxed)).map(|(column, _)| column)
    }

    /// Returns the names of the columns that had no value and that are not accepted unchecked.
    pub(crate) fn suspects(&self) -> Vec<String> {
        self.never_seen().filter(|column| column.error.is_some()).map(|column| column.name.clone()).collect()
    }

    /// Returns the error of the first column that had no value and that is not accepted unchecked.
    pub(crate) fn error(&self) -> Option<Error> {
        let (name, error) = self.never_seen().find_map(|column| Some((&column.name, column.error.clone()?)))?;
        let message = format!("no record has a value in a column `{name}`");
        Some(expr::Error { message, ..error }.into())
    }
}
