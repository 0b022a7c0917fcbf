//! Archives and data directories of another origin: none may read, write or delete anything outside of the data
//! directory, and a refused archive adds nothing.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tar::{Archive, Builder, EntryType, Header};

use super::Local;
use crate::service::{ArchiveError, Retain, export, import};
use crate::text::error_chain;

/// The contents of an archive, to be changed.
#[derive(Clone)]
struct Parts {
    /// Type and content of each entry but the last, by name.
    files: Vec<(String, EntryType, Vec<u8>)>,
    /// The lines of `state.ndjson` without the head and the end.
    lines: Vec<Value>,
}

impl Parts {
    fn read(path: &Path) -> Parts {
        let mut files = Vec::new();
        let mut lines = Vec::new();
        let mut archive = Archive::new(std::fs::File::open(path).unwrap());
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            if name == "state.ndjson" {
                lines = bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty()).map(parsed).collect();
            } else {
                files.push((name, EntryType::Regular, bytes));
            }
        }
        lines.retain(|line| line.get("head").is_none() && line.get("end").is_none());
        Parts { files, lines }
    }

    /// Returns the row of this kind, of which the archive has one.
    fn row(&mut self, kind: &str) -> &mut Value {
        self.lines.iter_mut().find_map(|line| line.get_mut(kind)).unwrap()
    }

    fn file(&mut self, prefix: &str) -> &mut (String, EntryType, Vec<u8>) {
        self.files.iter_mut().find(|(name, ..)| name.starts_with(prefix)).unwrap()
    }

    /// Writes an archive that only its contents can give away: its checksums and counts are right.
    fn write(&self, path: &Path) {
        let mut state = json!({ "head": { "version": 1, "exported_at": "2026-01-01T00:00:00Z" } }).to_string();
        for line in self.lines.iter().chain([&json!({ "end": { "lines": self.lines.len() + 1 } })]) {
            state.push_str(&format!("\n{line}"));
        }
        let mut archive = Builder::new(std::fs::File::create(path).unwrap());
        let state = ("state.ndjson".to_owned(), EntryType::Regular, state.into_bytes());
        for (name, kind, content) in self.files.iter().chain([&state]) {
            let mut header = Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o644);
            // The field itself, because the setter refuses what an attacker writes.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            match kind {
                EntryType::Symlink | EntryType::Link => {
                    header.set_link_name_literal(content).unwrap();
                    header.set_size(0);
                    header.set_cksum();
                    archive.append(&header, &b""[..]).unwrap();
                }
                _ => {
                    header.set_size(content.len() as u64);
                    header.set_cksum();
                    archive.append(&header, &content[..]).unwrap();
                }
            }
        }
        archive.into_inner().unwrap();
    }
}

fn parsed(line: &[u8]) -> Value {
    serde_json::from_slice(line).unwrap()
}

/// All files and directories below `root` with the contents of files.
fn tree(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(tree(&path));
            found.insert(path, Vec::new());
        } else {
            let content = std::fs::read(&path).unwrap();
            found.insert(path, content);
        }
    }
    found
}

/// A service with a workflow, a run in every format, an upload and a notebook; exported.
async fn exported() -> (tempfile::TempDir, Parts) {
    let local = Local::start().await;
    let workflow = local.chain(&[("webhook", json!({})), ("append_to_notebook", json!({ "notebook_id": "n" }))]).await;
    // A row of one null is an empty line of CSV, and a line break within quotes is none.
    let rows = json!({ "webhook_payload": [{ "a": null }, { "a": "x\ny" }, { "a": "" }] });
    let run = local.run(&workflow, "&result_formats=csv&result_formats=json&result_formats=ndjson", rows).await;
    local.completed(&run).await;
    local.upload("a.csv", "n\n3\n").await;
    let dir = local.stop().await;
    let archive = dir.path().join("state.tar");
    export(&dir.path().join("data"), &archive).unwrap();
    let parts = Parts::read(&archive);
    (dir, parts)
}

