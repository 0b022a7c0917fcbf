//! A block's specs, read into what is to be done. Whatever is wrong with them is said when the
//! workflow is made, not when it runs.

use std::time::Duration;

use serde_json::{Map, Value};

use super::answer::Place;
use super::catalogue::{self, Entry, Role, RowType};
use super::webhook::{MAX_TIMEOUT, TIMEOUT};
use crate::api::ValidationError;
use crate::column::{Field, Schema, Type};
use crate::transform::{Condition, Logic, Step, Test};

/// What a block is to do.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// Take the rows of the request.
    Webhook(WebhookSpecs),
    /// Read an upload.
    ReadCsv(ReadCsvSpecs),
    /// Change the rows.
    Change {
        /// How.
        step: Step,
        /// Columns that must be in the input: without them the result would be wrong, not empty.
        needs: Vec<String>,
    },
    /// Look rows up in the reference table of this block.
    Enrich {
        /// The block's name in the catalogue.
        block: &'static str,
        /// Columns to add; `None` adds all of the table.
        fields: Option<Vec<String>>,
    },
    /// Pass the rows on, and send them to an address of the user's.
    OutgoingWebhook(WebhookTarget),
    /// Pass the rows on; nothing is delivered.
    Deliver,
}

/// Specs of `outgoing_webhook`.
#[derive(Clone, Debug)]
pub(super) struct WebhookTarget {
    /// Where the rows go.
    pub url: String,
    /// An attempt may take so long.
    pub timeout: Duration,
}

/// Specs of `webhook`.
#[derive(Clone, Debug, Default)]
pub(super) struct WebhookSpecs {
    /// Columns that every row must have.
    pub required: Vec<String>,
    /// JSON text of the rows to use without a payload.
    pub fallback: Option<String>,
}

/// Specs of `read_csv`.
#[derive(Clone, Debug, Default)]
pub(super) struct ReadCsvSpecs {
    /// The upload.
    pub handle: Option<String>,
    /// Declared types.
    pub declared: Option<Schema>,
    /// Columns to take, in this order; all when `None`.
    pub columns: Option<Vec<String>>,
}

/// Reads the specs of one block. Problems go to `errors`, with their place below `place` and a
/// text that begins with `name`, the block's name for people; then the answer is `None`.
pub(super) fn read(
    entry: &'static Entry,
    specs: &Map<String, Value>,
    name: &str,
    place: &Place,
    errors: &mut Vec<ValidationError>,
) -> Option<Work> {
    let mut reader = Reader { specs, name, place, errors };
    match entry.role {
        Role::Webhook => reader.webhook(),
        Role::ReadCsv => reader.read_csv(),
        Role::Filter => reader.filter(),
        Role::Deduplicate => {
            let columns = reader.columns(false)?;
            Some(Work::Change { step: Step::Deduplicate(columns.clone()), needs: columns })
        }
        Role::RemoveColumns => {
            let columns = reader.columns(true)?;
            Some(Work::Change { step: Step::RemoveColumns(columns), needs: Vec::new() })
        }
        Role::Enrich => reader.enrich(entry.name),
        Role::Deliver => reader.deliver(entry.name),
        Role::NotOffered => None,
    }
}

/// The row type that a source declares; `Err` for another word.
pub(super) fn declared_rows(specs: &Map<String, Value>) -> Result<Option<RowType>, ()> {
    match specs.get("dataframe_type") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(word)) if word.eq_ignore_ascii_case("LEAD") => Ok(Some(RowType::Lead)),
        Some(Value::String(word)) if word.eq_ignore_ascii_case("COMPANY") => Ok(Some(RowType::Company)),
        Some(_) => Err(()),
    }
}

struct Reader<'a> {
    specs: &'a Map<String, Value>,
    name: &'a str,
    place: &'a Place,
    errors: &'a mut Vec<ValidationError>,
}

