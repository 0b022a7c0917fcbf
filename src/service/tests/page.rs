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
    assert!(text.contains("How to begin") && text.contains("curl -sS -H &#39;x-api-key: any&#39;"), "{text}");

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
    // One drawing for wide screens and one for narrow ones.
    assert_eq!(text.matches("class=\"node completed\"").count(), 2 * 2, "{text}");
    assert_eq!(text.matches("class=\"edge\"").count(), 2);
    assert!(text.contains("2 rows, ") && text.contains("&quot;operator&quot;: &quot;greater&quot;"), "{text}");
    assert!(text.contains("block 2 filter after 1, completed"), "{text}");
    let file = format!("/ui/runs/{run}/files/block_2_filter.ndjson");
    assert!(text.contains(&file), "{text}");
    assert_eq!(open(&local, &file).await, (200, "{\"n\":2}\n{\"n\":3}\n".to_owned()));
    assert_eq!(open(&local, &format!("/ui/runs/{run}/files/input.ndjson")).await.0, 404);
    let (status, text) = open(&local, &format!("/ui/workflows/{workflow}")).await;
    assert_eq!(status, 200);
    assert!(text.contains(&run) && text.contains("class=\"node \""), "{text}");
    for (path, gone) in [
        ("/ui/runs/x", "has no run <code>x</code>"),
        ("/ui/runs/x/input", "has no run <code>x</code>"),
        ("/ui/runs/x/blocks/1", "has no run <code>x</code>"),
        ("/ui/workflows/w", "has no workflow <code>w</code>"),
        (&format!("/ui/runs/{run}/blocks/3"), "has no block 3"),
        (&format!("/ui/runs/{run}/files/no.csv"), "has no result file no.csv"),
        ("/ui/workflows/%FF", "no page at this address"),
        ("/ui/unknown", "no page at this address"),
    ] {
        let (status, text) = open(&local, path).await;
        assert!(status == 404 && text.contains(gone), "{path}: {text}");
    }
    // A deleted workflow is no link, and its page leads to the runs that it left.
    local.post(&format!("/workflows/delete_workflow?workflow_id={workflow}"), json!(null)).await.ok();
    assert!(!open(&local, &format!("/ui/runs/{run}")).await.1.contains("href=\"/ui/workflows/"));
    let (status, text) = open(&local, &format!("/ui/workflows/{workflow}")).await;
    assert!(
        status == 404 && text.contains("workflow is gone") && text.contains(&format!("/?q={workflow}\">1 run")),
        "{text}"
    );
}

#[tokio::test]
async fn rows_are_shown_with_their_kinds_whatever_the_format() {
    let local = Local::start().await;
    let workflow = local.chain(&[("webhook", json!({}))]).await;
    // The service keeps up to 20 rows as they are; more are in the file, where CSV has no types but those of its cells.
    for (formats, n) in [("&result_formats=ndjson", 60), ("", 60), ("", 3), ("&result_formats=json", 21)] {
        let rows: Vec<_> =
            (0..n).map(|i| json!({ "zip": format!("00{i}"), "n": i, "<b>": "<i>", "list": [i] })).collect();
        let run = local.run(&workflow, formats, json!({ "webhook_payload": rows })).await;
        local.completed(&run).await;
        for path in ["input", "blocks/1"] {
            let (status, text) = open(&local, &format!("/ui/runs/{run}/{path}")).await;
            let shown = std::cmp::min(n, 50);
            assert_eq!((status, text.matches("<tr>").count()), (200, 1 + shown), "{formats} {path}: {text}");
            for part in [
                "zip<br><span class=\"kind\">text<",
                "n<br><span class=\"kind\">integer<",
                ">001<",
                "&lt;b&gt;",
                "&lt;i&gt;",
            ] {
                assert!(text.contains(part), "{formats} {path} {part}: {text}");
            }
            let said = if n > 50 { "The first 50 of 60 rows.".to_owned() } else { format!("{n} rows, all of them.") };
            assert!(text.contains(&said), "{text}");
        }
    }
    let handle = local.upload("people.csv", "name,zip\nA,007\n").await;
    let reading = local.chain(&[("read_csv", json!({ "resource_handle_id": handle }))]).await;
    let run = local.run(&reading, "", json!({})).await;
    local.completed(&run).await;
    let (_, text) = open(&local, &format!("/ui/runs/{run}/input")).await;
    assert!(text.contains(">007<"), "{text}");
}

