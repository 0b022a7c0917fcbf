//! The final report of a command: the engine's counts as lines for people or as one JSON object, on standard error. It
//! also decides between success and `partial`.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use super::choices::ReportFormat;
use super::context::Context;
use super::dialect::{doubt_note, text_column_note};
use super::exit::Exit;
use super::outputs::{target_name, target_names};
use super::table::json_line;
use super::tables::{already_line, load_json, load_line};
use super::values::codec_text;
use crate::client::CompletedOutput;
use crate::format::{ArrowForm, OutputFormat};
use crate::net::Recovered;
use crate::pipeline::{Output, Report};
use crate::text::{counted, escape_for_terminal, human_bytes, human_count, human_duration};
use crate::warehouse::{Committed, LedgerRow};

/// The report of one group of outputs, which got the same records.
pub(super) struct OutputReport<'a> {
    /// Names of the outputs, joined by commas.
    pub name: String,
    /// Outputs that were written together.
    pub outputs: &'a [Output],
    /// Counts and times of the engine.
    pub report: &'a Report,
    /// Number of runs whose results were written; 0 for other sources.
    pub runs: usize,
    /// Row count according to the API, of all runs together; `None` if it has none.
    pub expected_rows: Option<u64>,
    /// Bytes that earlier, interrupted attempts had downloaded already.
    pub repeated_bytes: u64,
    /// Interruptions, expired links and retries since the start of the command.
    pub recovered: Recovered,
    /// Time since the start of the command.
    pub elapsed: Duration,
}

