//! One command from its arguments to its exit code: settings are resolved, the command is carried out, and its error is
//! printed.

use super::args::{Args, BulkCommand, Command, GlobalArgs, TopCommand};
use super::context::Context;
use super::error::{Error, Failure};
use super::exit::Exit;
use super::interrupt::Interrupt;
use super::print::{self, Screen};
use super::settings::{self, CONFIG, Settings, TypedSettings};
use super::{color, commands};

/// Says on standard error that drawoff itself is at fault, in place of the standard panic text, and ends the process
/// with [`Exit::Bug`]. Panics on the engine's threads are caught there and become errors; for those the text appears,
/// and the process goes on to clean up.
pub fn install_panic_hook() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(|l| format!(" at {}:{}", l.file(), l.line())).unwrap_or_default();
        print::write_stderr(&color::error_line(&format!("internal error{place}: this is a fault of drawoff")));
        // Taken only if the environment asks for it, by the standard library's own rule.
        let trace = std::backtrace::Backtrace::capture();
        if trace.status() == std::backtrace::BacktraceStatus::Captured {
            print::write_stderr(&trace.to_string());
        }
    }));
}

/// Carries out what was typed and says how the process should end. Errors are printed here.
pub async fn run(args: Args) -> Exit {
    let failure = match carry_out(args).await {
        Ok(exit) => return exit,
        Err(failure) => failure,
    };
    if failure.is_closed_pipe() {
        return Exit::Success;
    }
    failure.lines().iter().for_each(|line| print::write_stderr(&color::error_line(line)));
    failure.exit()
}

async fn carry_out(args: Args) -> Result<Exit, Failure> {
    let command = match args.command {
        TopCommand::WithSettings(command) => command,
        TopCommand::Completions { shell } => return commands::completions::completions(shell).map(|()| Exit::Success),
        TopCommand::Man { dir } => return commands::completions::man(dir.as_deref()).map(|()| Exit::Success),
    };
    let typed = typed_settings(&args.global, &command);
    let settings = Settings::resolve(&typed).map_err(|error| match (&command, &error) {
        // `bulk` used to take the configuration of its job by this flag.
        (Command::Bulk(_), settings::Error::Malformed { .. }) if typed.get(CONFIG.names.name).is_some() => {
            Failure::new(error, "specify the JSON configuration of the bulk job with `--fields FILE`")
        }
        _ => error.into(),
    })?;
    let interrupt = Interrupt::listen().map_err(|cause| Error::Bug(format!("no signals can be caught: {cause}")))?;
    let context = Context::new(settings, Screen::new(args.global.quiet), interrupt);
    let outcome = dispatch(&context, command).await;
    context.screen.clear();
    outcome.map_err(|failure| match failure.error() {
        Error::Interrupted => failure.or_hint(|| context.resume_hint()),
        _ => failure,
    })
}

/// The texts of settings that were typed with `command`.
fn typed_settings(global: &GlobalArgs, command: &Command) -> TypedSettings {
    let plan = match command {
        Command::Run(run) => Some(&run.plan),
        Command::Pull(pull) => Some(&pull.plan),
        Command::Convert(convert) => Some(&convert.plan),
        Command::Bulk(BulkCommand::People(bulk) | BulkCommand::Company(bulk)) => Some(&bulk.plan),
        _ => None,
    };
    global.settings.0.clone().with(&plan.map(|plan| plan.settings.0.clone()).unwrap_or_default())
}

async fn dispatch(context: &Context, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Run(args) => commands::run::run(context, *args).await,
        Command::Pull(args) => commands::pull::pull(context, *args).await,
        Command::Bulk(command) => commands::bulk::bulk(context, command).await,
        Command::Convert(args) => commands::convert::convert(context, *args).await,
        Command::Schema(args) => commands::schema::schema(context, args).await,
        Command::Explain(args) => commands::explain::explain(context, args).await,
        Command::Upload(args) => context.unless_interrupted(commands::upload::upload(context, args)).await,
        Command::Workflows(command) => {
            context.unless_interrupted(commands::workflows::dispatch(context, command)).await
        }
        Command::Runs(command) => context.unless_interrupted(commands::runs::dispatch(context, command)).await,
        Command::Serve(args) => commands::serve::serve(context, *args).await,
        Command::Config(command) => commands::config::dispatch(context, command),
    }
}
