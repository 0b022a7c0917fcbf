//! Web pages of other origins in Chromium: by form and by fetch, with and without a key, with and without the session of
//! the service's own page, they change nothing and read nothing, unless their origin is allowed.

use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::http::{Answer, Loopback};
use crate::support::{MARKED_KEY, Place, Service, exit, testdata};

/// Requests that would change something: path, and the fields of a form.
fn changes(workflow: &str, run: &str) -> Vec<(String, Value)> {
    vec![
        (format!("/workflows/delete_workflow?workflow_id={workflow}"), json!({})),
        (format!("/workflows/run?workflow_id={workflow}"), json!({ "{\"webhook_payload\":[{\"a\":\"": "\"}]}" })),
        (format!("/workflows/cancel?job_id={run}"), json!({})),
        ("/workflows/create_workflow".to_owned(), json!({ "{\"workflow_name\":\"": "\"}" })),
        ("/webhooks/signing-secret".to_owned(), json!({})),
        ("/admin/reset".to_owned(), json!({})),
        ("/admin/faults".to_owned(), json!({ "\"503": "\"" })),
        ("/ui/login".to_owned(), json!({ "key": MARKED_KEY })),
        (format!("/ui/actions/run?workflow_id={workflow}"), json!({})),
        (format!("/ui/actions/delete_workflow?workflow_id={workflow}"), json!({})),
        (format!("/ui/actions/delete_run?run_id={run}"), json!({})),
    ]
}

/// Submits a form into a frame.
fn submit(browser: &mut Browser, url: &str, encoding: &str, fields: &Value) {
    browser.eval(&format!(
        "(() => {{
            const frame = document.body.appendChild(document.createElement('iframe'));
            frame.name = 'target' + document.querySelectorAll('iframe').length;
            const form = document.body.appendChild(document.createElement('form'));
            Object.assign(form, {{ action: {url:?}, method: 'post', enctype: {encoding:?}, target: frame.name }});
            for (const [name, value] of Object.entries({fields})) {{
                Object.assign(form.appendChild(document.createElement('input')), {{ name, value }});
            }}
            form.submit();
            return true;
        }})()"
    ));
}

/// Fetches and returns the text of the response, or `refused` if the page may not read it.
fn fetch(browser: &mut Browser, url: &str, options: &Value) -> String {
    let text = browser.eval(&format!("fetch({url:?}, {options}).then((r) => r.text(), () => 'refused')"));
    text.as_str().unwrap().to_owned()
}

fn path_of(path: &str) -> &str {
    path.split('?').next().unwrap()
}

#[test]
fn pages_of_other_origins_change_and_read_nothing() {
    let Some(mut browser) = Browser::start() else { return };
    let foreign = Loopback::start(|_| Answer::bytes("text/html", "<!doctype html><title>foreign</title><p>x"));
    let place = Place::new();
    for key in [&[][..], &["--api-key", MARKED_KEY]] {
        let flags = [key, &["--admin", "--fault", "rows-per-second=0.01"]].concat();
        let service = Service::start(&place, if key.is_empty() { "open" } else { "keyed" }, &flags);
        let workflow = service.chain(&[("webhook", json!({}))]);
        let start = format!("/workflows/run?workflow_id={workflow}");
        let (_, run) = service.call("POST", &start, Some(json!({ "webhook_payload": [{ "a": 1 }, { "a": 2 }] })));
        let run = run["job_id"].as_str().unwrap();
        let state = || {
            (
                service.call("GET", "/workflows", None),
                service.call("GET", "/admin/faults", None),
                service.call("GET", "/webhooks/signing-secret", None),
                service.call("GET", "/workflows/runs", None).1[0]["status"].clone(),
                service.call("GET", "/workflows/runs", None).1.as_array().unwrap().len(),
            )
        };
        crate::support::wait_for("the run", || (state().3 == "running").then_some(()));
        let before = state();
        // The browser has the session of the page, which it sends to the same host, whatever the port.
        browser.open(&format!("{}/", service.url));
        if !key.is_empty() {
            browser.eval(&format!("document.querySelector('#key').value = {MARKED_KEY:?}"));
            browser.click("form button");
        }
        browser.wait("document.querySelector('h1')?.textContent === 'Workflows service'");
        // Another port is the same site to a browser, another name is another site.
        for origin in [foreign.url.clone(), foreign.url.replace("127.0.0.1", "localhost")] {
            browser.open(&format!("{origin}/"));
            for (path, fields) in changes(&workflow, run) {
                let url = format!("{}{path}", service.url);
                for encoding in ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data"] {
                    submit(&mut browser, &url, encoding, &fields);
                    let line = service.says(path_of(&path));
                    assert!(line.contains("POST") && line.contains(" 403"), "{origin} {encoding}: {line}");
                }
                // Without leave of the service only `no-cors`, whose response is opaque and which has no headers of its own.
                let simple = json!({ "method": "POST", "mode": "no-cors", "credentials": "include", "body": "{}" });
                assert_eq!(fetch(&mut browser, &url, &simple), "");
                let line = service.says(path_of(&path));
                assert!(line.contains(" 403"), "{origin}: {line}");
                let with_key = json!({ "method": "POST", "headers": { "x-api-key": MARKED_KEY, "x-drawoff-page": "1" },
                    "credentials": "include", "body": "{}" });
                assert_eq!(fetch(&mut browser, &url, &with_key), "refused");
            }
            for path in ["/", "/workflows", "/healthz", "/openapi.json", &format!("/ui/runs/{run}")] {
                let url = format!("{}{path}", service.url);
                assert_eq!(fetch(&mut browser, &url, &json!({ "credentials": "include" })), "refused", "{path}");
                let headers = json!({ "headers": { "x-api-key": MARKED_KEY } });
                assert_eq!(fetch(&mut browser, &url, &headers), "refused", "{path}");
            }
        }
        assert_eq!(state(), before);
    }
}

