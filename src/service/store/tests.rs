//! Tests of the store on databases of their own.

use super::database::FILE_NAME;
use super::tables::WORKFLOWS;
use super::*;
use crate::api::{RunId, RunStatus, WorkflowId};
use crate::service::rows::{ResultFormat, RunRow};
use chrono::{DateTime, Utc};

/// An id of the form that the service generates, for a run that a test calls `letter`.
fn id(letter: &str) -> RunId {
    RunId(format!("{letter}0000000-0000-4000-8000-000000000000"))
}

fn run(letter: &str, workflow: &str, status: RunStatus, at: i64) -> RunRow {
    let at = DateTime::from_timestamp(at, 0).unwrap();
    RunRow {
        id: id(letter),
        workflow_id: WorkflowId(workflow.to_owned()),
        workflow_name: "n".to_owned(),
        status,
        status_reason: None,
        error_message: None,
        queued_at: at,
        updated_at: at,
        started_at: None,
        completed_at: None,
        formats: vec![ResultFormat::Csv],
        is_single: false,
        blocks: Vec::new(),
    }
}

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

#[test]
fn rows_persist_and_unended_runs_are_found() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), at(0)).unwrap();
    let secret = store.secret();
    for (letter, status) in [("a", RunStatus::Completed), ("c", RunStatus::Running), ("b", RunStatus::Queued)] {
        assert!(matches!(store.start_run(&run(letter, "w", status, 10), None, None).unwrap(), StartOutcome::New));
    }
    drop(store);
    let store = Store::open(directory.path(), at(20)).unwrap();
    assert_eq!(store.secret(), secret);
    let unended = store.unended().unwrap();
    assert_eq!(unended.into_iter().map(|(run, _)| run.id).collect::<Vec<_>>(), [id("c"), id("b")], "in their order");
}

#[test]
fn a_key_outlives_its_run() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), at(0)).unwrap();
    let start = |letter: &str, at: i64| store.start_run(&run(letter, "w", RunStatus::Completed, at), None, Some("k"));
    start("a", 0).unwrap();
    store.remove_runs(&[(0, id("a"))]).unwrap();
    let before = store.started_before("k", at(10)).unwrap().unwrap();
    assert_eq!((before.run_id, before.workflow_id.0.as_str(), before.status), (id("a"), "w", RunStatus::Completed));
    assert!(matches!(start("b", 20).unwrap(), StartOutcome::Before(before) if before.run_id == id("a")));
    assert!(matches!(start("c", 86_400).unwrap(), StartOutcome::New));
}

#[test]
fn damage_is_named() {
    use crate::text::error_chain;

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE_NAME);
    let store = Store::open(directory.path(), at(0)).unwrap();
    for i in 0..200 {
        store.start_run(&run(&format!("{:x}", i % 16), "w", RunStatus::Queued, i), None, Some(&i.to_string())).unwrap();
    }
    drop(store);
    let whole = std::fs::read(&path).unwrap();
    let mut named = 0;
    let mut check = |bytes: &[u8], what: &str| {
        std::fs::write(&path, bytes).unwrap();
        let opened = Store::open(directory.path(), at(0)).and_then(|store| store.unended().map(|_| ()));
        if let Err(error) = opened {
            let text = error_chain(&error);
            assert!(text.starts_with("the database ") && text.contains(" is damaged: "), "{what}: {text}");
            named += 1;
        }
    };
    check(b"not a database at all", "text");
    check(&whole[..whole.len() / 2], "half");
    check(&whole[..100], "a piece");
    for page in 0..whole.len() / 4096 {
        let mut bytes = whole.clone();
        bytes[page * 4096..][..4096].fill(0xA5);
        check(&bytes, &format!("page {page}"));
    }
    assert!(named > 5, "{named}");
    std::fs::write(&path, &whole).unwrap();
    // A row that is no row.
    let store = Store::open(directory.path(), at(0)).unwrap();
    let write = store.database.begin_write().unwrap();
    write.open_table(WORKFLOWS).unwrap().insert("w", b"{\"id\":".as_slice()).unwrap();
    write.commit().unwrap();
    drop(store);
    let Err(error) = Store::open(directory.path(), at(0)) else { panic!("it is damaged") };
    assert!(error.to_string().contains("a row cannot be decoded"), "{error}");
}

#[test]
fn a_row_with_an_id_that_is_a_path_is_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), at(0)).unwrap();
    let mut row = run("a", "w", RunStatus::Completed, 10);
    row.id = RunId("/an/absolute/path".to_owned());
    store.start_run(&row, None, None).unwrap();
    let error = store.runs(&RunFilter { limit: 10, ..RunFilter::default() }).unwrap_err();
    assert!(crate::text::error_chain(&error).contains("invalid run id"), "{error}");
    assert!(store.runs_beyond(0).is_err());
}

#[test]
fn a_data_directory_is_locked_by_one_service() {
    let directory = tempfile::tempdir().unwrap();
    let _store = Store::open(directory.path(), at(0)).unwrap();
    let Err(error) = Store::open(directory.path(), at(0)) else { panic!("opened twice") };
    let expected = format!("the data directory {} is locked by another service", directory.path().display());
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_key_starts_one_run_a_day() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), at(0)).unwrap();
    let start =
        |letter: &str, at: i64| store.start_run(&run(letter, "w", RunStatus::Queued, at), None, Some("k")).unwrap();
    assert!(matches!(start("a", 0), StartOutcome::New));
    assert!(matches!(start("b", 86_399), StartOutcome::Before(before) if before.run_id == id("a")));
    assert!(store.started_before("k", at(86_399)).unwrap().is_some());
    assert!(store.started_before("k", at(86_400)).unwrap().is_none());
    assert!(matches!(start("c", 86_400), StartOutcome::New));
    assert!(store.run(&id("b")).unwrap().is_none());
}

#[test]
fn lists_are_filtered_and_limited() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), at(0)).unwrap();
    for i in 0..6 {
        let status = if i % 2 == 0 { RunStatus::Completed } else { RunStatus::Failed };
        let workflow = if i < 4 { "w" } else { "v" };
        store.start_run(&run(&i.to_string(), workflow, status, i), None, None).unwrap();
    }
    let ids = |statuses: Vec<RunStatus>, workflow: Option<&str>, limit| {
        let workflow_id = workflow.map(|id| WorkflowId(id.to_owned()));
        let runs = store.runs(&RunFilter { statuses, workflow_id, limit, ..RunFilter::default() }).unwrap();
        runs.into_iter().map(|run| run.id.0[..1].to_owned()).collect::<String>()
    };
    assert_eq!(ids(vec![], None, 100), "543210");
    assert_eq!(ids(vec![], None, 2), "54");
    assert_eq!(ids(vec![RunStatus::Failed], None, 100), "531");
    assert_eq!(ids(vec![], Some("w"), 3), "321");
    let found = |text: &str, skip| {
        let filter = RunFilter { text: text.to_owned(), skip, limit: 2, ..RunFilter::default() };
        store.runs(&filter).unwrap().into_iter().map(|run| run.id.0[..1].to_owned()).collect::<String>()
    };
    assert_eq!(
        (found("", 0), found("", 2), found("", 5), found("", 9)),
        ("54".into(), "32".into(), "0".into(), "".into())
    );
    assert_eq!((found("V", 0), found("no such", 0)), ("54".into(), String::new()));
}
