//! What was handed on so far: how much, and a digest of it, so that a body that begins anew can be checked.

use xxhash_rust::xxh3::Xxh3;

/// The bytes handed on, as far as they need to be known again.
///
/// The digest is XXH3 with 128 bits: 22 GB/s of a core, where SHA-256 does 1.45 with the processor's own instructions,
/// so every download can afford it. What it must tell apart are files that changed by themselves. A server that wanted
/// to deceive would not need a collision; it sends what it likes.
#[derive(Clone)]
pub(super) struct Prefix {
    bytes: u64,
    digest: Xxh3,
}

impl Prefix {
    /// Nothing yet.
    pub fn new() -> Self {
        Prefix { bytes: 0, digest: Xxh3::new() }
    }

    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.digest.update(bytes);
    }

    pub fn len(&self) -> u64 {
        self.bytes
    }

    /// True if both are of the same bytes.
    pub fn agrees_with(&self, other: &Prefix) -> bool {
        self.bytes == other.bytes && self.digest.digest128() == other.digest.digest128()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_the_bytes_came_does_not_matter_and_each_of_them_does() {
        let bytes: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
        let mut whole = Prefix::new();
        whole.extend(&bytes);
        let mut pieces = Prefix::new();
        bytes.chunks(777).for_each(|piece| pieces.extend(piece));
        assert!(whole.agrees_with(&pieces) && pieces.len() == 400_000);
        let mut other = bytes.clone();
        other[123_456] ^= 1;
        let mut changed = Prefix::new();
        changed.extend(&other);
        assert!(!changed.agrees_with(&whole) && !Prefix::new().agrees_with(&whole));
    }
}
