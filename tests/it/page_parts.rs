//! The contents of the page of `drawoff serve` in Chromium: lists by page, times, numbers, rates, graphs, commands to copy, and what
//! is gone.

use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::{Done, Place, Service, wait_for};

/// Starts a run of `rows` rows and returns its id.
fn start(service: &Service, workflow: &str, rows: usize) -> String {
    let rows: Vec<Value> = (0..rows).map(|n| json!({ "n": n })).collect();
    let path = format!("/workflows/run?workflow_id={workflow}");
    let (status, started) = service.call("POST", &path, Some(json!({ "webhook_payload": rows })));
    assert_eq!(status, 200, "{started}");
    started["job_id"].as_str().unwrap().to_owned()
}

/// Waits for the end of a run.
fn ended(service: &Service, run: &str) {
    wait_for("the run", || {
        let (_, status) = service.call("GET", &format!("/workflows/runs/{run}/live_status"), None);
        (status["overall_status"] == "completed").then_some(())
    });
}

#[test]
fn older_runs_are_on_further_pages_and_what_is_gone_is_named() {
    let Some(mut browser) = Browser::start() else { return };
    let place = Place::new();
    let service = Service::start(&place, "data", &[]);
    let workflow = service.chain(&[("webhook", json!({}))]);
    let runs: Vec<String> = (0..52).map(|n| start(&service, &workflow, n % 2)).collect();
    runs.iter().for_each(|run| ended(&service, run));
    browser.open(&format!("{}/", service.url));
    let rows = "document.querySelectorAll('#t-runs tbody tr').length";
    assert_eq!(browser.eval(rows), 50);
    browser.click("#older");
    browser.wait(&format!("location.search.includes('page=2') && {rows} === 2"));
    let oldest = browser.eval(&format!("!!document.querySelector('#run-{}')", runs[0]));
    assert_eq!(oldest, true);
    // The filter stays on the way.
    browser.open(&format!("{}/?state=completed&q={workflow}", service.url));
    browser.click("#older");
    browser.wait(&format!("document.querySelector('#state')?.value === 'completed' && {rows} === 2"));

    let gone = "7c1e0a52-4b0d-4a6e-9d1f-20c4d2a9b611";
    service.call("POST", &format!("/workflows/delete_workflow?workflow_id={workflow}"), None);
    for (path, parts) in [
        (format!("/ui/runs/{gone}"), vec!["This run is gone", gone]),
        (format!("/ui/workflows/{workflow}"), vec!["This workflow is gone", &workflow, "50"]),
        (format!("/ui/runs/{}/blocks/9", runs[0]), vec!["has no block 9", &runs[0]]),
        (format!("/ui/runs/{}/files/none.csv", runs[0]), vec!["no result file none.csv", &runs[0]]),
        ("/ui/nowhere".to_owned(), vec!["no page at this address"]),
    ] {
        browser.open(&format!("{}{path}", service.url));
        let text = browser.text("main");
        for part in parts {
            assert!(text.contains(part), "{path}: {part}: {text}");
        }
    }
}

