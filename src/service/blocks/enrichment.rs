//! Enrichment blocks, and those for discovery, the web, social networks and AI. The vendor's providers are not
//! available locally, so each block looks rows up in a reference table, sends them to the user's endpoint, or passes
//! them unchanged with a note.

use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::block::{Block, BlockContext, BlockPlan};
use super::definition::{BlockType, BlockUnderCheck, Problems, ProviderKind, Specs};
use super::endpoint::EndpointBatch;
use super::failure::Failure;
use super::row_type::RowType;
use super::spec_types::Members;
use crate::column::Type;
use crate::service::enrichment_sources::EnrichmentSource;
use crate::service::fields::ReturnField;
use crate::transform::Lookup;

/// Returns an enrichment block that accepts rows of one type, or of both for `None`.
pub(super) const fn block(name: &'static str, accepts: Option<RowType>) -> BlockType {
    with_specs::<EnrichmentSpecs>(name, accepts)
}

/// Returns `find_email`, whose specs have a `mode`.
pub(super) const fn find_email() -> BlockType {
    with_specs::<FindEmailSpecs>("find_email", Some(RowType::Lead))
}

/// Returns an enrichment block with a former name.
pub(super) const fn renamed(old_name: &'static str, name: &'static str, accepts: RowType) -> BlockType {
    let mut block = block(name, Some(accepts));
    block.old_name = Some(old_name);
    block
}

/// Returns an enrichment block with specs `S`, which should end in [`enrich`].
pub(super) const fn with_specs<S: Specs>(name: &'static str, accepts: Option<RowType>) -> BlockType {
    let mut block = BlockType::new::<S>(name);
    block.accepts = accepts;
    block.provider = Some(ProviderKind::Columns);
    block
}

#[derive(Deserialize, ToSchema)]
struct EnrichmentSpecs {
    /// Columns to add: for each a description, or an object with description and type. All columns of the provider when
    /// absent or empty.
    #[schema(value_type = Option<BTreeMap<String, ReturnFieldSpecs>>)]
    return_fields: Option<Members<ReturnFieldSpecs>>,
}

#[derive(Deserialize, ToSchema)]
struct FindEmailSpecs {
    /// Columns to add, as in the other enrichment blocks.
    #[schema(value_type = Option<BTreeMap<String, ReturnFieldSpecs>>)]
    return_fields: Option<Members<ReturnFieldSpecs>>,
    /// The kind of addresses to find; passed to a provider.
    #[serde(rename = "mode")]
    _mode: Option<EmailMode>,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
enum EmailMode {
    Professional,
    Personal,
}

/// A column to add: its description, or an object.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(super) enum ReturnFieldSpecs {
    Description(#[expect(dead_code, reason = "read by the provider, which receives the unparsed specs")] String),
    Described(DescribedReturnField),
}

/// A column to add as an object.
#[derive(Deserialize, ToSchema)]
pub(super) struct DescribedReturnField {
    /// Description of the values, passed to a provider.
    #[serde(rename = "description")]
    _description: Option<String>,
    /// The type of the values, such as `int` or `list[str]`. An unknown type leaves the values unchanged.
    #[serde(rename = "type")]
    ty: Option<String>,
}

impl Specs for EnrichmentSpecs {
    fn into_block(self, checked: BlockUnderCheck<'_>, _: &mut Problems<'_>) -> Option<Box<dyn Block>> {
        Some(enrich(self.return_fields, checked))
    }
}

impl Specs for FindEmailSpecs {
    fn into_block(self, checked: BlockUnderCheck<'_>, _: &mut Problems<'_>) -> Option<Box<dyn Block>> {
        Some(enrich(self.return_fields, checked))
    }
}

/// Returns the block that adds `return_fields`; all columns of its source when they are absent or empty.
pub(super) fn enrich(return_fields: Option<Members<ReturnFieldSpecs>>, checked: BlockUnderCheck<'_>) -> Box<dyn Block> {
    let fields = return_fields.unwrap_or_default().0.into_iter().map(|(name, field)| {
        let type_name = match &field {
            ReturnFieldSpecs::Description(_) => None,
            ReturnFieldSpecs::Described(field) => field.ty.as_deref(),
        };
        ReturnField { name, ty: type_name.and_then(Type::from_declared) }
    });
    let fields: Vec<ReturnField> = fields.collect();
    // An empty object means the same as an absent one: every column.
    let fields = (!fields.is_empty()).then_some(fields);
    Box::new(Enrichment { block: checked.block.name, fields, specs: checked.specs.clone() })
}

#[derive(Debug)]
struct Enrichment {
    /// Name of the block in the catalogue.
    block: &'static str,
    /// Columns to add; `None` adds all columns of the source.
    fields: Option<Vec<ReturnField>>,
    /// Complete specs, sent to an endpoint.
    specs: Map<String, Value>,
}

impl Block for Enrichment {
    fn plan(&self, context: &BlockContext<'_>) -> Result<BlockPlan, Failure> {
        let Enrichment { block, fields, specs } = self;
        Ok(match context.sources.get(block) {
            Some(EnrichmentSource::Table(table)) => {
                // Not an error: the rows get nulls, as rows whose key is not in the table do.
                let note = context
                    .lacks(&table.key)
                    .then(|| format!("no row was enriched: the key column '{}' is not in the input", table.key));
                BlockPlan { note, ..BlockPlan::steps(vec![table.lookup(fields.as_deref()).into()]) }
            }
            Some(EnrichmentSource::Endpoint(provider)) => {
                let added = fields.iter().flatten().map(|field| &field.name);
                let columns = context.columns.iter().chain(added.filter(|name| !context.columns.contains(name)));
                let batch = EndpointBatch {
                    provider: provider.clone(),
                    block,
                    specs: specs.clone(),
                    fields: fields.clone(),
                    is_source: false,
                    runtime: context.runtime.clone(),
                };
                BlockPlan::rewrite(batch).with_columns(columns.cloned())
            }
            Some(EnrichmentSource::Rows(_)) | None => {
                let missing = format!("no enrichment source for {block}");
                let remedy = "start the service with a reference table or an endpoint for this block";
                match fields {
                    // The columns exist all the same, so that the blocks after this one find them.
                    Some(fields) => {
                        let fields = fields.iter().map(|field| field.name.clone()).collect();
                        let lookup = Lookup { fields, key: String::new(), table: None };
                        let note = Some(format!("{missing}: its return_fields are null; {remedy}"));
                        BlockPlan { note, ..BlockPlan::steps(vec![lookup.into()]) }
                    }
                    None => BlockPlan::note(format!("{missing}: rows pass unchanged; {remedy}")),
                }
            }
        })
    }
}
