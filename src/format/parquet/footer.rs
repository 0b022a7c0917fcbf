//! The footer of a file as bytes: entries of row groups are made when a group is written, and copied into the footer at
//! the end.
//!
//! The library writes and reads a footer as one structure of all row groups, which takes about 1.6 KB of memory per
//! column and row group; the bytes take a tenth of it. So each entry is cut out of a footer of its group alone, by the
//! few rules of the compact Thrift protocol that skipping values needs, and the footer of the file is assembled of them:
//!
//! ```text
//! FileMetaData:  version, schema | rows | row groups: how many, one after the other | key values, created by, orders
//!                     head                                     entries                          tail
//! ```

use std::ops::Range;
use std::sync::Arc;

use parquet::file::metadata::{
    FileMetaData, KeyValue, ParquetMetaData, ParquetMetaDataOptions, ParquetMetaDataReader, ParquetMetaDataWriter,
    RowGroupMetaData,
};
use parquet::file::properties::WriterVersion;
use parquet::schema::types::SchemaDescPtr;

use super::layout::CREATED_BY;
use super::{Error, Layout};

/// The end of every file behind its metadata: their length and the magic bytes.
const TRAILER_BYTES: usize = 8;

/// The header of field 4 of `FileMetaData` behind field 3: a list.
const ROW_GROUPS_FIELD: u8 = 0x19;

/// Maximum bytes of a footer. The length has 32 bits, which readers in Java take as a signed number.
const MAX_FOOTER_BYTES: u64 = i32::MAX as u64;

/// The parts of a footer around the entries of its row groups.
#[derive(Debug)]
pub(super) struct Frame {
    /// The fields before the number of rows, with the header of that field.
    head: Vec<u8>,
    /// The fields behind the row groups.
    tail: Vec<u8>,
}

impl Frame {
    /// Makes the parts of a file's footer that its columns decide.
    pub(super) fn of(descriptor: &SchemaDescPtr, key_values: &[KeyValue]) -> Result<Self, Error> {
        let bytes = written(descriptor, key_values, Vec::new())?;
        let parts = split(&bytes).ok_or(Error::Footer)?;
        Ok(Frame { head: bytes[..parts.rows.start].to_vec(), tail: bytes[parts.tail].to_vec() })
    }

    /// Returns the bytes before the entries of `n_groups` row groups with `rows` rows together.
    fn before_entries(&self, rows: u64, n_groups: usize) -> Vec<u8> {
        let mut bytes = self.head.clone();
        // Numbers are zigzag-encoded: those that are not negative are doubled.
        put_varint(rows << 1, &mut bytes);
        bytes.push(ROW_GROUPS_FIELD);
        put_list_of_structs(n_groups, &mut bytes);
        bytes
    }

    /// Returns the bytes before and behind the entries of a file's row groups, whose sum of bytes is `entry_bytes`. The
    /// second end the file.
    pub(super) fn around(&self, rows: u64, n_groups: usize, entry_bytes: u64) -> Result<(Vec<u8>, Vec<u8>), Error> {
        let before = self.before_entries(rows, n_groups);
        let length = before.len() as u64 + entry_bytes + self.tail.len() as u64;
        if length > MAX_FOOTER_BYTES {
            return Err(Error::FooterSize { bytes: length, row_groups: n_groups });
        }
        let mut behind = self.tail.clone();
        behind.extend_from_slice(&(length as u32).to_le_bytes());
        behind.extend_from_slice(b"PAR1");
        Ok((before, behind))
    }

    /// Returns the row group of an entry in a footer with this frame, which is of `layout`.
    pub(super) fn row_group(&self, layout: &Layout, rows: usize, entry: &[u8]) -> Result<RowGroupMetaData, Error> {
        let mut bytes = self.before_entries(rows as u64, 1);
        bytes.extend_from_slice(entry);
        bytes.extend_from_slice(&self.tail);
        // All that is in the entry, as it may be written again.
        let options = ParquetMetaDataOptions::new().with_encoding_stats_as_mask(false);
        let options = options.with_schema(layout.descriptor.clone());
        let metadata = ParquetMetaDataReader::decode_metadata_with_options(&bytes, Some(&options))?;
        metadata.into_builder().take_row_groups().pop().ok_or(Error::Footer)
    }
}

/// Returns the entry of a row group of this layout.
pub(super) fn entry(layout: &Layout, row_group: RowGroupMetaData) -> Result<Vec<u8>, Error> {
    let bytes = written(&layout.descriptor, &[], vec![row_group])?;
    let parts = split(&bytes).ok_or(Error::Footer)?;
    let [entry] = &parts.row_groups[..] else { return Err(Error::Footer) };
    Ok(bytes[entry.clone()].to_vec())
}

