use arrow_array::cast::AsArray;
use arrow_array::{Array, StringViewArray};
use proptest::prelude::*;

use super::*;
use crate::column::Fixed;
use crate::format::csv::{CsvEncoder, take_header};
use crate::format::{CsvBooleans, CsvOptions};

const INT: Type = Type::Int { fits_double: true };
const LONG_INT: Type = Type::Int { fits_double: false };

/// Decodes columns of JSON by copying their cells, and lists of text as lists of nulls.
fn decode_cells(cells: &[Option<&str>], ty: &Type) -> Result<(ArrayRef, Type), (usize, Reject)> {
    let mut observed = Type::Null;
    for (i, cell) in cells.iter().enumerate() {
        let Some(cell) = cell else { continue };
        let bad = |e: serde_json::Error| {
            (i, Reject { offset: e.column(), path: FieldPath::root(), reason: "not JSON".into() })
        };
        let ty = match serde_json::from_str(cell).map_err(bad)? {
            serde_json::Value::Array(items) if items.is_empty() => Type::List(Box::new(Type::Null)),
            serde_json::Value::Array(_) => Type::List(Box::new(Type::Text)),
            _ => Type::Json,
        };
        observed = observed.join(&ty, TypeMerge::Json);
    }
    match ty {
        Type::Json => Ok((Arc::new(StringViewArray::from_iter(cells.iter().copied())), observed)),
        ty => Ok((new_null_array(&ty.to_arrow(), cells.len()), observed)),
    }
}

fn open(text: &[u8]) -> (CsvDecoder, Morsel) {
    let (header, rest) = take_header(&Morsel::from_vec(text.to_vec(), 0, 0), b',').expect("valid").expect("a header");
    (CsvDecoder::new(header.names, b',', decode_cells), rest)
}

fn decoded(outcome: Outcome) -> Decoded {
    match outcome {
        Outcome::Decoded(decoded) => decoded,
        Outcome::SchemaMismatch(mismatch) => panic!("{mismatch:?}"),
    }
}

fn mismatch(outcome: Outcome) -> SchemaMismatch {
    match outcome {
        Outcome::Decoded(decoded) => panic!("{decoded:?}"),
        Outcome::SchemaMismatch(mismatch) => mismatch,
    }
}

fn decode(text: &str) -> Decoded {
    let (decoder, morsel) = open(text.as_bytes());
    let schema = Arc::new(decoder.infer(&morsel, &Schema::default()).resolved());
    decoded(decoder.decode(&morsel, &schema, OnMisfit::SchemaMismatch))
}

fn schema(fields: &[(&str, Type)]) -> Arc<Schema> {
    Arc::new(Schema::new(fields.iter().map(|(name, ty)| Field::new(*name, ty.clone())).collect()))
}

fn types(schema: &Schema) -> Vec<Type> {
    schema.fields.iter().map(|field| field.ty.clone()).collect()
}

fn encoded(batch: &Batch) -> String {
    let mut out = Vec::new();
    CsvEncoder::new(CsvOptions::default()).write_rows(batch, &mut out);
    String::from_utf8(out).expect("utf-8")
}

fn rejects(decoded: &Decoded) -> Vec<(usize, usize, u64, u64, &str)> {
    decoded.rejects.iter().map(|r| (r.byte, r.len, r.line, r.record, &*r.reject.reason)).collect()
}

