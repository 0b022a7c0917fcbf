//! Signed links and the downloads of result files.

use std::time::Duration;

use reqwest::{Method, Response};
use serde_json::{Value, json};
use uuid::Uuid;

use super::restart::{plant, run_with_file};
use super::{JsonResponse, Local};
use crate::api::RunStatus;
use crate::service::{Clock, Config};

/// Content larger than one chunk, so that a response body has several.
fn content() -> Vec<u8> {
    (0..700_001u32).map(|i| (i * 31 % 251) as u8).collect()
}

async fn with_file() -> (Local, Clock, Value) {
    with_file_and(|_| {}).await
}

async fn with_file_and(change: impl FnOnce(&mut Config)) -> (Local, Clock, Value) {
    let dir = tempfile::tempdir().unwrap();
    let id = Uuid::new_v4().to_string();
    plant(&dir.path().join("data"), &run_with_file(&id, RunStatus::Completed, &content()), &content());
    let clock = Clock::default();
    let local = Local::start_in(dir, |config| {
        config.clock = clock.clone();
        change(config);
    })
    .await;
    let link = local.links(&id, "csv").await.remove(0);
    (local, clock, link)
}

async fn fetch(local: &Local, url: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = local.client.get(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

/// Not even while they are written does the umask open result files to others.
#[cfg(unix)]
#[tokio::test]
async fn files_are_private_while_they_are_written() {
    use std::os::unix::fs::PermissionsExt as _;

    fn open_files(directory: &std::path::Path, seen: &mut usize) -> Vec<std::path::PathBuf> {
        let mut open = Vec::new();
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            // It may be renamed or removed meanwhile.
            let Ok(metadata) = entry.path().symlink_metadata() else { continue };
            if metadata.is_dir() {
                open.extend(open_files(&entry.path(), seen));
            } else {
                *seen += 1;
                if metadata.permissions().mode() & 0o077 != 0 {
                    open.push(entry.path());
                }
            }
        }
        open
    }

    let local = Local::start_with(|config| config.faults.rules = vec!["rows-per-second=300".parse().unwrap()]).await;
    let group = json!({ "columns": ["name"] });
    let workflow = local.chain(&[("webhook", json!({})), ("group_by", group), ("deduplicate", json!({}))]).await;
    let rows: Vec<Value> = (0..200).map(|i| json!({ "i": i, "name": format!("n{i}") })).collect();
    let body = json!({ "webhook_payload": rows });
    let run = local.run(&workflow, "&result_formats=ndjson&save_json=true", body).await;
    let mut seen = 0;
    loop {
        let open = open_files(&local.data_dir(), &mut seen);
        assert!(open.is_empty(), "{open:?}");
        if local.status(&run).await["completed_at"] != Value::Null {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(seen > 3, "{seen}");
    let runs = local.data_dir().join("runs").join(&run);
    assert_eq!(std::fs::read_dir(runs).unwrap().count(), 10);
}

/// A block that fails leaves no file behind.
#[tokio::test]
async fn a_failed_block_leaves_no_file() {
    let local = Local::start().await;
    let handle = local.upload("broken.csv", "a,b\n1,2\n3,\"4\n").await;
    let workflow = local.chain(&[("read_csv", json!({}))]).await;
    let body = json!({ "specs_override": { "resource_handle_id": handle } });
    let run = local.run(&workflow, "&result_formats=ndjson", body).await;
    assert_eq!(local.ended(&run).await["overall_status"], "failed");
    let names = std::fs::read_dir(local.data_dir().join("runs").join(&run)).into_iter().flatten();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().starts_with("block_")), "{names:?}");
}

#[tokio::test]
async fn a_link_describes_its_file() {
    let (local, _, link) = with_file().await;
    assert_eq!(link["filename"], "block_1_webhook.csv");
    assert_eq!(link["file_size"], 700_001);
    assert_eq!(link["row_count"], 2);
    assert_eq!(link["block_number"], 1);
    assert_eq!(link["content_type"], "text/csv");
    assert_eq!(link["download_expires_in_seconds"], 900);
    assert_eq!((&link["message"], &link["results"]), (&Value::Null, &Value::Null));
    let url = link["download_url"].as_str().unwrap();
    assert!(url.starts_with(&local.service.base_url()));
    let response = fetch(&local, url, &[]).await;
    assert_eq!(response.status(), 200);
    assert_eq!(header(&response, "content-type"), "text/csv");
    assert_eq!(header(&response, "content-length"), "700001");
    assert_eq!(header(&response, "accept-ranges"), "bytes");
    assert_eq!(header(&response, "etag"), "\"tag-1\"");
    assert_eq!(response.bytes().await.unwrap(), content());
    // An API key in the request is ignored, valid or not.
    assert_eq!(fetch(&local, url, &[("x-api-key", "any")]).await.status(), 200);
}

#[tokio::test]
async fn links_use_the_host_that_the_client_used() {
    let (local, _, link) = with_file_and(|config| config.allow_hosts = vec!["forwarded.test".to_owned()]).await;
    let run = link["download_url"].as_str().unwrap().split('/').nth(5).unwrap().to_owned();
    let path = format!("/workflows/runs/{run}/results/download-links");
    let response = local.request(Method::GET, &path).header("host", "forwarded.test:8080").send().await.unwrap();
    let url = JsonResponse::read(response).await.ok()[0]["download_url"].as_str().unwrap().to_owned();
    assert!(url.starts_with("http://forwarded.test:8080/storage/files/"), "{url}");
}

#[tokio::test]
async fn a_link_is_valid_for_its_file_and_time() {
    let (local, clock, link) = with_file().await;
    let url = link["download_url"].as_str().unwrap().to_owned();
    let rejected = |response: Response| async { JsonResponse::read(response).await.rejected(403) };
    let unsigned = url.split('?').next().unwrap();
    assert!(rejected(fetch(&local, unsigned, &[]).await).await.contains("signature"));
    let later = url.replace("expires=", "expires=1");
    assert!(rejected(fetch(&local, &later, &[]).await).await.contains("signature"));
    let other = url.replace("block_1_webhook.csv", "block_2_webhook.csv.partial");
    assert!(rejected(fetch(&local, &other, &[]).await).await.contains("signature"));
    let head = local.client.head(&url).send().await.unwrap();
    assert_eq!(head.status(), 403);

    clock.advance(Duration::from_secs(890));
    assert_eq!(fetch(&local, &url, &[]).await.status(), 200);
    clock.advance(Duration::from_secs(10));
    assert!(rejected(fetch(&local, &url, &[]).await).await.contains("expired"));
    let run = url.split('/').nth(5).unwrap();
    let fresh = local.links(run, "csv").await.remove(0);
    assert_eq!(fetch(&local, fresh["download_url"].as_str().unwrap(), &[]).await.status(), 200);
}

#[tokio::test]
async fn byte_ranges_of_a_file_are_served() {
    let (local, _, link) = with_file().await;
    let url = link["download_url"].as_str().unwrap();
    let content = content();
    for (range, expected, content_range) in [
        ("bytes=0-9", 0..10, "bytes 0-9/700001"),
        ("bytes=300000-", 300_000..700_001, "bytes 300000-700000/700001"),
        ("bytes=-5", 699_996..700_001, "bytes 699996-700000/700001"),
    ] {
        let response = fetch(&local, url, &[("range", range)]).await;
        assert_eq!(response.status(), 206, "{range}");
        assert_eq!(header(&response, "content-range"), content_range);
        assert_eq!(header(&response, "etag"), "\"tag-1\"");
        assert_eq!(response.bytes().await.unwrap(), content[expected]);
    }
    let response = fetch(&local, url, &[("range", "bytes=700001-")]).await;
    assert_eq!(response.status(), 416);
    assert_eq!(header(&response, "content-range"), "bytes */700001");
    let response = fetch(&local, url, &[("range", "bytes=5-9"), ("if-range", "\"tag-1\"")]).await;
    assert_eq!(response.status(), 206);
    let modified = header(&response, "last-modified").to_owned();
    assert_eq!(fetch(&local, url, &[("range", "bytes=5-9"), ("if-range", &modified)]).await.status(), 206);
    let response = fetch(&local, url, &[("range", "bytes=5-9"), ("if-range", "\"tag-0\"")]).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.bytes().await.unwrap(), content);
}

