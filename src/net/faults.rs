//! A Workflows API on loopback whose network and object stores fail according to a plan, for tests.
//!
//! It has one run with a few result files. The plan is drawn from a seed before the server starts, and lists the faults
//! of the first requests of each kind; every other request gets a correct response.

use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::random::{STEP, mixed};
use super::scripted::{Seen, read_request};
use crate::format::Compression;
use crate::format::compress::PieceCompressor;

/// Id of the only run.
pub(crate) const RUN: &str = "0b7cf3a4-1f7e-4c55-8a39-9e2d6f1c0a77";
/// The signature in every link, which no output may contain.
pub(crate) const MARK: &str = "marked-signature";

/// A deterministic random number generator (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct SeededRng(u64);

impl SeededRng {
    pub(crate) fn new(seed: u64) -> Self {
        SeededRng(seed)
    }

    fn next(&mut self) -> u64 {
        let number = mixed(self.0);
        self.0 = self.0.wrapping_add(STEP);
        number
    }

    /// Returns a number below `bound`; 0 if `bound` is 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// Returns true with a probability of one in `times`.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

/// A fault of one response. Offsets are in thousandths of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InjectedFault {
    /// No fault.
    None,
    /// The connection is closed at this offset.
    Cut(usize),
    /// The connection is reset (TCP RST) at this offset.
    Reset(usize),
    /// Nothing is sent after this offset, and the connection stays open.
    Stall(usize),
    /// One byte per 20 ms is sent after this offset.
    Drip(usize),
    /// A 206 whose range starts up to 7 bytes before the requested one.
    WrongRange,
    /// A 200 with the whole file, although a range was requested.
    Whole,
    /// The current link expires; it and older ones are refused with this status from now on.
    Expired(u16),
    /// Status 429, with or without a delay named by the server.
    TooMany(Option<Wait>),
    /// A server error with this status.
    Status(u16),
    /// Status 404, as for a run that is not visible yet.
    NotYet,
    /// A listed file without its URL, as when signing failed.
    Unsigned,
    /// The file is replaced by another version, from this response on.
    Replaced,
}

/// The header in which a 429 names its delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    Seconds,
    Date,
    Reset,
}

/// A defect of a stored file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    None,
    /// The compressed data ends three bytes early.
    Truncated,
    /// The checksum in the gzip trailer is wrong.
    Trailer,
    /// Other bytes follow the compressed data.
    Garbage,
    /// The last line is truncated.
    LastLine,
    /// The file has one row fewer than the API's `row_count`.
    RowCount,
}

/// The validator that a store sends with its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    Strong,
    Weak,
    Date,
    Nothing,
}

/// The framing of a body, which marks its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length,
    Chunks,
    /// Only the end of the connection ends the body.
    Close,
}

/// One result file, and the behaviour of the store that holds it.
#[derive(Clone, Debug)]
pub(crate) struct FilePlan {
    pub rows: usize,
    pub defect: Defect,
    /// Compression of the stored file itself.
    pub compression: Compression,
    /// Content encoding of the transfer, though the request forbids it.
    pub encoding: Compression,
    pub tag: Tag,
    pub framing: Framing,
    pub ranges: bool,
    pub ignores_if_range: bool,
    /// Faults by the number of the request. Requests after the last fault get correct responses, or the last fault
    /// again if `relentless`.
    pub faults: Vec<InjectedFault>,
    pub relentless: bool,
}

/// All faults of one run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub files: Vec<FilePlan>,
    /// Faults of the calls that start the run; `polls` of those of its status, `links` of the lists of links.
    pub starts: Vec<InjectedFault>,
    pub polls: Vec<InjectedFault>,
    pub links: Vec<InjectedFault>,
    /// Connections over which the client may download a file.
    pub connections: usize,
}

impl Plan {
    /// Draws a plan from `seed`: some are mild, some damage a file, some repeat a fault for ever.
    pub(crate) fn draw(seed: u64) -> Plan {
        let mut rng = SeededRng::new(seed);
        let n_files = 1 + rng.below(3);
        let files = (0..n_files).map(|_| FilePlan::draw(&mut rng)).collect();
        let api = |rng: &mut SeededRng, special: &[InjectedFault]| {
            (0..rng.below(3)).map(|_| if rng.once_in(3) { rng.pick(special) } else { draw_api_fault(rng) }).collect()
        };
        Plan {
            files,
            starts: api(&mut rng, &[InjectedFault::Cut(500), InjectedFault::Reset(0)]),
            polls: api(&mut rng, &[InjectedFault::NotYet, InjectedFault::Cut(300)]),
            links: api(&mut rng, &[InjectedFault::Unsigned, InjectedFault::Cut(300)]),
            connections: 1 + rng.below(5),
        }
    }
}

