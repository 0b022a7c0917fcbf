//! Manifests and their lists, of format version 2: the data files of a load with their counts and bounds, and the manifests
//! of a snapshot. Those that others wrote are read by the ids of fields.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::avro::{self, Avro, Shape};
use super::values::{PartitionValue, avro_name, bound_bytes, partition_type, partition_value, summary_bytes};
use crate::column::{Field, Schema, Type};
use crate::format::parquet::FieldIds;
use crate::warehouse::DataFile;

/// A column that divides a table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PartitionField {
    /// The id of the field in partitions, from 1000.
    pub(super) id: i64,
    /// The name of the field in partitions.
    pub(super) name: String,
    /// The type of its values.
    pub(super) ty: Type,
}

/// The facts that a manifest of data files is made of.
pub(super) struct NewManifest<'a> {
    pub(super) files: &'a [DataFile],
    /// URL of the directory of the files, without a slash at its end.
    pub(super) directory: &'a str,
    /// The columns that the files contain.
    pub(super) columns: &'a Schema,
    pub(super) field_ids: &'a FieldIds,
    pub(super) partition: &'a [PartitionField],
    /// The schema and the partition spec of the table in JSON.
    pub(super) schema: &'a Value,
    pub(super) spec: &'a Value,
    pub(super) snapshot_id: i64,
}

/// A manifest that was made.
pub(super) struct Manifest {
    pub(super) bytes: Vec<u8>,
    /// The summary of each partition column.
    partitions: Avro,
    files: i64,
    rows: i64,
}

fn optional(ty: Value) -> Value {
    json!(["null", ty])
}

fn field(id: i64, name: &str, ty: Value) -> Value {
    match ty.is_array() {
        true => json!({"name": name, "type": ty, "field-id": id, "default": null}),
        false => json!({"name": name, "type": ty, "field-id": id}),
    }
}

fn id_map(key: i64, value: i64, ty: &str) -> Value {
    let item = json!({"type": "record", "name": format!("k{key}_v{value}"),
        "fields": [field(key, "key", json!("int")), field(value, "value", json!(ty))]});
    optional(json!({"type": "array", "logicalType": "map", "items": item}))
}

impl NewManifest<'_> {
    /// Makes the file. Fails with the reason if the value of a partition is none of its column.
    pub(super) fn write(&self) -> Result<Manifest, String> {
        let mut entries = Vec::with_capacity(self.files.len());
        let mut summaries: Vec<Summary> = self.partition.iter().map(|_| Summary::default()).collect();
        for file in self.files {
            let mut values = Vec::with_capacity(self.partition.len());
            for ((field, text), summary) in self.partition.iter().zip(&file.partition).zip(&mut summaries) {
                let value = partition_value(text.as_deref(), &field.ty)
                    .ok_or_else(|| format!("the partition of {} is no value of `{}`", file.name, field.name))?;
                summary.add(&value);
                values.push(value.avro);
            }
            entries.push(self.entry(file, Avro::Record(values)));
        }
        let header = [
            ("schema", self.schema.to_string()),
            ("schema-id", self.schema["schema-id"].to_string()),
            ("partition-spec", self.spec["fields"].to_string()),
            ("partition-spec-id", self.spec["spec-id"].to_string()),
            ("format-version", "2".to_owned()),
            ("content", "data".to_owned()),
        ];
        let partitions =
            summaries.into_iter().zip(self.partition).map(|(summary, field)| summary.avro(&field.ty)).collect();
        Ok(Manifest {
            bytes: avro::write(&self.entry_schema(), &header, &entries)?,
            partitions: Avro::Array(partitions),
            files: self.files.len() as i64,
            rows: self.files.iter().map(|file| file.rows as i64).sum(),
        })
    }

    fn entry_schema(&self) -> Value {
        let partition = self.partition.iter().map(|of| {
            let mut field = field(of.id, &avro_name(&of.name), optional(partition_type(&of.ty, of.id)));
            if avro_name(&of.name) != of.name {
                field["iceberg-field-name"] = of.name.as_str().into();
            }
            field
        });
        let partition = json!({"type": "record", "name": "r102", "fields": partition.collect::<Vec<_>>()});
        let list = |element: i64, ty: &str| optional(json!({"type": "array", "items": ty, "element-id": element}));
        let data_file = json!({"type": "record", "name": "r2", "fields": [
            field(134, "content", json!("int")),
            field(100, "file_path", json!("string")),
            field(101, "file_format", json!("string")),
            field(102, "partition", partition),
            field(103, "record_count", json!("long")),
            field(104, "file_size_in_bytes", json!("long")),
            field(108, "column_sizes", id_map(117, 118, "long")),
            field(109, "value_counts", id_map(119, 120, "long")),
            field(110, "null_value_counts", id_map(121, 122, "long")),
            field(137, "nan_value_counts", id_map(138, 139, "long")),
            field(125, "lower_bounds", id_map(126, 127, "bytes")),
            field(128, "upper_bounds", id_map(129, 130, "bytes")),
            field(131, "key_metadata", optional(json!("bytes"))),
            field(132, "split_offsets", list(133, "long")),
            field(135, "equality_ids", list(136, "int")),
            field(140, "sort_order_id", optional(json!("int"))),
        ]});
        json!({"type": "record", "name": "manifest_entry", "fields": [
            field(0, "status", json!("int")),
            field(1, "snapshot_id", optional(json!("long"))),
            field(3, "sequence_number", optional(json!("long"))),
            field(4, "file_sequence_number", optional(json!("long"))),
            field(2, "data_file", data_file),
        ]})
    }

    fn entry(&self, file: &DataFile, partition: Avro) -> Avro {
        let mut facts = Facts::default();
        facts.collect(file, self.field_ids, &self.columns.fields, &mut Vec::new());
        let offsets = file.facts.row_group_offsets.iter().map(|offset| Avro::Int(*offset)).collect();
        let data_file = Avro::Record(vec![
            Avro::Int(0),
            Avro::Text(format!("{}/{}", self.directory, file.name)),
            Avro::Text("PARQUET".to_owned()),
            partition,
            Avro::Int(file.rows as i64),
            Avro::Int(file.bytes as i64),
            by_id(sizes(file, self.field_ids)),
            by_id(facts.values),
            by_id(facts.nulls),
            Avro::Null,
            by_id(facts.low),
            by_id(facts.high),
            Avro::Null,
            Avro::Array(offsets),
            Avro::Null,
            Avro::Null,
        ]);
        // Added; the sequence number is that of the manifest.
        Avro::Record(vec![Avro::Int(1), Avro::Int(self.snapshot_id), Avro::Null, Avro::Null, data_file])
    }
}

