//! A randomized test of the whole network path, from the start of a run to the written file: plans of faults are drawn
//! from a seed, and each must end with the exact file or with an exit code that the plan allows, without a file.

use std::path::Path;
use std::time::Duration;

use futures::StreamExt;

use super::error::{Error, Failure};
use super::exit::Exit;
use crate::api::{RunId, WorkflowId};
use crate::client::{BlockSelection, Client, IdempotencyKey, PollPace, ResultFormat, StartOptions, WatchOptions};
use crate::format::{Compression, OutputFormat};
use crate::net::faults::{Defect, Faulty, Framing, InjectedFault, MARK, Plan, RUN, rows_of};
use crate::net::{Connections, Downloads, Http, HttpOptions, RetryPolicy};
use crate::pipeline::{self, Control, Limits, Output, Target};
use crate::secret::ApiKey;
use crate::source::Source;

/// Number of plans, if `DRAWOFF_TEST_ALL` is set; otherwise the first tenth of them runs. `tests/it/support/plans.rs`
/// documents both variables.
const PLANS: u64 = 1200;

/// Default of `DRAWOFF_TEST_SEED`, from which the plans are drawn.
const SEED: u64 = 64;

/// Plans that run concurrently. Most of a plan's time is spent waiting.
const AT_A_TIME: usize = 48;

const KEY: &str = "marked-key-7c41";

/// The result of a plan.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Written(Vec<u8>),
    Failed(Exit),
}

fn policy() -> RetryPolicy {
    RetryPolicy {
        // Longer than the pauses of a loaded machine, and short enough for a test.
        stall_time: Duration::from_millis(1000),
        idle_timeout: Duration::from_secs(10),
        // Some files have several segments then.
        min_segment_bytes: 4 << 10,
        ..RetryPolicy::fast()
    }
}

/// Starts a run and writes its results as `run` and `pull` do, and adds the debug text of a failure to `texts`.
async fn start_and_pull(faulty: &Faulty, connections: usize, out: &Path, texts: &mut Vec<String>) -> Result<(), Error> {
    let options = HttpOptions::new(faulty.base.parse().expect("a URL"), Some(ApiKey::new(KEY)));
    let client = Client::new(Http::new(HttpOptions { policy: policy(), ..options }));
    let workflow = WorkflowId("w".into());
    let start = StartOptions {
        input: None,
        payload: None,
        formats: vec![ResultFormat::Ndjson],
        key: IdempotencyKey::fresh(&workflow.0),
    };
    let run = client.start(&workflow, &start).await?.run;
    assert_eq!(run, RunId(RUN.into()));
    let pace = PollPace { first: Duration::from_millis(1), longest: Duration::from_millis(2) };
    let watch = WatchOptions { pace, ..WatchOptions::of_new_run(&client) };
    let status = client.watch(&run, &watch, |_| ()).await?;
    client.require_completed(&status).await?;
    let results = client.result_links(&run, &[ResultFormat::Ndjson], BlockSelection::All).await?;
    let downloads = Downloads::over(Connections::Count(connections), 2, 8 << 20);
    let mut sources = Vec::new();
    for (link, open) in results.links.iter().zip(client.download_requests(&run, &results)) {
        let mut source = Source::stream(link.filename.as_str(), Box::new(downloads.start(client.http(), open)));
        source.format = Some(ResultFormat::Ndjson.format());
        source.expected_rows = link.row_count;
        sources.push(source);
    }
    let output = Output {
        format: OutputFormat::Ndjson,
        compression: Compression::None,
        target: Target::File { path: out.to_owned(), no_clobber: false, append: false },
    };
    let mut plan = pipeline::ExecutionPlan::new(sources.remove(0), output);
    plan.sources.extend(sources);
    plan.limits = Limits { workers: 1, morsel_bytes: 16 << 10, ..Limits::default() };
    let executed = tokio::task::spawn_blocking(move || pipeline::execute(plan, &Control::new())).await;
    let executed = executed.map_err(|error| Error::Bug(error.to_string()))?;
    texts.extend(executed.as_ref().err().map(|error| format!("{error:?}")));
    executed?;
    Ok(())
}

/// Executes `plan` and returns its exit code, or an explanation if the result is wrong.
async fn judge(plan: Plan) -> Result<Exit, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let out = folder.path().join("out.ndjson");
    let faulty = Faulty::start(plan.clone()).await;
    let mut texts = Vec::new();
    let done = start_and_pull(&faulty, plan.connections, &out, &mut texts);
    let done = tokio::time::timeout(Duration::from_secs(120), done).await.map_err(|_| "it does not end".to_owned())?;
    let outcome = match done {
        Ok(()) => Outcome::Written(std::fs::read(&out).map_err(|error| error.to_string())?),
        Err(error) => {
            let failure = Failure::from(error);
            texts.push(format!("{failure:?}"));
            texts.extend(failure.lines());
            if std::fs::read_dir(folder.path()).map_err(|error| error.to_string())?.count() > 0 {
                return Err(format!("a failure left a file: {texts:?}"));
            }
            Outcome::Failed(failure.exit())
        }
    };
    if let Some(text) = texts.iter().find(|text| text.contains(MARK) || text.contains(KEY)) {
        return Err(format!("a secret is in: {text}"));
    }
    let keys = faulty.keys();
    if keys.iter().any(|key| *key != keys[0]) {
        return Err(format!("the run was started under several keys: {keys:?}"));
    }
    match is_right(&plan, &outcome) {
        Ok(()) => Ok(match outcome {
            Outcome::Written(_) => Exit::Success,
            Outcome::Failed(exit) => exit,
        }),
        Err(why) => Err(format!("{why}: {texts:?}")),
    }
}

