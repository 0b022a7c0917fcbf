//! The page of `drawoff serve` in Chromium: script and style pass the content security policy, the page updates itself, and
//! everything that it offers is done: make, run, cancel, run again, delete, search, copy.

use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::{Done, MARKED_KEY, Place, Service};

/// Markup and script in every place that comes from outside.
const HOSTILE: &str = "<img src=x onerror=\"document.title='hacked'\"><script>document.title='hacked'</script>\"'`${1}";

/// Asserts that the browser has complained about nothing, such as a violation of the policy.
#[track_caller]
fn assert_clean(browser: &mut Browser) {
    assert_eq!(browser.eval("document.title === 'hacked'"), false);
    assert_eq!(browser.eval("document.querySelectorAll('img, iframe, main script').length"), 0);
    assert_eq!(browser.complaints, Vec::<String>::new());
}

/// Waits until the page is that of a run with this state.
#[track_caller]
fn wait_for_run(browser: &mut Browser, state: &str) -> String {
    let shown =
        format!("location.pathname.startsWith('/ui/runs/') && !!document.querySelector('main p[data-state={state}]')");
    browser.wait(&shown);
    browser.eval("location.pathname.split('/')[3]").as_str().unwrap().to_owned()
}

#[test]
fn an_empty_service_leads_to_a_first_run_and_back() {
    let Some(mut browser) = Browser::start() else { return };
    let place = Place::new();
    let service = Service::start(&place, "data", &[]);
    browser.open(&format!("{}/", service.url));
    assert!(browser.text("main").contains("How to begin"));
    browser.click("#example");
    let first = wait_for_run(&mut browser, "completed");
    // The rows of the last block are open, with the kinds of their values.
    browser.wait("document.querySelectorAll('#block-3 tbody tr').length === 1");
    assert_eq!(
        browser.text("#block-3 thead").split_whitespace().collect::<Vec<_>>(),
        ["Row", "domain", "text", "employees", "integer"]
    );
    assert_eq!(browser.text("#block-3 tbody").split_whitespace().collect::<Vec<_>>(), ["1", "acme.example", "120"]);
    browser.click("#d-input summary");
    browser.wait("document.querySelectorAll('#d-input tbody tr').length === 3");
    browser.click("#block-2 summary");
    assert!(browser.text("#json-specs-2").contains("\"operator\": \"greater\""));
    browser.wait("document.querySelectorAll('#block-2 tbody tr').length === 2");
    // A node of the graph leads to its block.
    browser.eval("document.querySelector('svg.wide a[href=\"#block-1\"]').dispatchEvent(new MouseEvent('click', { bubbles: true, cancelable: true }))");
    browser.wait("document.querySelector('#block-1').open");
    // The page was replaced by newer ones, and what was opened is still open.
    browser.wait("document.documentElement.dataset.live === 'on'");
    assert_eq!(
        browser
            .eval("document.querySelector('#d-input').open && document.querySelectorAll('#d-input tbody tr').length"),
        3
    );
    let zone = browser.eval("Intl.DateTimeFormat().resolvedOptions().timeZone").as_str().unwrap().to_owned();
    assert!(browser.text("#zone").contains(&zone));
    assert!(browser.eval("document.querySelector('time').title").as_str().unwrap().ends_with(" UTC"));
    browser.click("#again");
    browser.wait(&format!("!location.pathname.includes('{first}')"));
    let second = wait_for_run(&mut browser, "completed");
    browser.wait("document.querySelectorAll('#block-3 tbody tr').length === 1");
    browser.click("#delete");
    browser.wait("location.pathname === '/' && !!document.querySelector('#runs')");
    assert_eq!(browser.eval(&format!("!!document.querySelector('#run-{second}')")), false);
    assert!(!place.path("data/runs").join(&second).exists());
    browser.click(&format!("#run-{first}"));
    wait_for_run(&mut browser, "completed");
    assert_clean(&mut browser);
    browser.open(&format!("{}/ui/runs/{second}", service.url));
    assert!(browser.text("main").contains("This run is gone") && browser.text("main").contains(&second));
}

