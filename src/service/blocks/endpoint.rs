//! Rows sent to an endpoint of the user's that stands in for a provider, in batches, and what it adds to them.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::sync::Arc;

use futures::StreamExt;
use serde_json::{Map, Value};
use tokio::runtime::Handle;

use super::block::Rewrite;
use super::failure::Failure;
use super::lines::{Row, RowReader, RowWriter};
use crate::pipeline::Control;
use crate::service::fields::ReturnField;
use crate::service::provider::{AT_ONCE, BATCH_ROWS, Provider};
use crate::transform::SpillBudget;

/// An endpoint and what it is asked.
pub(super) struct EndpointBatch {
    pub provider: Arc<Provider>,
    pub block: &'static str,
    pub specs: Map<String, Value>,
    /// `None` takes all that it answers.
    pub fields: Option<Vec<ReturnField>>,
    /// True where rows come from it alone.
    pub is_source: bool,
    pub runtime: Handle,
}

impl Rewrite for EndpointBatch {
    fn rewrite(
        self: Box<Self>,
        reader: RowReader<'_>,
        _: &[String],
        _: SpillBudget,
        rows: &mut RowWriter<'_>,
    ) -> Result<Option<String>, Failure> {
        if self.is_source {
            return self.source(reader.control, rows);
        }
        let control = reader.control;
        let mut failed = UnansweredRows::default();
        // Batches are read as they are asked for, so that no more than those under way are held.
        let batches = Batches::new(reader.feeds);
        let runtime = self.runtime.clone();
        let ask = |batch: io::Result<Vec<String>>| async {
            let batch = batch?;
            let answers = self.provider.ask(self.block, &self.specs, &batch).await;
            Ok::<_, io::Error>((batch, answers))
        };
        runtime.block_on(async {
            let mut answered = std::pin::pin!(futures::stream::iter(batches).map(ask).buffered(AT_ONCE));
            loop {
                let next = tokio::select! {
                    next = answered.next() => next,
                    () = until_cancelled(control) => return Err(Failure::Cancelled),
                };
                let Some(next) = next else { return Ok(()) };
                let (batch, answers) = next?;
                let answers = answers.unwrap_or_else(|why| {
                    failed.rows += batch.len() as u64;
                    failed.why.get_or_insert(why);
                    vec![None; batch.len()]
                });
                for (line, answer) in batch.iter().zip(answers) {
                    self.enriched(line, answer.as_ref(), rows)?;
                    control.add_rows_read(1);
                }
            }
        })?;
        Ok(failed.note(self.block))
    }
}

impl EndpointBatch {
    fn source(&self, control: &Control, rows: &mut RowWriter<'_>) -> Result<Option<String>, Failure> {
        let answers = self.runtime.block_on(async {
            tokio::select! {
                answers = self.provider.ask(self.block, &self.specs, &[]) => Ok(answers),
                () = until_cancelled(control) => Err(Failure::Cancelled),
            }
        })?;
        // Rows come from here alone: without them there is nothing to go on with.
        let answers = answers.map_err(|why| Failure::Failed(format!("the endpoint of {}: {why}", self.block)))?;
        for row in answers.into_iter().flatten() {
            rows.line(&Value::Object(row).to_string())?;
            control.add_rows_read(1);
        }
        Ok(None)
    }

    /// The row with what was answered. A row without an answer says null where it had nothing.
    fn enriched(&self, line: &str, answer: Option<&Map<String, Value>>, rows: &mut RowWriter<'_>) -> io::Result<()> {
        let row = Row::read(line)?;
        let mut added: Vec<(String, String)> = Vec::new();
        match (&self.fields, answer) {
            (None, None) => {}
            (None, Some(answer)) => added.extend(answer.iter().map(|(name, value)| (name.clone(), value.to_string()))),
            (Some(fields), Some(answer)) => added.extend(fields.iter().map(|field| {
                let json = answer.get(&field.name).map_or_else(|| "null".to_owned(), Value::to_string);
                (field.name.clone(), field.typed(&json).into_owned())
            })),
            (Some(fields), None) => {
                let missing = fields.iter().filter(|field| !row.0.iter().any(|(name, _)| *name == field.name));
                added.extend(missing.map(|field| (field.name.clone(), "null".to_owned())));
            }
        }
        let had = row.0.iter().map(|(name, json)| {
            let replaced = added.iter().find(|(added, _)| added == name);
            (name.as_str(), replaced.map_or(*json, |(_, json)| json.as_str()))
        });
        let new = added.iter().filter(|(added, _)| !row.0.iter().any(|(name, _)| name == added));
        rows.row(had.chain(new.map(|(name, json)| (name.as_str(), json.as_str()))))
    }
}

/// Rows for which nothing came.
#[derive(Default)]
struct UnansweredRows {
    rows: u64,
    why: Option<String>,
}

impl UnansweredRows {
    fn note(self, block: &str) -> Option<String> {
        let why = self.why?;
        Some(format!("{} rows pass without what {block} would add, because of its endpoint: {why}", self.rows))
    }
}

async fn until_cancelled(control: &Control) {
    while !control.is_cancelled() {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// The lines of feeds, in batches.
struct Batches {
    feeds: std::vec::IntoIter<PathBuf>,
    reader: Option<BufReader<File>>,
}

impl Batches {
    fn new(feeds: Vec<PathBuf>) -> Self {
        Batches { feeds: feeds.into_iter(), reader: None }
    }

    fn line(&mut self) -> io::Result<Option<String>> {
        loop {
            let reader = match &mut self.reader {
                Some(reader) => reader,
                None => match self.feeds.next() {
                    Some(feed) => self.reader.insert(BufReader::with_capacity(256 << 10, File::open(feed)?)),
                    None => return Ok(None),
                },
            };
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                self.reader = None;
                continue;
            }
            line.truncate(line.trim_end_matches(['\n', '\r']).len());
            if !line.is_empty() {
                return Ok(Some(line));
            }
        }
    }
}

impl Iterator for Batches {
    type Item = io::Result<Vec<String>>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut batch = Vec::new();
        while batch.len() < BATCH_ROWS {
            match self.line() {
                Ok(Some(line)) => batch.push(line),
                Ok(None) => break,
                Err(error) => return Some(Err(error)),
            }
        }
        (!batch.is_empty()).then_some(Ok(batch))
    }
}
