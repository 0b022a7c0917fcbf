//! Response bodies with faults: closed, stalled or slow connections, unrequested compression, and changed lines. All of
//! them stream; memory is bounded by one chunk, one compressed member or one line.

use std::io;
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use futures::{StreamExt, stream};

use crate::format::Compression;
use crate::format::compress::PieceCompressor;
use crate::service::raw;

/// Behaviour of a body from the position of its fault on.
#[derive(Clone, Copy, Debug)]
pub(super) enum BodyFault {
    /// The connection is closed.
    Cut,
    /// No bytes for this time, then the connection is closed.
    Stall(Duration),
    /// Small chunks with pauses.
    Drip {
        /// Size of each chunk.
        bytes: usize,
        /// Pause before each chunk.
        every: Duration,
    },
}

/// Pause between the last bytes and the cut, in which the server flushes them. Any length will do.
const PAUSE_BEFORE_CUT: Duration = Duration::from_millis(2);

/// Waits until the bytes before a cut are sent: they must arrive, and the server flushes them only while the body is pending.
pub(in crate::service) async fn flushed() {
    // The sleep alone may be over at its first poll.
    tokio::task::yield_now().await;
    tokio::time::sleep(PAUSE_BEFORE_CUT).await;
}

struct FaultyBody {
    body: BodyDataStream,
    /// Bytes to pass unchanged before the fault.
    remaining: u64,
    fault: BodyFault,
    /// Unsent rest of the current chunk.
    chunk: Bytes,
}

/// Wraps `body` so that `fault` begins at byte `at`. A shorter body passes unchanged.
pub(super) fn with_body_fault(body: Body, at: u64, fault: BodyFault) -> Body {
    let state = FaultyBody { body: body.into_data_stream(), remaining: at, fault, chunk: Bytes::new() };
    Body::from_stream(stream::try_unfold(state, FaultyBody::next))
}

impl FaultyBody {
    async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        loop {
            if self.chunk.is_empty() {
                match next_chunk(&mut self.body).await? {
                    Some(chunk) => self.chunk = chunk,
                    None => return Ok(None),
                }
            }
            if self.remaining > 0 {
                let len = self.chunk.len().min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
                self.remaining -= len as u64;
                let chunk = self.chunk.split_to(len);
                return Ok(Some((chunk, self)));
            }
            match self.fault {
                BodyFault::Cut => {
                    flushed().await;
                    return Err(io::Error::other("injected fault"));
                }
                BodyFault::Stall(time) => {
                    tokio::time::sleep(time).await;
                    self.fault = BodyFault::Cut;
                }
                BodyFault::Drip { bytes, every } => {
                    tokio::time::sleep(every).await;
                    let chunk = self.chunk.split_to(bytes.min(self.chunk.len()));
                    return Ok(Some((chunk, self)));
                }
            }
        }
    }
}

async fn next_chunk(body: &mut BodyDataStream) -> io::Result<Option<Bytes>> {
    body.next().await.transpose().map_err(io::Error::other)
}

/// Maximum size of a member before compression, which bounds the memory of a body of any length.
const MAX_MEMBER_BYTES: u64 = 1 << 20;

struct EncodedBody {
    body: BodyDataStream,
    compressor: PieceCompressor,
    /// Size of each member but the last, before compression.
    member_bytes: usize,
    /// True if the end of the last member is left out.
    truncated: bool,
    /// Uncompressed bytes of the next member.
    plain: Vec<u8>,
    /// True once a member was written.
    has_members: bool,
    /// True once `body` has ended.
    ended: bool,
}

/// Compresses `body`, of `len` bytes if known, in at least `members` members. The last one lacks its end if
/// `truncated`. An empty body becomes one empty member.
pub(super) fn with_encoding(
    body: Body,
    len: Option<u64>,
    compression: Compression,
    members: u64,
    truncated: bool,
) -> Body {
    let Ok(compressor) = PieceCompressor::new(compression) else { return body };
    let member_bytes = len.map_or(MAX_MEMBER_BYTES, |len| len.div_ceil(members)).clamp(1, MAX_MEMBER_BYTES) as usize;
    let body = body.into_data_stream();
    let plain = Vec::new();
    let state = EncodedBody { body, compressor, member_bytes, truncated, plain, has_members: false, ended: false };
    Body::from_stream(stream::try_unfold(state, EncodedBody::next))
}

