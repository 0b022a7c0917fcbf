//! Response to a request about one person or company, made of its completed run.

use std::io::{self, BufRead as _, BufReader};

use serde_json::{Map, Value, json};

use super::directories::Directories;
use super::private_files;
use super::rows::{BlockRow, ResultFormat, RunRow};
use super::store::Store;
use crate::api::Intelligence;

/// Field with the people of a company.
pub(super) const LEADS: &str = "leads";

/// Returns the response to the request of a completed run. Blocks.
pub(super) fn result(store: &Store, directories: &Directories, run: &RunRow) -> io::Result<Intelligence> {
    let Some(block) = run.blocks.last() else { return Err(io::Error::other("the run has no block")) };
    let job = store.job(&run.id).map_err(io::Error::other)?;
    let graph = job.map(|job| job.graph).unwrap_or_default();
    let specs = graph.blocks.into_iter().find(|block| block.sequence_number == 2).map(|block| block.specs);
    let specs = specs.unwrap_or_default();
    let fields = specs.get("return_fields").and_then(Value::as_object).filter(|fields| !fields.is_empty());
    let mut row = row_of(directories, run, Some(block))?;
    let structured_data: Map<String, Value> = match fields {
        // Without a struct, all that the provider has added.
        None => {
            let given = row_of(directories, run, run.blocks.first())?;
            row.into_iter().filter(|(name, _)| !given.contains_key(name)).collect()
        }
        Some(fields) => {
            let finds_people = specs.get("find_people") == Some(&Value::Bool(true));
            let mut value = |name: &String| match row.remove(name).unwrap_or(Value::Null) {
                Value::Null if finds_people && name == LEADS => json!([]),
                value => value,
            };
            fields.keys().map(|name| (name.clone(), value(name))).collect()
        }
    };
    let is_judged = specs.get("field_confidence") == Some(&Value::Bool(true));
    let confidence = || structured_data.keys().map(|name| (name.clone(), Value::Null)).collect();
    Ok(Intelligence {
        notes: block.note.clone().unwrap_or_default(),
        field_confidence: is_judged.then(confidence),
        structured_data,
        findings: Vec::new(),
        references: Map::new(),
        // Our reading: a table is not judged.
        confidence_score: None,
    })
}

/// Returns the row of a block of a run; empty if there is none.
fn row_of(directories: &Directories, run: &RunRow, block: Option<&BlockRow>) -> io::Result<Map<String, Value>> {
    let file = block.and_then(|block| block.files.iter().find(|file| file.format == ResultFormat::Ndjson));
    let Some(file) = file else { return Ok(Map::new()) };
    let directory = directories.run(&run.id);
    private_files::check_directory(&directory)?;
    let mut line = String::new();
    BufReader::new(private_files::open(&directory.join(file.filename.as_str()))?).read_line(&mut line)?;
    Ok(serde_json::from_str(&line).unwrap_or_default())
}
