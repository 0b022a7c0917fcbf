//! Avro container files, as manifests and their lists are: read under the schema that the file has, written under one of
//! ours. Fields are known by the ids that Iceberg gives them, since their names have changed over the years. Pure.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};

use serde_json::Value;

const MAGIC: &[u8] = b"Obj\x01";

/// Most bytes of a block after decompression: a damaged file must not take all memory.
const MAX_BLOCK_BYTES: u64 = 1 << 30;

/// Most schemas within each other.
const MAX_DEPTH: usize = 64;

/// A value of Avro.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Avro {
    Null,
    Bool(bool),
    /// An `int`, a `long`, or the index of an `enum`.
    Int(i64),
    Double(f64),
    /// `bytes`, or a `fixed`.
    Bytes(Vec<u8>),
    Text(String),
    Record(Vec<Avro>),
    Array(Vec<Avro>),
    Map(Vec<(String, Avro)>),
}

impl Avro {
    /// Returns the integer; `None` for other values.
    #[cfg(test)]
    pub(super) fn int(&self) -> Option<i64> {
        match self {
            Avro::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// Returns the text; `None` for other values.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Avro::Text(value) => Some(value),
            _ => None,
        }
    }
}

/// A schema of Avro.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    Null,
    Bool,
    Int,
    Float,
    Double,
    Bytes,
    Text,
    Fixed(usize),
    Record(Vec<ShapeField>),
    Array(Box<Shape>),
    Map(Box<Shape>),
    Union(Vec<Shape>),
}

/// A field of a record.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ShapeField {
    /// The id that Iceberg gives it; `None` without one.
    pub(super) id: Option<i64>,
    pub(super) shape: Shape,
}

impl Shape {
    /// Reads a schema in JSON.
    pub(super) fn parse(schema: &Value) -> Result<Self, String> {
        Self::parse_in(schema, &mut BTreeMap::new(), 0)
    }

    fn parse_in(schema: &Value, named: &mut BTreeMap<String, Shape>, depth: usize) -> Result<Self, String> {
        if depth > MAX_DEPTH {
            return Err("its schema is nested too deeply".to_owned());
        }
        match schema {
            Value::String(name) => Ok(match name.as_str() {
                "null" => Shape::Null,
                "boolean" => Shape::Bool,
                "int" | "long" => Shape::Int,
                "float" => Shape::Float,
                "double" => Shape::Double,
                "bytes" => Shape::Bytes,
                "string" => Shape::Text,
                other => {
                    named.get(other).cloned().ok_or_else(|| format!("its schema has an unknown type `{other}`"))?
                }
            }),
            Value::Array(branches) => {
                let branches = branches.iter().map(|branch| Self::parse_in(branch, named, depth + 1));
                Ok(Shape::Union(branches.collect::<Result<_, _>>()?))
            }
            Value::Object(members) => {
                let ty = members.get("type").ok_or("its schema has no type")?;
                let inner = |name: &str| members.get(name).ok_or_else(|| format!("its schema has no {name}"));
                let shape = match ty.as_str() {
                    Some("record") => {
                        let fields = inner("fields")?.as_array().ok_or("its fields are no list")?;
                        let mut shapes = Vec::with_capacity(fields.len());
                        for field in fields {
                            let id = field.get("field-id").and_then(Value::as_i64);
                            let ty = field.get("type").ok_or("a field has no type")?;
                            shapes.push(ShapeField { id, shape: Self::parse_in(ty, named, depth + 1)? });
                        }
                        Shape::Record(shapes)
                    }
                    Some("array") => Shape::Array(Box::new(Self::parse_in(inner("items")?, named, depth + 1)?)),
                    Some("map") => Shape::Map(Box::new(Self::parse_in(inner("values")?, named, depth + 1)?)),
                    Some("enum") => Shape::Int,
                    Some("fixed") => {
                        let size = inner("size")?.as_u64().and_then(|size| usize::try_from(size).ok());
                        Shape::Fixed(size.ok_or("a size is no number")?)
                    }
                    _ => Self::parse_in(ty, named, depth + 1)?,
                };
                if let Some(name) = members.get("name").and_then(Value::as_str) {
                    named.insert(name.to_owned(), shape.clone());
                }
                Ok(shape)
            }
            _ => Err("its schema cannot be read".to_owned()),
        }
    }

