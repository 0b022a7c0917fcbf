//! `serve`: runs the local Workflows service until Ctrl-C, or exports, imports and describes it. The service itself is
//! in `service`; this module translates flags into its configuration.

use crate::cli::args::ServeArgs;
use crate::cli::context::Context;
use crate::cli::error::Failure;
use crate::cli::exit::Exit;

/// Starts the service, prints its URL on standard output, and stops it at Ctrl-C, which is a success.
#[cfg(feature = "serve")]
pub(crate) async fn serve(context: &Context, args: ServeArgs) -> Result<Exit, Failure> {
    use std::net::SocketAddr;

    use crate::cli::error::Error;
    use crate::cli::local::{Local, providers};
    use crate::cli::shell::shell_quoted;
    use crate::cli::table;
    use crate::secret::ApiKey;
    use crate::service::Config;
    use crate::text::counted;

    // Export, import and the description need no running service.
    if args.print_openapi {
        let document = format!("{:#}\n", crate::service::openapi_document());
        table::write_data(&document)?;
        return Ok(Exit::Success);
    }
    if let Some(data) = &args.data
        && (args.engine.export.is_some() || args.engine.import.is_some())
    {
        return state::move_state(context, data, &args.engine).await;
    }
    let temporary = args.data.is_none();
    // The flags of `serve` override the settings, which concern a single execution.
    let mut limits = context.settings.limits();
    limits.max_memory_bytes = args.engine.max_memory.unwrap_or(limits.max_memory_bytes);
    limits.max_step_bytes = args.engine.step_memory.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    let faults = state::scenario(&args.engine)?;
    let fault_count = faults.rules.len();
    let retain = args.engine.retain.as_deref().map(state::retain).transpose()?;
    let (enrich, endpoints) = providers(args.enrich);
    // A key on the command line excludes the flags of files and commands, and overrides the environment.
    let api_key = match args.api_key.as_deref() {
        Some(key) => Some(ApiKey::new(key)),
        None => context.settings.load_service_key().map_err(Error::Settings)?,
    };
    let configure = |config| Config {
        bind: SocketAddr::from((args.host, args.port)),
        rate_limit: args.rate_limit,
        bulk_limit: args.bulk_limit,
        max_upload_bytes: unless_zero(args.max_upload),
        max_upload_rows: unless_zero(args.max_upload_rows),
        api_key,
        allow_hosts: args.allow_host,
        enrich,
        endpoints,
        link_life: args.link_life,
        limits,
        max_runs: args.engine.max_runs.into(),
        faults,
        admin: args.engine.admin,
        retain,
        run_grace: args.engine.stop_grace,
        ..config
    };
    let data = args.data.clone();
    let local = Local::start(args.data, configure).await?;
    let base_url = local.base_url();
    // On standard output, because a script that starts the service reads it.
    table::write_data(&format!("{base_url}\n"))?;
    context.screen.note(&format!("the Workflows service listens on {base_url}; stop it with Ctrl-C"));
    if let Some(data) = data.filter(|_| local.data_is_open_to_others()) {
        let data = shell_quoted(&data.to_string_lossy());
        context.screen.always(&format!(
            "warning: other users of this machine can list the data directory, or change it; restrict it with `chmod 700 {data}`"
        ));
    }
    if temporary {
        context.screen.note("its store is temporary; keep it with `--data DIR`");
    }
    if fault_count > 0 {
        context.screen.note(&format!("it injects {}", counted(fault_count as u64, "fault")));
    }
    // The service runs on tasks of its own; this one only waits.
    context.interrupt.requested().await;
    // Active runs get the time that `--grace` sets.
    context.interrupt.set_own_deadline();
    context.screen.note("stopping");
    local.stop().await;
    Ok(Exit::Success)
}

/// Returns the limit, where 0 means no limit.
#[cfg(feature = "serve")]
fn unless_zero(limit: u64) -> u64 {
    if limit == 0 { u64::MAX } else { limit }
}

/// Export, import, fault scenarios and retention, from flags and files.
#[cfg(feature = "serve")]
mod state {
    use std::path::Path;

    use crate::cli::context::Context;
    use crate::cli::error::{Error, Failure};
    use crate::cli::exit::Exit;
    use crate::cli::serve_flags::EngineFlags;
    use crate::cli::values::parse_duration;
    use crate::service::{self, ArchiveSummary, FaultRule, Retain, Scenario};
    use crate::text::{counted, error_chain};

    /// Exports the state to an archive, or imports it from one, and prints the counts.
    pub(super) async fn move_state(context: &Context, data: &Path, flags: &EngineFlags) -> Result<Exit, Failure> {
        let (data, export, import) = (data.to_owned(), flags.export.clone(), flags.import.clone());
        let work = tokio::task::spawn_blocking(move || match (export, import) {
            (Some(path), _) => service::export(&data, &path).map(|moved| ("exported", moved)),
            (None, Some(path)) => service::import(&data, &path).map(|moved| ("imported", moved)),
            (None, None) => Ok(("moved", ArchiveSummary::default())),
        });
        let (word, moved) =
            work.await.map_err(|_| Error::Bug("the thread that moves state panicked".into()))?.map_err(Error::Moved)?;
        let ArchiveSummary { workflows, runs, uploads, notebooks, already_present } = moved;
        let kinds = [(workflows, "workflow"), (runs, "run"), (uploads, "upload"), (notebooks, "notebook")];
        let parts = kinds.map(|(n, noun)| counted(n as u64, noun)).join(", ");
        context.screen.note(&format!("{word} {parts}"));
        if already_present > 0 {
            context.screen.note(&format!("{already_present} existed already and were kept"));
        }
        Ok(Exit::Success)
    }

    /// Returns the faults to inject: those of the scenario file, then those of flags.
    pub(super) fn scenario(flags: &EngineFlags) -> Result<Scenario, Failure> {
        let mut scenario = match &flags.scenario {
            None => Scenario::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|cause| Error::Usage(format!("--scenario {}: {cause}", path.display())))?;
                text.parse()
                    .map_err(|cause| Error::Usage(format!("--scenario {}: {}", path.display(), error_chain(&cause))))?
            }
        };
        // Flags add to the scenario; only the seed replaces that of the file.
        for text in &flags.fault {
            let rule: FaultRule = text.parse().map_err(|why| Error::Usage(format!("--fault {text}: {why}")))?;
            scenario.rules.push(rule);
        }
        scenario.seed = flags.fault_seed.unwrap_or(scenario.seed);
        Ok(scenario)
    }

    /// Parses `--retain`: a number of runs, or a time with its unit.
    pub(super) fn retain(text: &str) -> Result<Retain, Failure> {
        // A bare number is a count, because a time needs a unit.
        if let Ok(runs) = text.trim().parse() {
            return Ok(Retain::Last(runs));
        }
        let time =
            parse_duration(text).map_err(|why| Error::Usage(format!("--retain {text}: {why}, or a number of runs")))?;
        Ok(Retain::For(time))
    }
}

/// Fails, because this build has no local service.
#[cfg(not(feature = "serve"))]
pub(crate) async fn serve(_: &Context, _: ServeArgs) -> Result<Exit, Failure> {
    Err(crate::cli::error::Error::Usage("this build has no local service (feature `serve`)".into()).into())
}
