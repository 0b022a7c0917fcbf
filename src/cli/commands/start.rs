//! Starting a run once: whatever happens to the answer, the same command means the same start.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::input::Input;
use super::ledger_session::endpoint_of;
use crate::api::{BulkKind, HandleId, RunId, RunStarted, RunStatus};
use crate::cli::choices::FromFormat;
use crate::cli::context::Context;
use crate::cli::error::{Error, Failure};
use crate::client::{
    self, Client, IdempotencyKey, OpenStart, RecordedStart, ResolvedWorkflow, ResultFormat, RunFilter, StartIdentity,
    StartOptions, StateDir, StateError,
};
use crate::net::Kind;
use crate::text::{error_chain, human_duration};

/// Our reading: the API remembers an idempotency key for a day. So long a start without an answer can be asked for
/// again, and results that were never written are gone on with.
const START_LIFE: Duration = Duration::from_secs(24 * 3600);

/// So long a run that was just started may not be known to the API everywhere.
const GRACE: Duration = Duration::from_secs(30);

/// Clocks differ.
const CLOCK_SKEW: Duration = Duration::from_secs(600);

/// A run, and whether it was there before this command.
pub struct StartedRun {
    /// The run.
    pub run: RunId,
    /// The key that started it, where it is known.
    pub key: Option<IdempotencyKey>,
    /// It was started by an earlier command.
    pub attached: bool,
}

/// What became of an earlier start.
enum EarlierStart {
    /// Its run is over, or there never was one: the next start is a new one.
    Over,
    /// Its run goes on, or its results were not written yet.
    Run(RunId, &'static str),
    /// Nobody knows.
    Unknown,
}

/// A start that is meant.
pub struct StartRequest<'a> {
    /// The workflow, or what stands for it in a bulk job.
    pub workflow: &'a ResolvedWorkflow,
    /// The input file, and its format if that was told.
    pub input: Option<(&'a Path, Option<FromFormat>)>,
    /// The rows of the request, or the settings of a bulk job.
    pub payload: Option<&'a Value>,
    /// A bulk job instead of a run of a workflow: its file goes with the start itself.
    pub bulk: Option<BulkKind>,
    /// Another start, even if one of the same goes on.
    pub new_run: bool,
}

/// What the API answers to a start.
struct StartResponse {
    run: RunId,
    already_started: bool,
}

/// Starts what is `meant`, or attaches to the run that an earlier command started for the same.
pub async fn start(
    context: &Context,
    client: &Client,
    state: Option<&StateDir>,
    meant: &StartRequest<'_>,
    formats: &[ResultFormat],
) -> Result<StartedRun, Failure> {
    let StartRequest { workflow, payload, .. } = *meant;
    let name = &workflow.name;
    let input = match meant.input {
        Some((path, from)) => Some(Input::open(context, path, from).await?),
        None => None,
    };
    // The file of a bulk job goes with the start, not before it.
    let uploaded = input.as_ref().filter(|_| meant.bulk.is_none());
    let options = |handle: Option<HandleId>, key: IdempotencyKey| StartOptions {
        input: handle,
        payload: payload.cloned(),
        formats: formats.to_vec(),
        key,
    };
    let Some(state) = state else {
        let handle = upload(context, client, uploaded).await?;
        let options = options(handle, IdempotencyKey::fresh(&workflow.id.0));
        let started = meant.send(context, client, input.as_ref(), &options).await?;
        context.screen.note(&format!("run {} of {name} started", started.run));
        return Ok(StartedRun { run: started.run, key: Some(options.key), attached: false });
    };
    let meaning = meaning(context, client, workflow, input.as_ref(), payload).await?;
    let mut slot = state.start(&meaning).map_err(|error| match error {
        StateError::Busy { .. } => {
            Failure::new(error, "once that one has started the run, this command attaches to it: try again then")
        }
        error => error.into(),
    })?;
    let before = match meant.new_run {
        true => None,
        false => slot.before().map_err(|error| {
            Failure::new(
                error,
                "it may be of a run that goes on: `drawoff runs ls` lists them; `--new-run` starts another",
            )
        })?,
    };
    let mut repeated = None;
    if let Some(before) = before {
        match context.unless_interrupted(earlier_start(client, state, &before)).await? {
            EarlierStart::Over => {}
            EarlierStart::Run(run, why) => {
                context.screen.note(&format!("already started as {run}, {why}; `--new-run` starts another"));
                return Ok(StartedRun { run, key: Some(before.key), attached: true });
            }
            EarlierStart::Unknown => {
                let ago = human_duration(before.age());
                context
                    .screen
                    .note(&format!("a start of {name} {ago} ago was not answered; asking again under its key"));
                repeated = Some(before);
            }
        }
    }
    let is_repeated = repeated.is_some();
    let mut start = match repeated {
        Some(before) => before,
        None => RecordedStart::new(&meaning, upload(context, client, uploaded).await?),
    };
    slot.save(&start)?;
    let mut started =
        meant.ask(context, client, input.as_ref(), &options(start.input.clone(), start.key.clone())).await;
    if is_repeated && start.input.is_some() && started.as_ref().is_err_and(is_judged) {
        // The upload of the earlier command may be gone. That start was never accepted, then: its key would have
        // been answered with its run.
        start.input = upload(context, client, uploaded).await?;
        slot.save(&start)?;
        started = meant.ask(context, client, input.as_ref(), &options(start.input.clone(), start.key.clone())).await;
    }
    let started = match started {
        Ok(started) => started,
        Err(failure) => return Err(refused(&slot, failure)),
    };
    let run = started.run;
    let attached = is_repeated && started.already_started;
    // Before it is said: who reads of a run may end this process and ask again.
    start.run = Some(run.clone());
    if let Err(error) = slot.save(&start) {
        let error = error_chain(&error);
        context.screen.always(&format!("{error}; the run goes on all the same"));
    }
    match attached {
        true => context.screen.note(&format!("already started as {run}; `--new-run` starts another")),
        false => context.screen.note(&format!("run {run} of {name} started")),
    }
    Ok(StartedRun { run, key: Some(start.key), attached })
}

impl StartRequest<'_> {
    async fn ask(
        &self,
        context: &Context,
        client: &Client,
        input: Option<&Input>,
        options: &StartOptions,
    ) -> Result<StartResponse, Failure> {
        let hint = "whether the run started is not known; the same command finds out, and does not start it twice";
        context.set_resume_hint(hint.to_owned());
        let started = self.send(context, client, input, options).await;
        started.map_err(|failure| match failure.error() {
            Error::Client(client::Error::Net(error))
                if matches!(error.kind(), Kind::Unreachable | Kind::ServerFault | Kind::BadAnswer) =>
            {
                failure.with_hint(hint)
            }
            _ => failure,
        })
    }

