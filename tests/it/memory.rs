//! Peak memory of conversions: bounded by `--max-memory` and independent of the size of the input.

use std::fs::File;
use std::io::{BufWriter, Write};

use crate::support::{Place, wait_for};

const MIB: u64 = 1 << 20;
/// Lowered from the default, so that the test's files are far larger than it.
const BUDGET: u64 = 96 * MIB;

/// What threads and the allocator differ by from run to run, where the peak itself is small.
const NOISE: u64 = 8 * MIB;

/// Records in the shape of results, of about 300 bytes each; distinct, so that dictionaries and
/// compression have something to do. From a counter: the same at every run.
fn write_ndjson(place: &Place, name: &str, size: u64) {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(place.path(name)).unwrap());
    let mut written = 0;
    let mut state = 1u64;
    let mut line = Vec::new();
    for id in 0u64.. {
        if written >= size {
            break;
        }
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let r = state >> 33;
        line.clear();
        writeln!(
            line,
            concat!(
                r#"{{"id":{id},"domain":"c{r:x}.example","name":"Company {r} & Søner","employees":{small},"revenue":{r}.25,"#,
                r#""public":{flag},"hq":{{"city":"Malmö","lat":55.{small},"lon":13.{id}}},"offices":["Oslo","Leeds {small}"],"#,
                r#""contacts":[{{"name":"Åsa {r:x}","email":null}}],"notes":"said \"yes\", then\nwent on about {id} {r:x} {state:x}"}}"#
            ),
            id = id,
            r = r,
            state = state,
            small = r % 1000,
            flag = r.is_multiple_of(3),
        )
        .unwrap();
        out.write_all(&line).unwrap();
        written += line.len() as u64;
    }
    out.flush().unwrap();
}

/// Runs a conversion and returns the highest resident set that the system has seen, in bytes, without the pages of the
/// binary itself: 42 MiB of them are code without optimisation, as tests are built, and 17 MiB with it. The mark only
/// rises, so the last look before the end is the highest but for the final milliseconds.
fn peak_of(place: &Place, args: &[&str]) -> u64 {
    let mut command = place.command(args);
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut child = command.spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let mut look = || {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let kib = |name| -> Option<u64> {
            let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
            rest.trim().trim_end_matches(" kB").parse().ok()
        };
        if let (Some(highest), Some(mapped)) = (kib("VmHWM:"), kib("RssFile:")) {
            peak = peak.max(highest.saturating_sub(mapped) * 1024);
        }
        child.try_wait().unwrap()
    };
    let ended = wait_for("a conversion", &mut look);
    assert!(ended.success(), "{args:?}: {ended}");
    assert!(peak > 0, "no peak was seen");
    peak
}

#[test]
fn memory_does_not_grow_with_the_input() {
    let place = Place::new();
    write_ndjson(&place, "small.ndjson", 50 * MIB);
    write_ndjson(&place, "large.ndjson", 200 * MIB);
    let budget = format!("{}MiB", BUDGET / MIB);
    for out in ["out.parquet", "out.csv", "out.ndjson.zst"] {
        let convert = |input| peak_of(&place, &["convert", input, "-o", out, "--max-memory", &budget]);
        let (small, large) = (convert("small.ndjson"), convert("large.ndjson"));
        assert!(
            large <= small + small * 15 / 100 + NOISE,
            "{out}: {} MiB for 200 MiB of input, {} MiB for 50 MiB",
            large / MIB,
            small / MIB
        );
        assert!(large <= BUDGET, "{out}: {} MiB with a budget of {} MiB", large / MIB, BUDGET / MIB);
        std::fs::remove_file(place.path(out)).unwrap();
    }
}

/// Writes `rows` records of 500 columns each, half of them numbers, from a counter.
fn write_wide(place: &Place, name: &str, rows: u64) {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(place.path(name)).unwrap());
    for row in 0..rows {
        for column in 0..500 {
            let open = if column == 0 { '{' } else { ',' };
            let value = row * column % 977;
            match column % 2 {
                0 => write!(out, "{open}\"a_column_{column}\":{value}").unwrap(),
                _ => write!(out, "{open}\"a_column_{column}\":\"v{value}\"").unwrap(),
            }
        }
        out.write_all(b"}\n").unwrap();
    }
    out.flush().unwrap();
}

/// A finished file of many takes no memory for its columns, in any format; nor does a row group of a single file.
#[test]
fn memory_does_not_grow_with_files_or_row_groups_times_columns() {
    let place = Place::new();
    write_wide(&place, "few.ndjson", 80);
    write_wide(&place, "many.ndjson", 640);
    for format in ["parquet", "arrow", "csv"] {
        let convert = |input| {
            let args =
                ["convert", input, "-o", "out/", "--to", format, "--max-file-rows", "8", "--max-memory", "64MiB"];
            let peak = peak_of(&place, &args);
            let files = std::fs::read_dir(place.path("out")).unwrap().count();
            std::fs::remove_dir_all(place.path("out")).unwrap();
            (peak, files)
        };
        let ((few, _), (many, files)) = (convert("few.ndjson"), convert("many.ndjson"));
        assert!(files >= 80, "{format}: {files} files");
        let of = format!("{format}: {} MiB for 80 files, {} MiB for 10", many / MIB, few / MIB);
        // The few do not fill the buffers. Entries of 1.6 KB for the columns of 70 files would be 56 MiB.
        assert!(many <= few + 3 * NOISE && many <= BUDGET, "{of}");
    }
}
