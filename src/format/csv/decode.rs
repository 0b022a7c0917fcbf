//! Decodes the records of a morsel into typed columns.
//!
//! The fast path takes most morsels: split records until there is a block of fields, append each
//! column's cells to its builder, repeat. A cell that does not fit ends it, and the slow path (infer
//! the wider schema, or find the records to reject) goes through the morsel again, record by record.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow_array::builder::StringViewBuilder;
use arrow_array::{ArrayRef, new_null_array};
use memchr::memchr_iter;

use super::cells::{CellRules, ReadCell, Rewritten};
use super::dialect::{CsvDialect, CsvQuote};
use super::infer::{Kinds, type_of};
use super::split::{RecordBounds, Span, Splitter};
use crate::column::{AsRead, Batch, Field, Morsel, RecordSpan, Schema, Type, TypeMerge};
use crate::format::Reject;
use crate::format::cell_kinds::{CellKinds, NumberMarks};
use crate::format::decode::{
    Decoded, EnforcedColumns, InferredColumns, OnMisfit, Outcome, RecordRules, RejectedRecord, SchemaMismatch, Widening,
};
use crate::format::json_text::write_json_string;
use crate::position::FieldPath;

pub use builder::DecodeCells;
use builder::{AsReadBuilder, Builder, Misfit, NestedCells};

mod builder;
mod kinds;
mod misfit;

/// Fields that are split before their columns are appended to: their spans and the bytes that these point
/// to stay in the first-level cache. By eye.
const FIELDS_AT_A_TIME: usize = 2048;

/// Decoder of the morsels of one CSV source, which share a header.
#[derive(Clone)]
pub struct CsvDecoder {
    names: Arc<[Arc<str>]>,
    delimiter: u8,
    quote: CsvQuote,
    decode_cells: DecodeCells,
    /// Rules by which cells are read; `None` by default.
    cells: Option<Arc<CellRules>>,
}

/// A mapping from the columns of a schema to those of the header.
struct Mapping {
    /// Index in the header per column of the schema; `None` if the source lacks it. The schema's extra column has no
    /// entry.
    indices: Vec<Option<usize>>,
    /// True for columns of the schema whose types are given, one per entry of `indices`; see [`builder::Builder::new`].
    is_given: Vec<bool>,
    /// Columns of the header that the schema lacks.
    unknown: Vec<usize>,
    /// Such columns if their values go into the schema's extra column; `unknown` is empty then.
    extra: Vec<usize>,
}

/// The check of records before their cells are appended.
enum CheckedRecords<'a> {
    /// No record is checked: a cell that does not fit ends the attempt.
    Nothing,
    /// All are checked against the enforced schema, and rejected if they do not fit it.
    EnforcedColumns(&'a (EnforcedColumns<'a>, Mapping)),
    /// All are checked against the enforced schema and the schema.
    All(Option<&'a (EnforcedColumns<'a>, Mapping)>),
}

/// A column whose cells hold JSON, during inference.
struct Nested {
    ty: Type,
    cells: NestedCells,
    /// Byte and number of each cell's record; empty without a trace.
    of: Vec<(usize, u64)>,
}

impl CsvDecoder {
    /// Makes a decoder for records with the columns `names`, which are distinct. `delimiter` is an
    /// ASCII byte other than NUL, quote, CR and LF. `decode_cells` reads the cells of columns that
    /// are declared nested.
    pub fn new(names: Arc<[Arc<str>]>, delimiter: u8, decode_cells: DecodeCells) -> Self {
        CsvDecoder { names, delimiter, quote: CsvQuote::default(), decode_cells, cells: None }
    }

    /// Reads records by the quote, and cells by the rules of `dialect`. Its delimiter is not regarded.
    #[must_use]
    pub fn with_dialect(self, dialect: &CsvDialect) -> Self {
        CsvDecoder { quote: dialect.quote, cells: CellRules::new(dialect).map(Arc::new), ..self }
    }

