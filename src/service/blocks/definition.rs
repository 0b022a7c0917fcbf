//! A block of the catalogue: its name, the rows that it takes and gives, and the type of its specs. What is published of
//! the specs and what is accepted are both made of that type.

use std::sync::OnceLock;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::block::Block;
use super::row_type::RowType;
use super::schema;
use crate::api::ValidationError;
use crate::service::location::Location;

/// A block of the catalogue.
pub(in crate::service) struct BlockType {
    /// Its name.
    pub name: &'static str,
    /// A name it had before; still accepted.
    pub old_name: Option<&'static str>,
    /// The rows it takes; `None` takes both.
    pub takes: Option<RowType>,
    /// The rows it gives; `None` gives what it takes.
    pub gives: Option<RowType>,
    /// True for blocks that rows come from.
    pub is_source: bool,
    /// The answers of a provider of the user's that can stand in for the vendor's; `None` if none can.
    pub provider: Option<ProviderKind>,
    make_schema: fn() -> Value,
    schema: OnceLock<Value>,
    read: fn(Value, BlockUnderCheck<'_>, &mut Problems<'_>) -> Option<Box<dyn Block>>,
}

/// The answers of a block's provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::service) enum ProviderKind {
    /// Columns of rows that are there.
    Columns,
    /// Rows.
    Rows,
}

/// Specs of a block, as a workflow's definition has them.
///
/// The schema is made of this type, and [`Specs::refine`] adds to it what types do not tell. Everything that the schema
/// accepts can be read: a test draws specs from it.
pub(in crate::service) trait Specs: DeserializeOwned + ToSchema {
    /// Adds conditions between fields to the schema.
    fn refine(_schema: &mut Value) {}

    /// Takes what the block will do from its specs. Problems that no schema tells go to `problems`; then the result is
    /// `None`.
    fn into_block(self, given: BlockUnderCheck<'_>, problems: &mut Problems<'_>) -> Option<Box<dyn Block>>;
}

/// The block that specs are read for.
#[derive(Clone, Copy)]
pub(in crate::service) struct BlockUnderCheck<'a> {
    pub block: &'static BlockType,
    /// The specs with the keys that mean nothing here, for a provider.
    pub specs: &'a Map<String, Value>,
}

impl BlockType {
    /// A block with these specs that takes and gives rows of any kind.
    pub(super) const fn new<S: Specs>(name: &'static str) -> Self {
        BlockType {
            name,
            old_name: None,
            takes: None,
            gives: None,
            is_source: false,
            provider: None,
            make_schema: schema_of::<S>,
            schema: OnceLock::new(),
            read: read_as::<S>,
        }
    }

    /// A block that rows come from.
    pub(super) const fn source<S: Specs>(name: &'static str) -> Self {
        let mut block = BlockType::new::<S>(name);
        block.is_source = true;
        block
    }

    /// JSON Schema of its specs.
    pub(in crate::service) fn schema(&self) -> &Value {
        self.schema.get_or_init(self.make_schema)
    }

    /// Reads its specs. Problems go to `errors`, each with its location below `location` and a text that begins with
    /// `label`, the block's name for people; then the result is `None`.
    pub(in crate::service) fn read(
        &'static self,
        specs: &Map<String, Value>,
        label: &str,
        location: &Location,
        errors: &mut Vec<ValidationError>,
    ) -> Option<Box<dyn Block>> {
        let mut problems = Problems { label, location, errors };
        let value = Value::Object(specs.clone());
        let refused = schema::check(self.schema(), &value);
        if refused.is_empty() {
            return (self.read)(value, BlockUnderCheck { block: self, specs }, &mut problems);
        }
        for problem in refused {
            problems.refuse(&problem.path, problem.kind, &problem.text);
        }
        None
    }
}

impl std::fmt::Debug for BlockType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Collects what is wrong with the specs of one block.
pub(in crate::service) struct Problems<'a> {
    label: &'a str,
    location: &'a Location,
    errors: &'a mut Vec<ValidationError>,
}

impl Problems<'_> {
    /// Says of the value at `path` what is wrong; `text` goes on after its name.
    pub(super) fn refuse(&mut self, path: &[Value], kind: &str, text: &str) {
        let subject = if path.is_empty() { "specs".to_owned() } else { schema::dotted(path) };
        let text = format!("{}: {subject} {text}", self.label);
        self.errors.push(self.location.below(path).invalid(kind, text));
    }

    /// [`Problems::refuse`] for specs that cannot be used then.
    pub(super) fn refuse_all(&mut self, path: &[Value], kind: &str, text: &str) -> Option<Box<dyn Block>> {
        self.refuse(path, kind, text);
        None
    }
}

fn schema_of<S: Specs>() -> Value {
    let mut schema = schema::of::<S>();
    S::refine(&mut schema);
    schema
}

fn read_as<S: Specs>(value: Value, given: BlockUnderCheck<'_>, problems: &mut Problems<'_>) -> Option<Box<dyn Block>> {
    match serde_json::from_value::<S>(value) {
        Ok(specs) => specs.into_block(given, problems),
        // The schema is made of the type, so this is a bug of ours; refused rather than misread.
        Err(error) => problems.refuse_all(&[], "value_error", &format!("cannot be read: {error}")),
    }
}