fn by_id(values: BTreeMap<i32, Avro>) -> Avro {
    match values.is_empty() {
        true => Avro::Null,
        false => {
            let pair = |(id, value): (i32, Avro)| Avro::Record(vec![Avro::Int(id.into()), value]);
            Avro::Array(values.into_iter().map(pair).collect())
        }
    }
}

/// Returns the compressed bytes of each leaf.
fn sizes(file: &DataFile, ids: &FieldIds) -> BTreeMap<i32, Avro> {
    let leaves = file.facts.leaves.iter();
    leaves.filter_map(|leaf| Some((ids.get(&leaf.path)?, Avro::Int(leaf.bytes as i64)))).collect()
}

/// Counts and bounds of the columns of a file that are in no list or map.
#[derive(Default)]
struct Facts {
    values: BTreeMap<i32, Avro>,
    nulls: BTreeMap<i32, Avro>,
    low: BTreeMap<i32, Avro>,
    high: BTreeMap<i32, Avro>,
}

impl Facts {
    fn collect(&mut self, file: &DataFile, ids: &FieldIds, fields: &[Field], path: &mut Vec<String>) {
        for field in fields {
            path.push(field.name.to_string());
            match &field.ty {
                Type::Struct(inner) if !inner.is_empty() => self.collect(file, ids, inner, path),
                // Their leaves count elements.
                Type::List(_) | Type::Map(_) => {}
                ty => {
                    let leaf = file.facts.leaves.iter().find(|leaf| leaf.path == *path);
                    if let Some((leaf, id)) = leaf.zip(ids.get(path)) {
                        self.values.insert(id, Avro::Int(leaf.values as i64));
                        self.nulls.extend(leaf.nulls.map(|nulls| (id, Avro::Int(nulls as i64))));
                        let bound = |of, is_upper| bound_bytes(of, ty, is_upper).map(|bytes| (id, Avro::Bytes(bytes)));
                        let bounds = leaf.bounds.as_ref();
                        self.low.extend(bounds.and_then(|(low, _)| bound(low, false)));
                        self.high.extend(bounds.and_then(|(_, high)| bound(high, true)));
                    }
                }
            }
            path.pop();
        }
    }
}

/// The values of one partition column in a manifest.
#[derive(Default)]
struct Summary {
    has_null: bool,
    has_nan: bool,
    bounds: Option<(crate::format::parquet::Bound, crate::format::parquet::Bound)>,
}

