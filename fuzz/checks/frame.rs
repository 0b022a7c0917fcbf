//! Framing: records are those of a twin that splits the whole input byte by byte.

use drawoff::column::Morsel;
use drawoff::format::frame::{Framed, Framing};

use super::{Cut, frame};

/// A record: its offset, its length without the line feed, the line breaks in it, and its bytes unless it is too
/// long.
pub type Record = (u64, u64, u64, Option<Vec<u8>>);

/// The twin of the framer: splits `bytes` into records byte by byte.
pub fn split_naively(bytes: &[u8], framing: Framing, max_record_bytes: usize) -> Vec<Record> {
    let (bom, bytes) = match bytes.strip_prefix(b"\xef\xbb\xbf") {
        Some(rest) => (3, rest),
        None => (0, bytes),
    };
    let mut records = Vec::new();
    let (mut start, mut first_fields) = (0, 0);
    while start < bytes.len() {
        let (end, kept) = end_of_record(bytes, start, framing, max_record_bytes, first_fields);
        let record = &bytes[start..end];
        let len = record.len() - usize::from(record.ends_with(b"\n"));
        let lines = record.iter().filter(|&&b| b == framing.line_break()).count() as u64;
        records.push((bom + start as u64, len as u64, lines, kept.then(|| record.to_vec())));
        if first_fields == 0 && kept && record.iter().any(|b| !b"\r\n".contains(b)) {
            first_fields = fields(record, framing);
        }
        start = end;
    }
    records
}

/// Finds the end of the record at `start` in `bytes[..to]`, or the quote that is open at `to`, if one is.
fn end_before(bytes: &[u8], start: usize, to: usize, framing: Framing) -> Result<usize, Option<usize>> {
    let quote = match framing {
        Framing::Csv { quote, .. } => quote,
        Framing::Lines | Framing::Elements => None,
    };
    let mut open_quote = None;
    let mut at_field_start = true;
    let mut i = start;
    while i < to {
        let byte = bytes[i];
        match open_quote {
            Some(_) if Some(byte) == quote && bytes.get(i + 1) == Some(&byte) => i += 1,
            Some(_) if Some(byte) == quote => open_quote = None,
            Some(_) => {}
            None if byte == b'\n' => return Ok(i + 1),
            None if Some(byte) == quote && at_field_start => open_quote = Some(i),
            _ => {}
        }
        at_field_start = matches!(framing, Framing::Csv { delimiter, .. } if byte == delimiter) && open_quote.is_none();
        i += 1;
    }
    Err(open_quote)
}

/// Finds the end of the record at `start`. False if the record is longer than `max_record_bytes`.
fn end_of_record(
    bytes: &[u8],
    start: usize,
    framing: Framing,
    max_record_bytes: usize,
    first_fields: usize,
) -> (usize, bool) {
    let limit = start + max_record_bytes + 1;
    let seen = limit.min(bytes.len());
    let open_quote = match end_before(bytes, start, seen, framing) {
        Ok(end) => return (end, true),
        Err(open_quote) => open_quote,
    };
    let line_end =
        open_quote.and_then(|quote| bytes[quote..seen].iter().position(|&b| b == b'\n').map(|i| quote + i + 1));
    match (line_end, bytes.len() < limit) {
        // The source ends.
        (Some(end), true) => (end, true),
        (None, true) => (bytes.len(), true),
        // The record is too long.
        (Some(end), false) if are_records(&bytes[end..seen], framing, first_fields) => (end, true),
        _ => (end_before(bytes, start, bytes.len(), framing).unwrap_or(bytes.len()), false),
    }
}

/// Returns true if most of the whole lines in `bytes` have as many fields as the first record, and it has several.
fn are_records(bytes: &[u8], framing: Framing, first_fields: usize) -> bool {
    let whole = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |i| i + 1);
    let lines = bytes[..whole].split(|&b| b == b'\n').filter(|line| !line.trim_ascii().is_empty());
    let alike: Vec<bool> = lines.map(|line| fields(line, framing) == first_fields).collect();
    let n_alike = alike.iter().filter(|&&alike| alike).count();
    first_fields == 0 || first_fields > 1 && n_alike > alike.len() - n_alike
}

/// Counts the fields of a record: the delimiters outside quotes, and one.
fn fields(record: &[u8], framing: Framing) -> usize {
    let Framing::Csv { delimiter, .. } = framing else { return 1 };
    let blank = record.iter().take_while(|b| b"\r\n".contains(b)).count();
    let record = &record[blank..];
    let is_outside = |at: &usize| end_before(record, 0, *at, framing) == Err(None);
    1 + (0..record.len()).filter(|&i| record[i] == delimiter).filter(is_outside).count()
}

/// Splits `bytes` with the framer, and returns the records in the form of the twin.
pub fn framed(bytes: &[u8], framing: Framing, max_record_bytes: usize, cut: Cut) -> Vec<Record> {
    let mut records = Vec::new();
    for framed in frame(bytes, framing, max_record_bytes, cut) {
        match framed {
            Framed::Oversized(o) => records.push((o.byte_offset, o.len, o.lines, None)),
            Framed::Morsel(morsel) => {
                assert!(morsel.len > 0);
                assert_eq!(morsel.source_index, 3);
                assert!(morsel.bytes[morsel.len..].len() >= Morsel::PADDING);
                assert!(morsel.bytes[morsel.len..][..Morsel::PADDING].iter().all(|&b| b == 0));
                // The records of a morsel do not depend on the bytes around it.
                let mut at = 0;
                while at < morsel.len {
                    let (end, kept) = end_of_record(morsel.records(), at, framing, max_record_bytes, 0);
                    assert!(kept, "no record of a morsel is too long");
                    let record = &morsel.records()[at..end];
                    let len = record.len() - usize::from(record.ends_with(b"\n"));
                    let lines = record.iter().filter(|&&b| b == framing.line_break()).count() as u64;
                    records.push((morsel.byte_offset + at as u64, len as u64, lines, Some(record.to_vec())));
                    at = end;
                }
            }
        }
    }
    records
}

/// Checks every kind of framing of `bytes`, with several limits for records.
pub fn check(bytes: &[u8]) {
    let cut = Cut::of(bytes);
    let dialects = [(b',', Some(b'\'')), (b';', None)].map(|(delimiter, quote)| Framing::Csv { delimiter, quote });
    let framings = [Framing::Lines, Framing::Elements, Framing::csv(b','), Framing::csv(b'\t')];
    for framing in framings.into_iter().chain(dialects) {
        for max_record_bytes in [1, 7, 20, 64, 1 << 20] {
            let expected = split_naively(bytes, framing, max_record_bytes);
            let found = framed(bytes, framing, max_record_bytes, cut);
            assert_eq!(found, expected, "{framing:?}, records up to {max_record_bytes} bytes, {cut:?}");
        }
    }
}
