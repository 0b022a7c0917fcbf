//! Facts about a finished file that a table of data files records beside it: the bytes, nulls and bounds of each leaf, taken
//! from the entries of its footer. Reads no data.

use std::sync::Arc;

use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnDescPtr;

use super::Layout;
use crate::column::Schema;

/// Facts about the columns of one finished file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FileFacts {
    /// One per leaf column, in their order.
    pub leaves: Vec<LeafFacts>,
    /// Byte at which each row group begins.
    pub row_group_offsets: Vec<i64>,
    /// The columns that it has.
    pub columns: Arc<Schema>,
}

/// Facts about one leaf column of a file, over all row groups.
#[derive(Clone, Debug, PartialEq)]
pub struct LeafFacts {
    /// The names from the column down to the leaf, with the groups of lists and maps.
    pub path: Vec<String>,
    /// Bytes of its chunks, compressed.
    pub bytes: u64,
    /// Values, nulls included; of a leaf in lists or maps, their elements, an empty or null one counted as one.
    pub values: u64,
    /// Nulls; `None` if a chunk does not say.
    pub nulls: Option<u64>,
    /// The least and the greatest value; `None` without values, or if they are not known.
    pub bounds: Option<(Bound, Bound)>,
    /// True once a chunk has values without known bounds.
    pub is_unbounded: bool,
}

/// A value at one end of a leaf.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
pub enum Bound {
    /// A boolean.
    Bool(bool),
    /// An integer, the days of a date, or the units of a timestamp.
    Int(i64),
    /// A floating-point number.
    Double(f64),
    /// The units of the last decimal place of a decimal.
    Decimal(i128),
    /// Bytes of text. Those that are not exact were cut: a lower end to a prefix, an upper end to a greater text.
    Text(Vec<u8>),
}

impl FileFacts {
    /// Creates the facts of a file without row groups, which has the layout `last`.
    pub(super) fn new(last: &Layout) -> Self {
        let leaf = |descriptor: &ColumnDescPtr| LeafFacts {
            path: descriptor.path().parts().to_vec(),
            bytes: 0,
            values: 0,
            nulls: Some(0),
            bounds: None,
            is_unbounded: false,
        };
        FileFacts {
            leaves: last.descriptor.columns().iter().map(leaf).collect(),
            row_group_offsets: Vec::new(),
            columns: last.schema.clone(),
        }
    }

    /// Returns the bytes that its columns hold, approximately; none once they are taken away.
    pub fn memory_size(&self) -> usize {
        let text = |bound: &Bound| if let Bound::Text(text) = bound { text.len() } else { 0 };
        let leaf = |leaf: &LeafFacts| {
            let path: usize = leaf.path.iter().map(|part| size_of::<String>() + part.len()).sum();
            size_of::<LeafFacts>() + path + leaf.bounds.as_ref().map_or(0, |(low, high)| text(low) + text(high))
        };
        self.leaves.iter().map(leaf).sum()
    }

    /// Adds those of a row group, whose chunks these are.
    pub(super) fn add(&mut self, chunks: &[ColumnChunkMetaData]) {
        self.row_group_offsets.push(chunks.first().map_or(4, |chunk| chunk.byte_range().0 as i64));
        for (leaf, chunk) in self.leaves.iter_mut().zip(chunks) {
            leaf.is_unbounded |= !leaf.add(chunk);
            leaf.bounds.take_if(|_| leaf.is_unbounded);
        }
    }
}

impl LeafFacts {
    /// Adds the facts of a chunk. Returns false if its values have no known bounds.
    fn add(&mut self, chunk: &ColumnChunkMetaData) -> bool {
        self.bytes += chunk.compressed_size().max(0) as u64;
        let values = chunk.num_values().max(0) as u64;
        self.values += values;
        let statistics = chunk.statistics();
        let nulls = statistics.and_then(Statistics::null_count_opt);
        self.nulls = self.nulls.zip(nulls).map(|(a, b)| a + b);
        match statistics.and_then(bounds_of) {
            Some((low, high)) => {
                self.bounds = Some(match self.bounds.take() {
                    Some((least, greatest)) => {
                        (if low < least { low } else { least }, if high > greatest { high } else { greatest })
                    }
                    None => (low, high),
                });
                true
            }
            None => nulls == Some(values),
        }
    }
}

/// Returns the bounds that the statistics of a chunk state.
fn bounds_of(statistics: &Statistics) -> Option<(Bound, Bound)> {
    Some(match statistics {
        Statistics::Boolean(of) => (Bound::Bool(*of.min_opt()?), Bound::Bool(*of.max_opt()?)),
        Statistics::Int32(of) => (Bound::Int((*of.min_opt()?).into()), Bound::Int((*of.max_opt()?).into())),
        Statistics::Int64(of) => (Bound::Int(*of.min_opt()?), Bound::Int(*of.max_opt()?)),
        Statistics::Double(of) => (Bound::Double(*of.min_opt()?), Bound::Double(*of.max_opt()?)),
        Statistics::ByteArray(of) => {
            (Bound::Text(of.min_opt()?.data().to_vec()), Bound::Text(of.max_opt()?.data().to_vec()))
        }
        Statistics::FixedLenByteArray(of) => {
            (Bound::Decimal(decimal(of.min_opt()?.data())?), Bound::Decimal(decimal(of.max_opt()?.data())?))
        }
        Statistics::Int96(_) | Statistics::Float(_) => return None,
    })
}

/// Reads the two's complement of up to 16 bytes, the highest first.
fn decimal(bytes: &[u8]) -> Option<i128> {
    let fill = if bytes.first()? & 0x80 == 0 { 0 } else { 0xff };
    let mut whole = [fill; 16];
    whole[16usize.checked_sub(bytes.len())?..].copy_from_slice(bytes);
    Some(i128::from_be_bytes(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_of_fewer_bytes_keep_their_sign() {
        assert_eq!(decimal(&[0xff, 0xfe]), Some(-2));
        assert_eq!(decimal(&[0x00, 0xff]), Some(255));
        assert_eq!(decimal(&(-5i128).to_be_bytes()), Some(-5));
        assert_eq!(decimal(&[0; 17]), None);
        assert_eq!(decimal(&[]), None);
    }
}
