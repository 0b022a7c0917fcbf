//! Checks of a request's host name and of the web page that sent it. While any API key is accepted, the host name keeps
//! foreign web pages out: a page can rebind its own DNS name to this machine, so that the browser takes the service for
//! the page's own origin, but the browser still sends that name. A request that changes something is accepted from the
//! service's own page and from allowed origins only, with and without a key: a browser sends cookies, and the forms of any
//! page, without asking the service.

use std::net::IpAddr;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, Uri, Version, header};

/// The host names under which the service responds.
pub(super) struct Hosts {
    /// Names besides IP addresses and `localhost`, in lower case; `None` accepts every name.
    names: Option<Vec<String>>,
    /// Origins of web pages that may use the API, as browsers send them, in lower case.
    origins: Vec<String>,
}

/// The reason to refuse a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The request has no valid host, or several; the text is the cause.
    Malformed(&'static str),
    /// The name is not among those allowed.
    Host(String),
    /// A web page of this origin sent the request.
    Origin(String),
    /// A web page of another origin sent a request that changes something; `None` if the browser does not name the origin.
    Change(Option<String>),
}

impl Hosts {
    /// Returns the check for a service. With an API key, which no foreign page knows, every name is accepted, unless
    /// `allowed` lists names. `origins` are those of web pages that may use the API.
    pub(super) fn new(allowed: &[String], origins: &[String], has_key: bool) -> Self {
        let names = allowed.iter().map(|name| canonical(name)).collect();
        let origins = origins.iter().map(|origin| origin.to_ascii_lowercase()).collect();
        Hosts { names: (!has_key || !allowed.is_empty()).then_some(names), origins }
    }

    /// Checks the host of a request, and the origin of the web page that sent it, if one did. Headers that proxies add,
    /// such as `X-Forwarded-Host`, have no say: a page can set them.
    pub(super) fn check(&self, version: Version, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let host = match (hosts.next(), hosts.next()) {
            (Some(host), None) => Some(authority(host.as_bytes()).ok_or(Refusal::Malformed("invalid Host header"))?),
            (Some(_), Some(_)) => return Err(Refusal::Malformed("several Host headers")),
            // Version 1.0 has none, and no browser speaks it.
            (None, _) if version < Version::HTTP_11 || uri.authority().is_some() => None,
            (None, _) => return Err(Refusal::Malformed("the Host header is missing")),
        };
        let Some(names) = &self.names else { return Ok(()) };
        let is_allowed = |authority: &Authority| match name_or_ip(authority) {
            Name::Ip(_) => true,
            Name::Text(name) => name == "localhost" || names.contains(&name),
        };
        // A request line with a whole URL has a host of its own.
        for authority in host.iter().chain(uri.authority()) {
            if !is_allowed(authority) {
                return Err(Refusal::Host(authority.host().to_owned()));
            }
        }
        // The origin of another web page on this machine is no reason to refuse a request that changes nothing: without
        // permission by CORS, which only allowed origins have, a page cannot send a key to another origin.
        let is_known_origin = |origin: &str| {
            let of = origin.split_once("://").and_then(|(_, authority)| self::authority(authority.as_bytes()));
            of.is_some_and(|origin| match name_or_ip(&origin) {
                Name::Ip(ip) => ip.is_loopback() || host.as_ref() == Some(&origin),
                Name::Text(_) => is_allowed(&origin),
            })
        };
        for origin in headers.get_all(header::ORIGIN) {
            let origin = String::from_utf8_lossy(origin.as_bytes());
            if !self.is_allowed_origin(&origin) && !is_known_origin(&origin) {
                return Err(Refusal::Origin(origin.into_owned()));
            }
        }
        Ok(())
    }