#[tokio::test]
async fn a_hostile_archive_is_refused_and_adds_nothing() {
    let (dir, parts) = exported().await;
    assert_eq!(parts.files.len(), 8, "two blocks in three formats, an upload and a notebook");
    let victim = dir.path().join("victim");
    std::fs::create_dir(&victim).unwrap();
    std::fs::write(victim.join("keys.csv"), "secret\n1\n").unwrap();
    let absolute = victim.to_str().unwrap().to_owned();
    let other = "0b5c6f2e-6f0c-4d7e-9a3b-5d1f0a7c9e21";

    type Change = Box<dyn Fn(&mut Parts)>;
    fn set(kind: &'static str, pointer: &'static str, value: impl Into<Value>) -> Change {
        let value = value.into();
        Box::new(move |parts| *parts.row(kind).pointer_mut(pointer).unwrap() = value.clone())
    }
    fn entry(name: &str, kind: EntryType, content: &str) -> Change {
        let entry = (name.to_owned(), kind, content.as_bytes().to_vec());
        Box::new(move |parts| parts.files.insert(0, entry.clone()))
    }
    let run_name = parts.clone().file("runs/").0.clone();
    let upload_name = parts.clone().file("uploads/").0.clone();
    let cases: Vec<(&str, Change)> = vec![
        // Ids and names of rows.
        ("invalid run id", set("run", "/id", absolute.clone())),
        ("invalid run id", set("run", "/id", "../victim")),
        ("invalid run id", set("run", "/id", "..")),
        ("invalid run id", set("run", "/id", "")),
        ("invalid run id", set("run", "/id", other.to_uppercase())),
        ("invalid file name", set("run", "/blocks/0/files/0/filename", "../../../victim/keys.csv")),
        ("invalid file name", set("run", "/blocks/0/files/0/filename", format!("{absolute}/keys.csv"))),
        ("invalid file name", set("run", "/blocks/0/files/0/filename", "..")),
        ("invalid upload id", set("upload", "/id", "../../victim/keys")),
        ("invalid upload id", set("upload", "/id", format!("{absolute}/keys"))),
        ("unknown variant", set("upload", "/row/extension", "csv/../../../victim/keys.csv")),
        ("unknown variant", set("upload", "/row/extension", "")),
        ("invalid file name", set("notebook", "/file", "../../victim/keys.csv")),
        ("invalid file name", set("notebook", "/file", format!("{absolute}/keys.csv"))),
        ("invalid file name", set("notebook", "/file", format!("{other}.csv"))),
        ("invalid workflow id", set("workflow", "/id", "..")),
        // Files that the archive does not have.
        ("is missing", set("run", "/id", other)),
        ("is missing", set("run", "/blocks/0/files/0/filename", "input.csv")),
        ("is missing", set("upload", "/id", other)),
        ("is missing", set("notebook", "/file", format!("{other}.ndjson"))),
        // Sizes and numbers of rows.
        ("bytes, but its row says", set("run", "/blocks/0/files/0/size_bytes", u64::MAX)),
        ("bytes, but its row says", set("upload", "/row/size_bytes", 1)),
        ("bytes, but its row says", set("notebook", "/size_bytes", 1)),
        ("bytes, but its row says", set("notebook", "/size_bytes", 0)),
        ("rows, but its row says", set("notebook", "/rows", u64::MAX)),
        ("differ in rows", set("run", "/blocks/0/files/0/rows", 7)),
        ("differ in rows", set("run", "/blocks/0/row_count", 7)),
        ("differ in rows", set("run", "/blocks/0/results", json!([]))),
        ("is not ndjson", set("run", "/blocks/0/files/0/format", "ndjson")),
        ("invalid value", set("run", "/blocks/0/files/0/rows", -1)),
        // States and counts.
        ("has not ended", set("run", "/status", "running")),
        ("has not ended", set("run", "/status", "odd")),
        (
            "duplicate run",
            Box::new(|parts| {
                parts.lines.push(parts.lines.iter().find(|line| line.get("run").is_some()).unwrap().clone())
            }),
        ),
        (
            "has the file of another notebook",
            Box::new(|parts| {
                let mut row = parts.row("notebook").clone();
                row["id"] = "second".into();
                (row["size_bytes"], row["rows"]) = (0.into(), 0.into());
                parts.lines.push(json!({ "notebook": row }));
            }),
        ),
        // Entries.
        ("unexpected entry", entry("../victim/keys.csv", EntryType::Regular, "x")),
        ("unexpected entry", entry("/tmp/keys.csv", EntryType::Regular, "x")),
        ("unexpected entry", entry("runs/../../keys.csv", EntryType::Regular, "x")),
        ("unexpected entry", entry(&format!("runs/{other}/../../keys.csv"), EntryType::Regular, "x")),
        ("unexpected entry", entry("uploads/../drawoff.redb", EntryType::Regular, "x")),
        ("unexpected entry", entry(&format!("uploads/{other}.exe"), EntryType::Regular, "x")),
        ("unexpected entry", entry("drawoff.redb", EntryType::Regular, "x")),
        ("duplicate entry", entry(&run_name, EntryType::Regular, "x")),
        ("duplicate entry", entry("state.ndjson", EntryType::Regular, "x")),
        ("expected a regular file", entry(&upload_name, EntryType::Symlink, &absolute)),
        ("expected a regular file", entry(&format!("runs/{other}"), EntryType::Symlink, &absolute)),
        ("expected a regular file", entry(&upload_name, EntryType::Link, &absolute)),
        ("expected a regular file", entry("uploads", EntryType::Directory, "")),
    ];
    let path = dir.path().join("hostile.tar");
    let data = dir.path().join("new");
    parts.write(&dir.path().join("genuine.tar"));
    let before = tree(&victim);
    for (i, (expected, change)) in cases.iter().enumerate() {
        let mut parts = parts.clone();
        change(&mut parts);
        parts.write(&path);
        let error = import(&data, &path).unwrap_err();
        assert!(matches!(error, ArchiveError::InvalidArchive { .. }), "case {i}: {error}");
        let text = error.to_string();
        assert!(text.starts_with(&format!("cannot import {}: not a state of a service: ", path.display())), "{text}");
        assert!(text.contains(expected), "case {i}: {text}");
        let left = tree(&data);
        let names: Vec<&str> = left.keys().map(|path| path.strip_prefix(&data).unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["drawoff.redb", "notebooks", "runs", "tmp", "uploads"], "case {i}: {text}");
        assert_eq!(tree(&victim), before, "case {i}");
    }
    let nothing = export(&data, &path).unwrap();
    assert_eq!((nothing.workflows, nothing.runs, nothing.uploads, nothing.notebooks), (0, 0, 0, 0));
    // The same parts without a change are accepted.
    let summary = import(&data, &dir.path().join("genuine.tar")).unwrap();
    assert_eq!((summary.workflows, summary.runs, summary.uploads, summary.notebooks), (1, 1, 1, 1));
}

