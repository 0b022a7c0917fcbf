//! What a worker makes of rows for each output: text, Arrow rows, or parts of row groups; of outputs that are divided
//! by the values of columns, for each folder its own.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::RecordBatch;

use super::Error;
use super::compiled::Compiled;
use crate::column::{Batch, Schema};
use crate::format::arrow_ipc::plain_batch;
use crate::format::compress::PieceCompressor;
use crate::format::csv::{CsvEncoder, SheetCounts};
use crate::format::json_text::{JsonValues, unescape};
use crate::format::parquet::{self, EncodedRowGroup, RowGroupEncoder, Workshop};
use crate::format::{Compression, OutputFormat, ParquetOptions, ndjson};
use crate::text::error_chain;

/// The folder of a row in an output that is divided: `country=NO/city=Oslo`; empty where it is not.
pub(super) type Folder = Arc<str>;

/// The folder of rows that have null in a column, as Hive calls it.
const NULL_FOLDER: &str = "__HIVE_DEFAULT_PARTITION__";

/// The longest name of a folder that common file systems take.
const MAX_FOLDER_NAME_BYTES: usize = 255;

/// One output, as workers see it.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    pub format: OutputFormat,
    pub compression: Compression,
    /// It is divided into files, by the writer, who then compresses them too.
    pub in_parts: bool,
    /// Columns whose values choose a row's folder. Files do not hold them.
    pub partition_by: Arc<[Arc<str>]>,
    /// The most rows of one part of a row group, so that files of few rows become full.
    pub unit_rows: usize,
    /// The same in bytes, as encoded.
    pub unit_bytes: usize,
}

impl Lane {
    /// True if workers make row groups for it.
    pub fn takes_row_groups(&self) -> bool {
        matches!(self.format, OutputFormat::Parquet(_)) && self.partition_by.is_empty()
    }

    /// True if its rows are set aside until all are there; see [`super::spool`].
    pub fn is_spooled(&self) -> bool {
        self.format.is_typed() && !self.partition_by.is_empty()
    }
}

/// Rows of one batch, for every output that takes them batch by batch.
pub(super) struct Rows {
    /// Columns of the outputs, those that choose folders included.
    pub columns: Arc<Schema>,
    /// The schema before any step.
    pub decoded: Arc<Schema>,
    pub rows: u64,
    /// One per output of the plan.
    pub encoded: Vec<Encoded>,
    /// What was done to cells for spreadsheets, in all of them.
    pub sheet: SheetCounts,
}

pub(super) enum Encoded {
    /// The rows of this output come in row groups.
    InRowGroups,
    /// Compressed, if the output is.
    Text(Vec<u8>),
    Arrow(RecordBatch),
    Parts(Vec<PartRows>),
}

/// Rows of one folder.
pub(super) struct PartRows {
    pub folder: Folder,
    /// The rows, should they have to be cut.
    pub batch: Batch,
    pub body: Body,
}

/// Rows as they go into a file.
pub(super) enum Body {
    /// Not compressed yet.
    Text(Vec<u8>),
    Arrow(RecordBatch),
}

impl Rows {
    /// Bytes that it holds, about.
    pub fn memory_size(&self) -> usize {
        let of_body = |body: &Body| match body {
            Body::Text(text) => text.len(),
            Body::Arrow(rows) => rows.get_array_memory_size(),
        };
        self.encoded
            .iter()
            .map(|encoded| match encoded {
                Encoded::InRowGroups => 0,
                Encoded::Text(text) => text.len(),
                Encoded::Arrow(rows) => rows.get_array_memory_size(),
                Encoded::Parts(parts) => parts.iter().map(|part| of_body(&part.body)).sum(),
            })
            .sum()
    }
}

/// Rows for every output but those that take row groups.
pub(super) fn encode_rows(compiled: &Compiled, batch: &Batch, decoded: &Arc<Schema>) -> Result<Rows, Error> {
    let mut sheet = SheetCounts::default();
    let mut plain_rows = None;
    let mut encoded = Vec::with_capacity(compiled.lanes.len());
    for lane in &compiled.lanes {
        encoded.push(match lane.format {
            _ if lane.takes_row_groups() => Encoded::InRowGroups,
            _ if lane.in_parts => {
                let parts = by_folder(batch, &lane.partition_by)?.into_iter();
                Encoded::Parts(
                    parts.map(|(folder, batch)| part(lane, folder, batch, &mut sheet)).collect::<Result<_, _>>()?,
                )
            }
            OutputFormat::Arrow(_) => {
                let rows = match &plain_rows {
                    Some(rows) => RecordBatch::clone(rows),
                    None => plain_rows.insert(plain_batch(batch).map_err(|e| arrow_error(&e))?).clone(),
                };
                Encoded::Arrow(rows)
            }
            format => {
                let mut plain = compiled.text_buffers.take();
                write_text(format, batch, &mut plain, &mut sheet);
                if lane.compression == Compression::None {
                    Encoded::Text(plain)
                } else {
                    let packed = compressed(lane.compression, &plain);
                    compiled.text_buffers.give(plain);
                    Encoded::Text(packed)
                }
            }
        });
    }
    Ok(Rows { columns: batch.schema.clone(), decoded: decoded.clone(), rows: batch.rows as u64, encoded, sheet })
}

