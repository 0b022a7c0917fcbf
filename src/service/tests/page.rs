//! The HTML page, over plain HTTP: its content, escaping and access control.

use reqwest::{Method, Response};
use serde_json::json;

use super::Local;
use crate::secret::ApiKey;

async fn open(local: &Local, path: &str) -> (u16, String) {
    let response = local.client.get(format!("{}{path}", local.service.base_url())).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn runs_their_graph_and_their_results_are_shown() {
    let local = Local::start().await;
    let (status, text) = open(&local, "/").await;
    assert_eq!(status, 200);
    assert!(text.contains("There is no workflow yet.") && text.contains("There is no run yet."), "{text}");

    let filter = json!({ "filters": [{ "column": "n", "operator": "greater", "value": 1 }] });
    let workflow = local.chain(&[("webhook", json!({})), ("filter", filter)]).await;
    let payload = json!({ "webhook_payload": [{ "n": 1 }, { "n": 2 }, { "n": 3 }] });
    let run = local.run(&workflow, "&result_formats=ndjson", payload).await;
    local.completed(&run).await;
    let (_, text) = open(&local, "/").await;
    assert!(text.contains(&format!("href=\"/ui/runs/{run}\"")), "{text}");
    assert!(text.contains(&format!("href=\"/ui/workflows/{workflow}\"")), "{text}");
    assert!(text.contains("data-state=\"completed\"") && text.contains("webhook, filter"), "{text}");

    let (status, text) = open(&local, &format!("/ui/runs/{run}")).await;
    assert_eq!(status, 200);
    assert_eq!(text.matches("class=\"node completed\"").count(), 2, "{text}");
    assert_eq!(text.matches("class=\"edge\"").count(), 1);
    assert!(text.contains("block 2 filter after 1, completed"), "{text}");
    let file = format!("/ui/runs/{run}/files/block_2_filter.ndjson");
    assert!(text.contains(&file), "{text}");
    assert_eq!(open(&local, &file).await, (200, "{\"n\":2}\n{\"n\":3}\n".to_owned()));
    assert_eq!(open(&local, &format!("/ui/runs/{run}/files/input.ndjson")).await.0, 404);
    let (status, text) = open(&local, &format!("/ui/workflows/{workflow}")).await;
    assert_eq!(status, 200);
    assert!(text.contains(&run) && text.contains("class=\"node \""), "{text}");
    assert_eq!(open(&local, "/ui/runs/x").await.0, 404);
    assert_eq!(open(&local, "/ui/workflows/%FF").await.0, 404);
}

#[tokio::test]
async fn names_from_outside_are_escaped() {
    let local = Local::start().await;
    let marked = "<script>alert(1)</script>\"'><img src=x>";
    let mut body = super::create(&[("webhook", json!({})), ("deduplicate", json!({ "columns": [marked] }))]);
    body["workflow_name"] = json!(marked);
    body["workflow_description"] = json!(marked);
    let workflow = local.post("/workflows/create_workflow", body).await.ok();
    let workflow = workflow["id"].as_str().unwrap();
    let run = local.run(workflow, "", json!({ "webhook_payload": [{ "n": 1 }] })).await;
    assert_eq!(local.ended(&run).await["overall_status"], "failed");
    for path in ["/".to_owned(), format!("/ui/runs/{run}"), format!("/ui/workflows/{workflow}")] {
        let (status, text) = open(&local, &path).await;
        assert_eq!(status, 200);
        assert!(text.contains("&lt;script&gt;alert(1)"), "{path}: {text}");
        assert!(!text.contains("<script>alert") && !text.contains("<img"), "{path}: {text}");
    }
    let response = local.client.get(local.service.base_url()).send().await.unwrap();
    let policy = header(&response, "content-security-policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(header(&response, "x-content-type-options"), "nosniff");
    assert_eq!(header(&response, "cache-control"), "no-store");
}

#[tokio::test]
async fn without_a_key_the_page_rejects_foreign_host_names() {
    let local = Local::start().await;
    let request = local.client.get(local.service.base_url()).header("host", "rebound.test:8064");
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 403);
    assert!(header(&response, "content-type").starts_with("text/html"));
    let text = response.text().await.unwrap();
    assert!(text.contains("start the service with this name as an allowed host") && !text.contains("id=\"live\""));
}

#[tokio::test]
async fn with_a_key_the_page_asks_for_it() {
    let local = Local::start_with(|config| config.api_key = Some(ApiKey::new("right"))).await;
    let base = local.service.base_url();
    let (status, text) = open(&local, "/").await;
    assert_eq!(status, 401);
    assert!(text.contains("type=\"password\"") && !text.contains("id=\"live\""), "{text}");
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let login = |key: &str| {
        let form = url::form_urlencoded::Serializer::new(String::new()).append_pair("key", key).finish();
        client.post(format!("{base}/ui/login")).body(form).send()
    };
    assert_eq!(login("wrong").await.unwrap().status(), 401);
    let response = login("right").await.unwrap();
    assert_eq!(response.status(), 303);
    let cookie = header(&response, "set-cookie").to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && !cookie.contains("right"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let shown = local.client.get(&base).header("cookie", format!("a=b; {cookie}")).send().await.unwrap();
    assert_eq!(shown.status(), 200);
    let shown = local.client.get(&base).header("cookie", format!("{cookie}0")).send().await.unwrap();
    assert_eq!(shown.status(), 401);
    // The session cookie of the page does not authorize API requests.
    let response =
        local.client.request(Method::GET, format!("{base}/workflows")).header("cookie", &cookie).send().await;
    assert_eq!(response.unwrap().status(), 401);
    for _ in 0..30 {
        login("wrong").await.unwrap();
    }
    assert_eq!(login("right").await.unwrap().status(), 401, "login attempts are limited");
}
