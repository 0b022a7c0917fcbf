//! The service file: named groups of connection parameters, in the format of libpq.

use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::parameters::{Origin, Values};

/// Directories of the system-wide file, where `PGSYSCONFDIR` is not set: the one of Debian's packages, of Red Hat's, and
/// of a build from source. libpq has one of them compiled in.
const SYSTEM_DIRECTORIES: [&str; 3] = ["/etc/postgresql-common", "/etc/sysconfig/pgsql", "/usr/local/pgsql/etc"];

/// Adds the parameters of the service that the URL or `PGSERVICE` names, for those that have no value. Does nothing if
/// neither names one.
pub(super) fn add_service(values: &mut Values, environment: &Environment) -> Result<(), String> {
    // An empty name in the URL is one, and hides PGSERVICE.
    let Some(name) = values.text("service").or_else(|| environment.non_empty("PGSERVICE")) else { return Ok(()) };
    let name = name.to_owned();
    let named = values.text("servicefile").or_else(|| environment.non_empty("PGSERVICEFILE")).map(PathBuf::from);
    let own = match named {
        Some(file) if !file.exists() => return Err(format!("the service file {} does not exist", file.display())),
        Some(file) => Some(file),
        None => environment.home().map(|home| home.join(".pg_service.conf")).filter(|file| file.exists()),
    };
    let system: Vec<&str> = match environment.get("PGSYSCONFDIR") {
        Some(directory) => vec![directory],
        None => SYSTEM_DIRECTORIES.to_vec(),
    };
    let system = system.into_iter().map(|directory| Path::new(directory).join("pg_service.conf"));
    let files: Vec<PathBuf> = own.into_iter().chain(system.filter(|file| file.exists())).collect();
    for file in &files {
        let text = std::fs::read(file).map_err(|cause| format!("cannot read {}: {cause}", file.display()))?;
        let found = add_group(&String::from_utf8_lossy(&text), &name, file, values)
            .map_err(|(line, problem)| format!("{}, line {line}: {problem}", file.display()))?;
        if found {
            return Ok(());
        }
    }
    let searched: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    Err(match searched.is_empty() {
        true => format!("no service file exists that could define the service `{name}`"),
        false => format!("the service `{name}` is not defined in {}", searched.join(" or ")),
    })
}

/// Adds the parameters of the group `[name]`; returns false if `text` has no such group. Errors have a line from 1, and
/// none of its text, which may be a password.
fn add_group(text: &str, name: &str, file: &Path, values: &mut Values) -> Result<bool, (usize, String)> {
    let mut found = false;
    for (at, line) in text.lines().enumerate().map(|(at, line)| (at + 1, line.trim())) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(header) = line.strip_prefix('[') {
            if found {
                break;
            }
            found = header.strip_prefix(name).is_some_and(|rest| rest.starts_with(']'));
            continue;
        }
        if !found {
            continue;
        }
        let (key, value) = line.split_once('=').ok_or((at, "expected `PARAMETER=VALUE`".to_owned()))?;
        match key {
            "service" | "servicefile" => return Err((at, format!("`{key}` is not allowed within a service"))),
            _ if key.starts_with("ldap") && !key.contains(['_', ' ']) => {
                return Err((at, "look-ups by LDAP are not supported".to_owned()));
            }
            _ => {}
        }
        let origin = Origin::Service { name: name.to_owned(), file: file.to_owned() };
        if !values.set_if_missing(key, value.to_owned(), origin) {
            // libpq takes the name as it is, so that a space before `=` is part of it.
            return Err((at, format!("`{}` is not a connection parameter, or has a space behind it", key.trim())));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(text: &str, name: &str) -> Result<Option<String>, (usize, String)> {
        let mut values = Values::default();
        values.set("port", "7".to_owned(), Origin::Url);
        let found = add_group(text, name, Path::new("f"), &mut values)?;
        let shown = ["host", "port", "dbname"].map(|name| values.text(name).unwrap_or("-").to_owned()).join(" ");
        Ok(found.then_some(shown))
    }

    #[test]
    fn a_group_fills_what_is_missing() {
        let text = "# c\n[a]\nhost=x\n[b]  \n host=y \nport=9\n\nhost=z\ndbname=\n[b]\ndbname=no\n[c]\nuzer=1\n";
        assert_eq!(group(text, "b"), Ok(Some("y 7 -".to_owned())));
        assert_eq!(group(text, "a"), Ok(Some("x 7 -".to_owned())));
        assert_eq!(group(text, "d"), Ok(None));
        assert_eq!(group(text, "c").unwrap_err().0, 13);
        assert_eq!(
            group("[a]\nservice=b\n", "a").unwrap_err(),
            (2, "`service` is not allowed within a service".into())
        );
        assert_eq!(group("[a]\nmarked\n", "a").unwrap_err(), (2, "expected `PARAMETER=VALUE`".into()));
        assert!(group("[a]\nhost =x\n", "a").is_err());
        assert!(group("[a]\nldap://h/dc=x?y?one?(z)\n", "a").unwrap_err().1.contains("LDAP"));
    }
}
