//! Counters of the service since its start, and how Prometheus reads them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::rows::RunRow;
use crate::api::RunStatus;

/// Upper bounds of the classes of request times, in seconds.
const BOUNDS: [f64; 6] = [0.005, 0.025, 0.1, 0.5, 2.5, 10.0];

/// What has happened since the start.
#[derive(Default)]
pub(super) struct Metrics {
    requests: Mutex<BTreeMap<Request, Answers>>,
    ended: Mutex<BTreeMap<&'static str, u64>>,
    rows_in: AtomicU64,
    rows_out: AtomicU64,
    bytes_served: AtomicU64,
}

/// What was asked and what came of it. Routes are as many as the code has, and other paths count as one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Request {
    route: String,
    method: &'static str,
    status: u16,
}

#[derive(Default)]
struct Answers {
    number: u64,
    seconds: f64,
    /// By the first bound that is not below it; the last is for all above.
    classes: [u64; BOUNDS.len() + 1],
}

impl Metrics {
    /// Counts an answer.
    pub(super) fn answered(&self, route: &str, method: &str, status: u16, took: Duration) {
        let request = Request { route: route.to_owned(), method: known_method(method), status };
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let answers = requests.entry(request).or_default();
        let seconds = took.as_secs_f64();
        answers.number += 1;
        answers.seconds += seconds;
        let class = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        answers.classes[class] += 1;
    }

    /// Counts bytes of result files that went out.
    pub(super) fn served(&self, bytes: usize) {
        self.bytes_served.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts a run that ended: the rows that its source read, and those of its last block.
    pub(super) fn ended(&self, row: &RunRow) {
        let word = match row.status {
            RunStatus::Completed => "completed",
            RunStatus::Failed => "failed",
            RunStatus::Cancelled => "cancelled",
            RunStatus::TimedOut => "timeout",
            RunStatus::Queued | RunStatus::Running | RunStatus::Other(_) => return,
        };
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner).entry(word).or_default() += 1;
        let source = row.blocks.iter().find(|block| block.previous_block_ids.is_empty());
        self.rows_in.fetch_add(source.map_or(0, |block| block.processed), Ordering::Relaxed);
        self.rows_out.fetch_add(row.blocks.last().map_or(0, |block| block.row_count), Ordering::Relaxed);
    }

    /// The text that Prometheus reads. `now` holds the number of runs that have not ended, by state.
    pub(super) fn text(&self, now: &[(&str, usize)]) -> String {
        let mut text = String::new();
        let head = |text: &mut String, name: &str, kind: &str, help: &str| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        };
        head(&mut text, "drawoff_build_info", "gauge", "The version that runs.");
        let _ = writeln!(text, "drawoff_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"));
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        head(&mut text, "drawoff_requests_total", "counter", "Answered requests by route, method and status.");
        for (request, answers) in &*requests {
            let _ = writeln!(text, "drawoff_requests_total{{{}}} {}", request.labels(), answers.number);
        }
        let name = "drawoff_request_seconds";
        head(&mut text, name, "histogram", "Time from a request to the head of its answer, by route.");
        let mut routes: BTreeMap<&str, Answers> = BTreeMap::new();
        for (request, answers) in &*requests {
            let all = routes.entry(&request.route).or_default();
            all.number += answers.number;
            all.seconds += answers.seconds;
            all.classes.iter_mut().zip(answers.classes).for_each(|(all, n)| *all += n);
        }
        for (route, answers) in routes {
            let mut up_to = 0;
            for (n, bound) in answers.classes.iter().zip(&BOUNDS) {
                up_to += n;
                let _ = writeln!(text, "{name}_bucket{{route=\"{route}\",le=\"{bound}\"}} {up_to}");
            }
            let _ = writeln!(text, "{name}_bucket{{route=\"{route}\",le=\"+Inf\"}} {}", answers.number);
            let _ = writeln!(text, "{name}_sum{{route=\"{route}\"}} {:.6}", answers.seconds);
            let _ = writeln!(text, "{name}_count{{route=\"{route}\"}} {}", answers.number);
        }
        drop(requests);
        head(&mut text, "drawoff_runs", "gauge", "Runs that have not ended, by state.");
        for (state, number) in now {
            let _ = writeln!(text, "drawoff_runs{{state=\"{state}\"}} {number}");
        }
        head(&mut text, "drawoff_runs_ended_total", "counter", "Runs that ended, by how.");
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        for state in ["cancelled", "completed", "failed", "timeout"] {
            let number = ended.get(state).unwrap_or(&0);
            let _ = writeln!(text, "drawoff_runs_ended_total{{state=\"{state}\"}} {number}");
        }
        let counters = [
            ("drawoff_rows_in_total", "Rows that the sources of ended runs read.", &self.rows_in),
            ("drawoff_rows_out_total", "Rows of the last blocks of ended runs.", &self.rows_out),
            ("drawoff_bytes_served_total", "Bytes of result files that went out.", &self.bytes_served),
        ];
        for (name, help, counter) in counters {
            head(&mut text, name, "counter", help);
            let _ = writeln!(text, "{name} {}", counter.load(Ordering::Relaxed));
        }
        text
    }
}

impl Request {
    fn labels(&self) -> String {
        format!("route=\"{}\",method=\"{}\",status=\"{}\"", self.route, self.method, self.status)
    }
}

/// Clients may send any word as a method; each would be a series of its own.
fn known_method(method: &str) -> &'static str {
    ["GET", "POST", "DELETE", "HEAD", "PUT", "PATCH", "OPTIONS"].into_iter().find(|m| *m == method).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_what_they_were() {
        let tally = Metrics::default();
        for ms in [1, 30, 30_000] {
            tally.answered("/workflows", "GET", 200, Duration::from_millis(ms));
        }
        tally.answered("/workflows", "BREW", 405, Duration::ZERO);
        tally.served(12);
        let text = tally.text(&[("queued", 0), ("running", 2)]);
        for line in [
            "drawoff_requests_total{route=\"/workflows\",method=\"GET\",status=\"200\"} 3",
            "drawoff_requests_total{route=\"/workflows\",method=\"other\",status=\"405\"} 1",
            "drawoff_request_seconds_bucket{route=\"/workflows\",le=\"0.005\"} 2",
            "drawoff_request_seconds_bucket{route=\"/workflows\",le=\"0.1\"} 3",
            "drawoff_request_seconds_bucket{route=\"/workflows\",le=\"+Inf\"} 4",
            "drawoff_request_seconds_count{route=\"/workflows\"} 4",
            "drawoff_runs{state=\"running\"} 2",
            "drawoff_runs_ended_total{state=\"timeout\"} 0",
            "drawoff_bytes_served_total 12",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
