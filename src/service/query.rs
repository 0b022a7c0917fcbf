//! Parsing and validation of query parameters. Checked by hand, because a repeated parameter must keep all its values
//! and an invalid one must get a 422 in the words of the vendor's framework.

use serde_json::{Map, Value};

use super::api_error::ApiError;
use super::location::Location;

/// The parameters of one request, percent-decoded, in their order.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Parses the part of a URL after `?`; `None` has no parameters.
    pub(super) fn parse(query: Option<&str>) -> Self {
        Query(url::form_urlencoded::parse(query.unwrap_or("").as_bytes()).into_owned().collect())
    }

    /// Returns all parameters, in their order.
    pub(super) fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    /// Returns the value of `name`, the last one if it is repeated.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Returns all values of `name`, in their order.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Returns the value of `name`, or a 422 if it is absent.
    pub(super) fn required(&self, name: &str) -> Result<&str, ApiError> {
        self.get(name).ok_or_else(|| ApiError::Invalid(vec![Location::root("query").key(name).missing()]))
    }

    /// Reads a boolean in any spelling that the vendor's framework accepts; false if absent, 422 for another text.
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

    /// Reads an integer from `min` to `max`; `default` if absent, 422 for another text or beyond the bounds.
    pub(super) fn number(&self, name: &str, default: i64, min: i64, max: i64) -> Result<i64, ApiError> {
        let Some(text) = self.get(name) else { return Ok(default) };
        let bound = |key: &str, value: i64| Map::from_iter([(key.to_owned(), Value::from(value))]);
        let (kind, message, ctx) = match text.parse::<i64>() {
            Ok(n) if n < min => {
                ("greater_than_equal", format!("Input should be greater than or equal to {min}"), bound("ge", min))
            }
            Ok(n) if n > max => {
                ("less_than_equal", format!("Input should be less than or equal to {max}"), bound("le", max))
            }
            Ok(n) => return Ok(n),
            // A number beyond i64 is reported as unparsable too.
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
        let Err(ApiError::Invalid(errors)) = query.required("b") else { panic!("an absent parameter was accepted") };
        assert_eq!((errors[0].msg.as_str(), &errors[0].loc[1]), ("Field required", &Value::from("b")));
    }

    #[test]
    fn numbers_beyond_their_bounds_are_rejected() {
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
