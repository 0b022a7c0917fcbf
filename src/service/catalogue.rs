//! The blocks: what each does here, which rows it takes, and the JSON Schema of its specs.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::api::BlockDescription;

/// What the rows of a table are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum RowType {
    /// People.
    Lead,
    /// Companies.
    Company,
}

impl RowType {
    /// The API's word.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            RowType::Lead => "LEAD",
            RowType::Company => "COMPANY",
        }
    }
}

/// What a block does in this service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Source: rows from the request.
    Webhook,
    /// Source: rows from an upload.
    ReadCsv,
    /// Keeps rows that meet conditions.
    Filter,
    /// Keeps the first row of each key.
    Deduplicate,
    /// Drops columns.
    RemoveColumns,
    /// Adds columns from a reference table that stands in for the vendor's provider.
    Enrich,
    /// Hands rows to the outside; here they only pass through.
    Deliver,
    /// Known, but nothing here can stand in for it: it makes rows, or turns one kind into another.
    NotOffered,
}

impl Role {
    /// True for blocks that rows come from.
    pub(super) fn is_source(self) -> bool {
        matches!(self, Role::Webhook | Role::ReadCsv)
    }
}

/// One block of the catalogue.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its name.
    pub name: &'static str,
    /// A name it had before; still accepted.
    pub old_name: Option<&'static str>,
    /// What it does here.
    pub role: Role,
    /// The rows it takes; `None` takes both and keeps what they are.
    pub rows: Option<RowType>,
}

const fn entry(name: &'static str, role: Role) -> Entry {
    Entry { name, old_name: None, role, rows: None }
}

const fn enrich(name: &'static str, rows: RowType) -> Entry {
    Entry { name, old_name: None, role: Role::Enrich, rows: Some(rows) }
}

/// All block names that public material shows.
static CATALOGUE: &[Entry] = &[
    entry("webhook", Role::Webhook),
    entry("read_csv", Role::ReadCsv),
    entry("read_notebook", Role::NotOffered),
    entry("search", Role::NotOffered),
    Entry { name: "lead_enrichment", old_name: Some("enrich_lead"), role: Role::Enrich, rows: Some(RowType::Lead) },
    Entry {
        name: "company_enrichment",
        old_name: Some("enrich_company"),
        role: Role::Enrich,
        rows: Some(RowType::Company),
    },
    // Our reading: which rows it takes is not public, so both are taken.
    entry("linkedin_enrichment", Role::Enrich),
    enrich("find_email", RowType::Lead),
    enrich("find_phone", RowType::Lead),
    enrich("verify_email", RowType::Lead),
    enrich("reverse_email", RowType::Lead),
    enrich("reverse_phone", RowType::Lead),
    entry("company_to_leads", Role::NotOffered),
    entry("leads_to_company", Role::NotOffered),
    // Our reading: discovery, web, social and integration blocks that stand after another block
    // add columns to its rows; what they take is not public.
    entry("github_find_people", Role::Enrich),
    entry("google_maps_search", Role::Enrich),
    entry("scrape_web", Role::Enrich),
    entry("backlinks_referring_domains", Role::Enrich),
    entry("find_subdomains", Role::Enrich),
    entry("x_search", Role::Enrich),
    entry("tiktok_get_following", Role::Enrich),
    entry("kaggle_leaderboard", Role::Enrich),
    entry("llm_openai", Role::Enrich),
    entry("qa_agent", Role::Enrich),
    entry("research_agent", Role::Enrich),
    entry("transform_data", Role::Enrich),
    entry("filter", Role::Filter),
    entry("deduplicate", Role::Deduplicate),
    entry("deduplicate_wrt_notebook", Role::NotOffered),
    entry("group_by", Role::NotOffered),
    entry("remove_columns", Role::RemoveColumns),
    entry("append_to_notebook", Role::Deliver),
    entry("outgoing_webhook", Role::Deliver),
    entry("send_slack_message", Role::Deliver),
    entry("hubspot_import", Role::Enrich),
    entry("yc_batches", Role::Enrich),
    entry("yc_companies", Role::Enrich),
];

/// The block called `name` now or before.
pub(super) fn find(name: &str) -> Option<&'static Entry> {
    CATALOGUE.iter().find(|entry| entry.name == name || entry.old_name == Some(name))
}

