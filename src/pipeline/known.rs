//! What steps are checked against, and which columns they leave to be read.

use std::sync::atomic::{AtomicBool, Ordering};

use super::compiled::Compiled;
use super::reader::Item;
use super::{Error, Limits, SchemaChoice, SchemaPolicy};
use crate::column::{Batch, Field, Mixing, Schema, Type};
use crate::format::ndjson::Keys;
use crate::transform::expr;
use crate::transform::{Known, RESULTS, Step, StepOptions, Steps, bind};

/// Bytes of a sample that are looked at for what steps are checked against. By eye: three hundred
/// records of results, in a millisecond.
const KNOWN_FROM_BYTES: usize = 256 << 10;

/// What is known of the columns before the first record is written: by the schema file, as declared,
/// from a header, from the first records.
pub(super) fn known_columns(limits: &Limits, choice: &SchemaChoice, mixing: Mixing, sample: &[Item]) -> Known {
    let compiled = Compiled::for_schema(limits, choice, mixing);
    let mut schema = choice.law.clone().unwrap_or_default();
    for item in sample {
        match item {
            Item::Morsel(_, info) | Item::SourceEnd(info) if info.csv.is_some() => {
                schema = schema.join(&Compiled::header_columns(info), mixing);
            }
            Item::Morsel(morsel, info) => {
                let seen = compiled.survey(&morsel.beginning(KNOWN_FROM_BYTES), info, false).schema;
                schema = schema.join(&compiled.with_declared_types(seen), mixing);
                break;
            }
            _ => {}
        }
    }
    if mixing == Mixing::Json {
        schema = schema.join(&compiled.declared, mixing);
    }
    if let Some(name) = choice.extra_column.as_ref().filter(|name| schema.position(name).is_none()) {
        schema.fields.push(Field::new(name.clone(), Type::Json));
    }
    let closed = choice.law.is_some() && choice.policy != SchemaPolicy::Evolve;
    Known { schema, complete: closed || mixing == Mixing::Text, mixing, gone: Vec::new() }
}

/// Checks `steps` against the columns of a schema file alone, before anything is downloaded.
pub fn check_steps(steps: &[Step], choice: &SchemaChoice) -> Result<(), Error> {
    let Some(law) = &choice.law else { return Ok(()) };
    let complete = choice.policy != SchemaPolicy::Evolve;
    let known = Known { schema: law.clone(), complete, mixing: Mixing::Json, gone: Vec::new() };
    let mut steps = steps.to_vec();
    bind(&mut steps, known)?;
    if let Some(Step::Sql(query)) = steps.pop()
        && complete
        && query.tables() == [RESULTS]
    {
        let options = StepOptions { typed: true, columns_fixed: true, ..StepOptions::default() };
        let columns = Steps::new(&steps, options).output_schema(law).map_err(|error| Error::Step(error.to_string()))?;
        query.columns(&columns, &[])?;
    }
    Ok(())
}

/// What `steps` would be refused for if there were no other columns than those that a workflow declares. There may be: its
/// input has some, and blocks make some.
pub fn doubt_steps(steps: &[Step], declared: &Schema) -> Option<expr::Error> {
    let known = Known { schema: declared.clone(), complete: false, mixing: Mixing::Json, gone: Vec::new() };
    bind(&mut steps.to_vec(), known).err()
}

/// Names that steps use and that the sample had no column for; each falls when one comes.
#[derive(Debug, Default)]
pub(super) struct Unseen(Vec<(String, AtomicBool)>);

impl Unseen {
    /// These names.
    pub fn new(names: Vec<String>) -> Self {
        Unseen(names.into_iter().map(|name| (name, AtomicBool::new(false))).collect())
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

impl Compiled {
    /// With all columns that are needed, also those that have not come yet: keys that are not of the
    /// schema are then passed over.
    pub fn with_needed(&self, mut schema: Schema) -> Schema {
        if self.mixing == Mixing::Json {
            for name in self.only_columns.iter().flatten() {
                if schema.position(name).is_none() {
                    let ty = if self.keys == Keys::Raw { Type::Raw } else { Type::Null };
                    schema.fields.push(Field::new(name.as_str(), ty));
                }
            }
        }
        schema
    }

    /// Without the columns that nothing needs.
    pub fn only_needed(&self, mut schema: Schema) -> Schema {
        if let Some(names) = &self.only_columns {
            schema.fields.retain(|field| names.iter().any(|name| **name == *field.name));
        }
        schema
    }
}
