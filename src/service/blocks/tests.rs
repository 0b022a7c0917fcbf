//! Equivalence of the published schemas and of `create_workflow`: what one accepts or refuses, so does the other,
//! judged by a second implementation of JSON Schema.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::string::string_regex;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Map, Value, json};

use super::table::descriptions;
use crate::api::{Graph, ValidationError};
use crate::net::random::mixed;
use crate::service::contract::validate;
use crate::service::graph;
use crate::service::location::Location;

/// Checks a workflow that contains a block with these specs, as `create_workflow` does.
fn create(block: &str, specs: &Value) -> Result<(), Vec<ValidationError>> {
    let is_source = super::find(block).unwrap().is_source;
    let one = |number: u32, name: &str, specs: &Value| {
        json!({ "sequence_number": number, "block_type": "x", "block_name": name,
                "block_id": number.to_string(), "specs": specs })
    };
    let mut blocks = vec![one(2, block, specs)];
    let mut edges = Vec::new();
    if !is_source {
        blocks.insert(0, one(1, "webhook", &json!({})));
        edges.push(json!({ "from_block_id": "1", "to_block_id": "2" }));
    }
    let graph: Graph = serde_json::from_value(json!({ "blocks": blocks, "edges": edges })).unwrap();
    graph::check(graph::with_ids(graph), &Location::root("body")).map(drop)
}

/// Returns true if the published schema accepts these specs.
fn fits(schema: &Value, specs: &Value) -> bool {
    let mut errors = Vec::new();
    validate(schema, specs, "", &mut errors);
    errors.is_empty()
}

/// Returns true if all errors concern what a schema cannot express: the syntax of patterns, expressions and addresses,
/// and duplicate columns. All but the last are at a value with a `format`.
fn is_beyond_schemas(errors: &[ValidationError]) -> bool {
    errors.iter().all(|error| {
        let is = |name: &str| error.loc.iter().any(|part| part == name);
        match error.kind.as_str() {
            "url_parsing" => is("url"),
            "value_error" => {
                is("filters") && is("value") && error.msg.contains("is not a valid regular expression")
                    || is("steps") && error.msg.contains("cannot be parsed: ")
                    || is("aggregations") && error.msg.contains("would produce the duplicate column")
            }
            _ => false,
        }
    })
}

/// Random numbers that depend only on a seed.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mixed(self.0)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    fn word(&mut self) -> String {
        let words = ["email", "Ørsted", "a b", "x", "LEAD", "and", "count", "__create_new__", ""];
        if self.below(3) == 0 { (*self.pick(&words)).to_owned() } else { format!("c{}", self.next() % 100_000) }
    }
}

fn any_json(dice: &mut Dice, depth: usize) -> Value {
    match dice.below(if depth == 0 { 5 } else { 7 }) {
        0 => Value::Null,
        1 => json!(dice.below(2) == 0),
        2 => json!(dice.next() as i64 % 1000),
        3 => json!(dice.below(1000) as f64 / 8.0),
        4 => json!(dice.word()),
        5 => (0..dice.below(3)).map(|_| any_json(dice, depth - 1)).collect(),
        _ => Value::Object((0..dice.below(3)).map(|_| (dice.word(), any_json(dice, depth - 1))).collect()),
    }
}

/// Draws a value that `schema` is likely to accept.
fn draw(schema: &Value, dice: &mut Dice) -> Value {
    if let Some(value) = schema.get("const") {
        return value.clone();
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return dice.pick(values).clone();
    }
    if let Some(forms) = schema.get("oneOf").and_then(Value::as_array) {
        return draw(dice.pick(forms), dice);
    }
    let types: Vec<&str> = match schema.get("type") {
        Some(Value::Array(types)) => types.iter().filter_map(Value::as_str).collect(),
        Some(one) => one.as_str().into_iter().collect(),
        None => return any_json(dice, 2),
    };
    let bound = |key: &str, default: f64| schema.get(key).and_then(Value::as_f64).unwrap_or(default);
    match *dice.pick(&types) {
        "null" => Value::Null,
        "boolean" => json!(dice.below(2) == 0),
        "integer" => {
            let (least, most) = (bound("minimum", -1000.0), bound("maximum", 1000.0));
            let drawn = least + (dice.below(1000) as f64 / 999.0 * (most - least)).trunc();
            if dice.below(2) == 0 { json!(drawn) } else { json!(drawn as i64) }
        }
        "number" => {
            let (least, most) = (bound("exclusiveMinimum", -10.0), bound("maximum", 1000.0));
            json!(least + (dice.below(1000) + 1) as f64 / 1000.0 * (most - least))
        }
        "string" => json!(text(schema, dice)),
        "array" => {
            let least = bound("minItems", 0.0) as usize;
            let items = schema.get("items").cloned().unwrap_or_else(|| json!({ "type": "string" }));
            (0..least + dice.below(3)).map(|_| draw(&items, dice)).collect()
        }
        _ => object(schema, dice),
    }
}

