//! Compares the parser with serde_json.

use std::sync::Arc;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::column::{Batch, Field, Morsel, Schema, Type, TypeMerge};
use crate::format::decode::{Decoded, Outcome};

const OPTIONS: DecodeOptions = DecodeOptions {
    unknown_key: UnknownKey::SchemaMismatch,
    new_columns: ValueTypes::Typed,
    freeze: false,
    max_record_bytes: 1 << 20,
    max_cells: usize::MAX,
    record_spans: false,
    canonical_json: false,
};

fn morsel(text: impl AsRef<[u8]>) -> Morsel {
    Morsel::from_vec(text.as_ref().to_vec(), 0, 0)
}

/// Decodes from an empty schema, which widens until all records fit.
fn decode_all(morsel: &Morsel, options: &DecodeOptions) -> Decoded {
    let mut schema = Arc::new(Schema::default());
    loop {
        match decode(morsel, &schema, options) {
            Outcome::Decoded(decoded) => return decoded,
            Outcome::SchemaMismatch(mismatch) => {
                assert_ne!(mismatch.schema, *schema, "a mismatch must widen the schema: {}", mismatch.what);
                schema = Arc::new(mismatch.schema);
            }
        }
    }
}

/// The rows of a batch as JSON, through the encoder.
fn rows(batch: &Batch) -> Vec<Value> {
    let mut text = Vec::new();
    encode(batch, b"\n", &mut text);
    let text = String::from_utf8(text).unwrap();
    text.lines().map(|line| by_value(serde_json::from_str(line).unwrap())).collect()
}

/// Numbers by value instead of by digits.
fn by_value(value: Value) -> Value {
    match value {
        Value::Number(n) if n.as_i64().is_some() || n.as_u64().is_some() => Value::Number(n),
        Value::Number(n) => json!(n.as_f64().unwrap()),
        Value::Array(items) => items.into_iter().map(by_value).collect(),
        Value::Object(map) => map.into_iter().map(|(k, v)| (k, by_value(v))).collect::<Map<_, _>>().into(),
        other => other,
    }
}

/// Returns the value expected from a column of `ty`: absent is null, and JSON text is itself.
fn expected(value: Option<&Value>, ty: &Type) -> Value {
    match (value, ty) {
        (None | Some(Value::Null), _) => Value::Null,
        (Some(Value::Object(map)), Type::Struct(fields)) if !fields.is_empty() => fields
            .iter()
            .map(|f| (f.name.to_string(), expected(map.get(&*f.name), &f.ty)))
            .collect::<Map<_, _>>()
            .into(),
        (Some(Value::Object(map)), Type::Map(ty)) => {
            map.iter().map(|(k, v)| (k.clone(), expected(Some(v), ty))).collect::<Map<_, _>>().into()
        }
        (Some(Value::Array(items)), Type::List(ty)) => items.iter().map(|v| expected(Some(v), ty)).collect(),
        (Some(Value::Number(n)), Type::Float) => json!(n.as_f64().unwrap()),
        (Some(value), _) => value.clone(),
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1000i64..1000).prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e6f64..1e6).prop_map(Value::from),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(Value::from),
        "[a-zé\"\\\\\n\u{1f600}/ ]{0,20}".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[abc\u{e9}\"]{1,2}", inner, 0..4)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

fn any_record() -> impl Strategy<Value = Value> {
    let map = prop::collection::btree_map("[a-d]", any_json(), 0..4);
    map.prop_map(|m| by_value(Value::Object(m.into_iter().collect())))
}

