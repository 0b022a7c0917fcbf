//! Settings of a warehouse in a cloud: its URL, then variables of the environment. Reads no file and uses no network.

use std::collections::BTreeMap;
use std::fmt;

use url::Url;

use super::names::CloudTable;
use super::stage::Stage;
use super::system::CloudSystem;
use crate::net::is_loopback;

/// A variable of the environment that names a command whose output is an access token.
pub const TOKEN_COMMAND: &str = "DRAWOFF_TOKEN_COMMAND";

/// A warehouse, the schema in it, and the way to an access token. `Debug` prints no token.
#[derive(Clone, PartialEq, Eq)]
pub struct CloudSettings {
    pub(super) system: CloudSystem,
    /// The account, project or host.
    pub(super) host: String,
    /// The user, in Snowflake.
    pub(super) user: Option<String>,
    /// Names that the table is in, from the outermost on.
    pub(super) outer: Vec<String>,
    pub(super) parameters: BTreeMap<String, String>,
    /// The address of the interface, with a slash at its end.
    pub(super) endpoint: Url,
    pub(super) token: TokenSource,
}

/// The source of access tokens.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum TokenSource {
    /// None is set. Enough to print statements.
    None,
    /// The text of the variable of this name.
    Text(&'static str, String),
    /// A file, which may be replaced by a newer one.
    File(String),
    /// A command, whose output is one.
    Command(String),
    /// A private key in a file, as a user of Snowflake.
    SnowflakeKey(String),
    /// A file with the key of a service account of Google.
    ServiceAccount(String),
}

/// A setting that cannot be used. The text contains no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CloudSettingsError(String);

impl fmt::Debug for CloudSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloudSettings").field("name", &self.name()).finish_non_exhaustive()
    }
}

/// The form of a URL of each system, for messages.
fn form(system: CloudSystem) -> &'static str {
    match system {
        CloudSystem::Snowflake => "snowflake://USER@ACCOUNT/DATABASE/SCHEMA?warehouse=NAME&stage=@STAGE",
        CloudSystem::BigQuery => "bigquery://PROJECT/DATASET",
        CloudSystem::Databricks => "databricks://HOST/CATALOG/SCHEMA?warehouse=ID",
        CloudSystem::Redshift => "redshift://CLUSTER/DATABASE/SCHEMA?iam_role=ARN",
    }
}

fn parameter_names(system: CloudSystem) -> &'static [&'static str] {
    match system {
        CloudSystem::Snowflake => &["warehouse", "role", "stage", "integration", "endpoint"],
        CloudSystem::BigQuery => &["endpoint"],
        CloudSystem::Databricks => &["warehouse", "credential", "endpoint"],
        CloudSystem::Redshift => &["iam_role"],
    }
}

