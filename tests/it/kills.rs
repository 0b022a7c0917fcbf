//! Commands killed by SIGKILL at random moments: the same command, repeated, completes the work. A pull resumes its
//! download and writes the same output; a run is not started twice.

use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::plans::{self, SeededRng};
use crate::support::relay::Relay;
use crate::support::rows;
use crate::support::{Place, Service};

/// Kills of a pull, if all plans are executed.
const PULL_KILLS: u32 = 50;
/// Kills of a run, if all plans are executed.
const RUN_KILLS: u32 = 20;
/// Size of the results that the killed pulls download.
const RESULT_BYTES: usize = 20 << 20;
/// Upper bound of the response bytes of all API calls of one pull, the download itself excluded.
const CALLS_BYTES: u64 = 64 << 10;

/// Runs `args` and kills the process once `it_is_time` returns true. False if the process had ended before.
fn kill_when(place: &Place, args: &[&str], it_is_time: impl Fn() -> bool) -> bool {
    let mut command = place.command(args);
    // Nothing reads these pipes, and a full one would block the process.
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

/// Makes a completed run with at least `result_bytes` of results at the service, and returns its id.
fn large_run(place: &Place, result_bytes: usize) -> String {
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
        if rows.len() >= result_bytes {
            break;
        }
    }
    place.write("large.ndjson", rows);
    place.run(&["run", "large.json", "--input", "large.ndjson", "-o", "-", "--no-state"]).ok();
    let runs = place.run(&["runs", "ls", "-o", "ndjson"]).ok().records();
    runs[0]["job_id"].as_str().unwrap().to_owned()
}

/// Reads the rows of an output. The bytes of compressed and of Parquet files are not comparable: where members and row
/// groups end depends on the arrival of the download.
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

#[test]
#[expect(clippy::print_stderr, reason = "the number of bytes downloaded twice is a measurement")]
fn a_killed_pull_that_is_repeated_writes_the_same_output() {
    let kills = plans::count(PULL_KILLS);
    let mut rng = SeededRng::new(plans::seed());
    let service_place = Place::new();
    let service = Service::start(&service_place, "data", &["--max-upload", "0", "--max-upload-rows", "0"]);
    let relay = Relay::start(&service.url);
    let place = Place::with_service(&relay.url);
    let run = large_run(&place, RESULT_BYTES);
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
    for i in 0..kills {
        let out = outs[i as usize % outs.len()];
        let (expected, took, size) = &whole[i as usize % outs.len()];
        // Without an output and without a ledger, the pull starts from nothing.
        std::fs::remove_file(place.path(out)).unwrap();
        std::fs::remove_dir_all(place.path("state/drawoff")).unwrap();
        relay.take_received();
        let pull = ["pull", &run, "-o", out];
        // Even kills come after a share of the bytes; odd ones after a share of the time, which may also be before the
        // first byte or after the last.
        let (moment, start) = (rng.fraction(), Instant::now());
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
            assert!(second < CALLS_BYTES, "kill {i}: {second} bytes for a complete output");
        }
        assert!(second < size + CALLS_BYTES, "kill {i}: {second} of {size} bytes");
        let again = (first + second).saturating_sub(*size);
        (twice, most) = (twice + again, most.max(again));
    }
    eprintln!(
        "{kills} pulls of {} bytes: {killed} killed, {complete} of them complete by then; \
         {twice} bytes downloaded twice, at most {most} in one",
        whole[0].2
    );
}

#[test]
fn a_killed_run_command_that_is_repeated_starts_one_run() {
    let mut rng = SeededRng::new(plans::seed());
    let service_place = Place::new();
    let service = Service::start(&service_place, "data", &[]);
    let place = Place::with_service(&service.url);
    let leads = "testdata/workflows/webhook-leads.json";
    let payload = |i: u32| json!([{"full_name": "A", "email": "a@x.example", "score": 100 + i}]).to_string();
    let start = Instant::now();
    place.run(&["run", leads, "--payload", &payload(0), "-o", "out.ndjson"]).ok();
    let took = start.elapsed();
    for i in 1..=plans::count(RUN_KILLS) {
        let payload = payload(i);
        let args = ["run", leads, "--payload", &payload, "-o", "out.ndjson"];
        std::fs::remove_file(place.path("out.ndjson")).unwrap();
        let before = place.run(&["runs", "ls", "-o", "ndjson", "--limit", "500"]).ok().records().len();
        let (moment, start) = (took.mul_f64(rng.fraction()), Instant::now());
        kill_when(&place, &args, || start.elapsed() >= moment);
        // If the command completed before the kill, the repeated one rightly starts a new run.
        let delivered = place.path("out.ndjson").exists();
        place.run(&args).ok();
        assert!(place.read_text("out.ndjson").contains(&format!("\"score\":{}", 100 + i)));
        let runs = place.run(&["runs", "ls", "-o", "ndjson", "--limit", "500"]).ok().records().len();
        assert!(runs == before + 1 || delivered && runs == before + 2, "kill {i}: {before} runs became {runs}");
        assert_eq!(place.leftovers(), ["out.ndjson"]);
    }
}
