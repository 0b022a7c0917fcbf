//! NDJSON into columns, in one pass over the bytes.
//!
//! The plain algorithm: for every key of a record find its column, parse the value by the
//! column's type, and at the end give null to the columns that got nothing. The one departure:
//! records mostly have their keys in the same order, so the key that is expected next is compared
//! first, quotes and colon included, in one comparison.
//!
//! Strings are never copied: they become views into the morsel. Strings with escapes are written
//! out once, to a side buffer, so the morsel keeps the raw text for rejects.

use std::sync::Arc;

use arrow_buffer::Buffer;

use super::infer::{self, Keys};
use super::scan::{Cursor, Fault, FaultKind, Number, Scan, Str, Way, kind_of};
use crate::column::build::{Builder, StructBuilder};
use crate::column::views::make_view;
use crate::column::{Batch, Mixing, Morsel, RecordSpan, Schema, Type};
use crate::format::Reject;
use crate::format::decode::{Decoded, Outcome, RejectedRecord, Surprise};

/// Buffer indices of views: the morsel itself, and the text of strings that had escapes.
const MORSEL: u32 = 0;
const UNESCAPED: u32 = 1;

/// What a key does that no column has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownKey {
    /// The schema must widen.
    Surprise,
    /// Its value is checked and left out: the plan does not need it.
    Skip,
}

/// How NDJSON is decoded.
#[derive(Clone, Copy, Debug)]
pub struct DecodeOptions {
    /// What an unknown key of a record does. Below the record's own keys it is always a surprise.
    pub unknown_key: UnknownKey,
    /// What new columns hold.
    pub new_columns: Keys,
    /// A value or key that does not fit rejects its record, instead of widening the schema.
    pub freeze: bool,
    /// A longer record is a reject.
    pub max_record_bytes: usize,
    /// A batch ends with the record that brings it to so many values, nulls included: records with
    /// few keys under a schema of many columns would else take memory far beyond their bytes.
    pub max_cells: usize,
    /// Note where each record stands, for sinks that copy records.
    pub record_spans: bool,
}

/// Decodes a morsel of NDJSON into columns of `schema`.
///
/// Every line is one record; blank lines are passed over. A line that is not one JSON object is a
/// reject and leaves no trace in the columns.
pub fn decode(morsel: &Morsel, schema: &Arc<Schema>, options: &DecodeOptions) -> Outcome {
    let mut decoder = Decoder {
        cursor: Cursor::new(morsel),
        unescaped: Vec::new(),
        duplicate_keys: 0,
        unknown_key: options.unknown_key,
        invalid_utf8: simdutf8::basic::from_utf8(morsel.records()).is_err(),
    };
    let mut root = StructBuilder::new(&schema.fields);
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
        // Blanks before a record are not of it.
        let start = decoder.cursor.pos;
        let rows = root.len();
        let result = decoder.record(morsel, start, options.max_record_bytes, &mut root);
        match result {
            Ok(end) => {
                if options.record_spans {
                    spans.push(RecordSpan { start: start as u32, len: (end - start) as u32 });
                }
            }
            Err(fault) => {
                root.truncate(rows);
                let end = line_end(morsel, start);
                // A record that is broken further on is a reject, not a reason to widen.
                let fault = match fault.kind {
                    FaultKind::Syntax(_) => fault,
                    _ => match decoder.check_record(start) {
                        Err(broken) => broken,
                        Ok(()) if options.freeze => fault,
                        Ok(()) => {
                            let observed = infer::infer(morsel, options.new_columns, options.max_record_bytes);
                            return Outcome::Surprise(Surprise {
                                schema: schema.join(&observed, Mixing::Json),
                                byte: start,
                                line: lines,
                                record: records,
                                what: describe(&fault),
                            });
                        }
                    },
                };
                let reject =
                    Reject { offset: fault.at.saturating_sub(start), path: fault.path(), reason: fault.reason() };
                rejects.push(RejectedRecord { reject, byte: start, len: end - start, line: lines, record: records });
                decoder.cursor.pos = end;
            }
        }
        records += 1;
        let full = root.len() * root.fields.len() >= options.max_cells;
        if decoder.cursor.pos < morsel.len {
            // The line break, or the carriage return before it that `line_end` left out.
            let rest = &morsel.records()[decoder.cursor.pos..];
            let skip = memchr::memchr(b'\n', rest).map_or(rest.len(), |i| i + 1);
            lines += u64::from(rest[skip - 1] == b'\n');
            decoder.cursor.pos += skip;
        }
        if full {
            break;
        }
    }

    let rows = root.len();
    let buffers: Arc<[Buffer]> = Arc::new([morsel.bytes.clone(), Buffer::from_vec(decoder.unescaped)]);
    let (fields, columns) = root.finish_columns(&buffers);
    let observed = Schema::new(fields);
    Outcome::Decoded(Decoded {
        batch: Batch {
            schema: Arc::new(observed.clone()),
            columns,
            rows,
            records: options.record_spans.then(|| (morsel.bytes.clone(), spans)),
        },
        rejects,
        consumed: decoder.cursor.pos.min(morsel.len),
        records,
        lines,
        duplicate_keys: decoder.duplicate_keys,
        observed,
    })
}

