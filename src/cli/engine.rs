//! Carrying out a plan: the engine on a thread of its own, progress and Ctrl-C here.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::context::Context;
use super::error::{Error, Failure};
use crate::net::Stopper;
use crate::pipeline::{self, Control, ExecutionPlan, Report};
use crate::text::{human_bytes, human_count, human_duration};

/// How often progress is drawn.
const DRAW_INTERVAL: Duration = Duration::from_millis(200);

/// Executes `plan`. On Ctrl-C the execution and its downloads are stopped, and it is waited for until nothing half is
/// left. `total_bytes` is the size of all sources where it is known; `on_progress` hears how far it is.
pub async fn execute(
    context: &Context,
    plan: ExecutionPlan,
    phase: &str,
    total_bytes: Option<u64>,
    stoppers: Vec<Stopper>,
    on_progress: impl FnMut(&Control, ProgressTiming),
) -> Result<Report, Failure> {
    let work = move |control: &Control| pipeline::execute(plan, control);
    on_a_thread(context, phase, total_bytes, stoppers, on_progress, work).await
}

/// When progress is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgressTiming {
    /// Several times a second.
    Underway,
    /// Once, when the execution is over, however it ended.
    Over,
}

/// Runs blocking engine work with progress and Ctrl-C.
pub async fn on_a_thread<T: Send + 'static>(
    context: &Context,
    phase: &str,
    total_bytes: Option<u64>,
    stoppers: Vec<Stopper>,
    mut on_progress: impl FnMut(&Control, ProgressTiming),
    work: impl FnOnce(&Control) -> Result<T, pipeline::Error> + Send + 'static,
) -> Result<T, Failure> {
    let control = Control::new();
    let (sender, mut done) = oneshot::channel();
    let theirs = control.clone();
    let thread = std::thread::Builder::new().name("execution".into()).spawn(move || {
        // Nobody waits for the outcome any more if this fails.
        let _ = sender.send(work(&theirs));
    });
    thread.map_err(|cause| Error::Bug(format!("no thread can be started: {cause}")))?;
    let start = Instant::now();
    let mut draw = tokio::time::interval(DRAW_INTERVAL);
    let mut stopped = false;
    let outcome = loop {
        tokio::select! {
            outcome = &mut done => break outcome,
            () = context.interrupt.requested(), if !stopped => {
                stopped = true;
                control.cancel();
                stoppers.iter().for_each(Stopper::stop);
            }
            _ = draw.tick() => {
                show(context, phase, total_bytes, &control, start);
                on_progress(&control, ProgressTiming::Underway);
            }
        }
    };
    on_progress(&control, ProgressTiming::Over);
    context.screen.clear();
    match outcome {
        Ok(Ok(done)) => Ok(done),
        // A download that was stopped fails in its own words.
        Ok(Err(_)) if stopped => Err(Error::Interrupted.into()),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(Error::Bug("the execution ended without an outcome".into()).into()),
    }
}

fn show(context: &Context, phase: &str, total_bytes: Option<u64>, control: &Control, start: Instant) {
    let bytes = control.bytes_read();
    let elapsed = start.elapsed().as_secs_f64().max(0.001);
    let fraction = total_bytes.filter(|total| *total > 0).map(|total| bytes as f64 / total as f64);
    let mut detail = format!("{} rows  {}", human_count(control.rows_read()), human_bytes(bytes));
    if let Some(total) = total_bytes {
        detail.push_str(&format!(" of {}", human_bytes(total)));
    }
    detail.push_str(&format!("  {}/s", human_bytes((bytes as f64 / elapsed) as u64)));
    // A guess from the first second is no help.
    if let Some(fraction) = fraction.filter(|f| elapsed > 3.0 && (0.01..1.0).contains(f)) {
        let left = Duration::from_secs_f64(elapsed * (1.0 - fraction) / fraction);
        detail.push_str(&format!("  {} left", human_duration(left)));
    }
    context.screen.progress(phase, fraction, &detail);
}
