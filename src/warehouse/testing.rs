//! Rows for tests of encoders: one record decoded in both ways in which nested values come to a table.

use std::sync::Arc;

use super::RowEncoder;
use crate::column::{Batch, Field, Morsel, Schema};
use crate::format::decode::{AsReadColumns, Outcome, RecordRules};
use crate::format::ndjson::{DecodeOptions, UnknownKey, ValueTypes, decode_under, infer};

/// Records with the traps of nested values: spelling, escapes, numbers and keys that a type would forget.
pub(super) const NESTED: [&str; 12] = [
    r#"{"o":{"k":1,"m":null},"l":[1,2],"x":{"a":1}}"#,
    r#"{"o":{ "m" : [ ] , "k" : 1.50 },"l":[ ],"x":[1]}"#,
    r#"{"o":{},"l":[null,{"k":1,"k":2}],"x":"text"}"#,
    r#"{"o":null,"l":null,"x":null}"#,
    r#"{"o":{"k":1,"k":2},"l":["é","\u00e9","\ud83d\ude00"],"x":12}"#,
    r#"{"o":{"k":"\u0000"},"l":["\u0000\\u0000"],"x":["\u0000"]}"#,
    r#"{"o":{"k":1e400},"l":[1e99999,1e999999],"x":{"a":1e400}}"#,
    r#"{"o":{"k":123456789012345678901234567890.10},"l":[-0,-0.0,1E5],"x":-0}"#,
    r#"{"o":{"a\"b":"\/","é":"\n"},"l":[[[]]],"x":{"a":"\u0000"}}"#,
    r#"{"o":{"https://a.test/1":1,"https://a.test/2":2},"l":["a"],"x":true}"#,
    r#"{"l":["1","2"]}"#,
    r#"{"o":{"k":null},"x":1.50}"#,
];

/// Asserts that `encoder` makes the same of each record, whether its nested values were parsed or not.
pub(super) fn assert_same_rows(encoder: &dyn RowEncoder) {
    let all = Morsel::from_vec(NESTED.join("\n").into_bytes(), 0, 0);
    let parsed = infer(&all, ValueTypes::Typed, usize::MAX);
    let opaque = parsed.fields.iter().map(|field| Field::new(field.name.clone(), field.ty.opaque()));
    let opaque = Schema::new(opaque.collect());
    assert_ne!(parsed, opaque);
    for record in NESTED {
        let [parsed, opaque] = [&parsed, &opaque].map(|schema| {
            let batch = decoded(record, schema);
            let unfit = encoder.unfit(&batch);
            let bytes = unfit.is_empty().then(|| match encoder.encode(&batch, Vec::new()) {
                Ok(super::LoadRows::Bytes(bytes) | super::LoadRows::Typed(bytes, _)) => bytes,
                Ok(super::LoadRows::Columns(_)) => panic!("{record}: not encoded"),
                Err(error) => panic!("{record}: {error}"),
            });
            (unfit, bytes)
        });
        assert_eq!(parsed, opaque, "{record}");
    }
}

/// Values of all kinds, with the numbers that types bend.
const VALUES: [&str; 34] = [
    "0",
    "1",
    "-7",
    "40000",
    "9007199254740993",
    "1152921504606846976",
    "9223372036854775807",
    "9223372036854775808",
    "-12345678901234567890123",
    "1234567890123456789012345678901234567890",
    "-0",
    "0.0",
    "1.0",
    "2.50",
    "1e2",
    "1e30",
    "1e-400",
    "1e400",
    "9007199254740993.0",
    "0.10000000149011612",
    "0.1234567890123456789",
    "true",
    "false",
    "\"\"",
    "\"12\"",
    "\"007\"",
    "\"1.5\"",
    "\"true\"",
    "\"é\\u0000\"",
    "\"a\\u00e9\"",
    "\"2026-01-31\"",
    "[1, 2.50]",
    "{\"a\": 1.50}",
    "\"12345678901234567890123456789012\"",
];

/// Asserts that `encoder`, of a table that has a column `v`, makes the same of each value, whatever type the values of other
/// records give to the column.
pub(super) fn assert_values_stand_alone(encoder: &dyn RowEncoder, what: &str) {
    let record = |value: &str| format!("{{\"v\":{value}}}");
    let schema = |values: &[&str]| {
        let text: Vec<String> = values.iter().map(|value| record(value)).collect();
        infer(&Morsel::from_vec(text.join("\n").into_bytes(), 0, 0), ValueTypes::Typed, usize::MAX)
    };
    let mut taken = 0;
    for value in VALUES {
        let outcome = |schema: &Schema| {
            let batch = decoded(&record(value), schema);
            let unfit: Vec<String> = encoder.unfit(&batch).into_iter().map(|unfit| unfit.reason).collect();
            let encoded = unfit.is_empty().then(|| match encoder.encode(&batch, Vec::new()) {
                Ok(super::LoadRows::Bytes(bytes) | super::LoadRows::Typed(bytes, _)) => bytes,
                Ok(super::LoadRows::Columns(_)) => panic!("{what}: {value}: not encoded"),
                Err(error) => panic!("{what}: {value}: {error}"),
            });
            // In `jsonb`, a string is the same in every spelling.
            let encoded = encoded.map(|bytes| if what.starts_with("jsonb") { Vec::new() } else { bytes });
            (unfit, encoded)
        };
        let alone = outcome(&schema(&[value]));
        taken += usize::from(alone.1.is_some());
        for first in VALUES {
            for second in ["null", "0.5", "\"x\"", "true", "9007199254740993"] {
                assert_eq!(
                    outcome(&schema(&[value, first, second])),
                    alone,
                    "{what}: {value} beside {first} and {second}"
                );
            }
        }
    }
    assert!(taken > 0, "{what} takes no value");
}

fn decoded(record: &str, schema: &Schema) -> Batch {
    let morsel = Morsel::from_vec(record.as_bytes().to_vec(), 0, 0);
    let options = DecodeOptions {
        unknown_key: UnknownKey::SchemaMismatch,
        new_columns: ValueTypes::Typed,
        freeze: false,
        max_record_bytes: usize::MAX,
        max_cells: usize::MAX,
        record_spans: false,
        canonical_json: true,
    };
    let rules = RecordRules { as_read: AsReadColumns::All, ..RecordRules::default() };
    match decode_under(&morsel, &Arc::new(schema.clone()), &options, &rules) {
        Outcome::Decoded(decoded) => {
            assert!(decoded.rejects.is_empty(), "{record}: {:?}", decoded.rejects);
            decoded.batch
        }
        Outcome::SchemaMismatch(mismatch) => panic!("{record}: {}", mismatch.what),
    }
}
