//! The statistics of a data file in its action: rows, nulls and bounds, from the footer that was just written. Readers skip
//! files by them, so that a bound which is not certain is left out.

use serde_json::{Map, Number, Value, json};

use super::snapshot::Snapshot;
use crate::column::{Field, Fixed, Schema, Type, Unit};
use crate::format::parquet::{Bound, LeafFacts};
use crate::warehouse::DataFile;

/// Leaf columns that have statistics, if the table does not say how many.
const DEFAULT_COLUMNS: i64 = 32;

/// Characters of a text that are kept of a bound, as other writers do.
const MAX_CHARACTERS: usize = 32;

/// The columns of a table that have statistics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Indexed {
    /// The first leaves; all of them for a negative number.
    First(i64),
    /// These, by their names with dots between.
    Named(Vec<String>),
}

impl Indexed {
    /// Reads the properties of a table.
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        if let Some(names) = snapshot.property("delta.dataSkippingStatsColumns") {
            return Indexed::Named(names.split(',').map(|name| name.trim().trim_matches('`').to_owned()).collect());
        }
        let first = snapshot.property("delta.dataSkippingNumIndexedCols").and_then(|text| text.trim().parse().ok());
        Indexed::First(first.unwrap_or(DEFAULT_COLUMNS))
    }

    /// Returns true if the leaf `path`, the `n`th from 0, has statistics.
    fn has(&self, path: &[&str], n: usize) -> bool {
        match self {
            Indexed::First(first) => usize::try_from(*first).map_or(true, |first| n < first),
            Indexed::Named(names) => {
                let path = path.join(".");
                names
                    .iter()
                    .any(|name| path == *name || path.strip_prefix(name.as_str()).is_some_and(|p| p.starts_with('.')))
            }
        }
    }
}

/// Returns the statistics of a file with these columns as JSON text. `columns` are those of the table that the file
/// contains, in its order.
pub(super) fn statistics(file: &DataFile, columns: &Schema, indexed: &Indexed) -> String {
    let mut of = Statistics { file, indexed, leaves: 0 };
    let (mut low, mut high, mut nulls) = (Map::new(), Map::new(), Map::new());
    of.collect(&columns.fields, &mut Vec::new(), (&mut low, &mut high, &mut nulls));
    json!({"numRecords": file.rows, "minValues": low, "maxValues": high, "nullCount": nulls}).to_string()
}

struct Statistics<'a> {
    file: &'a DataFile,
    indexed: &'a Indexed,
    /// Leaves so far.
    leaves: usize,
}

type Members<'a> = (&'a mut Map<String, Value>, &'a mut Map<String, Value>, &'a mut Map<String, Value>);

impl Statistics<'_> {
    fn collect<'f>(&mut self, fields: &'f [Field], path: &mut Vec<&'f str>, (low, high, nulls): Members<'_>) {
        for field in fields {
            path.push(&field.name);
            match &field.ty {
                Type::Struct(inner) if !inner.is_empty() => {
                    let (mut l, mut h, mut n) = (Map::new(), Map::new(), Map::new());
                    self.collect(inner, path, (&mut l, &mut h, &mut n));
                    for (into, members) in [(&mut *low, l), (&mut *high, h), (&mut *nulls, n)] {
                        if !members.is_empty() {
                            into.insert(field.name.to_string(), Value::Object(members));
                        }
                    }
                }
                // The footer counts the nulls of their elements.
                Type::List(_) | Type::Map(_) => self.leaves += 1,
                ty => {
                    let leaf = leaf_of(self.file, path).filter(|_| self.indexed.has(path, self.leaves));
                    self.leaves += 1;
                    if let Some(leaf) = leaf {
                        let name = field.name.to_string();
                        if let Some(count) = leaf.nulls {
                            nulls.insert(name.clone(), count.into());
                        }
                        let bounds = leaf.bounds.as_ref();
                        low.extend(bounds.and_then(|(bound, _)| Some((name.clone(), value(bound, ty, false)?))));
                        high.extend(bounds.and_then(|(_, bound)| Some((name, value(bound, ty, true)?))));
                    }
                }
            }
            path.pop();
        }
    }
}

/// Returns the facts of the leaf with this path.
fn leaf_of<'a>(file: &'a DataFile, path: &[&str]) -> Option<&'a LeafFacts> {
    file.facts.leaves.iter().find(|leaf| leaf.path.iter().map(String::as_str).eq(path.iter().copied()))
}

