//! A plan: the settings that all workers share, and the work items. Its digest identifies both. Values only.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::types;
use crate::column::Schema;
use crate::text::hex;

/// Version of the written form. Another one is refused.
const VERSION: u32 = 1;

/// Hexadecimal digits of the id of an item: 128 bits of a digest.
const ITEM_DIGITS: usize = 32;

/// A step as it was typed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PlannedStep {
    /// The name of a step, such as `where`, and its text.
    Step(String, String),
    /// The contents of a steps file.
    File(String),
}

/// Settings that determine the rows of a part. They are in the plan, so that no two workers have different ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanSettings {
    /// The API's word for the format of all result files.
    pub format: String,
    /// Steps in their order; each looks at one row at a time.
    pub steps: Vec<PlannedStep>,
    /// Word of the policy for values that cannot be computed; `None` for that of a steps file, or the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_bad_cast: Option<String>,
    /// True if bad records are rejected; otherwise they fail the item.
    #[serde(default)]
    pub skips_bad_records: bool,
    /// True if bytes that are not UTF-8 become U+FFFD.
    #[serde(default)]
    pub lossy_utf8: bool,
    /// Text of the schema file; `None` without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// Word of the policy for columns and types that the schema file lacks.
    pub schema_policy: String,
    /// True if workers keep the rows as text, too, in which every value is spelled as it was read.
    pub keeps_records: bool,
    /// Columns that the workflows declare, in the form of a receipt's.
    pub declared: Value,
    /// Bytes of the longest record.
    pub max_record_bytes: u64,
    /// Columns of a part at most.
    pub max_columns: usize,
}

impl PlanSettings {
    /// Returns the written form of declared columns. Types that it does not have are left out.
    pub fn declared_form(schema: &Schema) -> Value {
        let written = schema.fields.iter().filter_map(|field| types::write(&Schema::new(vec![field.clone()])));
        written.filter_map(|value| value.as_array().cloned()).flatten().collect()
    }

    /// Returns the columns that the workflows declare; none if they cannot be read.
    pub fn declared(&self) -> Schema {
        types::read(&self.declared).unwrap_or_default()
    }
}

/// A result file to process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkItem {
    /// Id: the digest of the result file's identity.
    pub item: String,
    /// The result file.
    #[serde(flatten)]
    pub source: ItemSource,
    /// The digest of the plan.
    pub plan_digest: String,
}

/// The identity of a result file, without its link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemSource {
    /// The run.
    pub run_id: String,
    /// The workflow of the run; empty if the API has not said.
    pub workflow_id: String,
    /// Number of the block; `None` if the API has none.
    pub block: Option<i64>,
    /// Name of the file.
    pub filename: String,
    /// The API's count of records; `None` if it has none.
    pub row_count: Option<u64>,
    /// Size in bytes according to the API; `None` if it has none.
    pub file_size: Option<u64>,
}

/// The first line of a plan.
#[derive(Serialize, Deserialize)]
struct Head {
    drawoff_plan: u32,
    plan_digest: String,
    items: usize,
    #[serde(flatten)]
    settings: PlanSettings,
}

/// Settings and work items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Settings of all items.
    pub settings: PlanSettings,
    /// Items in the order of their records.
    pub items: Vec<WorkItem>,
    /// Digest of settings and items, in hexadecimal.
    pub digest: String,
}

impl Plan {
    /// Makes the plan of result files in the order of their records, each once.
    pub fn new(settings: PlanSettings, sources: Vec<ItemSource>) -> Self {
        let form = |source: &ItemSource| serde_json::to_string(source).expect("strings and numbers");
        let ids: Vec<String> =
            sources.iter().map(|s| digest_of(&["item", &form(s)])[..ITEM_DIGITS].to_owned()).collect();
        let settings_form = serde_json::to_string(&settings).expect("strings and numbers");
        let parts: Vec<&str> = ["plan", &settings_form].into_iter().chain(ids.iter().map(String::as_str)).collect();
        let digest = digest_of(&parts);
        let items = ids.into_iter().zip(sources);
        let items = items.map(|(item, source)| WorkItem { item, source, plan_digest: digest.clone() }).collect();
        Plan { settings, items, digest }
    }

    /// Returns the text of `plan.ndjson`.
    pub(super) fn text(&self) -> String {
        let (digest, settings) = (self.digest.clone(), self.settings.clone());
        let head = Head { drawoff_plan: VERSION, plan_digest: digest, items: self.items.len(), settings };
        let mut text = serde_json::to_string(&head).expect("strings and numbers");
        text.push('\n');
        for item in &self.items {
            text.push_str(&serde_json::to_string(item).expect("strings and numbers"));
            text.push('\n');
        }
        text
    }

