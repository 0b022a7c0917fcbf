//! A bound on what compressed bytes may become.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Compressed bytes may become so many times as many. Results compress to a tenth, repetitive ones to a hundredth;
/// what is beyond a thousandth was made to fill disks.
const MAX_RATIO: u64 = 1000;

/// So much is never too much: small things may be as repetitive as they like.
const FREE_BYTES: u64 = 256 << 20;

/// Compares the bytes below a decompression with those above it.
pub struct Expansion {
    compressed: Arc<AtomicU64>,
    free_bytes: u64,
}

impl Expansion {
    /// With the usual bound.
    pub fn new() -> Self {
        Expansion { compressed: Arc::default(), free_bytes: FREE_BYTES }
    }

    /// Counts the compressed bytes of `inner`.
    pub fn counting<R: Read>(&self, inner: R) -> impl Read + use<R> {
        Counting { inner, bytes: Arc::clone(&self.compressed) }
    }

    /// Ends `inner`, the decompressed bytes, with an error of kind [`io::ErrorKind::InvalidData`] when they become too
    /// many.
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
        let compressed = self.expansion.compressed.load(Ordering::Relaxed);
        if self.bytes > self.expansion.free_bytes.max(compressed.saturating_mul(MAX_RATIO)) {
            let text = format!("{compressed} bytes expand to more than {MAX_RATIO} times as many");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(compressed: u64, decompressed: u64) -> io::Result<u64> {
        let expansion = Expansion { free_bytes: 100, ..Expansion::new() };
        io::copy(&mut expansion.counting(io::repeat(0).take(compressed)), &mut io::sink())?;
        io::copy(&mut expansion.limiting(io::repeat(0).take(decompressed)), &mut io::sink())
    }

    #[test]
    fn what_grows_beyond_measure_is_an_error() {
        assert_eq!(read(50, 50_000).unwrap(), 50_000);
        let error = read(50, 50_001).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(error.to_string(), "50 bytes expand to more than 1000 times as many");
        assert_eq!(read(0, 100).unwrap(), 100);
    }
}
