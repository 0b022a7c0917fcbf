//! The one table of paths, used by the client to ask and by the service to answer.

/// Header that carries the API key.
pub const API_KEY_HEADER: &str = "x-api-key";
/// Header that makes a start safe to repeat.
pub const IDEMPOTENCY_KEY_HEADER: &str = "idempotency-key";

/// `GET`: all workflows, without their definitions.
pub const LIST_WORKFLOWS: &str = "/workflows";
/// `POST`: a new workflow.
pub const CREATE_WORKFLOW: &str = "/workflows/create_workflow";
/// `POST ?workflow_id=`: change a workflow, or create it.
pub const UPDATE_WORKFLOW: &str = "/workflows/update_workflow";
/// `POST ?workflow_id=`: delete a workflow; its runs are kept.
pub const DELETE_WORKFLOW: &str = "/workflows/delete_workflow";
/// `GET`: one workflow with its definition.
pub const GET_WORKFLOW: &str = "/workflows/{workflow_id}";
/// `GET`: the catalogue of blocks.
pub const LIST_BLOCKS: &str = "/workflows/blocks";
/// `POST ?workflow_id=`: start a run.
pub const RUN_WORKFLOW: &str = "/workflows/run";
/// `GET`: runs, newest first.
pub const LIST_RUNS: &str = "/workflows/runs";
/// `GET`: how far a run is.
pub const LIVE_STATUS: &str = "/workflows/runs/{run_id}/live_status";
/// `POST`: cancel a run.
pub const CANCEL_RUN: &str = "/workflows/cancel";
/// `GET ?format=`: signed links to a run's result files.
pub const DOWNLOAD_LINKS: &str = "/workflows/runs/{run_id}/results/download-links";
/// `POST`, multipart: an input file; answers with its handle.
pub const UPLOAD_FILE: &str = "/storage/csv/upload";
/// `POST`, multipart: a file of people and what to find out about each.
pub const BULK_PEOPLE: &str = "/bulk-intelligence/people";
/// `POST`, multipart: a file of companies and what to find out about each.
pub const BULK_COMPANY: &str = "/bulk-intelligence/company";
/// `GET`: how far a bulk job is; its links once it has completed.
pub const JOB_STATUS: &str = "/job-status/{task_id}";
/// `GET`, `POST`, `DELETE`: the secret that outgoing webhooks are signed with.
pub const SIGNING_SECRET: &str = "/webhooks/signing-secret";
/// `POST`: a new secret in its place; both sign for a while.
pub const ROLL_SIGNING_SECRET: &str = "/webhooks/signing-secret/roll";

/// `template` with its `{parameter}` replaced by `value`, percent-encoded as one path segment.
pub fn with_id(template: &str, value: &str) -> String {
    let open = template.find('{').expect("a template with a parameter");
    let close = template.find('}').expect("a template with a parameter");
    let mut out = String::with_capacity(template.len() + value.len());
    out.push_str(&template[..open]);
    for byte in value.bytes() {
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