/// A page whose name was rebound to this machine has the origin of the service in the eyes of the browser, so that the service
/// alone can refuse it.
#[test]
fn a_page_with_a_rebound_name_reaches_nothing() {
    let Some(mut browser) = Browser::start_with(&["--host-resolver-rules=MAP rebound.test 127.0.0.1"]) else { return };
    let place = Place::new();
    let get = |path: &str| (path.to_owned(), json!({ "headers": { "x-api-key": "any" } }));
    for (name, flags, expected) in
        [("open", &["--admin"][..], 403), ("allowed", &["--admin", "--allow-host", "rebound.test"][..], 200)]
    {
        let service = Service::start(&place, name, flags);
        let workflow = service.chain(&[("webhook", json!({}))]);
        let start = format!("/workflows/run?workflow_id={workflow}");
        let (_, run) = service.call("POST", &start, Some(json!({ "webhook_payload": [{ "secret": "of-a-row" }] })));
        let run = run["job_id"].as_str().unwrap();
        let links = format!("/workflows/runs/{run}/results/download-links");
        let (_, link) = crate::support::wait_for("the links", || {
            Some(service.call("GET", &links, None))
                .filter(|(_, links)| links.as_array().is_some_and(|all| !all.is_empty()))
        });
        let link = link[0]["download_url"].as_str().unwrap().strip_prefix(&service.url).unwrap().to_owned();
        let before = service.call("GET", "/workflows", None);
        browser.open(&format!("{}/", service.url.replace("127.0.0.1", "rebound.test")));
        let post = json!({ "method": "POST", "headers": { "x-api-key": "any", "x-drawoff-page": "1" }, "body": "{}" });
        let mut requests: Vec<(String, Value)> =
            ["/", "/workflows", "/workflows/runs", &links, &link, "/admin/requests", "/metrics", "/openapi.json"]
                .map(get)
                .to_vec();
        if expected == 403 {
            requests.extend(changes(&workflow, run).into_iter().map(|(path, _)| (path, post.clone())));
        }
        for (path, options) in requests {
            let script = format!("fetch({path:?}, {options}).then(async (r) => [r.status, await r.text()])");
            let response = browser.eval(&script);
            assert_eq!(response[0], expected, "{path}");
            let text = response[1].as_str().unwrap();
            assert!(expected == 200 || !text.contains("of-a-row"), "{path}: {text}");
            // The same page reads the rows where its name is allowed, so that it is the refusal that keeps them.
            assert!(expected == 403 || path != link || text.contains("of-a-row"), "{path}: {text}");
        }
        assert_eq!(service.call("GET", "/workflows", None), before);
    }
}

#[test]
fn pages_of_an_allowed_origin_use_the_api_and_no_session() {
    let Some(mut browser) = Browser::start() else { return };
    let allowed = Loopback::start(|_| Answer::bytes("text/html", "<!doctype html><title>app</title><p>x"));
    let place = Place::new();
    let origin = allowed.url.replace("127.0.0.1", "localhost");
    for key in [&[][..], &["--api-key", MARKED_KEY]] {
        let flags = [key, &["--allow-origin", &origin]].concat();
        let service = Service::start(&place, if key.is_empty() { "open" } else { "keyed" }, &flags);
        browser.open(&format!("{origin}/"));
        let definition = std::fs::read_to_string(testdata("workflows/webhook-leads.json")).unwrap();
        let headers = json!({ "x-api-key": MARKED_KEY, "content-type": "application/json", "idempotency-key": "k" });
        let create = json!({ "method": "POST", "headers": headers, "body": definition });
        let made = fetch(&mut browser, &format!("{}/workflows/create_workflow", service.url), &create);
        let made: Value = serde_json::from_str(&made).unwrap_or_else(|error| panic!("{error}: {made}"));
        let id = made["id"].as_str().unwrap();
        let list = json!({ "headers": { "x-api-key": MARKED_KEY } });
        assert!(fetch(&mut browser, &format!("{}/workflows", service.url), &list).contains(id));
        // An error can be read too.
        let wrong = json!({ "headers": { "x-api-key": "" } });
        assert!(fetch(&mut browser, &format!("{}/workflows", service.url), &wrong).contains("Invalid API key"));
        let action = json!({ "method": "POST", "headers": { "x-drawoff-page": "1" }, "credentials": "omit" });
        let url = format!("{}/ui/actions/delete_workflow?workflow_id={id}", service.url);
        let refused = fetch(&mut browser, &url, &action);
        assert!(refused.contains("cannot change anything here"), "{refused}");
        // The same page under its other name is another origin.
        browser.open(&format!("{}/", allowed.url));
        assert_eq!(fetch(&mut browser, &format!("{}/workflows", service.url), &list), "refused");
        assert_eq!(service.call("GET", "/workflows", None).1.as_array().unwrap().len(), 1);
    }
    place.run_line("serve --allow-origin *").code(exit::USAGE).says("the origin of a web page");
}