impl EncodedBody {
    async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        if self.ended {
            return Ok(None);
        }
        // Buffer one byte more than a member: only then is it known whether another one follows.
        while self.plain.len() <= self.member_bytes {
            match next_chunk(&mut self.body).await? {
                Some(chunk) => self.plain.extend_from_slice(&chunk),
                None => {
                    self.ended = true;
                    break;
                }
            }
        }
        let len = self.plain.len().min(self.member_bytes);
        let rest = self.plain.split_off(len);
        let member = std::mem::replace(&mut self.plain, rest);
        // The body may have ended within this read while bytes for another member remain.
        self.ended &= self.plain.is_empty();
        let mut out = Vec::new();
        if !member.is_empty() || !self.has_members {
            self.compressor.compress(&member, &mut out)?;
            self.has_members = true;
        }
        // A third and a byte: any member, however short, lacks at least its end.
        if self.ended && self.truncated {
            out.truncate(out.len() - out.len() / 3 - 1);
        }
        Ok(Some((out.into(), self)))
    }
}

/// Fault in the lines of an NDJSON body. Lines are counted from 1.
#[derive(Clone, Debug)]
pub(super) enum LineFault {
    /// Each n-th line is truncated in its middle.
    Truncated(u64),
    /// Each n-th line is duplicated.
    Duplicate(u64),
    /// A column, the first one for `None`, contains text from `row` on.
    LateType { column: Option<String>, row: u64 },
}

struct FaultyLines {
    body: BodyDataStream,
    fault: LineFault,
    /// Number of lines passed on.
    n_lines: u64,
    /// Bytes of an incomplete line.
    partial: Vec<u8>,
    /// True once `body` has ended.
    ended: bool,
}

/// Wraps an NDJSON `body` so that its lines have `fault`.
pub(super) fn with_line_fault(body: Body, fault: LineFault) -> Body {
    let state = FaultyLines { body: body.into_data_stream(), fault, n_lines: 0, partial: Vec::new(), ended: false };
    Body::from_stream(stream::try_unfold(state, FaultyLines::next))
}

impl FaultyLines {
    async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        if self.ended {
            return Ok(None);
        }
        match next_chunk(&mut self.body).await? {
            Some(chunk) => self.partial.extend_from_slice(&chunk),
            None => self.ended = true,
        }
        // Pass complete lines on and keep the rest; at the end the rest is the last line, without line break.
        let end = match memchr::memrchr(b'\n', &self.partial) {
            _ if self.ended => self.partial.len(),
            Some(last) => last + 1,
            None => 0,
        };
        let rest = self.partial.split_off(end);
        let lines = std::mem::replace(&mut self.partial, rest);
        let mut out = Vec::with_capacity(lines.len() + 64);
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            self.n_lines += 1;
            self.fault.write(line, self.n_lines, &mut out);
        }
        Ok(Some((out.into(), self)))
    }
}

impl LineFault {
    /// Appends the line with this number, changed or unchanged, to `out`.
    fn write(&self, line: &[u8], number: u64, out: &mut Vec<u8>) {
        match self {
            LineFault::Truncated(every) if number.is_multiple_of(*every) => {
                out.extend_from_slice(&line[..line.len() / 2]);
                out.push(b'\n');
            }
            LineFault::Duplicate(every) if number.is_multiple_of(*every) => {
                out.extend_from_slice(line);
                if !line.ends_with(b"\n") {
                    out.push(b'\n');
                }
                out.extend_from_slice(line);
            }
            LineFault::LateType { column, row } if number >= *row => {
                match std::str::from_utf8(line).ok().and_then(|line| with_text(line, column.as_deref())) {
                    Some(changed) => out.extend_from_slice(changed.as_bytes()),
                    None => out.extend_from_slice(line),
                }
            }
            _ => out.extend_from_slice(line),
        }
    }
}