/// The end of the line that starts at `start`, a carriage return left out.
fn line_end(morsel: &Morsel, start: usize) -> usize {
    let rest = &morsel.records()[start..];
    let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
    start + if end > 0 && rest[end - 1] == b'\r' { end - 1 } else { end }
}

fn describe(fault: &Fault) -> String {
    let path = fault.path();
    match &fault.kind {
        FaultKind::UnknownKey(key) => format!("new key `{}`", path.field(key)),
        _ => format!("field `{path}`: {}", fault.reason()),
    }
}

struct Decoder<'a> {
    cursor: Cursor<'a>,
    unescaped: Vec<u8>,
    duplicate_keys: u64,
    unknown_key: UnknownKey,
    invalid_utf8: bool,
}

impl Decoder<'_> {
    /// Parses the record at the cursor, whose line starts at `start`; returns its end.
    fn record(&mut self, morsel: &Morsel, start: usize, max_bytes: usize, root: &mut StructBuilder) -> Scan<usize> {
        if self.invalid_utf8 || morsel.len - start > max_bytes {
            // Rare: look at the line by itself before any of it is parsed.
            let line = &morsel.records()[start..line_end(morsel, start)];
            if line.len() > max_bytes {
                return Err(Fault::syntax(start, "the record is longer than --max-record-bytes"));
            }
            if let Err(error) = simdutf8::compat::from_utf8(line) {
                return Err(Fault::syntax(start + error.valid_up_to(), "invalid UTF-8"));
            }
        }
        if self.cursor.peek() != b'{' {
            // Such a record never fits, however wide the schema: not a misfit but a fault.
            let found = not_an_object(self.cursor.peek());
            self.cursor.skip_value(0)?;
            self.end_of_record()?;
            return Err(Fault::syntax(start, found));
        }
        self.object(root, 0, self.unknown_key)?;
        let end = self.cursor.pos;
        self.end_of_record()?;
        Ok(end)
    }

    fn end_of_record(&mut self) -> Scan<()> {
        match self.cursor.skip_blank() {
            b'\n' => Ok(()),
            0 if self.cursor.at_end() => Ok(()),
            _ => Err(Fault::syntax(self.cursor.pos, "text after the end of the record")),
        }
    }

    /// Reads the record at `start` for its syntax alone.
    fn check_record(&mut self, start: usize) -> Scan<()> {
        self.cursor.pos = start;
        self.cursor.skip_value(0)?;
        self.end_of_record()
    }

    /// Parses an object into the next value of `into`; the cursor is at its brace.
    fn object(&mut self, into: &mut StructBuilder, depth: usize, unknown: UnknownKey) -> Scan<()> {
        self.cursor.open(depth)?;
        let len = into.len();
        if self.cursor.skip_blank() == b'}' {
            self.cursor.pos += 1;
            into.end_value();
            return Ok(());
        }
        let mut next = 0;
        loop {
            let index = match into.fields.get(next) {
                Some(field) if !field.literal.is_empty() && self.cursor.accept(&field.literal) => Some(next),
                _ => self.key(into, unknown)?,
            };
            if let Some(index) = index {
                next = index + 1;
                let field = &mut into.fields[index];
                if field.builder.len() > len {
                    field.builder.truncate(len);
                    self.duplicate_keys += 1;
                }
                if let Err(fault) = self.value(&mut field.builder, depth + 1) {
                    return Err(fault.within(Way::Key(field.name.to_string())));
                }
            } else {
                self.cursor.skip_value(depth + 1)?;
            }
            match self.cursor.skip_blank() {
                b',' => {
                    self.cursor.pos += 1;
                    self.cursor.skip_blank();
                }
                b'}' => {
                    self.cursor.pos += 1;
                    into.end_value();
                    return Ok(());
                }
                _ => return Err(Fault::syntax(self.cursor.pos, "expected `,` or `}`")),
            }
        }
    }

    /// Passes a key and its colon, and finds its column.
    #[inline(never)]
    fn key(&mut self, into: &StructBuilder, unknown: UnknownKey) -> Scan<Option<usize>> {
        if self.cursor.skip_blank() != b'"' {
            return Err(Fault::syntax(self.cursor.pos, "expected a key in quotes"));
        }
        let at = self.cursor.pos;
        let s = self.cursor.string()?;
        self.cursor.expect(b':', "expected `:` after a key")?;
        let mut owned = Vec::new();
        let key = key_text(&self.cursor, s, &mut owned);
        match into.position(key) {
            Some(index) => Ok(Some(index)),
            None if unknown == UnknownKey::Skip => Ok(None),
            None => Err(Box::new(Fault {
                at,
                kind: FaultKind::UnknownKey(String::from_utf8_lossy(key).into_owned()),
                way: Vec::new(),
            })),
        }
    }

    /// Parses the value at the cursor into the next value of `into`.
    fn value(&mut self, into: &mut Builder, depth: usize) -> Scan<()> {
        let first = self.cursor.skip_blank();
        let at = self.cursor.pos;
        if first == b'n' && !matches!(into, Builder::Raw(..)) {
            self.cursor.word(b"null")?;
            into.push_null();
            return Ok(());
        }
        match into {
            Builder::Text(views, nulls) if first == b'"' => {
                let s = self.cursor.string()?;
                views.push(self.view(s));
                nulls.push(true);
            }
            Builder::Int(values, nulls, fits_double) if is_number(first) => {
                let n = self.cursor.number()?;
                match self.integer(n) {
                    Some(i) => {
                        *fits_double &= fits_in_double(i);
                        values.push(i);
                        nulls.push(true);
                    }
                    None => return Err(Fault::misfit(at, &Type::Int { fits_double: true }, wide_number(n))),
                }
            }
            Builder::Float(values, nulls) if is_number(first) => {
                let n = self.cursor.number()?;
                match self.float(n) {
                    Some(f) => {
                        values.push(f);
                        nulls.push(true);
                    }
                    None => return Err(Fault::misfit(at, &Type::Float, "a number that no double holds")),
                }
            }
            Builder::Bool(values, nulls) if first == b't' || first == b'f' => {
                self.cursor.word(if first == b't' { b"true" } else { b"false" })?;
                values.append(first == b't');
                nulls.push(true);
            }
            Builder::Struct(fields) if first == b'{' => self.object(fields, depth, UnknownKey::Surprise)?,
            Builder::List(ends, item, nulls) if first == b'[' => {
                self.list(item, depth)?;
                ends.push(item.len() as i32);
                nulls.push(true);
            }
            Builder::Json(views, nulls) | Builder::Raw(views, nulls) => {
                let (start, end) = self.cursor.skip_value(depth)?;
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
                    None => return Err(Fault::misfit(at, &Type::Decimal, "a number that it cannot hold")),
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
                    return Err(Fault::misfit(at, &Type::Struct(Vec::new()), "an object with keys"));
                }
                self.cursor.pos += 1;
                views.push(make_view(b"{}", MORSEL, 0));
                nulls.push(true);
            }
            other => {
                let ty = type_of(other);
                return Err(Fault::misfit(at, &ty, kind_of(first)));
            }
        }
        Ok(())
    }

    fn list(&mut self, item: &mut Builder, depth: usize) -> Scan<()> {
        self.cursor.open(depth)?;
        if self.cursor.skip_blank() == b']' {
            self.cursor.pos += 1;
            return Ok(());
        }
        let first = item.len();
        loop {
            if let Err(fault) = self.value(item, depth + 1) {
                // The item itself may or may not have grown; its place in the list is what counts.
                let index = item.len() - first;
                return Err(fault.within(Way::Index(index)));
            }
            match self.cursor.skip_blank() {
                b',' => self.cursor.pos += 1,
                b']' => {
                    self.cursor.pos += 1;
                    return Ok(());
                }
                _ => return Err(Fault::syntax(self.cursor.pos, "expected `,` or `]`")),
            }
        }
    }

    /// Entries keep their order, and a key that stands twice keeps both: readers that build a
    /// dictionary from a map let the last one win.
    fn map(&mut self, keys: &mut crate::column::views::Views, values: &mut Builder, depth: usize) -> Scan<()> {
        self.cursor.open(depth)?;
        if self.cursor.skip_blank() == b'}' {
            self.cursor.pos += 1;
            return Ok(());
        }
        loop {
            if self.cursor.skip_blank() != b'"' {
                return Err(Fault::syntax(self.cursor.pos, "expected a key in quotes"));
            }
            let s = self.cursor.string()?;
            self.cursor.expect(b':', "expected `:` after a key")?;
            keys.push(self.view(s));
            if let Err(fault) = self.value(values, depth + 1) {
                let key = String::from_utf8_lossy(&self.cursor.bytes()[s.start..s.end]).into_owned();
                return Err(fault.within(Way::Key(key)));
            }
            match self.cursor.skip_blank() {
                b',' => self.cursor.pos += 1,
                b'}' => {
                    self.cursor.pos += 1;
                    return Ok(());
                }
                _ => return Err(Fault::syntax(self.cursor.pos, "expected `,` or `}`")),
            }
        }
    }

    /// The view of a string's text.
    #[inline]
    fn view(&mut self, s: Str) -> u128 {
        if !s.escaped {
            return make_view(&self.cursor.bytes()[s.start..s.end], MORSEL, s.start);
        }
        let start = self.unescaped.len();
        self.cursor.unescape(s, &mut self.unescaped);
        make_view(&self.unescaped[start..], UNESCAPED, start)
    }

    fn text(&self, n: Number) -> &str {
        std::str::from_utf8(&self.cursor.bytes()[n.start..n.end]).expect("numbers are ASCII")
    }

    #[inline]
    fn integer(&self, n: Number) -> Option<i64> {
        if !n.integer {
            return None;
        }
        let text = &self.cursor.bytes()[n.start..n.end];
        let (negative, digits) = match text {
            [b'-', digits @ ..] => (true, digits),
            digits => (false, digits),
        };
        if digits.len() > 18 {
            return self.text(n).parse().ok();
        }
        if negative && digits == b"0" {
            // `-0` is a double's to keep.
            return None;
        }
        let value = digits.iter().fold(0i64, |v, d| v * 10 + i64::from(d - b'0'));
        Some(if negative { -value } else { value })
    }

    fn decimal(&self, n: Number) -> Option<i128> {
        let text = self.text(n);
        let digits = text.trim_start_matches('-').len();
        if n.integer && digits <= 38 && text != "-0" { text.parse().ok() } else { None }
    }

    /// The double, unless the number is an integer that no double holds exactly, or too large.
    #[inline]
    fn float(&self, n: Number) -> Option<f64> {
        if n.integer {
            let text = self.text(n);
            let i: i128 = text.parse().ok()?;
            let f = i as f64;
            // `-0` is an integer that a double can tell from 0.
            // The cast back saturates, so the largest integer would seem exact.
            return (f as i128 == i && i != i128::MAX).then_some(if text == "-0" { -0.0 } else { f });
        }
        if let Some(f) = self.short_float(n) {
            return Some(f);
        }
        let f: f64 = self.text(n).parse().expect("the grammar of JSON numbers is a part of Rust's");
        f.is_finite().then_some(f)
    }

    /// Up to 15 digits, at most 22 of them after the point: both parts are exact in a double, and
    /// so is the rounding of their quotient.
    #[inline]
    fn short_float(&self, n: Number) -> Option<f64> {
        const POWERS: [f64; 16] =
            [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
        let text = &self.cursor.bytes()[n.start..n.end];
        if text.len() > 16 {
            return None;
        }
        let (negative, digits) = match text {
            [b'-', digits @ ..] => (true, digits),
            digits => (false, digits),
        };
        let mut mantissa = 0u64;
        let mut decimals = 0;
        let mut after_point = false;
        for &byte in digits {
            match byte {
                b'.' => after_point = true,
                b'0'..=b'9' => {
                    mantissa = mantissa * 10 + u64::from(byte - b'0');
                    decimals += usize::from(after_point);
                }
                _ => return None,
            }
        }
        let value = mantissa as f64 / POWERS[decimals];
        Some(if negative { -value } else { value })
    }
}

/// A key's text: the morsel's own bytes, or `owned` if it has escapes.
pub(super) fn key_text<'a>(cursor: &Cursor<'a>, s: Str, owned: &'a mut Vec<u8>) -> &'a [u8] {
    if s.escaped {
        cursor.unescape(s, owned);
        owned
    } else {
        &cursor.bytes()[s.start..s.end]
    }
}

#[inline(always)]
fn is_number(first: u8) -> bool {
    first == b'-' || first.is_ascii_digit()
}

/// True when the nearest double is the integer itself.
pub(super) fn fits_in_double(i: i64) -> bool {
    i.unsigned_abs() <= 1 << 53 || (i as f64) as i128 == i128::from(i)
}

fn wide_number(n: Number) -> &'static str {
    if n.integer { "an integer that 64 bits do not hold" } else { "a number with a fraction or exponent" }
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

/// The type of a builder, for messages.
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
        Builder::Struct(s) => Type::Struct(
            s.fields.iter().map(|f| crate::column::Field::new(f.name.clone(), type_of(&f.builder))).collect(),
        ),
        Builder::List(_, item, _) => Type::List(Box::new(type_of(item))),
        Builder::Map(_, _, value, _) => Type::Map(Box::new(type_of(value))),
    }
}
