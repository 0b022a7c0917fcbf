//! Conformance of every response in any test with the service's own OpenAPI description: a middleware under the tests,
//! not a test of its own. A response that does not conform is replaced by a 599 with the reason.

use std::sync::OnceLock;

use axum::body::{Body, to_bytes};
use axum::extract::{MatchedPath, Request};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::service::openapi;

/// Largest JSON response that is validated; it is held in memory.
const MAX_BYTES: usize = 64 << 20;

/// Validates the response of one request.
pub(in crate::service) async fn check(request: Request, next: Next) -> Response {
    let method = request.method().as_str().to_ascii_lowercase();
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let response = next.run(request).await;
    // Unknown paths and methods belong to no operation; the page is HTML, and the paths below /admin are optional.
    let is_described = |path: &String| path != "/" && !path.starts_with("/ui/") && !path.starts_with("/admin/");
    let Some(path) = path.filter(is_described) else { return response };
    if response.status() == StatusCode::METHOD_NOT_ALLOWED || method == "head" {
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

fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(openapi::document)
}

/// Returns the schema of a response; `None` for one that is not JSON. The error names what is not described.
fn described(path: &str, method: &str, status: u16, media_type: &str) -> Result<Option<&'static Value>, String> {
    let operation = document()["paths"][path].get(method).ok_or("the operation is not described")?;
    let response = operation["responses"].get(status.to_string());
    let response = response.ok_or_else(|| format!("the status {status} is not described"))?;
    match response.get("content") {
        None if media_type.is_empty() => Ok(None),
        None => Err(format!("{status} has no content, but the response is {media_type}")),
        Some(content) => {
            let content = content.get(media_type);
            let content = content.ok_or_else(|| format!("{status} as '{media_type}' is not described"))?;
            Ok(content.get("schema").filter(|_| media_type == "application/json"))
        }
    }
}

/// Validates `value` against the part of JSON Schema that the description uses. Stricter than the standard in one
/// thing: a field that an object's schema does not name is an error, unless the schema names none or allows more.
pub(in crate::service) fn validate(schema: &Value, value: &Value, at: &str, errors: &mut Vec<String>) {
    if schema == &Value::Bool(false) {
        errors.push(format!("{at}: must not be there"));
    }
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let target = document().pointer(reference.trim_start_matches('#')).expect("references are checked elsewhere");
        return validate(target, value, at, errors);
    }
    for (key, most) in [("oneOf", 1), ("anyOf", usize::MAX)] {
        if let Some(choices) = schema.get(key).and_then(Value::as_array) {
            let fitting = choices.iter().filter(|choice| {
                let mut errors = Vec::new();
                validate(choice, value, at, &mut errors);
                errors.is_empty()
            });
            let fitting = fitting.count();
            if fitting == 0 || fitting > most {
                errors.push(format!("{at}: {fitting} of the schemas in {key} fit"));
            }
        }
    }
    let fits = |schema: &Value| {
        let mut errors = Vec::new();
        validate(schema, value, at, &mut errors);
        errors.is_empty()
    };
    for schema in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        validate(schema, value, at, errors);
    }
    if let Some(then) = schema.get("then").filter(|_| fits(&schema["if"])) {
        validate(then, value, at, errors);
    }
    if schema.get("not").is_some_and(fits) {
        errors.push(format!("{at}: is what it must not be: {value}"));
    }
    if let Some(types) = schema.get("type") {
        let is = |name: &str| match name {
            "null" => value.is_null(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "object" => value.is_object(),
            "array" => value.is_array(),
            "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
            "number" => value.is_number(),
            other => panic!("the type {other} is not known to this validator"),
        };
        let fits = match types {
            Value::Array(types) => types.iter().filter_map(Value::as_str).any(is),
            types => is(types.as_str().unwrap()),
        };
        if !fits {
            errors.push(format!("{at}: is not of type {types}: {value}"));
        }
    }
    if let Some(expected) = schema.get("const").filter(|expected| *expected != value) {
        errors.push(format!("{at}: is not {expected}: {value}"));
    }
    if schema.get("enum").and_then(Value::as_array).is_some_and(|values| !values.contains(value)) {
        errors.push(format!("{at}: is none of the values of its schema: {value}"));
    }
    if let (Some(number), Some(least)) = (value.as_f64(), schema.get("minimum").and_then(Value::as_f64))
        && number < least
    {
        errors.push(format!("{at}: is below {least}: {value}"));
    }
    if let (Some(number), Some(most)) = (value.as_f64(), schema.get("maximum").and_then(Value::as_f64))
        && number > most
    {
        errors.push(format!("{at}: is above {most}: {value}"));
    }
    if let (Some(number), Some(least)) = (value.as_f64(), schema.get("exclusiveMinimum").and_then(Value::as_f64))
        && number <= least
    {
        errors.push(format!("{at}: is not above {least}: {value}"));
    }
    if let (Some(text), Some(pattern)) = (value.as_str(), schema.get("pattern").and_then(Value::as_str))
        && !regex::Regex::new(pattern).unwrap().is_match(text)
    {
        errors.push(format!("{at}: does not match {pattern}: {value}"));
    }
    if value.as_str().is_some_and(|text| {
        (text.chars().count() as u64) < schema.get("minLength").and_then(Value::as_u64).unwrap_or(0)
    }) {
        errors.push(format!("{at}: is too short: {value}"));
    }
    if let Some(text) = value.as_str()
        && schema.get("format").and_then(Value::as_str) == Some("date-time")
        && chrono::DateTime::parse_from_rfc3339(text).is_err()
    {
        errors.push(format!("{at}: is not a date-time: {value}"));
    }
    if let Some(object) = value.as_object() {
        let required = schema.get("required").and_then(Value::as_array);
        for name in required.into_iter().flatten().filter_map(Value::as_str) {
            if !object.contains_key(name) {
                errors.push(format!("{at}: lacks the field {name}"));
            }
        }
        let bound = |key: &str| schema.get(key).and_then(Value::as_u64).map(|n| n as usize);
        if bound("minProperties").is_some_and(|least| object.len() < least)
            || bound("maxProperties").is_some_and(|most| object.len() > most)
        {
            errors.push(format!("{at}: has too few or too many members"));
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        for (name, value) in object {
            let named = properties.and_then(|properties| properties.get(name));
            match (named, schema.get("additionalProperties")) {
                (Some(schema), _) | (None, Some(schema)) => validate(schema, value, &format!("{at}/{name}"), errors),
                // A part of a schema, or a condition, which names what it is about.
                (None, None) if properties.is_none() || schema.get("type").is_none() => {}
                (None, None) => errors.push(format!("{at}: the field {name} is not described")),
            }
        }
    }
    let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0);
    if value.as_array().is_some_and(|items| (items.len() as u64) < least) {
        errors.push(format!("{at}: has too few items"));
    }
    if let (Some(items), Some(schema)) = (value.as_array(), schema.get("items")) {
        for (i, value) in items.iter().enumerate() {
            validate(schema, value, &format!("{at}/{i}"), errors);
        }
    }
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
