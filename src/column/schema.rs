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

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow_schema::DataType;

use super::Fixed;
use super::open_keys::is_open_ended;

/// More columns than this are refused: keys of the records themselves are then data, and each
/// would cost every row. By eye, as above.
pub const MAX_COLUMNS: usize = 4096;

/// More leaves than this, of all columns together, are not written: the columns that have the most
/// become JSON text until the rest fits. Each leaf has a writer with buffers of its own, on every
/// worker, whether or not it has values. By eye: as many as there may be plain columns.
pub const MAX_LEAVES: usize = MAX_COLUMNS;

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
    /// What only a cast makes: dates, times, decimals with a fraction.
    Fixed(Fixed),
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
    /// An object with open-ended keys. Made by [`Type::map`].
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
pub enum TypeMerge {
    /// JSON text, which keeps `12` and `"12"` apart: for NDJSON.
    #[default]
    Json,
    /// Plain text: for CSV, where every value was text to begin with and numbers are recognised
    /// only in the one form that their digits can be written back to.
    Text,
}

impl Type {
    /// The narrowest type that keeps every value of both exact.
    pub fn join(&self, other: &Type, type_merge: TypeMerge) -> Type {
        use Type::*;
        match (self, other) {
            (Null, t) | (t, Null) => t.clone(),
            (Raw, _) | (_, Raw) => Raw,
            (Bool, Bool) => Bool,
            (Int { fits_double: a }, Int { fits_double: b }) => Int { fits_double: *a && *b },
            (Int { .. } | Decimal, Decimal) | (Decimal, Int { .. }) => Decimal,
            (Float, Float) | (Int { fits_double: true }, Float) | (Float, Int { fits_double: true }) => Float,
            (Fixed(a), Fixed(b)) if a == b => Fixed(*a),
            (Text, Text) => Text,
            (Json, Json) => Json,
            // What is nested was JSON, also in a cell of CSV.
            (List(a), List(b)) => List(Box::new(a.join(b, TypeMerge::Json))),
            (Struct(a), Struct(b)) => join_fields(a, b),
            (Map(a), Map(b)) => Type::map(a.join(b, TypeMerge::Json)),
            (Map(value), Struct(fields)) | (Struct(fields), Map(value)) => {
                Type::map(fields.iter().fold((**value).clone(), |t, f| t.join(&f.ty, TypeMerge::Json)))
            }
            _ => match type_merge {
                TypeMerge::Json => Json,
                TypeMerge::Text => Text,
            },
        }
    }

    /// A map of values of type `value`. The structs in it have their fields by name: in which order
    /// these were seen cannot be told any more once several keys became one value type.
    pub fn map(mut value: Type) -> Type {
        value.sort_fields();
        Type::Map(Box::new(value))
    }

    fn sort_fields(&mut self) {
        match self {
            Type::Struct(fields) => {
                if !fields.is_sorted_by(|a, b| a.name <= b.name) {
                    fields.sort_by(|a, b| a.name.cmp(&b.name));
                }
                fields.iter_mut().for_each(|field| field.ty.sort_fields());
            }
            Type::List(inner) | Type::Map(inner) => inner.sort_fields(),
            _ => {}
        }
    }

