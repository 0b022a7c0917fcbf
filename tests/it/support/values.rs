//! Drawn values with traps of types, text and nesting, and their comparison.

#![cfg_attr(
    not(any(feature = "postgres", feature = "sqlite")),
    allow(dead_code, reason = "the tests of tables draw values")
)]

use serde_json::{Value, json};

use super::plans::SeededRng;

/// Draws a value with lists and objects of at most this depth; its texts are random ones or among `texts`.
pub fn drawn(rng: &mut SeededRng, depth: u32, texts: &[&str]) -> Value {
    let n = (rng.fraction() * if depth == 0 { 9.0 } else { 11.0 }) as u32;
    match n {
        0 => Value::Null,
        1 => json!(rng.fraction() < 0.5),
        2 => json!((rng.fraction() * 2e18) as i64 - 1_000_000_000_000_000_000),
        3 => json!((rng.fraction() * 200.0) as i64 - 100),
        4 => json!(rng.fraction() * 1e6 - 5e5),
        5 => json!(f64::from_bits((rng.fraction() * 1e19) as u64 & !(1 << 62))),
        6 => json!(texts[(rng.fraction() * texts.len() as f64) as usize]),
        7 => json!("x".repeat((rng.fraction() * 300.0) as usize)),
        8 => json!(rng.fraction().to_string()),
        9 => Value::Array((0..(rng.fraction() * 4.0) as usize).map(|_| drawn(rng, depth - 1, texts)).collect()),
        _ => Value::Object(
            (0..(rng.fraction() * 4.0) as usize).map(|i| (format!("k{i}"), drawn(rng, depth - 1, texts))).collect(),
        ),
    }
}

/// Returns true if both are the same value: numbers by value.
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            let are_integers = a.as_i64().is_some() && b.as_i64().is_some();
            a == b || a.as_f64() == b.as_f64() && (!are_integers || a.as_i64() == b.as_i64())
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}