#[test]
fn columns_have_the_narrowest_type_that_keeps_their_values() {
    let decoded = decode(concat!(
        "none,flag,id,big,huge,ratio,zip,note,empty\n",
        ",true,1,9007199254740993,170141183460469231731,1,007,\"a, \"\"b\"\"\",\"\"\n",
        ",,-2,0,1,1e-05,12,a long note that is not inlined,\n",
    ));
    let Decoded { batch, observed, .. } = &decoded;
    let want =
        vec![Type::Null, Type::Bool, INT, LONG_INT, Type::Decimal, Type::Float, Type::Text, Type::Text, Type::Text];
    assert_eq!(types(&batch.schema), want);
    assert_eq!(observed, &*batch.schema);
    for (array, field) in batch.columns.iter().zip(&batch.schema.fields) {
        assert_eq!(array.data_type(), &field.ty.to_arrow());
        assert_eq!(array.len(), 2);
    }
    assert_eq!(batch.columns[7].as_string_view().value(0), "a, \"b\"");
    assert_eq!(
        encoded(batch),
        concat!(
            ",true,1,9007199254740993,170141183460469231731,1.0,007,\"a, \"\"b\"\"\",\"\"\n",
            ",,-2,0,1,1e-05,12,a long note that is not inlined,\n",
        )
    );
    assert_eq!((decoded.records, decoded.lines, decoded.rejects.len()), (2, 2, 0));
}

#[test]
fn an_invalid_record_costs_one_record() {
    let text = b"a,b\n1,2\n1,2,3\n\n\"x\ny\"z,2\n\xff,2\r\n5,6\r\n\r\n7\n8,\"9\n";
    let (decoder, morsel) = open(text);
    let schema = schema(&[("a", INT), ("b", INT)]);
    let decoded = decoded(decoder.decode(&morsel, &schema, OnMisfit::SchemaMismatch));
    assert_eq!(encoded(&decoded.batch), "1,2\n5,6\n");
    assert_eq!(
        rejects(&decoded),
        [
            (4, 5, 1, 1, "expected 2 fields, found 3"),
            (11, 8, 3, 2, "text after the closing quote"),
            (20, 3, 5, 3, "not valid UTF-8"),
            (32, 1, 8, 5, "expected 2 fields, found 1"),
            (34, 4, 9, 6, "the quote is not closed"),
        ]
    );
    assert_eq!((decoded.records, decoded.lines), (7, 10));
    assert_eq!(decoded.rejects[1].reject.offset, 5);
}

#[test]
fn a_blank_line_is_a_null_only_where_there_is_one_column() {
    let one = decode("a\n1\n\n\r\n2");
    assert_eq!((encoded(&one.batch).as_str(), one.records), ("1\n\n\n2\n", 4));
    let two = decode("a,b\n1,2\n\n\r\n3,4");
    assert_eq!((encoded(&two.batch).as_str(), two.records), ("1,2\n3,4\n", 2));
    assert_eq!(decode("a,b\n").records, 0);
}

#[test]
fn a_mismatch_names_the_first_record_and_the_wider_schema() {
    let (decoder, morsel) = open(b"a,b\n1,x\n1,2,3\n\n2,y\n1.5,z\n007,z\n");
    let narrow = schema(&[("a", INT), ("b", Type::Null)]);
    let first = mismatch(decoder.decode(&morsel, &narrow, OnMisfit::SchemaMismatch));
    assert_eq!((first.byte, first.line, first.record), (0, 0, 0));
    assert_eq!(first.what, "field `b`: expected null, found text");
    assert_eq!(types(&first.schema), [Type::Text, Type::Text]);

    let narrow = schema(&[("a", INT), ("b", Type::Text)]);
    let second = mismatch(decoder.decode(&morsel, &narrow, OnMisfit::SchemaMismatch));
    assert_eq!((second.byte, second.line, second.record), (15, 4, 3));
    assert_eq!(second.what, "field `a`: expected int, found float");
    let decoded = decoded(decoder.decode(&morsel, &Arc::new(second.schema), OnMisfit::SchemaMismatch));
    assert_eq!(encoded(&decoded.batch), "1,x\n2,y\n1.5,z\n007,z\n");
}

