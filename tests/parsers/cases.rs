//! Valid and invalid JSON, case by case: each value at every position in a record; decoded, copied and skipped; at
//! every split of the input.

use crate::checks::ndjson::{USES, check_cut, take};
use crate::checks::{Cut, Rejected};

/// Values that RFC 8259 allows.
const GOOD_VALUES: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "-0",
    "-0.0",
    "1",
    "-1",
    "12",
    "1.5",
    "-1.25",
    "0.1",
    "0e0",
    "0E+1",
    "1e5",
    "1E5",
    "1e+5",
    "1e-5",
    "123.456e78",
    "1e400",
    "-1e400",
    "1e-400",
    "0e999999999",
    "1e99999999999999999999",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775809",
    "18446744073709551615",
    "18446744073709551616",
    "9007199254740993",
    "99999999999999999999999999999999999999",
    "100000000000000000000000000000000000000",
    "-99999999999999999999999999999999999999",
    "170141183460469231731687303715884105728",
    "0.1000000000000000055511151231257827",
    "123456789012345678901234567890.5",
    "2.2250738585072014e-308",
    "5e-324",
    "4.9e-325",
    "1.7976931348623157e308",
    "1.7976931348623159e308",
    r#""""#,
    r#"" ""#,
    r#""a""#,
    r#""\"""#,
    r#""\\""#,
    r#""\/""#,
    r#""\b\f\n\r\t""#,
    r#""\u0000""#,
    r#""\u001F""#,
    r#""\u00e9""#,
    r#""\uD83D\uDE00""#,
    r#""\ud83d\ude00x""#,
    r#""\uDBFF\uDFFF""#,
    r#""\uFFFF""#,
    r#""\u2028\u2029""#,
    "\"\u{2028}\u{7f}\u{ffff}\"",
    "\"é東😀\"",
    r#""\\u0041""#,
    r#""\\\\""#,
    r#""\\\"""#,
    r#""a\\""#,
    "\"12345678901234567\"",
    r#""1234567\"9""#,
    r#""\u0022\u005c""#,
    "\"[{,:}]\"",
    "[]",
    "[ ]",
    "[1]",
    "[ 1 , 2 ]",
    "[null]",
    "[[]]",
    "[[],[[]]]",
    "[1,\"a\",null,{}]",
    "[\t1\r]",
    "{}",
    "{ }",
    r#"{"a":1}"#,
    r#"{ "a" : 1 , "b" : 2 }"#,
    r#"{"":0}"#,
    r#"{"a":{"a":{"a":null}}}"#,
    r#"{"a":1,"a":2}"#,
    r#"{"a":1,"\u0061":"x"}"#,
    r#"{"\u0000":1}"#,
    r#"{"é":1}"#,
    "{\r\t\"a\"\t:\r1\t}",
];

/// Values that RFC 8259 does not allow, without line breaks.
const BAD_VALUES: &[&str] = &[
    "",
    "nul",
    "nulll",
    "Null",
    "NULL",
    "tru",
    "True",
    "truee",
    "fals",
    "FALSE",
    "none",
    "NaN",
    "nan",
    "Infinity",
    "-Infinity",
    "inf",
    "undefined",
    "-",
    "+1",
    "01",
    "-01",
    "00",
    "1.",
    ".5",
    "-.5",
    "1.e5",
    "1e",
    "1e+",
    "1e-",
    "1E",
    "1.5e",
    "1..5",
    "1.5.5",
    "--1",
    "-a",
    "0x10",
    "1_000",
    "1 000",
    "1,5",
    "0b1",
    "1e5.5",
    "1e5e5",
    "1a",
    "١",
    "1/2",
    "1,",
    "- 1",
    "0.",
    "-0.",
    "0e",
    "\u{ff11}",
    "\"",
    "\"a",
    "a\"",
    "'a'",
    "a",
    "\"\\\"",
    "\"\\a\"",
    "\"\\x41\"",
    "\"\\0\"",
    "\"\\'\"",
    "\"\\u\"",
    "\"\\u1\"",
    "\"\\u12\"",
    "\"\\u123\"",
    "\"\\u123g\"",
    "\"\\U0041\"",
    "\"\\u 041\"",
    "\"\\u+041\"",
    "\"\\u-041\"",
    "\"\\uD800\"",
    "\"\\uDC00\"",
    "\"\\uD800\\uD800\"",
    "\"\\uD800a\"",
    "\"\\uD800\\n\"",
    "\"\\uD800\\u0041\"",
    "\"\\uDC00\\uD800\"",
    "\"\\uD800\\\"",
    "\"\\uD800\\u\"",
    "\"\\ud83d\\\\ude00\"",
    "\"a\u{0}b\"",
    "\"\t\"",
    "\"\r\"",
    "\"\u{1f}\"",
    "\"\u{8}\"",
    "\"12345678\u{1}\"",
    "\"a\"b",
    "\"a\" \"b\"",
    "\"a\"\"b\"",
    "\u{feff}1",
    "[",
    "]",
    "[1",
    "[1,",
    "[1,]",
    "[,1]",
    "[,]",
    "[1,,2]",
    "[1 2]",
    "[1;2]",
    "[1]]",
    "[[1]",
    "[1}",
    "[\"a\"",
    "[\"a]",
    "[1:2]",
    "[#]",
    "[1 /*c*/]",
    "[1]//c",
    "{",
    "}",
    "{a:1}",
    "{\"a\"}",
    "{\"a\":}",
    "{\"a\":1",
    "{\"a\":1,",
    "{\"a\":1,}",
    "{,}",
    "{\"a\":1,,\"b\":2}",
    "{\"a\" 1}",
    "{\"a\"::1}",
    "{\"a\":1 \"b\":2}",
    "{1:2}",
    "{null:1}",
    "{[]:1}",
    "{'a':1}",
    "{\"a\":1]",
    "{\"a\":1}}",
    "{\"a\\\":1}",
    "{\"a\u{1}\":1}",
    "{\"\\uD800\":1}",
    "{\"a\":1:2}",
    "{\"a\",\"b\"}",
    "{\"a\":}",
    "{:1}",
    "{\"a\"\u{a0}:1}",
    "\u{a0}1",
    "\u{c}1",
    "\u{b}1",
    "1\u{0}",
    "\u{0}",
    "1\u{85}",
    "\u{1}1",
    "1\u{2028}",
];

