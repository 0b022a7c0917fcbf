//! The hosted service's account: the balance, and the parts of its API that this service does not offer.

use axum::Json;

use crate::api::Balance;

/// Credits of every key. Our reading: a local service charges nothing, so the balance is large and never changes; 0 would
/// stop a client that looks before it starts.
const CREDITS: f64 = 1_000_000.0;

pub(super) async fn balance() -> Json<Balance> {
    Json(Balance { credits: CREDITS })
}

/// Paths of the hosted service that are known, but not offered: the vendor's index, or what a response contains, is in no
/// public material.
const NOT_OFFERED: [(&str, &str); 8] = [
    (
        "/api/usage",
        "usage is not offered: the response of the hosted service is described nowhere; a journal of requests is \
         at /admin/requests",
    ),
    ("/workflows/interactive", "this part of interactive workflows is not offered"),
    (
        "/search",
        "searches by filters, their exports and exclusions are not offered, because they need the index of the hosted \
         service; use /search/start-deep-search, or a workflow with a `search` and a `filter` block",
    ),
    ("/deep-search", "searches are at /search/start-deep-search"),
    ("/people-intelligence", "this path is not offered; use /people-intelligence or /people-intelligence-async"),
    ("/company-intelligence", "this path is not offered; use /company-intelligence or /company-intelligence-async"),
    ("/find-email", "this enrichment is not offered alone; use a workflow with a `find_email` block"),
    ("/schedules/active-counts", "the numbers of active schedules are not offered; list them with GET /schedules"),
];

/// Returns the reason why a path of the hosted service has no response; `None` for a path that it does not have.
pub(super) fn not_offered(path: &str) -> Option<&'static str> {
    let is_below = |start: &str| path.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    NOT_OFFERED.iter().find(|(start, _)| is_below(start)).map(|(_, text)| *text)
}
