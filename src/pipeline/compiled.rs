//! A plan made ready: how records are decoded, which steps run where, what late surprises do.

use std::collections::BTreeSet;
use std::sync::{Arc, RwLock};

use super::buffers::TextBuffers;
use super::encode::Lane;
use super::known::{Unseen, known_columns};
use super::output::Out;
use super::plan::is_sheets;
use super::reader::{Item, SourceInfo};
use super::rejects::RejectList;
use super::turn::Turn;
use super::{Error, Limits, OnBadRecord, Output, Plan, SchemaChoice, SchemaPolicy, Target};
use crate::column::{Field, MAX_COLUMNS, Mixing, Morsel, Schema, Type};
use crate::format::decode::{Extra, Law, OnMisfit, Outcome, RejectedRecord, Rules, Survey};
use crate::format::frame::Framing;
use crate::format::ndjson::{self, DecodeOptions, Keys, SurveyOptions, UnknownKey};
use crate::format::parquet::{self, ColumnPath, EncodedRowGroup, Layout, RowGroupEncoder, SortKey, Workshop};
use crate::format::utf8::{self, Repaired};
use crate::format::{Format, OutputFormat, ParquetOptions};
use crate::position::FieldPath;
use crate::transform::{
    OnBadCast, Step, StepOptions, Steps, bind, columns_needed, keeps_records, needs_places, needs_structs,
};

/// Values of one batch, nulls included. By eye: 64 MiB of string views.
const MAX_BATCH_CELLS: usize = 4 << 20;

/// Why a column of CSV cannot become text late.
pub(super) const SPELLING_LOST: &str = "the spelling of what was written before is not known any more";

/// What all threads of an execution share and nobody changes, but for the schema.
#[derive(Debug)]
pub(super) struct Compiled {
    /// An output has typed columns, so that all rows are decoded to these; else values pass as the text that they are.
    pub typed: bool,
    /// What columns of NDJSON sources hold. CSV columns are typed unless all outputs are CSV.
    pub keys: Keys,
    /// All outputs are CSV: cells pass as they are.
    pub cells_as_text: bool,
    /// The columns that steps and outputs need; the values of others are checked and left out.
    pub only_columns: Option<Vec<String>>,
    /// Steps name these columns, and the sample had none such.
    pub unseen: Unseen,
    /// Rows are counted to a limit, in order.
    pub has_limit: bool,
    pub row_steps: Vec<Step>,
    pub ordered_steps: Vec<Step>,
    /// What the workers make, for each output.
    pub lanes: Vec<Lane>,
    /// Rows are traced back to their records.
    pub needs_places: bool,
    /// Everything can be done anew, with the schema of all records.
    pub may_start_over: bool,
    pub on_bad_cast: OnBadCast,
    pub policy: SchemaPolicy,
    /// An output cannot go back, so that a new column is the end.
    pub columns_fixed: bool,
    /// A typed output cannot go back, so that a wider type is the end.
    pub arrays_fixed: bool,
    /// Somebody may be looking at an output: rows are handed on as soon as they can be.
    pub watched: bool,
    /// Values of a column are typed in a text output: a wider type is the end.
    pub types_fixed: bool,
    pub keep_rejects: bool,
    pub on_bad_record: OnBadRecord,
    pub lossy_utf8: bool,
    pub limits: Limits,
    pub workers: usize,
    /// How many sources must end before the execution may.
    pub n_sources: usize,
    /// What unlike scalars of a column become; the sources are all of one kind.
    pub mixing: Mixing,
    /// Buffers of encoded rows.
    pub text_buffers: TextBuffers,
    /// Columns that were declared; cells of CSV are read as JSON where they are nested.
    pub declared: Schema,
    /// Columns whose types hold; none of them is among the declared.
    pub law: Option<Schema>,
    /// The column for what has no column.
    pub extra_column: Option<Arc<str>>,
    /// Columns of Parquet that a dictionary does not help, as far as row groups have shown.
    plain_columns: RwLock<BTreeSet<Vec<String>>>,
    /// The order that is claimed for the rows.
    sort_hint: Arc<[SortKey]>,
    /// Whose piece the writer is at.
    pub turn: Turn,
    /// Grows in the order of records; the writer publishes it, workers start from it.
    schema: RwLock<Arc<Schema>>,
}