    /// Returns the value of the field with an id, of a record of this shape; `None` if it has none, or null.
    pub(super) fn field<'a>(&self, record: &'a Avro, id: i64) -> Option<&'a Avro> {
        let (Shape::Record(fields), Avro::Record(values)) = (self.inner(), record) else { return None };
        let at = fields.iter().position(|field| field.id == Some(id))?;
        values.get(at).filter(|value| **value != Avro::Null)
    }

    /// Returns the shape of the field with an id; `None` if it has none.
    pub(super) fn shape_of(&self, id: i64) -> Option<&Shape> {
        let Shape::Record(fields) = self.inner() else { return None };
        Some(&fields.iter().find(|field| field.id == Some(id))?.shape)
    }

    /// Returns the items of a list; itself for others.
    pub(super) fn items(&self) -> &Shape {
        match self.inner() {
            Shape::Array(items) => items,
            other => other,
        }
    }

    /// Returns the branch of a union that is not null.
    fn inner(&self) -> &Shape {
        match self {
            Shape::Union(branches) => branches.iter().find(|branch| **branch != Shape::Null).unwrap_or(self),
            other => other,
        }
    }
}

/// A file that was read.
#[derive(Debug)]
pub(super) struct AvroFile {
    pub(super) shape: Shape,
    pub(super) records: Vec<Avro>,
}

/// Reads a file; fails with the reason if it is none of Avro, or damaged.
pub(super) fn read(bytes: &[u8]) -> Result<AvroFile, String> {
    let mut input = Input(bytes.strip_prefix(MAGIC).ok_or("it is no Avro file")?);
    let header = input.value(&Shape::Map(Box::new(Shape::Bytes)), 0)?;
    let Avro::Map(header) = header else { return Err("it has no header".to_owned()) };
    let entry = |name: &str| {
        header.iter().find_map(|(key, value)| match value {
            Avro::Bytes(bytes) if key == name => std::str::from_utf8(bytes).ok(),
            _ => None,
        })
    };
    let schema: Value = serde_json::from_str(entry("avro.schema").ok_or("it has no schema")?)
        .map_err(|error| format!("its schema cannot be read: {error}"))?;
    let (shape, codec) = (Shape::parse(&schema)?, entry("avro.codec").unwrap_or("null"));
    let sync = input.take(16)?.to_vec();
    let mut records = Vec::new();
    while !input.0.is_empty() {
        let (count, size) = (input.int()?, input.length()?);
        let block = decompressed(codec, input.take(size)?)?;
        if input.take(16)? != sync {
            return Err("a block does not end where it should".to_owned());
        }
        let mut block = Input(&block);
        for _ in 0..count {
            records.push(block.value(&shape, 0)?);
        }
    }
    Ok(AvroFile { shape, records })
}

fn decompressed(codec: &str, block: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let read = |mut reader: Box<dyn std::io::Read + '_>, out: &mut Vec<u8>| {
        reader.by_ref().take(MAX_BLOCK_BYTES).read_to_end(out).map(drop).map_err(|error| error.to_string())
    };
    match codec {
        "null" => out.extend_from_slice(block),
        "deflate" => read(Box::new(flate2::read::DeflateDecoder::new(block)), &mut out)?,
        "zstandard" => {
            read(Box::new(zstd::stream::read::Decoder::new(block).map_err(|error| error.to_string())?), &mut out)?;
        }
        // With the checksum of the bytes behind it.
        "snappy" => {
            let block = block.get(..block.len().saturating_sub(4)).unwrap_or_default();
            out = snap::raw::Decoder::new().decompress_vec(block).map_err(|error| error.to_string())?;
        }
        other => return Err(format!("it is compressed by {other}, which drawoff does not read")),
    }
    Ok(out)
}

