//! `runs`: lists runs, shows and watches one, cancels it, and lists its result files. `--local-state` lists the ledgers
//! on this machine instead.

use std::time::Duration;

use serde_json::Value;

use super::ledger_session::{StateNeed, state_dir};
use super::results::watch;
use super::run_list::list_runs;
use crate::api::{DownloadLink, LiveStatus, RunId, RunStatus};
use crate::cli::args::RunsCommand;
use crate::cli::choices::ListFormat;
use crate::cli::context::Context;
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::table;
use crate::client::{Client, Pruned, RunFilter, StateDir, WatchOptions};
use crate::text::{counted, error_chain, escape_for_terminal, human_bytes, human_count, human_duration};

/// Runs one of the subcommands against the API.
pub(crate) async fn dispatch(context: &Context, command: RunsCommand) -> Result<Exit, Failure> {
    if let RunsCommand::Ls { local_state: true, prune, older_than, dry_run, limit, list, .. } = command {
        return match prune {
            true => prune_state(context, older_than, dry_run),
            false => list_ledgers(context, limit, list.output),
        };
    }
    let client = context.client()?;
    match command {
        RunsCommand::Ls { status, workflow, period, limit, list, .. } => {
            // The API filters by id only.
            let workflow = match workflow {
                Some(text) => Some(client.find_workflow(&text).await?.id),
                None => None,
            };
            let filter = RunFilter { status, workflow, limit };
            let runs = list_runs(context, &client, &filter, &period).await?.runs;
            let now = chrono::Utc::now();
            table::write_list(list.output, &runs, &["RUN", "WORKFLOW", "STATUS", "QUEUED", "COMPLETED"], |run| {
                let or_dash =
                    |time: &Option<String>| time.as_deref().map_or_else(|| "-".into(), |t| table::ago(t, now));
                let status = RunStatus::parse(&run.status).as_str().to_owned();
                vec![
                    run.job_id.to_string(),
                    run.workflow_name.clone(),
                    status,
                    or_dash(&run.queued_at),
                    or_dash(&run.completed_at),
                ]
            })?;
        }
        RunsCommand::Status { run_id, list } => {
            let status = client.live_status(&RunId(run_id)).await?;
            write_status(list.output, &status)?;
        }
        // A run that did not complete is an error, whose exit code tells failed, cancelled and timed out apart.
        RunsCommand::Watch { run_id, deadline } => {
            let options = WatchOptions { deadline, ..WatchOptions::of(&client) };
            let status = watch(context, &client, &RunId(run_id), &options).await?;
            client.require_completed(&status).await?;
            write_status(ListFormat::Table, &status)?;
        }
        RunsCommand::Cancel { run_id } => {
            let response = client.cancel(&RunId(run_id)).await?;
            let status = RunStatus::parse(&response.status);
            context.screen.note(&format!("run {} {}", response.job_id, status.as_str()));
        }
        RunsCommand::Links { run_id, format, show_urls, list } => {
            links(&client, &RunId(run_id), format.into(), show_urls, list.output).await?;
        }
    }
    Ok(Exit::Success)
}

fn required_state(context: &Context) -> Result<StateDir, Failure> {
    let state = state_dir(context, false, StateNeed::Required)
        .map_err(|failure| failure.with_hint("specify another directory with `--state-dir` or DRAWOFF_STATE_DIR"))?;
    Ok(state.expect("StateNeed::Required returns a directory or fails"))
}

/// Removes what no command needs any more from the state directory.
fn prune_state(context: &Context, age: Duration, dry_run: bool) -> Result<Exit, Failure> {
    let Pruned { ledgers, starts, busy } = required_state(context)?.prune(age, dry_run)?;
    let removed = if dry_run { "would remove" } else { "removed" };
    let (ledgers, starts) = (counted(ledgers, "ledger"), counted(starts, "start"));
    let mut text = format!("{removed} {ledgers} and {starts} of results written more than {} ago", human_duration(age));
    if busy > 0 {
        text.push_str(&format!("; left {} that another command uses", counted(busy, "record")));
    }
    context.screen.note(&text);
    Ok(Exit::Success)
}

