//! Decodes NDJSON into columns, in one pass over the bytes.
//!
//! The simple algorithm: for every key of a record find its column, parse the value by the column's
//! type, and at the end push a null to the columns without a value. The one departure: records mostly
//! have their keys in the same order, so that the expected key is compared first, quotes and colon
//! included, in one comparison; only if it differs is the key parsed and looked up.
//!
//! Strings are not copied: they become views into the morsel. Those with escapes are unescaped into a
//! second buffer, so that the morsel keeps the raw text for rejects.

mod extra;
mod maps;
mod numbers;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use arrow_buffer::Buffer;
use foldhash::fast::RandomState;

use super::check::check_value;
use super::duplicates::DuplicateKeys;
use super::enforced::check_enforced;
use super::infer::{InferOptions, ValueTypes, infer_columns};
use super::scan::{Cursor, JsonError, JsonErrorKind, Number, PathSegment, Scan, Str, kind_of};
use super::walk::{fits_in_double, key_text};
use crate::column::build::{Builder, Literal, StructBuilder};
use crate::column::canonical::{count_duplicate_keys, is_canonical, write_canonical};
use crate::column::views::make_view;
use crate::column::{Batch, Container, Field, Morsel, RecordSpan, Schema, Type, TypeMerge};
use crate::format::decode::{
    AsReadColumns, Decoded, OnMisfit, Outcome, RecordRules, RejectedRecord, SURPLUS, SchemaMismatch,
};

/// Buffer index of views into the morsel.
const MORSEL: u32 = 0;

/// Buffer index of views into the unescaped strings.
const UNESCAPED: u32 = 1;

/// Expected keys that are compared before a key is parsed. By eye: comparing with two keys that a record
/// lacks costs less than parsing the third.
const LOOK_AHEAD: usize = 3;

/// Records after which the size of the columns is extrapolated. By eye: enough for an estimate, and few values to move.
const FIRST_RECORDS: u64 = 64;

/// The most keys whose order is remembered. Records with more have keys that are data.
const MAX_REMEMBERED_KEYS: usize = 256;

/// The treatment of a key without a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownKey {
    /// The schema must widen.
    SchemaMismatch,
    /// Validate the value and leave it out: the plan does not need it.
    Skip,
}

/// Options of decoding.
#[derive(Clone, Copy, Debug)]
pub struct DecodeOptions {
    /// Treatment of an unknown key of a record. Keys of nested objects are always a schema mismatch.
    pub unknown_key: UnknownKey,
    /// Types inferred for new columns.
    pub new_columns: ValueTypes,
    /// Reject records with a value or key that does not fit, instead of widening the schema.
    pub freeze: bool,
    /// Longest record in bytes; longer ones are rejected.
    pub max_record_bytes: usize,
    /// Number of values, nulls included, at which a batch ends after the record at hand: records with few
    /// keys under a schema of many columns would otherwise take memory far beyond their bytes.
    pub max_cells: usize,
    /// Fill the batch's `records`, for outputs that copy records.
    pub record_spans: bool,
    /// Write JSON columns in the canonical form, in which values that were typed before are written too. Otherwise their
    /// text is the record's.
    pub canonical_json: bool,
}

/// Decodes a morsel of NDJSON into columns of `schema`.
///
/// Every line is one record; blank lines are skipped. A line that is not one JSON object is rejected
/// and leaves no trace in the columns. A last line without a line feed is a record too.
pub fn decode(morsel: &Morsel, schema: &Arc<Schema>, options: &DecodeOptions) -> Outcome {
    decode_under(morsel, schema, options, &RecordRules::default())
}

