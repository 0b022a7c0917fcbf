//! Rewrites CSV records that are already in a file for a schema with more columns, or other order.
//! Reads from and writes to what the output hands it; cells are copied byte for byte.

use std::collections::HashMap;
use std::io::{self, Read, Write};

use super::split::{Span, Splitter};
use crate::column::{Morsel, Schema};
use crate::format::CsvOptions;
use crate::format::frame::{BufferPool, Framed, Framer, Framing};

/// Bytes that are rewritten at a time, the size of a morsel elsewhere too.
const MORSEL_BYTES: usize = 1 << 20;

/// A mapping of CSV records with some columns to records with more, in any order.
#[derive(Clone, Debug)]
pub struct Remap {
    /// For each new column, its index among the old ones; `None` if it is new.
    sources: Vec<Option<usize>>,
    from_columns: usize,
    options: CsvOptions,
}

impl Remap {
    /// Makes the mapping from the columns of `from` to those of `to`. `None` if `to` lacks one of them,
    /// whose values would be lost.
    pub fn new(from: &Schema, to: &Schema, options: CsvOptions) -> Option<Self> {
        let old: HashMap<&str, usize> = from.fields.iter().enumerate().map(|(i, field)| (&*field.name, i)).collect();
        let sources: Vec<_> = to.fields.iter().map(|field| old.get(&*field.name).copied()).collect();
        let kept = sources.iter().flatten().count();
        let from_columns = from.fields.len();
        (kept == from_columns).then_some(Remap { sources, from_columns, options })
    }

    /// Rewrites the records of `input`, which has no header, to `output`, and returns their number. Cells are
    /// copied byte for byte; new ones are null. Takes a few megabytes of memory, or what one record takes.
    ///
    /// Fails with [`io::ErrorKind::InvalidData`] if a record does not have the columns of `from`.
    pub fn rewrite(&self, input: &mut dyn Read, output: &mut dyn Write) -> io::Result<u64> {
        // One buffer in the framer and one under the morsel. The record limit is the largest that framing allows.
        let pool = BufferPool::new(MORSEL_BYTES, 2);
        let mut framer = Framer::new(Framing::csv(self.options.delimiter), 1 << 30, 0, pool.clone());
        let mut out = Vec::with_capacity(MORSEL_BYTES * 5 / 4);
        let mut records = 0;
        loop {
            let n = match input.read(framer.space()) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                n => n?,
            };
            if n == 0 {
                framer.finish();
            } else {
                framer.filled(n);
            }
            while let Some(framed) = framer.pop() {
                let Framed::Morsel(morsel) = framed else { return Err(malformed(records)) };
                out.clear();
                self.rewrite_morsel(&morsel, &mut out, &mut records)?;
                output.write_all(&out)?;
                pool.recycle(morsel.bytes);
            }
            if n == 0 {
                return Ok(records);
            }
        }
    }

    fn rewrite_morsel(&self, morsel: &Morsel, out: &mut Vec<u8>, records: &mut u64) -> io::Result<()> {
        let bytes = morsel.records();
        let mut splitter = Splitter::new(morsel, self.options.delimiter);
        let mut fields: Vec<Span> = Vec::with_capacity(self.from_columns);
        while let Some(record) = splitter.next_record(&mut fields) {
            // A record without columns is an empty line, which splits into one null.
            let whole = fields.len() == self.from_columns || (self.from_columns == 0 && record.is_blank());
            if record.malformed.is_some() || !whole {
                return Err(malformed(*records));
            }
            for (i, source) in self.sources.iter().enumerate() {
                if i > 0 {
                    out.push(self.options.delimiter);
                }
                match source {
                    // With its quotes as they are, so that null and the empty text stay distinct.
                    Some(source) => out.extend_from_slice(fields[*source].verbatim(bytes)),
                    None => out.extend_from_slice(self.options.null.as_bytes()),
                }
            }
            if self.options.crlf {
                out.push(b'\r');
            }
            out.push(b'\n');
            *records += 1;
            fields.clear();
        }
        Ok(())
    }
}

fn malformed(record: u64) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("cannot rewrite the CSV: record {record} is malformed"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::column::{Field, Type};

    fn schema(names: &str) -> Schema {
        Schema::new(names.chars().map(|name| Field::new(name.to_string(), Type::Text)).collect())
    }

    fn rewritten(from: &str, to: &str, text: &str) -> io::Result<(String, u64)> {
        let remap = Remap::new(&schema(from), &schema(to), CsvOptions::default()).expect("a superset");
        let mut out = Vec::new();
        let records = remap.rewrite(&mut text.as_bytes(), &mut out)?;
        Ok((String::from_utf8(out).expect("utf-8"), records))
    }

    #[test]
    fn cells_are_copied_byte_for_byte() {
        let (text, records) = rewritten("abc", "dcaeb", "1,\"x\"\"\n,\",\n,\"\",3\n").expect("whole");
        assert_eq!((text.as_str(), records), (",,1,,\"x\"\"\n,\"\n,3,,,\"\"\n", 2));
        assert_eq!(rewritten("a", "ab", "1\n\n\"\"\n").expect("whole").0, "1,\n,\n\"\",\n");
        assert_eq!(rewritten("", "ab", "\n\n").expect("whole").0, ",\n,\n");
        assert_eq!(rewritten("ab", "abc", "").expect("whole"), (String::new(), 0));
        for malformed in ["1\n", "1,2,3\n", "1,\"2\n"] {
            let error = rewritten("ab", "abc", malformed).expect_err("not two columns");
            assert_eq!(error.to_string(), "cannot rewrite the CSV: record 0 is malformed");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
    }

    #[test]
    fn no_column_may_be_dropped() {
        assert!(Remap::new(&schema("ab"), &schema("acd"), CsvOptions::default()).is_none());
    }

    proptest! {
        #[test]
        fn a_permutation_and_its_inverse_restore_the_text(
            rows in prop::collection::vec(prop::collection::vec("(|\"\"|a|\"[,\na]{1,4}\")", 3), 0..50),
        ) {
            let text: String = rows.iter().map(|row| row.join(",") + "\n").collect();
            let (there, _) = rewritten("abc", "cab", &text).expect("whole");
            let (back, records) = rewritten("cab", "abc", &there).expect("whole");
            prop_assert_eq!(back, text);
            prop_assert_eq!(records, rows.len() as u64);
        }
    }
}
