//! Results of `drawoff serve`: exact digits, JSON in any layout, and the columns of blocks without rows.

use serde_json::{Value, json};

use crate::support::{MARKED_KEY, Place, Service, block_on, wait_for};

fn upload(service: &Service, name: &str, text: &str) -> String {
    block_on(async {
        let part = reqwest::multipart::Part::text(text.to_owned()).file_name(name.to_owned());
        let form = reqwest::multipart::Form::new().part("file", part);
        let request = reqwest::Client::new().post(format!("{}/storage/csv/upload", service.url));
        let response = request.header("x-api-key", MARKED_KEY).multipart(form).send().await.unwrap();
        let body: Value = response.json().await.unwrap();
        body["handle_id"].as_str().unwrap().to_owned()
    })
}

/// Runs a workflow to its end, and returns the texts of the files of all blocks in a format, or the first error.
fn run(service: &Service, workflow: &str, body: Value, format: &str) -> Result<Vec<String>, String> {
    let path = format!("/workflows/run?workflow_id={workflow}&result_formats=ndjson&save_json=true");
    let (status, started) = service.call("POST", &path, Some(body));
    assert_eq!(status, 200, "{started}");
    let run = started["job_id"].as_str().unwrap();
    let live = wait_for("the run to end", || {
        let (_, live) = service.call("GET", &format!("/workflows/runs/{run}/live_status"), None);
        Some(live).filter(|live| live["overall_status"] != "queued" && live["overall_status"] != "running")
    });
    let error = live["blocks"].as_array().unwrap().iter().find_map(|block| block["error_message"].as_str());
    if let Some(error) = error {
        return Err(error.to_owned());
    }
    let (_, links) =
        service.call("GET", &format!("/workflows/runs/{run}/results/download-links?format={format}"), None);
    let text = |link: &Value| {
        block_on(async { reqwest::get(link["download_url"].as_str().unwrap()).await.unwrap().text().await.unwrap() })
    };
    Ok(links.as_array().unwrap().iter().map(text).collect())
}

fn of_upload(handle: &str) -> Value {
    json!({ "specs_override": { "resource_handle_id": handle } })
}

#[test]
fn a_float_keeps_its_digits_in_every_block_and_format() {
    let place = Place::new();
    place.write("facts.ndjson", "{\"k\":\"a\",\"t\":\"12345678901234567.89\",\"n\":0.1000000000000000055511}\n");
    let service = Service::start(&place, "data", &["--enrich", "company_enrichment=facts.ndjson:k"]);
    let fields = json!({ "return_fields": { "t": { "type": "float" }, "n": { "type": "float" } } });
    let workflow = service.chain(&[("webhook", json!({})), ("company_enrichment", fields), ("deduplicate", json!({}))]);
    let body = json!({ "webhook_payload": [{ "k": "a" }, { "k": "b" }] });
    for (format, expected) in [
        ("csv", "a,12345678901234567.89,0.1000000000000000055511\n"),
        ("ndjson", "{\"k\":\"a\",\"t\":12345678901234567.89,\"n\":0.1000000000000000055511}\n"),
        ("json", "{\"k\":\"a\",\"t\":12345678901234567.89,\"n\":0.1000000000000000055511}"),
    ] {
        for text in &run(&service, &workflow, body.clone(), format).unwrap()[1..] {
            assert!(text.contains(expected), "{format}: {text}");
        }
    }
}