/// Bytes that are read from the front.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or("it ends early")?;
        self.0 = rest;
        Ok(taken)
    }

    fn int(&mut self) -> Result<i64, String> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err("a number is too long".to_owned())
    }

    fn length(&mut self) -> Result<usize, String> {
        usize::try_from(self.int()?).map_err(|_| "a length is negative".to_owned())
    }

    /// Reads the blocks of an array or a map.
    fn blocks(&mut self, mut item: impl FnMut(&mut Self) -> Result<(), String>) -> Result<(), String> {
        loop {
            let mut count = self.int()?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                // Its bytes follow, for readers that skip it.
                self.int()?;
                count = -count;
            }
            for _ in 0..count {
                item(self)?;
            }
        }
    }

    fn value(&mut self, shape: &Shape, depth: usize) -> Result<Avro, String> {
        if depth > MAX_DEPTH {
            return Err("it is nested too deeply".to_owned());
        }
        let eight = |bytes: &[u8]| <[u8; 8]>::try_from(bytes).map_err(|_| "it ends early".to_owned());
        Ok(match shape {
            Shape::Null => Avro::Null,
            Shape::Bool => Avro::Bool(self.take(1)?[0] != 0),
            Shape::Int => Avro::Int(self.int()?),
            Shape::Float => {
                let bytes = <[u8; 4]>::try_from(self.take(4)?).map_err(|_| "it ends early".to_owned())?;
                Avro::Double(f32::from_le_bytes(bytes).into())
            }
            Shape::Double => Avro::Double(f64::from_le_bytes(eight(self.take(8)?)?)),
            Shape::Bytes => {
                let n = self.length()?;
                Avro::Bytes(self.take(n)?.to_vec())
            }
            Shape::Text => {
                let n = self.length()?;
                Avro::Text(String::from_utf8(self.take(n)?.to_vec()).map_err(|_| "a text is not UTF-8")?)
            }
            Shape::Fixed(n) => Avro::Bytes(self.take(*n)?.to_vec()),
            Shape::Record(fields) => {
                let values = fields.iter().map(|field| self.value(&field.shape, depth + 1));
                Avro::Record(values.collect::<Result<_, _>>()?)
            }
            Shape::Array(items) => {
                let mut values = Vec::new();
                self.blocks(|input| {
                    values.push(input.value(items, depth + 1)?);
                    Ok(())
                })?;
                Avro::Array(values)
            }
            Shape::Map(inner) => {
                let mut values = Vec::new();
                self.blocks(|input| {
                    let n = input.length()?;
                    let key = String::from_utf8(input.take(n)?.to_vec()).map_err(|_| "a key is not UTF-8")?;
                    values.push((key, input.value(inner, depth + 1)?));
                    Ok(())
                })?;
                Avro::Map(values)
            }
            Shape::Union(branches) => {
                let branch = branches.get(self.length()?).ok_or("a union has no such branch")?;
                self.value(branch, depth + 1)?
            }
        })
    }
}

/// Returns a file of records under `schema`, with further entries of its header.
pub(super) fn write(schema: &Value, header: &[(&str, String)], records: &[Avro]) -> Result<Vec<u8>, String> {
    let shape = Shape::parse(schema)?;
    let mut block = Vec::new();
    for record in records {
        put(&shape, record, &mut block)?;
    }
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    let compressed = encoder.write_all(&block).and_then(|()| encoder.finish()).map_err(|error| error.to_string())?;
    let mut entries = vec![
        ("avro.schema".to_owned(), Avro::Bytes(schema.to_string().into_bytes())),
        ("avro.codec".to_owned(), Avro::Bytes(b"deflate".to_vec())),
    ];
    entries.extend(header.iter().map(|(key, value)| ((*key).to_owned(), Avro::Bytes(value.clone().into_bytes()))));
    // Any bytes will do; those of the rows are as good as drawn ones, and make equal files equal.
    let digest = crate::warehouse::CommitKey::of(&[&schema.to_string(), &block.len().to_string()]);
    let sync = &digest.as_str().as_bytes()[..16];
    let mut out = MAGIC.to_vec();
    put(&Shape::Map(Box::new(Shape::Bytes)), &Avro::Map(entries), &mut out)?;
    out.extend_from_slice(sync);
    if !records.is_empty() {
        put_int(records.len() as i64, &mut out);
        put_int(compressed.len() as i64, &mut out);
        out.extend_from_slice(&compressed);
        out.extend_from_slice(sync);
    }
    Ok(out)
}

