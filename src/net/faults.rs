//! A Workflows API on loopback whose network and stores fail by a plan, for tests.
//!
//! It has one run with a few result files. Which answers go wrong, and how, is drawn from a seed before; what the plan
//! does not spoil is answered as it should be.

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

/// The one run.
pub(crate) const RUN: &str = "0b7cf3a4-1f7e-4c55-8a39-9e2d6f1c0a77";
/// Stands in every link.
pub(crate) const MARK: &str = "marked-signature";

/// Numbers from a seed: the same at every run.
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

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// True once in so many times.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

/// What goes wrong with one answer. Places are in thousandths of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InjectedFault {
    /// Nothing.
    None,
    /// The connection is closed there.
    Cut(usize),
    /// The connection is reset there.
    Reset(usize),
    /// Nothing comes after it.
    Stall(usize),
    /// A byte now and then comes after it.
    Drip(usize),
    /// A part that begins elsewhere than was asked.
    WrongRange,
    /// The whole file, whatever was asked.
    Whole,
    /// The link has expired, and is refused with this status from now on.
    Expired(u16),
    /// 429, with or without a time to wait.
    TooMany(Option<Wait>),
    /// A fault of the server.
    Status(u16),
    /// 404, as if it were not there yet.
    NotYet,
    /// A link without its URL, as if signing had failed.
    Unsigned,
    /// The file is replaced by another, from this answer on.
    Replaced,
}

/// How a 429 names its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    Seconds,
    Date,
    Reset,
}

/// What is wrong with a file from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    None,
    /// Its compression ends early.
    Truncated,
    /// The check sum at its end is wrong.
    Trailer,
    /// Something stands behind its compression.
    Garbage,
    /// Its last line is half a line.
    LastLine,
    /// It has fewer rows than the API says.
    RowCount,
}

/// How a store names versions of its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    Strong,
    Weak,
    Date,
    Nothing,
}

/// How the end of a body is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length,
    Chunks,
    /// By closing the connection.
    Close,
}

/// One result file and the store that it is in.
#[derive(Clone, Debug)]
pub(crate) struct FilePlan {
    pub rows: usize,
    pub defect: Defect,
    /// Of the file itself.
    pub compression: Compression,
    /// Of its way, though it was not asked for.
    pub encoding: Compression,
    pub tag: Tag,
    pub framing: Framing,
    pub ranges: bool,
    pub ignores_if_range: bool,
    /// By the number of the request; those after the last are answered well, or by the last if it is `relentless`.
    pub faults: Vec<InjectedFault>,
    pub relentless: bool,
}

/// Everything that goes wrong with one run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub files: Vec<FilePlan>,
    /// Of the start, of looks at the state, of the lists of links.
    pub starts: Vec<InjectedFault>,
    pub polls: Vec<InjectedFault>,
    pub links: Vec<InjectedFault>,
}

impl Plan {
    /// A plan from `seed`: some plans are mild, some spoil a file, some never stop.
    pub(crate) fn draw(seed: u64) -> Plan {
        let mut dice = SeededRng::new(seed);
        let n_files = 1 + dice.below(3);
        let files = (0..n_files).map(|_| FilePlan::draw(&mut dice)).collect();
        let api = |dice: &mut SeededRng, special: &[InjectedFault]| {
            (0..dice.below(3)).map(|_| if dice.once_in(3) { dice.pick(special) } else { api_fault(dice) }).collect()
        };
        Plan {
            files,
            starts: api(&mut dice, &[InjectedFault::Cut(500), InjectedFault::Reset(0)]),
            polls: api(&mut dice, &[InjectedFault::NotYet, InjectedFault::Cut(300)]),
            links: api(&mut dice, &[InjectedFault::Unsigned, InjectedFault::Cut(300)]),
        }
    }
}

