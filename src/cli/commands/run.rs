//! `run`: uploads the input, starts the run once, watches it, and writes its results, on the hosted service or on a
//! local one inside this process. Starting is in `start`, results are in `results`.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::Value;

use super::dry_run;
use super::earlier_start::StartName;
use super::input::Input;
use super::ledger_session::{self, LedgerSession, StateNeed};
use super::parts::{PartsRequest, check_outputs, run_parts};
use super::resolve::{self, SOURCES_WITHOUT_INPUT, StartWork};
use super::results::PullOptions;
use super::start::{StartRequest, StartedRun, start};
use crate::api::Graph;
use crate::cli::args::{PartArgs, RunArgs};
use crate::cli::context::Context;
use crate::cli::error::{Error, Failure};
use crate::cli::exit::Exit;
use crate::cli::flag_text::in_flags;
use crate::cli::values::Enrich;
use crate::client::{
    self, Client, Definition, ResultFormat, SourceKind, StateDir, WorkflowArgument, declared_types, source_block,
};
use crate::column::Schema;
use crate::net::Kind;
use crate::pipeline::check_steps_of_run;
use crate::transform::Step;

/// Checks everything that can be checked locally, then starts the run and writes its results.
pub(crate) async fn run(context: &Context, mut args: RunArgs) -> Result<Exit, Failure> {
    args.plan.steps.add_run_column(args.results.run_column.as_deref());
    let start = Instant::now();
    let formats = [ResultFormat::from(args.format)];
    let pull = PullOptions {
        results: &args.results,
        plan: &args.plan,
        formats: &formats,
        declared: None,
        start,
        of_new_run: true,
        again: false,
    };
    // The definition file counts as an input, too: no output may replace it.
    let inputs: Vec<&Path> = args.input.iter().map(PathBuf::as_path).chain([Path::new(&args.workflow)]).collect();
    require_input_of_parts(&args)?;
    if !args.parts.dry_run || pull.can_be_checked() {
        check_outputs(context, &args.parts, &args.plan)?;
        pull.check(context, &inputs).await?;
    }
    // Read before the API is contacted, because it may be a file or standard input.
    let payload = match args.payload.clone() {
        None => None,
        // On a blocking thread: a pipe may pause for any time, and Ctrl-C must still work.
        Some(text) => {
            let read = tokio::task::spawn_blocking(move || read_payload(&text));
            let read = async { read.await.map_err(|error| Error::Bug(error.to_string()))? };
            Some(context.unless_interrupted(read).await?)
        }
    };
    if args.parts.dry_run && args.input.is_empty() {
        if args.local {
            require_definition(&args.workflow)?;
        }
        return dry_run::without_input(context, &args, payload.as_ref()).await;
    }
    if let Some(outputs) = args.plan.outputs.names() {
        context.set_restart(&outputs);
    }
    if !args.local {
        let client = context.client()?;
        let state = ledger_session::state_dir(context, args.results.no_state, StateNeed::Required)?;
        return start_and_pull(context, &client, state.as_ref(), &args, payload, &pull).await.map_err(|failure| {
            match local_hint(&args, &failure) {
                Some(hint) => failure.with_hint(hint),
                None => failure,
            }
        });
    }
    require_definition(&args.workflow)?;
    on_local_service(context, &args.enrich, async |client: &Client| {
        start_and_pull(context, client, None, &args, payload, &pull).await
    })
    .await
}

