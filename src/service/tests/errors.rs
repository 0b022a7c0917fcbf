//! Errors that occur before any endpoint is reached, and errors of the start of a service.

use reqwest::Method;
use serde_json::{Value, json};

use super::{JsonResponse, Local, create};
use crate::secret::ApiKey;
use crate::service::{Config, EnrichTable, Service};

#[tokio::test]
async fn the_key_is_checked_before_anything_else() {
    let local = Local::start_with(|config| config.api_key = Some(ApiKey::new("right"))).await;
    let base = local.service.base_url();
    for path in ["/workflows", "/workflows/runs?limit=900", "/workflows/runs/x/live_status"] {
        for key in ["", "wrong"] {
            let response = local.client.get(format!("{base}{path}")).header("x-api-key", key).send().await.unwrap();
            let response = JsonResponse::read(response).await;
            assert_eq!(response.status, 401);
            assert_eq!(response.body, json!({ "detail": "Invalid API key" }));
        }
    }
    let response = local.client.post(format!("{base}/workflows/create_workflow")).body("{").send().await.unwrap();
    assert_eq!(response.status(), 401);
    let response = local.client.post(format!("{base}/bulk-intelligence/people")).send().await.unwrap();
    assert_eq!(JsonResponse::read(response).await.rejected(401), "Machine authentication required");
    let large = reqwest::multipart::Part::bytes(vec![b'x'; 4 << 20]).file_name("a.csv");
    let form = reqwest::multipart::Form::new().part("file", large);
    let response = local.client.post(format!("{base}/storage/csv/upload")).multipart(form).send().await.unwrap();
    assert_eq!(response.status(), 401);
    let response = local.client.get(format!("{base}/workflows")).header("x-api-key", "right").send().await.unwrap();
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn any_key_is_accepted_if_none_is_configured() {
    let local = Local::start().await;
    local.get("/workflows").await.ok();
    let base = local.service.base_url();
    let response = local.client.get(format!("{base}/workflows")).header("x-api-key", " ").send().await.unwrap();
    assert_eq!(response.status(), 401);
    let response = local.client.get(format!("{base}/healthz")).send().await.unwrap();
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn unknown_paths_and_methods_get_json_errors() {
    let local = Local::start().await;
    assert_eq!(local.get("/nowhere").await.rejected(404), "Not Found");
    assert_eq!(local.post("/workflows", json!({})).await.rejected(405), "Method Not Allowed");
    let response = local.request(Method::DELETE, "/workflows/runs").send().await.unwrap();
    assert_eq!(JsonResponse::read(response).await.rejected(405), "Method Not Allowed");
    assert_eq!(local.get("/storage/files/a/%FF").await.rejected(404), "Not Found");
}

#[tokio::test]
async fn bodies_have_a_limit_and_must_be_json() {
    let local = Local::start_with(|config| config.max_body_bytes = 2000).await;
    let request = local.request(Method::POST, "/workflows/create_workflow").body("{\"a\":");
    assert!(JsonResponse::read(request.send().await.unwrap()).await.rejected(400).contains("not valid JSON"));
    let large = create(&[("webhook", json!({ "webhook_input": "x".repeat(3000) }))]);
    assert!(local.post("/workflows/create_workflow", large).await.rejected(413).contains("larger"));
}

#[tokio::test]
async fn a_service_that_cannot_start_has_a_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let first = Service::start(Config::new(dir.path())).await.unwrap();
    let text = |config: Config| async { Service::start(config).await.err().expect("must not start").to_string() };
    let locked = text(Config::new(dir.path())).await;
    assert!(locked.contains("is locked by another service"), "{locked}");
    assert!(locked.contains(&dir.path().display().to_string()), "{locked}");
    first.stop().await;

    let other = tempfile::tempdir().unwrap();
    let mut config = Config::new(other.path());
    config.bind = ([0, 0, 0, 0], 0).into();
    assert!(text(config.clone()).await.contains("specify an API key"));
    config.api_key = Some(ApiKey::new(" "));
    assert!(text(config).await.contains("is empty"));

    let blocked = other.path().join("file");
    std::fs::write(&blocked, "").unwrap();
    assert!(text(Config::new(blocked.join("data"))).await.contains("cannot use the data directory"));

    let mut config = Config::new(other.path());
    let table = |block: &str, path: &str| EnrichTable {
        block: block.to_owned(),
        path: other.path().join(path),
        key: "k".to_owned(),
    };
    config.enrich = vec![table("filter", "file")];
    assert!(text(config.clone()).await.contains("no enrichment block is called 'filter'"));
    config.enrich = vec![table("find_email", "missing.csv")];
    assert!(text(config.clone()).await.contains("missing.csv"));
    config.max_enrich_bytes = 3;
    std::fs::write(other.path().join("big.csv"), "k,v\n1,2\n").unwrap();
    config.enrich = vec![table("find_email", "big.csv")];
    assert!(text(config).await.contains("more than the limit"));
}

#[tokio::test]
async fn block_types_are_listed_with_their_schemas() {
    let local = Local::start().await;
    let blocks = local.get("/workflows/blocks").await.ok();
    let filter = blocks.as_array().unwrap().iter().find(|block| block["block_name"] == "filter").unwrap();
    let operators = &filter["specs_schema"]["properties"]["filters"]["items"]["properties"]["operator"]["enum"];
    assert_eq!(operators.as_array().map(Vec::len), Some(11));
    assert_eq!(filter["specs_schema"]["required"], json!(["filters"]));
    assert_ne!(blocks[0]["specs_schema"], Value::Null);
}