    /// Returns the delimiter of the records.
    pub fn delimiter(&self) -> u8 {
        self.delimiter
    }

    /// Returns the quote of the records.
    pub fn quote(&self) -> CsvQuote {
        self.quote
    }

    /// Infers the columns of the header with the narrowest types that hold the values of this morsel.
    /// JSON is looked for only in columns that `declared` has as nested. The results of several morsels
    /// are to be joined with [`TypeMerge::Text`], and then to be [resolved](Schema::resolved).
    pub fn infer(&self, morsel: &Morsel, declared: &Schema) -> Schema {
        self.infer_columns(morsel, declared, None, false).schema
    }

    /// As [`CsvDecoder::infer`], but leaves numbers [open](Type::Number), so that the results of several morsels can be joined, leaves out records that do not fit `enforced` and, with `trace`, lists the records that
    /// widened the types.
    pub fn infer_columns(
        &self,
        morsel: &Morsel,
        declared: &Schema,
        enforced: Option<EnforcedColumns<'_>>,
        trace: bool,
    ) -> InferredColumns {
        let (morsel, rewritten) = &self.rewritten(morsel);
        let bytes = &morsel.bytes[..];
        let enforced = enforced.map(|enforced| (enforced, self.mapping(enforced.fields)));
        let mut kinds = vec![Kinds::default(); self.names.len()];
        let mut cell_kinds = if trace { vec![CellKinds::default(); self.names.len()] } else { Vec::new() };
        let marks = self.cells.as_ref().map_or_else(NumberMarks::default, |rules| rules.marks());
        let nested_type = |name: &Arc<str>| {
            let ty = declared.fields.iter().find(|field| field.name == *name).map(|field| &field.ty)?;
            NestedCells::are_for(ty).then(|| Nested { ty: ty.clone(), cells: NestedCells::default(), of: Vec::new() })
        };
        let mut nested: Vec<Option<Nested>> = self.names.iter().map(nested_type).collect();
        let mut found = InferredColumns::default();
        // Byte and number of each record that widened columns, and these columns.
        let mut widened: BTreeMap<(usize, u64), Vec<Field>> = BTreeMap::new();
        let (records, ..) = self.each_record(morsel, rewritten, |record, number, fields, _| {
            let misfit = enforced
                .as_ref()
                .and_then(|(enforced, mapping)| self.enforced_misfit(bytes, fields, enforced, mapping));
            if let Some((path, (reason, at))) = misfit {
                found.misfits += 1;
                found.first_misfit.get_or_insert_with(|| RejectedRecord {
                    reject: Reject { offset: at.saturating_sub(record.start), path, reason: reason.into() },
                    byte: record.start,
                    len: record.end - record.start,
                    line: memchr_iter(b'\n', &bytes[..record.start]).count() as u64,
                    record: number,
                    is_misfit: false,
                });
                fields.clear();
                return None;
            }
            let read_at = self.read_at();
            for column in 0..self.names.len() {
                let span = fields[read_at + column];
                // Null fits every type.
                if span.is_null() {
                    continue;
                }
                match &mut nested[column] {
                    Some(nested) => {
                        nested.cells.push(span);
                        if trace {
                            nested.of.push((record.start, number));
                        }
                    }
                    None => {
                        let before = kinds[column];
                        kinds[column].note(span.of(bytes));
                        if trace {
                            let cell = ReadCell { cell: fields[column], read: span };
                            cell_kinds[column].count(bytes, std::iter::once(cell), marks);
                        }
                        if trace && kinds[column] != before {
                            let ty = type_of(span.of(bytes));
                            let name = self.names[column].clone();
                            widened.entry((record.start, number)).or_default().push(Field { name, ty });
                        }
                    }
                }
            }
            fields.clear();
            None
        });
        let scalars = self.names.iter().zip(cell_kinds).zip(&nested).filter(|(_, nested)| nested.is_none());
        found.cell_kinds = scalars.map(|((name, kinds), _)| (name.clone(), kinds)).collect();
        // Scalar columns are known by now. Nested cells are decoded here, all of a column at once.
        let mut columns = Vec::with_capacity(self.names.len());
        for ((name, kinds), nested) in self.names.iter().zip(kinds).zip(nested) {
            let ty = match nested {
                None => kinds.to_type(),
                Some(nested) if nested.cells.is_empty() => Type::Null,
                Some(nested) => {
                    let ty = self.nested_type(bytes, &nested.cells, &nested.ty);
                    for (record, ty) in self.nested_widenings(bytes, &nested, &ty) {
                        widened.entry(record).or_default().push(Field { name: name.clone(), ty });
                    }
                    ty
                }
            };
            // The records that do not fit a given type were left out.
            let given = enforced.as_ref().and_then(|(enforced, _)| given_decimal(*enforced, name));
            let ty = given.filter(|_| ty != Type::Null).unwrap_or(ty);
            columns.push(Field { name: name.clone(), ty });
        }
        found.schema = Schema::new(columns);
        found.records = records;
        found.lines = memchr_iter(b'\n', morsel.records()).count() as u64;
        found.widenings = widened
            .into_iter()
            .map(|((byte, record), fields)| Widening {
                byte,
                line: memchr_iter(b'\n', &bytes[..byte]).count() as u64,
                record,
                schema: Schema::new(fields),
            })
            .collect();
        found
    }

