//! Records to measure on, from a seed: the same bytes at every run and on every machine.
//!
//! `wide` has the shape of enrichment results: 18 keys, some absent or null, a struct, lists of
//! text and of structs, free text with escapes and characters outside ASCII; about 800 bytes a
//! record. `narrow` has five scalars in 90 bytes.

use std::fmt::Write;

/// Numbers from a seed: a 64-bit linear congruence, of which the upper half is good enough here.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) * n) >> 31
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }

    /// Of a hundred.
    fn percent(&mut self, yes: u64) -> bool {
        self.below(100) < yes
    }

    fn word(&mut self, out: &mut String) {
        for _ in 0..=self.below(3) {
            out.push_str(self.pick(&SYLLABLES));
        }
    }
}

const SYLLABLES: [&str; 16] =
    ["ta", "ver", "lo", "nim", "gra", "sol", "pe", "kur", "bran", "mi", "dol", "fen", "ost", "ri", "quo", "zem"];
const INDUSTRIES: [&str; 8] =
    ["Software", "Logistics", "Énergie", "Bildung", "Retail & Wholesale", "Food \"to go\"", "Biotech", "Mining"];
const CITIES: [&str; 8] = ["Malmö", "Leeds", "Tōkyō", "Recife", "Kraków", "Austin", "Nairobi", "Perth"];
const COUNTRIES: [&str; 8] = ["SE", "GB", "JP", "BR", "PL", "US", "KE", "AU"];
const TITLES: [&str; 6] = ["Founder", "CFO", "Head of Sales", "VP, \"Platform\"", "Engineer", "Buyer"];
const SPICE: [&str; 7] = [" naïve", "\n", " \"so to speak\"", " 🚀", "\t", " — ", ", "];
const KINDS: [&str; 6] = ["view", "signup", "purchase", "refund", "open", "call"];

/// A value of a record.
enum Value {
    Absent,
    Null,
    /// Its JSON text: a number, a truth value, a list, an object.
    Json(String),
    Text(String),
}

fn json_text(text: &str, ascii: bool, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if ascii && !c.is_ascii() => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}").unwrap();
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

fn list(items: impl IntoIterator<Item = String>) -> Value {
    Value::Json(format!("[{}]", items.into_iter().collect::<Vec<_>>().join(",")))
}

fn quoted(text: &str, ascii: bool) -> String {
    let mut out = String::new();
    json_text(text, ascii, &mut out);
    out
}

