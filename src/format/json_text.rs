//! Values of columns as JSON text: what NDJSON, and the cells of nested values in CSV, are made of.

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float64Type, Int64Type};

use super::number::write_float;
use crate::column::Type;

/// Appends the value of `array`, a column of type `ty`, at `row`. Nulls are `null`; raw and JSON
/// columns are copied as they are.
pub fn write_json_value(array: &dyn Array, row: usize, ty: &Type, out: &mut Vec<u8>) {
    if array.is_null(row) {
        out.extend_from_slice(b"null");
        return;
    }
    match ty {
        Type::Null => out.extend_from_slice(b"null"),
        Type::Bool => out.extend_from_slice(if array.as_boolean().value(row) { b"true" } else { b"false" }),
        Type::Int { .. } => {
            let mut buffer = itoa::Buffer::new();
            out.extend_from_slice(buffer.format(array.as_primitive::<Int64Type>().value(row)).as_bytes());
        }
        Type::Decimal => {
            let mut buffer = itoa::Buffer::new();
            out.extend_from_slice(buffer.format(array.as_primitive::<Decimal128Type>().value(row)).as_bytes());
        }
        Type::Float => write_float(array.as_primitive::<Float64Type>().value(row), out),
        Type::Text => write_json_string(array.as_string_view().value(row), out),
        Type::Json | Type::Raw => out.extend_from_slice(array.as_string_view().value(row).as_bytes()),
        // Carried as text: there is no column for its fields to stand in.
        Type::Struct(fields) if fields.is_empty() => out.extend_from_slice(b"{}"),
        Type::Struct(fields) => {
            let columns = array.as_struct();
            out.push(b'{');
            let mut first = true;
            for (field, column) in fields.iter().zip(columns.columns()) {
                if !first {
                    out.push(b',');
                }
                first = false;
                write_json_string(&field.name, out);
                out.push(b':');
                write_json_value(column, row, &field.ty, out);
            }
            out.push(b'}');
        }
        Type::List(item) => {
            let list = array.as_list::<i32>();
            let (start, end) = (list.value_offsets()[row] as usize, list.value_offsets()[row + 1] as usize);
            out.push(b'[');
            for i in start..end {
                if i > start {
                    out.push(b',');
                }
                write_json_value(list.values(), i, item, out);
            }
            out.push(b']');
        }
        Type::Map(value) => {
            let map = array.as_map();
            let (start, end) = (map.value_offsets()[row] as usize, map.value_offsets()[row + 1] as usize);
            let keys = map.keys().as_string_view();
            out.push(b'{');
            for i in start..end {
                if i > start {
                    out.push(b',');
                }
                write_json_string(keys.value(i), out);
                out.push(b':');
                write_json_value(map.values(), i, value, out);
            }
            out.push(b'}');
        }
    }
}

/// Appends `text` as a JSON string. Only what RFC 8259 demands is escaped.
pub fn write_json_string(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut done = 0;
    for (i, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[done..i]);
        done = i + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
    }
    out.extend_from_slice(&bytes[done..]);
    out.push(b'"');
}