    /// Infers the type of a column of nested cells; text if a cell is not JSON.
    fn nested_type(&self, bytes: &[u8], cells: &NestedCells, ty: &Type) -> Type {
        match cells.decode(bytes, ty, self.decode_cells) {
            Ok((_, observed)) => observed,
            Err(Misfit) => Type::Text,
        }
    }

    /// Finds the cells that widened `nested` until it had type `whole`: their records and types. None without a trace.
    fn nested_widenings(&self, bytes: &[u8], nested: &Nested, whole: &Type) -> Vec<((usize, u64), Type)> {
        let mut steps = Vec::new();
        let mut so_far = Type::Null;
        for (&record, cell) in nested.of.iter().zip(nested.cells.iter()) {
            if so_far == *whole {
                break;
            }
            let mut alone = NestedCells::default();
            alone.push(cell);
            let ty = self.nested_type(bytes, &alone, &nested.ty);
            let joined = if ty == Type::Text { Type::Text } else { so_far.join(&ty, TypeMerge::Json) };
            if joined != so_far {
                steps.push((record, ty));
                so_far = joined;
            }
        }
        steps
    }

    /// Decodes a morsel without the header. Columns of `schema` that the source lacks are null. A column
    /// of the source that `schema` lacks is a schema mismatch; with [`OnMisfit::Reject`], each record with
    /// a value in it is rejected.
    ///
    /// Records that are ragged, malformed or not UTF-8 are rejected. A blank line is a record with a null
    /// if there is one column, and skipped otherwise.
    pub fn decode(&self, morsel: &Morsel, schema: &Arc<Schema>, on_misfit: OnMisfit) -> Outcome {
        self.decode_under(morsel, schema, on_misfit, &RecordRules::default())
    }