/// One wide record. One in four has everything outside ASCII escaped, as many APIs do.
fn wide(numbers: &mut Numbers, index: u64) -> Vec<(&'static str, Value)> {
    let ascii = index % 4 == 3;
    let n = numbers;
    let mut name = String::new();
    n.word(&mut name);
    name.push(' ');
    n.word(&mut name);
    let host = format!("{}{}.example", name.replace(' ', "-"), index % 9973);
    let place = n.below(8) as usize;
    let contacts: Vec<String> = (0..n.below(4))
        .map(|_| {
            let mut who = String::new();
            n.word(&mut who);
            let email = if n.percent(20) { "null".to_owned() } else { format!("\"{who}@{host}\"") };
            let title = quoted(n.pick(&TITLES), ascii);
            let name = quoted(&format!("{who} Nováková"), ascii);
            format!(r#"{{"name":{name},"title":{title},"email":{email},"confidence":0.{:03}}}"#, n.below(1000))
        })
        .collect();
    let mut notes = String::new();
    // The square makes long ones rare.
    let limit = (n.below(600) * n.below(600) / 600) as usize;
    while notes.len() < limit {
        n.word(&mut notes);
        notes.push_str(if n.percent(6) { n.pick(&SPICE) } else { " " });
    }
    let hq = format!(
        r#"{{"city":{},"country":"{}","lat":{}.{:05},"lon":-{}.{:05}}}"#,
        quoted(CITIES[place], ascii),
        COUNTRIES[place],
        30 + place,
        n.below(100_000),
        10 + place,
        n.below(100_000)
    );
    let or_null = |null: bool, value: Value| if null { Value::Null } else { value };
    let or_absent = |absent: bool, value: Value| if absent { Value::Absent } else { value };
    let number = |text: String| Value::Json(text);
    vec![
        ("company_name", Value::Text(format!("{name} GmbH"))),
        ("website", Value::Text(format!("https://www.{host}/"))),
        ("domain", Value::Text(host.clone())),
        ("industry", Value::Text(n.pick(&INDUSTRIES).to_owned())),
        ("employee_count", number((10 + n.below(300) * n.below(300)).to_string())),
        ("revenue_usd", or_null(n.percent(30), number(format!("{}.{:02}", n.below(1 << 30), n.below(100))))),
        ("is_public", number(n.percent(12).to_string())),
        ("founded_year", number((1890 + n.below(136)).to_string())),
        ("hq", or_null(n.percent(2), Value::Json(hq))),
        ("emails", list((0..n.below(4)).map(|i| format!("\"{}@{host}\"", ["info", "jobs", "sales"][i as usize])))),
        ("contacts", list(contacts)),
        ("phone", or_absent(n.percent(15), Value::Text(format!("+{} {:09}", n.below(99), n.below(1 << 29))))),
        ("growth", number(format!("{}.{}", n.below(300), n.below(100)))),
        ("parent", or_null(n.percent(40), Value::Text(format!("{name} Holding")))),
        ("notes", or_absent(n.percent(10), Value::Text(notes))),
        (
            "sources",
            list((0..=n.below(4)).map(|_| format!("\"https://registry.example/companies/{:08x}\"", n.below(1 << 31)))),
        ),
        ("score", number(format!("0.{:04}", n.below(10_000)))),
        (
            "enriched_at",
            Value::Text(format!("2026-06-{:02}T{:02}:{:02}:00.000Z", 1 + n.below(30), n.below(24), n.below(60))),
        ),
    ]
}

fn narrow(numbers: &mut Numbers, index: u64) -> Vec<(&'static str, Value)> {
    let n = numbers;
    let (minute, second) = (index / 60 % 60, index % 60);
    vec![
        ("id", Value::Json((100_000_000 + index).to_string())),
        ("ts", Value::Text(format!("2026-06-01T00:{minute:02}:{second:02}.{:03}Z", n.below(1000)))),
        ("kind", Value::Text(n.pick(&KINDS).to_owned())),
        ("amount", Value::Json(format!("{}.{:02}", n.below(1000), n.below(100)))),
        ("ok", Value::Json(n.percent(97).to_string())),
    ]
}

fn ndjson_line(record: &[(&str, Value)], ascii: bool, out: &mut String) {
    let mut before = '{';
    for (key, value) in record {
        if matches!(value, Value::Absent) {
            continue;
        }
        write!(out, "{before}\"{key}\":").unwrap();
        before = ',';
        match value {
            Value::Text(text) => json_text(text, ascii, out),
            Value::Json(json) => out.push_str(json),
            Value::Null | Value::Absent => out.push_str("null"),
        }
    }
    out.push_str("}\n");
}

fn csv_line(record: &[(&str, Value)], out: &mut String) {
    for (i, (_, value)) in record.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        match value {
            Value::Null | Value::Absent => {}
            Value::Text(text) | Value::Json(text) if text.is_empty() || text.contains(['"', ',', '\n']) => {
                write!(out, "\"{}\"", text.replace('"', "\"\"")).unwrap();
            }
            Value::Text(text) | Value::Json(text) => out.push_str(text),
        }
    }
    out.push('\n');
}

/// What is measured on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Results of enrichment.
    Wide,
    /// Events of five scalars.
    #[allow(dead_code, reason = "not every bench has use for it")]
    Narrow,
}

/// Records of a shape, as many as make about `bytes` of NDJSON.
pub fn ndjson(shape: Shape, bytes: usize) -> Vec<u8> {
    let mut numbers = Numbers(1);
    let mut out = String::with_capacity(bytes + 4096);
    for index in 0.. {
        if out.len() >= bytes {
            break;
        }
        let record = make(shape, &mut numbers, index);
        ndjson_line(&record, shape == Shape::Wide && index % 4 == 3, &mut out);
    }
    out.into_bytes()
}

/// Wide records as CSV with a header, nested values as JSON in a cell; about `bytes` in all.
#[allow(dead_code, reason = "not every bench has use for it")]
pub fn csv(bytes: usize) -> Vec<u8> {
    let mut numbers = Numbers(1);
    let mut out = String::with_capacity(bytes + 4096);
    for index in 0.. {
        if out.len() >= bytes {
            break;
        }
        let record = wide(&mut numbers, index);
        if index == 0 {
            let names: Vec<&str> = record.iter().map(|(key, _)| *key).collect();
            out.push_str(&names.join(","));
            out.push('\n');
        }
        csv_line(&record, &mut out);
    }
    out.into_bytes()
}

fn make(shape: Shape, numbers: &mut Numbers, index: u64) -> Vec<(&'static str, Value)> {
    match shape {
        Shape::Wide => wide(numbers, index),
        Shape::Narrow => narrow(numbers, index),
    }
}
