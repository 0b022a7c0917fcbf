//! Generated records, intact and damaged, through the checks of the fuzz targets.

use drawoff::format::ndjson::MAX_DEPTH;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::checks::ndjson::{check_cut, take};
use crate::checks::{Cut, csv, ndjson};

/// Generates the JSON text of a value in any spelling.
fn any_text() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        "-?(0|[1-9][0-9]{0,20})",
        "-?(0|[1-9][0-9]{0,5})\\.[0-9]{1,20}",
        "-?(0|[1-9][0-9]{0,3})(\\.[0-9]{1,3})?[eE][+-]?[0-9]{1,3}",
        Just("9007199254740993".to_owned()),
        Just("18446744073709551615".to_owned()),
        Just("-9223372036854775808".to_owned()),
    ];
    let string = prop::collection::vec(
        prop_oneof![
            6 => "[a-zA-Z ,:{}\\[\\]']{1,9}",
            1 => "[äß東\u{7ff}\u{10ffff}\u{2028}]",
            1 => r#"\\["\\/bfnrt]"#,
            1 => r"\\u[0-9a-fA-C]{4}",
            1 => r"\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}",
        ],
        0..4,
    )
    .prop_map(|parts| format!("\"{}\"", parts.concat()));
    let leaf = prop_oneof![
        1 => Just("null".to_owned()), 1 => Just("true".to_owned()), 1 => Just("false".to_owned()),
        3 => number, 3 => string.clone(),
    ];
    let blank = || prop_oneof![5 => Just(""), 1 => Just(" "), 1 => Just("\t \r")];
    leaf.prop_recursive(3, 16, 4, move |inner| {
        let items = (prop::collection::vec((blank(), inner.clone(), blank()), 0..4), blank());
        let members = (prop::collection::vec((any_key(), blank(), inner, blank()), 0..4), blank());
        prop_oneof![
            items.prop_map(|(items, b)| {
                let items: Vec<_> = items.iter().map(|(a, item, b)| format!("{a}{item}{b}")).collect();
                format!("[{}{b}]", items.join(","))
            }),
            members.prop_map(|(members, b)| object(&members, b)),
        ]
    })
}

fn any_key() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("a"), Just("b"), Just("c"), Just("\\u0061"), Just("k\\\"k"), Just("東"), Just("")]
}

fn object(members: &[(&str, &str, String, &str)], blank: &str) -> String {
    let members: Vec<_> = members.iter().map(|(key, a, value, b)| format!("{b}\"{key}\"{a}:{b}{value}{a}")).collect();
    format!("{{{}{blank}}}", members.join(","))
}

fn any_record() -> impl Strategy<Value = String> {
    let member = (any_key(), Just(""), any_text(), prop_oneof![4 => Just(""), 1 => Just(" ")]);
    prop::collection::vec(member, 0..5).prop_map(|members| object(&members, ""))
}

fn any_cut() -> impl Strategy<Value = Cut> {
    let max_cells = prop_oneof![Just(1), Just(5), Just(usize::MAX)];
    (1usize..200, 1usize..200, max_cells, any::<bool>()).prop_map(|(chunk_bytes, morsel_bytes, max_cells, flush)| Cut {
        chunk_bytes,
        morsel_bytes,
        max_cells,
        flush,
    })
}

/// Damages a line: truncates it, or replaces, inserts, removes or flips a byte. Intact for other values of `how`.
fn broken(mut line: Vec<u8>, how: usize, at: prop::sample::Index, byte: u8) -> Vec<u8> {
    if line.is_empty() {
        return line;
    }
    let at = at.index(line.len());
    match how {
        0 => line.truncate(at),
        1 => line[at] = byte,
        2 => line.insert(at, byte),
        3 => drop(line.remove(at)),
        4 => line[at] ^= 0x80,
        _ => {}
    }
    line
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn generated_ndjson_passes_the_checks(
        lines in prop::collection::vec((any_record(), 0usize..12, any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any_cut(),
        crlf in any::<bool>(),
        last in any::<bool>(),
    ) {
        let lines: Vec<Vec<u8>> = lines.into_iter().map(|(line, how, at, byte)| broken(line.into_bytes(), how, at, byte)).collect();
        let mut text = lines.join(if crlf { &b"\r\n"[..] } else { b"\n" });
        if last {
            text.push(b'\n');
        }
        check_cut(&text, cut);
    }

    #[test]
    fn generated_csv_passes_the_checks(
        cells in prop::collection::vec(prop_oneof![
            4 => "[a-c]{0,3}", 2 => "\"[a-c,\n]{0,4}\"", 1 => "(\"|a\"|\"\"\"|\"a\"b)", 2 => "-?[0-9]{1,3}(\\.[0-9]{1,2})?", 1 => "(é|true|\r)",
        ], 0..40),
        ends in prop::collection::vec(prop_oneof![3 => Just(","), 2 => Just("\n"), 1 => Just("\r\n")], 40),
    ) {
        let text: String = cells.iter().zip(&ends).map(|(cell, end)| format!("{cell}{end}")).collect();
        csv::check(text.as_bytes());
    }
}

/// The limits of serde_json and drawoff differ, so depth has a test without an oracle.
#[test]
fn depth_is_bounded_alike_for_kept_and_skipped_values() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        // The record itself is one level.
        for (levels, taken) in [(MAX_DEPTH - 1, true), (MAX_DEPTH, false), (5000, false)] {
            let inner = if open == "[" { "" } else { "null" };
            let record = format!("{{\"k\":{}{inner}{}}}\n{{\"k\":1}}\n", open.repeat(levels), close.repeat(levels));
            for with in ndjson::USES {
                let rejects = take(record.as_bytes(), with, 1 << 20, Cut::WHOLE).rejects;
                let deep = rejects.iter().filter(|r| r.reject.reason.contains("nested deeper")).count();
                assert_eq!(deep, usize::from(!taken), "{levels} levels of {open}, {with:?}: {rejects:?}");
            }
        }
    }
}

/// Reads what serde_json writes, with extreme numbers, escapes and characters.
#[test]
fn output_of_serde_json_is_read() {
    let mut record = Map::new();
    for (i, value) in [json!(null), json!(1.5e-300), json!("\u{0}\u{7f}\u{2028}\u{10ffff}\"\\"), json!([[], {}])]
        .into_iter()
        .enumerate()
    {
        record.insert(format!("k{i}"), value);
    }
    let text = format!("{}\n", Value::Object(record));
    check_cut(text.as_bytes(), Cut::WHOLE);
}
