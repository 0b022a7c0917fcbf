//! The log of requests of `serve`: a line for each on standard error, written by a thread of its own. A reader that does
//! not keep up, such as a test that never reads the pipe, loses lines but never delays the service.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use super::print::{Screen, write_stderr};
use super::serve_flags::LogFormat;
use crate::service::{OnRequest, RequestRecord};
use crate::text::{escape_for_terminal, plural};

/// Lines that wait for the writer.
const CAPACITY: usize = 4096;

/// Time that the last lines get at the end.
const FLUSH_TIME: Duration = Duration::from_secs(1);

/// A running log, or the screen without one. The writer ends once all senders are dropped.
pub(super) struct RequestLog {
    screen: Arc<Screen>,
    writer: Option<Writer>,
}

struct Writer {
    lines: SyncSender<Vec<String>>,
    end: Receiver<()>,
}

impl RequestLog {
    /// Starts the writer, and returns the function that the service calls with each request; `None` without a log.
    pub(super) fn start(format: LogFormat, screen: &Arc<Screen>) -> (Option<OnRequest>, Self) {
        let line: fn(&RequestRecord) -> Vec<String> = match format {
            LogFormat::Off => return (None, RequestLog { screen: Arc::clone(screen), writer: None }),
            LogFormat::Human => human_line,
            LogFormat::Json => json_line,
        };
        let (lines, waiting) = sync_channel::<Vec<String>>(CAPACITY);
        let (ended, end) = sync_channel(1);
        let lost = Arc::new(AtomicU64::new(0));
        let lost_here = Arc::clone(&lost);
        // Not through the screen, whose lock others need while this thread waits for a reader.
        let write = move || {
            for line in waiting {
                // A difference has a line of its own; no text of a request can begin one, because each is escaped.
                let escaped: Vec<String> = line.iter().map(|line| escape_for_terminal(line)).collect();
                write_stderr(&escaped.join("\n"));
                match lost_here.swap(0, Ordering::Relaxed) {
                    0 => {}
                    n => {
                        write_stderr(&format!("{n} line{} not written, because standard error is not read", plural(n)))
                    }
                }
            }
            let _ = ended.send(());
        };
        // Without the thread the lines are dropped, as for a reader that does not keep up.
        let _ = std::thread::Builder::new().name("log".into()).spawn(write);
        let writer = Writer { lines: lines.clone(), end };
        let on_request = OnRequest::new(move |record| send(&lines, line(record), &lost));
        (Some(on_request), RequestLog { screen: Arc::clone(screen), writer: Some(writer) })
    }

    /// Prints a note, unless quiet, after the lines of the requests before it. Never waits for the reader of a log.
    pub(super) fn note(&self, text: &str) {
        match &self.writer {
            None => self.screen.note(text),
            Some(_) if self.screen.is_quiet() => {}
            Some(writer) => {
                let _ = writer.lines.try_send(vec![text.to_owned()]);
            }
        }
    }

    /// Waits for the last lines to be written, but not for a reader that does not read.
    pub(super) fn finish(self) {
        if let Some(Writer { lines, end }) = self.writer {
            drop(lines);
            let _ = end.recv_timeout(FLUSH_TIME);
        }
    }
}

fn send(lines: &SyncSender<Vec<String>>, line: Vec<String>, lost: &AtomicU64) {
    if let Err(TrySendError::Full(_)) = lines.try_send(line) {
        lost.fetch_add(1, Ordering::Relaxed);
    }
}

/// Returns a line such as `2026-11-30T12:00:00.000Z POST /workflows/run?workflow_id=w 200 3 ms run=5f0c…`, and one for each
/// difference.
fn human_line(record: &RequestRecord) -> Vec<String> {
    let at = record.at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    let query = if record.query.is_empty() { String::new() } else { format!("?{}", record.query) };
    let RequestRecord { method, path, status, duration_ms, .. } = record;
    let mut line = format!("{at} {method} {path}{query} {status} {duration_ms} ms");
    if let Some(run) = &record.run_id {
        line.push_str(&format!(" run={run}"));
    }
    for fault in &record.faults {
        line.push_str(&format!(" fault={fault}"));
    }
    let differences = record.differences.iter().map(|difference| format!("  differs from the contract: {difference}"));
    std::iter::once(line).chain(differences).collect()
}

/// Returns the record as JSON without its body, which holds rows of people. Only ASCII: nothing is left for a terminal
/// to interpret.
fn json_line(record: &RequestRecord) -> Vec<String> {
    let mut json = serde_json::to_value(record).unwrap_or_default();
    if let Some(members) = json.as_object_mut() {
        members.remove("body");
    }
    let mut line = String::new();
    for c in json.to_string().chars() {
        if c.is_ascii() {
            line.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                line.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    vec![line]
}