#[test]
fn with_a_frozen_schema_a_misfit_is_a_reject() {
    let (decoder, morsel) = open(b"a,b,new\n1,x,\n1.5,y,\n2,z,1\n3,,\n");
    let frozen = schema(&[("b", Type::Text), ("gone", Type::Float), ("a", INT)]);
    let decoded = decoded(decoder.decode(&morsel, &frozen, OnMisfit::Reject));
    assert_eq!(encoded(&decoded.batch), "x,,1\n,,3\n");
    assert_eq!(
        rejects(&decoded),
        [(5, 6, 1, 1, "expected int, found float"), (12, 5, 2, 2, "the schema has no such column")]
    );
    assert_eq!(decoded.rejects[1].reject.path.as_str(), "new");
    assert_eq!(decoded.rejects[1].reject.offset, 4);
    assert_eq!(types(&decoded.observed), [Type::Text, Type::Null, INT]);
    let mismatch = mismatch(decoder.decode(&morsel, &frozen, OnMisfit::SchemaMismatch));
    assert_eq!(mismatch.schema.fields.last().map(|field| &*field.name), Some("new"));
}

#[test]
fn declared_columns_of_json() {
    let (decoder, morsel) = open(b"a,b,c\n\"[\"\"x\"\"]\",{},not json\n,\"\"\"\\n\"\"\",\n");
    let list = Type::List(Box::new(Type::Null));
    let declared = schema(&[("c", list.clone()), ("a", list.clone()), ("b", Type::Json)]);
    let inferred = decoder.infer(&morsel, &declared);
    let lists = Type::List(Box::new(Type::Text));
    assert_eq!(types(&inferred), [lists.clone(), Type::Json, Type::Text]);

    let mismatch = mismatch(decoder.decode(&morsel, &declared, OnMisfit::SchemaMismatch));
    assert_eq!(types(&mismatch.schema), [Type::Text, lists, Type::Json]);
    assert_eq!(mismatch.what, "field `c`: expected list<null>, found other text");
    let decoded = decoded(decoder.decode(&morsel, &Arc::new(mismatch.schema), OnMisfit::SchemaMismatch));
    assert_eq!(decoded.batch.columns[2].as_string_view().value(1), "\"\\n\"");
    assert_eq!(decoded.batch.columns[0].as_string_view().value(0), "not json");
}

/// Reference for inference: a type is right if each value is the same after parsing and writing.
fn type_of_naively(values: &[&str]) -> Type {
    let all = |test: &dyn Fn(&str) -> bool| values.iter().all(|value| test(value));
    let is_int = |value: &str| value.parse::<i128>().is_ok_and(|v| v.to_string() == value && v.abs() < 10i128.pow(38));
    let is_long = |value: &str| is_int(value) && value.parse::<i64>().is_ok();
    let is_small = |value: &str| is_long(value) && value.parse::<i64>().is_ok_and(|v| v.abs() <= 1 << 53);
    let is_plain = |value: &str| crate::format::number::plain_digits(value.as_bytes()).is_some() && value != "-0";
    let is_float = |value: &str| {
        let mantissa = value.split('e').next().unwrap_or_default().replace(['-', '.'], "");
        let digits = mantissa.trim_matches('0').len();
        serde_json::from_str::<serde_json::Value>(value).is_ok()
            && (value.contains(['.', 'e']) || value == "-0")
            && value.parse::<f64>().is_ok_and(|v| {
                let mut out = Vec::new();
                crate::format::number::write_float(v, &mut out);
                out == value.as_bytes() || (digits <= 15 && (digits == 0 || v.is_normal()))
            })
    };
    match () {
        () if values.is_empty() => Type::Null,
        () if all(&|v| matches!(v, "true" | "false" | "True" | "False")) => Type::Bool,
        () if all(&is_small) => INT,
        () if all(&is_long) => LONG_INT,
        () if all(&is_int) => Type::Decimal,
        () if all(&|v| is_small(v) || is_float(v)) => Type::Float,
        () if all(&|v| is_int(v) || is_float(v) || is_plain(v)) => {
            let integer = values.iter().map(|v| match v {
                v if is_small(v) => 16,
                v if is_long(v) => 19,
                // Without an exponent, every number has its digits.
                v if is_plain(v) => {
                    v.trim_start_matches('-').split('.').next().map_or(0, |v| if v == "0" { 0 } else { v.len() })
                }
                _ => 39,
            });
            let scale =
                values.iter().map(|v| v.split_once('.').map_or(0, |(_, fraction)| fraction.len())).max().unwrap_or(0);
            let precision = integer.max().unwrap_or(0) + scale;
            match (precision, scale) {
                (39.., _) => Type::Text,
                (_, 0) => Type::Decimal,
                _ => Type::Fixed(Fixed::Decimal { precision: precision as u8, scale: scale as u8 }),
            }
        }
        () => Type::Text,
    }
}

