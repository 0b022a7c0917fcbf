//! A limit on the expansion of compressed bytes, against decompression bombs.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Largest ratio of decompressed to compressed bytes. Results compress to a tenth, repetitive ones to a hundredth; data
/// beyond a thousandth is made to fill disks.
const MAX_RATIO: u64 = 1000;

/// Decompressed bytes up to which the ratio is not checked: small files may be as repetitive as they like.
const UNCHECKED_BYTES: u64 = 256 << 20;

/// The comparison of the bytes before and after a decompressor.
pub struct Expansion {
    compressed: Arc<AtomicU64>,
    unchecked_bytes: u64,
}

impl Expansion {
    /// Creates a comparison with the default limits: 1000 times the compressed bytes, at least 256 MiB.
    pub fn new() -> Self {
        Expansion { compressed: Arc::default(), unchecked_bytes: UNCHECKED_BYTES }
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
        Expansion::new()
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
        if self.bytes > self.expansion.unchecked_bytes.max(compressed.saturating_mul(MAX_RATIO)) {
            let text = format!("{compressed} compressed bytes expand to more than {MAX_RATIO} times their size");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(compressed: u64, decompressed: u64) -> io::Result<u64> {
        let expansion = Expansion { unchecked_bytes: 100, ..Expansion::new() };
        io::copy(&mut expansion.counting(io::repeat(0).take(compressed)), &mut io::sink())?;
        io::copy(&mut expansion.limiting(io::repeat(0).take(decompressed)), &mut io::sink())
    }

    #[test]
    fn expansion_beyond_the_limit_is_an_error() {
        assert_eq!(read(50, 50_000).unwrap(), 50_000);
        let error = read(50, 50_001).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(error.to_string(), "50 compressed bytes expand to more than 1000 times their size");
        assert_eq!(read(0, 100).unwrap(), 100);
    }
}
