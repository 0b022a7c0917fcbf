//! Finding single bytes in blocks of 64, without a call per field.

/// Bytes of a block: one bit each in the mask.
pub(super) const BLOCK: usize = 64;

/// A bit for each byte of `block` that `wanted` says, the first byte's the lowest.
///
/// Written so that the compiler makes vector instructions of it: all bytes are compared at once,
/// the results are gathered as an 8 by 8 matrix of bits with its rows and columns the wrong way
/// round, and that is transposed.
#[inline(always)]
fn mask(block: &[u8; BLOCK], wanted: impl Fn(u8) -> bool) -> u64 {
    let mut found = [0u8; BLOCK];
    for (found, &byte) in found.iter_mut().zip(block) {
        *found = if wanted(byte) { 0xff } else { 0 };
    }
    let mut bits = 0;
    for (i, part) in found.as_chunks::<8>().0.iter().enumerate() {
        // Byte `8 * i + k` goes to bit `8 * k + i`.
        bits |= u64::from_le_bytes(*part) & (0x0101_0101_0101_0101 << i);
    }
    transpose(bits)
}

/// Swaps bits `8 * i + k` and `8 * k + i`: first in blocks of 2 by 2, then of those, then of those.
#[inline(always)]
fn transpose(mut bits: u64) -> u64 {
    for (distance, lower) in [(7, 0x00aa_00aa_00aa_00aa), (14, 0x0000_cccc_0000_cccc), (28, 0x0000_0000_f0f0_f0f0)] {
        let swapped = (bits ^ (bits >> distance)) & lower;
        bits ^= swapped ^ (swapped << distance);
    }
    bits
}

/// The bytes that are `a` or `b`.
#[inline(always)]
pub(super) fn either_mask(block: &[u8; BLOCK], a: u8, b: u8) -> u64 {
    mask(block, |byte| (byte == a) | (byte == b))
}

/// The bytes that are `a`.
#[inline(always)]
pub(super) fn byte_mask(block: &[u8; BLOCK], a: u8) -> u64 {
    mask(block, |byte| byte == a)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_byte_has_its_bit(
            bytes in prop::collection::vec(prop_oneof![Just(b','), Just(b'\n'), Just(b'\r'), any::<u8>()], BLOCK),
            a in 0u8..128,
        ) {
            let block: [u8; BLOCK] = bytes.try_into().expect("a block");
            let twin = block.iter().rev().fold(0u64, |mask, &b| mask << 1 | u64::from(b == a || b == b'\n'));
            prop_assert_eq!(either_mask(&block, a, b'\n'), twin);
            prop_assert_eq!(byte_mask(&block, a) | byte_mask(&block, b'\n'), twin);
        }
    }
}
