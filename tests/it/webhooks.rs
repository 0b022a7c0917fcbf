//! Webhooks: a receiver in Python verifies the signature of a request from the service.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::http::{Answer, Loopback};
use crate::support::{MARKED_KEY, Place, Service, block_on, exit, root, tool};

async fn post(url: &str, body: Value) -> Value {
    let request = reqwest::Client::new().post(url).header("x-api-key", MARKED_KEY).json(&body);
    let answer = request.send().await.unwrap();
    assert!(answer.status().is_success(), "{url}: {}", answer.status());
    answer.json().await.unwrap()
}

#[test]
fn a_receiver_verifies_the_signature() {
    let Some(python) = tool("DRAWOFF_TEST_PYTHON") else { return };
    let receiver = Loopback::start(|_| Answer::json(&json!({})));
    let folder = Place::new();
    let service = Service::start(&folder, "data", &[]);
    let made = block_on(post(&format!("{}/webhooks/signing-secret", service.url), Value::Null));
    let secret = made["secret"].as_str().unwrap();
    let definition = json!({
        "workflow_name": "Tell", "workflow_description": "",
        "workflow_definition": {
            "blocks": [
                { "sequence_number": 1, "block_type": "io", "block_name": "webhook", "block_id": "a", "specs": {} },
                { "sequence_number": 2, "block_type": "output", "block_name": "outgoing_webhook", "block_id": "b",
                  "specs": { "url": format!("{}/hook", receiver.url), "timeout_seconds": 10 } }
            ],
            "edges": [{ "from_block_id": "a", "to_block_id": "b" }]
        }
    });
    let place = Place::with_service(&service.url);
    place.write("tell.json", definition.to_string());
    place.run(&["run", "tell.json", "--payload", "[{\"n\":1.50,\"s\":\"ä\"}]", "-o", "out.ndjson"]).ok();
    let request = receiver.asked().pop().expect("something came");
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/hook"));

    let check = |body: &[u8], secret: &str| {
        let mut command = place.program(&python);
        command
            .arg(root().join("tests/quickstart/verify_webhook.py"))
            .env("SECRET", secret)
            .env("SIGNATURE", &request.headers["sixtyfour-signature"])
            .stdin(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(body).unwrap();
        child.wait_with_output().unwrap().status.code()
    };
    assert_eq!(check(&request.body, secret), Some(exit::SUCCESS));
    assert_eq!(check(&request.body, "sk_whsec_other"), Some(1));
    assert_eq!(check(b"{}", secret), Some(1));
}