/// The blocks that this service offers, as `GET /workflows/blocks` tells them.
pub(super) fn descriptions() -> Vec<BlockDescription> {
    CATALOGUE
        .iter()
        .filter(|entry| entry.role != Role::NotOffered)
        .map(|entry| BlockDescription { block_name: entry.name.to_owned(), specs_schema: specs_schema(entry) })
        .collect()
}

/// The words of the filter block's operators.
pub(super) const OPERATORS: [&str; 11] = [
    "equals",
    "not_equals",
    "contains",
    "not_contains",
    "greater",
    "less",
    "in",
    "not_in",
    "is_empty",
    "is_not_empty",
    "matches",
];

/// JSON Schema of a block's specs. Unknown keys are let through everywhere: definitions made for
/// the hosted service carry settings that mean nothing here.
fn specs_schema(entry: &Entry) -> Value {
    let (properties, required) = match entry.role {
        Role::Webhook => (
            json!({
                "input_schema": input_schema("Columns that a payload's rows have. Each is required \
                    unless its schema says `required: false`."),
                "webhook_input": {
                    "type": "string",
                    "description": "JSON text of the rows to use when a run brings no payload."
                },
                "dataframe_type": dataframe_type(),
            }),
            json!([]),
        ),
        Role::ReadCsv => (
            json!({
                "resource_handle_id": {
                    "type": "string",
                    "description": "Handle of an upload; usually given for one run by `specs_override`."
                },
                "input_schema": input_schema("Local extension: types of columns, for a file that does \
                    not carry them. A cell of a declared list or object is read as JSON."),
                "columns": columns("Columns to take from the file, in this order; all when absent or empty."),
                "dataframe_type": dataframe_type(),
            }),
            json!([]),
        ),
        Role::Filter => (
            json!({
                "filters": {
                    "type": "array",
                    "description": "Conditions, joined left to right.",
                    "items": {
                        "type": "object",
                        "properties": {
                            "column": { "type": "string" },
                            "operator": { "type": "string", "enum": OPERATORS },
                            "value": { "description": "Not used by is_empty and is_not_empty; a list for in and not_in; a pattern for matches." },
                            "logic": { "type": ["string", "null"], "enum": ["and", "or", null] }
                        },
                        "required": ["column", "operator"]
                    }
                }
            }),
            json!(["filters"]),
        ),
        Role::Deduplicate => (
            json!({ "columns": columns("The key; the whole row when absent or empty. The first row of each key stays.") }),
            json!([]),
        ),
        Role::RemoveColumns => (json!({ "columns": columns("Columns to drop.") }), json!(["columns"])),
        Role::Enrich => (
            json!({
                "return_fields": {
                    "description": "Columns to add: for each a description, or an object with description and type.",
                    "type": ["object", "null"],
                    "additionalProperties": { "type": ["string", "object"] }
                }
            }),
            json!([]),
        ),
        Role::Deliver if entry.name == "outgoing_webhook" => (
            json!({
                "url": { "type": "string", "format": "uri" },
                "timeout_seconds": { "type": "number", "exclusiveMinimum": 0, "maximum": 300, "default": 10 }
            }),
            json!(["url"]),
        ),
        Role::Deliver | Role::NotOffered => (json!({}), json!([])),
    };
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": true })
}

fn dataframe_type() -> Value {
    json!({ "type": "string", "enum": ["LEAD", "COMPANY"], "description": "What the rows are." })
}

fn columns(description: &str) -> Value {
    json!({ "type": "array", "items": { "type": "string" }, "description": description })
}

fn input_schema(description: &str) -> Value {
    json!({
        "type": "object",
        "description": description,
        "additionalProperties": {
            "anyOf": [
                { "type": "string" },
                {
                    "type": "object",
                    "properties": {
                        "type": { "type": "string" },
                        "description": { "type": "string" },
                        "required": { "type": "boolean" }
                    }
                }
            ]
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_by_either_name() {
        assert_eq!(find("enrich_company").unwrap().name, "company_enrichment");
        assert_eq!(find("filter").unwrap().role, Role::Filter);
        assert!(find("sort").is_none());
    }

    #[test]
    fn names_are_fit_for_file_names() {
        for entry in CATALOGUE {
            assert!(entry.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{}", entry.name);
        }
    }

    #[test]
    fn what_is_not_offered_is_not_listed() {
        let listed = descriptions();
        assert!(listed.iter().any(|block| block.block_name == "read_csv"));
        assert!(listed.iter().all(|block| block.block_name != "company_to_leads"));
        assert!(listed.iter().all(|block| block.specs_schema["type"] == "object"));
    }
}
