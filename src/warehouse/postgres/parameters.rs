//! The connection parameters of libpq, and the values that were given for them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// A connection parameter of libpq.
pub(super) struct Parameter {
    /// Name in URLs and service files.
    pub(super) name: &'static str,
    /// Environment variable; `None` if there is none.
    pub(super) variable: Option<&'static str>,
    /// The effect of a value here.
    pub(super) support: Support,
}

/// The effect of a parameter's value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Support {
    /// As in libpq.
    Used,
    /// Without effect, because it has none on a load: encodings, GSSAPI's names, log files.
    NoEffect,
    /// Refused, except for these values. Ignoring it would weaken what the user asked for.
    Only(&'static [&'static str]),
}

const fn used(name: &'static str, variable: Option<&'static str>) -> Parameter {
    Parameter { name, variable, support: Support::Used }
}

const fn no_effect(name: &'static str, variable: Option<&'static str>) -> Parameter {
    Parameter { name, variable, support: Support::NoEffect }
}

const fn only(name: &'static str, variable: Option<&'static str>, values: &'static [&'static str]) -> Parameter {
    Parameter { name, variable, support: Support::Only(values) }
}

/// All parameters of libpq 18. `service` and `passfile` are looked up by the resolver itself.
pub(super) const PARAMETERS: &[Parameter] = &[
    used("host", Some("PGHOST")),
    used("hostaddr", Some("PGHOSTADDR")),
    used("port", Some("PGPORT")),
    used("dbname", Some("PGDATABASE")),
    used("user", Some("PGUSER")),
    used("password", Some("PGPASSWORD")),
    used("passfile", Some("PGPASSFILE")),
    used("service", Some("PGSERVICE")),
    used("servicefile", Some("PGSERVICEFILE")),
    used("options", Some("PGOPTIONS")),
    used("application_name", Some("PGAPPNAME")),
    used("fallback_application_name", None),
    used("connect_timeout", Some("PGCONNECT_TIMEOUT")),
    used("target_session_attrs", Some("PGTARGETSESSIONATTRS")),
    used("load_balance_hosts", Some("PGLOADBALANCEHOSTS")),
    used("keepalives", None),
    used("keepalives_idle", None),
    used("keepalives_interval", None),
    used("keepalives_count", None),
    used("tcp_user_timeout", None),
    used("channel_binding", Some("PGCHANNELBINDING")),
    used("sslmode", Some("PGSSLMODE")),
    used("sslnegotiation", Some("PGSSLNEGOTIATION")),
    used("sslrootcert", Some("PGSSLROOTCERT")),
    used("sslcert", Some("PGSSLCERT")),
    used("sslkey", Some("PGSSLKEY")),
    used("sslcrl", Some("PGSSLCRL")),
    used("sslsni", Some("PGSSLSNI")),
    used("ssl_min_protocol_version", Some("PGSSLMINPROTOCOLVERSION")),
    only("ssl_max_protocol_version", Some("PGSSLMAXPROTOCOLVERSION"), &["TLSv1.3"]),
    only("sslcertmode", Some("PGSSLCERTMODE"), &["allow", "disable"]),
    only("sslcrldir", Some("PGSSLCRLDIR"), &[]),
    only("sslpassword", None, &[]),
    only("gssencmode", Some("PGGSSENCMODE"), &["disable", "prefer"]),
    only("requirepeer", Some("PGREQUIREPEER"), &[]),
    only("require_auth", Some("PGREQUIREAUTH"), &[]),
    only("scram_client_key", None, &[]),
    only("scram_server_key", None, &[]),
    only("replication", None, &["false", "off", "no", "0"]),
    only("min_protocol_version", Some("PGMINPROTOCOLVERSION"), &["3.0"]),
    no_effect("max_protocol_version", Some("PGMAXPROTOCOLVERSION")),
    no_effect("requiressl", None),
    no_effect("client_encoding", Some("PGCLIENTENCODING")),
    no_effect("sslcompression", Some("PGSSLCOMPRESSION")),
    no_effect("sslkeylogfile", None),
    no_effect("krbsrvname", Some("PGKRBSRVNAME")),
    no_effect("gsslib", Some("PGGSSLIB")),
    no_effect("gssdelegation", Some("PGGSSDELEGATION")),
    no_effect("oauth_issuer", None),
    no_effect("oauth_client_id", None),
    no_effect("oauth_client_secret", None),
    no_effect("oauth_scope", None),
];

/// The source of a parameter's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Url,
    Service { name: String, file: PathBuf },
    Variable(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Url => f.write_str("the URL"),
            Origin::Service { name, file } => write!(f, "service `{name}` in {}", file.display()),
            Origin::Variable(name) => f.write_str(name),
        }
    }
}

/// The values of parameters, the first that was given for each. Has no `Debug`: passwords are among them.
#[derive(Default)]
pub(super) struct Values(BTreeMap<&'static str, (String, Origin)>);

impl Values {
    /// Sets a parameter, in place of an earlier value; returns false for a name that is no parameter.
    pub(super) fn set(&mut self, name: &str, value: String, origin: Origin) -> bool {
        let Some(parameter) = find(name) else { return false };
        self.0.insert(parameter.name, (value, origin));
        true
    }

    /// Sets a parameter that has no value; returns false for a name that is no parameter.
    pub(super) fn set_if_missing(&mut self, name: &str, value: String, origin: Origin) -> bool {
        let Some(parameter) = find(name) else { return false };
        self.0.entry(parameter.name).or_insert((value, origin));
        true
    }

    /// Adds the environment variables for parameters that have no value. Even an empty one counts, as in libpq.
    pub(super) fn add_variables<'a>(&mut self, get: impl Fn(&str) -> Option<&'a str>) {
        for parameter in PARAMETERS {
            let Some(variable) = parameter.variable else { continue };
            if let Some(value) = get(variable) {
                self.set_if_missing(parameter.name, value.to_owned(), Origin::Variable(variable));
            }
        }
        // The predecessor of sslmode, which libpq still honours.
        if get("PGREQUIRESSL").is_some_and(|value| value.starts_with('1')) {
            self.set_if_missing("sslmode", "require".to_owned(), Origin::Variable("PGREQUIRESSL"));
        }
    }

    /// Returns value and origin; `None` without a value, or with an empty one, which stands for the default.
    pub(super) fn get(&self, name: &str) -> Option<(&str, &Origin)> {
        let (value, origin) = self.0.get(name)?;
        (!value.is_empty()).then_some((value.as_str(), origin))
    }

    /// Returns the value as it was given, which may be empty.
    pub(super) fn given(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|(value, _)| value.as_str())
    }

    /// Returns the value as [`Values::get`] does.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).map(|(value, _)| value)
    }
}

/// Finds a parameter by its name.
pub(super) fn find(name: &str) -> Option<&'static Parameter> {
    PARAMETERS.iter().find(|parameter| parameter.name == name)
}