/// Generates a cell as spelled in the file, with its text; `None` for null.
fn any_cell() -> impl Strategy<Value = (String, Option<String>)> {
    let value = prop_oneof![
        6 => Just(String::new()),
        8 => any::<i16>().prop_map(|v| v.to_string()),
        2 => any::<i64>().prop_map(|v| v.to_string()),
        1 => any::<i128>().prop_map(|v| (v / 10).to_string()),
        4 => any::<f32>().prop_filter("a number", |v| v.is_finite()).prop_map(|v| {
            let mut out = Vec::new();
            crate::format::number::write_float(v.into(), &mut out);
            String::from_utf8(out).expect("ascii")
        }),
        1 => "[0-9.e+-]{1,6}",
        2 => "-?[1-9][0-9]{0,20}\\.[0-9]{1,6}",
        2 => prop_oneof![Just("true"), Just("False")].prop_map(String::from),
        2 => "[a-zé東,\"\r\n ]{0,20}",
    ];
    (value, any::<bool>()).prop_map(|(value, quote)| {
        if quote || value.contains([',', '"', '\r', '\n']) {
            (format!("\"{}\"", value.replace('"', "\"\"")), Some(value))
        } else {
            (value.clone(), (!value.is_empty()).then_some(value))
        }
    })
}

