//! Blocks that change the number or kind of rows, notebooks, and HTTP endpoints as providers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::{Local, create};
use crate::service::{EnrichEndpoint, EnrichTable};

fn companies() -> Value {
    json!({ "webhook_payload": [
        { "domain": "a.test", "name": "A", "size": 12345678901234567890123_u128.to_string(), "people": [
            { "full_name": "Ada", "title": "CTO" },
            { "full_name": "Bo", "name": "Bo B" },
            "Cy"
        ] },
        { "domain": "b.test", "name": "B", "people": [] },
        { "domain": "c.test", "name": "C", "people": "[{\"full_name\": \"Di\"}, 7]" }
    ] })
}

/// Runs the blocks and returns the rows and the status of the last one.
async fn run(local: &Local, blocks: &[(&str, Value)], body: Value) -> (Vec<Value>, Value) {
    let workflow = local.chain(blocks).await;
    let run = local.run(&workflow, "&result_formats=ndjson", body).await;
    let status = local.completed(&run).await;
    let last = status["blocks"].as_array().unwrap().last().unwrap().clone();
    (local.rows(&run).await, last)
}

#[tokio::test]
async fn companies_and_leads_are_converted_into_each_other() {
    let local = Local::start().await;
    let webhook = ("webhook", json!({ "dataframe_type": "COMPANY" }));
    let to_leads = ("company_to_leads", json!({}));
    let (leads, status) = run(&local, &[webhook.clone(), to_leads.clone()], companies()).await;
    assert_eq!(leads.len(), 4);
    let a = json!({ "company_domain": "a.test", "company_name": "A", "company_size": "12345678901234567890123" });
    let with_company = |mut person: Value| {
        let company = a.as_object().unwrap().clone();
        person.as_object_mut().unwrap().extend(company);
        person
    };
    assert_eq!(leads[0], with_company(json!({ "full_name": "Ada", "title": "CTO" })));
    assert_eq!(leads[1], with_company(json!({ "full_name": "Bo", "name": "Bo B" })));
    assert_eq!(leads[2], with_company(json!({ "name": "Cy" })));
    assert_eq!(leads[3]["full_name"], "Di");
    assert_eq!(status["metrics"]["dataframe_type"], "LEAD");
    assert_eq!((status["processed_count"].clone(), status["metrics"]["row_count"].clone()), (json!(3), json!(4)));
    let note = status["current_step"].as_str().unwrap();
    assert!(note.contains("1 of 3 companies have no list of people"), "{note}");
    assert!(note.contains("1 entries in lists of people are neither an object nor a name"), "{note}");

    let blocks = [webhook, to_leads, ("leads_to_company", json!({}))];
    let (companies, status) = run(&local, &blocks, companies()).await;
    assert_eq!(status["metrics"]["dataframe_type"], "COMPANY");
    assert_eq!(companies.len(), 2);
    assert_eq!(companies[0]["domain"], "a.test");
    assert_eq!((companies[0]["name"].clone(), companies[0]["lead_count"].clone()), (json!("A"), json!(3)));
    assert_eq!(companies[0]["leads"][1], json!({ "full_name": "Bo", "name": "Bo B" }));

    let leads = json!({ "webhook_payload": [{ "email": "x", "firm": "F" }, { "email": "y", "firm": "" }] });
    let by_firm = ("leads_to_company", json!({ "columns": ["firm"] }));
    let (companies, status) = run(&local, &[("webhook", json!({})), by_firm], leads.clone()).await;
    assert_eq!(companies, [json!({ "firm": "F", "lead_count": 1, "leads": [{ "email": "x" }] })]);
    assert!(status["current_step"].as_str().unwrap().starts_with("1 of 2 leads have no company"));
    let workflow = local.chain(&[("webhook", json!({})), ("leads_to_company", json!({}))]).await;
    let run = local.run(&workflow, "", leads).await;
    let text = local.ended(&run).await["blocks"][1]["error_message"].to_string();
    assert!(text.contains("no column identifies a lead's company"), "{text}");
}