#[test]
fn json_may_have_any_layout() {
    let place = Place::new();
    let service = Service::start(&place, "data", &[]);
    let workflow = service.chain(&[("read_csv", json!({}))]);
    let expected = "{\"a\":1,\"b\":[1,\"}{\"]}\n{\"a\":2.50,\"b\":null}\n";
    for text in [
        "{\n  \"a\": 1,\n  \"b\": [\n    1,\n    \"}{\"\n  ]\n}\n{\n  \"a\": 2.50,\n  \"b\": null\n}\n",
        "{\"a\":1,\"b\":[1,\"}{\"]}{\"a\":2.50,\"b\":null}",
        "\u{feff} {\"a\":1,\"b\":[1,\"}{\"]}\r\n\r\n{\"a\"\n:2.50,\"b\":null}  \n",
        "[\n  {\"a\": 1, \"b\": [1, \"}{\"]},\n  {\"a\": 2.50, \"b\": null}\n]\n",
    ] {
        let handle = upload(&service, "a.json", text);
        let found = run(&service, &workflow, of_upload(&handle), "ndjson").unwrap();
        // White space between tokens is no part of a value.
        assert_eq!(found[0].replace(", ", ",").replace(": ", ":"), expected, "{text:?}");
    }
    for (text, expected) in [
        ("{\"a\":1}\n[2]", "a.json: expected an object, found `[` at byte 8"),
        ("{\"a\":1}\n{\"a\":007}", "a.json: object 2 is not valid JSON (it begins at byte 8)"),
        ("{\"a\":1},{\"a\":2}", "a.json: expected an object, found `,` at byte 7"),
        ("{\"a\":1", "a.json: object 1 is not valid JSON (it begins at byte 0)"),
    ] {
        let handle = upload(&service, "a.json", text);
        assert_eq!(run(&service, &workflow, of_upload(&handle), "csv").unwrap_err(), expected);
    }
    // The count of an upload is that of the reader.
    let limited = Service::start(&place, "limited", &["--max-upload-rows", "2"]);
    upload(&limited, "a.json", "{\n\"a\":\n1}\n{\"a\"\n:2}");
    upload(&limited, "a.csv", "size\n5\" pipe\n6\" pipe\n");
}

/// Blocks of a chain with their specs, and the CSV file of each.
type Chain<'a> = (&'a [(&'a str, Value)], &'a [&'a str]);

#[test]
fn blocks_without_rows_keep_their_columns() {
    let place = Place::new();
    let service = Service::start(&place, "data", &[]);
    let none = json!({ "filters": [{ "column": "n", "operator": "greater", "value": 5 }] });
    let chains: [Chain<'_>; 3] = [
        (
            &[
                ("webhook", json!({})),
                ("filter", none.clone()),
                ("deduplicate", json!({})),
                ("remove_columns", json!({ "columns": ["n"] })),
                ("filter", json!({ "filters": [] })),
            ],
            &["n,m,k\n1,q,\"{\"\"a\"\":1}\"\n", "n,m,k\n", "n,m,k\n", "m,k\n", "m,k\n"],
        ),
        (
            &[
                ("webhook", json!({})),
                ("filter", none.clone()),
                ("group_by", json!({ "columns": ["m"] })),
                ("deduplicate", json!({})),
            ],
            &["n,m,k\n1,q,\"{\"\"a\"\":1}\"\n", "n,m,k\n", "m,count\n", "m,count\n"],
        ),
        (
            &[
                ("webhook", json!({})),
                ("filter", none),
                ("company_enrichment", json!({ "return_fields": { "v": "float" } })),
                ("deduplicate_wrt_notebook", json!({ "notebook_id": "x" })),
            ],
            &["n,m,k\n1,q,\"{\"\"a\"\":1}\"\n", "n,m,k\n", "n,m,k,v\n", "n,m,k,v\n"],
        ),
    ];
    for (blocks, expected) in chains {
        let workflow = service.chain(blocks);
        let body = json!({ "webhook_payload": [{ "n": 1, "m": "q", "k": { "a": 1 } }] });
        assert_eq!(run(&service, &workflow, body.clone(), "csv").unwrap(), expected);
        assert_eq!(run(&service, &workflow, body, "json").unwrap().last().unwrap(), "[]\n");
    }
    // An empty payload has the declared columns, and an upload those of its header.
    let schema = json!({ "input_schema": { "email": "string", "score": "int" } });
    let workflow = service.chain(&[("webhook", schema), ("remove_columns", json!({ "columns": ["email"] }))]);
    let found = run(&service, &workflow, json!({ "webhook_payload": [] }), "csv").unwrap();
    assert_eq!(found, ["email,score\n", "score\n"]);
    let handle = upload(&service, "a.csv", "a,b\n");
    let workflow = service.chain(&[("read_csv", json!({})), ("deduplicate", json!({}))]);
    assert_eq!(run(&service, &workflow, of_upload(&handle), "csv").unwrap(), ["a,b\n", "a,b\n"]);
}
