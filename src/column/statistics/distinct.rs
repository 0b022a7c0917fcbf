//! The number of distinct values: exact as long as their hashes fit in memory, then estimated by HyperLogLog.
//!
//! The sketch of the query engine hashes its own scalars and is not there without queries, so that these 60 lines stand
//! for themselves: registers as of Flajolet et al. (2007), the estimator of Ertl (arXiv:1702.01284, algorithm 6), which
//! needs no table of corrections.

use std::collections::HashSet;

use foldhash::fast::FixedState;

/// Bits of a hash that choose its register: 16,384 registers of a byte, and a standard error of 0.8 %.
const INDEX_BITS: u32 = 14;

const REGISTERS: usize = 1 << INDEX_BITS;

/// The bits that remain for the position of the first 1.
const RANK_BITS: u32 = 64 - INDEX_BITS;

/// A set of hashes, or a sketch of one.
#[derive(Clone, Debug)]
pub struct Distinct {
    /// The hashes, until there are more than `most_exact`.
    exact: HashSet<u64, FixedState>,
    most_exact: usize,
    /// The registers of the sketch; empty while the set is exact.
    registers: Vec<u8>,
}

impl Distinct {
    /// The standard error of an estimate, as a part of it.
    pub const STANDARD_ERROR: f64 = 0.0081;

    /// Creates an empty set that is exact up to `most_exact` values.
    pub fn new(most_exact: usize) -> Self {
        Distinct { exact: HashSet::default(), most_exact, registers: Vec::new() }
    }

    /// Adds the hash of a value, whose 64 bits must be evenly distributed.
    #[inline]
    pub fn insert(&mut self, hash: u64) {
        if !self.registers.is_empty() {
            return self.register(hash);
        }
        self.exact.insert(hash);
        if self.exact.len() > self.most_exact {
            self.registers = vec![0; REGISTERS];
            // The registers are the same for every order of the hashes.
            for hash in std::mem::take(&mut self.exact) {
                self.register(hash);
            }
        }
    }

    #[inline]
    fn register(&mut self, hash: u64) {
        let index = (hash >> RANK_BITS) as usize;
        // A guard bit, so that no rank exceeds RANK_BITS + 1.
        let rank = ((hash << INDEX_BITS) | (1 << (INDEX_BITS - 1))).leading_zeros() as u8 + 1;
        self.registers[index] = self.registers[index].max(rank);
    }

    /// Returns true if [`Distinct::count`] is exact.
    pub fn is_exact(&self) -> bool {
        self.registers.is_empty()
    }

    /// Returns the number of distinct values, or its estimate.
    pub fn count(&self) -> u64 {
        if self.is_exact() {
            return self.exact.len() as u64;
        }
        let mut of_rank = [0_u32; RANK_BITS as usize + 2];
        self.registers.iter().for_each(|rank| of_rank[usize::from(*rank)] += 1);
        let m = REGISTERS as f64;
        let highest = RANK_BITS as usize + 1;
        let mut z = m * tau(1.0 - f64::from(of_rank[highest]) / m);
        for rank in (1..highest).rev() {
            z = 0.5 * (z + f64::from(of_rank[rank]));
        }
        z += m * sigma(f64::from(of_rank[0]) / m);
        (m * m / (2.0 * std::f64::consts::LN_2 * z)).round() as u64
    }
}

/// The sum of x^(2^k) 2^(k-1) over k, plus x.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x).powi(2) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use xxhash_rust::xxh3::xxh3_64;

    use super::*;

    fn of(values: impl Iterator<Item = u64>, most_exact: usize) -> Distinct {
        let mut distinct = Distinct::new(most_exact);
        values.for_each(|value| distinct.insert(xxh3_64(&value.to_le_bytes())));
        distinct
    }

    #[test]
    fn few_values_are_counted_and_many_are_estimated() {
        let few = of((0..3000).map(|i| i % 1000), 1000);
        assert_eq!((few.count(), few.is_exact()), (1000, true));
        for n in [1001, 5_000, 40_000, 300_000, 2_000_000] {
            let many = of(0..n, 1000);
            assert!(!many.is_exact());
            let error = (many.count() as f64 - n as f64).abs() / n as f64;
            assert!(error < 4.0 * Distinct::STANDARD_ERROR, "{n}: {}", many.count());
        }
    }

    #[test]
    fn an_estimate_depends_on_neither_order_nor_repetition() {
        let once = of(0..50_000, 100).count();
        assert_eq!(of((0..50_000).rev(), 100).count(), once);
        assert_eq!(of((0..150_000).map(|i| i % 50_000), 100).count(), once);
        assert_eq!(of(0..50_000, 20_000).count(), once, "the moment of the change of form does not matter");
    }
}
