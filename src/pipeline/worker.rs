//! What one compute thread does with a group of morsels: decode, steps, encode. Each group becomes
//! one [`Piece`]; whatever went wrong travels inside it, so that the writer meets it in order.

use std::ops::Range;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, select};

use super::Error;
use super::budget::Permit;
use super::compiled::{Compiled, Shape};
use super::reader::{Item, SourceInfo};
use super::rejects::RejectList;
use crate::column::{Batch, Morsel, RecordSpan, Schema};
use crate::format::compress::PieceCompressor;
use crate::format::csv::{CsvEncoder, SheetCounts};
use crate::format::decode::{Decoded, Outcome, RejectedRecord, Surprise};
use crate::format::frame::{BufferPool, Oversized};
use crate::format::parquet::{EncodedRowGroup, RowGroupEncoder, Workshop};
use crate::format::utf8::Repaired;
use crate::format::{Compression, Format, OutputFormat, ParquetOptions, ndjson};
use crate::text::error_chain;
use crate::transform::{Applied, Places, Step, Steps, Tally};

/// Something with the memory that it may use.
#[derive(Debug)]
pub(super) struct InFlight<T> {
    pub value: T,
    #[expect(dead_code, reason = "held for its drop")]
    pub permit: Option<Permit>,
}

/// A run of input that one worker carries all the way; its number is its place in the output.
#[derive(Debug)]
pub(super) struct Group {
    pub index: u64,
    /// Held until the writer has put the piece into the output.
    pub slot: Permit,
    /// The input, in order; closed after the last. An error ends the execution at its place.
    pub items: Receiver<InFlight<Result<Item, Error>>>,
}

/// What became of a group.
pub(super) struct Piece {
    pub index: u64,
    /// `None` when there is more to come, or the worker broke down.
    pub slot: Option<Permit>,
    /// Another piece of this number follows.
    pub more: bool,
    pub parts: Vec<Part>,
}

/// What became of one item, in order.
pub(super) enum Part {
    /// An account of decoded records.
    Account(Box<Account>),
    /// Text of rows, for every output.
    Text(TextRows),
    /// Rows that must still pass the ordered steps.
    Rows(Box<UnorderedRows>),
    /// The plan's limit is reached: nothing further is wanted.
    Enough,
    /// A row group; the schema before any step.
    RowGroup(EncodedRowGroup, Arc<Schema>),
    /// A record that was too long.
    Oversized(Oversized, Arc<SourceInfo>),
    /// A source has ended.
    SourceEnd(Arc<SourceInfo>),
    /// A value or key that the output cannot take any more; placed relative to its morsel.
    Surprise { surprise: Surprise, why: String, source: Arc<SourceInfo>, byte_offset: u64 },
    /// The end of the execution.
    Failed(Error),
}

/// Rows that must still pass the ordered steps.
pub(super) struct UnorderedRows {
    pub applied: Applied,
    pub account: Account,
    /// The schema before any step.
    pub decoded: Arc<Schema>,
    /// The records that the rows were, where that is asked for.
    pub places: Option<Places>,
}

/// The count of one morsel.
pub(super) struct Account {
    pub source: Arc<SourceInfo>,
    pub byte_offset: u64,
    pub records: u64,
    pub lines: u64,
    /// Rows that steps left out.
    pub filtered: u64,
    /// Rows that steps made besides the first of a record.
    pub added: u64,
    /// Casts and expressions that could not make a value, which is null, and in how many rows.
    pub nulled: Vec<(Arc<str>, u64)>,
    /// Comparisons that met values of another kind, and in how many rows.
    pub mismatches: Vec<(Arc<str>, u64)>,
    pub duplicate_keys: u64,
    /// Pieces that were no text.
    pub utf8_replaced: u64,
    /// With the raw record, if rejects are kept.
    pub rejects: RejectList,
    /// The last of these is the last line of its source, and has no end.
    pub ends_open: bool,
}

