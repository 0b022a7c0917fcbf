//! Tests of the parser's errors, and of expressions against a reference evaluator over JSON values.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::column::testing::{any_rows, batch, infer_schema};
use crate::column::{Batch, Field, Morsel, Schema, Type, TypeMerge};
use crate::format::decode::Outcome;
use crate::format::ndjson::{self, DecodeOptions, UnknownKey, ValueTypes};

fn error(text: &str) -> (usize, String) {
    let error = parse(text).expect_err(text);
    (error.at, error.message)
}

#[test]
fn errors_have_a_position() {
    for (text, at, message) in [
        ("", 0, "expected a column or a value, found end of input"),
        ("a >", 3, "expected a column or a value, found end of input"),
        ("a > and b", 4, "expected a column or a value, found `and`"),
        ("a = 1 b = 2", 6, "expected `and`, `or` or end of input, found `b`"),
        ("1 < a < 3", 6, "comparisons cannot be chained"),
        ("a = (b = 1)", 4, "expected a column or a value, found a comparison"),
        ("(a = 1", 6, "expected `)`, found end of input"),
        ("a in 1", 5, "expected `(` after `in`, found `1`"),
        ("a in ()", 6, "expected a number, text in single quotes, `true`, `false` or `null`, found `)`"),
        ("a in (1 2)", 8, "expected `,` or `)`, found `2`"),
        ("a between 1 or 2", 12, "expected `and` between the two bounds, found `or`"),
        ("a is 3", 5, "expected `null` after `is`, found `3`"),
        ("a not 3", 6, "expected `in`, `between`, `like` or `ilike` after `not`, found `3`"),
        ("a like \"x\"", 7, "expected a pattern in single quotes, found `\"x\"`"),
        ("a ~ '('", 4, "unclosed group"),
        ("a = 'x", 4, "unterminated text: missing closing quote"),
        ("é = \"x", 5, "unterminated name: missing closing quote"),
        ("a = 1x", 4, "invalid number"),
        ("a - ", 4, "expected a column or a value, found end of input"),
        ("a - (b = 1)", 4, "expected a column or a value, found a comparison"),
        ("lowr(a) = 'x'", 0, "there is no function `lowr`"),
        ("substr(a) = 'x'", 0, "wrong number of arguments of `substr`: expected 2 to 3, found 1"),
        ("cast(a as whole) = 1", 10, "there is no type `whole`"),
        ("cast(a as decimal) = 1", 10, "decimal needs a precision and a scale, as in decimal(12,2)"),
        (
            "cast(a as decimal(3,4)) = 1",
            18,
            "the precision of a decimal must be between 1 and 38, its scale at most the precision",
        ),
        ("case when a then 1 else 2", 25, "expected `when`, `else` or `end`, found end of input"),
        ("regexp_extract(a, '(x)', 2) = 'x'", 23, "capture group out of range: the regular expression has 1"),
        (
            "regexp_replace(a, 'E', '$5') = 'x'",
            23,
            "there is no capture group `5` for `$` in the replacement: the regular expression has 0",
        ),
        (
            "regexp_replace(a, '(?<n>E)', '$$ $0 ${n} $1_USD') = 'x'",
            29,
            "there is no capture group `1_USD` for `$` in the replacement: the regular expression has 1",
        ),
        ("a && b", 2, "unknown operator `&&`"),
        ("a; b", 1, "unexpected character `;`"),
        ("a[x]", 2, "expected the index of a list element, from 0, found `x`"),
        ("a[-1]", 2, "expected the index of a list element, from 0, found `-1`"),
        ("a.", 2, "expected a name after `.`, found end of input"),
        ("5", 0, "expected a condition, found a number"),
        ("a and 'x'", 6, "expected a condition, found text"),
    ] {
        assert_eq!(error(text), (at, message.to_owned()), "{text}");
    }
    let hint = |text: &str| parse(text).unwrap_err().hint.map(|hint| hint.to_string());
    assert_eq!(
        hint("regexp_replace(a, '(E)', '$1_USD') = 'x'").as_deref(),
        Some("write `${1}_USD` for group 1 followed by `_USD`, and `$$` for a dollar sign")
    );
    assert_eq!(
        hint("regexp_replace(a, 'E', '$5') = 'x'").as_deref(),
        Some("write `$$` for a dollar sign, and `${1}` for a capture group")
    );
    assert_eq!(error(&"(".repeat(500)).1, "the expression is nested deeper than 100 levels");
    assert_eq!(error(&"not ".repeat(500)).1, "the expression is nested deeper than 100 levels");
    // A long chain does not count as depth.
    assert!(parse(&vec!["a = 1"; 20_000].join(" or ")).is_ok());
}

