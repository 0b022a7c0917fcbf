//! Entry of the block catalogue: name, accepted and produced row types, and the type of the specs. Both the published
//! JSON Schema and the parsing of specs derive from that type. Nothing here knows what a particular block does.

use std::sync::OnceLock;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::block::Block;
use super::row_type::RowType;
use super::schema;
use crate::api::ValidationError;
use crate::service::location::Location;

/// Block of the catalogue.
pub(in crate::service) struct BlockType {
    /// `block_name` in a workflow definition.
    pub name: &'static str,
    /// Former name, which definitions may still use; `None` for most blocks.
    pub old_name: Option<&'static str>,
    /// Row type that the block accepts; `None` accepts both.
    pub accepts: Option<RowType>,
    /// Row type that the block produces; `None` produces the type of its input.
    pub produces: Option<RowType>,
    /// True for blocks that read the input of a run and have no block before them.
    pub is_source: bool,
    /// Kind of data that a user's provider returns in place of the vendor's; `None` if the block has no provider.
    pub provider: Option<ProviderKind>,
    make_schema: fn() -> Value,
    schema: OnceLock<Value>,
    read: fn(Value, BlockUnderCheck<'_>, &mut Problems<'_>) -> Option<Box<dyn Block>>,
}

/// Kind of data that a block's provider returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::service) enum ProviderKind {
    /// Additional columns for the rows of the input.
    Columns,
    /// New rows, for a source block.
    Rows,
}

/// Specs of a block in a workflow definition.
///
/// The JSON Schema is generated from this type, and [`Specs::refine`] adds constraints that Rust types cannot express.
/// Every value that the schema accepts must deserialize: a property test draws specs from the schema.
pub(in crate::service) trait Specs: DeserializeOwned + ToSchema {
    /// Adds constraints between fields to the generated schema.
    fn refine(_schema: &mut Value) {}

    /// Converts the specs into an executable block. Returns `None` after reporting to `problems` what a schema cannot
    /// express, such as the syntax of an expression.
    fn into_block(self, checked: BlockUnderCheck<'_>, problems: &mut Problems<'_>) -> Option<Box<dyn Block>>;
}

/// Block whose specs are being read.
#[derive(Clone, Copy)]
pub(in crate::service) struct BlockUnderCheck<'a> {
    pub block: &'static BlockType,
    /// The complete specs, including keys unknown to this service: a provider receives all of them.
    pub specs: &'a Map<String, Value>,
}

impl BlockType {
    /// Returns a block with specs `S` that accepts rows of both types and produces the type that it accepts.
    pub(super) const fn new<S: Specs>(name: &'static str) -> Self {
        BlockType {
            name,
            old_name: None,
            accepts: None,
            produces: None,
            is_source: false,
            provider: None,
            make_schema: schema_of::<S>,
            schema: OnceLock::new(),
            read: read_as::<S>,
        }
    }

    /// Returns a source block with specs `S`.
    pub(super) const fn source<S: Specs>(name: &'static str) -> Self {
        let mut block = BlockType::new::<S>(name);
        block.is_source = true;
        block
    }

    /// Returns the JSON Schema of the block's specs, generated at the first call.
    pub(in crate::service) fn schema(&self) -> &Value {
        self.schema.get_or_init(self.make_schema)
    }

    /// Validates and reads `specs`. Returns `None` if they are refused; each problem is then added to `errors` with its
    /// location below `location` and a text that begins with `label`, the block's name in messages.
    pub(in crate::service) fn read(
        &'static self,
        specs: &Map<String, Value>,
        label: &str,
        location: &Location,
        errors: &mut Vec<ValidationError>,
    ) -> Option<Box<dyn Block>> {
        let mut problems = Problems { label, location, errors };
        let value = Value::Object(specs.clone());
        let violations = schema::check(self.schema(), &value);
        if violations.is_empty() {
            return (self.read)(value, BlockUnderCheck { block: self, specs }, &mut problems);
        }
        for violation in violations {
            problems.refuse(&violation.path, violation.kind, &violation.text);
        }
        None
    }
}

impl std::fmt::Debug for BlockType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Collector of the problems in the specs of one block.
pub(in crate::service) struct Problems<'a> {
    label: &'a str,
    location: &'a Location,
    errors: &'a mut Vec<ValidationError>,
}

impl Problems<'_> {
    /// Reports a problem with the value at `path`, which is relative to the specs; `text` continues a sentence that
    /// begins with that path. Indices in the path count from 0, as in JSON.
    pub(super) fn refuse(&mut self, path: &[Value], kind: &str, text: &str) {
        let subject = if path.is_empty() { "specs".to_owned() } else { schema::dotted(path) };
        let text = format!("{}: {subject} {text}", self.label);
        self.errors.push(self.location.below(path).invalid(kind, text));
    }

    /// Reports a problem as [`Problems::refuse`] does and returns `None`, the result of [`Specs::into_block`].
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

fn read_as<S: Specs>(
    value: Value,
    checked: BlockUnderCheck<'_>,
    problems: &mut Problems<'_>,
) -> Option<Box<dyn Block>> {
    match serde_json::from_value::<S>(value) {
        Ok(specs) => specs.into_block(checked, problems),
        // The schema accepted the value and was generated from `S`, so this is a bug in drawoff: refuse, never guess.
        Err(error) => problems.refuse_all(&[], "value_error", &format!("cannot be deserialized: {error}")),
    }
}
