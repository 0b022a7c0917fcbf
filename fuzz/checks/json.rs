//! JSON values as serde_json and simd-json read them, in a form that compares.

use drawoff::column::Type;
use serde_json::{Map, Value};
use simd_json::{Node, StaticNode};

/// Nesting above which drawoff rejects a record.
pub const MAX_DEPTH: usize = drawoff::format::ndjson::MAX_DEPTH;

/// Key of the object by which serde_json represents numbers of arbitrary precision. Records that contain it have no
/// oracle, and neither have those at [`MAX_DEPTH`], one level above the limit of serde_json.
const PRIVATE: &[u8] = b"$serde_json::private";

/// Parses one record with serde_json. The inner `None` means invalid JSON or no object, the outer one that serde_json
/// is no oracle for this record.
pub fn by_serde(record: &[u8]) -> Option<Option<Map<String, Value>>> {
    let depth = depth(record);
    if depth > MAX_DEPTH {
        return Some(None);
    }
    if depth == MAX_DEPTH || record.windows(PRIVATE.len()).any(|w| w == PRIVATE) {
        return None;
    }
    Some(serde_json::from_slice(record).ok())
}

/// Maximum nesting of brackets outside strings.
pub fn depth(record: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0, false, false);
    for &byte in record {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Compares the tape of simd-json for `record` with the result of serde_json. Skips records with a number beyond 64
/// bits or an integer `-0`, which simd-json lacks.
pub fn agrees_with_simd_json(record: &[u8], by_serde: Option<&Map<String, Value>>) {
    // simd-json does not limit the depth.
    if depth(record) >= MAX_DEPTH {
        return;
    }
    let mut scratch = record.to_vec();
    match (simd_json::to_tape(&mut scratch), by_serde) {
        (Ok(tape), Some(expected)) => {
            let (value, rest) = from_nodes(&tape.0);
            assert!(rest.is_empty());
            let expected = canonical(&Value::Object(expected.clone()));
            if !has_wide_number(record) {
                assert_eq!(canonical(&value), expected, "{}", String::from_utf8_lossy(record));
            }
        }
        (Ok(tape), None) => {
            // Valid JSON, but not an object.
            assert!(!matches!(tape.0.first(), Some(Node::Object { .. })), "{}", String::from_utf8_lossy(record));
        }
        (Err(_), Some(_)) => {
            assert!(has_wide_number(record), "{}", String::from_utf8_lossy(record));
        }
        (Err(_), None) => {}
    }
}

/// True if `record` may contain a number that 64 bits do not represent exactly, or `-0`.
fn has_wide_number(record: &[u8]) -> bool {
    let in_number = |b: u8| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-');
    record
        .split(|&b| !in_number(b))
        .any(|number| number.len() > 15 || number == b"-0" || number.iter().any(|b| matches!(b, b'e' | b'E')))
}

fn from_nodes<'a>(nodes: &'a [Node<'a>]) -> (Value, &'a [Node<'a>]) {
    let (first, mut rest) = nodes.split_first().expect("a tape has a value");
    let value = match first {
        Node::String(text) => Value::from(*text),
        Node::Static(StaticNode::Null) => Value::Null,
        Node::Static(StaticNode::Bool(b)) => Value::from(*b),
        Node::Static(StaticNode::I64(i)) => Value::from(*i),
        Node::Static(StaticNode::U64(u)) => Value::from(*u),
        Node::Static(StaticNode::F64(f)) => Value::from(*f),
        Node::Array { len, .. } => {
            let mut items = Vec::new();
            for _ in 0..*len {
                let (item, after) = from_nodes(rest);
                items.push(item);
                rest = after;
            }
            Value::Array(items)
        }
        Node::Object { len, .. } => {
            let mut members = Map::new();
            for _ in 0..*len {
                let (key, after) = from_nodes(rest);
                let (value, after) = from_nodes(after);
                members.insert(key.as_str().expect("keys are strings").to_owned(), value);
                rest = after;
            }
            Value::Object(members)
        }
    };
    (value, rest)
}

/// Replaces the numbers of `value` by texts that are equal exactly if the numbers are: integers by all their digits,
/// numbers with fraction or exponent by the nearest double, and those out of its range by their spelling.
pub fn canonical(value: &Value) -> Value {
    match value {
        Value::Number(number) => Value::from(format!("\u{0}{}", canonical_number(&number.to_string()))),
        Value::Array(items) => items.iter().map(canonical).collect(),
        Value::Object(members) => Value::Object(members.iter().map(|(k, v)| (k.clone(), canonical(v))).collect()),
        other => other.clone(),
    }
}

fn canonical_number(text: &str) -> String {
    if text == "-0" {
        return "-0.0".into();
    }
    if let Ok(integer) = text.parse::<i128>() {
        return integer.to_string();
    }
    match text.parse::<f64>() {
        Ok(double) if !double.is_finite() => text.to_ascii_lowercase().replace('+', ""),
        Ok(_) if text.bytes().all(|b| b.is_ascii_digit() || b == b'-') => text.to_owned(),
        Ok(double) if double == 0.0 => if double.is_sign_negative() { "-0.0" } else { "0" }.into(),
        Ok(double) if double.fract() == 0.0 && double.abs() < 1e38 => (double as i128).to_string(),
        Ok(double) => format!("{double:e}"),
        Err(_) => text.to_owned(),
    }
}

/// Converts `value` to its form in a column of type `ty`, up to [`canonical`]: absent keys of a struct become null, and
/// null members of JSON text are absent.
pub fn carried(value: Option<&Value>, ty: &Type) -> Value {
    match (value, ty) {
        (None | Some(Value::Null), _) => Value::Null,
        (Some(Value::Object(members)), Type::Struct(fields)) if !fields.is_empty() => {
            Value::Object(fields.iter().map(|f| (f.name.to_string(), carried(members.get(&*f.name), &f.ty))).collect())
        }
        (Some(Value::Object(members)), Type::Map(ty)) => {
            Value::Object(members.iter().map(|(k, v)| (k.clone(), carried(Some(v), ty))).collect())
        }
        (Some(Value::Array(items)), Type::List(ty)) => items.iter().map(|v| carried(Some(v), ty)).collect(),
        (Some(value), Type::Json) => without_nulls(value),
        (Some(value), _) => value.clone(),
    }
}

/// Returns `value` without the null members of its objects, as JSON columns have it.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        Value::Object(members) => {
            let present = members.iter().filter(|(_, value)| !value.is_null());
            Value::Object(present.map(|(key, value)| (key.clone(), without_nulls(value))).collect())
        }
        other => other.clone(),
    }
}
