//! The start of a bulk job: its input file and its configuration in one multipart form. A started job is a run, which
//! the rest of the client watches and downloads like any other.

use serde_json::{Map, Value, json};

use super::{Client, Error, IdempotencyKey, ResultFormat, RunStart, Upload};
use crate::api::{Block, BulkKind, Graph, routes};
use crate::net::{ApiRequest, Body, Repeatability, RetryBudget};

impl Client {
    /// Starts a bulk job over `upload` with `config`, JSON text. Retries carry the same idempotency key, so that the
    /// job starts only once even if responses are lost. The job is a run.
    pub async fn start_bulk(
        &self,
        kind: BulkKind,
        upload: &Upload,
        config: &str,
        key: &IdempotencyKey,
    ) -> Result<RunStart, Error> {
        // Built anew for each attempt: the stream of the file can be read only once.
        let make = || Ok(upload.form()?.text("config", config.to_owned()));
        let sent = upload.sent();
        let body = Body::Form { make: &make, sent: &sent, total: upload.size_bytes() };
        let mut call = ApiRequest::post(kind.path(), body, Repeatability::Safe).budget(RetryBudget::UPLOAD);
        call.headers.push((routes::IDEMPOTENCY_KEY_HEADER, key.as_str().to_owned()));
        self.send_start(call).await
    }
}

/// Adds `formats` to the `result_formats` of a job's configuration; CSV is always written and not added. A value that
/// is not an object is returned unchanged, because the API reports it better.
pub fn bulk_config(config: &Value, formats: &[ResultFormat]) -> Value {
    let mut config = config.clone();
    let Some(object) = config.as_object_mut() else { return config };
    for format in formats.iter().filter(|format| **format != ResultFormat::Csv) {
        // An explicit null means the same as a missing key. Any other value that is not an array is left to the API.
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

/// Returns a graph of one block that declares the types of a job's `struct`, for
/// [`declared_types`](super::declared_types).
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
