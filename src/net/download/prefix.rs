//! Length and digest of the bytes that the reader has delivered. A body that starts over is compared with it.

use xxhash_rust::xxh3::Xxh3;

/// The length and the digest of a prefix of a file.
///
/// The digest is XXH3 with 128 bits: 22 GB/s on one core, where SHA-256 reaches 1.45 with the processor's instructions
/// for it, so every download can afford it. It has to detect files that changed by accident, not an attack: a malicious
/// server needs no collision, because it chooses the bytes anyway.
#[derive(Clone)]
pub(super) struct Prefix {
    bytes: u64,
    digest: Xxh3,
}

impl Prefix {
    /// Creates the empty prefix.
    pub(super) fn new() -> Self {
        Prefix { bytes: 0, digest: Xxh3::new() }
    }

    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.digest.update(bytes);
    }

    pub(super) fn len(&self) -> u64 {
        self.bytes
    }

    /// Returns true if both prefixes are of the same bytes.
    pub(super) fn agrees_with(&self, other: &Prefix) -> bool {
        self.bytes == other.bytes && self.digest.digest128() == other.digest.digest128()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_depends_on_every_byte_and_not_on_chunks() {
        let bytes: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
        let mut whole = Prefix::new();
        whole.extend(&bytes);
        let mut chunked = Prefix::new();
        bytes.chunks(777).for_each(|chunk| chunked.extend(chunk));
        assert!(whole.agrees_with(&chunked) && chunked.len() == 400_000);
        let mut other = bytes.clone();
        other[123_456] ^= 1;
        let mut changed = Prefix::new();
        changed.extend(&other);
        assert!(!changed.agrees_with(&whole) && !Prefix::new().agrees_with(&whole));
    }
}
