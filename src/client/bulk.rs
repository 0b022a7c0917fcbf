//! The start of a bulk job: its file and its settings in one form.

use serde_json::{Map, Value, json};

use super::{Client, Error, IdempotencyKey, ResultFormat, Upload};
use crate::api::{Block, BulkKind, BulkStarted, Graph, routes};
use crate::net::{ApiRequest, Body, Repeatability, RetryBudget};

impl Client {
    /// Starts a bulk job over `upload` with `config`, JSON text. Repeated under one key, so that it starts once whatever
    /// happens to the answers. The answer's `task_id` is the id of a run.
    pub async fn start_bulk(
        &self,
        kind: BulkKind,
        upload: &Upload,
        config: &str,
        key: &IdempotencyKey,
    ) -> Result<BulkStarted, Error> {
        let make = || Ok(upload.form()?.text("config", config.to_owned()));
        let sent = upload.sent();
        let body = Body::Form { make: &make, sent: &sent, total: upload.size_bytes() };
        let mut call = ApiRequest::post(kind.path(), body, Repeatability::Safe).budget(RetryBudget::UPLOAD);
        call.headers.push((routes::IDEMPOTENCY_KEY_HEADER, key.as_str().to_owned()));
        Ok(self.http().json(&call).await?)
    }
}

/// The settings of a job with `formats` asked for besides what they ask for. What is no object stays as it is: the
/// API's own check says more.
pub fn bulk_config(config: &Value, formats: &[ResultFormat]) -> Value {
    let mut config = config.clone();
    let Some(object) = config.as_object_mut() else { return config };
    for format in formats.iter().filter(|format| **format != ResultFormat::Csv) {
        let asked = object.entry("result_formats").or_insert(Value::Null);
        if asked.is_null() {
            *asked = json!([]);
        }
        if let Value::Array(asked) = asked
            && !asked.iter().any(|word| word.as_str() == Some(format.as_str()))
        {
            asked.push(json!(format.as_str()));
        }
    }
    config
}

/// The types that a job's settings declare, in the form of a workflow.
pub fn bulk_graph(config: &Value) -> Graph {
    let fields = config.get("struct").cloned().unwrap_or(Value::Null);
    let block = Block {
        sequence_number: 1,
        block_type: "enrichment".to_owned(),
        block_name: "bulk".to_owned(),
        block_id: None,
        specs: Map::from_iter([("return_fields".to_owned(), fields)]),
    };
    Graph { blocks: vec![block], edges: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_asked_for_once() {
        let formats = [ResultFormat::Ndjson, ResultFormat::Csv];
        let config = |text: &str| bulk_config(&serde_json::from_str(text).unwrap(), &formats).to_string();
        assert_eq!(config(r#"{"tier":"low"}"#), r#"{"tier":"low","result_formats":["ndjson"]}"#);
        assert_eq!(config(r#"{"result_formats":["json"]}"#), r#"{"result_formats":["json","ndjson"]}"#);
        assert_eq!(config(r#"{"result_formats":["ndjson"]}"#), r#"{"result_formats":["ndjson"]}"#);
        assert_eq!(config("[]"), "[]");
    }
}
