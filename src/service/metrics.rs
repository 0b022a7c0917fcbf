//! Metrics of the service since its start, and their Prometheus text format. The routes and the engine record here;
//! nothing is persisted or pushed.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::rows::RunRow;
use crate::api::RunStatus;

/// Upper bounds of the histogram buckets of request times, in seconds. By eye: from a poll to a large upload.
const BOUNDS: [f64; 6] = [0.005, 0.025, 0.1, 0.5, 2.5, 10.0];

/// Counters since the start of the service. Shared by all threads.
#[derive(Default)]
pub(super) struct Metrics {
    requests: Mutex<BTreeMap<RequestLabels, RequestTimes>>,
    ended: Mutex<BTreeMap<&'static str, u64>>,
    rows_in: AtomicU64,
    rows_out: AtomicU64,
    bytes_served: AtomicU64,
}

/// The labels of a series of requests. Their number is bounded: a route is a path template of the code, or `other`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct RequestLabels {
    route: String,
    method: &'static str,
    status: u16,
}

/// The number of responses of one series and the histogram of their times.
#[derive(Default)]
struct RequestTimes {
    count: u64,
    seconds: f64,
    /// Responses per bucket, not cumulative: bucket `i` ends at `BOUNDS[i]`, the last one has no upper bound.
    buckets: [u64; BOUNDS.len() + 1],
}

impl Metrics {
    /// Counts a response and its time from the request to the head of the response.
    pub(super) fn record_response(&self, route: &str, method: &str, status: u16, elapsed: Duration) {
        let labels = RequestLabels { route: route.to_owned(), method: known_method(method), status };
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let times = requests.entry(labels).or_default();
        let seconds = elapsed.as_secs_f64();
        times.count += 1;
        times.seconds += seconds;
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        times.buckets[bucket] += 1;
    }

    /// Counts bytes of result files that were sent.
    pub(super) fn record_bytes_sent(&self, bytes: usize) {
        self.bytes_served.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts an ended run, the rows that its source read and the rows of its last block. Ignores a run that has not
    /// ended.
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

    /// Formats all metrics as Prometheus text. `active_runs` is the number of runs that have not ended, by state.
    pub(super) fn text(&self, active_runs: &[(&str, usize)]) -> String {
        let mut text = String::new();
        let head = |text: &mut String, name: &str, kind: &str, help: &str| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        };
        head(&mut text, "drawoff_build_info", "gauge", "Version of drawoff.");
        let _ = writeln!(text, "drawoff_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"));
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        head(&mut text, "drawoff_requests_total", "counter", "Requests by route, method and status.");
        for (labels, times) in &*requests {
            let _ = writeln!(text, "drawoff_requests_total{{{}}} {}", labels.text(), times.count);
        }
        let name = "drawoff_request_seconds";
        head(&mut text, name, "histogram", "Time from a request to the head of its response, by route.");
        // The histogram has one series per route: a bucket for each method and status would multiply the series.
        let mut routes: BTreeMap<&str, RequestTimes> = BTreeMap::new();
        for (labels, times) in &*requests {
            let total = routes.entry(&labels.route).or_default();
            total.count += times.count;
            total.seconds += times.seconds;
            total.buckets.iter_mut().zip(times.buckets).for_each(|(total, n)| *total += n);
        }
        for (route, times) in routes {
            // Prometheus buckets are cumulative.
            let mut cumulative = 0;
            for (n, bound) in times.buckets.iter().zip(&BOUNDS) {
                cumulative += n;
                let _ = writeln!(text, "{name}_bucket{{route=\"{route}\",le=\"{bound}\"}} {cumulative}");
            }
            let _ = writeln!(text, "{name}_bucket{{route=\"{route}\",le=\"+Inf\"}} {}", times.count);
            let _ = writeln!(text, "{name}_sum{{route=\"{route}\"}} {:.6}", times.seconds);
            let _ = writeln!(text, "{name}_count{{route=\"{route}\"}} {}", times.count);
        }
        drop(requests);
        head(&mut text, "drawoff_runs", "gauge", "Runs that have not ended, by state.");
        for (state, count) in active_runs {
            let _ = writeln!(text, "drawoff_runs{{state=\"{state}\"}} {count}");
        }
        head(&mut text, "drawoff_runs_ended_total", "counter", "Ended runs by final state.");
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        // A state without runs is 0, so that rates work from the first run on.
        for state in ["cancelled", "completed", "failed", "timeout"] {
            let count = ended.get(state).unwrap_or(&0);
            let _ = writeln!(text, "drawoff_runs_ended_total{{state=\"{state}\"}} {count}");
        }
        let counters = [
            ("drawoff_rows_in_total", "Rows read by the sources of ended runs.", &self.rows_in),
            ("drawoff_rows_out_total", "Rows of the last blocks of ended runs.", &self.rows_out),
            ("drawoff_bytes_served_total", "Bytes of result files sent.", &self.bytes_served),
        ];
        for (name, help, counter) in counters {
            head(&mut text, name, "counter", help);
            let _ = writeln!(text, "{name} {}", counter.load(Ordering::Relaxed));
        }
        text
    }
}

impl RequestLabels {
    fn text(&self) -> String {
        format!("route=\"{}\",method=\"{}\",status=\"{}\"", self.route, self.method, self.status)
    }
}

/// Returns the method if it is a standard one, else `other`: clients may send any word, and each would be a new series.
fn known_method(method: &str) -> &'static str {
    ["GET", "POST", "DELETE", "HEAD", "PUT", "PATCH", "OPTIONS"].into_iter().find(|m| *m == method).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_route_method_and_status() {
        let metrics = Metrics::default();
        for ms in [1, 30, 30_000] {
            metrics.record_response("/workflows", "GET", 200, Duration::from_millis(ms));
        }
        metrics.record_response("/workflows", "BREW", 405, Duration::ZERO);
        metrics.record_bytes_sent(12);
        let text = metrics.text(&[("queued", 0), ("running", 2)]);
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
