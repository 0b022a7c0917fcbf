//! Tables as outputs: the flags of loads, the systems that the URLs of `-o` name, the identity of a load, and the check of the
//! target before a run is started or a byte is read.

use std::sync::Arc;

use serde_json::{Value, json};

use super::args::PipelineArgs;
use super::context::Context;
use super::error::{Error, Failure};
use super::load_args::NulArg;
#[cfg(any(feature = "delta", feature = "iceberg"))]
use super::object_options::object_options;
use super::settings::Settings;
use super::sinks::TypedOutput;
use super::table_url::{is_files_url, is_place_url, redacted};
use crate::client::digest_of_file;
use crate::column::Schema;
use crate::format::{Compression, OutputFormat, ParquetOptions};
use crate::pipeline::{self, Output, Target};
use crate::sink::UploadControl;
use crate::text::{counted, escape_for_terminal};
use crate::transform::Step;
use crate::warehouse::cloud::{self, CloudSystem};
use crate::warehouse::{
    Committed, FileLayout, LedgerRow, LoadError, LoadIdentity, LoadMember, LoadMode, NewTable, NulPolicy, TableTarget,
    Warehouse,
};

/// Version of the written form of the steps of a load.
const VERSION: u32 = 1;

/// Builds the output of a table. Reads settings and their files, and uses no network.
pub(super) fn output_table(
    url: &str,
    typed: &TypedOutput,
    args: &PipelineArgs,
    settings: &Settings,
) -> Result<Output, Failure> {
    let usage = |what: String, hint: &str| Err(Failure::new(Error::Usage(what), hint));
    let shown = redacted(url);
    if typed.to.is_some() {
        return usage(format!("`--to` cannot apply to {shown}: a table has no file format"), "leave `--to` out");
    }
    if args.sink.append {
        return usage(
            format!("`--append` cannot apply to {shown}"),
            "leave it out: rows are appended to the table unless `--load` says otherwise",
        );
    }
    let load = &args.load;
    let warehouse = open(settings, url)?;
    let is_files = is_files_url(url);
    let table = match &load.into {
        Some(table) => table.clone(),
        None if is_place_url(url) => String::new(),
        None => return usage(format!("no table is specified for {shown}"), "name it with `--into TABLE`"),
    };
    let target = TableTarget {
        warehouse,
        table,
        mode: load.mode()?,
        load_column: load.load_column.as_deref().map(Into::into),
        // Set by the commands that have the flag.
        again: false,
        files: is_files.then(|| FileLayout {
            partition_by: args.sink.partition_by.iter().map(|name| name.as_str().into()).collect(),
            max_file_rows: args.sink.max_file_rows,
            max_file_bytes: args.sink.max_file_bytes,
        }),
        commit_every: load.commit_every,
        nul: match load.nul {
            NulArg::Reject => NulPolicy::Reject,
            NulArg::Replace => NulPolicy::Replace,
        },
        identity: LoadIdentity {
            origin: load.load_key.as_ref().map(|key| format!("key {key}")),
            plan: plan_form(args),
            ..LoadIdentity::default()
        },
    };
    if target.commit_every.is_some() {
        check_chunks(&target, args)?;
    }
    target.warehouse.check_options(&target).map_err(pipeline::Error::from)?;
    let format = match is_files {
        true => OutputFormat::Parquet(ParquetOptions { codec: settings.codec.value }),
        false => OutputFormat::Table,
    };
    Ok(Output { format, compression: Compression::None, target: Target::Table(target) })
}

/// Fails for a load that cannot be made in chunks.
fn check_chunks(target: &TableTarget, args: &PipelineArgs) -> Result<(), Failure> {
    let usage = |what: &str, hint: &str| Err(Failure::new(Error::Usage(format!("`--commit-every` {what}")), hint));
    if target.mode == LoadMode::Replace {
        return usage(
            "cannot replace a table: others would see it with some of its rows",
            "replace it in one transaction, without `--commit-every`; or load into a new table and rename that",
        );
    }
    if args.outputs.typed.len() != 1 {
        return usage(
            "applies only to a table as the only output: another one could not go on behind the rows that are there",
            "leave `--commit-every` or the other outputs out",
        );
    }
    if args.steps.steps()?.iter().any(|step| matches!(step, Step::Sql(_))) {
        return usage(
            "cannot apply to the rows of a query, which belong to no record",
            "leave `--commit-every` out, or save the rows of the query to a file first",
        );
    }
    Ok(())
}

