//! CSV: records and fields are those of the csv crate as far as it is strict, and rows and rejects do not depend on the
//! [`Cut`], in RFC 4180 and in a dialect that is drawn from the input.

use std::sync::Arc;

use drawoff::column::{Batch, Morsel, Schema, Type, TypeMerge};
use drawoff::format::CsvOptions;
use drawoff::format::cell_kinds::NumberMarks;
use drawoff::format::csv::split::Splitter;
use drawoff::format::csv::{CsvDecoder, CsvDialect, CsvEncoder, CsvQuote, HeaderRecord, HeaderSearch};
use drawoff::format::decode::{OnMisfit, Outcome};
use drawoff::format::frame::{Framed, Framing};
use drawoff::format::ndjson::decode_cells;

use super::{Cut, Place, Rejected, frame};

const DELIMITER: u8 = b',';

/// Draws a dialect from a hash of `bytes`, so that a fuzzer reaches all of them; its delimiter is always specified.
pub fn dialect_of(bytes: &[u8]) -> CsvDialect {
    // FNV-1a from another start than that of the cut.
    let hash = bytes.iter().fold(0x6c62_272e_07bb_0142_u64, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    let pick = |shift: u32, of: u64| (hash >> shift) % of;
    let quote = [CsvQuote::Byte(b'"'), CsvQuote::Byte(b'\''), CsvQuote::None][pick(40, 3) as usize];
    let header = match pick(43, 4) {
        0 => HeaderRecord::Absent,
        1 => HeaderRecord::Nth(2.try_into().expect("not zero")),
        _ => HeaderRecord::default(),
    };
    let null_words: Vec<Box<str>> =
        if pick(46, 2) == 0 { vec!["a".into(), "-".into(), "0".into()] } else { Vec::new() };
    let numbers = match pick(48, 4) {
        0 => NumberMarks { decimal: b',', thousands: None },
        1 => NumberMarks { decimal: b',', thousands: Some('.') },
        2 => NumberMarks { decimal: b'.', thousands: Some(' ') },
        _ => NumberMarks::default(),
    };
    let delimiter = Some([b',', b';', b'\t', b'a'][pick(51, 4) as usize]);
    CsvDialect { delimiter, quote, header, null_words: null_words.into(), numbers, ..CsvDialect::default() }
}
const MAX_RECORD_BYTES: usize = 1 << 16;

/// Rows and rejects of an input.
pub struct Taken {
    /// Names of the header; `None` without a usable header.
    pub names: Option<Arc<[Arc<str>]>>,
    /// Rows as CSV without header. Null is an empty cell, empty text a quoted one.
    pub text: String,
    pub rows: u64,
    pub rejects: Vec<Rejected>,
    pub records: u64,
    /// Schema of all rows.
    pub schema: Schema,
}

/// Reads `bytes` as the pipeline does. With `as_text` every column is text; otherwise the types are inferred from the
/// whole input first.
pub fn take(bytes: &[u8], max_record_bytes: usize, cut: Cut, as_text: bool) -> Taken {
    take_in(bytes, &CsvDialect::default(), max_record_bytes, cut, as_text)
}

/// As [`take`], in another dialect.
pub fn take_in(bytes: &[u8], dialect: &CsvDialect, max_record_bytes: usize, cut: Cut, as_text: bool) -> Taken {
    let delimiter = dialect.delimiter.unwrap_or(DELIMITER);
    let framing = Framing::Csv { delimiter, quote: dialect.quote.byte() };
    let mut search = HeaderSearch::new(delimiter, dialect);
    let mut taken =
        Taken { names: None, text: String::new(), rows: 0, rejects: Vec::new(), records: 0, schema: Schema::default() };
    let mut morsels = Vec::new();
    let mut decoder = None;
    for framed in frame(bytes, framing, max_record_bytes, cut) {
        let morsel = match framed {
            Framed::Morsel(morsel) if decoder.is_none() => match search.take(&morsel) {
                Err(_) => return taken,
                // The search counts the lines that it drops.
                Ok(None) => continue,
                Ok(Some((header, rest))) => {
                    let new = CsvDecoder::new(header.names.clone(), delimiter, decode_cells);
                    decoder = Some(new.with_dialect(dialect));
                    taken.names = Some(header.names);
                    morsels.push(Err(header.lines));
                    rest
                }
            },
            Framed::Oversized(_) if decoder.is_none() => return taken,
            Framed::Morsel(morsel) => morsel,
            Framed::Oversized(oversized) => {
                morsels.push(Ok(Framed::Oversized(oversized)));
                continue;
            }
        };
        morsels.push(Ok(Framed::Morsel(morsel)));
    }
    let (Some(decoder), Some(names)) = (decoder, taken.names.clone()) else { return taken };
    let of_text = || names.iter().map(|name| drawoff::column::Field::new(name.clone(), Type::Text)).collect();
    let schema = match as_text {
        true => Schema::new(of_text()),
        false => morsels
            .iter()
            .fold(Schema::default(), |schema, morsel| match morsel {
                Ok(Framed::Morsel(morsel)) => schema.join(&decoder.infer(morsel, &Schema::default()), TypeMerge::Text),
                _ => schema,
            })
            .resolved(),
    };
    let schema = Arc::new(schema);
    let mut place = Place::default();
    for morsel in morsels {
        let morsel: Morsel = match morsel {
            Err(lines) => {
                place.lines += lines;
                continue;
            }
            Ok(Framed::Oversized(oversized)) => {
                taken.rejects.push(place.oversized(oversized));
                place = Place { lines: place.lines + oversized.lines, records: place.records + 1 };
                continue;
            }
            Ok(Framed::Morsel(morsel)) => morsel,
        };
        let Outcome::Decoded(decoded) = decoder.decode(&morsel, &schema, OnMisfit::SchemaMismatch) else {
            panic!("a schema of all the input has room for all of it: {schema:?}");
        };
        assert_eq!(decoded.records, decoded.batch.rows as u64 + decoded.rejects.len() as u64);
        taken.rejects.extend(decoded.rejects.iter().map(|rejected| place.rejected(&morsel, rejected)));
        place = Place { lines: place.lines + decoded.lines, records: place.records + decoded.records };
        taken.rows += decoded.batch.rows as u64;
        taken.text.push_str(&written(&decoded.batch));
    }
    taken.records = place.records;
    taken.schema = (*schema).clone();
    taken
}

fn written(batch: &Batch) -> String {
    let mut out = Vec::new();
    CsvEncoder::new(CsvOptions::default()).write_rows(batch, &mut out);
    String::from_utf8(out).expect("batches hold UTF-8")
}

/// Reads all fields with the csv crate.
fn by_csv_crate(bytes: &[u8], dialect: &CsvDialect) -> Vec<Vec<Vec<u8>>> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(dialect.delimiter.unwrap_or(DELIMITER))
        .quoting(dialect.quote.byte().is_some())
        .quote(dialect.quote.byte().unwrap_or(b'"'))
        .has_headers(false)
        .flexible(true)
        .terminator(csv::Terminator::Any(b'\n'))
        .from_reader(bytes);
    reader
        .byte_records()
        .map(|record| record.expect("bytes in memory can be read").iter().map(<[u8]>::to_vec).collect())
        .collect()
}

