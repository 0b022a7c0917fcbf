//! The blocks: what each does here, which rows it takes, and the JSON Schema of its specs.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::api::BlockDescription;
use crate::transform::Figure;

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
    /// Source: rows that a provider finds.
    Search,
    /// Source: rows of a notebook.
    ReadNotebook,
    /// Leaves out the rows that a notebook has.
    NotInNotebook,
    /// Appends rows to a notebook.
    Append,
    /// Puts rows together.
    Group,
    /// Makes rows of the people of companies.
    CompanyToLeads,
    /// Makes rows of the companies of people.
    LeadsToCompany,
    /// Changes rows by steps; without any it adds columns, as [`Role::Enrich`].
    Transform,
    /// Hands rows to the outside; here they only pass through.
    Deliver,
}

impl Role {
    /// True for blocks that rows come from.
    pub(super) fn is_source(self) -> bool {
        matches!(self, Role::Webhook | Role::ReadCsv | Role::Search | Role::ReadNotebook)
    }

    /// True for blocks that a provider can stand in for.
    pub(super) fn takes_provider(self) -> bool {
        matches!(self, Role::Enrich | Role::Search | Role::Transform)
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
    /// The rows it takes; `None` takes both.
    pub rows: Option<RowType>,
    /// The rows it gives; `None` gives what it takes.
    pub gives: Option<RowType>,
}

const fn entry(name: &'static str, role: Role) -> Entry {
    Entry { name, old_name: None, role, rows: None, gives: None }
}

const fn enrich(name: &'static str, rows: RowType) -> Entry {
    Entry { name, old_name: None, role: Role::Enrich, rows: Some(rows), gives: None }
}

const fn turn(name: &'static str, role: Role, rows: RowType, gives: RowType) -> Entry {
    Entry { name, old_name: None, role, rows: Some(rows), gives: Some(gives) }
}

/// All block names that public material shows.
static CATALOGUE: &[Entry] = &[
    entry("webhook", Role::Webhook),
    entry("read_csv", Role::ReadCsv),
    entry("read_notebook", Role::ReadNotebook),
    entry("search", Role::Search),
    Entry { old_name: Some("enrich_lead"), ..enrich("lead_enrichment", RowType::Lead) },
    Entry { old_name: Some("enrich_company"), ..enrich("company_enrichment", RowType::Company) },
    // Our reading: which rows it takes is not public, so both are taken.
    entry("linkedin_enrichment", Role::Enrich),
    enrich("find_email", RowType::Lead),
    enrich("find_phone", RowType::Lead),
    enrich("verify_email", RowType::Lead),
    enrich("reverse_email", RowType::Lead),
    enrich("reverse_phone", RowType::Lead),
    turn("company_to_leads", Role::CompanyToLeads, RowType::Company, RowType::Lead),
    turn("leads_to_company", Role::LeadsToCompany, RowType::Lead, RowType::Company),
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
    entry("transform_data", Role::Transform),
    entry("filter", Role::Filter),
    entry("deduplicate", Role::Deduplicate),
    entry("deduplicate_wrt_notebook", Role::NotInNotebook),
    entry("group_by", Role::Group),
    entry("remove_columns", Role::RemoveColumns),
    entry("append_to_notebook", Role::Append),
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
        Role::Search => (
            json!({
                "query": { "type": "string" },
                "max_results": { "type": "integer", "minimum": 0 },
                "dataframe_type": dataframe_type()
            }),
            json!([]),
        ),
        Role::ReadNotebook => {
            (json!({ "notebook_id": notebook_id(), "dataframe_type": dataframe_type() }), json!(["notebook_id"]))
        }
        Role::NotInNotebook => (
            json!({
                "notebook_id": notebook_id(),
                "columns": columns("What tells rows apart; the whole row when absent or empty.")
            }),
            json!(["notebook_id"]),
        ),
        Role::Append => (
            json!({
                "notebook_id": {
                    "type": "string",
                    "description": "Id of the notebook; made if it is not there. Absent or __create_new__: one is made by each run."
                },
                "notebook_name": { "type": "string", "description": "Its name, when it is made." }
            }),
            json!([]),
        ),
        Role::Group => (
            json!({
                "columns": columns("Rows with the same values in these become one."),
                "aggregations": {
                    "description": "Figures over each group; the number of rows when absent. A list of {column,                         function, name}, or an object of columns with one function or several.",
                    "anyOf": [
                        {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "properties": {
                                    "column": { "type": "string" },
                                    "function": { "type": "string", "enum": figures() },
                                    "name": { "type": "string" }
                                },
                                "required": ["function"]
                            }
                        },
                        { "type": "object" },
                        { "type": "null" }
                    ]
                }
            }),
            json!(["columns"]),
        ),
        Role::CompanyToLeads => (
            json!({ "column": {
                "type": "string",
                "description": "Local reading: the column with each company's list of people; else the first of                     leads, people, contacts, key_people, team, employees that holds one."
            } }),
            json!([]),
        ),
        Role::LeadsToCompany => (
            json!({ "columns": columns("Local reading: what tells companies apart; else the first of company_id,                 company_domain, company_website, company_linkedin, company_url, company_name, company that is there.") }),
            json!([]),
        ),
        Role::Transform => (
            json!({
                "steps": {
                    "type": "array",
                    "description": "Local extension: each step is an object with one member.",
                    "items": {
                        "type": "object",
                        "minProperties": 1,
                        "maxProperties": 1,
                        "properties": {
                            "where": { "type": "string", "description": "Keep the rows of which this is true: score > 0.8" },
                            "select": { "type": ["string", "array"], "description": "Keep these columns: a,b,hq.city" },
                            "drop": { "type": ["string", "array"], "description": "Drop these columns." },
                            "rename": { "type": ["string", "array"], "description": "New names: a=b" },
                            "limit": { "type": "integer", "minimum": 0, "description": "Keep the first rows, so many." }
                        }
                    }
                },
                "return_fields": { "type": ["object", "null"] }
            }),
            json!([]),
        ),
        Role::Deliver => (json!({}), json!([])),
    };
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": true })
}

fn notebook_id() -> Value {
    json!({ "type": "string", "description": "Id of the notebook, as append_to_notebook has it." })
}

fn figures() -> Vec<&'static str> {
    Figure::WORDS.iter().map(|(word, _)| *word).collect()
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
    fn all_blocks_are_listed() {
        let listed = descriptions();
        assert!(listed.iter().any(|block| block.block_name == "read_csv"));
        assert!(listed.iter().all(|block| block.specs_schema["type"] == "object"));
    }
}