proptest! {
    #[test]
    fn no_text_breaks_the_parser(text in r#"([abé"'`\[\]().,<>=!~ 01\\-]|and|or|not|is|null|in|like|between|'x'){0,16}"#) {
        if let Err(error) = parse(&text) {
            prop_assert!(text.is_char_boundary(error.at), "{} in {text}", error.at);
        }
        let _ = (parse_names(&text), parse_renames(&text));
    }
}

#[test]
fn names_are_read_as_written() {
    let names = |text| parse_names(text).map(|paths| paths.iter().map(Path::to_string).collect::<Vec<_>>());
    assert_eq!(
        names("a, hq.city,emails[0].x, \"a, \"\"b\"\"\".c,`d e`,größe_1"),
        Ok(["a", "hq.city", "emails[0].x", "a, \"b\".c", "d e", "größe_1"].map(str::to_owned).to_vec())
    );
    let message = |text| parse_names(text).unwrap_err().message;
    assert_eq!(message("a,,b"), "expected a column, found `,`");
    assert_eq!(message(""), "expected a column, found end of input");
    assert_eq!(message("a b"), "expected `,` or end of input, found `b`");
    let renames = parse_renames("a=b, \"c d\" = `e f`,g=h.i").unwrap();
    let renames: Vec<_> = renames.iter().map(|(from, to)| (from.to_string(), to.as_str())).collect();
    assert_eq!(renames, [("a".into(), "b"), ("c d".into(), "e f"), ("g".into(), "h.i")]);
    let message = |text| parse_renames(text).unwrap_err().message;
    assert_eq!(message("a"), "expected `=` and the new name, found end of input");
    assert_eq!(message("a=b[0]"), "expected a column name, found a list element");
}

/// Decodes rows as raw JSON text, as for text outputs.
fn raw(rows: &[Value]) -> Batch {
    let text: String = rows.iter().map(|row| format!("{row}\n")).collect();
    let morsel = Morsel::from_vec(text.into_bytes(), 0, 0);
    let options = DecodeOptions {
        unknown_key: UnknownKey::SchemaMismatch,
        new_columns: ValueTypes::Raw,
        freeze: false,
        max_record_bytes: 1 << 20,
        max_cells: usize::MAX,
        record_spans: false,
        canonical_json: false,
    };
    let schema = Arc::new(ndjson::infer(&morsel, ValueTypes::Raw, 1 << 20));
    match ndjson::decode(&morsel, &schema, &options) {
        Outcome::Decoded(decoded) => decoded.batch,
        Outcome::SchemaMismatch(surprise) => panic!("{}", surprise.what),
    }
}

fn typed(rows: &[Value]) -> Batch {
    batch(rows, Arc::new(infer_schema(rows, TypeMerge::Json)))
}

fn kept(batch: &Batch, text: &str, type_merge: TypeMerge) -> (Vec<usize>, u64) {
    let mut predicate = Predicate::new(&parse(text).unwrap(), type_merge);
    let (rows, bad) = predicate.rows(batch, &RowContext::default()).unwrap();
    assert!(bad.is_empty(), "{bad:?}");
    (rows.set_indices().collect(), predicate.take_mismatches().iter().map(|(_, rows)| rows).sum())
}

#[track_caller]
fn check(rows: &[Value], text: &str, expected: &[usize], mismatches: u64) {
    assert_eq!(kept(&raw(rows), text, TypeMerge::Json), (expected.to_vec(), mismatches), "raw: {text}");
    assert_eq!(kept(&typed(rows), text, TypeMerge::Json), (expected.to_vec(), mismatches), "typed: {text}");
}