    /// Checks that a request which may change something was not sent by a web page of another origin: the browser says so
    /// in `Sec-Fetch-Site`, or `Origin` is that of the service. A client that sends neither is no browser, because every
    /// browser sends `Origin` with such requests. `for_page` excludes allowed origins, which may use the API but not the
    /// session of the page.
    pub(super) fn check_change(&self, method: &Method, headers: &HeaderMap, for_page: bool) -> Result<(), Refusal> {
        if method.is_safe() {
            return Ok(());
        }
        let texts = |name| headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        let sites: Vec<_> = texts(header::HeaderName::from_static("sec-fetch-site")).collect();
        let origins: Vec<_> = texts(header::ORIGIN).collect();
        if sites.is_empty() && origins.is_empty() {
            return Ok(());
        }
        let is_own_site = |site: &str| site == "same-origin" || site == "none";
        if !sites.is_empty() && sites.iter().all(|site| is_own_site(site)) {
            return Ok(());
        }
        let host = headers.get(header::HOST).and_then(|host| authority(host.as_bytes()));
        let is_own = |origin: &str| {
            let of = origin.split_once("://").and_then(|(_, authority)| self::authority(authority.as_bytes()));
            of.is_some() && of == host
        };
        let is_allowed = |origin: &str| is_own(origin) || !for_page && self.is_allowed_origin(origin);
        if !origins.is_empty() && origins.iter().all(|origin| is_allowed(origin)) {
            return Ok(());
        }
        Err(Refusal::Change(origins.first().map(|origin| origin.clone().into_owned())))
    }

    fn is_allowed_origin(&self, origin: &str) -> bool {
        self.origins.contains(&origin.to_ascii_lowercase())
    }
}

/// The host of an authority.
enum Name {
    Ip(IpAddr),
    /// A name in the form of [`canonical`].
    Text(String),
}

fn name_or_ip(authority: &Authority) -> Name {
    let host = authority.host();
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    inner.parse().map_or_else(|_| Name::Text(canonical(host)), Name::Ip)
}

/// Parses `HOST` or `HOST:PORT`; `None` with user information, which no client sends here.
fn authority(bytes: &[u8]) -> Option<Authority> {
    Authority::try_from(bytes)
        .ok()
        .filter(|authority| !authority.as_str().contains('@') && !authority.host().is_empty())
}