/// Runs `work` with a client of a new service inside this process. The service and its runs end with this command.
#[cfg(feature = "serve")]
pub(crate) async fn on_local_service(
    context: &Context,
    enrich: &[Enrich],
    work: impl AsyncFnOnce(&Client) -> Result<Exit, Failure>,
) -> Result<Exit, Failure> {
    use crate::cli::local::{DataDirectory, Local, providers};
    use crate::secret::ApiKey;
    use crate::service::Config;

    let (enrich, endpoints) = providers(enrich.to_vec());
    let configure = |config| Config { limits: context.settings.limits(), enrich, endpoints, ..config };
    let local = context.unless_interrupted(Local::start(DataDirectory::open(None)?, configure)).await?;
    let endpoint = url::Url::parse(&local.base_url()).map_err(|error| Error::Bug(error.to_string()))?;
    // The service accepts any key, but requires one as the hosted service does.
    let client = context.client_at(endpoint, Some(ApiKey::new("local")));
    // No ledger: the runs do not outlive the command, so `work` gets no state.
    let outcome = work(&client).await;
    local.stop().await;
    outcome.map_err(|failure| match failure.error() {
        // The usual hints name commands against a service that no longer exists.
        Error::Client(client::Error::Deadline { .. } | client::Error::Ended { .. }) => failure
            .with_hint("the local service ended with this command; keep its runs with `drawoff serve --data DIR`"),
        Error::Client(client::Error::NoResults { .. }) => {
            failure.with_hint("use `--format csv`: every run has its results as CSV")
        }
        _ => failure,
    })
}

/// Fails, because this build has no local service.
#[cfg(not(feature = "serve"))]
pub(crate) async fn on_local_service(
    _: &Context,
    _: &[Enrich],
    _: impl AsyncFnOnce(&Client) -> Result<Exit, Failure>,
) -> Result<Exit, Failure> {
    Err(Error::Usage("this build has no local service (feature `serve`)".into()).into())
}

/// Resolves the workflow, starts the run and writes its results, through the API of the hosted service or the local
/// one.
async fn start_and_pull(
    context: &Context,
    client: &Client,
    state: Option<&StateDir>,
    args: &RunArgs,
    payload: Option<Value>,
    pull: &PullOptions<'_>,
) -> Result<Exit, Failure> {
    let (has_input, has_payload) = (!args.input.is_empty(), payload.is_some());
    // Before an input from a pipe is consumed.
    client.http().require_key().map_err(client::Error::from)?;
    let argument = WorkflowArgument::read(&args.workflow)?;
    let found;
    let work = match &argument {
        // The workflow is made when the start needs it, under the lock of the start.
        WorkflowArgument::Definition(definition) => StartWork::Definition(definition),
        WorkflowArgument::Named(text) => {
            found = resolve::find(context, client, text).await?;
            StartWork::Workflow(&found)
        }
    };
    require_fitting_input(work.name(), work.graph(), has_input, has_payload)?;
    require_fitting_steps(&args.plan.steps.steps()?, &declared_types(work.graph()))?;
    if args.parts.applies_to(&args.input) {
        let request = PartsRequest {
            work,
            inputs: &args.input,
            from: args.from,
            payload: None,
            bulk: None,
            new_run: args.new_run,
            once: args.once.as_deref(),
            args: &args.parts,
        };
        return run_parts(context, client, state, &request, pull).await;
    }
    let input = match args.input.first() {
        Some(path) => Some(Input::open(context, path, args.from).await?),
        None => None,
    };
    let request = StartRequest {
        work,
        workflow: None,
        input: input.as_ref(),
        payload: payload.as_ref(),
        bulk: None,
        new_run: args.new_run,
        name: args.once.as_deref().map_or(StartName::Work, StartName::Once),
    };
    let started = start(context, client, state, &request, pull.formats).await?;
    pull_started_run(context, client, state, &started, work.name(), args.local, pull).await
}

/// Fails if the flags of parts are given without an input to cut.
fn require_input_of_parts(args: &RunArgs) -> Result<(), Failure> {
    let cuts = PartArgs { dry_run: false, ..args.parts.clone() };
    if args.payload.is_some() && cuts.applies_to(&args.input) {
        let error = Error::Usage("the rows of `--payload` cannot be cut into parts".to_owned());
        return Err(Failure::new(error, "start a run for each part of them, each with its own `--payload @FILE`"));
    }
    if args.input.is_empty() && cuts.applies_to(&args.input) {
        let error = Error::Usage("only an input file can be cut into parts".to_owned());
        return Err(Failure::new(error, "specify it with `--input FILE`, or `--input -` for standard input"));
    }
    Ok(())
}