/// Returns a bound as JSON; `None` if it cannot be said.
fn value(bound: &Bound, ty: &Type, is_upper: bool) -> Option<Value> {
    let text = |fixed: Fixed, value: i128| {
        let mut text = Vec::new();
        fixed.write(value, &mut text);
        String::from_utf8(text).ok()
    };
    Some(match (bound, ty) {
        // Readers that find no bounds of a column find no rows in a filter of it.
        (Bound::Bool(value), Type::Bool) => (*value).into(),
        (Bound::Int(value), Type::Int { .. }) => (*value).into(),
        (Bound::Double(value), Type::Float) => Value::Number(Number::from_f64(*value)?),
        (Bound::Decimal(value), Type::Decimal) => Value::Number(value.to_string().parse().ok()?),
        (Bound::Decimal(value), Type::Fixed(fixed @ Fixed::Decimal { .. })) => {
            Value::Number(text(*fixed, *value)?.parse().ok()?)
        }
        (Bound::Int(value), Type::Fixed(Fixed::Date)) => text(Fixed::Date, (*value).into())?.into(),
        (Bound::Int(value), Type::Fixed(Fixed::Timestamp { unit, local })) => {
            let micros = match unit {
                Unit::Millis => value.checked_mul(1000)?,
                Unit::Micros => *value,
                Unit::Nanos => return None,
            };
            let time = chrono::DateTime::from_timestamp_micros(micros)?;
            let zone = if *local { "" } else { "Z" };
            format!("{}{zone}", time.format("%Y-%m-%dT%H:%M:%S%.6f")).into()
        }
        (Bound::Text(bytes), ty) if ty.is_text_like() => {
            let text = std::str::from_utf8(bytes).ok()?;
            match text.char_indices().nth(MAX_CHARACTERS) {
                None => text.into(),
                Some((end, _)) if !is_upper => text[..end].into(),
                // No text that begins with the kept characters is greater, but for one that has this one there.
                Some((_, char::MAX)) => text.into(),
                Some((end, _)) => format!("{}{}", &text[..end], char::MAX).into(),
            }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::parquet::FileFacts;

    #[test]
    fn bounds_are_written_as_readers_compare_them() {
        let ts = |local| Type::Fixed(Fixed::Timestamp { unit: Unit::Micros, local });
        let of = |bound: Bound, ty: Type, is_upper| value(&bound, &ty, is_upper).map(|value| value.to_string());
        let text = |text: &str| Bound::Text(text.as_bytes().to_vec());
        assert_eq!(of(Bound::Int(-1), ts(false), false).unwrap(), "\"1969-12-31T23:59:59.999999Z\"");
        assert_eq!(of(Bound::Int(1_500_000), ts(true), true).unwrap(), "\"1970-01-01T00:00:01.500000\"");
        let decimal = Type::Fixed(Fixed::Decimal { precision: 10, scale: 2 });
        assert_eq!(of(Bound::Decimal(-150), decimal, false).unwrap(), "-1.50");
        let long = "é".repeat(40);
        assert_eq!(of(text(&long), Type::Text, false).unwrap(), format!("\"{}\"", "é".repeat(32)));
        assert_eq!(of(text(&long), Type::Text, true).unwrap(), format!("\"{}\u{10ffff}\"", "é".repeat(32)));
        assert_eq!(of(Bound::Text(vec![0xff]), Type::Text, true), None);
        assert_eq!(of(Bound::Bool(true), Type::Bool, true).unwrap(), "true");
        let last = format!("{}{}z", "a".repeat(32), char::MAX);
        assert_eq!(of(text(&last), Type::Text, true).unwrap(), format!("\"{last}\""));
    }

    #[test]
    fn the_first_leaves_have_statistics() {
        let leaf = |path: &[&str], nulls| LeafFacts {
            path: path.iter().map(|part| (*part).to_owned()).collect(),
            bytes: 1,
            values: 3,
            nulls: Some(nulls),
            bounds: Some((Bound::Int(1), Bound::Int(2))),
            is_unbounded: false,
        };
        let facts = FileFacts {
            leaves: vec![leaf(&["a"], 0), leaf(&["s", "x"], 1), leaf(&["l", "list", "element"], 9), leaf(&["z"], 2)],
            row_group_offsets: vec![4],
            ..FileFacts::default()
        };
        let file = DataFile { name: "f".into(), rows: 3, bytes: 9, partition: Vec::new(), facts };
        let int = Type::Int { fits_double: true };
        let columns = Schema::new(vec![
            Field::new("a", int.clone()),
            Field::new("s", Type::Struct(vec![Field::new("x", int.clone())])),
            Field::new("l", Type::List(Box::new(int.clone()))),
            Field::new("z", int),
        ]);
        let all = statistics(&file, &columns, &Indexed::First(-1));
        assert_eq!(
            all,
            r#"{"numRecords":3,"minValues":{"a":1,"s":{"x":1},"z":1},"maxValues":{"a":2,"s":{"x":2},"z":2},"nullCount":{"a":0,"s":{"x":1},"z":2}}"#
        );
        assert!(!statistics(&file, &columns, &Indexed::First(3)).contains("\"z\""));
        let named = statistics(&file, &columns, &Indexed::Named(vec!["s".into()]));
        assert_eq!(
            named,
            r#"{"numRecords":3,"minValues":{"s":{"x":1}},"maxValues":{"s":{"x":2}},"nullCount":{"s":{"x":1}}}"#
        );
    }
}
