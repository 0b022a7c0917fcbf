//! `outgoing_webhook`: passes the rows on and has the engine send them to the user's address, in one event per run.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::block::{Block, BlockContext, BlockPlan, Delivery, Traces};
use super::definition::{BlockType, BlockUnderCheck, Problems, Specs};
use super::failure::Failure;
use crate::service::webhook::{TIMEOUT, WebhookTarget};

pub(super) const fn block() -> BlockType {
    BlockType::new::<OutgoingWebhookSpecs>("outgoing_webhook")
}

#[derive(Deserialize, ToSchema)]
struct OutgoingWebhookSpecs {
    /// Address that receives the rows, http or https.
    #[schema(format = "uri", pattern = "^https?://[^/?#]")]
    url: String,
    /// Seconds within which the receiver must respond.
    #[schema(exclusive_minimum = 0, maximum = 300, default = 10)]
    timeout_seconds: Option<f64>,
}

impl Specs for OutgoingWebhookSpecs {
    fn refine(schema: &mut Value) {
        schema["properties"]["url"]["title"] = json!("an http or https URL");
    }

    fn into_block(self, _: BlockUnderCheck<'_>, problems: &mut Problems<'_>) -> Option<Box<dyn Block>> {
        // The pattern of the schema checks only the scheme; a port, for example, may still be invalid.
        let Some(url) = url::Url::parse(&self.url).ok().filter(url::Url::has_host) else {
            return problems.refuse_all(&["url".into()], "url_parsing", "must be an http or https URL");
        };
        let timeout = self.timeout_seconds.map_or(TIMEOUT, Duration::from_secs_f64);
        Some(Box::new(OutgoingWebhook { target: WebhookTarget { url: url.into(), timeout } }))
    }
}

#[derive(Debug)]
struct OutgoingWebhook {
    target: WebhookTarget,
}

impl Block for OutgoingWebhook {
    fn plan(&self, _: &BlockContext<'_>) -> Result<BlockPlan, Failure> {
        Ok(BlockPlan { delivery: Delivery::Webhook(self.target.clone()), ..BlockPlan::default() })
    }

    fn traces(&self) -> Traces {
        Traces::OnceBegun
    }
}
