//! The proxy variables of the environment. The HTTP library reads them, and ignores a value that it does not understand:
//! requests would then go around a proxy that the user named.

use url::Url;

use super::trust::is_loopback;

/// Schemes of proxies that requests can go through.
const SCHEMES: [&str; 6] = ["http", "https", "socks4", "socks4a", "socks5", "socks5h"];

/// Returns the problem of a proxy variable that applies to requests of `url`, as one clause; `None` if there is none.
/// `variable` returns the value of a variable of the environment. The
/// value is not shown, for it may hold a password.
pub fn proxy_problem(url: &Url, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    // Loopback addresses never go through a proxy.
    if is_loopback(url) {
        return None;
    }
    let names: &[&str] = match url.scheme() {
        "https" => &["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"],
        _ => &["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"],
    };
    names.iter().find_map(|name| {
        let value = variable(name).filter(|value| !value.trim().is_empty())?;
        let with_scheme = if value.contains("://") { value } else { format!("http://{value}") };
        match Url::parse(with_scheme.trim()) {
            Ok(proxy) if !SCHEMES.contains(&proxy.scheme()) => Some(format!(
                "{name} names a proxy of the unknown scheme {}; use one of {}",
                proxy.scheme(),
                SCHEMES.join(", ")
            )),
            Ok(proxy) if proxy.host_str().is_none_or(str::is_empty) => Some(format!("{name} names no host")),
            Ok(_) => None,
            Err(_) => Some(format!("{name} is not the URL of a proxy")),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
        // It does not apply.
        assert_eq!(of(https, "HTTP_PROXY", "http://a b"), None);
        assert!(of("http://api.test/", "HTTP_PROXY", "http://a b").is_some());
    }
}
