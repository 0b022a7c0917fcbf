//! Paths and headers of the API, used by the client's requests and by the service's router alike.

/// Header that carries the API key.
pub const API_KEY_HEADER: &str = "x-api-key";
/// Header with the idempotency key, which makes a start safe to retry.
pub const IDEMPOTENCY_KEY_HEADER: &str = "idempotency-key";

/// `GET` lists all workflows, without their definitions.
pub const LIST_WORKFLOWS: &str = "/workflows";
/// `POST` creates a workflow.
pub const CREATE_WORKFLOW: &str = "/workflows/create_workflow";
/// `POST ?workflow_id=` updates a workflow, or creates it.
pub const UPDATE_WORKFLOW: &str = "/workflows/update_workflow";
/// `POST ?workflow_id=` deletes a workflow; its runs are kept.
pub const DELETE_WORKFLOW: &str = "/workflows/delete_workflow";
/// `GET` returns one workflow with its definition.
pub const GET_WORKFLOW: &str = "/workflows/{workflow_id}";
/// `GET` lists the block types with the schemas of their specs.
pub const LIST_BLOCKS: &str = "/workflows/blocks";
/// `POST ?workflow_id=` starts a run.
pub const RUN_WORKFLOW: &str = "/workflows/run";
/// `GET` lists runs, newest first.
pub const LIST_RUNS: &str = "/workflows/runs";
/// `GET` returns the state and progress of a run.
pub const LIVE_STATUS: &str = "/workflows/runs/{run_id}/live_status";
/// `POST` cancels a run.
pub const CANCEL_RUN: &str = "/workflows/cancel";
/// `GET ?format=` lists signed links to a run's result files.
pub const DOWNLOAD_LINKS: &str = "/workflows/runs/{run_id}/results/download-links";
/// `POST` of a multipart form uploads an input file and returns its handle.
pub const UPLOAD_FILE: &str = "/storage/csv/upload";
/// `POST` of a multipart form starts a job that enriches every person of a file.
pub const BULK_PEOPLE: &str = "/bulk-intelligence/people";
/// `POST` of a multipart form starts a job that enriches every company of a file.
pub const BULK_COMPANY: &str = "/bulk-intelligence/company";
/// `GET` returns the state of a bulk job, with its links once it has completed.
pub const JOB_STATUS: &str = "/job-status/{task_id}";
/// `GET`, `POST` and `DELETE` show, create and delete the signing secret of outgoing webhooks.
pub const SIGNING_SECRET: &str = "/webhooks/signing-secret";
/// `POST` replaces the signing secret; both secrets sign for the overlap.
pub const ROLL_SIGNING_SECRET: &str = "/webhooks/signing-secret/roll";

/// `GET` lists schedules, `POST` creates one.
pub const SCHEDULES: &str = "/schedules";
/// `GET`, `PATCH` and `DELETE` return, change and delete a schedule.
pub const SCHEDULE: &str = "/schedules/{schedule_id}";
/// `GET` returns the credits of the account.
pub const CHECK_BALANCE: &str = "/check-balance";
/// `GET ?resource_handle_id=` returns a link to an uploaded file or to the results of a search.
pub const SEARCH_DOWNLOAD: &str = "/search/download";
/// `POST` starts a search by a query in natural language.
pub const START_DEEP_SEARCH: &str = "/search/start-deep-search";
/// `GET` returns the state of a deep search.
pub const DEEP_SEARCH_STATUS: &str = "/search/deep-search-status/{task_id}";
/// `GET` returns the same; the path of earlier clients.
pub const SEARCH_STATUS: &str = "/search/status/{task_id}";
/// `POST` enriches one person and waits for the result.
pub const PEOPLE_INTELLIGENCE: &str = "/people-intelligence";
/// `POST` starts a job that enriches one person.
pub const PEOPLE_INTELLIGENCE_ASYNC: &str = "/people-intelligence-async";
/// `POST` enriches one company and waits for the result.
pub const COMPANY_INTELLIGENCE: &str = "/company-intelligence";
/// `POST` starts a job that enriches one company.
pub const COMPANY_INTELLIGENCE_ASYNC: &str = "/company-intelligence-async";
/// Former name of [`PEOPLE_INTELLIGENCE`].
pub const ENRICH_LEAD: &str = "/enrich-lead";
/// Former name of [`PEOPLE_INTELLIGENCE_ASYNC`].
pub const ENRICH_LEAD_ASYNC: &str = "/enrich-lead-async";
/// Former name of [`COMPANY_INTELLIGENCE`].
pub const ENRICH_COMPANY: &str = "/enrich-company";
/// Former name of [`COMPANY_INTELLIGENCE_ASYNC`].
pub const ENRICH_COMPANY_ASYNC: &str = "/enrich-company-async";
/// `POST` starts a session of an interactive workflow with a source block.
pub const START_INTERACTIVE: &str = "/workflows/interactive/start";
/// `POST` adds a block to a session.
pub const ADD_BLOCK: &str = "/workflows/interactive/{job_id}/add-block";
/// `POST` ends a session, which then takes no more blocks.
pub const FINISH_INTERACTIVE: &str = "/workflows/interactive/{job_id}/finish";
/// `GET` returns the state of a session.
pub const INTERACTIVE_STATE: &str = "/workflows/interactive/{job_id}/state";
/// `GET ?block_id=` returns the handle of a block's rows.
pub const INTERACTIVE_OUTPUT: &str = "/workflows/interactive/{job_id}/output";
/// `POST` saves the chain that ends in a block as a workflow.
pub const SAVE_INTERACTIVE: &str = "/workflows/interactive/{job_id}/save";

/// Replaces the `{parameter}` of `template` by `value`, percent-encoded as one path segment. Panics if the template has
/// no parameter.
pub fn with_id(template: &str, value: &str) -> String {
    let open = template.find('{').expect("a template with a parameter");
    let close = template.find('}').expect("a template with a parameter");
    let mut out = String::with_capacity(template.len() + value.len());
    out.push_str(&template[..open]);
    for byte in value.bytes() {
        // Dots of short values are encoded too: `.` and `..` would be resolved as relative segments.
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~') || (byte == b'.' && value.len() > 2) {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out.push_str(&template[close + 1..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_stays_one_path_segment() {
        assert_eq!(with_id(LIVE_STATUS, "a/../b?c"), "/workflows/runs/a%2F..%2Fb%3Fc/live_status");
        assert_eq!(with_id(GET_WORKFLOW, ".."), "/workflows/%2E%2E");
    }
}