    /// As [`CsvDecoder::decode`], under `rules` besides the schema. An extra column is the last of
    /// `schema`, and takes the columns of the source that `schema` lacks.
    pub fn decode_under(
        &self,
        morsel: &Morsel,
        schema: &Arc<Schema>,
        on_misfit: OnMisfit,
        rules: &RecordRules<'_>,
    ) -> Outcome {
        let rewritten = &self.rewritten(morsel);
        let n_columns = schema.fields.len() - usize::from(rules.extra.is_some());
        let mut mapping = self.mapping(&schema.fields[..n_columns]);
        if rules.extra.is_some() {
            mapping.extra = std::mem::take(&mut mapping.unknown);
        }
        let may_widen = on_misfit == OnMisfit::SchemaMismatch;
        for (is_given, field) in mapping.is_given.iter_mut().zip(&schema.fields) {
            *is_given = !may_widen || rules.enforced.is_some_and(|enforced| gives_type(enforced, field));
        }
        let enforced = rules.enforced.map(|enforced| (enforced, self.mapping(enforced.fields)));
        let enforced = enforced.as_ref();
        let attempt = |check| self.try_decode(rewritten, schema, &mapping, check, rules).ok();
        // Up to three attempts, from the fastest to the one that checks most. Each check costs about a second parse of every
        // cell, and almost all morsels pass the first attempt.
        let decoded = if may_widen && !mapping.unknown.is_empty() {
            None
        } else {
            let unchecked = if rules.check_all { None } else { attempt(CheckedRecords::Nothing) };
            let enforcing = || enforced.and_then(|enforced| attempt(CheckedRecords::EnforcedColumns(enforced)));
            let checked = || if may_widen { None } else { attempt(CheckedRecords::All(enforced)) };
            unchecked.or_else(enforcing).or_else(checked)
        };
        let stops = enforced.is_some_and(|(enforced, _)| enforced.on_misfit == OnMisfit::SchemaMismatch);
        match decoded {
            Some((decoded, misfits)) if misfits == 0 || !stops => Outcome::Decoded(decoded),
            _ => Outcome::SchemaMismatch(self.schema_mismatch(morsel, schema, &mapping, enforced)),
        }
    }

    fn mapping(&self, columns: &[Field]) -> Mapping {
        let same = self.names.len() == columns.len()
            && self.names.iter().zip(columns).all(|(name, field)| *name == field.name);
        if same {
            let indices: Vec<_> = (0..self.names.len()).map(Some).collect();
            return Mapping { is_given: vec![false; indices.len()], indices, unknown: Vec::new(), extra: Vec::new() };
        }
        let by_name: HashMap<&str, usize> = self.names.iter().enumerate().map(|(i, name)| (&**name, i)).collect();
        let indices: Vec<_> = columns.iter().map(|field| by_name.get(&*field.name).copied()).collect();
        let mut known = vec![false; self.names.len()];
        indices.iter().flatten().for_each(|&i| known[i] = true);
        let unknown = (0..known.len()).filter(|&i| !known[i]).collect();
        Mapping { is_given: vec![false; indices.len()], indices, unknown, extra: Vec::new() }
    }