impl Account {
    /// Takes up what became of the rows. With a limit reached, what comes after the first `taken` rows as
    /// decoded is forgotten: it was not wanted any more.
    pub fn settle(&mut self, tally: &Tally, taken: Option<usize>, places: Option<&Places>, keep_rejects: bool) {
        if let Some(good) = taken {
            let records = self.rejects.end_after(good as u64);
            self.ends_open &= records == self.records;
            self.records = records;
        }
        self.filtered = tally.filtered;
        self.added = tally.added;
        if let (Some(places), false) = (places, tally.bad.is_empty()) {
            let mut bad: Vec<_> = tally.bad.iter().collect();
            bad.sort_by_key(|bad| bad.row);
            let mut at = (0, 0);
            let bad = bad.into_iter().map(|bad| places.reject(bad, &mut at));
            let records = places.morsel.records();
            self.rejects.insert(bad.map(|rejected| {
                let raw = keep_rejects.then(|| &records[rejected.byte..rejected.byte + rejected.len]);
                (rejected, raw)
            }));
        }
    }
}

/// Encoded rows of one morsel.
pub(super) struct TextRows {
    /// Columns of the CSV outputs.
    pub columns: Arc<Schema>,
    /// The schema before any step.
    pub decoded: Arc<Schema>,
    pub rows: u64,
    /// One per output of the plan.
    pub bytes: Vec<Vec<u8>>,
    /// What was done to cells for spreadsheets, in all of them.
    pub sheet: SheetCounts,
}

/// One worker's own things.
pub(super) struct Worker {
    compiled: Arc<Compiled>,
    steps: Steps,
    pool: BufferPool,
    /// Of the last row group's encoder.
    shop: Option<Workshop>,
}

/// Bytes of what the writer is to take, beyond which a piece is handed over in parts: short records
/// under many columns become far more text than they were.
const LARGE_PIECE_BYTES: usize = 8 << 20;

/// Bytes of the source whose rows become more rows at once: their lists have at most half as many elements, each of
/// which takes a view of every column. By eye: a hundred columns are then 50 MiB.
const EXPLODED_BYTES: usize = 64 << 10;

/// The way to the writer before a piece is whole.
struct HandOver<'a> {
    compiled: &'a Compiled,
    index: u64,
    finished: &'a Sender<Piece>,
}

impl HandOver<'_> {
    /// Hands `parts` over if they have become large. An error is the end of the execution.
    fn if_large(&self, parts: &mut Vec<Part>) -> Result<(), Part> {
        if parts.iter().map(Part::memory_size).sum::<usize>() < LARGE_PIECE_BYTES {
            return Ok(());
        }
        let (turn, over) = (&self.compiled.turn, || Part::Failed(Error::Cancelled));
        if !turn.wait_for(self.index) {
            return Err(over());
        }
        let part = Piece { index: self.index, slot: None, more: true, parts: std::mem::take(parts) };
        if turn.hand_over(|| self.finished.send(part).is_ok()) { Ok(()) } else { Err(over()) }
    }
}

impl Part {
    /// Bytes that it holds, about.
    fn memory_size(&self) -> usize {
        match self {
            Part::Text(rows) => rows.bytes.iter().map(Vec::len).sum(),
            // Views, and what they show is in the morsel.
            Part::Rows(rows) => {
                let UnorderedRows { applied, account, .. } = &**rows;
                applied.batch.rows * applied.batch.columns.len() * 16 + account.rejects.memory_size()
            }
            Part::Account(account) => account.rejects.memory_size(),
            _ => 0,
        }
    }
}

impl Worker {
    pub fn new(compiled: &Arc<Compiled>, pool: &BufferPool) -> Self {
        let steps = Steps::new(&compiled.row_steps, compiled.step_options());
        Worker { compiled: compiled.clone(), steps, pool: pool.clone(), shop: None }
    }

    /// Carries `group` through. An error ends the piece, as its last part. `None` when the
    /// execution is over before the group is. Of a piece that becomes large, the first parts go to
    /// `finished` before.
    pub fn run(&mut self, group: Group, quitting: &Receiver<()>, finished: &Sender<Piece>) -> Option<Piece> {
        let early = HandOver { compiled: &self.compiled.clone(), index: group.index, finished };
        let mut parts = Vec::new();
        let mut schema = self.compiled.schema();
        let mut encoder = None;
        let result = loop {
            let item = select! {
                recv(group.items) -> item => item,
                recv(quitting) -> _ => return None,
            };
            let Ok(item) = item else { break self.finish_row_group(&mut encoder, &schema, &mut parts) };
            if let Err(stop) = self.item(item, &mut schema, &mut encoder, &mut parts, &early) {
                break Err(stop);
            }
        };
        if let Err(stop) = result {
            parts.push(stop);
        }
        Some(Piece { index: group.index, slot: Some(group.slot), more: false, parts })
    }

