//! Rejected records of one morsel on their way from a worker to the writer, packed: a file of the wrong kind is nothing but
//! rejects.

use std::borrow::Cow;

use crate::column::Morsel;
use crate::format::decode::RejectedRecord;
use crate::format::{Format, Reject};
use crate::pipeline::input::SourceInfo;
use crate::position::FieldPath;

/// Rejects on their way to the writer. A wrong file is nothing but rejects, so that each takes little
/// more than its own bytes: they share one buffer, and words that are said again are said once.
#[derive(Debug, Default)]
pub struct RejectList {
    places: Vec<RejectSpan>,
    /// The raw records, one behind the other, if they are kept.
    raw: Option<Vec<u8>>,
    words: Vec<(FieldPath, Cow<'static, str>)>,
    /// The byte that stands for a line break of the source in raw records.
    line_break: u8,
}

/// As [`RejectedRecord`]. Morsels have a gibibyte at most, so that four bytes are enough.
#[derive(Debug)]
struct RejectSpan {
    offset: u32,
    byte: u32,
    len: u32,
    line: u32,
    record: u32,
    words: u32,
}

impl RejectList {
    /// An empty list of records in which `line_break` stands for the source's line feeds.
    pub fn new(line_break: u8) -> Self {
        RejectList { line_break, ..RejectList::default() }
    }

    /// The first `at_most` rejects of one morsel, with the raw records if they are kept.
    pub fn of_morsel(
        rejects: Vec<RejectedRecord>,
        morsel: &Morsel,
        info: &SourceInfo,
        at_most: usize,
        keep_raw: bool,
    ) -> RejectList {
        let is_array = info.format == Format::JsonArray;
        let mut list = RejectList::new(info.line_break());
        for mut rejected in rejects.into_iter().take(at_most) {
            let mut raw = &morsel.records()[rejected.byte..rejected.byte + rejected.len];
            if is_array {
                // The blanks before the next comma or bracket are no part of an element.
                raw = raw.trim_ascii_end();
                rejected.len = raw.len();
            }
            list.push(rejected, keep_raw.then_some(raw));
        }
        list
    }

    /// Bytes that it holds, about.
    pub fn memory_size(&self) -> usize {
        self.raw.as_ref().map_or(0, Vec::len) + self.places.len() * size_of::<RejectSpan>() + self.words.len() * 64
    }

    /// Number of rejects.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Forgets those behind the first `good` records that are none. Returns how many records these are
    /// together with the rejects before them; 0 for none.
    pub fn end_after(&mut self, good: u64) -> u64 {
        let mut records = good;
        let mut kept = 0;
        for place in self.places.iter().take_while(|_| good > 0) {
            if u64::from(place.record) >= records {
                break;
            }
            records += 1;
            kept += 1;
        }
        let bytes = self.places[..kept].iter().map(|place| place.len as usize).sum();
        if let Some(raw) = &mut self.raw {
            raw.truncate(bytes);
        }
        self.places.truncate(kept);
        records
    }

    /// Appends a reject, with its raw record if rejects are kept.
    pub fn push(&mut self, rejected: RejectedRecord, raw: Option<&[u8]>) {
        let RejectedRecord { reject: Reject { offset, path, reason }, byte, len, line, record } = rejected;
        // Faults come in runs; a wider search would cost more than it saves.
        let said = self.words.last().is_some_and(|last| last.0 == path && last.1 == reason);
        if !said {
            self.words.push((path, reason));
        }
        self.places.push(RejectSpan {
            offset: offset as u32,
            byte: byte as u32,
            len: len as u32,
            line: line as u32,
            record: record as u32,
            words: self.words.len() as u32 - 1,
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

    /// Puts `more`, which are in order, where they belong by their records.
    pub fn insert<'a>(&mut self, more: impl Iterator<Item = (RejectedRecord, Option<&'a [u8]>)>) {
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

    /// The same rejects elsewhere: `place` moves each, and returns its raw record there.
    pub fn placed<'a>(&self, mut place: impl FnMut(&mut RejectedRecord) -> &'a [u8]) -> Self {
        let mut list = RejectList::new(self.line_break);
        for (mut rejected, raw) in self.iter() {
            let there = place(&mut rejected);
            list.push(rejected, raw.map(|_| there));
        }
        list
    }

    /// The rejects in order.
    pub fn iter(&self) -> impl Iterator<Item = (RejectedRecord, Option<&[u8]>)> {
        let mut at = 0;
        self.places.iter().map(move |place| {
            let (path, reason) = self.words[place.words as usize].clone();
            let reject = Reject { offset: place.offset as usize, path, reason };
            let (byte, len) = (place.byte as usize, place.len as usize);
            let raw = self.raw.as_ref().map(|raw| &raw[at..at + len]);
            at += len;
            (RejectedRecord { reject, byte, len, line: place.line.into(), record: place.record.into() }, raw)
        })
    }
}
