//! What one compute thread does with a group of morsels: decode, steps, encode. Each group becomes
//! one [`Piece`]; whatever went wrong travels inside it, so that the writer meets it in order.

use std::ops::Range;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, select};

use super::Error;
use super::budget::Permit;
use super::compiled::Compiled;
use super::encode::{RowGroups, Rows, encode_rows};
use super::reader::{Item, SourceInfo};
use super::rejects::RejectList;
use crate::column::{Batch, Morsel, RecordSpan, Schema};
use crate::format::Format;
use crate::format::decode::{Decoded, Outcome, RejectedRecord, Surprise};
use crate::format::frame::{BufferPool, Oversized};
use crate::format::parquet::EncodedRowGroup;
use crate::format::utf8::Repaired;
use crate::transform::{Applied, Places, Steps, Tally};

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
    /// Rows for every output but those that take row groups.
    Encoded(Rows),
    /// Rows that must still pass the ordered steps.
    Rows(Box<UnorderedRows>),
    /// The plan's limit is reached: nothing further is wanted.
    Enough,
    /// Row groups of one output; the schema before any step.
    RowGroups { output: usize, groups: Vec<EncodedRowGroup>, decoded: Arc<Schema> },
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

/// One worker's own things.
pub(super) struct Worker {
    compiled: Arc<Compiled>,
    steps: Steps,
    pool: BufferPool,
    /// What is open, for each output that takes row groups, and the columns of its rows.
    row_groups: Vec<RowGroups>,
    columns: Arc<Schema>,
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

    /// Hands `parts` over if somebody may be looking and the writer has nothing else to wait for.
    fn if_watched(&self, parts: &mut Vec<Part>) -> Result<(), Part> {
        if !self.compiled.watched || parts.is_empty() || !self.compiled.turn.is_at(self.index) {
            return Ok(());
        }
        let part = Piece { index: self.index, slot: None, more: true, parts: std::mem::take(parts) };
        let taken = self.compiled.turn.hand_over(|| self.finished.send(part).is_ok());
        if taken { Ok(()) } else { Err(Part::Failed(Error::Cancelled)) }
    }
}

impl Part {
    /// Bytes that it holds, about.
    fn memory_size(&self) -> usize {
        match self {
            Part::Encoded(rows) => rows.memory_size(),
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
        let row_groups = RowGroups::of(compiled);
        Worker { compiled: compiled.clone(), steps, pool: pool.clone(), row_groups, columns: Arc::default() }
    }

    /// Carries `group` through. An error ends the piece, as its last part. `None` when the
    /// execution is over before the group is. Of a piece that becomes large, the first parts go to
    /// `finished` before.
    pub fn run(&mut self, group: Group, quitting: &Receiver<()>, finished: &Sender<Piece>) -> Option<Piece> {
        let compiled = self.compiled.clone();
        let early = HandOver { compiled: &compiled, index: group.index, finished };
        let mut parts = Vec::new();
        let mut schema = self.compiled.schema();
        let result = loop {
            let item = select! {
                recv(group.items) -> item => item,
                recv(quitting) -> _ => return None,
            };
            let Ok(item) = item else { break self.finish_row_groups(&schema, &mut parts) };
            if let Err(stop) = self.item(item, &mut schema, &mut parts, &early) {
                break Err(stop);
            }
            // A text output alone has its pieces as small as they can be.
            if compiled.has_row_groups()
                && let Err(stop) = early.if_watched(&mut parts)
            {
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
                    let mut result = self.morsel(&text.rest(consumed), &info, schema, parts);
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
            Ok(Item::Rows(batch, info)) => self.rows(&batch, info, schema, parts),
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

    /// Rows of which nothing is to be decided: they go to the outputs as they are.
    fn rows(
        &mut self,
        batch: &Batch,
        source: Arc<SourceInfo>,
        schema: &Arc<Schema>,
        parts: &mut Vec<Part>,
    ) -> Result<(), Part> {
        parts.push(Part::Account(Box::new(Account {
            source,
            byte_offset: 0,
            records: batch.rows as u64,
            lines: 0,
            filtered: 0,
            added: 0,
            nulled: Vec::new(),
            mismatches: Vec::new(),
            duplicate_keys: 0,
            utf8_replaced: 0,
            rejects: RejectList::new(b'\n'),
            ends_open: false,
        })));
        self.write(batch, schema, parts)
    }

    fn finish_row_groups(&mut self, decoded: &Arc<Schema>, parts: &mut Vec<Part>) -> Result<(), Part> {
        for open in &mut self.row_groups {
            let groups = open.take(&self.compiled).map_err(Part::Failed)?;
            if !groups.is_empty() {
                parts.push(Part::RowGroups { output: open.output, groups, decoded: decoded.clone() });
            }
        }
        Ok(())
    }

    /// Returns the bytes of the morsel that were carried through; the rest is yet to come.
    fn morsel(
        &mut self,
        morsel: &Morsel,
        info: &Arc<SourceInfo>,
        schema: &mut Arc<Schema>,
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
                    self.finish_row_groups(schema, parts)?;
                    *schema = Arc::new(wider);
                }
            }
        };
        let Decoded { mut batch, rejects, consumed, records, lines, duplicate_keys, observed } = decoded;
        // Flags such as "every integer fits a double" must reach the rows' schema.
        let seen = schema.join(&observed, self.compiled.mixing);
        if seen != **schema {
            self.finish_row_groups(schema, parts)?;
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
                None => {
                    let whole = whole.as_ref().expect("one slice is all of it, or it stays");
                    whole.slice(range.start, range.len())
                }
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
            self.write(&applied.batch, schema, parts)?;
            if taken.is_some() {
                break;
            }
        }
        account.nulled = self.steps.take_nulled();
        account.mismatches = self.steps.take_mismatches();
        account.settle(&tally, taken, places.as_ref(), self.compiled.keep_rejects);
        parts.insert(at, Part::Account(Box::new(account)));
        if taken.is_some() {
            self.finish_row_groups(schema, parts)?;
            return Err(Part::Enough);
        }
        Ok(consumed)
    }

    /// The rows of a batch of `bytes` of the source, as they are taken through the steps at once: all of them, or fewer
    /// where one becomes many, with all other values each.
    fn slices(&self, rows: usize, bytes: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let explodes = self.compiled.row_steps.iter().any(|step| step.properties().opens_lists);
        let whole = !explodes || !self.compiled.ordered_steps.is_empty();
        let at_once = if whole { rows } else { rows * EXPLODED_BYTES / bytes.max(1) }.max(1);
        // No rows are a slice, too.
        (0..rows.max(1)).step_by(at_once).map(move |start| start..(start + at_once).min(rows))
    }

    /// Makes of rows what each output takes.
    fn write(&mut self, batch: &Batch, schema: &Arc<Schema>, parts: &mut Vec<Part>) -> Result<(), Part> {
        if self.compiled.has_rows() {
            parts.push(Part::Encoded(encode_rows(&self.compiled, batch, schema).map_err(Part::Failed)?));
        }
        if !self.row_groups.is_empty() {
            let columns = self.steps.output_schema(schema).map_err(|e| Part::Failed(Error::Step(e.to_string())))?;
            if *self.columns != columns {
                self.finish_row_groups(schema, parts)?;
                self.columns = Arc::new(columns);
            }
            for open in &mut self.row_groups {
                open.write(&self.compiled, &self.columns, batch).map_err(Part::Failed)?;
            }
        }
        Ok(())
    }
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