proptest! {
    #[test]
    fn values_are_written_back_as_they_were_read(
        // Each column draws from one cell strategy, and some rows repeat, so that columns of one type are likely.
        columns in prop::collection::vec(prop::collection::vec(any_cell(), 1..4), 2..5),
        picks in prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 5), 0..30),
        crlf in any::<bool>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let rows: Vec<Vec<&(String, Option<String>)>> = picks
            .iter()
            .map(|picks| columns.iter().zip(picks).map(|(cells, pick)| &cells[pick.index(cells.len())]).collect())
            .collect();
        let line_end = if crlf { "\r\n" } else { "\n" };
        let names: Vec<String> = (0..columns.len()).map(|i| format!("c{i}")).collect();
        let line = |row: &Vec<&(String, Option<String>)>| {
            row.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>().join(",") + line_end
        };
        let body: String = rows.iter().map(line).collect();
        let (decoder, morsel) = open(format!("{}{line_end}{body}", names.join(",")).as_bytes());
        let schema = Arc::new(decoder.infer(&morsel, &Schema::default()).resolved());

        for (c, field) in schema.fields.iter().enumerate() {
            let values: Vec<&str> = rows.iter().filter_map(|row| row[c].1.as_deref()).collect();
            prop_assert_eq!(&field.ty, &type_of_naively(&values), "{:?}", values);
        }

        // The schema does not depend on where the file is cut.
        let cut = cut.index(rows.len() + 1);
        let (head, tail) = rows.split_at(cut);
        let part = |rows: &[Vec<&(String, Option<String>)>]| {
            Morsel::from_vec(rows.iter().map(line).collect::<String>().into_bytes(), 0, 0)
        };
        let first = decoder.infer(&part(head), &Schema::default());
        let both = first.join(&decoder.infer(&part(tail), &Schema::default()), TypeMerge::Text);
        prop_assert_eq!(&both.resolved(), &*schema);

        // A schema inferred from the head alone widens to that of the whole, which then fits. The digits of doubles are not
        // known any more, so that no decimal follows them.
        let first = first.resolved();
        let scaled = |ty: &Type| matches!(ty, Type::Fixed(_));
        let is_late =
            |i: usize| matches!(first.fields[i].ty, Type::Float | Type::Decimal) && scaled(&schema.fields[i].ty);
        let widened = |seen: &Schema| {
            let alike = seen.fields.iter().zip(&schema.fields).enumerate().all(|(i, (seen, whole))| {
                seen == whole || is_late(i) && seen.ty == Type::Text || scaled(&seen.ty) && scaled(&whole.ty)
            });
            prop_assert!(alike, "{seen:?} {schema:?}");
            Ok(())
        };
        match decoder.decode(&morsel, &Arc::new(first.clone()), OnMisfit::SchemaMismatch) {
            Outcome::SchemaMismatch(mismatch) => widened(&mismatch.schema)?,
            Outcome::Decoded(decoded) => widened(&first.join(&decoded.observed, TypeMerge::Text))?,
        }

        let decoded = decoded(decoder.decode(&morsel, &schema, OnMisfit::SchemaMismatch));
        prop_assert_eq!(decoded.records, rows.len() as u64);
        prop_assert_eq!(decoded.batch.rows, rows.len());
        prop_assert_eq!(&decoded.observed, &*schema);
        let mut out = Vec::new();
        CsvEncoder::new(CsvOptions { booleans: CsvBooleans::Json, ..CsvOptions::default() })
            .write_rows(&decoded.batch, &mut out);
        let back = Morsel::from_vec(out, 0, 0);
        let mut splitter = Splitter::new(&back, b',');
        let mut fields = Vec::new();
        for row in &rows {
            fields.clear();
            prop_assert!(splitter.next_record(&mut fields).is_some_and(|record| record.malformed.is_none()));
            for (c, (_, want)) in row.iter().enumerate() {
                let got = fields[c].value(back.records());
                let want = match (want.as_deref(), &schema.fields[c].ty) {
                    (None, _) => {
                        prop_assert!(fields[c].is_null());
                        continue;
                    }
                    (Some(want), Type::Bool) => want.to_lowercase(),
                    // Written in the canonical form, which is another one for `1e5` and `1.50`.
                    (Some(want), Type::Float) => {
                        let mut canonical = Vec::new();
                        crate::format::number::write_float(want.parse().expect("a number"), &mut canonical);
                        String::from_utf8(canonical).expect("ascii")
                    }
                    (Some(want), Type::Fixed(Fixed::Decimal { precision, scale })) => {
                        let parse = |text: &[u8]| crate::format::number::parse_scaled(text, *precision, *scale);
                        prop_assert!(parse(&got).is_some_and(|value| Some(value) == parse(want.as_bytes())));
                        continue;
                    }
                    (Some(want), _) => want.to_string(),
                };
                prop_assert!(!fields[c].is_null());
                prop_assert_eq!(got, want.as_bytes());
            }
        }
        prop_assert!(splitter.next_record(&mut fields).is_none());
    }
}

#[test]
fn words_for_null_are_unquoted_cells_of_exactly_that_text() {
    let (decoder, morsel) = open(b"a,b,c\n1,NA,\"NA\"\nNA,-,\"\"\nN/A,NAN,NA\n");
    let columns = |words: &[&str]| {
        let null_words = words.iter().map(|&word| word.into()).collect();
        let decoder = decoder.clone().with_dialect(&CsvDialect { null_words, ..CsvDialect::default() });
        let schema = decoder.infer(&morsel, &Schema::default());
        let decoded = decoded(decoder.decode(&morsel, &Arc::new(schema.clone()), OnMisfit::SchemaMismatch));
        assert!(decoded.rejects.is_empty());
        let nulls: Vec<usize> = decoded.batch.columns.iter().map(|column| column.null_count()).collect();
        (schema.fields.into_iter().map(|field| field.ty).collect::<Vec<_>>(), nulls)
    };
    let int = Type::Int { fits_double: true };
    assert_eq!(columns(&[]), (vec![Type::Text, Type::Text, Type::Text], vec![0, 0, 0]));
    assert_eq!(columns(&["NA", "N/A"]), (vec![int.clone(), Type::Text, Type::Text], vec![2, 1, 1]));
    assert_eq!(columns(&["NA", "N/A", "-", "NAN"]), (vec![int, Type::Null, Type::Text], vec![2, 3, 1]));
}

