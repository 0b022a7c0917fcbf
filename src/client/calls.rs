//! The API calls, one typed method per endpoint. Each chooses how it may be retried; [`Http`] sends it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::Url;

use super::{Error, IdempotencyKey, ResultFormat};
use crate::api::{
    BlockDescription, CancelRun, CreateWorkflow, DownloadLink, HandleId, LiveStatus, Run, RunCancelled, RunId,
    RunWorkflow, UpdateWorkflow, Workflow, WorkflowId, routes,
};
use crate::net::{ApiRequest, Body, Http, HttpOptions, Repeatability, RetryBudget};
use crate::secret::ApiKey;

/// A client of the Workflows API under one base URL. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    http: Http,
}

/// Idle timeouts that the response to a start may take: 2 minutes by default, longer than the gateways before an API wait
/// for it. A retry while the first request is still processed is a second run for an API that stores its idempotency keys
/// late.
const START_RESPONSE_TIMEOUTS: u32 = 4;

/// The response to the start of a run or of a bulk job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunStart {
    /// Id of the run.
    pub run: RunId,
    /// True if the API says that an earlier request with the same idempotency key started the run.
    pub already_started: bool,
    /// True if an earlier attempt of this call may have been processed. An API that knows idempotency keys then says
    /// `already_started` if it was.
    pub maybe_repeated: bool,
}

/// The members of the response to a start that the client uses, all of them optional: a run that was started is paid
/// for, so no missing detail may lose its id.
#[derive(Deserialize)]
struct StartMembers {
    #[serde(default)]
    job_id: Option<RunId>,
    #[serde(default)]
    run_id: Option<RunId>,
    #[serde(default)]
    task_id: Option<RunId>,
    #[serde(default)]
    already_started: Option<Value>,
}

/// [`StartMembers`] with the id of the run.
#[derive(Deserialize)]
#[serde(try_from = "StartMembers")]
struct StartResponse {
    run: RunId,
    already_started: bool,
}

impl TryFrom<StartMembers> for StartResponse {
    type Error = &'static str;

    fn try_from(members: StartMembers) -> Result<Self, &'static str> {
        let ids = [members.job_id, members.run_id, members.task_id];
        let run = ids.into_iter().flatten().find(|id| !id.0.is_empty()).ok_or("it has no id of a run")?;
        Ok(StartResponse { run, already_started: members.already_started == Some(Value::Bool(true)) })
    }
}

/// Filter of the list of runs. The default selects all.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    /// A state, or `active` for queued and running; `None` for all states.
    pub status: Option<String>,
    /// Runs of this workflow only; `None` for all workflows.
    pub workflow: Option<WorkflowId>,
    /// Maximum number of runs, 1 to 500; `None` for the API's default.
    pub limit: Option<u32>,
}

/// Input, result formats and idempotency key of a new run.
#[derive(Clone, Debug)]
pub struct StartOptions {
    /// Uploaded input of a `read_csv` source, in place of the one in the definition.
    pub input: Option<HandleId>,
    /// Rows of a `webhook` source.
    pub payload: Option<Value>,
    /// Result formats in addition to CSV, which is always written.
    pub formats: Vec<ResultFormat>,
    /// Idempotency key, the same for all retries of one start.
    pub key: IdempotencyKey,
}

impl Client {
    /// Creates a client that sends its calls through `http`.
    pub fn new(http: Http) -> Self {
        Client { http }
    }

    /// Creates a client for the API at `endpoint` with the default retries, backoff, and the request rate that the
    /// vendor documents. The API needs a key; a local service that was started without one accepts any.
    pub fn connect(endpoint: Url, key: Option<ApiKey>) -> Self {
        Client::new(Http::new(HttpOptions::new(endpoint, key)))
    }

    /// Returns the HTTP client, which downloads use as well.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// Lists all workflows, without their definitions.
    pub async fn workflows(&self) -> Result<Vec<Workflow>, Error> {
        Ok(self.http.json(&ApiRequest::get(routes::LIST_WORKFLOWS)).await?)
    }

    /// Returns a workflow with its definition.
    pub async fn workflow(&self, id: &WorkflowId) -> Result<Workflow, Error> {
        Ok(self.http.json(&ApiRequest::get(routes::with_id(routes::GET_WORKFLOW, &id.0))).await?)
    }

    /// Creates a workflow. With an id of the caller's it is retried; a 409 may then mean that an earlier attempt created
    /// it. Without one it is not retried once the server may have processed it: a second request would create another.
    pub async fn create_workflow(&self, new: &CreateWorkflow) -> Result<Workflow, Error> {
        let repeat = if new.id.is_some() { Repeatability::Safe } else { Repeatability::IfUnseen };
        Ok(self.http.json(&ApiRequest::post(routes::CREATE_WORKFLOW, json(new), repeat)).await?)
    }

