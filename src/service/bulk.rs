//! Settings of a Bulk Intelligence job, and its translation to a workflow. A job is an ordinary run of a workflow with
//! two blocks, `read_csv` and an enrichment, that is stored nowhere else. Starts nothing; the routes do.

use serde_json::{Map, Value, json};

use super::api_error::ApiError;
use super::location::Location;
use super::rows::ResultFormat;
use super::single::LEADS;
use crate::api::{Block, BulkKind, Edge, Graph, ValidationError};

/// Most characters of the `config` part of the form.
pub(super) const MAX_CONFIG_CHARS: usize = 300_000;

/// Longest `webhook_url`, in bytes.
const MAX_URL_BYTES: usize = 2083;

/// Research tiers; company jobs accept the first four only.
const TIERS: [&str; 6] = ["low", "micro", "medium", "high", "xhigh", "scout"];

/// Returns the tiers of a kind of jobs, and null for none.
pub(super) fn tiers(kind: BulkKind) -> Value {
    let tiers = if kind == BulkKind::Company { &TIERS[..4] } else { &TIERS[..] };
    tiers.iter().map(|tier| json!(tier)).chain([Value::Null]).collect()
}

/// Keys of the settings of both kinds of jobs.
const KEYS: [&str; 8] =
    ["struct", "research_plan", "tier", "webhook_url", "field_confidence", "columns", "result_formats", "save_json"];

/// Keys of the settings of company jobs only.
const COMPANY_KEYS: [&str; 4] = ["find_people", "people_focus_prompt", "lead_struct", "full_org_chart"];

/// The validated settings of a job.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// Specs of the enrichment block.
    specs: Map<String, Value>,
    /// Columns of the file to read; `None` reads all.
    columns: Option<Vec<String>>,
    /// URL to notify of the end of the job; `None` sends no notification.
    pub webhook_url: Option<String>,
    /// Formats of the results, CSV among them.
    pub formats: Vec<ResultFormat>,
}

impl Settings {
    /// Parses the settings of a job. The 422 lists all problems at once.
    pub(super) fn parse(kind: BulkKind, text: &str) -> Result<Self, ApiError> {
        let location = Location::root("body").key("config");
        if text.chars().count() > MAX_CONFIG_CHARS {
            let text = format!("config has more than {MAX_CONFIG_CHARS} characters");
            return Err(ApiError::Invalid(vec![location.invalid("string_too_long", text)]));
        }
        // Our reading: the form itself is valid, so invalid JSON in one of its parts is a 422, not a 400.
        let value: Value = serde_json::from_str(text).map_err(|error| {
            ApiError::Invalid(vec![location.invalid("json_invalid", format!("Invalid JSON: {error}"))])
        })?;
        let Some(object) = value.as_object() else {
            return Err(ApiError::Invalid(vec![location.invalid("dict_type", "config must be a JSON object")]));
        };
        Self::read(kind, object, location)
    }

    /// Reads the settings in the body of a request about one person or company. Our reading: other members are ignored.
    pub(super) fn of_single(kind: BulkKind, body: &Map<String, Value>) -> Result<Self, ApiError> {
        let is_of_file = |key: &str| ["columns", "result_formats", "save_json"].contains(&key);
        let is_known = |key: &str| Reader::knows(kind, key) && !is_of_file(key);
        let known = body.iter().filter(|(key, _)| is_known(key)).map(|(key, value)| (key.clone(), value.clone()));
        Self::read(kind, &known.collect(), Location::root("body"))
    }

    fn read(kind: BulkKind, object: &Map<String, Value>, location: Location) -> Result<Self, ApiError> {
        let mut reader = Reader { kind, object, location, errors: Vec::new() };
        let settings = reader.settings();
        if reader.errors.is_empty() { Ok(settings) } else { Err(ApiError::Invalid(reader.errors)) }
    }

    /// Returns the workflow of the job over the upload `handle`.
    pub(super) fn graph(&self, kind: BulkKind, handle: &str) -> Graph {
        let mut source = json!({ "resource_handle_id": handle });
        if let Some(columns) = &self.columns {
            source["columns"] = json!(columns);
        }
        self.graph_of(kind, "read_csv", source)
    }

    /// Returns the workflow of a request whose row is its payload.
    pub(super) fn graph_of_payload(&self, kind: BulkKind) -> Graph {
        let mut graph = self.graph_of(kind, "webhook", json!({}));
        // Our reading: the people of a company are a field beside those that are asked for.
        for block in &mut graph.blocks {
            let finds_people = block.specs.get("find_people") == Some(&Value::Bool(true));
            if let Some(Value::Object(fields)) = block.specs.get_mut("return_fields").filter(|_| finds_people)
                && !fields.is_empty()
            {
                fields.entry(LEADS).or_insert_with(|| "People of the company".into());
            }
        }
        graph
    }

