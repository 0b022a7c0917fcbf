//! NDJSON: records are accepted and rejected as by serde_json, for every [`Use`] of their values and every [`Cut`].

use std::sync::Arc;

use drawoff::column::{Batch, Schema, Type, TypeMerge};
use drawoff::format::decode::{Decoded, Outcome};
use drawoff::format::frame::{Framed, Framing};
use drawoff::format::ndjson::{DecodeOptions, UnknownKey, ValueTypes, decode, encode};
use serde_json::{Map, Value};

use super::json::{MAX_DEPTH, agrees_with_simd_json, by_serde, canonical, carried, depth};
use super::{Cut, Place, Rejected, frame};

/// Treatment of the values of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Decoded into typed columns, which widen as needed.
    Typed,
    /// Kept as raw text: records are copied.
    Copied,
    /// Validated and skipped: no column is selected.
    Skipped,
    /// Decoded into fixed columns of another file, which nearly no value fits.
    Frozen,
}

/// Every treatment.
pub const USES: [Use; 4] = [Use::Typed, Use::Copied, Use::Skipped, Use::Frozen];

/// Rows and rejects of an input.
#[derive(Debug)]
pub struct Taken {
    /// Rows as JSON, and the schema of their batches.
    pub rows: Vec<(Value, Arc<Schema>)>,
    /// Rows as the NDJSON that drawoff writes.
    pub text: Vec<u8>,
    pub rejects: Vec<Rejected>,
    pub records: u64,
    pub lines: u64,
    pub duplicate_keys: u64,
    /// Schema of all rows.
    pub schema: Arc<Schema>,
}

/// Reads `bytes` as the pipeline does.
pub fn take(bytes: &[u8], with: Use, max_record_bytes: usize, cut: Cut) -> Taken {
    let options = DecodeOptions {
        unknown_key: if with == Use::Skipped { UnknownKey::Skip } else { UnknownKey::SchemaMismatch },
        new_columns: if with == Use::Typed { ValueTypes::Typed } else { ValueTypes::Raw },
        freeze: with == Use::Frozen,
        max_record_bytes,
        max_cells: cut.max_cells,
        record_spans: with == Use::Copied,
        canonical_json: with == Use::Typed,
    };
    let schema = match with {
        Use::Frozen => Schema::new(vec![drawoff::column::Field::new("a", Type::Bool)]),
        _ => Schema::default(),
    };
    let mut taken = Taken {
        rows: Vec::new(),
        text: Vec::new(),
        rejects: Vec::new(),
        records: 0,
        lines: 0,
        duplicate_keys: 0,
        schema: Arc::new(schema),
    };
    let mut place = Place::default();
    for framed in frame(bytes, Framing::Lines, max_record_bytes, cut) {
        let mut morsel = match framed {
            Framed::Oversized(oversized) => {
                taken.rejects.push(place.oversized(oversized));
                place = Place { lines: place.lines + oversized.lines, records: place.records + 1 };
                continue;
            }
            Framed::Morsel(morsel) => morsel,
        };
        while morsel.len > 0 {
            let decoded = loop {
                match decode(&morsel, &taken.schema, &options) {
                    Outcome::Decoded(decoded) => break decoded,
                    Outcome::SchemaMismatch(surprise) => {
                        assert!(matches!(with, Use::Typed | Use::Copied), "no surprise when {with:?}");
                        assert_ne!(surprise.schema, *taken.schema, "a surprise widens: {}", surprise.what);
                        taken.schema = Arc::new(surprise.schema);
                    }
                }
            };
            let Decoded { batch, rejects, consumed, records, lines, duplicate_keys, cell_kinds, observed } = decoded;
            assert!(cell_kinds.is_empty(), "only CSV has cells");
            assert!(consumed > 0 && consumed <= morsel.len);
            assert_eq!(records, batch.rows as u64 + rejects.len() as u64, "records in = rows + rejects");
            taken.rejects.extend(rejects.iter().map(|rejected| place.rejected(&morsel, rejected)));
            taken.schema = Arc::new(taken.schema.join(&observed, TypeMerge::Json));
            taken.take_rows(&batch);
            taken.duplicate_keys += duplicate_keys;
            place = Place { lines: place.lines + lines, records: place.records + records };
            morsel = morsel.rest(consumed);
        }
    }
    (taken.records, taken.lines) = (place.records, place.lines);
    taken
}

impl Taken {
    fn take_rows(&mut self, batch: &Batch) {
        let mut text = Vec::new();
        encode(batch, b"\n", &mut text);
        // Raw text is also copied from records without a row.
        let lines: Vec<&[u8]> = text.split(|&b| b == b'\n').collect();
        assert_eq!(lines.len(), batch.rows + 1, "a row is a line");
        for line in &lines[..batch.rows] {
            // serde_json fails at the last level.
            let value = (depth(line) < MAX_DEPTH).then(|| serde_json::from_slice(line).expect("rows are JSON"));
            self.rows.push((value.unwrap_or_default(), batch.schema.clone()));
        }
        self.text.extend_from_slice(&text);
    }
}

/// One record as the oracle reads it.
struct Line<'a> {
    byte: u64,
    line: u64,
    /// The record without leading blanks and without its line end.
    text: &'a [u8],
    /// Length as the framer counts it.
    framed_len: usize,
}

