//! Sources of enrichment that stand in for the vendor's providers while the service runs: reference tables in memory,
//! endpoints of the user's, and files of rows. `enrich` loads them, the blocks look things up.

use std::collections::HashMap;
use std::io::{self, BufRead};
use std::path::PathBuf;
use std::sync::Arc;

use super::fields::ReturnField;
use super::provider::Provider;
use super::raw;
use crate::transform::Lookup;

/// The sources of all blocks that have one.
#[derive(Default)]
pub(super) struct EnrichmentSources(pub HashMap<&'static str, EnrichmentSource>);

/// The source of one block's additional columns or rows.
pub(super) enum EnrichmentSource {
    /// A reference table.
    Table(ReferenceTable),
    /// An endpoint of the user's.
    Endpoint(Arc<Provider>),
    /// A file of all rows that there are to find.
    Rows(PathBuf),
}

/// One table.
pub(super) struct ReferenceTable {
    /// Column of the key, here and in the rows.
    pub key: String,
    /// The other columns, in order of first sight.
    columns: Vec<String>,
    /// For each key the values as JSON text, in the order of `columns`.
    rows: Arc<HashMap<String, Vec<Option<String>>>>,
}

impl EnrichmentSources {
    /// The source of the block with this name in the catalogue; `None` if the user named none.
    pub(super) fn get(&self, block: &str) -> Option<&EnrichmentSource> {
        self.0.get(block)
    }
}

impl ReferenceTable {
    /// Reads NDJSON; `None` if there are records and none has the key column.
    pub(super) fn read(lines: impl BufRead, key: &str) -> io::Result<Option<Self>> {
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
        Ok(Some(ReferenceTable { key: key.to_owned(), columns, rows: Arc::new(rows) }))
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
    use crate::column::Type;

    const LINES: &str = "{\"domain\":\"a.test\",\"n\":12345678901234567890123,\"tags\":[\"x\"]}\n\
        {\"n\":null,\"domain\":7,\"hq\":\"Oslo\"}\n\
        {\"domain\":\"a.test\",\"n\":1}\n\
        {\"domain\":null,\"n\":2}\n";

    #[test]
    fn a_table_holds_the_first_row_of_each_key_as_json_text() {
        let table = ReferenceTable::read(LINES.as_bytes(), "domain").unwrap().unwrap();
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
        let table = ReferenceTable::read(LINES.as_bytes(), "domain").unwrap().unwrap();
        let field = |name: &str, ty| ReturnField { name: name.to_owned(), ty };
        let fields = [field("hq", None), field("size", None), field("tags", Type::from_declared("str"))];
        let lookup = table.lookup(Some(&fields));
        assert_eq!(lookup.fields, ["hq", "size", "tags"]);
        let rows = lookup.table.unwrap();
        assert_eq!(rows["7"], [Some("\"Oslo\"".to_owned()), None, None]);
        assert_eq!(rows["a.test"][2].as_deref(), Some("\"[\\\"x\\\"]\""));
    }

    #[test]
    fn a_table_needs_its_key_column() {
        assert!(ReferenceTable::read(LINES.as_bytes(), "website").unwrap().is_none());
        assert!(ReferenceTable::read(&b""[..], "website").unwrap().is_some());
        assert!(ReferenceTable::read(&b"[1]\n"[..], "website").is_err());
    }
}