#[test]
fn comparisons_of_values() {
    let rows = [
        json!({"n": 1, "t": "a%b", "b": true, "o": {"city": "Oslo", "x": [1, {"y": 2}]}, "l": ["p", "q"]}),
        json!({"n": 2.5, "t": "O'Neil \"é\"", "b": false, "o": {"city": null}, "l": []}),
        json!({"n": null, "t": null, "b": null, "o": null, "l": null}),
        json!({}),
        json!({"n": -3, "t": "", "b": true, "o": {"city": "Bergen"}, "l": ["q"]}),
    ];
    for (text, expected) in [
        ("n > 1", &[1][..]),
        ("n >= 1.0", &[0, 1]),
        ("1 <= n", &[0, 1]),
        ("n <> 1", &[1, 4]),
        ("n == 25e-1", &[1]),
        ("not n > 1", &[0, 4]),
        ("not (n > 1 and b)", &[0, 1, 4]),
        ("n > 1 or b", &[0, 1, 4]),
        ("n is null", &[2, 3]),
        ("n is not null and not b", &[1]),
        ("b", &[0, 4]),
        ("b = false or n = 1", &[0, 1]),
        ("b != true", &[1]),
        ("b < true", &[1]),
        ("t = 'a%b'", &[0]),
        ("t = 'O''Neil \"é\"'", &[1]),
        ("t = ''", &[4]),
        ("t > 'O'", &[0, 1]),
        ("t like 'a\\%%'", &[0]),
        ("t like '%é_'", &[1]),
        ("t not like '%e%'", &[0, 4]),
        ("t ilike 'o%'", &[1]),
        ("t ~ '^[aO]'", &[0, 1]),
        ("t !~ 'b$'", &[1, 4]),
        ("n in (1, -3.0, 7)", &[0, 4]),
        ("n not in (1)", &[1, 4]),
        ("n not in (1, null)", &[]),
        ("n in (1, null)", &[0]),
        ("t in ('', 'a%b')", &[0, 4]),
        ("b in (false)", &[1]),
        ("n between 1 and 2.5", &[0, 1]),
        ("n not between 1 and 2.5", &[4]),
        ("o.city = 'Oslo'", &[0]),
        ("o.city is null", &[1, 2, 3]),
        ("o is null", &[2, 3]),
        ("o.x[1].y = 2", &[0]),
        ("o.x[0] = 1", &[0]),
        ("l[0] = 'p'", &[0]),
        ("l[1] is not null", &[0]),
        ("l[0] = l[0]", &[0, 4]),
        ("n = null", &[]),
        ("n != null", &[]),
        ("nothing is null", &[0, 1, 2, 3, 4]),
        ("1 = 1", &[0, 1, 2, 3, 4]),
        ("true and not false", &[0, 1, 2, 3, 4]),
        ("'a' = 'b' or null", &[]),
        ("n < n", &[]),
        ("(n) > (0)", &[0, 1]),
    ] {
        check(&rows, text, expected, 0);
    }
    // Incomparable kinds: neither true nor false, and counted.
    check(&rows, "t > 5", &[], 3);
    check(&rows, "not t > 5", &[], 3);
    check(&rows, "n = '1'", &[], 3);
    check(&rows, "n = t", &[], 3);
    check(&rows, "o = 'x' or n = 1", &[0], 3);
    check(&rows, "l ~ 'p'", &[], 3);
    check(&rows, "n in ('a')", &[], 3);
}

#[test]
fn numbers_are_compared_by_their_digits() {
    let rows: Vec<Value> = ["9007199254740993", "9007199254740992.0", "18446744073709551616", "0.1", "-0"]
        .iter()
        .map(|digits| serde_json::from_str(&format!("{{\"n\":{digits}}}")).unwrap())
        .collect();
    let raw = raw(&rows);
    for (text, expected) in [
        ("n > 9007199254740992", &[0, 2][..]),
        ("n = 9007199254740992", &[1]),
        ("n = 18446744073709551616", &[2]),
        ("n > 18446744073709551615.999999999999", &[2]),
        ("n = 0.1000", &[3]),
        ("n > 0.0999999999999999999999", &[0, 1, 2, 3]),
        ("n = 0", &[4]),
    ] {
        assert_eq!(kept(&raw, text, TypeMerge::Json), (expected.to_vec(), 0), "{text}");
    }
}