/// Checks all properties of CSV on `bytes`.
pub fn check(bytes: &[u8]) {
    fields_agree(bytes, &CsvDialect::default());
    let cut = Cut::of(bytes);
    check_dialect(bytes, &dialect_of(bytes), cut);
    let whole = take(bytes, MAX_RECORD_BYTES, Cut::WHOLE, true);
    let parts = take(bytes, MAX_RECORD_BYTES, cut, true);
    assert_eq!(parts.names, whole.names);
    assert_eq!(parts.text, whole.text, "{cut:?}");
    assert_eq!(parts.rejects, whole.rejects, "{cut:?}");
    assert_eq!((parts.records, parts.rows), (whole.records, whole.rows));
    assert_eq!(whole.records, whole.rows + whole.rejects.len() as u64, "records in = rows + rejects");

    // Typed columns keep the digits of their values, so they are written as the same text.
    let typed = take(bytes, MAX_RECORD_BYTES, cut, false);
    assert_eq!(typed.rejects, whole.rejects);
    if typed.schema.fields.iter().all(|field| !matches!(field.ty, Type::Bool | Type::Float | Type::Fixed(_))) {
        let unquoted = |text: &str| cells(text).into_iter().map(|(cell, _)| cell).collect::<Vec<_>>();
        assert_eq!(unquoted(&typed.text), unquoted(&whole.text), "{:?}", typed.schema);
    }

    // Written rows read back as the same rows.
    if let Some(names) = &whole.names {
        let header: String = (0..names.len()).map(|i| format!("c{i}")).collect::<Vec<_>>().join(",") + "\n";
        let again = take((header + &whole.text).as_bytes(), MAX_RECORD_BYTES, cut, true);
        assert_eq!((again.text, again.rejects), (whole.text, Vec::new()));
    }
}