    fn item(
        &mut self,
        item: InFlight<Result<Item, Error>>,
        schema: &mut Arc<Schema>,
        encoder: &mut Option<RowGroupEncoder>,
        parts: &mut Vec<Part>,
        early: &HandOver<'_>,
    ) -> Result<(), Part> {
        match item.value {
            Ok(Item::Morsel(morsel, info)) => {
                let repaired = self.compiled.repaired(&morsel);
                let text = repaired.as_ref().map_or(&morsel, |repaired| &repaired.morsel);
                let mut consumed = 0;
                loop {
                    let first = parts.len();
                    let mut result = self.morsel(&text.rest(consumed), &info, schema, encoder, parts);
                    if let Some(repaired) = &repaired {
                        result = result.map_err(|part| placed_in_original(part, &morsel, repaired));
                        let placed = parts.split_off(first).into_iter();
                        parts.extend(placed.map(|part| placed_in_original(part, &morsel, repaired)));
                        match parts.get_mut(first).filter(|_| consumed == 0) {
                            Some(Part::Account(account)) => account.utf8_replaced = repaired.replaced,
                            Some(Part::Rows(rows)) => rows.account.utf8_replaced = repaired.replaced,
                            _ => {}
                        }
                    }
                    consumed += result?;
                    if consumed >= text.len {
                        break;
                    }
                    early.if_large(parts)?;
                }
                // Rows that go on to the writer keep their views of it; then it is not reused.
                self.pool.recycle(morsel.bytes);
                Ok(())
            }
            Ok(Item::Oversized(oversized, info)) => {
                parts.push(Part::Oversized(oversized, info));
                Ok(())
            }
            Ok(Item::SourceEnd(info)) => {
                parts.push(Part::SourceEnd(info));
                Ok(())
            }
            Err(error) => Err(Part::Failed(error)),
        }
    }

    fn finish_row_group(
        &mut self,
        encoder: &mut Option<RowGroupEncoder>,
        decoded: &Arc<Schema>,
        parts: &mut Vec<Part>,
    ) -> Result<(), Part> {
        if let Some(encoder) = encoder.take() {
            let (group, shop) = encoder.finish_in_workshop().map_err(bug)?;
            self.shop = Some(shop);
            self.compiled.learn_from(&group);
            parts.push(Part::RowGroup(group, decoded.clone()));
        }
        Ok(())
    }