    /// Brings maps that grew in place into the form of [`Type::map`].
    pub fn sort_in_maps(&mut self) {
        match self {
            Type::Struct(fields) => fields.iter_mut().for_each(|field| field.ty.sort_in_maps()),
            Type::List(item) => item.sort_in_maps(),
            Type::Map(value) => value.sort_fields(),
            _ => {}
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

    /// How many leaf columns carry it: scalars have one, a map one for its keys besides.
    pub fn n_leaves(&self) -> usize {
        match self {
            Type::Struct(fields) if !fields.is_empty() => fields.iter().map(|f| f.ty.n_leaves()).sum(),
            Type::List(item) => item.n_leaves(),
            Type::Map(value) => 1 + value.n_leaves(),
            _ => 1,
        }
    }

    /// True if both hold the same values, whatever was seen of the size of their integers. One Arrow type carries several
    /// of ours, so that it does not tell.
    pub fn is_like(&self, other: &Type) -> bool {
        match (self, other) {
            (Type::Int { .. }, Type::Int { .. }) => true,
            (Type::Struct(a), Type::Struct(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.name == b.name && a.ty.is_like(&b.ty))
            }
            (Type::List(a), Type::List(b)) | (Type::Map(a), Type::Map(b)) => a.is_like(b),
            (a, b) => a == b,
        }
    }

    /// Its word with the fields of structs left out: `list<struct>`.
    pub fn outline(&self) -> String {
        match self {
            Type::Struct(_) => "struct".to_owned(),
            Type::List(item) => format!("list<{}>", item.outline()),
            Type::Map(value) => format!("map<{}>", value.outline()),
            scalar => scalar.to_string(),
        }
    }

    /// The fields of the struct that this is or, through lists and maps, holds.
    pub fn inner_fields(&self) -> &[Field] {
        match self {
            Type::Struct(fields) => fields,
            Type::List(inner) | Type::Map(inner) => inner.inner_fields(),
            _ => &[],
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
            Type::Fixed(fixed) => fixed.to_arrow(),
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
    let joined = merge_fields(a, b, TypeMerge::Json);
    // With the keys of `a` alone there was a struct.
    if joined.len() > a.len() && is_open_ended(joined.iter().map(|f| &*f.name)) {
        return Type::map(joined.iter().fold(Type::Null, |t, f| t.join(&f.ty, TypeMerge::Json)));
    }
    Type::Struct(joined)
}

/// Fields beyond which names are found by hash. By eye.
const SEARCH_LIMIT: usize = 32;

fn merge_fields(a: &[Field], b: &[Field], type_merge: TypeMerge) -> Vec<Field> {
    let mut joined = a.to_vec();
    // Made when a name first is not where it was expected.
    let mut places: Option<HashMap<&str, usize>> = None;
    for (i, field) in b.iter().enumerate() {
        // Same place first: records mostly keep their order.
        let found = match joined.get(i) {
            Some(f) if f.name == field.name => Some(i),
            // Names are distinct in `b`, so that what it added does not come again.
            _ if a.len() <= SEARCH_LIMIT => a.iter().position(|f| f.name == field.name),
            _ => {
                let by_name = || a.iter().enumerate().map(|(i, f)| (&*f.name, i)).collect();
                places.get_or_insert_with(by_name).get(&*field.name).copied()
            }
        };
        match found {
            Some(k) => {
                if joined[k].ty != field.ty {
                    joined[k].ty = joined[k].ty.join(&field.ty, type_merge);
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

    /// The same columns but for these names.
    pub fn without(&self, names: &[Arc<str>]) -> Self {
        Schema { fields: self.fields.iter().filter(|field| !names.contains(&field.name)).cloned().collect() }
    }

    /// The place of a column.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|f| &*f.name == name)
    }

    /// Both schemas' columns, this one's first, each with the joined type. Columns never become
    /// a map; the caller holds them to [`MAX_COLUMNS`]. With more than [`MAX_LEAVES`] in all, the
    /// nested columns with the most become JSON text.
    pub fn join(&self, other: &Schema, type_merge: TypeMerge) -> Schema {
        let mut joined = Schema { fields: merge_fields(&self.fields, &other.fields, type_merge) };
        joined.limit_leaves(MAX_LEAVES);
        joined
    }

    /// Leaves of all columns.
    pub fn n_leaves(&self) -> usize {
        self.fields.iter().map(|f| f.ty.n_leaves()).sum()
    }

    fn limit_leaves(&mut self, max: usize) {
        let mut total = self.n_leaves();
        if total <= max {
            return;
        }
        let mut widest: Vec<(usize, usize)> =
            self.fields.iter().map(|f| f.ty.n_leaves()).enumerate().filter(|(_, leaves)| *leaves > 1).collect();
        // The first of equals goes first.
        widest.sort_by_key(|&(place, leaves)| (std::cmp::Reverse(leaves), place));
        for (place, leaves) in widest {
            if total <= max {
                return;
            }
            self.fields[place].ty = Type::Json;
            total -= leaves - 1;
        }
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
            Type::Fixed(fixed) => fixed.fmt(f),
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
    use crate::column::MAX_STRUCT_FIELDS;

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
            let m = if text { TypeMerge::Text } else { TypeMerge::Json };
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
        assert_eq!(small.join(&Type::Float, TypeMerge::Json), Type::Float);
        assert_eq!(big.join(&Type::Float, TypeMerge::Json), Type::Json);
        assert_eq!(small.join(&big, TypeMerge::Json).join(&Type::Float, TypeMerge::Json), Type::Json);
        assert_eq!(big.join(&Type::Decimal, TypeMerge::Json), Type::Decimal);
        assert_eq!(Type::Decimal.join(&Type::Float, TypeMerge::Text), Type::Text);
    }

    #[test]
    fn open_ended_objects_become_maps() {
        let one = |i: usize| Type::Struct(vec![Field::new(format!("k{i}"), Type::Int { fits_double: true })]);
        let all = (0..=MAX_STRUCT_FIELDS).fold(Type::Null, |t, i| t.join(&one(i), TypeMerge::Json));
        assert_eq!(all, Type::Map(Box::new(Type::Int { fits_double: true })));
    }

    #[test]
    fn objects_keyed_by_ids_become_maps_sooner_and_in_any_order() {
        let one = |key: &str, ty: Type| Type::Struct(vec![Field::new(key, ty)]);
        let urls: Vec<Type> = (0..9).map(|i| one(&format!("https://a.test/{i}"), Type::Bool)).collect();
        let name = one("name", Type::Text);
        let all = urls.iter().fold(name.clone(), |t, u| t.join(u, TypeMerge::Json));
        assert_eq!(all, Type::Map(Box::new(Type::Json)));
        assert_eq!(
            urls.iter().rev().fold(Type::Null, |t, u| t.join(u, TypeMerge::Json)).join(&name, TypeMerge::Json),
            all
        );
        let fewer = urls[1..].iter().fold(name, |t, u| t.join(u, TypeMerge::Json));
        assert!(matches!(fewer, Type::Struct(fields) if fields.len() == 9));
        // Columns are never keys of a map.
        let columns = (0..20).map(|i| Field::new(format!("https://a.test/{i}"), Type::Bool)).collect();
        assert_eq!(Schema::default().join(&Schema::new(columns), TypeMerge::Json).fields.len(), 20);
    }

    #[test]
    fn leaves_are_bounded_in_all() {
        let leaves = |n: usize| (0..n).map(|i| Field::new(format!("f{i}"), Type::Bool)).collect::<Vec<_>>();
        let nested = |n: usize| Type::List(Box::new(Type::Struct(leaves(n))));
        let wide = |n| Type::Struct((0..n).map(|i| Field::new(format!("g{i}"), nested(100))).collect());
        let some = Schema::new(vec![Field::new("a", wide(20)), Field::new("b", wide(10)), Field::new("c", Type::Bool)]);
        assert_eq!((some.n_leaves(), &some.join(&some, TypeMerge::Json)), (3001, &some));
        let more = Schema::new(vec![Field::new("d", wide(15)), Field::new("a", Type::Null)]);
        let all = some.join(&more, TypeMerge::Json);
        let words: Vec<String> = all.fields.iter().map(|f| f.ty.to_string().chars().take(6).collect()).collect();
        assert_eq!(words, ["json", "struct", "bool", "struct"]);
        assert!(all.n_leaves() <= MAX_LEAVES);
        // It stays so.
        assert_eq!(all.join(&some, TypeMerge::Json), all);
    }
}
