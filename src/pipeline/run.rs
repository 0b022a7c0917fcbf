//! The execution of a plan: threads, channels, and who waits for whom.
//!
//! ```text
//! reader thread ──groups──► workers ──pieces──► writer (the caller's thread)
//!      ▲  waits for: bytes of the budget, a slot for the group
//!      └──── both are given back by those further on, who wait for nothing of the reader's
//! ```
//!
//! The reader is not joined: it may sit in a read of a pipe that nobody writes to. It notices that
//! it is alone with its next item, and holds nothing that anybody else waits for.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, select, unbounded};

use super::budget::{Budget, Sizes};
use super::compiled::Compiled;
use super::one::{Make, OrderTally};
use super::output::Out;
use super::reader::{Item, Reader};
use super::rejects::Rejects;
use super::worker::{Group, InFlight, Part, Piece, Worker};
use super::writer::{CANCEL_POLL, Writer};
use super::{Control, Error, Output, Plan, Report, SchemaFrom, SchemaPolicy};
use crate::column::{Mixing, Schema};
use crate::format::frame::BufferPool;
use crate::source::{Input, Source};
use crate::transform::Step;

/// Input bytes of a part of a row group where text is made of the same rows. By eye: less than a piece may have before it
/// is handed over in parts.
const MAX_PART_BYTES_WITH_TEXT: usize = 4 << 20;

/// Carries out `plan`. Blocks until the end; call it from a plain thread, not from a tokio worker.
///
/// On `Ok` every output stands whole at its final place and the report adds up; a count that
/// disagrees with [`Source::expected_rows`] is [`Error::RowCount`] and publishes nothing. On `Err`
/// no output file was changed or left behind (standard output may have had part of the records).
/// When the reader of standard output goes away, that is a quiet end: `Ok`, with
/// [`Report::stopped_early`].
///
/// A surprise that the outputs cannot take late (see [`Error::Schema`]) is not the end where
/// nothing was shown yet and the sources can be read twice: everything is then done anew, once,
/// after a pass over all records for their schema.
pub fn execute(plan: Plan, control: &Control) -> Result<Report, Error> {
    match plan.steps.iter().any(|step| matches!(step, Step::Sql(_))) {
        true => super::query::execute(plan, control),
        false => pass(plan, control),
    }
}

/// One pass from the sources to the outputs.
pub(super) fn pass(mut plan: Plan, control: &Control) -> Result<Report, Error> {
    let started = Instant::now();
    let mut sources = std::mem::take(&mut plan.sources);
    let re_readable = are_re_readable(&sources);
    let mut full = plan.schema.from == SchemaFrom::Full;
    if full && !re_readable {
        return Err(Error::Plan("reading everything for the schema needs files, which can be read twice".into()));
    }
    loop {
        let once = if re_readable { sources.iter().map(read_again).collect() } else { std::mem::take(&mut sources) };
        match attempt(&plan, once, Reading { re_readable, full }, control) {
            Ok(report) => return Ok(Report { elapsed: started.elapsed(), ..report }),
            // After everything was read there is nothing left to be surprised by.
            Err(Stop::StartOver(_)) if !full => {
                full = true;
                control.reset();
            }
            Err(Stop::Error(error) | Stop::StartOver(error)) => return Err(error),
        }
    }
}

/// True if all of them are files, which can be read again.
pub(super) fn are_re_readable(sources: &[Source]) -> bool {
    sources.iter().all(|source| matches!(&source.input, Input::File(path) if path.is_file()))
}

/// How the sources of one attempt are read.
#[derive(Clone, Copy)]
struct Reading {
    /// They are files, and can be read twice.
    re_readable: bool,
    /// They are read once before, whole, for the schema.
    full: bool,
}

/// Why one attempt ended.
enum Stop {
    Error(Error),
    /// With a schema of everything there would not have been this error.
    StartOver(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Error(error)
    }
}

