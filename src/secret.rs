//! Values that must not be seen: they print redacted, and the raw text has one way out.

use std::fmt;

/// The API key. Its text is reachable only through [`ApiKey::reveal`], called in `net` and `service`.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// Takes the key's text; surrounding white space is not part of a key.
    pub fn new(text: &str) -> Self {
        ApiKey(text.trim().to_owned())
    }

    /// The raw text, for the request header only.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// True when no text is left: such a key counts as missing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(redacted)")
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Stands for a query that is not shown.
const REDACTED_QUERY: &str = "?[redacted]";

/// A signed link: whoever has its query can read the file. It prints without query and credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(String);

impl SecretUrl {
    /// Takes the URL as the API gave it; it may still be malformed.
    pub fn new(url: impl Into<String>) -> Self {
        SecretUrl(url.into())
    }

    /// The raw URL, for the request only.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What of it is no secret: scheme, host and path. Nothing of a malformed one.
    pub fn without_query(&self) -> String {
        let text = self.to_string();
        text.strip_suffix(REDACTED_QUERY).map(str::to_owned).unwrap_or(text)
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretUrl({self})")
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match url::Url::parse(&self.0) {
            Ok(mut url) => {
                let hidden = url.query().is_some();
                url.set_query(None);
                url.set_fragment(None);
                let _ = url.set_username("");
                let _ = url.set_password(None);
                write!(f, "{url}{}", if hidden { REDACTED_QUERY } else { "" })
            }
            Err(_) => f.write_str("[a malformed URL]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_print_redacted() {
        let key = ApiKey::new(" k-123 \n");
        assert_eq!(key.reveal(), "k-123");
        assert!(!format!("{key} {key:?}").contains("k-123"));
        let url = SecretUrl::new("https://u:p@files.test/a/b.csv?sig=XYZ#f");
        assert_eq!(url.to_string(), "https://files.test/a/b.csv?[redacted]");
        assert_eq!(url.without_query(), "https://files.test/a/b.csv");
        assert!(!format!("{url:?}").contains("XYZ"));
    }
}
