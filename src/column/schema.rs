//! The type lattice and schemas. Types only widen, and no value is changed to fit: where two types
//! have no common type that keeps every value exact, the column becomes text.
//!
//! ```text
//! null < bool                                        ┐
//! null < int (exact in a double) < int ──► decimal   │
//!              └───────► float                       ├─► json (mixed types as JSON text)
//! null < text                                        │
//! null < list of T,  struct (field by field) ─► map  ┘
//! ```
//!
//! Opaque lists are wider than lists, and opaque objects wider than structs and maps; JSON is wider than both.
//!
//! [`Type::join`] is associative, commutative and idempotent (property-tested), so the schema of
//! a file does not depend on how it was cut into morsels or on the number of workers.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow_schema::DataType;

use super::open_keys::is_open_ended;
use super::{Digits, Fixed};

/// The most columns of a schema by default. With more, keys of the records themselves are data, and each would
/// cost every row. By eye.
pub const MAX_COLUMNS: usize = 4096;

/// The highest limit of columns that can be set: each has an encoder on every worker. By eye.
pub const MAX_COLUMN_LIMIT: usize = 1 << 16;

/// The most leaves of all columns together; beyond it, the columns with the most leaves become JSON
/// text until the rest fits. Each leaf has an encoder with buffers of its own, on every worker,
/// whether or not it has values. By eye: as many as there may be scalar columns.
pub const MAX_LEAVES: usize = MAX_COLUMNS;

/// Significant digits of a decimal at most.
pub const MAX_PRECISION: u8 = 38;

/// Depth beyond which lists and objects are JSON text. A list takes three levels of Parquet's schema,
/// and readers refuse more than 100.
pub const MAX_TYPE_DEPTH: usize = 30;

/// The type of a column or of a value inside it. All are nullable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// No values so far, only nulls. Written as nullable string.
    Null,
    /// Booleans, `true` and `false`.
    Bool,
    /// Signed integers of 64 bits.
    Int {
        /// True while a double holds every integer so far exactly, so that the column may still become float.
        fits_double: bool,
    },
    /// Integers beyond 64 bits, up to 38 digits.
    Decimal,
    /// Floating-point numbers of 64 bits.
    Float,
    /// Types that JSON has no spelling for: dates, timestamps, decimals with a fraction. Casts make them, and cells of CSV
    /// that are decimals.
    Fixed(Fixed),
    /// Numbers of CSV cells with a fraction, an exponent or more than 64 bits, while further cells may decide whether they
    /// are doubles or decimals. Only inference has it: [`Type::resolved`] ends it.
    Number(Digits),
    /// Strings of valid UTF-8.
    Text,
    /// Values of several types, each as its JSON text (so `"a"` has its quotes).
    Json,
    /// Any value as the untouched JSON text of its record; an absent key is null, an explicit
    /// null is the text `null`. For text sinks and steps, never for Parquet.
    Raw,
    /// Objects with known keys, in order of first occurrence.
    Struct(Vec<Field>),
    /// Lists of items of one type.
    List(Box<Type>),
    /// Objects with open-ended keys. Made by [`Type::map`].
    Map(Box<Type>),
    /// Objects, or lists, of which only the container is known: each is the untouched JSON text of its record. For tables,
    /// which take nested values as text; never for Parquet.
    Opaque(Container),
}

/// The two kinds of values that hold others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// Objects, with known keys or open-ended ones.
    Object,
    /// Lists.
    List,
}

/// A column or a struct's field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The key, as in the records.
    pub name: Arc<str>,
    /// The type of its values.
    pub ty: Type,
}

/// The columns of a file, in order of first occurrence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    /// One field per column; names are distinct.
    pub fields: Vec<Field>,
}

/// The type that unlike scalars of one column are merged into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TypeMerge {
    /// JSON text, which keeps `12` and `"12"` apart: for NDJSON.
    #[default]
    Json,
    /// Plain text: for CSV, where every value is text to begin with, and a number is recognised only
    /// in the canonical form in which it would be written back.
    Text,
}

