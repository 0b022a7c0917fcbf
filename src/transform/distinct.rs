//! An exact set of keys in bounded memory: a small log-structured merge tree with a Bloom filter.
//!
//! The simple algorithm is a `HashSet` of 16-byte keys, which grows without bound. Departures from it:
//!
//! ```text
//! keys of a batch ─► in the hash set? ─► in the Bloom filter of all runs? ─► binary search in each run
//!                                                                                     │
//!                    hash set full: sort, write as one more run of 16 bytes a key ◄───┘ new keys are inserted
//! ```
//!
//! - A full hash set is written to disk as one sorted run. The first key of each 4 KiB page stays in memory, so that a
//!   look-up reads one page per run.
//! - The Bloom filter saves the disk reads for keys that are in no run, which is the common case.
//! - [`RUNS_PER_LEVEL`] runs of one level are merged into one of the next, so that a look-up meets few runs.
//!
//! Each look-up is final: rows are not buffered, keep their order, and are never written to disk themselves. The spill
//! files are unlinked, so they vanish with the process, however it ends.

use std::collections::HashSet;
use std::fs::File;
use std::hash::{BuildHasherDefault, Hasher};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use super::key::Key;

/// Memory of stateful steps, and the directory that they spill to beyond it.
#[derive(Clone, Debug)]
pub struct SpillBudget {
    /// Bytes in memory of all such steps of a plan, which share them in equal parts; in a running step, its part. Keys on
    /// disk cost a 256th of their size in memory besides.
    pub max_bytes: usize,
    /// Directory of the spill files; `None` is the system's directory for temporary files.
    pub directory: Option<PathBuf>,
}

impl Default for SpillBudget {
    fn default() -> Self {
        SpillBudget { max_bytes: 64 << 20, directory: None }
    }
}

impl SpillBudget {
    /// Creates an unlinked temporary file.
    pub(super) fn file(&self) -> io::Result<File> {
        match &self.directory {
            Some(directory) => tempfile::tempfile_in(directory),
            None => tempfile::tempfile(),
        }
    }
}

/// Keys per page, the unit of reading a run. A page is 4 KiB, like a page of the system's cache.
const PAGE_KEYS: usize = 256;

const KEY_BYTES: usize = size_of::<Key>();

/// Runs of one level that are merged into one of the next level. By eye: each key is then rewritten seldom (three times
/// in a thousand runs), and a look-up meets few runs.
const RUNS_PER_LEVEL: usize = 8;

/// Bits that a key sets in the Bloom filter.
const FILTER_PROBES: u64 = 4;

/// A set of keys that spills to disk beyond its memory.
#[derive(Debug)]
pub struct Distinct {
    spill_budget: SpillBudget,
    /// Keys that are not on disk. With the sorted copy made by a spill, at most half of the budget.
    in_memory: HashSet<Key, BuildHasherDefault<KeyHasher>>,
    max_in_memory: usize,
    /// Sorted runs on disk, disjoint. Levels do not increase from the first to the last.
    runs: Vec<SortedRun>,
    /// Bloom filter of all keys on disk; empty until the first spill. A quarter of the budget: with many keys it
    /// becomes less selective, not larger.
    filter: Vec<u64>,
}

/// A file of sorted keys.
#[derive(Debug)]
struct SortedRun {
    file: File,
    keys: u64,
    /// First key of each page.
    fences: Vec<Key>,
    /// Number of merges that its keys went through; 0 for a run written by a spill.
    level: u32,
}

impl Distinct {
    /// Creates an empty set.
    pub fn new(spill_budget: SpillBudget) -> Self {
        // A hash table takes 17 bytes per slot, and half as much again for the old table while it grows; at most 7 of 8
        // slots are full, and are copied to be sorted. Rounded down to a power of two, the sizes that a table has.
        let slots = (spill_budget.max_bytes / 2 / 31).max(16);
        let slots = 1usize << slots.ilog2();
        Distinct {
            spill_budget,
            in_memory: HashSet::default(),
            max_in_memory: slots / 8 * 7,
            runs: Vec::new(),
            filter: Vec::new(),
        }
    }

    /// Inserts `keys` in order. Returns for each whether it was new. Fails if the spill files cannot be written or
    /// read.
    pub fn insert(&mut self, keys: &[Key]) -> io::Result<Vec<bool>> {
        let mut first = Vec::with_capacity(keys.len());
        while first.len() < keys.len() {
            let rest = &keys[first.len()..];
            let on_disk = self.on_disk(rest)?;
            for (i, key) in rest.iter().enumerate() {
                if on_disk.get(i).is_some_and(|found| *found) {
                    first.push(false);
                } else if self.in_memory.len() < self.max_in_memory || self.in_memory.contains(key) {
                    first.push(self.in_memory.insert(*key));
                } else {
                    // The spill moves keys to disk, so the remaining keys are looked up there again.
                    self.spill()?;
                    break;
                }
            }
        }
        Ok(first)
    }

