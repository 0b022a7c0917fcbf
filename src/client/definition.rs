//! Workflow definition files, and the facts that the client derives from a graph: its source block, its declared types,
//! and its equality with another graph. Values only: no calls, and one file read.

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

/// The argument that names a workflow.
#[derive(Clone, Debug, PartialEq)]
pub enum WorkflowArgument {
    /// A definition file, with its contents.
    Definition(Definition),
    /// The id or the exact name of a workflow.
    Named(String),
}

impl WorkflowArgument {
    /// Reads `text` as a definition file if a file of that name holds one, else takes it for an id or a name.
    ///
    /// # Errors
    ///
    /// The error of the file, if `text` ends in `.json` or the file cannot be read.
    pub fn read(text: &str) -> Result<Self, Error> {
        let path = Path::new(text);
        // A name that ends in .json is meant as a file, even if there is none: the error then names the file.
        let means_file = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("json"));
        if means_file || path.is_file() {
            match Definition::read(path) {
                Ok(definition) => return Ok(WorkflowArgument::Definition(definition)),
                // A file that happens to have the name of a workflow.
                Err(Error::Definition { .. }) if !means_file => {}
                Err(error) => return Err(error),
            }
        }
        Ok(WorkflowArgument::Named(text.to_owned()))
    }
}

impl Definition {
    /// Returns a digest of the id, the name and the graph in hexadecimal. Ids and order of blocks, the order of keys, and
    /// the description do not count, for they do not change what a run does.
    pub fn digest(&self) -> String {
        let Definition(CreateWorkflow { id, workflow_name, workflow_definition, .. }) = self;
        let id = id.as_ref().map_or("", |id| id.0.as_str());
        digest_of(&["definition 1", id, workflow_name, &graph_digest(workflow_definition)])
    }

    /// Reads a definition file: the body of `create_workflow`, or a bare graph, which is named after the file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|cause| Error::Read { path: path.to_owned(), cause })?;
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        Definition::parse(&text, &name).map_err(|cause| Error::Definition { path: path.to_owned(), cause })
    }

    /// Parses the text of a definition, as [`Definition::read`] does. `name` is used where the text has none.
    ///
    /// # Examples
    ///
    /// ```
    /// use drawoff::client::Definition;
    ///
    /// let Definition(workflow) = Definition::parse(r#"{"blocks":[],"edges":[]}"#, "empty")?;
    /// assert_eq!(workflow.workflow_name, "empty");
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn parse(text: &str, name: &str) -> Result<Self, serde_json::Error> {
        let mut value: Value = serde_json::from_str(text)?;
        if let Some(fields) = value.as_object_mut() {
            // Only a graph has `blocks` at the top.
            if fields.contains_key("blocks") && !fields.contains_key("workflow_definition") {
                let graph = serde_json::from_value(value)?;
                return Ok(Definition(CreateWorkflow {
                    id: None,
                    workflow_name: name.to_owned(),
                    workflow_description: String::new(),
                    workflow_definition: graph,
                }));
            }
            // Often left out by hand-written files, though the API requires both.
            fields.entry("workflow_description").or_insert_with(|| "".into());
            fields.entry("workflow_name").or_insert_with(|| name.into());
        }
        // Checked by hand, because serde would accept an array as a struct.
        if !value.is_object() {
            let found = json_kind(&value);
            let text = format!("expected an object with `workflow_name` and `workflow_definition`, found {found}");
            return Err(serde_json::Error::custom(text));
        }
        let definition: CreateWorkflow = serde_json::from_value(value)?;
        if definition.workflow_name.trim().is_empty() {
            return Err(serde_json::Error::custom("`workflow_name` is empty"));
        }
        Ok(Definition(definition))
    }
}

fn json_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The kind of input that a workflow's source block takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// A `webhook` block: rows in the request that starts the run.
    Webhook {
        /// True if the definition has sample rows, so that it runs without a payload.
        has_sample: bool,
    },
    /// A `read_csv` block: an uploaded file.
    File {
        /// True if the definition names an uploaded file.
        has_handle: bool,
    },
    /// Another block, by its name. It takes no input.
    Other(String),
}

/// Returns the block without an incoming edge; of several the one with the lowest `sequence_number`; `None` if the
/// graph has no such block.
pub fn source_block(graph: &Graph) -> Option<&Block> {
    let fed: HashSet<&str> = graph.edges.iter().map(|edge| edge.to_block_id.as_str()).collect();
    graph
        .blocks
        .iter()
        // A block without an id cannot be the target of an edge.
        .filter(|block| block.block_id.as_deref().is_none_or(|id| !fed.contains(id)))
        .min_by_key(|block| block.sequence_number)
}