/// Opens the system that a URL names, without connecting.
pub(super) fn open(settings: &Settings, url: &str) -> Result<Arc<dyn Warehouse>, Failure> {
    #[cfg(not(any(feature = "clickhouse", feature = "iceberg")))]
    let _ = settings;
    let scheme = url.split(':').next().unwrap_or_default();
    match scheme {
        "duckdb" => Err(Failure::new(
            Error::Usage("drawoff does not load into DuckDB files".into()),
            "write Parquet and let DuckDB read it: `drawoff convert people.ndjson -o people.parquet`, then \
             `duckdb people.duckdb \"CREATE TABLE people AS FROM 'people.parquet'\"`",
        )),
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => {
            use crate::warehouse::postgres::{Environment, Postgres, Settings};
            let environment = Environment::new(|name| std::env::var(name).ok());
            let settings = Settings::resolve(url, &environment).map_err(|error| Error::Usage(error.to_string()))?;
            Ok(Arc::new(Postgres::new(settings)))
        }
        #[cfg(feature = "clickhouse")]
        "clickhouse" | "clickhouse+https" => {
            use crate::warehouse::clickhouse::{ClickHouse, Settings};
            let insecure = settings.insecure_http.value;
            let settings = Settings::resolve(url, |name| std::env::var(name).ok());
            let settings = settings.map_err(|error| Error::Usage(error.to_string()))?;
            if settings.sends_password_unencrypted() && !insecure {
                return Err(Failure::new(
                    Error::Usage(format!("the password would be sent unencrypted to {}", redacted(url))),
                    "use clickhouse+https://, or add `--insecure-http` (DRAWOFF_INSECURE_HTTP=1) in a network that you trust",
                ));
            }
            Ok(Arc::new(ClickHouse::new(settings)))
        }
        #[cfg(feature = "sqlite")]
        "sqlite" => {
            use crate::warehouse::sqlite::{Location, Sqlite};
            let location = Location::parse(url).map_err(|error| Error::Usage(error.to_string()))?;
            Ok(Arc::new(Sqlite::new(location)))
        }
        #[cfg(feature = "delta")]
        scheme if is_place_url(url) => {
            use crate::warehouse::delta::{Delta, place_of};
            if scheme != "delta" && scheme != "delta+file" && cfg!(not(feature = "object-store")) {
                return Err(Failure::new(
                    Error::Usage("this build cannot write into object stores".into()),
                    "build drawoff with `--features object-store`",
                ));
            }
            let place = place_of(url, || object_options(std::env::vars_os())).map_err(|error| {
                let shown = redacted(url);
                let failure = Error::Usage(format!("`{shown}` is not the URL of a Delta table: {error}"));
                match shown.split_once(':') {
                    Some((_, inner)) if error.is_store => Failure::new(failure, format!("write delta+{inner}")),
                    _ => failure.into(),
                }
            })?;
            Ok(Arc::new(Delta::new(place, url)))
        }
        #[cfg(feature = "iceberg")]
        scheme if scheme.starts_with("iceberg+") => {
            use crate::warehouse::iceberg::{Iceberg, Location};
            let location = Location::parse(url, |name| std::env::var(name).ok());
            let location = location.map_err(|error| {
                Error::Usage(format!("`{}` is not the URL of an Iceberg catalog: {error}", redacted(url)))
            })?;
            if location.sends_secret_unencrypted() && !settings.insecure_http.value {
                return Err(Failure::new(
                    Error::Usage(format!("the token would be sent unencrypted to {}", redacted(url))),
                    "use iceberg+https://, or add `--insecure-http` (DRAWOFF_INSECURE_HTTP=1) in a network that you trust",
                ));
            }
            Ok(Arc::new(Iceberg::new(location, object_options(std::env::vars_os()))))
        }
        other => Err(Failure::new(
            Error::Usage(format!("this build cannot load into {other}")),
            format!("build drawoff with `--features {}`", other.split('+').next().unwrap_or_default()),
        )),
    }
}

/// Returns `table` as a load would create it in a system.
pub(super) fn new_table(system: &str, table: &str, columns: &Schema) -> Result<NewTable, Failure> {
    let new_table: Option<Result<NewTable, LoadError>> = match (system, table, columns) {
        #[cfg(feature = "postgres")]
        ("postgres", ..) => Some(crate::warehouse::postgres::new_table(table, columns)),
        #[cfg(feature = "clickhouse")]
        ("clickhouse", ..) => Some(crate::warehouse::clickhouse::new_table(table, columns)),
        #[cfg(feature = "sqlite")]
        ("sqlite", ..) => Some(crate::warehouse::sqlite::new_table(table, columns)),
        #[cfg(any(feature = "postgres", feature = "sqlite"))]
        ("duckdb", ..) => Some(crate::warehouse::duckdb::new_table(table, columns)),
        #[cfg(feature = "delta")]
        ("delta", ..) => Some(crate::warehouse::delta::new_table(table, columns)),
        #[cfg(feature = "iceberg")]
        ("iceberg", ..) => Some(crate::warehouse::iceberg::new_table(table, columns)),
        _ => CloudSystem::of_word(system).map(|system| cloud::new_table(system, table, columns)),
    };
    let Some(new_table) = new_table else {
        return Err(Failure::new(
            Error::Usage(format!("this build has no {system}")),
            format!("build drawoff with `--features {system}`"),
        ));
    };
    Ok(new_table.map_err(pipeline::Error::from)?)
}

