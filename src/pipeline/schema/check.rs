//! Checks of steps against the columns that are known before the first record is written, so that a misspelled name
//! fails at once and not after an hour. Applies no step.

use std::sync::atomic::{AtomicBool, Ordering};

use super::rules::SchemaRules;
use crate::column::{Batch, Field, Schema, Type, TypeMerge};
use crate::pipeline::error::Error;
use crate::pipeline::input::Item;
use crate::pipeline::plan::{Limits, SchemaPolicy, SchemaSource};
use crate::transform::expr;
use crate::transform::{KnownColumns, RESULTS, Step, StepOptions, Steps, bind};

/// Bytes of a sample that the columns for checking steps are inferred from. By eye: three hundred
/// records of results, in a millisecond.
const KNOWN_FROM_BYTES: usize = 256 << 10;

/// Returns the columns that are known before the first record is written: those of the explicit schema, the declared
/// ones, and those of CSV headers and of the first records.
pub fn known_columns(limits: &Limits, choice: &SchemaSource, type_merge: TypeMerge, sample: &[Item]) -> KnownColumns {
    let rules = SchemaRules::for_schema(choice, type_merge, limits);
    let mut schema = choice.enforced.clone().unwrap_or_default();
    for item in sample {
        match item {
            // A header lists all columns, so that no record need be read.
            Item::Morsel(_, info) | Item::SourceEnd(info) if info.csv.is_some() => {
                schema = schema.join(&info.header_columns(), type_merge);
            }
            // The first records are enough: names that they lack are reported as unseen, not as errors.
            Item::Morsel(morsel, info) => {
                let seen = rules.infer_columns(&morsel.beginning(KNOWN_FROM_BYTES), info, false).schema;
                schema = schema.join(&rules.with_declared_types(seen), type_merge);
                break;
            }
            _ => {}
        }
    }
    if type_merge == TypeMerge::Json {
        schema = schema.join(&rules.declared, type_merge);
    }
    if let Some(name) = choice.extra_column.as_ref().filter(|name| schema.position(name).is_none()) {
        schema.fields.push(Field::new(name.clone(), Type::Json));
    }
    // Only a complete list makes an unknown name an error.
    let closed = choice.enforced.is_some() && choice.policy != SchemaPolicy::Evolve;
    KnownColumns { schema, complete: closed || type_merge == TypeMerge::Text, type_merge, removed: Vec::new() }
}

/// Checks `steps` against the columns of an explicit schema alone, before anything is downloaded. Without an explicit
/// schema there is nothing to check.
pub fn check_steps(steps: &[Step], choice: &SchemaSource) -> Result<(), Error> {
    let Some(enforced) = &choice.enforced else { return Ok(()) };
    let complete = choice.policy != SchemaPolicy::Evolve;
    let known = KnownColumns { schema: enforced.clone(), complete, type_merge: TypeMerge::Json, removed: Vec::new() };
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

/// Returns the error of `steps` on the declared columns of a workflow alone. It is a warning: the records also have the
/// columns of the input, and blocks add some.
pub fn warn_about_steps(steps: &[Step], declared: &Schema) -> Option<expr::Error> {
    let known =
        KnownColumns { schema: declared.clone(), complete: false, type_merge: TypeMerge::Json, removed: Vec::new() };
    bind(&mut steps.to_vec(), known).err()
}

/// Names that steps use and the sample had no column for, each with a flag that is set by its first value.
#[derive(Debug, Default)]
pub struct UnseenNames(Vec<(String, AtomicBool)>);

impl UnseenNames {
    /// Creates the list with all flags unset.
    pub fn new(names: Vec<String>) -> Self {
        UnseenNames(names.into_iter().map(|name| (name, AtomicBool::new(false))).collect())
    }

    /// Sets the flags of the names that have a value in `batch`. Called by all workers.
    pub fn record_values(&self, batch: &Batch) {
        for (name, seen) in &self.0 {
            let has_values = |i: usize| batch.columns[i].null_count() < batch.rows;
            if !seen.load(Ordering::Relaxed) && batch.schema.position(name).is_some_and(has_values) {
                seen.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Returns the names that had no value in any batch.
    pub fn without_values(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|(_, seen)| !seen.load(Ordering::Relaxed)).map(|(name, _)| name.as_str())
    }
}