impl Type {
    /// Returns the narrowest type that keeps every value of both exact.
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
            (Number(digits), other) | (other, Number(digits)) if other.digits().is_some() => {
                other.digits().map_or(Text, |other| Number(digits.join(other)))
            }
            // Columns of CSV alone: a decimal of a cast does not widen.
            (Fixed(super::Fixed::Decimal { .. }), _) | (_, Fixed(super::Fixed::Decimal { .. }))
                if type_merge == TypeMerge::Text =>
            {
                self.digits().zip(other.digits()).map_or(Text, |(a, b)| Type::of_digits(a.join(b)))
            }
            (Text, Text) => Text,
            (Json, Json) => Json,
            // Nested values are JSON, also in a cell of CSV.
            (List(a), List(b)) => List(Box::new(a.join(b, TypeMerge::Json))),
            (Struct(a), Struct(b)) => join_fields(a, b),
            (Map(a), Map(b)) => Type::map(a.join(b, TypeMerge::Json)),
            (Map(value), Struct(fields)) | (Struct(fields), Map(value)) => {
                Type::map(fields.iter().fold((**value).clone(), |t, f| t.join(&f.ty, TypeMerge::Json)))
            }
            (Opaque(container), other) | (other, Opaque(container)) if other.container() == Some(*container) => {
                Opaque(*container)
            }
            _ => match type_merge {
                TypeMerge::Json => Json,
                TypeMerge::Text => Text,
            },
        }
    }

    /// Returns the container that all values of this type are; `None` for scalars and values of several types.
    pub fn container(&self) -> Option<Container> {
        match self {
            Type::Struct(_) | Type::Map(_) => Some(Container::Object),
            Type::List(_) => Some(Container::List),
            Type::Opaque(container) => Some(*container),
            _ => None,
        }
    }

    /// Returns the type of the values of this type where only their container is to be known: other scalars stay.
    pub fn opaque(&self) -> Type {
        self.container().map_or_else(|| self.clone(), Type::Opaque)
    }

    /// Returns true for objects, lists, and values of several types, which may be such.
    pub fn is_nested(&self) -> bool {
        *self == Type::Json || self.container().is_some()
    }

    /// Returns the type with the decision on the numbers of CSV cells taken.
    pub fn resolved(&self) -> Type {
        match self {
            Type::Number(digits) => Type::of_digits(*digits),
            other => other.clone(),
        }
    }

    /// Returns the digits that numbers of this type may have; `None` for other types. They depend on the type alone, so
    /// that the digits of a column do not depend on where its rows were cut.
    pub(crate) fn digits(&self) -> Option<Digits> {
        let (integer, scale, exceeds_double) = match *self {
            // 2^53 and 2^63.
            Type::Int { fits_double: true } => (16, 0, false),
            Type::Int { fits_double: false } => (19, 0, true),
            Type::Decimal => (MAX_PRECISION, 0, true),
            Type::Float => (Digits::UNKNOWN, 0, false),
            Type::Fixed(Fixed::Decimal { precision, scale }) => (precision.saturating_sub(scale), scale, true),
            Type::Number(digits) => return Some(digits),
            _ => return None,
        };
        Some(Digits { integer, scale, exceeds_double })
    }

    /// Returns the narrowest type that keeps all of these digits: a double, a decimal, else text.
    fn of_digits(digits: Digits) -> Type {
        let precision = digits.integer.saturating_add(digits.scale);
        match digits {
            Digits { exceeds_double: false, .. } => Type::Float,
            _ if precision > MAX_PRECISION => Type::Text,
            Digits { scale: 0, .. } => Type::Decimal,
            Digits { scale, .. } => Type::Fixed(Fixed::Decimal { precision, scale }),
        }
    }

    /// Returns the map type with values of type `value`. Structs in it have their fields sorted by
    /// name: the order of first occurrence is lost once the values of several keys share one type.
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

    /// Sorts the fields inside maps that grew in place, as [`Type::map`] does.
    pub fn sort_in_maps(&mut self) {
        match self {
            Type::Struct(fields) => fields.iter_mut().for_each(|field| field.ty.sort_in_maps()),
            Type::List(item) => item.sort_in_maps(),
            Type::Map(value) => value.sort_fields(),
            _ => {}
        }
    }

    /// Returns true if an array of this type forgets something of the JSON values in it: the digits of a number, or which
    /// keys of an object were null and which absent. JSON text has a form of its own; see [`super::canonical`].
    pub fn forgets_json(&self) -> bool {
        match self {
            Type::Float | Type::List(_) | Type::Map(_) | Type::Json => true,
            Type::Struct(fields) => !fields.is_empty(),
            _ => false,
        }
    }

    /// Returns true if values of this type are carried as UTF-8 text.
    pub fn is_text_like(&self) -> bool {
        match self {
            Type::Null | Type::Text | Type::Json | Type::Raw | Type::Opaque(_) => true,
            Type::Struct(fields) => fields.is_empty(),
            _ => false,
        }
    }

    /// Returns the number of Parquet leaf columns: 1 for scalars; a map has one more than its values, for the keys.
    pub fn n_leaves(&self) -> usize {
        match self {
            Type::Struct(fields) if !fields.is_empty() => fields.iter().map(|f| f.ty.n_leaves()).sum(),
            Type::List(item) => item.n_leaves(),
            Type::Map(value) => 1 + value.n_leaves(),
            _ => 1,
        }
    }

    /// Returns true if both are equal up to [`Type::Int`]'s `fits_double`. Comparing Arrow types would not do: one
    /// of them carries several of ours.
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

    /// Returns the type's name without the fields of structs: `list<struct>`.
    pub fn outline(&self) -> String {
        match self {
            Type::Struct(_) => "struct".to_owned(),
            Type::List(item) => format!("list<{}>", item.outline()),
            Type::Map(value) => format!("map<{}>", value.outline()),
            scalar => scalar.to_string(),
        }
    }

    /// Returns the fields of the struct that this type is or holds inside lists and maps; none if there is no struct.
    pub fn inner_fields(&self) -> &[Field] {
        match self {
            Type::Struct(fields) => fields,
            Type::List(inner) | Type::Map(inner) => inner.inner_fields(),
            _ => &[],
        }
    }

    /// Returns the Arrow type that carries this type. A struct without fields is carried as JSON text
    /// (`{}`): neither Arrow nor Parquet could keep its nulls without a column.
    pub fn to_arrow(&self) -> DataType {
        match self {
            t if t.is_text_like() => DataType::Utf8View,
            Type::Bool => DataType::Boolean,
            Type::Int { .. } => DataType::Int64,
            Type::Decimal => DataType::Decimal128(38, 0),
            Type::Float => DataType::Float64,
            Type::Fixed(fixed) => fixed.to_arrow(),
            Type::Number(digits) => Type::of_digits(*digits).to_arrow(),
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

    /// Parses one of the type names with which workflows declare columns; `None` for other names.
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
    // The keys of `a` alone made a struct, so that only new ones can change that.
    if joined.len() > a.len() && is_open_ended(joined.iter().map(|f| &*f.name)) {
        return Type::map(joined.iter().fold(Type::Null, |t, f| t.join(&f.ty, TypeMerge::Json)));
    }
    Type::Struct(joined)
}

/// Fields beyond which names are looked up by hash. By eye.
const SEARCH_LIMIT: usize = 32;

fn merge_fields(a: &[Field], b: &[Field], type_merge: TypeMerge) -> Vec<Field> {
    let mut joined = a.to_vec();
    // Built only once a name is not at its expected index.
    let mut by_name_idx: Option<HashMap<&str, usize>> = None;
    for (i, field) in b.iter().enumerate() {
        // The same index first: records mostly keep their order.
        let found = match joined.get(i) {
            Some(f) if f.name == field.name => Some(i),
            // Searching `a` is enough: names are distinct in `b`, so that none that it added occurs again.
            _ if a.len() <= SEARCH_LIMIT => a.iter().position(|f| f.name == field.name),
            _ => {
                let by_name = || a.iter().enumerate().map(|(i, f)| (&*f.name, i)).collect();
                by_name_idx.get_or_insert_with(by_name).get(&*field.name).copied()
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
    /// Makes a field named `name`.
    pub fn new(name: impl Into<Arc<str>>, ty: Type) -> Self {
        Field { name: name.into(), ty }
    }

    /// Returns the nullable Arrow field that carries it.
    pub fn to_arrow(&self) -> arrow_schema::Field {
        arrow_schema::Field::new(&*self.name, self.ty.to_arrow(), true)
    }
}

impl Schema {
    /// Makes a schema of these fields, whose names must be distinct.
    pub fn new(fields: Vec<Field>) -> Self {
        Schema { fields }
    }

    /// Returns the schema with the types of all columns [resolved](Type::resolved).
    #[must_use]
    pub fn resolved(mut self) -> Self {
        for field in &mut self.fields {
            if let Type::Number(digits) = field.ty {
                field.ty = Type::of_digits(digits);
            }
        }
        self
    }

    /// Returns the schema without the columns `names`. Unknown names are ignored.
    pub fn without(&self, names: &[Arc<str>]) -> Self {
        Schema { fields: self.fields.iter().filter(|field| !names.contains(&field.name)).cloned().collect() }
    }

    /// Returns the index of the column `name`; `None` if there is none. Searches linearly.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|f| &*f.name == name)
    }

    /// Returns the columns of both schemas, this one's first, each with the joined type. The columns
    /// themselves never become a map; the caller limits their number. If there are more than
    /// [`MAX_LEAVES`] leaves, the nested columns with the most become JSON text.
    pub fn join(&self, other: &Schema, type_merge: TypeMerge) -> Schema {
        let mut joined = Schema { fields: merge_fields(&self.fields, &other.fields, type_merge) };
        joined.limit_leaves(MAX_LEAVES);
        joined
    }

    /// Returns the number of Parquet leaf columns of all columns.
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
        // Ties are broken by position, so that the result does not depend on the sort.
        widest.sort_by_key(|&(column, leaves)| (std::cmp::Reverse(leaves), column));
        for (column, leaves) in widest {
            if total <= max {
                return;
            }
            self.fields[column].ty = Type::Json;
            total -= leaves - 1;
        }
    }

    /// Returns the Arrow schema of batches with these columns.
    pub fn to_arrow(&self) -> arrow_schema::Schema {
        arrow_schema::Schema::new(self.fields.iter().map(Field::to_arrow).collect::<Vec<_>>())
    }
}

impl fmt::Display for Type {
    /// Formats the type as messages show it: `int`, `list<struct<a: text>>`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Null => f.write_str("null"),
            Type::Bool => f.write_str("bool"),
            Type::Int { .. } => f.write_str("int"),
            Type::Decimal => f.write_str("decimal(38,0)"),
            Type::Float => f.write_str("float"),
            Type::Fixed(fixed) => fixed.fmt(f),
            Type::Number(digits) => Type::of_digits(*digits).fmt(f),
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
            Type::Opaque(Container::Object) => f.write_str("struct"),
            Type::Opaque(Container::List) => f.write_str("list"),
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
            Just(Type::Opaque(Container::Object)),
            Just(Type::Opaque(Container::List)),
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

    /// Sorts fields by name: their order is that of first occurrence, so that the laws hold only up to it.
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
    fn numbers_of_cells_become_decimals_where_doubles_lose_digits() {
        let number = |integer, scale, exceeds_double| Type::Number(Digits { integer, scale, exceeds_double });
        let decimal = |precision, scale| Type::Fixed(Fixed::Decimal { precision, scale });
        let join = |types: &[Type]| {
            // In any order, and also where some are resolved before.
            let joined = types.iter().fold(Type::Null, |a, b| a.join(b, TypeMerge::Text)).resolved();
            let back = types.iter().rev().fold(Type::Null, |a, b| a.join(b, TypeMerge::Text)).resolved();
            assert_eq!(joined, back);
            joined
        };
        let (small, long) = (Type::Int { fits_double: true }, Type::Int { fits_double: false });
        assert_eq!(join(&[number(2, 2, false), small.clone()]), Type::Float);
        assert_eq!(join(&[number(2, 2, false), number(17, 2, true)]), decimal(19, 2));
        assert_eq!(join(&[small, number(2, 3, true)]), decimal(19, 3));
        assert_eq!(join(&[long.clone(), number(1, 1, false)]), decimal(20, 1));
        assert_eq!(join(&[number(20, 0, true), long]), Type::Decimal);
        assert_eq!(join(&[number(20, 0, true), number(1, 4, false)]), decimal(24, 4));
        assert_eq!(join(&[number(37, 0, true), number(1, 2, false)]), Type::Text);
        assert_eq!(join(&[number(Digits::UNKNOWN, 0, false), number(17, 2, true)]), Type::Text);
        assert_eq!(join(&[number(17, 2, true), Type::Bool]), Type::Text);
        assert_eq!(join(&[decimal(19, 2), decimal(20, 4)]), decimal(21, 4));
        assert_eq!(join(&[decimal(19, 2), Type::Float]), Type::Text);
        assert_eq!(decimal(19, 2).join(&decimal(20, 4), TypeMerge::Json), Type::Json);
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
    fn the_leaves_of_a_schema_are_bounded() {
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
        // A later join does not widen it back.
        assert_eq!(all.join(&some, TypeMerge::Json), all);
    }
}
