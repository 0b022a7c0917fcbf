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
    /// The clauses behind the engine, such as `ORDER BY id` and `SETTINGS index_granularity = 8192`.
    clauses: Vec<String>,
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
        let refused = |what: String, hint: String| Err(LoadError::refused(session.table(), what, hint));
        let engine =
            session.rows(&format!("SELECT engine FROM system.databases WHERE name = {}", literal(&self.database)))?;
        match engine.first().map(|row| row.text(0)).as_deref() {
            // The latter is the default database of the engine without a server.
            Some("Atomic" | "Overlay") => Ok(()),
            Some(engine) => refused(
                format!("its database is of the engine {engine}, in which a load cannot be made once"),
                "load into a table of a database of the engine Atomic, the default, and INSERT … SELECT from there"
                    .into(),
            ),
            None => refused(
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
            "SELECT engine, engine_full, \
             arrayMap((d, t) -> concat(d, '.', t), dependencies_database, dependencies_table) \
             FROM system.tables WHERE database = {} AND name = {}",
            literal(&self.database),
            literal(name)
        ))?;
        let Some(row) = rows.first() else { return Ok(None) };
        let engine = row.text(0);
        if !engine.ends_with("MergeTree") || engine.starts_with("Replicated") || engine.starts_with("Shared") {
            return Err(LoadError::refused(
                session.table(),
                format!("it is of the engine {engine}, into which partitions cannot be moved once"),
                "load into a table of the engine MergeTree (or ReplacingMergeTree, …) on one server, and INSERT … SELECT \
                 from there",
            ));
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
        Ok(Some(Definition { columns: columns.collect(), clauses: clauses(&row.text(1)), views: row.texts(2) }))
    }
}

impl Definition {
    /// Returns the engine of a stage, out of which partitions move into this table: one that drops no rows, and with the
    /// settings without which the keys are not allowed.
    pub(super) fn stage_engine(&self) -> String {
        let mut engine = "ENGINE = MergeTree".to_owned();
        for clause in self.clauses.iter().filter(|clause| !clause.starts_with("TTL ")) {
            engine.push(' ');
            engine.push_str(clause);
        }
        engine
    }

    /// Returns the clauses by which rows are partitioned and sorted. Partitions move only between tables that agree in them.
    pub(super) fn order(&self) -> Vec<&str> {
        let is_order = |clause: &&str| !clause.starts_with("TTL ") && !clause.starts_with("SETTINGS ");
        self.clauses.iter().map(String::as_str).filter(is_order).collect()
    }

    pub(super) fn find(&self, name: &str) -> Option<&TableColumn> {
        self.columns.iter().find(|column| *column.name == *name)
    }
}

/// Words with which a clause behind an engine begins, in the server's order.
const CLAUSES: [&str; 6] = ["PARTITION BY ", "PRIMARY KEY ", "ORDER BY ", "SAMPLE BY ", "TTL ", "SETTINGS "];

/// Splits an engine as the server writes it, with its parameters, into the clauses behind it.
fn clauses(engine: &str) -> Vec<String> {
    let mut starts = Vec::new();
    let (mut depth, mut quote) = (0usize, None);
    let mut chars = engine.char_indices();
    while let Some((at, c)) = chars.next() {
        match (quote, c) {
            (Some(_), '\\') => {
                chars.next();
            }
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '`' | '"') => quote = Some(c),
            (None, '(' | '[') => depth += 1,
            (None, ')' | ']') => depth = depth.saturating_sub(1),
            (None, ' ') if depth == 0 => {
                let rest = &engine[at + 1..];
                let known = CLAUSES.iter().position(|clause| rest.starts_with(clause));
                // A word within a clause, such as one of a rule of TTL, is not of an earlier kind.
                if let Some(known) = known.filter(|known| starts.last().is_none_or(|(last, _)| known > last)) {
                    starts.push((known, at + 1));
                }
            }
            _ => {}
        }
    }
    let ends = starts.iter().skip(1).map(|(_, start)| start - 1).chain([engine.len()]);
    starts.iter().zip(ends).map(|((_, start), end)| engine[*start..end].to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clauses_of_an_engine_are_those_outside_of_brackets_and_quotes() {
        let of = |engine: &str| clauses(engine);
        assert_eq!(of("MergeTree ORDER BY tuple()"), ["ORDER BY tuple()"]);
        assert_eq!(
            of("ReplacingMergeTree(ver) PARTITION BY toYYYYMM(d) PRIMARY KEY id ORDER BY (id DESC, ` TTL `) TTL d + \
                toIntervalDay(1) DELETE WHERE x = 'it\\'s ORDER BY ' SETTINGS allow_nullable_key = 1, index_granularity = 8192"),
            [
                "PARTITION BY toYYYYMM(d)",
                "PRIMARY KEY id",
                "ORDER BY (id DESC, ` TTL `)",
                "TTL d + toIntervalDay(1) DELETE WHERE x = 'it\\'s ORDER BY '",
                "SETTINGS allow_nullable_key = 1, index_granularity = 8192",
            ]
        );
        assert!(of("Log").is_empty());
    }
}
