//! A plan made ready: how records are decoded, which steps run where, what late surprises do.

use std::collections::BTreeSet;
use std::sync::{Arc, RwLock};

use super::reader::{Item, SourceInfo};
use super::{Error, Limits, OnBadRecord, Plan, SchemaPolicy, Target};
use crate::column::{Field, MAX_COLUMNS, Mixing, Morsel, Schema, Type};
use crate::format::decode::{OnMisfit, Outcome};
use crate::format::ndjson::{self, DecodeOptions, Keys, UnknownKey};
use crate::format::parquet::{self, ColumnPath, EncodedRowGroup, Layout, RowGroupEncoder};
use crate::format::{Format, OutputFormat, ParquetOptions};
use crate::transform::{Step, Steps};

/// Values of one batch, nulls included. By eye: 64 MiB of string views.
const MAX_BATCH_CELLS: usize = 4 << 20;

/// Why a column of CSV cannot become text late.
pub(super) const SPELLING_LOST: &str = "the spelling of what was written before is not known any more";

/// What the records become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Row groups of one Parquet file.
    Parquet(ParquetOptions),
    /// Bytes of one or more text outputs.
    Text,
}

/// What all threads of an execution share and nobody changes, but for the schema.
#[derive(Debug)]
pub(super) struct Compiled {
    pub shape: Shape,
    /// What columns of NDJSON sources hold. CSV columns are typed unless all outputs are CSV.
    pub keys: Keys,
    /// All outputs are CSV: cells pass as they are.
    pub cells_as_text: bool,
    /// Columns are needed only to choose rows by: records are copied.
    pub only_columns: Option<Vec<String>>,
    pub row_steps: Vec<Step>,
    pub ordered_steps: Vec<Step>,
    pub formats: Vec<(OutputFormat, crate::format::Compression)>,
    pub policy: SchemaPolicy,
    /// An output cannot go back, so that a new CSV column is the end.
    pub columns_fixed: bool,
    /// Values of a column are typed in a text output: a wider type is the end.
    pub types_fixed: bool,
    pub keep_rejects: bool,
    pub on_bad_record: OnBadRecord,
    pub limits: Limits,
    pub workers: usize,
    /// How many sources must end before the execution may.
    pub n_sources: usize,
    /// What unlike scalars of a column become; the sources are all of one kind.
    pub mixing: Mixing,
    /// Columns that were declared; cells of CSV are read as JSON where they are nested.
    pub declared: Schema,
    /// Columns of Parquet that a dictionary does not help, as far as row groups have shown.
    plain_columns: RwLock<BTreeSet<Vec<String>>>,
    /// Grows in the order of records; the writer publishes it, workers start from it.
    schema: RwLock<Arc<Schema>>,
}

impl Compiled {
    /// Checks that `plan` can be done and decides how.
    pub fn new(plan: &Plan, n_sources: usize, columns_fixed: bool, mixing: Mixing) -> Result<Self, Error> {
        if plan.outputs.is_empty() {
            return Err(Error::Plan("the plan has no output".into()));
        }
        let streams = plan.outputs.iter().filter(|o| o.target == Target::Stdout).count();
        if streams > 1 {
            return Err(Error::Plan("only one output can go to standard output".into()));
        }
        let parquet = plan.outputs.iter().find_map(|o| match o.format {
            OutputFormat::Parquet(options) => Some(options),
            _ => None,
        });
        let shape = match parquet {
            Some(_) if plan.outputs.len() > 1 => {
                return Err(Error::Plan("a Parquet output cannot be combined with another output in one pass".into()));
            }
            Some(_) if plan.steps.iter().any(|s| matches!(s, Step::Lookup(_) | Step::Deduplicate(_))) => {
                return Err(Error::Plan("look-up and deduplicate steps need a text output".into()));
            }
            Some(options) => Shape::Parquet(options),
            None => Shape::Text,
        };
        let has = |wanted: fn(&OutputFormat) -> bool| plan.outputs.iter().any(|o| wanted(&o.format));
        let any_csv = has(|f| matches!(f, OutputFormat::Csv(_)));
        let any_json = has(|f| matches!(f, OutputFormat::Ndjson | OutputFormat::JsonArray));
        let (row_steps, ordered_steps) = Steps::split(&plan.steps);
        let only_columns = match Steps::columns_looked_at(&plan.steps) {
            Some(names) if shape == Shape::Text && !any_csv => Some(names.into_iter().map(str::to_owned).collect()),
            _ => None,
        };
        Ok(Compiled {
            shape,
            keys: if shape == Shape::Text { Keys::Raw } else { Keys::Typed },
            cells_as_text: shape == Shape::Text && any_csv && !any_json,
            only_columns,
            row_steps: row_steps.to_vec(),
            ordered_steps: ordered_steps.to_vec(),
            formats: plan.outputs.iter().map(|o| (o.format, o.compression)).collect(),
            policy: plan.schema.policy,
            columns_fixed: columns_fixed && (any_csv || parquet.is_some()),
            types_fixed: shape == Shape::Text && any_json,
            keep_rejects: plan.rejects.is_some(),
            on_bad_record: plan.on_bad_record,
            limits: plan.limits.clone(),
            workers: workers_of(&plan.limits),
            n_sources,
            mixing,
            declared: plan.schema.declared.clone().unwrap_or_default(),
            plain_columns: RwLock::default(),
            schema: RwLock::default(),
        })
    }

