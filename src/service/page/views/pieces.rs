//! Pieces that several views have: states, times, durations, numbers, links and tables of runs. All spell a number, a
//! duration and a state in one way.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value};

use crate::api::{Graph, RunStatus};
use crate::service::page::graph::{Node, symbol};
use crate::service::page::html::Html;
use crate::service::rows::{BlockRow, BlockStatus, RunRow};
use crate::text::{human_count, human_duration};

/// Shortest time from which a rate is computed: below it, the time is that of the store, not of the rows.
const MIN_RATE_TIME: Duration = Duration::from_millis(50);

/// Appends a table of runs. `id` is that of the heading.
pub(super) fn run_table(body: &mut Html, id: &'static str, runs: &[RunRow], now: DateTime<Utc>) {
    body.tag("<div class=\"scroll\" role=\"group\" aria-labelledby=\"")
        .tag(id)
        .tag("\" tabindex=\"0\" id=\"t-")
        .tag(id);
    body.tag(
        "\"><table><thead><tr><th scope=\"col\">Run</th><th scope=\"col\">State</th><th scope=\"col\">Queued</th>",
    );
    body.tag("<th scope=\"col\" class=\"n\">Duration</th><th scope=\"col\" class=\"n\">Rows in</th>");
    body.tag("<th scope=\"col\" class=\"n\">Rows out</th></tr></thead><tbody>");
    for run in runs {
        body.tag("<tr ");
        data(body, run);
        body.tag("><th scope=\"row\">");
        run_link(body, run, "run");
        body.tag("</th><td>");
        state(body, run.status.as_str());
        if let Some(error) = &run.error_message {
            body.tag("<div class=\"error\">").text(shortened(error, 200)).tag("</div>");
        }
        body.tag("</td><td>");
        timestamp(body, Some(run.queued_at));
        body.tag("</td><td class=\"n\">").text(run_duration(run, now)).tag("</td><td class=\"n\">");
        body.text(count_or_dash(rows_in(run))).tag("</td><td class=\"n\">").text(count_or_dash(rows_out(run)));
        body.tag("</td></tr>");
    }
    body.tag("</tbody></table></div>");
}

/// Returns the rows that the first block has read; `None` before it has begun.
pub(super) fn rows_in(run: &RunRow) -> Option<u64> {
    let source = run.blocks.iter().find(|block| block.previous_block_ids.is_empty())?;
    (source.status == BlockStatus::Completed || source.processed > 0).then_some(source.processed)
}

/// Returns the rows of the last block; `None` before the run has completed.
pub(super) fn rows_out(run: &RunRow) -> Option<u64> {
    run.blocks.last().filter(|_| run.status == RunStatus::Completed).map(|block| block.row_count)
}

pub(super) fn count_or_dash(count: Option<u64>) -> String {
    count.map_or_else(|| "–".to_owned(), human_count)
}

/// Appends the attributes by which the script identifies a run and notices a change of its state.
pub(super) fn data(body: &mut Html, run: &RunRow) {
    body.tag("data-run=\"").text(&run.id).tag("\" data-state=\"").text(run.status.as_str());
    body.tag("\" data-name=\"").text(&run.workflow_name).tag("\"");
}

/// Appends a link to a run. `prefix` keeps element ids unique on a page that shows a run more than once.
pub(super) fn run_link(body: &mut Html, run: &RunRow, prefix: &'static str) {
    let short: String = run.id.0.chars().take(8).collect();
    body.tag("<a id=\"").tag(prefix).tag("-").text(&run.id).tag("\" href=\"").text(page_path("runs", &run.id.0));
    body.tag("\">").text(&run.workflow_name).tag(" <code>").text(short).tag("</code></a>");
}

/// Appends a state by sign, word and colour.
pub(super) fn state(body: &mut Html, name: &str) {
    body.tag("<span class=\"state ").text(name).tag("\"><span aria-hidden=\"true\">").text(symbol(name));
    body.tag("</span> ").text(name).tag("</span>");
}