    fn graph_of(&self, kind: BulkKind, source_name: &str, mut source: Value) -> Graph {
        let (block, rows) = match kind {
            BulkKind::People => ("lead_enrichment", "LEAD"),
            BulkKind::Company => ("company_enrichment", "COMPANY"),
        };
        source["dataframe_type"] = json!(rows);
        let new_block = |sequence_number, name: &str, category: &str, specs: Map<String, Value>| Block {
            sequence_number,
            block_type: category.to_owned(),
            block_name: name.to_owned(),
            block_id: Some(format!("block-{sequence_number}")),
            specs,
        };
        let source = source.as_object().cloned().unwrap_or_default();
        let blocks =
            vec![new_block(1, source_name, "io", source), new_block(2, block, "enrichment", self.specs.clone())];
        let edge = Edge { from_block_id: "block-1".into(), to_block_id: "block-2".into(), condition: None };
        Graph { blocks, edges: vec![edge] }
    }
}

/// Reads one object of settings and collects the 422 entries.
struct Reader<'a> {
    kind: BulkKind,
    object: &'a Map<String, Value>,
    location: Location,
    errors: Vec<ValidationError>,
}

impl<'a> Reader<'a> {
    /// Returns true for a key of the settings of such a job.
    fn knows(kind: BulkKind, key: &str) -> bool {
        KEYS.contains(&key) || kind == BulkKind::Company && COMPANY_KEYS.contains(&key)
    }

    /// Reads all settings; the result is usable only if no entry was added.
    fn settings(&mut self) -> Settings {
        let company = self.kind == BulkKind::Company;
        for key in self.object.keys() {
            if !Self::knows(self.kind, key) {
                self.reject(key, "extra_forbidden", "Extra inputs are not permitted");
            }
        }
        let mut specs = Map::new();
        match self.get("struct") {
            None if company => self.errors.push(self.location.key("struct").missing()),
            None => {}
            Some(Value::Object(fields)) => {
                for (name, field) in fields {
                    // A field is described by a text, or by an object whose description and type are texts.
                    let is_described = match field {
                        Value::String(_) => true,
                        Value::Object(field) => {
                            let is_text = |key: &str| field.get(key).is_none_or(Value::is_string);
                            is_text("description") && is_text("type")
                        }
                        _ => false,
                    };
                    if !is_described {
                        let text = "a field is a description, or an object with description and type";
                        self.errors.push(self.location.key("struct").key(name).invalid("value_error", text));
                    }
                }
                specs.insert("return_fields".to_owned(), Value::Object(fields.clone()));
            }
            Some(_) => self.reject("struct", "dict_type", "Input should be an object"),
        }
        if let Some(tier) = self.get("tier") {
            // The last two tiers are for people only.
            let tiers = if company { &TIERS[..4] } else { &TIERS[..] };
            if !tier.as_str().is_some_and(|tier| tiers.contains(&tier)) {
                self.reject("tier", "enum", &format!("Input should be one of {}", tiers.join(", ")));
            }
        }
        for key in ["research_plan", "people_focus_prompt"] {
            self.check(key, Value::is_string, "string_type", "Input should be a valid string");
        }
        for key in ["field_confidence", "save_json", "find_people", "full_org_chart"] {
            self.check(key, Value::is_boolean, "bool_type", "Input should be a valid boolean");
        }
        self.check("lead_struct", Value::is_object, "dict_type", "Input should be an object");
        for key in ["research_plan", "tier", "field_confidence"].iter().chain(&COMPANY_KEYS) {
            if let Some(value) = self.get(key) {
                specs.insert((*key).to_owned(), value.clone());
            }
        }
        let columns = self.texts("columns");
        let mut formats = vec![ResultFormat::Csv];
        for word in self.texts("result_formats").unwrap_or_default() {
            match ResultFormat::parse(&word) {
                Some(format) if formats.contains(&format) => {}
                Some(format) => formats.push(format),
                None => self.reject("result_formats", "enum", "the formats are csv, json and ndjson"),
            }
        }
        if self.get("save_json") == Some(&Value::Bool(true)) && !formats.contains(&ResultFormat::Json) {
            formats.push(ResultFormat::Json);
        }
        Settings { specs, columns, webhook_url: self.webhook_url(), formats }
    }

