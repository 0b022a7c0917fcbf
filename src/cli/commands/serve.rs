//! `serve`: the local Workflows service until Ctrl-C.

use crate::cli::args::ServeArgs;
use crate::cli::context::Context;
use crate::cli::error::Failure;
use crate::cli::exit::Exit;

/// Carries it out. Ctrl-C is the normal end, and a success.
#[cfg(feature = "serve")]
pub async fn serve(context: &Context, args: ServeArgs) -> Result<Exit, Failure> {
    use std::net::SocketAddr;

    use crate::cli::local::{Local, providers};
    use crate::cli::table;
    use crate::secret::ApiKey;
    use crate::service::Config;
    use crate::text::counted;

    if args.print_openapi {
        let document = format!("{:#}\n", crate::service::openapi_document());
        table::write_data(&document)?;
        return Ok(Exit::Success);
    }
    if let Some(data) = &args.data
        && (args.engine.export.is_some() || args.engine.import.is_some())
    {
        return state::moved(context, data, &args.engine).await;
    }
    let temporary = args.data.is_none();
    let mut limits = context.settings.limits();
    limits.max_memory_bytes = args.engine.max_memory.unwrap_or(limits.max_memory_bytes);
    limits.max_step_bytes = args.engine.step_memory.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    let faults = state::scenario(&args.engine)?;
    let spoils = faults.rules.len();
    let retain = args.engine.retain.as_deref().map(state::retain).transpose()?;
    let (enrich, endpoints) = providers(args.enrich);
    let configure = |config| Config {
        bind: SocketAddr::from((args.host, args.port)),
        rate_limit: args.rate_limit,
        bulk_limit: args.bulk_limit,
        max_upload_bytes: unless_zero(args.max_upload),
        max_upload_rows: unless_zero(args.max_upload_rows),
        api_key: args.api_key.as_deref().map(ApiKey::new),
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
    let local = Local::start(args.data, configure).await?;
    let base_url = local.base_url();
    // The address is the one thing that a script wants.
    table::write_data(&format!("{base_url}\n"))?;
    context.screen.note(&format!("the Workflows service listens on {base_url}; Ctrl-C ends it"));
    if temporary {
        context.screen.note("its store is temporary; `--data DIR` keeps it");
    }
    if spoils > 0 {
        context.screen.note(&format!("it does things wrong on purpose: {}", counted(spoils as u64, "fault")));
    }
    context.interrupt.requested().await;
    context.screen.note("stopping");
    local.stop().await;
    Ok(Exit::Success)
}

/// A limit that is written as 0 where there is none.
#[cfg(feature = "serve")]
fn unless_zero(limit: u64) -> u64 {
    if limit == 0 { u64::MAX } else { limit }
}

/// What is read from flags and files beside the service itself.
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

    /// Moves state into an archive, or out of one.
    pub(super) async fn moved(context: &Context, data: &Path, flags: &EngineFlags) -> Result<Exit, Failure> {
        let (data, export, import) = (data.to_owned(), flags.export.clone(), flags.import.clone());
        let work = tokio::task::spawn_blocking(move || match (export, import) {
            (Some(path), _) => service::export(&data, &path).map(|moved| ("exported", moved)),
            (None, Some(path)) => service::import(&data, &path).map(|moved| ("imported", moved)),
            (None, None) => Ok(("moved", ArchiveSummary::default())),
        });
        let (word, moved) =
            work.await.map_err(|_| Error::Bug("moving state broke down".into()))?.map_err(Error::Moved)?;
        let ArchiveSummary { workflows, runs, uploads, notebooks, already_present } = moved;
        let kinds = [(workflows, "workflow"), (runs, "run"), (uploads, "upload"), (notebooks, "notebook")];
        let parts = kinds.map(|(n, noun)| counted(n as u64, noun)).join(", ");
        context.screen.note(&format!("{word} {parts}"));
        if already_present > 0 {
            context.screen.note(&format!("{already_present} were there already and stay as they are"));
        }
        Ok(Exit::Success)
    }

    /// All that is to go wrong: the scenario's faults, then those of flags.
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
        for text in &flags.fault {
            let rule: FaultRule = text.parse().map_err(|why| Error::Usage(format!("--fault {text}: {why}")))?;
            scenario.rules.push(rule);
        }
        scenario.seed = flags.fault_seed.unwrap_or(scenario.seed);
        Ok(scenario)
    }

    /// A number of runs, or a time with its unit.
    pub(super) fn retain(text: &str) -> Result<Retain, Failure> {
        if let Ok(runs) = text.trim().parse() {
            return Ok(Retain::Last(runs));
        }
        let time =
            parse_duration(text).map_err(|why| Error::Usage(format!("--retain {text}: {why}, or a number of runs")))?;
        Ok(Retain::For(time))
    }
}

/// Says that it is not there.
#[cfg(not(feature = "serve"))]
pub async fn serve(_: &Context, _: ServeArgs) -> Result<Exit, Failure> {
    Err(crate::cli::error::Error::Usage("this build has no local service".into()).into())
}
