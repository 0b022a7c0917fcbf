//! One command from its arguments to its exit code: resolves the settings, dispatches to the command, and prints its
//! error with a hint. The work itself is in `commands`.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum as _;
use clap::error::ErrorKind;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::args::{Args, BulkCommand, Command, GlobalArgs, PipelineArgs, TopCommand};
use super::context::{Context, ResumeHint};
use super::corrected::after_failure;
use super::error::{Error, Failure};
use super::exit::Exit;
use super::interrupt::Interrupt;
use super::parse::Refused;
use super::print::{self, Screen};
use super::result_file::ResultFile;
use super::serve_flags::LogFormat;
use super::settings::{self, CONFIG, Settings, TypedSettings};
use super::telemetry::Telemetry;
use super::typed_words::command_path;
use super::{color, commands, help, logger, mistakes, parse, serve_settings};
use crate::sink::{TargetKind, remove_partial_files, unfinished_uploads};
use crate::text::escape_for_terminal;
use crate::unwind;

/// The whole process: parses the command line, runs one command on a small tokio runtime, and returns the exit code.
pub fn main() -> ExitCode {
    install_panic_hook();
    forbid_core_dumps();
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == commands::complete_values::WORD) {
        commands::complete_values::complete_values(words.map(|word| word.to_string_lossy().into_owned()).collect());
        return ExitCode::SUCCESS;
    }
    color::init(std::env::args_os().skip(1));
    if std::env::args_os().len() <= 1 {
        print::write_stderr(mistakes::START.trim_end());
        return ExitCode::from(Exit::Usage.code());
    }
    let args = match parse::parse(std::env::args_os()) {
        Ok(args) => args,
        Err(refused) => return print_usage(&refused),
    };
    // Two threads: one may be busy with a socket's bytes while the other drives timers. Records are processed on the
    // engine's own threads.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let exit = match runtime {
        Ok(runtime) => {
            let exit = runtime.block_on(async {
                let telemetry = telemetry_of(&args);
                let exit = run_in_time(args).await;
                telemetry.end(exit).await;
                exit
            });
            // Not a plain drop, which would wait for a thread that is blocked in a read of a pipe.
            runtime.shutdown_background();
            exit
        }
        Err(_) => Exit::Bug,
    };
    ExitCode::from(exit.code())
}

/// Begins the export of spans, if the build has it and the environment names a collector.
fn telemetry_of(args: &Args) -> Telemetry {
    let mut root = help::command();
    root.build();
    let words: Vec<String> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    Telemetry::begin(&command_path(&root, &words), args.global.quiet)
}

/// Prints help, a version or an error of the command line, and returns its exit code: help that cannot be written, to a
/// full disk for example, is no success.
fn print_usage(Refused { error, corrected }: &Refused) -> ExitCode {
    let printed = match error.kind() {
        // Through a pager, where it is longer than the terminal.
        ErrorKind::DisplayHelp => print::write_paged(&match color::of_stdout() {
            true => error.render().ansi().to_string(),
            false => error.render().to_string(),
        }),
        _ => match corrected {
            Some(corrected) => {
                let text = color::styled_for_stderr(&error.render());
                // clap ends with a line on `--help`.
                let text = text.rfind("\nFor more information").map_or(&*text, |end| &text[..end]);
                print::write_stderr(&format!("{}\n\n{}", text.trim_end(), color::corrected_line(corrected)));
                Ok(())
            }
            None => error.print().and_then(|()| std::io::stdout().flush()),
        },
    };
    let exit = match printed {
        Err(cause) if cause.kind() != std::io::ErrorKind::BrokenPipe => {
            return ExitCode::from(
                print_failure(&Error::Write { path: "standard output".into(), cause }.into()).code(),
            );
        }
        _ => error.exit_code(),
    };
    ExitCode::from(u8::try_from(exit).unwrap_or(1))
}

/// Keeps the API key and signed links, which are in memory, out of core dumps and from other processes of the user.
fn forbid_core_dumps() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        // An error leaves the system's own rule.
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
}

