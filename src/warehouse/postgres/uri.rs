//! Connection URLs, by the grammar of libpq: several hosts, sockets as percent-encoded hosts, parameters in the query.
//! The `url` crate reads none of these. No error repeats the text of a URL, which may contain a password.

use super::parameters::{Origin, Values};

/// Returns the part after the scheme of a URL of this target; `None` for other URLs.
pub(super) fn without_scheme(url: &str) -> Option<&str> {
    url.strip_prefix("postgresql:").or_else(|| url.strip_prefix("postgres:"))
}

/// Reads a URL: `postgres://[USER[:PASSWORD]@][HOST[:PORT],…][/DATABASE][?NAME=VALUE&…]`, or `postgres:[?…]` with no
/// host at all.
pub(super) fn parse(url: &str) -> Result<Values, String> {
    let rest = without_scheme(url).ok_or("it does not begin with `postgres:`")?;
    let (rest, has_authority) = match rest.strip_prefix("//") {
        Some(rest) => (rest, true),
        None if rest.is_empty() || rest.starts_with('?') => (rest, false),
        None => {
            return Err("write `postgres://HOST/DATABASE`, or `postgres:` for the settings of the environment".into());
        }
    };
    let mut values = Values::default();
    let mut set = |name: &str, text: &str| -> Result<(), String> {
        if !text.is_empty() {
            values.set(name, decode(text, name)?, Origin::Url);
        }
        Ok(())
    };

    // An `@` before the first `/` ends the credentials. libpq looks at no other character, and neither does this: a
    // password may contain `?`.
    let authority_end = if has_authority { rest.find('/').unwrap_or(rest.len()) } else { 0 };
    let rest = match rest[..authority_end].find('@') {
        Some(at) => {
            let (user, password) = rest[..at].split_once(':').unwrap_or((&rest[..at], ""));
            set("user", user)?;
            set("password", password)?;
            &rest[at + 1..]
        }
        None => rest,
    };

    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    // libpq reads a name of a host there. It is rather the rest of a password, and messages name hosts.
    if rest[..end].contains('@') {
        return Err("it has a second `@` before the host; write `%40` for one in a user or a password".into());
    }
    let (hosts, ports) = split_hosts(&rest[..end])?;
    set("host", &hosts)?;
    set("port", &ports)?;
    let rest = &rest[end..];
    let (database, query) = rest.split_once('?').unwrap_or((rest, ""));
    set("dbname", database.strip_prefix('/').unwrap_or(database))?;
    read_query(query, &mut values)?;
    Ok(values)
}

/// Splits `h1:1,[::1],h2` into the lists `h1,::1,h2` and `1,,`.
fn split_hosts(text: &str) -> Result<(String, String), String> {
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    for part in text.split(',') {
        let (host, port) = match part.strip_prefix('[') {
            Some(inner) => {
                let (host, rest) = inner.split_once(']').ok_or("an IPv6 address lacks its `]`")?;
                if host.is_empty() {
                    return Err("an IPv6 address is empty".into());
                }
                match rest.strip_prefix(':') {
                    Some(port) => (host, port),
                    None if rest.is_empty() => (host, ""),
                    None => return Err("an IPv6 address is followed by neither a port nor `/`".into()),
                }
            }
            None => part.split_once(':').unwrap_or((part, "")),
        };
        hosts.push(host);
        ports.push(port);
    }
    Ok((hosts.join(","), ports.join(",")))
}

/// Reads the parameters after `?`. They replace what is before it.
fn read_query(query: &str, values: &mut Values) -> Result<(), String> {
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or("a parameter after `?` has no `=`")?;
        let name = decode(name, "a parameter's name")?;
        if value.contains('=') {
            return Err(format!("the parameter `{name}` has a second `=`; write `%3D`"));
        }
        let value = decode(value, &name)?;
        // The spelling of JDBC, which libpq understands too.
        let (name, value) = match (name.as_str(), value.as_str()) {
            ("ssl", "true") => ("sslmode", "require".to_owned()),
            (name, _) => (name, value),
        };
        if !values.set(name, value, Origin::Url) {
            return Err(format!("`{name}` is not a connection parameter"));
        }
    }
    Ok(())
}