fn draw_api_fault(rng: &mut SeededRng) -> InjectedFault {
    match rng.below(4) {
        0 => InjectedFault::TooMany(None),
        1 => InjectedFault::TooMany(Some(rng.pick(&[Wait::Seconds, Wait::Date, Wait::Reset]))),
        _ => InjectedFault::Status(rng.pick(&[500, 502, 503, 504, 520, 408])),
    }
}

impl FilePlan {
    fn draw(rng: &mut SeededRng) -> FilePlan {
        use Compression::{Gzip, None, Zstd};
        let compression = rng.pick(&[None, None, Gzip, Zstd]);
        let encoding = rng.pick(&[None, None, None, Gzip, Zstd]);
        let defect = match rng.below(12) {
            0 if compression == Gzip => rng.pick(&[Defect::Truncated, Defect::Trailer, Defect::Garbage]),
            0 if compression == Zstd => rng.pick(&[Defect::Truncated, Defect::Garbage]),
            0 => rng.pick(&[Defect::LastLine, Defect::RowCount]),
            _ => Defect::None,
        };
        let relentless = rng.once_in(25);
        let mut faults: Vec<InjectedFault> = (0..rng.below(5)).map(|_| draw_file_fault(rng)).collect();
        if relentless && !faults.last().is_some_and(|fault| fault.can_repeat()) {
            faults.push(rng.pick(&[
                InjectedFault::Cut(400),
                InjectedFault::Reset(0),
                InjectedFault::Status(503),
                InjectedFault::Expired(403),
            ]));
        }
        FilePlan {
            rows: 1 + rng.below(1500),
            defect,
            compression,
            encoding,
            tag: rng.pick(&[Tag::Strong, Tag::Strong, Tag::Strong, Tag::Weak, Tag::Date, Tag::Nothing]),
            framing: rng.pick(&[Framing::Length, Framing::Length, Framing::Chunks, Framing::Close]),
            ranges: !rng.once_in(4),
            ignores_if_range: rng.once_in(3),
            faults,
            relentless,
        }
    }

    /// Returns the bytes of the stored file; `version` is 0 until the file is replaced.
    pub(crate) fn bytes(&self, index: usize, version: usize) -> Vec<u8> {
        let mut text = rows_of(index, version, self.rows);
        if self.defect == Defect::LastLine {
            text.truncate(text.len() - 5);
        }
        let mut bytes = compressed(self.compression, &text);
        match self.defect {
            Defect::Truncated => bytes.truncate(bytes.len() - 3),
            Defect::Garbage => bytes.extend_from_slice(b"behind"),
            // The last eight bytes of gzip are the checksum and then the length.
            Defect::Trailer => *bytes.iter_mut().nth_back(6).expect("a gzip file is longer") ^= 1,
            _ => {}
        }
        bytes
    }

    /// Returns the `row_count` that the API reports.
    fn row_count(&self) -> usize {
        self.rows + usize::from(self.defect == Defect::RowCount)
    }

    /// Returns true if no request for the file ever receives a byte of it.
    pub(crate) fn is_out_of_reach(&self) -> bool {
        let refuses = |fault: &InjectedFault| {
            matches!(fault, InjectedFault::Status(_) | InjectedFault::TooMany(_) | InjectedFault::Expired(_))
        };
        self.relentless && self.faults.iter().all(refuses)
    }

    /// Returns true if the plan replaces the file.
    pub(crate) fn is_replaced(&self) -> bool {
        self.faults.contains(&InjectedFault::Replaced)
    }
}

impl InjectedFault {
    /// Returns true if the fault may be repeated for ever: a stall would take a test too long, and a file that is
    /// replaced at every request never ends.
    fn can_repeat(self) -> bool {
        matches!(
            self,
            InjectedFault::Cut(0..900)
                | InjectedFault::Reset(0..900)
                | InjectedFault::Status(_)
                | InjectedFault::Expired(_)
        )
    }
}