/// Appends the progress of a run, and of its current block with its rate and the time that is left for it.
pub(super) fn progress(body: &mut Html, run: &RunRow, now: DateTime<Utc>) {
    let percent = run.live().overall_progress_percentage;
    body.tag("<progress max=\"100\" value=\"").text(percent).tag("\" aria-label=\"Progress of the run\">");
    body.tag("</progress> ").text(percent).tag(" %");
    let Some(block) = run.blocks.iter().find(|block| block.status == BlockStatus::Running) else { return };
    body.tag(" · block ")
        .text(block.sequence_number)
        .tag(" of ")
        .text(run.blocks.len())
        .tag(", ")
        .text(&block.block_name);
    body.tag(" · ").text(rows_read(block));
    if let Some(rate) = rate(block, now) {
        body.tag(" · ").text(rate);
    }
    if let Some(left) = time_left(block, now) {
        body.tag(" · ").text(left).tag(" left in this block");
    }
}

/// Returns the rows that a block has read: `1 200 of 6 000 rows`, or `6 000 rows` once it has read all.
pub(super) fn rows_read(block: &BlockRow) -> String {
    match block.total.filter(|total| *total != block.processed) {
        Some(total) => format!("{} of {}", human_count(block.processed), rows(total)),
        None => rows(block.processed),
    }
}

/// Returns a number of rows with its noun.
pub(super) fn rows(n: u64) -> String {
    crate::text::counted(n, "row")
}

/// Returns the rows per second that a block has read; `None` if it was too short for that, or has read none.
pub(super) fn rate(block: &BlockRow, now: DateTime<Utc>) -> Option<String> {
    let rate = rows_per_second(block, now)?;
    let number = if rate >= 10.0 { human_count(rate.round() as u64) } else { format!("{rate:.1}") };
    Some(format!("{number} rows/s"))
}

fn rows_per_second(block: &BlockRow, now: DateTime<Utc>) -> Option<f64> {
    let span = block_time(block, now).filter(|span| *span >= MIN_RATE_TIME)?;
    (block.processed > 0).then(|| block.processed as f64 / span.as_secs_f64())
}

fn time_left(block: &BlockRow, now: DateTime<Utc>) -> Option<String> {
    let left = block.total?.saturating_sub(block.processed);
    let seconds = left as f64 / rows_per_second(block, now)?;
    // The longest time that is worth a number: beyond a year it says only that the block will not end.
    Duration::try_from_secs_f64(seconds).ok().filter(|left| left.as_secs() < 365 * 86_400).map(duration)
}

/// Returns the time that a block has taken, or has taken until `now`; `None` if it has not begun.
pub(super) fn block_time(block: &BlockRow, now: DateTime<Utc>) -> Option<Duration> {
    let end = block.completed_at.unwrap_or(now);
    block.started_at.map(|start| (end - start).to_std().unwrap_or_default())
}

/// Formats a duration: in milliseconds below a second, because most runs of a test are that short.
pub(super) fn duration(duration: Duration) -> String {
    match duration.as_millis() {
        millis @ 0..1000 => format!("{millis} ms"),
        _ => human_duration(duration),
    }
}

/// Returns the duration of a run until its end, or until now; a dash if it has not started.
pub(super) fn run_duration(run: &RunRow, now: DateTime<Utc>) -> String {
    let Some(started) = run.started_at else { return "–".to_owned() };
    duration((run.completed_at.unwrap_or(now) - started).to_std().unwrap_or_default())
}

/// Appends a time, as UTC; the script shows it in the zone of the browser.
pub(super) fn timestamp(body: &mut Html, time: Option<DateTime<Utc>>) {
    match time {
        Some(time) => {
            let text = time.to_rfc3339_opts(SecondsFormat::Secs, true).replace('T', " ").replace('Z', "");
            body.tag("<time datetime=\"").text(time.to_rfc3339_opts(SecondsFormat::Millis, true)).tag("\" title=\"");
            body.text(&text).tag(" UTC\">").text(text).tag("</time>");
        }
        None => {
            body.tag("–");
        }
    }
}

/// Parses a time in the API's format.
pub(super) fn parse_time(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.with_timezone(&Utc))
}