/// Lists the ledgers in the state directory. No request is sent, so no key is needed.
fn list_ledgers(context: &Context, limit: Option<u32>, list: ListFormat) -> Result<Exit, Failure> {
    let state = required_state(context)?;
    let mut ledgers = Vec::new();
    for ledger in state.ledgers()? {
        // A ledger that cannot be read must not hide the others.
        match ledger {
            Ok(ledger) => ledgers.push(ledger),
            Err(error) => context.screen.note(&escape_for_terminal(&error_chain(&error))),
        }
    }
    ledgers.truncate(limit.map_or(usize::MAX, |limit| limit as usize));
    table::write_list(list, &ledgers, &["RUN", "WORKFLOW", "CHANGED", "WRITTEN", "OUTPUTS"], |ledger| {
        let workflow = ledger.workflow_name.clone().or_else(|| ledger.workflow.as_ref().map(ToString::to_string));
        let outputs = ledger.outputs.iter().map(|output| {
            let progress = match &output.done {
                Some(done) => format!("complete, {} rows", human_count(done.rows_written)),
                None => format!("interrupted at {}", human_bytes(output.position.bytes)),
            };
            let names: Vec<String> = output.paths().map(|path| path.display().to_string()).collect();
            format!("{} ({progress})", names.join(" + "))
        });
        let run = match ledger.runs {
            None => ledger.run.to_string(),
            Some(runs) => format!("{} ({})", counted(runs, "run"), ledger.run),
        };
        vec![
            run,
            workflow.unwrap_or_else(|| "-".into()),
            ledger.updated_at.clone(),
            ledger.delivered_at.clone().unwrap_or_else(|| "-".into()),
            outputs.collect::<Vec<_>>().join(", "),
        ]
    })?;
    Ok(Exit::Success)
}

async fn links(
    client: &Client,
    run: &RunId,
    format: crate::client::ResultFormat,
    show_urls: bool,
    list: ListFormat,
) -> Result<(), Failure> {
    let mut links = client.links(run, format).await?;
    links.sort_by_key(|link| link.block_number);
    let mut headings = vec!["BLOCK", "FILE", "ROWS", "SIZE", "EXPIRES IN"];
    if show_urls {
        headings.push("URL");
    }
    // Both formats print the same filtered JSON, so that no format shows a URL unasked.
    let rows: Vec<Value> = links.iter().map(|link| link_json(link, show_urls)).collect();
    let cells = |row: &Value| {
        let number = |name: &str| row[name].as_u64();
        let mut cells = vec![
            row["block_number"].as_i64().map_or_else(|| "-".into(), |n| n.to_string()),
            row["filename"].as_str().unwrap_or_default().to_owned(),
            human_count(number("row_count").unwrap_or(0)),
            number("file_size").map_or_else(|| "-".into(), human_bytes),
            format!("{} s", number("download_expires_in_seconds").unwrap_or(0)),
        ];
        if show_urls {
            cells.push(row["download_url"].as_str().unwrap_or("-").to_owned());
        }
        cells
    };
    table::write_list(list, &rows, &headings, cells)
}

/// Returns a link as JSON without its inline rows, and without its signed URL unless `show_urls`.
fn link_json(link: &DownloadLink, show_urls: bool) -> Value {
    let mut value = serde_json::to_value(link).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        fields.remove("results");
        if !show_urls {
            fields.remove("download_url");
        }
    }
    value
}

fn write_status(format: ListFormat, status: &LiveStatus) -> Result<(), Failure> {
    // Programs get one document; people get the run and then a table of its blocks.
    if format != ListFormat::Table {
        return table::write_item(format, status, Vec::new());
    }
    let word = RunStatus::parse(&status.overall_status).as_str().to_owned();
    let mut rows = vec![
        ("run", status.run_id.to_string()),
        ("workflow", status.workflow_id.to_string()),
        ("status", word),
        ("progress", format!("{:.0} %", status.overall_progress_percentage.clamp(0.0, 100.0))),
        ("started", status.started_at.clone().unwrap_or_else(|| "-".into())),
        ("completed", status.completed_at.clone().unwrap_or_else(|| "-".into())),
    ];
    if let Some(block) = &status.estimation_blocked_by {
        rows.push(("estimate", format!("blocked by {block}")));
    }
    table::write_item(format, status, rows)?;
    let mut blocks = status.blocks.clone();
    blocks.sort_by_key(|block| block.sequence_number);
    table::write_list(format, &blocks, &["BLOCK", "NAME", "STATUS", "ROWS OUT", "ERROR"], |block| {
        vec![
            block.sequence_number.to_string(),
            block.block_name.clone(),
            block.status.clone(),
            human_count(u64::try_from(block.metrics.row_count).unwrap_or(0)),
            block.error_message.clone().unwrap_or_default(),
        ]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_show_no_secret_unless_asked() {
        let link: DownloadLink = serde_json::from_str(
            r#"{"filename":"a.csv","storage_bucket":"b","download_url":"https://f.test/a?sig=marked","results":[{}]}"#,
        )
        .unwrap();
        assert!(!link_json(&link, false).to_string().contains("marked"));
        assert!(link_json(&link, true).to_string().contains("marked"));
        assert!(link_json(&link, true).get("results").is_none());
    }
}
