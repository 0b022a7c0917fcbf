//! `run`: the main job. Input up, run started and watched, results drawn off.

use std::io;
use std::path::Path;
use std::time::Instant;

use serde_json::Value;

use super::ledger_session::{self, LedgerSession, StateNeed};
use super::results::PullOptions;
use super::start::{StartRequest, StartedRun, start};
use crate::api::Graph;
use crate::cli::args::RunArgs;
use crate::cli::context::Context;
use crate::cli::error::{Error, Failure};
use crate::cli::exit::Exit;
use crate::cli::flag_text::in_flags;
use crate::cli::values::Enrich;
use crate::client::{
    self, Client, Definition, ResolvedWorkflow, ResultFormat, SourceKind, StateDir, declared_types, source_block,
};
use crate::net::Kind;
use crate::pipeline::warn_about_steps;
use crate::text::escape_for_terminal;

/// Blocks that start a workflow and take nothing from its caller.
const SOURCES_WITHOUT_INPUT: [&str; 2] = ["read_notebook", "search"];

/// Carries it out.
pub async fn run(context: &Context, args: RunArgs) -> Result<Exit, Failure> {
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
    let inputs: Vec<&Path> = args.input.as_deref().into_iter().chain([Path::new(&args.workflow)]).collect();
    pull.check(context, &inputs)?;
    let payload = args.payload.as_deref().map(read_payload).transpose()?;
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

/// Does `work` with a service inside this process. It and its runs end with this command.
#[cfg(feature = "serve")]
pub async fn on_local_service(
    context: &Context,
    enrich: &[Enrich],
    work: impl AsyncFnOnce(&Client) -> Result<Exit, Failure>,
) -> Result<Exit, Failure> {
    use crate::cli::local::{Local, providers};
    use crate::secret::ApiKey;
    use crate::service::Config;

    let (enrich, endpoints) = providers(enrich.to_vec());
    // A service inside this process is not shared: no limits.
    let configure = |config| Config {
        rate_limit: 0,
        bulk_limit: 0,
        max_upload_bytes: u64::MAX,
        max_upload_rows: u64::MAX,
        limits: context.settings.limits(),
        enrich,
        endpoints,
        ..config
    };
    let local = context.unless_interrupted(Local::start(None, configure)).await?;
    let endpoint = url::Url::parse(&local.base_url()).map_err(|error| Error::Bug(error.to_string()))?;
    // The service accepts any key; it has nobody to keep out but must see one, as the hosted one does.
    let client = context.client_at(endpoint, Some(ApiKey::new("local")));
    // There is nothing to remember: `work` gets no state.
    let outcome = work(&client).await;
    local.stop().await;
    outcome.map_err(|failure| match failure.error() {
        // The usual hints lead to a service that is gone.
        Error::Client(client::Error::Deadline { .. } | client::Error::Ended { .. }) => {
            failure.with_hint("the local service ended with this command; `drawoff serve --data DIR` keeps its runs")
        }
        Error::Client(client::Error::NoResults { .. }) => {
            failure.with_hint("results as CSV are always there: `--format csv`")
        }
        _ => failure,
    })
}

/// Says that there is none.
#[cfg(not(feature = "serve"))]
pub async fn on_local_service(
    _: &Context,
    _: &[Enrich],
    _: impl AsyncFnOnce(&Client) -> Result<Exit, Failure>,
) -> Result<Exit, Failure> {
    Err(Error::Usage("this build has no local service".into()).into())
}

/// Everything through the API, the same for the hosted service and the local one.
async fn start_and_pull(
    context: &Context,
    client: &Client,
    state: Option<&StateDir>,
    args: &RunArgs,
    payload: Option<Value>,
    pull: &PullOptions<'_>,
) -> Result<Exit, Failure> {
    let (has_input, has_payload) = (args.input.is_some(), payload.is_some());
    if let Ok(Definition(definition)) = Definition::read(Path::new(&args.workflow)) {
        // Before a workflow is made of it.
        require_fitting_input(&definition.workflow_name, &definition.workflow_definition, has_input, has_payload)?;
    }
    let workflow = context.unless_interrupted(async { Ok(client.resolve_workflow(&args.workflow).await?) }).await;
    let workflow = workflow.map_err(|failure| match failure.error() {
        Error::Client(client::Error::UnknownWorkflow(_)) => {
            failure.with_hint("`drawoff workflows ls` lists them; a definition file may be given instead")
        }
        Error::Client(client::Error::Net(error)) if error.kind() == Kind::Refused => {
            failure.or_hint(|| unknown_source_hint(&args.workflow))
        }
        _ => failure,
    })?;
    let name = escape_for_terminal(&workflow.name);
    if workflow.how != "found" {
        context.screen.note(&format!("workflow {} ({name}) {}", workflow.id, workflow.how));
    }
    require_fitting_input(&workflow.name, &workflow.graph, has_input, has_payload)?;
    // A run costs something: what looks like a slip is told before it starts, though only its rows can tell.
    if let Some(doubt) = warn_about_steps(&args.plan.steps.steps()?, &declared_types(&workflow.graph)) {
        let hint = doubt.hint.map(|hint| format!(" ({})", in_flags(&hint))).unwrap_or_default();
        let what = escape_for_terminal(&format!("{}{hint}", doubt.message));
        context.screen.note(&format!("by what the workflow declares, {what}; the run starts, and its rows decide"));
    }
    let meant = StartRequest {
        workflow: &workflow,
        input: args.input.as_deref().map(|path| (path, args.from)),
        payload: payload.as_ref(),
        bulk: None,
        new_run: args.new_run,
    };
    let begun = start(context, client, state, &meant, pull.formats).await?;
    draw_off(context, client, state, &begun, &workflow, args.local, pull).await
}

/// Waits for a run that has begun, and writes its results.
pub async fn draw_off(
    context: &Context,
    client: &Client,
    state: Option<&StateDir>,
    begun: &StartedRun,
    workflow: &ResolvedWorkflow,
    local: bool,
    pull: &PullOptions<'_>,
) -> Result<Exit, Failure> {
    if !local {
        context.set_resume(&begun.run);
    }
    let opened = LedgerSession::open(context, state, client, &begun.run, pull.to_stdout());
    let mut keeping = opened.map_err(|failure| failure.or_hint(|| context.resume_hint()))?;
    keeping.record(context, |open| {
        open.ledger.workflow = Some(workflow.id.clone());
        open.ledger.workflow_name = Some(workflow.name.clone());
        open.ledger.key = begun.key.clone();
    });
    // What an earlier command asked for may have been another format; CSV is always there.
    let formats = [pull.formats[0], ResultFormat::Csv];
    let pull = PullOptions { formats: if begun.attached { &formats } else { pull.formats }, of_new_run: true, ..*pull };
    let outcome = pull.carry_out(context, client, &begun.run, &mut keeping).await;
    outcome.map_err(|failure| {
        // What is broken off after the run is no loss of the run.
        let goes_on =
            matches!(failure.exit(), Exit::DownloadBroken | Exit::FileChanged | Exit::Unreachable | Exit::DiskFull);
        if goes_on { failure.or_hint(|| context.resume_hint()) } else { failure }
    })
}

/// Reads `--payload`: JSON, or `@FILE` with JSON, where `@-` is standard input.
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
    let rows_are_objects = match &payload {
        Value::Object(_) => true,
        Value::Array(rows) => rows.iter().all(Value::is_object),
        _ => false,
    };
    if !rows_are_objects {
        return Err(Error::Usage(format!("{what}: rows are an array of objects, or one object")).into());
    }
    Ok(payload)
}

