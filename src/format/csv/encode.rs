//! From batches to records.
//!
//! Records end with a line feed. A field is quoted only if it holds the delimiter, a quote, CR or
//! LF, or is the empty text, which differs from null by its quotes.

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float64Type, Int64Type};
use arrow_array::{Array, BooleanArray, Decimal128Array, Float64Array, Int64Array, StringViewArray};
use memchr::memchr;

use crate::column::{Batch, Schema, Type};
use crate::format::json_text::{JsonValues, unescape, write_int};
use crate::format::number::write_float;
use crate::format::simd::{double_quotes, has_either};
use crate::format::{CsvBooleans, CsvOptions};

/// Writes the columns of batches as CSV. A worker keeps one.
pub struct CsvEncoder {
    options: CsvOptions,
    /// The delimiter may stand in numbers and words, so that these too are looked through.
    delimiter_in_words: bool,
    scratch: Vec<u8>,
}

/// One column of a batch.
enum Cells<'a> {
    Null,
    Bool(&'a BooleanArray),
    Int(&'a Int64Array),
    Decimal(&'a Decimal128Array),
    Float(&'a Float64Array),
    Text(&'a StringViewArray),
    /// JSON text.
    Json(&'a StringViewArray),
    /// To be written as JSON text.
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
            Type::Text => Cells::Text(array.as_string_view()),
            text_like if text_like.is_text_like() => Cells::Json(array.as_string_view()),
            nested => Cells::Nested(JsonValues::new(array, nested)),
        }
    }
}

impl CsvEncoder {
    /// An encoder. The delimiter is an ASCII byte other than NUL, quote, CR and LF.
    pub fn new(options: CsvOptions) -> Self {
        let delimiter_in_words =
            matches!(options.delimiter, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'+' | b'-' | b'.');
        CsvEncoder { options, delimiter_in_words, scratch: Vec::new() }
    }

    /// Appends the header.
    pub fn write_header(&self, schema: &Schema, out: &mut Vec<u8>) {
        for (i, field) in schema.fields.iter().enumerate() {
            if i > 0 {
                out.push(self.options.delimiter);
            }
            self.write_text(field.name.as_bytes(), out);
        }
        out.push(b'\n');
    }

    /// Appends one record per row, with the columns of the batch in their order.
    ///
    /// Null, and the `null` of JSON text, is the empty field. JSON strings are written as what
    /// they say, numbers digit for digit as they stand, objects and lists as their JSON text. A
    /// row whose only column is null is an empty line.
    ///
    /// # Panics
    ///
    /// If a column has not the Arrow type of its field.
    pub fn write_rows(&mut self, batch: &Batch, out: &mut Vec<u8>) {
        let columns: Vec<Cells<'_>> =
            batch.columns.iter().zip(&batch.schema.fields).map(|(array, field)| Cells::new(array, &field.ty)).collect();
        let mut scratch = std::mem::take(&mut self.scratch);
        for row in 0..batch.rows {
            for (i, cells) in columns.iter().enumerate() {
                if i > 0 {
                    out.push(self.options.delimiter);
                }
                self.write_cell(cells, row, &mut scratch, out);
            }
            out.push(b'\n');
        }
        self.scratch = scratch;
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
            Cells::Float(array) => {
                if array.is_valid(row) {
                    write_float(array.value(row), out);
                }
            }
        }
        if self.delimiter_in_words && out.len() > start {
            self.quote_again(start, out);
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

    /// Quotes what was written from `start` on, where the delimiter may be in it.
    #[cold]
    fn quote_again(&self, start: usize, out: &mut Vec<u8>) {
        let word = out.split_off(start);
        self.write_text(&word, out);
    }

    /// Appends a text that is not null.
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

    /// Appends the value that a JSON text says.
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

    /// Appends what the JSON string with the content `text` says.
    #[inline]
    fn write_json_string(&self, text: &[u8], scratch: &mut Vec<u8>, out: &mut Vec<u8>) {
        // Without escapes there are no quotes and no line breaks in it.
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

fn needs_quotes(text: &[u8], delimiter: u8) -> bool {
    // Without branches, so that the compiler compares sixteen bytes at once.
    let special = |found: bool, &b: &u8| found | (b == delimiter) | (b == b'"') | (b == b'\n') | (b == b'\r');
    let (parts, rest) = text.as_chunks::<16>();
    parts.iter().any(|part| part.iter().fold(false, special)) || rest.iter().fold(false, special)
}

fn write_quoted(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    double_quotes(text, out);
    out.push(b'"');
}

#[cfg(test)]
mod tests;
