//! A set of keys that does not outgrow its memory.
//!
//! ```text
//! keys of a batch ─► in memory? ─► may be on disk? (one filter for all of it) ─► looked up there, run by run
//!                                                                                         │
//!                    memory full: sorted, and written as one more run of 16 bytes a key ◄─┘ the rest is new
//! ```
//!
//! Every question is answered at once and for good: rows need not wait, keep their order, and are never on disk
//! themselves. Runs of one size are merged when there are [`RUNS_OF_A_SIZE`], so that a look-up meets few of them.
//! The files have no names: they go with the process, however it ends.

use std::collections::HashSet;
use std::fs::File;
use std::hash::{BuildHasherDefault, Hasher};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use super::key::Key;

/// Memory of the steps that remember rows, and where they go beyond it.
#[derive(Clone, Debug)]
pub struct SpillBudget {
    /// Bytes in memory of each such step. What is on disk costs a 256th of its size in memory besides.
    pub max_bytes: usize,
    /// Folder of temporary files; `None` is the system's.
    pub folder: Option<PathBuf>,
}

impl Default for SpillBudget {
    fn default() -> Self {
        SpillBudget { max_bytes: 64 << 20, folder: None }
    }
}

impl SpillBudget {
    /// A new temporary file without a name.
    pub(super) fn file(&self) -> io::Result<File> {
        match &self.folder {
            Some(folder) => tempfile::tempfile_in(folder),
            None => tempfile::tempfile(),
        }
    }
}

/// Keys of one page of a run, which is read at once. A page is 4 KiB, as those of the system's cache.
const PAGE_KEYS: usize = 256;

const KEY_BYTES: usize = size_of::<Key>();

/// Runs of about one size that are merged into a larger one. By eye: each key is then rewritten seldom (three times
/// in a thousand runs), and a look-up meets few runs.
const RUNS_OF_A_SIZE: usize = 8;

/// Bits of the filter that a key sets.
const FILTER_PROBES: u64 = 4;

/// The set.
#[derive(Debug)]
pub struct Distinct {
    room: SpillBudget,
    /// Keys that are not on disk. Together with the sorted copy that is made of it, at most half of the room.
    fresh: HashSet<Key, BuildHasherDefault<KeyHasher>>,
    max_fresh: usize,
    /// No key is in two runs. Sizes fall from the first to the last.
    runs: Vec<SortedRun>,
    /// Of all keys on disk; empty while there are none. A quarter of the room, so that it becomes less sharp, not
    /// larger, with many keys.
    filter: Vec<u64>,
}

/// Sorted keys in a file.
#[derive(Debug)]
struct SortedRun {
    file: File,
    keys: u64,
    /// The first key of each page.
    fences: Vec<Key>,
    /// How often its keys were merged.
    size: u32,
}

impl Distinct {
    /// An empty set.
    pub fn new(room: SpillBudget) -> Self {
        // A table of so many slots takes 17 bytes for each, while it grows the half more for the old one; at most
        // 7 of 8 are full, and are copied to be sorted.
        let slots = (room.max_bytes / 2 / 31).max(16);
        let slots = 1usize << slots.ilog2();
        Distinct { room, fresh: HashSet::default(), max_fresh: slots / 8 * 7, runs: Vec::new(), filter: Vec::new() }
    }

    /// Adds `keys` in their order; for each whether it is there for the first time.
    pub fn insert(&mut self, keys: &[Key]) -> io::Result<Vec<bool>> {
        let mut first = Vec::with_capacity(keys.len());
        while first.len() < keys.len() {
            let rest = &keys[first.len()..];
            let on_disk = self.on_disk(rest)?;
            for (i, key) in rest.iter().enumerate() {
                if on_disk.get(i).is_some_and(|found| *found) {
                    first.push(false);
                } else if self.fresh.len() < self.max_fresh || self.fresh.contains(key) {
                    first.push(self.fresh.insert(*key));
                } else {
                    // What goes to disk now is looked up anew for the keys that are left.
                    self.spill()?;
                    break;
                }
            }
        }
        Ok(first)
    }

    /// For each of `keys` whether it is there.
    pub fn contains(&mut self, keys: &[Key]) -> io::Result<Vec<bool>> {
        let mut found = self.on_disk(keys)?;
        found.resize(keys.len(), false);
        for (found, key) in found.iter_mut().zip(keys) {
            *found |= self.fresh.contains(key);
        }
        Ok(found)
    }

    /// True once keys went to disk.
    pub fn has_spilled(&self) -> bool {
        !self.runs.is_empty()
    }

