//! Types shared by the specs of several blocks. They only deserialize: the meaning of a field belongs to its block.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Number;
use utoipa::ToSchema;

/// Greatest integer that all JSON parsers represent exactly, 2^53 - 1. More is never a number of rows.
pub(super) const MAX_WHOLE: i64 = (1 << 53) - 1;

/// Names of columns: a list, or a single name as a string.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Columns {
    One(String),
    Many(Vec<String>),
}

impl Columns {
    /// Returns the names as a list, empty for `None`.
    pub(super) fn names(columns: Option<Columns>) -> Vec<String> {
        match columns {
            None => Vec::new(),
            Some(Columns::One(name)) => vec![name],
            Some(Columns::Many(names)) => names,
        }
    }

    /// Returns the names as text, separated by commas: the form that the steps of the pipeline parse.
    pub(super) fn text(self) -> String {
        match self {
            Columns::One(text) => text,
            Columns::Many(names) => names.join(","),
        }
    }
}

/// A column of the input: the name of its type, or an object that contains it.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub(super) enum InputField {
    Type(String),
    Described(DescribedField),
}

/// A column of the input as an object.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub(super) struct DescribedField {
    #[serde(rename = "type")]
    pub ty: Option<String>,
    /// Free text, not interpreted.
    #[serde(rename = "description")]
    pub _description: Option<String>,
    /// False for a column that rows may omit; true when absent.
    pub required: Option<bool>,
}

impl InputField {
    /// Returns the name of the declared type; `None` if the object has none.
    pub(super) fn ty(&self) -> Option<&str> {
        match self {
            InputField::Type(name) => Some(name),
            InputField::Described(field) => field.ty.as_deref(),
        }
    }

    /// Returns true unless the column is declared with `required: false`.
    pub(super) fn is_required(&self) -> bool {
        !matches!(self, InputField::Described(DescribedField { required: Some(false), .. }))
    }
}

/// Members of a JSON object in document order, which is the order of the columns that they declare.
#[derive(Clone, Debug)]
pub(super) struct Members<T>(pub Vec<(String, T)>);

impl<T> Default for Members<T> {
    fn default() -> Self {
        Members(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Members<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for InOrder<T> {
            type Value = Members<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder(PhantomData))
    }
}

/// Deserializes a whole number, also one written as `3.0`: JSON Schema counts that as an integer. `None` for null.
pub(super) fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let Some(number) = Option::<Number>::deserialize(deserializer)? else { return Ok(None) };
    let float = || number.as_f64().filter(|float| float.fract() == 0.0 && (0.0..=MAX_WHOLE as f64).contains(float));
    let whole = number.as_u64().or_else(|| float().map(|float| float as u64));
    whole.map(Some).ok_or_else(|| D::Error::custom("not a whole number"))
}

/// Returns the text unless it is empty: an empty string in specs means the same as an absent key.
pub(super) fn non_empty(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// Notebook id by which a definition requests a new notebook.
pub(super) const NEW_NOTEBOOK: &str = "__create_new__";

/// Prefix of a company's columns in the rows of its people.
pub(super) const COMPANY_PREFIX: &str = "company_";
