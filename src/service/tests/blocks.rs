//! Runs of each kind of block: the rows, notes and errors of their results.

use serde_json::{Value, json};

use super::{Local, create};
use crate::service::EnrichTable;

fn payload() -> Value {
    json!({ "webhook_payload": [
        { "name": "Nordlys AS", "employees": 40, "tags": ["a", "b"], "hq": { "city": "Bodø" } },
        { "name": "Kestrel, \"Ltd\"", "employees": 240, "tags": [], "hq": null },
        { "name": "Kestrel, \"Ltd\"", "employees": 240, "tags": [], "hq": null },
        { "name": "Ärla\nGmbH", "employees": 500.5, "tags": null, "hq": { "city": "Köln" } }
    ] })
}

fn filter(column: &str, operator: &str, value: Value) -> (&'static str, Value) {
    ("filter", json!({ "filters": [{ "column": column, "operator": operator, "value": value }] }))
}

#[tokio::test]
async fn rows_go_from_block_to_block() {
    let local = Local::start().await;
    let workflow = local
        .chain(&[
            ("webhook", json!({ "dataframe_type": "COMPANY" })),
            filter("employees", "greater", json!(100)),
            ("deduplicate", json!({ "columns": ["name"] })),
            ("remove_columns", json!({ "columns": ["tags"] })),
            ("append_to_notebook", json!({ "notebook_id": "n" })),
        ])
        .await;
    let run = local.run(&workflow, "&result_formats=ndjson&save_json=true", payload()).await;
    let status = local.completed(&run).await;
    assert_eq!(status["overall_progress_percentage"], 100.0);
    assert_eq!(status["completed_blocks"], 5);
    assert_eq!(status["current_block"], Value::Null);
    let counts: Vec<&Value> =
        status["blocks"].as_array().unwrap().iter().map(|block| &block["metrics"]["row_count"]).collect();
    assert_eq!(counts, [4, 3, 2, 2, 2]);
    assert_eq!(status["blocks"][1]["processed_count"], 4);
    assert_eq!(status["blocks"][1]["total_count"], 4);
    assert_eq!(status["blocks"][1]["metrics"]["dataframe_type"], "COMPANY");

    let rows = local.rows(&run).await;
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0]["name"], "Kestrel, \"Ltd\"");
    assert_eq!(rows[0]["employees"], 240);
    assert_eq!(rows[1]["hq"], json!({ "city": "Köln" }));
    assert!(rows.iter().all(|row| row.get("tags").is_none()));

    let csv = local.links(&run, "csv").await;
    let names: Vec<&str> = csv.iter().map(|link| link["filename"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "block_1_webhook.csv",
            "block_2_filter.csv",
            "block_3_deduplicate.csv",
            "block_4_remove_columns.csv",
            "block_5_append_to_notebook.csv"
        ]
    );
    assert_eq!(csv[4]["block_number"], 5);
    assert!(csv[4]["message"].as_str().unwrap().contains("appended to the notebook n"));
    assert_eq!(csv[4]["results"].as_array().map(Vec::len), Some(2));
    let text = local.fetch(&csv[4]).await;
    assert_eq!(text.len() as u64, csv[4]["file_size"].as_u64().unwrap());
    assert!(text.starts_with("name,employees,hq\n") || text.starts_with("name,employees,hq\r\n"), "{text}");
    assert!(text.contains("\"Kestrel, \"\"Ltd\"\"\",240"), "{text}");

    let json = local.links(&run, "json").await;
    assert_eq!(json[4]["content_type"], "application/json");
    let array: Vec<Value> = serde_json::from_str(&local.fetch(&json[4]).await).unwrap();
    assert_eq!(array, rows);
    let listed = local.get("/workflows/runs").await.ok()[0].clone();
    assert_eq!(listed["metrics"], json!({ "row_count": 2 }));
    assert!(listed["duration_ms"].as_i64().unwrap() >= 0);
}