#[test]
fn a_workflow_is_made_run_with_typed_rows_and_deleted() {
    let Some(mut browser) = Browser::start() else { return };
    let place = Place::new();
    let service = Service::start(&place, "data", &[]);
    let definition = json!({ "workflow_name": HOSTILE, "workflow_description": HOSTILE, "workflow_definition": {
        "blocks": [{ "sequence_number": 1, "block_type": "x", "block_name": "webhook", "block_id": "a", "specs": {} },
            { "sequence_number": 2, "block_type": "x", "block_name": "deduplicate", "block_id": "b", "specs": { "columns": [HOSTILE] } }],
        "edges": [{ "from_block_id": "a", "to_block_id": "b" }] } });
    browser.open(&format!("{}/", service.url));
    let put = |selector: &str, text: &str| {
        format!(
            "(e => {{ e.value = {}; e.dispatchEvent(new InputEvent('input', {{ bubbles: true }})); }})(document.querySelector({selector:?}))",
            json!(text)
        )
    };
    browser.eval(&put("#definition", "{"));
    browser.eval("document.querySelector('#create button').click()");
    browser.wait("document.querySelector('#action-error').textContent.length > 0");
    browser.eval(&put("#definition", &definition.to_string()));
    browser.eval("document.querySelector('#create button').click()");
    browser.wait("location.pathname.startsWith('/ui/workflows/')");
    browser.wait("!!document.querySelector('#run')");
    assert!(browser.text("h1").contains("<img src=x"));
    let shown: Value =
        serde_json::from_str(browser.eval("document.querySelector('#json-definition').textContent").as_str().unwrap())
            .unwrap();
    assert_eq!(shown["workflow_name"], HOSTILE);
    browser.eval(&put("#rows-in", "[{"));
    browser.click("#run button.main");
    browser.wait("document.querySelector('#action-error').textContent.startsWith('rows: ')");
    let rows = json!([{ HOSTILE: HOSTILE, "n": 1.50 }, { HOSTILE: HOSTILE, "n": 2 }, { HOSTILE: "it's", "n": null }]);
    browser.eval(&put("#rows-in", &rows.to_string()));
    // The command lines have the rows of the form, and a shell runs them.
    for (line, command) in [("#drawoff-run", "drawoff"), ("#curl-run", "curl")] {
        let line = browser.eval(&format!("document.querySelector({line:?}).textContent"));
        let line = line.as_str().unwrap().to_owned();
        assert!(line.contains(command), "{line}");
        if command == "drawoff" {
            let mut shell = place.program("sh");
            shell.arg("-c").arg(&line);
            Done::of(shell).ok();
            assert_eq!(place.read_text("results.ndjson").lines().count(), 2);
        }
    }
    browser.click("#run button.main");
    let run = wait_for_run(&mut browser, "completed");
    browser.wait("document.querySelectorAll('#block-2 tbody tr').length === 2");
    assert!(browser.text("#block-2 tbody").contains("<img src=x onerror"));
    assert_clean(&mut browser);
    browser.click("#workflow");
    browser.wait("!!document.querySelector('#run')");
    browser.click("#delete");
    browser.wait("location.pathname === '/' && !!document.querySelector('#runs')");
    assert_eq!(service.call("GET", "/workflows", None).1, json!([]));
    // The run is kept, and does not lead to a workflow that is gone.
    browser.open(&format!("{}/ui/runs/{run}", service.url));
    assert_eq!(browser.eval("!!document.querySelector('#workflow')"), false);
    browser.click("#again");
    browser.wait(&format!("!location.pathname.includes('{run}')"));
    wait_for_run(&mut browser, "completed");
    assert_clean(&mut browser);
}

#[test]
fn a_file_is_uploaded_a_run_cancelled_and_runs_are_found() {
    let Some(mut browser) = Browser::start() else { return };
    let place = Place::new();
    let service = Service::start(&place, "data", &["--admin", "--fault", "rows-per-second=0.01", "--max-runs", "1"]);
    let workflow = service.chain(&[("read_csv", json!({})), ("remove_columns", json!({ "columns": ["b"] }))]);
    browser.open(&format!("{}/ui/workflows/{workflow}", service.url));
    browser.eval("(() => { const files = new DataTransfer(); files.items.add(new File(['a,b\\n007,1\\n2,2\\n'], 'table.csv')); document.querySelector('#file-in').files = files.files; })()");
    browser.click("#run button.main");
    let run = wait_for_run(&mut browser, "running");
    assert!(browser.text(".unusual").contains("rows-per-second=0.01"));
    browser.click("#d-input summary");
    browser.wait("document.querySelectorAll('#d-input tbody tr').length === 2");
    assert!(browser.text("#s-input").contains("table.csv") && browser.text("#d-input tbody").contains("007"));
    browser.click(&format!("#cancel-{run}"));
    browser.wait("!!document.querySelector('main p[data-state=cancelled]') && !!document.querySelector('#again')");
    browser.open(&format!("{}/?q={}&state=cancelled", service.url, &run[..8]));
    assert_eq!(browser.eval("document.querySelectorAll('#t-runs tbody tr').length"), 1);
    browser.eval("document.querySelector('#q').value = 'no such run'");
    browser.click("#search button");
    browser.wait("document.querySelector('#runs').parentElement.textContent.includes('No run matches.')");
    assert_eq!(browser.eval("document.querySelector('#state').value"), "cancelled");
    assert_clean(&mut browser);
}

#[test]
fn with_a_key_the_page_acts_and_never_shows_it() {
    let Some(mut browser) = Browser::start() else { return };
    let place = Place::new();
    let service = Service::start(&place, "data", &["--api-key", MARKED_KEY]);
    browser.open(&format!("{}/", service.url));
    browser.eval(&format!("document.querySelector('#key').value = {MARKED_KEY:?}"));
    browser.click("form button");
    browser.wait("!!document.querySelector('#example')");
    browser.click("#example");
    let first = wait_for_run(&mut browser, "completed");
    browser.click("#commands summary");
    assert!(browser.text("#commands").contains("$SIXTYFOUR_API_KEY"));
    let page = browser.eval("document.documentElement.outerHTML + document.cookie + location.href");
    assert!(!page.as_str().unwrap().contains(MARKED_KEY));
    browser.click("#again");
    browser.wait(&format!("!location.pathname.includes('{first}')"));
    wait_for_run(&mut browser, "completed");
    assert!(browser.requested.iter().all(|url| !url.contains(MARKED_KEY)), "{:?}", browser.requested);
    // Without the session, an action is refused and the page asks for the key again.
    browser.send("Network.clearBrowserCookies", json!({})).unwrap();
    browser.wait("!!document.querySelector('#key')");
    let runs = service.call("GET", "/workflows/runs", None).1;
    assert_eq!(runs.as_array().unwrap().len(), 2);
}
