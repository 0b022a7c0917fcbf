//! Definition files, and what can be read from a graph.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde::de::Error as _;
use serde_json::{Map, Value};

use super::Error;
use super::digest::digest_of;
use crate::api::{Block, CreateWorkflow, Graph};
use crate::column::{Field, Schema, Type};

/// A workflow definition from a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition(pub CreateWorkflow);

impl Definition {
    /// Reads a definition file: the body of `create_workflow`, or a bare graph, which gets the file's name.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|cause| Error::Read { path: path.to_owned(), cause })?;
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        Definition::parse(&text, &name).map_err(|cause| Error::Definition { path: path.to_owned(), cause })
    }

    /// As [`Definition::read`], from text.
    pub fn parse(text: &str, name: &str) -> Result<Self, serde_json::Error> {
        let mut value: Value = serde_json::from_str(text)?;
        if let Some(fields) = value.as_object_mut() {
            if fields.contains_key("blocks") && !fields.contains_key("workflow_definition") {
                let graph = serde_json::from_value(value)?;
                return Ok(Definition(CreateWorkflow {
                    id: None,
                    workflow_name: name.to_owned(),
                    workflow_description: String::new(),
                    workflow_definition: graph,
                }));
            }
            // People leave it out; the API requires it.
            fields.entry("workflow_description").or_insert_with(|| "".into());
            fields.entry("workflow_name").or_insert_with(|| name.into());
        }
        if !value.is_object() {
            let found = kind_of(&value);
            let text = format!("expected an object with workflow_name and workflow_definition, found {found}");
            return Err(serde_json::Error::custom(text));
        }
        let definition: CreateWorkflow = serde_json::from_value(value)?;
        if definition.workflow_name.trim().is_empty() {
            return Err(serde_json::Error::custom("workflow_name is empty; a workflow needs a name"));
        }
        Ok(Definition(definition))
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// What a workflow's source block takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// `webhook`: rows in the request that starts the run.
    Webhook {
        /// It has sample rows of its own and runs without a payload.
        has_sample: bool,
    },
    /// `read_csv`: an uploaded file.
    File {
        /// The definition names an uploaded file already.
        has_handle: bool,
    },
    /// Another block: takes no input, under this name.
    Other(String),
}

/// The block without an edge into it, of several the one with the lowest number; `None` without blocks.
pub fn source_block(graph: &Graph) -> Option<&Block> {
    let fed: HashSet<&str> = graph.edges.iter().map(|edge| edge.to_block_id.as_str()).collect();
    graph
        .blocks
        .iter()
        .filter(|block| block.block_id.as_deref().is_none_or(|id| !fed.contains(id)))
        .min_by_key(|block| block.sequence_number)
}

impl SourceKind {
    /// Of a block.
    pub fn of(block: &Block) -> Self {
        let filled = |name: &str| block.specs.get(name).is_some_and(|v| !v.is_null() && v.as_str() != Some(""));
        match block.block_name.as_str() {
            "webhook" => SourceKind::Webhook { has_sample: filled("webhook_input") },
            "read_csv" => SourceKind::File { has_handle: filled("resource_handle_id") },
            name => SourceKind::Other(name.to_owned()),
        }
    }
}

/// The types of columns that a workflow declares: `input_schema` of its source, `return_fields` of its other blocks,
/// in the order of their numbers; a later block's word holds. What is no word for a type (a bare description) is
/// passed over.
pub fn declared_types(graph: &Graph) -> Schema {
    let mut blocks: Vec<&Block> = graph.blocks.iter().collect();
    blocks.sort_by_key(|block| block.sequence_number);
    let mut schema = Schema::default();
    for block in blocks {
        let fields = ["input_schema", "return_fields"].iter().filter_map(|spec| block.specs.get(*spec)?.as_object());
        for (name, field) in fields.flatten() {
            let word = field.as_str().or_else(|| field.get("type")?.as_str());
            let Some(ty) = word.and_then(Type::from_declared) else { continue };
            match schema.position(name) {
                Some(i) => schema.fields[i].ty = ty,
                None => schema.fields.push(Field::new(name.as_str(), ty)),
            }
        }
    }
    schema
}