#[test]
fn times_are_local_numbers_are_spelled_in_one_way_and_graphs_fit() {
    let Some(mut browser) = Browser::start() else { return };
    let place = Place::new();
    let service = Service::start(&place, "data", &["--admin"]);
    // Names as long as they come, more than fit one line.
    let names = ["webhook", "company_enrichment", "deduplicate", "company_enrichment", "deduplicate"];
    let blocks: Vec<(&str, Value)> = names.iter().map(|name| (*name, json!({}))).collect();
    let workflow = service.chain(&blocks);
    let run = start(&service, &workflow, 1200);
    ended(&service, &run);
    let zone = json!({ "timezoneId": "Asia/Kolkata" });
    browser.send("Emulation.setTimezoneOverride", zone).unwrap();
    browser.open(&format!("{}/ui/runs/{run}", service.url));
    browser.wait("!!document.querySelector('main p[data-state=completed]')");
    let shown =
        browser.eval("[...document.querySelectorAll('main time')].map((e) => [e.dateTime, e.textContent, e.title])");
    for time in shown.as_array().unwrap() {
        let [utc, local, title] = [&time[0], &time[1], &time[2]].map(|text| text.as_str().unwrap());
        let utc: chrono::DateTime<chrono::Utc> = utc.parse().unwrap();
        let there = utc + chrono::TimeDelta::minutes(330);
        assert_eq!(local, there.format("%Y-%m-%d %H:%M:%S").to_string());
        assert_eq!(title, format!("{} UTC", utc.format("%Y-%m-%d %H:%M:%S")));
    }
    assert!(!shown.as_array().unwrap().is_empty());
    // Thousands are set apart wherever a number of rows is.
    for path in [format!("/ui/runs/{run}"), "/".to_owned(), format!("/ui/workflows/{workflow}")] {
        browser.open(&format!("{}{path}", service.url));
        browser.wait("document.querySelector('main').innerText.length > 0");
        let text = browser.text("main").replace(['\u{a0}', '\u{202f}'], " ");
        assert!(text.contains("1 200") && !text.contains("1200"), "{path}: {text}");
    }
    // No text leaves its box, and no graph its place.
    for width in [400, 800, 1280, 1920] {
        let metrics = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        browser.send("Emulation.setDeviceMetricsOverride", metrics).unwrap();
        browser.open(&format!("{}/ui/runs/{run}", service.url));
        let outside = browser.eval(
            "(() => { const shown = [...document.querySelectorAll('#graph svg')].filter((e) => e.getBoundingClientRect().width > 0);
               const page = document.documentElement.clientWidth, out = [];
               for (const svg of shown) {
                 const all = svg.getBoundingClientRect();
                 if (all.left < 0 || all.right > page + 1) out.push(`graph ${all.left} ${all.right}`);
                 for (const node of svg.querySelectorAll('.node')) {
                   const box = node.querySelector('.box').getBoundingClientRect();
                   for (const text of node.querySelectorAll('text')) {
                     const at = text.getBoundingClientRect();
                     if (at.left < box.left || at.right > box.right + 1) out.push(text.textContent);
                   }
                 }
               }
               return [shown.length, out]; })()",
        );
        assert_eq!(outside, json!([1, []]), "{width}");
    }
}

#[test]
fn rates_are_shown_and_commands_are_copied_and_run() {
    let Some(mut browser) = Browser::start() else { return };
    let place = Place::new();
    let service = Service::start(&place, "data", &["--admin", "--fault", "rows-per-second=20,times=1"]);
    let workflow = service.chain(&[("webhook", json!({})), ("deduplicate", json!({}))]);
    let slow = start(&service, &workflow, 2000);
    browser.open(&format!("{}/ui/runs/{slow}", service.url));
    browser.wait("/ rows\\/s/.test(document.querySelector('main').innerText)");
    browser.wait("/ left in this block/.test(document.querySelector('main').innerText)");
    browser.open(&format!("{}/", service.url));
    browser.wait("/ left in this block/.test(document.querySelector('main').innerText)");
    service.call("POST", &format!("/workflows/cancel?job_id={slow}"), None);
    let run = start(&service, &workflow, 3);
    ended(&service, &run);
    // The clipboard of a headless browser is not readable, so that what is given to it is kept.
    browser.open(&format!("{}/ui/runs/{run}", service.url));
    browser.wait("!!document.querySelector('#again')");
    browser.click("#commands summary");
    for tool in ["curl", "drawoff"] {
        browser.eval("navigator.clipboard.writeText = (text) => { window.copied = text; return Promise.resolve(); }");
        browser.click(&format!("#copy-{tool}-again"));
        browser.wait("typeof window.copied === 'string'");
        let line = browser.eval("window.copied").as_str().unwrap().to_owned();
        assert_eq!(browser.eval(&format!("document.querySelector('#{tool}-again').textContent")), line.as_str());
        browser.eval("delete window.copied");
        let before = service.call("GET", "/workflows/runs", None).1.as_array().unwrap().len();
        let mut shell = place.program("sh");
        shell.arg("-c").arg(&line);
        Done::of(shell).ok();
        assert_eq!(service.call("GET", "/workflows/runs", None).1.as_array().unwrap().len(), before + 1, "{line}");
    }
}
