//! The type lattice. Types only widen, and no value is bent to fit: where two types have no
//! common type that keeps every value exact, the column becomes text.
//!
//! ```text
//! null < bool                                        ┐
//! null < int (exact in a double) < int ──► decimal   │
//!              └───────► float                       ├─► json (mixed shapes as JSON text)
//! null < text                                        │
//! null < list of T,  struct (field by field) ─► map  ┘
//! ```
//!
//! [`Type::join`] is associative, commutative and idempotent (property-tested), so the schema of
//! a file does not depend on how it was cut into morsels or on the number of workers.

use std::fmt;
use std::sync::Arc;

use arrow_schema::DataType;

/// An object with more keys than this is open-ended: it becomes a map. Chosen by eye: result
/// objects in the API's examples have fewer than 30 keys, and every struct field is a column.
pub const MAX_STRUCT_FIELDS: usize = 256;

/// More columns than this are refused: keys of the records themselves are then data, and each
/// would cost every row. By eye, as above.
pub const MAX_COLUMNS: usize = 4096;

/// Lists and objects nested deeper than this are JSON text. A list takes three levels of Parquet's
/// schema, and readers refuse more than 100.
pub const MAX_TYPE_DEPTH: usize = 30;

/// The type of a column or of a value inside it. All are nullable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// Nothing but nulls so far. Written as nullable string.
    Null,
    /// true or false.
    Bool,
    /// 64-bit signed integers.
    Int {
        /// Every integer so far is exact in a double, so that the column may still become float.
        fits_double: bool,
    },
    /// Integers beyond 64 bits, up to 38 digits.
    Decimal,
    /// Doubles.
    Float,
    /// Strings.
    Text,
    /// Values of several shapes, each as its JSON text (so `"a"` has its quotes).
    Json,
    /// Any value as the untouched JSON text of its record; an absent key is null, an explicit
    /// null is the text `null`. For text sinks and steps, never for Parquet.
    Raw,
    /// An object with known keys, in order of first sight.
    Struct(Vec<Field>),
    /// A list.
    List(Box<Type>),
    /// An object with open-ended keys.
    Map(Box<Type>),
}

/// A named type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The key, as in the records.
    pub name: Arc<str>,
    /// Its type.
    pub ty: Type,
}

/// The columns of a file, in order of first sight.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    /// One per column; names are distinct.
    pub fields: Vec<Field>,
}

/// What a column of unlike scalars becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mixing {
    /// JSON text, which keeps `12` and `"12"` apart: for NDJSON.
    #[default]
    Json,
    /// Plain text: for CSV, where every value was text to begin with and numbers are recognised
    /// only in the one form that their digits can be written back to.
    Text,
}

impl Type {
    /// The narrowest type that keeps every value of both exact.
    pub fn join(&self, other: &Type, mixing: Mixing) -> Type {
        use Type::*;
        match (self, other) {
            (Null, t) | (t, Null) => t.clone(),
            (Raw, _) | (_, Raw) => Raw,
            (Bool, Bool) => Bool,
            (Int { fits_double: a }, Int { fits_double: b }) => Int { fits_double: *a && *b },
            (Int { .. } | Decimal, Decimal) | (Decimal, Int { .. }) => Decimal,
            (Float, Float) | (Int { fits_double: true }, Float) | (Float, Int { fits_double: true }) => Float,
            (Text, Text) => Text,
            (Json, Json) => Json,
            // What is nested was JSON, also in a cell of CSV.
            (List(a), List(b)) => List(Box::new(a.join(b, Mixing::Json))),
            (Struct(a), Struct(b)) => join_fields(a, b),
            (Map(a), Map(b)) => Map(Box::new(a.join(b, Mixing::Json))),
            (Map(value), Struct(fields)) | (Struct(fields), Map(value)) => {
                Map(Box::new(fields.iter().fold((**value).clone(), |t, f| t.join(&f.ty, Mixing::Json))))
            }
            _ => match mixing {
                Mixing::Json => Json,
                Mixing::Text => Text,
            },
        }
    }

