//! One typed call per endpoint.

use serde::Serialize;
use serde_json::{Map, Value};
use url::Url;

use super::{Error, IdempotencyKey, ResultFormat};
use crate::api::{
    BlockDescription, CancelRun, CreateWorkflow, DownloadLink, HandleId, LiveStatus, Run, RunCancelled, RunId,
    RunStarted, RunWorkflow, UpdateWorkflow, Workflow, WorkflowId, routes,
};
use crate::net::{ApiRequest, Body, Http, HttpOptions, Repeatability, RetryBudget};
use crate::secret::ApiKey;

/// The Workflows API under one base address. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    http: Http,
}

/// Which runs a list holds.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    /// One state, or `active` for queued and running.
    pub status: Option<String>,
    /// One workflow.
    pub workflow: Option<WorkflowId>,
    /// At most so many, 1 to 500.
    pub limit: Option<u32>,
}

/// How a run starts.
#[derive(Clone, Debug)]
pub struct StartOptions {
    /// The uploaded input of a `read_csv` source.
    pub input: Option<HandleId>,
    /// The rows of a `webhook` source.
    pub payload: Option<Value>,
    /// Formats of the results besides CSV, which is always written.
    pub formats: Vec<ResultFormat>,
    /// Made once per start that is meant.
    pub key: IdempotencyKey,
}

impl Client {
    /// A client that speaks through `http`.
    pub fn new(http: Http) -> Self {
        Client { http }
    }

    /// A client for the API at `endpoint` with the default policies: retries, backoff, and the request rate that the vendor
    /// documents. An API needs a key; the local service started without one takes any.
    pub fn connect(endpoint: Url, key: Option<ApiKey>) -> Self {
        Client::new(Http::new(HttpOptions::new(endpoint, key)))
    }

    /// What it speaks through; downloads need it too.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// All workflows, without definitions.
    pub async fn workflows(&self) -> Result<Vec<Workflow>, Error> {
        Ok(self.http.json(&ApiRequest::get(routes::LIST_WORKFLOWS)).await?)
    }

    /// One workflow with its definition.
    pub async fn workflow(&self, id: &WorkflowId) -> Result<Workflow, Error> {
        Ok(self.http.json(&ApiRequest::get(routes::with_id(routes::GET_WORKFLOW, &id.0))).await?)
    }

    /// Creates a workflow. With an id of its own it is safe to repeat: the second answer would be 409.
    pub async fn create_workflow(&self, new: &CreateWorkflow) -> Result<Workflow, Error> {
        Ok(self.http.json(&ApiRequest::post(routes::CREATE_WORKFLOW, json(new), Repeatability::IfUnseen)).await?)
    }

    /// Changes a workflow, or creates it under this id.
    pub async fn update_workflow(&self, id: &WorkflowId, change: &UpdateWorkflow) -> Result<Workflow, Error> {
        let call =
            ApiRequest::post(routes::UPDATE_WORKFLOW, json(change), Repeatability::Safe).query("workflow_id", &id.0);
        Ok(self.http.json(&call).await?)
    }

    /// Deletes a workflow; its runs are kept.
    pub async fn delete_workflow(&self, id: &WorkflowId) -> Result<Workflow, Error> {
        let call =
            ApiRequest::post(routes::DELETE_WORKFLOW, Body::Empty, Repeatability::IfUnseen).query("workflow_id", &id.0);
        Ok(self.http.json(&call).await?)
    }

    /// The catalogue of blocks.
    pub async fn blocks(&self) -> Result<Vec<BlockDescription>, Error> {
        Ok(self.http.json(&ApiRequest::get(routes::LIST_BLOCKS)).await?)
    }

    /// Starts a run. Repeated under one key, so that it starts once whatever happens to the answers.
    pub async fn start(&self, workflow: &WorkflowId, options: &StartOptions) -> Result<RunStarted, Error> {
        let specs_override = options
            .input
            .as_ref()
            .map(|handle| Map::from_iter([("resource_handle_id".to_owned(), Value::String(handle.0.clone()))]));
        let body = RunWorkflow { specs_override, webhook_payload: options.payload.clone() };
        let mut call = ApiRequest::post(routes::RUN_WORKFLOW, json(&body), Repeatability::Safe)
            .query("workflow_id", &workflow.0)
            .budget(RetryBudget::START);
        for format in &options.formats {
            match format {
                ResultFormat::Csv => {}
                ResultFormat::Ndjson => call = call.query("result_formats", "ndjson"),
                ResultFormat::Json => call = call.query("save_json", "true"),
            }
        }
        call.headers.push((routes::IDEMPOTENCY_KEY_HEADER, options.key.as_str().to_owned()));
        Ok(self.http.json(&call).await?)
    }

    /// Runs, newest first.
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

    /// How far a run is.
    pub async fn live_status(&self, run: &RunId) -> Result<LiveStatus, Error> {
        self.live_status_within(run, RetryBudget::ASK).await
    }

    pub(super) async fn live_status_within(&self, run: &RunId, budget: RetryBudget) -> Result<LiveStatus, Error> {
        Ok(self.http.json(&ApiRequest::get(routes::with_id(routes::LIVE_STATUS, &run.0)).budget(budget)).await?)
    }

    /// Cancels a run.
    pub async fn cancel(&self, run: &RunId) -> Result<RunCancelled, Error> {
        let body = CancelRun { job_id: Some(run.clone()) };
        Ok(self.http.json(&ApiRequest::post(routes::CANCEL_RUN, json(&body), Repeatability::Safe)).await?)
    }

    /// Links to a run's result files in one format, one per block; freshly signed.
    pub async fn links(&self, run: &RunId, format: ResultFormat) -> Result<Vec<DownloadLink>, Error> {
        let call = ApiRequest::get(routes::with_id(routes::DOWNLOAD_LINKS, &run.0)).query("format", format.as_str());
        Ok(self.http.json(&call).await?)
    }
}

fn json<T: Serialize>(value: &T) -> Body<'static> {
    Body::Json(serde_json::to_vec(value).expect("wire types have string keys and no failing parts"))
}
