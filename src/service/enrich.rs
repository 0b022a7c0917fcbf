//! Reference tables: files that stand in for the providers of enrichment blocks, held in memory.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::catalogue::{self, Role};
use super::config::{Config, EnrichTable};
use super::fields::ReturnField;
use super::provider::{self, Provider};
use super::raw;
use crate::format::{Compression, OutputFormat};
use crate::pipeline::{self, Control, Limits, Output, Plan, SchemaFrom, Target};
use crate::source::Source;
use crate::transform::Lookup;

/// A reference table could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No block of that name looks anything up.
    #[error("no enrichment block is called '{block}'")]
    NoSuchBlock {
        /// The name.
        block: String,
    },
    /// Rows would go over the network in the clear.
    #[error("rows would go to {url} without encryption: only https, or http on this machine, is taken")]
    InTheClear {
        /// The endpoint, without what its query may hold.
        url: String,
    },
    /// There is no HTTP client.
    #[error("no requests can be made")]
    Client(#[source] reqwest::Error),
    /// One block has one table.
    #[error("the block '{block}' is given two providers")]
    TwoTables {
        /// The block.
        block: String,
    },
    /// The file cannot be read.
    #[error("cannot read the reference table {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The file is larger than tables may be.
    #[error("the reference table {} has {size_bytes} bytes, more than the limit of {limit_bytes}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        size_bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// The file's records cannot be read.
    #[error("cannot load the reference table {}", path.display())]
    Records {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: Box<pipeline::Error>,
    },
    /// No record has the key column.
    #[error("the reference table {} has no column '{key}'", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
        /// The column.
        key: String,
    },
}

/// What stands in for the providers of all blocks.
#[derive(Default)]
pub(super) struct Tables(HashMap<&'static str, Standing>);

/// What stands in for one block's provider.
pub(super) enum Standing {
    /// A reference table.
    Table(Table),
    /// An endpoint of the user's.
    Endpoint(Arc<Provider>),
    /// A file of all rows that there are to find.
    Rows(PathBuf),
}

/// One table.
pub(super) struct Table {
    /// Column of the key, here and in the rows.
    pub key: String,
    /// The other columns, in order of first sight.
    columns: Vec<String>,
    /// For each key the values as JSON text, in the order of `columns`.
    rows: Arc<HashMap<String, Vec<Option<String>>>>,
}

impl Tables {
    /// Loads the tables of `config`. `scratch` is a folder for temporary files.
    pub(super) fn load(config: &Config, scratch: &Path) -> Result<Self, Error> {
        let mut tables = HashMap::new();
        for given in &config.enrich {
            let entry = entry(&given.block)?;
            let standing = if entry.role == Role::Search {
                let path = given.path.clone();
                File::open(&path).map_err(|cause| Error::Read { path: path.clone(), cause })?;
                Standing::Rows(path)
            } else {
                Standing::Table(Table::load(given, config.max_enrich_bytes, &config.limits, scratch)?)
            };
            if tables.insert(entry.name, standing).is_some() {
                return Err(Error::TwoTables { block: entry.name.to_owned() });
            }
        }
        for given in &config.endpoints {
            let entry = entry(&given.block)?;
            if !provider::may_be_sent_to(&given.url) {
                let url = format!("{}://{}", given.url.scheme(), given.url.host_str().unwrap_or_default());
                return Err(Error::InTheClear { url });
            }
            let provider = Provider::new(given.url.clone()).map_err(Error::Client)?;
            if tables.insert(entry.name, Standing::Endpoint(Arc::new(provider))).is_some() {
                return Err(Error::TwoTables { block: entry.name.to_owned() });
            }
        }
        Ok(Tables(tables))
    }

    /// What stands in for the block with this name in the catalogue.
    pub(super) fn get(&self, block: &str) -> Option<&Standing> {
        self.0.get(block)
    }
}

fn entry(block: &str) -> Result<&'static catalogue::Entry, Error> {
    let entry = catalogue::find(block).filter(|entry| entry.role.takes_provider());
    entry.ok_or_else(|| Error::NoSuchBlock { block: block.to_owned() })
}

impl Table {
    fn load(given: &EnrichTable, limit_bytes: u64, limits: &Limits, scratch: &Path) -> Result<Self, Error> {
        let path = &given.path;
        let read = |cause: io::Error| Error::Read { path: path.clone(), cause };
        let size_bytes = path.metadata().map_err(read)?.len();
        if size_bytes > limit_bytes {
            return Err(Error::TooLarge { path: path.clone(), size_bytes, limit_bytes });
        }
        // The pipeline reads every format and recognises types, so the table goes through it
        // once; what is left to read here is NDJSON of our own writing.
        let lines = tempfile::Builder::new().suffix(".ndjson").tempfile_in(scratch).map_err(read)?;
        let target = Target::File { path: lines.path().to_owned(), no_clobber: false, append: false };
        let output = Output { format: OutputFormat::Ndjson, compression: Compression::None, target };
        let mut plan = Plan::new(Source::file(path), output);
        plan.schema.from = SchemaFrom::Full;
        plan.limits = limits.clone();
        pipeline::execute(plan, &Control::new())
            .map_err(|cause| Error::Records { path: path.clone(), cause: Box::new(cause) })?;
        // The pipeline renamed its own file over the temporary one: open by name again.
        let file = File::open(lines.path()).map_err(read)?;
        Table::read(BufReader::new(file), &given.key)
            .map_err(read)?
            .ok_or_else(|| Error::NoKey { path: path.clone(), key: given.key.clone() })
    }