    /// Decodes, or fails with [`Misfit`] at a cell that `check` did not cover and that does not fit. Returns the number of
    /// misfits of the enforced schema, too.
    fn try_decode(
        &self,
        (morsel, rewritten): &(Morsel, Rewritten),
        schema: &Arc<Schema>,
        mapping: &Mapping,
        check: CheckedRecords<'_>,
        rules: &RecordRules<'_>,
    ) -> Result<(Decoded, u64), Misfit> {
        let note_spans = rules.spans;
        let bytes = &morsel.bytes[..];
        let lines = memchr_iter(b'\n', morsel.records()).count();
        // At most one record per line, and at least one byte per field.
        let capacity = lines.min(morsel.len / self.names.len().max(1)) + 1;
        let mut builders: Vec<Option<Builder>> = schema
            .fields
            .iter()
            .zip(mapping.indices.iter().zip(&mapping.is_given))
            .map(|(field, (index, &is_given))| index.map(|_| Builder::new(&field.ty, is_given, morsel, capacity)))
            .collect();
        let mut as_read: Vec<Option<AsReadBuilder>> = schema
            .fields
            .iter()
            .zip(&mapping.indices)
            .map(|(field, index)| {
                // A column of text keeps the marks of numbers, and steps see the numbers.
                let forgets = !matches!(field.ty, Type::Text) || self.rewrites();
                let kept = index.is_some() && forgets && !matches!(field.ty, Type::Null | Type::Raw);
                (kept && rules.as_read.contains(&field.name)).then(|| AsReadBuilder::new(&field.ty, morsel, capacity))
            })
            .collect();
        let mut kinds: Vec<Option<CellKinds>> = schema
            .fields
            .iter()
            .map(|field| (rules.cell_kinds && field.ty == Type::Text).then(CellKinds::default))
            .collect();
        let marks = self.cells.as_ref().map_or_else(NumberMarks::default, |rules| rules.marks());
        // Whole records, so that the cells of a column are `width` apart in `pending`.
        let width = self.stride();
        let block = (FIELDS_AT_A_TIME / width.max(1)).max(1) * width;
        let rewrites = self.rewrites();
        let read_at = self.read_at();
        let mut failed = false;
        let mut rows = 0;
        let mut spans = Vec::new();
        let mut misfits = 0;
        let has_extra = schema.fields.len() > mapping.indices.len();
        let mut extra = StringViewBuilder::new();
        let mut append = |pending: &mut Vec<Span>| -> Result<(), Misfit> {
            let columns = builders.iter_mut().zip(&mut as_read).zip(&mut kinds).zip(&mapping.indices);
            for (((builder, as_read), kinds), index) in columns {
                if let (Some(builder), &Some(index)) = (builder, index)
                    && !pending.is_empty()
                {
                    let cells = pending[index..].iter().step_by(width).copied();
                    if !rewrites {
                        if let Some(kinds) = kinds {
                            kinds.count(bytes, cells.clone().map(|cell| ReadCell { cell, read: cell }), marks);
                        }
                        if let Some(as_read) = as_read {
                            as_read.append(cells.clone());
                        }
                        builder.append(bytes, cells)?;
                        continue;
                    }
                    let read = pending[read_at + index..].iter().step_by(width).copied();
                    let both = cells.zip(read.clone()).map(|(cell, read)| ReadCell { cell, read });
                    if let Some(kinds) = kinds {
                        kinds.count(bytes, both.clone(), marks);
                    }
                    if let Some(as_read) = as_read {
                        as_read.append(both.clone().map(|cell| cell.seen(bytes)));
                    }
                    match builder {
                        Builder::Text(text) => text.append_all(both.map(ReadCell::text)),
                        other => other.append(bytes, read)?,
                    }
                }
            }
            pending.clear();
            Ok(())
        };
        // The fields of accepted records collect in `pending` until they fill a block.
        let (records, rejects, mut rest) = self.each_record(morsel, rewritten, |record, _, pending, first| {
            if failed {
                pending.clear();
                return None;
            }
            let fields = &pending[first..];
            let enforced = match &check {
                CheckedRecords::Nothing => None,
                CheckedRecords::EnforcedColumns(enforced) => Some(*enforced),
                CheckedRecords::All(enforced) => *enforced,
            };
            let mut misfit =
                enforced.and_then(|(enforced, mapping)| self.enforced_misfit(bytes, fields, enforced, mapping));
            misfits += u64::from(misfit.is_some());
            // With unknown columns every record has to be looked at, for a value in one of them.
            if misfit.is_none() && (matches!(check, CheckedRecords::All(_)) || !mapping.unknown.is_empty()) {
                misfit = self.misfit(bytes, fields, schema, mapping);
                if misfit.is_some() && !matches!(check, CheckedRecords::All(_)) {
                    failed = true;
                    return None;
                }
            }
            if let Some((path, (reason, at))) = misfit {
                return Some(Reject { offset: at.saturating_sub(record.start), path, reason: reason.into() });
            }
            if has_extra {
                self.append_extra(bytes, fields, &mapping.extra, &mut extra);
            }
            rows += 1;
            if note_spans {
                spans.push(RecordSpan { start: record.start as u32, len: (record.end - record.start) as u32 });
            }
            if pending.len() >= block {
                failed = append(pending).is_err();
            }
            None
        });
        if failed {
            return Err(Misfit);
        }
        // The last records, which did not fill a block.
        append(&mut rest)?;

        let mut columns: Vec<ArrayRef> = Vec::with_capacity(builders.len());
        let mut observed = Vec::with_capacity(builders.len());
        for (builder, field) in builders.into_iter().zip(&schema.fields) {
            let (column, ty) = match builder {
                Some(builder) => builder.finish(morsel, self.decode_cells)?,
                None => (new_null_array(&field.ty.to_arrow(), rows), Type::Null),
            };
            columns.push(column);
            observed.push(Field { name: field.name.clone(), ty });
        }
        let cell_kinds = self.cell_kinds(kinds, &columns, schema, mapping, rules);
        let mut as_read: Vec<Option<AsRead>> =
            as_read.into_iter().map(|builder| builder.map(|builder| builder.finish(morsel))).collect();
        if as_read.iter().all(Option::is_none) {
            as_read.clear();
        } else if has_extra {
            as_read.push(None);
        }
        if has_extra && let Some(field) = schema.fields.last() {
            columns.push(Arc::new(extra.finish()));
            observed.push(field.clone());
        }
        let decoded = Decoded {
            batch: Batch {
                schema: schema.clone(),
                columns,
                as_read,
                rows,
                records: note_spans.then(|| (morsel.bytes.clone(), spans)),
            },
            rejects,
            consumed: morsel.len,
            records,
            lines: lines as u64,
            duplicate_keys: 0,
            cell_kinds,
            observed: Schema::new(observed),
        };
        Ok((decoded, misfits))
    }