fn text(schema: &Value, dice: &mut Dice) -> String {
    let of = |list: &[&str], dice: &mut Dice| (*dice.pick(list)).to_owned();
    match (schema["format"].as_str(), schema["pattern"].as_str()) {
        (Some("uri"), _) => of(&["http://x", "https://hooks.test/a?b=c", "http://[::1]:8/"], dice),
        (Some("rust-regex"), _) => of(&["^a+$", "", "(?i)x|y", "[0-9]{2}"], dice),
        (Some("drawoff-condition"), _) => of(&["n > 1", "hq.city = 'Oslo' and not a is null"], dice),
        (_, Some(pattern)) => {
            let mut seed = [0; 32];
            seed[..8].copy_from_slice(&dice.next().to_le_bytes());
            let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
            let mut runner = TestRunner::new_with_rng(Config::default(), rng);
            let pattern = pattern.trim_start_matches('^').trim_end_matches('$');
            string_regex(pattern).unwrap().new_tree(&mut runner).unwrap().current()
        }
        _ => dice.word(),
    }
}

fn object(schema: &Value, dice: &mut Dice) -> Value {
    let none = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
    let mut members = Map::new();
    if schema.get("maxProperties").is_some() {
        let names: Vec<&String> = properties.keys().collect();
        let name = *dice.pick(&names);
        // Names of columns have a syntax of their own here.
        let value = match name.as_str() {
            "rename" => json!("a=b"),
            "select" | "drop" => json!(["a", "hq.city"]),
            _ => draw(&properties[name], dice),
        };
        return json!({ name: value });
    }
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, schema) in properties {
        if required.contains(&name.as_str()) || dice.below(2) == 0 {
            members.insert(name.clone(), draw(schema, dice));
        }
    }
    if let Some(rest) = schema.get("additionalProperties") {
        for _ in 0..dice.below(3) {
            let value = if rest.is_boolean() { any_json(dice, 1) } else { draw(rest, dice) };
            members.entry(format!("more {}", dice.below(1000))).or_insert(value);
        }
    }
    for condition in schema["allOf"].as_array().into_iter().flatten() {
        if !fits(&condition["if"], &Value::Object(members.clone())) {
            continue;
        }
        for (name, schema) in condition["then"]["properties"].as_object().into_iter().flatten() {
            members.insert(name.clone(), draw(schema, dice));
        }
    }
    if let Some(forms) = schema.get("anyOf").and_then(Value::as_array) {
        for (name, schema) in dice.pick(forms)["properties"].as_object().into_iter().flatten() {
            members.insert(name.clone(), draw(schema, dice));
        }
    }
    Value::Object(members)
}

/// Changes one member, item or scalar at a random depth of a value.
fn mutate(value: &mut Value, dice: &mut Dice) {
    match value {
        Value::Object(members) if !members.is_empty() && dice.below(6) > 0 => {
            let names: Vec<String> = members.keys().cloned().collect();
            let name = dice.pick(&names);
            match dice.below(5) {
                0 => drop(members.remove(name)),
                1 => drop(members.insert(dice.word(), any_json(dice, 2))),
                _ => mutate(&mut members[name], dice),
            }
        }
        Value::Array(items) if !items.is_empty() && dice.below(4) > 0 => {
            let i = dice.below(items.len());
            mutate(&mut items[i], dice);
        }
        Value::String(text) if dice.below(2) == 0 => *text = text.to_uppercase(),
        Value::Number(_) if dice.below(2) == 0 => *value = json!(-1.5),
        other => *other = any_json(dice, 2),
    }
}

