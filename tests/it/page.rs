//! The HTML page of `drawoff serve` in headless Chromium: script and style pass the content security policy, and the
//! page updates itself.

use crate::support::{Done, Place, Service, tool};

#[test]
fn the_page_works_under_its_content_security_policy() {
    let Some(chromium) = tool("DRAWOFF_TEST_CHROMIUM") else { return };
    let folder = Place::new();
    let service = Service::start(&folder, "data", &[]);
    let place = Place::with_service(&service.url);
    place.run_line("run testdata/workflows/webhook-leads.json --payload @testdata/leads.json -o out.ndjson").ok();
    let mut command = place.program(&chromium);
    // Its own sandbox needs rights that CI does not have; the page is ours.
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--dump-dom"]);
    command.arg("--virtual-time-budget=4000").arg("--user-data-dir=browser").arg(format!("{}/", service.url));
    let done = Done::of(command).ok();
    // Set by the script once it has put a newer page in place.
    assert!(done.text().contains("data-live=\"on\""), "{}\n{}", done.text(), done.stderr);
    assert!(done.text().contains("data-state=\"completed\""), "{}", done.text());
    for word in ["Refused to", "violates"] {
        assert!(!done.stderr.contains(word), "{}", done.stderr);
    }
}