    /// Returns the kinds of the cells of all columns but nested ones, where the rules demand that.
    fn cell_kinds(
        &self,
        counted: Vec<Option<CellKinds>>,
        arrays: &[ArrayRef],
        schema: &Schema,
        mapping: &Mapping,
        rules: &RecordRules<'_>,
    ) -> Vec<(Arc<str>, CellKinds)> {
        if !rules.cell_kinds {
            return Vec::new();
        }
        let columns = schema.fields.iter().zip(arrays).zip(counted).zip(&mapping.indices);
        let of_header = columns.filter(|(_, index)| index.is_some());
        let kinds = of_header.filter_map(|(((field, array), counted), _)| {
            let values = (array.len() - array.null_count()) as u64;
            let kinds = match &field.ty {
                Type::Text => counted?,
                Type::Bool => CellKinds { booleans: values, ..CellKinds::default() },
                Type::Int { .. } | Type::Decimal | Type::Float | Type::Fixed(_) => {
                    CellKinds { numbers: values, ..CellKinds::default() }
                }
                _ => return None,
            };
            Some((field.name.clone(), kinds))
        });
        kinds.collect()
    }

    /// Appends the values of the header's columns `columns` to the extra column as one JSON object of strings; null if
    /// all of them are null.
    fn append_extra(&self, bytes: &[u8], fields: &[Span], columns: &[usize], extra: &mut StringViewBuilder) {
        let mut text = Vec::new();
        for &column in columns.iter().filter(|&&column| !fields[column].is_null()) {
            let cell = ReadCell { cell: fields[column], read: fields[self.read_at() + column] };
            text.push(if text.is_empty() { b'{' } else { b',' });
            write_json_string(&self.names[column], &mut text);
            text.push(b':');
            // Records that are not UTF-8 were rejected before.
            write_json_string(&String::from_utf8_lossy(&cell.text().value(bytes)), &mut text);
        }
        if text.is_empty() {
            extra.append_null();
        } else {
            text.push(b'}');
            extra.append_value(String::from_utf8_lossy(&text));
        }
    }