impl Compiled {
    /// Checks that `plan` can be done with columns such as `sample` has, and decides how.
    pub fn new(plan: &Plan, n_sources: usize, mixing: Mixing, sample: &[Item]) -> Result<Self, Error> {
        if plan.outputs.is_empty() {
            return Err(Error::Plan("the plan has no output".into()));
        }
        let streams = plan.outputs.iter().filter(|o| o.target == Target::Stdout).count();
        if streams > 1 {
            return Err(Error::Plan("only one output can go to standard output".into()));
        }
        // Queries know values by their types, and rows that are columns have them.
        let has_query = plan.steps.iter().any(|step| matches!(step, Step::Sql(_)));
        let are_rows = sample.iter().any(|item| matches!(item, Item::Rows(..)));
        let typed = has_query || are_rows || plan.outputs.iter().any(|o| o.format.is_typed());
        let parquet = plan.outputs.iter().any(|o| matches!(o.format, OutputFormat::Parquet(_)));
        if typed && plan.steps.iter().any(|step| step.properties().makes_raw_columns) {
            return Err(Error::Plan("look-up steps need a text output".into()));
        }
        if plan.schema.extra_column.is_some()
            && plan.outputs.iter().any(|o| matches!(o.format, OutputFormat::Ndjson | OutputFormat::JsonArray))
        {
            return Err(Error::Plan(
                "an extra column is for CSV, Parquet and Arrow; JSON keeps every key where it is".into(),
            ));
        }
        let fixed = |o: &&Output| Out::has_fixed_columns(o);
        let has = |wanted: fn(&OutputFormat) -> bool| plan.outputs.iter().any(|o| wanted(&o.format));
        let any_csv = has(|f| matches!(f, OutputFormat::Csv(_)));
        let any_json = has(|f| matches!(f, OutputFormat::Ndjson | OutputFormat::JsonArray));
        let divided =
            plan.outputs.iter().any(|o| matches!(&o.target, Target::Directory(d) if !d.partition_by.is_empty()));
        let mut steps = plan.steps.clone();
        let unseen = match steps.is_empty() {
            true => Vec::new(),
            false => bind(&mut steps, known_columns(&plan.limits, &plan.schema, mixing, sample))?,
        };
        // What has no column is of interest to the extra one; a schema file has types for all of them.
        let all_columns = plan.schema.extra_column.is_some() || plan.schema.law.is_some() && typed;
        let has_limit = steps.iter().any(|step| step.properties().has_limit);
        // One worker sees all rows in order. Text is put in order by the writer, which then takes the
        // steps that need it.
        let in_one_worker = parquet && !Steps::split(&steps).1.is_empty();
        let (row_steps, ordered_steps) = if in_one_worker { (&steps[..], &[][..]) } else { Steps::split(&steps) };
        Ok(Compiled {
            typed,
            keys: match needs_structs(&steps) {
                _ if typed => Keys::Typed,
                None => Keys::Raw,
                Some(false) => Keys::RawInObjects,
                Some(true) => Keys::RawInObjectsAndLists,
            },
            cells_as_text: !typed && any_csv && !any_json,
            only_columns: columns_needed(&steps, !typed && !any_csv && !divided).filter(|_| !all_columns),
            unseen: Unseen::new(unseen),
            has_limit,
            row_steps: row_steps.to_vec(),
            ordered_steps: ordered_steps.to_vec(),
            lanes: plan.outputs.iter().map(lane_of).collect(),
            needs_places: needs_places(&steps),
            may_start_over: false,
            on_bad_cast: plan.on_bad_cast,
            policy: plan.schema.policy,
            columns_fixed: plan.outputs.iter().any(|o| fixed(&o)),
            arrays_fixed: plan.outputs.iter().filter(fixed).any(|o| o.format.is_typed()),
            watched: plan.outputs.iter().any(Out::is_watched),
            types_fixed: any_json,
            keep_rejects: plan.rejects.is_some(),
            on_bad_record: plan.on_bad_record,
            lossy_utf8: plan.lossy_utf8,
            limits: plan.limits.clone(),
            workers: if in_one_worker { 1 } else { workers_of(&plan.limits) },
            n_sources,
            mixing,
            text_buffers: TextBuffers::new(workers_of(&plan.limits) * 4, plan.limits.morsel_bytes * 2),
            declared: declared_beside_law(&plan.schema),
            law: plan.schema.law.clone(),
            extra_column: plan.schema.extra_column.clone(),
            plain_columns: RwLock::default(),
            sort_hint: plan.sort_hint.clone(),
            turn: Turn::default(),
            schema: RwLock::default(),
        })
    }

