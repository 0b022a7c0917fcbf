//! Exactly-once start of a run: the same command means the same start, even if its response was lost.
//!
//! A start is identified by a digest of endpoint, workflow, input and payload. Before the request, its idempotency key
//! is saved in the state directory under that identity. The next command with the same identity finds the key and
//! learns from the API which run it started; only a start without a saved key, or whose run is over and delivered, is a
//! new one.

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

/// Lifetime of an idempotency key. Assumed: the API keeps keys for a day. Within it, a start without a response is
/// requested again under its key, and a run whose results were not written is attached to.
const START_LIFE: Duration = Duration::from_secs(24 * 3600);

/// Time in which the API may still respond 404 for a run that was just started.
const GRACE: Duration = Duration::from_secs(30);

/// Assumed difference between the clocks of this machine and of the API, at most.
const CLOCK_SKEW: Duration = Duration::from_secs(600);

/// A run that this command started or attached to.
pub(crate) struct StartedRun {
    /// Id of the run.
    pub run: RunId,
    /// Idempotency key that started it; `None` if it is unknown.
    pub key: Option<IdempotencyKey>,
    /// True if an earlier command started it.
    pub attached: bool,
}

/// The state of an earlier start with the same identity.
enum EarlierStart {
    /// Its run is over and delivered, or there is no run: start a new one.
    Over,
    /// Its run is active, or its results were not written: attach to it. The text is the reason, as a clause.
    Run(RunId, &'static str),
    /// There was no response: request it again under its key.
    Unknown,
}

/// The request of a start.
pub(super) struct StartRequest<'a> {
    /// Workflow to run; for a bulk job, a graph that represents it.
    pub workflow: &'a ResolvedWorkflow,
    /// Input file, with its format if `--from` sets one.
    pub input: Option<(&'a Path, Option<FromFormat>)>,
    /// Rows in the request, or the configuration of a bulk job.
    pub payload: Option<&'a Value>,
    /// Kind of bulk job, whose file is part of the start request; `None` for a run of a workflow.
    pub bulk: Option<BulkKind>,
    /// True to start another run even if one with the same identity is active.
    pub new_run: bool,
}

/// The response of the API to a start.
struct StartResponse {
    run: RunId,
    already_started: bool,
}

/// Starts the run of `request`, or attaches to the run that an earlier command started with the same identity. Without
/// `state` every call starts a run.
pub(super) async fn start(
    context: &Context,
    client: &Client,
    state: Option<&StateDir>,
    request: &StartRequest<'_>,
    formats: &[ResultFormat],
) -> Result<StartedRun, Failure> {
    let StartRequest { workflow, payload, .. } = *request;
    let name = &workflow.name;
    let input = match request.input {
        Some((path, from)) => Some(Input::open(context, path, from).await?),
        None => None,
    };
    // The file of a bulk job is part of the start request and is not uploaded before it.
    let to_upload = input.as_ref().filter(|_| request.bulk.is_none());
    let options = |handle: Option<HandleId>, key: IdempotencyKey| StartOptions {
        input: handle,
        payload: payload.cloned(),
        formats: formats.to_vec(),
        key,
    };
    let Some(state) = state else {
        let handle = upload(context, client, to_upload).await?;
        let options = options(handle, IdempotencyKey::fresh(&workflow.id.0));
        let started = request.send(context, client, input.as_ref(), &options).await?;
        context.screen.note(&format!("run {} of {name} started", started.run));
        return Ok(StartedRun { run: started.run, key: Some(options.key), attached: false });
    };
    let identity = identity_of(context, client, workflow, input.as_ref(), payload).await?;
    // Holds the lock of this identity, so that two equal commands at once do not both start a run.
    let mut slot = state.start(&identity).map_err(|error| match error {
        StateError::Busy { .. } => {
            Failure::new(error, "retry when that process has started the run: this command then attaches to it")
        }
        error => error.into(),
    })?;
    let earlier = match request.new_run {
        // The earlier start is overwritten below, so its run is not attached to any more.
        true => None,
        false => slot.previous().map_err(|error| {
            Failure::new(
                error,
                "it may belong to an active run: list runs with `drawoff runs ls`, or start another one with `--new-run`",
            )
        })?,
    };
    // An earlier start without a response, which is requested again under its own key.
    let mut repeated = None;
    if let Some(earlier) = earlier {
        match context.unless_interrupted(earlier_start(client, state, &earlier)).await? {
            EarlierStart::Over => {}
            EarlierStart::Run(run, why) => {
                context.screen.note(&format!("already started as {run}, {why}; `--new-run` starts another"));
                return Ok(StartedRun { run, key: Some(earlier.key), attached: true });
            }
            // The API may have started the run or not: the same key makes it decide.
            EarlierStart::Unknown => {
                let ago = human_duration(earlier.age());
                context
                    .screen
                    .note(&format!("a start of {name} {ago} ago got no response; requesting it again under its key"));
                repeated = Some(earlier);
            }
        }
    }
    let is_repeated = repeated.is_some();
    let mut start = match repeated {
        Some(earlier) => earlier,
        None => RecordedStart::new(&identity, upload(context, client, to_upload).await?),
    };
    // On disk before the request: a process that is killed from here on leaves the key for the next command.
    slot.save(&start)?;
    let mut started =
        request.send_with_hint(context, client, input.as_ref(), &options(start.input.clone(), start.key.clone())).await;
    if is_repeated && start.input.is_some() && started.as_ref().is_err_and(is_refused) {
        // The handle of the earlier upload may have expired. The API refused the request, so the earlier start was
        // never accepted: otherwise it would have responded with its run. A fresh upload under the same key is safe.
        start.input = upload(context, client, to_upload).await?;
        slot.save(&start)?;
        started = request
            .send_with_hint(context, client, input.as_ref(), &options(start.input.clone(), start.key.clone()))
            .await;
    }
    let started = match started {
        Ok(started) => started,
        Err(failure) => return Err(forget_if_refused(&slot, failure)),
    };
    let run = started.run;
    // A fresh key cannot have started a run before, whatever the response says.
    let attached = is_repeated && started.already_started;
    // Saved before the run is printed: a reader of that line may kill this process and repeat the command.
    start.run = Some(run.clone());
    if let Err(error) = slot.save(&start) {
        let error = error_chain(&error);
        context.screen.always(&format!("{error}; the run continues"));
    }
    match attached {
        true => context.screen.note(&format!("already started as {run}; `--new-run` starts another")),
        false => context.screen.note(&format!("run {run} of {name} started")),
    }
    Ok(StartedRun { run, key: Some(start.key), attached })
}

impl StartRequest<'_> {
    /// Sends the start, with a hint for the case that its response is lost.
    async fn send_with_hint(
        &self,
        context: &Context,
        client: &Client,
        input: Option<&Input>,
        options: &StartOptions,
    ) -> Result<StartResponse, Failure> {
        let hint = "it is unknown whether the run started; repeat the same command: it finds out and does not start the run twice";
        context.set_resume_hint(hint.to_owned());
        let started = self.send(context, client, input, options).await;
        started.map_err(|failure| match failure.error() {
            Error::Client(client::Error::Net(error))
                if matches!(error.kind(), Kind::Unreachable | Kind::ServerFault | Kind::BadResponse) =>
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
            // The configuration is JSON text in a form field, beside the file.
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

/// Returns the identity of a start. Reads the whole input for its digest.
async fn identity_of(
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

/// Finds out the state of `earlier` from its run at the API and the ledger on this machine.
async fn earlier_start(client: &Client, state: &StateDir, earlier: &RecordedStart) -> Result<EarlierStart, Failure> {
    let Some(run) = &earlier.run else {
        return if earlier.age() < START_LIFE {
            Ok(EarlierStart::Unknown)
        } else {
            expired_start(client, earlier).await
        };
    };
    let status = match client.live_status(run).await {
        Ok(status) => RunStatus::parse(&status.overall_status),
        Err(client::Error::Net(error)) if error.kind() == Kind::NotFound => {
            let is_new = earlier.age() < GRACE;
            return Ok(if is_new { EarlierStart::Run(run.clone(), "a moment ago") } else { EarlierStart::Over });
        }
        Err(error) => return Err(error.into()),
    };
    if !status.is_terminal() {
        return Ok(EarlierStart::Run(run.clone(), "which is active"));
    }
    // A ledger that cannot be read is no proof of delivery, so it counts as undelivered.
    let ledger = state.peek(&endpoint_of(client), run).ok().flatten();
    let delivered = ledger.is_some_and(|ledger| ledger.delivered_at.is_some());
    let undelivered = status == RunStatus::Completed && !delivered && earlier.age() < START_LIFE;
    Ok(if undelivered {
        EarlierStart::Run(run.clone(), "whose results were not written yet")
    } else {
        EarlierStart::Over
    })
}

/// Decides on a start without a response whose key the API may have forgotten: if no run of the workflow has begun
/// since, it started none. Otherwise fails with the candidates, because a second start could be paid for twice.
async fn expired_start(client: &Client, earlier: &RecordedStart) -> Result<EarlierStart, Failure> {
    // A bulk job has no workflow id to filter by; its recorded one is the path of its endpoint.
    let workflow = Some(earlier.workflow.clone()).filter(|id| !id.0.starts_with('/'));
    let filter = RunFilter { workflow, limit: Some(500), ..RunFilter::default() };
    let since = earlier.age().saturating_add(CLOCK_SKEW);
    let runs = client.runs(&filter).await?;
    // A run without a usable time is a candidate: the doubt is resolved by the user.
    let began_since = |run: &&crate::api::Run| {
        let stamp = run.queued_at.as_deref().or(run.created_at.as_deref());
        stamp.and_then(client::age_of).is_none_or(|age| age <= since)
    };
    let candidates: Vec<String> = runs.iter().filter(began_since).map(|run| run.job_id.to_string()).collect();
    if candidates.is_empty() {
        return Ok(EarlierStart::Over);
    }
    Err(Error::UnknownFate {
        workflow: earlier.workflow_name.clone(),
        ago: human_duration(earlier.age()),
        runs: candidates.join(", "),
    }
    .into())
}

/// Returns true if the API examined the start and refused it, so that no run was started.
fn is_refused(failure: &Failure) -> bool {
    matches!(failure.error(), Error::Client(client::Error::Net(error)) if matches!(error.status(), Some(400 | 404 | 422)))
}

/// Forgets a start that the API refused, and keeps any other failed start for the next command to request again.
fn forget_if_refused(slot: &OpenStart, failure: Failure) -> Failure {
    if is_refused(&failure) {
        // An error is harmless: the next command requests the start under its key and is refused again.
        let _ = slot.forget();
    }
    failure
}
