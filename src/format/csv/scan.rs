//! Finding single bytes in blocks of 64, without a call per field.

/// Bytes of a block: one bit each in the mask.
pub(super) const BLOCK: usize = 64;

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The high bit of each zero byte of `word`. Adding to the lower seven bits carries into no
/// other byte, so that every bit is exact.
#[inline(always)]
fn zero_bytes(word: u64) -> u64 {
    !(((word & !HIGH) + !HIGH) | word | !HIGH)
}

/// A bit for each byte of `block` that is `a` or `b`, the first byte's the lowest.
///
/// Eight bytes at a time in a plain register: vector instructions would be twice as fast here,
/// but need `unsafe`, and the rest of decoding takes longer than this.
#[inline(always)]
pub(super) fn either_mask(block: &[u8; BLOCK], a: u8, b: u8) -> u64 {
    let (a, b) = (LOW * u64::from(a), LOW * u64::from(b));
    let mut mask = 0;
    for (i, part) in block.chunks_exact(8).enumerate() {
        let mut word = [0; 8];
        word.copy_from_slice(part);
        let word = u64::from_le_bytes(word);
        let high = zero_bytes(word ^ a) | zero_bytes(word ^ b);
        // The multiplication gathers the eight bits in the top byte.
        mask |= ((high >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * i);
    }
    mask
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
        }
    }
}