/// As [`decode`], under `rules` besides the schema. An extra column is the last of `schema`.
pub fn decode_under(
    morsel: &Morsel,
    schema: &Arc<Schema>,
    options: &DecodeOptions,
    rules: &RecordRules<'_>,
) -> Outcome {
    let mut decoder = Decoder {
        cursor: Cursor::new(morsel),
        unescaped: Vec::new(),
        duplicate_keys: 0,
        nested_keys: DuplicateKeys::default(),
        key_hashes: Vec::new(),
        hasher: RandomState::default(),
        distinct_maps: false,
        unknown_key: options.unknown_key,
        canonical_json: options.canonical_json,
        order: Vec::new(),
        rules: *rules,
        invalid_utf8: simdutf8::basic::from_utf8(morsel.records()).is_err(),
    };
    let n_columns = schema.fields.len() - usize::from(rules.extra.is_some());
    let mut root = StructBuilder::new(&schema.fields[..n_columns]);
    for (column, field) in root.fields.iter_mut().zip(&schema.fields) {
        let forgets = field.ty.forgets_json() || matches!(rules.as_read, AsReadColumns::Every) && field.ty != Type::Raw;
        if forgets && rules.as_read.contains(&field.name) {
            column.builder.keep_as_read();
        }
    }
    let mut extra = Builder::new(&Type::Json);
    let mut rejects = Vec::new();
    let mut spans = Vec::new();
    let (mut records, mut lines) = (0u64, 0u64);

    while decoder.cursor.pos < morsel.len {
        match decoder.cursor.skip_blank() {
            b'\n' => {
                decoder.cursor.pos += 1;
                lines += 1;
                continue;
            }
            _ if decoder.cursor.at_end() => break,
            _ => {}
        }
        // A record begins after the blanks before it.
        let start = decoder.cursor.pos;
        let (rows, duplicate_keys) = (root.len(), decoder.duplicate_keys);
        let result = decoder.record(morsel, start, options.max_record_bytes, &mut root, &mut extra);
        match result {
            Ok(end) => {
                if options.record_spans {
                    spans.push(RecordSpan { start: start as u32, len: (end - start) as u32 });
                }
            }
            Err(error) => {
                // The columns may have got values of the record before the error.
                root.truncate(rows);
                extra.truncate(if rules.extra.is_some() { rows } else { 0 });
                decoder.duplicate_keys = duplicate_keys;
                decoder.nested_keys.reset();
                let end = line_end(morsel, start);
                let (error, refusal) = match decoder.classify(error, morsel, start, options) {
                    Verdict::Reject(error) => (error, None),
                    Verdict::Misfit { error, refusal } => (error, Some(refusal)),
                    Verdict::SchemaMismatch { error, widens } => {
                        let what = describe(&error);
                        let schema = if widens { widened(morsel, schema, options, rules) } else { (**schema).clone() };
                        return Outcome::SchemaMismatch(SchemaMismatch {
                            schema,
                            byte: start,
                            line: lines,
                            record: records,
                            what,
                        });
                    }
                };
                let mut reject = error.to_reject(start, end);
                let is_misfit = refusal.is_some();
                if let Some(reason) = refusal {
                    reject.reason = reason;
                }
                let (len, line, record) = (end - start, lines, records);
                rejects.push(RejectedRecord { reject, byte: start, len, line, record, is_misfit });
                decoder.cursor.pos = end;
            }
        }
        // Rejected records count as well: positions are those of the source.
        records += 1;
        if records == FIRST_RECORDS {
            // The columns are grown once, to the size extrapolated from the first records, limited by `max_cells`.
            let all = morsel.len as f64 / decoder.cursor.pos as f64 * SURPLUS;
            let most = options.max_cells as f64 / (root.len() * root.fields.len()).max(1) as f64;
            let times = all.min(most).max(1.0);
            root.reserve(times);
            decoder.unescaped.reserve((decoder.unescaped.len() as f64 * (times - 1.0)) as usize);
        }
        let full = root.len() * root.fields.len() >= options.max_cells;
        if decoder.cursor.pos < morsel.len && decoder.cursor.peek() == b'\n' {
            lines += 1;
            decoder.cursor.pos += 1;
        } else if decoder.cursor.pos < morsel.len {
            // After a reject: the carriage return before the line break, which `line_end` leaves out.
            let rest = &morsel.records()[decoder.cursor.pos..];
            let skip = memchr::memchr(b'\n', rest).map_or(rest.len(), |i| i + 1);
            lines += u64::from(rest[skip - 1] == b'\n');
            decoder.cursor.pos += skip;
        }
        if full {
            break;
        }
    }

    // The order of the buffers is that of `MORSEL` and `UNESCAPED`.
    let rows = root.len();
    let buffers: Arc<[Buffer]> = Arc::new([morsel.bytes.clone(), Buffer::from_vec(decoder.unescaped)]);
    let (mut fields, mut columns, mut as_read) = root.finish_columns(&buffers);
    if rules.extra.is_some() {
        let (column, ty) = extra.finish(&buffers);
        columns.push(column);
        if !as_read.is_empty() {
            as_read.push(None);
        }
        fields.push(Field { name: schema.fields[n_columns].name.clone(), ty });
    }
    let observed = Schema::new(fields);
    Outcome::Decoded(Decoded {
        batch: Batch {
            schema: Arc::new(observed.clone()),
            columns,
            as_read,
            rows,
            records: options.record_spans.then(|| (morsel.bytes.clone(), spans)),
        },
        rejects,
        consumed: decoder.cursor.pos.min(morsel.len),
        records,
        lines,
        duplicate_keys: decoder.duplicate_keys,
        cell_kinds: Vec::new(),
        observed,
    })
}