#[tokio::test]
async fn an_import_keeps_the_notebooks_and_directories_that_exist() {
    let (dir, mut parts) = exported().await;
    let data = dir.path().join("data");
    let path = dir.path().join("other.tar");
    // Another id with the file of the notebook that the data directory has.
    parts.row("notebook")["id"] = "second".into();
    parts.write(&path);
    let before = tree(&data.join("notebooks"));
    let error = import(&data, &path).unwrap_err().to_string();
    assert!(error.contains("the notebook \"second\" has the file of another notebook"), "{error}");
    assert_eq!(tree(&data.join("notebooks")), before);

    // A directory of the run without its row is a leftover; a link in its place must not be followed.
    #[cfg(unix)]
    {
        let (_, parts) = exported().await;
        parts.write(&path);
        let run = parts.clone().row("run")["id"].as_str().unwrap().to_owned();
        let (elsewhere, fresh) = (dir.path().join("elsewhere"), dir.path().join("fresh"));
        std::fs::create_dir_all(fresh.join("runs")).unwrap();
        std::fs::create_dir(&elsewhere).unwrap();
        std::fs::write(elsewhere.join("kept"), "kept").unwrap();
        std::os::unix::fs::symlink(&elsewhere, fresh.join("runs").join(&run)).unwrap();
        import(&fresh, &path).unwrap();
        assert_eq!(tree(&elsewhere).len(), 1);
        assert_eq!(tree(&fresh.join("runs").join(&run)).len(), 6);
    }
}