fn draw_file_fault(rng: &mut SeededRng) -> InjectedFault {
    // Both ends of the body are drawn often: mistakes are likeliest there.
    let offset = |rng: &mut SeededRng| match rng.below(6) {
        0 => 0,
        1 => 1000,
        _ => rng.below(1000),
    };
    match rng.below(16) {
        0..=3 => InjectedFault::Cut(offset(rng)),
        4..=5 => InjectedFault::Reset(offset(rng)),
        6 => InjectedFault::Stall(offset(rng)),
        7 => InjectedFault::Drip(offset(rng)),
        8 => InjectedFault::WrongRange,
        9 => InjectedFault::Whole,
        10..=11 => InjectedFault::Expired(rng.pick(&[400, 401, 403])),
        12 => InjectedFault::TooMany(rng.pick(&[None, Some(Wait::Seconds), Some(Wait::Date)])),
        13..=14 => InjectedFault::Status(rng.pick(&[500, 502, 503, 504])),
        _ if rng.once_in(2) => InjectedFault::Replaced,
        _ => InjectedFault::None,
    }
}

/// Returns NDJSON rows of which no two are equal, within a file and between files. Versions differ from the first row
/// on.
pub(crate) fn rows_of(index: usize, version: usize, rows: usize) -> Vec<u8> {
    let mut text = Vec::new();
    for row in 0..rows {
        let mixed = (row as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (index as u64) << 7;
        writeln!(text, r#"{{"id":{row},"file":{index},"version":"v{version}","text":"Malmö {mixed:x}"}}"#)
            .expect("memory");
    }
    text
}

fn compressed(compression: Compression, plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    // Two members or frames, as parallel writers produce them.
    let mut compressor = PieceCompressor::new(compression).expect("memory");
    for piece in plain.chunks(plain.len() / 2 + 1) {
        compressor.compress(piece, &mut out).expect("memory");
    }
    out
}

/// A running server for one plan; it ends with the runtime.
pub(crate) struct Faulty {
    /// Base URL, `http://127.0.0.1:PORT`.
    pub base: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    starts: usize,
    polls: usize,
    links: usize,
    /// Requests received for each file.
    files: Vec<usize>,
    /// Current version of each file, 0 or 1.
    versions: Vec<usize>,
    /// Edition of the valid link of each file, and the status that refuses links of earlier editions.
    editions: Vec<(usize, u16)>,
    keys: Vec<String>,
}

impl Faulty {
    pub(crate) async fn start(plan: Plan) -> Faulty {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback can be bound");
        let base = format!("http://{}", listener.local_addr().expect("it is bound"));
        let n = plan.files.len();
        let state = State { files: vec![0; n], versions: vec![0; n], editions: vec![(0, 403); n], ..State::default() };
        let state = Arc::new(Mutex::new(state));
        let server = Arc::new(Server { plan, base: base.clone(), state: Arc::clone(&state) });
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = Arc::clone(&server);
                tokio::spawn(async move { server.serve(stream).await });
            }
        });
        Faulty { base, state }
    }

    /// Returns the idempotency keys of all calls that started the run.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.state.lock().expect("no test panics while it holds it").keys.clone()
    }
}

struct Server {
    plan: Plan,
    base: String,
    state: Arc<Mutex<State>>,
}

/// A response, its framing and its fault.
struct FaultyResponse {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    framing: Framing,
    fault: InjectedFault,
}

impl FaultyResponse {
    fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        FaultyResponse {
            status,
            headers: Vec::new(),
            body: body.into(),
            framing: Framing::Length,
            fault: InjectedFault::None,
        }
    }
}

impl Server {
    async fn serve(&self, mut stream: TcpStream) {
        let Some(seen) = read_request(&mut stream).await else { return };
        let response = self.answer(&seen);
        // An error here means that the client closed the connection, as it may.
        let _ = send(stream, response).await;
    }