    /// Returns `morsel` with the texts of its cells that are read as another one; the morsel as it is by default.
    fn rewritten(&self, morsel: &Morsel) -> (Morsel, Rewritten) {
        match &self.cells {
            Some(rules) => rules.rewrite(morsel, Splitter::new(morsel, self.delimiter).with_quote(self.quote)),
            None => (morsel.clone(), Rewritten::default()),
        }
    }

    /// Returns the end of the first record of `morsel`, its line end included.
    pub fn first_record_end(&self, morsel: &Morsel) -> usize {
        let mut splitter = Splitter::new(morsel, self.delimiter).with_quote(self.quote);
        let end = splitter.next_record(&mut Vec::new()).map_or(morsel.len, |record| record.end);
        memchr::memchr(b'\n', &morsel.records()[end..]).map_or(morsel.len, |at| end + at + 1)
    }

    /// Returns true if the list of a record's cells has each cell twice; see [`CellRules::apply`].
    fn rewrites(&self) -> bool {
        self.cells.as_ref().is_some_and(|rules| rules.rewrites())
    }

    /// Returns the number of spans of a record.
    fn stride(&self) -> usize {
        self.names.len() * if self.rewrites() { 2 } else { 1 }
    }

    /// Returns the index at which the spans of the cells as they are read begin among those of a record.
    fn read_at(&self) -> usize {
        if self.rewrites() { self.names.len() } else { 0 }
    }

    /// Calls `accept` with every well-formed record, its number, the list of fields to which its own have been
    /// appended, and the index of the first of them. A record for which `accept` returns a reject, and every
    /// record that is not well-formed, is rejected and its fields removed from the list; other fields stay
    /// until `accept` takes them. Returns the number of records, the rejects, and the rest of the list.
    fn each_record(
        &self,
        morsel: &Morsel,
        rewritten: &Rewritten,
        mut accept: impl FnMut(&RecordBounds, u64, &mut Vec<Span>, usize) -> Option<Reject>,
    ) -> (u64, Vec<RejectedRecord>, Vec<Span>) {
        let bytes = morsel.records();
        let mut next_rewritten = 0;
        // One check of the whole morsel is almost always enough.
        let all_utf8 = simdutf8::basic::from_utf8(bytes).is_ok();
        let width = self.names.len();
        let mut splitter = Splitter::new(morsel, self.delimiter).with_quote(self.quote);
        let mut fields = Vec::with_capacity(FIELDS_AT_A_TIME + 2 * self.stride());
        let mut records = 0;
        let mut rejects = Vec::new();
        // Lines are counted only up to rejects, each part of the morsel once.
        let (mut line, mut line_known_to) = (0, 0);
        loop {
            let first = fields.len();
            let Some(record) = splitter.next_record(&mut fields) else {
                return (records, rejects, fields);
            };
            if record.is_blank() && width > 1 {
                fields.truncate(first);
                continue;
            }
            let mut reject = malformed(&record);
            if reject.is_none() && !all_utf8 {
                reject = not_utf8(&bytes[record.start..record.end]);
            }
            let found = fields.len() - first;
            if reject.is_none() && found != width {
                reject = Some(self.ragged(found));
            }
            // Here, before any use of the fields, so that inference, decoding and checks agree.
            if reject.is_none()
                && let Some(cells) = &self.cells
            {
                cells.apply(bytes, rewritten, &mut next_rewritten, &mut fields, first);
            }
            if reject.is_none() {
                reject = accept(&record, records, &mut fields, first);
            }
            if let Some(reject) = reject {
                fields.truncate(first);
                line += memchr_iter(b'\n', &bytes[line_known_to..record.start]).count() as u64;
                line_known_to = record.start;
                let len = record.end - record.start;
                rejects.push(RejectedRecord {
                    reject,
                    byte: record.start,
                    len,
                    line,
                    record: records,
                    is_misfit: false,
                });
            }
            records += 1;
        }
    }