/// Returns a host name in lower case and without the dot of the root, so that equal names have equal texts.
fn canonical(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(hosts: &Hosts, uri: &str, headers: &[(&str, &str)]) -> Result<(), Refusal> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(header::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        hosts.check(Version::HTTP_11, &uri.parse().unwrap(), &map)
    }

    #[test]
    fn without_a_key_only_addresses_and_allowed_names_are_hosts() {
        let hosts = Hosts::new(&["Compose_1".to_owned(), "svc.internal.".to_owned()], &[], false);
        for host in [
            "127.0.0.1",
            "127.0.0.1:80",
            "10.1.2.3:8064",
            "[::1]:8064",
            "LOCALHOST:1",
            "localhost.",
            "compose_1:8064",
            "SVC.internal",
        ] {
            assert_eq!(check(&hosts, "/", &[("host", host)]), Ok(()), "{host}");
        }
        for host in [
            "rebound.test:8064",
            "localhost.evil.test",
            "127.0.0.1.nip.test",
            "127.1",
            "x.svc.internal",
            "compose_1.evil.test",
            "localhost..",
            "[fe80::evil]x",
        ] {
            let refused = check(&hosts, "/", &[("host", host)]);
            assert!(matches!(refused, Err(Refusal::Host(_) | Refusal::Malformed(_))), "{host}: {refused:?}");
        }
        for host in ["", "a b", "127.0.0.1@evil.test", "evil.test@127.0.0.1", "localhost/x", ":80", "a,b"] {
            let refused = check(&hosts, "/", &[("host", host)]);
            assert!(refused.is_err(), "{host}");
        }
    }

    #[test]
    fn no_second_name_gets_past_the_check() {
        let hosts = Hosts::new(&[], &[], false);
        let local = ("host", "127.0.0.1:8064");
        let evil = ("host", "evil.test");
        let host = |name: &str| Err(Refusal::Host(name.to_owned()));
        for forwarded in [("x-forwarded-host", "127.0.0.1"), ("forwarded", "host=127.0.0.1"), ("x-host", "localhost")] {
            assert_eq!(check(&hosts, "/", &[evil, forwarded]), host("evil.test"));
        }
        assert_eq!(check(&hosts, "http://evil.test/workflows", &[local]), host("evil.test"));
        assert_eq!(check(&hosts, "http://127.0.0.1/workflows", &[evil]), host("evil.test"));
        let several = Err(Refusal::Malformed("several Host headers"));
        assert_eq!(check(&hosts, "/", &[local, evil]), several);
        assert_eq!(check(&hosts, "/", &[]), Err(Refusal::Malformed("the Host header is missing")));
        let old = hosts.check(Version::HTTP_10, &"/".parse().unwrap(), &HeaderMap::new());
        assert_eq!(old, Ok(()));
    }

    #[test]
    fn foreign_pages_are_refused_by_their_origin() {
        let hosts = Hosts::new(&["compose".to_owned()], &[], false);
        let with = |host: &str, origin: &str| check(&hosts, "/", &[("host", host), ("origin", origin)]);
        for (host, origin) in [
            ("127.0.0.1:8064", "http://127.0.0.1:8064"),
            ("127.0.0.1:8064", "http://localhost:3000"),
            ("10.1.2.3:8064", "http://10.1.2.3:8064"),
            ("127.0.0.1:8064", "https://compose"),
        ] {
            assert_eq!(with(host, origin), Ok(()), "{host} {origin}");
        }
        for origin in ["http://evil.test", "http://203.0.113.7", "null", "", "http://localhost.evil.test", "file://"] {
            assert_eq!(with("127.0.0.1:8064", origin), Err(Refusal::Origin(origin.to_owned())), "{origin}");
        }
    }

    #[test]
    fn with_a_key_every_name_is_accepted_unless_names_are_listed() {
        let headers = [("host", "any.test"), ("origin", "http://other.test")];
        assert_eq!(check(&Hosts::new(&[], &[], true), "/", &headers), Ok(()));
        assert_eq!(
            check(&Hosts::new(&["one.test".to_owned()], &[], true), "/", &headers),
            Err(Refusal::Host("any.test".to_owned()))
        );
    }

    #[test]
    fn changes_come_from_the_own_page_or_no_browser() {
        let pages = ["http://app.test:3000".to_owned()];
        for has_key in [false, true] {
            let hosts = Hosts::new(&[], &pages, has_key);
            let check = |method: Method, for_page: bool, headers: &[(&'static str, &str)]| {
                let mut map = HeaderMap::new();
                map.insert("host", "127.0.0.1:8064".parse().unwrap());
                for (name, value) in headers {
                    map.append(*name, value.parse().unwrap());
                }
                hosts.check_change(&method, &map, for_page).is_ok()
            };
            let own = ("origin", "http://127.0.0.1:8064");
            for headers in [
                &[][..],
                &[own],
                &[("origin", "HTTP://127.0.0.1:8064"), ("sec-fetch-site", "same-origin")],
                &[("sec-fetch-site", "none")],
                // A proxy that changes the host.
                &[("origin", "https://public.test"), ("sec-fetch-site", "same-origin")],
            ] {
                assert!(check(Method::POST, true, headers), "{headers:?}");
            }
            for headers in [
                &[("sec-fetch-site", "same-site")][..],
                &[("sec-fetch-site", "cross-site")],
                &[("sec-fetch-site", "")],
                &[("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")],
                &[("origin", "http://127.0.0.1:3000"), ("sec-fetch-site", "same-site")],
                &[("origin", "http://127.0.0.1:3000")],
                &[("origin", "http://localhost:8064")],
                &[("origin", "http://127.0.0.1:8064.evil.test")],
                &[("origin", "http://evil.test")],
                &[("origin", "null")],
                &[("origin", "")],
                &[own, ("origin", "http://evil.test")],
            ] {
                for method in [Method::POST, Method::DELETE, Method::PUT, Method::PATCH] {
                    assert!(!check(method, false, headers), "{headers:?}");
                }
                assert!(check(Method::GET, false, headers), "{headers:?}");
            }
            let app = [("origin", "http://app.test:3000"), ("sec-fetch-site", "cross-site")];
            assert!(check(Method::POST, false, &app) && !check(Method::POST, true, &app));
        }
    }
}