/// True if both graphs say the same. Ids of blocks are left out of account, because the server replaces them, and so
/// is the order of blocks and edges.
pub fn same_graph(a: &Graph, b: &Graph) -> bool {
    a.blocks.len() == b.blocks.len() && a.edges.len() == b.edges.len() && normal(a) == normal(b)
}

/// A digest in hexadecimal of what `graph` says, in the sense of [`same_graph`]; the order of keys is left out too.
pub fn graph_digest(graph: &Graph) -> String {
    let (blocks, edges) = normal(graph);
    let blocks = blocks.into_iter().map(|(number, name, category, specs)| {
        serde_json::json!([number, name, category, sorted(&Value::Object(specs.clone()))])
    });
    let edges = edges.into_iter().map(|edge| serde_json::json!(edge));
    digest_of(&[&Value::Array(blocks.chain(edges).collect()).to_string()])
}

/// `value` with its keys in the order of the alphabet, at every depth.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().map(|(key, value)| (key.clone(), sorted(value))).collect();
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(fields.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

/// What a block says: its number, name, category and settings.
type BlockFields<'a> = (i64, &'a str, &'a str, &'a Map<String, Value>);
/// What an edge says: places of blocks, and its condition.
type EdgeFields<'a> = (usize, usize, &'a str);

/// Blocks in the order of their numbers, edges between places in that order.
fn normal(graph: &Graph) -> (Vec<BlockFields<'_>>, Vec<EdgeFields<'_>>) {
    let mut blocks: Vec<&Block> = graph.blocks.iter().collect();
    blocks.sort_by(|a, b| (a.sequence_number, &a.block_name).cmp(&(b.sequence_number, &b.block_name)));
    let places: HashMap<&str, usize> =
        blocks.iter().enumerate().filter_map(|(i, block)| Some((block.block_id.as_deref()?, i))).collect();
    let place = |id: &str| places.get(id).copied().unwrap_or(usize::MAX);
    let mut edges: Vec<_> = graph
        .edges
        .iter()
        .map(|e| (place(&e.from_block_id), place(&e.to_block_id), e.condition.as_deref().unwrap_or_default()))
        .collect();
    edges.sort_unstable();
    let blocks = blocks
        .into_iter()
        .map(|b| (b.sequence_number, b.block_name.as_str(), b.block_type.as_str(), &b.specs))
        .collect();
    (blocks, edges)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_definition_is_told_in_plain_words() {
        let text = |definition: &str| Definition::parse(definition, "file").unwrap_err().to_string();
        assert_eq!(text("[]"), "expected an object with workflow_name and workflow_definition, found a list");
        let nameless = r#"{"workflow_name":" ","workflow_definition":{"blocks":[],"edges":[]}}"#;
        assert!(text(nameless).starts_with("workflow_name is empty"));
    }

    #[test]
    fn declared_types_come_from_every_block_and_the_last_word_holds() {
        let text = r#"{"edges":[],"blocks":[
            {"sequence_number":2,"block_type":"enrichment","block_name":"lead_enrichment","specs":{"return_fields":{
                "years":{"type":"int","description":"Years in the role"},"email":"Work email","tags":"list[str]","id":"int"}}},
            {"sequence_number":1,"block_type":"io","block_name":"webhook","specs":{"input_schema":{"id":"string"}}}]}"#;
        let schema = declared_types(&serde_json::from_str(text).unwrap());
        let words: Vec<String> = schema.fields.iter().map(|f| format!("{} {}", f.name, f.ty)).collect();
        assert_eq!(words, ["id int", "years int", "tags list<text>"]);
    }
}
