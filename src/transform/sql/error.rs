//! Errors of queries, in DataFusion's own words.

use datafusion::arrow::error::ArrowError;
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
            DataFusionError::ArrowError(error, _) => without_values(error),
            other => other.strip_backtrace(),
        };
        // A message may have more lines, of which the others say the same again.
        let message = message.lines().next().unwrap_or_default().trim_end_matches(['.', ':']).to_owned();
        SqlError { message, exhausted }
    }
}

/// Arrow's error in words that hold no value of the data: results are personal.
pub(super) fn without_values(error: &ArrowError) -> String {
    match error {
        ArrowError::CastError(text) => {
            let to = [" to value of ", " to type ", " to "].iter().find_map(|to| text.rsplit_once(to));
            let to = to.map(|(_, ty)| ty.trim_end_matches(" type").split([':', '.', '\'']).next().unwrap_or_default());
            format!("cannot cast a value to {}", to.unwrap_or("the type of its column"))
        }
        ArrowError::ParseError(_) => "cannot parse a value".to_owned(),
        ArrowError::ArithmeticOverflow(_) => {
            "arithmetic overflow; cast an operand to DOUBLE or a wider DECIMAL".to_owned()
        }
        ArrowError::DivideByZero => "division by zero".to_owned(),
        ArrowError::ComputeError(text) => text.split('(').next().unwrap_or_default().trim_end().to_owned(),
        other => other.to_string(),
    }
}
