//! `search`: a source whose rows a provider finds.

use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::block::{Block, BlockContext, BlockPlan};
use super::definition::{BlockType, BlockUnderCheck, Problems, ProviderKind, Specs};
use super::endpoint::EndpointBatch;
use super::failure::Failure;
use super::input::{Input, InputError, InputRequest};
use super::row_type::RowType;
use super::spec_types::whole;
use crate::service::enrichment_sources::EnrichmentSource;
use crate::transform::{Limit, Step};

const NAME: &str = "search";

pub(super) const fn block() -> BlockType {
    let mut block = BlockType::source::<SearchSpecs>(NAME);
    block.provider = Some(ProviderKind::Rows);
    block
}

#[derive(Deserialize, ToSchema)]
struct SearchSpecs {
    /// Words for the provider to search by.
    #[serde(rename = "query")]
    _query: Option<String>,
    /// No more rows than these.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 0, maximum = 9007199254740991i64)]
    max_results: Option<u64>,
    /// The kind of the rows.
    dataframe_type: Option<RowType>,
}

impl Specs for SearchSpecs {
    fn into_block(self, given: BlockUnderCheck<'_>, _: &mut Problems<'_>) -> Option<Box<dyn Block>> {
        let specs = given.specs.clone();
        Some(Box::new(Search { specs, max_results: self.max_results, rows: self.dataframe_type }))
    }
}

#[derive(Debug)]
struct Search {
    /// All specs, for the provider.
    specs: Map<String, Value>,
    max_results: Option<u64>,
    rows: Option<RowType>,
}

impl Block for Search {
    fn declared_rows(&self) -> Option<RowType> {
        self.rows
    }

    fn input(&self, _: &InputRequest<'_>) -> Result<Input, InputError> {
        Ok(Input::Nothing)
    }

    fn plan(&self, context: &BlockContext<'_>) -> Result<BlockPlan, Failure> {
        let steps: Vec<Step> = self.max_results.map(Limit).map(Step::from).into_iter().collect();
        Ok(match context.sources.get(NAME) {
            Some(EnrichmentSource::Endpoint(provider)) => {
                let ask = EndpointBatch {
                    provider: provider.clone(),
                    block: NAME,
                    specs: self.specs.clone(),
                    fields: None,
                    is_source: true,
                    runtime: context.runtime.clone(),
                };
                BlockPlan { steps, ..BlockPlan::rewrite(ask) }
            }
            Some(EnrichmentSource::Rows(path)) => BlockPlan { table: Some(path.clone()), ..BlockPlan::steps(steps) },
            Some(EnrichmentSource::Table(_)) | None => {
                BlockPlan::note("nothing was searched: this service was started without a provider for search: no rows")
            }
        })
    }
}
