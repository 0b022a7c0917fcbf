//! `webhook`: a source whose rows are the payload of the request for the run, or the sample rows of its specs.

use serde::Deserialize;
use utoipa::ToSchema;

use super::block::{Block, BlockContext, BlockPlan};
use super::definition::{BlockType, BlockUnderCheck, Problems, Specs};
use super::failure::Failure;
use super::input::{Input, InputError, InputRequest};
use super::row_type::RowType;
use super::spec_types::{InputField, Members};
use crate::column::{Field, Schema, Type};
use crate::service::payload::Payload;

pub(super) const fn block() -> BlockType {
    BlockType::source::<WebhookSpecs>("webhook")
}

#[derive(Deserialize, ToSchema)]
struct WebhookSpecs {
    /// Columns of the payload. Each is required unless its schema has `required: false`.
    #[schema(value_type = Option<BTreeMap<String, InputField>>)]
    input_schema: Option<Members<InputField>>,
    /// JSON text of the rows to use for a run without a payload.
    webhook_input: Option<String>,
    /// The type of the rows; inferred from the blocks after it when absent.
    dataframe_type: Option<RowType>,
}

impl Specs for WebhookSpecs {
    fn into_block(self, _: BlockUnderCheck<'_>, _: &mut Problems<'_>) -> Option<Box<dyn Block>> {
        // Our reading: a declared column is required unless its schema has `required: false`.
        let columns = self.input_schema.unwrap_or_default().0;
        let declared = columns.iter().map(|(column, field)| {
            let ty = field.ty().and_then(Type::from_declared);
            Field::new(column.as_str(), ty.unwrap_or(Type::Text))
        });
        let declared = Schema::new(declared.collect());
        let columns = columns.into_iter();
        let required = columns.filter(|(_, field)| field.is_required()).map(|(column, _)| column).collect();
        let fallback = self.webhook_input.filter(|text| !text.trim().is_empty());
        Some(Box::new(Webhook { declared, required, fallback, row_type: self.dataframe_type }))
    }
}

#[derive(Debug)]
struct Webhook {
    /// Declared columns, which are those of a payload without rows. Others follow the values: JSON has types.
    declared: Schema,
    /// Columns that every row must have.
    required: Vec<String>,
    /// JSON text of the rows of a run without a payload; `None` refuses such a run.
    fallback: Option<String>,
    row_type: Option<RowType>,
}

impl Block for Webhook {
    fn declared_row_type(&self) -> Option<RowType> {
        self.row_type
    }

    fn takes_payload(&self) -> bool {
        true
    }

    fn input(&self, request: &InputRequest<'_>) -> Result<Input, InputError> {
        let payload = match (request.payload.take(), &self.fallback) {
            (Some(payload), _) => payload,
            // Our reading: a run without a payload uses the sample rows of the block, if it has any.
            (None, Some(text)) => Payload::of_text(text, "webhook_input", &request.directories.tmp(), request.limits)?,
            (None, None) => {
                let text = "this workflow starts with a webhook block: send webhook_payload";
                return Err(InputError::Refused(text.to_owned()));
            }
        };
        payload.require(&self.required)?;
        Ok(Input::of_payload(request, payload)?)
    }

    fn plan(&self, context: &BlockContext<'_>) -> Result<BlockPlan, Failure> {
        Ok(BlockPlan { declared: context.is_empty.then(|| self.declared.clone()), ..BlockPlan::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_required_unless_declared_otherwise() {
        let specs: WebhookSpecs = serde_json::from_value(serde_json::json!({
            "input_schema": { "email": "string", "age": { "type": "int", "required": false }, "name": {} },
        }))
        .unwrap();
        let fields = specs.input_schema.unwrap().0;
        let required: Vec<&str> =
            fields.iter().filter(|(_, field)| field.is_required()).map(|(name, _)| name.as_str()).collect();
        assert_eq!(required, ["email", "name"]);
    }
}
