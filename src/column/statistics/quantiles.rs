//! Quantiles of a sequence: exact as long as its values fit in memory, then from a sketch whose answers are values of the
//! sequence and whose error of rank is known.
//!
//! The sketch is that of Manku, Rajagopalan and Lindsay (1998) with buffers of one size, from which KLL descends: a full
//! buffer is sorted, and every second value of it moves to the next level with twice the weight. Which half moves
//! alternates instead of being drawn, so that the same sequence gives the same answers. A t-digest would have finer ends,
//! but answers between the values, no bound on its error, and results that depend on the size of the batches.

/// A sequence of values, or a sketch of one.
#[derive(Clone, Debug)]
pub struct Quantiles<T> {
    /// Values of a full buffer; even.
    buffer_len: usize,
    /// The buffers: a value of level i stands for 2^i values.
    levels: Vec<Level<T>>,
    /// Number of values.
    count: u64,
    /// The most that a rank may be wrong.
    rank_error: u64,
}

#[derive(Clone, Debug)]
struct Level<T> {
    values: Vec<T>,
    /// True if the next values to move are those at odd positions.
    takes_odd: bool,
}

impl<T: Copy + Ord> Quantiles<T> {
    /// Creates an empty sequence that is exact below `buffer_len` values, which is rounded down to an even number.
    pub fn new(buffer_len: usize) -> Self {
        Quantiles { buffer_len: (buffer_len & !1).max(2), levels: Vec::new(), count: 0, rank_error: 0 }
    }

    /// Adds a value.
    #[inline]
    pub fn push(&mut self, value: T) {
        self.count += 1;
        match self.levels.first_mut() {
            Some(level) => level.values.push(value),
            None => self.levels.push(Level { values: vec![value], takes_odd: false }),
        }
        if self.levels[0].values.len() == self.buffer_len {
            self.compact();
        }
    }

    /// Moves half of each full buffer, from the lowest on.
    fn compact(&mut self) {
        let mut i = 0;
        while self.levels[i].values.len() >= self.buffer_len {
            let level = &mut self.levels[i];
            level.values.sort_unstable();
            let start = usize::from(level.takes_odd);
            level.takes_odd = !level.takes_odd;
            let moved: Vec<T> = level.values.iter().copied().skip(start).step_by(2).collect();
            level.values.clear();
            // A rank among these values is wrong by the weight of one of them at most.
            self.rank_error += 1 << i;
            match self.levels.get_mut(i + 1) {
                Some(next) => next.values.extend(moved),
                None => self.levels.push(Level { values: moved, takes_odd: false }),
            }
            i += 1;
        }
    }

    /// Returns true if the answers are exact.
    pub fn is_exact(&self) -> bool {
        self.rank_error == 0
    }

    /// Returns the most that the rank of an answer may be wrong, as a part of the number of values.
    pub fn rank_error(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.rank_error as f64 / self.count as f64 }
    }

    /// Returns the kept values in order, each with the number of values that it stands for.
    pub fn weighted(&self) -> Vec<(T, u64)> {
        let of_level =
            |(i, level): (usize, &Level<T>)| level.values.iter().map(move |v| (*v, 1_u64 << i)).collect::<Vec<_>>();
        let mut all: Vec<(T, u64)> = self.levels.iter().enumerate().flat_map(of_level).collect();
        all.sort_unstable();
        all
    }

    /// Returns the values at `parts` of the sequence, from 0 to 1 and in ascending order: the smallest value such that at
    /// least this part of the values is not larger. Empty without values.
    pub fn at(&self, parts: &[f64]) -> Vec<T> {
        let weighted = self.weighted();
        let Some((last, _)) = weighted.last().copied() else { return Vec::new() };
        let mut values = weighted.into_iter();
        let (mut value, mut upto) = (last, 0);
        parts
            .iter()
            .map(|part| {
                let rank = ((part * self.count as f64).ceil() as u64).clamp(1, self.count);
                while upto < rank {
                    let Some((next, weight)) = values.next() else { return last };
                    (value, upto) = (next, upto + weight);
                }
                value
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn short_sequences_are_exact() {
        let mut quantiles = Quantiles::new(1000);
        (0..999).rev().for_each(|v| quantiles.push(v));
        assert!(quantiles.is_exact());
        assert_eq!(quantiles.at(&[0.0, 0.25, 0.5, 0.75, 1.0]), [0, 249, 499, 749, 998]);
        assert_eq!(Quantiles::<i64>::new(8).at(&[0.5]), [0_i64; 0]);
    }

    #[test]
    fn long_sequences_keep_little_and_know_their_error() {
        let mut quantiles = Quantiles::new(4096);
        let n = 3_000_000_u64;
        // Every value once, in an order without pattern.
        (0..n).for_each(|i| quantiles.push(i * 1_999_993 % n));
        let kept: usize = quantiles.levels.iter().map(|level| level.values.len()).sum();
        assert!(!quantiles.is_exact() && kept < 4096 * 12, "{kept}");
        assert!(quantiles.rank_error() < 0.004, "{}", quantiles.rank_error());
        for (part, value) in [0.01, 0.25, 0.5, 0.75, 0.99].iter().zip(quantiles.at(&[0.01, 0.25, 0.5, 0.75, 0.99])) {
            let off = (value as f64 / n as f64 - part).abs();
            assert!(off <= quantiles.rank_error() + 1e-6, "{part}: {value}");
        }
    }

    proptest! {
        #[test]
        fn no_rank_is_wrong_by_more_than_the_error(values in proptest::collection::vec(0..500_i64, 1..3000)) {
            let mut quantiles = Quantiles::new(64);
            values.iter().for_each(|v| quantiles.push(*v));
            let weights: u64 = quantiles.weighted().iter().map(|(_, weight)| weight).sum();
            prop_assert_eq!(weights, values.len() as u64);
            for part in [0.0, 0.1, 0.5, 0.9, 1.0] {
                let value = quantiles.at(&[part])[0];
                let below = values.iter().filter(|v| **v < value).count() as u64;
                let upto = values.iter().filter(|v| **v <= value).count() as u64;
                let rank = ((part * values.len() as f64).ceil() as u64).max(1);
                prop_assert!(below <= rank + quantiles.rank_error && upto + quantiles.rank_error >= rank);
            }
        }
    }
}
