//! `--copy-into`: Parquet files in a store, copied into a table of a warehouse in a cloud by its own statement, once.

use std::hash::{BuildHasher as _, Hasher as _};
use std::path::PathBuf;
use std::sync::LazyLock;

use super::args::PipelineArgs;
use super::context::Context;
use super::error::{Error, Failure};
use super::table;
use super::tables::plan_form;
use crate::format::OutputFormat;
use crate::pipeline::{self, Directory, Output, Report, SchemaPolicy, Target};
use crate::sink::{ObjectLocation, ObjectPrefix};
use crate::text::counted;
use crate::warehouse::cloud::{
    CloudClient, CloudOutcome, CloudSettings, CloudSystem, CloudTable, CopyEntry, CopyLoad, FoundLoad, Stage,
    cloud_columns, copy_script,
};
use crate::warehouse::{CommitKey, Committed, LedgerRow, LoadError, LoadIdentity, LoadMember, LoadSummary, Widening};

/// Returns the copy that the flags ask for; `None` without `--copy-into`. Fails for flags that it cannot have, and uses no
/// network. `outputs` are those of the flags; `again` is true to replace an earlier load.
pub(super) fn copy_into(args: &PipelineArgs, outputs: &[Output], again: bool) -> Result<Option<CopyInto>, Failure> {
    let copy = CopyInto::of(args, outputs)?;
    match again && copy.is_some() {
        false => Ok(copy),
        true => Err(Failure::new(
            Error::Usage("`--again` does not apply to `--copy-into`, which replaces no rows".to_owned()),
            "delete the rows and the load's row of `_drawoff_loads`, or give the load a name of its own with `--load-key TEXT`",
        )),
    }
}

/// Text in the names of the files of this command, which no other has.
static COMMAND: LazyLock<u32> = LazyLock::new(|| std::hash::RandomState::new().build_hasher().finish() as u32);

/// The copy of the staged files of one command.
pub(super) struct CopyInto {
    settings: CloudSettings,
    table: CloudTable,
    /// The URL of the store's directory, without a slash at its end.
    directory: String,
    /// The same directory.
    location: ObjectLocation,
    stage: Stage,
    widening: Widening,
    identity: LoadIdentity,
    print_sql: bool,
}

/// The copy of one load, whose rows are known.
pub(super) struct CopyOfRun<'a> {
    copy: &'a CopyInto,
    identity: LoadIdentity,
    key: CommitKey,
}

impl CopyInto {
    fn of(args: &PipelineArgs, outputs: &[Output]) -> Result<Option<Self>, Failure> {
        let usage = |what: String, hint: &str| Err(Failure::new(Error::Usage(what), hint));
        let load = &args.load;
        let Some(url) = &load.copy_into else { return Ok(None) };
        let settings = CloudSettings::resolve(url, |name| std::env::var(name).ok());
        let settings = settings.map_err(|error| Error::Usage(error.to_string()))?;
        let system = settings.system();
        let [
            Output {
                target: Target::Directory(Directory { path, store: Some(store), partition_by, .. }), format, ..
            },
        ] = outputs
        else {
            return usage(
                "`--copy-into` needs a directory in a store as the only output".to_owned(),
                "name the directory that the warehouse reads, as in `-o s3://BUCKET/PREFIX/`",
            );
        };
        if !matches!(format, OutputFormat::Parquet(_)) {
            return usage("`--copy-into` copies Parquet files".to_owned(), "leave `--to` out");
        }
        if !partition_by.is_empty() {
            return usage(
                "`--copy-into` and `--partition-by` cannot be combined: the columns are not in the files".to_owned(),
                "leave `--partition-by` out, and let the warehouse partition or cluster the table",
            );
        }
        let Some(name) = &load.into else {
            return usage(format!("no table is specified for {}", settings.name()), "name it with `--into TABLE`");
        };
        if let Some(flag) = load.first_not_copied() {
            return usage(
                format!("`{flag}` does not apply to `--copy-into`, which appends the rows as they are"),
                "leave it out; merge or replace by a statement of your own, from a table that the rows are copied into",
            );
        }
        if system == CloudSystem::Redshift && !load.print_sql {
            return usage(
                "drawoff does not execute statements in Redshift".to_owned(),
                "add `--print-sql`, and execute them with psql or the query editor",
            );
        }
        let table =
            settings.table(name).map_err(|what| Failure::new(Error::Usage(what), "name it as `--into companies`"))?;
        let directory = path.to_string_lossy().into_owned();
        let stage = settings.stage(&directory).map_err(|error| Error::Usage(error.to_string()))?;
        let widening = match SchemaPolicy::from(args.schema_policy) {
            SchemaPolicy::Evolve => Widening::Evolve,
            SchemaPolicy::Freeze | SchemaPolicy::Fail => Widening::Fixed,
        };
        let identity = LoadIdentity {
            origin: load.load_key.as_ref().map(|key| format!("key {key}")),
            plan: plan_form(args),
            ..LoadIdentity::default()
        };
        let print_sql = load.print_sql;
        let location = store.clone();
        Ok(Some(CopyInto { settings, table, directory, location, stage, widening, identity, print_sql }))
    }

