//! The schema of sources, and where each of its types came from.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::infer::each_item;
use super::rules::SchemaRules;
use crate::column::{Field, Schema, Type};
use crate::format::Reject;
use crate::format::decode::InferredColumns;
use crate::format::frame::BufferPool;
use crate::pipeline::error::Error;
use crate::pipeline::input::{Item, SourceInfo, SourceReader, read_again, sample_aside};
use crate::pipeline::plan::{Limits, SchemaFrom, SchemaSource};
use crate::pipeline::progress::Control;
use crate::position::{FieldPath, Position};
use crate::source::Source;

/// The origin of a field's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypeFrom {
    /// A schema file.
    SchemaFile,
    /// The declaration of a workflow.
    Workflow,
    /// The header of a CSV source: it has a name and no value yet.
    Header,
    /// The first records.
    Sample,
    /// All records.
    Full,
}

/// The record that gave a field the type that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetBy {
    /// The record.
    pub position: Position,
    /// The outline of the type that the field had before; `None` if there was no such field.
    pub before: Option<String>,
}

/// A schema and where it came from.
#[derive(Clone, Debug, Default)]
pub struct DescribedSchema {
    /// The schema.
    pub schema: Schema,
    /// Records that were read, bad ones among them.
    pub records: u64,
    /// Good records that do not fit the enforced schema.
    pub misfits: u64,
    /// The first of them.
    pub first_misfit: Option<(Position, Reject)>,
    origins: HashMap<String, (TypeFrom, Option<SetBy>)>,
}

impl DescribedSchema {
    /// The origin of the type of the field at `path`: of the fields of [`Described::schema`], those
    /// inside others too, with [`FieldPath::elements`] for a list and [`FieldPath::values`] for a
    /// map.
    pub fn origin(&self, path: &FieldPath) -> Option<(TypeFrom, Option<&SetBy>)> {
        self.origins.get(path.as_str()).map(|(from, set_by)| (*from, set_by.as_ref()))
    }

    /// Every field with its path, those of structs after the struct.
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

/// The path of the struct that a field of type `ty` is, or holds through lists and maps.
fn inner_path(path: &FieldPath, ty: &Type) -> FieldPath {
    match ty {
        Type::List(item) => inner_path(&path.elements(), item),
        Type::Map(value) => inner_path(&path.values(), value),
        _ => path.clone(),
    }
}

/// The typed schema of `sources` under `choice`: of a sample from their start, or of everything if
/// that is asked for and all of them are files. Blocks; records that cannot be used are passed over.
pub fn describe_schema(
    sources: Vec<Source>,
    choice: &SchemaSource,
    limits: &Limits,
    control: &Control,
) -> Result<DescribedSchema, Error> {
    let full = choice.from == SchemaFrom::Full;
    let again: Vec<Source> = if full { sources.iter().map(read_again).collect() } else { Vec::new() };
    // The sample is read again if everything is.
    let counted = if full { control.without_counters() } else { control.clone() };
    let reader = SourceReader::new(sources, limits, false, BufferPool::new(limits.morsel_bytes, 1), &counted);
    let (reader, sample) = sample_aside(reader, limits.sample_bytes, false, control)?;
    let rules = SchemaRules::for_schema(choice, reader.type_merge(), limits);
    let mut tracker = OriginTracker::new(&rules, control);
    if full {
        each_item(again, limits, control, |item| surveyed(&rules, item), |seen| tracker.take(seen))?;
    } else {
        sample.iter().for_each(|item| tracker.take(surveyed(&rules, item)));
    }
    tracker.finish(if full { TypeFrom::Full } else { TypeFrom::Sample })
}

/// The survey of one item.
enum InferredItem {
    Morsel { info: Arc<SourceInfo>, byte_offset: u64, survey: InferredColumns },
    Oversized { info: Arc<SourceInfo>, lines: u64 },
    SourceEnd(Arc<SourceInfo>),
}

fn surveyed(rules: &SchemaRules, item: &Item) -> InferredItem {
    match item {
        Item::Morsel(morsel, info) => InferredItem::Morsel {
            info: info.clone(),
            byte_offset: morsel.byte_offset,
            survey: rules.infer_columns(morsel, info, true),
        },
        Item::Oversized(oversized, info) => InferredItem::Oversized { info: info.clone(), lines: oversized.lines },
        Item::SourceEnd(info) => InferredItem::SourceEnd(info.clone()),
        Item::Rows(..) => unreachable!("sources that are described have records"),
    }
}

/// Goes through what the records say, in order.
struct OriginTracker<'a> {
    rules: &'a SchemaRules,
    control: &'a Control,
    /// The join of all types of values.
    seen: Schema,
    /// `seen`, merged with the declared types and the enforced schema.
    shown: Schema,
    set_by: HashMap<String, SetBy>,
    /// Lines and records of each source so far.
    places: BTreeMap<usize, (u64, u64)>,
    records: u64,
    misfits: u64,
    first_misfit: Option<(Position, Reject)>,
}

