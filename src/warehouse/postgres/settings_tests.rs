//! Tests of the resolver that need no server. That it resolves as libpq does is compared with psql in tests/it.

use std::collections::BTreeMap;

use super::*;
use crate::warehouse::postgres::parameters::{PARAMETERS, Support};

fn resolve(url: &str, variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    let mut variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
    variables.entry("HOME").or_insert("/nonexistent");
    variables.entry("PGSYSCONFDIR").or_insert("/nonexistent");
    let environment = Environment::new(|name| variables.get(name).map(|value| (*value).to_owned()));
    Settings::resolve(url, &environment.with_os_user("ann"))
}

fn servers(settings: &Settings) -> String {
    settings.servers.iter().map(Server::to_string).collect::<Vec<_>>().join(" ")
}

#[test]
fn defaults_are_those_of_libpq() {
    let settings = resolve("postgres:", &[]).unwrap();
    assert_eq!(servers(&settings), format!("{SOCKET_DIRECTORY}/.s.PGSQL.5432"));
    assert_eq!((settings.user(), settings.database()), ("ann", "ann"));
    assert_eq!(settings.application_name, "drawoff");
    assert_eq!(settings.connect_timeout, Some(Duration::from_secs(30)));
    assert_eq!(settings.tcp.keepalive, Some(DEFAULT_KEEPALIVE));
    assert!(settings.notes().is_empty());
    // The database is named after the user of the session.
    assert_eq!(resolve("postgres:", &[("PGUSER", "bob")]).unwrap().database(), "bob");
}

#[test]
fn lists_of_hosts_and_ports() {
    let of = |url: &str, variables: &[(&str, &str)]| servers(&resolve(url, variables).unwrap());
    assert_eq!(of("postgres://a:1,[::1],/", &[]), format!("a:1 [::1]:5432 {SOCKET_DIRECTORY}/.s.PGSQL.5432"));
    assert_eq!(of("postgres://a,b?port=7", &[]), "a:7 b:7");
    assert_eq!(of("postgres://a", &[("PGPORT", "7")]), "a:7");
    // A list of hosts in a URL has a list of ports, even if it is of empty ones.
    assert_eq!(of("postgres://a,b", &[("PGPORT", "7")]), "a:5432 b:5432");
    assert_eq!(of("postgres:?hostaddr=10.0.0.1,10.0.0.2", &[("PGPORT", "7")]), "10.0.0.1:7 10.0.0.2:7");
    assert_eq!(of("postgres:?host=@x", &[]), "@x/.s.PGSQL.5432");
    let fails = |url: &str| resolve(url, &[]).unwrap_err().to_string();
    assert_eq!(
        fails("postgres://a?port=1,2"),
        "invalid connection parameter `port` (from the URL): 2 ports for 1 hosts"
    );
    assert!(fails("postgres://a,b?hostaddr=10.0.0.1").contains("2 hosts, and 1 addresses"));
    assert!(fails("postgres://a?hostaddr=b").contains("expected a numeric address"));
    for port in ["0", "65536", "x", "-1"] {
        assert!(fails(&format!("postgres://a?port={port}")).contains("from 1 to 65535"), "{port}");
    }
}

#[test]
fn other_machines_are_verified() {
    let mode = |url: &str, variables: &[(&str, &str)]| {
        let settings = resolve(url, variables).unwrap();
        settings.tls.mode_for(&settings.servers[0].host).as_str()
    };
    for local in ["localhost", "LOCALHOST", "127.0.0.1", "127.8.0.1", "[::1]", "db.example?hostaddr=127.0.0.1"] {
        assert_eq!(mode(&format!("postgres://{local}"), &[]), "prefer", "{local}");
        assert_eq!(mode(&format!("postgres://{local}"), &[("PGSSLMODE", "verify-full")]), "verify-full", "{local}");
    }
    for other in ["db.example", "10.0.0.1", "[::2]", "localhost.example", "127.1", "localhost?hostaddr=10.0.0.1"] {
        assert_eq!(mode(&format!("postgres://{other}"), &[]), "verify-full", "{other}");
        assert_eq!(mode(&format!("postgres://{other}"), &[("PGSSLMODE", "disable")]), "disable", "{other}");
        assert_eq!(mode(&format!("postgres://{other}"), &[("PGREQUIRESSL", "1")]), "require", "{other}");
    }
    assert_eq!(mode("postgres:?host=/tmp&sslmode=require", &[]), "disable");
    assert_eq!(mode("postgres://localhost?sslrootcert=system", &[]), "verify-full");
    let fails = |url: &str| resolve(url, &[]).unwrap_err().to_string();
    assert!(fails("postgres://h?sslmode=verify-ca").contains("set `sslrootcert`"));
    assert!(fails("postgres://h?sslmode=require&sslrootcert=system").contains("use `verify-full`"));
    assert!(fails("postgres://h?sslnegotiation=direct").contains("needs `sslmode=require`"));
    assert_eq!(
        fails("postgres://h?sslmode=full"),
        "invalid connection parameter `sslmode` (from the URL): expected `disable`, `allow`, `prefer`, `require`, \
         `verify-ca` or `verify-full`"
    );
}

