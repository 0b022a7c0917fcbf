//! Columns of existing tables: their affinity, the types of rows that fit, and the value that is stored for a value of a row.
//! Pure.
//!
//! A column of numeric affinity turns text into a number where it looks like one: `007` would become 7, and digits beyond
//! a double would be lost. No such text is handed to it.

use rusqlite::types::ValueRef;

use super::values::{Form, convert, put_float, put_int, put_text, put_text_with};
use crate::column::json_text::write_json_string;
use crate::column::number::{parse_float, parse_int, write_float};
use crate::column::{Fixed, Type};
use crate::warehouse::cells::{Cell, MORE_DIGITS, NO_NUMBER, Reason, is_not_zero, whole_double};

/// The affinity of a column, and the use that its declared type names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Integer affinity.
    Integer {
        /// True if the column takes nothing else: of a STRICT table, or the row's number.
        only: bool,
    },
    Real,
    Text,
    /// Text of values of several types, as the chunks before of this load have it: JSON.
    Mixed,
    Numeric(Use),
    /// No affinity: values are stored as they are.
    Any,
}

/// The use of a column of numeric affinity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Number,
    Bool,
    Json,
    /// Dates, times and others, such as UUID: text that does not look like a number, or numbers.
    Other,
}

impl Kind {
    /// Returns the kind of a column by its declared type; `None` if it takes nothing that rows have.
    pub(super) fn of(declared: &str, is_strict: bool, is_row_id: bool) -> Option<Self> {
        let declared = declared.to_ascii_uppercase();
        if is_row_id {
            return Some(Kind::Integer { only: true });
        }
        if is_strict {
            return match declared.as_str() {
                "INT" | "INTEGER" => Some(Kind::Integer { only: true }),
                "REAL" => Some(Kind::Real),
                "TEXT" => Some(Kind::Text),
                "ANY" => Some(Kind::Any),
                _ => None,
            };
        }
        let has = |words: &[&str]| words.iter().any(|word| declared.contains(word));
        // The order is SQLite's.
        Some(if has(&["INT"]) {
            Kind::Integer { only: false }
        } else if has(&["CHAR", "CLOB", "TEXT"]) {
            Kind::Text
        } else if declared.is_empty() || has(&["BLOB"]) {
            Kind::Any
        } else if has(&["REAL", "FLOA", "DOUB"]) {
            Kind::Real
        } else if has(&["BOOL"]) {
            Kind::Numeric(Use::Bool)
        } else if has(&["JSON"]) {
            Kind::Numeric(Use::Json)
        } else if has(&["NUM", "DEC", "MONEY"]) {
            Kind::Numeric(Use::Number)
        } else {
            Kind::Numeric(Use::Other)
        })
    }

    /// Returns true if some values of `ty` can be stored in the column.
    pub(super) fn fits(self, ty: &Type) -> bool {
        use Use::*;
        match (ty, self) {
            (Type::Null, _) | (_, Kind::Text | Kind::Mixed | Kind::Any) => true,
            (Type::Bool, kind) => kind != Kind::Real,
            (
                Type::Int { .. } | Type::Decimal | Type::Float | Type::Number(_) | Type::Fixed(Fixed::Decimal { .. }),
                _,
            ) => true,
            // Decided value by value: a few cells that are no numbers make a column text.
            (Type::Text | Type::Json | Type::Raw, _) => true,
            (_, kind) => matches!(kind, Kind::Numeric(Json | Other)),
        }
    }