/// Returns the written form of the steps and of the flags that change rows, one JSON array: with the origin of the rows it identifies a load. Policies for bad
/// records do not count: a load that succeeded without them has the same rows.
pub(super) fn plan_form(args: &PipelineArgs) -> String {
    let files: Vec<String> = args.steps.files().map(|path| digest_of_file(path).unwrap_or_default()).collect();
    let mut form = vec![json!(VERSION), args.steps.written_form(), json!(files)];
    // Only what was given: the keys of loads without these flags are those of before they counted.
    let mut more = serde_json::Map::new();
    if let Some(path) = &args.schema {
        more.insert("schema".into(), digest_of_file(path).unwrap_or_default().into());
    }
    if let Some(name) = &args.extra_column {
        more.insert("extra_column".into(), name.as_str().into());
    }
    if args.lossy_utf8 {
        more.insert("lossy_utf8".into(), true.into());
    }
    if args.load.nul == NulArg::Replace {
        more.insert("nul".into(), "replace".into());
    }
    if !more.is_empty() {
        form.push(Value::Object(more));
    }
    Value::Array(form).to_string()
}

/// Sets the names of the sources of all loads among `outputs`, whose rows are known by their bytes.
pub(super) fn set_sources(outputs: &mut [Output], source: &str, again: bool) -> Result<(), Failure> {
    for output in outputs {
        if let Target::Table(target) = &mut output.target {
            target.again = again;
            target.identity.source = source.to_owned();
            target.warehouse.check_options(target).map_err(pipeline::Error::from)?;
        }
    }
    Ok(())
}

/// Sets the origin of the rows of all loads among `outputs`, and the names of their sources.
pub(super) fn set_origin(outputs: &mut [Output], origin: &str, source: &str) -> Result<(), Failure> {
    for output in &mut *outputs {
        if let Target::Table(target) = &mut output.target {
            target.identity.origin = Some(origin.to_owned());
        }
    }
    set_sources(outputs, source, false)
}

/// Sets the runs whose rows all loads among `outputs` get, in their order. A load that the command line identifies is not
/// known by its runs.
pub(super) fn set_runs(outputs: &mut [Output], runs: &[LoadMember], again: bool) -> Result<(), Failure> {
    for output in outputs {
        if let Target::Table(target) = &mut output.target {
            target.again = again;
            let identity = &mut target.identity;
            match (identity.origin.is_some(), runs) {
                (false, _) => identity.set_members(runs.to_vec()),
                (true, [run]) => {
                    (identity.run_id, identity.block) = (run.run_id.clone(), run.block);
                    identity.source = run.source.clone();
                }
                (true, _) => {
                    let sources: Vec<String> = runs.iter().map(|run| run.source.clone()).collect();
                    identity.source = source_text(&sources);
                }
            }
            target.warehouse.check_options(target).map_err(pipeline::Error::from)?;
        }
    }
    Ok(())
}

/// Fails if a load among `outputs` cannot have the rows of several runs, which are not known yet.
pub(super) fn require_sets_of_runs(outputs: &mut [Output]) -> Result<(), Failure> {
    let run =
        |number: u8| LoadMember { origin: format!("run {number}"), run_id: None, block: None, source: String::new() };
    set_runs(outputs, &[run(1), run(2)], false)
}

/// Returns the names of sources for the ledger, cut to a readable length.
pub(super) fn source_text(names: &[String]) -> String {
    const MOST: usize = 20;
    let mut text = names.iter().take(MOST).map(|name| redacted(name)).collect::<Vec<_>>().join(", ");
    if names.len() > MOST {
        text.push_str(&format!(" and {} more", names.len() - MOST));
    }
    text
}

/// Fails if the rows of sources that are no files end before the sources do: nothing identifies such rows.
pub(super) fn require_identity(args: &PipelineArgs, outputs: &[Output]) -> Result<(), Failure> {
    let is_unidentified = |output: &Output| match &output.target {
        Target::Table(target) => target.identity.origin.is_none(),
        _ => false,
    };
    let has_limit = args.steps.steps()?.iter().any(|step| step.properties().has_limit);
    if has_limit && outputs.iter().any(is_unidentified) {
        let error = Error::Usage("nothing identifies the first rows of a stream, so they cannot be loaded once".into());
        return Err(Failure::new(error, "identify them with `--load-key TEXT`, or save the input to a file first"));
    }
    Ok(())
}