impl SourceKind {
    /// Classifies a source block by its name and its specs.
    pub fn of(block: &Block) -> Self {
        let is_set = |name: &str| block.specs.get(name).is_some_and(|v| !v.is_null() && v.as_str() != Some(""));
        match block.block_name.as_str() {
            "webhook" => SourceKind::Webhook { has_sample: is_set("webhook_input") },
            "read_csv" => SourceKind::File { has_handle: is_set("resource_handle_id") },
            name => SourceKind::Other(name.to_owned()),
        }
    }
}

/// Returns the column types that a workflow declares, in `input_schema` of its source and `return_fields` of its other
/// blocks, in the order of their numbers. A later declaration of a column replaces an earlier one. A field that names
/// no type, such as a bare description, is ignored.
pub fn declared_types(graph: &Graph) -> Schema {
    let mut blocks: Vec<&Block> = graph.blocks.iter().collect();
    blocks.sort_by_key(|block| block.sequence_number);
    // By number, the order in which the blocks run: a later block sees and may redefine earlier columns.
    let mut schema = Schema::default();
    for block in blocks {
        let fields = ["input_schema", "return_fields"].iter().filter_map(|spec| block.specs.get(*spec)?.as_object());
        for (name, field) in fields.flatten() {
            let type_name = field.as_str().or_else(|| field.get("type")?.as_str());
            // `return_fields` may map a name to a bare description, which names no type.
            let Some(ty) = type_name.and_then(Type::from_declared) else { continue };
            match schema.position(name) {
                Some(i) => schema.fields[i].ty = ty,
                None => schema.fields.push(Field::new(name.as_str(), ty)),
            }
        }
    }
    schema
}

/// Returns true if both graphs define the same workflow. Block ids are ignored, because the server replaces them, and
/// so is the order of blocks and edges.
pub fn same_graph(a: &Graph, b: &Graph) -> bool {
    a.blocks.len() == b.blocks.len() && a.edges.len() == b.edges.len() && canonical(a) == canonical(b)
}

/// Returns a digest of `graph` in hexadecimal, equal for graphs that are the same by [`same_graph`], whatever the
/// order of the keys of their specs.
pub fn graph_digest(graph: &Graph) -> String {
    let (blocks, edges) = canonical(graph);
    let blocks = blocks.into_iter().map(|(number, name, category, specs)| {
        serde_json::json!([number, name, category, sorted(&Value::Object(specs.clone()))])
    });
    let edges = edges.into_iter().map(|edge| serde_json::json!(edge));
    digest_of(&[&Value::Array(blocks.chain(edges).collect()).to_string()])
}

/// Returns `value` with the keys of all its objects sorted.
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

/// The compared fields of a block: number, name, type and specs.
type BlockFields<'a> = (i64, &'a str, &'a str, &'a Map<String, Value>);
/// The compared fields of an edge: indexes of its two blocks, and its condition.
type EdgeFields<'a> = (usize, usize, &'a str);

/// Returns the canonical form: blocks sorted by number, edges as sorted pairs of indexes into them.
fn canonical(graph: &Graph) -> (Vec<BlockFields<'_>>, Vec<EdgeFields<'_>>) {
    let mut blocks: Vec<&Block> = graph.blocks.iter().collect();
    blocks.sort_by(|a, b| (a.sequence_number, &a.block_name).cmp(&(b.sequence_number, &b.block_name)));
    let indexes: HashMap<&str, usize> =
        blocks.iter().enumerate().filter_map(|(i, block)| Some((block.block_id.as_deref()?, i))).collect();
    let index_of = |id: &str| indexes.get(id).copied().unwrap_or(usize::MAX);
    let mut edges: Vec<_> = graph
        .edges
        .iter()
        .map(|e| (index_of(&e.from_block_id), index_of(&e.to_block_id), e.condition.as_deref().unwrap_or_default()))
        .collect();
    // Edges have no order of their own.
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
    fn an_invalid_definition_is_explained() {
        let text = |definition: &str| Definition::parse(definition, "file").unwrap_err().to_string();
        assert_eq!(text("[]"), "expected an object with `workflow_name` and `workflow_definition`, found an array");
        let nameless = r#"{"workflow_name":" ","workflow_definition":{"blocks":[],"edges":[]}}"#;
        assert_eq!(text(nameless), "`workflow_name` is empty");
    }

    #[test]
    fn declared_types_come_from_every_block_and_the_last_one_counts() {
        let text = r#"{"edges":[],"blocks":[
            {"sequence_number":2,"block_type":"enrichment","block_name":"lead_enrichment","specs":{"return_fields":{
                "years":{"type":"int","description":"Years in the role"},"email":"Work email","tags":"list[str]","id":"int"}}},
            {"sequence_number":1,"block_type":"io","block_name":"webhook","specs":{"input_schema":{"id":"string"}}}]}"#;
        let schema = declared_types(&serde_json::from_str(text).unwrap());
        let words: Vec<String> = schema.fields.iter().map(|f| format!("{} {}", f.name, f.ty)).collect();
        assert_eq!(words, ["id int", "years int", "tags list<text>"]);
    }
}
