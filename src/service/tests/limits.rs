//! Limits on clients, and the metrics.

use std::time::Duration;

use reqwest::{Method, Response};
use serde_json::json;

use super::{JsonResponse, Local};
use crate::service::Clock;

fn header_number(response: &Response, name: &str) -> i64 {
    response.headers()[name].to_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn requests_per_minute_and_key_are_limited() {
    let clock = Clock::default();
    let local = Local::start_with(|config| {
        config.rate_limit = 2;
        config.clock = clock.clone();
    })
    .await;
    let ask = || local.request(Method::GET, "/workflows").send();
    let first = ask().await.unwrap();
    assert_eq!((header_number(&first, "x-ratelimit-limit"), header_number(&first, "x-ratelimit-remaining")), (2, 1));
    let reset = header_number(&first, "x-ratelimit-reset") - clock.now().timestamp();
    assert!((0..=61).contains(&reset), "{reset}");
    // A request that is rejected for another reason counts too.
    assert_eq!(local.request(Method::GET, "/workflows/x").send().await.unwrap().status(), 422);
    let rejected = ask().await.unwrap();
    assert_eq!(rejected.status(), 429);
    assert!((1..=60).contains(&header_number(&rejected, "retry-after")));
    assert_eq!(header_number(&rejected, "x-ratelimit-remaining"), 0);
    assert_eq!(JsonResponse::read(rejected).await.body, json!({ "detail": "Rate limit exceeded" }));
    let other = local.client.get(format!("{}/workflows", local.service.base_url())).header("x-api-key", "other");
    assert_eq!(other.send().await.unwrap().status(), 200);
    clock.advance(Duration::from_secs(61));
    assert_eq!(ask().await.unwrap().status(), 200);
    // Paths without a key have no limit.
    for _ in 0..5 {
        assert_eq!(
            local.client.get(format!("{}/healthz", local.service.base_url())).send().await.unwrap().status(),
            200
        );
    }
}

#[tokio::test]
async fn without_a_limit_there_are_no_rate_headers() {
    let local = Local::start().await;
    let response = local.request(Method::GET, "/workflows").send().await.unwrap();
    assert!(!response.headers().contains_key("x-ratelimit-limit"));
}

#[tokio::test]
async fn the_rows_of_an_upload_are_limited() {
    let local = Local::start_with(|config| config.max_upload_rows = 2).await;
    local.upload("a.csv", "n\n1\n2\n").await;
    let part = reqwest::multipart::Part::text("n\n1\n2\n3\n").file_name("a.csv");
    let form = reqwest::multipart::Form::new().part("file", part);
    let response = local.request(Method::POST, "/storage/csv/upload").multipart(form).send().await.unwrap();
    let text = JsonResponse::read(response).await.rejected(422);
    assert!(text.contains("3 rows, more than this service's limit of 2"), "{text}");
    assert_eq!(std::fs::read_dir(local.data_dir().join("uploads")).unwrap().count(), 1);
}

#[tokio::test]
async fn stalled_requests_time_out() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let local = Local::start_with(|config| {
        config.request_time = Duration::from_millis(100);
        config.upload_stall = Duration::from_millis(100);
    })
    .await;
    for (path, media_type, sent) in [
        ("/workflows/create_workflow", "application/json", "{"),
        ("/storage/csv/upload", "multipart/form-data; boundary=X", "--X\r\n"),
        (
            "/storage/csv/upload",
            "multipart/form-data; boundary=X",
            "--X\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.csv\"\r\n\r\nx,y\n",
        ),
    ] {
        let mut stream = tokio::net::TcpStream::connect(local.service.address()).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nx-api-key: k\r\ncontent-type: {media_type}\r\ncontent-length: 1000\r\n\r\n{sent}"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut response = vec![0; 4096];
        let n = stream.read(&mut response).await.unwrap();
        let response = String::from_utf8_lossy(&response[..n]).into_owned();
        assert!(response.starts_with("HTTP/1.1 408"), "{path}: {response}");
    }
    assert_eq!(std::fs::read_dir(local.data_dir().join("uploads")).unwrap().count(), 0);
}

#[tokio::test]
async fn concurrent_requests_are_limited() {
    use tokio::io::AsyncWriteExt;

    let local = Local::start_with(|config| config.max_requests = 1).await;
    let mut stream = tokio::net::TcpStream::connect(local.service.address()).await.unwrap();
    let head =
        "POST /workflows/create_workflow HTTP/1.1\r\nhost: localhost\r\nx-api-key: k\r\ncontent-length: 9\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut status = 200;
    for _ in 0..500 {
        status = local.request(Method::GET, "/workflows").send().await.unwrap().status().as_u16();
        if status == 503 {
            break;
        }
    }
    assert_eq!(status, 503);
    drop(stream);
    for _ in 0..500 {
        status = local.request(Method::GET, "/workflows").send().await.unwrap().status().as_u16();
        if status == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(status, 200, "the permit of a disconnected client is released");
}

#[tokio::test]
async fn metrics_count_requests_runs_rows_and_bytes() {
    let local = Local::start().await;
    let workflow = local.chain(&[("webhook", json!({})), ("deduplicate", json!({}))]).await;
    let run = local.run(&workflow, "", json!({ "webhook_payload": [{ "n": 1 }, { "n": 1 }] })).await;
    local.completed(&run).await;
    let text = local.fetch(&local.links(&run, "csv").await[1]).await;
    local.request(Method::GET, "/nowhere").send().await.unwrap();
    let metrics = || async {
        let response = local.client.get(format!("{}/metrics", local.service.base_url())).send().await.unwrap();
        response.text().await.unwrap()
    };
    // The end of a run is counted shortly after it is visible.
    let mut found = metrics().await;
    for _ in 0..500 {
        if found.contains("drawoff_runs_ended_total{state=\"completed\"} 1") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        found = metrics().await;
    }
    for line in [
        "drawoff_requests_total{route=\"/workflows/run\",method=\"POST\",status=\"200\"} 1",
        "drawoff_requests_total{route=\"other\",method=\"GET\",status=\"404\"} 1",
        "drawoff_runs_ended_total{state=\"completed\"} 1",
        "drawoff_runs{state=\"running\"} 0",
        "drawoff_rows_in_total 2",
        "drawoff_rows_out_total 1",
        &format!("drawoff_bytes_served_total {}", text.len()),
    ] {
        assert!(found.lines().any(|have| have == line), "{line} is not in\n{found}");
    }
}

#[tokio::test]
async fn the_openapi_description_is_served_without_a_key() {
    let local = Local::start().await;
    let response = local.client.get(format!("{}/openapi.json", local.service.base_url())).send().await.unwrap();
    let document = JsonResponse::read(response).await.ok();
    assert_eq!(document["openapi"], "3.1.0");
    // Every described operation exists: an unknown path has another message, an unknown method another status.
    for (path, item) in document["paths"].as_object().unwrap() {
        let uuid = uuid::Uuid::new_v4().to_string();
        let path = path.replace("{workflow_id}", &uuid).replace("{run_id}", &uuid).replace("{task_id}", &uuid);
        for (method, operation) in item.as_object().unwrap() {
            let method: Method = method.to_uppercase().parse().unwrap();
            let response = local.request(method.clone(), &path).send().await.unwrap();
            let status = response.status().as_u16();
            assert!(operation["responses"].get(status.to_string()).is_some(), "{method} {path}: {status}");
            let text = response.text().await.unwrap();
            assert!(status != 404 || !text.contains("\"Not Found\""), "{method} {path} is not served");
        }
    }
}