/// Fails if a load in chunks is known only by bytes, at its end.
pub(super) fn require_key_of_chunks(outputs: &[Output]) -> Result<(), Failure> {
    let is_unknown = |output: &Output| match &output.target {
        Target::Table(target) => target.commit_every.is_some() && target.identity.origin.is_none(),
        _ => false,
    };
    if outputs.iter().any(is_unknown) {
        let error = Error::Usage(
            "`--commit-every` needs to know the load before its rows: files and pipes are known by their bytes, at the end"
                .into(),
        );
        return Err(Failure::new(error, "name the load with `--load-key TEXT`, or leave `--commit-every` out"));
    }
    Ok(())
}

/// Prints notes on the settings of the tables among `outputs`.
pub(super) fn show_notes(context: &Context, outputs: &[Output]) {
    for output in outputs {
        if let Target::Table(target) = &output.target {
            target.warehouse.notes().iter().for_each(|note| context.screen.note(&escape_for_terminal(note)));
        }
    }
}

/// Fails if a table among `outputs` cannot be reached, before a run is started or a byte is read. Returns the earlier loads of
/// the same rows, with the names of their tables, if every output has one.
pub(super) async fn check_tables(
    context: &Context,
    outputs: &[Output],
) -> Result<Option<Vec<(String, LedgerRow)>>, Failure> {
    let mut loaded = Vec::new();
    for output in outputs {
        let Target::Table(target) = &output.target else { continue };
        let target = target.clone();
        let cancel = UploadControl::default();
        let own = cancel.clone();
        let name = target.name();
        let again = target.again;
        // On a blocking thread, which a cancel ends.
        let found = tokio::task::spawn_blocking(move || target.warehouse.find_load(&target, &own));
        let found = context.unless_interrupted(async {
            let found = found.await.map_err(|error| Error::Bug(error.to_string()))?;
            Ok(found.map_err(pipeline::Error::from)?)
        });
        let found = found.await.inspect_err(|_| cancel.cancel())?;
        loaded.extend(found.filter(|_| !again).map(|row| (name, row)));
    }
    Ok((!loaded.is_empty() && loaded.len() == outputs.len()).then_some(loaded))
}

/// Returns the line of the report for a load.
pub(super) fn load_line(name: &str, outcome: &Committed) -> String {
    match outcome {
        Committed::Loaded(summary) => {
            let rows = counted(summary.rows, "row");
            format!("loaded {rows} into {name}, key {}", summary.key.short())
        }
        Committed::Already(row) => already_line(name, row),
    }
}

/// Returns the line of the report for rows that a table has already.
pub(super) fn already_line(name: &str, row: &LedgerRow) -> String {
    let rows = match &row.set {
        Some(set) => format!("{} of {} runs together", counted(row.rows, "row"), set.members),
        None => counted(row.rows, "row"),
    };
    let digest = row.digest.get(..8).map(|digest| format!(", digest {digest}")).unwrap_or_default();
    let key = row.key.get(..8).unwrap_or_default();
    let doubt = match row.rows_there {
        None => String::new(),
        Some(0) if name.starts_with("delta") => {
            ", although the table has none of these rows now: load them again with `--again`".to_owned()
        }
        Some(0) if name.contains(" of iceberg+") => {
            ", although the table has no rows now: load them again under a `--load-key` of your own".to_owned()
        }
        Some(0) => {
            ", although the table has none of them now: to load them again, delete the load's row of `_drawoff_loads`, \
             or use a `--load-key` of your own"
                .to_owned()
        }
        Some(there) => format!(
            ", although the table has only {} of this key now: replace them with `--again`",
            counted(there, "row")
        ),
    };
    format!("{name}: loaded on {} ({rows}, key {key}{digest}); nothing was changed{doubt}", row.loaded_at)
}

/// Returns the JSON form of a load, for the report.
pub(super) fn load_json(name: &str, outcome: &Committed) -> Value {
    match outcome {
        Committed::Loaded(summary) => {
            json!({"table": name, "outcome": "loaded", "key": summary.key.as_str(), "rows": summary.rows})
        }
        Committed::Already(row) => json!({
            "table": name,
            "outcome": "already loaded",
            "key": row.key,
            "rows": row.rows,
            "digest": row.digest,
            "loaded_at": row.loaded_at,
            "rows_there": row.rows_there,
        }),
    }
}
