//! The results of a run as an execution plan: waits for the run, selects its result files, and starts their downloads
//! as the sources of the plan. Reads and writes no rows; [`crate::pipeline`] does.

use super::{BlockSelection, Client, Error, ResultFormat, WatchOptions, declared_types};
use crate::api::{DownloadLink, RunId, WorkflowId};
use crate::column::Schema;
use crate::format::Format;
use crate::net::{Connections, Download, Downloads};
use crate::pipeline::{ExecutionPlan, Limits, SchemaSource};
use crate::source::{ByteSource, Source};

/// The results of a run to pull, and the resources for it.
#[derive(Clone, Debug)]
pub struct PullOptions {
    /// Formats in order of preference: the first that the run has is used. Default: NDJSON, which keeps types, then
    /// CSV, which every run has.
    pub formats: Vec<ResultFormat>,
    /// The blocks whose results are pulled. Default: the final one.
    pub blocks: BlockSelection,
    /// Limits of the plan. The downloads use a share of its memory.
    pub limits: Limits,
    /// Downloads that are active at a time. Default: 4.
    pub jobs: usize,
    /// Connections over which one large file comes. Default: as many as bring more.
    pub connections: Connections,
}

impl Default for PullOptions {
    fn default() -> Self {
        PullOptions {
            formats: vec![ResultFormat::Ndjson, ResultFormat::Csv],
            blocks: BlockSelection::Final,
            limits: Limits::default(),
            jobs: 4,
            connections: Connections::Auto,
        }
    }
}

impl Client {
    /// Waits for the end of `run`, and returns a plan that reads its results: sources in the order of the blocks, with
    /// the API's row counts, and the types that the workflow declares. Add steps and outputs and
    /// [`execute`](crate::pipeline::execute) it, or [`read_batches`](crate::pipeline::read_batches). Both block: call
    /// them from a plain thread (`tokio::task::spawn_blocking`) while the runtime, which runs the downloads,
    /// continues.
    ///
    /// An expired link is replaced, and an interrupted download resumes at its byte.
    ///
    /// # Errors
    ///
    /// [`Error::Ended`] for a run that did not complete, [`Error::NoResults`] if it has none of the formats, and the
    /// errors of API calls. Errors of a download are returned when it is read.
    ///
    /// # Examples
    ///
    /// A workflow that removes a column, on a service in this process:
    ///
    /// ```
    /// use drawoff::client::{Client, Definition, IdempotencyKey, PullOptions, ResultFormat, StartOptions};
    /// use drawoff::pipeline::read_batches;
    /// use drawoff::secret::ApiKey;
    /// # use drawoff::service::{Config, Service};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// # let data = tempfile::tempdir()?;
    /// # let service = Service::start(Config::new(data.path())).await?;
    /// # let endpoint = service.base_url();
    /// let client = Client::connect(endpoint.parse()?, Some(ApiKey::new("local")));
    ///
    /// let graph = r#"{
    ///     "blocks": [
    ///         {"sequence_number": 1, "block_type": "io", "block_name": "webhook", "block_id": "in", "specs": {}},
    ///         {"sequence_number": 2, "block_type": "transform", "block_name": "remove_columns", "block_id": "out",
    ///          "specs": {"columns": ["note"]}}
    ///     ],
    ///     "edges": [{"from_block_id": "in", "to_block_id": "out"}]
    /// }"#;
    /// let Definition(definition) = Definition::parse(graph, "Without notes")?;
    /// let workflow = client.create_workflow(&definition).await?;
    ///
    /// let payload = serde_json::json!([{"id": 1, "note": "x"}, {"id": 2, "note": "y"}]);
    /// let key = IdempotencyKey::fresh("docs");
    /// let start = StartOptions { input: None, payload: Some(payload), formats: vec![ResultFormat::Ndjson], key };
    /// let run = client.start(&workflow.id, &start).await?.run;
    ///
    /// let plan = client.pull(&run, &PullOptions::default()).await?;
    /// let read = tokio::task::spawn_blocking(|| read_batches(plan)?.collect::<Result<Vec<_>, _>>());
    /// let batches = read.await??;
    /// assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), 2);
    /// assert_eq!(batches[0].num_columns(), 1);
    /// # service.stop().await;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn pull(&self, run: &RunId, options: &PullOptions) -> Result<ExecutionPlan, Error> {
        let status = self.watch(run, &WatchOptions::of_new_run(self), |_| {}).await?;
        self.require_completed(&status).await?;
        let results = self.result_links(run, &options.formats, options.blocks).await?;
        let declared = self.declared_types_of(&status.workflow_id).await;
        let downloads = Downloads::over(options.connections, options.jobs, options.limits.download_window_bytes())
            .with_max_expansion(options.limits.max_expansion);
        let opens = self.download_requests(run, &results).into_iter();
        let sources = opens
            .zip(&results.links)
            .map(|(open, link)| result_source(link, results.format, downloads.start(self.http(), open)));
        let schema = SchemaSource { declared: Some(declared), ..SchemaSource::default() };
        Ok(ExecutionPlan { schema, limits: options.limits.clone(), ..ExecutionPlan::reading(sources.collect()) })
    }

    /// Returns the types that a workflow declares for its results; none if it was deleted or cannot be read, because
    /// the results can be read without them.
    pub async fn declared_types_of(&self, workflow: &WorkflowId) -> Schema {
        let workflow = self.workflow(workflow).await.ok();
        let graph = workflow.and_then(|workflow| workflow.workflow_definition);
        graph.map(|graph| declared_types(&graph)).unwrap_or_default()
    }
}

/// Returns the download of a result file as a source, with its format and the API's row count.
pub fn result_source(link: &DownloadLink, format: ResultFormat, download: Download) -> Source {
    let download: Box<dyn ByteSource> = Box::new(download);
    let mut source = Source::stream(link.filename.as_str(), download);
    source.format = Some(format.format());
    // The API writes RFC 4180, whatever is in a header.
    source.csv.delimiter = (source.format == Some(Format::Csv)).then_some(b',');
    source.expected_rows = link.row_count;
    source
}
