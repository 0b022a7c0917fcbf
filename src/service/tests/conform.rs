//! Conformance of every response in any test with the service's own OpenAPI description: a middleware under the tests,
//! not a test of its own. A response that does not conform is replaced by a 599 with the reason.

use axum::body::{Body, to_bytes};
use axum::extract::{MatchedPath, Request};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::service::contract::{described, validate};

/// Largest JSON response that is validated; it is held in memory.
const MAX_BYTES: usize = 64 << 20;

/// Validates the response of one request.
pub(in crate::service) async fn check(request: Request, next: Next) -> Response {
    let method = request.method().as_str().to_ascii_lowercase();
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let response = next.run(request).await;
    // Unknown paths and methods, and what is not offered, belong to no operation; the page is HTML, and the paths below /admin are optional.
    let is_described = |path: &String| path != "/" && !path.starts_with("/ui/") && !path.starts_with("/admin/");
    let Some(path) = path.filter(is_described) else { return response };
    if [StatusCode::METHOD_NOT_ALLOWED, StatusCode::NOT_IMPLEMENTED].contains(&response.status()) || method == "head" {
        return response;
    }
    let (parts, body) = response.into_parts();
    let media_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let media_type = media_type.split(';').next().unwrap_or("").to_owned();
    let described = described(&path, &method, parts.status.as_u16(), &media_type);
    let (schema, body) = match described {
        Ok(Some(schema)) => {
            let bytes = to_bytes(body, MAX_BYTES).await.expect("a JSON response is finite");
            (Some(schema), Body::from(bytes))
        }
        Ok(None) => (None, body),
        Err(why) => return nonconforming(&method, &path, &why),
    };
    let Some(schema) = schema else { return Response::from_parts(parts, body) };
    let bytes = to_bytes(body, MAX_BYTES).await.expect("it is in memory");
    let value: Value = match serde_json::from_slice(&bytes) {
        Ok(value) => value,
        Err(error) => return nonconforming(&method, &path, &format!("the response is not JSON: {error}")),
    };
    let mut errors = Vec::new();
    validate(schema, &value, "", &mut errors);
    match errors.first() {
        None => Response::from_parts(parts, Body::from(bytes)),
        Some(_) => nonconforming(&method, &path, &errors.join("; ")),
    }
}

fn nonconforming(method: &str, path: &str, why: &str) -> Response {
    let text = format!("the response of {method} {path} does not conform to its description: {why}");
    let status = StatusCode::from_u16(599).unwrap();
    (status, axum::Json(json!({ "detail": text }))).into_response()
}

#[test]
fn the_validator_rejects_nonconforming_responses() {
    let errors = |schema: &str, value: Value| {
        let mut errors = Vec::new();
        validate(&json!({ "$ref": format!("#/components/schemas/{schema}") }), &value, "", &mut errors);
        errors.join("; ")
    };
    let cancelled = json!({ "job_id": "a", "status": "canceled" });
    assert_eq!(errors("RunCancelled", cancelled.clone()), "");
    assert!(errors("RunCancelled", json!({ "job_id": "a", "status": "cancelled" })).contains("/status: is not"));
    assert!(errors("RunCancelled", json!({ "job_id": "a" })).contains("lacks the field status"));
    assert!(errors("RunCancelled", json!({ "job_id": null, "status": "canceled" })).contains("/job_id"));
    let mut more = cancelled;
    more["extra"] = json!(1);
    assert!(errors("RunCancelled", more).contains("extra is not described"));
    assert!(errors("ValidationErrors", json!({ "detail": "text" })).contains("not of type"));
    let undescribed = |method, status, media_type| described("/workflows", method, status, media_type).unwrap_err();
    assert_eq!(undescribed("get", 418, "application/json"), "the status 418 is not described");
    assert_eq!(undescribed("get", 200, "text/html"), "200 as 'text/html' is not described");
    assert_eq!(undescribed("put", 200, "application/json"), "the operation is not described");
}