fn api_fault(dice: &mut SeededRng) -> InjectedFault {
    match dice.below(4) {
        0 => InjectedFault::TooMany(None),
        1 => InjectedFault::TooMany(Some(dice.pick(&[Wait::Seconds, Wait::Date, Wait::Reset]))),
        _ => InjectedFault::Status(dice.pick(&[500, 502, 503, 504, 520, 408])),
    }
}

impl FilePlan {
    fn draw(dice: &mut SeededRng) -> FilePlan {
        use Compression::{Gzip, None, Zstd};
        let compression = dice.pick(&[None, None, Gzip, Zstd]);
        let encoding = dice.pick(&[None, None, None, Gzip, Zstd]);
        let defect = match dice.below(12) {
            0 if compression == Gzip => dice.pick(&[Defect::Truncated, Defect::Trailer, Defect::Garbage]),
            0 if compression == Zstd => dice.pick(&[Defect::Truncated, Defect::Garbage]),
            0 => dice.pick(&[Defect::LastLine, Defect::RowCount]),
            _ => Defect::None,
        };
        let relentless = dice.once_in(25);
        let mut faults: Vec<InjectedFault> = (0..dice.below(5)).map(|_| file_fault(dice)).collect();
        if relentless && !faults.last().is_some_and(|fault| fault.can_last()) {
            faults.push(dice.pick(&[
                InjectedFault::Cut(400),
                InjectedFault::Reset(0),
                InjectedFault::Status(503),
                InjectedFault::Expired(403),
            ]));
        }
        FilePlan {
            rows: 1 + dice.below(1500),
            defect,
            compression,
            encoding,
            tag: dice.pick(&[Tag::Strong, Tag::Strong, Tag::Strong, Tag::Weak, Tag::Date, Tag::Nothing]),
            framing: dice.pick(&[Framing::Length, Framing::Length, Framing::Chunks, Framing::Close]),
            ranges: !dice.once_in(4),
            ignores_if_range: dice.once_in(3),
            faults,
            relentless,
        }
    }

    /// The bytes of the file as the store has it; `version` 0 until it is replaced.
    pub(crate) fn bytes(&self, index: usize, version: usize) -> Vec<u8> {
        let mut text = rows_of(index, version, self.rows);
        if self.defect == Defect::LastLine {
            text.truncate(text.len() - 5);
        }
        let mut bytes = compressed(self.compression, &text);
        match self.defect {
            Defect::Truncated => bytes.truncate(bytes.len() - 3),
            Defect::Garbage => bytes.extend_from_slice(b"behind"),
            // The check sum of gzip stands before the length, in the last eight bytes.
            Defect::Trailer => *bytes.iter_mut().nth_back(6).expect("a gzip file is longer") ^= 1,
            _ => {}
        }
        bytes
    }

    /// What the API says of its rows.
    fn row_count(&self) -> usize {
        self.rows + usize::from(self.defect == Defect::RowCount)
    }

    /// True if no request of it is ever answered with a part of it.
    pub(crate) fn is_out_of_reach(&self) -> bool {
        let refuses = |fault: &InjectedFault| {
            matches!(fault, InjectedFault::Status(_) | InjectedFault::TooMany(_) | InjectedFault::Expired(_))
        };
        self.relentless && self.faults.iter().all(refuses)
    }

    /// True if the plan replaces the file.
    pub(crate) fn is_replaced(&self) -> bool {
        self.faults.contains(&InjectedFault::Replaced)
    }
}

impl InjectedFault {
    /// It makes no sense to stall for ever in a test, or to be replaced again and again.
    fn can_last(self) -> bool {
        matches!(
            self,
            InjectedFault::Cut(0..900)
                | InjectedFault::Reset(0..900)
                | InjectedFault::Status(_)
                | InjectedFault::Expired(_)
        )
    }
}

