//! Secrets: the API key, signed URLs and passwords. They print redacted in `Debug` and `Display`; the raw text
//! is returned by `reveal` alone, so that a search for it finds every use.

use std::borrow::Cow;
use std::fmt;

use sha2::{Digest, Sha256};

/// The API key. Its text is reachable only through [`ApiKey::reveal`], called in `net` and `service`.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// Wraps the key's text, trimmed of surrounding white space.
    pub fn new(text: &str) -> Self {
        ApiKey(text.trim().to_owned())
    }

    /// Returns the raw text, for the request header only.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Returns the first 64 bits of a digest of the key, in hexadecimal. It tells two keys apart. A key is random, so its
    /// digest reveals nothing of it.
    pub fn fingerprint(&self) -> String {
        crate::text::hex(&Sha256::digest(["drawoff key\0", &self.0].concat())[..8])
    }

    /// Returns true for a key without text, which counts as missing.
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

/// Shown in place of a URL's query, which holds the signature.
const REDACTED_QUERY: &str = "?[redacted]";

/// A signed URL: its query alone grants access to the file. Prints without query, fragment and credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(String);

impl SecretUrl {
    /// Wraps a URL as the API returned it, unchecked: it may be malformed.
    pub fn new(url: impl Into<String>) -> Self {
        SecretUrl(url.into())
    }

    /// Returns the raw URL, for the request only.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Returns scheme, host and path, which are not secret; a fixed placeholder for a malformed URL.
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

/// Removes the user and the password of each URL in a text for people. Names of places have none already; this is for those
/// that are no place, such as a URL in place of the name of a file.
pub fn without_passwords(text: &str) -> Cow<'_, str> {
    const SLASHES: &str = "://";
    let (mut kept, mut from, mut next) = (String::new(), 0, 0);
    while let Some(found) = text[next..].find(SLASHES) {
        let start = next + found + SLASHES.len();
        let is_end = |c: char| c == '/' || c.is_whitespace() || matches!(c, '`' | '"' | '\'');
        let end = text[start..].find(is_end).map_or(text.len(), |len| start + len);
        next = end;
        match text[start..end].rsplit_once('@') {
            Some((user, _)) if user.contains(':') => {
                kept.push_str(&text[from..start]);
                from = start + user.len() + "@".len();
            }
            _ => {}
        }
    }
    if from == 0 { Cow::Borrowed(text) } else { Cow::Owned(kept + &text[from..]) }
}

/// A password of a database, as bytes: a password file has no encoding.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Vec<u8>);

impl Password {
    /// Wraps the password as it is.
    pub fn new(text: impl Into<Vec<u8>>) -> Self {
        Password(text.into())
    }

    /// Returns the raw bytes, for the authentication only.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_removed_from_text() {
        for (text, expected) in [
            ("cannot read `https://u:p@h/x`: x", "cannot read `https://h/x`: x"),
            ("a://u:p@h b://v:q@i/j@k c://d", "a://h b://i/j@k c://d"),
            (
                "postgres://ada@db:5432/crm and s3://b/a:b@c, 10:30",
                "postgres://ada@db:5432/crm and s3://b/a:b@c, 10:30",
            ),
            ("é://ü:é@h", "é://h"),
            ("://", "://"),
            ("", ""),
        ] {
            assert_eq!(without_passwords(text), expected);
        }
    }

    #[test]
    fn secrets_print_redacted() {
        let key = ApiKey::new(" k-123 \n");
        assert_eq!(key.reveal(), "k-123");
        assert!(!format!("{key} {key:?}").contains("k-123"));
        let url = SecretUrl::new("https://u:p@files.test/a/b.csv?sig=XYZ#f");
        assert_eq!(url.to_string(), "https://files.test/a/b.csv?[redacted]");
        assert_eq!(url.without_query(), "https://files.test/a/b.csv");
        assert!(!format!("{url:?}").contains("XYZ"));
        assert_eq!(format!("{:?}", Password::new("hunter2")), "Password(redacted)");
    }
}