fn put_int(value: i64, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn put(shape: &Shape, value: &Avro, out: &mut Vec<u8>) -> Result<(), String> {
    match (shape, value) {
        (Shape::Union(branches), value) => {
            let is_of = |branch: &Shape| (*branch == Shape::Null) == (*value == Avro::Null);
            let at = branches.iter().position(is_of).ok_or("a value is null where none may be")?;
            put_int(at as i64, out);
            put(&branches[at], value, out)?;
        }
        (Shape::Null, Avro::Null) => {}
        (Shape::Bool, Avro::Bool(value)) => out.push((*value).into()),
        (Shape::Int, Avro::Int(value)) => put_int(*value, out),
        (Shape::Float, Avro::Double(value)) => out.extend_from_slice(&(*value as f32).to_le_bytes()),
        (Shape::Double, Avro::Double(value)) => out.extend_from_slice(&value.to_le_bytes()),
        (Shape::Bytes, Avro::Bytes(bytes)) => {
            put_int(bytes.len() as i64, out);
            out.extend_from_slice(bytes);
        }
        (Shape::Text, Avro::Text(text)) => {
            put_int(text.len() as i64, out);
            out.extend_from_slice(text.as_bytes());
        }
        (Shape::Fixed(n), Avro::Bytes(bytes)) if bytes.len() == *n => out.extend_from_slice(bytes),
        (Shape::Record(fields), Avro::Record(values)) if fields.len() == values.len() => {
            for (field, value) in fields.iter().zip(values) {
                put(&field.shape, value, out)?;
            }
        }
        (Shape::Array(items), Avro::Array(values)) => {
            if !values.is_empty() {
                put_int(values.len() as i64, out);
                values.iter().try_for_each(|value| put(items, value, out))?;
            }
            put_int(0, out);
        }
        (Shape::Map(inner), Avro::Map(values)) => {
            if !values.is_empty() {
                put_int(values.len() as i64, out);
                for (key, value) in values {
                    put_int(key.len() as i64, out);
                    out.extend_from_slice(key.as_bytes());
                    put(inner, value, out)?;
                }
            }
            put_int(0, out);
        }
        _ => return Err("a value does not fit its schema".to_owned()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sample() -> (Value, Vec<Avro>) {
        let schema = json!({"type": "record", "name": "r", "fields": [
            {"name": "a", "type": "long", "field-id": 1},
            {"name": "b", "type": ["null", {"type": "array", "items": {"type": "record", "name": "r2", "fields": [
                {"name": "x", "type": ["null", "bytes"], "field-id": 3}]}}], "field-id": 2},
            {"name": "c", "type": {"type": "fixed", "name": "f", "size": 3}, "field-id": 4},
            {"name": "d", "type": ["null", "r2"], "field-id": 5},
            {"name": "e", "type": {"type": "map", "values": "boolean"}},
        ]});
        let row = |n: i64, b: Avro, d: Avro| {
            let map = Avro::Map(vec![("k".into(), Avro::Bool(n > 0))]);
            Avro::Record(vec![Avro::Int(n), b, Avro::Bytes(b"abc".to_vec()), d, map])
        };
        let inner = |value: Avro| Avro::Record(vec![value]);
        let items = Avro::Array(vec![inner(Avro::Null), inner(Avro::Bytes(vec![0xff; 200]))]);
        let records = [0, 1, -1, 63, 64, -65, i64::MAX, i64::MIN].map(|n| row(n, Avro::Null, inner(Avro::Null)));
        let mut records = records.to_vec();
        records.push(row(7, items, Avro::Null));
        (schema, records)
    }

    #[test]
    fn records_come_back_as_they_were() {
        let (schema, records) = sample();
        let bytes = write(&schema, &[("format-version", "2".into())], &records).unwrap();
        let file = read(&bytes).unwrap();
        assert_eq!(file.records, records);
        let last = file.records.last().unwrap();
        assert_eq!(file.shape.field(last, 1).and_then(Avro::int), Some(7));
        assert_eq!(file.shape.field(last, 5), None);
        let items = file.shape.shape_of(2).unwrap().items();
        let Some(Avro::Array(values)) = file.shape.field(last, 2) else { panic!() };
        assert_eq!(items.field(&values[1], 3), Some(&Avro::Bytes(vec![0xff; 200])));
    }

    #[test]
    fn a_file_that_is_cut_is_an_error_and_no_panic() {
        let (schema, records) = sample();
        let bytes = write(&schema, &[], &records).unwrap();
        for end in 0..bytes.len() {
            let cut = read(&bytes[..end]);
            assert!(cut.is_err() || cut.unwrap().records.is_empty(), "{end}");
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x55;
            let _ = read(&damaged);
        }
    }

    #[test]
    fn values_that_do_not_fit_are_refused() {
        let schema = json!({"type": "record", "name": "r", "fields": [{"name": "a", "type": "long"}]});
        assert!(write(&schema, &[], &[Avro::Record(vec![Avro::Null])]).is_err());
        assert!(write(&schema, &[], &[Avro::Record(vec![])]).is_err());
        assert!(Shape::parse(&json!("unknown")).is_err());
    }
}
