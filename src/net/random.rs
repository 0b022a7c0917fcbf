//! Deterministic pseudo-random numbers from a seed, the same in every build. Injected faults are drawn from them.

/// The increment between two states of a sequence (the golden ratio in 64 bits).
pub(crate) const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Returns the splitmix64 output for state `n`.
pub(crate) fn mixed(n: u64) -> u64 {
    let n = n.wrapping_add(STEP);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}