impl OutputReport<'_> {
    /// Prints the report to standard error and returns the exit code of these outputs.
    pub(super) fn print(&self, context: &Context, format: ReportFormat) -> Exit {
        context.result_file.add_report(self.json(), self.report);
        match format {
            // A reader that closed its pipe early, such as `head`, wants no report.
            ReportFormat::Text if self.report.stopped_early => {}
            ReportFormat::Text => self.lines().iter().for_each(|line| context.screen.note(line)),
            ReportFormat::Json => context.screen.always(&json_line(&self.json())),
        }
        // A reader that closed its pipe did not want the rest, so rejects do not make its command partial.
        if self.report.rows_rejected > 0 && !self.report.stopped_early { Exit::Partial } else { Exit::Success }
    }

    fn lines(&self) -> Vec<String> {
        let r = self.report;
        // Rare counts appear only if they are not zero.
        let added = match r.rows_added {
            0 => String::new(),
            added => format!(", {} added by --explode", human_count(added)),
        };
        let new = human_count(r.rows_written - r.rows_there_before);
        let written = match r.rows_queried {
            Some(rows) => format!("{} queried, {new}", human_count(rows)),
            None => new,
        };
        let there = match r.rows_there_before {
            0 => String::new(),
            rows => format!(", {} there before", human_count(rows)),
        };
        let mut lines = vec![format!(
            "{}: {} rows in{added}, {written} written{there}, {} rejected, {} filtered",
            escape_for_terminal(&self.name),
            human_count(r.rows_in),
            human_count(r.rows_rejected),
            human_count(r.rows_filtered),
        )];
        // Bounded below, because a tiny input takes no measurable time.
        let seconds = r.elapsed.as_secs_f64().max(0.001);
        let memory = peak_memory_bytes().map(|b| format!(", peak memory {}", human_bytes(b))).unwrap_or_default();
        // Rates are those of the transfer. The wait for a run counts only in the total.
        let transfer = human_duration(r.elapsed);
        let whole = human_duration(self.elapsed);
        let in_all = if whole == transfer { String::new() } else { format!(", {whole} in all") };
        lines.push(format!(
            "  {} in, {} out in {transfer} ({}/s, {} rows/s){in_all}{memory}",
            human_bytes(r.bytes_in),
            human_bytes(r.bytes_out),
            human_bytes((r.bytes_in as f64 / seconds) as u64),
            human_count((r.rows_in as f64 / seconds) as u64),
        ));
        lines.extend(recovered_line(&self.recovered));
        if r.reached_limit {
            lines.push("  stopped at the limit; the rest of the input was not read".to_owned());
        } else if let Some(expected) = self.expected_rows {
            // A difference is an error of the engine, so the counts are equal here.
            let expected = human_count(expected);
            lines.push(match self.runs {
                0 | 1 => format!("  the count agrees with the API's row_count ({expected})"),
                runs => {
                    let runs = human_count(runs as u64);
                    format!("  the counts of {runs} runs agree with the API's row_count ({expected} in all)")
                }
            });
        }
        lines.extend(
            r.loads.iter().map(|(name, outcome)| format!("  {}", escape_for_terminal(&load_line(name, outcome)))),
        );
        if let Some(rejects) = &r.rejects {
            lines.push(format!("  rejected records are in {}", escape_for_terminal(&rejects.display().to_string())));
        }
        if r.duplicate_keys > 0 {
            lines.push(format!("  {}; the last value was kept", counted(r.duplicate_keys, "duplicate key")));
        }
        if r.utf8_replaced > 0 {
            lines.push(format!("  {} replaced with U+FFFD", counted(r.utf8_replaced, "invalid UTF-8 sequence")));
        }
        lines.extend(self.notes().iter().map(|note| format!("  {}", escape_for_terminal(note))));
        lines
    }

    /// Returns the engine's notes, followed by those that name a flag.
    fn notes(&self) -> Vec<String> {
        let mut notes = self.report.notes.clone();
        for (_, outcome) in &self.report.loads {
            if let Committed::Loaded(summary) = outcome {
                notes.extend(summary.notes.iter().cloned());
            }
        }
        notes.extend(self.report.other_delimiter.map(doubt_note));
        notes.extend(self.report.text_columns.iter().map(text_column_note));
        if self.report.rows_rejected > 0 && self.report.rejects.is_none() {
            notes.push("rejected records were not kept; keep them with `--rejects FILE`".to_owned());
        }
        notes
    }

    fn json(&self) -> Value {
        let r = self.report;
        let format = |output: &Output| match output.format {
            OutputFormat::Parquet(options) => json!({"name": "parquet", "codec": codec_text(options.codec)}),
            OutputFormat::Csv(_) => json!({"name": "csv"}),
            OutputFormat::Ndjson => json!({"name": "ndjson"}),
            OutputFormat::JsonArray => json!({"name": "json"}),
            OutputFormat::Arrow(ArrowForm::File) => json!({"name": "arrow"}),
            OutputFormat::Arrow(ArrowForm::Stream) => json!({"name": "arrow-stream"}),
            OutputFormat::Table => json!({"name": "table"}),
        };
        let each = |output: &Output| json!({"output": target_name(output), "format": format(output)});
        json!({
            "output": self.name,
            // `format` is that of the first output; `outputs` lists all of them.
            "format": self.outputs.first().map(format),
            "outputs": self.outputs.iter().map(each).collect::<Vec<_>>(),
            "loads": r.loads.iter().map(|(name, outcome)| load_json(name, outcome)).collect::<Vec<_>>(),
            "rows_in": r.rows_in,
            "rows_written": r.rows_written,
            "rows_there_before": r.rows_there_before,
            "rows_rejected": r.rows_rejected,
            "rows_filtered": r.rows_filtered,
            "rows_added": r.rows_added,
            "rows_queried": r.rows_queried,
            "runs": self.runs,
            "expected_rows": self.expected_rows,
            "bytes_in": r.bytes_in,
            "repeated_bytes": self.repeated_bytes,
            "bytes_out": r.bytes_out,
            "duplicate_keys": r.duplicate_keys,
            "utf8_replaced": r.utf8_replaced,
            "cells_changed": r.cells_changed,
            "interruptions_resumed": self.recovered.resumed,
            "links_renewed": self.recovered.fresh_links,
            "requests_retried": self.recovered.retries,
            "retry_wait_seconds": self.recovered.waited.as_secs_f64(),
            "elapsed_seconds": self.elapsed.as_secs_f64(),
            "execution_seconds": r.elapsed.as_secs_f64(),
            "peak_memory_bytes": peak_memory_bytes(),
            "rejects": r.rejects.as_ref().map(|path| path.display().to_string()),
            "stopped_early": r.stopped_early,
            "reached_limit": r.reached_limit,
            "notes": self.notes(),
        })
    }
}

/// Returns the line on what was survived; `None` if the network did nothing worth a word.
fn recovered_line(recovered: &Recovered) -> Option<String> {
    let Recovered { resumed, fresh_links, retries, waited } = *recovered;
    let counts = [
        (resumed, "interruption was resumed", "interruptions were resumed"),
        (fresh_links, "expired link was renewed", "expired links were renewed"),
        (retries, "request was retried", "requests were retried"),
    ];
    let mut parts: Vec<String> = counts
        .into_iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, one, many)| format!("{} {}", human_count(count), if count == 1 { one } else { many }))
        .collect();
    let last = parts.last_mut()?;
    if waited >= Duration::from_secs(1) {
        last.push_str(&format!(" after waits of {}", human_duration(waited)));
    }
    Some(format!("  {}", parts.join(", ")))
}