    /// Fails if the warehouse cannot be asked, before a run is started or a byte is downloaded.
    pub(super) async fn check(&self, context: &Context) -> Result<(), Failure> {
        match self.print_sql {
            true => Ok(()),
            false => self.ask(context, "").await.map(drop),
        }
    }

    async fn ask(&self, context: &Context, key: &str) -> Result<Option<FoundLoad>, Failure> {
        let client = self.client()?;
        context.unless_interrupted(async { Ok(client.find_load(key).await.map_err(pipeline::Error::from)?) }).await
    }

    fn client(&self) -> Result<CloudClient, Failure> {
        Ok(CloudClient::new(&self.settings, &self.table).map_err(pipeline::Error::from)?)
    }

    /// Fails if the rows of several runs cannot be copied as one load.
    pub(super) fn require_sets_of_runs(&self) -> Result<(), Failure> {
        self.of_runs(&[]).map(drop)
    }

    /// Returns the copy of the rows of these runs. Fails for several that no text names together.
    pub(super) fn of_runs(&self, runs: &[LoadMember]) -> Result<CopyOfRun<'_>, Failure> {
        let mut identity = self.identity.clone();
        match (runs, identity.origin.is_some()) {
            ([run], named) => {
                (identity.run_id, identity.block) = (run.run_id.clone(), run.block);
                identity.source = run.source.clone();
                if !named {
                    identity.origin = Some(run.origin.clone());
                }
            }
            (_, true) => identity.source = counted(runs.len() as u64, "run"),
            (_, false) => {
                return Err(Failure::new(
                    Error::Usage("`--copy-into` records one run, or one text, for each load".to_owned()),
                    "pull each run by a command of its own, or identify all of them by a text: `--load-key TEXT`",
                ));
            }
        }
        self.of_identity(identity)
    }

    /// Returns the copy of rows that `--load-key` identifies. Fails without it.
    pub(super) fn of_sources(&self, source: &str) -> Result<CopyOfRun<'_>, Failure> {
        self.of_identity(LoadIdentity { source: source.to_owned(), ..self.identity.clone() })
    }

    fn of_identity(&self, identity: LoadIdentity) -> Result<CopyOfRun<'_>, Failure> {
        match identity.key_before(&self.table.shown()) {
            Some(key) => Ok(CopyOfRun { copy: self, identity, key }),
            None => Err(Failure::new(
                Error::Usage("`--copy-into` needs to know the load before its rows".to_owned()),
                "identify the rows by a text: `--load-key TEXT`",
            )),
        }
    }
}