    /// For each of `keys` whether it is on disk; empty if nothing is.
    fn on_disk(&mut self, keys: &[Key]) -> io::Result<Vec<bool>> {
        if self.runs.is_empty() {
            return Ok(Vec::new());
        }
        let mut asked: Vec<(Key, usize)> = keys
            .iter()
            .enumerate()
            .filter(|(_, key)| !self.fresh.contains(key) && may_hold(&self.filter, **key))
            .map(|(i, key)| (*key, i))
            .collect();
        asked.sort_unstable();
        let mut found = vec![false; keys.len()];
        for run in &mut self.runs {
            run.look_up(&asked, &mut found)?;
        }
        Ok(found)
    }

    fn spill(&mut self) -> io::Result<()> {
        let mut keys: Vec<Key> = self.fresh.drain().collect();
        keys.sort_unstable();
        if self.filter.is_empty() {
            let words = (self.room.max_bytes / 4 / 8).max(8);
            self.filter = vec![0; 1 << words.ilog2()];
        }
        keys.iter().for_each(|key| add_to(&mut self.filter, *key));
        self.runs.push(SortedRun::write(&self.room, 0, keys.into_iter().map(Ok))?);
        while let Some(last) = self.runs.last() {
            let size = last.size;
            let of_size = self.runs.iter().rev().take_while(|run| run.size == size).count();
            if of_size < RUNS_OF_A_SIZE {
                break;
            }
            let merged = self.runs.split_off(self.runs.len() - of_size);
            self.runs.push(SortedRun::write(&self.room, size + 1, Merge::new(merged)?)?);
        }
        Ok(())
    }
}

impl SortedRun {
    fn write(room: &SpillBudget, size: u32, keys: impl Iterator<Item = io::Result<Key>>) -> io::Result<SortedRun> {
        let mut out = BufWriter::with_capacity(64 << 10, room.file()?);
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
        Ok(SortedRun { file, keys: run_keys, fences, size })
    }

    /// Marks those of `asked`, which are sorted, that are here. Every page is read at most once.
    fn look_up(&mut self, asked: &[(Key, usize)], found: &mut [bool]) -> io::Result<()> {
        let mut page: Vec<u8> = Vec::new();
        let mut loaded = usize::MAX;
        for (key, i) in asked.iter().filter(|(_, i)| !found[*i]).collect::<Vec<_>>() {
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

/// The keys of several runs in their order.
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
        // So few that looking at all of them is as good as a heap.
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
        // Files hold whole keys only.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// The places of a key in a filter: its bits are as good as random.
fn places(filter: &[u64], key: Key) -> impl Iterator<Item = (usize, u64)> + use<> {
    let bits = filter.len() as u64 * 64;
    let (low, high) = (key as u64, (key >> 64) as u64 | 1);
    (0..FILTER_PROBES).map(move |i| {
        let bit = low.wrapping_add(high.wrapping_mul(i)) & (bits - 1);
        ((bit / 64) as usize, 1 << (bit % 64))
    })
}

fn add_to(filter: &mut [u64], key: Key) {
    for (word, bit) in places(filter, key) {
        filter[word] |= bit;
    }
}

fn may_hold(filter: &[u64], key: Key) -> bool {
    places(filter, key).all(|(word, bit)| filter[word] & bit != 0)
}

/// Keys are digests: any part of them is a good hash.
#[derive(Debug, Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Only ever a whole key; anything else would only be slow.
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
    fn a_set_beyond_its_memory_answers_as_one_within() {
        let folder = tempfile::tempdir().unwrap();
        let small = SpillBudget { max_bytes: 4 << 10, folder: Some(folder.path().to_owned()) };
        let (mut spilled, mut held) = (Distinct::new(small), HashSet::new());
        // Twice, so that every key comes again after all that came between.
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
        assert!(spilled.runs.len() > 2 && spilled.runs[0].size > 0, "{} runs, none merged", spilled.runs.len());
        assert_eq!(spilled.runs.iter().map(|run| run.keys).sum::<u64>() as usize + spilled.fresh.len(), held.len());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the files have no names");
    }

    #[test]
    fn a_batch_larger_than_memory_is_taken_in_parts() {
        let mut set = Distinct::new(SpillBudget { max_bytes: 0, folder: None });
        let keys: Vec<Key> = (0..100).chain(0..100).map(key).collect();
        let first = set.insert(&keys).unwrap();
        assert!(set.has_spilled());
        assert_eq!(first, [[true; 100], [false; 100]].concat());
    }
}