#[test]
fn creation_accepts_exactly_what_the_schema_accepts() {
    for block in descriptions() {
        let (name, schema) = (block.block_name.as_str(), &block.specs_schema);
        let (n_accepted, n_refused) = (Cell::new(0u32), Cell::new(0u32));
        let drawn = |seed: u64| {
            let mut dice = Dice(seed);
            let drawn = (0..100).map(|_| object(schema, &mut dice)).find(|specs| fits(schema, specs));
            (drawn.unwrap_or_else(|| panic!("nothing can be drawn from the schema of {name}")), dice)
        };
        let mut runner = TestRunner::new(Config { cases: 64, failure_persistence: None, ..Config::default() });
        let result = runner.run(&any::<u64>(), |seed| {
            let (specs, mut dice) = drawn(seed);
            if let Err(errors) = create(name, &specs) {
                let is_duplicate = errors.iter().all(|error| error.msg.contains("would produce the duplicate column"));
                prop_assert!(is_duplicate, "{name}: {specs} fits the schema, and is refused: {errors:?}");
            }
            n_accepted.set(n_accepted.get() + 1);
            for _ in 0..8 {
                let mut specs = specs.clone();
                (0..=dice.below(3)).for_each(|_| mutate(&mut specs, &mut dice));
                if !specs.is_object() {
                    continue;
                }
                match (fits(schema, &specs), create(name, &specs)) {
                    (true, Ok(())) => {}
                    (true, Err(errors)) => {
                        prop_assert!(is_beyond_schemas(&errors), "{name}: {specs} fits the schema: {errors:?}");
                    }
                    (false, Ok(())) => prop_assert!(false, "{name}: {specs} does not fit the schema, and is created"),
                    (false, Err(errors)) => {
                        n_refused.set(n_refused.get() + 1);
                        let label = format!("block 2 ({name}): ");
                        for error in errors {
                            // The specs are at body.blocks.N.specs.
                            prop_assert_eq!(error.loc.get(3), Some(&json!("specs")), "{:?}", error);
                            let reason = error.msg.strip_prefix(&label);
                            prop_assert!(reason.is_some_and(|reason| reason.contains(' ')), "{:?}", error);
                        }
                    }
                }
            }
            Ok(())
        });
        result.unwrap();
        let takes_anything = schema.get("properties").is_none();
        assert!(n_accepted.get() >= 64 && (takes_anything || n_refused.get() > 0), "{name}: {n_refused:?} refusals");
    }
}

