//! The hosted service's account: the balance, and the parts of its API that this service does not offer.

use axum::Json;

use crate::api::Balance;

/// Credits of every key. Our reading: a local service charges nothing, so the balance is large and never changes; 0 would
/// stop a client that looks before it starts.
const CREDITS: f64 = 1_000_000.0;

pub(super) async fn balance() -> Json<Balance> {
    Json(Balance { credits: CREDITS })
}

/// Paths of the hosted service that are known by name only: what they take or return is in no public material that this
/// service was made from.
const NOT_OFFERED: [(&str, &str); 7] = [
    ("/api/usage", "usage is not counted"),
    ("/workflows/interactive", "interactive workflows are not offered; create a workflow and run it"),
    (
        "/search",
        "searches are not offered, except for /search/download; a workflow with a `search` block searches a table",
    ),
    ("/deep-search", "searches are not offered; a workflow with a `search` block searches a table"),
    (
        "/people-intelligence",
        "single requests are not offered; use /bulk-intelligence/people or a workflow with a `lead_enrichment` block",
    ),
    (
        "/company-intelligence",
        "single requests are not offered; use /bulk-intelligence/company or a workflow with a `company_enrichment` block",
    ),
    ("/schedules/active-counts", "the numbers of active schedules are not offered; list them with GET /schedules"),
];

/// Returns the reason why a path of the hosted service has no response; `None` for a path that it does not have.
pub(super) fn not_offered(path: &str) -> Option<&'static str> {
    let is_below = |start: &str| path.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    NOT_OFFERED.iter().find(|(start, _)| is_below(start)).map(|(_, text)| *text)
}