fn part(lane: &Lane, folder: Folder, mut batch: Batch, sheet: &mut SheetCounts) -> Result<PartRows, Error> {
    let format = if lane.is_spooled() {
        // Every value as it was decoded, and nothing else of its record.
        batch.records = None;
        OutputFormat::Ndjson
    } else {
        lane.format
    };
    let body = body_of(format, &batch, sheet)?;
    Ok(PartRows { folder, batch, body })
}

/// `batch` as it goes into a file of `format`, not compressed yet.
pub(super) fn body_of(format: OutputFormat, batch: &Batch, sheet: &mut SheetCounts) -> Result<Body, Error> {
    if let OutputFormat::Arrow(_) = format {
        return Ok(Body::Arrow(plain_batch(batch).map_err(|e| arrow_error(&e))?));
    }
    let mut text = Vec::new();
    write_text(format, batch, &mut text, sheet);
    Ok(Body::Text(text))
}

fn write_text(format: OutputFormat, batch: &Batch, out: &mut Vec<u8>, sheet: &mut SheetCounts) {
    match format {
        OutputFormat::Csv(options) => {
            let mut encoder = CsvEncoder::new(options);
            encoder.write_rows(batch, out);
            sheet.add(encoder.take_counts(), 0);
        }
        OutputFormat::Ndjson => ndjson::encode(batch, b"\n", out),
        OutputFormat::JsonArray => {
            ndjson::encode(batch, b",\n", out);
            // The writer puts the separator between pieces.
            out.truncate(out.len().saturating_sub(2));
        }
        OutputFormat::Parquet(_) | OutputFormat::Arrow(_) => unreachable!("this is no text"),
    }
}

