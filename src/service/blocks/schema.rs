//! JSON Schemas of block specs: generated from the structs that the specs deserialize into, published by
//! `GET /workflows/blocks`, and interpreted when a workflow is created. So the published schema and the accepted specs
//! cannot differ.
//!
//! The interpreter supports only the keywords that the generated schemas use; a test checks the catalogue against them.
//! `format` is an annotation, as the standard defines it: the syntax of a regular expression or of an expression over
//! columns is not validated here, but by the block that parses it.

use serde_json::{Map, Value};
use utoipa::ToSchema;

/// Returns the JSON Schema of `T`, with the schemas of referenced types inlined. Unknown keys are allowed unless the
/// type says otherwise, because definitions made for the hosted service carry settings that this service does not use.
pub(in crate::service) fn of<T: ToSchema>() -> Value {
    let mut referenced = Vec::new();
    T::schemas(&mut referenced);
    let json = |schema| serde_json::to_value(schema).expect("a schema consists of strings, numbers and lists of them");
    let definitions: Map<String, Value> = referenced.into_iter().map(|(name, schema)| (name, json(schema))).collect();
    let mut schema = json(T::schema());
    inline(&mut schema, &definitions);
    schema
}

/// Replaces every `$ref` in `schema` by the definition that it names, and normalizes descriptions.
fn inline(schema: &mut Value, definitions: &Map<String, Value>) {
    if let Some(members) = schema.as_object_mut() {
        if let Some(reference) = members.remove("$ref") {
            let name = reference.as_str().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
            for (key, value) in definitions[name].as_object().into_iter().flatten() {
                // The description of the field is more specific than that of its type.
                members.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        // Redundant: property names are strings in JSON.
        members.remove("propertyNames");
        if let Some(Value::String(text)) = members.get_mut("description") {
            *text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        }
        if members.contains_key("properties") {
            members.entry("additionalProperties").or_insert(Value::Bool(true));
        }
    }
    match schema {
        Value::Object(members) => members.values_mut().for_each(|value| inline(value, definitions)),
        Value::Array(items) => items.iter_mut().for_each(|value| inline(value, definitions)),
        _ => {}
    }
}

/// Violation of a schema by one value.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::service) struct Problem {
    /// Keys and indices (from 0) that lead to the value.
    pub path: Vec<Value>,
    /// Error type in the vocabulary of the API's framework: `missing`, `string_type`, `enum`.
    pub kind: &'static str,
    /// Rest of a sentence that begins with the path: `must be a string`.
    pub text: String,
    /// Allowed JSON types, if the value has none of them; else empty.
    types: Vec<&'static str>,
}

impl Problem {
    fn new(path: &[Value], kind: &'static str, text: impl Into<String>) -> Self {
        Problem { path: path.to_vec(), kind, text: text.into(), types: Vec::new() }
    }

    fn wrong_type(path: &[Value], types: Vec<&'static str>) -> Self {
        let kind = match types.iter().find(|name| **name != "null") {
            Some(&"string") => "string_type",
            Some(&"integer") => "int_type",
            Some(&"number") => "float_type",
            Some(&"boolean") => "bool_type",
            Some(&"array") => "list_type",
            Some(&"object") => "dict_type",
            _ => "value_error",
        };
        // Null is equivalent to leaving the key out: name it only if it is the sole allowed type.
        let named = types.iter().filter(|name| **name != "null").map(|name| match *name {
            "string" => "a string",
            "integer" => "a whole number",
            "number" => "a number",
            "boolean" => "true or false",
            "array" => "a list",
            _ => "an object",
        });
        let named: Vec<&str> = named.collect();
        let named = if named.is_empty() { "null".to_owned() } else { named.join(" or ") };
        Problem { types, ..Problem::new(path, kind, format!("must be {named}")) }
    }
}

/// Returns all violations of `schema` by `value`; empty if the schema accepts it.
pub(in crate::service) fn check(schema: &Value, value: &Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    Checker { path: Vec::new(), problems: &mut problems }.check(schema, value);
    problems
}

struct Checker<'a> {
    path: Vec<Value>,
    problems: &'a mut Vec<Problem>,
}