    /// Returns the bytes of the morsel that were carried through; the rest is yet to come.
    fn morsel(
        &mut self,
        morsel: &Morsel,
        info: &Arc<SourceInfo>,
        schema: &mut Arc<Schema>,
        encoder: &mut Option<RowGroupEncoder>,
        parts: &mut Vec<Part>,
    ) -> Result<usize, Part> {
        let decoded = loop {
            match self.compiled.decode(morsel, info, schema) {
                Outcome::Decoded(decoded) => break decoded,
                Outcome::Surprise(mut surprise) => {
                    surprise.schema = self.compiled.only_needed(surprise.schema);
                    if let Some(why) = self.compiled.forbids(info, schema, &surprise.schema) {
                        let byte_offset = morsel.byte_offset;
                        return Err(Part::Surprise { surprise, why, source: info.clone(), byte_offset });
                    }
                    let wider = self.compiled.with_declared_types(surprise.schema);
                    if wider == **schema {
                        let what = format!("decoding cannot go on at {}", surprise.what);
                        return Err(Part::Failed(Error::Bug(what)));
                    }
                    self.finish_row_group(encoder, schema, parts)?;
                    *schema = Arc::new(wider);
                }
            }
        };
        let Decoded { mut batch, rejects, consumed, records, lines, duplicate_keys, observed } = decoded;
        // Flags such as "every integer fits a double" must reach the rows' schema.
        let seen = schema.join(&observed, self.compiled.mixing);
        if seen != **schema {
            self.finish_row_group(encoder, schema, parts)?;
            *schema = Arc::new(seen);
        }
        let rows = batch.rows;
        // Only the last record of a source has no line end in its morsel. An array's end is its bracket.
        let has_lines = info.format != Format::JsonArray;
        let open_end = has_lines && consumed == morsel.len && !morsel.records().ends_with(b"\n");
        let ends_open = open_end && rejects.last().is_some_and(|last| last.record + 1 == records);
        let n_rejects = rejects.len();
        let places = if self.compiled.needs_places { places_of(&mut batch, morsel, info, &rejects) } else { None };
        // Lines of CSV are no records of a text output.
        if info.csv.is_some() || !self.compiled.copies_records() {
            batch.records = None;
        }
        // Of the group's types, so that what is made of the columns has the same in all of it.
        if batch.schema.fields.len() == schema.fields.len() {
            batch.schema = schema.clone();
        }
        let rejects = self.compiled.reject_list(rejects, morsel, info);
        // A list that was cut off ends the execution at its end anyway.
        let ends_open = ends_open && rejects.len() == n_rejects;
        self.compiled.unseen.see(&batch);
        let has_origins = self.compiled.has_limit || places.is_some();
        let mut account = Account {
            source: info.clone(),
            byte_offset: morsel.byte_offset,
            records,
            lines,
            filtered: 0,
            added: 0,
            nulled: Vec::new(),
            mismatches: Vec::new(),
            duplicate_keys,
            utf8_replaced: 0,
            rejects,
            ends_open,
        };
        let mut whole = Some(batch);
        let (mut tally, mut taken) = (Tally::new(self.compiled.has_limit), None);
        let at = parts.len();
        for range in self.slices(rows, consumed) {
            let origins = has_origins.then(|| (range.start as u32..range.end as u32).collect());
            let part = match whole.take_if(|_| range.len() == rows) {
                Some(whole) => whole,
                None => slice(whole.as_ref().expect("one slice is all of it, or it stays"), &range),
            };
            let applied = self.steps.apply(part, origins, std::mem::take(&mut tally), places.as_ref());
            let applied = applied.map_err(|e| Part::Failed(Error::Step(e.to_string())))?;
            if !self.compiled.ordered_steps.is_empty() {
                account.nulled = self.steps.take_nulled();
                account.mismatches = self.steps.take_mismatches();
                let decoded = schema.clone();
                parts.push(Part::Rows(Box::new(UnorderedRows { applied, account, decoded, places })));
                return Ok(consumed);
            }
            (tally, taken) = (applied.tally, applied.taken);
            match self.compiled.shape {
                Shape::Parquet(options) => self.write(&applied.batch, &options, schema, encoder, parts)?,
                Shape::Text => parts.push(Part::Text(encode_text(&self.compiled, &applied.batch, schema))),
            }
            if taken.is_some() {
                break;
            }
        }
        account.nulled = self.steps.take_nulled();
        account.mismatches = self.steps.take_mismatches();
        account.settle(&tally, taken, places.as_ref(), self.compiled.keep_rejects);
        parts.insert(at, Part::Account(Box::new(account)));
        if taken.is_some() {
            self.finish_row_group(encoder, schema, parts)?;
            return Err(Part::Enough);
        }
        Ok(consumed)
    }

    /// The rows of a batch of `bytes` of the source, as they are taken through the steps at once: all of them, or fewer
    /// where one becomes many, with all other values each.
    fn slices(&self, rows: usize, bytes: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let explodes = self.compiled.row_steps.iter().any(|step| matches!(step, Step::Explode(..)));
        let whole = !explodes || !self.compiled.ordered_steps.is_empty();
        let at_once = if whole { rows } else { rows * EXPLODED_BYTES / bytes.max(1) }.max(1);
        // No rows are a slice, too.
        (0..rows.max(1)).step_by(at_once).map(move |start| start..(start + at_once).min(rows))
    }

    /// Adds rows to the row group, or to a new one if their columns are others.
    fn write(
        &mut self,
        batch: &Batch,
        options: &ParquetOptions,
        schema: &Arc<Schema>,
        encoder: &mut Option<RowGroupEncoder>,
        parts: &mut Vec<Part>,
    ) -> Result<(), Part> {
        let columns = self.steps.output_schema(schema).map_err(|e| Part::Failed(Error::Step(e.to_string())))?;
        if encoder.as_ref().is_some_and(|e| **e.layout().schema() != columns) {
            self.finish_row_group(encoder, schema, parts)?;
        }
        let encoder = match encoder {
            Some(encoder) => encoder,
            None => {
                let shop = self.shop.take();
                encoder.insert(self.compiled.row_group_encoder(columns, options, shop).map_err(bug)?)
            }
        };
        if batch.rows > 0 {
            encoder.write(batch).map_err(bug)?;
        }
        Ok(())
    }
}