/// Lines of valid JSON that are not objects.
const NO_RECORDS: &[&str] = &["null", "true", "0", "-1.5", "\"a\"", "[]", "[{}]", "[{\"a\":1}]", "\"{}\""];

/// Lines that are not JSON.
const BAD_LINES: &[&str] = &[
    "{} {}",
    "{}{}",
    "{},",
    ",{}",
    "{};",
    "{}x",
    "x{}",
    "{}]",
    "[{}",
    "{}\u{0}",
    "\u{0}{}",
    "\u{0}",
    "{\"a\":1}\"",
    "\u{feff}{}",
    "{}\u{feff}",
    "\u{c}",
    "\u{a0}",
    "#",
    "// {}",
    "{\"a\":1}{",
    "--",
    "{}\u{1a}",
];

/// Blank lines, which are not records.
const BLANK_LINES: &[&str] = &["", " ", "\t", "\r", " \t\r ", "\r\r"];

/// Positions of a value, as functions that build a record around it.
fn placed(value: &str) -> Vec<String> {
    vec![
        format!("{{\"k\":{value}}}"),
        format!("{{\"k\": {value} ,\"z\":\"after\"}}"),
        format!("{{\"k\":[{value}]}}"),
        format!("{{\"k\":[0,{value},[]]}}"),
        format!("{{\"k\":{{\"in\":{value}}}}}"),
        format!("{{\"k\":{{\"in\":[{{\"deep\":{value}}}]}},\"k\":1}}"),
    ]
}

const CUTS: [Cut; 4] = [
    Cut::WHOLE,
    Cut { chunk_bytes: 1, morsel_bytes: 1, max_cells: 1, flush: true },
    Cut { chunk_bytes: 5, morsel_bytes: 40, max_cells: usize::MAX, flush: false },
    Cut { chunk_bytes: 64, morsel_bytes: 17, max_cells: 3, flush: false },
];

/// Reads `lines` between valid records, with every use and cut. Returns the rejects, with record 0 the first of
/// `lines`.
fn rejects(lines: &[String], end: &str) -> Vec<Rejected> {
    let mut text = format!("{{\"k\":\"before\"}}{end}");
    text.extend(lines.iter().map(|line| format!("{line}{end}")));
    text.push_str(&format!("{{\"k\":\"after\"}}{end}"));
    for cut in CUTS {
        check_cut(text.as_bytes(), cut);
    }
    let mut rejects = take(text.as_bytes(), crate::checks::ndjson::Use::Typed, 1 << 20, Cut::WHOLE).rejects;
    rejects.iter_mut().for_each(|reject| reject.record -= 1);
    rejects
}

#[test]
fn valid_values_are_accepted_at_every_position() {
    for value in GOOD_VALUES {
        for end in ["\n", "\r\n"] {
            assert_eq!(rejects(&placed(value), end), [], "{value}");
        }
    }
    // All values in one column, so that its type widens at every one.
    let records: Vec<_> = GOOD_VALUES.iter().flat_map(|value| placed(value)).collect();
    assert_eq!(rejects(&records, "\n"), []);
}

