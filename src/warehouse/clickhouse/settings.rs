//! Settings of a connection: the URL, then the variables of `clickhouse-client`, then defaults. Reads no file and uses no
//! network.

use std::fmt;

use url::Url;

use crate::net::is_loopback;

/// Ports of the HTTP interface.
const HTTP_PORT: u16 = 8123;
const HTTPS_PORT: u16 = 8443;

/// A server, a database and a user. `Debug` prints no password.
#[derive(Clone)]
pub struct Settings {
    /// `http://host:port/`.
    pub(super) server: Url,
    pub(super) user: String,
    pub(super) password: Option<String>,
    pub(super) database: String,
    /// True if the URL has a password.
    is_password_in_url: bool,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("target", &self.target()).field("user", &self.user).finish_non_exhaustive()
    }
}

/// A setting that cannot be used. The text contains no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SettingsError(String);

impl Settings {
    /// Resolves a URL, `clickhouse://user:password@host:port/database` or `clickhouse+https://…`. What it leaves out comes
    /// from CLICKHOUSE_HOST, CLICKHOUSE_USER, CLICKHOUSE_PASSWORD and CLICKHOUSE_DATABASE, which `variable` returns, else
    /// it is `localhost`, `default`, none and `default`.
    pub fn resolve(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let fail = |what: &str| Err(SettingsError(what.to_owned()));
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let (scheme, rest) = text.split_once(':').unwrap_or((text, ""));
        let web = match scheme {
            "clickhouse" => "http",
            "clickhouse+https" => "https",
            _ => return fail("the URL of a ClickHouse server begins with `clickhouse://` or `clickhouse+https://`"),
        };
        let rest = match rest.strip_prefix("//") {
            Some(rest) => rest,
            None if rest.is_empty() => "",
            None => return fail("the URL of a ClickHouse server has `//` after its scheme"),
        };
        if rest.contains(['?', '#']) {
            return fail(
                "the URL of a ClickHouse server has no parameters; it is clickhouse://user@host:port/database",
            );
        }
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let database = database.strip_suffix('/').unwrap_or(database);
        if database.contains('/') {
            return fail("the URL of a ClickHouse server names one database after its host");
        }
        let (login, host) = match authority.rsplit_once('@') {
            Some((login, host)) => (login, host),
            None => ("", authority),
        };
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (login, None),
        };
        let decode = |text: &str| decoded(text).ok_or_else(|| SettingsError("the URL has a broken %-escape".into()));
        let host = match host {
            "" => set("CLICKHOUSE_HOST").unwrap_or_else(|| "localhost".to_owned()),
            host if host.starts_with(':') => format!("localhost{host}"),
            host => host.to_owned(),
        };
        // An address of IPv6 that comes from the environment has no brackets.
        let host = match host.parse::<std::net::Ipv6Addr>() {
            Ok(address) => format!("[{address}]"),
            Err(_) => host,
        };
        // The parser would drop 80 and 443, the ports of the web, which are not the default here.
        let has_port = host.rsplit_once(':').is_some_and(|(before, port)| {
            !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) && !before.ends_with(':')
        });
        let mut server = match Url::parse(&format!("{web}://{host}/")) {
            Ok(server) if server.host_str().is_some_and(|host| !host.is_empty()) && server.path() == "/" => server,
            _ => return fail("the host or port of the ClickHouse server is not valid"),
        };
        if !has_port {
            let port = if web == "https" { HTTPS_PORT } else { HTTP_PORT };
            let _ = server.set_port(Some(port));
        }
        let user = match user {
            "" => set("CLICKHOUSE_USER").unwrap_or_else(|| "default".to_owned()),
            user => decode(user)?,
        };
        let is_password_in_url = password.is_some_and(|password| !password.is_empty());
        let password = match password {
            Some(password) => Some(decode(password)?),
            None => set("CLICKHOUSE_PASSWORD"),
        };
        let database = match database {
            "" => set("CLICKHOUSE_DATABASE").unwrap_or_else(|| "default".to_owned()),
            database => decode(database)?,
        };
        Ok(Settings {
            server,
            user,
            password: password.filter(|password| !password.is_empty()),
            database,
            is_password_in_url,
        })
    }

    /// Returns the server for messages: `host:8123`.
    pub(super) fn host(&self) -> String {
        let host = self.server.host_str().unwrap_or_default();
        format!("{host}:{}", self.server.port_or_known_default().unwrap_or_default())
    }

    /// Returns the server and database for messages, without secrets.
    pub(super) fn target(&self) -> String {
        let scheme = if self.server.scheme() == "https" { "clickhouse+https" } else { "clickhouse" };
        format!("{scheme}://{}/{}", self.host(), self.database)
    }

    /// Returns sentences for the user.
    pub(super) fn notes(&self) -> Vec<String> {
        let note =
            "others can see the password of the URL in the list of processes; CLICKHOUSE_PASSWORD keeps it from them";
        self.is_password_in_url.then(|| note.to_owned()).into_iter().collect()
    }

    /// Returns true if the password would cross a network in clear text.
    pub fn sends_password_unencrypted(&self) -> bool {
        self.password.is_some() && self.server.scheme() == "http" && !is_loopback(&self.server)
    }
}

