//! Errors of queries: the first line of DataFusion's message, without its prefixes.

use datafusion::arrow::error::ArrowError;
use datafusion::common::DataFusionError;

/// Error of a query.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct SqlError {
    /// Message of DataFusion, or a lowercase fragment.
    pub message: String,
    /// True if the query ran out of its memory budget.
    pub exhausted: bool,
    /// Imperative that helps against this kind of error; `None` if there is none.
    pub hint: Option<&'static str>,
}

impl SqlError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        SqlError { message: message.into(), exhausted: false, hint: None }
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
        // Further lines repeat the message or list details of DataFusion's internals.
        let message = message.lines().next().unwrap_or_default().trim_end_matches(['.', ':']).to_owned();
        let hint = match root {
            DataFusionError::ArrowError(error, _) => hint_of(error),
            _ => None,
        };
        SqlError { message, exhausted, hint }
    }
}

/// Returns the hint for the kind of an Arrow error.
fn hint_of(error: &ArrowError) -> Option<&'static str> {
    match error {
        ArrowError::CastError(_) | ArrowError::ParseError(_) => {
            Some("use TRY_CAST(a AS type), which is null for a value that cannot be cast")
        }
        ArrowError::DivideByZero => Some("divide by NULLIF(a, 0), which is null for zero"),
        _ => None,
    }
}

/// Describes an Arrow error without the values of the data that its text contains: results are personal data.
pub(super) fn without_values(error: &ArrowError) -> String {
    match error {
        ArrowError::CastError(text) => {
            // The text ends in the target type, in one of three phrasings; everything before can contain the value.
            let to = [" to value of ", " to type ", " to "].iter().find_map(|to| text.rsplit_once(to));
            let to = to.map(|(_, ty)| ty.trim_end_matches(" type").split([':', '.', '\'']).next().unwrap_or_default());
            format!("cannot cast a value to {}", to.unwrap_or("the type of its column"))
        }
        ArrowError::ParseError(text) => {
            let target = ["timestamp", "date", "time", "interval"].iter().find(|target| text.contains(*target));
            format!("cannot parse a value as {}", target.unwrap_or(&"the type of its column"))
        }
        ArrowError::ArithmeticOverflow(_) => {
            "arithmetic overflow; cast an operand to DOUBLE or a wider DECIMAL".to_owned()
        }
        ArrowError::DivideByZero => "division by zero".to_owned(),
        ArrowError::ComputeError(text) => text.split('(').next().unwrap_or_default().trim_end().to_owned(),
        other => other.to_string(),
    }
}