    /// True when values of this type are written as Utf8 text.
    pub fn is_text_like(&self) -> bool {
        match self {
            Type::Null | Type::Text | Type::Json | Type::Raw => true,
            Type::Struct(fields) => fields.is_empty(),
            _ => false,
        }
    }

    /// The Arrow type of the arrays that carry it. A struct without fields has no columns to
    /// stand in, so it is carried as JSON text (`{}`).
    pub fn to_arrow(&self) -> DataType {
        match self {
            t if t.is_text_like() => DataType::Utf8View,
            Type::Bool => DataType::Boolean,
            Type::Int { .. } => DataType::Int64,
            Type::Decimal => DataType::Decimal128(38, 0),
            Type::Float => DataType::Float64,
            Type::Struct(fields) => DataType::Struct(fields.iter().map(Field::to_arrow).collect()),
            Type::List(item) => DataType::List(Arc::new(arrow_schema::Field::new("item", item.to_arrow(), true))),
            Type::Map(value) => {
                let entries = arrow_schema::Fields::from(vec![
                    arrow_schema::Field::new("key", DataType::Utf8View, false),
                    arrow_schema::Field::new("value", value.to_arrow(), true),
                ]);
                DataType::Map(Arc::new(arrow_schema::Field::new("key_value", DataType::Struct(entries), false)), false)
            }
            _ => unreachable!("text-like types are matched above"),
        }
    }

    /// The type that a workflow declares by one of the API's type words; `None` for other words.
    /// `dict` values come back as stringified JSON, hence text.
    pub fn from_declared(word: &str) -> Option<Type> {
        let word = word.trim().to_ascii_lowercase();
        if let Some(inner) = word.strip_prefix("list[").and_then(|w| w.strip_suffix(']')) {
            return Type::from_declared(inner).map(|t| Type::List(Box::new(t)));
        }
        Some(match word.as_str() {
            "str" | "string" | "enum" | "dict" => Type::Text,
            "int" | "integer" => Type::Int { fits_double: true },
            "float" | "number" => Type::Float,
            "bool" | "boolean" => Type::Bool,
            "list" => Type::List(Box::new(Type::Null)),
            "object" => Type::Struct(Vec::new()),
            "object_list" => Type::List(Box::new(Type::Struct(Vec::new()))),
            _ => return None,
        })
    }
}

fn join_fields(a: &[Field], b: &[Field]) -> Type {
    let joined = merge_fields(a, b, Mixing::Json);
    if joined.len() > MAX_STRUCT_FIELDS {
        return Type::Map(Box::new(joined.iter().fold(Type::Null, |t, f| t.join(&f.ty, Mixing::Json))));
    }
    Type::Struct(joined)
}

fn merge_fields(a: &[Field], b: &[Field], mixing: Mixing) -> Vec<Field> {
    let mut joined = a.to_vec();
    for (i, field) in b.iter().enumerate() {
        // Same place first: records mostly keep their order.
        let found = match joined.get(i) {
            Some(f) if f.name == field.name => Some(i),
            _ => joined.iter().position(|f| f.name == field.name),
        };
        match found {
            Some(k) => {
                if joined[k].ty != field.ty {
                    joined[k].ty = joined[k].ty.join(&field.ty, mixing);
                }
            }
            None => joined.push(field.clone()),
        }
    }
    joined
}

impl Field {
    /// A field.
    pub fn new(name: impl Into<Arc<str>>, ty: Type) -> Self {
        Field { name: name.into(), ty }
    }

    /// The Arrow field that carries it.
    pub fn to_arrow(&self) -> arrow_schema::Field {
        arrow_schema::Field::new(&*self.name, self.ty.to_arrow(), true)
    }
}

impl Schema {
    /// A schema of these fields.
    pub fn new(fields: Vec<Field>) -> Self {
        Schema { fields }
    }

    /// The place of a column.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|f| &*f.name == name)
    }

    /// Both schemas' columns, this one's first, each with the joined type. Columns never become
    /// a map; the caller holds them to [`MAX_COLUMNS`].
    pub fn join(&self, other: &Schema, mixing: Mixing) -> Schema {
        Schema { fields: merge_fields(&self.fields, &other.fields, mixing) }
    }

    /// The Arrow schema of batches.
    pub fn to_arrow(&self) -> arrow_schema::Schema {
        arrow_schema::Schema::new(self.fields.iter().map(Field::to_arrow).collect::<Vec<_>>())
    }
}

