//! Workflows: create, update, list, delete.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{Local, create};

fn webhook_and_filter() -> Value {
    create(&[
        ("webhook", json!({})),
        ("filter", json!({ "filters": [{ "column": "n", "operator": "greater", "value": 1 }] })),
    ])
}

#[tokio::test]
async fn a_created_workflow_is_returned_as_it_was() {
    let local = Local::start().await;
    let made = local.post("/workflows/create_workflow", webhook_and_filter()).await.ok();
    let id = made["id"].as_str().unwrap();
    assert!(Uuid::parse_str(id).is_ok());
    assert_eq!(made["name"], "A chain");
    assert_eq!(made["description"], "For a test");
    assert_eq!(made["status"], "ready");
    assert_eq!(made["last_run_date"], Value::Null);
    let blocks = &made["workflow_definition"]["blocks"];
    let edge = &made["workflow_definition"]["edges"][0];
    assert!(Uuid::parse_str(blocks[0]["block_id"].as_str().unwrap()).is_ok());
    assert_eq!(edge["from_block_id"], blocks[0]["block_id"]);
    assert_eq!(edge["to_block_id"], blocks[1]["block_id"]);
    assert_eq!(edge["condition"], Value::Null);
    assert_eq!(blocks[0]["block_type"], "any");

    assert_eq!(local.get(&format!("/workflows/{id}")).await.ok(), made);
    let list = local.get("/workflows").await.ok();
    assert_eq!(list.as_array().map(Vec::len), Some(1));
    assert_eq!(list[0]["id"], made["id"]);
    assert_eq!(list[0]["workflow_definition"], Value::Null);
}

#[tokio::test]
async fn an_existing_id_is_rejected() {
    let local = Local::start().await;
    let id = Uuid::new_v4().to_string();
    let mut body = webhook_and_filter();
    body["id"] = json!(id);
    assert_eq!(local.post("/workflows/create_workflow", body.clone()).await.ok()["id"], json!(id));
    let text = local.post("/workflows/create_workflow", body.clone()).await.rejected(409);
    assert_eq!(text, "a workflow with this id already exists");
    body["id"] = json!("my own id");
    local.post("/workflows/create_workflow", body.clone()).await.ok();
    assert_eq!(local.get("/workflows/my%20own%20id").await.ok()["id"], "my own id");
    body["id"] = json!("runs");
    assert!(local.post("/workflows/create_workflow", body).await.rejected(422).contains("body.id"));
}

#[tokio::test]
async fn updates_change_given_fields_and_create_absent_workflows() {
    let local = Local::start().await;
    let made = local.post("/workflows/create_workflow", webhook_and_filter()).await.ok();
    let id = made["id"].as_str().unwrap();
    let path = format!("/workflows/update_workflow?workflow_id={id}");
    let renamed = local.post(&path, json!({ "workflow_name": "Other" })).await.ok();
    assert_eq!(renamed["name"], "Other");
    assert_eq!(renamed["description"], made["description"]);
    assert_eq!(renamed["workflow_definition"], made["workflow_definition"]);
    let smaller = create(&[("webhook", json!({}))])["workflow_definition"].clone();
    let changed = local.post(&path, json!({ "workflow_definition": smaller })).await.ok();
    assert_eq!(changed["workflow_definition"]["blocks"].as_array().map(Vec::len), Some(1));
    assert_eq!(local.post(&path, Value::Null).await.ok()["name"], "Other");

    let path = "/workflows/update_workflow?workflow_id=new-one";
    assert!(local.post(path, json!({})).await.rejected(422).contains("workflow_definition"));
    let made = local.post(path, json!({ "workflow_definition": smaller })).await.ok();
    assert_eq!((&made["id"], &made["name"]), (&json!("new-one"), &json!("Untitled Workflow")));
    assert!(local.post("/workflows/update_workflow", json!({})).await.rejected(422).contains("query.workflow_id"));
}

#[tokio::test]
async fn a_deleted_workflow_is_not_found() {
    let local = Local::start().await;
    let made = local.post("/workflows/create_workflow", webhook_and_filter()).await.ok();
    let id = made["id"].as_str().unwrap();
    let path = format!("/workflows/delete_workflow?workflow_id={id}");
    assert_eq!(local.post(&path, Value::Null).await.ok()["id"], made["id"]);
    assert_eq!(local.post(&path, Value::Null).await.rejected(404), "Workflow not found");
    assert_eq!(local.get(&format!("/workflows/{id}")).await.rejected(404), "Workflow not found");
    assert!(local.get("/workflows/not-a-uuid").await.rejected(422).contains("path.workflow_id"));
}

#[tokio::test]
async fn invalid_graphs_are_rejected_with_the_block() {
    let local = Local::start().await;
    let refuse = |definition: Value| {
        let body = json!({ "workflow_name": "n", "workflow_description": "", "workflow_definition": definition });
        async { local.post("/workflows/create_workflow", body).await.rejected(422) }
    };
    let text = refuse(json!({ "blocks": [], "edges": [] })).await;
    assert!(text.contains("at least one block"), "{text}");
    let two = |edges: Value| {
        let mut definition = webhook_and_filter()["workflow_definition"].clone();
        definition["edges"] = edges;
        definition
    };
    let text = refuse(two(json!([{ "from_block_id": "b1", "to_block_id": "zz" }]))).await;
    assert!(text.contains("no block has the id 'zz'"), "{text}");
    let text = refuse(two(json!([
        { "from_block_id": "b1", "to_block_id": "b2" },
        { "from_block_id": "b2", "to_block_id": "b2" }
    ])))
    .await;
    assert!(text.contains("cycle through block 2 (filter)"), "{text}");
    let mut bad = two(json!([{ "from_block_id": "b1", "to_block_id": "b2" }]));
    bad["blocks"][1]["specs"]["filters"][0]["operator"] = json!("like");
    let body = json!({ "workflow_name": "n", "workflow_description": "", "workflow_definition": bad });
    let response = local.post("/workflows/create_workflow", body).await;
    assert_eq!(
        response.body["detail"][0]["loc"],
        json!(["body", "workflow_definition", "blocks", 1, "specs", "filters", 0, "operator"])
    );
    assert!(response.rejected(422).contains("block 2 (filter): filters[0].operator must be one of equals, not_equals"));
}
