//! Rewrite of a block's rows through the user's HTTP endpoint: sends the rows in batches and merges the returned fields
//! into them. Requests and retries are the job of `provider`; order of rows and memory bounds are kept here.

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
use crate::format::ndjson::JsonText;
use crate::pipeline::Control;
use crate::service::fields::ReturnField;
use crate::service::provider::{BATCH_ROWS, MAX_CONCURRENT_REQUESTS, Provider};
use crate::transform::SpillBudget;

/// Rewrite that sends the rows of one block to an endpoint.
pub(super) struct EndpointBatch {
    pub provider: Arc<Provider>,
    /// Name of the block in the catalogue.
    pub block: &'static str,
    /// Complete specs of the block, part of every request.
    pub specs: Map<String, Value>,
    /// Columns to add; `None` adds every field of the response.
    pub fields: Option<Vec<ReturnField>>,
    /// True for a block without input, whose rows are those of the response.
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
        let mut unenriched = UnenrichedRows::default();
        // The stream reads a batch only when it is polled for one, so memory holds the batches in flight and no more.
        let batches = Batches::new(reader.feeds);
        let runtime = self.runtime.clone();
        let request = |batch: io::Result<Vec<String>>| async {
            let batch = batch?;
            let entries = self.provider.request(self.block, &self.specs, &batch).await;
            Ok::<_, io::Error>((batch, entries))
        };
        runtime.block_on(async {
            // `buffered` yields the batches in the order of the input, whatever the order of the responses.
            let stream = futures::stream::iter(batches).map(request).buffered(MAX_CONCURRENT_REQUESTS);
            let mut responses = std::pin::pin!(stream);
            loop {
                let next = tokio::select! {
                    next = responses.next() => next,
                    () = until_cancelled(control) => return Err(Failure::Cancelled),
                };
                let Some(next) = next else { return Ok(()) };
                let (batch, entries) = next?;
                // A failed batch does not fail the block: its rows pass, and the note counts them.
                let entries = entries.unwrap_or_else(|cause| {
                    unenriched.rows += batch.len() as u64;
                    unenriched.cause.get_or_insert(cause);
                    vec![None; batch.len()]
                });
                for (line, entry) in batch.iter().zip(entries) {
                    self.write_enriched(line, entry.as_ref(), rows)?;
                    control.add_rows_read(1);
                }
            }
        })?;
        Ok(unenriched.note(self.block))
    }
}

impl EndpointBatch {
    /// Writes the rows that the endpoint returns for a request without rows.
    fn source(&self, control: &Control, rows: &mut RowWriter<'_>) -> Result<Option<String>, Failure> {
        let response = self.runtime.block_on(async {
            tokio::select! {
                response = self.provider.request(self.block, &self.specs, &[]) => Ok(response),
                () = until_cancelled(control) => Err(Failure::Cancelled),
            }
        })?;
        // The only source of rows: unlike an enrichment, it cannot pass its input on.
        let entries =
            response.map_err(|cause| Failure::Failed(format!("cannot get the rows of {}: {cause}", self.block)))?;
        for row in entries.into_iter().flatten() {
            rows.line(&Value::Object(row).to_string())?;
            control.add_rows_read(1);
        }
        Ok(None)
    }

    /// Writes the row at `line` merged with the endpoint's `entry` for it. Without an entry, requested fields that the
    /// row lacks become null, and values that it has stay.
    fn write_enriched(
        &self,
        line: &str,
        entry: Option<&Map<String, Value>>,
        rows: &mut RowWriter<'_>,
    ) -> io::Result<()> {
        let row = Row::parse(line)?;
        let mut added: Vec<(String, String)> = Vec::new();
        match (&self.fields, entry) {
            (None, None) => {}
            (None, Some(entry)) => added.extend(entry.iter().map(|(name, value)| (name.clone(), value.to_string()))),
            (Some(fields), Some(entry)) => added.extend(fields.iter().map(|field| {
                let json = entry.get(&field.name).map_or_else(|| "null".to_owned(), Value::to_string);
                // Nested deeper than a record may be, if it is not JSON for this purpose: the block then fails on it.
                let typed = JsonText::new(json.clone()).map(|json| field.typed(&json).as_str().to_owned());
                (field.name.clone(), typed.unwrap_or(json))
            })),
            (Some(fields), None) => {
                let missing = fields.iter().filter(|field| !row.0.iter().any(|(name, _)| *name == field.name));
                added.extend(missing.map(|field| (field.name.clone(), "null".to_owned())));
            }
        }
        // Replaced values keep the position of their column; new columns follow the existing ones.
        let existing = row.0.iter().map(|(name, json)| {
            let replacement = added.iter().find(|(added, _)| added == name);
            (name.as_str(), replacement.map_or(*json, |(_, json)| json.as_str()))
        });
        let new = added.iter().filter(|(added, _)| !row.0.iter().any(|(name, _)| name == added));
        rows.row(existing.chain(new.map(|(name, json)| (name.as_str(), json.as_str()))))
    }
}

/// Rows of failed batches, which pass without enrichment.
#[derive(Default)]
struct UnenrichedRows {
    rows: u64,
    /// Cause of the first failed batch.
    cause: Option<String>,
}

impl UnenrichedRows {
    fn note(self, block: &str) -> Option<String> {
        let cause = self.cause?;
        Some(format!("{} rows were passed on without the columns of {block}: {cause}", self.rows))
    }
}

/// Completes within 50 ms of a cancellation. [`Control`] has no notification, so this polls.
async fn until_cancelled(control: &Control) {
    while !control.is_cancelled() {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// Iterator over the lines of the input files, in batches of up to [`BATCH_ROWS`].
struct Batches {
    feeds: std::vec::IntoIter<PathBuf>,
    reader: Option<BufReader<File>>,
}

impl Batches {
    fn new(feeds: Vec<PathBuf>) -> Self {
        Batches { feeds: feeds.into_iter(), reader: None }
    }

    /// Returns the next line that is not empty, without its line break; `None` after the last file.
    fn next_line(&mut self) -> io::Result<Option<String>> {
        loop {
            let reader = match &mut self.reader {
                Some(reader) => reader,
                // The previous file, if any, has ended: open the next one.
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
            match self.next_line() {
                Ok(Some(line)) => batch.push(line),
                Ok(None) => break,
                Err(error) => return Some(Err(error)),
            }
        }
        (!batch.is_empty()).then_some(Ok(batch))
    }
}
