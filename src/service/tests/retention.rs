//! Retention of runs, and export and import of state.

use std::time::Duration;

use serde_json::{Value, json};

use super::Local;
use crate::service::{ArchiveError, Clock, Retain, export, import};

async fn run(local: &Local, workflow: &str, n: u32) -> String {
    let body = json!({ "webhook_payload": [{ "n": n }] });
    let run = local.run(workflow, "&result_formats=ndjson", body).await;
    local.completed(&run).await;
    run
}

async fn listed(local: &Local) -> Vec<String> {
    let runs = local.get("/workflows/runs").await.ok();
    runs.as_array().unwrap().iter().map(|run| run["job_id"].as_str().unwrap().to_owned()).collect()
}

/// Waits until the directories of runs are exactly these.
async fn run_directories_are(local: &Local, mut expected: Vec<String>) {
    expected.sort();
    let mut found = Vec::new();
    for _ in 0..1000 {
        let names = std::fs::read_dir(local.data_dir().join("runs")).unwrap();
        found = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        found.sort();
        if found == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(found, expected);
}

#[tokio::test]
async fn the_newest_runs_are_retained() {
    let local = Local::start_with(|config| config.retain = Some(Retain::Last(2))).await;
    let workflow = local.chain(&[("webhook", json!({}))]).await;
    let mut runs = Vec::new();
    for n in 0..4 {
        runs.push(run(&local, &workflow, n).await);
    }
    run_directories_are(&local, runs[2..].to_vec()).await;
    assert_eq!(listed(&local).await, [runs[3].clone(), runs[2].clone()]);
    local.get(&format!("/workflows/runs/{}/live_status", runs[0])).await.rejected(404);
}

#[tokio::test]
async fn runs_are_deleted_by_age() {
    let clock = Clock::default();
    let shared = clock.clone();
    let local = Local::start_with(move |config| {
        config.retain = Some(Retain::For(Duration::from_secs(3600)));
        config.clock = shared;
    })
    .await;
    let workflow = local.chain(&[("webhook", json!({}))]).await;
    let old = run(&local, &workflow, 1).await;
    clock.advance(Duration::from_secs(3000));
    let middle = run(&local, &workflow, 2).await;
    assert_eq!(listed(&local).await, [middle.clone(), old]);
    clock.advance(Duration::from_secs(1000));
    let new = run(&local, &workflow, 3).await;
    run_directories_are(&local, vec![middle.clone(), new.clone()]).await;
    assert_eq!(listed(&local).await, [new, middle]);
}

#[tokio::test]
async fn an_export_is_imported_once() {
    let local = Local::start().await;
    let notebook = json!({ "notebook_id": "book" });
    let workflow = local.chain(&[("webhook", json!({})), ("append_to_notebook", notebook.clone())]).await;
    let first = run(&local, &workflow, 1).await;
    let second = run(&local, &workflow, 2).await;
    let handle = local.upload("a.csv", "n\n3\n").await;
    let before = listed(&local).await;
    let archive = local.dir.path().join("state.tar");
    let locked = export(&local.data_dir(), &archive);
    assert!(matches!(locked, Err(ArchiveError::Store(_))), "a running service locks the directory");
    let dir = local.stop().await;
    let exported = export(&dir.path().join("data"), &archive).unwrap();
    assert_eq!((exported.workflows, exported.runs, exported.uploads, exported.notebooks), (1, 2, 1, 1));

    let elsewhere = tempfile::tempdir().unwrap();
    let data = elsewhere.path().join("data");
    assert_eq!(import(&data, &archive).unwrap(), exported);
    let again = import(&data, &archive).unwrap();
    assert_eq!((again.runs, again.already_present), (0, 5));
    let local = Local::start_in(elsewhere, |_| {}).await;
    assert_eq!(listed(&local).await, before);
    assert_eq!(local.rows(&first).await, [json!({ "n": 1 })]);
    assert_eq!(local.rows(&second).await, [json!({ "n": 2 })]);
    let read = local.chain(&[("read_notebook", notebook)]).await;
    let run = local.run(&read, "&result_formats=ndjson", Value::Null).await;
    local.completed(&run).await;
    assert_eq!(local.rows(&run).await, [json!({ "n": 1 }), json!({ "n": 2 })]);
    let csv = local.chain(&[("read_csv", json!({ "resource_handle_id": handle }))]).await;
    let run = local.run(&csv, "&result_formats=ndjson", Value::Null).await;
    local.completed(&run).await;
    assert_eq!(local.rows(&run).await, [json!({ "n": 3 })]);
}

#[test]
fn a_damaged_archive_is_rejected() {
    let dir = tempfile::tempdir().unwrap();
    let (from, archive) = (dir.path().join("from"), dir.path().join("state.tar"));
    std::fs::create_dir(&from).unwrap();
    export(&from, &archive).unwrap();
    let bytes = std::fs::read(&archive).unwrap();
    for (name, bytes) in [
        ("cut", &bytes[..bytes.len() - 1024]),
        ("short", &bytes[..700]),
        ("other", b"PK\x03\x04 not a tar at all".as_slice()),
        ("empty", b"".as_slice()),
    ] {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let error = import(&dir.path().join("to"), &path).unwrap_err();
        assert!(matches!(error, ArchiveError::InvalidArchive { .. }), "{name}: {error}");
    }
}
