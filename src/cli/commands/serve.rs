//! `serve`: runs the local Workflows service until Ctrl-C or the end of a command, or exports and describes it. The
//! service itself is in `service`; this module translates flags into its configuration.

use crate::cli::args::ServeArgs;
use crate::cli::context::Context;
use crate::cli::error::Failure;
use crate::cli::exit::Exit;

/// Starts the service, prints its URL on standard output, and stops it at Ctrl-C, which is a success. With a command,
/// runs that instead and ends with its exit code.
#[cfg(feature = "serve")]
pub(crate) async fn serve(context: &Context, args: ServeArgs) -> Result<Exit, Failure> {
    use std::net::SocketAddr;

    use super::serve_command::{Environment, Parent, run_command};
    use super::{serve_archives as archives, serve_input as flags};
    use crate::cli::error::Error;
    use crate::cli::local::{DataDirectory, Local, providers};
    use crate::cli::page_commands::command_line;
    use crate::cli::request_log::RequestLog;
    use crate::cli::serve_flags::LogFormat;
    use crate::cli::shell::shell_quoted;
    use crate::cli::table;
    use crate::secret::ApiKey;
    use crate::service::{Backend, Config, FaultRule, Seeded};
    use crate::sink::TargetKind;
    use crate::text::escape_for_terminal;

    // An export and the description need no running service.
    if args.print_openapi {
        let document = format!("{:#}\n", crate::service::openapi_document());
        table::write_data(&document)?;
        return Ok(Exit::Success);
    }
    if let (Some(data), Some(path)) = (&args.data, &args.engine.export) {
        return archives::export(context, data, path, args.engine.overwrite).await;
    }
    if let Some(path) = &args.seeds.export_on_exit {
        if archives::is_stdout(path) {
            let text = "--export-on-exit needs a file: standard output has the address and the seeds";
            return Err(Error::Usage(text.into()).into());
        }
        archives::check_replaceable(path, args.engine.overwrite)?;
        // Found now rather than when the work is done.
        TargetKind::check_writable(path, false).map_err(|cause| Error::Write { path: path.clone(), cause })?;
    }
    // Before anything that takes time: a parent that ends meanwhile must be noticed.
    let parent = args.exit_with_parent.then(Parent::of_this_process);
    let temporary = args.data.is_none();
    // The flags of `serve` override the settings, which concern a single execution.
    let mut limits = context.settings.limits();
    limits.max_memory_bytes = args.engine.max_memory.unwrap_or(limits.max_memory_bytes);
    limits.max_step_bytes = args.engine.step_memory.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    let faults = flags::scenario(&args.engine)?;
    let retain = args.engine.retain.as_deref().map(flags::retain).transpose()?;
    let workflows = flags::workflows(&args.seeds)?;
    let (enrich, endpoints) = providers(args.enrich);
    // A key on the command line excludes the flags of files and commands, and overrides the environment.
    let api_key = match args.api_key.as_deref() {
        Some(key) => Some(ApiKey::new(key)),
        None => context.settings.load_service_key().map_err(Error::Settings)?,
    };
    let key_of_command = match &api_key {
        Some(key) => key.reveal().to_owned(),
        // The key of the hosted service, which the command's requests need there.
        None if args.hosted.proxy.is_some() => {
            let key = context.settings.load_key().map_err(Error::Settings)?;
            key.map_or_else(String::new, |key| key.reveal().to_owned())
        }
        None => "local".to_owned(),
    };
    let backend = flags::backend(&args.hosted);
    if !matches!(backend, Backend::Local)
        && let Some(why) = faults.rules.iter().find_map(FaultRule::never_strikes_before_hosted)
    {
        return Err(Error::Usage(why).into());
    }
    let is_server = args.command.is_empty();
    let log =
        args.log.unwrap_or(if context.screen.is_quiet() || !is_server { LogFormat::Off } else { LogFormat::Human });
    let (on_request, log) = RequestLog::start(log, &context.screen);
    let configure = |config: Config| Config {
        bind: SocketAddr::from((args.host, args.port)),
        api_key,
        allow_hosts: args.allow_host,
        allow_origins: args.allow_origin,
        enrich,
        endpoints,
        link_life: args.link_life,
        limits,
        max_runs: args.engine.max_runs.into(),
        workflows,
        uploads: args.seeds.upload.clone(),
        faults,
        backend,
        admin: args.engine.admin,
        retain,
        run_grace: args.engine.stop_grace,
        on_request,
        command_line: Some(command_line()),
        ..flags::limited(config, &args.limits)
    };
    let data = args.data.clone();
    let directory = DataDirectory::open(args.data)?;
    if let Some(path) = &args.seeds.import {
        archives::import(context, directory.path(), path).await?;
    }
    let local = Local::start(directory, configure).await?;
    let base_url = local.base_url();
    if is_server {
        // On standard output, because a script that starts the service reads it: the address on the first line.
        let seeded = local
            .seeded()
            .iter()
            .map(|Seeded { kind, id, name }| format!("{kind} {id} {}\n", escape_for_terminal(name)));
        table::write_data(&format!("{base_url}\n{}", seeded.collect::<String>()))?;
        context.screen.note(&format!("the Workflows service listens on {base_url}; stop it with Ctrl-C"));
    }
    if let Some(data) = data.filter(|_| local.data_is_open_to_others()) {
        let data = shell_quoted(&data.to_string_lossy());
        context.screen.always(&format!(
            "warning: other users of this machine can list the data directory, or change it; restrict it with `chmod 700 {data}`"
        ));
    }
    if is_server {
        if let Some(url) = &args.hosted.proxy {
            context.screen.note(&format!("requests are handed on to {url}"));
        } else if let Some(directory) = &args.hosted.replay {
            context.screen.note(&format!("responses are those recorded in {}", directory.display()));
        } else if temporary {
            context.screen.note("its store is temporary; keep it with `--data DIR`");
        }
        local.in_force().iter().for_each(|line| context.screen.note(line));
    }
    // The service runs on tasks of its own; this one only waits.
    let exit_code = match is_server {
        true => {
            tokio::select! {
                () = context.interrupt.requested() => {}
                () = Parent::gone(parent) => log.note("the parent process has ended"),
            }
            None
        }
        false => {
            let environment = Environment::of(&base_url, &key_of_command, local.seeded());
            Some(run_command(context, &args.command, environment, Parent::gone(parent)).await)
        }
    };
    // Active runs get the time that `--stop-grace` sets.
    context.interrupt.set_own_deadline();
    if is_server {
        log.note("stopping");
    }
    local.hosted_summary().iter().for_each(|line| log.note(line));
    let exported = match args.seeds.export_on_exit {
        None => {
            local.stop().await;
            Ok(())
        }
        Some(path) => {
            // Once more: the file may be there since.
            let exported = match archives::check_replaceable(&path, args.engine.overwrite) {
                Ok(()) => local.stop_and_export(path).await,
                Err(failure) => {
                    local.stop().await;
                    Err(failure)
                }
            };
            exported.map(|summary| archives::moved_items("exported", &summary).iter().for_each(|line| log.note(line)))
        }
    };
    log.finish();
    match (exit_code, exported) {
        // That the command failed is more than that its state is not kept.
        (Some(Ok(code)), Err(failure)) if code != 0 => {
            failure.lines().iter().for_each(|line| context.screen.always(line));
            std::process::exit(code)
        }
        (Some(Err(failure)), _) | (_, Err(failure)) => Err(failure),
        (None, Ok(())) => Ok(Exit::Success),
        // The exit code is that of another program, so it is none of ours.
        (Some(Ok(code)), Ok(())) => std::process::exit(code),
    }
}

/// Fails, because this build has no local service.
#[cfg(not(feature = "serve"))]
pub(crate) async fn serve(_: &Context, _: ServeArgs) -> Result<Exit, Failure> {
    Err(crate::cli::error::Error::Usage("this build has no local service (feature `serve`)".into()).into())
}