impl CopyOfRun<'_> {
    /// Returns the prefix of the names of its files, which no other load has, and no other command, unless its statements are
    /// printed: those may be executed again.
    pub(super) fn set(&self) -> String {
        let key = &self.key.as_str()[..32];
        match self.copy.print_sql {
            true => format!("drawoff_{key}"),
            false => format!("drawoff_{key}_{:08x}", *COMMAND),
        }
    }

    /// Returns the earlier load of the same rows, with the name of the table; `None` if there is none, or if statements are
    /// printed only.
    pub(super) async fn find(&self, context: &Context) -> Result<Option<(String, LedgerRow)>, Failure> {
        if self.copy.print_sql {
            return Ok(None);
        }
        let found = self.copy.ask(context, self.key.as_str()).await?;
        if found.as_ref().is_some_and(|found| found.finished_now) {
            context.screen.note(&format!(
                "{}: an earlier command had staged the rows of this load; its files were copied, or had been, and the load is \
                 recorded now",
                self.name()
            ));
        }
        Ok(found.map(|FoundLoad { row, .. }| (self.name(), row)))
    }

    fn name(&self) -> String {
        format!("{} of {}", self.copy.table.shown(), self.copy.settings.name())
    }

    /// Fails if the store has other files of this load: what has copied them already cannot be known where nothing is asked.
    async fn require_no_other_files(&self, context: &Context, files: &[String]) -> Result<(), Failure> {
        let location = self.copy.location.clone();
        let url = location.url.clone();
        let path = PathBuf::from(&url);
        let listed = tokio::task::spawn_blocking(move || ObjectPrefix::open(&location)?.list("", None));
        let listed = async {
            let listed = listed.await.map_err(|error| Error::Bug(error.to_string()))?;
            listed.map_err(|cause| Failure::from(Error::Write { path, cause }))
        };
        let listed = context.unless_interrupted(listed).await?;
        let set = self.set();
        let is_other = |name: &&String| name.starts_with(&set) && name.ends_with(".parquet") && !files.contains(name);
        let others: Vec<String> = listed.into_iter().map(|(name, ..)| name).collect();
        let Some(other) = others.iter().find(is_other) else { return Ok(()) };
        Err(Failure::new(
            Error::Usage(format!("{url} has other files of this load, such as {other}, which may be copied already")),
            "give these rows a name of their own with `--load-key TEXT`; or delete those files, if they were never copied",
        ))
    }

    /// Copies the files of `report` into the table, and adds the outcome to it; or prints the statements.
    pub(super) async fn load(&self, context: &Context, report: &mut Report) -> Result<(), Failure> {
        let CopyInto { settings, table, directory, stage, widening, print_sql, .. } = self.copy;
        // The files have no columns without values.
        let (schema, empty) = report.schema.without_empty();
        if !empty.is_empty() && report.rows_written > 0 {
            let names = empty.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            report.notes.push(format!("no row has a value in {names}: the table gets no column for it from this load"));
        }
        let columns = cloud_columns(settings.system(), &schema);
        let columns =
            columns.map_err(|misfits| pipeline::Error::from(LoadError::Misfits { table: self.name(), misfits }))?;
        let mut files: Vec<String> = Vec::new();
        for (path, _) in &report.files {
            let path = path.to_string_lossy();
            let name = path.strip_prefix(directory.as_str()).map(|name| name.trim_start_matches('/'));
            files.extend(name.filter(|name| name.starts_with(&self.set())).map(str::to_owned));
        }
        let entry = CopyEntry {
            key: self.key.as_str().to_owned(),
            run_id: self.identity.run_id.clone(),
            block: self.identity.block,
            source: self.identity.source.clone(),
            plan: self.identity.plan_digest(),
            rows: report.rows_written,
            rejected: report.rows_rejected,
        };
        let load = CopyLoad { table, columns: &columns, widening: *widening, stage, files: &files, entry: &entry };
        if *print_sql {
            self.require_no_other_files(context, &files).await?;
            return table::write_data(&copy_script(&load).map_err(pipeline::Error::from)?.text());
        }
        let client = self.copy.client()?;
        context.set_copying(&self.name());
        context.screen.progress("copying", None, &self.name());
        let loaded =
            context.unless_interrupted(async { Ok(client.load(&load).await.map_err(pipeline::Error::from)?) }).await;
        context.screen.clear();
        let outcome = match loaded? {
            CloudOutcome::Loaded => Committed::Loaded(LoadSummary {
                table: self.name(),
                key: self.key.clone(),
                rows: report.rows_written,
                notes: Vec::new(),
            }),
            CloudOutcome::Already(row) => Committed::Already(*row),
        };
        report.loads.push((self.name(), outcome));
        Ok(())
    }
}