#[test]
fn csv_cells_take_the_kind_that_they_are_compared_with() {
    let cells = |values: &[Option<&str>]| {
        let schema = Schema::new(vec![Field::new("c", Type::Text)]);
        let rows: Vec<Value> = values.iter().map(|v| json!({ "c": v })).collect();
        batch(&rows, Arc::new(schema))
    };
    let batch = cells(&[Some("10"), Some("9.50"), Some("True"), Some("n/a"), None, Some("")]);
    for (text, expected, mismatches) in [
        ("c > 9", &[0, 1][..], 3),
        ("c = '10'", &[0], 0),
        ("c > '9'", &[1, 2, 3], 0),
        ("c = 9.5", &[1], 3),
        ("c", &[2], 4),
        ("c = 'true'", &[2], 0),
        ("c = ''", &[5], 0),
        ("c is null", &[4], 0),
        ("c like '%0'", &[0, 1], 0),
        ("c in (10, 'n/a')", &[0, 3], 0),
    ] {
        assert_eq!(kept(&batch, text, TypeMerge::Text), (expected.to_vec(), mismatches), "{text}");
    }
    // Typed columns give the same results as CSV cells.
    let rows = [json!({"n": 10, "f": 9.5, "b": true})];
    let typed = typed(&rows);
    for text in ["n = '10'", "f = '9.5'", "n > '1'", "b = 'True'", "b", "f like '9%'", "n = 10 and f < 10"] {
        assert_eq!(kept(&typed, text, TypeMerge::Text), (vec![0], 0), "{text}");
    }
}

/// Reference evaluator of three-valued logic over rows as JSON.
fn reference(node: &ExprNode, row: &Value) -> Option<bool> {
    match node {
        // A deciding node wins over all others; otherwise one unknown node makes the result unknown.
        ExprNode::And(nodes) | ExprNode::Or(nodes) => {
            let deciding = matches!(node, ExprNode::Or(_));
            let all: Vec<_> = nodes.iter().map(|n| reference(n, row)).collect();
            match all.contains(&Some(deciding)) {
                true => Some(deciding),
                false if all.contains(&None) => None,
                false => Some(!deciding),
            }
        }
        ExprNode::Not(node) => reference(node, row).map(|b| !b),
        ExprNode::Test(Test::IsNull(operand), _) => Some(value_of(operand, row).is_null()),
        ExprNode::Test(Test::Truth(operand), _) => value_of(operand, row).as_bool(),
        ExprNode::Test(Test::Compare(left, compare, right), _) => {
            Some(compare.holds(order(&value_of(left, row), &value_of(right, row))?))
        }
        ExprNode::Test(Test::In(operand, list), _) => {
            let value = value_of(operand, row);
            let one = |l: &Literal| Some(order(&value, &value_of(&Operand::Literal(l.clone()), row))?.is_eq());
            let all: Vec<_> = list.iter().map(one).collect();
            match all.contains(&Some(true)) {
                true => Some(true),
                false if list.contains(&Literal::Null) => None,
                // A mismatch with one kind does not count if another kind in the list compares.
                false => all.contains(&Some(false)).then_some(false),
            }
        }
        ExprNode::Test(Test::Matches(..), _) => unreachable!("not generated"),
    }
}

fn value_of(operand: &Operand, row: &Value) -> Value {
    match operand {
        Operand::Literal(Literal::Null) => Value::Null,
        Operand::Literal(Literal::Bool(b)) => json!(b),
        Operand::Literal(Literal::Number(n)) => serde_json::from_str(n.text()).unwrap(),
        Operand::Literal(Literal::Text(t)) => json!(**t),
        Operand::Column(path) => {
            let column = row.get(&*path.column).cloned();
            let found = path.segments.iter().fold(column, |value, segment| match segment {
                PathSegment::Key(key) => value?.get(&**key).cloned(),
                PathSegment::Index(index) => value?.get(index).cloned(),
            });
            found.unwrap_or(Value::Null)
        }
        Operand::Computed(_) => unreachable!("not generated"),
    }
}