/// Decodes `%41` as in libpq, which leaves `+` alone.
fn decode(text: &str, what: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digit = |at: usize| after.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (digit(0), digit(1)) {
            (Some(0), Some(0)) => return Err(format!("`{what}` contains %00")),
            (Some(high), Some(low)) => bytes.push((high * 16 + low) as u8),
            _ => return Err(format!("`{what}` contains a `%` without two hexadecimal digits; write `%25`")),
        }
        rest = &after[2..];
    }
    String::from_utf8(bytes).map_err(|_| format!("`{what}` is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parameters of a URL as `name=value` words, or the error.
    fn words(url: &str) -> String {
        match parse(url) {
            Ok(values) => {
                let names = super::super::parameters::PARAMETERS.iter().map(|parameter| parameter.name);
                let words = names.filter_map(|name| Some(format!("{name}={}", values.text(name)?)));
                words.collect::<Vec<_>>().join(" ")
            }
            Err(error) => error,
        }
    }

    /// libpq takes the host `cret@h`, and would show the end of the password in its message.
    #[test]
    fn a_password_with_an_at_sign_is_refused_without_its_text() {
        for url in ["postgres://u:pa@cret@h/db", "postgres://u@cret@h:5432", "postgres://u:p@cret@h?user=a"] {
            let error = words(url);
            assert!(error.contains("second `@`") && error.contains("%40") && !error.contains("cret"), "{error}");
        }
        assert_eq!(words("postgres://u:pa%40cret@h/db"), "host=h dbname=db user=u password=pa@cret");
    }

    /// Most of these are the cases of libpq's own test, 001_uri.pl.
    #[test]
    fn urls_are_read_as_by_libpq() {
        for (url, expected) in [
            (
                "postgresql://uri-user:secret@host:12345/db",
                "host=host port=12345 dbname=db user=uri-user password=secret",
            ),
            ("postgresql://uri-user@host/", "host=host user=uri-user"),
            ("postgresql://host:12345/", "host=host port=12345"),
            ("postgresql://host?uzer=", "`uzer` is not a connection parameter"),
            ("postgres://%68ost/%64b", "host=host dbname=db"),
            ("postgresql://[::1]:12345/db", "host=::1 port=12345 dbname=db"),
            ("postgresql://[2001:db8::1234]/", "host=2001:db8::1234"),
            ("postgres://?hostaddr=127.0.0.1", "hostaddr=127.0.0.1"),
            ("postgresql:///?host=/path/to/socket/dir", "host=/path/to/socket/dir"),
            ("postgresql://%2Fvar%2Flib%2Fpostgresql/dbname", "host=/var/lib/postgresql dbname=dbname"),
            ("postgresql://otheruser@?host=/no/such/directory", "host=/no/such/directory user=otheruser"),
            ("postgres://otheruser@/?host=/no/such", "host=/no/such user=otheruser"),
            ("postgres://otheruser@:12345?host=/no/such", "host=/no/such port=12345 user=otheruser"),
            ("postgres://a,b:2,c/db", "host=a,b,c port=,2, dbname=db"),
            ("postgres://a/db?host=b&port=7&host=c", "host=c port=7 dbname=db"),
            ("postgres://u:p?w@h/", "host=h user=u password=p?w"),
            ("postgres://u:a+b%20c@h/", "host=h user=u password=a+b c"),
            ("postgres://:pw@h", "host=h password=pw"),
            ("postgres://h/db?ssl=true", "host=h dbname=db sslmode=require"),
            ("postgres:", ""),
            ("postgresql://", ""),
            ("postgres:?service=crm", "service=crm"),
            ("postgres:?host=@x&user=a@b", "host=@x user=a@b"),
            ("postgresql://host/db?u%7aer=x", "`uzer` is not a connection parameter"),
            ("postgresql://h?user", "a parameter after `?` has no `=`"),
            ("postgresql://h?user=a=b", "the parameter `user` has a second `=`; write `%3D`"),
            ("postgresql://[::1", "an IPv6 address lacks its `]`"),
            ("postgresql://[]", "an IPv6 address is empty"),
            ("postgresql://[::1]z", "an IPv6 address is followed by neither a port nor `/`"),
            ("postgresql://%zz", "`host` contains a `%` without two hexadecimal digits; write `%25`"),
            ("postgresql://%00", "`host` contains %00"),
            ("postgresql://h?user=%1", "`user` contains a `%` without two hexadecimal digits; write `%25`"),
            ("mysql://h", "it does not begin with `postgres:`"),
        ] {
            assert_eq!(words(url), expected, "{url}");
        }
        assert!(words("postgres:crm").contains("postgres://HOST/DATABASE"));
    }
}
