//! The two row types of the API: people and companies.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Type of the rows of a table; all rows of one table have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(in crate::service) enum RowType {
    /// One row per person.
    Lead,
    /// One row per company.
    Company,
}

impl RowType {
    /// Returns the value of `dataframe_type` in the API.
    pub(in crate::service) fn as_str(self) -> &'static str {
        match self {
            RowType::Lead => "LEAD",
            RowType::Company => "COMPANY",
        }
    }
}
