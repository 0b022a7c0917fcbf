//! The runs that `pull` was asked for: ids, the beginnings of ids, `last`, ids on standard input, and all runs of a workflow.

use std::collections::HashSet;
use std::io::Read as _;

use serde_json::Value;

use super::run_list::{ListedRuns, MOST_RUNS, list_runs};
use crate::api::{Run, RunId};
use crate::cli::context::Context;
use crate::cli::error::{Error, Failure};
use crate::cli::run_selection::RunSelectionArgs;
use crate::client::{self, Client, RunFilter};
use crate::text::{counted, escape_for_terminal};

/// The word for the newest run.
const LAST: &str = "last";

/// The word for ids on standard input.
const STDIN: &str = "-";

/// Longest text on standard input: some 100,000 lines of `runs ls -o ndjson`.
const MAX_STDIN_BYTES: u64 = 64 << 20;

/// Ids that messages name; the others are counted.
const NAMED_RUNS: usize = 5;

/// Returns the selected runs, at least one, each once: those of words in their order, those of a workflow oldest first.
pub(super) async fn selected_runs(
    context: &Context,
    client: &Client,
    selection: &RunSelectionArgs,
) -> Result<Vec<RunId>, Failure> {
    let mut words = Vec::new();
    for word in &selection.runs {
        match word.as_str() {
            STDIN if selection.runs.iter().filter(|word| *word == STDIN).count() > 1 => {
                return Err(Error::Usage("standard input (`-`) can be read only once".into()).into());
            }
            STDIN => words.extend(words_of_stdin().await?),
            word => words.push(word.to_owned()),
        }
    }
    if selection.runs.is_empty() {
        return runs_of_workflow(context, client, selection).await;
    }
    let needs_list = |word: &str| !is_whole_id(word);
    if !words.iter().any(|word| needs_list(word)) {
        if let Some(flag) = selection.first_filter() {
            return Err(Failure::new(
                Error::Usage(format!(
                    "`{flag}` applies only to the runs of a workflow, `last` and the beginnings of ids"
                )),
                "leave it out, because the ids are whole; or leave the ids out and specify `--workflow W`",
            ));
        }
        return Ok(each_once(context, words.into_iter().map(RunId)));
    }
    let listed = listed(context, client, selection, selection.status.clone()).await?;
    let runs = words.iter().map(|word| match needs_list(word) {
        true => run_of_word(word, &listed, selection),
        false => Ok(RunId(word.clone())),
    });
    let runs = runs.collect::<Result<Vec<_>, _>>()?;
    Ok(each_once(context, runs.into_iter()))
}

/// Lists the runs that the filters of `selection` select, in a state.
async fn listed(
    context: &Context,
    client: &Client,
    selection: &RunSelectionArgs,
    status: Option<String>,
) -> Result<ListedRuns, Failure> {
    let workflow = match &selection.workflow {
        Some(text) => Some(client.find_workflow(text).await?.id),
        None => None,
    };
    let filter = RunFilter { status, workflow, limit: Some(MOST_RUNS) };
    list_runs(context, client, &filter, &selection.period).await
}

/// Returns all runs that the filters select, oldest first.
async fn runs_of_workflow(
    context: &Context,
    client: &Client,
    selection: &RunSelectionArgs,
) -> Result<Vec<RunId>, Failure> {
    let status = selection.status.clone().unwrap_or_else(|| "completed".to_owned());
    let ListedRuns { runs, is_cut, .. } = listed(context, client, selection, Some(status.clone())).await?;
    let workflow = selection.workflow.as_deref().unwrap_or_default();
    // An output of all runs without some of them would be taken for all.
    if is_cut {
        return Err(Failure::new(
            Error::Usage(format!(
                "the API lists only the last {MOST_RUNS} runs of workflow {workflow}, and there may be older ones"
            )),
            "choose a later `--since`, or give the ids of the runs on standard input: `drawoff pull - -o OUT`",
        ));
    }
    if runs.is_empty() {
        let text = format!("workflow {workflow} has no run in state {status} among those that are selected");
        return Err(Failure::new(client::Error::NoSuchRun(text), "list its runs with `drawoff runs ls --workflow W`"));
    }
    Ok(runs.into_iter().rev().map(|run| run.job_id).collect())
}

/// Returns the run that a word names which may be no whole id: `last`, or the beginning of the id of a listed run. Other words
/// are taken for ids if the list does not have all runs.
fn run_of_word(word: &str, listed: &ListedRuns, selection: &RunSelectionArgs) -> Result<RunId, Failure> {
    let newest_first = &listed.runs;
    if word == LAST {
        return match newest_first.first() {
            Some(run) => Ok(run.job_id.clone()),
            None => {
                let which = if selection.first_filter().is_some() { "no run is selected" } else { "there is no run" };
                Err(Failure::new(client::Error::NoSuchRun(which.to_owned()), "list runs with `drawoff runs ls`"))
            }
        };
    }
    if newest_first.iter().any(|run| run.job_id.0 == word) {
        return Ok(RunId(word.to_owned()));
    }
    let found: Vec<&Run> = newest_first.iter().filter(|run| run.job_id.0.starts_with(word)).collect();
    match &found[..] {
        [run] => Ok(run.job_id.clone()),
        [] if listed.is_cut || selection.first_filter().is_some() => Ok(RunId(word.to_owned())),
        [] => Err(Failure::new(
            client::Error::NoSuchRun(format!("there is no run `{word}`")),
            "list runs with `drawoff runs ls`",
        )),
        _ => {
            let candidates = found.iter().take(NAMED_RUNS).map(|run| {
                let time = run.queued_at.as_deref().unwrap_or("at an unknown time");
                format!("{} ({}, {time})", run.job_id, run.workflow_name)
            });
            let mut text = format!("{} begin with `{word}`: ", counted(found.len() as u64, "run"));
            text.push_str(&candidates.collect::<Vec<_>>().join(", "));
            if found.len() > NAMED_RUNS {
                text.push_str(&format!(" and {} more", found.len() - NAMED_RUNS));
            }
            Err(Failure::new(Error::Usage(text), "type more of the id"))
        }
    }
}

