use std::fs;
use std::path::Path;

use serde_json::json;

use super::*;
use crate::api::{Graph, HandleId, RunId, WorkflowId};

fn state() -> (tempfile::TempDir, StateDir) {
    let directory = tempfile::tempdir().unwrap();
    let state = StateDir::open(&directory.path().join("deep/state")).unwrap();
    (directory, state)
}

fn identity(workflow: &str, input: Option<(&str, &str)>, payload: Option<&str>) -> StartIdentity {
    StartIdentity::new(
        "http://api.test",
        StartSubject::Workflow { name: "Name/../x", id: &WorkflowId(workflow.into()) },
        input,
        payload,
    )
}

fn files(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn one_identity_has_one_record() {
    let all = [
        identity("w1", None, None),
        identity("w2", None, None),
        identity("w1", Some(("d1", "csv")), None),
        identity("w1", Some(("d1", "ndjson")), None),
        identity("w1", Some(("d2", "csv")), None),
        identity("w1", None, Some("[]")),
        identity("w1", None, Some("{}")),
    ];
    let digests: std::collections::HashSet<_> = all.iter().map(StartIdentity::digest).collect();
    assert_eq!(digests.len(), all.len());
    assert_eq!(identity("w1", None, Some("[]")).digest(), all[5].digest());

    let (_folder, state) = state();
    let mut slot = state.start(&all[2]).unwrap();
    assert!(slot.previous().unwrap().is_none());
    let mut start = RecordedStart::new(&all[2], &WorkflowId("w1".into()), Some(HandleId("h1".into())), None);
    slot.save(&start).unwrap();
    drop(slot);
    let before = state.start(&all[2]).unwrap().previous().unwrap().unwrap();
    assert_eq!((&before.key, &before.input, &before.run), (&start.key, &start.input, &None));
    assert!(before.age() < std::time::Duration::from_secs(60));
    assert!(state.start(&all[3]).unwrap().previous().unwrap().is_none());
    let mut slot = state.start(&all[2]).unwrap();
    slot.previous().unwrap().unwrap();
    start.run = Some(RunId("r1".into()));
    slot.save(&start).unwrap();
    slot.forget().unwrap();
    slot.forget().unwrap();
    drop(slot);
    assert!(state.start(&all[2]).unwrap().previous().unwrap().is_none());
    // An invalid time stamp counts as long ago, and is no error.
    start.asked_at = "yesterday".into();
    assert_eq!(start.age(), std::time::Duration::MAX);
}

/// The digest that drawoff at commit f7572b3 gave to a start, from its state directory.
#[test]
fn the_first_form_of_an_identity_is_recognized() {
    let graph: Graph = serde_json::from_str(
        r#"{"edges": [{"from_block_id": "a", "to_block_id": "b"}], "blocks": [
            {"sequence_number": 1, "block_type": "io", "block_name": "webhook", "block_id": "a", "specs": {
                "dataframe_type": "LEAD",
                "input_schema": {"full_name": "string",
                    "email": {"type": "string", "required": false, "description": "Work address"},
                    "score": {"type": "int", "required": false}, "tags": {"type": "list[str]", "required": false}}}},
            {"sequence_number": 2, "block_type": "transform", "block_name": "filter", "block_id": "b", "specs": {
                "filters": [{"column": "email", "operator": "matches", "value": "^[^@ ]+@[^@ ]+$"},
                            {"column": "score", "operator": "greater", "value": 10, "logic": "and"}]}}]}"#,
    )
    .unwrap();
    let id = WorkflowId("755eb783-82a0-40f3-a0f7-71780e1a065e".into());
    let payload: serde_json::Value =
        serde_json::from_str(r#"[{"full_name":"A","email":"a@x.example","score":11}]"#).unwrap();
    let subject = StartSubject::Definition { name: "Webhook leads", digest: "" };
    let identity = StartIdentity::new("http://127.0.0.1:18064", subject, None, Some(&payload.to_string()));
    let digest = "1a28e01a019167192700c0bbf0f99404cda86ef338d789c20a925eb3134cae6b";
    assert_eq!(identity.earlier_form_digest(&id, &graph), digest);
}