/// Escapes all characters outside ASCII, as some services do.
fn ascii_only(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn values_survive_decoding_and_encoding(records in prop::collection::vec(any_record(), 1..8), ascii in any::<bool>()) {
        let lines: Vec<String> = records.iter().map(|r| if ascii { ascii_only(&r.to_string()) } else { r.to_string() }).collect();
        let decoded = decode_all(&morsel(lines.join("\n")), &OPTIONS);
        prop_assert_eq!(decoded.rejects.len(), 0);
        prop_assert_eq!(decoded.records as usize, records.len());
        let ty = Type::Struct(decoded.batch.schema.fields.clone());
        let found = rows(&decoded.batch);
        for (record, row) in records.iter().zip(&found) {
            let Type::Struct(fields) = &ty else { unreachable!() };
            for field in fields {
                prop_assert_eq!(
                    row.get(&*field.name).unwrap_or(&Value::Null),
                    &expected(record.get(&*field.name), &field.ty),
                    "column {}: {}", field.name, field.ty
                );
            }
        }
    }

    #[test]
    fn a_line_is_accepted_exactly_if_serde_json_accepts_it(
        record in any_record(),
        cut in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        how in 0..4,
    ) {
        let mut line = record.to_string().into_bytes();
        let at = cut.index(line.len());
        match how {
            0 => line.truncate(at),
            1 => line[at] = byte,
            2 => line.insert(at, byte),
            _ => { line.remove(at); }
        }
        line.retain(|&b| b != b'\n');
        let oracle = serde_json::from_slice::<Map<String, Value>>(&line);
        prop_assume!(!line.iter().all(|b| b" \t\r".contains(b)));
        let mut text = b"{\"before\":1}\n".to_vec();
        text.extend_from_slice(&line);
        text.extend_from_slice(b"\n{\"after\":2}\n");
        for keys in [ValueTypes::Typed, ValueTypes::Raw] {
            let options = DecodeOptions { new_columns: keys, ..OPTIONS };
            let decoded = decode_all(&morsel(&text), &options);
            prop_assert_eq!(decoded.records, 3);
            prop_assert_eq!(decoded.lines, 3);
            prop_assert_eq!(decoded.rejects.is_empty(), oracle.is_ok(), "{:?}: {:?}", String::from_utf8_lossy(&line), decoded.rejects);
            let skip = DecodeOptions { unknown_key: UnknownKey::Skip, ..options };
            let Outcome::Decoded(skipped) = decode(&morsel(&text), &Arc::new(Schema::default()), &skip) else {
                panic!("skipped keys cannot widen the schema");
            };
            prop_assert_eq!(skipped.rejects, decoded.rejects, "skipped values are held to the same rules");
        }
    }

    #[test]
    fn raw_columns_keep_the_bytes(records in prop::collection::vec(any_record(), 1..6)) {
        let text: String = records.iter().map(|r| format!("{r}\n")).collect();
        let decoded = decode_all(&morsel(&text), &DecodeOptions { new_columns: ValueTypes::Raw, record_spans: true, ..OPTIONS });
        let mut copied = Vec::new();
        encode(&decoded.batch, b"\n", &mut copied);
        prop_assert_eq!(&copied, &text.as_bytes());
        let without = Batch { records: None, ..decoded.batch };
        prop_assert_eq!(rows(&without), records, "absent keys stay absent, nulls stay nulls");
    }

    #[test]
    fn schemas_do_not_depend_on_the_cut(records in prop::collection::vec(any_record(), 2..10), cut in any::<prop::sample::Index>()) {
        let lines: Vec<String> = records.iter().map(|r| format!("{r}\n")).collect();
        let at = cut.index(lines.len());
        let whole = infer(&morsel(lines.concat()), ValueTypes::Typed, 1 << 20);
        let first = infer(&morsel(lines[..at].concat()), ValueTypes::Typed, 1 << 20);
        let second = infer(&morsel(lines[at..].concat()), ValueTypes::Typed, 1 << 20);
        prop_assert_eq!(first.join(&second, TypeMerge::Json), whole);
    }
}

