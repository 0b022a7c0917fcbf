//! `send_slack_message`: passes the rows on unchanged. Its specs are not public, so no message is sent.

use serde::Deserialize;
use utoipa::ToSchema;

use super::block::{Block, BlockContext, BlockPlan};
use super::definition::{BlockType, BlockUnderCheck, Problems, Specs};
use super::failure::Failure;

pub(super) const fn block() -> BlockType {
    BlockType::new::<SendSlackMessageSpecs>("send_slack_message")
}

#[derive(Deserialize, ToSchema)]
struct SendSlackMessageSpecs {}

impl Specs for SendSlackMessageSpecs {
    fn into_block(self, _: BlockUnderCheck<'_>, _: &mut Problems<'_>) -> Option<Box<dyn Block>> {
        Some(Box::new(SendSlackMessage))
    }
}

#[derive(Debug)]
struct SendSlackMessage;

impl Block for SendSlackMessage {
    fn plan(&self, _: &BlockContext<'_>) -> Result<BlockPlan, Failure> {
        Ok(BlockPlan::note("no message was sent: the local service passes the rows on unchanged"))
    }
}