fn arrow_error(error: &crate::format::arrow_ipc::Error) -> Error {
    Error::Step(error_chain(error))
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

/// The rows of `batch` for each folder, in the order of first sight, each in the order of the rows and without the
/// columns that choose the folder.
fn by_folder(batch: &Batch, partition_by: &[Arc<str>]) -> Result<Vec<(Folder, Batch)>, Error> {
    if batch.rows == 0 {
        return Ok(Vec::new());
    }
    if partition_by.is_empty() {
        return Ok(vec![("".into(), batch.clone())]);
    }
    let columns: Vec<_> = partition_by
        .iter()
        .map(|name| {
            let i = batch.schema.position(name);
            (&**name, i.map(|i| JsonValues::new(&batch.columns[i], &batch.schema.fields[i].ty)))
        })
        .collect();
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let mut places: HashMap<Vec<u8>, usize> = HashMap::new();
    // Text that is escaped in JSON in one row and not in another is the same.
    let mut named: HashMap<Folder, usize> = HashMap::new();
    // For each folder its name and its rows.
    let mut folders: Vec<(Folder, Vec<u32>)> = Vec::new();
    let (mut key, mut value, mut last) = (Vec::new(), Vec::new(), None::<(Vec<u8>, usize)>);
    for row in 0..batch.rows {
        key.clear();
        for (_, column) in &columns {
            value.clear();
            match column {
                Some(values) => values.write(row, &mut value),
                None => value.extend_from_slice(b"null"),
            }
            key.extend_from_slice(&value);
            key.push(0);
        }
        let place = match &last {
            Some((last, place)) if *last == key => *place,
            _ => {
                let place = match places.get(&key) {
                    Some(place) => *place,
                    None => {
                        let folder = folder_of(&names, &key)?;
                        let place = *named.entry(folder.clone()).or_insert_with(|| {
                            folders.push((folder, Vec::new()));
                            folders.len() - 1
                        });
                        places.insert(key.clone(), place);
                        place
                    }
                };
                last = Some((key.clone(), place));
                place
            }
        };
        folders[place].1.push(row as u32);
    }
    let rest = batch.without_columns(partition_by);
    if let [(folder, _)] = &folders[..] {
        return Ok(vec![(folder.clone(), rest)]);
    }
    // One gathering of all columns; each folder then has a slice of it.
    let order: Vec<u32> = folders.iter().flat_map(|(_, rows)| rows.iter().copied()).collect();
    let sorted = rest.take(&order).map_err(|e| Error::Bug(format!("rows cannot be gathered: {e}")))?;
    let mut at = 0;
    Ok(folders
        .into_iter()
        .map(|(folder, rows)| {
            let slice = sorted.slice(at, rows.len());
            at += rows.len();
            (folder, slice)
        })
        .collect())
}

/// `name=value/…` of the values in `key`, each ended by NUL and in JSON. Null has Hive's name for it, the empty text an
/// empty value; what might mean something in a path or to a reader is escaped by `%` as in URLs.
fn folder_of(names: &[&str], key: &[u8]) -> Result<Folder, Error> {
    let mut path = String::new();
    for (name, value) in names.iter().zip(key.split(|&b| b == 0)) {
        let mut folder = String::new();
        escape(name.as_bytes(), &mut folder);
        folder.push('=');
        match value {
            b"null" => folder.push_str(NULL_FOLDER),
            [b'"', text @ .., b'"'] => {
                let mut plain = Vec::new();
                unescape(text, &mut plain);
                if plain == NULL_FOLDER.as_bytes() {
                    // This text is not null.
                    folder.push_str("%5F");
                    plain.remove(0);
                }
                escape(&plain, &mut folder);
            }
            json => escape(json, &mut folder),
        }
        if folder.len() > MAX_FOLDER_NAME_BYTES {
            return Err(Error::Step(format!(
                "a value of column `{name}` makes the name of a folder of {} bytes, and {MAX_FOLDER_NAME_BYTES} is the most",
                folder.len()
            )));
        }
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(&folder);
    }
    Ok(path.into())
}

fn escape(text: &[u8], out: &mut String) {
    for &b in text {
        if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~' | b'+' | b'@' | b',') {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
}

/// The row groups of one output, as one worker makes them.
pub(super) struct RowGroups {
    /// The place of the output in the plan.
    pub output: usize,
    options: ParquetOptions,
    unit_rows: usize,
    unit_bytes: usize,
    /// What is open.
    encoder: Option<RowGroupEncoder>,
    /// What is whole.
    ready: Vec<EncodedRowGroup>,
    /// Of the last encoder.
    shop: Option<Workshop>,
}

impl RowGroups {
    /// One for each output that takes row groups.
    pub fn of(compiled: &Compiled) -> Vec<RowGroups> {
        let made = |(output, lane): (usize, &Lane)| match lane.format {
            OutputFormat::Parquet(options) if lane.takes_row_groups() => Some(RowGroups {
                output,
                options,
                unit_rows: lane.unit_rows,
                unit_bytes: lane.unit_bytes,
                encoder: None,
                ready: Vec::new(),
                shop: None,
            }),
            _ => None,
        };
        compiled.lanes.iter().enumerate().filter_map(made).collect()
    }

    /// Adds rows, which have no other columns than `columns`.
    pub fn write(&mut self, compiled: &Compiled, columns: &Schema, batch: &Batch) -> Result<(), Error> {
        let mut at = 0;
        loop {
            let encoder = match &mut self.encoder {
                Some(encoder) => encoder,
                none => {
                    let made = compiled.row_group_encoder(columns.clone(), &self.options, self.shop.take());
                    none.insert(made.map_err(bug)?)
                }
            };
            let rows = (batch.rows - at).min(self.unit_rows - encoder.rows());
            if rows == batch.rows {
                // Also of no rows the columns count.
                encoder.write(batch).map_err(bug)?;
            } else {
                encoder.write(&batch.slice(at, rows)).map_err(bug)?;
            }
            at += rows;
            if encoder.rows() >= self.unit_rows
                || self.unit_bytes < usize::MAX && encoder.memory_size() >= self.unit_bytes
            {
                self.close()?;
            }
            if at == batch.rows {
                return Ok(());
            }
        }
    }

    fn close(&mut self) -> Result<(), Error> {
        if let Some(encoder) = self.encoder.take() {
            let (group, shop) = encoder.finish_in_workshop().map_err(bug)?;
            self.shop = Some(shop);
            self.ready.push(group);
        }
        Ok(())
    }

    /// What was made of the rows so far.
    pub fn take(&mut self, compiled: &Compiled) -> Result<Vec<EncodedRowGroup>, Error> {
        self.close()?;
        self.ready.iter().for_each(|group| compiled.learn_from(group));
        Ok(std::mem::take(&mut self.ready))
    }
}

/// An encoder that fails on a batch of its own schema is our fault.
fn bug(error: parquet::Error) -> Error {
    Error::Bug(format!("cannot encode a row group: {}", error_chain(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_named_so_that_paths_and_readers_take_them() {
        let folder =
            |names: &[&str], key: &str| folder_of(names, key.replace('|', "\0").as_bytes()).unwrap().to_string();
        assert_eq!(folder(&["country", "n"], r#""NO"|12|"#), "country=NO/n=12");
        assert_eq!(folder(&["a"], "null|"), "a=__HIVE_DEFAULT_PARTITION__");
        assert_eq!(folder(&["a"], r#""null"|"#), "a=null");
        assert_eq!(folder(&["a"], r#""__HIVE_DEFAULT_PARTITION__"|"#), "a=%5F_HIVE_DEFAULT_PARTITION__");
        assert_eq!(folder(&["a"], r#"""|"#), "a=");
        assert_eq!(folder(&["a/b"], r#""../x=1 ü\u0000%"|"#), "a%2Fb=..%2Fx%3D1%20%C3%BC%00%25");
        let long = format!("\"{}\"|", "x".repeat(300));
        assert!(folder_of(&["a"], long.replace('|', "\0").as_bytes()).is_err());
    }
}