    async fn send(
        &self,
        context: &Context,
        client: &Client,
        input: Option<&Input>,
        options: &StartOptions,
    ) -> Result<StartResponse, Failure> {
        match (self.bulk, input) {
            (Some(kind), Some(input)) => {
                let config = options.payload.as_ref().map_or_else(|| "{}".to_owned(), Value::to_string);
                let started = input.start_bulk(context, client, kind, &config, &options.key).await?;
                Ok(StartResponse { run: started.task_id, already_started: started.already_started == Some(true) })
            }
            _ => {
                let started = async { Ok(client.start(&self.workflow.id, options).await?) };
                let RunStarted { job_id, already_started, .. } = context.unless_interrupted(started).await?;
                Ok(StartResponse { run: job_id, already_started: already_started == Some(true) })
            }
        }
    }
}

async fn upload(context: &Context, client: &Client, input: Option<&Input>) -> Result<Option<HandleId>, Failure> {
    match input {
        Some(input) => input.upload(context, client).await.map(Some),
        None => Ok(None),
    }
}

async fn meaning(
    context: &Context,
    client: &Client,
    workflow: &ResolvedWorkflow,
    input: Option<&Input>,
    payload: Option<&Value>,
) -> Result<StartIdentity, Failure> {
    let input = match input {
        Some(input) => Some(input.digest(context).await?),
        None => None,
    };
    let input = input.as_ref().map(|(digest, extension)| (digest.as_str(), extension.as_str()));
    let payload = payload.map(Value::to_string);
    let workflow = (&workflow.id, workflow.name.as_str(), &workflow.graph);
    Ok(StartIdentity::new(&endpoint_of(client), workflow, input, payload.as_deref()))
}

/// Finds out what became of `before`.
async fn earlier_start(client: &Client, state: &StateDir, before: &RecordedStart) -> Result<EarlierStart, Failure> {
    let Some(run) = &before.run else {
        return if before.age() < START_LIFE { Ok(EarlierStart::Unknown) } else { long_ago(client, before).await };
    };
    let status = match client.live_status(run).await {
        Ok(status) => RunStatus::parse(&status.overall_status),
        Err(client::Error::Net(error)) if error.kind() == Kind::NotFound => {
            let new = before.age() < GRACE;
            return Ok(if new { EarlierStart::Run(run.clone(), "a moment ago") } else { EarlierStart::Over });
        }
        Err(error) => return Err(error.into()),
    };
    if !status.is_terminal() {
        return Ok(EarlierStart::Run(run.clone(), "which goes on"));
    }
    // A ledger that cannot be read says nothing of a delivery.
    let ledger = state.peek(&endpoint_of(client), run).ok().flatten();
    let delivered = ledger.is_some_and(|ledger| ledger.delivered_at.is_some());
    let undelivered = status == RunStatus::Completed && !delivered && before.age() < START_LIFE;
    Ok(if undelivered {
        EarlierStart::Run(run.clone(), "whose results were not written yet")
    } else {
        EarlierStart::Over
    })
}

/// The fate of a start whose key the API may have forgotten: if no run of the workflow began since, there is none.
async fn long_ago(client: &Client, before: &RecordedStart) -> Result<EarlierStart, Failure> {
    // A bulk job's workflow has no id that could be asked for.
    let workflow = Some(before.workflow.clone()).filter(|id| !id.0.starts_with('/'));
    let filter = RunFilter { workflow, limit: Some(500), ..RunFilter::default() };
    let since = before.age().saturating_add(CLOCK_SKEW);
    let runs = client.runs(&filter).await?;
    let began_since = |run: &&crate::api::Run| {
        let stamp = run.queued_at.as_deref().or(run.created_at.as_deref());
        stamp.and_then(client::age_of).is_none_or(|age| age <= since)
    };
    let candidates: Vec<String> = runs.iter().filter(began_since).map(|run| run.job_id.to_string()).collect();
    if candidates.is_empty() {
        return Ok(EarlierStart::Over);
    }
    Err(Error::UnknownFate {
        workflow: before.workflow_name.clone(),
        ago: human_duration(before.age()),
        runs: candidates.join(", "),
    }
    .into())
}

/// True if the API has looked at the request and said no: then it has started nothing.
fn is_judged(failure: &Failure) -> bool {
    matches!(failure.error(), Error::Client(client::Error::Net(error)) if matches!(error.status(), Some(400 | 404 | 422)))
}

/// After a failure the start is remembered, so that the next command asks again, unless there is nothing to ask for.
fn refused(slot: &OpenStart, failure: Failure) -> Failure {
    if is_judged(&failure) {
        // If it stays, the next command asks under its key and hears the same.
        let _ = slot.forget();
    }
    failure
}