/// Returns the record with text in the column, the first one for `None`. `None` if it lacks the column or is no object.
fn with_text(line: &str, column: Option<&str>) -> Option<String> {
    let members = raw::members(line)?;
    let at = match column {
        Some(column) => members.iter().position(|(name, _)| name == column)?,
        None => 0,
    };
    let members: Vec<String> = members
        .iter()
        .enumerate()
        .map(|(i, (name, json))| {
            let json = if i == at { "\"not what came before\"" } else { json };
            format!("{}:{json}", serde_json::Value::from(name.as_str()))
        })
        .collect();
    (!members.is_empty()).then(|| format!("{{{}}}\n", members.join(",")))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn body(pieces: &[&str]) -> Body {
        let pieces: Vec<io::Result<Bytes>> =
            pieces.iter().map(|piece| Ok(Bytes::copy_from_slice(piece.as_bytes()))).collect();
        Body::from_stream(stream::iter(pieces))
    }

    /// Reads a body; false if it ends with an error.
    async fn read(body: Body) -> (Vec<u8>, bool) {
        let mut chunks = body.into_data_stream();
        let mut all = Vec::new();
        while let Some(chunk) = chunks.next().await {
            match chunk {
                Ok(chunk) => all.extend_from_slice(&chunk),
                Err(_) => return (all, false),
            }
        }
        (all, true)
    }

    #[tokio::test]
    async fn a_body_fault_begins_at_its_byte() {
        for (at, expected, whole) in [(0, "", false), (3, "abc", false), (4, "abcd", false), (6, "abcdef", true)] {
            let found = read(with_body_fault(body(&["ab", "cd", "ef"]), at, BodyFault::Cut)).await;
            assert_eq!(found, (expected.as_bytes().to_vec(), whole), "{at}");
        }
        let drip = BodyFault::Drip { bytes: 1, every: Duration::ZERO };
        let found = read(with_body_fault(body(&["ab", "cd"]), 1, drip)).await;
        assert_eq!(found, (b"abcd".to_vec(), true));
        let found = read(with_body_fault(body(&["ab", "cd"]), 3, BodyFault::Stall(Duration::ZERO))).await;
        assert_eq!(found, (b"abc".to_vec(), false));
    }

    #[tokio::test]
    async fn an_encoded_body_has_at_least_the_requested_members() {
        let pieces = ["one\n", "two\nthree\n", "four\n"];
        let plain = pieces.concat();
        for members in [1, 3, 100] {
            let len = Some(plain.len() as u64);
            let (packed, whole) = read(with_encoding(body(&pieces), len, Compression::Gzip, members, false)).await;
            assert!(whole);
            let count = packed.windows(3).filter(|head| *head == [0x1f, 0x8b, 8]).count() as u64;
            assert_eq!(count, members.min(plain.len() as u64));
            let mut found = String::new();
            flate2::read::MultiGzDecoder::new(&*packed).read_to_string(&mut found).unwrap();
            assert_eq!(found, plain);
            let (cut, whole) = read(with_encoding(body(&pieces), len, Compression::Gzip, members, true)).await;
            assert!(whole && packed.starts_with(&cut) && cut.len() < packed.len());
            let (packed, _) = read(with_encoding(body(&pieces), len, Compression::Zstd, members, false)).await;
            assert_eq!(zstd::decode_all(&*packed).unwrap(), plain.as_bytes());
        }
        let (empty, _) = read(with_encoding(body(&[]), Some(0), Compression::Gzip, 1, false)).await;
        assert!(!empty.is_empty(), "an empty file is a member");
    }

    #[tokio::test]
    async fn line_faults_change_whole_lines_across_chunks() {
        let pieces = ["{\"a\":1,\"b\":", "2}\n{\"a\":3,\"b\":4}\n{\"a\":5,", "\"b\":6}"];
        let text = async |fault| String::from_utf8(read(with_line_fault(body(&pieces), fault)).await.0).unwrap();
        assert_eq!(
            text(LineFault::Truncated(2)).await,
            "{\"a\":1,\"b\":2}\n{\"a\":3\n{\"a\":5,\"b\":6}".replace(":3\n", ":3,\n")
        );
        assert_eq!(
            text(LineFault::Duplicate(3)).await,
            "{\"a\":1,\"b\":2}\n{\"a\":3,\"b\":4}\n{\"a\":5,\"b\":6}\n{\"a\":5,\"b\":6}"
        );
        let late = text(LineFault::LateType { column: Some("b".to_owned()), row: 3 }).await;
        assert!(late.ends_with("{\"a\":5,\"b\":\"not what came before\"}\n"), "{late}");
        assert!(late.starts_with("{\"a\":1,\"b\":2}\n{\"a\":3,\"b\":4}\n"));
    }
}