    /// Stores a value, for what it is by itself.
    pub(super) fn put(self, cell: Cell<'_>, out: &mut Vec<u8>) -> Result<(), Reason> {
        match (self, cell) {
            (Kind::Text, cell) => put_text(cell.into_text()?.as_bytes(), out),
            (Kind::Real, Cell::Bool(_)) => return Err(NO_NUMBER.into()),
            (Kind::Mixed | Kind::Numeric(Use::Json), Cell::Bool(value)) => {
                put_text(if value { b"true" } else { b"false" }, out);
            }
            (_, Cell::Bool(value)) => put_int(value.into(), out),
            (kind, Cell::Int(value)) => return kind.put_int(value, out),
            (Kind::Mixed | Kind::Any, Cell::Big(digits) | Cell::Decimal(digits)) => put_text(digits.as_bytes(), out),
            (Kind::Real, cell @ (Cell::Big(_) | Cell::Decimal(_))) => put_float(cell.double(DOUBLE_DIGITS)?, out),
            (_, Cell::Big(_) | Cell::Decimal(_)) => return Err(MORE_DIGITS.into()),
            (kind, Cell::Float { value, text }) => return kind.put_number(value, text, out),
            (kind, Cell::Text(text)) => return kind.put_text(&text, out),
            (Kind::Any | Kind::Mixed | Kind::Numeric(Use::Json | Use::Other), Cell::Nested(json)) => {
                put_text(&json, out)
            }
            (_, Cell::Nested(_)) => return Err(NO_NUMBER.into()),
            (kind, cell @ (Cell::Date(_) | Cell::Time { .. })) => return kind.put_text(&cell.into_text()?, out),
        }
        Ok(())
    }

    #[inline]
    pub(super) fn put_int(self, value: i64, out: &mut Vec<u8>) -> Result<(), Reason> {
        match self {
            Kind::Real => match Cell::Int(value).double(DOUBLE_DIGITS) {
                Ok(value) => put_float(value, out),
                Err(_) => return Err("the number has more digits than the column's type, REAL".into()),
            },
            Kind::Text | Kind::Mixed => put_text(itoa::Buffer::new().format(value).as_bytes(), out),
            _ => put_int(value, out),
        }
        Ok(())
    }

    /// Stores a number with a fraction or an exponent; `text` is its spelling, if it has one.
    fn put_number(self, value: f64, text: Option<&str>, out: &mut Vec<u8>) -> Result<(), Reason> {
        if value == 0.0 && text.is_some_and(is_not_zero) {
            return Err(MORE_DIGITS.into());
        }
        match (self, Cell::Float { value, text }.whole()) {
            // The integer that it is, with all of its digits.
            (Kind::Integer { .. }, Some(value)) => put_int(value, out),
            _ => return self.put_float(value, out),
        }
        Ok(())
    }

    #[inline]
    pub(super) fn put_float(self, value: f64, out: &mut Vec<u8>) -> Result<(), Reason> {
        match self {
            Kind::Text => put_text_with(out, |out| write_float(value, out)),
            _ if value.is_nan() => return Err(NO_NAN.into()),
            // As the rows of before are converted to JSON text.
            Kind::Mixed => {
                let mut scratch = Vec::new();
                if let ValueRef::Text(text) = convert(ValueRef::Real(value), Form::Float, Form::Json, &mut scratch) {
                    put_text(text, out);
                }
            }
            Kind::Integer { only: true } => match whole_double(value) {
                Some(value) => put_int(value, out),
                None if value.fract() == 0.0 => return Err("the number is beyond 64 bits".into()),
                None => return Err("the number is not an integer".into()),
            },
            _ => put_float(value, out),
        }
        Ok(())
    }

    /// Stores the number that `text` spells in a column of numbers; `other` is the reason if it spells none.
    fn put_spelled(self, text: &str, other: &'static str, out: &mut Vec<u8>) -> Result<(), Reason> {
        if let Some(value) = parse_int(text.as_bytes()) {
            return self.put_int(value, out);
        }
        match parse_float(text.as_bytes()) {
            Some(value) => self.put_number(value, Some(text), out),
            None => Err(other.into()),
        }
    }

