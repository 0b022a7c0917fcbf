//! A limit on the expansion of compressed bytes, against decompression bombs.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Decompressed bytes up to which the ratio is not checked: small files may be as repetitive as they like.
const UNCHECKED_BYTES: u64 = 256 << 20;

/// An input that decompresses to more than the limit: a file made to fill disks, or one of rows that are all alike.
#[derive(Debug, thiserror::Error)]
#[error("{compressed} compressed bytes expand to more than {max_ratio} times their size, and more than 256 MiB")]
pub struct TooMuchExpansion {
    compressed: u64,
    max_ratio: u64,
}

/// The comparison of the bytes before and after a decompressor.
pub struct Expansion {
    compressed: Arc<AtomicU64>,
    unchecked_bytes: u64,
    max_ratio: u64,
}

impl Expansion {
    /// Default for the largest ratio of decompressed to compressed bytes. Results compress to a tenth, repetitive ones to a
    /// hundredth; data beyond a thousandth is as a rule made to fill disks.
    pub const MAX_RATIO: u64 = 1000;

    /// Creates a comparison that allows `max_ratio` times the compressed bytes, and 256 MiB in any case. A ratio of 0 is no
    /// limit.
    pub fn new(max_ratio: u64) -> Self {
        Expansion { compressed: Arc::default(), unchecked_bytes: UNCHECKED_BYTES, max_ratio }
    }

    /// Wraps `inner`, the compressed bytes, and counts them.
    pub fn counting<R: Read>(&self, inner: R) -> impl Read + use<R> {
        Counting { inner, bytes: Arc::clone(&self.compressed) }
    }

    /// Wraps `inner`, the decompressed bytes. Reads fail with [`io::ErrorKind::InvalidData`] beyond the limit.
    pub fn limiting<R: Read>(self, inner: R) -> impl Read + use<R> {
        Limiting { inner, bytes: 0, expansion: self }
    }
}

impl Default for Expansion {
    fn default() -> Self {
        Expansion::new(Expansion::MAX_RATIO)
    }
}

struct Counting<R> {
    inner: R,
    bytes: Arc<AtomicU64>,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.bytes.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

struct Limiting<R> {
    inner: R,
    bytes: u64,
    expansion: Expansion,
}

impl<R: Read> Read for Limiting<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.bytes += n as u64;
        // Compressed bytes that the decoder has read ahead count as well, which only makes the limit more generous.
        let compressed = self.expansion.compressed.load(Ordering::Relaxed);
        let max_ratio = self.expansion.max_ratio;
        if max_ratio > 0 && self.bytes > self.expansion.unchecked_bytes.max(compressed.saturating_mul(max_ratio)) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, TooMuchExpansion { compressed, max_ratio }));
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_under(max_ratio: u64, compressed: u64, decompressed: u64) -> io::Result<u64> {
        let expansion = Expansion { unchecked_bytes: 100, ..Expansion::new(max_ratio) };
        io::copy(&mut expansion.counting(io::repeat(0).take(compressed)), &mut io::sink())?;
        io::copy(&mut expansion.limiting(io::repeat(0).take(decompressed)), &mut io::sink())
    }

    fn read(compressed: u64, decompressed: u64) -> io::Result<u64> {
        read_under(Expansion::MAX_RATIO, compressed, decompressed)
    }

    #[test]
    fn expansion_beyond_the_limit_is_an_error() {
        assert_eq!(read(50, 50_000).unwrap(), 50_000);
        let error = read(50, 50_001).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(
            error.to_string(),
            "50 compressed bytes expand to more than 1000 times their size, and more than 256 MiB"
        );
        assert_eq!(read(0, 100).unwrap(), 100);
        assert_eq!(read_under(2000, 50, 100_000).unwrap(), 100_000);
        assert!(read_under(2000, 50, 100_001).unwrap_err().to_string().contains("more than 2000 times"));
        assert_eq!(read_under(0, 1, 1_000_000).unwrap(), 1_000_000);
    }
}
