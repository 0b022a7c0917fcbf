//! Boundaries of records, compared with a twin that reads byte by byte.

use drawoff::format::frame::Framing;
use proptest::prelude::*;

use crate::checks::Cut;
use crate::checks::frame::{framed, split_naively};

fn any_framing() -> impl Strategy<Value = Framing> {
    prop_oneof![
        1 => Just(Framing::Lines),
        1 => Just(Framing::Elements),
        2 => Just(Framing::csv(b',')),
        1 => Just(Framing::csv(b'\t'))
    ]
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => Just(b"\"".to_vec()),
        3 => Just(b",".to_vec()),
        3 => Just(b"\n".to_vec()),
        1 => Just(b"\r\n".to_vec()),
        1 => Just(b"\r".to_vec()),
        1 => Just(b"\t".to_vec()),
        3 => Just(b"a".to_vec()),
        1 => Just(b"\xef\xbb\xbf".to_vec()),
        1 => prop::collection::vec(Just(b'x'), 1..40),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn records_do_not_depend_on_chunks_or_sizes(
        bytes in text(),
        framing in any_framing(),
        chunk_bytes in 1usize..30,
        morsel_bytes in 1usize..80,
        max_record_bytes in 1usize..40,
        flush in any::<bool>(),
    ) {
        let cut = Cut { chunk_bytes, morsel_bytes, flush, ..Cut::WHOLE };
        prop_assert_eq!(framed(&bytes, framing, max_record_bytes, cut), split_naively(&bytes, framing, max_record_bytes));
    }
}

#[test]
fn every_split_of_an_awkward_file_gives_the_same_records() {
    let bytes = b"\xef\xbb\xbfa,\"b\"\"\n,\",c\r\n\n\"x\"y\"\n,\"\",\"longer than the limit\n\"\nz\"\n,\"open\nlast,\"\"\n\"\"\"\"\n";
    for framing in [Framing::Lines, Framing::csv(b',')] {
        for max_record_bytes in [1, 9, 16, 30, 100] {
            let expected = split_naively(bytes, framing, max_record_bytes);
            for morsel_bytes in [1, 7, 1000] {
                for chunk_bytes in 1..=bytes.len() {
                    for flush in [false, true] {
                        let cut = Cut { chunk_bytes, morsel_bytes, flush, ..Cut::WHOLE };
                        assert_eq!(framed(bytes, framing, max_record_bytes, cut), expected);
                    }
                }
            }
        }
    }
}

/// Splits `text` into records; `None` for an oversized one.
fn records(text: &str, max_record_bytes: usize) -> Vec<Option<String>> {
    let records = framed(text.as_bytes(), Framing::csv(b','), max_record_bytes, Cut::WHOLE);
    records.into_iter().map(|(.., record)| record.map(|bytes| String::from_utf8(bytes).unwrap())).collect()
}

#[test]
fn an_unclosed_quote_affects_one_line() {
    let some = |texts: &[&str]| texts.iter().map(|t| Some((*t).to_owned())).collect::<Vec<_>>();
    // To the end of the source.
    assert_eq!(records("1,a\n2,\"b\n3,c\n4,d\n", 100), some(&["1,a\n", "2,\"b\n", "3,c\n", "4,d\n"]));
    assert_eq!(records("1,a\n2,\"b", 100), some(&["1,a\n", "2,\"b"]));
    // A quoted line break before it belongs to the record.
    assert_eq!(records("\"a\nb\",\"c\nd\ne\n", 100), some(&["\"a\nb\",\"c\n", "d\n", "e\n"]));
    // Pairs of quotes that close nothing.
    assert_eq!(records("\"b\n\"\"\n4,\"\"\"\"\n", 100), some(&["\"b\n", "\"\"\n", "4,\"\"\"\"\n"]));
    // Up to the limit.
    let lines = "3,c\n".repeat(10);
    assert_eq!(records(&format!("2,\"b\n{lines}5,\"e\"\n"), 20)[..3], some(&["2,\"b\n", "3,c\n", "3,c\n"]));
    assert_eq!(records(&format!("2,\"b\n{lines}5,\"e\"\n"), 20).len(), 12);
}

#[test]
fn lines_of_a_field_above_the_limit_are_no_records() {
    let some = |text: &str| Some(text.to_owned());
    let long = "x".repeat(50);
    // In one line up to the limit, then lines that look like records.
    let text = format!("a,b\n1,ok\n2,\"{long}\n3,injected\n4,\"\"injected\"\n5,ok\n");
    assert_eq!(records(&text, 20), [some("a,b\n"), some("1,ok\n"), None, some("5,ok\n")]);
    // Lines of text before the limit.
    let text = format!("a,b\n2,\"one\ntwo\nthree\nfour {long}\n3,injected\"\n5,ok\n");
    assert_eq!(records(&text, 20), [some("a,b\n"), None, some("5,ok\n")]);
    // A field behind the limit.
    let text = format!("a,b\n{long},\"\n3,injected\n\"\n5,ok\n");
    assert_eq!(records(&text, 20), [some("a,b\n"), None, some("5,ok\n")]);
    // Lines of records before the limit: the quote is not closed.
    let lines = "3,c\n".repeat(10);
    let text = format!("a,b\n2,\"b\n{lines}");
    assert_eq!(records(&text, 20)[1..3], [some("2,\"b\n"), some("3,c\n")]);
    // Neither closed nor followed by records before the limit: all of it is one.
    assert_eq!(records(&format!("a,b\n2,\"{long}\n3,c\n4,d\n"), 20), [some("a,b\n"), None]);
}