    /// Returns the value of `key`; `None` if it is absent or null.
    fn get(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    fn check(&mut self, key: &str, is: impl Fn(&Value) -> bool, kind: &str, text: &str) {
        if self.get(key).is_some_and(|value| !is(value)) {
            self.reject(key, kind, text);
        }
    }

    fn texts(&mut self, key: &str) -> Option<Vec<String>> {
        let value = self.get(key)?;
        let texts = value.as_array().map(|items| items.iter().map(|item| item.as_str().map(str::to_owned)));
        let texts: Option<Vec<String>> = texts.and_then(Iterator::collect);
        if texts.is_none() {
            self.reject(key, "list_type", "Input should be a list of strings");
        }
        // Our reading: an empty list is the same as no list.
        texts.filter(|texts| !texts.is_empty())
    }

    fn webhook_url(&mut self) -> Option<String> {
        let value = self.get("webhook_url")?;
        let url = value.as_str().filter(|text| text.len() <= MAX_URL_BYTES).and_then(|text| url::Url::parse(text).ok());
        // Our reading: plain http is accepted on loopback, for tests of a receiver.
        let is_allowed = url.as_ref().is_some_and(|url| {
            let loopback = match url.host() {
                Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
                Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
                Some(url::Host::Domain(name)) => name == "localhost",
                None => false,
            };
            url.scheme() == "https" && url.has_host() || url.scheme() == "http" && loopback
        });
        if !is_allowed {
            let text = format!("Input should be an https URL of at most {MAX_URL_BYTES} characters");
            self.reject("webhook_url", "url_parsing", &text);
        }
        url.map(String::from)
    }

    fn reject(&mut self, key: &str, kind: &str, text: &str) {
        self.errors.push(self.location.key(key).invalid(kind, text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(kind: BulkKind, config: Value) -> Vec<String> {
        let Err(ApiError::Invalid(errors)) = Settings::parse(kind, &config.to_string()) else {
            panic!("{config} was accepted")
        };
        errors.iter().map(|error| error.loc.last().unwrap().to_string().replace('"', "")).collect()
    }

    #[test]
    fn settings_are_translated_to_specs() {
        let config = json!({
            "struct": { "email": "Work email", "years": { "description": "in the role", "type": "int" } },
            "tier": "xhigh", "columns": ["name"], "result_formats": ["ndjson"], "save_json": true,
            "webhook_url": "https://hooks.test/a", "research_plan": null
        });
        let settings = Settings::parse(BulkKind::People, &config.to_string()).unwrap();
        assert_eq!(settings.formats, [ResultFormat::Csv, ResultFormat::Ndjson, ResultFormat::Json]);
        let graph = settings.graph(BulkKind::People, "h");
        assert_eq!(graph.blocks[0].specs["columns"], json!(["name"]));
        assert_eq!(graph.blocks[0].specs["dataframe_type"], "LEAD");
        assert_eq!(graph.blocks[1].block_name, "lead_enrichment");
        assert_eq!(graph.blocks[1].specs["return_fields"]["email"], "Work email");
        assert!(!graph.blocks[1].specs.contains_key("webhook_url"));
        assert!(Settings::parse(BulkKind::People, "{}").is_ok());
    }

    #[test]
    fn invalid_and_unknown_settings_are_named() {
        use BulkKind::{Company, People};
        assert_eq!(refused(Company, json!({})), ["struct"]);
        assert_eq!(refused(People, json!({ "find_people": true, "a": 1 })), ["find_people", "a"]);
        assert_eq!(refused(Company, json!({ "struct": { "a": 1 }, "tier": "scout" })), ["a", "tier"]);
        for url in ["http://hooks.test/a", "ftp://hooks.test", "no url", ""] {
            assert_eq!(refused(People, json!({ "webhook_url": url })), ["webhook_url"], "{url}");
        }
        assert!(Settings::parse(People, r#"{"webhook_url":"http://127.0.0.1:9/a"}"#).is_ok());
        let wrong = json!({ "columns": "a", "result_formats": ["xlsx"], "field_confidence": 1, "struct": [] });
        assert_eq!(refused(People, wrong), ["struct", "field_confidence", "columns", "result_formats"]);
        assert_eq!(refused(People, json!([])), ["config"]);
        let message = |text: &str| match Settings::parse(People, text) {
            Err(ApiError::Invalid(errors)) => errors[0].msg.clone(),
            _ => panic!("accepted"),
        };
        assert!(message("{").starts_with("Invalid JSON: "));
        assert_eq!(message(&"x".repeat(MAX_CONFIG_CHARS + 1)), "config has more than 300000 characters");
    }
}
