//! `work`: does items of a plan that have no receipt. Of each it signs a link, streams the result file through the steps of the
//! plan into a part, and writes the receipt last. It never touches the target of the commit.

use std::path::{Path, PathBuf};

use super::plan_settings;
use crate::api::{DownloadLink, RunId};
use crate::cli::args::PipelineArgs;
use crate::cli::context::Context;
use crate::cli::dialect::InputDialect;
use crate::cli::engine;
use crate::cli::error::{Error, Failure};
use crate::cli::exit::{Exit, Retry};
use crate::cli::outputs;
use crate::cli::plan_place::PlanPlace;
use crate::cli::scale_args::WorkArgs;
use crate::cli::test_stop::{StopPlace, stop_at, stopping_in_part};
use crate::client::{self, BlockSelection, Client, ResultFormat, Results, result_source};
use crate::pipeline::{self, Output, Report, Target};
use crate::scale::{FailedAttempt, Plan, PlanStore, Receipt, ScaleError, WorkItem, new_attempt};
use crate::sink::TemporaryDirectory;
use crate::source::{Input, Source};
use crate::text::{counted, escape_for_terminal, human_count};

/// File of the rejected records of an attempt.
const REJECTS_FILE: &str = "rejects.ndjson";

/// Exit codes of failures that concern every item: the others would only fail in the same way.
const FATAL: [Exit; 8] = [
    Exit::Bug,
    Exit::Usage,
    Exit::NoKey,
    Exit::KeyRefused,
    Exit::CannotWrite,
    Exit::DiskFull,
    Exit::TargetUnreachable,
    Exit::Interrupted,
];

/// The outcome of one item.
enum Outcome {
    Done,
    /// Another worker has written its receipt meanwhile.
    DoneElsewhere,
}

/// Does the items that the flags select.
pub(crate) async fn work(context: &Context, args: WorkArgs) -> Result<Exit, Failure> {
    let place = PlanPlace::open(&args.plan)?;
    let (plan, receipts) = place.with(context, |store| Ok((store.load()?, store.receipts()?))).await?;
    let worker = Worker {
        args: plan_settings::worker_args(&plan.settings)?,
        format: plan_settings::format(&plan.settings)?,
        client: context.client()?,
        context,
        place: &place,
        plan: &plan,
    };
    let selected = selected(&plan, &args, &place)?;
    let total = selected.len();
    let (mut done, mut elsewhere, mut failures) = (0, 0, Vec::new());
    context
        .set_resume_hint("the same command does the items that are not done; no receipt is written twice".to_owned());
    for (number, item) in selected.into_iter().enumerate() {
        if receipts.chosen(&item.item).is_some() {
            elsewhere += 1;
            continue;
        }
        let attempt = new_attempt();
        match worker.item(item, &attempt, &format!("{} of {total}", number + 1)).await {
            Ok(Outcome::Done) => done += 1,
            Ok(Outcome::DoneElsewhere) => elsewhere += 1,
            Err(failure) if matches!(failure.error(), Error::Interrupted) => return Err(failure),
            Err(failure) => {
                worker.note_failure(item, &attempt, &failure).await;
                if FATAL.contains(&failure.exit()) {
                    return Err(failure);
                }
                let name = item.item.get(..12).unwrap_or(&item.item);
                context.screen.always(&escape_for_terminal(&format!("item {name} was not done:")));
                failure.lines().iter().for_each(|line| context.screen.always(line));
                failures.push(failure.exit());
            }
        }
    }
    let name = escape_for_terminal(place.name());
    let failed = if failures.is_empty() { String::new() } else { format!(", {} failed", failures.len()) };
    context.screen.note(&format!("{name}: {} done, {elsewhere} done before{failed}", counted(done, "item")));
    match exit_of(&failures) {
        None => Ok(Exit::Success),
        Some(exit) => {
            let text = format!("{} of {} not done", failures.len(), counted(total as u64, "item"));
            let hint = match exit.retry() {
                Retry::Helps => "the same command tries the others again",
                _ => "the same command fails again: see each item with `drawoff plan status PLAN`",
            };
            Err(Failure::new(Error::Parts { text, exit }, hint))
        }
    }
}

/// Returns the exit code of a worker: that of the first failure that a retry helps against, since the same command is then
/// worth it; else that of the first failure. `None` without failures.
fn exit_of(failures: &[Exit]) -> Option<Exit> {
    failures.iter().find(|exit| exit.retry() == Retry::Helps).or_else(|| failures.first()).copied()
}