/// Returns true for a UUID, the form of the API's ids: it is the beginning of no other id, and need not be looked up.
fn is_whole_id(word: &str) -> bool {
    let groups: Vec<&str> = word.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.iter().all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Drops the repetitions of runs, with a note.
fn each_once(context: &Context, runs: impl Iterator<Item = RunId>) -> Vec<RunId> {
    let mut seen = HashSet::new();
    let (once, repeated): (Vec<RunId>, Vec<RunId>) = runs.partition(|run| seen.insert(run.clone()));
    if !repeated.is_empty() {
        let names: HashSet<&str> = repeated.iter().map(|run| run.0.as_str()).collect();
        let (n, mut names) = (names.len(), names.into_iter().collect::<Vec<_>>());
        names.sort_unstable();
        names.truncate(NAMED_RUNS);
        let more = if n > NAMED_RUNS { format!(" and {} more", n - NAMED_RUNS) } else { String::new() };
        let text = format!("named more than once, but written once: {}{more}", names.join(", "));
        context.screen.note(&escape_for_terminal(&text));
    }
    once
}

/// Reads words from standard input, on a blocking thread: a pipe may pause for any time, and Ctrl-C must still work.
async fn words_of_stdin() -> Result<Vec<String>, Failure> {
    let read = tokio::task::spawn_blocking(|| {
        let mut bytes = Vec::new();
        std::io::stdin().lock().take(MAX_STDIN_BYTES + 1).read_to_end(&mut bytes).map(|_| bytes)
    });
    let read = read.await.map_err(|error| Error::Bug(error.to_string()))?;
    let bytes = read.map_err(|cause| Error::Read { path: "standard input".into(), cause })?;
    if bytes.len() as u64 > MAX_STDIN_BYTES {
        return Err(Error::Usage("standard input is too long for a list of runs".into()).into());
    }
    let words = String::from_utf8(bytes).ok().map(|text| words_of(&text));
    let words = words.unwrap_or_else(|| Err("it is not UTF-8".to_owned())).map_err(|why| {
        Failure::new(
            Error::Usage(format!("standard input is no list of runs: {why}")),
            "write one id a line, or the output of `drawoff runs ls -o ndjson`",
        )
    })?;
    if words.is_empty() {
        return Err(Failure::new(
            client::Error::NoSuchRun("standard input has no id of a run".into()),
            "list runs with `drawoff runs ls`",
        ));
    }
    Ok(words)
}

/// Returns the ids in `text`: one a line; or JSON values, each an id, an object with one, or an array of these.
fn words_of(text: &str) -> Result<Vec<String>, String> {
    let text = text.trim_start_matches('\u{feff}');
    if !text.trim_start().starts_with(['{', '[', '"']) {
        let words = text.lines().map(str::trim).filter(|line| !line.is_empty());
        return words
            .map(|word| match word.contains(char::is_whitespace) || word == STDIN {
                true => Err(format!("`{word}` is no id")),
                false => Ok(word.to_owned()),
            })
            .collect();
    }
    let mut words = Vec::new();
    for value in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
        match value.map_err(|error| error.to_string())? {
            Value::Array(values) => values.iter().try_for_each(|value| word_of(value).map(|word| words.push(word)))?,
            value => words.push(word_of(&value)?),
        }
    }
    Ok(words)
}

/// Returns the id of a JSON value: the value itself, or the member that the API's lists and states have.
fn word_of(value: &Value) -> Result<String, String> {
    let id = ["job_id", "run_id"].iter().find_map(|name| value.get(name)).unwrap_or(value);
    match id.as_str() {
        Some(id) if !id.is_empty() && id != STDIN => Ok(id.to_owned()),
        _ => Err("a value in it has no id of a run as `job_id` or `run_id`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_runs_are_lines_or_json() {
        let words = |text: &str| words_of(text).map(|words| words.join(" "));
        assert_eq!(words("a\n\n  b \r\nc").unwrap(), "a b c");
        assert_eq!(words("{\"job_id\":\"a\",\"x\":1}\n{\"run_id\":\"b\"}\n").unwrap(), "a b");
        assert_eq!(words("\"a\"\n\"b\"").unwrap(), "a b");
        assert_eq!(words("[{\"job_id\": \"a\"}, \"b\"]").unwrap(), "a b");
        assert_eq!(words("{\n \"job_id\": \"a\"\n}\n{\n \"job_id\": \"b\"\n}").unwrap(), "a b");
        assert_eq!(words("").unwrap(), "");
        for text in
            ["a b", "{\"id\":\"a\"}", "{\"job_id\":7}", "{\"job_id\":\"a\"", "[[\"a\"]]", "-", "\"-\"", "[\"\"]"]
        {
            assert!(words(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_whole_uuids_are_not_looked_up() {
        assert!(is_whole_id("0b7cf3a4-1f7e-4c55-8a39-9e2d6f1c0a77"));
        for word in ["0b7cf3a4-1f7e-4c55-8a39-9e2d6f1c0a7", "0b7c", "last", "", "0b7cf3a4-1f7e-4c55-8a39-9e2d6f1c0a7x"]
        {
            assert!(!is_whole_id(word), "{word}");
        }
    }
}