    /// Reads NDJSON; `None` if there are records and none has the key column.
    fn read(lines: impl BufRead, key: &str) -> io::Result<Option<Self>> {
        let mut columns: Vec<String> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut rows: HashMap<String, Vec<Option<String>>> = HashMap::new();
        let mut key_seen = false;
        let mut records = false;
        for line in lines.lines() {
            let line = line?;
            if line.trim_ascii().is_empty() {
                continue;
            }
            records = true;
            let members = raw::members(&line)
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a record is not a JSON object"))?;
            let mut row = Vec::with_capacity(columns.len());
            let mut row_key = None;
            for (name, value) in members {
                if name == key {
                    key_seen = true;
                    row_key = key_text(value);
                    continue;
                }
                let place = *places.entry(name).or_insert_with_key(|name| {
                    columns.push(name.clone());
                    columns.len() - 1
                });
                if row.len() <= place {
                    row.resize(place + 1, None);
                }
                row[place] = (value != "null").then(|| value.to_owned());
            }
            if let Some(row_key) = row_key {
                // Of a key that stands twice the first row counts.
                rows.entry(row_key).or_insert(row);
            }
        }
        if records && !key_seen {
            return Ok(None);
        }
        for row in rows.values_mut() {
            row.resize(columns.len(), None);
        }
        Ok(Some(Table { key: key.to_owned(), columns, rows: Arc::new(rows) }))
    }

    /// The look-up of `fields`, or of all columns. A field that the table lacks is null; values take the types that
    /// the fields name.
    pub(super) fn lookup(&self, fields: Option<&[ReturnField]>) -> Lookup {
        let as_they_are = |fields: &&[ReturnField]| {
            fields.iter().all(|field| field.ty.is_none())
                && fields.iter().map(|field| &field.name).eq(self.columns.iter())
        };
        let Some(fields) = fields.filter(|fields| !as_they_are(fields)) else {
            let (fields, table) = (self.columns.clone(), Some(Arc::clone(&self.rows)));
            return Lookup { fields, key: self.key.clone(), table };
        };
        let places: Vec<Option<usize>> =
            fields.iter().map(|field| self.columns.iter().position(|column| *column == field.name)).collect();
        let pick = |row: &Vec<Option<String>>| {
            let values = places.iter().zip(fields);
            values.map(|(place, field)| Some(field.typed(row[(*place)?].as_deref()?).into_owned())).collect()
        };
        let table = self.rows.iter().map(|(key, row)| (key.clone(), pick(row))).collect();
        let names = fields.iter().map(|field| field.name.clone()).collect();
        Lookup { fields: names, key: self.key.clone(), table: Some(Arc::new(table)) }
    }
}

/// The text of a key: a string's characters, anything else as it is written.
fn key_text(value: &str) -> Option<String> {
    if value == "null" {
        return None;
    }
    Some(serde_json::from_str::<String>(value).unwrap_or_else(|_| value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "{\"domain\":\"a.test\",\"n\":12345678901234567890123,\"tags\":[\"x\"]}\n\
        {\"n\":null,\"domain\":7,\"hq\":\"Oslo\"}\n\
        {\"domain\":\"a.test\",\"n\":1}\n\
        {\"domain\":null,\"n\":2}\n";

    #[test]
    fn a_table_holds_the_first_row_of_each_key_as_json_text() {
        let table = Table::read(LINES.as_bytes(), "domain").unwrap().unwrap();
        let lookup = table.lookup(None);
        assert_eq!(lookup.fields, ["n", "tags", "hq"]);
        let rows = lookup.table.unwrap();
        assert_eq!(rows.len(), 2);
        let text = |t: &str| Some(t.to_owned());
        assert_eq!(rows["a.test"], [text("12345678901234567890123"), text("[\"x\"]"), None]);
        assert_eq!(rows["7"], [None, None, text("\"Oslo\"")]);
    }

    #[test]
    fn asked_fields_come_in_their_order_and_absent_ones_are_null() {
        let table = Table::read(LINES.as_bytes(), "domain").unwrap().unwrap();
        let fields = serde_json::json!({ "hq": "Seat", "size": "People", "tags": { "type": "str" } });
        let lookup = table.lookup(Some(&ReturnField::read_all(fields.as_object().unwrap())));
        assert_eq!(lookup.fields, ["hq", "size", "tags"]);
        let rows = lookup.table.unwrap();
        assert_eq!(rows["7"], [Some("\"Oslo\"".to_owned()), None, None]);
        assert_eq!(rows["a.test"][2].as_deref(), Some("\"[\\\"x\\\"]\""));
    }

    #[test]
    fn a_table_needs_its_key_column() {
        assert!(Table::read(LINES.as_bytes(), "website").unwrap().is_none());
        assert!(Table::read(&b""[..], "website").unwrap().is_some());
        assert!(Table::read(&b"[1]\n"[..], "website").is_err());
    }
}