/// Checks the properties of CSV that hold in every dialect.
fn check_dialect(bytes: &[u8], dialect: &CsvDialect, cut: Cut) {
    fields_agree(bytes, dialect);
    for as_text in [true, false] {
        let whole = take_in(bytes, dialect, MAX_RECORD_BYTES, Cut::WHOLE, as_text);
        let parts = take_in(bytes, dialect, MAX_RECORD_BYTES, cut, as_text);
        assert_eq!((&parts.names, &parts.schema), (&whole.names, &whole.schema), "{dialect:?}");
        assert_eq!((parts.text, parts.rejects), (whole.text, whole.rejects.clone()), "{dialect:?} {cut:?}");
        assert_eq!((parts.records, parts.rows), (whole.records, whole.rows));
        assert_eq!(whole.records, whole.rows + whole.rejects.len() as u64, "records in = rows + rejects");
    }
}

/// Splits complete records into fields, with a flag for quoted ones.
fn cells(text: &str) -> Vec<(Vec<u8>, bool)> {
    let morsel = Morsel::from_vec(text.as_bytes().to_vec(), 0, 0);
    let mut splitter = Splitter::new(&morsel, DELIMITER);
    let mut fields = Vec::new();
    while splitter.next_record(&mut fields).is_some() {}
    fields.iter().map(|span| (span.value(morsel.records()).into_owned(), span.is_quoted())).collect()
}

/// Compares the fields of records with those of the csv crate, up to the first record that is
/// malformed: from there the csv crate recovers in its own way.
fn fields_agree(bytes: &[u8], dialect: &CsvDialect) {
    let mut bytes = bytes;
    // The csv crate strips a byte order mark from every input, also a second one, which is text here.
    while let Some(rest) = bytes.strip_prefix(b"\xef\xbb\xbf") {
        bytes = rest;
    }
    let morsel = Morsel::from_vec(bytes.to_vec(), 0, 0);
    let delimiter = dialect.delimiter.unwrap_or(DELIMITER);
    let mut splitter = Splitter::new(&morsel, delimiter).with_quote(dialect.quote);
    let mut oracle = by_csv_crate(bytes, dialect).into_iter();
    let quote = dialect.quote.byte().unwrap_or(b'"');
    let mut fields = Vec::new();
    while let Some(record) = splitter.next_record(&mut fields) {
        if record.malformed.is_some() {
            return;
        }
        let mut found: Vec<Vec<u8>> =
            fields.drain(..).map(|span| span.value_in_quotes(bytes, quote).into_owned()).collect();
        // The csv crate skips empty lines and keeps the carriage return.
        if bytes.get(record.end) == Some(&b'\r') {
            found.last_mut().expect("a record has a field").push(b'\r');
        } else if record.is_blank() {
            continue;
        }
        let expected = oracle.next().unwrap_or_else(|| panic!("the csv crate has no record at {}", record.start));
        assert_eq!(found, expected, "the record at byte {}", record.start);
    }
    assert_eq!(oracle.next(), None);
}
