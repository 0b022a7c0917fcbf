//! Result files of one run or of several, as they are written into one group of outputs: their order and names, and what
//! the metadata of a file says about them. Values only.

use crate::api::{DownloadLink, RunId, WorkflowId};
use crate::client::ResultFormat;
use crate::column::Schema;

/// Result files of one run.
#[derive(Clone, Copy)]
pub(super) struct RunFiles<'a> {
    pub run: &'a RunId,
    pub workflow: &'a WorkflowId,
    pub format: ResultFormat,
    pub links: &'a [DownloadLink],
}

/// The results that one group of outputs gets, as one sequence of records.
pub(super) struct PulledResults<'a> {
    /// Files of one run, or of several in the order of their records.
    pub runs: &'a [RunFiles<'a>],
    /// Types that the workflows declare; empty if they are unknown.
    pub declared: &'a Schema,
}

impl<'a> PulledResults<'a> {
    /// Returns all files in the order of their records, each with those of its run.
    pub(super) fn files(&self) -> impl Iterator<Item = (&'a RunFiles<'a>, &'a DownloadLink)> {
        self.runs.iter().flat_map(|run| run.links.iter().map(move |link| (run, link)))
    }

    /// Returns the name of a file in messages. Files of different runs may have the same name.
    pub(super) fn name_of(&self, run: &RunFiles<'_>, link: &DownloadLink) -> String {
        match self.runs {
            [_] => link.filename.clone(),
            _ => format!("{}/{}", run.run, link.filename),
        }
    }

    /// Returns the entries of a Parquet or Arrow file about the results in it: their runs, workflows and blocks.
    pub(super) fn metadata(&self) -> Vec<(String, String)> {
        let runs = self.runs.iter().map(|run| run.run.0.as_str()).collect();
        let mut workflows: Vec<&str> = Vec::new();
        let mut blocks: Vec<String> = Vec::new();
        for (run, link) in self.files() {
            if !workflows.contains(&&*run.workflow.0) {
                workflows.push(&run.workflow.0);
            }
            let block = link.block_number.map(|number| number.to_string());
            // Each block of a run once; of several runs, each number once.
            blocks.extend(block.filter(|block| self.runs.len() == 1 || !blocks.contains(block)));
        }
        let joined = |key: &str, values: Vec<&str>| (format!("drawoff.{key}"), values.join(","));
        let mut metadata = vec![joined("run", runs), joined("workflow", workflows)];
        if !blocks.is_empty() {
            metadata.push(joined("block", blocks.iter().map(String::as_str).collect()));
        }
        metadata
    }
}
