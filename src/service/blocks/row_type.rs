//! The two kinds of rows that the API tells apart.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The kind of a table's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(in crate::service) enum RowType {
    /// People.
    Lead,
    /// Companies.
    Company,
}

impl RowType {
    /// The API's word.
    pub(in crate::service) fn as_str(self) -> &'static str {
        match self {
            RowType::Lead => "LEAD",
            RowType::Company => "COMPANY",
        }
    }
}
