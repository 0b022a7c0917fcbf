//! Requests about one person or company, deep searches and interactive workflows, over the same providers as blocks.

use std::io::Write as _;

use axum::http::Method;
use serde_json::{Value, json};

use super::{Local, create};
use crate::secret::ApiKey;
use crate::service::config::{Config, EnrichTable};

/// Starts a service with tables for companies, people and searches.
async fn start() -> (Local, tempfile::TempDir) {
    let tables = tempfile::tempdir().unwrap();
    let table = |block: &str, key: &str, text: &str| {
        let path = tables.path().join(format!("{block}.ndjson"));
        std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
        EnrichTable { block: block.to_owned(), path, key: key.to_owned() }
    };
    let enrich = vec![
        table(
            "company_enrichment",
            "domain",
            "{\"domain\":\"a.test\",\"employees\":\"240\",\"leads\":[{\"name\":\"Ada\"}]}\n",
        ),
        table("lead_enrichment", "email", "{\"email\":\"ada@a.test\",\"age\":36,\"title\":\"CEO\"}\n"),
        table("search", "", "{\"name\":\"Ada\",\"n\":1}\n{\"name\":\"Bob\",\"n\":2}\n{\"name\":\"Cy\",\"n\":3}\n"),
    ];
    let local = Local::start_with(|config: &mut Config| {
        config.enrich = enrich;
        config.admin = true;
    });
    (local.await, tables)
}

#[tokio::test]
async fn one_person_or_company_is_enriched_by_the_table_of_the_block() {
    let (local, _tables) = start().await;
    let body = json!({
        "target_company": { "domain": "a.test", "big": 12345678901234567i64 },
        "struct": { "employees": { "description": "Number", "type": "int" }, "unknown": "Nothing" },
        "find_people": true, "field_confidence": true, "people_focus_prompt": "x", "another": 1,
    });
    for path in ["/company-intelligence", "/enrich-company"] {
        let found = local.post(path, body.clone()).await.ok();
        assert_eq!(
            found["structured_data"],
            json!({ "employees": 240, "unknown": null, "leads": [{ "name": "Ada" }] }),
            "{found}"
        );
        assert_eq!(found["field_confidence"], json!({ "employees": null, "unknown": null, "leads": null }));
        assert_eq!((&found["findings"], &found["confidence_score"]), (&json!([]), &Value::Null));
    }
    // Without a struct a person gets all that the table has.
    let found = local.post("/people-intelligence", json!({ "lead_info": { "email": "ada@a.test" } })).await.ok();
    assert_eq!(found["structured_data"], json!({ "age": 36, "title": "CEO" }));
    assert!(found.get("field_confidence").is_none());
    // A job is a run: it is in the lists, in the journal with its id, and has a result instead of files.
    let started =
        local.post("/people-intelligence-async", json!({ "lead_info": { "email": "ada@a.test" } })).await.ok();
    assert_eq!(started["status"], "RUNNING");
    let job = started["task_id"].as_str().unwrap();
    local.completed(job).await;
    let status = local.get(&format!("/job-status/{job}")).await.ok();
    assert_eq!(status["result"]["structured_data"], json!({ "age": 36, "title": "CEO" }));
    assert!(status.get("results").is_none());
    let journal = local.get(&format!("/admin/requests?run_id={job}")).await.ok();
    assert_eq!(journal[0]["path"], "/people-intelligence-async");
    let runs = local.get("/workflows/runs").await.ok();
    assert_eq!(runs.as_array().unwrap().len(), 4);
    assert_eq!(runs[0]["workflow_name"], "People Intelligence");
}

#[tokio::test]
async fn requests_without_a_table_have_a_note_and_wrong_ones_are_refused() {
    let local = Local::start().await;
    let body = json!({ "lead_info": { "name": "Ada" }, "struct": { "email": "Address" } });
    let found = local.post("/enrich-lead", body).await.ok();
    assert_eq!(found["structured_data"], json!({ "email": null }));
    assert!(found["notes"].as_str().unwrap().starts_with("no enrichment source for lead_enrichment"), "{found}");
    for (path, body, place) in [
        ("/people-intelligence", json!({}), json!(["body", "lead_info"])),
        ("/people-intelligence", json!({ "lead_info": 1 }), json!(["body", "lead_info"])),
        ("/people-intelligence", json!({ "lead_info": {}, "tier": "best" }), json!(["body", "tier"])),
        ("/company-intelligence", json!({ "target_company": {} }), json!(["body", "struct"])),
        ("/company-intelligence-async", json!([]), json!(["body"])),
        ("/search/start-deep-search", json!({}), json!(["body", "query"])),
        ("/search/start-deep-search", json!({ "query": "x", "mode": "all" }), json!(["body", "mode"])),
        ("/search/start-deep-search", json!({ "query": "x", "max_results": -1 }), json!(["body", "max_results"])),
        ("/workflows/interactive/start", json!({ "specs": {} }), json!(["body", "block_name"])),
        ("/workflows/interactive/start", json!({ "block_name": "webhook" }), json!(["body", "specs"])),
    ] {
        let refused = local.post(path, body.clone()).await;
        assert_eq!(refused.status, 422, "{path} {body}");
        assert_eq!(refused.body["detail"][0]["loc"], place, "{path} {body}");
    }
    let excluding = json!({ "query": "x", "exclude_public_ids": ["a"] });
    assert!(local.post("/search/start-deep-search", excluding).await.rejected(501).contains("`exclude_public_ids`"));
    assert_eq!(local.get("/search/status/x").await.rejected(404), "Search not found");
}