/// Runs the command on a thread of its own, and ends in time if it does not: a part of it may block for ever, such as a
/// write to a full pipe, and the first signal must end that, too.
async fn run_in_time(args: Args) -> Exit {
    let interrupt = match Interrupt::listen() {
        Ok(interrupt) => interrupt,
        Err(cause) => return print_failure(&Error::Bug(format!("cannot listen for signals: {cause}")).into()),
    };
    let result_file = ResultFile::default();
    if let Some((command, path, inputs)) = asked_result_file(&args)
        && let Err(failure) = result_file.begin(path, command, &inputs)
    {
        return print_failure(&failure);
    }
    let (sender, done) = oneshot::channel();
    let resume = ResumeHint::default();
    let (runtime, of_command) = (Handle::current(), (interrupt.clone(), resume.clone(), result_file.clone()));
    let work = move || {
        let (interrupt, resume, result_file) = of_command;
        let of_run = (resume, result_file.clone());
        let run = std::panic::AssertUnwindSafe(|| runtime.block_on(run(args, interrupt, of_run.0, of_run.1)));
        // The panic hook has printed the message already. The exit code is lost only if it comes too late.
        let exit = std::panic::catch_unwind(run).unwrap_or_else(|_| write_result(&result_file, Exit::Bug, None));
        let _ = sender.send(exit);
    };
    let thread = std::thread::Builder::new().name("command".into()).stack_size(COMMAND_STACK_BYTES).spawn(work);
    if let Err(cause) = thread {
        return print_failure(&Error::Bug(format!("cannot start a thread: {cause}")).into());
    }
    tokio::select! {
        exit = done => exit.unwrap_or(Exit::Bug),
        () = interrupt.overdue() => {
            remove_partial_files();
            for remains in unfinished_uploads() {
                print::write_stderr(&format!("warning: {}", escape_for_terminal(&remains)));
            }
            let failure = Failure::from(Error::Interrupted).or_hint(|| resume.get());
            write_result(&result_file, print_failure(&failure), Some(&failure))
        }
    }
}

/// Installs a panic hook that reports a bug on standard error in place of the standard panic text. The hook does not
/// end the process: [`main`] turns a panic of the command into [`Exit::Bug`], and panics on the engine's threads become
/// errors, after which the command still cleans up.
fn install_panic_hook() {
    std::panic::set_hook(Box::new(|info| {
        // Damaged data, not a bug: its reader reports it.
        if unwind::is_contained() {
            return;
        }
        let location = info.location().map(|l| format!(" at {}:{}", l.file(), l.line())).unwrap_or_default();
        print::write_stderr(&color::error_line(&format!(
            "internal error{location}: this is a bug in drawoff; please report it with the command and this message"
        )));
        // Captured only under RUST_BACKTRACE, by the standard library's own rule.
        let trace = std::backtrace::Backtrace::capture();
        if trace.status() == std::backtrace::BacktraceStatus::Captured {
            print::write_stderr(&trace.to_string());
        }
    }));
}

/// Stack of the command's thread: that of a main thread, for it does the same.
const COMMAND_STACK_BYTES: usize = 8 << 20;

/// Runs the command that was typed, prints its error if it fails, and returns the exit code of the process. A pipe that
/// its reader closed is a success.
async fn run(args: Args, interrupt: Interrupt, resume: ResumeHint, result_file: ResultFile) -> Exit {
    match run_command(args, interrupt, resume, result_file.clone()).await {
        Ok(exit) => write_result(&result_file, exit, None),
        // A reader such as `head` has all that it wants.
        Err(failure) if failure.is_closed_pipe() => write_result(&result_file, Exit::Success, None),
        Err(failure) => write_result(&result_file, print_failure(&failure), Some(&failure)),
    }
}

/// Writes the result file, if one was asked for. Returns `exit`, or the code of its own error after a success.
fn write_result(result_file: &ResultFile, exit: Exit, failure: Option<&Failure>) -> Exit {
    match result_file.write(exit, failure) {
        Ok(()) => exit,
        Err(error) => {
            let of_file = print_failure(&error);
            if exit == Exit::Success { of_file } else { exit }
        }
    }
}