    /// What it takes to look for a typed schema and nothing else.
    pub fn for_schema(limits: &Limits, choice: &SchemaChoice, mixing: Mixing) -> Self {
        Compiled {
            typed: true,
            keys: Keys::Typed,
            cells_as_text: false,
            only_columns: None,
            unseen: Unseen::default(),
            has_limit: false,
            row_steps: Vec::new(),
            ordered_steps: Vec::new(),
            lanes: Vec::new(),
            needs_places: false,
            may_start_over: false,
            on_bad_cast: OnBadCast::Reject,
            policy: choice.policy,
            columns_fixed: false,
            arrays_fixed: false,
            watched: false,
            types_fixed: false,
            keep_rejects: false,
            on_bad_record: OnBadRecord::Skip,
            lossy_utf8: false,
            limits: limits.clone(),
            workers: workers_of(limits),
            n_sources: 0,
            mixing,
            text_buffers: TextBuffers::new(0, 0),
            declared: declared_beside_law(choice),
            law: choice.law.clone(),
            extra_column: None,
            plain_columns: RwLock::default(),
            sort_hint: Arc::default(),
            turn: Turn::default(),
            schema: RwLock::default(),
        }
    }

    /// What steps have to know.
    pub fn step_options(&self) -> StepOptions {
        StepOptions {
            room: self.limits.room(),
            mixing: self.mixing,
            typed: self.typed,
            columns_fixed: self.columns_fixed,
            on_bad_cast: self.on_bad_cast,
        }
    }

    /// The columns that the steps make of `schema`.
    pub fn columns_after_steps(&self, schema: &Schema, options: StepOptions) -> Result<Schema, Error> {
        Steps::new(&self.row_steps, options.clone())
            .output_schema(schema)
            .and_then(|columns| Steps::new(&self.ordered_steps, options).output_schema(&columns))
            .map_err(|e| Error::Step(e.to_string()))
    }

    /// True if a step makes columns of what is inside values.
    pub fn takes_apart(&self) -> bool {
        self.row_steps.iter().chain(&self.ordered_steps).any(|step| step.properties().opens_objects)
    }