impl Checker<'_> {
    fn check(&mut self, schema: &Value, value: &Value) {
        if schema == &Value::Bool(false) {
            return self.refuse("extra_forbidden", "is not allowed");
        }
        if let Some(types) = schema.get("type") {
            let types: Vec<&str> = match types {
                Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
                one => one.as_str().into_iter().collect(),
            };
            if !types.iter().any(|name| is_of(value, name)) {
                let types = types.into_iter().map(type_name).collect();
                return self.problems.push(Problem::wrong_type(&self.path, types));
            }
        }
        let n_before = self.problems.len();
        self.value(schema, value);
        match value {
            Value::Number(_) => self.number(schema, value),
            Value::String(text) => self.text(schema, text),
            Value::Array(items) => self.list(schema, items),
            Value::Object(members) => self.object(schema, members),
            Value::Null | Value::Bool(_) => {}
        }
        // A value that violates the schema itself violates every branch too: report it once.
        if self.problems.len() == n_before {
            self.combined(schema, value);
        }
    }

    fn refuse(&mut self, kind: &'static str, text: impl Into<String>) {
        self.problems.push(Problem::new(&self.path, kind, text));
    }

    /// Checks the member or item of the current value at `part`.
    fn below(&mut self, part: Value, schema: &Value, value: &Value) {
        self.path.push(part);
        self.check(schema, value);
        self.path.pop();
    }

    /// Refuses the member `name` of the current value.
    fn refuse_member(&mut self, name: &str, kind: &'static str, text: impl Into<String>) {
        self.path.push(name.into());
        self.refuse(kind, text);
        self.path.pop();
    }

    /// Returns the violations of another schema by `value`, at the same path, without reporting them.
    fn try_schema(&self, schema: &Value, value: &Value) -> Vec<Problem> {
        let mut problems = Vec::new();
        Checker { path: self.path.clone(), problems: &mut problems }.check(schema, value);
        problems
    }

    fn value(&mut self, schema: &Value, value: &Value) {
        if let Some(allowed) = schema.get("enum").and_then(Value::as_array).filter(|allowed| !allowed.contains(value)) {
            let words: Vec<String> = allowed.iter().filter(|word| !word.is_null()).map(shown).collect();
            self.refuse("enum", format!("must be one of {}", words.join(", ")));
        }
        if let Some(expected) = schema.get("const").filter(|expected| *expected != value) {
            self.refuse("literal_error", format!("must be {}", shown(expected)));
        }
    }

    fn number(&mut self, schema: &Value, value: &Value) {
        let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
        let number = value.as_f64().unwrap_or(f64::NAN);
        if let Some(least) = bound("minimum").filter(|least| number < *least) {
            self.refuse("greater_than_equal", format!("must be {least} or more"));
        }
        if let Some(least) = bound("exclusiveMinimum").filter(|least| number <= *least) {
            self.refuse("greater_than", format!("must be more than {least}"));
        }
        if let Some(most) = bound("maximum").filter(|most| number > *most) {
            self.refuse("less_than_equal", format!("must be {most} or less"));
        }
    }

    fn text(&mut self, schema: &Value, text: &str) {
        if let Some(least) = count(schema, "minLength").filter(|least| text.chars().count() < *least) {
            let text = match least {
                1 => "must not be empty".to_owned(),
                _ => format!("must have at least {least} characters"),
            };
            self.refuse("string_too_short", text);
        }
        if let Some(pattern) = schema.get("pattern").and_then(Value::as_str) {
            let regex = regex::Regex::new(pattern).expect("a test compiles the patterns of all schemas");
            if !regex.is_match(text) {
                let text = match schema.get("title").and_then(Value::as_str) {
                    Some(title) => format!("must be {title}"),
                    None => format!("must match {pattern}"),
                };
                self.refuse("string_pattern_mismatch", text);
            }
        }
    }

    fn list(&mut self, schema: &Value, items: &[Value]) {
        if count(schema, "minItems").is_some_and(|least| items.len() < least) {
            self.refuse("too_short", "must not be empty");
        }
        if let Some(schema) = schema.get("items") {
            for (i, item) in items.iter().enumerate() {
                self.below(i.into(), schema, item);
            }
        }
    }

    fn object(&mut self, schema: &Value, members: &Map<String, Value>) {
        let properties = schema.get("properties").and_then(Value::as_object);
        let known = || properties.into_iter().flat_map(Map::keys).map(String::as_str).collect::<Vec<_>>().join(", ");
        let least = count(schema, "minProperties").unwrap_or(0);
        let most = count(schema, "maxProperties").unwrap_or(usize::MAX);
        if !(least..=most).contains(&members.len()) {
            let n = if least == most { format!("exactly {least}") } else { format!("{least} or more") };
            return self.refuse("value_error", format!("must have {n} of the keys {}", known()));
        }
        for name in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            if !members.contains_key(name) {
                self.refuse_member(name, "missing", "is required");
            }
        }
        for (name, value) in members {
            if let Some(schema) = properties.and_then(|properties| properties.get(name)) {
                self.below(name.as_str().into(), schema, value);
            } else if let Some(rest) = schema.get("additionalProperties") {
                // `false` alone cannot name the valid keys; most refused keys are misspelled ones.
                if rest == &Value::Bool(false) && properties.is_some_and(|properties| !properties.is_empty()) {
                    let text = format!("is not a known key; the keys are {}", known());
                    self.refuse_member(name, "extra_forbidden", text);
                    continue;
                }
                self.below(name.as_str().into(), rest, value);
            }
        }
    }

    fn combined(&mut self, schema: &Value, value: &Value) {
        for schema in branches(schema, "allOf") {
            self.check(schema, value);
        }
        if let Some(when) = schema.get("if") {
            let branch = if self.try_schema(when, value).is_empty() { "then" } else { "else" };
            if let Some(schema) = schema.get(branch) {
                self.check(schema, value);
            }
        }
        if schema.get("not").is_some_and(|not| self.try_schema(not, value).is_empty()) {
            let text = match schema["not"].get("const") {
                Some(value) => format!("must not be {}", shown(value)),
                None => "must not have this form".to_owned(),
            };
            self.refuse("value_error", text);
        }
        for (key, most) in [("anyOf", usize::MAX), ("oneOf", 1)] {
            let tried: Vec<Vec<Problem>> = branches(schema, key).map(|schema| self.try_schema(schema, value)).collect();
            let n_matching = tried.iter().filter(|problems| problems.is_empty()).count();
            if n_matching > most {
                self.refuse("value_error", "matches more than one of the allowed forms");
            } else if n_matching == 0 && !tried.is_empty() {
                let closest = self.closest(tried);
                self.problems.extend(closest);
            }
        }
    }

    /// Returns the violations of the branch that was probably intended: the one whose JSON type the value has.
    fn closest(&self, tried: Vec<Vec<Problem>>) -> Vec<Problem> {
        let has_other_type = |problems: &Vec<Problem>| {
            problems.iter().any(|problem| problem.path == self.path && !problem.types.is_empty())
        };
        let (other, mut intended): (Vec<_>, Vec<_>) = tried.into_iter().partition(has_other_type);
        match intended.len() {
            // No branch has the type: name all types that would do.
            0 => {
                let types = other.iter().flatten().filter(|problem| problem.path == self.path);
                vec![Problem::wrong_type(&self.path, types.flat_map(|problem| problem.types.clone()).collect())]
            }
            1 => intended.remove(0),
            // Several have it: join the first violation of each by "or".
            _ => {
                let firsts: Vec<Problem> =
                    intended.into_iter().filter_map(|problems| problems.into_iter().next()).collect();
                let relative = |problem: &Problem| match problem.path.get(self.path.len()..).unwrap_or_default() {
                    [] => problem.text.clone(),
                    rest => format!("{} {}", dotted(rest), problem.text),
                };
                let rest: Vec<String> = firsts[1..].iter().map(relative).collect();
                let mut first = firsts[0].clone();
                first.text = format!("{}, or {}", first.text, rest.join(", or "));
                vec![first]
            }
        }
    }
}