fn file_fault(dice: &mut SeededRng) -> InjectedFault {
    // The ends of a body are where mistakes are made.
    let place = |dice: &mut SeededRng| match dice.below(6) {
        0 => 0,
        1 => 1000,
        _ => dice.below(1000),
    };
    match dice.below(16) {
        0..=3 => InjectedFault::Cut(place(dice)),
        4..=5 => InjectedFault::Reset(place(dice)),
        6 => InjectedFault::Stall(place(dice)),
        7 => InjectedFault::Drip(place(dice)),
        8 => InjectedFault::WrongRange,
        9 => InjectedFault::Whole,
        10..=11 => InjectedFault::Expired(dice.pick(&[400, 401, 403])),
        12 => InjectedFault::TooMany(dice.pick(&[None, Some(Wait::Seconds), Some(Wait::Date)])),
        13..=14 => InjectedFault::Status(dice.pick(&[500, 502, 503, 504])),
        _ if dice.once_in(2) => InjectedFault::Replaced,
        _ => InjectedFault::None,
    }
}

/// Rows of which no two are alike, in this file and in others. Versions differ from the first row on.
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
    // Several members, as writers in parallel make them.
    let mut compressor = PieceCompressor::new(compression).expect("memory");
    for piece in plain.chunks(plain.len() / 2 + 1) {
        compressor.compress(piece, &mut out).expect("memory");
    }
    out
}

/// The server of one plan; it ends with the runtime.
pub(crate) struct Faulty {
    /// `http://127.0.0.1:PORT`.
    pub base: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    starts: usize,
    polls: usize,
    links: usize,
    /// Requests of each file.
    files: Vec<usize>,
    /// Version of each file.
    versions: Vec<usize>,
    /// Of each file: links of earlier editions are refused, with this status.
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

    /// The idempotency keys of all starts.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.state.lock().expect("no test panics while it holds it").keys.clone()
    }
}

struct Server {
    plan: Plan,
    base: String,
    state: Arc<Mutex<State>>,
}

/// What is sent, and how it ends.
struct Sent {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    framing: Framing,
    fault: InjectedFault,
}

impl Sent {
    fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Sent { status, headers: Vec::new(), body: body.into(), framing: Framing::Length, fault: InjectedFault::None }
    }
}

impl Server {
    async fn serve(&self, mut stream: TcpStream) {
        let Some(seen) = read_request(&mut stream).await else { return };
        let sent = self.answer(&seen);
        // The client may have hung up; that is its right.
        let _ = send(stream, sent).await;
    }

    fn answer(&self, seen: &Seen) -> Sent {
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
            return spoiled(Sent::new(200, body.to_string()), fault);
        }
        if path == format!("{run}/live_status") {
            let fault = next(&mut state.polls, &self.plan.polls);
            let status = if state.polls <= self.plan.polls.len() { "running" } else { "completed" };
            let body = json!({"run_id": RUN, "workflow_id": "w", "overall_status": status, "last_updated": "t"});
            return spoiled(Sent::new(200, body.to_string()), fault);
        }
        if path == format!("{run}/results/download-links") {
            let fault = next(&mut state.links, &self.plan.links);
            return spoiled(Sent::new(200, self.links(&state, fault).to_string()), fault);
        }
        match path.strip_prefix("/files/").and_then(|index| index.parse::<usize>().ok()) {
            Some(index) if index < self.plan.files.len() => self.file(&mut state, index, target, seen),
            _ => Sent::new(404, "{}"),
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

    fn file(&self, state: &mut State, index: usize, target: &str, seen: &Seen) -> Sent {
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
            // Some stores repeat what was asked.
            return Sent::new(refusal, format!("<?xml version='1.0'?><Error>{target} has expired</Error>"));
        }
        if matches!(fault, InjectedFault::TooMany(_) | InjectedFault::Status(_)) {
            return spoiled(Sent::new(200, ""), fault);
        }
        self.store(file, index, state.versions[index], seen, fault)
    }