/// Carries out `plan` with `sources`, once.
fn attempt(plan: &Plan, sources: Vec<Source>, reading: Reading, control: &Control) -> Result<Report, Stop> {
    let n_sources = sources.len();
    let again = reading.re_readable.then(|| sources.iter().map(read_again).collect::<Vec<_>>());
    let somebody_watches = plan.outputs.iter().any(Out::is_watched);
    let workers = super::compiled::workers_of(&plan.limits);
    let pool = BufferPool::new(plan.limits.morsel_bytes, workers * 4);
    let reader = Reader::new(sources, &plan.limits, somebody_watches, pool.clone(), control);
    let (reader, sample) = sample_aside(reader, plan.limits.sample_bytes, somebody_watches, control)?;
    // Only now the formats are known for certain.
    let mixing = reader.mixing();
    let sizes = Sizes::of(&plan.limits, workers);
    let metadata: Arc<[(String, String)]> = plan.metadata.clone().into();
    let order = Arc::new(OrderTally::default());
    let open = |output: &Output| {
        let make = Make::new(output.format, output.compression, mixing, sizes.row_group_bytes);
        let (metadata, sort_hint, order) = (metadata.clone(), plan.sort_hint.clone(), order.clone());
        Out::open(output, Make { metadata, sort_hint, order, workers, ..make }, sizes.waiting_bytes)
    };
    let outputs = plan.outputs.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    let mut compiled = Compiled::new(plan, n_sources, mixing, &sample)?;
    // Text outputs with types (NDJSON of CSV) cannot take back a number that should have been text;
    // where the source can be read twice, it is.
    let full = reading.full || plan.schema.from == SchemaFrom::Auto && compiled.types_fixed && mixing == Mixing::Text;
    let evolves = compiled.policy == SchemaPolicy::Evolve;
    compiled.may_start_over = reading.re_readable && !somebody_watches && evolves && !full;
    let schema = match again {
        Some(again) if full => full_schema(&compiled, again, control)?,
        _ => schema_of_sample(&compiled, &sample),
    };
    let schema = compiled.initial_schema(schema)?;
    // A step that does not go with them says so itself.
    if let Ok(columns) = compiled.columns_after_steps(&schema, compiled.step_options()) {
        compiled.check_divisions(&columns)?;
    }
    compiled.publish(Arc::new(schema));

    let rejects = plan.rejects.as_deref().map(Rejects::new);
    let compiled = Arc::new(compiled);
    let writer = Writer::new(&compiled, outputs, rejects, control);
    let (totals, finished) = match with_workers(&compiled, reader, sample, &pool, |pieces| writer.run(pieces))? {
        Err(error @ Error::Schema { .. })
            if reading.re_readable && !somebody_watches && compiled.policy == SchemaPolicy::Evolve =>
        {
            return Err(Stop::StartOver(error));
        }
        result => result?,
    };
    Ok(Report {
        rows_in: totals.rows_in,
        rows_written: totals.rows_written,
        rows_filtered: totals.rows_filtered,
        rows_queried: None,
        rows_added: totals.rows_added,
        rows_rejected: totals.rows_rejected,
        bytes_in: control.bytes_read(),
        bytes_out: control.bytes_written(),
        duplicate_keys: totals.duplicate_keys,
        utf8_replaced: totals.utf8_replaced,
        cells_changed: totals.sheet.cells_changed(),
        elapsed: Duration::ZERO,
        schema: finished.columns,
        files: finished.files,
        rejects: finished.rejects,
        stopped_early: totals.stopped_early,
        reached_limit: totals.reached_limit,
        notes: totals.notes.into_iter().chain(order.note()).collect(),
    })
}