/// Generates a cell as text or as a number in JSON's grammar; `None` for null.
fn any_read_cell() -> impl Strategy<Value = Option<Result<String, String>>> {
    prop_oneof![
        1 => Just(None),
        2 => "[a-zé'\";\n ]{0,70}".prop_map(|text| Some(Ok(text))),
        4 => "-?(0|[1-9][0-9]{0,8})(\\.[0-9]{1,3})?".prop_map(|number| Some(Err(number))),
    ]
}

/// Spells a number with a decimal comma and, with `grouped`, with points between groups of three digits.
fn spelled_with_comma(number: &str, grouped: bool) -> String {
    let (integer, fraction) = number.split_once('.').map_or((number, None), |(i, f)| (i, Some(f)));
    let (sign, digits) = integer.strip_prefix('-').map_or(("", integer), |digits| ("-", digits));
    let groups: Vec<String> =
        digits.as_bytes().rchunks(3).rev().map(|group| String::from_utf8_lossy(group).into()).collect();
    let integer = if grouped { groups.join(".") } else { digits.to_owned() };
    format!("{sign}{integer}{}", fraction.map_or(String::new(), |fraction| format!(",{fraction}")))
}

proptest! {
    #[test]
    fn a_dialect_is_another_spelling_of_the_same_rows(
        cells in prop::collection::vec((any_read_cell(), any::<bool>(), any::<bool>()), 0..60),
    ) {
        let quoted = |text: &str, quote: char| format!("{quote}{}{quote}", text.replace(quote, &format!("{quote}{quote}")));
        let rows = cells.chunks_exact(2);
        let (mut plain, mut other) = ("a,b\n".to_owned(), "'a';b\n".to_owned());
        for row in rows.clone() {
            let spelled: Vec<(String, String)> = row.iter().map(|(cell, grouped, quotes)| match cell {
                None => Default::default(),
                Some(Ok(text)) => (quoted(text, '"'), quoted(text, '\'')),
                Some(Err(number)) => {
                    let comma = spelled_with_comma(number, *grouped);
                    (number.clone(), if *quotes { quoted(&comma, '\'') } else { comma })
                }
            }).collect();
            plain += &format!("{},{}\n", spelled[0].0, spelled[1].0);
            other += &format!("{};{}\n", spelled[0].1, spelled[1].1);
        }
        let dialect = CsvDialect {
            quote: CsvQuote::Byte(b'\''),
            numbers: NumberMarks { decimal: b',', thousands: Some('.') },
            ..CsvDialect::default()
        };
        let (plain_decoder, plain) = open(plain.as_bytes());
        let morsel = Morsel::from_vec(other.into_bytes(), 0, 0);
        let mut search = crate::format::csv::HeaderSearch::new(b';', &dialect);
        let (header, other) = search.take(&morsel).expect("a valid header").expect("a header");
        let other_decoder = CsvDecoder::new(header.names, b';', plain_decoder.decode_cells).with_dialect(&dialect);

        let schema = plain_decoder.infer(&plain, &Schema::default()).resolved();
        prop_assert_eq!(&other_decoder.infer(&other, &Schema::default()).resolved(), &schema);
        let schema = Arc::new(schema);
        let rules = RecordRules { as_read: crate::format::decode::AsReadColumns::Every, ..RecordRules::default() };
        let plain = decoded(plain_decoder.decode_under(&plain, &schema, OnMisfit::SchemaMismatch, &rules));
        let other = decoded(other_decoder.decode_under(&other, &schema, OnMisfit::SchemaMismatch, &rules));
        prop_assert_eq!(other.rejects.len(), 0);
        prop_assert_eq!(&other.observed, &plain.observed);
        for column in 0..2 {
            if schema.fields[column].ty != Type::Text {
                prop_assert_eq!(&other.batch.columns[column], &plain.batch.columns[column]);
            } else {
                // Steps see the number, and the column keeps the cell.
                let read = other.batch.as_read(column).expect("steps see other texts");
                prop_assert_eq!(&read.array, &plain.batch.columns[column]);
                let texts = other.batch.columns[column].as_string_view();
                for (row, cells) in rows.clone().enumerate() {
                    let (cell, grouped, _) = &cells[column];
                    let expected = cell.as_ref().map(|cell| match cell {
                        Ok(text) => text.clone(),
                        Err(number) => spelled_with_comma(number, *grouped),
                    });
                    let found = texts.is_valid(row).then(|| texts.value(row).to_owned());
                    prop_assert_eq!(found, expected);
                }
            }
        }
    }
}