/// Returns the entries of the row groups of a footer, without its trailer.
pub(super) fn entries(footer: &[u8]) -> Result<Vec<Range<usize>>, Error> {
    Ok(split(footer).ok_or(Error::Footer)?.row_groups)
}

/// Returns the metadata of a file as the library writes them, without the trailer.
fn written(
    descriptor: &SchemaDescPtr,
    key_values: &[KeyValue],
    row_groups: Vec<RowGroupMetaData>,
) -> Result<Vec<u8>, Error> {
    let rows = row_groups.iter().map(RowGroupMetaData::num_rows).sum();
    let file = FileMetaData::new(
        WriterVersion::PARQUET_1_0.as_num(),
        rows,
        Some(CREATED_BY.to_owned()),
        (!key_values.is_empty()).then(|| key_values.to_vec()),
        Arc::clone(descriptor),
        None,
    );
    let mut bytes = Vec::new();
    ParquetMetaDataWriter::new(&mut bytes, &ParquetMetaData::new(file, row_groups)).finish()?;
    bytes.truncate(bytes.len().saturating_sub(TRAILER_BYTES));
    Ok(bytes)
}

/// The places of parts of a footer, in bytes.
struct Parts {
    /// The value of the number of rows.
    rows: Range<usize>,
    /// The entries of the row groups.
    row_groups: Vec<Range<usize>>,
    /// The members behind the row groups.
    tail: Range<usize>,
}

/// Finds the parts of a footer without its trailer; `None` if it is not as the library writes it.
fn split(bytes: &[u8]) -> Option<Parts> {
    let mut at = Skipper { bytes, at: 0 };
    let (mut id, mut rows) = (0, None);
    loop {
        let kind;
        (id, kind) = at.field(id)?;
        let start = at.at;
        match (id, kind) {
            (3, _) => {
                at.value(kind)?;
                rows = Some(start..at.at);
            }
            (4, LIST) => {
                let (len, STRUCT) = at.list()? else { return None };
                let mut row_groups = Vec::new();
                for _ in 0..len {
                    let start = at.at;
                    at.value(STRUCT)?;
                    row_groups.push(start..at.at);
                }
                return Some(Parts { rows: rows?, row_groups, tail: at.at..bytes.len() });
            }
            _ => at.value(kind)?,
        }
    }
}

const TRUE: u8 = 1;
const FALSE: u8 = 2;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const STRUCT: u8 = 12;

/// A cursor over values of the compact Thrift protocol. Each method returns `None` where the bytes end too early, or are
/// of a kind that a footer does not have.
struct Skipper<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Skipper<'_> {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// Reads the header of the field behind field `last`: its id and its kind; kind 0 is the end of a struct.
    fn field(&mut self, last: u64) -> Option<(u64, u8)> {
        let header = self.byte()?;
        Some(match (header >> 4, header & 0x0f) {
            (0, 0) => (last, 0),
            // A field that does not follow closely has its own id, zigzag-encoded.
            (0, kind) => (self.varint()? >> 1, kind),
            (delta, kind) => (last + u64::from(delta), kind),
        })
    }

    /// Reads the header of a list: its length and the kind of its elements.
    fn list(&mut self) -> Option<(u64, u8)> {
        let header = self.byte()?;
        let len = match header >> 4 {
            15 => self.varint()?,
            len => len.into(),
        };
        Some((len, header & 0x0f))
    }

    fn value(&mut self, kind: u8) -> Option<()> {
        match kind {
            TRUE | FALSE => {}
            3 => self.at += 1,
            4..=6 => drop(self.varint()?),
            DOUBLE => self.at += 8,
            BINARY => {
                let len = usize::try_from(self.varint()?).ok()?;
                self.at = self.at.checked_add(len)?;
            }
            LIST => {
                let (len, kind) = self.list()?;
                for _ in 0..len {
                    match kind {
                        // In a list, a boolean is a byte.
                        TRUE | FALSE => self.at += 1,
                        kind => self.value(kind)?,
                    }
                }
            }
            STRUCT => {
                let mut last = 0;
                loop {
                    match self.field(last)? {
                        (_, 0) => break,
                        (id, kind) => {
                            self.value(kind)?;
                            last = id;
                        }
                    }
                }
            }
            _ => return None,
        }
        (self.at <= self.bytes.len()).then_some(())
    }
}

fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_list_of_structs(len: usize, out: &mut Vec<u8>) {
    match len {
        0..15 => out.push((len as u8) << 4 | STRUCT),
        _ => {
            out.push(0xf0 | STRUCT);
            put_varint(len as u64, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::{Field, Schema, Type, TypeMerge};
    use crate::format::ParquetOptions;
    use parquet::basic::{Encoding, PageType, Type as PhysicalType};
    use parquet::file::metadata::{ColumnChunkMetaData, PageEncodingStats};
    use parquet::file::statistics::Statistics;
    use parquet::schema::types::ColumnDescPtr;

    fn layout() -> Layout {
        let inner = Type::Struct(vec![Field::new("a", Type::Bool), Field::new("b", Type::Text)]);
        let fields = vec![Field::new("n", Type::Float), Field::new("o", Type::List(Box::new(inner)))];
        Layout::try_new(Arc::new(Schema::new(fields)), &ParquetOptions::default(), TypeMerge::Json).unwrap()
    }

    fn row_group(layout: &Layout, ordinal: i16) -> RowGroupMetaData {
        let column = |(i, leaf): (usize, &ColumnDescPtr)| {
            let chunk = ColumnChunkMetaData::builder(leaf.clone()).set_num_values(7).set_data_page_offset(i as i64 + 4);
            let chunk = chunk.set_encodings(vec![Encoding::PLAIN, Encoding::RLE]).set_page_encoding_stats(vec![
                PageEncodingStats { page_type: PageType::DATA_PAGE, encoding: Encoding::PLAIN, count: 70_000 },
            ]);
            let chunk = match leaf.physical_type() {
                PhysicalType::DOUBLE => {
                    chunk.set_statistics(Statistics::double(Some(-0.5), Some(1e300), None, Some(3), false))
                }
                _ => chunk,
            };
            chunk.build().unwrap()
        };
        let columns = layout.descriptor.columns().iter().enumerate().map(column).collect();
        let group = RowGroupMetaData::builder(layout.descriptor.clone()).set_column_metadata(columns);
        group.set_num_rows(1000 + i64::from(ordinal)).set_ordinal(ordinal).build().unwrap()
    }

    /// Any number of entries makes the footer that the library writes of the same row groups.
    #[test]
    fn assembled_footers_are_those_of_the_library() {
        let layout = layout();
        let key_values = [KeyValue::new("k".to_owned(), "v".repeat(300))];
        for key_values in [&[][..], &key_values] {
            let frame = Frame::of(&layout.descriptor, key_values).unwrap();
            for n in [0, 1, 2, 14, 15, 16, 200] {
                let groups: Vec<_> = (0..n).map(|i| row_group(&layout, i)).collect();
                let rows = groups.iter().map(|group| group.num_rows() as u64).sum();
                let expected = written(&layout.descriptor, key_values, groups.clone()).unwrap();
                let entries: Vec<Vec<u8>> = groups.iter().map(|g| entry(&layout, g.clone()).unwrap()).collect();
                let bytes = entries.iter().map(Vec::len).sum::<usize>() as u64;
                let (mut footer, behind) = frame.around(rows, entries.len(), bytes).unwrap();
                footer.extend(entries.concat());
                footer.extend(behind);
                let (metadata, trailer) = footer.split_at(footer.len() - TRAILER_BYTES);
                assert_eq!(metadata, expected);
                assert_eq!(trailer[..4], (expected.len() as u32).to_le_bytes());
                let again = super::entries(metadata).unwrap();
                assert!(again.into_iter().map(|range| &metadata[range]).eq(&entries));
                for (entry, group) in entries.iter().zip(&groups) {
                    let found = frame.row_group(&layout, group.num_rows() as usize, entry).unwrap();
                    assert_eq!(found.columns(), group.columns());
                    assert_eq!((found.num_rows(), found.ordinal()), (group.num_rows(), group.ordinal()));
                }
            }
        }
    }

    #[test]
    fn a_footer_that_is_cut_is_none() {
        let layout = layout();
        let footer = written(&layout.descriptor, &[], vec![row_group(&layout, 0)]).unwrap();
        let groups = split(&footer).unwrap().row_groups[0].clone();
        for end in 0..groups.end {
            assert!(split(&footer[..end]).is_none());
        }
    }

    #[test]
    fn a_footer_beyond_the_format_is_an_error() {
        let frame = Frame::of(&layout().descriptor, &[]).unwrap();
        assert!(frame.around(1, 20_000, 1 << 30).is_ok());
        let error = frame.around(1, 20_000, 1 << 31).unwrap_err();
        assert!(error.to_string().contains("20 000 row groups"), "{error}");
    }
}