impl fmt::Display for Type {
    /// Short words for people: `int`, `list<struct<a: text>>`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Null => f.write_str("null"),
            Type::Bool => f.write_str("bool"),
            Type::Int { .. } => f.write_str("int"),
            Type::Decimal => f.write_str("decimal(38,0)"),
            Type::Float => f.write_str("float"),
            Type::Text => f.write_str("text"),
            Type::Json => f.write_str("json"),
            Type::Raw => f.write_str("raw"),
            Type::Struct(fields) => {
                f.write_str("struct<")?;
                for (i, field) in fields.iter().enumerate() {
                    write!(f, "{}{}: {}", if i > 0 { ", " } else { "" }, field.name, field.ty)?;
                }
                f.write_str(">")
            }
            Type::List(item) => write!(f, "list<{item}>"),
            Type::Map(value) => write!(f, "map<{value}>"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_type() -> impl Strategy<Value = Type> {
        let leaf = prop_oneof![
            Just(Type::Null),
            Just(Type::Bool),
            any::<bool>().prop_map(|fits_double| Type::Int { fits_double }),
            Just(Type::Decimal),
            Just(Type::Float),
            Just(Type::Text),
            Just(Type::Json),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                inner.clone().prop_map(|t| Type::List(Box::new(t))),
                inner.clone().prop_map(|t| Type::Map(Box::new(t))),
                prop::collection::btree_map("[abc]", inner, 0..3)
                    .prop_map(|m| Type::Struct(m.into_iter().map(|(n, t)| Field::new(n, t)).collect())),
            ]
        })
    }

    /// Field order is by first sight, so laws hold up to order.
    fn sorted(t: &Type) -> Type {
        match t {
            Type::Struct(fields) => {
                let mut fields: Vec<Field> = fields.iter().map(|f| Field::new(f.name.clone(), sorted(&f.ty))).collect();
                fields.sort_by(|a, b| a.name.cmp(&b.name));
                Type::Struct(fields)
            }
            Type::List(t) => Type::List(Box::new(sorted(t))),
            Type::Map(t) => Type::Map(Box::new(sorted(t))),
            t => t.clone(),
        }
    }

    proptest! {
        #[test]
        fn join_is_a_join(a in any_type(), b in any_type(), c in any_type(), text in any::<bool>()) {
            let m = if text { Mixing::Text } else { Mixing::Json };
            prop_assert_eq!(a.join(&a, m), a.clone());
            prop_assert_eq!(sorted(&a.join(&b, m)), sorted(&b.join(&a, m)));
            prop_assert_eq!(sorted(&a.join(&b, m).join(&c, m)), sorted(&a.join(&b.join(&c, m), m)));
            let ab = a.join(&b, m);
            prop_assert_eq!(sorted(&ab.join(&b, m)), sorted(&ab));
        }
    }

    #[test]
    fn integers_become_floats_only_while_exact() {
        let small = Type::Int { fits_double: true };
        let big = Type::Int { fits_double: false };
        assert_eq!(small.join(&Type::Float, Mixing::Json), Type::Float);
        assert_eq!(big.join(&Type::Float, Mixing::Json), Type::Json);
        assert_eq!(small.join(&big, Mixing::Json).join(&Type::Float, Mixing::Json), Type::Json);
        assert_eq!(big.join(&Type::Decimal, Mixing::Json), Type::Decimal);
        assert_eq!(Type::Decimal.join(&Type::Float, Mixing::Text), Type::Text);
    }

    #[test]
    fn open_ended_objects_become_maps() {
        let one = |i: usize| Type::Struct(vec![Field::new(format!("k{i}"), Type::Int { fits_double: true })]);
        let all = (0..=MAX_STRUCT_FIELDS).fold(Type::Null, |t, i| t.join(&one(i), Mixing::Json));
        assert_eq!(all, Type::Map(Box::new(Type::Int { fits_double: true })));
    }
}