fn decoded(encoding: &str, bytes: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    match encoding {
        "gzip" => std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(bytes), &mut content).unwrap(),
        "zstd" => std::io::Read::read_to_end(&mut zstd::Decoder::new(bytes).unwrap(), &mut content).unwrap(),
        other => panic!("encoded as {other:?}"),
    };
    content
}

#[tokio::test]
async fn responses_are_compressed_if_the_client_asks_for_it() {
    let (local, _, link) = with_file().await;
    let url = link["download_url"].as_str().unwrap();
    for (accepted, encoding) in
        [("gzip", "gzip"), ("zstd", "zstd"), ("gzip;q=0.5, zstd, br", "zstd"), ("br, gzip", "gzip")]
    {
        let response = fetch(&local, url, &[("accept-encoding", accepted)]).await;
        assert_eq!((response.status().as_u16(), header(&response, "content-encoding")), (200, encoding), "{accepted}");
        // No offset in these bytes is one of the file, so that nothing about them invites to resume.
        assert_eq!(header(&response, "etag"), "W/\"tag-1\"");
        assert_eq!((header(&response, "content-length"), header(&response, "accept-ranges")), ("", ""));
        assert_eq!(header(&response, "vary"), "accept-encoding");
        let bytes = response.bytes().await.unwrap();
        assert!(bytes.len() < 100_000, "{} bytes", bytes.len());
        assert!(decoded(encoding, &bytes) == content());
    }
    for accepted in
        ["identity", "br", "gzip;q=0", "*;q=0, identity", "*;q=0", "identity;q=0", "br, Identity; q=0.000, *;q=0."]
    {
        let response = fetch(&local, url, &[("accept-encoding", accepted)]).await;
        assert_eq!((header(&response, "content-encoding"), header(&response, "etag")), ("", "\"tag-1\""), "{accepted}");
        assert_eq!(header(&response, "content-length"), "700001");
        assert!(response.bytes().await.unwrap() == content());
    }
    // A client that refuses all that there is gets the status of an error, too.
    let response = fetch(&local, &format!("{url}0"), &[("accept-encoding", "identity;q=0")]).await;
    assert_eq!(response.status().as_u16(), 403);
    let response = fetch(&local, url, &[("accept-encoding", "identity;q=0, *;q=0, gzip;q=0.1")]).await;
    assert_eq!((response.status().as_u16(), header(&response, "content-encoding")), (200, "gzip"));
    // A list, and one that is too short.
    let list = local.get("/workflows/blocks").await;
    let request = local.request(Method::GET, "/workflows/blocks").header("accept-encoding", "gzip");
    let response = request.send().await.unwrap();
    assert_eq!(
        (header(&response, "content-encoding"), header(&response, "content-type")),
        ("gzip", "application/json")
    );
    let body: Value = serde_json::from_slice(&decoded("gzip", &response.bytes().await.unwrap())).unwrap();
    assert_eq!(body, list.ok());
    let response = local.request(Method::GET, "/healthz").header("accept-encoding", "gzip").send().await.unwrap();
    assert_eq!(header(&response, "content-encoding"), "");
    assert_eq!(response.text().await.unwrap(), "{\"status\":\"ok\"}");
}