    /// Returns for each of `keys` whether it is in the set.
    pub fn contains(&mut self, keys: &[Key]) -> io::Result<Vec<bool>> {
        let mut found = self.on_disk(keys)?;
        found.resize(keys.len(), false);
        for (found, key) in found.iter_mut().zip(keys) {
            *found |= self.in_memory.contains(key);
        }
        Ok(found)
    }

    /// Returns true once keys were spilled to disk.
    pub fn has_spilled(&self) -> bool {
        !self.runs.is_empty()
    }

    /// Returns for each of `keys` whether it is on disk; an empty vector if no key is.
    fn on_disk(&mut self, keys: &[Key]) -> io::Result<Vec<bool>> {
        if self.runs.is_empty() {
            return Ok(Vec::new());
        }
        let mut lookups: Vec<(Key, usize)> = keys
            .iter()
            .enumerate()
            .filter(|(_, key)| !self.in_memory.contains(key) && may_hold(&self.filter, **key))
            .map(|(i, key)| (*key, i))
            .collect();
        // Sorted, so that each run is read from front to back and each page at most once.
        lookups.sort_unstable();
        let mut found = vec![false; keys.len()];
        for run in &mut self.runs {
            run.look_up(&lookups, &mut found)?;
        }
        Ok(found)
    }

    /// Writes the keys in memory as a run of level 0, then merges levels that are full.
    fn spill(&mut self) -> io::Result<()> {
        let mut keys: Vec<Key> = self.in_memory.drain().collect();
        keys.sort_unstable();
        if self.filter.is_empty() {
            // Allocated at the first spill, so that small sets do not pay for it. A power of two, so that probes mask
            // instead of dividing.
            let words = (self.spill_budget.max_bytes / 4 / 8).max(8);
            self.filter = vec![0; 1 << words.ilog2()];
        }
        keys.iter().for_each(|key| add_to(&mut self.filter, *key));
        self.runs.push(SortedRun::write(&self.spill_budget, 0, keys.into_iter().map(Ok))?);
        // A merged run can complete its own level, so merging cascades.
        while let Some(last) = self.runs.last() {
            let level = last.level;
            let at_level = self.runs.iter().rev().take_while(|run| run.level == level).count();
            if at_level < RUNS_PER_LEVEL {
                break;
            }
            let merged = self.runs.split_off(self.runs.len() - at_level);
            self.runs.push(SortedRun::write(&self.spill_budget, level + 1, Merge::new(merged)?)?);
        }
        Ok(())
    }
}

impl SortedRun {
    fn write(
        spill_budget: &SpillBudget,
        level: u32,
        keys: impl Iterator<Item = io::Result<Key>>,
    ) -> io::Result<SortedRun> {
        let mut out = BufWriter::with_capacity(64 << 10, spill_budget.file()?);
        let mut run_keys = 0u64;
        let mut fences = Vec::new();
        for key in keys {
            let key = key?;
            if run_keys.is_multiple_of(PAGE_KEYS as u64) {
                fences.push(key);
            }
            out.write_all(&key.to_be_bytes())?;
            run_keys += 1;
        }
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(SortedRun { file, keys: run_keys, fences, level })
    }

    /// Sets `found` for each of `lookups`, which are sorted, that this run contains. Reads every page at most once.
    fn look_up(&mut self, lookups: &[(Key, usize)], found: &mut [bool]) -> io::Result<()> {
        let mut page: Vec<u8> = Vec::new();
        let mut loaded = usize::MAX;
        for (key, i) in lookups.iter().filter(|(_, i)| !found[*i]).collect::<Vec<_>>() {
            // The only page that can contain the key is the last one whose first key is not above it.
            let Some(at) = self.fences.partition_point(|fence| fence <= key).checked_sub(1) else { continue };
            if at != loaded {
                let first = (at * PAGE_KEYS) as u64;
                let len = (self.keys - first).min(PAGE_KEYS as u64) as usize * KEY_BYTES;
                page.resize(len, 0);
                self.file.seek(SeekFrom::Start(first * KEY_BYTES as u64))?;
                self.file.read_exact(&mut page)?;
                loaded = at;
            }
            let (keys, _) = page.as_chunks::<KEY_BYTES>();
            found[*i] = keys.binary_search(&key.to_be_bytes()).is_ok();
        }
        Ok(())
    }
}

