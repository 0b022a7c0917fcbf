//! What the fuzz targets check, as plain functions: each takes any bytes, reads them with the
//! parsers of drawoff and with slower ones, and panics where they differ.
//!
//! They live outside the crate and see only what it makes public. The targets in `fuzz_targets/`
//! call them, and so do the tests in `tests/parsers`, over the corpus in `testdata/corpus` and over
//! cases of their own.

pub mod csv;
pub mod frame;
pub mod json;
pub mod ndjson;

use drawoff::column::Morsel;
use drawoff::format::frame::{BufferPool, Framed, Framer, Framing, Oversized};

/// How an input is cut up: nothing of what is read may depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Bytes that arrive at a time.
    pub chunk_bytes: usize,
    /// Bytes of a morsel, about.
    pub morsel_bytes: usize,
    /// Values of a batch, about.
    pub max_cells: usize,
    /// Hand over what is whole after every chunk, as where somebody watches the output.
    pub flush: bool,
}

impl Cut {
    /// Everything at once.
    pub const WHOLE: Cut = Cut { chunk_bytes: 1 << 20, morsel_bytes: 1 << 20, max_cells: usize::MAX, flush: false };

    /// Some cut that `bytes` themselves decide, so that a fuzzer reaches all of them.
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

/// What a framer makes of `bytes`.
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

/// A record that was rejected, with its place in the whole input and its raw bytes.
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
    /// `None` if it was too long to keep.
    pub raw: Option<Vec<u8>>,
}

/// Where a reader is in an input.
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

/// The reason of records that are longer than the limit.
pub const TOO_LONG: &str = "too long";