fn lines(bytes: &[u8]) -> Vec<Line<'_>> {
    let (mut byte, bytes) = match bytes.strip_prefix(b"\xef\xbb\xbf") {
        Some(rest) => (3, rest),
        None => (0, bytes),
    };
    let mut lines = Vec::new();
    for (i, line) in bytes.split(|&b| b == b'\n').enumerate() {
        let blanks = line.iter().take_while(|b| b" \t\r".contains(b)).count();
        if blanks < line.len() {
            let text = &line[blanks..];
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            lines.push(Line { byte: byte + blanks as u64, line: i as u64 + 1, text, framed_len: line.len() });
        }
        byte += line.len() as u64 + 1;
    }
    lines
}

/// Checks all properties of NDJSON on `bytes`, with the cut of [`Cut::of`].
pub fn check(bytes: &[u8]) {
    check_cut(bytes, Cut::of(bytes));
}

/// As [`check`], with a given cut.
pub fn check_cut(bytes: &[u8], cut: Cut) {
    const MAX_RECORD_BYTES: usize = 1 << 16;
    let lines = lines(bytes);
    if lines.iter().any(|line| line.framed_len > MAX_RECORD_BYTES) {
        return;
    }
    let oracle: Vec<_> = lines.iter().map(|line| by_serde(line.text)).collect();
    for (line, verdict) in lines.iter().zip(&oracle) {
        if let Some(verdict) = verdict {
            agrees_with_simd_json(line.text, verdict.as_ref());
        }
    }
    let typed = take(bytes, Use::Typed, MAX_RECORD_BYTES, cut);
    verdicts_agree(&lines, &oracle, &typed.rejects);
    values_agree(&typed, &oracle);
    assert_eq!(typed.records, lines.len() as u64);
    assert_eq!(typed.lines, bytes.iter().filter(|&&b| b == b'\n').count() as u64);

    let whole = take(bytes, Use::Typed, MAX_RECORD_BYTES, Cut::WHOLE);
    assert_eq!(whole.schema, typed.schema, "the schema does not depend on the cut");
    assert_eq!(whole.rejects, typed.rejects, "nor do rejects");

    let copied = take(bytes, Use::Copied, MAX_RECORD_BYTES, cut);
    assert_eq!(copied.rejects, typed.rejects, "raw values are held to the same rules");
    let rejected: Vec<u64> = typed.rejects.iter().map(|r| r.record).collect();
    let kept = lines.iter().enumerate().filter(|(i, _)| !rejected.contains(&(*i as u64)));
    let expected: Vec<u8> = kept.flat_map(|(_, line)| [line.text.trim_ascii_end(), b"\n"].concat()).collect();
    assert_eq!(String::from_utf8_lossy(&copied.text), String::from_utf8_lossy(&expected), "copied to the byte");

    let skipped = take(bytes, Use::Skipped, MAX_RECORD_BYTES, cut);
    assert_eq!(skipped.rejects, typed.rejects, "skipped values are held to the same rules");

    let frozen = take(bytes, Use::Frozen, MAX_RECORD_BYTES, cut);
    let broken = |rejected: &&Rejected| !is_misfit(rejected);
    assert!(frozen.rejects.iter().filter(broken).eq(typed.rejects.iter()), "what is broken is no misfit");
    assert_eq!(*frozen.schema, Schema::new(vec![drawoff::column::Field::new("a", Type::Bool)]));
}

fn is_misfit(rejected: &Rejected) -> bool {
    let reason = &rejected.reject.reason;
    reason == "the schema has no such field" || (reason.starts_with("expected bool, found"))
}

fn verdicts_agree(lines: &[Line<'_>], oracle: &[Option<Option<Map<String, Value>>>], rejects: &[Rejected]) {
    let mut rejects = rejects.iter().peekable();
    for (i, (line, verdict)) in lines.iter().zip(oracle).enumerate() {
        let reject = rejects.next_if(|reject| reject.record == i as u64);
        let text = String::from_utf8_lossy(line.text);
        if let Some(verdict) = verdict {
            assert_eq!(reject.is_none(), verdict.is_some(), "record {i}: {text:?}: {reject:?}");
        }
        if let Some(reject) = reject {
            assert_eq!((reject.byte, reject.line), (line.byte, line.line), "the place of record {i}: {text:?}");
            assert_eq!(reject.raw.as_deref(), Some(line.text), "the raw text of record {i}");
            assert!(reject.reject.offset <= line.text.len(), "{text:?}: {reject:?}");
        }
    }
    assert!(rejects.next().is_none(), "rejects are in order");
}

fn values_agree(taken: &Taken, oracle: &[Option<Option<Map<String, Value>>>]) {
    let rejected: Vec<u64> = taken.rejects.iter().map(|r| r.record).collect();
    let kept = oracle.iter().enumerate().filter(|(i, _)| !rejected.contains(&(*i as u64)));
    let mut n = 0;
    for ((row, schema), (i, verdict)) in taken.rows.iter().zip(kept) {
        n += 1;
        let Some(verdict) = verdict else { continue };
        let record = verdict.as_ref().expect("verdicts agree");
        assert!(record.keys().all(|key| schema.position(key).is_some()), "record {i} has all its columns");
        for field in &schema.fields {
            let found = canonical(row.get(&*field.name).unwrap_or(&Value::Null));
            let expected = canonical(&carried(record.get(&*field.name), &field.ty));
            assert_eq!(found, expected, "record {i}, column `{}`: {}", field.name, field.ty);
        }
    }
    assert_eq!(n, taken.rows.len(), "there are as many rows as records that were taken");
}