#[tokio::test]
async fn ndjson_is_offered_only_on_request() {
    let local = Local::start().await;
    let workflow = local.chain(&[("webhook", json!({})), ("deduplicate", json!({}))]).await;
    let run = local.run(&workflow, "", payload()).await;
    local.completed(&run).await;
    assert!(local.links(&run, "ndjson").await.is_empty());
    assert!(local.links(&run, "json").await.is_empty());
    assert_eq!(local.links(&run, "csv").await.len(), 2);
    // NDJSON files between blocks are removed after the end of the run; its input is kept.
    for _ in 0..1000 {
        let files = std::fs::read_dir(local.data_dir().join("runs").join(&run)).unwrap();
        let names: Vec<String> = files
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .filter(|n| !n.ends_with(".csv"))
            .collect();
        if names == ["input.ndjson"] {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("files were left behind");
}

#[tokio::test]
async fn uploads_of_every_format_are_read() {
    let local = Local::start().await;
    let workflow = local.chain(&[("read_csv", json!({})), ("deduplicate", json!({}))]).await;
    for (name, content) in [
        ("a.csv", "id,name,n\n007,Bodø,1\n008,\"x\ny\",2\n"),
        ("a.ndjson", "{\"id\":\"007\",\"name\":\"Bodø\",\"n\":1}\n{\"id\":\"008\",\"name\":\"x\\ny\",\"n\":2}\n"),
        ("a.JSONL", "{\"id\":\"007\",\"name\":\"Bodø\",\"n\":1}\n{\"id\":\"008\",\"name\":\"x\\ny\",\"n\":2}\n"),
        ("a.json", "[{\"id\":\"007\",\"name\":\"Bodø\",\"n\":1},\n {\"id\":\"008\",\"name\":\"x\\ny\",\"n\":2}]"),
        ("b.json", "\n{\"id\":\"007\",\"name\":\"Bodø\",\"n\":1}\n{\"id\":\"008\",\"name\":\"x\\ny\",\"n\":2}\n"),
    ] {
        let handle = local.upload(name, content).await;
        let body = json!({ "specs_override": { "resource_handle_id": handle } });
        let run = local.run(&workflow, "&result_formats=ndjson", body).await;
        local.completed(&run).await;
        let rows = local.rows(&run).await;
        assert_eq!(
            rows,
            [json!({ "id": "007", "name": "Bodø", "n": 1 }), json!({ "id": "008", "name": "x\ny", "n": 2 })],
            "{name}"
        );
    }
}

#[tokio::test]
async fn declared_types_apply_to_csv_cells() {
    let local = Local::start().await;
    let specs = json!({ "input_schema": { "tags": "list[str]", "hq": { "type": "object" }, "zip": "string" } });
    let workflow = local.chain(&[("read_csv", specs)]).await;
    let handle = local.upload("a.csv", "tags,hq,zip,n\n\"[\"\"a\"\"]\",\"{\"\"lat\"\":1.5}\",12,3\n").await;
    let body = json!({ "specs_override": { "resource_handle_id": handle } });
    let run = local.run(&workflow, "&result_formats=ndjson", body).await;
    local.completed(&run).await;
    let expected = json!({ "tags": ["a"], "hq": { "lat": 1.5 }, "zip": "12", "n": 3 });
    assert_eq!(local.rows(&run).await, [expected]);
}

#[tokio::test]
async fn a_payload_may_be_empty_or_one_row_or_the_sample_of_the_specs() {
    let local = Local::start().await;
    let filter = filter("n", "greater", json!(1));
    let workflow = local.chain(&[("webhook", json!({})), filter.clone()]).await;
    let run = local.run(&workflow, "&result_formats=ndjson", json!({ "webhook_payload": [] })).await;
    let status = local.completed(&run).await;
    assert_eq!(status["blocks"][1]["metrics"]["row_count"], 0);
    assert_eq!(local.links(&run, "csv").await[1]["row_count"], 0);
    let run = local.run(&workflow, "&result_formats=ndjson", json!({ "webhook_payload": { "n": 2 } })).await;
    local.completed(&run).await;
    assert_eq!(local.rows(&run).await, [json!({ "n": 2 })]);
    let sample = json!({ "webhook_input": "[{\"n\": 12345678901234567890123}]" });
    let workflow = local.chain(&[("webhook", sample), filter]).await;
    let run = local.run(&workflow, "&result_formats=ndjson", Value::Null).await;
    local.completed(&run).await;
    let text = local.fetch(&local.links(&run, "ndjson").await[1]).await;
    assert_eq!(text.trim(), "{\"n\":12345678901234567890123}");
}

#[tokio::test]
async fn enrichment_without_a_table_adds_nulls_and_a_note() {
    let local = Local::start().await;
    let specs = json!({ "return_fields": { "industry": "Main industry", "size": { "type": "int" } } });
    let workflow = local.chain(&[("webhook", json!({})), ("company_enrichment", specs)]).await;
    let run = local.run(&workflow, "&result_formats=ndjson", json!({ "webhook_payload": [{ "name": "A" }] })).await;
    let status = local.completed(&run).await;
    assert_eq!(status["blocks"][0]["metrics"]["dataframe_type"], "COMPANY");
    let step = status["blocks"][1]["current_step"].as_str().unwrap();
    assert!(step.contains("no enrichment source for company_enrichment"), "{step}");
    assert_eq!(local.rows(&run).await, [json!({ "name": "A", "industry": null, "size": null })]);
    assert_eq!(local.links(&run, "csv").await[1]["message"], step);
}

#[tokio::test]
async fn enrichment_joins_a_table() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("known.csv");
    std::fs::write(&path, "domain,industry,size,code\na.test,Fishing,12,007\nb.test,,3,x\n").unwrap();
    let local = Local::start_with(|config| {
        config.enrich = vec![EnrichTable { block: "enrich_company".to_owned(), path, key: "domain".to_owned() }];
    })
    .await;
    let rows = json!({ "webhook_payload": [{ "domain": "b.test" }, { "domain": "a.test" }, { "domain": "c.test" }] });
    let some = json!({ "return_fields": { "size": "People", "phone": "Number" } });
    let workflow = local.chain(&[("webhook", json!({})), ("company_enrichment", some)]).await;
    let run = local.run(&workflow, "&result_formats=ndjson", rows.clone()).await;
    local.completed(&run).await;
    assert_eq!(
        local.rows(&run).await,
        [
            json!({ "domain": "b.test", "size": 3, "phone": null }),
            json!({ "domain": "a.test", "size": 12, "phone": null }),
            json!({ "domain": "c.test", "size": null, "phone": null }),
        ]
    );
    let workflow = local.chain(&[("webhook", json!({})), ("company_enrichment", json!({}))]).await;
    let run = local.run(&workflow, "&result_formats=ndjson", rows).await;
    local.completed(&run).await;
    let first = &local.rows(&run).await[1];
    assert_eq!(*first, json!({ "domain": "a.test", "industry": "Fishing", "size": 12, "code": "007" }));
    let run = local.run(&workflow, "", json!({ "webhook_payload": [{ "site": "a.test" }] })).await;
    let status = local.completed(&run).await;
    assert_eq!(status["blocks"][1]["current_step"], "no row was enriched: the key column 'domain' is not in the input");
}

#[tokio::test]
async fn a_missing_column_fails_its_block() {
    let local = Local::start().await;
    let workflow = local
        .chain(&[("webhook", json!({})), filter("employee_count", "greater", json!(1)), ("deduplicate", json!({}))])
        .await;
    let run = local.run(&workflow, "", payload()).await;
    let status = local.ended(&run).await;
    assert_eq!(status["overall_status"], "failed");
    assert_eq!(status["completed_blocks"], 1);
    assert_eq!(status["overall_progress_percentage"], 33.3);
    let states: Vec<&Value> = status["blocks"].as_array().unwrap().iter().map(|block| &block["status"]).collect();
    assert_eq!(states, ["completed", "failed", "pending"]);
    assert_eq!(status["blocks"][1]["error_message"], "column 'employee_count' is not in the input");
    let listed = local.get("/workflows/runs?status=failed").await.ok()[0].clone();
    assert_eq!(listed["status_reason"], "block_failed");
    assert_eq!(listed["error_message"], "filter: column 'employee_count' is not in the input");
    // The block that completed before keeps its link.
    assert_eq!(local.links(&run, "csv").await.len(), 1);
    let text = local.post("/workflows/cancel", json!({ "job_id": run })).await.rejected(400);
    assert_eq!(text, "cannot cancel the run: it is already failed");
}

#[tokio::test]
async fn a_malformed_line_fails_the_source_with_its_number() {
    let local = Local::start().await;
    let workflow = local.chain(&[("read_csv", json!({}))]).await;
    let handle = local.upload("people.ndjson", "{\"a\":1}\n{\"a\":\n{\"a\":3}\n").await;
    let body = json!({ "specs_override": { "resource_handle_id": handle } });
    let run = local.run(&workflow, "", body).await;
    let status = local.ended(&run).await;
    assert_eq!(status["overall_status"], "failed");
    let text = status["blocks"][0]["error_message"].as_str().unwrap();
    assert!(text.contains("people.ndjson line 2"), "{text}");
    assert!(local.links(&run, "csv").await.is_empty());
}

#[tokio::test]
async fn branches_are_concatenated_in_the_order_of_their_numbers() {
    let local = Local::start().await;
    let mut body = create(&[
        ("webhook", json!({})),
        filter("n", "less", json!(2)),
        filter("n", "greater", json!(2)),
        ("deduplicate", json!({})),
    ]);
    body["workflow_definition"]["edges"] = json!([
        { "from_block_id": "b1", "to_block_id": "b3" },
        { "from_block_id": "b1", "to_block_id": "b2" },
        { "from_block_id": "b3", "to_block_id": "b4" },
        { "from_block_id": "b2", "to_block_id": "b4" }
    ]);
    let made = local.post("/workflows/create_workflow", body).await.ok();
    let rows = json!({ "webhook_payload": [{ "n": 3 }, { "n": 2 }, { "n": 1 }, { "n": 3 }] });
    let run = local.run(made["id"].as_str().unwrap(), "&result_formats=ndjson", rows).await;
    let status = local.completed(&run).await;
    assert_eq!(status["blocks"][3]["previous_block_ids"].as_array().map(Vec::len), Some(2));
    assert_eq!(local.rows(&run).await, [json!({ "n": 1 }), json!({ "n": 3 })]);
}
