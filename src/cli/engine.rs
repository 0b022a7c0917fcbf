//! The bridge to the engine: runs its blocking work on a thread of its own, while progress and Ctrl-C are handled on
//! the runtime. The engine knows neither terminal nor signals; it gets a [`Control`].

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::context::Context;
use super::error::{Error, Failure};
use crate::net::Stopper;
use crate::pipeline::{self, Control, ExecutionPlan, Report};
use crate::text::{counted, escape_for_terminal, human_bytes, human_duration};
use crate::warehouse::LoadError;

/// Interval between two drawings of the progress line.
const DRAW_INTERVAL: Duration = Duration::from_millis(200);

/// Shortest wait for the lock of an output that is worth a note.
const NOTED_WAIT: Duration = Duration::from_secs(1);

/// The same for the lock of a table, which others hold for as long as they write to it.
const NOTED_TABLE_WAIT: Duration = Duration::from_secs(2);

/// Executes `plan`. Ctrl-C stops the execution and its downloads; the function returns when no partial file remains.
/// `total_bytes` is the size of all sources, where it is known; `on_progress` is called with each drawing and at the
/// end.
pub(super) async fn execute(
    context: &Context,
    plan: ExecutionPlan,
    phase: &str,
    total_bytes: Option<u64>,
    stoppers: Vec<Stopper>,
    on_progress: impl FnMut(&Control, ProgressTiming),
) -> Result<Report, Failure> {
    let work = move |control: &Control| pipeline::execute(plan, control);
    run_blocking(context, phase, total_bytes, stoppers, on_progress, work).await
}

/// The moment of a call of `on_progress`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProgressTiming {
    /// While the execution runs, several times a second.
    Underway,
    /// Once after the execution has ended, with any result.
    Over,
}

/// Runs blocking engine work on a thread of its own, with progress and Ctrl-C as in [`execute`].
pub(super) async fn run_blocking<T: Send + 'static>(
    context: &Context,
    phase: &str,
    total_bytes: Option<u64>,
    stoppers: Vec<Stopper>,
    mut on_progress: impl FnMut(&Control, ProgressTiming),
    work: impl FnOnce(&Control) -> Result<T, pipeline::Error> + Send + 'static,
) -> Result<T, Failure> {
    let control = Control::new();
    let (sender, mut done) = oneshot::channel();
    let thread_control = control.clone();
    let thread = std::thread::Builder::new().name("execution".into()).spawn(move || {
        // Fails only if the receiver was dropped with the command: then the outcome has no use.
        let _ = sender.send(work(&thread_control));
    });
    thread.map_err(|cause| Error::Bug(format!("cannot start a thread: {cause}")))?;
    let start = Instant::now();
    let mut draw = tokio::time::interval(DRAW_INTERVAL);
    let mut stopped = false;
    let mut noted_wait: Option<PathBuf> = None;
    let mut noted_table: Option<String> = None;
    let outcome = loop {
        tokio::select! {
            outcome = &mut done => break outcome,
            // The loop continues after this: the engine ends by itself, once it has removed its partial files.
            () = context.interrupt.requested(), if !stopped => {
                stopped = true;
                control.cancel();
                stoppers.iter().for_each(Stopper::stop);
            }
            _ = draw.tick() => {
                if let Some(path) = control.lock_wait().filter(|(_, time)| *time >= NOTED_WAIT).map(|(path, _)| path)
                    && noted_wait.as_ref() != Some(&path)
                {
                    let name = escape_for_terminal(&path.display().to_string());
                    context.screen.note(&format!("waiting for another drawoff command that is writing {name}"));
                    noted_wait = Some(path);
                }
                if let Some((table, _)) = control.uploads().lock_wait().filter(|(_, time)| *time >= NOTED_TABLE_WAIT)
                    && noted_table.as_ref() != Some(&table)
                {
                    let name = escape_for_terminal(&table);
                    context.screen.note(&format!("waiting for another load or session that has locked {name}"));
                    noted_table = Some(table);
                }
                show(context, phase, total_bytes, &control, start);
                on_progress(&control, ProgressTiming::Underway);
            }
        }
    };
    on_progress(&control, ProgressTiming::Over);
    context.screen.clear();
    for leftover in control.uploads().leftovers() {
        context.screen.always(&format!("warning: {leftover}"));
    }
    match outcome {
        Ok(Ok(done)) => Ok(done),
        // Whether the rows are there is more than that the command was stopped.
        Ok(Err(error @ pipeline::Error::Load(LoadError::Unknown { .. }))) => Err(error.into()),
        // A stopped download fails with an error of its own, which is only a consequence.
        Ok(Err(_)) if stopped => Err(Error::Interrupted.into()),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(Error::Bug("the execution ended without an outcome".into()).into()),
    }
}

fn show(context: &Context, phase: &str, total_bytes: Option<u64>, control: &Control, start: Instant) {
    // Rates over the whole time, which are steadier than those of the last interval.
    let bytes = control.bytes_read();
    let elapsed = start.elapsed().as_secs_f64().max(0.001);
    let fraction = total_bytes.filter(|total| *total > 0).map(|total| bytes as f64 / total as f64);
    let mut detail = format!("{}  {}", counted(control.rows_read(), "row"), human_bytes(bytes));
    if let Some(total) = total_bytes {
        detail.push_str(&format!(" of {}", human_bytes(total)));
    }
    detail.push_str(&format!("  {}/s", human_bytes((bytes as f64 / elapsed) as u64)));
    // The first seconds and the first percent predict nothing.
    if let Some(fraction) = fraction.filter(|f| elapsed > 3.0 && (0.01..1.0).contains(f)) {
        let left = Duration::from_secs_f64(elapsed * (1.0 - fraction) / fraction);
        detail.push_str(&format!("  {} left", human_duration(left)));
    }
    context.screen.progress(phase, fraction, &detail);
}
