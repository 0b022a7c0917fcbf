//! `loads`: lists the loads that the ledgers of a target have.

use std::path::Path;
use std::time::Duration;

use clap::ValueEnum as _;
use serde::Serialize;

use crate::cli::args::LoadsCommand;
use crate::cli::choices::ListFormat;
use crate::cli::context::Context;
use crate::cli::error::{Error, Failure};
use crate::cli::exit::Exit;
use crate::cli::place_names::{check_place, shown};
use crate::cli::table_url::table_url;
use crate::cli::{table, tables};
use crate::pipeline;
use crate::sink::UploadControl;
use crate::text::{counted, escape_for_terminal, human_count};
use crate::warehouse::cloud::CloudSystem;
use crate::warehouse::{LedgerRow, LoadProgress, LoadSet, LoadState};

/// A load as it is printed.
#[derive(Serialize)]
struct Listed {
    key: String,
    table: String,
    run: Option<String>,
    block: Option<i64>,
    source: String,
    mode: String,
    state: &'static str,
    /// The runs that were loaded together, whose rows these are.
    set: Option<LoadSet>,
    /// The chunks that are in the table, of a load in chunks.
    progress: Option<LoadProgress>,
    rows: u64,
    rejected: u64,
    digest: String,
    loaded_at: String,
}

impl From<LedgerRow> for Listed {
    fn from(row: LedgerRow) -> Self {
        Listed {
            key: row.key,
            table: row.table,
            run: row.run_id,
            block: row.block,
            source: row.source,
            mode: row.mode,
            state: match row.state {
                LoadState::Loaded => "loaded",
                LoadState::Unfinished => "unfinished",
                LoadState::Incomplete => "incomplete",
                LoadState::Replaced => "replaced",
                LoadState::Dropped => "dropped",
            },
            set: row.set,
            progress: row.progress,
            rows: row.rows,
            rejected: row.rejected,
            digest: row.digest,
            loaded_at: row.loaded_at,
        }
    }
}

impl Listed {
    /// Returns the mode with what there is to say about the rows of the load.
    fn described_mode(&self) -> String {
        let mut text = self.mode.clone();
        if let Some(set) = &self.set {
            text.push_str(&format!(
                ", rows of {} runs together ({})",
                set.members,
                set.key.get(..8).unwrap_or_default()
            ));
        }
        if let Some(progress) = &self.progress {
            text.push_str(&format!(", {}", counted(progress.chunks, "chunk")));
        }
        match self.state {
            "incomplete" => text.push_str(", not complete"),
            "unfinished" => text.push_str(", unfinished"),
            "replaced" => text.push_str(", replaced since"),
            "dropped" => text.push_str(", table gone"),
            _ => {}
        }
        text
    }
}

/// Returns the URL of the system and the format of the list, which `-o` takes both: no URL is the name of a format.
fn target_and_format(target: Option<String>, outputs: Vec<String>) -> Result<(String, ListFormat), Failure> {
    let usage = |what: String| {
        let hint = "specify one system, as in `drawoff loads ls postgres://HOST/DATABASE -o ndjson`";
        Err(Failure::new(Error::Usage(what), hint))
    };
    let (mut url, mut format) = (target, None);
    for output in outputs {
        check_place(Path::new(&output))?;
        match ListFormat::from_str(&output, false) {
            Ok(_) if format.is_some() => return usage("the format of the list is specified twice".to_owned()),
            Ok(found) => format = Some(found),
            Err(_) if table_url(Path::new(&output)).is_none() => {
                return usage(format!(
                    "`{}` is neither a format (table, ndjson, json) nor a system with tables",
                    shown(&output)
                ));
            }
            Err(_) if url.is_some() => return usage("the system with tables is specified twice".to_owned()),
            Err(_) => url = Some(output),
        }
    }
    match url {
        Some(url) if table_url(Path::new(&url)).is_some() => Ok((url, format.unwrap_or(ListFormat::Table))),
        Some(url) if url.split(':').next().is_some_and(|word| CloudSystem::of_word(word).is_some()) => {
            Err(Failure::new(
                Error::Usage(format!("drawoff does not list the loads of {}", shown(&url))),
                "query the table of loads there: `SELECT * FROM \"_drawoff_loads\"`, with the name quoted as the system quotes names",
            ))
        }
        Some(url) => usage(format!("{} is no system with tables", shown(&url))),
        None => usage("no system with tables is specified".to_owned()),
    }
}

