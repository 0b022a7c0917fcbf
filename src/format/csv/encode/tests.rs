use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::builder::{ListBuilder, StringViewBuilder};
use proptest::prelude::*;

use super::*;
use crate::column::{Field, Morsel};
use crate::format::csv::MAX_SHEET_CELL;
use crate::format::csv::sheet::number_digits;
use crate::format::csv::split::Splitter;

fn batch(columns: Vec<(Type, ArrayRef)>) -> Batch {
    let rows = columns.first().map_or(0, |(_, array)| array.len());
    let fields = columns.iter().enumerate().map(|(i, (ty, _))| Field::new(format!("c{i}"), ty.clone())).collect();
    let columns = columns.into_iter().map(|(_, array)| array).collect();
    Batch::new(Arc::new(Schema::new(fields)), columns, rows)
}

fn written(batch: &Batch, options: CsvOptions) -> String {
    let mut out = Vec::new();
    CsvEncoder::new(options).write_rows(batch, &mut out);
    String::from_utf8(out).expect("utf-8")
}

fn texts<const N: usize>(texts: [Option<&str>; N]) -> ArrayRef {
    Arc::new(StringViewArray::from_iter(texts))
}

#[test]
fn values_of_every_type_are_written() {
    let mut lists = ListBuilder::new(StringViewBuilder::new());
    lists.append_value([Some("a"), None]);
    lists.append_null();
    let decimals = Decimal128Array::from(vec![Some(10i128.pow(37)), None]).with_precision_and_scale(38, 0).expect("38");
    let batch = batch(vec![
        (Type::Null, texts([None, None])),
        (Type::Bool, Arc::new(BooleanArray::from(vec![Some(true), Some(false)]))),
        (Type::Int { fits_double: false }, Arc::new(Int64Array::from(vec![Some(i64::MIN), None]))),
        (Type::Decimal, Arc::new(decimals)),
        (Type::Float, Arc::new(Float64Array::from(vec![Some(1.0), Some(1e-7)]))),
        (Type::Text, texts([Some(""), Some("a\r")])),
        (Type::Json, texts([Some("\"x,y\""), Some("null")])),
        (Type::List(Box::new(Type::Text)), Arc::new(lists.finish())),
        (Type::Struct(Vec::new()), texts([Some("{}"), None])),
    ]);
    assert_eq!(
        written(&batch, CsvOptions::default()),
        concat!(
            ",true,-9223372036854775808,10000000000000000000000000000000000000,1.0,\"\",\"x,y\",\"[\"\"a\"\",null]\",{}\n",
            ",false,,,1e-07,\"a\r\",,,\n",
        )
    );
    let mut header = Vec::new();
    CsvEncoder::new(CsvOptions::default()).write_header(&batch.schema, &mut header);
    assert_eq!(header, b"c0,c1,c2,c3,c4,c5,c6,c7,c8\n");
}