/// Prints that outputs are complete already, and returns the exit code that they had when they were written.
pub(super) fn already_complete(
    context: &Context,
    format: ReportFormat,
    outputs: &[Output],
    done: &CompletedOutput,
) -> Exit {
    let name = target_names(outputs);
    let json = json!({
        "output": name,
        "already_complete": true,
        "rows_in": done.rows_in,
        "rows_written": done.rows_written,
        "rows_rejected": done.rows_rejected,
        "bytes_out": done.bytes(),
        "rejects": done.rejects.as_ref().map(|rejects| rejects.path.display().to_string()),
    });
    match format {
        ReportFormat::Text => {
            let (rows, rejected) = (human_count(done.rows_written), human_count(done.rows_rejected));
            let are = if outputs.len() == 1 { "is" } else { "are" };
            context.screen.note(&format!("{name} {are} already complete: {rows} rows written, {rejected} rejected"));
        }
        ReportFormat::Json => context.screen.always(&json_line(&json)),
    }
    context.complete.fetch_add(1, Ordering::Relaxed);
    context.result_file.add_complete(json, done.files.iter().map(|file| (file.path.clone(), file.bytes)));
    if done.rows_rejected > 0 { Exit::Partial } else { Exit::Success }
}

/// Prints that the tables of `outputs` have the rows already, and returns the exit code of the earlier loads.
pub(super) fn already_loaded(
    context: &Context,
    format: ReportFormat,
    outputs: &[Output],
    loaded: &[(String, LedgerRow)],
) -> Exit {
    let loads = loaded.iter().map(|(name, row)| load_json(name, &Committed::Already(row.clone())));
    let json = json!({
        "output": target_names(outputs),
        "already_complete": true,
        "loads": loads.collect::<Vec<_>>(),
    });
    match format {
        ReportFormat::Text => {
            loaded.iter().for_each(|(name, row)| context.screen.note(&escape_for_terminal(&already_line(name, row))));
        }
        ReportFormat::Json => context.screen.always(&json_line(&json)),
    }
    context.complete.fetch_add(1, Ordering::Relaxed);
    context.result_file.add_complete(json, std::iter::empty());
    if loaded.iter().any(|(_, row)| row.rejected > 0) { Exit::Partial } else { Exit::Success }
}

/// Returns the peak resident memory of this process in bytes; `None` on systems without /proc.
pub(super) fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::Schema;
    use crate::format::Compression;
    use crate::pipeline::Target;

    #[test]
    fn the_report_formats_counts_and_rates() {
        let report = Report {
            input_schema: Schema::default(),
            unseen_columns: Vec::new(),
            rows_in: 5000,
            rows_written: 4990,
            rows_there_before: 0,
            rows_filtered: 0,
            rows_added: 0,
            rows_queried: None,
            rows_rejected: 10,
            bytes_in: 3 << 20,
            bytes_out: 1 << 20,
            duplicate_keys: 1,
            utf8_replaced: 0,
            cells_changed: 0,
            elapsed: Duration::from_secs(2),
            schema: Schema::default(),
            files: Vec::new(),
            loads: Vec::new(),
            rejects: Some("a.rejects.ndjson".into()),
            stopped_early: false,
            reached_limit: false,
            other_delimiter: None,
            text_columns: Vec::new(),
            notes: vec!["column `x` never had a value".into()],
        };
        let output = Output { format: OutputFormat::Ndjson, compression: Compression::None, target: Target::Stdout };
        let output_report = OutputReport {
            name: "a.parquet".into(),
            outputs: &[output],
            report: &report,
            runs: 1,
            expected_rows: Some(5000),
            repeated_bytes: 0,
            recovered: Recovered { resumed: 2, fresh_links: 1, retries: 3, waited: Duration::from_secs(12) },
            elapsed: Duration::from_secs(4),
        };
        let text = output_report.lines().join("\n");
        let memory = text.find(", peak memory ").unwrap_or(text.len());
        assert_eq!(
            &text[..memory],
            "a.parquet: 5 000 rows in, 4 990 written, 10 rejected, 0 filtered\n  3.0 MiB in, 1.0 MiB out in 2.0 s (1.5 MiB/s, 2 500 rows/s), 4.0 s in all"
        );
        assert_eq!(
            output_report.lines()[2..].join("\n"),
            "  2 interruptions were resumed, 1 expired link was renewed, 3 requests were retried after waits of 12 s\n  the count agrees with the API's row_count (5 000)\n  rejected records are in a.rejects.ndjson\n  1 duplicate key; the last value was kept\n  column `x` never had a value"
        );
        assert_eq!(output_report.json()["rows_rejected"], 10);
        assert_eq!(recovered_line(&Recovered::default()), None);
    }
}
