//! The schema that all threads of an execution share: workers read it when they start an item group, and only the
//! writer publishes a wider one, in the order of records. It never narrows, and no thread waits for a change of it.
//!
//! # How a late change is followed without a restart
//!
//! The simple algorithm reads everything twice: join the types of all records, then decode all records into that
//! schema.
//!
//! ```text
//! for record in records { schema = schema.join(types of record) }
//! for record in records { output.write(decode(record, schema)) }
//! ```
//!
//! It is right for every input, and impossible for a download or a pipe. So the execution departs from it, step by
//! step:
//!
//! 1. **The first loop reads only a sample.** Its schema is a guess. A later record may have a new key or a value of a
//!    wider type; the decoder then returns a schema mismatch with the wider schema instead of rows.
//! 2. **The worker that meets the mismatch widens alone.** It joins its own copy, closes its open row groups (a row
//!    group has one schema), and decodes the same morsel again. No row of that morsel was encoded before, so none is
//!    lost or doubled. Other workers continue with the schema that they started with: their rows are narrower, which is
//!    harmless, since `narrow.join(wide)` is `wide`. A group that started before the change was published repeats one
//!    decode at most per widening.
//! 3. **The writer publishes, not the worker.** Every result carries the schema that its records were decoded with. The
//!    writer takes results in the order of records and joins these schemas, so that the columns are in the order of
//!    first sight for any number and any speed of workers. If workers published, the order of columns would be a race.
//! 4. **Earlier rows are not touched until the end.** A file gets its header or footer, and the columns that it lacks,
//!    when it is finished: nulls are added to old row groups, CSV is copied once with the new columns. The cost is one
//!    rewrite of a file, not one per change. Types only widen, along chains of a few steps, so that the changes are
//!    few.
//! 5. **Some changes cannot be followed.** A stream cannot be rewritten; a CSV cell that was read as a number has lost
//!    its original text. A worker checks its own widening (`SchemaRules::forbidden_change`). The writer has to check
//!    again: two workers may each widen in an allowed way, and only the join of the two is forbidden.
//!
//! If either check fails, `run` repeats the pass by the simple algorithm, if all sources are files or streams that were
//! kept, no output is live and the policy is to evolve.

use std::sync::{Arc, RwLock};

use crate::column::Schema;

/// The shared schema. It is the join of all schemas published so far.
#[derive(Debug, Default)]
pub(crate) struct SchemaRegistry(RwLock<Arc<Schema>>);

impl SchemaRegistry {
    /// Creates a registry that starts with `schema`, from the sample or from all records.
    pub(crate) fn new(schema: Schema) -> Self {
        SchemaRegistry(RwLock::new(Arc::new(schema)))
    }

    /// Returns the schema that a worker starts its next item group with. Locks only to clone a pointer.
    pub(crate) fn current(&self) -> Arc<Schema> {
        self.0.read().expect("no one panics while holding this").clone()
    }

    /// Replaces the schema by a wider one. Called by the writer only, in the order of records.
    pub(crate) fn publish(&self, schema: Schema) {
        *self.0.write().expect("no one panics while holding this") = Arc::new(schema);
    }
}
