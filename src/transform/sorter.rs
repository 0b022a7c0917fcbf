//! External merge sort, stable: sorts records by key in memory, and beyond the budget in sorted runs on disk, which are
//! merged while they are read back.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};

use super::distinct::SpillBudget;

/// Key of a record. Records of one key keep their order.
type SortKey = u128;

/// Runs that are merged at once. Each needs a buffer of [`BUFFER_BYTES`].
const MERGED_AT_ONCE: usize = 16;

const BUFFER_BYTES: usize = 32 << 10;

/// Approximate bytes of a record in memory besides its content.
const RECORD_OVERHEAD: usize = 48;

/// Sorter that accepts records.
#[derive(Debug)]
pub(super) struct Sorter {
    spill_budget: SpillBudget,
    held: Vec<(SortKey, Box<[u8]>)>,
    held_bytes: usize,
    /// Sorted runs in the order of their records' arrival, which makes the merge stable. The files are unlinked.
    runs: Vec<File>,
}

impl Sorter {
    pub(super) fn new(spill_budget: SpillBudget) -> Self {
        Sorter { spill_budget, held: Vec::new(), held_bytes: 0, runs: Vec::new() }
    }

    pub(super) fn push(&mut self, key: SortKey, record: Box<[u8]>) -> io::Result<()> {
        self.held_bytes += record.len() + RECORD_OVERHEAD;
        self.held.push((key, record));
        if self.held_bytes >= self.spill_budget.max_bytes {
            self.spill()?;
        }
        Ok(())
    }

    /// Returns all records in order.
    pub(super) fn finish(mut self) -> io::Result<Sorted> {
        if self.runs.is_empty() {
            self.held.sort_by_key(|(key, _)| *key);
            return Ok(Sorted { held: self.held.into_iter(), runs: Vec::new() });
        }
        self.spill()?;
        Sorted::merge(self.runs)
    }

    fn spill(&mut self) -> io::Result<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        self.held.sort_by_key(|(key, _)| *key);
        let held = std::mem::take(&mut self.held);
        self.held_bytes = 0;
        self.runs.push(write_run(&self.spill_budget, held.into_iter().map(Ok))?);
        if self.runs.len() == MERGED_AT_ONCE {
            // Merged into one run, which stays first: it contains the earliest records.
            let merged = Sorted::merge(std::mem::take(&mut self.runs))?;
            self.runs.push(write_run(&self.spill_budget, merged)?);
        }
        Ok(())
    }
}

/// Iterator over the sorted records.
#[derive(Debug)]
pub(super) struct Sorted {
    held: std::vec::IntoIter<(SortKey, Box<[u8]>)>,
    runs: Vec<SortedRun>,
}

#[derive(Debug)]
struct SortedRun {
    next: (SortKey, Box<[u8]>),
    reader: BufReader<File>,
}

impl Sorted {
    fn merge(files: Vec<File>) -> io::Result<Self> {
        let mut runs = Vec::with_capacity(files.len());
        for mut file in files {
            file.rewind()?;
            let mut reader = BufReader::with_capacity(BUFFER_BYTES, file);
            if let Some(next) = read_record(&mut reader)? {
                runs.push(SortedRun { next, reader });
            }
        }
        Ok(Sorted { held: Vec::new().into_iter(), runs })
    }
}

impl Iterator for Sorted {
    type Item = io::Result<(SortKey, Box<[u8]>)>;

    fn next(&mut self) -> Option<Self::Item> {
        // `min_by_key` returns the first of equal keys, which is in the earlier run: this keeps the sort stable.
        let Some((i, _)) = self.runs.iter().map(|run| run.next.0).enumerate().min_by_key(|(_, key)| *key) else {
            return self.held.next().map(Ok);
        };
        Some(match read_record(&mut self.runs[i].reader) {
            Ok(Some(next)) => Ok(std::mem::replace(&mut self.runs[i].next, next)),
            Ok(None) => Ok(self.runs.remove(i).next),
            Err(error) => Err(error),
        })
    }
}

fn write_run(
    spill_budget: &SpillBudget,
    records: impl Iterator<Item = io::Result<(SortKey, Box<[u8]>)>>,
) -> io::Result<File> {
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, spill_budget.file()?);
    for record in records {
        let (key, record) = record?;
        // Format of a record: 16-byte key, 8-byte length, content.
        out.write_all(&key.to_le_bytes())?;
        out.write_all(&(record.len() as u64).to_le_bytes())?;
        out.write_all(&record)?;
    }
    out.into_inner().map_err(io::IntoInnerError::into_error)
}

fn read_record(reader: &mut impl Read) -> io::Result<Option<(SortKey, Box<[u8]>)>> {
    let mut key = [0; 16];
    match reader.read_exact(&mut key) {
        Ok(()) => {}
        // At a key, the end of file is the end of the run; within a record it is an error.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let mut len = [0; 8];
    reader.read_exact(&mut len)?;
    let mut record = vec![0; u64::from_le_bytes(len) as usize];
    reader.read_exact(&mut record)?;
    Ok(Some((SortKey::from_le_bytes(key), record.into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_sorted_and_equal_keys_keep_their_order() {
        for max_bytes in [0, 1000, 1 << 20] {
            let mut sorter = Sorter::new(SpillBudget { max_bytes, directory: None });
            let mut expected = Vec::new();
            for i in 0u32..500 {
                let key = u128::from(i.wrapping_mul(2_654_435_761) % 97);
                expected.push((key, i));
                sorter.push(key, i.to_le_bytes().into()).unwrap();
            }
            expected.sort_by_key(|(key, _)| *key);
            let sorted = sorter.finish().unwrap();
            let found: Vec<(u128, u32)> = sorted
                .map(|record| record.map(|(key, i)| (key, u32::from_le_bytes((*i).try_into().unwrap()))).unwrap())
                .collect();
            assert_eq!(found, expected, "{max_bytes}");
        }
    }
}
