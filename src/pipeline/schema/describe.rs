//! The schema of sources with the origin of each type, and the record that last widened it. Reads records and keeps
//! none; knows no steps and no outputs.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::infer::infer_in_order;
use super::rules::SchemaRules;
use crate::column::{Field, Schema, Type};
use crate::format::Reject;
use crate::format::decode::InferredColumns;
use crate::format::frame::BufferPool;
use crate::pipeline::cell_kinds::{ColumnKinds, TextColumn};
use crate::pipeline::error::Error;
use crate::pipeline::input::{
    Item, SourceInfo, SourceReader, first_records, reopen, source_columns, take_sample_on_thread,
};
use crate::pipeline::plan::{Limits, SchemaFrom, SchemaSource};
use crate::pipeline::progress::Control;
use crate::position::{FieldPath, Position};
use crate::source::Source;

/// The origin of a field's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypeFrom {
    /// An explicit schema.
    SchemaFile,
    /// A declared type of a workflow.
    Workflow,
    /// The header of a CSV source: the column has a name and no value yet.
    Header,
    /// The values of the first records.
    Sample,
    /// The values of all records.
    Full,
}

/// The record that set the current type of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetBy {
    /// The position of the record.
    pub position: Position,
    /// The outline of the field's type before that record; `None` if the record introduced the field.
    pub before: Option<String>,
}

/// A schema and the origins of its types.
#[derive(Clone, Debug, Default)]
pub struct DescribedSchema {
    /// The columns, merged from all origins.
    pub schema: Schema,
    /// Records that were read, bad ones included.
    pub records: u64,
    /// Valid records that do not fit the enforced schema.
    pub misfits: u64,
    /// The first of the misfits and its reason; `None` without misfits.
    pub first_misfit: Option<(Position, Reject)>,
    /// Sentences for the user on the headers of CSV sources.
    pub notes: Vec<String>,
    /// See [`Report::other_delimiter`](crate::pipeline::Report::other_delimiter).
    pub other_delimiter: Option<u8>,
    /// See [`Report::text_columns`](crate::pipeline::Report::text_columns).
    pub text_columns: Vec<TextColumn>,
    origins: HashMap<String, (TypeFrom, Option<SetBy>)>,
}

/// The notes on the headers of CSV sources, each source once.
#[derive(Debug, Default)]
pub(crate) struct HeaderNotes {
    /// Notes in the order of the sources.
    pub notes: Vec<String>,
    /// See [`Report::other_delimiter`](crate::pipeline::Report::other_delimiter).
    pub other_delimiter: Option<u8>,
    /// Index of the last source; items are in the order of the sources.
    last: Option<usize>,
}

impl HeaderNotes {
    /// Adds the notes of an item's source, unless it is that of the item before.
    pub(crate) fn take(&mut self, info: &SourceInfo) {
        if self.last.replace(info.index) != Some(info.index) {
            self.notes.extend(info.header_notes());
            let csv = info.csv.as_ref();
            self.other_delimiter = self.other_delimiter.or(csv.and_then(|csv| csv.other_delimiter));
        }
    }
}

impl DescribedSchema {
    /// Returns the origin of the type of the field at `path` in [`DescribedSchema::schema`], nested fields
    /// included: [`FieldPath::elements`] addresses the elements of a list and [`FieldPath::values`] the values of a
    /// map. `None` if there is no such field.
    pub fn origin(&self, path: &FieldPath) -> Option<(TypeFrom, Option<&SetBy>)> {
        self.origins.get(path.as_str()).map(|(from, set_by)| (*from, set_by.as_ref()))
    }

    /// Returns every field with its path, the fields of a struct after the struct.
    pub fn fields(&self) -> Vec<(FieldPath, &Type)> {
        fn walk<'a>(fields: &'a [Field], within: &FieldPath, out: &mut Vec<(FieldPath, &'a Type)>) {
            for field in fields {
                let path = within.field(&field.name);
                out.push((path.clone(), &field.ty));
                walk(field.ty.inner_fields(), &inner_path(&path, &field.ty), out);
            }
        }
        let mut out = Vec::new();
        walk(&self.schema.fields, &FieldPath::root(), &mut out);
        out
    }
}

/// Returns the path of the struct inside type `ty`, through all lists and maps around it.
fn inner_path(path: &FieldPath, ty: &Type) -> FieldPath {
    match ty {
        Type::List(item) => inner_path(&path.elements(), item),
        Type::Map(value) => inner_path(&path.values(), value),
        _ => path.clone(),
    }
}