/// Checks length and UTF-8 of the line at `start`.
fn check_line(morsel: &Morsel, start: usize, max_bytes: usize) -> Scan<()> {
    let line = &morsel.records()[start..line_end(morsel, start)];
    if line.len() > max_bytes {
        return Err(JsonError::syntax(start, "the record is longer than the maximum record size"));
    }
    match simdutf8::compat::from_utf8(line) {
        Err(error) => Err(JsonError::syntax(start + error.valid_up_to(), "invalid UTF-8")),
        Ok(_) => Ok(()),
    }
}

/// Returns the end of the line that starts at `start`, before its carriage return if it has one.
fn line_end(morsel: &Morsel, start: usize) -> usize {
    let rest = &morsel.records()[start..];
    let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
    start + if end > 0 && rest[end - 1] == b'\r' { end - 1 } else { end }
}

fn describe(error: &JsonError) -> String {
    match &error.kind {
        JsonErrorKind::UnknownKey(_) => format!("new key `{}`", error.path()),
        _ => format!("field `{}`: {}", error.path(), error.reason()),
    }
}

/// Infers the schema that holds the records of this morsel too.
fn widened(morsel: &Morsel, schema: &Schema, options: &DecodeOptions, rules: &RecordRules<'_>) -> Schema {
    let inferred = infer_columns(
        morsel,
        &InferOptions {
            keys: options.new_columns,
            max_record_bytes: options.max_record_bytes,
            enforced: rules.enforced,
            trace: false,
        },
    );
    let mut observed = inferred.schema;
    if rules.extra.is_some() {
        // Keys without a column go into the extra column, and so does a key of the extra column's own name.
        let columns = &schema.fields[..schema.fields.len() - 1];
        let known: HashMap<&str, ()> = columns.iter().map(|f| (&*f.name, ())).collect();
        observed.fields.retain(|f| known.contains_key(&*f.name));
    }
    if let Some(columns) = rules.output_columns {
        observed.fields.retain(|field| columns.refusal(&field.name).is_none());
    }
    schema.join(&observed, TypeMerge::Json)
}

/// The decision about a record with an error.
enum Verdict {
    Reject(Box<JsonError>),
    /// A key that is not among the columns of the output, with the reason.
    Misfit {
        error: Box<JsonError>,
        refusal: Cow<'static, str>,
    },
    /// `widens` is false for a misfit of the enforced schema, which no wider schema would hold.
    SchemaMismatch {
        error: Box<JsonError>,
        widens: bool,
    },
}

struct Decoder<'a> {
    cursor: Cursor<'a>,
    /// Text of strings with escapes, the second buffer of the views.
    unescaped: Vec<u8>,
    duplicate_keys: u64,
    /// Those of nested values that pass as their own text are moved into `duplicate_keys` value by value.
    nested_keys: DuplicateKeys,
    /// Hashes of the keys of one map, kept for their memory.
    key_hashes: Vec<u64>,
    hasher: RandomState,
    /// True while a map is parsed again because of duplicates, with all maps in it: a parse of each of them twice at each
    /// level would take time exponential in the depth.
    distinct_maps: bool,
    unknown_key: UnknownKey,
    canonical_json: bool,
    /// The keys of records in their usual order and spelling, with their columns. Filled only under
    /// [`UnknownKey::Skip`]; otherwise the order is that of the columns.
    order: Vec<(Literal, Option<usize>)>,
    rules: RecordRules<'a>,
    /// True if some record of the morsel is not UTF-8, so that each line is checked by itself.
    invalid_utf8: bool,
}