/// Prints an error with its hint, and returns its exit code.
fn print_failure(failure: &Failure) -> Exit {
    failure.lines().iter().for_each(|line| print::write_stderr(&color::error_line(line)));
    // Words that are no text, or that a terminal must not receive, are none of a corrected line.
    let words: Option<Vec<String>> = std::env::args_os().map(|word| word.into_string().ok()).collect();
    let words = words.filter(|words| words.iter().all(|word| escape_for_terminal(word) == *word));
    if let Some(corrected) = words.and_then(|words| after_failure(&words, failure)) {
        print::write_stderr(&color::corrected_line(&corrected));
    }
    failure.exit()
}

async fn run_command(
    args: Args,
    interrupt: Interrupt,
    resume: ResumeHint,
    result_file: ResultFile,
) -> Result<Exit, Failure> {
    let args = with_serve_settings(args)?;
    let command = match args.command {
        TopCommand::WithSettings(command) => command,
        TopCommand::Completions { shell } => return commands::completions::completions(shell).map(|()| Exit::Success),
        TopCommand::Man { dir } => return commands::completions::man(dir.as_deref()).map(|()| Exit::Success),
    };
    let typed = typed_settings(&args.global, &command);
    let resolved = match (Settings::resolve(&typed), &command) {
        // It says what is wrong, also with its settings.
        (Err(error), Command::Doctor(list)) => {
            let screen = Screen::new(args.global.quiet);
            return commands::doctor::doctor_without_settings(&screen, error.into(), list.output);
        }
        (resolved, _) => resolved,
    };
    let settings = resolved.map_err(|error| match (&command, &error) {
        // `bulk` used to take the configuration of its job by this flag.
        (Command::Bulk(_), settings::Error::Malformed { .. }) if typed.get(CONFIG.names.name).is_some() => {
            Failure::new(error, "specify the JSON configuration of the bulk job with `--fields FILE`")
        }
        _ => error.into(),
    })?;
    let context = Context::new(settings, Screen::new(args.global.quiet), interrupt, resume, result_file);
    if matches!(command, Command::Serve(_)) {
        // Not an error: in a cluster, other programs set variables that begin so.
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        for name in serve_settings::unknown_variables(names) {
            context.screen.always(&format!("warning: {name} has no effect: `serve` has no such setting"));
        }
    }
    let mut command = command;
    match (&mut command, args.global.log.as_deref()) {
        (Command::Serve(serve), Some(format)) => serve.log = Some(log_format(format)?),
        (command, file) => {
            let file = file.map(Path::new);
            file.map_or(Ok(()), |file| check_log(file, command))?;
            logger::install(args.global.verbose, file, &context.screen)?;
        }
    }
    let outcome = dispatch(&context, command).await;
    context.screen.clear();
    // The hint depends on how far the command came, so it is taken when it ends.
    outcome.map_err(|failure| match failure.error() {
        Error::Interrupted => failure.or_hint(|| context.resume_hint()),
        _ => failure,
    })
}

/// Parses the format of the log of `serve`, which has no file of its own.
fn log_format(typed: &OsStr) -> Result<LogFormat, Failure> {
    typed.to_str().and_then(|word| LogFormat::from_str(word, true).ok()).ok_or_else(|| {
        let error = Error::Usage(format!("`--log` of serve is human, json or off, not `{}`", typed.display()));
        Failure::new(
            error,
            "the lines go to standard error: `drawoff serve --log json 2> FILE` writes them into a file",
        )
    })
}

/// Adds the flags of `serve` that the environment and the configuration file set. Other commands pass unchanged.
fn with_serve_settings(args: Args) -> Result<Args, Failure> {
    let TopCommand::WithSettings(command @ Command::Serve(_)) = &args.command else { return Ok(args) };
    let file = Settings::serve_table(&typed_settings(&args.global, command))?;
    let words: Vec<_> = std::env::args_os().collect();
    let completed = serve_settings::completed(&words, &|name| std::env::var(name).ok(), file)?;
    Ok(completed.unwrap_or(args))
}

/// Returns the flags of settings that were typed, those of every command and those of `command`.
fn typed_settings(global: &GlobalArgs, command: &Command) -> TypedSettings {
    // Only the commands that write records have further flags of settings.
    let settings = match command {
        Command::Plan(plan) => Some(&plan.settings),
        Command::Work(work) => Some(&work.settings),
        Command::Commit(commit) => Some(&commit.settings),
        other => plan_of(other).map(|(_, plan)| &plan.settings),
    };
    global.settings.0.clone().with(&settings.map(|settings| settings.0.clone()).unwrap_or_default())
}