/// Returns the items that the flags select.
fn selected<'a>(plan: &'a Plan, args: &WorkArgs, place: &PlanPlace) -> Result<Vec<&'a WorkItem>, Failure> {
    let Some(id) = &args.item else {
        let items = plan.items.iter().enumerate();
        let items = items.filter(|(nth, _)| args.shard.is_none_or(|shard| shard.has(*nth)));
        return Ok(items.map(|(_, item)| item).collect());
    };
    let found: Vec<&WorkItem> = plan.items.iter().filter(|item| item.item.starts_with(&**id)).collect();
    match found.len() {
        1 => Ok(found),
        0 => {
            let error = ScaleError::NoItem { plan: place.name().to_owned(), item: id.clone() };
            Err(Failure::new(error, "list the items with `drawoff plan status PLAN`"))
        }
        n => Err(Failure::new(Error::Usage(format!("{n} items begin with `{id}`")), "type more of the id")),
    }
}

/// The work on the items of one plan.
struct Worker<'a> {
    args: PipelineArgs,
    format: ResultFormat,
    client: Client,
    context: &'a Context,
    place: &'a PlanPlace,
    plan: &'a Plan,
}

/// The files of an attempt, where they are written.
struct AttemptFiles {
    directory: PathBuf,
    /// The temporary directory of a plan in a store; `None` for a directory of the plan.
    temporary: Option<TemporaryDirectory>,
}

impl AttemptFiles {
    fn create(store: &PlanStore, item: &str, attempt: &str) -> Result<Self, ScaleError> {
        let name = PlanStore::part_name(item, attempt, REJECTS_FILE);
        let failed = |cause| ScaleError::Write { plan: store.name().to_owned(), file: name.clone(), cause };
        match store.local_path(&name) {
            Some(path) => {
                let directory = path.parent().map(Path::to_owned).unwrap_or_default();
                std::fs::create_dir_all(&directory).map_err(failed)?;
                Ok(AttemptFiles { directory, temporary: None })
            }
            None => {
                let temporary = TemporaryDirectory::create(&std::env::temp_dir()).map_err(failed)?;
                Ok(AttemptFiles { directory: temporary.path().to_owned(), temporary: Some(temporary) })
            }
        }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.join(file)
    }

