//! Bodies that break, stand still, drip, are compressed, or hold other lines than they should. All of them stream.

use std::io;
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use futures::{StreamExt, stream};

use crate::format::Compression;
use crate::format::compress::PieceCompressor;
use crate::service::raw;

/// What comes after the place where a body goes wrong.
#[derive(Clone, Copy, Debug)]
pub(super) enum After {
    /// The connection breaks.
    Break,
    /// Nothing for so long, and then it breaks.
    Stall(Duration),
    /// So many bytes at a time, with pauses.
    Drip(usize, Duration),
}

/// Between the last bytes and the break. Any pause is one in which they are sent.
const BEFORE_BREAK: Duration = Duration::from_millis(2);

struct Spoiled {
    body: BodyDataStream,
    /// Bytes that still go well.
    left: u64,
    after: After,
    held: Bytes,
}

/// `body` up to the byte `at`, and then what is to come after it.
pub(super) fn spoiled(body: Body, at: u64, after: After) -> Body {
    let state = Spoiled { body: body.into_data_stream(), left: at, after, held: Bytes::new() };
    Body::from_stream(stream::try_unfold(state, Spoiled::next))
}

impl Spoiled {
    async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        loop {
            if self.held.is_empty() {
                match next_chunk(&mut self.body).await? {
                    Some(chunk) => self.held = chunk,
                    None => return Ok(None),
                }
            }
            if self.left > 0 {
                let len = self.held.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
                self.left -= len as u64;
                let chunk = self.held.split_to(len);
                return Ok(Some((chunk, self)));
            }
            match self.after {
                After::Break => {
                    // While a body has nothing to give, what it gave is sent: the bytes before the break must arrive. A
                    // pause alone may be over before anybody asks.
                    tokio::task::yield_now().await;
                    tokio::time::sleep(BEFORE_BREAK).await;
                    return Err(io::Error::other("a fault on purpose"));
                }
                After::Stall(time) => {
                    tokio::time::sleep(time).await;
                    self.after = After::Break;
                }
                After::Drip(bytes, every) => {
                    tokio::time::sleep(every).await;
                    let chunk = self.held.split_to(bytes.min(self.held.len()));
                    return Ok(Some((chunk, self)));
                }
            }
        }
    }
}

async fn next_chunk(body: &mut BodyDataStream) -> io::Result<Option<Bytes>> {
    body.next().await.transpose().map_err(io::Error::other)
}

/// Largest member of a compressed body, so that one of any length takes this much memory.
const MAX_MEMBER_BYTES: u64 = 1 << 20;

struct Encoded {
    body: BodyDataStream,
    compressor: PieceCompressor,
    member_bytes: usize,
    truncated: bool,
    plain: Vec<u8>,
    /// Members were made.
    begun: bool,
    ended: bool,
}

/// `body`, of `len` bytes, compressed in at least so many members; the last one lacks its end if `truncated`.
pub(super) fn encoded(body: Body, len: Option<u64>, compression: Compression, members: u64, truncated: bool) -> Body {
    let Ok(compressor) = PieceCompressor::new(compression) else { return body };
    let member_bytes = len.map_or(MAX_MEMBER_BYTES, |len| len.div_ceil(members)).clamp(1, MAX_MEMBER_BYTES) as usize;
    let body = body.into_data_stream();
    let state = Encoded { body, compressor, member_bytes, truncated, plain: Vec::new(), begun: false, ended: false };
    Body::from_stream(stream::try_unfold(state, Encoded::next))
}

impl Encoded {
    async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        if self.ended {
            return Ok(None);
        }
        // One byte more than a member, so that the last one is known as such.
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
        // What is left over was read at the end, and is more than nothing only if it did not fit.
        self.ended &= self.plain.is_empty();
        let mut out = Vec::new();
        if !member.is_empty() || !self.begun {
            self.compressor.compress(&member, &mut out)?;
            self.begun = true;
        }
        if self.ended && self.truncated {
            out.truncate(out.len() - out.len() / 3 - 1);
        }
        Ok(Some((out.into(), self)))
    }
}

/// What is wrong with lines.
#[derive(Clone, Debug)]
pub(super) enum Lines {
    Broken(u64),
    Twice(u64),
    Late { column: Option<String>, row: u64 },
}

struct Changed {
    body: BodyDataStream,
    lines: Lines,
    /// Lines that were given on.
    count: u64,
    part: Vec<u8>,
    ended: bool,
}

/// `body`, which is NDJSON, with other lines.
pub(super) fn changed(body: Body, lines: Lines) -> Body {
    let state = Changed { body: body.into_data_stream(), lines, count: 0, part: Vec::new(), ended: false };
    Body::from_stream(stream::try_unfold(state, Changed::next))
}

