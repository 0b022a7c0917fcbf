//! Flags of `serve` and the files that they name, as values of its configuration: limits, fault scenarios, retention and
//! workflows.

use crate::api::CreateWorkflow;
use crate::cli::error::{Error, Failure};
use crate::cli::serve_flags::{EngineFlags, HostedFlags, LimitFlags, SeedFlags};
use crate::cli::values::parse_duration;
use crate::client::Definition;
use crate::service::{Backend, Config, FaultRule, Retain, Scenario};
use crate::text::error_chain;

/// Returns the configuration with the limits that were asked for.
pub(super) fn limited(config: Config, flags: &LimitFlags) -> Config {
    let config = if flags.like_hosted { config.like_hosted() } else { config };
    let unless_zero = |limit: u64| if limit == 0 { u64::MAX } else { limit };
    Config {
        rate_limit: flags.rate_limit.unwrap_or(config.rate_limit),
        bulk_limit: flags.bulk_limit.unwrap_or(config.bulk_limit),
        max_upload_bytes: flags.max_upload.map_or(config.max_upload_bytes, unless_zero),
        max_upload_rows: flags.max_upload_rows.map_or(config.max_upload_rows, unless_zero),
        ..config
    }
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

/// Returns the source of the API's responses.
pub(super) fn backend(flags: &HostedFlags) -> Backend {
    match (&flags.proxy, &flags.replay) {
        (Some(url), _) => Backend::Proxy { url: url.clone(), record: flags.record.clone() },
        (None, Some(directory)) => Backend::Replay(directory.clone()),
        (None, None) => Backend::Local,
    }
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

/// Reads the definition files of `--workflow`.
pub(super) fn workflows(flags: &SeedFlags) -> Result<Vec<CreateWorkflow>, Failure> {
    let read = |path: &std::path::PathBuf| Ok(Definition::read(path).map_err(Error::Client)?.0);
    flags.workflow.iter().map(read).collect()
}
