//! The list of runs that `runs ls`, `sync` and `pull` select from: filters of the API, and the period, which it does not
//! know.

use crate::api::Run;
use crate::cli::context::Context;
use crate::cli::error::Failure;
use crate::cli::period::Period;
use crate::client::{Client, RunFilter};
use crate::text::escape_for_terminal;

/// The most runs that the API lists; it has no pages.
pub(super) const MOST_RUNS: u32 = 500;

/// Known values of `--status`. Others are sent with a note, because the API may have added some.
const STATUS_WORDS: [&str; 7] = ["queued", "running", "completed", "failed", "cancelled", "timeout", "active"];

/// Runs that match a filter and a period.
pub(super) struct ListedRuns {
    /// The runs, newest first.
    pub runs: Vec<Run>,
    /// True if the API may have older runs that match, which it does not list.
    pub is_cut: bool,
    /// The time of the oldest run that the API listed, in the period or not.
    pub since: Option<String>,
}

/// Lists the runs that match `filter` and were queued within `period`.
pub(super) async fn list_runs(
    context: &Context,
    client: &Client,
    filter: &RunFilter,
    period: &Period,
) -> Result<ListedRuns, Failure> {
    if let Some(word) = filter.status.as_ref().filter(|word| !STATUS_WORDS.contains(&word.as_str())) {
        let word = escape_for_terminal(word);
        context.screen.note(&format!("unknown status `{word}`; known are {}", STATUS_WORDS.join(", ")));
    }
    let mut runs = client.runs(filter).await?;
    // Behind a run before the period there are only older ones.
    let is_full = filter.limit == Some(MOST_RUNS) && runs.len() >= MOST_RUNS as usize;
    let is_cut = is_full && runs.last().is_some_and(|oldest| !period.begins_after(oldest));
    let since = runs.last().and_then(|run| run.queued_at.clone().or_else(|| run.created_at.clone()));
    runs.retain(|run| period.has(run));
    Ok(ListedRuns { runs, is_cut, since })
}
