//! Steps checked against the columns that are known before the first record is written.

use std::sync::atomic::{AtomicBool, Ordering};

use super::rules::SchemaRules;
use crate::column::{Batch, Field, Schema, Type, TypeMerge};
use crate::pipeline::error::Error;
use crate::pipeline::input::Item;
use crate::pipeline::plan::{Limits, SchemaPolicy, SchemaSource};
use crate::transform::expr;
use crate::transform::{KnownColumns, RESULTS, Step, StepOptions, Steps, bind};

/// Bytes of a sample that are looked at for what steps are checked against. By eye: three hundred
/// records of results, in a millisecond.
const KNOWN_FROM_BYTES: usize = 256 << 10;

/// The columns that are known before the first record is written: by the schema file, as declared,
/// from a header, from the first records.
pub fn known_columns(limits: &Limits, choice: &SchemaSource, type_merge: TypeMerge, sample: &[Item]) -> KnownColumns {
    let rules = SchemaRules::for_schema(choice, type_merge, limits);
    let mut schema = choice.enforced.clone().unwrap_or_default();
    for item in sample {
        match item {
            Item::Morsel(_, info) | Item::SourceEnd(info) if info.csv.is_some() => {
                schema = schema.join(&info.header_columns(), type_merge);
            }
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
    let closed = choice.enforced.is_some() && choice.policy != SchemaPolicy::Evolve;
    KnownColumns { schema, complete: closed || type_merge == TypeMerge::Text, type_merge, removed: Vec::new() }
}

/// Checks `steps` against the columns of a schema file alone, before anything is downloaded.
pub fn check_steps(steps: &[Step], choice: &SchemaSource) -> Result<(), Error> {
    let Some(enforced) = &choice.enforced else { return Ok(()) };
    let complete = choice.policy != SchemaPolicy::Evolve;
    let known = KnownColumns { schema: enforced.clone(), complete, type_merge: TypeMerge::Json, removed: Vec::new() };
    let mut steps = steps.to_vec();
    bind(&mut steps, known)?;
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

/// The error that `steps` would end with if there were no other columns than those that a workflow declares: a warning, as
/// its input has other columns, and blocks make some.
pub fn warn_about_steps(steps: &[Step], declared: &Schema) -> Option<expr::Error> {
    let known =
        KnownColumns { schema: declared.clone(), complete: false, type_merge: TypeMerge::Json, removed: Vec::new() };
    bind(&mut steps.to_vec(), known).err()
}

/// Names that steps use and that the sample had no column for; each falls when one comes.
#[derive(Debug, Default)]
pub struct UnseenNames(Vec<(String, AtomicBool)>);

impl UnseenNames {
    /// These names.
    pub fn new(names: Vec<String>) -> Self {
        UnseenNames(names.into_iter().map(|name| (name, AtomicBool::new(false))).collect())
    }

    /// Notes which of them have a value in `batch`.
    pub fn see(&self, batch: &Batch) {
        for (name, seen) in &self.0 {
            let has_values = |i: usize| batch.columns[i].null_count() < batch.rows;
            if !seen.load(Ordering::Relaxed) && batch.schema.position(name).is_some_and(has_values) {
                seen.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Those that never had one.
    pub fn never_seen(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|(_, seen)| !seen.load(Ordering::Relaxed)).map(|(name, _)| name.as_str())
    }
}
