//! Random plans: the moments of kills, random records, runs under faults. All are drawn from fixed seeds.
//!
//! By default a test executes the first tenth of its plans, the same ones in every run. `DRAWOFF_TEST_ALL=1` executes
//! all of them, as `.ci/full` does; `DRAWOFF_TEST_SEED=N` draws other plans.

use std::env;

/// Default of `DRAWOFF_TEST_SEED`.
const SEED: u64 = 64;

/// True if `DRAWOFF_TEST_ALL` is set to anything but the empty text or 0.
pub fn all() -> bool {
    env::var("DRAWOFF_TEST_ALL").is_ok_and(|value| !value.is_empty() && value != "0")
}

/// Returns the number of a test's `total` plans that are executed: all of them, or the first tenth, rounded up.
pub fn count(total: u32) -> u32 {
    if all() { total } else { total.div_ceil(10) }
}

/// The seed of all plans: `DRAWOFF_TEST_SEED`, by default 64.
pub fn seed() -> u64 {
    let value = env::var("DRAWOFF_TEST_SEED").ok().filter(|value| !value.is_empty());
    value.map_or(SEED, |seed| seed.parse().expect("DRAWOFF_TEST_SEED is a number"))
}

/// Random numbers, the same in every run (xorshift64*).
pub struct SeededRng(u64);

impl SeededRng {
    pub fn new(seed: u64) -> Self {
        // Small seeds have few bits set, and zero would stay zero: spread them as splitmix64 does.
        let mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        SeededRng((mixed ^ (mixed >> 31)) | 1)
    }

    /// A number in 0..1.
    pub fn fraction(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1u64 << 53) as f64
    }
}