    /// Removes what the attempt has written on this machine.
    fn remove(self) {
        if self.temporary.is_none() {
            // Files that stay are orphans, which `commit --gc` removes.
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}

impl Worker<'_> {
    /// Does one item; `number` says which, for messages.
    async fn item(&self, item: &WorkItem, attempt: &str, number: &str) -> Result<Outcome, Failure> {
        let id = item.item.clone();
        // Many may have been done since the list was read.
        if self.place.with(self.context, move |store| store.has_receipt(&id)).await? {
            return Ok(Outcome::DoneElsewhere);
        }
        let (id, own) = (item.item.clone(), attempt.to_owned());
        let files = self.place.with(self.context, move |store| AttemptFiles::create(store, &id, &own)).await?;
        match self.write(item, attempt, &files).await {
            Ok(receipt) => {
                stop_at(StopPlace::BeforeReceipt);
                let own = receipt.clone();
                // Not interrupted: the receipt may be there already.
                self.place.with_uninterrupted(move |store| store.put_receipt(&own)).await?;
                stop_at(StopPlace::AfterReceipt);
                self.context.screen.note(&format!(
                    "item {} ({number}): {} rows in, {} written, {} rejected, {} filtered",
                    item.item.get(..12).unwrap_or(&item.item),
                    human_count(receipt.rows_in),
                    human_count(receipt.rows),
                    human_count(receipt.rows_rejected),
                    human_count(receipt.rows_filtered),
                ));
                Ok(Outcome::Done)
            }
            Err(failure) => {
                files.remove();
                Err(failure)
            }
        }
    }

    /// Writes the parts of an item, and returns the receipt for them.
    async fn write(&self, item: &WorkItem, attempt: &str, files: &AttemptFiles) -> Result<Receipt, Failure> {
        let report = self.execute(item, files).await?;
        let columns = Receipt::columns_form(&report.schema);
        let mut receipt = Receipt {
            plan_digest: self.plan.digest.clone(),
            item: item.item.clone(),
            attempt: attempt.to_owned(),
            parts: Vec::new(),
            records: Vec::new(),
            columns: columns.ok_or_else(|| Error::Bug("a part has a type without a written form".into()))?,
            input_columns: Receipt::columns_form(&report.input_schema),
            unseen_columns: report.unseen_columns.clone(),
            rows_in: report.rows_in,
            rows: report.rows_written,
            rows_filtered: report.rows_filtered,
            rows_added: report.rows_added,
            rows_rejected: report.rows_rejected,
            rejects: None,
            finished_at: now(),
            drawoff: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let outputs = plan_settings::part_outputs(&self.plan.settings, self.context.settings.codec.value)?;
        let parts: Vec<_> = outputs.into_iter().map(|(name, _)| (name, files.path(name))).collect();
        let rejects = files.path(REJECTS_FILE);
        let has_rejects = report.rejects.is_some();
        let added = self.place.with(self.context, move |store| {
            let name = |file| PlanStore::part_name(&receipt.item, &receipt.attempt, file);
            let mut added = Vec::new();
            for (file, path) in parts.iter().filter(|_| receipt.rows > 0) {
                added.push(store.add_part(path, &name(*file), receipt.rows)?);
            }
            let rejects = has_rejects.then(|| (rejects, name(REJECTS_FILE)));
            if let Some((path, name)) = &rejects {
                store.add_file(path, name)?;
            }
            let mut added = added.into_iter();
            receipt.parts.extend(added.next());
            receipt.records.extend(added);
            receipt.rejects = rejects.map(|(_, name)| name);
            Ok(receipt)
        });
        added.await
    }

    /// Downloads the result file of an item through the steps into its part.
    async fn execute(&self, item: &WorkItem, files: &AttemptFiles) -> Result<Report, Failure> {
        let context = self.context;
        let run = RunId(item.source.run_id.clone());
        let links = context.unless_interrupted(async { Ok(self.links(item, &run).await?) }).await?;
        let link = links.links[0].clone();
        let mut requests = self.client.download_requests(&run, &links);
        let mut download = context.downloads().start(self.client.http(), requests.remove(0));
        let opened = async {
            let opened = download.opened().await;
            opened.map_err(|cause| Error::Download { name: link.filename.clone(), cause }.into())
        };
        context.unless_interrupted(opened).await?;
        let (stopper, size) = (download.stopper(), link.file_size);
        let mut source = result_source(&link, self.format, download);
        if let Input::Stream(stream) = source.input {
            source.input = Input::Stream(stopping_in_part(stream));
        }
        let name = format!("{run}/{}", link.filename).into();
        let source = Source { name, run: Some(run.0.as_str().into()), ..source };
        let outputs = plan_settings::part_outputs(&self.plan.settings, context.settings.codec.value)?;
        let outputs = outputs.into_iter().map(|(name, output)| {
            let target = Target::File { path: files.path(name), no_clobber: true, append: false };
            Output { target, ..output }
        });
        let dialect = InputDialect::of_settings(&context.settings)?;
        let mut plan = outputs::plan(vec![source], outputs.collect(), &self.args, &dialect, &context.settings)?;
        plan_settings::complete(&mut plan, &self.plan.settings)?;
        plan.rejects = self.plan.settings.skips_bad_records.then(|| files.path(REJECTS_FILE));
        let executed = engine::execute(context, plan, "working", size, vec![stopper], |_, _| {}).await;
        executed.map_err(|failure| match failure.error() {
            Error::Pipeline(pipeline::Error::BadRecord { .. }) => {
                failure.with_hint("make a new plan with `--on-bad-record skip`, which rejects such records")
            }
            _ => failure,
        })
    }

    /// Requests the link of an item. Fails if the run has no such result file, or one with another count.
    async fn links(&self, item: &WorkItem, run: &RunId) -> Result<Results, client::Error> {
        let wanted = match item.source.block {
            Some(block) => BlockSelection::Block(block),
            None => BlockSelection::Final,
        };
        let mut results = self.client.result_links(run, &[self.format], wanted).await?;
        let is_of_item =
            |link: &DownloadLink| link.filename == item.source.filename && link.row_count == item.source.row_count;
        results.links.retain(is_of_item);
        results.links.truncate(1);
        match results.links.is_empty() {
            false => Ok(results),
            true => Err(client::Error::NoResults { run: run.clone(), formats: item.source.filename.clone() }),
        }
    }

    /// Records a failure in the plan. That it cannot be recorded is no failure of its own.
    async fn note_failure(&self, item: &WorkItem, attempt: &str, failure: &Failure) {
        let exit = failure.exit();
        let record = FailedAttempt {
            item: item.item.clone(),
            attempt: attempt.to_owned(),
            error: failure.message(),
            exit_code: exit.code(),
            retry: exit.retry().as_str().to_owned(),
            failed_at: now(),
        };
        let _ = self.place.with(self.context, move |store| store.put_failure(&record)).await;
    }
}

/// Returns the time as the API writes it.
pub(super) fn now() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_that_passes_decides_the_exit_code() {
        assert_eq!(exit_of(&[]), None);
        assert_eq!(exit_of(&[Exit::BadData, Exit::Unreachable, Exit::DownloadBroken]), Some(Exit::Unreachable));
        assert_eq!(exit_of(&[Exit::BadData, Exit::Mismatch]), Some(Exit::BadData));
    }

    #[test]
    fn a_code_that_ends_the_worker_is_never_one_of_an_item_alone() {
        for exit in
            [Exit::BadData, Exit::Mismatch, Exit::NotFound, Exit::Damaged, Exit::DownloadBroken, Exit::Unreachable]
        {
            assert!(!FATAL.contains(&exit), "{exit:?}");
        }
    }
}