/// Fails if the types that the workflow declares show that its rows would be refused by a step. A run may cost credits, so
/// this is found before it starts. The declared types may be incomplete; a name in backticks and a cast are always
/// accepted.
pub(crate) fn require_fitting_steps(steps: &[Step], declared: &Schema) -> Result<(), Failure> {
    check_steps_of_run(steps, declared).map_err(|cause| {
        let hint = cause.hint.as_ref().map(|hint| format!("{}; ", in_flags(hint))).unwrap_or_default();
        let hint = format!("{hint}no run was started, because the types that the workflow declares show the error");
        Failure::from(Error::Pipeline(cause.into())).with_hint(hint)
    })
}

/// Waits for a started run and writes its results, with a ledger if there is `state`.
pub(crate) async fn pull_started_run(
    context: &Context,
    client: &Client,
    state: Option<&StateDir>,
    started: &StartedRun,
    workflow_name: &str,
    local: bool,
    pull: &PullOptions<'_>,
) -> Result<Exit, Failure> {
    if !local {
        context.set_resume(&started.run);
    }
    let opened = LedgerSession::open(context, state, client, &started.run, pull.to_stdout());
    let mut session = opened.map_err(|failure| failure.or_hint(|| context.resume_hint()))?;
    session.record(context, |open| {
        open.ledger.workflow = Some(started.workflow.clone());
        open.ledger.workflow_name = Some(workflow_name.to_owned());
        open.ledger.key = started.key.clone();
    });
    // The command that started the run may have requested another format; every run has CSV.
    let formats = [pull.formats[0], ResultFormat::Csv];
    let pull =
        PullOptions { formats: if started.attached { &formats } else { pull.formats }, of_new_run: true, ..*pull };
    let outcome = pull.carry_out(context, client, &started.run, &mut session).await;
    outcome.map_err(|failure| {
        // The run itself is done, so `pull` can write its results later.
        let can_resume =
            matches!(failure.exit(), Exit::DownloadBroken | Exit::FileChanged | Exit::Unreachable | Exit::DiskFull);
        if can_resume { failure.or_hint(|| context.resume_hint()) } else { failure }
    })
}

/// Parses `--payload`: JSON, or `@FILE` with JSON, where `@-` is standard input. Fails unless it is an object or an
/// array of objects.
fn read_payload(text: &str) -> Result<Value, Failure> {
    let (what, json) = match text.strip_prefix('@') {
        Some("-") => {
            let read = io::read_to_string(io::stdin().lock());
            let what = "standard input";
            (what.to_owned(), read.map_err(|cause| Error::Read { path: what.into(), cause })?)
        }
        Some(path) => {
            let read = std::fs::read_to_string(path);
            (path.to_owned(), read.map_err(|cause| Error::Read { path: path.into(), cause })?)
        }
        None => ("--payload".to_owned(), text.to_owned()),
    };
    let payload: Value = serde_json::from_str(&json).map_err(|cause| {
        let failure = Failure::from(Error::Json { what: what.clone(), cause });
        match text.starts_with('@') {
            true => failure,
            false => failure.with_hint("quote it, as in --payload '[{\"a\": 1}]', or use --payload @FILE"),
        }
    })?;
    // The API would refuse other values only after the workflow was created.
    let rows_are_objects = match &payload {
        Value::Object(_) => true,
        Value::Array(rows) => rows.iter().all(Value::is_object),
        _ => false,
    };
    if !rows_are_objects {
        return Err(Error::Usage(format!("{what} must be an array of objects, or one object")).into());
    }
    Ok(payload)
}

/// Fails unless `workflow` is a definition file: the local service starts without workflows.
fn require_definition(workflow: &str) -> Result<(), Failure> {
    match Definition::read(Path::new(workflow)) {
        Ok(_) => Ok(()),
        Err(error) => {
            let hint = "specify a definition file, such as that of `drawoff init`: the service of `--local` starts without workflows";
            Err(Failure::new(error, hint))
        }
    }
}

