//! Where the key may go: the API's own origin, and hosts that the user names. Nowhere else, whoever sends us there.

use std::fmt;
use std::str::FromStr;

use url::{Host, Url};

/// A further host that may have the key: `HOST` or `HOST:PORT`, over https; over http on this machine only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedHost {
    host: String,
    /// `None` is the scheme's own port.
    port: Option<u16>,
}

impl TrustedHost {
    /// True if `url` leads there, by a way on which nobody listens.
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
        let wrong = || format!("`{text}` is no host; give HOST or HOST:PORT, without https://");
        // A URL's own rules say what a host is; what is more than a host and a port is refused.
        let url = Url::parse(&format!("https://{text}/")).map_err(|_| wrong())?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(wrong)?;
        if text.contains(['/', '@', '?', '#', '*', '%']) {
            return Err(wrong());
        }
        // The port of https itself is dropped by the parser.
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

/// True for addresses of this machine.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// True if going from `from` to `to` would give up encryption.
pub fn is_downgrade(from: &Url, to: &Url) -> bool {
    from.scheme() == "https" && to.scheme() != "https"
}

/// `text` without any of `secrets`, which a server may quote back at us. Short ones are no secrets, and would be found
/// by chance.
pub(super) fn scrubbed(text: String, secrets: &[&str]) -> String {
    const SHORTEST: usize = 6;
    let present = |secret: &&&str| secret.len() >= SHORTEST && text.contains(**secret);
    let mut found: Vec<&str> = secrets.iter().filter(present).copied().collect();
    if found.is_empty() {
        return text;
    }
    // A longer one may hold a shorter one.
    found.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    found.iter().fold(text, |text, secret| text.replace(secret, "[redacted]"))
}

/// What of `url` is a secret: its query, as it stands and decoded, and the values in it.
pub(super) fn secrets_of(url: &str) -> Vec<String> {
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
            assert!(text.parse::<TrustedHost>().is_err(), "{text}");
        }
        assert_eq!("files.test:443".parse::<TrustedHost>().unwrap().to_string(), "files.test:443");
    }

    #[test]
    fn secrets_that_are_quoted_are_taken_out() {
        let secrets = secrets_of("https://f.test/a?sig=marked%2Fsig&Expires=12345678&v=1");
        let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
        let said = "no marked/sig or marked%2Fsig in ?sig=marked%2Fsig&Expires=12345678&v=1, version 1".to_owned();
        assert_eq!(scrubbed(said, &secrets), "no [redacted] or [redacted] in ?[redacted], version 1");
    }
}