#[test]
fn raw_values_are_written_as_their_content() {
    for (json, csv) in [
        (r#""plain""#, "plain"),
        (r#""""#, "\"\""),
        (r#""a,b""#, "\"a,b\""),
        (r#""a\\b""#, "a\\b"),
        (r#""a,\"b\"""#, "\"a,\"\"b\"\"\""),
        (r#""line\nbreak""#, "\"line\nbreak\""),
        (r#""\/\b\f\t\u00e9\ud83d\ude00""#, "/\u{8}\u{c}\té😀"),
        (r#""\ud83d""#, "\u{fffd}"),
        (r#""\ud83d\u0041""#, "\u{fffd}A"),
        ("1.50", "1.50"),
        ("-0", "-0"),
        ("12345678901234567890123", "12345678901234567890123"),
        ("true", "True"),
        ("false", "False"),
        ("null", ""),
        ("[]", "[]"),
        (r#"{"a": [1, 2]}"#, "\"{\"\"a\"\": [1, 2]}\""),
    ] {
        let batch = batch(vec![(Type::Raw, texts([Some(json), None]))]);
        let options = CsvOptions { booleans: CsvBooleans::Python, ..CsvOptions::default() };
        assert_eq!(written(&batch, options), format!("{csv}\n\n"));
    }
}

#[test]
fn an_odd_delimiter_is_quoted_in_numbers_too() {
    let batch = batch(vec![
        (Type::Int { fits_double: true }, Arc::new(Int64Array::from(vec![Some(101), Some(22)]))),
        (Type::Raw, texts([Some("1.5"), Some("2")])),
    ]);
    let options = CsvOptions { delimiter: b'1', ..CsvOptions::default() };
    assert_eq!(written(&batch, options), "\"101\"1\"1.5\"\n2212\n");
}

#[test]
fn rows_without_columns_are_empty_lines() {
    let batch = Batch::new(Arc::default(), Vec::new(), 2);
    assert_eq!(written(&batch, CsvOptions::default()), "\n\n");
}

proptest! {
    #[test]
    fn text_survives_encoding_and_splitting(
        rows in prop::collection::vec(prop::collection::vec(prop::option::of("[a-c,\"\r\n\t;é\\\\]{0,40}"), 2), 1..20),
        delimiter in prop_oneof![Just(b','), Just(b'\t'), Just(b';')],
        raw in any::<bool>(),
    ) {
        let columns = (0..2).map(|c| {
            let cells = rows.iter().map(|row| match (&row[c], raw) {
                (Some(text), true) => Some(serde_json::to_string(text).expect("json")),
                (text, _) => text.clone(),
            });
            let array: ArrayRef = Arc::new(StringViewArray::from_iter(cells));
            (if raw { Type::Raw } else { Type::Text }, array)
        });
        let out = written(&batch(columns.collect()), CsvOptions { delimiter, ..CsvOptions::default() });
        let morsel = Morsel::from_vec(out.into_bytes(), 0, 0);
        let mut splitter = Splitter::new(&morsel, delimiter);
        let mut fields = Vec::new();
        for row in &rows {
            fields.clear();
            prop_assert!(splitter.next_record(&mut fields).is_some_and(|record| record.malformed.is_none()));
            let got: Vec<Option<String>> = fields
                .iter()
                .map(|f| (!f.is_null()).then(|| String::from_utf8(f.value(morsel.records()).into()).expect("utf-8")))
                .collect();
            prop_assert_eq!(&got, row);
        }
        prop_assert!(splitter.next_record(&mut fields).is_none());
    }
}

#[test]
fn numbers_are_distinguished_from_formulas() {
    for (text, digits) in [
        ("0", Some(0)),
        ("-5", Some(1)),
        ("007", Some(1)),
        ("-12.50e+3", Some(4)),
        ("1E3", Some(1)),
        ("0.0012", Some(2)),
        ("", None),
        ("-", None),
        ("+5", None),
        ("1.", None),
        (".5", None),
        ("1e", None),
        ("1e+", None),
        ("1.2.3", None),
        ("--1", None),
        ("1a", None),
        ("12 ", None),
    ] {
        assert_eq!(number_digits(text.as_bytes()), digits, "{text}");
    }
    for (text, formula) in [
        ("=", true),
        ("-1", false),
        ("-1+1", true),
        ("+1", true),
        ("a=b", false),
        ("\ta", true),
        ("\ra", true),
        ("", false),
    ] {
        assert_eq!(begins_like_a_formula(text.as_bytes()), formula, "{text:?}");
    }
    assert!(has_long_digits(b"1234567890123456") && !has_long_digits(b"123456789012345") && !has_long_digits(b"0.1"));
    assert!(!has_long_digits(b"00000000000000001") && has_long_digits(b"-1.234567890123456e9"));
}

#[test]
fn changes_for_a_spreadsheet_are_counted_with_their_position() {
    let long = "x".repeat(MAX_SHEET_CELL + 1);
    let batch = batch(vec![
        (Type::Text, texts([Some("=a"), Some("b"), None])),
        (Type::Raw, texts([Some("12345678901234567"), Some(&format!("\"{long}\"")), Some("\"-x\"")])),
    ]);
    let mut encoder = CsvEncoder::new(CsvOptions { excel: true, ..CsvOptions::default() });
    let mut out = Vec::new();
    encoder.write_rows(&batch, &mut out);
    assert_eq!(out, format!("'=a,'12345678901234567\nb,{long}\n,'-x\n").as_bytes());
    let mut counts = SheetCounts::default();
    counts.add(encoder.take_counts(), 10);
    assert_eq!((counts.formulas, counts.long_numbers, counts.cells_changed()), (2, 1, 3));
    assert_eq!((counts.long_cells, counts.first_long_cell), (1, Some((11, "c1".into()))));
    assert_eq!(encoder.take_counts(), SheetCounts::default());
}

proptest! {
    /// Every value is read back as itself, and null as its spelling, unquoted.
    #[test]
    fn a_spelling_of_null_is_unambiguous(
        cells in prop::collection::vec(prop::option::of("(NA|N|A|,|\"|\n|-1){0,3}"), 1..20),
        raw in any::<bool>(),
        crlf in any::<bool>(),
    ) {
        let array: ArrayRef = Arc::new(StringViewArray::from_iter(cells.iter().map(|cell| match (cell, raw) {
            (Some(text), true) => Some(serde_json::to_string(text).expect("json")),
            (text, _) => text.clone(),
        })));
        let ty = if raw { Type::Raw } else { Type::Text };
        let null = NullText::try_new("NA").expect("a word");
        let out = written(&batch(vec![(ty, array)]), CsvOptions { null, crlf, ..CsvOptions::default() });
        let morsel = Morsel::from_vec(out.into_bytes(), 0, 0);
        let mut splitter = Splitter::new(&morsel, b',');
        let mut fields = Vec::new();
        for cell in &cells {
            fields.clear();
            prop_assert!(splitter.next_record(&mut fields).is_some_and(|record| record.malformed.is_none()));
            prop_assert_eq!(fields.len(), 1);
            match cell {
                None => prop_assert_eq!(fields[0].verbatim(morsel.records()), b"NA"),
                Some(text) => {
                    prop_assert_eq!(&*fields[0].value(morsel.records()), text.as_bytes());
                    prop_assert!(text != "NA" || fields[0].verbatim(morsel.records()) == b"\"NA\"");
                }
            }
        }
    }
}