fn order(a: &Value, b: &Value) -> Option<std::cmp::Ordering> {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::String(a), Value::String(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
        (Value::Number(a), Value::Number(b)) => match (a.to_string().parse::<i128>(), b.to_string().parse::<i128>()) {
            (Ok(a), Ok(b)) => Some(a.cmp(&b)),
            _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
        },
        _ => None,
    }
}

fn any_condition() -> impl Strategy<Value = String> {
    let column =
        prop::sample::select(vec!["a", "b", "\"c.d\"", "map", "a.a", "a.map", "b[0]", "a[1].b", "map.a", "b.b.a"]);
    let literal = prop_oneof![
        (-5i64..5).prop_map(|n| n.to_string()),
        (-40i32..40).prop_map(|n| (f64::from(n) / 8.0).to_string()),
        Just("true".to_owned()),
        Just("null".to_owned()),
        "[a-c\"\\\\\n]{0,2}".prop_map(|t| format!("'{}'", t.replace('\'', "''"))),
    ];
    let compare = prop::sample::select(vec!["=", "<>", "<", "<=", ">", ">="]);
    let leaf = prop_oneof![
        4 => (column.clone(), compare.clone(), literal.clone()).prop_map(|(c, o, l)| format!("{c} {o} {l}")),
        1 => (literal.clone(), compare.clone(), column.clone()).prop_map(|(l, o, c)| format!("{l} {o} {c}")),
        2 => (column.clone(), compare, column.clone()).prop_map(|(a, o, b)| format!("{a} {o} {b}")),
        1 => column.clone().prop_map(|c| format!("{c} is null")),
        1 => column.clone().prop_map(|c| format!("{c} is not null")),
        1 => column.clone().prop_map(str::to_owned),
        1 => (column.clone(), prop::collection::vec(literal.clone(), 1..4)).prop_map(|(c, l)| format!("{c} in ({})", l.join(", "))),
        1 => (column, literal.clone(), literal).prop_map(|(c, l, h)| format!("{c} not between {l} and {h}")),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) and ({b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) or ({b})")),
            inner.prop_map(|a| format!("not ({a})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn conditions_agree_with_the_reference(rows in any_rows(20), text in any_condition()) {
        let expr = parse(&text).unwrap();
        let expected: Vec<usize> = (0..rows.len()).filter(|&i| reference(&expr.node, &rows[i]) == Some(true)).collect();
        prop_assert_eq!(kept(&raw(&rows), &text, TypeMerge::Json).0, expected, "{}", text);
    }
}

/// Evaluates the right side of an assignment on `rows`: values as JSON, or the error message. Typed and raw batches
/// must agree.
#[track_caller]
fn evaluate(rows: &[Value], text: &str) -> Vec<Result<Value, String>> {
    let assignments = parse_assignments(&format!("x = {text}")).unwrap_or_else(|e| panic!("{text}: {e}"));
    let operand = &assignments[0].value;
    let evaluate = |batch: &Batch, ty: Type| -> Vec<Result<Value, String>> {
        let BuiltColumn { array, bad, .. } =
            ExprColumnBuilder::new(operand, &format!("x = {text}"), TypeMerge::Json, false)
                .column(batch, &ty, Readers::Steps, &RowContext::default())
                .unwrap();
        assert_eq!(array.data_type(), &ty.to_arrow(), "{text}");
        let values = crate::column::json_text::JsonValues::new(&array, &ty);
        (0..batch.rows)
            .map(|row| match bad.iter().find(|(bad, _)| *bad as usize == row) {
                Some((_, bad)) => Err(bad.to_string()),
                None => {
                    let mut out = Vec::new();
                    values.write(row, &mut out);
                    Ok(serde_json::from_slice(&out).unwrap())
                }
            })
            .collect()
    };
    let typed = typed(rows);
    let ty = type_of(operand, &typed.schema, TypeMerge::Json);
    let of_typed = evaluate(&typed, ty);
    let of_raw = evaluate(&raw(rows), Type::Raw);
    // 1.0 and 1 are equal; which one is written depends on the other values of the column.
    let same = |a: &Result<Value, String>, b: &Result<Value, String>| match (a, b) {
        (Ok(Value::Number(a)), Ok(Value::Number(b))) => a.as_f64() == b.as_f64(),
        (Ok(a), Ok(b)) => a == b || a.as_str() == Some(&b.to_string()),
        (a, b) => a == b,
    };
    assert!(of_typed.iter().zip(&of_raw).all(|(a, b)| same(a, b)), "{text}: {of_typed:?} typed, {of_raw:?} raw");
    of_raw
}

#[test]
fn values_are_computed() {
    let row = json!({
        "i": 7, "j": -2, "f": 2.5, "t": " Ünï-x ", "e": "a@b.com", "n": null, "b": true, "big": i64::MAX,
        "huge": 12345678901234567890123u128.to_string().parse::<serde_json::Number>().unwrap(),
        "o": {"k": [1, 2, 3]}, "d": "2024-02-29", "s": "12.50",
    });
    for (text, expected) in [
        ("i + j * 2", json!(3)),
        ("(i + j) * 2", json!(10)),
        ("i -1", json!(6)),
        ("i - -1", json!(8)),
        ("-i", json!(-7)),
        ("- (i - 10)", json!(3)),
        ("i / j", json!(-3.5)),
        ("i // j", json!(-4)),
        ("i % j", json!(-1)),
        ("-i // 2", json!(-4)),
        ("-i % 2", json!(1)),
        ("i + f", json!(9.5)),
        ("i + n", Value::Null),
        ("huge + 1", "12345678901234567890124".parse::<serde_json::Number>().unwrap().into()),
        ("round(2.675, 2)", json!(2.67)),
        ("round(f)", json!(2.0)),
        ("floor(f) + ceil(f)", json!(5.0)),
        ("abs(j)", json!(2)),
        ("upper(trim(t))", json!("ÜNÏ-X")),
        ("length(t)", json!(7)),
        ("length(o.k) + length(o)", json!(4)),
        ("o.k[1] + 1", json!(3)),
        ("substr(t, 2, 3)", json!("Ünï")),
        ("substr(t, -3)", json!("-x ")),
        ("split_part(e, '@', 2) || '/' || i", json!("b.com/7")),
        ("split_part(e, '@', 3)", Value::Null),
        ("split_part('a.b.c', '.', -1)", json!("c")),
        ("replace(e, 'b', 'bb')", json!("a@bb.com")),
        ("trim('xxaxx', 'x')", json!("a")),
        ("concat(n, 'a', i, b)", json!("a7true")),
        ("n || 'a'", Value::Null),
        ("coalesce(n, i, 1 / 0)", json!(7)),
        ("nullif(i, 7.0)", Value::Null),
        ("nullif(t, 'x')", json!(" Ünï-x ")),
        ("if(i > 5 and b, 'yes', 'no')", json!("yes")),
        ("if(n > 5, 'yes')", Value::Null),
        ("case when j = 0 then 0 when i / j < -3 then 1 end", json!(1)),
        ("case i when 6 then 'six' when 7 then 'seven' else 'many' end", json!("seven")),
        ("i > 5 or 1 / 0 > 1", json!(true)),
        ("not b", json!(false)),
        ("n is null", json!(true)),
        ("starts_with(e, 'a') and contains(e, '@') and not ends_with(e, '.org')", json!(true)),
        ("regexp_extract(e, '@(.+)\\.', 1)", json!("b")),
        ("regexp_extract(e, '#')", Value::Null),
        ("regexp_replace(e, '[ab]', '<$0>')", json!("<a>@<b>.com")),
        ("regexp_replace(e, '(?<at>@)b', '${1}_$at.$$1 $ ${')", json!("a@_@.$1 $ ${.com")),
        ("cast(s as float) * 2", json!(25.0)),
        ("cast(s as decimal(5,2)) = 12.5", json!(true)),
        ("cast(d as date) < '2024-03-01'", json!(true)),
        ("cast(i as string) || cast(b as string)", json!("7true")),
        ("length(cast('[1,2]' as json))", json!(2)),
        ("json_text(o)", json!("{\"k\":[1,2,3]}")),
    ] {
        assert_eq!(evaluate(std::slice::from_ref(&row), text), [Ok(expected)], "{text}");
    }
    for (text, message) in [
        ("big + 1", "integer overflow: the result does not fit in 64 bits"),
        ("big * big", "integer overflow: the result does not fit in 64 bits"),
        ("-big - 2", "integer overflow: the result does not fit in 64 bits"),
        ("i / 0", "division by zero"),
        ("i % 0", "division by zero"),
        ("f // 0.0", "division by zero"),
        ("1e308 * 10", "the result is too large for a double"),
        ("cast(t as int)", "cannot cast text to int"),
        ("cast(f as int)", "the number is not a 64-bit integer"),
        ("if(1 / 0 > 1, 1, 2)", "division by zero"),
        ("split_part(e, '', 1)", "the separator is empty"),
        ("lower(o.k[0])", "expected text, found a number"),
    ] {
        assert_eq!(evaluate(std::slice::from_ref(&row), text), [Err(message.to_owned())], "{text}");
    }
}

#[test]
fn errors_in_a_condition_count_only_where_they_decide() {
    let rows = [json!({"a": 6, "b": 0}), json!({"a": 6, "b": 2}), json!({"a": 6, "b": null})];
    let batch = typed(&rows);
    let filter = |text: &str| {
        let (yes, bad) =
            Predicate::new(&parse(text).unwrap(), TypeMerge::Json).rows(&batch, &RowContext::default()).unwrap();
        let bad: Vec<u32> = bad.iter().map(|(row, _)| *row).collect();
        (yes.set_indices().collect::<Vec<_>>(), bad)
    };
    assert_eq!(filter("a / b > 2"), (vec![1], vec![0]));
    assert_eq!(filter("b <> 0 and a / b > 2"), (vec![1], vec![]));
    assert_eq!(filter("b = 0 or a / b > 2"), (vec![0, 1], vec![]));
    assert_eq!(filter("not a / b > 2"), (vec![], vec![0]));
    assert_eq!(filter("b <> 0 and a / b > 2 or a = null"), (vec![1], vec![]), "the null decides");
    assert_eq!(filter("if(b = 0, 0, a / b) > 2"), (vec![1], vec![]));
    assert_eq!(filter("a / b in (3)"), (vec![1], vec![0]));
    assert_eq!(filter("a / b between b and a"), (vec![1], vec![0]));
}

proptest! {
    #[test]
    fn integer_arithmetic_is_exact_or_overflows(a in any::<i64>(), b in any::<i64>(), small in -9i64..10) {
        let row = json!({"a": a, "b": b, "s": small});
        let (wide_a, wide_b, wide_s) = (i128::from(a), i128::from(b), i128::from(small));
        let floor = |a: i128, b: i128| a.div_euclid(b) - i128::from(b < 0 && a.rem_euclid(b) != 0);
        for (text, exact) in [
            ("a + b", Some(wide_a + wide_b)),
            ("a - b", Some(wide_a - wide_b)),
            ("a * s", Some(wide_a * wide_s)),
            ("a // s", (small != 0).then(|| floor(wide_a, wide_s))),
            ("a % s", (small != 0).then(|| wide_a - wide_s * floor(wide_a, wide_s))),
        ] {
            let expected = exact.map(|exact| i64::try_from(exact).ok().map(|exact| json!(exact)));
            let found = evaluate(std::slice::from_ref(&row), text).remove(0);
            match expected {
                Some(Some(value)) => prop_assert_eq!(found, Ok(value), "{}", text),
                Some(None) => prop_assert_eq!(found, Err("integer overflow: the result does not fit in 64 bits".to_owned()), "{}", text),
                None => prop_assert_eq!(found, Err("division by zero".to_owned()), "{}", text),
            }
        }
    }
}