#[tokio::test]
async fn a_deep_search_is_a_run_whose_rows_have_a_handle() {
    let (local, _tables) = start().await;
    let body = json!({ "query": "people", "max_results": 2, "search_id": "mine" });
    let started = local.post("/search/start-deep-search", body.clone()).await.ok();
    assert_eq!(started["message"], "Search started successfully");
    let task = started["task_id"].as_str().unwrap();
    // The client's id makes a retry safe.
    assert_eq!(local.post("/search/start-deep-search", body).await.ok()["task_id"], task);
    local.completed(task).await;
    let status = local.get(&format!("/search/deep-search-status/{task}")).await.ok();
    assert_eq!((&status["status"], &status["total_results"]), (&json!("completed"), &json!(2)), "{status}");
    assert_eq!(local.get(&format!("/search/status/{task}")).await.ok(), status);
    let handle = status["resource_handle_id"].as_str().unwrap();
    let link = local.get(&format!("/search/download?resource_handle_id={handle}")).await.ok();
    let text = local.client.get(link["url"].as_str().unwrap()).send().await.unwrap().text().await.unwrap();
    assert_eq!(text, "name,n\nAda,1\nBob,2\n");
    // It is the input of a workflow as any upload is.
    let workflow = local.chain(&[("read_csv", json!({ "resource_handle_id": handle }))]).await;
    let run = local.run(&workflow, "", json!({})).await;
    assert_eq!(local.completed(&run).await["blocks"][0]["metrics"]["row_count"], 2);
    // A run of another kind is no search.
    assert_eq!(local.get(&format!("/search/status/{run}")).await.rejected(404), "Search not found");
}

impl Local {
    async fn add_block(&self, job: &str, name: &str, specs: Value, parent: &str) -> Value {
        let body = json!({ "block_name": name, "specs": specs, "parent_block_id": parent });
        self.post(&format!("/workflows/interactive/{job}/add-block"), body).await.ok()
    }

