//! Runs by parallel clients against a service with injected faults: the results are those of a service without faults,
//! and the memory of the service stays bounded. With all plans and its measurements:
//!
//! ```sh
//! DRAWOFF_TEST_ALL=1 cargo test --release --test it -- --nocapture soak
//! ```

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::plans;
use crate::support::{Place, Service, block_on};

/// Runs, if all plans are executed.
const RUNS: u32 = 200;

/// The injected faults. Every run meets some of them; none of them damages data.
const FAULTS: [&str; 11] = [
    "latency=2ms,jitter=20ms",
    "429,retry-after=0s,times=2,chance=0.4,on=status",
    "429,reset=0s,chance=0.2,on=links",
    "503,chance=0.3,on=start",
    "500,chance=0.3,on=upload",
    "502,chance=0.3,on=files",
    "cut=40%,times=2,chance=0.6",
    "wrong-range=7,chance=0.4",
    "ignore-range,chance=0.4",
    "gzip,members=3,chance=0.3",
    "flap,times=2,chance=0.5",
];

/// Different inputs; runs take them in turn.
const INPUTS: usize = 5;

/// Time limit of the test.
const LONGEST: Duration = Duration::from_secs(30 * 60);

fn definition() -> String {
    let block = |number: u32, name: &str, specs: serde_json::Value| {
        json!({
            "sequence_number": number, "block_type": "x", "block_name": name, "block_id": format!("b{number}"),
            "specs": specs
        })
    };
    let edge = |from: u32, to: u32| json!({ "from_block_id": format!("b{from}"), "to_block_id": format!("b{to}") });
    let filter = json!({ "filters": [{ "column": "score", "operator": "greater", "value": 10 }] });
    json!({
        "workflow_name": "Soak",
        "workflow_definition": {
            "blocks": [
                block(1, "read_csv", json!({})),
                block(2, "filter", filter),
                block(3, "deduplicate", json!({ "columns": ["email"] })),
                block(4, "find_email", json!({ "return_fields": { "phone": { "type": "str" } } })),
            ],
            "edges": [edge(1, 2), edge(2, 3), edge(3, 4)]
        }
    })
    .to_string()
}

fn input(n: usize) -> String {
    let mut text = "id,email,score,bio\n".to_owned();
    for id in 0..400 * (n + 1) {
        let email = id * 7919 % (300 * (n + 1));
        text.push_str(&format!("{id},p{email}@x.test,{},\"a \"\"few\"\" words,\n{n}\"\n", id * 31 % 97));
    }
    text
}

#[test]
fn results_with_faults_are_those_without() {
    let (runs, clients) = (plans::count(RUNS) as usize, if plans::all() { 8 } else { 4 });
    let started = Instant::now();
    let service_place = Place::new();
    let sound = Service::start(&service_place, "sound", &[]);
    // All clients share one key, so the rate limit of a key would slow them down.
    let mut flags =
        vec!["--fault-seed", "64", "--max-runs", "4", "--step-memory", "16K", "--rate-limit", "0", "--admin"];
    flags.extend(FAULTS.iter().flat_map(|fault| ["--fault", *fault]));
    let faulty = Service::start(&service_place, "faulty", &flags);

    let place = Place::with_service(&sound.url);
    place.write("soak.json", definition());
    let mut expected = Vec::new();
    for n in 0..INPUTS {
        place.write(&format!("in{n}.csv"), input(n));
        let out = format!("expected{n}.ndjson");
        place.run(&["run", "soak.json", "--input", &format!("in{n}.csv"), "-o", &out]).ok();
        expected.push(place.read(&out));
    }
    let place = Arc::new(place.env("SIXTYFOUR_API_ENDPOINT", &faulty.url));
    let expected = Arc::new(expected);
    let (next, broken) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
    let clients: Vec<_> = (0..clients)
        .map(|_| {
            let (place, expected) = (Arc::clone(&place), Arc::clone(&expected));
            let (next, broken) = (Arc::clone(&next), Arc::clone(&broken));
            thread::spawn(move || {
                loop {
                    let run = next.fetch_add(1, Ordering::SeqCst);
                    if run >= runs || started.elapsed() > LONGEST {
                        return;
                    }
                    let (n, out) = (run % INPUTS, format!("out{run}.ndjson"));
                    let input = format!("in{n}.csv");
                    // Without a ledger, every command starts a run of its own.
                    let done = place.run(&["run", "soak.json", "--input", &input, "-o", &out, "--no-state"]);
                    if done.code != 0 || place.read(&out) != expected[n] {
                        broken.lock().unwrap().push(format!("run {run}: code {}\n{}", done.code, done.stderr));
                    }
                    let _ = std::fs::remove_file(place.path(&out));
                }
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    let elapsed = started.elapsed();
    assert!(elapsed < LONGEST, "the time limit was reached");
    let broken = broken.lock().unwrap();
    assert!(broken.is_empty(), "{} of {runs} runs:\n{}", broken.len(), broken.join("\n"));
    let struck = struck(&faulty.url);
    // A range fault needs a cut after the first bytes before it, which few runs may not have.
    let of_ranges = ["wrong-range", "ignore-range"];
    let missed = |(kind, struck): &(String, u64)| *struck == 0 && (runs > 100 || !of_ranges.contains(&&**kind));
    assert!(!struck.iter().any(missed), "a fault was never injected: {struck:?}");
    let faults: u64 = struck.iter().map(|(_, struck)| struck).sum();
    assert!(faults as usize > 3 * runs, "too few faults were injected: {struck:?}");
    let peak = faulty.peak_memory_bytes();
    let peak_mib = peak >> 20;
    say(&format!(
        "{runs} runs in {elapsed:.1?} with {faults} faults, all as without; the service took {peak_mib} MiB at most"
    ));
    // The service plans 256 MiB for rows in flight; the bound catches one that grows with every run.
    assert!(peak < 512 << 20, "the service took {} MiB", peak >> 20);
}

/// Number of injections of each fault.
fn struck(url: &str) -> Vec<(String, u64)> {
    let answer: serde_json::Value = block_on(async {
        let request = reqwest::Client::new().get(format!("{url}/admin/faults")).header("x-api-key", "k");
        request.send().await.unwrap().json().await.unwrap()
    });
    let fault =
        |fault: &serde_json::Value| (fault["kind"].as_str().unwrap().to_owned(), fault["struck"].as_u64().unwrap());
    answer.as_array().unwrap().iter().map(fault).collect()
}

#[expect(clippy::print_stderr, reason = "time and memory are measurements")]
fn say(text: &str) {
    eprintln!("{text}");
}