/// Infers the typed schema of `sources` under `choice`: from a sample of their first records, or from all records
/// for [`SchemaFrom::Full`], which needs files. Blocks; bad records are skipped.
///
/// # Examples
///
/// ```
/// use drawoff::pipeline::{Control, Limits, SchemaSource, describe_schema};
/// use drawoff::source::Source;
///
/// let records = "{\"id\":1,\"hq\":{\"city\":\"Oslo\"}}\n{\"id\":2.5,\"hq\":null}\n";
/// let sources = vec![Source::reader("records.ndjson", records.as_bytes())];
/// let described = describe_schema(sources, &SchemaSource::default(), &Limits::default(), &Control::new())?;
/// let columns: Vec<String> = described.schema.fields.iter().map(|f| format!("{}: {}", f.name, f.ty)).collect();
/// assert_eq!(columns, ["id: float", "hq: struct<city: text>"]);
/// # Ok::<(), drawoff::pipeline::Error>(())
/// ```
pub fn describe_schema(
    sources: Vec<Source>,
    choice: &SchemaSource,
    limits: &Limits,
    control: &Control,
) -> Result<DescribedSchema, Error> {
    let full = choice.from == SchemaFrom::Full;
    let source_columns = source_columns(&sources);
    let reread: Vec<Source> = if full { sources.iter().map(reopen).collect() } else { Vec::new() };
    // A full pass reads the sample again, which must not count twice.
    let counted = if full { control.without_counters() } else { control.clone() };
    let reader = SourceReader::new(sources, limits, false, BufferPool::new(limits.morsel_bytes, 1), &counted);
    let (reader, sample) = take_sample_on_thread(reader, limits.sample_bytes, false, control)?;
    let rules = SchemaRules::for_schema(choice, reader.type_merge(), limits).with_source_columns(source_columns);
    let mut tracker = OriginTracker::new(&rules, control);
    if full {
        infer_in_order(reread, limits, control, |item| infer_item(&rules, item), |seen| tracker.take(seen))?;
    } else {
        let sample = first_records(&sample, limits.sample_bytes);
        sample.iter().for_each(|item| tracker.take(infer_item(&rules, item)));
    }
    tracker.finish(if full { TypeFrom::Full } else { TypeFrom::Sample })
}

/// The inferred columns of one item.
enum InferredItem {
    Morsel {
        info: Arc<SourceInfo>,
        byte_offset: u64,
        inferred: InferredColumns,
    },
    Oversized {
        info: Arc<SourceInfo>,
        lines: u64,
    },
    SourceEnd(Arc<SourceInfo>),
    /// The columns of rows that have types already, and the number of the rows.
    Rows {
        info: Arc<SourceInfo>,
        columns: Arc<Schema>,
        rows: u64,
    },
}

fn infer_item(rules: &SchemaRules, item: &Item) -> InferredItem {
    match item {
        Item::Morsel(morsel, info) => InferredItem::Morsel {
            info: info.clone(),
            byte_offset: morsel.byte_offset,
            inferred: rules.infer_columns(morsel, info, true),
        },
        Item::Oversized(oversized, info) => InferredItem::Oversized { info: info.clone(), lines: oversized.lines },
        Item::SourceEnd(info) => InferredItem::SourceEnd(info.clone()),
        Item::Rows(batch, info) => {
            InferredItem::Rows { info: info.clone(), columns: batch.schema.clone(), rows: batch.rows as u64 }
        }
    }
}

/// Joins the columns of all items in order, and records the origin of each change.
struct OriginTracker<'a> {
    rules: &'a SchemaRules,
    control: &'a Control,
    /// The join of all types of values.
    seen: Schema,
    /// `seen`, merged with the declared types and the enforced schema.
    shown: Schema,
    set_by: HashMap<String, SetBy>,
    /// Lines and records of each source before its next morsel.
    starts: BTreeMap<usize, (u64, u64)>,
    records: u64,
    misfits: u64,
    first_misfit: Option<(Position, Reject)>,
    headers: HeaderNotes,
    cell_kinds: ColumnKinds,
}

impl<'a> OriginTracker<'a> {
    fn new(rules: &'a SchemaRules, control: &'a Control) -> Self {
        OriginTracker {
            rules,
            control,
            seen: Schema::default(),
            shown: rules.under_contract(Schema::default()),
            set_by: HashMap::new(),
            starts: BTreeMap::new(),
            records: 0,
            misfits: 0,
            first_misfit: None,
            headers: HeaderNotes::default(),
            cell_kinds: ColumnKinds::default(),
        }
    }

    fn take(&mut self, item: InferredItem) {
        if let InferredItem::Morsel { info, .. } | InferredItem::SourceEnd(info) = &item {
            self.headers.take(info);
        }
        match item {
            InferredItem::Morsel { info, byte_offset, inferred } => self.morsel(&info, byte_offset, inferred),
            InferredItem::Oversized { info, lines } => {
                self.advance(&info, lines, 1);
            }
            InferredItem::SourceEnd(info) => self.join(&info.header_columns()),
            InferredItem::Rows { info, columns, rows } => {
                self.advance(&info, 0, rows);
                self.join(&columns);
            }
        }
    }