#[test]
fn edge_specs_are_accepted_by_both_or_by_neither() {
    let one = |condition: Value| json!({ "filters": [condition] });
    for (block, specs, is_accepted) in [
        ("webhook", json!({}), true),
        ("webhook", json!({ "input_schema": null, "webhook_input": null, "dataframe_type": null }), true),
        ("webhook", json!({ "input_schema": { "a": "string", "b": { "type": "int", "required": false } } }), true),
        ("webhook", json!({ "input_schema": { "a": 1 } }), false),
        ("webhook", json!({ "input_schema": { "a": { "required": "no" } } }), false),
        ("webhook", json!({ "input_schema": [] }), false),
        ("webhook", json!({ "webhook_input": [{ "a": 1 }] }), false),
        ("webhook", json!({ "dataframe_type": "lead" }), false),
        ("webhook", json!({ "dataframe_type": "COMPANY", "sample_size": 3 }), true),
        ("read_csv", json!({ "resource_handle_id": "" }), true),
        ("read_csv", json!({ "resource_handle_id": 3 }), false),
        ("read_csv", json!({ "input_schema": { "a": "date" } }), false),
        ("read_csv", json!({ "input_schema": { "a": { "type": "date" } } }), false),
        ("read_csv", json!({ "input_schema": { "a": "list[list[int]]", "b": { "description": "free" } } }), true),
        ("read_csv", json!({ "columns": "a" }), true),
        ("read_csv", json!({ "columns": [1] }), false),
        ("read_notebook", json!({}), false),
        ("read_notebook", json!({ "notebook_id": "" }), false),
        ("read_notebook", json!({ "notebook_id": "__create_new__" }), false),
        ("read_notebook", json!({ "notebook_id": "n" }), true),
        ("search", json!({ "query": 5 }), false),
        ("search", json!({ "max_results": 3.0 }), true),
        ("search", json!({ "max_results": 3.5 }), false),
        ("search", json!({ "max_results": -1 }), false),
        ("search", json!({ "max_results": "3" }), false),
        ("search", json!({ "max_results": null, "auto_execute": true }), true),
        ("lead_enrichment", json!({ "return_fields": { "a": "text", "b": { "type": "int" } } }), true),
        ("lead_enrichment", json!({ "return_fields": { "a": 5 } }), false),
        ("lead_enrichment", json!({ "return_fields": { "a": null } }), false),
        ("lead_enrichment", json!({ "return_fields": { "a": { "type": ["int"] } } }), false),
        ("lead_enrichment", json!({ "return_fields": [] }), false),
        ("lead_enrichment", json!({ "return_fields": null, "tier": "low" }), true),
        ("find_email", json!({ "mode": "PERSONAL" }), true),
        ("find_email", json!({ "mode": "private" }), false),
        ("filter", json!({}), false),
        ("filter", json!({ "filters": null }), false),
        ("filter", json!({ "filters": [] }), true),
        ("filter", one(json!({ "column": "a", "operator": "equals" })), false),
        ("filter", one(json!({ "column": "a", "operator": "equals", "value": null })), true),
        ("filter", one(json!({ "column": "a", "operator": "is_empty" })), true),
        ("filter", one(json!({ "column": "a", "operator": "greater", "value": [1] })), false),
        ("filter", one(json!({ "column": "a", "operator": "in", "value": 1 })), true),
        ("filter", one(json!({ "column": "a", "operator": "in", "value": {} })), false),
        ("filter", one(json!({ "column": "a", "operator": "matches", "value": 1 })), false),
        ("filter", one(json!({ "column": "a", "operator": "EQUALS", "value": 1 })), false),
        ("filter", one(json!({ "column": "a", "operator": "is_empty", "logic": "AND" })), false),
        ("filter", one(json!({ "column": "a", "operator": "is_empty", "logic": null })), true),
        ("filter", one(json!({ "operator": "is_empty" })), false),
        ("filter", json!({ "filters": [3] }), false),
        ("deduplicate", json!({ "columns": null }), true),
        ("deduplicate", json!({ "columns": "email" }), true),
        ("deduplicate", json!({ "columns": { "a": 1 } }), false),
        ("remove_columns", json!({}), false),
        ("remove_columns", json!({ "columns": null }), false),
        ("remove_columns", json!({ "columns": "a" }), true),
        ("group_by", json!({}), false),
        ("group_by", json!({ "columns": [] }), false),
        ("group_by", json!({ "column": "a" }), true),
        ("group_by", json!({ "columns": null, "column": "a" }), true),
        ("group_by", json!({ "columns": null, "column": null }), false),
        ("group_by", json!({ "columns": "a", "aggregations": { "s": ["min", "avg"], "t": "list" } }), true),
        ("group_by", json!({ "columns": "a", "aggregations": { "s": "median" } }), false),
        ("group_by", json!({ "columns": "a", "aggregations": { "s": "SUM" } }), false),
        ("group_by", json!({ "columns": "a", "aggregations": [{ "function": "sum" }] }), false),
        ("group_by", json!({ "columns": "a", "aggregations": [{ "function": "count", "name": null }] }), true),
        ("group_by", json!({ "columns": "a", "aggregations": 3 }), false),
        ("company_to_leads", json!({ "column": 3 }), false),
        ("company_to_leads", json!({ "column": null }), true),
        ("leads_to_company", json!({ "columns": [] }), true),
        ("transform_data", json!({ "steps": null }), false),
        ("transform_data", json!({ "steps": {} }), false),
        ("transform_data", json!({ "steps": [{ "where": "n > 1" }, { "select": ["n", "hq.city"] }] }), true),
        ("transform_data", json!({ "steps": [{ "limit": 3, "drop": "a" }] }), false),
        ("transform_data", json!({ "steps": [{ "limit": null }] }), false),
        ("transform_data", json!({ "steps": [{ "sort": "n" }] }), false),
        ("append_to_notebook", json!({ "notebook_id": "__create_new__", "notebook_name": null }), true),
        ("append_to_notebook", json!({ "notebook_id": 1 }), false),
        ("outgoing_webhook", json!({}), false),
        ("outgoing_webhook", json!({ "url": "not a url" }), false),
        ("outgoing_webhook", json!({ "url": "ftp://x" }), false),
        ("outgoing_webhook", json!({ "url": "http://x", "timeout_seconds": 2.5 }), true),
        ("outgoing_webhook", json!({ "url": "http://x", "timeout_seconds": null }), true),
        ("outgoing_webhook", json!({ "url": "http://x", "timeout_seconds": 0 }), false),
        ("outgoing_webhook", json!({ "url": "http://x", "timeout_seconds": 301 }), false),
        ("outgoing_webhook", json!({ "url": "http://x", "timeout_seconds": "10" }), false),
        ("send_slack_message", json!({ "channel": "#leads" }), true),
    ] {
        let schema = super::find(block).unwrap().schema();
        assert_eq!(fits(schema, &specs), is_accepted, "the schema of {block}: {specs}");
        let created = create(block, &specs);
        assert_eq!(created.is_ok(), is_accepted, "creation with {block}: {specs}: {created:?}");
    }
}

