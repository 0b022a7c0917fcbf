//! `deduplicate`: keeps the first row of each key.

use serde::Deserialize;
use utoipa::ToSchema;

use super::block::{Block, BlockContext, BlockPlan};
use super::definition::{BlockType, BlockUnderCheck, Problems, Specs};
use super::failure::Failure;
use super::spec_types::Columns;
use crate::transform;

pub(super) const fn block() -> BlockType {
    BlockType::new::<DeduplicateSpecs>("deduplicate")
}

#[derive(Deserialize, ToSchema)]
struct DeduplicateSpecs {
    /// The key columns; the whole row when absent or empty. The first row of each key is kept.
    columns: Option<Columns>,
}

impl Specs for DeduplicateSpecs {
    fn into_block(self, _: BlockUnderCheck<'_>, _: &mut Problems<'_>) -> Option<Box<dyn Block>> {
        Some(Box::new(Deduplicate { columns: Columns::names(self.columns) }))
    }
}

#[derive(Debug)]
struct Deduplicate {
    /// Key columns; the whole row when empty.
    columns: Vec<String>,
}

impl Block for Deduplicate {
    fn plan(&self, context: &BlockContext<'_>) -> Result<BlockPlan, Failure> {
        context.require(&self.columns)?;
        Ok(BlockPlan::steps(vec![transform::Deduplicate::by_names(self.columns.clone()).into()]))
    }
}