impl Reader<'_> {
    fn webhook(&mut self) -> Option<Work> {
        self.row_type()?;
        let mut specs = WebhookSpecs::default();
        for (column, schema) in self.object("input_schema")? {
            if !schema.is_string() && !schema.is_object() {
                let text = format!("column '{column}' of input_schema must be a type, or an object with one");
                return self.refuse("input_schema", "value_error", &text);
            }
            // Our reading: a declared column is required unless its schema says otherwise.
            if schema.get("required").and_then(Value::as_bool) != Some(false) {
                specs.required.push(column.clone());
            }
        }
        specs.fallback = match self.specs.get("webhook_input") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) if text.trim().is_empty() => None,
            Some(Value::String(text)) => Some(text.clone()),
            // Our reading: rows given as such, not as text, mean the same.
            Some(rows @ (Value::Array(_) | Value::Object(_))) => Some(rows.to_string()),
            Some(_) => return self.refuse("webhook_input", "string_type", "webhook_input must be JSON text"),
        };
        Some(Work::Webhook(specs))
    }

    fn read_csv(&mut self) -> Option<Work> {
        self.row_type()?;
        let handle = match self.specs.get("resource_handle_id") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) if text.is_empty() => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(_) => {
                return self.refuse("resource_handle_id", "string_type", "resource_handle_id must be a string");
            }
        };
        let mut fields = Vec::new();
        for (column, schema) in self.object("input_schema")? {
            let word = schema.as_str().or_else(|| schema.get("type").and_then(Value::as_str));
            let Some(word) = word else { continue };
            match Type::from_declared(word) {
                Some(ty) => fields.push(Field::new(column.as_str(), ty)),
                None => {
                    let text = format!("column '{column}' of input_schema has the unknown type '{word}'");
                    return self.refuse("input_schema", "value_error", &text);
                }
            }
        }
        let declared = (!fields.is_empty()).then(|| Schema::new(fields));
        // Our reading: the name is the one that bulk settings have "for the source block".
        let columns = self.columns(false)?;
        let columns = (!columns.is_empty()).then_some(columns);
        Some(Work::ReadCsv(ReadCsvSpecs { handle, declared, columns }))
    }

    fn filter(&mut self) -> Option<Work> {
        let filters = match self.specs.get("filters") {
            Some(Value::Array(filters)) => filters,
            None => return self.refuse("filters", "missing", "filters is required"),
            Some(_) => return self.refuse("filters", "list_type", "filters must be a list"),
        };
        let place = self.place.key("filters");
        let mut conditions = Vec::with_capacity(filters.len());
        let before = self.errors.len();
        for (i, filter) in filters.iter().enumerate() {
            match condition(filter) {
                Ok(condition) => conditions.push(condition),
                Err((key, text)) => {
                    let text = format!("{}: condition {}: {text}", self.name, i + 1);
                    self.errors.push(place.item(i).key(key).invalid("value_error", text));
                }
            }
        }
        if self.errors.len() > before {
            return None;
        }
        let mut needs: Vec<String> = Vec::new();
        for condition in &conditions {
            if !needs.contains(&condition.column) {
                needs.push(condition.column.clone());
            }
        }
        Some(Work::Change { step: Step::Filter(conditions), needs })
    }

    fn enrich(&mut self, block: &'static str) -> Option<Work> {
        let fields = match self.specs.get("return_fields") {
            None | Some(Value::Null) => None,
            Some(Value::Object(fields)) => Some(fields.keys().cloned().collect::<Vec<_>>()),
            Some(_) => return self.refuse("return_fields", "dict_type", "return_fields must be an object"),
        };
        // An empty object asks for nothing in particular.
        Some(Work::Enrich { block, fields: fields.filter(|fields| !fields.is_empty()) })
    }

    fn deliver(&mut self, block: &str) -> Option<Work> {
        if block != "outgoing_webhook" {
            return Some(Work::Deliver);
        }
        let Some(text) = self.specs.get("url") else {
            return self.refuse("url", "missing", "url is required");
        };
        let url = text.as_str().and_then(|text| url::Url::parse(text).ok());
        let Some(url) = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) else {
            return self.refuse("url", "url_parsing", "url must be an http or https URL");
        };
        let timeout = match self.specs.get("timeout_seconds") {
            None | Some(Value::Null) => TIMEOUT,
            Some(value) => {
                let seconds = value.as_f64().filter(|seconds| *seconds > 0.0 && *seconds <= MAX_TIMEOUT.as_secs_f64());
                let Some(seconds) = seconds else {
                    let text = format!("timeout_seconds must be a number from 0 to {}", MAX_TIMEOUT.as_secs());
                    return self.refuse("timeout_seconds", "value_error", &text);
                };
                Duration::from_secs_f64(seconds)
            }
        };
        Some(Work::OutgoingWebhook(WebhookTarget { url: url.into(), timeout }))
    }

    fn row_type(&mut self) -> Option<()> {
        match declared_rows(self.specs) {
            Ok(_) => Some(()),
            Err(()) => self.refuse("dataframe_type", "enum", "dataframe_type must be LEAD or COMPANY"),
        }
    }

    /// The members of the object `key`; none when it is absent.
    fn object(&mut self, key: &str) -> Option<Vec<(&String, &Value)>> {
        let specs = self.specs;
        match specs.get(key) {
            None | Some(Value::Null) => Some(Vec::new()),
            Some(Value::Object(members)) => Some(members.iter().collect()),
            Some(_) => self.refuse(key, "dict_type", &format!("{key} must be an object")),
        }
    }

    /// Our reading: columns stand in `columns`; one alone may stand there as text.
    fn columns(&mut self, required: bool) -> Option<Vec<String>> {
        match self.specs.get("columns") {
            None | Some(Value::Null) if !required => Some(Vec::new()),
            None => self.refuse("columns", "missing", "columns is required"),
            Some(Value::String(column)) => Some(vec![column.clone()]),
            Some(Value::Array(columns)) if columns.iter().all(Value::is_string) => {
                Some(columns.iter().filter_map(Value::as_str).map(str::to_owned).collect())
            }
            Some(_) => self.refuse("columns", "list_type", "columns must be a list of strings"),
        }
    }

    fn refuse<T>(&mut self, key: &str, kind: &str, text: &str) -> Option<T> {
        self.errors.push(self.place.key(key).invalid(kind, format!("{}: {text}", self.name)));
        None
    }
}