    /// Updates a workflow, or creates it under this id.
    pub async fn update_workflow(&self, id: &WorkflowId, change: &UpdateWorkflow) -> Result<Workflow, Error> {
        let call =
            ApiRequest::post(routes::UPDATE_WORKFLOW, json(change), Repeatability::Safe).query("workflow_id", &id.0);
        Ok(self.http.json(&call).await?)
    }

    /// Deletes a workflow. Its runs are kept.
    pub async fn delete_workflow(&self, id: &WorkflowId) -> Result<Workflow, Error> {
        let call =
            ApiRequest::post(routes::DELETE_WORKFLOW, Body::Empty, Repeatability::IfUnseen).query("workflow_id", &id.0);
        Ok(self.http.json(&call).await?)
    }

    /// Returns the catalogue of blocks.
    pub async fn blocks(&self) -> Result<Vec<BlockDescription>, Error> {
        Ok(self.http.json(&ApiRequest::get(routes::LIST_BLOCKS)).await?)
    }

    /// Starts a run. Retries carry the same idempotency key, so that it starts only once even if responses are lost.
    pub async fn start(&self, workflow: &WorkflowId, options: &StartOptions) -> Result<RunStart, Error> {
        // The override replaces the input of the source block for this run only; the stored definition stays.
        let specs_override = options
            .input
            .as_ref()
            .map(|handle| Map::from_iter([("resource_handle_id".to_owned(), Value::String(handle.0.clone()))]));
        let body = RunWorkflow { specs_override, webhook_payload: options.payload.clone() };
        let mut call = ApiRequest::post(routes::RUN_WORKFLOW, json(&body), Repeatability::Safe)
            .query("workflow_id", &workflow.0)
            .response_timeouts(START_RESPONSE_TIMEOUTS)
            .budget(RetryBudget::START);
        // JSON has a parameter of its own in the API, and CSV needs none.
        for format in &options.formats {
            match format {
                ResultFormat::Csv => {}
                ResultFormat::Ndjson => call = call.query("result_formats", "ndjson"),
                ResultFormat::Json => call = call.query("save_json", "true"),
            }
        }
        call.headers.push((routes::IDEMPOTENCY_KEY_HEADER, options.key.as_str().to_owned()));
        self.send_start(call).await
    }

    /// Sends a start that carries an idempotency key.
    pub(super) async fn send_start(&self, call: ApiRequest<'_>) -> Result<RunStart, Error> {
        let (response, maybe_repeated) =
            self.http.json_and_repetition::<StartResponse>(&call.waiting_for_conflict()).await?;
        Ok(RunStart { run: response.run, already_started: response.already_started, maybe_repeated })
    }

    /// Lists runs that match `filter`, newest first.
    pub async fn runs(&self, filter: &RunFilter) -> Result<Vec<Run>, Error> {
        let mut call = ApiRequest::get(routes::LIST_RUNS);
        if let Some(status) = &filter.status {
            call = call.query("status", status);
        }
        if let Some(workflow) = &filter.workflow {
            call = call.query("workflow_id", &workflow.0);
        }
        if let Some(limit) = filter.limit {
            call = call.query("limit", limit.to_string());
        }
        Ok(self.http.json(&call).await?)
    }

    /// Returns the state and the progress of a run.
    pub async fn live_status(&self, run: &RunId) -> Result<LiveStatus, Error> {
        self.live_status_within(run, RetryBudget::ASK).await
    }

    pub(super) async fn live_status_within(&self, run: &RunId, budget: RetryBudget) -> Result<LiveStatus, Error> {
        Ok(self.http.json(&ApiRequest::get(routes::with_id(routes::LIVE_STATUS, &run.0)).budget(budget)).await?)
    }

    /// Cancels a run. Safe to repeat.
    pub async fn cancel(&self, run: &RunId) -> Result<RunCancelled, Error> {
        let body = CancelRun { job_id: Some(run.clone()) };
        Ok(self.http.json(&ApiRequest::post(routes::CANCEL_RUN, json(&body), Repeatability::Safe)).await?)
    }

    /// Returns freshly signed links to the result files of a run in one format, one per block; empty if the run does
    /// not have the format.
    pub async fn links(&self, run: &RunId, format: ResultFormat) -> Result<Vec<DownloadLink>, Error> {
        let call = ApiRequest::get(routes::with_id(routes::DOWNLOAD_LINKS, &run.0)).query("format", format.as_str());
        Ok(self.http.json(&call).await?)
    }
}

fn json<T: Serialize>(value: &T) -> Body<'static> {
    Body::Json(serde_json::to_vec(value).expect("wire types have string keys and no failing parts"))
}
