//! Host names of requests: a foreign web page that rebinds its own name reaches nothing, on no path.

use reqwest::{Method, StatusCode};
use serde_json::json;

use super::{JsonResponse, Local};
use crate::secret::ApiKey;

/// One request for each kind of path; the last two do not exist.
const PATHS: [(&str, &str); 14] = [
    ("GET", "/workflows"),
    ("GET", "/workflows/blocks"),
    ("POST", "/workflows/create_workflow"),
    ("GET", "/workflows/runs"),
    ("POST", "/storage/csv/upload"),
    ("GET", "/webhooks/signing-secret"),
    ("GET", "/admin/clock"),
    ("GET", "/healthz"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
    ("GET", "/"),
    ("POST", "/ui/login"),
    ("GET", "/unknown"),
    ("DELETE", "/workflows"),
];

async fn status(local: &Local, (method, path): (&str, &str), headers: &[(&str, &str)]) -> StatusCode {
    let mut request = local.request(method.parse().unwrap(), path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap().status()
}

#[tokio::test]
async fn a_rebound_name_reaches_no_path_without_a_key() {
    let local = Local::start_with(|config| {
        config.admin = true;
        config.allow_hosts = vec!["drawoff".to_owned()];
    })
    .await;
    for path in PATHS {
        for headers in [
            &[("host", "evil.test:8064"), ("origin", "http://evil.test:8064")][..],
            &[("host", "evil.test")],
            &[("host", "evil.test"), ("x-forwarded-host", "127.0.0.1"), ("forwarded", "host=127.0.0.1")],
            &[("origin", "http://evil.test")],
            &[("origin", "null")],
        ] {
            assert_eq!(status(&local, path, headers).await, 403, "{path:?} {headers:?}");
        }
        for headers in
            [&[][..], &[("host", "drawoff:8064")], &[("host", "localhost"), ("x-forwarded-host", "evil.test")]]
        {
            assert_ne!(status(&local, path, headers).await, 403, "{path:?} {headers:?}");
        }
    }
    // A signed link is refused too, and links never lead to a name of the client's choice.
    let workflow = local.chain(&[("webhook", json!({}))]).await;
    let run = local.run(&workflow, "", json!({ "webhook_payload": [{ "a": 1 }] })).await;
    local.completed(&run).await;
    let link = local.links(&run, "csv").await[0]["download_url"].as_str().unwrap().to_owned();
    let rebound = local.client.get(&link).header("host", "evil.test").send().await.unwrap();
    let text = JsonResponse::read(rebound).await.rejected(403);
    assert!(text.contains("the host name \"evil.test\" is not allowed") && text.contains("allowed host"), "{text}");
    let links = format!("/workflows/runs/{run}/results/download-links");
    let forwarded = local.request(Method::GET, &links).header("x-forwarded-host", "evil.test").send().await.unwrap();
    assert!(!JsonResponse::read(forwarded).await.ok().to_string().contains("evil"));
}

#[tokio::test]
async fn a_browser_can_log_in_under_an_allowed_name() {
    let local = Local::start_with(|config| {
        config.api_key = Some(ApiKey::new("k-test"));
        config.allow_hosts = vec!["one.test".to_owned()];
    })
    .await;
    // Under `no-referrer`, browsers send `Origin: null` with the form of a page, to the page's own origin too.
    let page = local.request(Method::GET, "/").header("host", "one.test").send().await.unwrap();
    assert_eq!(page.status(), 401);
    assert_eq!(page.headers()["referrer-policy"], "same-origin");
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let login = |origin: &str| {
        let request = client.post(format!("{}/ui/login", local.service.base_url()));
        request.header("host", "one.test").header("origin", origin).body("key=k-test").send()
    };
    let response = login("https://one.test").await.unwrap();
    assert!(response.status() == 303 && response.headers().contains_key("set-cookie"));
    assert_eq!(login("null").await.unwrap().status(), 403);
}

#[tokio::test]
async fn with_a_key_names_are_accepted_unless_some_are_listed() {
    let open = Local::start_with(|config| config.api_key = Some(ApiKey::new("k-test"))).await;
    assert_eq!(status(&open, ("GET", "/workflows"), &[("host", "any.test")]).await, 200);
    let listed = Local::start_with(|config| {
        config.api_key = Some(ApiKey::new("k-test"));
        config.allow_hosts = vec!["one.test".to_owned()];
    })
    .await;
    assert_eq!(status(&listed, ("GET", "/workflows"), &[("host", "any.test")]).await, 403);
    assert_eq!(status(&listed, ("GET", "/workflows"), &[("host", "one.test")]).await, 200);
    assert_eq!(status(&listed, ("GET", "/metrics"), &[]).await, 200);
}

/// Every method of the API is among those that a page of an allowed origin may send.
#[tokio::test]
async fn pages_may_send_all_methods_of_the_api() {
    let origin = "https://app.test";
    let local = Local::start_with(|config| config.allow_origins = vec![origin.to_owned()]).await;
    let url = format!("{}/schedules/x", local.service.base_url());
    let request = local.client.request(reqwest::Method::OPTIONS, url).header("origin", origin);
    let response = request.header("access-control-request-method", "PATCH").send().await.unwrap();
    let allowed = response.headers()["access-control-allow-methods"].to_str().unwrap().to_owned();
    for method in ["GET", "POST", "PATCH", "DELETE"] {
        assert!(allowed.contains(method), "{method}: {allowed}");
    }
}