impl Changed {
    async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        if self.ended {
            return Ok(None);
        }
        match next_chunk(&mut self.body).await? {
            Some(chunk) => self.part.extend_from_slice(&chunk),
            None => self.ended = true,
        }
        let end = match memchr::memrchr(b'\n', &self.part) {
            _ if self.ended => self.part.len(),
            Some(last) => last + 1,
            None => 0,
        };
        let rest = self.part.split_off(end);
        let whole = std::mem::replace(&mut self.part, rest);
        let mut out = Vec::with_capacity(whole.len() + 64);
        for line in whole.split_inclusive(|byte| *byte == b'\n') {
            self.count += 1;
            self.lines.write(line, self.count, &mut out);
        }
        Ok(Some((out.into(), self)))
    }
}

impl Lines {
    fn write(&self, line: &[u8], number: u64, out: &mut Vec<u8>) {
        match self {
            Lines::Broken(every) if number.is_multiple_of(*every) => {
                out.extend_from_slice(&line[..line.len() / 2]);
                out.push(b'\n');
            }
            Lines::Twice(every) if number.is_multiple_of(*every) => {
                out.extend_from_slice(line);
                if !line.ends_with(b"\n") {
                    out.push(b'\n');
                }
                out.extend_from_slice(line);
            }
            Lines::Late { column, row } if number >= *row => {
                match std::str::from_utf8(line).ok().and_then(|line| late(line, column.as_deref())) {
                    Some(late) => out.extend_from_slice(late.as_bytes()),
                    None => out.extend_from_slice(line),
                }
            }
            _ => out.extend_from_slice(line),
        }
    }
}

/// The record with text in the column; `None` if it has no such column.
fn late(line: &str, column: Option<&str>) -> Option<String> {
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

    /// What comes, and whether it ends well.
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
    async fn a_body_breaks_at_its_byte() {
        for (at, expected, whole) in [(0, "", false), (3, "abc", false), (4, "abcd", false), (6, "abcdef", true)] {
            let found = read(spoiled(body(&["ab", "cd", "ef"]), at, After::Break)).await;
            assert_eq!(found, (expected.as_bytes().to_vec(), whole), "{at}");
        }
        let found = read(spoiled(body(&["ab", "cd"]), 1, After::Drip(1, Duration::ZERO))).await;
        assert_eq!(found, (b"abcd".to_vec(), true));
        let found = read(spoiled(body(&["ab", "cd"]), 3, After::Stall(Duration::ZERO))).await;
        assert_eq!(found, (b"abc".to_vec(), false));
    }

    #[tokio::test]
    async fn a_body_has_members() {
        let pieces = ["one\n", "two\nthree\n", "four\n"];
        let plain = pieces.concat();
        for members in [1, 3, 100] {
            let len = Some(plain.len() as u64);
            let (packed, whole) = read(encoded(body(&pieces), len, Compression::Gzip, members, false)).await;
            assert!(whole);
            let count = packed.windows(3).filter(|head| *head == [0x1f, 0x8b, 8]).count() as u64;
            assert_eq!(count, members.min(plain.len() as u64));
            let mut found = String::new();
            flate2::read::MultiGzDecoder::new(&*packed).read_to_string(&mut found).unwrap();
            assert_eq!(found, plain);
            let (cut, whole) = read(encoded(body(&pieces), len, Compression::Gzip, members, true)).await;
            assert!(whole && packed.starts_with(&cut) && cut.len() < packed.len());
            let (packed, _) = read(encoded(body(&pieces), len, Compression::Zstd, members, false)).await;
            assert_eq!(zstd::decode_all(&*packed).unwrap(), plain.as_bytes());
        }
        let (empty, _) = read(encoded(body(&[]), Some(0), Compression::Gzip, 1, false)).await;
        assert!(!empty.is_empty(), "an empty file is a member");
    }

    #[tokio::test]
    async fn lines_are_other_lines() {
        let pieces = ["{\"a\":1,\"b\":", "2}\n{\"a\":3,\"b\":4}\n{\"a\":5,", "\"b\":6}"];
        let text = async |lines| String::from_utf8(read(changed(body(&pieces), lines)).await.0).unwrap();
        assert_eq!(
            text(Lines::Broken(2)).await,
            "{\"a\":1,\"b\":2}\n{\"a\":3\n{\"a\":5,\"b\":6}".replace(":3\n", ":3,\n")
        );
        assert_eq!(
            text(Lines::Twice(3)).await,
            "{\"a\":1,\"b\":2}\n{\"a\":3,\"b\":4}\n{\"a\":5,\"b\":6}\n{\"a\":5,\"b\":6}"
        );
        let late = text(Lines::Late { column: Some("b".to_owned()), row: 3 }).await;
        assert!(late.ends_with("{\"a\":5,\"b\":\"not what came before\"}\n"), "{late}");
        assert!(late.starts_with("{\"a\":1,\"b\":2}\n{\"a\":3,\"b\":4}\n"));
    }
}