impl<'a> Decoder<'a> {
    /// Parses the record at the cursor, whose line starts at `start`; returns its end.
    fn record(
        &mut self,
        morsel: &Morsel,
        start: usize,
        max_bytes: usize,
        root: &mut StructBuilder,
        extra: &mut Builder,
    ) -> Scan<usize> {
        if self.invalid_utf8 || morsel.len - start > max_bytes {
            // Rare: the rest of the morsel is longer than a record may be, or some record is not UTF-8. The line is
            // checked before it is parsed.
            check_line(morsel, start, max_bytes)?;
        }
        if self.cursor.peek() != b'{' {
            // A syntax error and no misfit: no schema, however wide, would hold such a record.
            return Err(JsonError::syntax(start, not_an_object(self.cursor.peek())));
        }
        match self.rules.extra {
            None if self.unknown_key == UnknownKey::Skip => self.needed_fields(root)?,
            None => self.object(root, 0)?,
            Some(kind) => self.object_with_extra(root, extra, kind)?,
        }
        let end = self.cursor.pos;
        self.end_of_record()?;
        if let (Some(enforced), true) = (self.rules.enforced, self.rules.check_all) {
            let next = std::mem::replace(&mut self.cursor.pos, start);
            check_enforced(&mut self.cursor, &enforced)?;
            self.cursor.pos = next;
        }
        Ok(end)
    }

    /// Decides about the record at `start`, which is invalid or does not fit its columns.
    #[cold]
    fn classify(&mut self, error: Box<JsonError>, morsel: &Morsel, start: usize, options: &DecodeOptions) -> Verdict {
        // A misfit in a record that is invalid further on is no reason to widen: the record is rejected.
        if let Err(broken) = self.check_record(morsel, start, options.max_record_bytes) {
            return Verdict::Reject(broken);
        }
        if matches!(error.kind, JsonErrorKind::Syntax(_)) {
            return Verdict::Reject(error);
        }
        if let Some(enforced) = self.rules.enforced {
            self.cursor.pos = start;
            if let Err(misfit) = check_enforced(&mut self.cursor, &enforced) {
                return match enforced.on_misfit {
                    OnMisfit::Reject => Verdict::Reject(misfit),
                    OnMisfit::SchemaMismatch => Verdict::SchemaMismatch { error: misfit, widens: false },
                };
            }
        }
        if let Some(refusal) = self.refusal(&error) {
            return Verdict::Misfit { error, refusal };
        }
        if options.freeze { Verdict::Reject(error) } else { Verdict::SchemaMismatch { error, widens: true } }
    }

