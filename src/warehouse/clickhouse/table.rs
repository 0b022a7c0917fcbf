//! The table of a load in the catalog: its database, its engine and its columns; and the names of tables beside it.

use sha2::{Digest as _, Sha256};

use super::http::Session;
use super::layout::TableColumn;
use super::sql::{TableName, literal, quoted};
use super::types::ColumnType;
use crate::warehouse::{CommitKey, LedgerRow, LoadError};

/// Bytes of a table's name that names beside it keep: the server names a file after each table.
const MAX_KEPT_BYTES: usize = 100;

/// A table, whether it exists or not.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) database: String,
    pub(super) name: String,
}

/// The definition of a table that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Definition {
    pub(super) columns: Vec<TableColumn>,
    partition_key: String,
    sorting_key: String,
    primary_key: String,
    sampling_key: String,
    storage_policy: String,
    /// Materialized views that read what is inserted.
    pub(super) views: Vec<String>,
}

impl Table {
    /// Reads the name of a table; the database is that of the connection if the name has none.
    pub(super) fn named(session: &Session, typed: &str) -> Result<Self, LoadError> {
        let name = TableName::parse(typed).ok_or_else(|| LoadError::Unsupported {
            table: session.table().to_owned(),
            what: format!("`{typed}` is not the name of a table"),
            hint: Some("name it as `people` or `crm.people`".to_owned()),
        })?;
        let database = name.database.unwrap_or_else(|| session.settings.database.clone());
        Ok(Table { database, name: name.name })
    }

    /// Sets the rows that the table has of an earlier load to none if it is empty. What cannot be read is not known.
    pub(super) fn look_for_rows(&self, session: &Session, row: &mut LedgerRow) {
        let any = session.number(&format!("SELECT count() FROM (SELECT 1 FROM {} LIMIT 1)", self.sql()));
        row.rows_there = (row.rows > 0 && matches!(any, Ok(0))).then_some(0);
    }

    /// Fails if there is no such database, or if it does not make tables in one step for all.
    pub(super) fn check_database(&self, session: &Session) -> Result<(), LoadError> {
        let unsupported = |what: String, hint: String| {
            Err(LoadError::Unsupported { table: session.table().to_owned(), what, hint: Some(hint) })
        };
        let engine =
            session.rows(&format!("SELECT engine FROM system.databases WHERE name = {}", literal(&self.database)))?;
        match engine.first().map(|row| row.text(0)).as_deref() {
            // The latter is the default database of the engine without a server.
            Some("Atomic" | "Overlay") => Ok(()),
            Some(engine) => unsupported(
                format!("its database is of the engine {engine}, in which a load cannot be made once"),
                "load into a table of a database of the engine Atomic, the default, and INSERT … SELECT from there"
                    .into(),
            ),
            None => unsupported(
                format!("there is no database `{}`", self.database),
                format!("create it: CREATE DATABASE {}", quoted(&self.database)),
            ),
        }
    }

    /// Returns the name under which loads are recorded.
    pub(super) fn recorded(&self) -> String {
        format!("{}.{}", self.database, self.name)
    }

    /// Returns the name in SQL.
    pub(super) fn sql(&self) -> String {
        self.sql_of(&self.name)
    }

    /// Returns the name in SQL of another table of its database.
    pub(super) fn sql_of(&self, name: &str) -> String {
        format!("{}.{}", quoted(&self.database), quoted(name))
    }

    /// Returns the beginning of the names of all tables that loads make beside it.
    pub(super) fn beside(&self) -> String {
        if self.name.len() <= MAX_KEPT_BYTES {
            return format!("{}__drawoff_", self.name);
        }
        let mut end = MAX_KEPT_BYTES;
        while !self.name.is_char_boundary(end) {
            end -= 1;
        }
        let hash = crate::text::hex(&Sha256::digest(self.name.as_bytes())[..4]);
        format!("{}_{hash}__drawoff_", &self.name[..end])
    }

    /// Returns the name of a stage that an attempt fills.
    pub(super) fn stage(&self, token: &str, number: usize) -> String {
        format!("{}l_{token}_{number}", self.beside())
    }

