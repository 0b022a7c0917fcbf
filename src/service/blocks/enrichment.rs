//! The enrichment blocks, and those for discovery, the web, social networks and AI: the vendor's providers are not here,
//! so all of them look rows up in a reference table or ask an endpoint of the user's.

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

/// An enrichment block that takes rows of one kind, or of both.
pub(super) const fn block(name: &'static str, takes: Option<RowType>) -> BlockType {
    enriching::<EnrichmentSpecs>(name, takes)
}

/// `find_email`, which has a mode.
pub(super) const fn find_email() -> BlockType {
    enriching::<FindEmailSpecs>("find_email", Some(RowType::Lead))
}

/// An enrichment block that had another name before.
pub(super) const fn renamed(old_name: &'static str, name: &'static str, takes: RowType) -> BlockType {
    let mut block = block(name, Some(takes));
    block.old_name = Some(old_name);
    block
}

/// A block with specs that [`enrich`] takes.
pub(super) const fn enriching<S: Specs>(name: &'static str, takes: Option<RowType>) -> BlockType {
    let mut block = BlockType::new::<S>(name);
    block.takes = takes;
    block.provider = Some(ProviderKind::Columns);
    block
}

#[derive(Deserialize, ToSchema)]
struct EnrichmentSpecs {
    /// Columns to add: for each a description, or an object with description and type. All that the provider has when
    /// absent or empty.
    #[schema(value_type = Option<BTreeMap<String, ReturnFieldSpecs>>)]
    return_fields: Option<Members<ReturnFieldSpecs>>,
}

#[derive(Deserialize, ToSchema)]
struct FindEmailSpecs {
    /// Columns to add, as in the other enrichment blocks.
    #[schema(value_type = Option<BTreeMap<String, ReturnFieldSpecs>>)]
    return_fields: Option<Members<ReturnFieldSpecs>>,
    /// The kind of addresses to look for; for a provider.
    #[serde(rename = "mode")]
    _mode: Option<EmailMode>,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
enum EmailMode {
    Professional,
    Personal,
}

/// A column to add: a description of it, or an object.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(super) enum ReturnFieldSpecs {
    Description(#[expect(dead_code, reason = "for the provider, which gets the specs as they are")] String),
    Described(DescribedReturnField),
}

/// A column to add, described.
#[derive(Deserialize, ToSchema)]
pub(super) struct DescribedReturnField {
    /// For the provider.
    #[serde(rename = "description")]
    _description: Option<String>,
    /// The type of its values, such as `int` or `list[str]`. An unknown one is as good as none.
    #[serde(rename = "type")]
    ty: Option<String>,
}

impl Specs for EnrichmentSpecs {
    fn into_block(self, given: BlockUnderCheck<'_>, _: &mut Problems<'_>) -> Option<Box<dyn Block>> {
        Some(enrich(self.return_fields, given))
    }
}

impl Specs for FindEmailSpecs {
    fn into_block(self, given: BlockUnderCheck<'_>, _: &mut Problems<'_>) -> Option<Box<dyn Block>> {
        Some(enrich(self.return_fields, given))
    }
}

/// The block that adds `return_fields`.
pub(super) fn enrich(return_fields: Option<Members<ReturnFieldSpecs>>, given: BlockUnderCheck<'_>) -> Box<dyn Block> {
    let fields = return_fields.unwrap_or_default().0.into_iter().map(|(name, field)| {
        let word = match &field {
            ReturnFieldSpecs::Description(_) => None,
            ReturnFieldSpecs::Described(field) => field.ty.as_deref(),
        };
        ReturnField { name, ty: word.and_then(Type::from_declared) }
    });
    let fields: Vec<ReturnField> = fields.collect();
    // An empty object asks for nothing in particular.
    let fields = (!fields.is_empty()).then_some(fields);
    Box::new(Enrichment { block: given.block.name, fields, specs: given.specs.clone() })
}

#[derive(Debug)]
struct Enrichment {
    /// The block's name in the catalogue.
    block: &'static str,
    /// Columns to add; `None` adds all of the table.
    fields: Option<Vec<ReturnField>>,
    /// All specs, for a provider.
    specs: Map<String, Value>,
}

impl Block for Enrichment {
    fn plan(&self, context: &BlockContext<'_>) -> Result<BlockPlan, Failure> {
        let Enrichment { block, fields, specs } = self;
        Ok(match context.sources.get(block) {
            Some(EnrichmentSource::Table(table)) => {
                let note = context
                    .lacks(&table.key)
                    .then(|| format!("column '{}' is not in the input: nothing could be looked up", table.key));
                BlockPlan { note, ..BlockPlan::steps(vec![table.lookup(fields.as_deref()).into()]) }
            }
            Some(EnrichmentSource::Endpoint(provider)) => BlockPlan::rewrite(EndpointBatch {
                provider: provider.clone(),
                block,
                specs: specs.clone(),
                fields: fields.clone(),
                is_source: false,
                runtime: context.runtime.clone(),
            }),
            Some(EnrichmentSource::Rows(_)) | None => {
                let hint = format!("no reference table for {block}: this service was started without one");
                match fields {
                    Some(fields) => {
                        let fields = fields.iter().map(|field| field.name.clone()).collect();
                        let lookup = Lookup { fields, key: String::new(), table: None };
                        let note = Some(format!("{hint}; its return_fields are null"));
                        BlockPlan { note, ..BlockPlan::steps(vec![lookup.into()]) }
                    }
                    None => BlockPlan::note(format!("{hint}; rows pass through as they are")),
                }
            }
        })
    }
}
