//! The tables that a load can write: their version, their columns and their partitions. What it cannot write is refused by name,
//! before the first row. Pure.

use std::sync::Arc;

use serde_json::Value;

use super::metadata::TableMetadata;
use super::types::table_columns;
use super::values::same_avro_names;
use crate::warehouse::table_rows::TableColumn;
use crate::warehouse::{LoadError, TableTarget};

/// The format version that is written.
pub(super) const FORMAT_VERSION: i64 = 2;

/// The parts of a table that a load writes by.
pub(super) struct Writable {
    pub(super) columns: Vec<TableColumn>,
    pub(super) partition: Vec<PartitionColumn>,
}

/// A column that divides a table.
pub(super) struct PartitionColumn {
    pub(super) column: Arc<str>,
    pub(super) id: i64,
    pub(super) name: String,
}

impl Writable {
    pub(super) fn partition_by(&self) -> Arc<[Arc<str>]> {
        self.partition.iter().map(|of| of.column.clone()).collect()
    }
}

/// Returns the parts of a table that a load writes by. Fails if it cannot write it.
pub(super) fn writable(metadata: &TableMetadata, target: &TableTarget, may_widen: bool) -> Result<Writable, LoadError> {
    const OTHERWISE: &str = "load into a new table, and insert from it by the engine that made this one";
    let refuse = |what: String, hint: &str| Err(target.refused(what, hint));
    let version = metadata.format_version();
    if version != FORMAT_VERSION {
        let hint = match version < FORMAT_VERSION {
            true => "upgrade it by an engine: ALTER TABLE … SET TBLPROPERTIES ('format-version' = '2')",
            false => OTHERWISE,
        };
        return refuse(format!("it has format version {version}, and drawoff writes {FORMAT_VERSION}"), hint);
    }
    if metadata.property("encryption.key-id").is_some() {
        return refuse("it is encrypted".to_owned(), OTHERWISE);
    }
    let unreadable = |what: &str| LoadError::Refused {
        table: target.name(),
        cause: format!("its metadata cannot be read: {what}"),
        hint: None,
        is_transient: false,
    };
    let schema = metadata.schema().ok_or_else(|| unreadable("it has no current schema"))?;
    let columns =
        table_columns(schema, &metadata.forms(), may_widen).ok_or_else(|| unreadable("its schema is none"))?;
    let spec = metadata.spec().ok_or_else(|| unreadable("it has no partition spec"))?;
    let mut partition = Vec::new();
    for field in spec.get("fields").and_then(Value::as_array).into_iter().flatten() {
        let member = |name: &str| field.get(name).and_then(Value::as_str).unwrap_or_default();
        let source = field.get("source-id").and_then(Value::as_i64);
        let fields = schema.get("fields").and_then(Value::as_array).into_iter().flatten();
        let column =
            fields.filter(|of| of.get("id").and_then(Value::as_i64) == source).find_map(|of| of.get("name")?.as_str());
        let (transform, name) = (member("transform"), member("name"));
        match (transform, column) {
            ("identity", Some(column)) => {
                let id =
                    field.get("field-id").and_then(Value::as_i64).ok_or_else(|| unreadable("a partition has no id"))?;
                partition.push(PartitionColumn { column: column.into(), id, name: name.to_owned() });
            }
            ("identity", None) => {
                return refuse(format!("it is divided by `{name}`, which is a member of an object"), OTHERWISE);
            }
            _ => {
                return refuse(
                    format!("it is divided by {transform} of `{name}`, which drawoff does not compute"),
                    OTHERWISE,
                );
            }
        }
    }
    if let Some((a, b)) = same_avro_names(partition.iter().map(|of| &*of.name)) {
        return refuse(format!("it is divided by `{a}` and `{b}`, which are one name in manifests"), OTHERWISE);
    }
    let found = Writable { columns, partition };
    let (has, asked) = (found.partition_by(), target.files.clone().unwrap_or_default().partition_by);
    if !asked.is_empty() && asked != has {
        let by = |columns: &[Arc<str>]| match columns.is_empty() {
            true => "no column".to_owned(),
            false => columns.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
        };
        return Err(target.unsupported(
            format!("it is divided by {}, and not by {}", by(&has), by(&asked)),
            "leave the partition columns out: a table that exists has its own",
        ));
    }
    Ok(found)
}

/// Fails if a new table cannot be divided by the columns that are asked for, because of their names.
pub(super) fn check_partition_names(target: &TableTarget) -> Result<(), LoadError> {
    let by = target.files.clone().unwrap_or_default().partition_by;
    match same_avro_names(by.iter().map(|name| &**name)) {
        None => Ok(()),
        Some((a, b)) => Err(target.unsupported(
            format!("the partition columns `{a}` and `{b}` have one name in manifests, whose names are of letters, digits and `_`"),
            "rename one, or divide the table by one of them",
        )),
    }
}