impl CloudSettings {
    /// Resolves a URL such as `snowflake://ada@account/DB/SCHEMA?warehouse=LOADS`; `variable` returns variables of the
    /// environment.
    pub fn resolve(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Self, CloudSettingsError> {
        let fail = |what: String| Err(CloudSettingsError(what));
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let scheme = text.split(':').next().unwrap_or_default();
        let Some(system) = CloudSystem::of_word(scheme) else {
            return fail(
                "the URL of a warehouse begins with snowflake:, bigquery:, databricks: or redshift:".to_owned(),
            );
        };
        let form = form(system);
        let Some(rest) = text.split_once("://").map(|(_, rest)| rest).filter(|rest| !rest.contains('#')) else {
            return fail(format!("the URL is of the form {form}"));
        };
        let (before, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut names = before.trim_end_matches('/').split('/').map(decoded);
        let authority = names.next().flatten().unwrap_or_default();
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user.to_owned()), host.to_owned()),
            None => (None, authority),
        };
        if user.as_ref().is_some_and(|user| user.contains(':')) {
            return fail("the URL of a warehouse has no password; set a token in the environment".to_owned());
        }
        if user.is_some() && system != CloudSystem::Snowflake {
            return fail(format!("the URL has no user; it is of the form {form}"));
        }
        let Some(outer) = names.collect::<Option<Vec<String>>>() else {
            return fail("the URL has a broken %-escape".to_owned());
        };
        let expected = if system == CloudSystem::BigQuery { 1 } else { 2 };
        if host.is_empty() || outer.len() != expected || outer.iter().any(String::is_empty) {
            return fail(format!("the URL is of the form {form}"));
        }
        let mut parameters = BTreeMap::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let Some(value) = decoded(value) else { return fail("the URL has a broken %-escape".to_owned()) };
            // The name only: what is not known may be a secret.
            if !parameter_names(system).contains(&name) {
                let names = parameter_names(system).join(", ");
                return fail(format!("the URL has a parameter that {system} does not have here; it has {names}"));
            }
            parameters.insert(name.to_owned(), value);
        }
        for (name, from) in [("warehouse", "SNOWFLAKE_WAREHOUSE"), ("role", "SNOWFLAKE_ROLE")] {
            if let (CloudSystem::Snowflake, false, Some(value)) = (system, parameters.contains_key(name), set(from)) {
                parameters.insert(name.to_owned(), value);
            }
        }
        if let (CloudSystem::Databricks, false, Some(value)) =
            (system, parameters.contains_key("warehouse"), set("DATABRICKS_WAREHOUSE_ID"))
        {
            parameters.insert("warehouse".to_owned(), value);
        }
        let endpoint = match (parameters.get("endpoint"), system) {
            (Some(endpoint), _) => endpoint.clone(),
            (None, CloudSystem::Snowflake) => format!("https://{host}.snowflakecomputing.com/"),
            (None, CloudSystem::BigQuery) => "https://bigquery.googleapis.com/".to_owned(),
            (None, CloudSystem::Databricks | CloudSystem::Redshift) => format!("https://{host}/"),
        };
        let is_safe = |url: &Url| url.scheme() == "https" || url.scheme() == "http" && is_loopback(url);
        let endpoint = Url::parse(&endpoint).ok().filter(|url| is_safe(url) && url.username().is_empty());
        let Some(endpoint) = endpoint else {
            return fail(format!("the address of {system} is no URL of https"));
        };
        let token = match set(TOKEN_COMMAND) {
            Some(command) => TokenSource::Command(command),
            None => token_of(system, &set),
        };
        let user = user.or_else(|| set("SNOWFLAKE_USER").filter(|_| system == CloudSystem::Snowflake));
        if matches!(token, TokenSource::SnowflakeKey(_)) && user.is_none() {
            return fail("a private key is one of a user: set SNOWFLAKE_USER, or name the user in the URL".to_owned());
        }
        // Names in the URL have the case that they have without quotes.
        let shown = |name: &String| CloudTable::parse(system, name).map(|name| name.shown());
        let mut outer = match outer.iter().map(shown).collect::<Result<Vec<_>, _>>() {
            Ok(outer) => outer,
            Err(what) => return fail(what),
        };
        match system {
            CloudSystem::BigQuery => outer.insert(0, host.clone()),
            // Names of tables have two parts there.
            CloudSystem::Redshift => drop(outer.remove(0)),
            CloudSystem::Snowflake | CloudSystem::Databricks => {}
        }
        Ok(CloudSettings { system, host, user, outer, parameters, endpoint, token })
    }

    /// Returns the system.
    pub fn system(&self) -> CloudSystem {
        self.system
    }

    /// Returns the name for messages, without secrets: `snowflake://account/DB/SCHEMA`.
    pub fn name(&self) -> String {
        let inner = if self.system == CloudSystem::BigQuery { &self.outer[1..] } else { &self.outer[..] };
        format!("{}://{}/{}", self.system.word(), self.host, inner.join("/"))
    }

    /// Returns the table that `text` names in this schema. Fails with the reason.
    pub fn table(&self, text: &str) -> Result<CloudTable, String> {
        Ok(CloudTable::parse(self.system, text)?.within(&self.outer))
    }

    /// Returns the location of files below `url`, a URL of an object store, as the system reads it.
    pub fn stage(&self, url: &str) -> Result<Stage, CloudSettingsError> {
        let fail = |what: &str| Err(CloudSettingsError(what.to_owned()));
        let url = format!("{}/", url.trim_end_matches('/'));
        let (scheme, rest) = url.split_once("://").unwrap_or(("", &url));
        let parameter = |name: &str| self.parameters.get(name).map(String::as_str);
        let is_name = |text: &str, more: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_' || more.contains(c))
        };
        match (self.system, scheme) {
            (CloudSystem::Snowflake, _) => match (parameter("stage"), parameter("integration")) {
                (Some(stage), None) => {
                    let path = stage.strip_prefix('@').unwrap_or(stage).trim_end_matches('/');
                    match is_name(path, ".$-/=") {
                        true => Ok(Stage::Named(format!("@{path}/"))),
                        false => fail("`stage` is the name of a stage and a path below it: `@CRM.LOADS/companies`"),
                    }
                }
                (None, Some(integration)) if is_name(integration, "$") => {
                    let rights = format!("STORAGE_INTEGRATION = {integration}");
                    match scheme {
                        "s3" | "s3a" => Ok(Stage::Url(format!("s3://{rest}"), rights)),
                        "gs" => Ok(Stage::Url(format!("gcs://{rest}"), rights)),
                        _ => fail("Snowflake reads files in Azure by a stage: name it with `stage=@STAGE`"),
                    }
                }
                _ => fail(
                    "Snowflake reads the files by a stage (`stage=@STAGE`), which is the location of the files, or by a \
                     storage integration (`integration=NAME`): name one of them in the URL",
                ),
            },
            (CloudSystem::BigQuery, "gs") => Ok(Stage::Url(url, String::new())),
            (CloudSystem::BigQuery, _) => {
                fail("BigQuery loads files from Google Cloud Storage: `-o gs://BUCKET/PREFIX/`")
            }
            (CloudSystem::Databricks, "s3" | "s3a" | "gs" | "abfss") => {
                let scheme = if scheme == "s3a" { "s3" } else { scheme };
                let rights = match parameter("credential") {
                    Some(name) if is_name(name, "-") => format!("WITH (CREDENTIAL `{name}`)"),
                    Some(_) => return fail("`credential` is the name of a storage credential"),
                    None => String::new(),
                };
                Ok(Stage::Url(format!("{scheme}://{rest}"), rights))
            }
            (CloudSystem::Databricks, _) => {
                fail("Databricks reads files in Azure as abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PREFIX/")
            }
            (CloudSystem::Redshift, "s3" | "s3a") => {
                let rights = match parameter("iam_role") {
                    None => "IAM_ROLE DEFAULT".to_owned(),
                    Some(role) => format!("IAM_ROLE {}", self.system.literal(role)),
                };
                Ok(Stage::Url(format!("s3://{rest}"), rights))
            }
            (CloudSystem::Redshift, _) => fail("Redshift loads files from S3: `-o s3://BUCKET/PREFIX/`"),
        }
    }
}

