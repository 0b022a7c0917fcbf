//! From a run to its rows: waits for the run, picks its result files, and opens their downloads as sources of a plan. Writes
//! nothing; [`crate::pipeline`] does.

use super::{BlockSelection, Client, Error, ResultFormat, WatchOptions, declared_types};
use crate::api::{DownloadLink, RunId, WorkflowId};
use crate::column::Schema;
use crate::net::{Download, Downloads};
use crate::pipeline::{ExecutionPlan, Limits, SchemaSource};
use crate::source::{ByteSource, Source};

/// Which results of a run to pull.
#[derive(Clone, Debug)]
pub struct PullOptions {
    /// Formats to ask for, the first that the run has is taken. Default: NDJSON, which keeps types, then CSV, which every
    /// run has.
    pub formats: Vec<ResultFormat>,
    /// The blocks whose results are pulled. Default: the final one.
    pub blocks: BlockSelection,
    /// Limits of the plan; the downloads hold a share of its memory.
    pub limits: Limits,
    /// Downloads open at once. Default: 4.
    pub jobs: usize,
}

impl Default for PullOptions {
    fn default() -> Self {
        PullOptions {
            formats: vec![ResultFormat::Ndjson, ResultFormat::Csv],
            blocks: BlockSelection::Final,
            limits: Limits::default(),
            jobs: 4,
        }
    }
}

impl Client {
    /// Waits for the end of `run`, and returns a plan that reads its results: sources in the order of the blocks with the
    /// row counts that the API gives, and the types that the workflow declares. Add steps and outputs and
    /// [`execute`](crate::pipeline::execute) it, or [`read_batches`](crate::pipeline::read_batches). Both block: call them
    /// from a plain thread (`tokio::task::spawn_blocking`) while the runtime, which carries the downloads, goes on.
    ///
    /// An expired link is renewed and a download that breaks off resumes at its byte.
    ///
    /// # Errors
    ///
    /// [`Error::Ended`] for a run that did not complete, [`Error::NoResults`] if it has none of the formats, and what
    /// asking the API may fail with. A download fails when it is read.
    pub async fn pull(&self, run: &RunId, options: &PullOptions) -> Result<ExecutionPlan, Error> {
        let status = self.watch(run, &WatchOptions::of_new_run(self), |_| {}).await?;
        self.require_completed(&status).await?;
        let results = self.result_links(run, &options.formats, options.blocks).await?;
        let declared = self.declared_types_of(&status.workflow_id).await;
        let downloads = Downloads::new(options.jobs, options.limits.download_window_bytes());
        let opens = self.opens(run, &results).into_iter();
        let sources = opens
            .zip(&results.links)
            .map(|(open, link)| result_source(link, results.format, downloads.start(self.http(), open)));
        let schema = SchemaSource { declared: Some(declared), ..SchemaSource::default() };
        Ok(ExecutionPlan { schema, limits: options.limits.clone(), ..ExecutionPlan::reading(sources.collect()) })
    }

    /// The types that a workflow declares for its results. A workflow that was deleted or cannot be read declares none:
    /// its results can be read without them.
    pub async fn declared_types_of(&self, workflow: &WorkflowId) -> Schema {
        let workflow = self.workflow(workflow).await.ok();
        let graph = workflow.and_then(|workflow| workflow.workflow_definition);
        graph.map(|graph| declared_types(&graph)).unwrap_or_default()
    }
}

/// The download of a result file as a source, with the row count that the API gives for it.
pub fn result_source(link: &DownloadLink, format: ResultFormat, download: Download) -> Source {
    let download: Box<dyn ByteSource> = Box::new(download);
    let mut source = Source::stream(link.filename.as_str(), download);
    source.format = Some(format.format());
    source.expected_rows = link.row_count;
    source
}