#[tokio::test]
async fn a_range_is_never_compressed() {
    let (local, _, link) = with_file().await;
    let url = link["download_url"].as_str().unwrap();
    let content = content();
    for (headers, status, expected) in [
        (&[("range", "bytes=300000-")][..], 206, 300_000..700_001),
        (&[("range", "bytes=0-")], 206, 0..700_001),
        (&[("range", "bytes=5-"), ("if-range", "\"tag-1\"")], 206, 5..700_001),
        // The tag of a compressed response, and one of another version: the whole file, as it is.
        (&[("range", "bytes=5-"), ("if-range", "W/\"tag-1\"")], 200, 0..700_001),
        (&[("range", "bytes=5-"), ("if-range", "\"tag-0\"")], 200, 0..700_001),
        (&[("range", "rows=0-1")], 200, 0..700_001),
    ] {
        let mut headers = headers.to_vec();
        headers.push(("accept-encoding", "gzip, zstd, br"));
        let response = fetch(&local, url, &headers).await;
        assert_eq!((response.status().as_u16(), header(&response, "content-encoding")), (status, ""), "{headers:?}");
        assert_eq!((header(&response, "etag"), header(&response, "accept-ranges")), ("\"tag-1\"", "bytes"));
        assert_eq!(header(&response, "content-length"), expected.len().to_string());
        assert!(response.bytes().await.unwrap() == content[expected], "{headers:?}");
    }
}

#[tokio::test]
async fn formats_are_checked_and_absent_ones_are_empty() {
    let (local, _, link) = with_file().await;
    let run = link["download_url"].as_str().unwrap().split('/').nth(5).unwrap().to_owned();
    assert!(local.links(&run, "ndjson").await.is_empty());
    assert!(local.links(&run, "json").await.is_empty());
    let path = format!("/workflows/runs/{run}/results/download-links?format=xlsx");
    assert!(local.get(&path).await.rejected(400).contains("xlsx"));
    let unknown = Uuid::new_v4();
    let path = format!("/workflows/runs/{unknown}/results/download-links");
    assert_eq!(local.get(&path).await.rejected(404), "Run not found");
    assert!(local.get("/workflows/runs/x/results/download-links").await.rejected(422).contains("path.run_id"));
}