/// Runs one of the subcommands against a target.
pub(crate) async fn dispatch(context: &Context, command: LoadsCommand) -> Result<Exit, Failure> {
    let (target, into, output) = match command {
        LoadsCommand::Ls { target, into, output } => (target, into, output),
        LoadsCommand::Gc { target, output, into, older_than, dry_run } => {
            return remove_orphans(context, target.or(output), into, older_than, dry_run).await;
        }
    };
    let (url, format) = target_and_format(target, output)?;
    check_place(Path::new(&url))?;
    let warehouse = tables::open(&context.settings, &url)?;
    warehouse.notes().iter().for_each(|note| context.screen.note(&escape_for_terminal(note)));
    let cancel = UploadControl::default();
    let own = cancel.clone();
    // On a blocking thread, which a cancel ends.
    let found = tokio::task::spawn_blocking(move || warehouse.loads(into.as_deref(), &own));
    let found = context.unless_interrupted(async {
        let found = found.await.map_err(|error| Error::Bug(error.to_string()))?;
        Ok(found.map_err(pipeline::Error::from)?)
    });
    let loads: Vec<Listed> = found.await.inspect_err(|_| cancel.cancel())?.into_iter().map(Listed::from).collect();
    table::write_list(format, &loads, &["LOADED", "TABLE", "ROWS", "MODE", "KEY", "RUN", "SOURCE"], |load| {
        vec![
            load.loaded_at.clone(),
            load.table.clone(),
            human_count(load.rows),
            load.described_mode(),
            load.key.get(..8).unwrap_or_default().to_owned(),
            load.run.clone().unwrap_or_else(|| "-".into()),
            load.source.clone(),
        ]
    })?;
    Ok(Exit::Success)
}

/// Removes the data files that loads left behind, and prints their names.
async fn remove_orphans(
    context: &Context,
    url: Option<String>,
    into: Option<String>,
    older_than: Duration,
    dry_run: bool,
) -> Result<Exit, Failure> {
    let usage = |what: String| {
        Err(Failure::new(Error::Usage(what), "specify one table, as in `drawoff loads gc delta:tables/people`"))
    };
    let Some(url) = url else { return usage("no table is specified".to_owned()) };
    check_place(Path::new(&url))?;
    if table_url(Path::new(&url)).is_none() {
        return usage(format!("{} is no system with tables", shown(&url)));
    }
    let warehouse = tables::open(&context.settings, &url)?;
    let name = match &into {
        Some(table) => format!("{table} of {}", shown(&url)),
        None => shown(&url),
    };
    let cancel = UploadControl::default();
    let own = cancel.clone();
    // On a blocking thread, which a cancel ends.
    let found =
        tokio::task::spawn_blocking(move || warehouse.remove_orphans(into.as_deref(), older_than, dry_run, &own));
    let found = context.unless_interrupted(async {
        let found = found.await.map_err(|error| Error::Bug(error.to_string()))?;
        Ok(found.map_err(pipeline::Error::from)?)
    });
    let orphans = found.await.inspect_err(|_| cancel.cancel())?;
    let names: String = orphans.removed.iter().map(|name| format!("{}\n", escape_for_terminal(name))).collect();
    table::write_data(&names)?;
    let files = counted(orphans.removed.len() as u64, "file");
    let verb = if dry_run { "would remove" } else { "removed" };
    let kept = match orphans.kept {
        0 => String::new(),
        kept => format!("; kept {} that a running load may still name", counted(kept, "file")),
    };
    context.screen.note(&format!("{name}: {verb} {files} of {} bytes{kept}", human_count(orphans.bytes)));
    Ok(Exit::Success)
}