    /// What it takes to look for a typed schema and nothing else.
    pub fn for_schema(limits: &Limits, mixing: Mixing) -> Self {
        Compiled {
            shape: Shape::Parquet(ParquetOptions::default()),
            keys: Keys::Typed,
            cells_as_text: false,
            only_columns: None,
            row_steps: Vec::new(),
            ordered_steps: Vec::new(),
            formats: Vec::new(),
            policy: SchemaPolicy::Evolve,
            columns_fixed: false,
            types_fixed: false,
            keep_rejects: false,
            on_bad_record: OnBadRecord::Skip,
            limits: limits.clone(),
            workers: workers_of(limits),
            n_sources: 0,
            mixing,
            declared: Schema::default(),
            plain_columns: RwLock::default(),
            schema: RwLock::default(),
        }
    }

    /// The schema that a worker starts its next group with.
    pub fn schema(&self) -> Arc<Schema> {
        self.schema.read().expect("no one panics while holding this").clone()
    }

    /// Makes a wider schema known. Called by the writer only, in the order of records, so the
    /// order of columns is that of first sight whatever the workers do.
    pub fn publish(&self, schema: Arc<Schema>) {
        *self.schema.write().expect("no one panics while holding this") = schema;
    }

    /// The encoder of the next row group, wise from those before it.
    pub fn row_group_encoder(
        &self,
        schema: Schema,
        options: &ParquetOptions,
    ) -> Result<RowGroupEncoder, parquet::Error> {
        let plain = self.plain_columns.read().expect("no one panics while holding this");
        let plain: Vec<ColumnPath> = plain.iter().cloned().map(ColumnPath::new).collect();
        let layout = Layout::with_plain_columns(Arc::new(schema), options, self.mixing, &plain)?;
        RowGroupEncoder::with_layout(Arc::new(layout))
    }

    /// Remembers what a row group has shown. Which group knows of which depends on the threads,
    /// so the encoding of a file may differ from run to run; its values do not.
    pub fn learn_from(&self, group: &EncodedRowGroup) {
        let outgrown = group.outgrown_dictionaries();
        if !outgrown.is_empty() {
            let mut plain = self.plain_columns.write().expect("no one panics while holding this");
            plain.extend(outgrown.into_iter().map(|path| path.parts().to_vec()));
        }
    }

    /// The schema of the good records of one morsel, declared types joined in.
    pub fn infer(&self, morsel: &Morsel, info: &SourceInfo) -> Schema {
        self.with_declared_types(self.seen_in(morsel, info))
    }

    /// Declared types speak of columns that occur; they do not make any.
    pub fn with_declared_types(&self, mut schema: Schema) -> Schema {
        for declared in &self.declared.fields {
            if let Some(i) = schema.position(&declared.name) {
                schema.fields[i].ty = schema.fields[i].ty.join(&declared.ty, self.mixing);
            }
        }
        schema
    }

    fn seen_in(&self, morsel: &Morsel, info: &SourceInfo) -> Schema {
        match &info.csv {
            Some(csv) if self.cells_as_text => {
                Schema::new(csv.header.names.iter().map(|n| Field::new(n.clone(), Type::Text)).collect())
            }
            Some(csv) => csv.decoder.infer(morsel, &self.declared),
            None => match &self.only_columns {
                Some(names) => Schema::new(names.iter().map(|n| Field::new(n.as_str(), Type::Raw)).collect()),
                None => ndjson::infer(morsel, self.keys, self.limits.max_record_bytes),
            },
        }
    }