/// The local service starts empty, so that only a definition file can name a workflow.
fn require_definition(workflow: &str) -> Result<(), Failure> {
    match Definition::read(Path::new(workflow)) {
        Ok(_) => Ok(()),
        Err(error) => {
            let hint = "the service of `--local` starts without workflows; give a definition file";
            Err(Failure::new(error, hint))
        }
    }
}

/// A definition that was refused may start with a block that is none.
fn unknown_source_hint(workflow: &str) -> Option<String> {
    let Definition(definition) = Definition::read(Path::new(workflow)).ok()?;
    match SourceKind::of(source_block(&definition.workflow_definition)?) {
        SourceKind::Other(name) if !SOURCES_WITHOUT_INPUT.contains(&name.as_str()) => Some(format!(
            "the workflow starts with `{name}`, which is not a known source block; webhook, read_csv, {} are",
            SOURCES_WITHOUT_INPUT.join(" and ")
        )),
        _ => None,
    }
}

/// Says clearly when the input is not what the workflow starts with.
fn require_fitting_input(name: &str, graph: &Graph, has_input: bool, has_payload: bool) -> Result<(), Failure> {
    let fail = |text: String, hint: &str| {
        let error = Error::Usage(format!("workflow {name} {text}"));
        Err(Failure::new(error, hint))
    };
    // The API's own check says more than a guess here could.
    let Some(block) = source_block(graph) else { return Ok(()) };
    match SourceKind::of(block) {
        SourceKind::Webhook { .. } if has_input => fail(
            "starts with `webhook`, which takes rows in the request".into(),
            "give --payload, not --input; `--payload @FILE` reads a JSON array from a file",
        ),
        SourceKind::Webhook { has_sample: false } if !has_payload => {
            fail("starts with `webhook` and needs rows".into(), "give --payload JSON or --payload @FILE")
        }
        SourceKind::File { .. } if has_payload => {
            fail("starts with `read_csv`, which takes a file".into(), "give --input FILE, not --payload")
        }
        SourceKind::File { has_handle: false } if !has_input => {
            fail("starts with `read_csv` and needs a file".into(), "give --input FILE, or --input - for standard input")
        }
        // Of a name that is not known here, the API's own check says more.
        SourceKind::Other(name) if (has_input || has_payload) && SOURCES_WITHOUT_INPUT.contains(&name.as_str()) => {
            let flag = if has_input { "--input" } else { "--payload" };
            fail(format!("starts with `{name}`, which takes no input"), &format!("leave {flag} out"))
        }
        _ => Ok(()),
    }
}

