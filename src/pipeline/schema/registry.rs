//! The schema that all threads of an execution share. It grows in the order of records: workers start their groups from it,
//! and only the writer publishes a wider one, so that the order of columns is that of first sight whatever the workers do.

use std::sync::{Arc, RwLock};

use crate::column::Schema;

/// The shared schema.
#[derive(Debug, Default)]
pub struct SchemaRegistry(RwLock<Arc<Schema>>);

impl SchemaRegistry {
    /// A registry that starts with `schema`.
    pub fn new(schema: Schema) -> Self {
        SchemaRegistry(RwLock::new(Arc::new(schema)))
    }

    /// The schema that a worker starts its next group with.
    pub fn current(&self) -> Arc<Schema> {
        self.0.read().expect("no one panics while holding this").clone()
    }

    /// Makes a wider schema known. Called by the writer only, in the order of records.
    pub fn publish(&self, schema: Schema) {
        *self.0.write().expect("no one panics while holding this") = Arc::new(schema);
    }
}