fn token_of(system: CloudSystem, set: &dyn Fn(&str) -> Option<String>) -> TokenSource {
    let text = |name: &'static str| set(name).map(|text| TokenSource::Text(name, text));
    let source = match system {
        CloudSystem::Snowflake => set("SNOWFLAKE_TOKEN_FILE_PATH")
            .map(TokenSource::File)
            .or_else(|| text("SNOWFLAKE_TOKEN"))
            .or_else(|| set("SNOWFLAKE_PRIVATE_KEY_PATH").map(TokenSource::SnowflakeKey)),
        CloudSystem::BigQuery => text("GOOGLE_OAUTH_ACCESS_TOKEN")
            .or_else(|| set("GOOGLE_APPLICATION_CREDENTIALS").map(TokenSource::ServiceAccount)),
        CloudSystem::Databricks => text("DATABRICKS_TOKEN"),
        CloudSystem::Redshift => None,
    };
    source.unwrap_or(TokenSource::None)
}

/// Decodes `%41`. `None` for a broken escape.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(url: &str) -> Result<CloudSettings, String> {
        CloudSettings::resolve(url, |_| None).map_err(|error| error.to_string())
    }

    #[test]
    fn tables_are_in_the_schema_of_the_url() {
        let table = |url: &str, name: &str| resolve(url).unwrap().table(name).unwrap().shown();
        assert_eq!(table("snowflake://acme/crm/loads", "people"), "CRM.LOADS.PEOPLE");
        assert_eq!(table("snowflake://acme/crm/loads", "other.people"), "CRM.OTHER.PEOPLE");
        assert_eq!(table("bigquery://my-project/crm", "people"), "my-project.crm.people");
        assert_eq!(table("databricks://h/Main/crm", "people"), "main.crm.people");
        assert_eq!(table("redshift://h/dev/crm", "people"), "crm.people");
        assert_eq!(resolve("bigquery://my-project/crm").unwrap().name(), "bigquery://my-project/crm");
        assert_eq!(resolve("snowflake://ada@acme/crm/loads?role=x").unwrap().name(), "snowflake://acme/CRM/LOADS");
    }

    #[test]
    fn urls_of_other_forms_are_refused_without_secrets() {
        for url in [
            "snowflake://acme/crm",
            "snowflake:acme",
            "snowflake://ada:marked-1@acme/a/b",
            "snowflake://acme/a/b?password=marked-1",
            "bigquery://p/d?endpoint=http://example.com",
            "bigquery://p/d/t",
            "databricks://ada@h/a/b",
            "redshift:///a/b",
            "mysql://h/a",
        ] {
            let message = resolve(url).unwrap_err();
            assert!(!message.contains("marked"), "{url}: {message}");
        }
        let settings = CloudSettings::resolve("databricks://h/a/b", |name| {
            (name == "DATABRICKS_TOKEN").then(|| "marked-1".to_owned())
        });
        assert!(!format!("{settings:?}").contains("marked"));
    }

    #[test]
    fn each_system_reads_its_own_stores() {
        let stage = |url: &str, files: &str| resolve(url).unwrap().stage(files).map_err(|error| error.to_string());
        let named = stage("snowflake://a/b/c?stage=@CRM.LOADS/x", "s3://bucket/x").unwrap();
        assert_eq!(named, Stage::Named("@CRM.LOADS/x/".to_owned()));
        let of = |url: &str, files: &str| match stage(url, files).unwrap() {
            Stage::Url(url, rights) => format!("{url} {rights}"),
            Stage::Named(name) => name,
        };
        assert_eq!(of("snowflake://a/b/c?integration=i", "gs://b/x/"), "gcs://b/x/ STORAGE_INTEGRATION = i");
        assert_eq!(of("bigquery://p/d", "gs://b/x"), "gs://b/x/ ");
        assert_eq!(of("databricks://h/a/b?credential=c", "s3a://b/x"), "s3://b/x/ WITH (CREDENTIAL `c`)");
        assert_eq!(
            of("redshift://h/a/b?iam_role=arn:aws:iam::1:role/r", "s3://b/x"),
            "s3://b/x/ IAM_ROLE 'arn:aws:iam::1:role/r'"
        );
        for (url, files) in [
            ("snowflake://a/b/c", "s3://b/x"),
            ("snowflake://a/b/c?stage=@x';DROP", "s3://b/x"),
            ("snowflake://a/b/c?integration=i", "az://b/x"),
            ("bigquery://p/d", "s3://b/x"),
            ("databricks://h/a/b", "az://b/x"),
            ("redshift://h/a/b", "gs://b/x"),
        ] {
            assert!(stage(url, files).is_err(), "{url} {files}");
        }
    }
}
