//! Encodes batches as CSV records.
//!
//! Records end with a line feed. A field is quoted only if it holds the delimiter, a quote, CR or
//! LF, or is the empty text, which its quotes distinguish from null. `docs/csv.md` has the rules of all
//! dialects.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float64Type, Int64Type};
use arrow_array::{Array, BooleanArray, Decimal128Array, Float64Array, Int64Array, StringViewArray};
use memchr::memchr;

use super::sheet::{SheetCounts, begins_like_a_formula, has_long_digits, is_changed, is_longer_than_a_cell, is_number};
use crate::column::{Batch, Fixed, Schema, Type};
use crate::format::json_text::{JsonValues, unescape, write_int};
use crate::format::number::write_float;
use crate::format::simd::{double_quotes, has_either};
use crate::format::{CsvBooleans, CsvOptions, NullText};

/// The byte order mark, U+FEFF in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Encoder of batches as CSV. A worker keeps one.
pub struct CsvEncoder {
    options: CsvOptions,
    /// True if the delimiter may occur in numbers, booleans, dates or timestamps, so that these may need quotes too.
    delimiter_in_words: bool,
    /// True if a cell as a whole decides how it is written: for spreadsheets, and with a spelling of null.
    whole_cells: bool,
    scratch: Vec<u8>,
    cell: Vec<u8>,
    counts: SheetCounts,
}

