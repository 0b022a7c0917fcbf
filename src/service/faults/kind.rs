//! What can go wrong.

use std::time::Duration;

use crate::format::Compression;

/// What goes wrong with one answer, or one run.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// The answer comes late.
    Latency {
        /// At least so late.
        time: Duration,
        /// And up to so much more, from the seed.
        jitter: Duration,
    },
    /// 429.
    TooMany {
        /// Says so in `Retry-After`.
        retry_after: Option<Duration>,
        /// Says so in `X-RateLimit-Reset`.
        reset: Option<Duration>,
    },
    /// Another status that says nothing of the request.
    Status(u16),
    /// The connection breaks in the body.
    Cut(Spot),
    /// The body stands still, and then breaks.
    Stall {
        /// There.
        at: Spot,
        /// For so long.
        time: Duration,
    },
    /// The body comes slowly.
    Drip {
        /// From there on.
        at: Spot,
        /// So many bytes.
        bytes: usize,
        /// At intervals of so much.
        every: Duration,
    },
    /// Links end early: refused so long after they were made, with this status.
    Expire {
        /// Their life.
        life: Duration,
        /// 403, 400 or 401.
        status: u16,
    },
    /// A part of a file that begins so many bytes before what was asked.
    WrongRange(u64),
    /// The whole file where a part was asked.
    IgnoreRange,
    /// The file's entity tag is another from now on.
    NewEtag,
    /// The body is compressed, though nobody asked.
    Encode {
        /// How.
        compression: Compression,
        /// In so many members, at least.
        members: u64,
        /// The last one lacks its end.
        truncated: bool,
    },
    /// Every so many lines of NDJSON, one is broken off in its middle.
    BrokenLines(u64),
    /// From this row on a column holds text.
    LateType {
        /// The column; the first one if it has no name.
        column: Option<String>,
        /// Counted from 1.
        row: u64,
    },
    /// Every so many lines of NDJSON, one comes twice.
    DuplicateRows(u64),
    /// Links come without their URL.
    Unsigned,
    /// The state of a run is told wrong.
    State(Progress),
    /// The run ends as one that took too long, before its last block has ended.
    RunTimeout,
}

/// How the state of a run is told wrong. How often is the rule's `times`.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// Running and queued by turns.
    Flap,
    /// Running, also when it has ended.
    Stick,
    /// Queued until it has ended.
    Jump,
    /// A word that nobody knows.
    Unknown(String),
}

/// A place in a body.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Spot {
    /// After so many bytes.
    Bytes(u64),
    /// After this part of it, 0 to 1; of a body whose length nobody knows, at its start.
    Part(f64),
}

impl Spot {
    /// The byte, in a body of this length.
    pub(super) fn byte(self, len: Option<u64>) -> u64 {
        match self {
            Spot::Bytes(bytes) => bytes,
            Spot::Part(part) => (len.unwrap_or(0) as f64 * part) as u64,
        }
    }
}