impl<'a> OriginTracker<'a> {
    fn new(rules: &'a SchemaRules, control: &'a Control) -> Self {
        OriginTracker {
            rules,
            control,
            seen: Schema::default(),
            shown: rules.under_contract(Schema::default()),
            set_by: HashMap::new(),
            places: BTreeMap::new(),
            records: 0,
            misfits: 0,
            first_misfit: None,
        }
    }

    fn take(&mut self, item: InferredItem) {
        match item {
            InferredItem::Morsel { info, byte_offset, survey } => self.morsel(&info, byte_offset, survey),
            InferredItem::Oversized { info, lines } => {
                self.advance(&info, lines, 1);
            }
            InferredItem::SourceEnd(info) => self.join(&info.header_columns()),
        }
    }

    fn morsel(&mut self, info: &SourceInfo, byte_offset: u64, survey: InferredColumns) {
        let (lines, records) = self.advance(info, survey.lines, survey.records);
        let position = |byte: usize, line: u64, record: u64| Position {
            source: info.name.clone(),
            byte: byte_offset + byte as u64,
            line: lines + line + 1,
            record: records + record,
        };
        // Names of columns come before any value.
        self.join(&info.header_columns());
        if self.seen.join(&survey.schema, self.rules.type_merge) != self.seen {
            for widening in &survey.widenings {
                let before = std::mem::take(&mut self.shown);
                self.join(&widening.schema);
                let place = position(widening.byte, widening.line, widening.record);
                note_changes(&before.fields, &self.shown.fields, &FieldPath::root(), &place, &mut self.set_by);
            }
        }
        self.misfits += survey.misfits;
        if let (None, Some(misfit)) = (&self.first_misfit, survey.first_misfit) {
            self.first_misfit = Some((position(misfit.byte, misfit.line, misfit.record), misfit.reject));
        }
    }

    fn join(&mut self, more: &Schema) {
        self.seen = self.seen.join(more, self.rules.type_merge);
        self.shown = self.rules.under_contract(self.rules.with_declared_types(self.seen.clone()));
    }

    /// Lines and records of the source before the ones given.
    fn advance(&mut self, info: &SourceInfo, lines: u64, records: u64) -> (u64, u64) {
        self.records += records;
        self.control.add_rows_read(records);
        let header_lines = info.csv.as_ref().map_or(0, |csv| csv.header.lines);
        let place = self.places.entry(info.index).or_insert((header_lines, 0));
        let before = *place;
        *place = (before.0 + lines, before.1 + records);
        before
    }

    fn finish(self, from: TypeFrom) -> Result<DescribedSchema, Error> {
        let schema = self.rules.initial_schema(self.rules.with_declared_types(self.seen))?;
        let mut origins = HashMap::new();
        let mut set_by = self.set_by;
        let enforced = self.rules.contract.as_ref().map_or(&[][..], |enforced| &enforced.fields);
        let is_csv = self.rules.type_merge == crate::column::TypeMerge::Text;
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
        let OriginTracker { records, misfits, first_misfit, .. } = self;
        Ok(DescribedSchema { schema, records, misfits, first_misfit, origins })
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

/// Notes every field of `after` whose outline `before` had not.
fn note_changes(
    before: &[Field],
    after: &[Field],
    within: &FieldPath,
    place: &Position,
    set_by: &mut HashMap<String, SetBy>,
) {
    for (i, field) in after.iter().enumerate() {
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
            let by = SetBy { position: place.clone(), before: outline };
            set_by.insert(path.as_str().to_owned(), by);
        }
        let inner = old.map_or(&[][..], |old| old.ty.inner_fields());
        note_changes(inner, field.ty.inner_fields(), &inner_path(&path, &field.ty), place, set_by);
    }
}
