//! Kinds of faults that the service can inject: plain data, parsed by `rule` and carried out by `layer`.

use std::time::Duration;

use crate::format::Compression;

/// Fault in one response, or in one run.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// The response is delayed.
    Latency {
        /// Minimum delay of the response.
        time: Duration,
        /// Maximum random addition to the delay, drawn from the seed.
        jitter: Duration,
    },
    /// The request is refused in place of its response.
    Refusal(Refusal),
    /// The connection is closed within the body.
    Cut(BodyPosition),
    /// The body stops, and then the connection is closed.
    Stall {
        /// Position at which the body stops.
        at: BodyPosition,
        /// Time until the connection is closed.
        time: Duration,
    },
    /// The rest of the body is sent slowly.
    Drip {
        /// Position from which the body is slow.
        at: BodyPosition,
        /// Size of each chunk.
        bytes: usize,
        /// Pause before each chunk.
        every: Duration,
    },
    /// Links expire earlier than configured.
    Expire {
        /// Age at which a link is refused.
        life: Duration,
        /// Status of the refusal: 403, 400 or 401.
        status: u16,
    },
    /// A requested range begins this many bytes too early.
    WrongRange(u64),
    /// A range request is answered with the whole file.
    IgnoreRange,
    /// The entity tag of the file changes from this request on.
    NewEtag,
    /// The body is compressed although the request does not accept it.
    Encode {
        /// Codec: gzip or zstd.
        compression: Compression,
        /// Minimum number of members (frames).
        members: u64,
        /// True if the end of the last member is missing.
        truncated: bool,
    },
    /// Each n-th line of NDJSON is truncated in its middle.
    BrokenLines(u64),
    /// A column contains text from some row on.
    LateType {
        /// Name of the column; `None` is the first one.
        column: Option<String>,
        /// First row with text, counted from 1.
        row: u64,
    },
    /// Each n-th line of NDJSON is duplicated.
    DuplicateRows(u64),
    /// Links lack their URL.
    Unsigned,
    /// The status of a run is reported falsely.
    State(Progress),
    /// The run ends with `timeout` before its last block.
    RunTimeout,
    /// A block of the run fails.
    FailBlock {
        /// Name or sequence number of the block; `None` is the last one. A run without the block is not affected.
        block: Option<String>,
        /// Message of the block.
        text: String,
    },
    /// Each block of the run reads at most this many rows per second.
    RowsPerSecond(f64),
}

/// Refusal of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// Status of the response, 400 to 599.
    pub status: u16,
    /// Form of its body.
    pub shape: ErrorShape,
    /// Message in its body.
    pub text: String,
    /// Value of `Retry-After`, rounded up to seconds; `None` omits the header.
    pub retry_after: Option<Duration>,
    /// Value of `X-RateLimit-Reset`, rounded up to seconds; `None` omits the header.
    pub reset: Option<Duration>,
}

/// Form of the body of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorShape {
    /// `{"detail": TEXT}`, and for 422 a list of entries, as the API describes it.
    Detail,
    /// `{"error": TITLE, "message": TEXT}`, as older pages of the vendor describe it.
    Legacy,
    /// `{"error": {"code": CODE, "message": TEXT}}`, which a client of the vendor tolerates.
    Nested,
    /// A page of HTML, as a proxy between sends it.
    Html,
}

impl Kind {
    /// Returns the only requests that the fault can affect; `None` if it can affect all.
    pub(super) fn only(&self) -> Option<Target> {
        match self {
            Kind::Latency { .. }
            | Kind::Refusal(_)
            | Kind::Cut(_)
            | Kind::Stall { .. }
            | Kind::Drip { .. }
            | Kind::Encode { .. } => None,
            Kind::Expire { .. }
            | Kind::WrongRange(_)
            | Kind::IgnoreRange
            | Kind::NewEtag
            | Kind::BrokenLines(_)
            | Kind::LateType { .. }
            | Kind::DuplicateRows(_) => Some(Target::Files),
            Kind::Unsigned => Some(Target::Links),
            Kind::State(_) => Some(Target::Status),
            Kind::RunTimeout | Kind::FailBlock { .. } | Kind::RowsPerSecond(_) => Some(Target::Runs),
        }
    }
}

/// False status of a run. The number of false reports is the `times` of the rule.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// Alternates between running and queued.
    Flap,
    /// Stays running after the run has ended.
    Stick,
    /// Stays queued until the run has ended.
    Jump,
    /// This word, which is no status of the API.
    Unknown(String),
}

/// Position in a body.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BodyPosition {
    /// Number of bytes from the start.
    Bytes(u64),
    /// Fraction of the length, 0 to 1; the start of a body of unknown length.
    Fraction(f64),
}

impl BodyPosition {
    /// Returns the position in bytes for a body of `len` bytes; `None` is an unknown length.
    pub(super) fn byte(self, len: Option<u64>) -> u64 {
        match self {
            BodyPosition::Bytes(bytes) => bytes,
            BodyPosition::Fraction(fraction) => (len.unwrap_or(0) as f64 * fraction) as u64,
        }
    }
}

/// Requests that a rule applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Every request that faults apply to.
    All,
    /// Every request of the API except downloads of files.
    Api,
    /// Requests that start a run.
    Start,
    /// Requests for the status of a run.
    Status,
    /// Requests for the result links of a run.
    Links,
    /// Downloads of result files.
    Files,
    /// Uploads of input files.
    Upload,
    /// The execution of runs, rather than requests.
    Runs,
}