    pub(super) fn put_text(self, text: &str, out: &mut Vec<u8>) -> Result<(), Reason> {
        match self {
            Kind::Text | Kind::Any => put_text(text.as_bytes(), out),
            Kind::Integer { .. } => return self.put_spelled(text, "the value is not an integer", out),
            Kind::Numeric(Use::Bool) if matches!(text, "true" | "True" | "TRUE") => put_int(1, out),
            Kind::Numeric(Use::Bool) if matches!(text, "false" | "False" | "FALSE") => put_int(0, out),
            Kind::Numeric(Use::Bool) => return self.put_spelled(text, "the value is not a boolean", out),
            Kind::Real | Kind::Numeric(Use::Number) => return self.put_spelled(text, NO_NUMBER, out),
            Kind::Mixed | Kind::Numeric(Use::Json) => put_text_with(out, |out| write_json_string(text, out)),
            Kind::Numeric(Use::Other) if looks_like_number(text) => {
                return Err("the text looks like a number, and the affinity of the column would make one of it".into());
            }
            Kind::Numeric(Use::Other) => put_text(text.as_bytes(), out),
        }
        Ok(())
    }
}

/// The most digits of a decimal that becomes a double.
const DOUBLE_DIGITS: usize = 15;

/// The reason for NaN, which SQLite would store as NULL.
pub(super) const NO_NAN: &str = "the number is NaN, which SQLite cannot store";

