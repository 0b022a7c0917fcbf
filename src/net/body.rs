//! The body of a response to an API call, bounded by the bytes that it expands to. gzip is decoded here, since the HTTP
//! client ends at its first member and drops those behind it; it decodes the other codecs.

use std::io::{self, Write};

use flate2::write::MultiGzDecoder;

/// A body that is being received.
#[derive(Debug)]
pub(super) enum ResponseBody {
    Plain(Bounded),
    /// The decoder, and whether it has received a byte: a response without a body is none.
    Gzip(Box<MultiGzDecoder<Bounded>>, bool),
}

/// The cause of a body that cannot be taken.
#[derive(Debug)]
pub(super) enum BodyError {
    /// It expands to more than the maximum.
    TooLong,
    /// It is not what its encoding says, or ends early.
    Damaged(io::Error),
}

impl ResponseBody {
    /// Creates an empty body of at most `max_bytes`, which is received in the `encoding` of its response.
    pub(super) fn new(encoding: &str, max_bytes: usize) -> Self {
        let bytes = Bounded { bytes: Vec::new(), max_bytes };
        match encoding {
            "gzip" | "x-gzip" => ResponseBody::Gzip(Box::new(MultiGzDecoder::new(bytes)), false),
            _ => ResponseBody::Plain(bytes),
        }
    }

    /// Returns true if a body of this `encoding` is decoded here.
    pub(super) fn decodes(encoding: &str) -> bool {
        matches!(ResponseBody::new(encoding, 0), ResponseBody::Gzip(..))
    }

    /// Appends the bytes of `chunk`, as they were received.
    pub(super) fn push(&mut self, chunk: &[u8]) -> Result<(), BodyError> {
        let written = match self {
            ResponseBody::Plain(bytes) => bytes.write_all(chunk),
            ResponseBody::Gzip(decoder, begun) => {
                *begun |= !chunk.is_empty();
                decoder.write_all(chunk)
            }
        };
        written.map_err(BodyError::from)
    }

    /// Returns the whole body. Fails if its encoding was not at an end.
    pub(super) fn finish(self) -> Result<Vec<u8>, BodyError> {
        match self {
            ResponseBody::Plain(bytes) => Ok(bytes.bytes),
            ResponseBody::Gzip(_, false) => Ok(Vec::new()),
            ResponseBody::Gzip(decoder, true) => Ok(decoder.finish()?.bytes),
        }
    }
}

impl From<io::Error> for BodyError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::FileTooLarge => BodyError::TooLong,
            _ => BodyError::Damaged(error),
        }
    }
}

/// Bytes up to a maximum.
#[derive(Debug)]
pub(super) struct Bounded {
    bytes: Vec<u8>,
    max_bytes: usize,
}

impl Write for Bounded {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if buf.len() > self.max_bytes - self.bytes.len() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn received(bytes: &[u8], chunk: usize, max_bytes: usize) -> Result<Vec<u8>, BodyError> {
        let mut body = ResponseBody::new("gzip", max_bytes);
        bytes.chunks(chunk).try_for_each(|chunk| body.push(chunk))?;
        body.finish()
    }

    #[test]
    fn all_members_of_gzip_are_decoded() {
        let members = [gzip(b"[1,"), gzip(b""), gzip(b"2"), gzip(b"]")].concat();
        for chunk in 1..=members.len() {
            assert_eq!(received(&members, chunk, 5).unwrap(), b"[1,2]");
            assert!(matches!(received(&members, chunk, 4), Err(BodyError::TooLong)), "{chunk}");
        }
        for end in 1..members.len() {
            let whole_members = (1..4).any(|n| end == [gzip(b"[1,"), gzip(b""), gzip(b"2")][..n].concat().len());
            let cut = received(&members[..end], 7, 5);
            assert_eq!(matches!(cut, Err(BodyError::Damaged(_))), !whole_members, "{end}: {cut:?}");
        }
        assert_eq!(received(b"", 1, 5).unwrap(), b"");
        assert!(matches!(received(&[&members[..], b"more"].concat(), 9, 5), Err(BodyError::Damaged(_))));
    }
}
