//! The facts about the process that the resolver uses: environment variables, the user's name and home directory. All of it is given
//! by the caller.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::parameters::PARAMETERS;

/// Variables that are not the value of a parameter.
const OTHER_NAMES: [&str; 8] =
    ["HOME", "USER", "LOGNAME", "PGPASSFILE", "PGSERVICE", "PGSERVICEFILE", "PGSYSCONFDIR", "PGREQUIRESSL"];

/// The environment variables that settings of a connection are resolved from. `Debug` prints their names only.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<&'static str, String>,
    os_user: Option<String>,
}

impl Environment {
    /// Reads the variables that `psql` knows by `lookup`, and the user's name from the system.
    pub fn new(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let names = PARAMETERS.iter().filter_map(|parameter| parameter.variable).chain(OTHER_NAMES);
        let variables = names.filter_map(|name| Some((name, lookup(name)?))).collect();
        Environment { variables, os_user: account().map(|account| account.0) }
    }

    /// Replaces the name of the system's user.
    #[must_use]
    pub fn with_os_user(mut self, name: &str) -> Self {
        self.os_user = Some(name.to_owned());
        self
    }

    /// Returns the value of a variable; `None` if it is not set. An empty value is one.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// Returns the value of a variable that is set and not empty.
    pub(super) fn non_empty(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// Returns the name of the user who runs the process, from the user database, else from `USER` or `LOGNAME`.
    pub(super) fn os_user(&self) -> Option<&str> {
        self.os_user.as_deref().or_else(|| self.non_empty("USER")).or_else(|| self.non_empty("LOGNAME"))
    }

    /// Returns the home directory: `HOME`, else the one of the user database.
    pub(super) fn home(&self) -> Option<PathBuf> {
        self.non_empty("HOME").map(PathBuf::from).or_else(|| account().map(|account| account.1))
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}

/// Returns name and home directory of the user of the process from `/etc/passwd`; `None` for users of a directory
/// service, which only the C library knows.
#[cfg(unix)]
fn account() -> Option<(String, PathBuf)> {
    let text = std::fs::read("/etc/passwd").ok()?;
    account_of(&String::from_utf8_lossy(&text), rustix::process::geteuid().as_raw())
}

#[cfg(not(unix))]
fn account() -> Option<(String, PathBuf)> {
    None
}

/// Finds the user with the number `uid` in the text of `/etc/passwd`.
#[cfg(unix)]
fn account_of(text: &str, uid: u32) -> Option<(String, PathBuf)> {
    let accounts = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let mut found = accounts.filter(|fields| fields.len() >= 6 && fields[2].parse() == Ok(uid));
    found.next().map(|fields| (fields[0].to_owned(), PathBuf::from(fields[5])))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_found_by_number() {
        let text = "root:x:0:0:root:/root:/bin/bash\nbad line\nann:x:1000:1000:Ann,,,:/home/ann:/bin/sh\n";
        assert_eq!(account_of(text, 1000), Some(("ann".to_owned(), PathBuf::from("/home/ann"))));
        assert_eq!(account_of(text, 7), None);
    }

    #[test]
    fn values_of_variables_are_not_printed() {
        let environment = Environment::new(|name| (name == "PGPASSWORD").then(|| "marked".to_owned()));
        assert_eq!(environment.get("PGPASSWORD"), Some("marked"));
        assert_eq!(format!("{environment:?}"), r#"{"PGPASSWORD"}"#);
    }
}