    /// Infers the wider schema that the morsel needs, and finds the first record that needs it.
    fn schema_mismatch(
        &self,
        morsel: &Morsel,
        schema: &Arc<Schema>,
        mapping: &Mapping,
        enforced: Option<&(EnforcedColumns<'_>, Mapping)>,
    ) -> SchemaMismatch {
        let (read, rewritten) = &self.rewritten(morsel);
        let bytes = &read.bytes[..];
        let mut first = None;
        self.each_record(read, rewritten, |record, number, fields, _| {
            if first.is_none() {
                let enforced_misfit =
                    enforced.and_then(|(enforced, mapping)| self.enforced_misfit(bytes, fields, enforced, mapping));
                let misfit = match (enforced_misfit, enforced) {
                    // The record will be rejected, so that the schema need not hold it.
                    (Some(_), Some((enforced, _))) if enforced.on_misfit == OnMisfit::Reject => None,
                    (Some(misfit), _) => Some(misfit),
                    (None, _) => self.misfit(bytes, fields, schema, mapping),
                };
                first = misfit.map(|(path, (what, _))| (record.start, number, format!("field `{path}`: {what}")));
            }
            fields.clear();
            None
        });
        // No single record: a column without values is unknown, or nested cells fit one by one but not together.
        let (byte, record, what) = first.unwrap_or_else(|| {
            let what = match mapping.unknown.first() {
                Some(&column) => format!("field `{}`: the schema has no such column", self.names[column]),
                None => "the values of a column have no common nested type".to_string(),
            };
            (0, 0, what)
        });
        let mut inferred = self.infer_columns(morsel, schema, enforced.map(|(enforced, _)| *enforced), false).schema;
        // Values of these columns go into the extra column.
        inferred.fields.retain(|field| !mapping.extra.iter().any(|&column| self.names[column] == field.name));
        SchemaMismatch {
            schema: self.widen(schema, &inferred),
            byte,
            line: memchr_iter(b'\n', &bytes[..byte]).count() as u64,
            record,
            what,
        }
    }

    /// As [`Schema::join`], but merges nested columns, whose cells are JSON, with [`TypeMerge::Json`].
    fn widen(&self, schema: &Schema, inferred: &Schema) -> Schema {
        let mut joined = schema.join(inferred, TypeMerge::Text);
        for (joined, old) in joined.fields.iter_mut().zip(&schema.fields) {
            if NestedCells::are_for(&old.ty)
                && joined.ty != Type::Text
                && let Some(place) = inferred.position(&old.name)
            {
                joined.ty = old.ty.join(&inferred.fields[place].ty, TypeMerge::Json);
            }
        }
        joined.resolved()
    }
}

/// Returns true if the schema that is enforced has the column `field` with a decimal type, as `field` has.
fn gives_type(enforced: EnforcedColumns<'_>, field: &Field) -> bool {
    given_decimal(enforced, &field.name).is_some_and(|ty| ty == field.ty)
}

/// Returns the decimal type that the enforced schema has for the column `name`; `None` for another type or no such column.
fn given_decimal(enforced: EnforcedColumns<'_>, name: &str) -> Option<Type> {
    let field = enforced.fields.iter().find(|field| *field.name == *name)?;
    matches!(field.ty, Type::Fixed(_)).then(|| field.ty.clone())
}

/// Returns the reject of a malformed record; `None` if it is well-formed.
pub(super) fn malformed(record: &RecordBounds) -> Option<Reject> {
    record.malformed.map(|(at, reason)| Reject {
        offset: at - record.start,
        path: FieldPath::root(),
        reason: reason.into(),
    })
}

#[cold]
fn not_utf8(record: &[u8]) -> Option<Reject> {
    let error = simdutf8::compat::from_utf8(record).err()?;
    Some(Reject { offset: error.valid_up_to(), path: FieldPath::root(), reason: "not valid UTF-8".into() })
}

#[cfg(test)]
mod tests;
