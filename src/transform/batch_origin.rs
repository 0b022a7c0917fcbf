//! The origin of a batch: its source, and the records before it.

use std::sync::Arc;

/// The origin of the rows of a decoded batch.
#[derive(Clone, Debug, Default)]
pub struct BatchOrigin {
    /// Name of the source.
    pub source: Arc<str>,
    /// Id of the run whose result the source is; `None` for other sources.
    pub run: Option<Arc<str>>,
    /// Records of all sources before the batch, rejected ones included. Known only to steps that see all rows in order.
    pub records_before: u64,
}
