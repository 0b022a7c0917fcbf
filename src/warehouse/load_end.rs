//! The facts about a load at its end, and the outcome of its commit.

use super::identity::CommitKey;
use super::ledger::{LedgerRow, LoadSummary, RecordMark, RecordsDigest};

/// Facts about a load that are known at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadEnd {
    /// Rows that were appended.
    pub rows: u64,
    /// Records that were rejected.
    pub rejected: u64,
    /// SHA-256 of each source, in hexadecimal, with a space and the way in which it was read behind it if that is not the
    /// usual one; `None` if one was not read to its end, because the rows end before.
    pub digests: Option<Vec<String>>,
    /// The end of a chunk; `None` for a load in one transaction.
    pub chunk: Option<ChunkEnd>,
}

/// The end of one chunk of a load. The counts of the end of the load are then those of the chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkEnd {
    /// Records of the sources up to here, bad ones included.
    pub records: u64,
    /// The record of its last row; `None` if it has no row.
    pub last: Option<RecordMark>,
    /// The digest of the records; `None` if it is not needed.
    pub digest: Option<RecordsDigest>,
    /// True for the last chunk, which completes the load.
    pub is_last: bool,
}

impl LoadEnd {
    /// Returns the digest for the ledger: that of the source, or of the digests of several. Empty if it is not known.
    pub fn digest(&self) -> String {
        match self.digests.as_deref() {
            Some([one]) => of_bytes(one).to_owned(),
            Some(several) => {
                let several: Vec<&str> = several.iter().map(|digest| of_bytes(digest)).collect();
                CommitKey::of(&several).as_str().to_owned()
            }
            None => String::new(),
        }
    }
}

/// Returns the digest of the bytes alone.
fn of_bytes(digest: &str) -> &str {
    digest.split(' ').next().unwrap_or_default()
}

/// The outcome of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there is one for each load")]
pub enum Committed {
    /// The rows are in the table.
    Loaded(LoadSummary),
    /// An earlier load had the same key. The rows of this one were rolled back.
    Already(LedgerRow),
}
