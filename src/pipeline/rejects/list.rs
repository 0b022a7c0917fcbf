//! Rejected records of one morsel on their way from a worker to the writer, packed: of a file in the wrong format,
//! every record is a reject. Positions are relative to the morsel; the writer makes them absolute.

use std::borrow::Cow;

use crate::column::Morsel;
use crate::format::Reject;
use crate::format::decode::RejectedRecord;
use crate::pipeline::input::SourceInfo;
use crate::position::FieldPath;

/// The rejects of one morsel. Each takes little more than its own bytes: all raw records share one buffer, and equal
/// consecutive reasons are stored once.
#[derive(Debug, Default)]
pub(crate) struct RejectList {
    spans: Vec<RejectSpan>,
    /// The raw records, concatenated in order; `None` if they are not kept.
    raw: Option<Vec<u8>>,
    reasons: Vec<(FieldPath, Cow<'static, str>)>,
    /// The byte that replaces line feeds of the source in raw records.
    line_break: u8,
}

/// A [`RejectedRecord`] in half of its bytes. Morsels have a gibibyte at most, so that four bytes per field are enough.
#[derive(Debug)]
struct RejectSpan {
    offset: u32,
    byte: u32,
    len: u32,
    line: u32,
    record: u32,
    /// Index in `reasons`.
    reason: u32,
    is_misfit: bool,
}

impl RejectList {
    /// Creates an empty list of records in which `line_break` replaces the source's line feeds.
    pub(crate) fn new(line_break: u8) -> Self {
        RejectList { line_break, ..RejectList::default() }
    }

    /// Creates a list of the first `max_rejects` rejects of one morsel, with their raw records if `keep_raw`.
    pub(crate) fn of_morsel(
        rejects: Vec<RejectedRecord>,
        morsel: &Morsel,
        info: &SourceInfo,
        max_rejects: usize,
        keep_raw: bool,
    ) -> RejectList {
        let is_array = info.format.is_rewritten();
        let mut list = RejectList::new(info.line_break());
        for mut rejected in rejects.into_iter().take(max_rejects) {
            let mut raw = &morsel.records()[rejected.byte..rejected.byte + rejected.len];
            if is_array {
                // White space before the next comma or bracket is not part of an element.
                raw = raw.trim_ascii_end();
                rejected.len = raw.len();
            }
            list.push(rejected, keep_raw.then_some(raw));
        }
        list
    }

    /// Returns the bytes that it holds, approximately.
    pub(crate) fn memory_size(&self) -> usize {
        self.raw.as_ref().map_or(0, Vec::len) + self.spans.len() * size_of::<RejectSpan>() + self.reasons.len() * 64
    }

    /// Returns the number of rejects.
    pub(crate) fn len(&self) -> usize {
        self.spans.len()
    }

    /// Returns the records of valid records by their index among these, ascending, each from the start of the morsel.
    pub(crate) fn records_of(&self, valid: &[u32]) -> Vec<u64> {
        let mut rejected = self.spans.iter().map(|span| span.record).peekable();
        let mut before = 0;
        let record = |&index: &u32| {
            while rejected.next_if(|record| *record <= index + before).is_some() {
                before += 1;
            }
            u64::from(index + before)
        };
        valid.iter().map(record).collect()
    }

    /// Drops the rejects behind the first `good` valid records. Returns the number of these records
    /// and the rejects before the last of them; 0 if `good` is 0.
    pub(crate) fn end_after(&mut self, good: u64) -> u64 {
        let mut records = good;
        let mut kept = 0;
        for span in self.spans.iter().take_while(|_| good > 0) {
            if u64::from(span.record) >= records {
                break;
            }
            records += 1;
            kept += 1;
        }
        let bytes = self.spans[..kept].iter().map(|span| span.len as usize).sum();
        if let Some(raw) = &mut self.raw {
            raw.truncate(bytes);
        }
        self.spans.truncate(kept);
        records
    }

    /// Appends a reject, with its raw record if rejects are kept.
    pub(crate) fn push(&mut self, rejected: RejectedRecord, raw: Option<&[u8]>) {
        let RejectedRecord { reject, byte, len, line, record, is_misfit } = rejected;
        let Reject { offset, path, reason } = reject;
        // Equal reasons are mostly consecutive; a search through all would cost more than it saves.
        let is_repeated = self.reasons.last().is_some_and(|last| last.0 == path && last.1 == reason);
        if !is_repeated {
            self.reasons.push((path, reason));
        }
        self.spans.push(RejectSpan {
            offset: offset as u32,
            byte: byte as u32,
            len: len as u32,
            line: line as u32,
            record: record as u32,
            reason: self.reasons.len() as u32 - 1,
            is_misfit,
        });
        if let Some(raw) = raw {
            let kept = self.raw.get_or_insert_default();
            let start = kept.len();
            kept.extend_from_slice(raw);
            if self.line_break != b'\n' {
                kept[start..].iter_mut().filter(|byte| **byte == self.line_break).for_each(|byte| *byte = b'\n');
            }
        }
    }

    /// Merges in the rejects `more`, by their records. Both lists are in order.
    pub(crate) fn insert<'a>(&mut self, more: impl Iterator<Item = (RejectedRecord, Option<&'a [u8]>)>) {
        let own = std::mem::replace(self, RejectList::new(self.line_break));
        let mut more = more.peekable();
        for (rejected, raw) in own.iter() {
            while let Some((next, next_raw)) = more.next_if(|(next, _)| next.record < rejected.record) {
                self.push(next, next_raw);
            }
            self.push(rejected, raw);
        }
        more.for_each(|(rejected, raw)| self.push(rejected, raw));
    }

    /// Returns the same rejects at other positions: `map` changes each span and returns its raw record there.
    pub(crate) fn map_spans<'a>(&self, mut map: impl FnMut(&mut RejectedRecord) -> &'a [u8]) -> Self {
        let mut list = RejectList::new(self.line_break);
        for (mut rejected, raw) in self.iter() {
            let new_raw = map(&mut rejected);
            list.push(rejected, raw.map(|_| new_raw));
        }
        list
    }

    /// Returns the rejects in order, each with its raw record if these are kept.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (RejectedRecord, Option<&[u8]>)> {
        let mut at = 0;
        self.spans.iter().map(move |span| {
            let (path, reason) = self.reasons[span.reason as usize].clone();
            let reject = Reject { offset: span.offset as usize, path, reason };
            let (byte, len) = (span.byte as usize, span.len as usize);
            let raw = self.raw.as_ref().map(|raw| &raw[at..at + len]);
            at += len;
            let (line, record, is_misfit) = (span.line.into(), span.record.into(), span.is_misfit);
            (RejectedRecord { reject, byte, len, line, record, is_misfit }, raw)
        })
    }
}