/// One column of a batch, downcast once.
enum Cells<'a> {
    Null,
    Bool(&'a BooleanArray),
    Int(&'a Int64Array),
    Decimal(&'a Decimal128Array),
    Float(&'a Float64Array),
    Fixed(&'a dyn Array, Fixed),
    Text(&'a StringViewArray),
    /// JSON text of one value per cell.
    Json(&'a StringViewArray),
    /// Nested values, written as JSON text.
    Nested(JsonValues<'a>),
}

impl<'a> Cells<'a> {
    fn new(array: &'a dyn Array, ty: &Type) -> Self {
        match ty {
            Type::Null => Cells::Null,
            Type::Bool => Cells::Bool(array.as_boolean()),
            Type::Int { .. } => Cells::Int(array.as_primitive::<Int64Type>()),
            Type::Decimal => Cells::Decimal(array.as_primitive::<Decimal128Type>()),
            Type::Float => Cells::Float(array.as_primitive::<Float64Type>()),
            Type::Fixed(fixed) => Cells::Fixed(array, *fixed),
            Type::Text => Cells::Text(array.as_string_view()),
            text_like if text_like.is_text_like() => Cells::Json(array.as_string_view()),
            nested => Cells::Nested(JsonValues::new(array, nested)),
        }
    }
}

impl CsvEncoder {
    /// Makes an encoder. The delimiter must be an ASCII byte other than NUL, quote, CR and LF.
    pub fn new(options: CsvOptions) -> Self {
        // The usual delimiters are in no number, boolean, date or timestamp; others may be.
        let delimiter_in_words = !matches!(options.delimiter, b',' | b';' | b'\t' | b'|');
        let whole_cells = options.excel || options.null != NullText::EMPTY;
        CsvEncoder {
            options,
            delimiter_in_words,
            whole_cells,
            scratch: Vec::new(),
            cell: Vec::new(),
            counts: SheetCounts::default(),
        }
    }

    /// Appends the header, after a byte order mark if the options ask for one.
    pub fn write_header(&mut self, schema: &Schema, out: &mut Vec<u8>) {
        if self.options.bom {
            out.extend_from_slice(BYTE_ORDER_MARK);
        }
        for (i, field) in schema.fields.iter().enumerate() {
            if i > 0 {
                out.push(self.options.delimiter);
            }
            if self.options.excel && self.needs_apostrophe(field.name.as_bytes()) {
                self.write_text(&[b"'", field.name.as_bytes()].concat(), out);
            } else if i == 0 && begins_like_another_format(&field.name) {
                write_quoted(field.name.as_bytes(), out);
            } else {
                self.write_text(field.name.as_bytes(), out);
            }
        }
        self.end_record(out);
    }

    /// Returns the counts since the last call and resets them. Rows in them count from the first row since then.
    pub fn take_counts(&mut self) -> SheetCounts {
        std::mem::take(&mut self.counts)
    }

    #[inline]
    fn end_record(&self, out: &mut Vec<u8>) {
        if self.options.crlf {
            out.push(b'\r');
        }
        out.push(b'\n');
    }

    /// Appends one record per row, with the columns of the batch in their order.
    ///
    /// Null, and the `null` of JSON text, is the empty field or the options' spelling of it. JSON strings are
    /// written as their content, JSON numbers digit for digit, objects and lists as their JSON text. A row
    /// whose only column is null is an empty line.
    ///
    /// # Panics
    ///
    /// If a column is not of the Arrow type of its field.
    pub fn write_rows(&mut self, batch: &Batch, out: &mut Vec<u8>) {
        let columns: Vec<Cells<'_>> =
            batch.columns.iter().zip(&batch.schema.fields).map(|(array, field)| Cells::new(array, &field.ty)).collect();
        let mut scratch = std::mem::take(&mut self.scratch);
        for row in 0..batch.rows {
            let start = out.len();
            for (i, cells) in columns.iter().enumerate() {
                if i > 0 {
                    out.push(self.options.delimiter);
                }
                if self.whole_cells {
                    let column = &batch.schema.fields[i].name;
                    self.write_whole_cell(cells, (row, column), &mut scratch, out);
                } else {
                    self.write_cell(cells, row, &mut scratch, out);
                }
            }
            // One column: with more, there is a delimiter.
            self.counts.empty_lines += u64::from(out.len() == start);
            self.end_record(out);
        }
        self.scratch = scratch;
    }

    /// As [`CsvEncoder::write_cell`], but writes the cell to a buffer first, whose content decides about apostrophe and
    /// quotes.
    fn write_whole_cell(
        &mut self,
        cells: &Cells<'_>,
        at: (usize, &Arc<str>),
        scratch: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) {
        let (row, column) = at;
        let mut cell = std::mem::take(&mut self.cell);
        cell.clear();
        let Some(is_text) = self.value_of(cells, row, scratch, &mut cell) else {
            out.extend_from_slice(self.options.null.as_bytes());
            self.cell = cell;
            return;
        };
        if self.options.excel {
            // Counted and written as it is: truncating would lose data.
            if is_longer_than_a_cell(&cell) {
                self.counts.long_cells += 1;
                self.counts.first_long_cell.get_or_insert_with(|| (row as u64, column.clone()));
            }
            if begins_like_a_formula(&cell) {
                self.counts.formulas += 1;
                cell.insert(0, b'\'');
            } else if has_long_digits(&cell) {
                self.counts.long_numbers += 1;
                cell.insert(0, b'\'');
            } else if self.options.decimal_comma && is_number(&cell) && (!is_text || self.options.numbers_in_text) {
                cell.iter_mut().filter(|byte| **byte == b'.').for_each(|byte| *byte = b',');
            } else if is_text && is_changed(&cell, self.options.decimal_comma) {
                self.counts.converted += 1;
                cell.insert(0, b'\'');
            }
        }
        // A value spelled like null is distinguished from it by quotes; the empty text gets them anyway.
        if !cell.is_empty() && cell == self.options.null.as_bytes() {
            write_quoted(&cell, out);
        } else {
            self.write_text(&cell, out);
        }
        self.cell = cell;
    }

    /// Appends the text of a cell, without quotes. Returns whether the value is text; `None` for null.
    fn value_of(&self, cells: &Cells<'_>, row: usize, scratch: &mut Vec<u8>, cell: &mut Vec<u8>) -> Option<bool> {
        let mut is_text = false;
        match cells {
            Cells::Null => return None,
            Cells::Text(array) if array.is_valid(row) => {
                is_text = true;
                cell.extend_from_slice(array.value(row).as_bytes());
            }
            Cells::Json(array) if array.is_valid(row) => match array.value(row).as_bytes() {
                b"null" => return None,
                [b'"', text @ .., b'"'] => {
                    is_text = true;
                    unescape(text, cell);
                }
                word @ (b"true" | b"false") => cell.extend_from_slice(self.boolean(word == b"true")),
                json => cell.extend_from_slice(json),
            },
            Cells::Nested(values) if !values.is_null(row) => values.write(row, cell),
            Cells::Text(_) | Cells::Json(_) | Cells::Nested(_) => return None,
            words => {
                scratch.clear();
                self.write_word(words, row, scratch);
                cell.extend_from_slice(scratch);
                return (!scratch.is_empty()).then_some(false);
            }
        }
        Some(is_text)
    }

    fn needs_apostrophe(&self, text: &[u8]) -> bool {
        begins_like_a_formula(text) || has_long_digits(text) || is_changed(text, self.options.decimal_comma)
    }

    #[inline]
    fn write_cell(&self, cells: &Cells<'_>, row: usize, scratch: &mut Vec<u8>, out: &mut Vec<u8>) {
        let start = out.len();
        match cells {
            Cells::Null => {}
            Cells::Text(array) => {
                if array.is_valid(row) {
                    self.write_text(array.value(row).as_bytes(), out);
                }
                return;
            }
            Cells::Json(array) => {
                if array.is_valid(row) {
                    self.write_json(array.value(row).as_bytes(), scratch, out);
                }
                return;
            }
            Cells::Nested(values) => {
                if !values.is_null(row) {
                    scratch.clear();
                    values.write(row, scratch);
                    self.write_text(scratch, out);
                }
                return;
            }
            words => self.write_word(words, row, out),
        }
        // Words are written straight to the output, and again only if the delimiter may be in them.
        if self.delimiter_in_words && out.len() > start {
            self.quote_again(start, out);
        }
    }

    /// Appends a boolean, number, date or timestamp; nothing for null.
    #[inline]
    fn write_word(&self, cells: &Cells<'_>, row: usize, out: &mut Vec<u8>) {
        match cells {
            Cells::Null | Cells::Text(_) | Cells::Json(_) | Cells::Nested(_) => {}
            Cells::Bool(array) => {
                if array.is_valid(row) {
                    out.extend_from_slice(self.boolean(array.value(row)));
                }
            }
            Cells::Int(array) => {
                if array.is_valid(row) {
                    write_int(array.value(row), out);
                }
            }
            Cells::Decimal(array) => {
                if array.is_valid(row) {
                    write_int(array.value(row), out);
                }
            }
            Cells::Fixed(array, fixed) => {
                if array.is_valid(row) {
                    fixed.write(fixed.value(*array, row), out);
                }
            }
            Cells::Float(array) => {
                if array.is_valid(row) {
                    write_float(array.value(row), out);
                }
            }
        }
    }

    fn boolean(&self, value: bool) -> &'static [u8] {
        match (self.options.booleans, value) {
            (CsvBooleans::Json, true) => b"true",
            (CsvBooleans::Json, false) => b"false",
            (CsvBooleans::Python, true) => b"True",
            (CsvBooleans::Python, false) => b"False",
        }
    }

    /// Writes the word from `start` on again, with quotes if the delimiter is in it.
    #[cold]
    fn quote_again(&self, start: usize, out: &mut Vec<u8>) {
        let word = out.split_off(start);
        self.write_text(&word, out);
    }

    /// Appends a text that is not null, with quotes if it needs them.
    #[inline]
    fn write_text(&self, text: &[u8], out: &mut Vec<u8>) {
        if text.is_empty() {
            out.extend_from_slice(b"\"\"");
        } else if needs_quotes(text, self.options.delimiter) {
            write_quoted(text, out);
        } else {
            out.extend_from_slice(text);
        }
    }

    /// Appends the value of a JSON text.
    #[inline]
    fn write_json(&self, json: &[u8], scratch: &mut Vec<u8>, out: &mut Vec<u8>) {
        match json {
            [b'"', text @ .., b'"'] => self.write_json_string(text, scratch, out),
            b"null" => {}
            b"true" | b"false" if !self.delimiter_in_words => out.extend_from_slice(self.boolean(json == b"true")),
            b"true" | b"false" => self.write_text(self.boolean(json == b"true"), out),
            [b'-' | b'0'..=b'9', ..] if !self.delimiter_in_words => out.extend_from_slice(json),
            _ => self.write_text(json, out),
        }
    }

    /// Appends the text of a JSON string, given without its quotes.
    #[inline]
    fn write_json_string(&self, text: &[u8], scratch: &mut Vec<u8>, out: &mut Vec<u8>) {
        // Without escapes there are neither quotes nor line breaks in it, so that only the delimiter matters.
        if !has_either(text, self.options.delimiter, b'\\') {
            return if text.is_empty() { out.extend_from_slice(b"\"\"") } else { out.extend_from_slice(text) };
        }
        match memchr(b'\\', text) {
            None => {
                out.push(b'"');
                out.extend_from_slice(text);
                out.push(b'"');
            }
            Some(_) => {
                scratch.clear();
                unescape(text, scratch);
                self.write_text(scratch, out);
            }
        }
    }
}

/// Returns true for a first name that would not be read as a name without quotes: one that begins with U+FEFF, which is a
/// byte order mark at the start of a file, or with the bracket of JSON.
fn begins_like_another_format(name: &str) -> bool {
    name.starts_with('\u{feff}') || name.trim_ascii_start().starts_with(['{', '['])
}

fn needs_quotes(text: &[u8], delimiter: u8) -> bool {
    // The fold has no branches, so that the compiler compares sixteen bytes at once.
    let special = |found: bool, &b: &u8| found | (b == delimiter) | (b == b'"') | (b == b'\n') | (b == b'\r');
    let (parts, rest) = text.as_chunks::<16>();
    parts.iter().any(|part| part.iter().fold(false, special)) || rest.iter().fold(false, special)
}

/// Appends a text as a cell of RFC 4180 between commas; with quotes around it if it needs them or `is_quoted`.
pub fn write_text_cell(text: &[u8], is_quoted: bool, out: &mut Vec<u8>) {
    match is_quoted || needs_quotes(text, b',') {
        true => write_quoted(text, out),
        false => out.extend_from_slice(text),
    }
}

fn write_quoted(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    double_quotes(text, out);
    out.push(b'"');
}

#[cfg(test)]
mod tests;