#[test]
fn invalid_values_reject_their_record_at_every_position() {
    for value in BAD_VALUES {
        let lines = placed(value);
        let found = rejects(&lines, "\n");
        let records: Vec<u64> = found.iter().map(|reject| reject.record).collect();
        // The empty text in a list makes an empty list, which is valid.
        let well_formed =
            |line: &String| serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(line).is_ok();
        let expected: Vec<u64> = (0..lines.len() as u64).filter(|&i| !well_formed(&lines[i as usize])).collect();
        assert_eq!(records, expected, "{value:?}");
        assert!(records.len() >= lines.len() - 2, "{value:?} is bad");
    }
}

#[test]
fn lines_that_are_not_objects_are_rejected() {
    for (lines, all_bad) in [(NO_RECORDS, true), (BAD_LINES, true), (BLANK_LINES, false)] {
        for line in lines {
            // Blank lines are not counted as records.
            let found = rejects(&[line.to_string()], "\n");
            assert_eq!(found.len(), usize::from(all_bad), "{line:?}: {found:?}");
        }
        let lines: Vec<_> = lines.iter().map(|line| line.to_string()).collect();
        assert_eq!(rejects(&lines, "\n").len(), if all_bad { lines.len() } else { 0 });
    }
}

#[test]
fn invalid_utf_8_is_rejected() {
    let bad: [&[u8]; 10] = [
        b"\xff",
        b"\x80",
        b"\xc3",
        b"\xc0\x80",
        b"\xe2\x82",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        b"a\xc3(",
        b"\xe2\x28\xa1",
    ];
    for bytes in bad {
        for (before, after) in [("{\"k\":\"", "\"}"), ("{\"", "\":1}"), ("{\"k\":1}", ""), ("", "{}"), ("{\"k\":", "}")]
        {
            let text = [b"{\"k\":1}\n", before.as_bytes(), bytes, after.as_bytes(), b"\n{\"k\":2}\n"].concat();
            for cut in CUTS {
                check_cut(&text, cut);
            }
            for with in USES {
                let found = take(&text, with, 1 << 20, Cut::WHOLE).rejects;
                let found: Vec<_> = found.iter().filter(|r| r.record == 1).collect();
                assert_eq!(found.len(), 1, "{:?}", String::from_utf8_lossy(&text));
                assert_eq!(found[0].reject.reason, "invalid UTF-8");
            }
        }
    }
}

#[test]
fn a_byte_order_mark_is_skipped_only_at_the_start() {
    assert_eq!(rejects(&["\u{feff}{\"k\":1}".to_owned()], "\n").len(), 1);
    for text in ["\u{feff}{\"k\":1}\n{\"k\":2}", "\u{feff}", "\u{feff}\n", "\u{feff}x", "\u{feff}\u{feff}{}"] {
        for cut in CUTS {
            check_cut(text.as_bytes(), cut);
        }
    }
    let taken = take("\u{feff}{\"k\":1}\n".as_bytes(), crate::checks::ndjson::Use::Typed, 100, Cut::WHOLE);
    assert_eq!((taken.rows.len(), taken.rejects.len()), (1, 0));
}

/// Line, byte and path of an error are the same for every use of the values.
#[test]
fn errors_carry_their_position() {
    for (line, offset, path, reason) in [
        (r#"{"a":{"b":[1,{"c":tru}]}}"#, 18, "a.b[1].c", "expected a value"),
        (r#"{"a":[1,2,03]}"#, 10, "a[2]", "leading zero in a number"),
        (r#"{"a":"x","b":"\q"}"#, 14, "b", "invalid escape in a string"),
        (r#"{"a":{"x y":"\ud800"}}"#, 13, "a.\"x y\"", "unpaired surrogate in a string"),
        (r#"{"a":1 "b":2}"#, 7, "", "expected `,` or `}`"),
        (r#"{"a":[1 2]}"#, 8, "a", "expected `,` or `]`"),
        (r#"{"a":{1:2}}"#, 6, "a", "expected a key in quotes"),
        (r#"{"a":{"b" 2}}"#, 10, "a", "expected `:` after a key"),
        (r#"{"a":1}}"#, 7, "", "text after the end of the record"),
        (r#"{"a":"open"#, 10, "a", "the line ends inside a string"),
        (r#"{"a":{"b":-}}"#, 11, "a.b", "expected a digit"),
        ("[1]", 0, "", "expected an object, found a list"),
        ("[1", 2, "", "expected `,` or `]`"),
    ] {
        let text = format!("\n{{\"a\":null}}\n  {line}\n");
        for with in USES {
            for cut in CUTS {
                let found = take(text.as_bytes(), with, 1 << 20, cut).rejects;
                let Some(found) = found.iter().find(|r| r.record == 1) else { panic!("{line} is bad") };
                let place =
                    (found.byte, found.line, found.reject.offset, found.reject.path.as_str(), &*found.reject.reason);
                assert_eq!(place, (text.find(line).unwrap() as u64, 3, offset, path, reason), "{line} {with:?}");
                assert_eq!(found.raw.as_deref(), Some(line.as_bytes()));
            }
        }
    }
}