#[test]
fn an_invalid_line_costs_one_line() {
    let text = "{\"a\":1}\n{\"a\":\n\n{\"a\":\"x\n\r\n{\"a\":3}\n[1]\n{\"a\":4} x\n{\"a\":01}\n{\"a\":5}";
    let decoded = decode_all(&morsel(text), &OPTIONS);
    assert_eq!(rows(&decoded.batch), vec![json!({"a":1}), json!({"a":3}), json!({"a":5})]);
    let places: Vec<_> = decoded.rejects.iter().map(|r| (r.line, r.record, r.byte, &*r.reject.reason)).collect();
    assert_eq!(
        places,
        vec![
            (1, 1, 8, "expected a value"),
            (3, 2, 15, "the line ends inside a string"),
            (6, 4, 33, "expected an object, found a list"),
            (7, 5, 37, "text after the end of the record"),
            (8, 6, 47, "leading zero in a number"),
        ]
    );
    assert_eq!(decoded.records, 8);
    assert_eq!(decoded.lines, 9);
}

#[test]
fn a_broken_record_never_widens_the_schema() {
    let schema = Arc::new(Schema::new(vec![crate::column::Field::new("a", Type::Int { fits_double: true })]));
    let Outcome::Decoded(decoded) = decode(&morsel("{\"a\":1}\n{\"a\":\"text\",\n"), &schema, &OPTIONS) else {
        panic!("the broken record is a reject");
    };
    assert_eq!(decoded.batch.rows, 1);
    assert_eq!(decoded.rejects.len(), 1);
}

#[test]
fn a_frozen_schema_rejects_with_the_path() {
    let text = r#"{"hq":{"lat":1.5},"emails":["a"]}
{"hq":{"lat":"north"},"emails":[]}
{"hq":null,"emails":["a",7]}
{"new":1}
{"hq":{"lat":2}}"#;
    let known = infer(&morsel(text.lines().next().unwrap()), ValueTypes::Typed, 1 << 20);
    let options = DecodeOptions { freeze: true, ..OPTIONS };
    let Outcome::Decoded(decoded) = decode(&morsel(text), &Arc::new(known), &options) else {
        panic!("a frozen schema does not widen");
    };
    let reasons: Vec<String> = decoded.rejects.iter().map(|r| r.reject.to_string()).collect();
    assert_eq!(
        reasons,
        vec![
            "field `hq.lat`: expected float, found a string",
            "field `emails[1]`: expected text, found a number",
            "field `new`: the schema has no such field",
        ]
    );
    assert_eq!(rows(&decoded.batch).len(), 2);
}

#[test]
fn numbers_keep_their_value_or_widen() {
    let types = |text: &str| infer(&morsel(text), ValueTypes::Typed, 1 << 20).fields[0].ty.clone();
    assert_eq!(types("{\"n\":1}\n{\"n\":2.5}"), Type::Float);
    assert_eq!(types("{\"n\":9007199254740993}\n{\"n\":2.5}"), Type::Json);
    assert_eq!(types("{\"n\":9223372036854775808}\n{\"n\":-1}"), Type::Decimal);
    assert_eq!(types("{\"n\":1234567890123456789012345678901234567890}"), Type::Json);
    assert_eq!(types("{\"n\":1e999}"), Type::Json);
    let text = "{\"n\":1e999}\n{\"n\":12345678901234567890123}\n{\"n\":-0}\n{\"n\":0.1}";
    let decoded = decode_all(&morsel(text), &OPTIONS);
    let mut out = Vec::new();
    encode(&decoded.batch, b"\n", &mut out);
    assert_eq!(String::from_utf8(out).unwrap().trim_end(), text, "digits stay in a mixed column");
}

