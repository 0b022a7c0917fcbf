//! Query parameters, checked by hand: a repeated parameter keeps all its values, and a refusal has
//! the shape of the API's 422 answers.

use serde_json::{Map, Value};

use super::api_error::ApiError;
use super::location::Location;

/// The parameters of one request, decoded, in their order.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads the part of the URL after `?`.
    pub(super) fn parse(query: Option<&str>) -> Self {
        Query(url::form_urlencoded::parse(query.unwrap_or("").as_bytes()).into_owned().collect())
    }

    /// The value of `name`; the last one if it stands several times.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// All values of `name`.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The value of `name`, or a 422 that asks for it.
    pub(super) fn required(&self, name: &str) -> Result<&str, ApiError> {
        self.get(name).ok_or_else(|| ApiError::Invalid(vec![Location::root("query").key(name).missing()]))
    }

    /// A truth value in any of the spellings that the API's framework reads; false when absent.
    pub(super) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        let Some(text) = self.get(name) else { return Ok(false) };
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "on" | "yes" | "t" | "y" => Ok(true),
            "false" | "0" | "off" | "no" | "f" | "n" => Ok(false),
            _ => {
                let mut error = Location::root("query")
                    .key(name)
                    .invalid("bool_parsing", "Input should be a valid boolean, unable to interpret input");
                error.input = Some(text.into());
                Err(ApiError::Invalid(vec![error]))
            }
        }
    }

    /// A whole number between `least` and `most`, or `default` when absent.
    pub(super) fn number(&self, name: &str, default: i64, least: i64, most: i64) -> Result<i64, ApiError> {
        let Some(text) = self.get(name) else { return Ok(default) };
        let bound = |key: &str, value: i64| Map::from_iter([(key.to_owned(), Value::from(value))]);
        let (kind, message, ctx) = match text.parse::<i64>() {
            Ok(n) if n < least => {
                ("greater_than_equal", format!("Input should be greater than or equal to {least}"), bound("ge", least))
            }
            Ok(n) if n > most => {
                ("less_than_equal", format!("Input should be less than or equal to {most}"), bound("le", most))
            }
            Ok(n) => return Ok(n),
            Err(_) => {
                let message = "Input should be a valid integer, unable to parse string as an integer";
                ("int_parsing", message.to_owned(), Map::new())
            }
        };
        let mut error = Location::root("query").key(name).invalid(kind, message);
        error.input = Some(text.into());
        error.ctx = (!ctx.is_empty()).then_some(ctx);
        Err(ApiError::Invalid(vec![error]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_kept_in_order() {
        let query = Query::parse(Some("result_formats=csv&a=x%20y&result_formats=ndjson&save_json=True"));
        assert_eq!(query.all("result_formats").collect::<Vec<_>>(), ["csv", "ndjson"]);
        assert_eq!(query.get("a"), Some("x y"));
        assert!(query.flag("save_json").unwrap());
        assert!(!query.flag("other").unwrap());
        assert!(query.required("b").is_err());
    }

    #[test]
    fn numbers_are_held_to_their_bounds() {
        let number = |text: &str| Query::parse(Some(text)).number("limit", 100, 1, 500);
        assert_eq!(number("").unwrap(), 100);
        assert_eq!(number("limit=500").unwrap(), 500);
        for (text, kind) in
            [("limit=501", "less_than_equal"), ("limit=0", "greater_than_equal"), ("limit=x", "int_parsing")]
        {
            let Err(ApiError::Invalid(errors)) = number(text) else { panic!("{text} was accepted") };
            assert_eq!(errors[0].kind, kind);
        }
    }
}