    fn answer(&self, seen: &Seen) -> FaultyResponse {
        let mut state = self.state.lock().expect("no test panics while it holds it");
        let next = |count: &mut usize, faults: &[InjectedFault]| {
            *count += 1;
            faults.get(*count - 1).copied().unwrap_or(InjectedFault::None)
        };
        let target = seen.line.split(' ').nth(1).unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default();
        let run = format!("/workflows/runs/{RUN}");
        if path == "/workflows/run" {
            state.keys.extend(seen.header("idempotency-key").map(str::to_owned));
            let fault = next(&mut state.starts, &self.plan.starts);
            let body = json!({"status": "queued", "workflow_id": "w", "job_id": RUN});
            return with_fault(FaultyResponse::new(200, body.to_string()), fault);
        }
        if path == format!("{run}/live_status") {
            let fault = next(&mut state.polls, &self.plan.polls);
            let status = if state.polls <= self.plan.polls.len() { "running" } else { "completed" };
            let body = json!({"run_id": RUN, "workflow_id": "w", "overall_status": status, "last_updated": "t"});
            return with_fault(FaultyResponse::new(200, body.to_string()), fault);
        }
        if path == format!("{run}/results/download-links") {
            let fault = next(&mut state.links, &self.plan.links);
            return with_fault(FaultyResponse::new(200, self.links(&state, fault).to_string()), fault);
        }
        match path.strip_prefix("/files/").and_then(|index| index.parse::<usize>().ok()) {
            Some(index) if index < self.plan.files.len() => self.file(&mut state, index, target, seen),
            _ => FaultyResponse::new(404, "{}"),
        }
    }

    fn links(&self, state: &State, fault: InjectedFault) -> serde_json::Value {
        let link = |(i, file): (usize, &FilePlan)| {
            let url = format!("{}/files/{i}?sig={MARK}&edition={}", self.base, state.editions[i].0);
            json!({"filename": format!("file-{i}"), "storage_bucket": "b", "block_number": i,
                   "row_count": file.row_count(), "message": null,
                   "download_url": if fault == InjectedFault::Unsigned { None } else { Some(url) }})
        };
        self.plan.files.iter().enumerate().map(link).collect()
    }

    fn file(&self, state: &mut State, index: usize, target: &str, seen: &Seen) -> FaultyResponse {
        let file = &self.plan.files[index];
        let count = state.files[index];
        state.files[index] += 1;
        let mut fault = match file.faults.get(count) {
            Some(fault) => *fault,
            None if file.relentless => *file.faults.last().expect("it has one"),
            None => InjectedFault::None,
        };
        if let InjectedFault::Expired(status) = fault {
            state.editions[index] = (state.editions[index].0 + 1, status);
            fault = InjectedFault::None;
        }
        if fault == InjectedFault::Replaced {
            state.versions[index] = 1;
        }
        let (edition, refusal) = state.editions[index];
        if !target.ends_with(&format!("&edition={edition}")) {
            // Some object stores quote the request, signature included.
            return FaultyResponse::new(refusal, format!("<?xml version='1.0'?><Error>{target} has expired</Error>"));
        }
        if matches!(fault, InjectedFault::TooMany(_) | InjectedFault::Status(_)) {
            return with_fault(FaultyResponse::new(200, ""), fault);
        }
        self.store(file, index, state.versions[index], seen, fault)
    }

    /// Returns the response of a store, which honours ranges and `If-Range` or does not.
    fn store(
        &self,
        file: &FilePlan,
        index: usize,
        version: usize,
        seen: &Seen,
        fault: InjectedFault,
    ) -> FaultyResponse {
        let bytes = file.bytes(index, version);
        let tag = match file.tag {
            Tag::Strong => Some(("ETag", format!("\"v{version}\""))),
            Tag::Weak => Some(("ETag", format!("W/\"v{version}\""))),
            Tag::Date => Some(("Last-Modified", format!("Wed, 04 Nov 2026 10:00:0{version} GMT"))),
            Tag::Nothing => None,
        };
        let named = tag.as_ref().map(|(_, value)| value.as_str());
        let same = file.ignores_if_range || seen.header("if-range").is_none_or(|asked| Some(asked) == named);
        let range = seen.header("range").and_then(|range| {
            let (from, last) = range.strip_prefix("bytes=")?.split_once('-')?;
            let end = last.parse::<usize>().map_or(bytes.len(), |last| bytes.len().min(last + 1));
            Some((from.parse::<usize>().ok()?, end))
        });
        let range = range
            .filter(|_| file.ranges && same && fault != InjectedFault::Whole && file.encoding == Compression::None);
        let mut response = match range {
            None => {
                let mut response = FaultyResponse::new(200, compressed(file.encoding, &bytes));
                match file.encoding {
                    Compression::None => {}
                    Compression::Gzip => response.headers.push(("Content-Encoding", "gzip".to_owned())),
                    Compression::Zstd => response.headers.push(("Content-Encoding", "zstd".to_owned())),
                }
                response
            }
            Some((from, _)) if from >= bytes.len() => {
                let mut response = FaultyResponse::new(416, "");
                response.headers.push(("Content-Range", format!("bytes */{}", bytes.len())));
                response
            }
            Some((mut from, end)) => {
                if fault == InjectedFault::WrongRange {
                    from -= from.min(7);
                }
                let mut response = FaultyResponse::new(206, &bytes[from..end]);
                response.headers.push(("Content-Range", format!("bytes {from}-{}/{}", end - 1, bytes.len())));
                response
            }
        };
        if file.ranges {
            response.headers.push(("Accept-Ranges", "bytes".to_owned()));
        }
        response.headers.extend(tag);
        response.framing = file.framing;
        response.fault = fault;
        response
    }
}