#[test]
fn the_block_refuses_what_a_schema_cannot_express() {
    let refused = |block: &str, specs: Value| {
        assert!(fits(super::find(block).unwrap().schema(), &specs), "{specs}");
        let errors = create(block, &specs).unwrap_err();
        assert!(is_beyond_schemas(&errors), "{errors:?}");
        errors.into_iter().map(|error| error.msg).collect::<Vec<_>>().join("; ")
    };
    let matches = |pattern: &str| json!({ "filters": [{ "column": "a", "operator": "matches", "value": pattern }] });
    assert_eq!(
        refused("filter", matches("(")),
        "block 2 (filter): filters[0].value is not a valid regular expression: unclosed group"
    );
    assert!(refused("filter", matches("(?=a)")).contains("look-around"));
    assert!(
        refused("outgoing_webhook", json!({ "url": "http://x:99999" })).contains("url must be an http or https URL")
    );
    let text = refused("transform_data", json!({ "steps": [{ "limit": 1 }, { "where": "n >" }] }));
    assert!(text.starts_with("block 2 (transform_data): steps[1].where cannot be parsed: "), "{text}");
    let duplicate = json!({ "columns": "a", "aggregations": [{ "function": "count", "name": "a" }] });
    assert!(refused("group_by", duplicate).ends_with("aggregations would produce the duplicate column 'a'"));
}

#[test]
fn unknown_names_in_steps_are_refused_with_the_valid_ones() {
    let refused = |step: Value| create("transform_data", &json!({ "steps": [step] })).unwrap_err()[0].msg.clone();
    let text = refused(json!({ "sort": "n" }));
    assert!(text.starts_with("block 2 (transform_data): steps[0].sort is not a known key; the keys are "), "{text}");
    for name in ["where", "select", "drop", "rename", "limit"] {
        assert!(text.contains(name), "{text}");
    }
    let text = refused(json!({ "where": "cast(n as money) > 1" }));
    assert!(
        text.contains("`money`") && text.contains("int, float, bool, string, json, date('%d/%m/%Y'), timestamp"),
        "{text}"
    );
}

#[test]
fn all_problems_are_reported_each_at_its_path() {
    let specs = json!({ "input_schema": { "a": 1, "b": { "required": "x" } }, "dataframe_type": "PEOPLE" });
    let errors = create("webhook", &specs).unwrap_err();
    let reported: Vec<(String, &str)> =
        errors.iter().map(|error| (super::schema::dotted(&error.loc[4..]), error.kind.as_str())).collect();
    let expected =
        [("input_schema.a", "string_type"), ("input_schema.b.required", "bool_type"), ("dataframe_type", "enum")];
    assert_eq!(reported, expected.map(|(path, kind)| (path.to_owned(), kind)));
    assert_eq!(errors[2].msg, "block 2 (webhook): dataframe_type must be one of LEAD, COMPANY");
}

#[test]
fn schemas_have_only_interpreted_keywords_and_texts_without_gaps() {
    /// Keywords that the interpreter checks, and annotations.
    const KNOWN: [&str; 26] = [
        "type",
        "enum",
        "const",
        "minimum",
        "exclusiveMinimum",
        "maximum",
        "minLength",
        "pattern",
        "minItems",
        "items",
        "properties",
        "required",
        "additionalProperties",
        "minProperties",
        "maxProperties",
        "allOf",
        "anyOf",
        "oneOf",
        "not",
        "if",
        "then",
        "else",
        "title",
        "description",
        "default",
        "format",
    ];
    fn walk(schema: &Value) {
        for (key, value) in schema.as_object().into_iter().flatten() {
            assert!(KNOWN.contains(&key.as_str()), "{key} is not interpreted");
            match key.as_str() {
                "properties" => value.as_object().into_iter().flatten().for_each(|(_, schema)| walk(schema)),
                "allOf" | "anyOf" | "oneOf" => value.as_array().into_iter().flatten().for_each(walk),
                "items" | "additionalProperties" | "not" | "if" | "then" | "else" => walk(value),
                "pattern" => drop(regex::Regex::new(value.as_str().unwrap()).unwrap()),
                "title" | "description" => {
                    let text = value.as_str().unwrap();
                    assert!(!text.contains("  ") && !text.contains('\n') && !text.is_empty(), "{text}");
                }
                _ => {}
            }
        }
    }
    for block in descriptions() {
        assert_eq!(block.specs_schema["type"], "object");
        walk(&block.specs_schema);
    }
}
