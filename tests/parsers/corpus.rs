//! The corpus of the fuzz targets: every file through the check of its target, and 600 mutations from a fixed seed, so
//! that `cargo test` covers what the fuzzers start from.

use std::path::{Path, PathBuf};

use crate::checks;

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    files.sort();
    assert!(files.len() > 5, "{} has a corpus", folder.display());
    files
}

/// Runs a check, and names the input if it panics.
fn with_name(name: &str, bytes: &[u8], check: fn(&[u8])) {
    let result = std::panic::catch_unwind(|| check(bytes));
    if let Err(panic) = result {
        let text = String::from_utf8_lossy(bytes);
        let text = text.chars().take(2000).collect::<String>();
        // The message of the panic itself has been printed.
        std::panic::resume_unwind(Box::new(format!("{name}: {text:?}: {panic:?}")));
    }
}

/// Random numbers, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below.max(1)
    }
}

/// Applies one to three changes: flips, inserts or removes bytes, repeats a piece, splices one of `other`, or
/// truncates.
fn mutated(bytes: &[u8], other: &[u8], telling: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for _ in 0..=numbers.next(3) {
        let at = numbers.next(out.len() + 1);
        let len = numbers.next(12).min(out.len() - at);
        match numbers.next(8) {
            0 if at < out.len() => out[at] ^= 1 << numbers.next(8),
            1 if at < out.len() => out[at] = telling[numbers.next(telling.len())],
            2 => out.insert(at, telling[numbers.next(telling.len())]),
            3 => drop(out.drain(at..at + len)),
            4 => {
                let piece = out[at..at + len].to_vec();
                let to = numbers.next(out.len() + 1);
                out.splice(to..to, piece);
            }
            5 => out.truncate(at.max(1)),
            _ => {
                let from = numbers.next(other.len() + 1);
                let len = numbers.next(30).min(other.len() - from);
                out.splice(at..at, other[from..from + len].iter().copied());
            }
        }
    }
    out
}

fn run(target: &str, check: fn(&[u8]), telling: &[u8]) {
    let files = corpus(target);
    for (path, bytes) in &files {
        with_name(&path.display().to_string(), bytes, check);
    }
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let short: Vec<_> = files.iter().filter(|(_, bytes)| bytes.len() < 4096).collect();
    for round in 0..600 {
        let (path, bytes) = short[round % short.len()];
        let (_, other) = short[numbers.next(short.len())];
        let bytes = mutated(bytes, other, telling, &mut numbers);
        with_name(&format!("mutation {round} of {}", path.display()), &bytes, check);
    }
}

#[test]
fn ndjson() {
    run("ndjson", checks::ndjson::check, b"{}[],:\"\\ \t\r\n0123456789-+.eEtrufalsn/\x00\x1f\x7f\x80\xc3\xed\xff");
}

#[test]
fn csv() {
    run("csv", checks::csv::check, b",\"\"\"\n\n\r;\t 0123456789-.eaTtrue\x00\x80\xff");
}

#[test]
fn frame() {
    run("frame", checks::frame::check, b",\"\"\n\n\r\tax\xef\xbb\xbf");
}