    /// Returns the reason for which the output has no column for the key that `error` is about; `None` if it can have one.
    #[cold]
    fn refusal(&self, error: &JsonError) -> Option<Cow<'static, str>> {
        match &error.kind {
            JsonErrorKind::UnknownKey(key) if error.path.is_empty() => self.rules.output_columns?.refusal(key),
            _ => None,
        }
    }

    fn end_of_record(&mut self) -> Scan<()> {
        match self.cursor.skip_blank() {
            b'\n' => Ok(()),
            0 if self.cursor.at_end() => Ok(()),
            _ => Err(JsonError::syntax(self.cursor.pos, "text after the end of the record")),
        }
    }

    /// Checks the syntax of the record at `start` alone, so that the error does not depend on the columns.
    #[cold]
    fn check_record(&mut self, morsel: &Morsel, start: usize, max_bytes: usize) -> Scan<()> {
        check_line(morsel, start, max_bytes)?;
        self.cursor.pos = start;
        let first = self.cursor.peek();
        check_value(&mut self.cursor, 0)?;
        self.end_of_record()?;
        if first == b'{' { Ok(()) } else { Err(JsonError::syntax(start, not_an_object(first))) }
    }

    /// Parses an object into the next value of `into`; the cursor is at its brace.
    fn object(&mut self, into: &mut StructBuilder, depth: usize) -> Scan<()> {
        self.cursor.open(depth)?;
        let len = into.len();
        if self.cursor.skip_blank() == b'}' {
            self.cursor.pos += 1;
            into.end_value();
            return Ok(());
        }
        // Fields from `top` on have no value yet; `seen` counts the fields that have one. While keys come in the order
        // of the columns, no field has to be checked for a duplicate, and with all seen none for a missing value.
        let (mut next, mut top, mut seen) = (0, 0, 0);
        loop {
            // Mostly the next key, or one further on where a record lacks some.
            let expected = into.fields.get(next..).unwrap_or_default().iter().take(LOOK_AHEAD);
            let index = match expected.enumerate().find(|(_, field)| self.cursor.accept_literal(&field.literal)) {
                Some((ahead, _)) => next + ahead,
                None => match self.key(into) {
                    Ok(index) => index,
                    // The output has no such column, and no value is missing there.
                    Err(error) if depth == 0 && self.skip_null_of_refused(&error)? => {
                        if self.end_of_member()? {
                            into.end_value();
                            return Ok(());
                        }
                        continue;
                    }
                    Err(error) => return Err(error),
                },
            };
            next = index + 1;
            if index < top {
                seen += usize::from(into.fields[index].builder.len() == len);
                self.field(into, index, len, depth)?;
            } else {
                (top, seen) = (next, seen + 1);
                self.new_field(into, index, depth)?;
            }
            if self.end_of_member()? {
                match seen == into.fields.len() {
                    true => into.end_whole_value(),
                    false => into.end_value(),
                }
                return Ok(());
            }
        }
    }

    /// Skips the null at the cursor if it is that of a key for which the output has no column. Returns false for all else.
    #[cold]
    fn skip_null_of_refused(&mut self, error: &JsonError) -> Scan<bool> {
        if self.refusal(error).is_none() || self.cursor.skip_blank() != b'n' {
            return Ok(false);
        }
        self.cursor.word(b"null")?;
        Ok(true)
    }

    /// Parses a record of which only some columns are needed; the values of other keys are validated just
    /// as strictly and left out. The cursor is at its brace.
    fn needed_fields(&mut self, into: &mut StructBuilder) -> Scan<()> {
        self.cursor.open(0)?;
        let len = into.len();
        if self.cursor.skip_blank() == b'}' {
            self.cursor.pos += 1;
            into.end_value();
            return Ok(());
        }
        let mut next = 0;
        loop {
            // The order of the records' keys, not of the columns: skipped keys are between them.
            let expected = self.order.get(next..).unwrap_or_default().iter().take(LOOK_AHEAD);
            let column = match expected.enumerate().find(|(_, (key, _))| self.cursor.accept_literal(key)) {
                Some((ahead, (_, column))) => {
                    next += ahead + 1;
                    *column
                }
                None => self.unexpected_key(into, &mut next)?,
            };
            match column {
                Some(index) => self.field(into, index, len, 0)?,
                None => {
                    self.cursor.skip_value(1)?;
                }
            }
            if self.end_of_member()? {
                into.end_value();
                return Ok(());
            }
        }
    }

    /// Parses the value at the cursor into field `index` of the object that becomes value `len`. Drops the value of a
    /// duplicate key before.
    #[inline(always)]
    fn field(&mut self, into: &mut StructBuilder, index: usize, len: usize, depth: usize) -> Scan<()> {
        let field = &mut into.fields[index];
        if field.builder.len() > len {
            field.builder.truncate(len);
            self.duplicate_keys += 1;
        }
        self.new_field(into, index, depth)
    }

    /// As [`Decoder::field`], for a field that has no value in this object yet.
    #[inline(always)]
    fn new_field(&mut self, into: &mut StructBuilder, index: usize, depth: usize) -> Scan<()> {
        let field = &mut into.fields[index];
        self.value(&mut field.builder, depth + 1)
            .map_err(|error| error.within(PathSegment::Key(field.name.to_string())))
    }

    /// Consumes the comma or brace after a member; returns true at the end of the object.
    #[inline(always)]
    fn end_of_member(&mut self) -> Scan<bool> {
        match self.cursor.skip_blank() {
            b',' => {
                self.cursor.pos += 1;
                self.cursor.skip_blank();
                Ok(false)
            }
            b'}' => {
                self.cursor.pos += 1;
                Ok(true)
            }
            _ => Err(JsonError::syntax(self.cursor.pos, "expected `,` or `}`")),
        }
    }

    /// Parses a key that is out of the remembered order, and returns its column, if it is needed. Remembers a new key
    /// after the one before it; `next` becomes the index after the key.
    #[inline(never)]
    fn unexpected_key(&mut self, into: &StructBuilder, next: &mut usize) -> Scan<Option<usize>> {
        let start = self.cursor.pos;
        let s = self.parse_key()?;
        let mut owned = Vec::new();
        let column = into.position(key_text(&self.cursor, s, &mut owned));
        let literal = &self.cursor.bytes()[start..self.cursor.pos];
        match self.order.iter().position(|(key, _)| *key.text == *literal) {
            Some(index) => *next = index + 1,
            None if self.order.len() < MAX_REMEMBERED_KEYS => {
                self.order.insert(*next, (Literal::new(literal), column));
                *next += 1;
            }
            None => {}
        }
        Ok(column)
    }

    /// Consumes a key and its colon.
    fn parse_key(&mut self) -> Scan<Str> {
        if self.cursor.skip_blank() != b'"' {
            return Err(JsonError::syntax(self.cursor.pos, "expected a key in quotes"));
        }
        let s = self.cursor.string()?;
        self.cursor.expect(b':', "expected `:` after a key")?;
        Ok(s)
    }

    /// Consumes a key and its colon, and returns its column.
    #[inline(never)]
    fn key(&mut self, into: &StructBuilder) -> Scan<usize> {
        self.cursor.skip_blank();
        let at = self.cursor.pos;
        let s = self.parse_key()?;
        let mut owned = Vec::new();
        let key = key_text(&self.cursor, s, &mut owned);
        into.position(key).ok_or_else(|| {
            let key = String::from_utf8_lossy(key).into_owned();
            Box::new(JsonError { at, kind: JsonErrorKind::UnknownKey(key), path: Vec::new() })
        })
    }

    /// Parses the value at the cursor into the next value of `into`.
    fn value(&mut self, into: &mut Builder, depth: usize) -> Scan<()> {
        let first = self.cursor.skip_blank();
        let at = self.cursor.pos;
        if let Builder::AsRead(column, views, nulls) = into {
            self.value(column, depth)?;
            views.push(make_view(&self.cursor.bytes()[at..self.cursor.pos], MORSEL, at));
            nulls.push(true);
            return Ok(());
        }
        // Null fits every column; only raw text distinguishes it from an absent key.
        if first == b'n' && !matches!(into, Builder::Raw(..)) {
            self.cursor.word(b"null")?;
            into.push_null();
            return Ok(());
        }
        // A value that no guard accepts is a misfit.
        match into {
            Builder::Text(views, nulls) if first == b'"' => {
                let s = self.cursor.string()?;
                views.push(self.view(s));
                nulls.push(true);
            }
            Builder::Int(values, nulls, first_wide) if is_number(first) => {
                let n = self.cursor.number()?;
                match self.integer(n) {
                    Some(i) => {
                        if !fits_in_double(i) {
                            *first_wide = values.len().min(*first_wide);
                        }
                        values.push(i);
                        nulls.push(true);
                    }
                    None => return Err(JsonError::misfit(at, &Type::Int { fits_double: true }, wide_number(n))),
                }
            }
            Builder::Float(values, nulls) if is_number(first) => {
                let n = self.cursor.number()?;
                match self.float(n) {
                    Some(f) => {
                        values.push(f);
                        nulls.push(true);
                    }
                    None => return Err(JsonError::misfit(at, &Type::Float, "a number that a double cannot hold")),
                }
            }
            Builder::Bool(values, nulls) if first == b't' || first == b'f' => {
                self.cursor.word(if first == b't' { b"true" } else { b"false" })?;
                values.append(first == b't');
                nulls.push(true);
            }
            Builder::Struct(fields) if first == b'{' => self.object(fields, depth)?,
            Builder::List(ends, item, nulls) if first == b'[' => {
                self.list(item, depth)?;
                ends.push(item.len() as i32);
                nulls.push(true);
            }
            Builder::Json(views, nulls) if self.canonical_json => {
                let (start, end) = self.cursor.skip_value(depth)?;
                views.push(self.canonical_view(start, end));
                nulls.push(true);
            }
            Builder::Json(views, nulls) | Builder::Raw(views, nulls) => {
                let (start, end) = self.cursor.skip_value(depth)?;
                views.push(make_view(&self.cursor.bytes()[start..end], MORSEL, start));
                nulls.push(true);
            }
            Builder::Opaque(container, views, nulls) if first == opening(*container) => {
                let (start, end) = self.cursor.skip_nested(depth, &mut self.nested_keys)?;
                self.duplicate_keys += std::mem::take(&mut self.nested_keys.count);
                views.push(make_view(&self.cursor.bytes()[start..end], MORSEL, start));
                nulls.push(true);
            }
            Builder::Decimal(values, nulls) if is_number(first) => {
                let n = self.cursor.number()?;
                match self.decimal(n) {
                    Some(d) => {
                        values.push(d);
                        nulls.push(true);
                    }
                    None => {
                        let found = "a number that is no integer of up to 38 digits";
                        return Err(JsonError::misfit(at, &Type::Decimal, found));
                    }
                }
            }
            Builder::Map(ends, keys, values, nulls) if first == b'{' => {
                self.map(keys, values, depth)?;
                ends.push(values.len() as i32);
                nulls.push(true);
            }
            Builder::Empty(views, nulls) if first == b'{' => {
                self.cursor.open(depth)?;
                if self.cursor.skip_blank() != b'}' {
                    return Err(JsonError::misfit(at, &Type::Struct(Vec::new()), "an object with keys"));
                }
                self.cursor.pos += 1;
                views.push(make_view(b"{}", MORSEL, 0));
                nulls.push(true);
            }
            other => {
                let ty = type_of(other);
                return Err(JsonError::misfit(at, &ty, kind_of(first)));
            }
        }
        Ok(())
    }

    /// Makes the view of the JSON value from `start` to `end` in its canonical form.
    fn canonical_view(&mut self, start: usize, end: usize) -> u128 {
        let bytes = &self.cursor.bytes()[start..end];
        match std::str::from_utf8(bytes) {
            // Records that are not UTF-8 are rejected, so that the error is only formal.
            Ok(text) if !is_canonical(bytes) => {
                let at = self.unescaped.len();
                write_canonical(text, &mut self.unescaped);
                self.duplicate_keys += count_duplicate_keys(text);
                make_view(&self.unescaped[at..], UNESCAPED, at)
            }
            _ => make_view(bytes, MORSEL, start),
        }
    }

    fn list(&mut self, item: &mut Builder, depth: usize) -> Scan<()> {
        self.cursor.open(depth)?;
        if self.cursor.skip_blank() == b']' {
            self.cursor.pos += 1;
            return Ok(());
        }
        let first = item.len();
        loop {
            if let Err(error) = self.value(item, depth + 1) {
                // A failed value is not counted: builders push last.
                let index = item.len() - first;
                return Err(error.within(PathSegment::Index(index)));
            }
            match self.cursor.skip_blank() {
                b',' => self.cursor.pos += 1,
                b']' => {
                    self.cursor.pos += 1;
                    return Ok(());
                }
                _ => return Err(JsonError::syntax(self.cursor.pos, "expected `,` or `]`")),
            }
        }
    }

    /// Makes the view of a string's text, unescaped if needed.
    #[inline]
    fn view(&mut self, s: Str) -> u128 {
        if !s.escaped {
            return make_view(&self.cursor.bytes()[s.start..s.end], MORSEL, s.start);
        }
        let start = self.unescaped.len();
        self.cursor.unescape(s, &mut self.unescaped);
        make_view(&self.unescaped[start..], UNESCAPED, start)
    }
}