    /// Returns the beginning of the names of the complete stages of a load.
    pub(super) fn complete_stages(&self, key: &CommitKey) -> String {
        format!("{}c_{}_", self.beside(), &key.as_str()[..16])
    }

    /// Returns the name of the table by which an attempt claims a key.
    pub(super) fn claim(&self, key: &CommitKey, generation: u64) -> String {
        format!("{}e_{}_{generation}", self.beside(), &key.as_str()[..16])
    }

    /// Reads its definition; `None` if there is no table. Fails for tables into which partitions cannot be moved.
    pub(super) fn definition(&self, session: &Session) -> Result<Option<Definition>, LoadError> {
        self.definition_of(session, &self.name)
    }

    /// Reads the definition of another table of its database.
    pub(super) fn definition_of(&self, session: &Session, name: &str) -> Result<Option<Definition>, LoadError> {
        let rows = session.rows(&format!(
            "SELECT engine, partition_key, sorting_key, primary_key, sampling_key, storage_policy, \
             arrayMap((d, t) -> concat(d, '.', t), dependencies_database, dependencies_table) \
             FROM system.tables WHERE database = {} AND name = {}",
            literal(&self.database),
            literal(name)
        ))?;
        let Some(row) = rows.first() else { return Ok(None) };
        let engine = row.text(0);
        if !engine.ends_with("MergeTree") || engine.starts_with("Replicated") || engine.starts_with("Shared") {
            return Err(LoadError::Unsupported {
                table: session.table().to_owned(),
                what: format!("it is of the engine {engine}, into which partitions cannot be moved once"),
                hint: Some(
                    "load into a table of the engine MergeTree (or ReplacingMergeTree, …) on one server, and INSERT … \
                     SELECT from there"
                        .to_owned(),
                ),
            });
        }
        let columns = session.rows(&format!(
            "SELECT name, type, default_kind, is_in_partition_key + is_in_sorting_key + is_in_primary_key + \
             is_in_sampling_key FROM system.columns WHERE database = {} AND table = {} ORDER BY position",
            literal(&self.database),
            literal(name)
        ))?;
        let columns = columns.iter().map(|row| {
            let (sql, default) = (row.text(1), row.text(2));
            TableColumn {
                name: row.text(0).into(),
                ty: ColumnType::parse(&sql),
                sql,
                has_default: default == "DEFAULT",
                is_computed: !matches!(default.as_str(), "" | "DEFAULT"),
                is_in_key: row.number(3).unwrap_or(0) > 0,
            }
        });
        Ok(Some(Definition {
            columns: columns.collect(),
            partition_key: row.text(1),
            sorting_key: row.text(2),
            primary_key: row.text(3),
            sampling_key: row.text(4),
            storage_policy: row.text(5),
            views: row.texts(6),
        }))
    }
}

impl Definition {
    /// Returns the engine of a stage, out of which partitions move into this table: one that drops no rows.
    pub(super) fn stage_engine(&self) -> String {
        let in_brackets = |key: &str| format!("({key})");
        let mut engine = "ENGINE = MergeTree".to_owned();
        if !self.partition_key.is_empty() {
            engine.push_str(&format!(" PARTITION BY {}", in_brackets(&self.partition_key)));
        }
        if !self.primary_key.is_empty() && self.primary_key != self.sorting_key {
            engine.push_str(&format!(" PRIMARY KEY {}", in_brackets(&self.primary_key)));
        }
        match self.sorting_key.is_empty() {
            true => engine.push_str(" ORDER BY tuple()"),
            false => engine.push_str(&format!(" ORDER BY {}", in_brackets(&self.sorting_key))),
        }
        if !self.sampling_key.is_empty() {
            engine.push_str(&format!(" SAMPLE BY {}", in_brackets(&self.sampling_key)));
        }
        if !matches!(self.storage_policy.as_str(), "" | "default") {
            engine.push_str(&format!(" SETTINGS storage_policy = {}", literal(&self.storage_policy)));
        }
        engine
    }

    pub(super) fn find(&self, name: &str) -> Option<&TableColumn> {
        self.columns.iter().find(|column| *column.name == *name)
    }
}
