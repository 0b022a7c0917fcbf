//! `webhook`: a source whose rows are the payload of the request for the run, or the sample rows of its specs.

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::block::{Block, BlockContext, BlockPlan};
use super::definition::{BlockType, BlockUnderCheck, Problems, Specs};
use super::failure::Failure;
use super::input::{Input, InputError, InputRequest};
use super::row_type::RowType;
use super::spec_types::{InputField, Members};
use crate::service::raw;

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
        let columns = self.input_schema.unwrap_or_default().0.into_iter();
        let required = columns.filter(|(_, field)| field.is_required()).map(|(column, _)| column).collect();
        let fallback = self.webhook_input.filter(|text| !text.trim().is_empty());
        Some(Box::new(Webhook { required, fallback, row_type: self.dataframe_type }))
    }
}

#[derive(Debug)]
struct Webhook {
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
        let (text, origin) = match (request.payload, &self.fallback) {
            (Some(text), _) => (text, "webhook_payload"),
            // Our reading: a run without a payload uses the sample rows of the block, if it has any.
            (None, Some(text)) => (text.as_str(), "webhook_input"),
            (None, None) => {
                let text = "this workflow starts with a webhook block: send webhook_payload";
                return Err(InputError::Refused(text.to_owned()));
            }
        };
        let rows = payload_rows(text, origin, &self.required).map_err(InputError::Refused)?;
        Ok(Input::write_payload(request, &rows)?)
    }

    fn plan(&self, _: &BlockContext<'_>) -> Result<BlockPlan, Failure> {
        Ok(BlockPlan::default())
    }
}

/// Returns the rows of a payload, one line of JSON each. `text` is a list of objects, or one object for one row; an
/// empty list has no rows and is no error. Errors name a row by its JSON path, such as `webhook_payload[0]`.
fn payload_rows(text: &str, origin: &str, required: &[String]) -> Result<Vec<String>, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("{origin} is not valid JSON: {error}"))?;
    let rows = match &value {
        Value::Array(rows) => rows.as_slice(),
        Value::Object(_) => std::slice::from_ref(&value),
        _ => return Err(format!("{origin} must be a list of objects or one object")),
    };
    for (i, row) in rows.iter().enumerate() {
        let path = || if value.is_array() { format!("{origin}[{i}]") } else { origin.to_owned() };
        let Some(row) = row.as_object() else {
            return Err(format!("{} is not an object", path()));
        };
        if let Some(column) = required.iter().find(|column| !row.contains_key(*column)) {
            return Err(format!("{} lacks the required column '{column}'", path()));
        }
    }
    // The rows are cut out of the text, not serialized from the values: numbers keep their digits.
    let texts = if value.is_array() { raw::items(text) } else { Some(vec![text]) };
    let texts = texts.ok_or_else(|| format!("{origin} cannot be split into rows"))?;
    Ok(texts.into_iter().map(raw::on_one_line).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_become_lines() {
        let rows = payload_rows("[{\"n\": 1.10,\n \"s\": \"a b\"}, {\"n\": 2}]", "p", &["n".to_owned()]).unwrap();
        assert_eq!(rows, ["{\"n\":1.10,\"s\":\"a b\"}", "{\"n\":2}"]);
        assert_eq!(payload_rows(" {\"n\": 1} ", "p", &[]).unwrap(), ["{\"n\":1}"]);
        assert!(payload_rows("[]", "p", &["n".to_owned()]).unwrap().is_empty());
        for (text, expected) in [
            ("[{\"m\":1}]", "p[0] lacks the required column 'n'"),
            ("{\"m\":1}", "p lacks the required column 'n'"),
            ("[{\"n\":1}, 2]", "p[1] is not an object"),
            ("3", "p must be a list of objects or one object"),
        ] {
            assert_eq!(payload_rows(text, "p", &["n".to_owned()]).unwrap_err(), expected);
        }
    }

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
