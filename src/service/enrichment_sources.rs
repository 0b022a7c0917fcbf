//! Enrichment sources, which replace the vendor's providers: reference tables in memory, the user's endpoints, and
//! files of rows. `enrich` loads them when the service starts; blocks only read them.

use std::collections::HashMap;
use std::io::{self, BufRead};
use std::path::PathBuf;
use std::sync::Arc;

use super::fields::ReturnField;
use super::provider::Provider;
use super::raw;
use crate::format::ndjson::JsonText;
use crate::transform::Lookup;

/// Sources of all blocks that have one, by name of the block in the catalogue.
#[derive(Default)]
pub(super) struct EnrichmentSources(pub HashMap<&'static str, EnrichmentSource>);

/// Source of the additional columns, or of the rows, of one block.
pub(super) enum EnrichmentSource {
    /// Reference table in memory, joined by a key column.
    Table(ReferenceTable),
    /// The user's HTTP endpoint.
    Endpoint(Arc<Provider>),
    /// File with all rows that a search returns.
    Rows(PathBuf),
}

/// Reference table in memory, with one row per key.
pub(super) struct ReferenceTable {
    /// Name of the key column, both in the table and in the rows to enrich.
    pub key: String,
    /// Names of the other columns, in order of first appearance.
    columns: Vec<String>,
    /// Rows by key: values in the order of `columns`, `None` for null.
    rows: Arc<HashMap<String, Vec<Option<JsonText>>>>,
}

impl EnrichmentSources {
    /// Returns the source of a block by its name in the catalogue; `None` if the configuration has none.
    pub(super) fn get(&self, block: &str) -> Option<&EnrichmentSource> {
        self.0.get(block)
    }
}

impl ReferenceTable {
    /// Reads a table from NDJSON. `None` if it has records and none of them has the key column; an empty table is
    /// valid. Records whose key is null are skipped.
    pub(super) fn read(lines: impl BufRead, key: &str) -> io::Result<Option<Self>> {
        let mut columns: Vec<String> = Vec::new();
        let mut positions: HashMap<String, usize> = HashMap::new();
        let mut rows: HashMap<String, Vec<Option<JsonText>>> = HashMap::new();
        let invalid = |text| io::Error::new(io::ErrorKind::InvalidData, text);
        let mut has_key = false;
        let mut has_records = false;
        for line in lines.lines() {
            let line = line?;
            if line.trim_ascii().is_empty() {
                continue;
            }
            has_records = true;
            let members = raw::members(&line).ok_or_else(|| invalid("a record is not a JSON object"))?;
            // Rows are as long as the columns known so far; all are padded to the same length at the end.
            let mut row = Vec::with_capacity(columns.len());
            let mut row_key = None;
            for (name, value) in members {
                if name == key {
                    has_key = true;
                    row_key = key_text(value);
                    continue;
                }
                let position = *positions.entry(name).or_insert_with_key(|name| {
                    columns.push(name.clone());
                    columns.len() - 1
                });
                if row.len() <= position {
                    row.resize(position + 1, None);
                }
                row[position] = match value {
                    "null" => None,
                    value => Some(JsonText::new(value.to_owned()).ok_or_else(|| invalid("a value is not JSON"))?),
                };
            }
            if let Some(row_key) = row_key {
                // The first row of a duplicate key is kept.
                rows.entry(row_key).or_insert(row);
            }
        }
        if has_records && !has_key {
            return Ok(None);
        }
        for row in rows.values_mut() {
            row.resize(columns.len(), None);
        }
        Ok(Some(ReferenceTable { key: key.to_owned(), columns, rows: Arc::new(rows) }))
    }

    /// Returns the lookup step for `fields`, or for all columns if `None`. A field that the table lacks is null; values
    /// are converted to the types of the fields.
    pub(super) fn lookup(&self, fields: Option<&[ReturnField]>) -> Lookup {
        let is_whole_table = |fields: &&[ReturnField]| {
            fields.iter().all(|field| field.ty.is_none())
                && fields.iter().map(|field| &field.name).eq(self.columns.iter())
        };
        // Without a selection or conversion all runs share one table instead of copying it.
        let Some(fields) = fields.filter(|fields| !is_whole_table(fields)) else {
            let (fields, table) = (self.columns.clone(), Some(Arc::clone(&self.rows)));
            return Lookup { fields, key: self.key.clone(), table };
        };
        let positions: Vec<Option<usize>> =
            fields.iter().map(|field| self.columns.iter().position(|column| *column == field.name)).collect();
        let select = |row: &Vec<Option<JsonText>>| {
            let values = positions.iter().zip(fields);
            values.map(|(position, field)| Some(field.typed(row[(*position)?].as_ref()?))).collect()
        };
        let table = self.rows.iter().map(|(key, row)| (key.clone(), select(row))).collect();
        let names = fields.iter().map(|field| field.name.clone()).collect();
        Lookup { fields: names, key: self.key.clone(), table: Some(Arc::new(table)) }
    }
}

/// Returns the text by which a key is compared: the characters of a string, the JSON text of any other value. `None`
/// for null.
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
    fn a_table_keeps_the_first_row_of_each_key_as_json_text() {
        let table = ReferenceTable::read(LINES.as_bytes(), "domain").unwrap().unwrap();
        let lookup = table.lookup(None);
        assert_eq!(lookup.fields, ["n", "tags", "hq"]);
        let rows = lookup.table.unwrap();
        assert_eq!(rows.len(), 2);
        let text = |t: &str| JsonText::new(t.to_owned());
        assert_eq!(rows["a.test"], [text("12345678901234567890123"), text("[\"x\"]"), None]);
        assert_eq!(rows["7"], [None, None, text("\"Oslo\"")]);
    }

    #[test]
    fn requested_fields_keep_their_order_and_missing_ones_are_null() {
        let table = ReferenceTable::read(LINES.as_bytes(), "domain").unwrap().unwrap();
        let field = |name: &str, ty| ReturnField { name: name.to_owned(), ty };
        let fields = [field("hq", None), field("size", None), field("tags", Type::from_declared("str"))];
        let lookup = table.lookup(Some(&fields));
        assert_eq!(lookup.fields, ["hq", "size", "tags"]);
        let rows = lookup.table.unwrap();
        assert_eq!(rows["7"], [JsonText::new("\"Oslo\"".to_owned()), None, None]);
        assert_eq!(rows["a.test"][2].as_ref().unwrap().as_str(), "\"[\\\"x\\\"]\"");
    }

    #[test]
    fn a_table_needs_its_key_column() {
        assert!(ReferenceTable::read(LINES.as_bytes(), "website").unwrap().is_none());
        assert!(ReferenceTable::read(&b""[..], "website").unwrap().is_some());
        let Err(error) = ReferenceTable::read(&b"[1]\n"[..], "website") else { panic!("a list is no record") };
        assert_eq!(error.to_string(), "a record is not a JSON object");
    }
}
