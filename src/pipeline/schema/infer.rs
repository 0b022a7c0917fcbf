//! The schema of a sample, or of everything, by all workers. Rows are looked at, never kept.

use std::collections::BTreeMap;
use std::panic::resume_unwind;

use crossbeam_channel::{bounded, unbounded};

use super::rules::SchemaRules;
use crate::column::Schema;
use crate::format::frame::BufferPool;
use crate::pipeline::error::Error;
use crate::pipeline::input::{Item, SourceReader};
use crate::pipeline::plan::Limits;
use crate::pipeline::progress::Control;
use crate::source::Source;

impl SchemaRules {
    /// The columns that one item has.
    pub fn seen_in_item(&self, item: &Item) -> Schema {
        self.with_declared_types(match item {
            Item::Morsel(morsel, info) => self.infer_columns(morsel, info, false).schema,
            Item::Rows(batch, _) => (*batch.schema).clone(),
            Item::SourceEnd(info) => info.header_columns(),
            Item::Oversized(..) => Schema::default(),
        })
    }
}

/// The schema of the first records. Nothing else is at work yet, so all cores look.
pub fn schema_of_sample(rules: &SchemaRules, sample: &[Item], workers: usize) -> Schema {
    let join = |schema: Schema, seen: Schema| schema.join(&seen, rules.type_merge);
    let look = |items: &[Item]| items.iter().map(|item| rules.seen_in_item(item)).fold(Schema::default(), join);
    std::thread::scope(|scope| {
        let (mine, others) = sample.split_at(sample.len().div_ceil(workers));
        let share = others.len().div_ceil(workers.max(2) - 1).max(1);
        let others: Vec<_> = others.chunks(share).map(|items| scope.spawn(move || look(items))).collect();
        let mine = look(mine);
        // In order, which is that of the columns.
        let schemas = others.into_iter().map(|other| other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        schemas.fold(mine, join)
    })
}

/// The schema of every record of `sources`, by all workers.
pub fn full_schema(
    rules: &SchemaRules,
    sources: Vec<Source>,
    limits: &Limits,
    control: &Control,
) -> Result<Schema, Error> {
    // What is read here is read again: it must not count twice.
    let quiet = control.without_counters();
    let mut schema = Schema::default();
    each_item(
        sources,
        limits,
        &quiet,
        |item| rules.seen_in_item(item),
        |seen| {
            schema = schema.join(&seen, rules.type_merge);
        },
    )?;
    Ok(schema)
}

/// Reads all of `sources`, has the workers look at the items, and gives what they make of them to
/// `fold`, in order.
pub fn each_item<T: Send>(
    sources: Vec<Source>,
    limits: &Limits,
    control: &Control,
    look: impl Fn(&Item) -> T + Sync,
    mut fold: impl FnMut(T),
) -> Result<(), Error> {
    let workers = limits.worker_count();
    let pool = BufferPool::new(limits.morsel_bytes, workers * 4);
    let mut reader = SourceReader::new(sources, limits, false, pool.clone(), control);
    let (to_workers, items) = bounded::<(u64, Item)>(workers * 2);
    let (found, looked_at) = unbounded::<(u64, T)>();
    let look = &look;
    std::thread::scope(|scope| {
        for _ in 0..workers {
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
        let at_once = workers as u64 * 8;
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
                let Ok((index, seen)) = looked_at.recv() else { return Err(lost_thread()) };
                done = in_order(index, seen);
            }
            if to_workers.send((sent, item)).is_err() {
                return Err(lost_thread());
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
        if done == sent { Ok(()) } else { Err(lost_thread()) }
    })
}

fn lost_thread() -> Error {
    Error::Bug("a thread that looks for the schema is gone".into())
}