/// Rows of a batch whose records are not copied.
fn slice(batch: &Batch, range: &Range<usize>) -> Batch {
    let columns = batch.columns.iter().map(|column| column.slice(range.start, range.len())).collect();
    Batch { schema: batch.schema.clone(), columns, rows: range.len(), records: None }
}

/// `part`, which is of a repaired morsel, with places and raw records of the original.
fn placed_in_original(part: Part, original: &Morsel, repaired: &Repaired) -> Part {
    let base = |byte_offset: u64| (byte_offset - original.byte_offset) as usize;
    let placed = |account: &mut Account| {
        let base = base(account.byte_offset);
        account.rejects = account.rejects.placed(|rejected| {
            let at = base + rejected.byte;
            let (start, end) = (repaired.original(at), repaired.original(at + rejected.len));
            rejected.reject.offset = repaired.original(at + rejected.reject.offset) - start;
            (rejected.byte, rejected.len) = (start, end - start);
            &original.records()[start..end]
        });
        account.byte_offset = original.byte_offset;
    };
    match part {
        Part::Account(mut account) => {
            placed(&mut account);
            Part::Account(account)
        }
        Part::Rows(mut rows) => {
            if let Some(places) = &mut rows.places {
                let base = base(rows.account.byte_offset);
                for span in &mut places.spans {
                    let at = base + span.start as usize;
                    let (start, end) = (repaired.original(at), repaired.original(at + span.len as usize));
                    *span = RecordSpan { start: start as u32, len: (end - start) as u32 };
                }
                places.morsel = original.clone();
            }
            placed(&mut rows.account);
            Part::Rows(rows)
        }
        Part::Surprise { mut surprise, why, source, byte_offset } => {
            surprise.byte = repaired.original(base(byte_offset) + surprise.byte);
            Part::Surprise { surprise, why, source, byte_offset: original.byte_offset }
        }
        other => other,
    }
}

/// The records that the rows of `batch` are, taken out of it.
fn places_of(batch: &mut Batch, morsel: &Morsel, info: &SourceInfo, rejects: &[RejectedRecord]) -> Option<Places> {
    let (_, spans) = batch.records.as_ref()?;
    Some(Places {
        morsel: morsel.clone(),
        spans: spans.clone(),
        skipped: rejects.iter().map(|rejected| rejected.record).collect(),
        line_break: Compiled::line_break(info),
    })
}

/// An encoder that fails on a batch of its own schema is our fault.
fn bug(error: crate::format::parquet::Error) -> Part {
    Part::Failed(Error::Bug(format!("cannot encode a row group: {}", error_chain(&error))))
}

/// Rows as the bytes of every text output.
pub(super) fn encode_text(compiled: &Compiled, batch: &Batch, decoded: &Arc<Schema>) -> TextRows {
    let mut sheet = SheetCounts::default();
    let bytes = compiled
        .formats
        .iter()
        .map(|(format, compression)| {
            let mut plain = compiled.text_buffers.take();
            match format {
                OutputFormat::Csv(options) => {
                    let mut encoder = CsvEncoder::new(*options);
                    encoder.write_rows(batch, &mut plain);
                    sheet.add(encoder.take_counts(), 0);
                }
                OutputFormat::Ndjson => ndjson::encode(batch, b"\n", &mut plain),
                OutputFormat::JsonArray => {
                    ndjson::encode(batch, b",\n", &mut plain);
                    // The writer puts the separator between pieces.
                    plain.truncate(plain.len().saturating_sub(2));
                }
                OutputFormat::Parquet(_) => unreachable!("a Parquet plan has no text outputs"),
            }
            if *compression == Compression::None {
                return plain;
            }
            let packed = compressed(*compression, &plain);
            compiled.text_buffers.give(plain);
            packed
        })
        .collect();
    TextRows { columns: batch.schema.clone(), decoded: decoded.clone(), rows: batch.rows as u64, bytes, sheet }
}

/// `plain` as it goes into an output of this compression; nothing stays nothing.
pub(super) fn compressed(compression: Compression, plain: &[u8]) -> Vec<u8> {
    if compression == Compression::None || plain.is_empty() {
        return plain.to_vec();
    }
    let mut out = Vec::new();
    // Pieces are about a morsel each; a compressor's set-up is lost in that.
    let result = PieceCompressor::new(compression).and_then(|mut c| c.compress(plain, &mut out));
    result.expect("compressing into memory fails only when there is none");
    out
}