    /// The answer of a store that honours ranges, or does not.
    fn store(&self, file: &FilePlan, index: usize, version: usize, seen: &Seen, fault: InjectedFault) -> Sent {
        let bytes = file.bytes(index, version);
        let tag = match file.tag {
            Tag::Strong => Some(("ETag", format!("\"v{version}\""))),
            Tag::Weak => Some(("ETag", format!("W/\"v{version}\""))),
            Tag::Date => Some(("Last-Modified", format!("Wed, 04 Nov 2026 10:00:0{version} GMT"))),
            Tag::Nothing => None,
        };
        let named = tag.as_ref().map(|(_, value)| value.as_str());
        let same = file.ignores_if_range || seen.header("if-range").is_none_or(|asked| Some(asked) == named);
        let from =
            seen.header("range").and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
        let from =
            from.filter(|_| file.ranges && same && fault != InjectedFault::Whole && file.encoding == Compression::None);
        let mut sent = match from {
            None => {
                let mut sent = Sent::new(200, compressed(file.encoding, &bytes));
                match file.encoding {
                    Compression::None => {}
                    Compression::Gzip => sent.headers.push(("Content-Encoding", "gzip".to_owned())),
                    Compression::Zstd => sent.headers.push(("Content-Encoding", "zstd".to_owned())),
                }
                sent
            }
            Some(from) if from >= bytes.len() => {
                let mut sent = Sent::new(416, "");
                sent.headers.push(("Content-Range", format!("bytes */{}", bytes.len())));
                sent
            }
            Some(mut from) => {
                if fault == InjectedFault::WrongRange {
                    from -= from.min(7);
                }
                let mut sent = Sent::new(206, &bytes[from..]);
                sent.headers.push(("Content-Range", format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len())));
                sent
            }
        };
        sent.headers.extend(tag);
        sent.framing = file.framing;
        sent.fault = fault;
        sent
    }
}

/// `sent` after a fault that shows in its head.
fn spoiled(mut sent: Sent, fault: InjectedFault) -> Sent {
    match fault {
        InjectedFault::Status(status) => Sent::new(status, r#"{"detail":"a fault on purpose"}"#),
        InjectedFault::NotYet => Sent::new(404, r#"{"detail":"Run not found"}"#),
        InjectedFault::TooMany(wait) => {
            let mut sent = Sent::new(429, r#"{"detail":"Too many"}"#);
            let now = std::time::SystemTime::now();
            sent.headers.extend(match wait {
                None => None,
                Some(Wait::Seconds) => Some(("Retry-After", "0".to_owned())),
                Some(Wait::Date) => Some(("Retry-After", httpdate::fmt_http_date(now))),
                Some(Wait::Reset) => Some(("X-RateLimit-Reset", "0".to_owned())),
            });
            sent
        }
        fault => {
            sent.fault = fault;
            sent
        }
    }
}

async fn send(mut stream: TcpStream, sent: Sent) -> std::io::Result<()> {
    let Sent { status, headers, body, framing, fault } = sent;
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
    let place = match fault {
        InjectedFault::Cut(place)
        | InjectedFault::Reset(place)
        | InjectedFault::Stall(place)
        | InjectedFault::Drip(place) => place,
        _ => 1001,
    };
    let spoils = place <= 1000;
    at = if spoils { at + (wire.len() - at) * place / 1000 } else { wire.len() };
    stream.write_all(&wire[..at]).await?;
    stream.flush().await?;
    match fault {
        InjectedFault::Reset(_) => {
            stream.set_zero_linger()?;
            return Ok(());
        }
        InjectedFault::Stall(_) if at < wire.len() => until_hung_up(&mut stream).await,
        InjectedFault::Drip(_) => {
            for byte in &wire[at..] {
                tokio::time::sleep(Duration::from_millis(20)).await;
                stream.write_all(&[*byte]).await?;
            }
        }
        _ => {}
    }
    stream.shutdown().await?;
    // What the client still sends must not become a reset that overtakes the answer.
    until_hung_up(&mut stream).await;
    Ok(())
}

async fn until_hung_up(stream: &mut TcpStream) {
    let mut rest = [0; 256];
    while matches!(stream.read(&mut rest).await, Ok(n) if n > 0) {}
}