impl Summary {
    fn add(&mut self, value: &PartitionValue) {
        self.has_null |= value.avro == Avro::Null;
        self.has_nan |= value.avro != Avro::Null && value.bound.is_none();
        let Some(bound) = &value.bound else { return };
        self.bounds = Some(match self.bounds.take() {
            None => (bound.clone(), bound.clone()),
            Some((low, high)) => {
                (if *bound < low { bound.clone() } else { low }, if *bound > high { bound.clone() } else { high })
            }
        });
    }

    fn avro(self, ty: &Type) -> Avro {
        let bytes = |bound| summary_bytes(bound, ty).map_or(Avro::Null, Avro::Bytes);
        let (low, high) =
            self.bounds.as_ref().map_or((Avro::Null, Avro::Null), |(low, high)| (bytes(low), bytes(high)));
        Avro::Record(vec![Avro::Bool(self.has_null), Avro::Bool(self.has_nan), low, high])
    }
}

/// The ids of the fields of a manifest list, in the order in which they are written.
const LIST_FIELDS: [i64; 15] = [500, 501, 502, 517, 515, 516, 503, 504, 505, 506, 512, 513, 514, 507, 519];

fn list_schema() -> Value {
    let summary = json!({"type": "record", "name": "r508", "fields": [
        field(509, "contains_null", json!("boolean")),
        field(518, "contains_nan", optional(json!("boolean"))),
        field(510, "lower_bound", optional(json!("bytes"))),
        field(511, "upper_bound", optional(json!("bytes"))),
    ]});
    let partitions = optional(json!({"type": "array", "items": summary, "element-id": 508}));
    json!({"type": "record", "name": "manifest_file", "fields": [
        field(500, "manifest_path", json!("string")),
        field(501, "manifest_length", json!("long")),
        field(502, "partition_spec_id", json!("int")),
        field(517, "content", json!("int")),
        field(515, "sequence_number", json!("long")),
        field(516, "min_sequence_number", json!("long")),
        field(503, "added_snapshot_id", json!("long")),
        field(504, "added_files_count", json!("int")),
        field(505, "existing_files_count", json!("int")),
        field(506, "deleted_files_count", json!("int")),
        field(512, "added_rows_count", json!("long")),
        field(513, "existing_rows_count", json!("long")),
        field(514, "deleted_rows_count", json!("long")),
        field(507, "partitions", partitions),
        field(519, "key_metadata", optional(json!("bytes"))),
    ]})
}

/// The manifests of a snapshot, as rows of a list.
#[derive(Clone, Debug, Default)]
pub(super) struct ManifestList(Vec<Avro>);

impl ManifestList {
    /// Reads a list that any writer has made.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let file = avro::read(bytes)?;
        let rows = file.records.iter().map(|record| {
            let value = |id: i64| match (file.shape.field(record, id), id) {
                (Some(_), 507) => partition_summaries(&file.shape, record),
                (Some(value), _) => Ok(value.clone()),
                // What lists of format version 1 lack: content, sequence numbers, and counts.
                (None, 500 | 501 | 503) => Err(format!("it has no field {id}")),
                (None, 507 | 519) => Ok(Avro::Null),
                (None, _) => Ok(Avro::Int(0)),
            };
            Ok(Avro::Record(LIST_FIELDS.iter().map(|id| value(*id)).collect::<Result<_, String>>()?))
        });
        Ok(ManifestList(rows.collect::<Result<_, String>>()?))
    }

    /// Adds the manifest of a load.
    pub(super) fn add(&mut self, manifest: &Manifest, path: &str, spec_id: i64, sequence: i64, snapshot_id: i64) {
        let partitions = match &manifest.partitions {
            Avro::Array(of) if of.is_empty() => Avro::Array(Vec::new()),
            of => of.clone(),
        };
        let int = Avro::Int;
        self.0.push(Avro::Record(vec![
            Avro::Text(path.to_owned()),
            int(manifest.bytes.len() as i64),
            int(spec_id),
            int(0),
            int(sequence),
            int(sequence),
            int(snapshot_id),
            int(manifest.files),
            int(0),
            int(0),
            int(manifest.rows),
            int(0),
            int(0),
            partitions,
            Avro::Null,
        ]));
    }

    /// Returns the file of the list.
    pub(super) fn write(&self, snapshot_id: i64, parent: Option<i64>, sequence: i64) -> Result<Vec<u8>, String> {
        let header = [
            ("snapshot-id", snapshot_id.to_string()),
            ("parent-snapshot-id", parent.map_or("null".to_owned(), |parent| parent.to_string())),
            ("sequence-number", sequence.to_string()),
            ("format-version", "2".to_owned()),
        ];
        avro::write(&list_schema(), &header, &self.0)
    }

    /// Returns the URLs of the manifests.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|row| match row {
            Avro::Record(values) => values.first()?.text(),
            _ => None,
        })
    }
}

