//! Errors of queries, in DataFusion's own words.

use datafusion::common::DataFusionError;

/// Why a query cannot be done.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct SqlError {
    /// What is wrong, in words.
    pub message: String,
    /// It had not enough memory.
    pub exhausted: bool,
}

impl SqlError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        SqlError { message: message.into(), exhausted: false }
    }
}

impl From<DataFusionError> for SqlError {
    fn from(error: DataFusionError) -> Self {
        let root = error.find_root();
        let exhausted = matches!(root, DataFusionError::ResourcesExhausted(_));
        let message = match root {
            DataFusionError::Plan(message) | DataFusionError::Execution(message) => message.clone(),
            DataFusionError::SchemaError(error, _) => error.to_string(),
            DataFusionError::ArrowError(error, _) => error.to_string(),
            other => other.strip_backtrace(),
        };
        // A message may have more lines, of which the others say the same again.
        let message = message.lines().next().unwrap_or_default().trim_end_matches(['.', ':']).to_owned();
        SqlError { message, exhausted }
    }
}