/// A definition file without a key is what a first user has: the local service is the way on.
fn local_hint(args: &RunArgs, failure: &Failure) -> Option<String> {
    let no_key = matches!(failure.error(), Error::Client(client::Error::Net(e)) if e.kind() == Kind::NoKey);
    (no_key && Path::new(&args.workflow).is_file()).then(|| {
        "set SIXTYFOUR_API_KEY or give `--api-key-file FILE`; or add `--local` to run it in this process, without a key"
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
    fn an_input_that_does_not_fit_is_refused_with_the_flag_that_does() {
        let hint = |block: &str, specs: &str, input, payload| {
            require_fitting_input("W", &graph(block, specs), input, payload).err().map(|f| f.hint().unwrap().to_owned())
        };
        assert!(hint("webhook", "{}", true, false).unwrap().contains("give --payload, not --input"));
        assert!(hint("webhook", "{}", false, false).unwrap().contains("--payload"));
        assert_eq!(hint("webhook", "{}", false, true), None);
        assert_eq!(hint("webhook", r#"{"webhook_input":"[{}]"}"#, false, false), None);
        assert!(hint("read_csv", "{}", false, true).unwrap().contains("give --input"));
        assert!(hint("read_csv", "{}", false, false).unwrap().contains("give --input"));
        assert_eq!(hint("read_csv", r#"{"resource_handle_id":"h"}"#, false, false), None);
        assert_eq!(hint("read_csv", "{}", true, false), None);
        assert!(hint("search", "{}", true, false).unwrap().contains("leave --input out"));
        assert_eq!(hint("search", "{}", false, false), None);
        assert_eq!(hint("weebhook", "{}", false, true), None);
    }

    #[test]
    fn payloads_are_rows() {
        assert!(read_payload(r#"[{"a":1}]"#).is_ok() && read_payload(r#"{"a":1}"#).is_ok());
        for text in ["[1]", "3", "{", "@/nowhere/at/all.json"] {
            assert!(read_payload(text).is_err(), "{text}");
        }
    }
}
