//! Peak memory of the binary over one and ten times the input: it must be the same within a tenth.
//!
//! ```sh
//! cargo bench --bench peak_memory
//! ```
//!
//! The input is a gibibyte of generated records, ten times over, then ten gibibytes at once, through a
//! pipe, so that no disk is needed. Which peak a run reaches depends on how its threads meet, so that of ten
//! runs the largest counts: they have as many occasions as the long one. The peak is `VmHWM`, the highest
//! resident set that the kernel has seen of the process, read while it runs. Exits with 1 where the
//! larger input takes more than a tenth more.
//!
//! The last line is of many columns and short files: 1,400 columns, 20 rows per file, 150 files and ten times as many.
//! There the entries of footers would grow, about 1.6 KB per column and file.

#![allow(unreachable_pub, reason = "a program of its own has no users of its items")]

mod inputs;

use std::io::{self, Write};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use inputs::Shape;

const MIB: u64 = 1 << 20;
/// Generated once, and fed again and again.
const BLOCK_BYTES: usize = 32 << 20;
/// With a fourth of it no run came near the size that all longer ones have.
const SMALL_BLOCKS: usize = 32;
const TIMES: usize = 10;

/// The records of a conversion.
#[derive(Clone, Copy, PartialEq)]
enum Records {
    /// A gibibyte, as of enrichment.
    Wide,
    /// Of 1,400 columns, for 150 files.
    Columns,
}

/// What is converted, and how: a name, the records, and the arguments behind `convert -`.
const CONVERSIONS: [(&str, Records, &[&str]); 4] = [
    ("Parquet, zstd", Records::Wide, &["-o", "peak.parquet"]),
    ("CSV", Records::Wide, &["-o", "-", "--to", "csv"]),
    ("NDJSON", Records::Wide, &["-o", "-", "--to", "ndjson"]),
    (
        "short files",
        Records::Columns,
        &["-o", "peak/", "--to", "parquet", "--max-file-rows", "20", "--max-memory", "64MiB"],
    ),
];

fn main() -> ExitCode {
    // `cargo bench` passes `--bench`; a name after `--` chooses conversions.
    let chosen: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    if !cfg!(target_os = "linux") {
        say("peak memory is read from /proc, which only Linux has");
        return ExitCode::SUCCESS;
    }
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let (wide, columns) = (inputs::ndjson(Shape::Wide, BLOCK_BYTES), records_of_columns());
    say(&format!("{:<14} {:>15} {:>15}    ratio", "peak, MiB", "MiB in", "MiB in"));
    let mut grown = false;
    for (name, records, args) in CONVERSIONS {
        if !chosen.is_empty() && !chosen.iter().any(|word| name.to_lowercase().contains(&word.to_lowercase())) {
            continue;
        }
        let (block, small, runs) = match records {
            Records::Wide => (&wide, SMALL_BLOCKS, TIMES),
            Records::Columns => (&columns, 1, 1),
        };
        let large = small * TIMES;
        let peaks = [(small, runs), (large, 1)].map(|(blocks, runs)| {
            let peaks = (0..runs).map(|_| peak_of(args, block, blocks, folder.path()));
            peaks.max().expect("there are runs")
        });
        let ratio = peaks[1] as f64 / peaks[0] as f64;
        let verdict = if ratio <= 1.10 { "same within 10 %" } else { "GROWN" };
        grown |= ratio > 1.10;
        let [low, high] = peaks.map(|peak| peak as f64 / MIB as f64);
        let mib = |blocks: usize| (block.len() * blocks) as u64 / MIB;
        say(&format!(
            "{name:<14} {low:>8.1} of {:>4} {high:>8.1} of {:>5} {ratio:>6.2}  {verdict}",
            mib(small),
            mib(large)
        ));
    }
    if grown { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn say(line: &str) {
    writeln!(io::stdout(), "{line}").expect("standard output is open");
}

/// Records of 1,400 columns for 150 files of 20 rows.
fn records_of_columns() -> Vec<u8> {
    let mut out = Vec::new();
    for row in 0..3000 {
        for column in 0..1400 {
            let open = if column == 0 { '{' } else { ',' };
            let value = row * column % 977;
            let quote = if column % 2 == 0 { "" } else { "\"" };
            write!(out, "{open}\"column_number_{column}\":{quote}{value}{quote}").expect("memory");
        }
        out.extend_from_slice(b"}\n");
    }
    out
}

/// Runs a conversion of `blocks` times `block` and gives the highest `VmHWM` seen, in bytes.
fn peak_of(args: &[&str], block: &[u8], blocks: usize, folder: &std::path::Path) -> u64 {
    let mut child = Command::new(env!("CARGO_BIN_EXE_drawoff"))
        .args(["convert", "-", "--from", "ndjson", "--quiet"])
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("the binary runs");
    let status = format!("/proc/{}/status", child.id());
    let mut pipe = child.stdin.take().expect("a pipe to the child");
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut peak = 0;
            // The mark only rises, so that a last look just before the end misses little.
            while !ended.load(Ordering::Relaxed) {
                let text = std::fs::read_to_string(&status).unwrap_or_default();
                let kib = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
                let kib = kib.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
                peak = peak.max(kib.unwrap_or(0) * 1024);
                std::thread::sleep(Duration::from_millis(2));
            }
            peak
        });
        for _ in 0..blocks {
            pipe.write_all(block).expect("the child reads to the end");
        }
        drop(pipe);
        let exit = child.wait().expect("the child ends");
        ended.store(true, Ordering::Relaxed);
        assert!(exit.success(), "convert {args:?}: {exit}");
        watch.join().expect("the watch does not fail")
    })
}