#[cfg(unix)]
#[tokio::test]
async fn links_in_a_data_directory_are_not_followed() {
    use std::os::unix::fs::symlink;

    let local = Local::start_with(|config| config.retain = Some(Retain::Last(1))).await;
    let notebook = local.chain(&[("webhook", json!({})), ("append_to_notebook", json!({ "notebook_id": "n" }))]).await;
    let rows = json!({ "webhook_payload": [{ "a": 1 }] });
    let run = local.run(&notebook, "", rows.clone()).await;
    local.completed(&run).await;
    let link = local.links(&run, "csv").await[0].clone();
    let handle = local.upload("a.csv", "n\n3\n").await;
    let csv = local.chain(&[("read_csv", json!({ "resource_handle_id": handle }))]).await;

    let victim = local.dir.path().join("victim");
    std::fs::create_dir(&victim).unwrap();
    std::fs::write(victim.join("keys"), "secret\nmarked\n").unwrap();
    let before = tree(&victim);
    let only_file = |directory: &str| {
        let entries = std::fs::read_dir(local.data_dir().join(directory)).unwrap();
        entries.map(|entry| entry.unwrap().path()).find(|path| path.extension().is_some()).unwrap()
    };
    // A result file, an upload and a notebook are replaced by links.
    let directory = local.data_dir().join("runs").join(&run);
    for path in [directory.join("block_1_webhook.csv"), only_file("uploads"), only_file("notebooks")] {
        std::fs::remove_file(&path).unwrap();
        symlink(victim.join("keys"), path).unwrap();
    }
    let response = local.client.get(link["download_url"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(response.status(), 500);
    assert!(!response.text().await.unwrap().contains("marked"));
    for (workflow, body) in [(&csv, Value::Null), (&notebook, rows)] {
        let started = local.run(workflow, "", body).await;
        let status = local.ended(&started).await;
        assert_eq!(status["overall_status"], "failed", "{status}");
        assert!(!status.to_string().contains("marked"), "{status}");
    }
    // The runs above made the first one old: its directory is now a link.
    let local = Local::start_in(local.stop().await, |_| {}).await;
    assert_eq!(tree(&victim), before);
    let old = local.run(&csv, "", Value::Null).await;
    local.ended(&old).await;
    let directory = local.data_dir().join("runs").join(&old);
    let _ = std::fs::remove_dir_all(&directory);
    symlink(&victim, &directory).unwrap();
    let dir = Local::start_in(local.stop().await, |config| config.retain = Some(Retain::Last(0))).await.stop().await;
    assert_eq!(tree(&victim), before);

    // A directory of the service may not be a link at all.
    let data = dir.path().join("data");
    std::fs::remove_dir_all(data.join("uploads")).unwrap();
    symlink(&victim, data.join("uploads")).unwrap();
    let Err(error) = crate::service::Service::start(crate::service::Config::new(&data)).await else {
        panic!("a link was followed");
    };
    assert!(error_chain(&error).contains("the service follows no links in its data directory"), "{error}");
    assert_eq!(tree(&victim), before);
}