    /// Reads the text of `plan.ndjson`. The error is the reason for which it is none.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines();
        let head = lines.next().unwrap_or_default();
        let version: Value = serde_json::from_str(head).map_err(|_| "its first line is not JSON".to_owned())?;
        match version.get("drawoff_plan").and_then(Value::as_u64) {
            None => return Err("its first line is not that of a plan".to_owned()),
            Some(version) if version != u64::from(VERSION) => {
                return Err(format!("it is of version {version}, and this drawoff reads version {VERSION}"));
            }
            Some(_) => {}
        }
        let head: Head = serde_json::from_value(version).map_err(|error| error.to_string())?;
        let sources: Result<Vec<WorkItem>, String> = lines
            .enumerate()
            .map(|(i, line)| serde_json::from_str(line).map_err(|error| format!("line {}: {error}", i + 2)))
            .collect();
        let plan = Plan::new(head.settings, sources?.into_iter().map(|item| item.source).collect());
        // Also what this version would ignore: it may determine rows.
        match plan.text() == text {
            true => Ok(plan),
            false => {
                Err("its digest differs from its contents: it was changed or cut, or is of a later version".to_owned())
            }
        }
    }

    /// Returns the runs in order, each once.
    pub fn runs(&self) -> Vec<&str> {
        let mut seen = std::collections::HashSet::new();
        self.items.iter().map(|item| &*item.source.run_id).filter(|run| seen.insert(*run)).collect()
    }

    /// Returns the API's count of all records; `None` if it has none of some item.
    pub fn row_count(&self) -> Option<u64> {
        self.items.iter().map(|item| item.source.row_count).sum()
    }
}

/// Returns the SHA-256 of `parts` in hexadecimal. Boundaries count.
fn digest_of(parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    digest.update(json!(parts).to_string());
    hex(&digest.finalize())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn settings() -> PlanSettings {
        PlanSettings {
            format: "ndjson".into(),
            steps: vec![PlannedStep::Step("where".into(), "a > 1".into()), PlannedStep::File("steps = []".into())],
            on_bad_cast: None,
            skips_bad_records: false,
            lossy_utf8: false,
            schema: None,
            schema_policy: "evolve".into(),
            keeps_records: true,
            declared: json!([["a", "int"]]),
            max_record_bytes: 1 << 20,
            max_columns: 100,
        }
    }

    pub(in super::super) fn sources(n: u64) -> Vec<ItemSource> {
        let source = |i| ItemSource {
            run_id: format!("r{i}"),
            workflow_id: "w".into(),
            block: Some(2),
            filename: "out.ndjson".into(),
            row_count: Some(i),
            file_size: None,
        };
        (0..n).map(source).collect()
    }

    #[test]
    fn a_plan_is_read_back_as_it_was_and_noticed_if_it_was_changed() {
        let plan = Plan::new(settings(), sources(3));
        let text = plan.text();
        assert_eq!(text.lines().count(), 4);
        assert_eq!(Plan::parse(&text).unwrap(), plan);
        assert_eq!((plan.row_count(), plan.runs()), (Some(3), vec!["r0", "r1", "r2"]));
        for (from, to, what) in [
            ("\"row_count\":2", "\"row_count\":5", "digest differs"),
            ("a > 1", "a > 2", "digest differs"),
            ("\"drawoff_plan\":1", "\"drawoff_plan\":2", "version 2"),
            ("\"drawoff_plan\":1", "\"x\":1", "not that of a plan"),
            ("\"lossy_utf8\":false", "\"lossy_utf8\":false,\"new\":1", ""),
            ("\"run_id\":\"r1\",", "", "line 3"),
        ] {
            let error = Plan::parse(&text.replacen(from, to, 1)).expect_err(to);
            assert!(error.contains(what), "{error}");
        }
        let cut: String = text.lines().take(3).map(|line| format!("{line}\n")).collect();
        assert!(Plan::parse(&cut).is_err());
    }

    #[test]
    fn settings_and_files_make_the_digest() {
        let plan = Plan::new(settings(), sources(2));
        let others = [
            Plan::new(PlanSettings { lossy_utf8: true, ..settings() }, sources(2)),
            Plan::new(settings(), sources(3)),
            Plan::new(settings(), sources(2).into_iter().rev().collect()),
        ];
        assert!(others.iter().all(|other| other.digest != plan.digest));
        assert_eq!(plan.items[0].item, others[0].items[0].item, "an item is a file, whatever becomes of it");
        assert_ne!(plan.items[0].item, plan.items[1].item);
    }
}