/// Fails if the input does not fit the first block of the workflow, with the flag that does.
pub(super) fn require_fitting_input(
    name: &str,
    graph: &Graph,
    has_input: bool,
    has_payload: bool,
) -> Result<(), Failure> {
    let fail = |text: String, hint: &str| {
        let error = Error::Usage(format!("workflow {name} {text}"));
        Err(Failure::new(error, hint))
    };
    // A graph without a clear first block is checked by the API, with a better message.
    let Some(block) = source_block(graph) else { return Ok(()) };
    match SourceKind::of(block) {
        SourceKind::Webhook { .. } if has_input => fail(
            "starts with `webhook`, which takes its rows from the request".into(),
            "use --payload, not --input; `--payload @FILE` reads a JSON array from a file",
        ),
        SourceKind::Webhook { has_sample: false } if !has_payload => fail(
            "starts with `webhook` and requires rows".into(),
            "specify them with --payload JSON or --payload @FILE",
        ),
        SourceKind::File { .. } if has_payload => {
            fail("starts with `read_csv`, which takes a file".into(), "use --input FILE, not --payload")
        }
        SourceKind::File { has_handle: false } if !has_input => fail(
            "starts with `read_csv` and requires a file".into(),
            "specify it with --input FILE, or --input - for standard input",
        ),
        // Unknown blocks are checked by the API, with a better message.
        SourceKind::Other(name) if (has_input || has_payload) && SOURCES_WITHOUT_INPUT.contains(&name.as_str()) => {
            let flag = if has_input { "--input" } else { "--payload" };
            fail(format!("starts with `{name}`, which takes no input"), &format!("leave {flag} out"))
        }
        _ => Ok(()),
    }
}

/// Returns the hint for a definition file without an API key, which is the situation of a first user: the local service
/// needs none. `None` for other failures.
fn local_hint(args: &RunArgs, failure: &Failure) -> Option<String> {
    let no_key = matches!(failure.error(), Error::Client(client::Error::Net(e)) if e.kind() == Kind::NoKey);
    (no_key && Path::new(&args.workflow).is_file()).then(|| {
        "set SIXTYFOUR_API_KEY or use `--api-key-file FILE`; or add `--local` to run it inside this process, without a key"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(block: &str, specs: &str) -> Graph {
        let text = format!(
            r#"{{"blocks":[{{"sequence_number":1,"block_type":"io","block_name":"{block}","specs":{specs}}}],"edges":[]}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn an_input_that_does_not_fit_the_first_block_is_refused() {
        let hint = |block: &str, specs: &str, input, payload| {
            require_fitting_input("W", &graph(block, specs), input, payload)
                .err()
                .map(|f| f.hint().unwrap().into_owned())
        };
        assert!(hint("webhook", "{}", true, false).unwrap().contains("use --payload, not --input"));
        assert!(hint("webhook", "{}", false, false).unwrap().contains("--payload"));
        assert_eq!(hint("webhook", "{}", false, true), None);
        assert_eq!(hint("webhook", r#"{"webhook_input":"[{}]"}"#, false, false), None);
        assert!(hint("read_csv", "{}", false, true).unwrap().contains("use --input"));
        assert!(hint("read_csv", "{}", false, false).unwrap().contains("with --input FILE"));
        assert_eq!(hint("read_csv", r#"{"resource_handle_id":"h"}"#, false, false), None);
        assert_eq!(hint("read_csv", "{}", true, false), None);
        assert!(hint("search", "{}", true, false).unwrap().contains("leave --input out"));
        assert_eq!(hint("search", "{}", false, false), None);
        assert_eq!(hint("weebhook", "{}", false, true), None);
    }

    #[test]
    fn payloads_must_be_objects() {
        assert!(read_payload(r#"[{"a":1}]"#).is_ok() && read_payload(r#"{"a":1}"#).is_ok());
        for (text, message) in [
            ("[1]", "error: --payload must be an array of objects, or one object"),
            ("3", "error: --payload must be an array of objects, or one object"),
            ("{", "error: --payload is not valid JSON (unexpected end)"),
            ("@/nowhere/at/all.json", "error: cannot read /nowhere/at/all.json: no such file or directory"),
        ] {
            assert_eq!(read_payload(text).unwrap_err().lines()[0], message, "{text}");
        }
    }
}