/// One condition of a filter, or the key that is wrong and why.
fn condition(filter: &Value) -> Result<Condition, (&'static str, String)> {
    let Some(filter) = filter.as_object() else { return Err(("column", "must be an object".to_owned())) };
    let Some(column) = filter.get("column").and_then(Value::as_str) else {
        return Err(("column", "column must be the name of a column".to_owned()));
    };
    let Some(operator) = filter.get("operator").and_then(Value::as_str) else {
        return Err(("operator", "operator must be one of the operators' names".to_owned()));
    };
    // Our reading: conditions are joined left to right, by `and` where nothing is said.
    let logic = match filter.get("logic") {
        None | Some(Value::Null) => Logic::And,
        Some(Value::String(word)) if word.eq_ignore_ascii_case("and") => Logic::And,
        Some(Value::String(word)) if word.eq_ignore_ascii_case("or") => Logic::Or,
        Some(_) => return Err(("logic", "logic must be 'and' or 'or'".to_owned())),
    };
    let value = || match filter.get("value") {
        None => Err(("value", format!("operator '{operator}' needs a value"))),
        Some(value) => Ok(value.clone()),
    };
    let scalar = || match value()? {
        Value::Array(_) | Value::Object(_) => Err(("value", format!("operator '{operator}' needs a single value"))),
        value => Ok(value),
    };
    // Our reading: a value alone is a list of one.
    let list = || match value()? {
        Value::Array(values) => Ok(values),
        Value::Object(_) => Err(("value", format!("operator '{operator}' needs a list of values"))),
        value => Ok(vec![value]),
    };
    let test = match operator {
        "equals" => Test::Equals(value()?),
        "not_equals" => Test::NotEquals(value()?),
        "contains" => Test::Contains(scalar()?),
        "not_contains" => Test::NotContains(scalar()?),
        "greater" => Test::Greater(scalar()?),
        "less" => Test::Less(scalar()?),
        "in" => Test::In(list()?),
        "not_in" => Test::NotIn(list()?),
        "is_empty" => Test::IsEmpty,
        "is_not_empty" => Test::IsNotEmpty,
        "matches" => {
            let value = value()?;
            let Some(pattern) = value.as_str() else {
                return Err(("value", "operator 'matches' needs a pattern as text".to_owned()));
            };
            let regex = regex::Regex::new(pattern).map_err(|error| {
                // The library draws the pattern over several lines; the last one says why.
                let text = error.to_string();
                let why = text.lines().last().unwrap_or("not valid").trim_start_matches("error: ");
                ("value", format!("the pattern is not a regular expression: {why}"))
            })?;
            Test::Matches(regex)
        }
        other => {
            let known = catalogue::OPERATORS.join(", ");
            return Err(("operator", format!("operator '{other}' is not one of {known}")));
        }
    };
    Ok(Condition { column: column.to_owned(), test, logic })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_specs(block: &str, specs: Value) -> Result<Work, Vec<String>> {
        let mut errors = Vec::new();
        let entry = catalogue::find(block).unwrap();
        let specs = specs.as_object().unwrap();
        match read(entry, specs, "block 2", &Place::root("specs"), &mut errors) {
            Some(work) => {
                assert!(errors.is_empty());
                Ok(work)
            }
            None => Err(errors.into_iter().map(|error| error.msg).collect()),
        }
    }

    fn filters(filters: Value) -> Result<Work, Vec<String>> {
        read_specs("filter", json!({ "filters": filters }))
    }

    #[test]
    fn all_operators_are_read() {
        for operator in catalogue::OPERATORS {
            let work = filters(json!([
                { "column": "a", "operator": operator, "value": "x" },
                { "column": "b", "operator": operator, "value": "x", "logic": "OR" }
            ]))
            .unwrap_or_else(|errors| panic!("{operator}: {errors:?}"));
            let Work::Change { step: Step::Filter(conditions), needs } = work else { panic!("not a filter") };
            assert_eq!(needs, ["a", "b"]);
            assert_eq!(conditions[1].logic, Logic::Or);
        }
    }

    #[test]
    fn wrong_conditions_are_named() {
        let text = |filter: Value| filters(json!([filter])).unwrap_err().join("; ");
        assert!(text(json!({ "column": "a", "operator": "is", "value": 1 })).contains("operator 'is' is not one of"));
        assert!(text(json!({ "column": "a", "operator": "matches", "value": "(" })).contains("unclosed group"));
        assert!(text(json!({ "column": "a", "operator": "greater" })).contains("needs a value"));
        assert!(text(json!({ "operator": "equals", "value": 1 })).contains("column"));
        assert!(text(json!({ "column": "a", "operator": "is_empty", "logic": "xor" })).contains("logic"));
        assert_eq!(read_specs("filter", json!({})).unwrap_err(), ["block 2: filters is required"]);
    }

    #[test]
    fn sources_read_their_schema() {
        let specs = json!({
            "input_schema": { "email": "string", "age": { "type": "int", "required": false } },
            "dataframe_type": "LEAD"
        });
        let Work::Webhook(webhook) = read_specs("webhook", specs).unwrap() else { panic!("not a webhook") };
        assert_eq!(webhook.required, ["email"]);
        let specs = json!({ "input_schema": { "tags": "list[str]", "note": { "description": "free" } } });
        let Work::ReadCsv(csv) = read_specs("read_csv", specs).unwrap() else { panic!("not a read_csv") };
        assert_eq!(csv.declared.unwrap().fields.len(), 1);
        assert!(read_specs("read_csv", json!({ "input_schema": { "a": "date" } })).is_err());
        assert!(read_specs("webhook", json!({ "dataframe_type": "PEOPLE" })).is_err());
        assert!(read_specs("webhook", json!({ "input_schema": { "a": 1 } })).unwrap_err()[0].contains("column 'a'"));
    }

    #[test]
    fn columns_are_a_list_or_one_name() {
        assert!(read_specs("deduplicate", json!({})).is_ok());
        assert!(read_specs("deduplicate", json!({ "columns": "email" })).is_ok());
        assert!(read_specs("deduplicate", json!({ "columns": [1] })).is_err());
        assert!(read_specs("remove_columns", json!({})).is_err());
        assert!(read_specs("outgoing_webhook", json!({ "url": "ftp://x" })).is_err());
        for seconds in [json!(0), json!("10"), json!(301)] {
            assert!(read_specs("outgoing_webhook", json!({ "url": "http://x", "timeout_seconds": seconds })).is_err());
        }
        let webhook = read_specs("outgoing_webhook", json!({ "url": "http://x/a", "timeout_seconds": 2.5 })).unwrap();
        let Work::OutgoingWebhook(target) = webhook else { panic!("not a webhook") };
        assert_eq!((target.url.as_str(), target.timeout), ("http://x/a", Duration::from_millis(2500)));
    }
}