#[test]
fn positions_in_another_dialect_are_those_of_the_source() {
    let text = "'a';b\n1,5;'it''s'\n1.5;x\n2,5;'y\n";
    let dialect = CsvDialect {
        quote: CsvQuote::Byte(b'\''),
        numbers: NumberMarks { decimal: b',', thousands: None },
        ..CsvDialect::default()
    };
    let mut search = crate::format::csv::HeaderSearch::new(b';', &dialect);
    let (header, rest) = search.take(&Morsel::from_vec(text.into(), 0, 0)).expect("valid").expect("there");
    let decode_cells = open(b"a\n1\n").0.decode_cells;
    let decoder = CsvDecoder::new(header.names, b';', decode_cells).with_dialect(&dialect);
    let schema = schema(&[("a", Type::Float), ("b", Type::Text)]);
    let decoded = decoded(decoder.decode(&rest, &schema, OnMisfit::Reject));
    assert_eq!(
        rejects(&decoded),
        [(12, 5, 1, 1, "expected float, found text"), (18, 6, 2, 2, "the quote is not closed")]
    );
    assert_eq!(decoded.rejects[0].reject.offset, 0);
    assert_eq!(decoded.batch.columns[1].as_string_view().value(0), "it's");
    let rules = RecordRules { cell_kinds: true, ..RecordRules::default() };
    let text = Arc::new(Schema::new(vec![Field::new("a", Type::Text), Field::new("b", Type::Text)]));
    let Outcome::Decoded(decoded) = decoder.decode_under(&rest, &text, OnMisfit::Reject, &rules) else {
        panic!("text holds all cells");
    };
    let kinds = &decoded.cell_kinds[0].1;
    let first = kinds.first_text.expect("1.5 is no number");
    assert_eq!((kinds.numbers, kinds.texts, first.byte, first.line), (1, 1, 12, 1));
}

#[test]
fn without_quotes_every_line_is_a_record() {
    let dialect = CsvDialect { quote: CsvQuote::None, ..CsvDialect::default() };
    let morsel = Morsel::from_vec(b"a,\"b\n\"x,5\"\n\",y\"\n".to_vec(), 0, 0);
    let mut search = crate::format::csv::HeaderSearch::new(b',', &dialect);
    let (header, rest) = search.take(&morsel).expect("valid").expect("there");
    assert_eq!(&*header.names[1], "\"b");
    let decode_cells = open(b"a\n1\n").0.decode_cells;
    let decoder = CsvDecoder::new(header.names, b',', decode_cells).with_dialect(&dialect);
    let schema = Arc::new(decoder.infer(&rest, &Schema::default()));
    let decoded = decoded(decoder.decode(&rest, &schema, OnMisfit::SchemaMismatch));
    assert_eq!(encoded(&decoded.batch), "\"\"\"x\",\"5\"\"\"\n\"\"\"\",\"y\"\"\"\n");
}