    /// What ends a line of the source in its morsels.
    pub fn line_break(info: &SourceInfo) -> u8 {
        if info.format == Format::JsonArray { Framing::Elements.line_break() } else { b'\n' }
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

    /// The encoder of the next part of a row group, wise from those before it.
    pub fn row_group_encoder(
        &self,
        schema: Schema,
        options: &ParquetOptions,
        shop: Option<Workshop>,
    ) -> Result<RowGroupEncoder, parquet::Error> {
        let plain = self.plain_columns.read().expect("no one panics while holding this");
        let plain: Vec<ColumnPath> = plain.iter().cloned().map(ColumnPath::new).collect();
        let layout = Arc::new(
            Layout::with_plain_columns(Arc::new(schema), options, self.mixing, &plain)?.with_sort_keys(&self.sort_hint),
        );
        match shop {
            Some(shop) => Ok(RowGroupEncoder::again(layout, shop)),
            None => RowGroupEncoder::with_layout(layout),
        }
    }

    /// True if an output takes row groups, for which many morsels go to one worker.
    pub fn has_row_groups(&self) -> bool {
        self.lanes.iter().any(Lane::takes_row_groups)
    }

    /// True if an output takes rows batch by batch.
    pub fn has_rows(&self) -> bool {
        self.lanes.iter().any(|lane| !lane.takes_row_groups())
    }

    /// Fails if an output is to be divided or said to be sorted by a column that is not among `columns`, which come out of
    /// the steps.
    pub fn check_divisions(&self, columns: &Schema) -> Result<(), Error> {
        let divided = self.lanes.iter().flat_map(|lane| lane.partition_by.iter()).map(|name| ("--partition-by", name));
        let sorted = self.sort_hint.iter().map(|key| ("--sort-hint", &key.column));
        for (flag, name) in divided.chain(sorted) {
            if columns.position(name).is_none() {
                let known: Vec<&str> = columns.fields.iter().map(|field| &*field.name).collect();
                let known = if known.is_empty() { "there is none".to_owned() } else { known.join(", ") };
                return Err(Error::Plan(format!("{flag}: there is no column `{name}` ({known})")));
            }
        }
        Ok(())
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

    /// Declared types speak of columns that occur; they do not make any.
    pub fn with_declared_types(&self, mut schema: Schema) -> Schema {
        for declared in &self.declared.fields {
            if let Some(i) = schema.position(&declared.name) {
                schema.fields[i].ty = schema.fields[i].ty.join(&declared.ty, self.mixing);
            }
        }
        schema
    }

    /// The schema to start with after `seen` was seen, declared types joined in: the columns of the
    /// law come first, and alone if nothing may come beside them.
    pub fn under_law(&self, seen: Schema) -> Schema {
        let Some(law) = &self.law else { return seen };
        let columns = match self.carrier() {
            // The values of NDJSON are not looked at for the output's sake.
            _ if self.only_columns.is_some() && self.mixing == Mixing::Json => return seen,
            Some(carrier) => Law::carried_as(&law.fields, &carrier),
            None => law.clone(),
        };
        if self.policy == SchemaPolicy::Evolve { columns.join(&seen, self.mixing) } else { columns }
    }

    /// What every column is carried as, where columns are not typed.
    fn carrier(&self) -> Option<Type> {
        match self.mixing {
            Mixing::Text => self.cells_as_text.then_some(Type::Text),
            Mixing::Json => (self.keys == Keys::Raw).then_some(Type::Raw),
        }
    }

    /// The first column of `schema` in which the law does not hold any more: values fit it one by
    /// one, but its objects have had more keys together than a struct takes.
    pub fn broken_law(&self, schema: &Schema) -> Option<String> {
        let law = self.law.as_ref().filter(|_| self.typed)?;
        let broken = law.fields.iter().find(|field| {
            let now = schema.position(&field.name).map(|i| &schema.fields[i].ty);
            now.is_none_or(|now| !holds(&field.ty, now))
        })?;
        let path = FieldPath::root().field(&broken.name);
        Some(format!(
            "the objects in `{path}` have more keys than a struct takes; the schema file has to say `map` or `json`"
        ))
    }

    /// What holds for records besides the schema.
    fn rules(&self) -> Rules<'_> {
        let law = self.law.as_ref().map(|law| Law {
            fields: &law.fields,
            open: self.policy == SchemaPolicy::Evolve,
            on_misfit: if self.policy == SchemaPolicy::Fail { OnMisfit::Surprise } else { OnMisfit::Reject },
        });
        let fixed = if self.typed { self.arrays_fixed } else { self.columns_fixed };
        let extra = if fixed { Extra::KeysAndMisfits } else { Extra::Keys };
        Rules {
            check_all: law.is_some() && !self.typed,
            law,
            extra: self.extra_column.is_some().then_some(extra),
            spans: self.needs_places,
        }
    }

    /// What the records of a morsel say about the columns. Where these are not typed, only their
    /// names are of interest.
    pub fn survey(&self, morsel: &Morsel, info: &SourceInfo, trace: bool) -> Survey {
        let named = |schema| Survey { schema, ..Survey::default() };
        let repaired = self.repaired(morsel);
        let morsel = repaired.as_ref().map_or(morsel, |repaired| &repaired.morsel);
        let law = self.rules().law;
        match &info.csv {
            Some(csv) if self.cells_as_text => {
                named(Schema::new(csv.header.names.iter().map(|n| Field::new(n.clone(), Type::Text)).collect()))
            }
            Some(csv) => {
                let mut known = self.declared.clone();
                known.fields.extend(self.law.iter().flat_map(|law| law.fields.iter().cloned()));
                csv.decoder.survey(morsel, &known, law, trace)
            }
            None if self.only_columns.is_some() && self.keys == Keys::Raw => named(self.with_needed(Schema::default())),
            None => {
                let max_record_bytes = self.limits.max_record_bytes;
                let options = SurveyOptions { keys: self.keys, max_record_bytes, law, trace };
                let survey = ndjson::survey(morsel, &options);
                Survey { schema: self.only_needed(survey.schema), ..survey }
            }
        }
    }

    /// The morsel to be taken instead, if the plan wants text at any price and this one is not.
    pub fn repaired(&self, morsel: &Morsel) -> Option<Repaired> {
        if self.lossy_utf8 { utf8::repair(morsel) } else { None }
    }

    /// Decodes one morsel into columns of `schema`.
    pub fn decode(&self, morsel: &Morsel, info: &SourceInfo, schema: &Arc<Schema>) -> Outcome {
        let freeze = self.policy == SchemaPolicy::Freeze;
        if let Some(csv) = &info.csv {
            let on_misfit = if freeze { OnMisfit::Reject } else { OnMisfit::Surprise };
            return csv.decoder.decode_under(morsel, schema, on_misfit, &self.rules());
        }
        let options = DecodeOptions {
            unknown_key: if self.only_columns.is_some() { UnknownKey::Skip } else { UnknownKey::Surprise },
            new_columns: self.keys,
            freeze,
            max_record_bytes: self.limits.max_record_bytes,
            max_cells: MAX_BATCH_CELLS,
            record_spans: self.copies_records() || self.needs_places,
        };
        let mut outcome = ndjson::decode_under(morsel, schema, &options, &self.rules());
        if info.format == Format::JsonArray {
            count_lines_of_array(morsel, &mut outcome);
        }
        outcome
    }

    /// The rejects of one morsel, and of no more of them than it takes to end the execution.
    pub fn reject_list(&self, rejects: Vec<RejectedRecord>, morsel: &Morsel, info: &SourceInfo) -> RejectList {
        let enough = match self.on_bad_record {
            OnBadRecord::Fail => 1,
            OnBadRecord::Limit(limit) => usize::try_from(limit).map_or(usize::MAX, |limit| limit.saturating_add(1)),
            OnBadRecord::Skip => usize::MAX,
        };
        let is_array = info.format == Format::JsonArray;
        let framing = if is_array { Framing::Elements } else { Framing::Lines };
        let mut list = RejectList::new(framing.line_break());
        for mut rejected in rejects.into_iter().take(enough) {
            let mut raw = &morsel.records()[rejected.byte..rejected.byte + rejected.len];
            if is_array {
                // What follows an element are the blanks before the next comma or bracket.
                raw = raw.trim_ascii_end();
                rejected.len = raw.len();
            }
            list.push(rejected, self.keep_rejects.then_some(raw));
        }
        list
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
        if let Some(broken) = self.broken_law(new) {
            return Some(broken);
        }
        let same_arrays = || !new_columns && old.to_arrow() == new.to_arrow();
        if self.columns_fixed && new_columns || self.arrays_fixed && !same_arrays() {
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
        if self.mixing == Mixing::Text && self.types_fixed && !self.typed {
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

    /// What is known of the columns from one item.
    pub fn seen_in_item(&self, item: &Item) -> Schema {
        self.with_declared_types(match item {
            Item::Morsel(morsel, info) => self.survey(morsel, info, false).schema,
            Item::Rows(batch, _) => (*batch.schema).clone(),
            Item::SourceEnd(info) => Compiled::header_columns(info),
            Item::Oversized(..) => Schema::default(),
        })
    }

    /// The schema with which decoding starts after `seen` was seen.
    pub fn initial_schema(&self, seen: Schema) -> Result<Schema, Error> {
        let mut schema = self.with_needed(self.under_law(seen));
        if schema.fields.len() > MAX_COLUMNS {
            let what = format!("more than {MAX_COLUMNS} columns: the keys of the records look like data");
            return Err(Error::Plan(what));
        }
        if let Some(broken) = self.broken_law(&schema) {
            return Err(Error::Plan(broken));
        }
        schema = self.as_written(schema);
        if let Some(name) = &self.extra_column {
            if schema.position(name).is_some() {
                let what = format!("the input has a column `{name}`; the extra column needs a name of its own");
                return Err(Error::Plan(what));
            }
            schema.fields.push(Field::new(name.clone(), Type::Json));
        }
        Ok(schema)
    }

    /// True if the header of a source may bring columns that nobody knew.
    pub fn takes_header_columns(&self) -> bool {
        self.extra_column.is_none() && self.policy == SchemaPolicy::Evolve
    }

    /// What the declared types turned out to be worth, for the report.
    pub fn notes_on_declared(&self, schema: &Schema) -> Vec<String> {
        if self.carrier().is_some() {
            return Vec::new();
        }
        let note = |declared: &Field| {
            let ty = &schema.fields[schema.position(&declared.name)?].ty;
            (declared.ty.join(ty, self.mixing) != declared.ty && declared.ty.outline() != ty.outline()).then(|| {
                let name = FieldPath::root().field(&declared.name);
                let (said, is) = (declared.ty.outline(), ty.outline());
                format!("column `{name}` is declared as {said}, but its values make it {is}")
            })
        };
        self.declared.fields.iter().filter_map(note).collect()
    }

    /// True when there is a sink that copies records of NDJSON sources, if no step changes them.
    pub fn copies_records(&self) -> bool {
        keeps_records(&self.row_steps)
            && keeps_records(&self.ordered_steps)
            && self.lanes.iter().any(|lane| matches!(lane.format, OutputFormat::Ndjson | OutputFormat::JsonArray))
    }
}

/// An output as workers see it.
fn lane_of(output: &Output) -> Lane {
    // Files of few rows or bytes are put together from parts that are smaller still.
    let unit =
        |most: Option<u64>| most.map_or(usize::MAX, |most| usize::try_from(most / 8).unwrap_or(usize::MAX).max(1));
    let (partition_by, rows, bytes) = match &output.target {
        Target::Directory(directory) => {
            (directory.partition_by.clone(), directory.max_file_rows, directory.max_file_bytes)
        }
        _ => (Arc::default(), None, None),
    };
    Lane {
        format: output.format,
        compression: output.compression,
        in_parts: matches!(output.target, Target::Directory(_)) || is_sheets(output),
        partition_by,
        unit_rows: unit(rows),
        unit_bytes: unit(bytes),
    }
}

/// Puts the lines of the source where the decoder has counted elements.
fn count_lines_of_array(morsel: &Morsel, outcome: &mut Outcome) {
    let (mut lines, mut counted_to) = (0, 0);
    let mut lines_to = |byte: usize| {
        let line_break = Framing::Elements.line_break();
        lines += memchr::memchr_iter(line_break, &morsel.records()[counted_to..byte]).count() as u64;
        counted_to = byte;
        lines
    };
    match outcome {
        Outcome::Surprise(surprise) => surprise.line = lines_to(surprise.byte),
        Outcome::Decoded(decoded) => {
            for rejected in &mut decoded.rejects {
                rejected.line = lines_to(rejected.byte);
            }
            decoded.lines = lines_to(decoded.consumed);
        }
    }
}

/// True if `now` is what the law makes of `law` after keys and values came that it leaves open.
fn holds(law: &Type, now: &Type) -> bool {
    match (law, now) {
        (Type::Null, _) | (Type::Int { .. }, Type::Int { .. }) => true,
        (Type::Struct(law), Type::Struct(now)) => {
            law.iter().all(|l| now.iter().find(|n| n.name == l.name).is_some_and(|n| holds(&l.ty, &n.ty)))
        }
        (Type::List(law), Type::List(now)) | (Type::Map(law), Type::Map(now)) => holds(law, now),
        _ => law == now,
    }
}

fn declared_beside_law(choice: &SchemaChoice) -> Schema {
    let mut declared = choice.declared.clone().unwrap_or_default();
    if let Some(law) = &choice.law {
        declared.fields.retain(|field| law.position(&field.name).is_none());
    }
    declared
}

/// Compute threads under `limits`.
pub(super) fn workers_of(limits: &Limits) -> usize {
    match limits.workers {
        0 => std::thread::available_parallelism().map_or(2, usize::from),
        n => n,
    }
}
