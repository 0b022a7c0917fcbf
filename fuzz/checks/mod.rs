//! The checks of the fuzz targets. Each is a function that reads arbitrary bytes with a parser of drawoff and with
//! slower ones, and panics on a difference.
//!
//! They are outside of the crate and use its public API only. The targets in `fuzz_targets/` call them, and the tests
//! in `tests/parsers` run them over the corpus in `testdata/corpus` and over their own cases.

pub mod csv;
pub mod frame;
pub mod json;
pub mod ndjson;

use drawoff::column::Morsel;
use drawoff::format::frame::{BufferPool, Framed, Framer, Framing, Oversized};

/// Sizes of the pieces in which an input is read. The result must not depend on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Size of a chunk.
    pub chunk_bytes: usize,
    /// Approximate size of a morsel.
    pub morsel_bytes: usize,
    /// Approximate number of values in a batch.
    pub max_cells: usize,
    /// Flush complete records after every chunk, as for an output to a terminal or a pipe.
    pub flush: bool,
}

impl Cut {
    /// The whole input as one piece.
    pub const WHOLE: Cut = Cut { chunk_bytes: 1 << 20, morsel_bytes: 1 << 20, max_cells: usize::MAX, flush: false };

    /// Derives a cut from a hash of `bytes`, so that a fuzzer reaches all cuts.
    pub fn of(bytes: &[u8]) -> Self {
        // FNV-1a.
        let hash =
            bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        let pick = |shift: u32, of: &[usize]| of[(hash >> shift) as usize % of.len()];
        Cut {
            chunk_bytes: pick(40, &[1, 2, 3, 7, 64, 1 << 20]),
            morsel_bytes: pick(44, &[1, 5, 17, 64, 200, 4096]),
            max_cells: pick(48, &[1, 3, 100, usize::MAX]),
            flush: hash >> 52 & 1 == 1,
        }
    }
}

/// Splits `bytes` with the framer.
pub fn frame(bytes: &[u8], framing: Framing, max_record_bytes: usize, cut: Cut) -> Vec<Framed> {
    let pool = BufferPool::new(cut.morsel_bytes, 2);
    let mut framer = Framer::new(framing, max_record_bytes, 3, pool);
    let mut framed = Vec::new();
    for mut chunk in bytes.chunks(cut.chunk_bytes) {
        while !chunk.is_empty() {
            let space = framer.space();
            let n = space.len().min(chunk.len());
            assert!(n > 0, "there is always space");
            space[..n].copy_from_slice(&chunk[..n]);
            chunk = &chunk[n..];
            framer.filled(n);
            framed.extend(std::iter::from_fn(|| framer.pop()));
        }
        if cut.flush {
            framer.flush();
            framed.extend(std::iter::from_fn(|| framer.pop()));
        }
    }
    framer.finish();
    framed.extend(std::iter::from_fn(|| framer.pop()));
    framed
}

/// A rejected record, with its position in the input and its raw bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Offset in the input.
    pub byte: u64,
    /// Line, from 1.
    pub line: u64,
    /// Record, from 0.
    pub record: u64,
    /// Offset in the record, path and reason.
    pub reject: drawoff::format::Reject,
    /// Raw bytes; `None` for an oversized record.
    pub raw: Option<Vec<u8>>,
}

/// Position of a reader in an input.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    lines: u64,
    records: u64,
}

impl Place {
    fn rejected(self, morsel: &Morsel, rejected: &drawoff::format::decode::RejectedRecord) -> Rejected {
        let raw = &morsel.records()[rejected.byte..rejected.byte + rejected.len];
        Rejected {
            byte: morsel.byte_offset + rejected.byte as u64,
            line: self.lines + rejected.line + 1,
            record: self.records + rejected.record,
            reject: rejected.reject.clone(),
            raw: Some(raw.to_vec()),
        }
    }

    fn oversized(self, oversized: Oversized) -> Rejected {
        let path = drawoff::position::FieldPath::root();
        Rejected {
            byte: oversized.byte_offset,
            line: self.lines + 1,
            record: self.records,
            reject: drawoff::format::Reject { offset: 0, path, reason: TOO_LONG.into() },
            raw: None,
        }
    }
}

/// Reason of rejects that exceed the limit for records.
pub const TOO_LONG: &str = "too long";