#[tokio::test]
async fn runs_are_searched_filtered_and_paged() {
    let local = Local::start().await;
    let (a, b) = (local.chain(&[("webhook", json!({}))]).await, local.chain(&[("webhook", json!({}))]).await);
    let mut runs = Vec::new();
    for i in 0..53 {
        let workflow = if i == 0 { &b } else { &a };
        runs.push(local.run(workflow, "", json!({ "webhook_payload": [{ "i": i }] })).await);
        local.completed(&runs[i]).await;
    }
    let rows = |text: &str| text.matches("<tr data-run=").count();
    let (_, first) = open(&local, "/").await;
    assert!(rows(&first) == 50 && first.contains("Older runs") && !first.contains("Newer runs"));
    let (_, second) = open(&local, "/?page=2").await;
    assert!(
        rows(&second) == 3
            && !second.contains("Older runs")
            && second.contains("Newer runs")
            && second.contains(&runs[0])
    );
    for (query, n) in [
        (format!("q={b}"), 1),
        (format!("q={}", &runs[7][..13]), 1),
        ("q=no+such".to_owned(), 0),
        ("state=completed".to_owned(), 50),
        ("state=failed".to_owned(), 0),
        ("state=active".to_owned(), 0),
        ("state=nonsense".to_owned(), 0),
    ] {
        assert_eq!(rows(&open(&local, &format!("/?{query}")).await.1), n, "{query}");
    }
    let (_, of_workflow) = open(&local, &format!("/ui/workflows/{a}?page=2")).await;
    assert_eq!(rows(&of_workflow), 2);
}

#[tokio::test]
async fn a_page_that_is_known_is_not_sent_again() {
    let local = Local::start().await;
    let response = local.client.get(local.service.base_url()).send().await.unwrap();
    let tag = header(&response, "etag").to_owned();
    assert!(!tag.is_empty() && header(&response, "content-security-policy").contains("default-src 'none'"));
    let again = || local.client.get(local.service.base_url()).header("if-none-match", &tag).send();
    let known = again().await.unwrap();
    assert_eq!(known.status(), 304);
    assert_eq!(known.bytes().await.unwrap().len(), 0);
    local.chain(&[("webhook", json!({}))]).await;
    assert_eq!(again().await.unwrap().status(), 200);
}

#[tokio::test]
async fn actions_need_the_header_and_the_session_or_a_key() {
    for key in [None, Some("right")] {
        let local = Local::start_with(|config| config.api_key = key.map(ApiKey::new)).await;
        let base = local.service.base_url();
        let api = |method, path: &str| {
            local.client.request(method, format!("{base}{path}")).header("x-api-key", key.unwrap_or("any"))
        };
        let made = api(Method::POST, "/workflows/create_workflow").json(&super::create(&[("webhook", json!({}))]));
        let made: serde_json::Value = made.send().await.unwrap().json().await.unwrap();
        let workflow = made["id"].as_str().unwrap();
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let login = client.post(format!("{base}/ui/login")).body("key=right").send().await.unwrap();
        let cookie = header(&login, "set-cookie").split(';').next().unwrap().to_owned();
        let act = |path: &str, headers: &[(&str, &str)]| {
            let mut request = local.client.post(format!("{base}/ui/actions/{path}"));
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            request.body("{\"webhook_payload\":[{\"a\":1}]}").send()
        };
        let start = format!("run?workflow_id={workflow}");
        let session = ("cookie", cookie.as_str());
        let page = ("x-drawoff-page", "1");
        // Neither header nor session; the session alone; from another origin; a wrong session.
        assert_eq!(act(&start, &[]).await.unwrap().status(), 403);
        assert_eq!(act(&start, &[session]).await.unwrap().status(), 403);
        assert_eq!(act(&start, &[session, page, ("sec-fetch-site", "same-site")]).await.unwrap().status(), 403);
        assert_eq!(act(&start, &[session, page, ("origin", "http://127.0.0.1:1")]).await.unwrap().status(), 403);
        let wrong = act(&start, &[page, ("cookie", "drawoff_page_1=x")]).await.unwrap().status();
        assert_eq!(wrong, if key.is_some() { 401 } else { 200 });
        let n_before = usize::from(key.is_none());
        let response = act(&start, &[session, page, ("sec-fetch-site", "same-origin")]).await.unwrap();
        let run: serde_json::Value = response.json().await.unwrap();
        let run = run["job_id"].as_str().unwrap().to_owned();
        let status = |run: String| {
            let request = api(Method::GET, &format!("/workflows/runs/{run}/live_status"));
            async move { request.send().await.unwrap().json::<serde_json::Value>().await.unwrap()["overall_status"].clone() }
        };
        while status(run.clone()).await != "completed" {
            tokio::task::yield_now().await;
        }
        let by_key = [page, ("x-api-key", key.unwrap_or("any"))];
        let again = act(&format!("again?run_id={run}"), &by_key).await.unwrap();
        let again: serde_json::Value = again.json().await.unwrap();
        assert_ne!(again["job_id"], run.as_str());
        let deleted = act(&format!("delete_run?run_id={run}"), &[session, page]).await.unwrap();
        assert_eq!(deleted.status(), 200);
        for path in [format!("again?run_id={run}"), format!("delete_run?run_id={run}")] {
            assert_eq!(act(&path, &[session, page]).await.unwrap().status(), 404, "{path}");
        }
        assert!(!local.data_dir().join("runs").join(&run).exists());
        let runs = api(Method::GET, "/workflows/runs").send().await.unwrap().json::<serde_json::Value>().await.unwrap();
        assert_eq!(runs.as_array().unwrap().len(), n_before + 1);
        // Nothing of the page is in the journal, which is for what clients do.
        let journal = api(Method::GET, "/admin/requests").send().await.unwrap().text().await.unwrap();
        assert!(!journal.contains("/ui/"), "{journal}");
    }
}