/// Checks that `plan` allows `outcome`. Files are downloaded concurrently, so the first error may be that of any file.
fn is_right(plan: &Plan, outcome: &Outcome) -> Result<(), String> {
    // All contents that may be written, all exit codes that may occur, and whether a success is impossible.
    let mut expected: Vec<Vec<u8>> = vec![Vec::new()];
    let mut exits = Vec::new();
    let mut must_fail = false;
    for (index, file) in plan.files.iter().enumerate() {
        let defect = match file.defect {
            Defect::None => None,
            Defect::Truncated | Defect::Trailer | Defect::Garbage => Some(Exit::Damaged),
            Defect::LastLine => Some(Exit::LastLineCut),
            Defect::RowCount => Some(Exit::Mismatch),
        };
        exits.extend(defect);
        let replaced = file.is_replaced();
        if replaced {
            exits.push(Exit::FileChanged);
        }
        if file.relentless {
            exits.push(Exit::DownloadBroken);
        }
        let cuts = file.faults.iter().filter(|fault| matches!(fault, InjectedFault::Cut(_))).count();
        if file.framing == Framing::Close && (cuts > 1 || file.relentless) {
            // Without a length, two cuts at the same byte look like the end of the file. Other checks notice that, and
            // a complete file after them looks like a changed one.
            exits.extend([Exit::Mismatch, Exit::LastLineCut, Exit::Damaged, Exit::FileChanged]);
        }
        must_fail |= defect.is_some() || file.is_out_of_reach();
        let versions = if replaced { 2 } else { 1 };
        expected = expected
            .iter()
            .flat_map(|before| (0..versions).map(|v| [before.as_slice(), &rows_of(index, v, file.rows)].concat()))
            .collect();
    }
    match outcome {
        Outcome::Written(_) if must_fail => {
            Err("a file was written, but one of its sources is not available".to_owned())
        }
        Outcome::Written(bytes) if expected.contains(bytes) => Ok(()),
        Outcome::Written(bytes) => Err(format!("{} bytes were written that are not those of the files", bytes.len())),
        Outcome::Failed(exit) if exits.contains(exit) => Ok(()),
        Outcome::Failed(exit) => Err(format!("it ends with `{}`, but only {exits:?} are allowed", exit.name())),
    }
}

#[test]
fn any_network_failure_ends_with_the_exact_file_or_none() {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let seed = variable("DRAWOFF_TEST_SEED").map_or(SEED, |seed| seed.parse().expect("a seed is a number"));
    let n_plans = match variable("DRAWOFF_TEST_ALL").is_some_and(|value| value != "0") {
        true => PLANS,
        false => PLANS.div_ceil(10),
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let judged: Vec<(Plan, Result<Exit, String>)> = runtime.block_on(async {
        let plans = (0..n_plans).map(|i| Plan::draw(seed.wrapping_add(i.wrapping_mul(0x1000_0001))));
        let plans = plans.map(|plan| async move {
            let judged = tokio::spawn(judge(plan.clone())).await;
            (plan, judged.unwrap_or_else(|error| Err(error.to_string())))
        });
        futures::stream::iter(plans).buffer_unordered(AT_A_TIME).collect().await
    });
    let wrong: Vec<_> = judged.iter().filter_map(|(plan, judged)| Some((plan, judged.as_ref().err()?))).collect();
    let shown: Vec<String> = wrong.iter().take(3).map(|(plan, why)| format!("{why}\n{plan:#?}")).collect();
    let n = wrong.len();
    assert!(n == 0, "DRAWOFF_TEST_SEED={seed}: {n} of {n_plans} plans\n{}", shown.join("\n\n"));
    // The test proves something only if all of these exit codes occur.
    let count = |exit| judged.iter().filter(|(_, judged)| *judged == Ok(exit)).count();
    for exit in
        [Exit::Success, Exit::FileChanged, Exit::Damaged, Exit::LastLineCut, Exit::Mismatch, Exit::DownloadBroken]
    {
        assert!(count(exit) > 0, "DRAWOFF_TEST_SEED={seed}: no plan ends with `{}`", exit.name());
    }
    assert!(count(Exit::Success) > judged.len() / 2, "DRAWOFF_TEST_SEED={seed}: most plans must succeed");
}

#[test]
fn equal_seeds_draw_equal_plans() {
    let plans = |seed| format!("{:?}", Plan::draw(seed));
    assert_eq!(plans(7), plans(7));
    assert_ne!(plans(7), plans(8));
}
