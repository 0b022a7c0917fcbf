//! Damaged files: every record becomes a row or a reject, neighbors of a bad record survive, and the raw text of a
//! reject is the text of the input.

use drawoff::format::frame::Framing;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::checks::ndjson::{USES, Use, take};
use crate::checks::{Cut, TOO_LONG, csv, frame};

/// A line of NDJSON and whether it is a good record, with its number in it.
fn ndjson_line(i: usize, kind: usize) -> (Vec<u8>, bool) {
    let good = json!({"i": i, "s": format!("text {i} \u{e9}\n\""), "o": {"l": [i, null]}}).to_string();
    match kind {
        0 => (good.as_bytes()[..good.len() - 1 - i % (good.len() - 2)].to_vec(), false),
        1 => (good.replacen("\\n", "\\q", 1).into(), false),
        2 => (good.replacen("text", "te\u{1}xt", 1).into(), false),
        3 => ([good.as_bytes(), b"\xff"].concat(), false),
        4 => (format!("{{\"i\":{i},\"s\":\"{}\"}}", "x".repeat(300)).into(), false),
        5 => (good.replacen("\"s\"", "s", 1).into(), false),
        6 => (format!("{good},").into(), false),
        7 => (format!("[{good}]").into(), false),
        _ => (good.into(), true),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_bad_line_rejects_one_record(
        kinds in prop::collection::vec(0usize..20, 1..40),
        chunk_bytes in 1usize..300,
        morsel_bytes in 1usize..2000,
        end in prop_oneof![Just("\n"), Just("\r\n"), Just("\n\n")],
    ) {
        let lines: Vec<_> = kinds.iter().enumerate().map(|(i, &kind)| ndjson_line(i, kind)).collect();
        let text: Vec<u8> = lines.iter().flat_map(|(line, _)| [line.as_slice(), end.as_bytes()].concat()).collect();
        let cut = Cut { chunk_bytes, morsel_bytes, ..Cut::WHOLE };
        let good: Vec<_> = lines.iter().enumerate().filter(|(_, (_, good))| *good).map(|(i, _)| json!(i)).collect();
        for with in USES {
            let taken = take(&text, with, 250, cut);
            prop_assert_eq!(taken.records, lines.len() as u64);
            if with == Use::Frozen {
                prop_assert_eq!(taken.rejects.len(), lines.len());
                continue;
            }
            let kept: Vec<Value> = taken.rows.iter().map(|(row, _)| row.get("i").cloned().unwrap_or_default()).collect();
            if with == Use::Skipped {
                prop_assert_eq!(kept.len(), good.len());
            } else {
                prop_assert_eq!(&kept, &good);
            }
            let mut byte = 0;
            let mut rejects = taken.rejects.iter();
            for (i, (line, good)) in lines.iter().enumerate() {
                if !good {
                    let reject = rejects.next().expect("every bad line is a reject");
                    prop_assert_eq!((reject.record, reject.byte), (i as u64, byte));
                    let lines_before = text[..byte as usize].iter().filter(|&&b| b == b'\n').count() as u64;
                    prop_assert_eq!(reject.line, lines_before + 1);
                    match &reject.raw {
                        Some(raw) => prop_assert_eq!(raw, line, "byte for byte"),
                        None => prop_assert_eq!(&reject.reject.reason, TOO_LONG),
                    }
                }
                byte += (line.len() + end.len()) as u64;
            }
            prop_assert!(rejects.next().is_none());
        }
    }

    #[test]
    fn a_ragged_or_malformed_row_rejects_one_record(
        kinds in prop::collection::vec(0usize..12, 1..40),
        chunk_bytes in 1usize..300,
        morsel_bytes in 1usize..2000,
    ) {
        // Each with its number, if it is good.
        let rows: Vec<(Vec<u8>, bool)> = kinds.iter().enumerate().map(|(i, kind)| match kind {
            0 => (format!("{i}").into(), false),
            1 => (format!("{i},a,b,c").into(), false),
            2 => (format!("{i},\"a\"b,c").into(), false),
            3 => ([format!("{i},a").as_bytes(), b"\xff,b"].concat(), false),
            4 => (format!("{i},{},b", "x".repeat(300)).into(), false),
            5 => (format!("{i},\"two\nlines\",\"\"\"\"").into(), true),
            _ => (format!("{i},a,\"b,\"").into(), true),
        }).collect();
        let header = "i,x,y\n";
        let text: Vec<u8> = header.bytes().chain(rows.iter().flat_map(|(row, _)| [row, &b"\n"[..]].concat())).collect();
        let taken = csv::take(&text, 250, Cut { chunk_bytes, morsel_bytes, ..Cut::WHOLE }, true);
        prop_assert_eq!(taken.records, rows.len() as u64);
        let good: String = rows.iter().filter(|(_, good)| *good).map(|(row, _)| format!("{}\n", std::str::from_utf8(row).unwrap())).collect();
        prop_assert_eq!(&taken.text, &good);
        let mut byte = header.len() as u64;
        let mut rejects = taken.rejects.iter();
        for (i, (row, good)) in rows.iter().enumerate() {
            if !good {
                let reject = rejects.next().expect("every bad row is a reject");
                prop_assert_eq!((reject.record, reject.byte), (i as u64, byte));
                let lines_before = text[..byte as usize].iter().filter(|&&b| b == b'\n').count() as u64;
                prop_assert_eq!(reject.line, lines_before + 1);
                match &reject.raw {
                    Some(raw) => prop_assert_eq!(raw, row),
                    None => prop_assert_eq!(&reject.reject.reason, TOO_LONG),
                }
            }
            byte += row.len() as u64 + 1;
        }
        prop_assert!(rejects.next().is_none());
    }

    #[test]
    fn an_unclosed_quote_rejects_one_record(at in 0usize..30, rows in 1usize..30, morsel_bytes in 1usize..300) {
        let at = at % rows;
        let lines: Vec<String> = (0..rows).map(|i| if i == at { format!("{i},\"left open") } else { format!("{i},text") }).collect();
        let text = format!("i,x\n{}\n", lines.join("\n"));
        let taken = csv::take(text.as_bytes(), 1 << 16, Cut { morsel_bytes, chunk_bytes: 7, ..Cut::WHOLE }, true);
        prop_assert_eq!((taken.rows, taken.rejects.len()), (rows as u64 - 1, 1));
        let reject = &taken.rejects[0];
        prop_assert_eq!((reject.record, reject.line), (at as u64, at as u64 + 2));
        prop_assert_eq!(&reject.reject.reason, "the quote is not closed");
        // Where it was opened.
        prop_assert_eq!(reject.reject.offset, lines[at].find('"').unwrap());
        prop_assert_eq!(reject.raw.as_deref(), Some(lines[at].as_bytes()));
    }
}

/// An oversized record is rejected by the framer alone, and its neighbors are kept.
#[test]
fn an_oversized_record_rejects_one_record() {
    for len in [10, 99, 100, 101, 102, 5000] {
        let text = format!("{{}}\n{}\n{{}}\n", "x".repeat(len));
        for cut in
            [Cut::WHOLE, Cut { chunk_bytes: 1, ..Cut::WHOLE }, Cut { chunk_bytes: 1, morsel_bytes: 1, ..Cut::WHOLE }]
        {
            let records = frame::framed(text.as_bytes(), Framing::Lines, 100, cut);
            let kept: Vec<bool> = records.iter().map(|(.., record)| record.is_some()).collect();
            assert_eq!(kept, [true, len <= 100, true], "{len} bytes");
            assert_eq!(records[1].1, len as u64);
        }
    }
}
