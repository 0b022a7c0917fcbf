//! Records put in the order of their keys, however many: sorted in memory, and beyond its room in files that are merged.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};

use super::distinct::SpillBudget;

/// Key of a record; those of one key keep the order in which they came.
type SortKey = u128;

/// Files that are merged at once. Each takes a buffer of [`BUFFER_BYTES`].
const MERGED_AT_ONCE: usize = 16;

const BUFFER_BYTES: usize = 32 << 10;

/// What a record in memory costs beside its bytes, about.
const RECORD_OVERHEAD: usize = 48;

/// Takes records.
#[derive(Debug)]
pub(super) struct Sorter {
    room: SpillBudget,
    held: Vec<(SortKey, Box<[u8]>)>,
    held_bytes: usize,
    /// Sorted files, earlier records in earlier ones. No files have names: they go with the process.
    runs: Vec<File>,
}

impl Sorter {
    pub(super) fn new(room: SpillBudget) -> Self {
        Sorter { room, held: Vec::new(), held_bytes: 0, runs: Vec::new() }
    }

    pub(super) fn push(&mut self, key: SortKey, record: Box<[u8]>) -> io::Result<()> {
        self.held_bytes += record.len() + RECORD_OVERHEAD;
        self.held.push((key, record));
        if self.held_bytes >= self.room.max_bytes {
            self.spill()?;
        }
        Ok(())
    }

    /// The records in order.
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
        self.runs.push(write_run(&self.room, held.into_iter().map(Ok))?);
        if self.runs.len() == MERGED_AT_ONCE {
            // All into one, which stands first: it holds the earliest records.
            let merged = Sorted::merge(std::mem::take(&mut self.runs))?;
            self.runs.push(write_run(&self.room, merged)?);
        }
        Ok(())
    }
}

/// Gives records in order.
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
        // `min_by_key` takes the first of equals, which came first.
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

fn write_run(room: &SpillBudget, records: impl Iterator<Item = io::Result<(SortKey, Box<[u8]>)>>) -> io::Result<File> {
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, room.file()?);
    for record in records {
        let (key, record) = record?;
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
    fn records_come_in_order_and_equals_as_they_went_in() {
        for max_bytes in [0, 1000, 1 << 20] {
            let mut sorter = Sorter::new(SpillBudget { max_bytes, folder: None });
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
