//! Inference of the schema from a sample or from all records, on all cores. Reads records and keeps none.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::panic::resume_unwind;

use crossbeam_channel::{bounded, unbounded};

use super::rules::SchemaRules;
use crate::column::Schema;
use crate::format::frame::BufferPool;
use crate::pipeline::error::Error;
use crate::pipeline::input::{Item, SourceReader, first_records};
use crate::pipeline::plan::Limits;
use crate::pipeline::progress::Control;
use crate::source::Source;

impl SchemaRules {
    /// Returns the columns of one item, with declared types joined in.
    pub(crate) fn columns_of_item(&self, item: &Item) -> Schema {
        self.with_declared_types(match item {
            Item::Morsel(morsel, info) => self.infer_columns(morsel, info, false).schema,
            Item::Rows(batch, _) => (*batch.schema).clone(),
            Item::SourceEnd(info) => info.header_columns(),
            Item::Oversized(..) => Schema::default(),
        })
    }
}

/// Infers the schema of the first `bytes` of records, on all cores: no other thread is at work yet. Those of `sample` behind
/// them decide on nothing: they are there only because a morsel has them.
pub(crate) fn schema_of_sample(rules: &SchemaRules, sample: &[Item], bytes: usize, workers: usize) -> Schema {
    let sample = first_records(sample, bytes);
    let join = |schema: Schema, seen: Schema| schema.join(&seen, rules.type_merge);
    let infer =
        |items: &[Cow<'_, Item>]| items.iter().map(|item| rules.columns_of_item(item)).fold(Schema::default(), join);
    std::thread::scope(|scope| {
        let (mine, others) = sample.split_at(sample.len().div_ceil(workers));
        let share = others.len().div_ceil(workers.max(2) - 1).max(1);
        let others: Vec<_> = others.chunks(share).map(|items| scope.spawn(move || infer(items))).collect();
        let mine = infer(mine);
        // Joined in the order of records, which decides the order of columns.
        let schemas = others.into_iter().map(|other| other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        schemas.fold(mine, join)
    })
}

/// Infers the schema of all records of `sources`, on all cores. Counts nothing, as the records are read again.
pub(crate) fn full_schema(
    rules: &SchemaRules,
    sources: Vec<Source>,
    limits: &Limits,
    control: &Control,
) -> Result<Schema, Error> {
    // These records are read again and must not count twice.
    let quiet = control.without_counters();
    let mut schema = Schema::default();
    infer_in_order(
        sources,
        limits,
        &quiet,
        |item| rules.columns_of_item(item),
        |seen| {
            schema = schema.join(&seen, rules.type_merge);
        },
    )?;
    Ok(schema)
}

/// Reads all of `sources`, applies `infer` to their items on worker threads, and passes the results to
/// `fold`, on this thread, in the order of the items. At most eight items per worker are in flight.
pub(super) fn infer_in_order<T: Send>(
    sources: Vec<Source>,
    limits: &Limits,
    control: &Control,
    infer: impl Fn(&Item) -> T + Sync,
    mut fold: impl FnMut(T),
) -> Result<(), Error> {
    let workers = limits.worker_count();
    let pool = BufferPool::new(limits.morsel_bytes, workers * 4);
    let mut reader = SourceReader::new(sources, limits, false, pool.clone(), control);
    let (to_workers, items) = bounded::<(u64, Item)>(workers * 2);
    let (found, inferred) = unbounded::<(u64, T)>();
    let infer = &infer;
    std::thread::scope(|scope| {
        for _ in 0..workers {
            let (items, found, pool) = (items.clone(), found.clone(), pool.clone());
            scope.spawn(move || {
                for (index, item) in items {
                    // Unbounded, yet the loop below admits at most `at_once` items; a closed channel means an error.
                    let _ = found.send((index, infer(&item)));
                    if let Item::Morsel(morsel, _) = item {
                        pool.recycle(morsel.bytes);
                    }
                }
            });
        }
        drop((items, found));
        let at_once = workers as u64 * 8;
        let (mut sent, mut folded) = (0, 0);
        // Results of later items wait here for those of earlier ones.
        let mut out_of_order = BTreeMap::new();
        let mut in_order = |index, seen| {
            out_of_order.insert(index, seen);
            while let Some(seen) = out_of_order.remove(&folded) {
                folded += 1;
                fold(seen);
            }
            folded
        };
        let mut done = 0;
        while let Some(item) = reader.next()? {
            // One slow item must not let the results behind it pile up.
            while sent - done >= at_once {
                let Ok((index, seen)) = inferred.recv() else { return Err(worker_lost()) };
                done = in_order(index, seen);
            }
            if to_workers.send((sent, item)).is_err() {
                return Err(worker_lost());
            }
            sent += 1;
            for (index, seen) in inferred.try_iter() {
                done = in_order(index, seen);
            }
        }
        drop(to_workers);
        for (index, seen) in inferred.iter() {
            done = in_order(index, seen);
        }
        if done == sent { Ok(()) } else { Err(worker_lost()) }
    })
}

fn worker_lost() -> Error {
    Error::Bug("a schema inference thread ended early".into())
}
