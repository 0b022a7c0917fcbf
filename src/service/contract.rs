//! The contract of the API as the OpenAPI description states it, held against responses: those of this service in tests,
//! and those of the hosted service that stands behind it as a proxy. Messages name places and types, never values, because
//! those are rows of people.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use serde_json::Value;

use super::openapi;

fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(openapi::document)
}

/// Returns the differences of a response from its description, each once: an operation, status, media type or field that
/// is not described, a field that is missing, a value of another type. `body` is the JSON of the response; `None` for
/// another media type.
pub(super) fn differences(
    method: &str,
    path: &str,
    status: u16,
    media_type: &str,
    body: Option<&Value>,
) -> Vec<String> {
    let method = method.to_ascii_lowercase();
    let Some(template) = template_of(&method, path) else {
        return vec!["the operation is not described".to_owned()];
    };
    let schema = match described(template, &method, status, media_type) {
        Ok(schema) => schema,
        Err(why) => return vec![why],
    };
    let (Some(schema), Some(body)) = (schema, body) else { return Vec::new() };
    let mut errors = Vec::new();
    validate(schema, body, "", &mut errors);
    // One line for all items of a list.
    let general = |error: String| {
        let (at, text) = error.split_once(": ").unwrap_or((&error, ""));
        let at: Vec<&str> = at.split('/').map(|part| if part.parse::<usize>().is_ok() { "[]" } else { part }).collect();
        let at = at.join("/");
        format!("{}: {text}", if at.is_empty() { "the body" } else { &at })
    };
    errors.into_iter().map(general).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Returns the path template that a request belongs to, literal ones first; `None` if no operation is described.
fn template_of(method: &str, path: &str) -> Option<&'static str> {
    let parts: Vec<&str> = path.split('/').collect();
    let fits = |template: &str| {
        let of_template: Vec<&str> = template.split('/').collect();
        let is_same = |(part, own): (&&str, &&str)| part == own || part.starts_with('{') && !own.is_empty();
        of_template.len() == parts.len() && of_template.iter().zip(&parts).all(is_same)
    };
    let paths = document()["paths"].as_object()?;
    let fitting = paths.iter().filter(|(template, item)| item.get(method).is_some() && fits(template));
    fitting.map(|(template, _)| template.as_str()).min_by_key(|template| template.matches('{').count())
}

/// Returns the schema of a response; `None` for one that is not JSON. The error names what is not described.
pub(super) fn described(
    path: &str,
    method: &str,
    status: u16,
    media_type: &str,
) -> Result<Option<&'static Value>, String> {
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
pub(super) fn validate(schema: &Value, value: &Value, at: &str, errors: &mut Vec<String>) {
    if schema == &Value::Bool(false) {
        errors.push(format!("{at}: must not be there"));
    }
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let target = document().pointer(reference.trim_start_matches('#'));
        return target.into_iter().for_each(|target| validate(target, value, at, errors));
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
        errors.push(format!("{at}: is what it must not be"));
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
            // A test holds that there are no others.
            _ => false,
        };
        let fits = match types {
            Value::Array(types) => types.iter().filter_map(Value::as_str).any(is),
            types => types.as_str().is_some_and(is),
        };
        if !fits {
            errors.push(format!("{at}: is not of type {}, but {}", type_names(types), type_name(value)));
        }
    }
    if let Some(expected) = schema.get("const").filter(|expected| *expected != value) {
        errors.push(format!("{at}: is not {expected}"));
    }
    if schema.get("enum").and_then(Value::as_array).is_some_and(|values| !values.contains(value)) {
        errors.push(format!("{at}: is none of the values of its schema"));
    }
    if let (Some(number), Some(least)) = (value.as_f64(), schema.get("minimum").and_then(Value::as_f64))
        && number < least
    {
        errors.push(format!("{at}: is below {least}"));
    }
    if let (Some(number), Some(most)) = (value.as_f64(), schema.get("maximum").and_then(Value::as_f64))
        && number > most
    {
        errors.push(format!("{at}: is above {most}"));
    }
    if let (Some(number), Some(least)) = (value.as_f64(), schema.get("exclusiveMinimum").and_then(Value::as_f64))
        && number <= least
    {
        errors.push(format!("{at}: is not above {least}"));
    }
    if let (Some(text), Some(pattern)) = (value.as_str(), schema.get("pattern").and_then(Value::as_str))
        && !regex::Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text))
    {
        errors.push(format!("{at}: does not match {pattern}"));
    }
    if value.as_str().is_some_and(|text| {
        (text.chars().count() as u64) < schema.get("minLength").and_then(Value::as_u64).unwrap_or(0)
    }) {
        errors.push(format!("{at}: is too short"));
    }
    if let Some(text) = value.as_str()
        && schema.get("format").and_then(Value::as_str) == Some("date-time")
        && chrono::DateTime::parse_from_rfc3339(text).is_err()
    {
        errors.push(format!("{at}: is not a date-time"));
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

/// Returns the type of a value in the words of JSON Schema.
fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn type_names(types: &Value) -> String {
    match types {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        types => types.as_str().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn differences_are_named_by_place_and_type_without_values() {
        let found = |method: &str, path: &str, status, body: Value| {
            differences(method, path, status, "application/json", Some(&body))
        };
        let cancelled = json!({ "job_id": "a", "status": "canceled" });
        assert!(found("POST", "/workflows/cancel", 200, cancelled.clone()).is_empty());
        assert_eq!(found("POST", "/workflows/cancel", 202, cancelled), ["the status 202 is not described"]);
        assert_eq!(found("GET", "/workflows/cancel/now", 200, json!({})), ["the operation is not described"]);
        let more = json!({ "job_id": 5, "status": "canceled", "secret-field": "secret-value" });
        assert_eq!(
            found("POST", "/workflows/cancel", 200, more),
            ["/job_id: is not of type string, but number", "the body: the field secret-field is not described"]
        );
        let legacy = json!({ "error": "Not Found", "message": "no" });
        assert!(found("GET", "/workflows/x", 404, legacy).contains(&"the body: lacks the field detail".to_owned()));
        // Once for a whole list.
        let runs = json!([{ "job_id": "a" }, { "job_id": "b" }]);
        let missing = found("GET", "/workflows/runs", 200, runs);
        assert!(missing.contains(&"/[]: lacks the field status".to_owned()) && missing.len() < 20, "{missing:?}");
        assert_eq!(differences("GET", "/workflows", 200, "text/html", None), ["200 as 'text/html' is not described"]);
    }

    #[test]
    fn a_literal_path_goes_before_a_parameter() {
        assert_eq!(template_of("get", "/workflows/runs"), Some("/workflows/runs"));
        assert_eq!(template_of("get", "/workflows/abc"), Some("/workflows/{workflow_id}"));
        assert_eq!(template_of("get", "/workflows/"), None);
        assert_eq!(template_of("put", "/workflows"), None);
    }

    #[test]
    fn the_description_has_no_other_types() {
        fn walk(value: &Value) {
            if let Some(types) = value.get("type").filter(|types| types.is_string() || types.is_array()) {
                for name in types.as_array().unwrap_or(&vec![types.clone()]) {
                    let known = ["null", "string", "boolean", "object", "array", "integer", "number", "apiKey"];
                    assert!(name.as_str().is_none_or(|name| known.contains(&name)), "{name}");
                }
            }
            match value {
                Value::Object(members) => members.values().for_each(walk),
                Value::Array(items) => items.iter().for_each(walk),
                _ => {}
            }
        }
        walk(document());
    }
}