pub(super) fn status_name(status: BlockStatus) -> &'static str {
    match status {
        BlockStatus::Pending => "pending",
        BlockStatus::Running => "running",
        BlockStatus::Completed => "completed",
        BlockStatus::Failed => "failed",
    }
}

/// Returns the nodes of a drawing of a workflow, each with the beginning of its specs.
pub(super) fn nodes_of(graph: &Graph) -> Vec<Node> {
    let mut blocks: Vec<_> = graph.blocks.iter().collect();
    blocks.sort_by_key(|block| block.sequence_number);
    let index_of = |id: &str| blocks.iter().position(|block| block.block_id.as_deref() == Some(id));
    let node = |i: usize| {
        let block = blocks[i];
        let incoming = graph.edges.iter().filter(|edge| Some(edge.to_block_id.as_str()) == block.block_id.as_deref());
        Node {
            number: block.sequence_number,
            name: block.block_name.clone(),
            state: "",
            detail: specs_summary(&block.specs),
            percent: None,
            parents: incoming.filter_map(|edge| index_of(&edge.from_block_id)).collect(),
        }
    };
    (0..blocks.len()).map(node).collect()
}

/// Returns the specs that are set, on one line.
fn specs_summary(specs: &Map<String, Value>) -> String {
    let set = specs.iter().filter(|(_, value)| !value.is_null());
    escaped_json(&set.map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join(", "))
}

/// Returns JSON on several lines.
pub(super) fn pretty(value: &impl serde::Serialize) -> String {
    escaped_json(&serde_json::to_string_pretty(value).unwrap_or_default())
}

/// Escapes the characters of JSON text that the page would replace, so that what is copied from it is what was stored.
pub(super) fn escaped_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            // Within a string, because JSON has them nowhere else.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

/// Returns the path of the page of a run or workflow; `kind` is `runs` or `workflows`.
pub(super) fn page_path(kind: &str, id: &str) -> String {
    format!("/ui/{kind}/{}", path_segment(id))
}

/// Percent-encodes a text as one segment of a path.
pub(super) fn path_segment(text: &str) -> String {
    crate::api::routes::with_id("{id}", text)
}

/// Encodes a text as a value of a query.
pub(super) fn query_value(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// Returns the first `max` characters of a text.
pub(super) fn shortened(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_in_units_of_their_size() {
        for (millis, text) in [(0, "0 ms"), (999, "999 ms"), (1000, "1.0 s"), (65_000, "1 min 5 s")] {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn copied_json_is_the_stored_json() {
        let stored = serde_json::json!({ "a\u{202e}": "<\u{2066}\"é" });
        let shown = pretty(&stored);
        assert!(shown.contains("\\u202e") && shown.contains("\\u2066") && shown.contains('é'), "{shown}");
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), stored);
    }

    #[test]
    fn a_block_has_a_rate_and_a_time_that_is_left() {
        let now = parse_time("2026-11-24T12:00:10Z").unwrap();
        let mut block: BlockRow = serde_json::from_value(serde_json::json!({
            "block_id": "b", "block_name": "filter", "sequence_number": 1, "previous_block_ids": [], "rows": "LEAD",
            "status": "running", "started_at": "2026-11-24T12:00:00Z", "completed_at": null,
            "updated_at": "2026-11-24T12:00:00Z", "processed": 1200, "total": 6000, "row_count": 0, "fraction": 0.2,
            "note": null, "error_message": null, "files": [], "results": null
        }))
        .unwrap();
        assert_eq!(rows_read(&block), "1 200 of 6 000 rows");
        assert_eq!(rate(&block, now).unwrap(), "120 rows/s");
        assert_eq!(time_left(&block, now).unwrap(), "40 s");
        block.processed = 0;
        assert_eq!((rate(&block, now), time_left(&block, now)), (None, None));
        (block.processed, block.total) = (1, Some(1));
        assert_eq!(rows_read(&block), "1 row");
        assert_eq!(rate(&block, now).unwrap(), "0.1 rows/s");
        assert_eq!(rate(&block, block.started_at.unwrap()), None, "too short");
    }
}