#[tokio::test]
async fn groups_have_aggregates_also_when_they_spill() {
    for max_step_bytes in [None, Some(0)] {
        let local = Local::start_with(|config| config.limits.max_step_bytes = max_step_bytes).await;
        let rows: Vec<Value> = (0..3000).map(|i| json!({ "k": i % 700, "n": i, "t": format!("x{}", i % 3) })).collect();
        let specs = json!({
            "columns": ["k"],
            "aggregations": [
                { "function": "count" },
                { "column": "n", "function": "sum" },
                { "column": "n", "function": "mean", "name": "average" },
                { "column": "t", "function": "max" }
            ]
        });
        let blocks = [("webhook", json!({})), ("group_by", specs), ("deduplicate", json!({ "columns": ["k"] }))];
        let (found, status) = run(&local, &blocks, json!({ "webhook_payload": rows })).await;
        assert_eq!(found.len(), 700);
        let first = json!({ "k": 0, "count": 5, "n_sum": 7000, "average": 1400.0, "t_max": "x2" });
        assert_eq!(found[0], first);
        assert!(found.iter().enumerate().all(|(i, row)| row["k"] == i), "in the order of their first rows");
        assert_eq!(status["processed_count"], 700);
        let left: Vec<_> = std::fs::read_dir(local.data_dir().join("tmp")).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[tokio::test]
async fn notebooks_persist_between_runs() {
    let local = Local::start().await;
    let append = ("append_to_notebook", json!({ "notebook_id": "seen", "notebook_name": "Seen" }));
    let fresh = ("deduplicate_wrt_notebook", json!({ "notebook_id": "seen", "columns": ["id"] }));
    let blocks = [("webhook", json!({})), fresh, append];
    let rows = |ids: &[u32]| json!({ "webhook_payload": ids.iter().map(|id| json!({ "id": id, "n": id * 2 })).collect::<Vec<_>>() });
    let (found, status) = run(&local, &blocks, rows(&[1, 2, 2])).await;
    assert_eq!(found.len(), 3, "duplicates within the input are kept");
    assert_eq!(status["current_step"], "appended to the notebook seen");
    let (found, _) = run(&local, &blocks, rows(&[2, 3])).await;
    assert_eq!(found, [json!({ "id": 3, "n": 6 })]);

    let read = [("read_notebook", json!({ "notebook_id": "seen" }))];
    let (found, _) = run(&local, &read, Value::Null).await;
    let ids = |rows: &[Value]| rows.iter().map(|row| row["id"].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!(ids(&found), [1, 2, 2, 3]);

    // Notebooks persist over a restart.
    let dir = local.stop().await;
    let local = Local::start_in(dir, |_| {}).await;
    let (found, _) = run(&local, &read, Value::Null).await;
    assert_eq!(ids(&found), [1, 2, 2, 3]);

    let workflow = local.chain(&[("read_notebook", json!({ "notebook_id": "nope" }))]).await;
    let text = local.post(&format!("/workflows/run?workflow_id={workflow}"), Value::Null).await.rejected(400);
    assert_eq!(text, "no notebook has the id 'nope'");

    let new = [("webhook", json!({})), ("append_to_notebook", json!({ "notebook_id": "__create_new__" }))];
    let (_, one) = run(&local, &new, rows(&[1])).await;
    let (_, two) = run(&local, &new, rows(&[1])).await;
    assert_ne!(one["current_step"], two["current_step"], "each run creates a notebook");
    let id = one["current_step"].as_str().unwrap().rsplit(' ').next().unwrap().to_owned();
    let (found, _) = run(&local, &[("read_notebook", json!({ "notebook_id": id }))], Value::Null).await;
    assert_eq!(ids(&found), [1]);
}

#[tokio::test]
async fn transform_data_has_the_steps_of_the_command_line() {
    let local = Local::start().await;
    let steps = json!({ "steps": [
        { "where": "score > 0.8 and hq.country = 'NO'" },
        { "rename": "name=company" },
        { "select": ["company", "hq.city"] },
        { "limit": 1 }
    ] });
    let rows = json!({ "webhook_payload": [
        { "name": "A", "score": 0.5, "hq": { "country": "NO", "city": "Oslo" } },
        { "name": "B", "score": 0.9, "hq": { "country": "NO", "city": "Bodø" } },
        { "name": "C", "score": 0.95, "hq": { "country": "NO", "city": "Moss" } }
    ] });
    let (found, _) = run(&local, &[("webhook", json!({})), ("transform_data", steps)], rows.clone()).await;
    assert_eq!(found, [json!({ "company": "B", "hq.city": "Bodø" })]);
    let blocks = [("webhook", json!({})), ("transform_data", json!({ "steps": [{ "drop": "nme" }] }))];
    let workflow = local.chain(&blocks).await;
    let run = local.run(&workflow, "", rows).await;
    let text = local.ended(&run).await["blocks"][1]["error_message"].to_string();
    assert!(text.contains("there is no column `nme`"), "{text}");
}

/// An endpoint that returns emails, fails the first request, and fails every request with the row 250.
async fn endpoint() -> (String, Arc<AtomicUsize>) {
    async fn respond(State(requests): State<Arc<AtomicUsize>>, Json(body): Json<Value>) -> (StatusCode, Json<Value>) {
        let count = requests.fetch_add(1, Ordering::SeqCst);
        let rows = body["rows"].as_array().unwrap();
        if count == 0 || rows.iter().any(|row| row["id"] == 250) {
            return (StatusCode::SERVICE_UNAVAILABLE, Json(Value::Null));
        }
        if body["block"] == "search" {
            let found: Vec<Value> = (0..5).map(|i| json!({ "id": i, "q": body["specs"]["query"] })).collect();
            return (StatusCode::OK, Json(json!(found)));
        }
        let known = rows.iter().map(|row| match row["id"].as_u64() {
            Some(id) if id % 2 == 0 => json!({ "email": format!("{id}@x.test"), "score": id.to_string(), "extra": 1 }),
            _ => Value::Null,
        });
        (StatusCode::OK, Json(json!({ "rows": known.collect::<Vec<_>>() })))
    }
    let requests = Arc::new(AtomicUsize::new(0));
    let app = Router::new().route("/emails", post(respond)).with_state(Arc::clone(&requests));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/emails", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, requests)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_enriches_in_batches_and_may_fail() {
    let (url, requests) = endpoint().await;
    let local = Local::start_with(|config| {
        let endpoint = |block: &str| EnrichEndpoint { block: block.to_owned(), url: url.parse().unwrap() };
        config.endpoints = vec![endpoint("find_email"), endpoint("search")];
    })
    .await;
    let fields = json!({ "return_fields": { "email": "Address", "score": { "type": "int" } } });
    let rows: Vec<Value> = (0..350).map(|id| json!({ "id": id, "n": 0.10 })).collect();
    let blocks = [("webhook", json!({})), ("find_email", fields)];
    let (found, status) = run(&local, &blocks, json!({ "webhook_payload": rows })).await;
    assert_eq!(found.len(), 350);
    assert_eq!(found[2], json!({ "id": 2, "n": 0.10, "email": "2@x.test", "score": 2 }));
    assert_eq!(found[3], json!({ "id": 3, "n": 0.10, "email": null, "score": null }));
    assert_eq!(found[348]["score"], 348);
    assert_eq!(found[248]["email"], Value::Null);
    assert!(found.iter().enumerate().all(|(i, row)| row["id"] == i), "in their order");
    let note = status["current_step"].as_str().unwrap();
    assert!(note.starts_with("100 rows were passed on without the columns of find_email"), "{note}");
    assert!(note.contains("the endpoint responded with status 503"), "{note}");
    assert_eq!(status["processed_count"], 350);
    // Four batches, one tried again, one five times; the first refusal may have been of that one.
    assert!((8..=9).contains(&requests.load(Ordering::SeqCst)), "{requests:?}");

    let search = ("search", json!({ "query": "fish", "max_results": 3 }));
    let (found, _) = run(&local, &[search], Value::Null).await;
    assert_eq!(found.len(), 3);
    assert_eq!(found[2], json!({ "id": 2, "q": "fish" }));
}

/// An endpoint that responds to rows below a bound and delays the others until the bound is raised.
async fn held_back() -> (EnrichEndpoint, tokio::sync::watch::Sender<u64>) {
    async fn respond(State(bound): State<tokio::sync::watch::Receiver<u64>>, Json(body): Json<Value>) -> Json<Value> {
        let rows = body["rows"].as_array().unwrap();
        let first = rows[0]["id"].as_u64().unwrap();
        let _ = bound.clone().wait_for(|bound| first < *bound).await;
        Json(json!({ "rows": rows }))
    }
    let (raise, bound) = tokio::sync::watch::channel(0);
    let app = Router::new().route("/", post(respond)).with_state(bound);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    (EnrichEndpoint { block: "find_email".to_owned(), url }, raise)
}

/// Waits until the second block has processed exactly `rows` rows.
async fn processed(local: &Local, run: &str, rows: u64) -> Value {
    for _ in 0..3000 {
        let status = local.status(run).await;
        if status["blocks"][1]["processed_count"] == rows {
            return status;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{rows} rows are never processed");
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_are_exact_during_a_run_and_other_runs_make_progress() {
    let (endpoint, raise) = held_back().await;
    let local = Local::start_with(|config| config.endpoints = vec![endpoint]).await;
    let rows: Vec<Value> = (0..250).map(|id| json!({ "id": id })).collect();
    let slow = local.chain(&[("webhook", json!({})), ("find_email", json!({}))]).await;
    let run = local.run(&slow, "", json!({ "webhook_payload": rows })).await;
    raise.send(100).unwrap();
    let status = processed(&local, &run, 100).await;
    let block = &status["blocks"][1];
    assert_eq!((&block["status"], &block["total_count"]), (&json!("running"), &json!(250)));
    assert_eq!((&block["metrics"]["row_count"], &block["progress_percentage"]), (&json!(100), &json!(40.0)));
    assert_eq!((&status["current_block"], &status["completed_blocks"]), (&json!("find_email"), &json!(1)));
    // Meanwhile another run completes.
    let quick = local.chain(&[("webhook", json!({})), ("deduplicate", json!({}))]).await;
    let other = local.run(&quick, "", json!({ "webhook_payload": [{ "id": 1 }] })).await;
    local.completed(&other).await;
    raise.send(200).unwrap();
    processed(&local, &run, 200).await;
    raise.send(1000).unwrap();
    assert_eq!(local.completed(&run).await["blocks"][1]["processed_count"], 250);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_active_run_completes_within_the_grace_or_starts_over() {
    for grace in [0, 60] {
        let (endpoint, raise) = held_back().await;
        let local = Local::start_with(|config| {
            config.endpoints = vec![endpoint.clone()];
            config.run_grace = Duration::from_secs(grace);
        })
        .await;
        let workflow = local.chain(&[("webhook", json!({})), ("find_email", json!({}))]).await;
        let rows: Vec<Value> = (0..150).map(|id| json!({ "id": id })).collect();
        let run = local.run(&workflow, "&result_formats=ndjson", json!({ "webhook_payload": rows })).await;
        raise.send(100).unwrap();
        let before = processed(&local, &run, 100).await;
        let all = async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            raise.send(1000)
        };
        let data = if grace > 0 {
            tokio::spawn(all);
            local.stop().await
        } else {
            let data = local.stop().await;
            all.await.unwrap();
            data
        };
        let local = Local::start_in(data, |config| config.endpoints = vec![endpoint]).await;
        let after = local.completed(&run).await;
        assert_eq!(after["started_at"] == before["started_at"], grace > 0, "only a run without grace starts over");
        assert_eq!(local.rows(&run).await, rows);
        assert_eq!(local.get("/workflows/runs").await.ok().as_array().unwrap().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_appended_to_a_notebook_does_not_start_over() {
    let (endpoint, raise) = held_back().await;
    let local = Local::start_with(|config| {
        config.endpoints = vec![endpoint];
        config.run_grace = Duration::ZERO;
    })
    .await;
    let append = ("append_to_notebook", json!({ "notebook_id": "kept" }));
    let workflow = local.chain(&[("webhook", json!({})), append, ("find_email", json!({}))]).await;
    let run = local.run(&workflow, "", json!({ "webhook_payload": [{ "id": 1 }] })).await;
    for _ in 0..3000 {
        if local.status(&run).await["blocks"][2]["status"] == "running" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let local = Local::start_in(local.stop().await, |_| {}).await;
    drop(raise);
    assert_eq!(local.status(&run).await["overall_status"], "cancelled");
    assert_eq!(local.get("/workflows/runs").await.ok()[0]["status_reason"], "service_stopped");
    let read = local.chain(&[("read_notebook", json!({ "notebook_id": "kept" }))]).await;
    let again = local.run(&read, "&result_formats=ndjson", Value::Null).await;
    local.completed(&again).await;
    assert_eq!(local.rows(&again).await, [json!({ "id": 1 })]);
}

#[tokio::test]
async fn a_search_returns_the_rows_of_its_table_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("all.csv");
    std::fs::write(&path, "id,name\n1,a\n2,b\n3,c\n").unwrap();
    let blocks = [("search", json!({ "query": "x", "max_results": 2 })), ("deduplicate", json!({}))];
    let local = Local::start_with(|config| {
        config.enrich = vec![EnrichTable { block: "search".to_owned(), path, key: String::new() }];
    })
    .await;
    let (found, _) = run(&local, &blocks, Value::Null).await;
    assert_eq!(found, [json!({ "id": 1, "name": "a" }), json!({ "id": 2, "name": "b" })]);
    let local = Local::start().await;
    let workflow = local.chain(&blocks).await;
    let run = local.run(&workflow, "&result_formats=ndjson", Value::Null).await;
    let status = local.completed(&run).await;
    assert!(local.rows(&run).await.is_empty());
    assert!(status["blocks"][0]["current_step"].as_str().unwrap().starts_with("no enrichment source for search"));
}

#[tokio::test]
async fn errors_of_graphs_name_the_blocks() {
    let local = Local::start().await;
    let mut body =
        create(&[("webhook", json!({})), ("company_to_leads", json!({})), ("company_enrichment", json!({}))]);
    let text = local.post("/workflows/create_workflow", body.clone()).await.rejected(422);
    assert!(
        text.contains("block 3 (company_enrichment): accepts COMPANY rows, but block 2 (company_to_leads)"),
        "{text}"
    );
    body["workflow_definition"]["edges"] = json!([
        { "from_block_id": "b1", "to_block_id": "b2" },
        { "from_block_id": "b2", "to_block_id": "b3" },
        { "from_block_id": "b3", "to_block_id": "b2" }
    ]);
    let text = local.post("/workflows/create_workflow", body).await.rejected(422);
    assert!(text.contains("the edges form a cycle through block 2 (company_to_leads)"), "{text}");
}