/// Returns the summaries of a row of a list in the order of our fields.
fn partition_summaries(shape: &Shape, record: &Avro) -> Result<Avro, String> {
    let items = shape.shape_of(507).map(Shape::items);
    let (Some(items), Some(Avro::Array(summaries))) = (items, shape.field(record, 507)) else { return Ok(Avro::Null) };
    let of = |summary: &Avro| {
        let value = |id| items.field(summary, id).cloned().unwrap_or(Avro::Null);
        match value(509) {
            Avro::Null => Err("a partition has no field 509".to_owned()),
            null => Ok(Avro::Record(vec![null, value(518), value(510), value(511)])),
        }
    };
    Ok(Avro::Array(summaries.iter().map(of).collect::<Result<_, _>>()?))
}

/// Returns the URLs of all files that a manifest names, whatever their state.
pub(super) fn files_of(manifest: &[u8]) -> Result<Vec<String>, String> {
    let file = avro::read(manifest)?;
    let data_file = file.shape.shape_of(2).ok_or("it has no data files")?;
    let path = |record: &Avro| data_file.field(file.shape.field(record, 2)?, 100)?.text().map(str::to_owned);
    file.records.iter().map(|record| path(record).ok_or_else(|| "a file has no path".to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::parquet::{Bound, FileFacts, LeafFacts};

    #[test]
    fn a_manifest_names_its_files_and_a_list_its_manifests() {
        let leaf = |path: &[&str]| LeafFacts {
            path: path.iter().map(|part| (*part).to_owned()).collect(),
            bytes: 9,
            values: 3,
            nulls: Some(1),
            bounds: Some((Bound::Int(1), Bound::Int(2))),
            is_unbounded: false,
        };
        let int = Type::Int { fits_double: true };
        let columns =
            Schema::new(vec![Field::new("a", int.clone()), Field::new("l", Type::List(Box::new(int.clone())))]);
        let mut ids = FieldIds::default();
        ids.insert(vec!["a".into()], 1);
        ids.insert(["l", "list", "element"].map(str::to_owned).to_vec(), 3);
        let facts = FileFacts {
            leaves: vec![leaf(&["a"]), leaf(&["l", "list", "element"])],
            row_group_offsets: vec![4],
            ..FileFacts::default()
        };
        let file = |name: &str, partition: Option<&str>| DataFile {
            name: name.into(),
            rows: 3,
            bytes: 99,
            partition: vec![partition.map(str::to_owned)],
            facts: facts.clone(),
        };
        let files = [file("c=%20/x", Some(" ")), file("y", None)];
        let partition = [PartitionField { id: 1000, name: "c d".into(), ty: Type::Text }];
        let (schema, spec) = (json!({"schema-id": 0}), json!({"spec-id": 7, "fields": []}));
        let new = NewManifest {
            files: &files,
            directory: "s3://b/t/data",
            columns: &columns,
            field_ids: &ids,
            partition: &partition,
            schema: &schema,
            spec: &spec,
            snapshot_id: 42,
        };
        let manifest = new.write().unwrap();
        assert_eq!(files_of(&manifest.bytes).unwrap(), ["s3://b/t/data/c=%20/x", "s3://b/t/data/y"]);
        let read = avro::read(&manifest.bytes).unwrap();
        let (shape, entry) = (read.shape.shape_of(2).unwrap(), read.shape.field(&read.records[0], 2).unwrap());
        let pairs = |id| match shape.field(entry, id) {
            Some(Avro::Array(pairs)) => pairs.len(),
            _ => 0,
        };
        assert_eq!([pairs(108), pairs(109), pairs(110), pairs(125), pairs(128)], [2, 1, 1, 1, 1]);
        let mut list = ManifestList::default();
        list.add(&manifest, "s3://b/t/metadata/m.avro", 7, 5, 42);
        let bytes = list.write(42, None, 5).unwrap();
        let mut again = ManifestList::read(&bytes).unwrap();
        assert_eq!(again.0, list.0);
        again.add(&manifest, "second", 7, 6, 43);
        assert_eq!(again.paths().collect::<Vec<_>>(), ["s3://b/t/metadata/m.avro", "second"]);
        let wrong = [DataFile { partition: vec![Some("x".into())], ..files[0].clone() }];
        let partition = [PartitionField { id: 1000, name: "n".into(), ty: int }];
        assert!(NewManifest { files: &wrong, partition: &partition, ..new }.write().is_err());
    }
}