#[test]
fn the_digest_of_a_graph_does_not_depend_on_order() {
    let graph = |text: &str| serde_json::from_str::<Graph>(text).unwrap();
    let block = |id: &str, number: i64, specs: &str| {
        format!(
            r#"{{"sequence_number":{number},"block_type":"io","block_name":"b","block_id":"{id}","specs":{specs}}}"#
        )
    };
    let one = graph(&format!(
        r#"{{"blocks":[{},{}],"edges":[{{"from_block_id":"a","to_block_id":"b"}}]}}"#,
        block("a", 1, r#"{"x":1,"y":{"p":1,"q":2}}"#),
        block("b", 2, "{}")
    ));
    let other = graph(&format!(
        r#"{{"blocks":[{},{}],"edges":[{{"from_block_id":"i","to_block_id":"j"}}]}}"#,
        block("j", 2, "{}"),
        block("i", 1, r#"{"y":{"q":2,"p":1},"x":1}"#)
    ));
    assert_eq!(crate::client::graph_digest(&one), crate::client::graph_digest(&other));
    let changed = graph(&format!(r#"{{"blocks":[{}],"edges":[]}}"#, block("a", 1, r#"{"x":2}"#)));
    assert_ne!(crate::client::graph_digest(&one), crate::client::graph_digest(&changed));
}

#[test]
fn a_lock_names_its_owner_and_ends_with_it() {
    let (_folder, state) = state();
    let run = RunId("r/../../1".into());
    let held = state.ledger("http://api.test", &run).unwrap();
    let error = state.ledger("http://api.test", &run).unwrap_err();
    let pid = std::process::id();
    assert_eq!(error.to_string(), format!("run r/../../1 is locked by another drawoff process (pid {pid})"));
    state.ledger("http://other.test", &run).unwrap();
    drop(held);
    let mut again = state.ledger("http://api.test", &run).unwrap();
    again.save().unwrap();
    // A run id from the API must not lead to another directory.
    let names = files(&state.root().join("runs"));
    assert!(names.iter().all(|name| name.starts_with("r_______1-")), "{names:?}");
    assert_eq!(names.iter().filter(|name| name.ends_with(".json")).count(), 1, "{names:?}");
}

fn output_ledger(state: &StateDir, path: &Path, plan: &str) -> OpenLedger {
    let mut open = state.ledger("http://api.test", &RunId("r1".into())).unwrap();
    open.begin(&[path.to_owned()], plan.into(), Vec::new(), None);
    open.save().unwrap();
    open
}

#[test]
fn an_output_is_complete_only_while_its_files_are_unchanged() {
    let (directory, state) = state();
    let path = directory.path().join("out.csv");
    fs::write(&path, "a\n1\n").unwrap();
    let mut open = output_ledger(&state, &path, "p1");
    let paths = [path.clone()];
    let is_complete = |open: &OpenLedger, plan: &str| open.output(&paths).unwrap().intact_output(plan).is_some();
    assert!(!is_complete(&open, "p1"), "begun, but not complete");
    let mut done = CompletedOutput::of(paths.clone()).unwrap();
    open.current().unwrap().done = Some(done.clone());
    assert!(is_complete(&open, "p1"), "by size and time");
    assert!(!is_complete(&open, "p2"), "another plan");
    done.digest().unwrap();
    open.current().unwrap().done = Some(done);
    open.save().unwrap();
    drop(open);
    let mut open = state.ledger("http://api.test", &RunId("r1".into())).unwrap();
    assert!(is_complete(&open, "p1"), "by its digest");
    fs::write(&path, "a\n1\n").unwrap();
    assert!(is_complete(&open, "p1"), "touched, but the same");
    fs::write(&path, "a\n2\n").unwrap();
    assert!(!is_complete(&open, "p1"), "changed");
    fs::write(&path, "a\n1\n").unwrap();
    let rejects = RejectsRecord { path: directory.path().join("gone"), sha256: String::new() };
    open.current().unwrap().done.as_mut().unwrap().rejects = Some(rejects);
    assert!(!is_complete(&open, "p1"), "its rejects are gone");
    fs::remove_file(&path).unwrap();
    assert!(!is_complete(&open, "p1"));
}

#[test]
fn outputs_of_one_pass_are_complete_only_together() {
    let (directory, state) = state();
    let paths = ["a.csv", "b"].map(|name| directory.path().join(name));
    fs::create_dir(&paths[1]).unwrap();
    let files = ["a.csv", "b/part-00001.csv", "b/_SUCCESS"].map(|name| directory.path().join(name));
    let write_all = || files.iter().for_each(|file| fs::write(file, "x").unwrap());
    write_all();
    let mut open = state.ledger("http://api.test", &RunId("r1".into())).unwrap();
    open.begin(&paths, "p1".into(), Vec::new(), None);
    let mut done = CompletedOutput::of(files.clone()).unwrap();
    done.digest().unwrap();
    assert_eq!(done.bytes(), 3);
    open.current().unwrap().done = Some(done);
    open.save().unwrap();
    drop(open);
    let open = state.ledger("http://api.test", &RunId("r1".into())).unwrap();
    let is_complete = || open.output(&paths).unwrap().intact_output("p1").is_some();
    assert!(is_complete());
    for file in &files {
        fs::remove_file(file).unwrap();
        assert!(!is_complete(), "{} is gone", file.display());
        write_all();
    }
    // A subset of the paths, or another order, is another output.
    assert!(open.output(&paths[..1]).is_none());
    assert!(open.output(&[paths[1].clone(), paths[0].clone()]).is_none());
    assert!(CompletedOutput::of([directory.path().join("gone")]).is_none());
}

#[test]
fn bytes_that_are_downloaded_again_are_counted() {
    let (directory, state) = state();
    let path = directory.path().join("out.csv");
    let mut open = output_ledger(&state, &path, "p1");
    for (bytes, expected) in [(100, 100), (50, 150)] {
        open.current().unwrap().position = FileProgress { bytes, rows: 1 };
        open.begin(std::slice::from_ref(&path), "p1".into(), Vec::new(), None);
        assert_eq!(open.current().unwrap().repeated_bytes, expected);
    }
    assert_eq!((open.ledger.outputs.len(), open.current().unwrap().attempts), (1, 3));
    // Another plan is another output, without earlier attempts.
    open.current().unwrap().position.bytes = 7;
    open.begin(std::slice::from_ref(&path), "p2".into(), Vec::new(), None);
    let begun = open.current().unwrap();
    assert_eq!((begun.repeated_bytes, begun.attempts), (0, 1));
}

#[test]
fn a_link_is_stored_without_its_query() {
    let link: crate::api::DownloadLink = serde_json::from_value(json!({
        "filename": "a.csv", "storage_bucket": "b", "block_number": 2, "row_count": 3,
        "download_url": "https://u:marked-1@files.test/a/b.csv?sig=marked-2#marked-3",
    }))
    .unwrap();
    let seen = SeenLink::of(&link, "csv");
    assert_eq!(seen.address.as_deref(), Some("https://files.test/a/b.csv"));
    assert!(!serde_json::to_string(&seen).unwrap().contains("marked"));
    let malformed = crate::api::DownloadLink { download_url: Some("//marked-4".into()), ..link };
    assert!(!serde_json::to_string(&SeenLink::of(&malformed, "csv")).unwrap().contains("marked"));
}

#[test]
fn a_damaged_ledger_is_renamed_and_a_newer_one_is_refused() {
    let (directory, state) = state();
    let path = directory.path().join("out.csv");
    drop(output_ledger(&state, &path, "p1"));
    let runs = state.root().join("runs");
    let file = runs.join(files(&runs).into_iter().find(|name| name.ends_with(".json")).unwrap());
    let text = fs::read_to_string(&file).unwrap();
    let run = RunId("r1".into());
    // Truncated at any byte the file is damaged; no prefix of it is taken for a ledger.
    for end in (0..text.trim_end().len()).step_by(5) {
        fs::write(&file, &text[..end]).unwrap();
        let open = state.ledger("http://api.test", &run).unwrap();
        assert!(open.ledger.outputs.is_empty());
        let aside = open.damaged_copy.unwrap();
        assert_eq!(fs::read_to_string(aside).unwrap(), text[..end]);
        assert!(!file.exists());
    }
    fs::write(&file, text.replace("\"version\": 1", "\"version\": 7")).unwrap();
    let error = state.ledger("http://api.test", &run).unwrap_err();
    assert!(error.to_string().ends_with("its version is 7, the newest supported version is 1"), "{error}");
    assert!(file.exists(), "the file of a newer build is kept");
    let listed = state.ledgers().unwrap();
    assert!(matches!(&listed[..], [Err(StateError::Newer { .. })]));

    // A damaged start record is not renamed but an error: it may be of a run that is paid for.
    let identity = identity("w1", None, None);
    state.start(&identity).unwrap().save(&RecordedStart::new(&identity, &WorkflowId("w1".into()), None, None)).unwrap();
    let starts = state.root().join("starts");
    let file = starts.join(files(&starts).into_iter().find(|name| name.ends_with(".json")).unwrap());
    fs::write(&file, "{").unwrap();
    assert!(matches!(state.start(&identity).unwrap().previous(), Err(StateError::Damaged { .. })));
}

#[test]
fn a_partial_temporary_file_does_no_harm() {
    let (directory, state) = state();
    let path = directory.path().join("out.csv");
    drop(output_ledger(&state, &path, "p1"));
    let runs = state.root().join("runs");
    let name = files(&runs).into_iter().find(|name| name.ends_with(".json")).unwrap();
    fs::write(runs.join(&name).with_extension("json.new"), "{\"version").unwrap();
    let mut open = state.ledger("http://api.test", &RunId("r1".into())).unwrap();
    assert_eq!(open.ledger.outputs.len(), 1);
    open.save().unwrap();
    assert_eq!(files(&runs).len(), 2, "the ledger and its lock");
    assert_eq!(state.ledgers().unwrap().len(), 1);
}

#[test]
fn a_directory_that_cannot_be_created_is_an_error_at_once() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("file"), "").unwrap();
    let error = StateDir::open(&directory.path().join("file/state")).unwrap_err();
    assert!(error.to_string().starts_with("cannot keep state in "), "{error}");
}

#[test]
fn old_results_are_pruned_with_their_starts() {
    let (_folder, state) = state();
    let record = |name: &str, run: &str, once: Option<&str>, delivered: Option<&str>| {
        let identity = identity(name, None, None);
        let identity = once.map_or(identity.clone(), |once| identity.once(once));
        let slot = state.start(&identity).unwrap();
        let start = RecordedStart {
            run: Some(RunId(run.into())),
            ..RecordedStart::new(&identity, &WorkflowId(name.into()), None, None)
        };
        slot.save(&start).unwrap();
        drop(slot);
        drop(state.ledger("http://api.test", &RunId(run.into())).unwrap());
        let path = state.root().join("runs");
        let stem = files(&path).into_iter().find(|file| file.starts_with(&format!("{run}-"))).unwrap();
        let ledger = json!({"version": 1, "content": {
            "endpoint": "http://api.test", "run": run, "workflow": name, "workflow_name": name, "key": null,
            "created_at": "2020-01-01T00:00:00Z", "updated_at": delivered.unwrap_or("2020-01-01T00:00:00Z"), "status": "completed",
            "delivered_at": delivered, "links": [], "outputs": []}});
        fs::write(path.join(stem.replace(".lock", ".json")), ledger.to_string()).unwrap();
        identity
    };
    let old = "2020-01-01T00:00:00Z";
    let now = chrono::Utc::now().to_rfc3339();
    let gone = record("old", "r-old", None, Some(old));
    let named = record("named", "r-named", Some("nightly"), Some(old));
    let open = record("open", "r-open", None, None);
    let young = record("young", "r-young", None, Some(&now));
    let day = std::time::Duration::from_secs(24 * 3600);
    let counted = Pruned { ledgers: 2, starts: 1, busy: 0 };
    assert_eq!(state.prune(day, true).unwrap(), counted, "counted alone");
    assert_eq!(state.ledgers().unwrap().len(), 4);
    // One that another command uses stays.
    let used = state.ledger("http://api.test", &RunId("r-named".into())).unwrap();
    assert_eq!(state.prune(day, false).unwrap(), Pruned { ledgers: 1, starts: 1, busy: 1 });
    drop(used);
    assert_eq!(state.prune(day, false).unwrap(), Pruned { ledgers: 1, starts: 0, busy: 0 });
    let left = |identity: &StartIdentity| state.peek_start(identity).unwrap().is_some();
    assert_eq!((left(&gone), left(&named), left(&open), left(&young)), (false, true, true, true));
    assert_eq!(state.ledgers().unwrap().len(), 2);
}