/// Returns true if a column of numeric affinity would take `text` for a number: digits with a sign, a point, an exponent, and
/// space around them.
fn looks_like_number(text: &str) -> bool {
    // SQLite looks no further than U+0000.
    let text = text.split('\0').next().unwrap_or_default();
    let text = text.trim_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']).as_bytes();
    let skip = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let text = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    let whole = skip(text);
    let (mut rest, mut digits) = (&text[whole..], whole);
    if let Some(fraction) = rest.strip_prefix(b".") {
        let n = skip(fraction);
        digits += n;
        rest = &fraction[n..];
    }
    if digits == 0 {
        return false;
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let exponent = exponent.strip_prefix(b"-").or_else(|| exponent.strip_prefix(b"+")).unwrap_or(exponent);
        let n = skip(exponent);
        return n > 0 && n == exponent.len();
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;
    use rusqlite::types::Value;

    use super::super::values::ValueReader;
    use super::*;

    const DECLARED: [&str; 18] = [
        "INTEGER",
        "BIGINT",
        "REAL",
        "DOUBLE PRECISION",
        "FLOAT",
        "TEXT",
        "VARCHAR(3)",
        "NUMERIC",
        "DECIMAL(10,2)",
        "BOOLEAN",
        "DATE",
        "DATETIME",
        "TIMESTAMP",
        "JSON",
        "UUID",
        "STRING",
        "BLOB",
        "",
    ];

    const TEXTS: [&str; 36] = [
        "",
        "a",
        "12",
        "007",
        "+5",
        " 5",
        "5 ",
        "5\n",
        "-0",
        "0",
        "1.50",
        "1.",
        ".5",
        "1e3",
        "1e",
        "1e400",
        "-1e-400",
        "0x10",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "123456789012345678901234567890",
        "0.1234567890123456789",
        "inf",
        "nan",
        "Infinity",
        "2026-01-31",
        "12:00",
        "true",
        "1_000",
        "٣",
        "5\0",
        "5\0a",
        "\u{0}5",
        "- 5",
        "1.0",
    ];

    /// Whatever text is stored in a column of any declared type, it is read as the same text, or as the number that it spells.
    #[test]
    fn no_affinity_changes_a_value() {
        let db = Connection::open_in_memory().unwrap();
        let mut stored = 0;
        for declared in DECLARED {
            db.execute_batch(&format!("DROP TABLE IF EXISTS t; CREATE TABLE t (c {declared})")).unwrap();
            let kind = Kind::of(declared, false, false).unwrap();
            let round = |bytes: &[u8]| {
                let value = ValueReader(bytes).next_value().unwrap();
                db.execute("DELETE FROM t", []).unwrap();
                db.execute("INSERT INTO t VALUES (?)", [Value::try_from(value).unwrap()]).unwrap();
                let read: Value = db.query_row("SELECT c FROM t", [], |row| row.get(0)).unwrap();
                (Value::try_from(value).unwrap(), read)
            };
            let is_equal = |a: &Value, b: &Value| match (a, b) {
                (Value::Real(a), Value::Integer(b)) => *a == *b as f64 && *a as i64 == *b,
                (Value::Integer(a), Value::Real(b)) => *b == *a as f64 && *b as i64 == *a,
                (a, b) => a == b,
            };
            for text in TEXTS {
                let mut bytes = Vec::new();
                if kind.put_text(text, &mut bytes).is_ok() {
                    let (put, read) = round(&bytes);
                    assert!(is_equal(&put, &read), "{declared}: {text:?}: {put:?} became {read:?}");
                    stored += 1;
                }
            }
            for value in
                [0.0, -0.0, 0.1, 1e300, 1e18, 9.3e18, -1e15, 5e-324, f64::INFINITY, f64::NEG_INFINITY, f64::MAX]
            {
                let mut bytes = Vec::new();
                if kind.put_float(value, &mut bytes).is_ok() {
                    let (put, read) = round(&bytes);
                    assert!(is_equal(&put, &read), "{declared}: {value:?}: {put:?} became {read:?}");
                    stored += 1;
                }
            }
            for value in [0, 1, -1, i64::MAX, i64::MIN, (1 << 53) + 1] {
                let mut bytes = Vec::new();
                if kind.put_int(value, &mut bytes).is_ok() {
                    let (put, read) = round(&bytes);
                    assert!(is_equal(&put, &read), "{declared}: {value}: {put:?} became {read:?}");
                    stored += 1;
                }
            }
            for json in ["12", "\"12\"", "1.50", "true", "{\"a\":1}", "[]", "123456789012345678901234567890", "\"a\""] {
                let mut bytes = Vec::new();
                if kind.put(Cell::of_json(json).unwrap(), &mut bytes).is_ok() {
                    let (put, read) = round(&bytes);
                    assert!(is_equal(&put, &read), "{declared}: {json}: {put:?} became {read:?}");
                    stored += 1;
                }
            }
        }
        assert!(stored > 300, "{stored}");
    }

    /// Our idea of a number is SQLite's.
    #[test]
    fn text_that_looks_like_a_number_is_known() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch("CREATE TABLE t (c NUMERIC)").unwrap();
        for text in TEXTS {
            db.execute("DELETE FROM t", []).unwrap();
            db.execute("INSERT INTO t VALUES (?)", [text]).unwrap();
            let kept: String = db.query_row("SELECT typeof(c) FROM t", [], |row| row.get(0)).unwrap();
            // Too careful at most with U+0000.
            let is_known = looks_like_number(text) == (kept != "text") || text.contains('\0') && kept == "text";
            assert!(is_known, "{text:?} became {kept}");
        }
    }

    #[test]
    fn values_become_what_the_column_declares_or_a_reason() {
        let put = |text: &str, kind: Kind| {
            let mut bytes = Vec::new();
            kind.put_text(text, &mut bytes)?;
            Ok::<_, Reason>(Value::try_from(ValueReader(&bytes).next_value().unwrap()).unwrap())
        };
        let integer = Kind::Integer { only: false };
        assert_eq!(put("12", integer), Ok(Value::Integer(12)));
        assert!(put("007", integer).unwrap_err().contains("not an integer"));
        assert!(put("abc", integer).is_err() && put("1.5", Kind::Integer { only: true }).is_err());
        assert_eq!(put("1.5", integer), Ok(Value::Real(1.5)), "SQLite keeps it");
        assert_eq!(put("true", Kind::Numeric(Use::Bool)), Ok(Value::Integer(1)));
        assert_eq!(put("2026-01-31", Kind::Numeric(Use::Other)), Ok(Value::Text("2026-01-31".into())));
        assert!(put("2026", Kind::Numeric(Use::Other)).is_err());
        assert_eq!(put("a", Kind::Numeric(Use::Json)), Ok(Value::Text("\"a\"".into())));
        let mut bytes = Vec::new();
        assert!(Kind::Real.put_float(f64::NAN, &mut bytes).is_err());
        Kind::Text.put_float(f64::NAN, &mut bytes).unwrap();
        assert_eq!(ValueReader(&bytes).next_value().unwrap(), ValueRef::Text(b"nan"));
        assert_eq!(Kind::of("BLOB", true, false), None);
        assert_eq!(Kind::of("CHARINT", false, false), Some(integer), "the order of SQLite's rules");
    }
}
