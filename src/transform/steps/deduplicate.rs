//! `deduplicate`, or `dedupe`: keeps the first row of each distinct key. Exact for any number of keys: beyond its
//! memory ([`crate::transform::SpillBudget`]) it spills keys to disk.

use std::sync::Arc;

use arrow_array::BooleanArray;

use crate::column::{Batch, Schema};
use crate::transform::binding::Binding;
use crate::transform::cell::Cell;
use crate::transform::describe::{StepMemory, StepText};
use crate::transform::distinct::Distinct;
use crate::transform::error::Error;
use crate::transform::expr::{self, Path, parse_names};
use crate::transform::key::KeyWriter;
use crate::transform::kind::{ArgumentForm, Properties, RunningStep, StepKind, WrittenStep};
use crate::transform::needed::Needed;
use crate::transform::options::StepOptions;
use crate::transform::row_tracker::RowTracker;

/// Parameters of `deduplicate`: the key columns.
#[derive(Clone, Debug)]
pub struct Deduplicate {
    /// Key columns; empty for all columns.
    columns: Vec<Path>,
    /// Text as written, for messages. `None` if the columns were given by name: then they may appear in later records.
    text: Option<Arc<str>>,
}

impl Deduplicate {
    /// Deduplicates by the columns `names`, or by all columns if there are none. A missing column counts as null.
    pub fn by_names(names: impl IntoIterator<Item = String>) -> Self {
        Deduplicate { columns: names.into_iter().map(Path::column).collect(), text: None }
    }

    /// Parses column names, or `*` for all columns.
    pub fn parse(text: &str) -> Result<Self, expr::Error> {
        let columns = if text.trim() == "*" { Vec::new() } else { parse_names(text)? };
        Ok(Deduplicate { columns, text: Some(text.into()) })
    }
}

impl WrittenStep for Deduplicate {
    const WORD: &'static str = "dedupe";
    const FORM: ArgumentForm = ArgumentForm::Names;

    fn parse(text: &str, _: u64) -> Result<Vec<Self>, expr::Error> {
        Deduplicate::parse(text).map(|step| vec![step])
    }
}

impl StepKind for Deduplicate {
    type Running = Running;

    fn describe(&self) -> StepText {
        let names = || self.columns.iter().map(|path| &*path.column).collect::<Vec<_>>().join(",");
        let text = self.text.as_ref().map_or_else(names, |text| text.to_string());
        StepText::new(Self::WORD, text).with_memory(StepMemory::Remembers)
    }

    fn properties(&self) -> Properties {
        Properties { keeps_records: true, needs_order: true, remembers: true, ..Properties::default() }
    }

    fn bind(&mut self, columns: &mut Binding) -> Result<(), expr::Error> {
        let Some(text) = &self.text else { return Ok(()) };
        self.columns.iter_mut().try_for_each(|path| columns.resolve_whole(path, text, "deduplicate by"))
    }

    fn add_needed(&self, needed: &mut Needed) {
        if self.columns.is_empty() {
            *needed = Needed::All;
        }
        needed.add(self.columns.iter().map(|path| &*path.column));
    }

    fn add_looked_at(&self, looked_at: &mut Needed) {
        self.add_needed(looked_at);
    }

    fn start(&self, options: &StepOptions) -> Running {
        let columns = self.columns.iter().map(|path| path.column.clone()).collect();
        Running { columns, seen_keys: Distinct::new(options.spill_budget.clone()) }
    }
}

/// A running deduplication, with the keys seen so far.
#[derive(Debug)]
pub(crate) struct Running {
    columns: Vec<Arc<str>>,
    seen_keys: Distinct,
}

impl RunningStep for Running {
    fn output_schema(&self, schema: Schema, _: &StepOptions) -> Result<Schema, Error> {
        Ok(schema)
    }

    fn apply(&mut self, batch: Batch, rows: &mut RowTracker<'_>, _: &StepOptions) -> Result<Batch, Error> {
        let keep = first_of_each(&batch, &self.columns, &mut self.seen_keys).map_err(Error::Spill)?;
        rows.keep(batch, &keep)
    }
}

/// Returns the mask of the rows whose key over `columns`, or over all columns if empty, is new.
fn first_of_each(batch: &Batch, columns: &[Arc<str>], seen_keys: &mut Distinct) -> std::io::Result<BooleanArray> {
    let indices: Vec<Option<usize>> = if columns.is_empty() {
        // Sorted by name, so that a row's key does not change when a late column moves the others.
        let mut all: Vec<usize> = (0..batch.columns.len()).collect();
        all.sort_by(|&a, &b| batch.schema.fields[a].name.cmp(&batch.schema.fields[b].name));
        all.into_iter().map(Some).collect()
    } else {
        columns.iter().map(|name| batch.schema.position(name)).collect()
    };
    let mut writer = KeyWriter::default();
    let mut key_of = |row: usize| {
        for index in &indices {
            let cell = |i: usize| {
                let (values, ty) = batch.seen(i);
                Cell::at(values, ty, row)
            };
            match index {
                Some(i) if columns.is_empty() => writer.member(&batch.schema.fields[*i].name, &cell(*i)),
                // A column that appears only in later rows is null here.
                index => writer.value(&index.map_or(Cell::Null, cell)),
            }
        }
        writer.finish()
    };
    let keys: Vec<_> = (0..batch.rows).map(&mut key_of).collect();
    Ok(BooleanArray::from(seen_keys.insert(&keys)?))
}