#[inline(always)]
fn is_number(first: u8) -> bool {
    first == b'-' || first.is_ascii_digit()
}

fn opening(container: Container) -> u8 {
    match container {
        Container::Object => b'{',
        Container::List => b'[',
    }
}

fn wide_number(n: Number) -> &'static str {
    if n.integer { "an integer beyond 64 bits" } else { "a number with a fraction or exponent" }
}

fn not_an_object(first: u8) -> &'static str {
    match first {
        b'[' => "expected an object, found a list",
        b'"' => "expected an object, found a string",
        b't' | b'f' => "expected an object, found a boolean",
        b'n' => "expected an object, found null",
        _ => "expected an object, found a number",
    }
}

/// Returns the type of a builder, for messages.
fn type_of(builder: &Builder) -> Type {
    match builder {
        Builder::Null(_) => Type::Null,
        Builder::Bool(..) => Type::Bool,
        Builder::Int(..) => Type::Int { fits_double: true },
        Builder::Decimal(..) => Type::Decimal,
        Builder::Float(..) => Type::Float,
        Builder::Text(..) => Type::Text,
        Builder::Json(..) => Type::Json,
        Builder::Raw(..) => Type::Raw,
        Builder::Empty(..) => Type::Struct(Vec::new()),
        Builder::Opaque(container, ..) => Type::Opaque(*container),
        Builder::Struct(s) => Type::Struct(
            s.fields.iter().map(|f| crate::column::Field::new(f.name.clone(), type_of(&f.builder))).collect(),
        ),
        Builder::List(_, item, _) => Type::List(Box::new(type_of(item))),
        Builder::Map(_, _, value, _) => Type::Map(Box::new(type_of(value))),
        Builder::AsRead(column, ..) => type_of(column),
    }
}
