//! What one compute thread does with a group of morsels: decode, steps, encode. Each group becomes
//! one [`Piece`]; whatever went wrong travels inside it, so that the writer meets it in order.

use std::sync::Arc;

use crossbeam_channel::{Receiver, select};

use super::Error;
use super::budget::Permit;
use super::compiled::{Compiled, Shape};
use super::reader::{Item, SourceInfo};
use crate::column::{Batch, Morsel, Schema};
use crate::format::compress::PieceCompressor;
use crate::format::csv::CsvEncoder;
use crate::format::decode::{Decoded, Outcome, RejectedRecord, Surprise};
use crate::format::frame::{BufferPool, Oversized};
use crate::format::parquet::{EncodedRowGroup, RowGroupEncoder};
use crate::format::{Compression, OutputFormat, ndjson};
use crate::text::error_chain;
use crate::transform::Steps;

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
    /// `None` only when the worker broke down.
    pub slot: Option<Permit>,
    pub parts: Vec<Part>,
}

/// What became of one item, in order.
pub(super) enum Part {
    /// An account of decoded records.
    Account(Account),
    /// Text of rows, for every output.
    Text(TextRows),
    /// Rows that must still pass the ordered steps; the schema before any step.
    Rows(Batch, Arc<Schema>),
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

/// The count of one morsel.
pub(super) struct Account {
    pub source: Arc<SourceInfo>,
    pub byte_offset: u64,
    pub records: u64,
    pub lines: u64,
    /// Rows that the worker's steps left out.
    pub filtered: u64,
    pub duplicate_keys: u64,
    /// With the raw record, if rejects are kept.
    pub rejects: Vec<(RejectedRecord, Option<Vec<u8>>)>,
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
}

/// One worker's own things.
pub(super) struct Worker {
    compiled: Arc<Compiled>,
    steps: Steps,
    pool: BufferPool,
}

impl Worker {
    pub fn new(compiled: &Arc<Compiled>, pool: &BufferPool) -> Self {
        let steps = Steps::new(&compiled.row_steps, compiled.limits.max_distinct_keys);
        Worker { compiled: compiled.clone(), steps, pool: pool.clone() }
    }

    /// Carries `group` through. An error ends the piece, as its last part. `None` when the
    /// execution is over before the group is.
    pub fn run(&mut self, group: Group, quitting: &Receiver<()>) -> Option<Piece> {
        let mut parts = Vec::new();
        let mut schema = self.compiled.schema();
        let mut encoder = None;
        let result = loop {
            let item = select! {
                recv(group.items) -> item => item,
                recv(quitting) -> _ => return None,
            };
            let Ok(item) = item else { break self.finish_row_group(&mut encoder, &schema, &mut parts) };
            if let Err(stop) = self.item(item, &mut schema, &mut encoder, &mut parts) {
                break Err(stop);
            }
        };
        if let Err(stop) = result {
            parts.push(stop);
        }
        Some(Piece { index: group.index, slot: Some(group.slot), parts })
    }

    fn item(
        &mut self,
        item: InFlight<Result<Item, Error>>,
        schema: &mut Arc<Schema>,
        encoder: &mut Option<RowGroupEncoder>,
        parts: &mut Vec<Part>,
    ) -> Result<(), Part> {
        match item.value {
            Ok(Item::Morsel(morsel, info)) => {
                let mut consumed = self.morsel(&morsel, &info, schema, encoder, parts)?;
                while consumed < morsel.len {
                    consumed += self.morsel(&morsel.rest(consumed), &info, schema, encoder, parts)?;
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
        &self,
        encoder: &mut Option<RowGroupEncoder>,
        decoded: &Arc<Schema>,
        parts: &mut Vec<Part>,
    ) -> Result<(), Part> {
        if let Some(encoder) = encoder.take() {
            let group = encoder.finish().map_err(bug)?;
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
                Outcome::Surprise(surprise) => {
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
        let Decoded { batch, rejects, consumed, records, lines, duplicate_keys, observed } = decoded;
        // Flags such as "every integer fits a double" must reach the rows' schema.
        let seen = schema.join(&observed, self.compiled.mixing);
        if seen != **schema {
            self.finish_row_group(encoder, schema, parts)?;
            *schema = Arc::new(seen);
        }
        let rows = batch.rows;
        let keep = self.compiled.keep_rejects;
        let raw = |r: &RejectedRecord| keep.then(|| morsel.records()[r.byte..r.byte + r.len].to_vec());
        let rejects: Vec<_> = rejects
            .into_iter()
            .map(|rejected| {
                let raw = raw(&rejected);
                (rejected, raw)
            })
            .collect();
        let batch = self.steps.apply(batch).map_err(|e| Part::Failed(Error::Step(e.to_string())))?;
        parts.push(Part::Account(Account {
            source: info.clone(),
            byte_offset: morsel.byte_offset,
            records,
            lines,
            filtered: (rows - batch.rows) as u64,
            duplicate_keys,
            rejects,
        }));
        match self.compiled.shape {
            Shape::Parquet(options) => {
                let columns = self.steps.output_schema(schema);
                if encoder.as_ref().is_some_and(|e| **e.layout().schema() != columns) {
                    self.finish_row_group(encoder, schema, parts)?;
                }
                let encoder = match encoder {
                    Some(encoder) => encoder,
                    None => encoder.insert(self.compiled.row_group_encoder(columns, &options).map_err(bug)?),
                };
                if batch.rows > 0 {
                    encoder.write(&batch).map_err(bug)?;
                }
            }
            Shape::Text if self.compiled.ordered_steps.is_empty() => {
                parts.push(Part::Text(encode_text(&self.compiled, &batch, schema)));
            }
            Shape::Text => {
                parts.push(Part::Rows(batch, schema.clone()));
            }
        }
        Ok(consumed)
    }
}

/// An encoder that fails on a batch of its own schema is our fault.
fn bug(error: crate::format::parquet::Error) -> Part {
    Part::Failed(Error::Bug(format!("cannot encode a row group: {}", error_chain(&error))))
}

/// Rows as the bytes of every text output.
pub(super) fn encode_text(compiled: &Compiled, batch: &Batch, decoded: &Arc<Schema>) -> TextRows {
    let bytes = compiled
        .formats
        .iter()
        .map(|(format, compression)| {
            let mut plain = Vec::with_capacity(batch.rows * 64);
            match format {
                OutputFormat::Csv(options) => CsvEncoder::new(*options).write_rows(batch, &mut plain),
                OutputFormat::Ndjson => ndjson::encode(batch, b"\n", &mut plain),
                OutputFormat::JsonArray => {
                    ndjson::encode(batch, b",\n", &mut plain);
                    // The writer puts the separator between pieces.
                    plain.truncate(plain.len().saturating_sub(2));
                }
                OutputFormat::Parquet(_) => unreachable!("a Parquet plan has no text outputs"),
            }
            compressed(*compression, plain)
        })
        .collect();
    TextRows { columns: batch.schema.clone(), decoded: decoded.clone(), rows: batch.rows as u64, bytes }
}

/// `plain` as it goes into an output of this compression; nothing stays nothing.
pub(super) fn compressed(compression: Compression, plain: Vec<u8>) -> Vec<u8> {
    if compression == Compression::None || plain.is_empty() {
        return plain;
    }
    let mut out = Vec::new();
    // Pieces are about a morsel each; a compressor's set-up is lost in that.
    let result = PieceCompressor::new(compression).and_then(|mut c| c.compress(&plain, &mut out));
    result.expect("compressing into memory fails only when there is none");
    out
}