/// Applies a fault that shows in the head of the response.
fn with_fault(mut response: FaultyResponse, fault: InjectedFault) -> FaultyResponse {
    match fault {
        InjectedFault::Status(status) => FaultyResponse::new(status, r#"{"detail":"a fault on purpose"}"#),
        InjectedFault::NotYet => FaultyResponse::new(404, r#"{"detail":"Run not found"}"#),
        InjectedFault::TooMany(wait) => {
            let mut response = FaultyResponse::new(429, r#"{"detail":"Too many"}"#);
            let now = std::time::SystemTime::now();
            response.headers.extend(match wait {
                None => None,
                Some(Wait::Seconds) => Some(("Retry-After", "0".to_owned())),
                Some(Wait::Date) => Some(("Retry-After", httpdate::fmt_http_date(now))),
                Some(Wait::Reset) => Some(("X-RateLimit-Reset", "0".to_owned())),
            });
            response
        }
        fault => {
            response.fault = fault;
            response
        }
    }
}

async fn send(mut stream: TcpStream, response: FaultyResponse) -> std::io::Result<()> {
    let FaultyResponse { status, headers, body, framing, fault } = response;
    let mut head = format!("HTTP/1.1 {status} Faulty\r\nConnection: close\r\n");
    for (name, value) in &headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    match framing {
        Framing::Length => head.push_str(&format!("Content-Length: {}\r\n", body.len())),
        Framing::Chunks => head.push_str("Transfer-Encoding: chunked\r\n"),
        Framing::Close => {}
    }
    head.push_str("\r\n");
    let mut wire = head.into_bytes();
    let mut at = wire.len();
    if framing == Framing::Chunks {
        for chunk in body.chunks(5000) {
            wire.extend(format!("{:x}\r\n", chunk.len()).bytes());
            wire.extend_from_slice(chunk);
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(b"0\r\n\r\n");
    } else {
        wire.extend_from_slice(&body);
    }
    let offset = match fault {
        InjectedFault::Cut(offset)
        | InjectedFault::Reset(offset)
        | InjectedFault::Stall(offset)
        | InjectedFault::Drip(offset) => offset,
        _ => 1001,
    };
    let cuts = offset <= 1000;
    at = if cuts { at + (wire.len() - at) * offset / 1000 } else { wire.len() };
    stream.write_all(&wire[..at]).await?;
    stream.flush().await?;
    match fault {
        InjectedFault::Reset(_) => {
            stream.set_zero_linger()?;
            return Ok(());
        }
        InjectedFault::Stall(_) if at < wire.len() => drain(&mut stream).await,
        InjectedFault::Drip(_) => {
            for byte in &wire[at..] {
                tokio::time::sleep(Duration::from_millis(20)).await;
                stream.write_all(&[*byte]).await?;
            }
        }
        _ => {}
    }
    stream.shutdown().await?;
    // Closing with unread data would send a reset, which could overtake the response.
    drain(&mut stream).await;
    Ok(())
}

async fn drain(stream: &mut TcpStream) {
    let mut rest = [0; 256];
    while matches!(stream.read(&mut rest).await, Ok(n) if n > 0) {}
}