/// Merges several runs into one sorted sequence.
struct Merge {
    files: Vec<(Key, BufReader<File>)>,
}

impl Merge {
    fn new(runs: Vec<SortedRun>) -> io::Result<Self> {
        let mut files = Vec::with_capacity(runs.len());
        for mut run in runs {
            run.file.rewind()?;
            let mut reader = BufReader::with_capacity(64 << 10, run.file);
            if let Some(key) = next_key(&mut reader)? {
                files.push((key, reader));
            }
        }
        Ok(Merge { files })
    }
}

impl Iterator for Merge {
    type Item = io::Result<Key>;

    fn next(&mut self) -> Option<Self::Item> {
        // A linear scan: over so few runs it is as good as a heap.
        let (i, least) = self.files.iter().enumerate().map(|(i, (key, _))| (i, *key)).min_by_key(|(_, key)| *key)?;
        match next_key(&mut self.files[i].1) {
            Ok(Some(key)) => self.files[i].0 = key,
            Ok(None) => drop(self.files.swap_remove(i)),
            Err(error) => return Some(Err(error)),
        }
        Some(Ok(least))
    }
}

fn next_key(reader: &mut impl Read) -> io::Result<Option<Key>> {
    let mut bytes = [0; KEY_BYTES];
    match reader.read_exact(&mut bytes) {
        Ok(()) => Ok(Some(Key::from_be_bytes(bytes))),
        // Files contain whole keys only, so this is the end and not a truncated key.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// Yields the word and the bit of each probe of `key`: double hashing over the two halves of the digest.
fn probe_bits(filter: &[u64], key: Key) -> impl Iterator<Item = (usize, u64)> + use<> {
    let bits = filter.len() as u64 * 64;
    // An odd step visits distinct bits, because the number of bits is a power of two.
    let (low, high) = (key as u64, (key >> 64) as u64 | 1);
    (0..FILTER_PROBES).map(move |i| {
        let bit = low.wrapping_add(high.wrapping_mul(i)) & (bits - 1);
        ((bit / 64) as usize, 1 << (bit % 64))
    })
}

fn add_to(filter: &mut [u64], key: Key) {
    for (word, bit) in probe_bits(filter, key) {
        filter[word] |= bit;
    }
}

fn may_hold(filter: &[u64], key: Key) -> bool {
    probe_bits(filter, key).all(|(word, bit)| filter[word] & bit != 0)
}

/// Hashes keys, which are digests, by taking 64 of their bits.
#[derive(Debug, Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Never called for keys, which hash by `write_u128`; correct for other types, only slow.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, key: u128) {
        self.0 = (key >> 32) as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::KeyWriter;
    use crate::transform::cell::Cell;

    fn key(n: u64) -> Key {
        let mut writer = KeyWriter::default();
        writer.value(&Cell::Number(n.to_string().into()));
        writer.finish()
    }

    #[test]
    fn a_spilled_set_agrees_with_a_set_in_memory() {
        let directory = tempfile::tempdir().unwrap();
        let small = SpillBudget { max_bytes: 4 << 10, directory: Some(directory.path().to_owned()) };
        let (mut spilled, mut held) = (Distinct::new(small), HashSet::new());
        // Two rounds, so that every key is looked up again after many spills.
        let mut n = 1u64;
        for round in 0..2 {
            for batch in 0..150usize {
                let keys: Vec<Key> = (0..1 + batch % 90)
                    .map(|_| {
                        n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                        key((n >> 33) % 5000)
                    })
                    .collect();
                let known = spilled.contains(&keys).unwrap();
                let expected: Vec<bool> = keys.iter().map(|key| held.contains(key)).collect();
                assert_eq!(known, expected, "round {round}, batch {batch}");
                let first = spilled.insert(&keys).unwrap();
                let expected: Vec<bool> = keys.iter().map(|key| held.insert(*key)).collect();
                assert_eq!(first, expected, "round {round}, batch {batch}");
            }
        }
        assert!(spilled.runs.len() > 2 && spilled.runs[0].level > 0, "{} runs, none merged", spilled.runs.len());
        assert_eq!(spilled.runs.iter().map(|run| run.keys).sum::<u64>() as usize + spilled.in_memory.len(), held.len());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "the spill files are unlinked");
    }

    #[test]
    fn a_batch_larger_than_memory_is_inserted_in_parts() {
        let mut set = Distinct::new(SpillBudget { max_bytes: 0, directory: None });
        let keys: Vec<Key> = (0..100).chain(0..100).map(key).collect();
        let first = set.insert(&keys).unwrap();
        assert!(set.has_spilled());
        assert_eq!(first, [[true; 100], [false; 100]].concat());
    }
}
