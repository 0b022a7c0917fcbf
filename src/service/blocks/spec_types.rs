//! Types that the specs of several blocks are made of.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Number;
use utoipa::ToSchema;

/// The greatest integer that all readers of JSON agree on, 2^53 - 1: more is no number of rows.
pub(super) const MAX_WHOLE: i64 = (1 << 53) - 1;

/// Names of columns: a list, or one alone as text.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Columns {
    One(String),
    Many(Vec<String>),
}

impl Columns {
    /// The names; none if there are no specs of them.
    pub(super) fn names(columns: Option<Columns>) -> Vec<String> {
        match columns {
            None => Vec::new(),
            Some(Columns::One(name)) => vec![name],
            Some(Columns::Many(names)) => names,
        }
    }

    /// The text that lists them for the steps of the command line.
    pub(super) fn text(self) -> String {
        match self {
            Columns::One(text) => text,
            Columns::Many(names) => names.join(","),
        }
    }
}

/// A column of the input: its type as a word, or an object with it.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub(super) enum InputField {
    Type(String),
    Described(DescribedField),
}

/// A column of the input, described.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub(super) struct DescribedField {
    #[serde(rename = "type")]
    pub ty: Option<String>,
    /// For people.
    #[serde(rename = "description")]
    pub _description: Option<String>,
    /// False for a column that rows may lack.
    pub required: Option<bool>,
}

impl InputField {
    /// The word of its type.
    pub(super) fn ty(&self) -> Option<&str> {
        match self {
            InputField::Type(word) => Some(word),
            InputField::Described(field) => field.ty.as_deref(),
        }
    }

    /// True unless rows may lack it.
    pub(super) fn is_required(&self) -> bool {
        !matches!(self, InputField::Described(DescribedField { required: Some(false), .. }))
    }
}

/// Members of an object in the order given: columns are made in that order.
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

/// Reads a whole number that may be written `3.0`, as JSON Schema has it.
pub(super) fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let Some(number) = Option::<Number>::deserialize(deserializer)? else { return Ok(None) };
    let float = || number.as_f64().filter(|float| float.fract() == 0.0 && (0.0..=MAX_WHOLE as f64).contains(float));
    let whole = number.as_u64().or_else(|| float().map(|float| float as u64));
    whole.map(Some).ok_or_else(|| D::Error::custom("not a whole number"))
}

/// An empty text asks for nothing.
pub(super) fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// The id by which a definition asks for a new notebook.
pub(super) const NEW_NOTEBOOK: &str = "__create_new__";

/// The beginning of the name of a company's column in the row of one of its people.
pub(super) const COMPANY_PREFIX: &str = "company_";