#[tokio::test]
async fn a_run_of_a_page_begins_again_with_the_same_rows_and_specs() {
    let local = Local::start().await;
    let workflow = local.chain(&[("webhook", json!({})), ("filter", json!({ "filters": [] }))]).await;
    let payload = json!({ "webhook_payload": [{ "n": 1.5 }], "specs_override": { "dataframe_type": "COMPANY" } });
    let run = local.run(&workflow, "&result_formats=ndjson", payload).await;
    local.completed(&run).await;
    let again = |run: String| {
        let request = local.client.post(format!("{}/ui/actions/again?run_id={run}", local.service.base_url()));
        async move { super::JsonResponse::read(request.header("x-drawoff-page", "1").send().await.unwrap()).await }
    };
    let second = again(run.clone()).await.ok()["job_id"].as_str().unwrap().to_owned();
    local.completed(&second).await;
    let live = local.status(&second).await;
    assert_eq!(live["blocks"][0]["metrics"]["dataframe_type"], "COMPANY");
    let (_, text) = open(&local, &format!("/ui/runs/{second}/files/block_2_filter.ndjson")).await;
    assert_eq!(text, "{\"n\":1.5}\n");
    // A run of a run, whose first one is gone, has its own input.
    std::fs::remove_file(local.data_dir().join("runs").join(&run).join("input.ndjson")).unwrap();
    let text = again(run).await.rejected(400);
    assert!(text.contains("the input of this run is gone"), "{text}");
    again(second).await.ok();
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
    let run = local.run(workflow, "", json!({ "webhook_payload": [{ marked: marked }] })).await;
    local.completed(&run).await;
    for path in [
        "/".to_owned(),
        format!("/ui/runs/{run}/input"),
        format!("/ui/runs/{run}/blocks/2"),
        format!("/ui/runs/{run}"),
        format!("/ui/workflows/{workflow}"),
    ] {
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

/// Names that contain the place for a form's contents, or characters that reorder a line, are those of the commands.
#[tokio::test]
async fn commands_have_the_names_of_the_workflow() {
    let local = Local::start().await;
    let mut body = super::create(&[("webhook", json!({ "input_schema": { "a\u{202e}b": "string" } }))]);
    body["id"] = json!("⟦rows⟧⟦body⟧");
    local.post("/workflows/create_workflow", body).await.ok();
    let (status, text) = open(&local, "/ui/workflows/%E2%9F%A6rows%E2%9F%A7%E2%9F%A6body%E2%9F%A7").await;
    assert_eq!(status, 200);
    assert_eq!(text.matches("data-template=").count(), 1, "the run alone is a template");
    assert!(text.contains("{&quot;a\\u202eb&quot;:&quot;text&quot;}") && !text.contains('\u{fffd}'), "{text}");
}

#[tokio::test]
async fn without_a_key_the_page_rejects_foreign_host_names() {
    let local = Local::start().await;
    let request = local.client.get(local.service.base_url()).header("host", "rebound.test:8064");
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 403);
    assert!(header(&response, "content-type").starts_with("text/html"));
    let text = response.text().await.unwrap();
    assert!(text.contains("start the service with this name as an allowed host") && !text.contains("class=\"live\""));
}

#[tokio::test]
async fn with_a_key_the_page_asks_for_it() {
    let local = Local::start_with(|config| config.api_key = Some(ApiKey::new("right"))).await;
    let base = local.service.base_url();
    let (status, text) = open(&local, "/").await;
    assert_eq!(status, 401);
    assert!(text.contains("type=\"password\"") && !text.contains("class=\"live\""), "{text}");
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
    let refused = login("right").await.unwrap();
    assert_eq!(refused.status(), 429, "login attempts are limited");
    let wait: i64 = header(&refused, "retry-after").parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    let text = refused.text().await.unwrap();
    assert!(text.contains("even the right key is refused") && !text.contains("The key is wrong"), "{text}");
}