/// Returns the name and the flags of a command that writes records; `None` for the others.
fn plan_of(command: &Command) -> Option<(&'static str, &PipelineArgs)> {
    match command {
        Command::Run(run) => Some(("run", &run.plan)),
        Command::Pull(pull) => Some(("pull", &pull.plan)),
        Command::Sync(sync) => Some(("sync", &sync.plan)),
        Command::Convert(convert) => Some(("convert", &convert.plan)),
        Command::Bulk(BulkCommand::People(bulk) | BulkCommand::Company(bulk)) => Some(("bulk", &bulk.plan)),
        _ => None,
    }
}

/// Returns the result file that was asked for, with the name of the command and the files that it reads.
fn asked_result_file(args: &Args) -> Option<(&'static str, &Path, Vec<&Path>)> {
    let TopCommand::WithSettings(command) = &args.command else { return None };
    if let Command::Commit(commit) = command {
        return Some(("commit", commit.result_file.as_deref()?, Vec::new()));
    }
    let (name, plan) = plan_of(command)?;
    Some((name, plan.result_file.as_deref()?, inputs_of(command)))
}

/// Returns the files that a command reads, as far as the command line names them.
fn inputs_of(command: &Command) -> Vec<&Path> {
    fn listed(path: &Path) -> Option<&Path> {
        path.to_str()?.strip_prefix('@').map(Path::new)
    }
    match command {
        Command::Convert(convert) => {
            let sources = convert.sources.iter().map(PathBuf::as_path);
            sources.flat_map(|path| [Some(path), listed(path)]).flatten().collect()
        }
        Command::Run(run) => {
            let payload = run.payload.as_deref().and_then(|payload| payload.strip_prefix('@')).map(Path::new);
            run.input.iter().map(PathBuf::as_path).chain(payload).chain([Path::new(&run.workflow)]).collect()
        }
        _ => Vec::new(),
    }
}

/// Fails if the log is an output, the rejects file or the result file of the command, which would replace it.
fn check_log(log: &Path, command: &Command) -> Result<(), Failure> {
    let Some((_, plan)) = plan_of(command) else { return Ok(()) };
    let others = plan.outputs.typed.iter().map(|output| output.path.as_path()).chain(plan.rejects.as_deref());
    match others.chain(plan.result_file.as_deref()).any(|other| TargetKind::is_same(log, other)) {
        false => Ok(()),
        true => {
            let error = Error::Usage(format!("{} is an output and cannot be the log, too", log.display()));
            Err(Failure::new(error, "give `--log` a file of its own"))
        }
    }
}

async fn dispatch(context: &Context, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Run(args) => commands::run::run(context, *args).await,
        Command::Pull(args) => commands::pull::pull(context, *args).await,
        Command::Sync(args) => commands::sync::sync(context, *args).await,
        Command::Plan(args) => commands::plan::plan(context, *args).await,
        Command::Work(args) => commands::work::work(context, args).await,
        Command::Commit(args) => commands::commit::commit(context, *args).await,
        Command::Loads(command) => commands::loads::dispatch(context, command).await,
        Command::Bulk(command) => commands::bulk::bulk(context, command).await,
        Command::Convert(args) => commands::convert::convert(context, *args).await,
        Command::Head(args) => commands::head::head(context, *args).await,
        Command::Stats(args) => commands::stats::stats(context, *args).await,
        Command::Schema(args) => commands::schema::schema(context, *args).await,
        Command::Explain(args) => commands::explain::explain(context, *args).await,
        Command::Upload(args) => context.unless_interrupted(commands::upload::upload(context, args)).await,
        Command::Workflows(command) => {
            context.unless_interrupted(commands::workflows::dispatch(context, command)).await
        }
        Command::Runs(command) => context.unless_interrupted(commands::runs::dispatch(context, command)).await,
        Command::Serve(args) => commands::serve::serve(context, *args).await,
        Command::Init { directory } => commands::init::init(context, &directory),
        Command::Doctor(list) => commands::doctor::doctor(context, list.output).await,
        Command::Config(command) => commands::config::dispatch(context, command),
    }
}