/// The schema of the first records. Nothing else is at work yet, so all cores look.
fn schema_of_sample(compiled: &Compiled, sample: &[Item]) -> Schema {
    let join = |schema: Schema, seen: Schema| schema.join(&seen, compiled.mixing);
    let look = |items: &[Item]| items.iter().map(|item| compiled.seen_in_item(item)).fold(Schema::default(), join);
    std::thread::scope(|scope| {
        let (mine, others) = sample.split_at(sample.len().div_ceil(compiled.workers));
        let share = others.len().div_ceil(compiled.workers.max(2) - 1).max(1);
        let others: Vec<_> = others.chunks(share).map(|items| scope.spawn(move || look(items))).collect();
        let mine = look(mine);
        // In order, which is that of the columns.
        let schemas = others.into_iter().map(|other| other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        schemas.fold(mine, join)
    })
}

/// The schema of every record of `sources`, by all workers.
fn full_schema(compiled: &Compiled, sources: Vec<Source>, control: &Control) -> Result<Schema, Error> {
    // What is read here is read again: it must not count twice.
    let quiet = control.without_counters();
    let mut schema = Schema::default();
    each_item(
        compiled,
        sources,
        &quiet,
        |item| compiled.seen_in_item(item),
        |seen| {
            schema = schema.join(&seen, compiled.mixing);
        },
    )?;
    Ok(schema)
}

/// Reads all of `sources`, has the workers look at the items, and gives what they make of them to
/// `fold`, in order.
pub(super) fn each_item<T: Send>(
    compiled: &Compiled,
    sources: Vec<Source>,
    control: &Control,
    look: impl Fn(&Item) -> T + Sync,
    mut fold: impl FnMut(T),
) -> Result<(), Error> {
    let pool = BufferPool::new(compiled.limits.morsel_bytes, compiled.workers * 4);
    let mut reader = Reader::new(sources, &compiled.limits, false, pool.clone(), control);
    let (to_workers, items) = bounded::<(u64, Item)>(compiled.workers * 2);
    let (found, looked_at) = unbounded::<(u64, T)>();
    let look = &look;
    std::thread::scope(|scope| {
        for _ in 0..compiled.workers {
            let (items, found, pool) = (items.clone(), found.clone(), pool.clone());
            scope.spawn(move || {
                for (index, item) in items {
                    // There are no more of these than the loop below lets be on their way.
                    let _ = found.send((index, look(&item)));
                    if let Item::Morsel(morsel, _) = item {
                        pool.recycle(morsel.bytes);
                    }
                }
            });
        }
        drop((items, found));
        let at_once = compiled.workers as u64 * 8;
        let (mut sent, mut folded) = (0, 0);
        let mut early = BTreeMap::new();
        let mut in_order = |index, seen| {
            early.insert(index, seen);
            while let Some(seen) = early.remove(&folded) {
                folded += 1;
                fold(seen);
            }
            folded
        };
        let mut done = 0;
        while let Some(item) = reader.next()? {
            while sent - done >= at_once {
                let Ok((index, seen)) = looked_at.recv() else { return Err(no_looker()) };
                done = in_order(index, seen);
            }
            if to_workers.send((sent, item)).is_err() {
                return Err(no_looker());
            }
            sent += 1;
            for (index, seen) in looked_at.try_iter() {
                done = in_order(index, seen);
            }
        }
        drop(to_workers);
        for (index, seen) in looked_at.iter() {
            done = in_order(index, seen);
        }
        if done == sent { Ok(()) } else { Err(no_looker()) }
    })
}

fn no_looker() -> Error {
    Error::Bug("a thread that looks for the schema is gone".into())
}

/// The same file again.
pub(super) fn read_again(source: &Source) -> Source {
    let Input::File(path) = &source.input else { unreachable!("only files are read twice") };
    Source {
        name: source.name.clone(),
        input: Input::File(path.clone()),
        format: source.format,
        delimiter: source.delimiter,
        compression: source.compression,
        expected_rows: source.expected_rows,
    }
}

/// The first items, up to so many bytes of records. Where somebody watches the output, the
/// first records are all that is waited for.
fn take_sample(reader: &mut Reader, sample_bytes: usize, somebody_watches: bool) -> Result<Vec<Item>, Error> {
    let mut sample = Vec::new();
    let mut bytes = 0;
    while bytes < sample_bytes {
        let Some(item) = reader.next()? else { break };
        let is_morsel = match &item {
            Item::Morsel(morsel, _) => {
                bytes += morsel.len;
                true
            }
            // All that there is to know is in the first.
            Item::Rows(..) => {
                sample.push(item);
                break;
            }
            _ => false,
        };
        sample.push(item);
        if somebody_watches && is_morsel {
            break;
        }
    }
    Ok(sample)
}

/// [`take_sample`] on a thread of its own: a cancel must end the wait for a source that has
/// nothing to say. The thread then stays behind in its read, and holds nothing that is missed.
pub(super) fn sample_aside(
    mut reader: Reader,
    sample_bytes: usize,
    somebody_watches: bool,
    control: &Control,
) -> Result<(Reader, Vec<Item>), Error> {
    let (done, sampled) = bounded(1);
    std::thread::Builder::new()
        .name("sample".into())
        .spawn(move || {
            let sample = take_sample(&mut reader, sample_bytes, somebody_watches);
            // Nobody takes it after a cancel.
            let _ = done.send((reader, sample));
        })
        .map_err(|e| Error::Bug(format!("cannot start a thread: {e}")))?;
    loop {
        match sampled.recv_timeout(CANCEL_POLL) {
            Ok((reader, sample)) => return Ok((reader, sample?)),
            Err(RecvTimeoutError::Timeout) if control.is_cancelled() => return Err(Error::Cancelled),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(Error::Bug("the reader broke down".into())),
        }
    }
}

/// Runs reader and workers, and `consume` on this thread with what they make.
fn with_workers<T>(
    compiled: &Arc<Compiled>,
    reader: Reader,
    sample: Vec<Item>,
    pool: &BufferPool,
    consume: impl FnOnce(&Receiver<Piece>) -> T,
) -> Result<T, Error> {
    let sizes = Sizes::of(&compiled.limits, compiled.workers);
    let group_bytes = match (compiled.has_row_groups(), compiled.has_rows()) {
        (true, false) => sizes.part_bytes,
        // The text of a group is handed over with it; what is larger would keep others waiting.
        (true, true) => sizes.part_bytes.min(MAX_PART_BYTES_WITH_TEXT),
        (false, _) => 0,
    };
    let budget = Budget::new(sizes.in_flight_bytes);
    // A slot more than workers keeps them busy while the writer appends.
    let slots = Budget::new(match compiled.has_row_groups() {
        true => compiled.workers as u64 + 1,
        false => compiled.workers as u64 * 4,
    });
    let (groups, tasks) = bounded::<Group>(0);
    let (finished, pieces) = bounded::<Piece>(compiled.workers * 2);
    let (quit, quitting) = bounded::<()>(0);

    let feeder = Feeder {
        reader,
        sample,
        groups,
        budget: budget.clone(),
        slots: slots.clone(),
        group_bytes,
        morsel_bytes: compiled.limits.morsel_bytes,
        workers: compiled.workers,
    };
    std::thread::Builder::new()
        .name("reader".into())
        .spawn(move || feeder.run())
        .map_err(|e| Error::Bug(format!("cannot start a thread: {e}")))?;
    let workers: Vec<_> = (0..compiled.workers)
        .map(|i| {
            let worker = Worker::new(compiled, pool);
            let (tasks, finished, quitting) = (tasks.clone(), finished.clone(), quitting.clone());
            std::thread::Builder::new()
                .name(format!("worker-{i}"))
                .spawn(move || work(worker, &tasks, &finished, &quitting))
        })
        .collect::<Result<_, _>>()
        .map_err(|e| Error::Bug(format!("cannot start a thread: {e}")))?;
    drop((tasks, finished, quitting));

    let result = consume(&pieces);
    // Whatever the reason to stop: nobody may wait any longer.
    drop((pieces, quit));
    budget.close();
    slots.close();
    compiled.turn.end();
    for worker in workers {
        worker.join().map_err(|_| Error::Bug("a worker could not be joined".into()))?;
    }
    Ok(result)
}

/// The reader's thread: cuts the items into groups.
struct Feeder {
    reader: Reader,
    sample: Vec<Item>,
    groups: Sender<Group>,
    budget: Budget,
    slots: Budget,
    /// Input bytes after which a group is closed.
    group_bytes: usize,
    morsel_bytes: usize,
    workers: usize,
}

impl Feeder {
    /// Ends quietly when nobody takes its groups any more.
    fn run(self) {
        let _ = self.feed();
    }

    fn feed(mut self) -> Option<()> {
        let mut sample = std::mem::take(&mut self.sample).into_iter();
        let mut index = 0;
        let mut item = next_item(&mut sample, &mut self.reader);
        while let Some(first) = item.take() {
            let slot = self.slots.take(1)?;
            // Unbounded in number, bounded in bytes: every morsel in it holds a permit.
            let (sender, items) = unbounded();
            self.groups.send(Group { index, slot, items }).ok()?;
            index += 1;
            let group_bytes = self.bytes_of_next_group();
            let mut bytes = 0;
            let mut current = Some(first);
            while let Some(next) = current.take() {
                let (size, ends) = match &next {
                    Ok(Item::Morsel(morsel, _)) => (morsel.len, false),
                    Ok(Item::Rows(batch, _)) => (batch.memory_size(), false),
                    Ok(_) => (0, false),
                    Err(_) => (0, true),
                };
                let permit = if size > 0 { Some(self.budget.take(size as u64)?) } else { None };
                sender.send(InFlight { value: next, permit }).ok()?;
                if ends {
                    return Some(());
                }
                bytes += size;
                if bytes >= group_bytes {
                    // Closed before the next read, which may have to wait for a slow source.
                    drop(sender);
                    item = next_item(&mut sample, &mut self.reader);
                    break;
                }
                current = next_item(&mut sample, &mut self.reader);
            }
        }
        Some(())
    }

    /// Towards the end groups become smaller, so that all workers come to theirs at about the same time.
    fn bytes_of_next_group(&self) -> usize {
        let half_of_a_share = self.reader.bytes_left().map(|left| left / (2 * self.workers as u64));
        let most = half_of_a_share.and_then(|half| usize::try_from(half).ok()).unwrap_or(usize::MAX);
        self.group_bytes.min(most.max(self.morsel_bytes))
    }
}

fn next_item(sample: &mut std::vec::IntoIter<Item>, reader: &mut Reader) -> Option<Result<Item, Error>> {
    match sample.next() {
        Some(item) => Some(Ok(item)),
        None => reader.next().transpose(),
    }
}

/// A worker's thread: group after group, until there is none or nobody wants the pieces.
fn work(mut worker: Worker, tasks: &Receiver<Group>, finished: &Sender<Piece>, quitting: &Receiver<()>) {
    loop {
        let group = select! {
            recv(tasks) -> group => match group {
                Ok(group) => group,
                Err(_) => return,
            },
            recv(quitting) -> _ => return,
        };
        let index = group.index;
        let piece = match catch_unwind(AssertUnwindSafe(|| worker.run(group, quitting, finished))) {
            Ok(Some(piece)) => piece,
            Ok(None) => return,
            Err(panic) => {
                let text = panic
                    .downcast_ref::<&str>()
                    .map(|s| (*s).to_owned())
                    .or_else(|| panic.downcast_ref::<String>().cloned())
                    .unwrap_or_else(|| "a worker panicked".into());
                Piece { index, slot: None, more: false, parts: vec![Part::Failed(Error::Bug(text))] }
            }
        };
        if finished.send(piece).is_err() {
            return;
        }
    }
}