/// Formats a path as a JSON path: `filters[0].operator`.
pub(in crate::service) fn dotted(path: &[Value]) -> String {
    let mut text = String::new();
    for part in path {
        match part.as_str() {
            Some(name) if text.is_empty() => text.push_str(name),
            Some(name) => text.push_str(&format!(".{name}")),
            None => text.push_str(&format!("[{part}]")),
        }
    }
    text
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn branches<'a>(schema: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    schema.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn count(schema: &Value, key: &str) -> Option<usize> {
    schema.get(key).and_then(Value::as_u64).map(|n| n as usize)
}

fn type_name(name: &str) -> &'static str {
    match name {
        "null" => "null",
        "string" => "string",
        "boolean" => "boolean",
        "object" => "object",
        "array" => "array",
        "integer" => "integer",
        "number" => "number",
        other => panic!("JSON Schema has no type {other}"),
    }
}

fn is_of(value: &Value, name: &str) -> bool {
    match type_name(name) {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "integer" => is_whole(value),
        _ => value.is_number(),
    }
}

/// Returns true for `3`, and for `3.0` and `3e0`, which JSON Schema defines as integers too.
fn is_whole(value: &Value) -> bool {
    value.as_i64().is_some() || value.as_u64().is_some() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(schema: Value, value: Value) -> String {
        let problems = check(&schema, &value);
        let one = |problem: &Problem| format!("{} {}", dotted(&problem.path), problem.text).trim_start().to_owned();
        problems.iter().map(one).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn each_keyword_refuses() {
        for (schema, good, bad, expected) in [
            (json!({ "type": "string" }), json!("a"), json!(1), "must be a string"),
            (json!({ "type": ["array", "null"] }), json!(null), json!({}), "must be a list"),
            (json!({ "type": "integer" }), json!(3.0), json!(3.5), "must be a whole number"),
            (json!({ "type": "boolean" }), json!(true), json!("true"), "must be true or false"),
            (json!({ "enum": ["a", null] }), json!(null), json!("A"), "must be one of a"),
            (json!({ "const": 3 }), json!(3), json!(4), "must be 3"),
            (json!({ "minimum": 0 }), json!(0), json!(-1), "must be 0 or more"),
            (json!({ "exclusiveMinimum": 0 }), json!(0.1), json!(0), "must be more than 0"),
            (json!({ "maximum": 300 }), json!(300), json!(300.5), "must be 300 or less"),
            (json!({ "minLength": 1 }), json!("ø"), json!(""), "must not be empty"),
            (json!({ "pattern": "^a" }), json!("ab"), json!("ba"), "must match ^a"),
            (json!({ "pattern": "^a", "title": "an a" }), json!("ab"), json!("ba"), "must be an a"),
            (json!({ "minItems": 1 }), json!([1]), json!([]), "must not be empty"),
            (json!({ "items": { "type": "string" } }), json!(["a"]), json!(["a", 1]), "[1] must be a string"),
            (json!({ "required": ["a"] }), json!({ "a": null }), json!({}), "a is required"),
            (json!({ "additionalProperties": false }), json!({}), json!({ "a": 1 }), "a is not allowed"),
            (json!({ "additionalProperties": { "type": "null" } }), json!({}), json!({ "a": 1 }), "a must be null"),
            (json!({ "not": { "const": "x" } }), json!("y"), json!("x"), "must not be x"),
            (json!({ "allOf": [{ "type": "string" }] }), json!("y"), json!(1), "must be a string"),
        ] {
            assert_eq!(text(schema.clone(), good), "", "{schema}");
            assert_eq!(text(schema.clone(), bad), expected, "{schema}");
        }
        let one = json!({ "properties": { "a": {}, "b": {} }, "minProperties": 1, "maxProperties": 1 });
        assert_eq!(text(one.clone(), json!({ "a": 1 })), "");
        assert_eq!(text(one.clone(), json!({ "a": 1, "b": 1 })), "must have exactly 1 of the keys a, b");
        assert_eq!(text(one, json!({})), "must have exactly 1 of the keys a, b");
        let closed = json!({ "properties": { "a": {}, "b": {} }, "additionalProperties": false });
        assert_eq!(text(closed, json!({ "c": 1 })), "c is not a known key; the keys are a, b");
    }

    #[test]
    fn then_and_else_apply_by_the_result_of_if() {
        let schema = json!({
            "if": { "properties": { "op": { "const": "in" } }, "required": ["op"] },
            "then": { "required": ["value"] },
            "else": { "required": ["other"] },
        });
        assert_eq!(text(schema.clone(), json!({ "op": "in" })), "value is required");
        assert_eq!(text(schema.clone(), json!({ "op": "eq" })), "other is required");
        assert_eq!(text(schema, json!({ "op": "in", "value": 1 })), "");
    }

    #[test]
    fn the_branch_of_the_values_type_is_reported() {
        let columns = json!({ "oneOf": [
            { "oneOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] },
            { "type": "null" }
        ] });
        assert_eq!(text(columns.clone(), json!(null)), "");
        assert_eq!(text(columns.clone(), json!(["a", 2])), "[1] must be a string");
        assert_eq!(text(columns.clone(), json!(2)), "must be a string or a list");
        assert_eq!(check(&columns, &json!(2))[0].kind, "string_type");
        let either = json!({ "anyOf": [{ "required": ["columns"] }, { "required": ["column"] }] });
        assert_eq!(text(either.clone(), json!({})), "columns is required, or column is required");
        assert_eq!(text(either, json!({ "column": 1 })), "");
        let twice = json!({ "oneOf": [{ "type": "string" }, { "minLength": 1 }] });
        assert_eq!(text(twice, json!("a")), "matches more than one of the allowed forms");
    }
}