#[test]
fn the_last_of_a_duplicate_key_wins_and_is_counted() {
    let decoded = decode_all(&morsel(r#"{"a":1,"b":{"c":1,"c":2},"a":3}"#), &OPTIONS);
    assert_eq!(rows(&decoded.batch), vec![json!({"a":3,"b":{"c":2}})]);
    assert_eq!(decoded.duplicate_keys, 2);
}

fn decode_with(text: &str, schema: Schema) -> Decoded {
    match decode(&morsel(text), &Arc::new(schema), &OPTIONS) {
        Outcome::Decoded(decoded) => decoded,
        Outcome::SchemaMismatch(mismatch) => panic!("{}", mismatch.what),
    }
}

#[test]
fn the_last_of_a_duplicate_key_of_a_map_wins_and_is_counted() {
    let value = Type::Struct(vec![Field::new("v", Type::Int { fits_double: true })]);
    let schema = Schema::new(vec![Field::new("m", Type::Map(Box::new(value)))]);
    // Few keys and many, short and long ones, equal by their escapes.
    for n in [2, 40] {
        let others: String = (0..n).map(|i| format!(r#","https://host.example/{i}":{{"v":{i}}}"#)).collect();
        let text = format!(
            r#"{{"m":{{"a":{{"v":1}}{others},"b":null,"\u0061":{{"v":2,"v":3}},"https://host.example\/1": {{"v":7}} }}}}
{{"m":{{}}}}"#
        );
        let decoded = decode_with(&text, schema.clone());
        let mut expected: serde_json::Map<String, serde_json::Value> =
            (0..n).map(|i| (format!("https://host.example/{i}"), json!({"v": i}))).collect();
        expected.insert("a".into(), json!({"v": 3}));
        expected.insert("b".into(), json!(null));
        expected.insert("https://host.example/1".into(), json!({"v": 7}));
        assert_eq!(rows(&decoded.batch), vec![json!({"m": expected}), json!({"m": {}})]);
        assert_eq!(decoded.duplicate_keys, 3);
        let keys = decoded.batch.columns[0].as_map().keys().len();
        assert_eq!(keys, n + 2);
    }
}

#[test]
fn duplicates_in_nested_maps_take_linear_time() {
    let depth = 60;
    let ty = (0..depth).fold(Type::Bool, |ty, _| Type::Map(Box::new(ty)));
    let value = (0..depth).fold("true".to_owned(), |value, _| format!(r#"{{"a":null,"a":{value}}}"#));
    let decoded = decode_with(&format!(r#"{{"m":{value}}}"#), Schema::new(vec![Field::new("m", ty)]));
    assert_eq!((decoded.batch.rows, decoded.duplicate_keys), (1, depth));
}

#[test]
fn invalid_utf8_costs_its_line() {
    let mut text = b"{\"a\":\"ok\"}\n{\"a\":\"\xff\"}\n".to_vec();
    text.extend_from_slice("{\"a\":\"é\"}\n".as_bytes());
    let decoded = decode_all(&morsel(text), &OPTIONS);
    assert_eq!(rows(&decoded.batch), vec![json!({"a":"ok"}), json!({"a":"é"})]);
    assert_eq!(decoded.rejects[0].reject.reason, "invalid UTF-8");
    assert_eq!(decoded.rejects[0].reject.offset, 6);
}

#[test]
fn depth_and_length_are_bounded() {
    let deep = format!("{{\"a\":{}{}}}\n{{\"a\":[]}}", "[".repeat(200), "]".repeat(200));
    let decoded = decode_all(&morsel(deep), &DecodeOptions { new_columns: ValueTypes::Raw, ..OPTIONS });
    assert_eq!(decoded.rejects[0].reject.reason, "nested deeper than 128 levels");
    assert_eq!(decoded.batch.rows, 1);
    let long = format!("{{\"a\":\"{}\"}}\n{{\"a\":\"b\"}}\n", "x".repeat(100));
    let decoded = decode_all(&morsel(long), &DecodeOptions { max_record_bytes: 64, ..OPTIONS });
    assert_eq!((decoded.rejects.len(), decoded.batch.rows), (1, 1));
    assert_eq!(decoded.rejects[0].reject.reason, "the record is longer than the maximum record size");
}

#[test]
fn edges_of_the_input() {
    for text in ["", "\n", "  \n\r\n", "\t"] {
        let decoded = decode_all(&morsel(text), &OPTIONS);
        assert_eq!((decoded.records, decoded.batch.rows), (0, 0), "{text:?}");
    }
    let decoded = decode_all(&morsel("{}\n {\"a\" : 1 , \"b\":\t[ ] } \r\n{}"), &OPTIONS);
    assert_eq!(rows(&decoded.batch)[1], json!({"a":1,"b":[]}));
    assert_eq!(decoded.records, 3);
}