    /// Decodes one morsel into columns of `schema`.
    pub fn decode(&self, morsel: &Morsel, info: &SourceInfo, schema: &Arc<Schema>) -> Outcome {
        let freeze = self.policy == SchemaPolicy::Freeze;
        if let Some(csv) = &info.csv {
            let on_misfit = if freeze { OnMisfit::Reject } else { OnMisfit::Surprise };
            return csv.decoder.decode(morsel, schema, on_misfit);
        }
        let options = DecodeOptions {
            unknown_key: if self.only_columns.is_some() { UnknownKey::Skip } else { UnknownKey::Surprise },
            new_columns: self.keys,
            freeze,
            max_record_bytes: self.limits.max_record_bytes,
            max_cells: MAX_BATCH_CELLS,
            record_spans: self.copies_records(),
        };
        ndjson::decode(morsel, schema, &options)
    }

    /// Whether a surprise ends the execution, and why.
    pub fn forbids(&self, info: &SourceInfo, old: &Schema, new: &Schema) -> Option<String> {
        if new.fields.len() > MAX_COLUMNS {
            return Some(format!("more than {MAX_COLUMNS} columns"));
        }
        let new_columns = new.fields.len() > old.fields.len();
        if self.policy == SchemaPolicy::Fail {
            return Some("the schema changed, and the schema policy is `fail`".into());
        }
        let same_arrays = || !new_columns && old.to_arrow() == new.to_arrow();
        if self.columns_fixed && (new_columns || self.shape != Shape::Text && !same_arrays()) {
            return Some("the output cannot go back to change its columns".into());
        }
        if info.format != Format::Csv {
            return None;
        }
        if self.types_fixed {
            return Some("values of this column were written with a narrower type".into());
        }
        self.loses_spelling(old, new).then(|| SPELLING_LOST.into())
    }

    /// True when a column of CSV becomes text that was something whose values do not tell how their
    /// cells were spelled: `1` or `1.0`, `True` or `true`, blanks in a list. What was written so far
    /// cannot become the text that it was.
    pub fn loses_spelling(&self, old: &Schema, new: &Schema) -> bool {
        if self.mixing != Mixing::Text || self.cells_as_text {
            return false;
        }
        let respelled = |t: &Type| {
            matches!(t, Type::Float | Type::Bool | Type::Struct(_) | Type::List(_) | Type::Map(_) | Type::Json)
        };
        let lost = |o: &Field| new.position(&o.name).is_some_and(|i| new.fields[i].ty == Type::Text);
        old.fields.iter().any(|o| respelled(&o.ty) && lost(o))
    }

    /// The schema with which rows of CSV are decoded for this plan's outputs. In a text output a
    /// number keeps the digits of its cell, so doubles pass as the JSON text that they are.
    pub fn as_written(&self, mut schema: Schema) -> Schema {
        if self.mixing == Mixing::Text && self.types_fixed {
            for field in &mut schema.fields {
                if field.ty == Type::Float {
                    field.ty = Type::Json;
                }
            }
        }
        schema
    }

    /// The columns that the header of a CSV source names, of no type yet.
    pub fn header_columns(info: &SourceInfo) -> Schema {
        let names = info.csv.iter().flat_map(|csv| csv.header.names.iter());
        Schema::new(names.map(|name| Field::new(name.clone(), Type::Null)).collect())
    }

    /// What is known of the columns from one item of a sample.
    pub fn seen_in_item(&self, item: &Item) -> Schema {
        match item {
            Item::Morsel(morsel, info) => self.infer(morsel, info),
            Item::SourceEnd(info) => self.with_declared_types(Compiled::header_columns(info)),
            Item::Oversized(..) => Schema::default(),
        }
    }

    /// True when there is a sink that copies records of NDJSON sources, if no step changes them.
    fn copies_records(&self) -> bool {
        self.shape == Shape::Text
            && self.formats.iter().any(|(f, _)| matches!(f, OutputFormat::Ndjson | OutputFormat::JsonArray))
    }
}

/// Compute threads under `limits`.
pub(super) fn workers_of(limits: &Limits) -> usize {
    match limits.workers {
        0 => std::thread::available_parallelism().map_or(2, usize::from),
        n => n,
    }
}
