//! `remove_columns`: drops columns. A column that the input lacks is no error.

use serde::Deserialize;
use utoipa::ToSchema;

use super::block::{Block, BlockContext, BlockPlan};
use super::definition::{BlockType, BlockUnderCheck, Problems, Specs};
use super::failure::Failure;
use super::spec_types::Columns;
use crate::transform;

pub(super) const fn block() -> BlockType {
    BlockType::new::<RemoveColumnsSpecs>("remove_columns")
}

#[derive(Deserialize, ToSchema)]
struct RemoveColumnsSpecs {
    /// Columns to drop; missing ones are ignored.
    columns: Columns,
}

impl Specs for RemoveColumnsSpecs {
    fn into_block(self, _: BlockUnderCheck<'_>, _: &mut Problems<'_>) -> Option<Box<dyn Block>> {
        Some(Box::new(RemoveColumns { columns: Columns::names(Some(self.columns)) }))
    }
}

#[derive(Debug)]
struct RemoveColumns {
    columns: Vec<String>,
}

impl Block for RemoveColumns {
    fn plan(&self, _: &BlockContext<'_>) -> Result<BlockPlan, Failure> {
        Ok(BlockPlan::steps(vec![transform::RemoveColumns::by_names(self.columns.clone()).into()]))
    }
}
