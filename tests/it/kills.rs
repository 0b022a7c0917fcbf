//! `kill -9` at random moments: what is done again ends as if nothing had happened.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::relay::Relay;
use crate::support::rows;
use crate::support::{Place, Service};

/// Moments at which a pull is killed.
const PULL_KILLS: u32 = 50;
/// Moments at which a start is killed.
const START_KILLS: u32 = 20;
/// What the API calls around a download come to at most, in bytes.
const CALLS_BYTES: u64 = 64 << 10;

/// A number of the environment, or `default`.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Numbers from a seed, which is shown when a test fails.
struct Chance(u64);

impl Chance {
    #[expect(clippy::print_stderr, reason = "a failure must be repeatable")]
    fn new(test: &str) -> Self {
        let seed = setting("DRAWOFF_TEST_SEED", RandomState::new().build_hasher().finish());
        eprintln!("{test}: DRAWOFF_TEST_SEED={seed}");
        Chance(seed | 1)
    }

    /// Between 0 and 1 (xorshift64*).
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Runs `args` and kills the process as soon as `it_is_time`, unless it has ended. True if it was killed.
fn kill_when(place: &Place, args: &[&str], it_is_time: impl Fn() -> bool) -> bool {
    let mut command = place.command(args);
    // Nobody reads them, so that they must not fill up.
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let ended = loop {
        let ended = child.try_wait().unwrap().is_some();
        if ended || it_is_time() {
            break ended;
        }
        thread::sleep(Duration::from_millis(1));
    };
    let _ = child.kill();
    child.wait().unwrap();
    !ended
}

/// A run of `mebibytes` of results at the service; returns its id.
fn large_run(place: &Place, mebibytes: u64) -> String {
    let source = json!({"sequence_number": 1, "block_type": "io", "block_name": "read_csv", "specs": {}});
    let graph = json!({"workflow_name": "Large", "workflow_definition": {"blocks": [source], "edges": []}});
    place.write("large.json", graph.to_string());
    let mut rows = String::new();
    for id in 0.. {
        rows.push_str(&format!(
            "{{\"id\":{id},\"name\":\"Somebody {} of Zürich\",\"score\":{}.25,\"tags\":[\"a{}\",\"b\"],\"bio\":\"{}\"}}\n",
            id * 7919 % 100_003,
            id % 1000,
            id % 17,
            "a few words about them, ".repeat(id % 9),
        ));
        if rows.len() as u64 >= mebibytes << 20 {
            break;
        }
    }
    place.write("large.ndjson", rows);
    place.run(&["run", "large.json", "--input", "large.ndjson", "-o", "-", "--no-state"]).ok();
    let runs = place.run(&["runs", "ls", "-o", "ndjson"]).ok().records();
    runs[0]["job_id"].as_str().unwrap().to_owned()
}

/// What an output says. Where compressed pieces and row groups end depends on when bytes came, and says nothing.
fn contents(place: &Place, out: &str) -> Vec<u8> {
    let bytes = place.read(out);
    if out.ends_with(".parquet") {
        return rows::parquet(bytes).iter().map(|row| row.to_string() + "\n").collect::<String>().into_bytes();
    }
    if !out.ends_with(".gz") {
        return bytes;
    }
    let mut plain = Vec::new();
    std::io::copy(&mut flate2::read::MultiGzDecoder::new(&*bytes), &mut plain).unwrap();
    plain
}

/// Twenty-odd megabytes by default; `DRAWOFF_TEST_KILL_MIB=200` is the proof on a large file.
#[test]
#[expect(clippy::print_stderr, reason = "how much was downloaded twice is a result of its own")]
fn a_pull_that_is_killed_and_resumed_is_as_if_nothing_had_happened() {
    let mut chance = Chance::new("kills of a pull");
    let service_place = Place::new();
    let service = Service::start(&service_place, "data", &["--max-upload", "0", "--max-upload-rows", "0"]);
    let relay = Relay::start(&service.url);
    let place = Place::with_service(&relay.url);
    let run = large_run(&place, setting("DRAWOFF_TEST_KILL_MIB", 20));
    for name in ["large.json", "large.ndjson"] {
        std::fs::remove_file(place.path(name)).unwrap();
    }

    let outs = ["out.ndjson", "out.csv.gz", "out.parquet"];
    let mut whole = Vec::new();
    for out in outs {
        relay.take_received();
        let start = Instant::now();
        place.run(&["pull", &run, "-o", out]).ok();
        whole.push((contents(&place, out), start.elapsed(), relay.take_received()));
    }
    let (mut killed, mut complete, mut twice, mut most) = (0, 0, 0, 0);
    for i in 0..PULL_KILLS {
        let out = outs[i as usize % outs.len()];
        let (expected, took, size) = &whole[i as usize % outs.len()];
        // Anew: nothing stands, nothing is remembered.
        std::fs::remove_file(place.path(out)).unwrap();
        std::fs::remove_dir_all(place.path("state/drawoff")).unwrap();
        relay.take_received();
        let pull = ["pull", &run, "-o", out];
        // Half of them somewhere in the bytes, the others at some time: before the first or after the last.
        let (moment, start) = (chance.next(), Instant::now());
        let was_killed = match i % 2 {
            0 => kill_when(&place, &pull, || relay.received() as f64 >= moment * *size as f64),
            _ => kill_when(&place, &pull, || start.elapsed() >= took.mul_f64(moment)),
        };
        killed += u32::from(was_killed);
        let first = relay.take_received();
        let done = place.run(&pull).ok();
        let second = relay.take_received();
        assert!(contents(&place, out) == *expected, "kill {i}: {out} differs\n{}", done.stderr);
        let left = place.leftovers();
        assert!(
            outs.iter().all(|out| left.contains(&(*out).to_owned())) && left.len() == outs.len(),
            "kill {i}: {left:?}"
        );
        if done.stderr.contains("already complete") {
            complete += 1;
            assert!(second < CALLS_BYTES, "kill {i}: {second} bytes for what was complete");
        }
        assert!(second < size + CALLS_BYTES, "kill {i}: {second} of {size} bytes");
        let again = (first + second).saturating_sub(*size);
        (twice, most) = (twice + again, most.max(again));
    }
    eprintln!(
        "{PULL_KILLS} pulls of {} bytes: {killed} killed, {complete} of them complete by then; \
         {twice} bytes downloaded twice, at most {most} in one",
        whole[0].2
    );
}

#[test]
fn a_run_that_is_killed_and_repeated_starts_once() {
    let mut chance = Chance::new("kills of a start");
    let service_place = Place::new();
    let service = Service::start(&service_place, "data", &[]);
    let place = Place::with_service(&service.url);
    let leads = "testdata/workflows/webhook-leads.json";
    let payload = |i: u32| json!([{"full_name": "A", "email": "a@x.example", "score": 100 + i}]).to_string();
    let start = Instant::now();
    place.run(&["run", leads, "--payload", &payload(0), "-o", "out.ndjson"]).ok();
    let took = start.elapsed();
    for i in 1..=START_KILLS {
        let payload = payload(i);
        let args = ["run", leads, "--payload", &payload, "-o", "out.ndjson"];
        std::fs::remove_file(place.path("out.ndjson")).unwrap();
        let before = place.run(&["runs", "ls", "-o", "ndjson", "--limit", "500"]).ok().records().len();
        let (moment, start) = (took.mul_f64(chance.next()), Instant::now());
        kill_when(&place, &args, || start.elapsed() >= moment);
        // Had it come to its end before the kill, the next would rightly be a new start.
        let delivered = place.path("out.ndjson").exists();
        place.run(&args).ok();
        assert!(place.read_text("out.ndjson").contains(&format!("\"score\":{}", 100 + i)));
        let runs = place.run(&["runs", "ls", "-o", "ndjson", "--limit", "500"]).ok().records().len();
        assert!(runs == before + 1 || delivered && runs == before + 2, "kill {i}: {before} runs became {runs}");
        assert_eq!(place.leftovers(), ["out.ndjson"]);
    }
}
