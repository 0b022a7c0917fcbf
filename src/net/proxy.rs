//! The proxy variables of the environment. The HTTP library reads them, and ignores a value that it does not understand:
//! requests would then go around a proxy that the user named.

use url::Url;

use super::trust::is_loopback;

/// Schemes of proxies that requests can go through.
const SCHEMES: [&str; 6] = ["http", "https", "socks4", "socks4a", "socks5", "socks5h"];

/// A proxy that a variable of the environment names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyVariable {
    /// Name of the variable.
    pub name: &'static str,
    /// Host of the proxy.
    pub host: String,
    /// Port of the proxy; that of its scheme if none is named.
    pub port: u16,
}

/// Returns the proxy that requests of `url` go through; `None` if there is none, or if its variable has a problem. `variable`
/// returns the value of a variable of the environment.
pub fn proxy_of(url: &Url, variable: impl Fn(&str) -> Option<String>) -> Option<ProxyVariable> {
    let (name, value) = applying(url, variable)?;
    let proxy = Url::parse(value.trim()).ok()?;
    let port = proxy.port_or_known_default().unwrap_or(1080);
    let host = proxy.host_str()?.trim_start_matches('[').trim_end_matches(']').to_owned();
    SCHEMES.contains(&proxy.scheme()).then_some(ProxyVariable { name, host, port })
}

/// Returns the problem of a proxy variable that applies to requests of `url`, as one clause; `None` if there is none.
/// `variable` returns the value of a variable of the environment. The value is not shown, for it may hold a password.
pub fn proxy_problem(url: &Url, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let (name, value) = applying(url, variable)?;
    match Url::parse(value.trim()) {
        Ok(proxy) if !SCHEMES.contains(&proxy.scheme()) => Some(format!(
            "{name} names a proxy of the unknown scheme {}; use one of {}",
            proxy.scheme(),
            SCHEMES.join(", ")
        )),
        Ok(proxy) if proxy.host_str().is_none_or(str::is_empty) => Some(format!("{name} names no host")),
        Ok(_) => None,
        Err(_) => Some(format!("{name} is not the URL of a proxy")),
    }
}

/// Returns the name and the value, with a scheme, of the proxy variable that applies to requests of `url`.
fn applying(url: &Url, variable: impl Fn(&str) -> Option<String>) -> Option<(&'static str, String)> {
    // Loopback addresses never go through a proxy.
    if is_loopback(url) {
        return None;
    }
    let names: &[&'static str] = match url.scheme() {
        "https" => &["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"],
        _ => &["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"],
    };
    let set = |name: &'static str| Some((name, variable(name).filter(|value| !value.trim().is_empty())?));
    // The first one that is set counts, as for the HTTP library.
    let (name, value) = names.iter().find_map(|name| set(name))?;
    let exceptions = ["NO_PROXY", "no_proxy"].into_iter().find_map(set).map(|(_, value)| value);
    if exceptions.is_some_and(|exceptions| is_excepted(url.host_str().unwrap_or_default(), &exceptions)) {
        return None;
    }
    Some((name, if value.contains("://") { value } else { format!("http://{}", value.trim()) }))
}

/// Returns true if `exceptions`, a list as in `NO_PROXY`, has the host, a domain above it, or `*`. Ranges of addresses are
/// left to the HTTP library.
fn is_excepted(host: &str, exceptions: &str) -> bool {
    exceptions.split(',').map(|one| one.trim().trim_start_matches('.')).filter(|one| !one.is_empty()).any(|one| {
        one == "*"
            || host.eq_ignore_ascii_case(one)
            || host.to_ascii_lowercase().ends_with(&format!(".{}", one.to_ascii_lowercase()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxy_of_a_url_is_that_of_its_variable() {
        let found = |url: &str, name: &str, value: &str| {
            proxy_of(&url.parse().unwrap(), |asked| (asked == name).then(|| value.to_owned()))
                .map(|proxy| (proxy.name, proxy.host, proxy.port))
        };
        let api = "https://api.test/";
        assert_eq!(found(api, "HTTPS_PROXY", "proxy.test:8080"), Some(("HTTPS_PROXY", "proxy.test".into(), 8080)));
        assert_eq!(found(api, "ALL_PROXY", "socks5://[::1]"), Some(("ALL_PROXY", "::1".into(), 1080)));
        assert_eq!(
            found(api, "HTTPS_PROXY", "https://u:p@proxy.test"),
            Some(("HTTPS_PROXY", "proxy.test".into(), 443))
        );
        assert_eq!(found(api, "HTTP_PROXY", "http://proxy.test"), None);
        assert_eq!(found("https://127.0.0.1/", "HTTPS_PROXY", "http://proxy.test"), None);
        assert_eq!(found(api, "HTTPS_PROXY", "ftp://proxy.test"), None);
    }

    #[test]
    fn a_malformed_proxy_is_named() {
        let of = |url: &str, name: &'static str, value: &'static str| {
            proxy_problem(&url.parse().unwrap(), |asked| (asked == name).then(|| value.to_owned()))
        };
        let https = "https://api.test/";
        for good in ["http://proxy:3128", "proxy:3128", "socks5h://u:p@proxy", "https://[::1]:1/", "", " "] {
            assert_eq!(of(https, "HTTPS_PROXY", good), None, "{good}");
        }
        assert_eq!(of(https, "https_proxy", "http://a b").unwrap(), "https_proxy is not the URL of a proxy");
        assert!(of(https, "ALL_PROXY", "ftp://proxy").unwrap().contains("the unknown scheme ftp"));
        // The first variable that is set counts, and hosts may be excepted.
        let with = |other: &'static str, value: &'static str| {
            proxy_problem(&https.parse().unwrap(), |asked| match asked {
                "https_proxy" => Some("http://a b".to_owned()),
                _ => (asked == other).then(|| value.to_owned()),
            })
        };
        assert_eq!(with("HTTPS_PROXY", "http://proxy"), None);
        for (excepted, is) in
            [("api.test", true), ("x, .TEST", true), ("*", true), ("pi.test", false), ("other", false)]
        {
            assert_eq!(with("NO_PROXY", excepted).is_none(), is, "{excepted}");
        }
        // It does not apply.
        assert_eq!(of(https, "HTTP_PROXY", "http://a b"), None);
        assert!(of("http://api.test/", "HTTP_PROXY", "http://a b").is_some());
    }
}
