//! `search`: a source whose rows are those of the user's endpoint or file. The query is never evaluated here.

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
    /// The search query, passed to a provider.
    #[serde(rename = "query")]
    _query: Option<String>,
    /// Greatest number of rows; unlimited when absent.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 0, maximum = 9007199254740991i64)]
    max_results: Option<u64>,
    /// The type of the rows; inferred from the blocks after it when absent.
    dataframe_type: Option<RowType>,
}

impl Specs for SearchSpecs {
    fn into_block(self, checked: BlockUnderCheck<'_>, _: &mut Problems<'_>) -> Option<Box<dyn Block>> {
        let specs = checked.specs.clone();
        Some(Box::new(Search { specs, max_results: self.max_results, row_type: self.dataframe_type }))
    }
}

#[derive(Debug)]
struct Search {
    /// Complete specs, sent to an endpoint.
    specs: Map<String, Value>,
    max_results: Option<u64>,
    row_type: Option<RowType>,
}

impl Block for Search {
    fn declared_row_type(&self) -> Option<RowType> {
        self.row_type
    }

    fn input(&self, _: &InputRequest<'_>) -> Result<Input, InputError> {
        Ok(Input::Nothing)
    }

    fn plan(&self, context: &BlockContext<'_>) -> Result<BlockPlan, Failure> {
        let steps: Vec<Step> = self.max_results.map(Limit).map(Step::from).into_iter().collect();
        Ok(match context.sources.get(NAME) {
            Some(EnrichmentSource::Endpoint(provider)) => {
                let request = EndpointBatch {
                    provider: provider.clone(),
                    block: NAME,
                    specs: self.specs.clone(),
                    fields: None,
                    is_source: true,
                    runtime: context.runtime.clone(),
                };
                BlockPlan { steps, ..BlockPlan::rewrite(request) }
            }
            Some(EnrichmentSource::Rows(path)) => BlockPlan { table: Some(path.clone()), ..BlockPlan::steps(steps) },
            Some(EnrichmentSource::Table(_)) | None => {
                let remedy = "start the service with a file of rows or an endpoint for this block";
                BlockPlan::note(format!("no enrichment source for {NAME}: it has no rows; {remedy}"))
            }
        })
    }
}
