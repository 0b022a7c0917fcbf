//! The hosts that may receive the API key (the API's own origin, and those that the user trusts), and the removal of
//! secrets from texts that servers send back. Redirects and links never extend the list.

use std::fmt;
use std::str::FromStr;

use url::{Host, Url};

/// A further host that may receive the key: `HOST` or `HOST:PORT`, over https; over http only on loopback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedHost {
    host: String,
    /// `None` means the default port of the scheme.
    port: Option<u16>,
}

impl TrustedHost {
    /// Returns true if `url` is on this host and port, and encrypted or on loopback.
    pub fn covers(&self, url: &Url) -> bool {
        let own_port = match url.scheme() {
            "https" => 443,
            "http" if is_loopback(url) => 80,
            _ => return false,
        };
        url.host_str().is_some_and(|host| host.eq_ignore_ascii_case(&self.host))
            && url.port_or_known_default() == Some(self.port.unwrap_or(own_port))
    }
}

impl FromStr for TrustedHost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("invalid host `{text}`: expected HOST or HOST:PORT, without https://");
        // The URL parser defines a valid host. Anything beyond host and port is refused below.
        let url = Url::parse(&format!("https://{text}/")).map_err(|_| wrong())?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(wrong)?;
        // The parser accepts these: a path, user info, a query, a fragment, and characters that look like patterns.
        if text.contains(['/', '@', '?', '#', '*', '%']) {
            return Err(wrong());
        }
        // The parser drops 443, the default port of https.
        let port = if text.ends_with(":443") { Some(443) } else { url.port() };
        Ok(TrustedHost { host: host.to_owned(), port })
    }
}

impl fmt::Display for TrustedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// Returns true if the host of `url` is `localhost` or a loopback address.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// Returns true if following a link from `from` to `to` would leave https.
pub fn is_downgrade(from: &Url, to: &Url) -> bool {
    from.scheme() == "https" && to.scheme() != "https"
}

/// Replaces each of `secrets` in `text` by `[redacted]`. Secrets of fewer than 6 bytes are left alone: they are
/// settings such as `v=1`, and would match by chance.
pub(super) fn redact_secrets(text: String, secrets: &[&str]) -> String {
    const SHORTEST: usize = 6;
    let present = |secret: &&&str| secret.len() >= SHORTEST && text.contains(**secret);
    let mut found: Vec<&str> = secrets.iter().filter(present).copied().collect();
    if found.is_empty() {
        return text;
    }
    // Longest first: one secret may contain another.
    found.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    found.iter().fold(text, |text, secret| text.replace(secret, "[redacted]"))
}

/// Returns the secrets of `url`: its query, and each value of it, percent-encoded and decoded.
pub(super) fn secrets_in_url(url: &str) -> Vec<String> {
    let Ok(url) = Url::parse(url) else { return vec![url.to_owned()] };
    let Some(query) = url.query() else { return Vec::new() };
    let mut secrets = vec![query.to_owned()];
    secrets.extend(query.split('&').filter_map(|pair| Some(pair.split_once('=')?.1.to_owned())));
    secrets.extend(url.query_pairs().map(|(_, value)| value.into_owned()));
    secrets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trusted_host_is_that_host_alone() {
        let covers = |host: &str, url: &str| host.parse::<TrustedHost>().unwrap().covers(&url.parse().unwrap());
        for (host, url) in [
            ("files.test", "https://files.test/a?b=c"),
            ("Files.test", "https://files.test:443/"),
            ("files.test:443", "https://files.test/"),
            ("files.test:8443", "https://files.test:8443/"),
            ("127.0.0.1:8064", "http://127.0.0.1:8064/a"),
            ("[::1]:8064", "http://[::1]:8064/a"),
            ("localhost", "http://localhost/a"),
        ] {
            assert!(covers(host, url), "{host} {url}");
        }
        for (host, url) in [
            ("files.test", "http://files.test/"),
            ("files.test", "https://files.test:8443/"),
            ("files.test:8443", "https://files.test/"),
            ("files.test", "https://a.files.test/"),
            ("files.test", "https://files.test.evil.test/"),
            ("files.test", "https://files.test@evil.test/"),
            ("files.test:80", "http://files.test/"),
            ("127.0.0.1", "http://127.0.0.1:8064/a"),
        ] {
            assert!(!covers(host, url), "{host} {url}");
        }
        for text in ["", "https://files.test", "files.test/a", "*.files.test", "a@b", "a b", "a:99999"] {
            let expected = format!("invalid host `{text}`: expected HOST or HOST:PORT, without https://");
            assert_eq!(text.parse::<TrustedHost>().unwrap_err(), expected);
        }
        assert_eq!("files.test:443".parse::<TrustedHost>().unwrap().to_string(), "files.test:443");
    }

    #[test]
    fn quoted_secrets_are_redacted() {
        let secrets = secrets_in_url("https://f.test/a?sig=marked%2Fsig&Expires=12345678&v=1");
        let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
        let quoted = "no marked/sig or marked%2Fsig in ?sig=marked%2Fsig&Expires=12345678&v=1, version 1".to_owned();
        assert_eq!(redact_secrets(quoted, &secrets), "no [redacted] or [redacted] in ?[redacted], version 1");
    }
}