#[test]
fn passwords_are_in_no_text() {
    let secret = "pw-marked";
    let settings = resolve("postgres://ann:pw-marked@h/db", &[]).unwrap();
    assert_eq!(settings.servers[0].password, Some(Password::new(secret)));
    assert!(settings.notes()[0].contains("the URL contains a password"), "{:?}", settings.notes());
    assert!(!format!("{settings:?} {} {:?}", settings.target(), settings.notes()).contains(secret));
    assert!(resolve("postgres://ann@h/db", &[("PGPASSWORD", secret)]).unwrap().notes().is_empty());
    for url in [
        "postgres://ann:pw-marked%zz@h/db",
        "postgres://ann:pw-marked@[::1/db",
        "postgres://ann:pw-marked@h/db?x",
        "postgres://ann:pw-marked@h/db?pw-marked%00=1",
        "postgres://h?password=pw-marked=",
        "postgres://ann:pw-marked@h:x/db",
        "postgres://ann:a@pw-marked/db?sslmode=x",
        "postgres:ann:pw-marked@h/db",
        "postgres://h?sslpassword=pw-marked",
        "postgres://h?port=pw-marked",
    ] {
        let error = resolve(url, &[]).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(secret), "{error:?}");
    }
}

#[test]
fn a_password_file_that_others_can_read_is_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().to_str().unwrap();
    let file = dir.path().join(".pgpass");
    std::fs::write(&file, "*:*:*:*:pw-marked\n").unwrap();
    let resolve = || resolve("postgres://h", &[("HOME", home)]).unwrap();
    #[cfg(unix)]
    {
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
        let settings = resolve();
        assert_eq!(settings.servers[0].password, None);
        let expected = format!(
            "the password file {0} is ignored: others have access to it (mode 0640); run `chmod 600 {0}`",
            file.display()
        );
        assert_eq!(settings.notes(), [expected]);
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
    assert_eq!(resolve().servers[0].password, Some(Password::new("pw-marked")));
    assert_eq!(resolve().servers[0].password_origin, Some(format!("line 1 of {}", file.display())));
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    assert!(resolve().notes()[0].contains("not a regular file"));
}

#[test]
fn a_target_has_one_name() {
    let target = |url: &str| resolve(url, &[("PGPORT", "5432")]).unwrap().target();
    let expected = "postgres://db.example:5432/crm";
    for url in [
        "postgres://db.example/crm",
        "postgresql://ann:pw@DB.example:5432/crm?sslmode=require",
        "postgres:?host=db.example&dbname=crm&application_name=x",
    ] {
        assert_eq!(target(url), expected, "{url}");
    }
    assert_eq!(target("postgres://[::1],b/a%2Fb"), "postgres://[::1]:5432,b:5432/a%2Fb");
    assert_eq!(target("postgres:///x?host=/tmp/a"), "postgres://%2Ftmp%2Fa:5432/x");
}

/// Parameters that only libpq has are refused, wherever they are set, and the page about connections names them.
#[test]
fn what_is_not_supported_is_refused_and_documented() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/warehouses.md")).unwrap();
    for parameter in PARAMETERS {
        let name = parameter.name;
        if let Support::Only(values) = parameter.support {
            assert!(page.contains(&format!("`{name}`")), "docs/warehouses.md does not name {name}");
            let error = resolve(&format!("postgres://h?{name}=marked"), &[]).unwrap_err().to_string();
            assert!(error.contains(&format!("`{name}` (from the URL)")) && !error.contains("marked"), "{error}");
            for value in values {
                assert!(resolve(&format!("postgres://h?{name}={value}"), &[]).is_ok(), "{name}={value}");
            }
            if let Some(variable) = parameter.variable {
                let error = resolve("postgres://h", &[(variable, "marked")]).unwrap_err().to_string();
                assert!(error.contains(&format!("from {variable}")), "{error}");
            }
        }
    }
}

#[test]
fn numbers_and_words_are_checked() {
    let timeout = |value: &str| {
        resolve(&format!("postgres://h?connect_timeout={value}"), &[]).map(|settings| settings.connect_timeout)
    };
    assert_eq!(timeout("0"), Ok(None));
    assert_eq!(timeout("-1"), Ok(None));
    assert_eq!(timeout("1"), Ok(Some(Duration::from_secs(2))));
    assert_eq!(timeout("%207%20"), Ok(Some(Duration::from_secs(7))));
    assert!(timeout("7s").unwrap_err().to_string().contains("expected an integer"));
    let error = resolve("postgres://h", &[("PGTARGETSESSIONATTRS", "master")]).unwrap_err().to_string();
    assert!(error.contains("(from PGTARGETSESSIONATTRS): expected `any`, `read-write`"), "{error}");
    assert_eq!(resolve("postgres://h?keepalives=0", &[]).unwrap().tcp.keepalive, None);
    let tcp = resolve("postgres://h?keepalives_idle=5&tcp_user_timeout=1500", &[]).unwrap().tcp;
    assert_eq!(tcp.keepalive.unwrap().idle, Duration::from_secs(5));
    assert_eq!(tcp.user_timeout, Some(Duration::from_millis(1500)));
}
