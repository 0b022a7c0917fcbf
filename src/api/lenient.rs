//! Lenient reading of responses: a client needs ids, states and URLs; any other member that is not as expected must not
//! make a response unusable, above all that to a start that is paid for.

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Reads a member that the client can do without: the default of its type for null and for any value of another type. A
/// whole number may be written with a fraction of zero (`900.0`).
pub(super) fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(from: D) -> Result<T, D::Error> {
    Ok(read(from)?.unwrap_or_default())
}

/// Reads a list of which odd entries are left out; empty for null and for any value of another type.
pub(super) fn lenient_list<'de, D: Deserializer<'de>, T: DeserializeOwned>(from: D) -> Result<Vec<T>, D::Error> {
    let values: Vec<Value> = lenient(from)?;
    Ok(values.iter().filter_map(|value| T::deserialize(value).ok()).collect())
}

/// Reads a value of type `T`; `None` if it is of another type.
pub(super) fn read<'de, D: Deserializer<'de>, T: DeserializeOwned>(from: D) -> Result<Option<T>, D::Error> {
    let value = Value::deserialize(from)?;
    Ok(T::deserialize(&value).ok().or_else(|| T::deserialize(whole_number(&value)?).ok()))
}

/// Reads a number that decides which of several things is meant, so that a value that is taken for absent would mean
/// another one. It may be written as text; any other type is an error.
pub(super) fn decisive_number<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    let value = Value::deserialize(from)?;
    let number = match &value {
        Value::Null => return Ok(None),
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_i64().or_else(|| whole_number(other)?.as_i64()),
    };
    let error = || D::Error::custom(format_args!("{value} is not a whole number"));
    number.map(Some).ok_or_else(error)
}

/// Returns a number with a fraction of zero as an integer, if a double holds it exactly.
fn whole_number(value: &Value) -> Option<Value> {
    /// From here on, neighbouring integers share a double.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let number = value.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < EXACT)?;
    Some(Value::from(number as i64))
}

#[cfg(test)]
mod tests {
    use super::super::*;

    #[test]
    fn a_client_needs_ids_states_and_urls_only() {
        let started: RunStarted = serde_json::from_str(r#"{"job_id":"r1"}"#).unwrap();
        assert_eq!((started.job_id.0.as_str(), started.already_started), ("r1", None));
        let started: BulkStarted =
            serde_json::from_str(r#"{"task_id":"r1","status":null,"row_count":"many","already_started":"yes"}"#)
                .unwrap();
        assert_eq!((started.task_id.0.as_str(), started.row_count, started.already_started), ("r1", None, None));
        let link: DownloadLink = serde_json::from_str(
            r#"{"filename":"a.csv","storage_bucket":null,"row_count":2.0,"file_size":-1,"download_url":"u",
                "download_expires_in_seconds":null,"block_number":"1","results":[1],"message":{}}"#,
        )
        .unwrap();
        assert_eq!((link.row_count, link.file_size, link.download_expires_in_seconds), (Some(2), None, 900));
        assert_eq!(link.block_number, Some(1));
        let links = r#"{"filename":"a.csv","row_count":-1,"download_url":"u","download_expires_in_seconds":1e300}"#;
        let link: DownloadLink = serde_json::from_str(links).unwrap();
        assert_eq!((link.row_count, link.download_expires_in_seconds), (None, 900));
        let workflows: Vec<Workflow> =
            serde_json::from_str(r#"[{"id":"w","name":null,"step":null},{"id":"v","name":"V","status":7}]"#).unwrap();
        assert_eq!((workflows[0].name.as_str(), workflows[1].name.as_str()), ("", "V"));
        let live: LiveStatus = serde_json::from_str(
            r#"{"run_id":"r1","overall_status":"running","total_blocks":null,"overall_progress_percentage":"half",
                "blocks":[{"block_name":"filter","sequence_number":1,"status":"running","metrics":null},{"odd":true}]}"#,
        )
        .unwrap();
        assert_eq!((live.total_blocks, live.blocks.len(), live.blocks[0].metrics.row_count), (0, 1, 0));
        assert!(serde_json::from_str::<LiveStatus>(r#"{"run_id":"r1"}"#).is_err(), "a state is needed");
        assert!(serde_json::from_str::<RunStarted>(r#"{"status":"queued"}"#).is_err(), "an id is needed");
    }

    #[test]
    fn a_block_number_is_read_or_the_link_is_refused() {
        let number = |text: &str| {
            let link = format!(r#"{{"filename":"a","download_url":"u","block_number":{text}}}"#);
            serde_json::from_str::<DownloadLink>(&link).map(|link| link.block_number)
        };
        for (text, expected) in [("3", 3), ("-1", -1), ("3.0", 3), ("\"10\"", 10), ("\" 7 \"", 7)] {
            assert_eq!(number(text).unwrap(), Some(expected), "{text}");
        }
        assert_eq!(number("null").unwrap(), None);
        for text in ["\"last\"", "\"\"", "1.5", "9223372036854775808", "1e300", "true", "{}", "[1]"] {
            let error = number(text).unwrap_err().to_string();
            assert!(error.contains("is not a whole number"), "{text}: {error}");
        }
    }
}