    fn morsel(&mut self, info: &SourceInfo, byte_offset: u64, inferred: InferredColumns) {
        let (lines, records) = self.advance(info, inferred.lines, inferred.records);
        let position = |byte: usize, line: u64, record: u64| Position {
            source: info.name.clone(),
            byte: byte_offset + byte as u64,
            line: lines + line + 1,
            record: records + record,
        };
        // The header names the columns before any value, so that they keep its order.
        self.join(&info.header_columns());
        // Most morsels bring nothing new: their widenings, one schema each, need not be joined.
        if self.seen.join(&inferred.schema, self.rules.type_merge) != self.seen {
            for widening in &inferred.widenings {
                let before = std::mem::take(&mut self.shown);
                self.join(&widening.schema);
                let at = position(widening.byte, widening.line, widening.record);
                note_changes(&before.fields, &self.shown.fields, &FieldPath::root(), &at, &mut self.set_by);
            }
        }
        self.cell_kinds.add(inferred.cell_kinds, |cell| position(cell.byte, cell.line, 0));
        self.misfits += inferred.misfits;
        if let (None, Some(misfit)) = (&self.first_misfit, inferred.first_misfit) {
            self.first_misfit = Some((position(misfit.byte, misfit.line, misfit.record), misfit.reject));
        }
    }

    fn join(&mut self, more: &Schema) {
        self.seen = self.seen.join(more, self.rules.type_merge);
        self.shown = self.rules.under_contract(self.rules.with_declared_types(self.seen.clone()));
    }

    /// Adds lines and records to those of the source, and returns the sums from before.
    fn advance(&mut self, info: &SourceInfo, lines: u64, records: u64) -> (u64, u64) {
        self.records += records;
        self.control.add_rows_read(records);
        let header_lines = info.csv.as_ref().map_or(0, |csv| csv.header.lines);
        let start = self.starts.entry(info.index).or_insert((header_lines, 0));
        let before = *start;
        *start = (before.0 + lines, before.1 + records);
        before
    }

    fn finish(self, from: TypeFrom) -> Result<DescribedSchema, Error> {
        let schema = self.rules.initial_schema(self.rules.with_declared_types(self.seen))?;
        let mut origins = HashMap::new();
        let mut set_by = self.set_by;
        let enforced = self.rules.contract.as_ref().map_or(&[][..], |enforced| &enforced.fields);
        let is_csv = self.rules.type_merge == crate::column::TypeMerge::Text;
        // The strongest origin counts: explicit schema, then a declared type that the values did not widen, then
        // values.
        let mut name = |path: &FieldPath, ty: &Type, enforced: Option<&Type>, declared: Option<&Type>| {
            let from = match ty {
                _ if enforced.is_some_and(|enforced| *enforced != Type::Null) => TypeFrom::SchemaFile,
                _ if declared.is_some_and(|declared| declared.outline() == ty.outline()) => TypeFrom::Workflow,
                Type::Null if is_csv => TypeFrom::Header,
                _ => from,
            };
            origins.insert(path.as_str().to_owned(), (from, set_by.remove(path.as_str())));
        };
        name_origins(&schema.fields, enforced, &self.rules.declared.fields, &FieldPath::root(), &mut name);
        let text_columns = self.cell_kinds.text_columns(&self.rules.columns_of_own_type(&schema));
        let OriginTracker { records, misfits, first_misfit, headers, .. } = self;
        let HeaderNotes { notes, other_delimiter, .. } = headers;
        Ok(DescribedSchema { schema, records, misfits, first_misfit, notes, other_delimiter, text_columns, origins })
    }
}

type Name<'a> = dyn FnMut(&FieldPath, &Type, Option<&Type>, Option<&Type>) + 'a;

fn name_origins(fields: &[Field], enforced: &[Field], declared: &[Field], within: &FieldPath, name: &mut Name<'_>) {
    let of = |fields: &'_ [Field], name: &str| fields.iter().position(|f| *f.name == *name);
    for field in fields {
        let path = within.field(&field.name);
        let enforced = of(enforced, &field.name).map(|i| &enforced[i].ty);
        let declared = of(declared, &field.name).map(|i| &declared[i].ty);
        name(&path, &field.ty, enforced, declared);
        let inner = |ty: Option<&Type>| ty.map_or(Vec::new(), |ty| ty.inner_fields().to_vec());
        name_origins(field.ty.inner_fields(), &inner(enforced), &inner(declared), &inner_path(&path, &field.ty), name);
    }
}

/// Records `at` for every field of `after` that is new or has another outline than in `before`.
fn note_changes(
    before: &[Field],
    after: &[Field],
    within: &FieldPath,
    at: &Position,
    set_by: &mut HashMap<String, SetBy>,
) {
    for (i, field) in after.iter().enumerate() {
        // Columns are only ever appended, so that the old field is nearly always at the same index.
        let old = match before.get(i) {
            Some(old) if old.name == field.name => Some(old),
            _ => before.iter().find(|old| old.name == field.name),
        };
        if old.is_some_and(|old| old.ty == field.ty) {
            continue;
        }
        let path = within.field(&field.name);
        let outline = old.map(|old| old.ty.outline());
        if outline.as_deref() != Some(&*field.ty.outline()) {
            let by = SetBy { position: at.clone(), before: outline };
            set_by.insert(path.as_str().to_owned(), by);
        }
        let inner = old.map_or(&[][..], |old| old.ty.inner_fields());
        note_changes(inner, field.ty.inner_fields(), &inner_path(&path, &field.ty), at, set_by);
    }
}