/// Decodes %-escapes.
fn decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        if *first == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            out.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            out.push(*first);
            rest = after;
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(url: &str, variables: &[(&str, &str)]) -> Result<(String, String, Option<String>, String), String> {
        let variable = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, v)| (*v).to_owned());
        let settings = Settings::resolve(url, variable).map_err(|error| error.to_string())?;
        assert!(!format!("{settings:?}{}", settings.target()).contains("marked"));
        let server = format!("{}://{}", settings.server.scheme(), settings.host());
        Ok((server, settings.user, settings.password, settings.database))
    }

    #[test]
    fn the_url_goes_before_the_environment() {
        let own = |server: &str, user: &str, password: Option<&str>, database: &str| {
            Ok((server.to_owned(), user.to_owned(), password.map(str::to_owned), database.to_owned()))
        };
        let environment = [
            ("CLICKHOUSE_HOST", "ch.example"),
            ("CLICKHOUSE_USER", "loader"),
            ("CLICKHOUSE_PASSWORD", "marked"),
            ("CLICKHOUSE_DATABASE", "crm"),
        ];
        assert_eq!(resolved("clickhouse:", &[]), own("http://localhost:8123", "default", None, "default"));
        assert_eq!(
            resolved("clickhouse:", &environment),
            own("http://ch.example:8123", "loader", Some("marked"), "crm")
        );
        assert_eq!(
            resolved("clickhouse+https://ada:marked%2f@p@db/x%20y", &environment),
            own("https://db:8443", "ada", Some("marked/@p"), "x y")
        );
        assert_eq!(resolved("clickhouse+https://db:443/", &[]), own("https://db:443", "default", None, "default"));
        assert_eq!(resolved("clickhouse://[::1]", &[]), own("http://[::1]:8123", "default", None, "default"));
        assert_eq!(resolved("clickhouse://:9/x", &[]), own("http://localhost:9", "default", None, "x"));
        let host = [("CLICKHOUSE_HOST", "::1")];
        assert_eq!(resolved("clickhouse:", &host), own("http://[::1]:8123", "default", None, "default"));
    }

    #[test]
    fn what_is_no_url_of_a_server_is_refused() {
        for url in [
            "clickhouse:db",
            "clickhouse://db?user=a",
            "clickhouse://db/a/b",
            "clickhouse://db:x",
            "clickhouse://a%zz@db",
        ] {
            assert!(resolved(url, &[]).is_err(), "{url}");
        }
    }

    #[test]
    fn a_password_in_clear_text_is_for_this_machine() {
        let sends = |url: &str| Settings::resolve(url, |_| None).unwrap().sends_password_unencrypted();
        assert!(sends("clickhouse://a:b@db"));
        for url in
            ["clickhouse://a@db", "clickhouse://a:b@127.0.0.1", "clickhouse://a:b@[::1]:1", "clickhouse+https://a:b@db"]
        {
            assert!(!sends(url), "{url}");
        }
    }
}