    /// Waits until no block of a session waits or runs, and returns its state.
    async fn settled(&self, job: &str) -> Value {
        for _ in 0..3000 {
            let state = self.get(&format!("/workflows/interactive/{job}/state")).await.ok();
            let is_open = |block: &Value| block["status"] == "pending" || block["status"] == "running";
            if !state["blocks"].as_array().unwrap().iter().any(is_open) {
                return state;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("the blocks of {job} did not end");
    }
}

#[tokio::test]
async fn blocks_are_added_to_an_interactive_workflow_and_its_chain_is_saved() {
    let (local, _tables) = start().await;
    let rows = json!([{ "n": 1, "tags": ["a"] }, { "n": 22, "tags": [] }, { "n": 22, "tags": [] }]);
    let body = json!({ "block_name": "webhook", "specs": {}, "webhook_payload": rows });
    let job = local.post("/workflows/interactive/start", body).await.ok()["job_id"].as_str().unwrap().to_owned();
    let state = local.settled(&job).await;
    assert_eq!(state["overall_status"], "running");
    let source = state["blocks"][0]["block_id"].as_str().unwrap().to_owned();
    // Two at once: the second waits for the first.
    let filters = json!({ "filters": [{ "column": "n", "operator": "greater", "value": 5 }] });
    let filter = local.add_block(&job, "filter", filters, &source).await;
    let filter = filter["block_id"].as_str().unwrap().to_owned();
    let last = local.add_block(&job, "deduplicate", json!({}), &filter).await;
    let last = last["block_id"].as_str().unwrap().to_owned();
    let of_absent_column = json!({ "filters": [{ "column": "none", "operator": "is_empty" }] });
    let failing = local.add_block(&job, "filter", of_absent_column, &source).await;
    let failing = failing["block_id"].as_str().unwrap().to_owned();
    let behind = local.add_block(&job, "deduplicate", json!({}), &failing).await;
    assert_eq!(behind["accepted"], true);
    let state = local.settled(&job).await;
    let statuses: Vec<&Value> = state["blocks"].as_array().unwrap().iter().map(|block| &block["status"]).collect();
    assert_eq!(json!(statuses), json!(["completed", "completed", "completed", "failed", "failed"]), "{state}");
    assert_eq!(state["blocks"][2]["previous_block_ids"], json!([filter]));
    assert_eq!(state["blocks"][4]["error_message"], "the block before it has not completed");
    assert_eq!(state["completed_blocks"], 3);
    // Types are kept from block to block.
    let path = format!("/workflows/interactive/{job}/output?block_id={last}");
    let output = local.get(&path).await.ok();
    assert_eq!((&output["block_id"], &output["row_count"]), (&json!(last), &json!(1)));
    let handle = output["resource_handle_id"].as_str().unwrap();
    let link = local.get(&format!("/search/download?resource_handle_id={handle}")).await.ok();
    let text = local.client.get(link["url"].as_str().unwrap()).send().await.unwrap().text().await.unwrap();
    assert_eq!(text, "{\"n\":22,\"tags\":[]}\n");
    let path = format!("/workflows/interactive/{job}/output?block_id={failing}");
    assert_eq!(local.get(&path).await.rejected(400), "the block has not completed");

    for (specs, parent, why) in [
        (json!({ "filters": 1 }), source.as_str(), "filter"),
        (json!({ "filters": [] }), "none", "the session has no block \"none\""),
    ] {
        let refused = local.add_block(&job, "filter", specs, parent).await;
        assert_eq!((&refused["accepted"], &refused["block_id"]), (&json!(false), &Value::Null));
        assert!(refused["error"].as_str().unwrap().contains(why), "{refused}");
    }
    let saved = json!({ "block_id": last, "workflow_name": "Chain" });
    let workflow = local.post(&format!("/workflows/interactive/{job}/save"), saved).await.ok();
    let names: Vec<&Value> = workflow["workflow_definition"]["blocks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|block| &block["block_name"])
        .collect();
    assert_eq!(json!(names), json!(["webhook", "filter", "deduplicate"]));
    let run = local.run(workflow["id"].as_str().unwrap(), "", json!({ "webhook_payload": [{ "n": 9 }] })).await;
    assert_eq!(local.completed(&run).await["blocks"][2]["metrics"]["row_count"], 1);

    let finished = local.post(&format!("/workflows/interactive/{job}/finish"), Value::Null).await.ok();
    assert_eq!(finished["status"], "failed", "a block of it has failed");
    let refused = local.add_block(&job, "deduplicate", json!({}), &source).await;
    assert_eq!(refused["error"], "the session is finished");
    // A reset ends all sessions.
    local.post("/admin/reset", Value::Null).await.ok();
    assert_eq!(local.get(&format!("/workflows/interactive/{job}/state")).await.rejected(404), "Job not found");
}

/// Columns are known after a block without rows.
#[tokio::test]
async fn an_interactive_block_without_rows_keeps_its_columns() {
    let local = Local::start().await;
    let body = json!({ "block_name": "webhook", "specs": {}, "webhook_payload": [{ "n": 1 }] });
    let job = local.post("/workflows/interactive/start", body).await.ok()["job_id"].as_str().unwrap().to_owned();
    let source = local.settled(&job).await["blocks"][0]["block_id"].as_str().unwrap().to_owned();
    let filters = json!({ "filters": [{ "column": "n", "operator": "greater", "value": 5 }] });
    let none = local.add_block(&job, "filter", filters.clone(), &source).await["block_id"].as_str().unwrap().to_owned();
    local.add_block(&job, "filter", filters, &none).await;
    let state = local.settled(&job).await;
    assert_eq!(state["completed_blocks"], 3, "{state}");
    let finished = local.post(&format!("/workflows/interactive/{job}/finish"), Value::Null).await.ok();
    assert_eq!(finished["status"], "completed");
}

/// Paths that are not offered are of the API: the key comes first, the limit counts them, faults strike them.
#[tokio::test]
async fn what_is_not_offered_has_the_key_and_the_limit_of_the_rest() {
    let local = Local::start_with(|config| {
        config.api_key = Some(ApiKey::new("right"));
        config.rate_limit = 3;
    })
    .await;
    let get = |path: &'static str, key: &'static str| {
        let request = local.client.request(Method::GET, format!("{}{path}", local.service.base_url()));
        request.header("x-api-key", key).send()
    };
    assert_eq!(get("/api/usage", "wrong").await.unwrap().status(), 401);
    assert_eq!(get("/nowhere", "wrong").await.unwrap().status(), 404);
    let response = get("/api/usage", "right").await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["x-ratelimit-remaining"]),
        (501, &"2".parse().unwrap())
    );
    assert_eq!(get("/search/query", "right").await.unwrap().status(), 501);
    assert_eq!(get("/check-balance", "right").await.unwrap().status(), 200);
    assert_eq!(get("/api/usage", "right").await.unwrap().status(), 429);
}

#[tokio::test]
async fn faults_strike_every_path_of_the_api() {
    let local = Local::start_with(|config| config.faults.rules = vec!["402,on=api,times=1".parse().unwrap()]).await;
    let search = json!({ "query": "x" });
    assert_eq!(local.post("/search/start-deep-search", search.clone()).await.status, 402);
    local.post("/search/start-deep-search", search).await.ok();
    for path in ["/check-balance", "/schedules", "/webhooks/signing-secret", "/api/usage"] {
        assert_eq!(local.get(path).await.status, 402, "{path}");
    }
    assert_eq!(local.get("/openapi.json").await.status, 200);
    let body = create(&[("webhook", json!({}))]);
    assert_eq!(local.post("/workflows/create_workflow", body).await.status, 402);
}
