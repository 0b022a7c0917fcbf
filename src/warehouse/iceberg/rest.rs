//! Catalogs over HTTP, by the Iceberg REST specification. A commit names the snapshot that it was made from, so that the
//! catalog refuses it with 409 if another one came first. A commit whose response was lost is sent again as it is: the
//! catalog then makes it, or refuses it because it was made.

use std::cell::RefCell;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;

use super::catalog::{Catalog, CatalogTable, Commit, CommitOutcome, NewTable, TableName};
use super::files::without_scheme;
use super::location::RestSettings;
use super::metadata::TableMetadata;
use crate::net::bad_certificate;
use crate::sink::UploadControl;
use crate::warehouse::LoadError;

/// Time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for one request: catalogs write a metadata file within it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);

/// Waits before a request is sent again. Together longer than a catalog is away for a restart.
const WAITS: [Duration; 6] = [
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(15),
];

/// Most bytes of a response that are kept.
const MAX_RESPONSE_BYTES: usize = 256 << 20;

/// The separator of the parts of a namespace in paths.
const NAMESPACE_SEPARATOR: &str = "\u{1f}";

/// One table of a catalog over HTTP.
pub(super) struct RestCatalog {
    settings: RestSettings,
    name: TableName,
    /// The table in messages.
    table: String,
    /// The catalog in messages.
    target: String,
    cancel: UploadControl,
    client: reqwest::Client,
    token: RefCell<Option<String>>,
    /// Names of the options of stores that are set where drawoff runs: they come before the defaults of the catalog.
    own_options: Vec<String>,
    /// The configuration, after the catalog has been asked for it.
    config: RefCell<Option<CatalogConfig>>,
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

/// The configuration of a catalog.
#[derive(Clone, Debug, Default)]
struct CatalogConfig {
    /// The start of the paths of the catalog.
    prefix: String,
    /// Settings that those of the client replace.
    defaults: Map<String, Value>,
    /// Settings that replace those of the client.
    overrides: Map<String, Value>,
}

/// Most characters of a catalog's message that are shown.
const MAX_MESSAGE: usize = 500;

/// A request without a response.
enum NoResponse {
    /// It was not sent.
    NotConnected {
        cause: String,
        is_transient: bool,
    },
    /// It may have been carried out.
    Lost(String),
    Cancelled,
}

/// A response: its status, and its body as JSON, or as text.
struct Response {
    status: StatusCode,
    body: Value,
}

impl Response {
    /// Returns true for an error in the form of the specification.
    fn is_catalog_error(&self) -> bool {
        self.body.get("error").is_some_and(Value::is_object)
    }
}

impl RestCatalog {
    /// Makes a client. Nothing is sent.
    pub(super) fn new(
        settings: &RestSettings,
        name: TableName,
        (table, target): (String, String),
        own_options: Vec<String>,
        cancel: &UploadControl,
    ) -> Result<Self, LoadError> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|cause| LoadError::Bug(format!("cannot start a runtime: {cause}")))?;
        // No redirects: the token is for this server alone.
        let client = crate::net::http1_client_builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            .build()
            .map_err(|cause| LoadError::Bug(format!("cannot make an HTTP client: {cause}")))?;
        Ok(RestCatalog {
            settings: settings.clone(),
            name,
            table,
            target,
            cancel: cancel.clone(),
            client,
            token: RefCell::new(settings.token.clone()),
            own_options,
            config: RefCell::new(None),
            runtime: Some(runtime),
        })
    }

    /// Returns the message of a response that is an error, cut, and without the secrets that were sent.
    fn message(&self, response: &Response) -> String {
        let text = response.body.get("error").and_then(|error| error.get("message")).and_then(Value::as_str);
        let Some(text) = text else { return format!("the catalog responded with status {}", response.status) };
        let token = self.token.borrow();
        let credential = self.settings.credential.as_deref();
        let secret = credential.map(|credential| credential.split_once(':').map_or(credential, |(_, secret)| secret));
        let mut text = text.to_owned();
        for secret in [credential, secret, token.as_deref()].into_iter().flatten().filter(|secret| !secret.is_empty()) {
            text = text.replace(secret, "***");
        }
        if let Some((end, _)) = text.char_indices().nth(MAX_MESSAGE) {
            text.truncate(end);
            text.push('…');
        }
        format!("{text} ({})", response.status.as_u16())
    }

    /// Waits for `work` until a cancel.
    fn wait<T>(&self, work: impl Future<Output = T>) -> Result<T, NoResponse> {
        let runtime = self.runtime.as_ref().expect("it is taken only by drop");
        runtime.block_on(async {
            tokio::select! {
                biased;
                done = work => Ok(done),
                () = self.cancel.cancelled() => Err(NoResponse::Cancelled),
            }
        })
    }

    fn pause(&self, time: Duration) -> Result<(), LoadError> {
        self.wait(async move { tokio::time::sleep(time).await }).map_err(|failure| self.unreached(failure))
    }

    /// Sends a request once.
    fn send(&self, request: reqwest::RequestBuilder) -> Result<Response, NoResponse> {
        let lost = |error: reqwest::Error| {
            if let Some(found) = bad_certificate(&error) {
                return NoResponse::NotConnected { cause: found.to_string(), is_transient: false };
            }
            let cause = crate::text::error_chain(&error.without_url());
            NoResponse::Lost(cause)
        };
        self.wait(async {
            let mut response = match request.send().await {
                Ok(response) => response,
                Err(error) if error.is_connect() => {
                    let is_transient = bad_certificate(&error).is_none();
                    let cause = match bad_certificate(&error) {
                        Some(found) => found.to_string(),
                        None => crate::text::error_chain(&error.without_url()),
                    };
                    return Err(NoResponse::NotConnected { cause, is_transient });
                }
                Err(error) => return Err(lost(error)),
            };
            let status = response.status();
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(lost)? {
                if body.len() + chunk.len() > MAX_RESPONSE_BYTES {
                    return Err(NoResponse::Lost("the response is too large".to_owned()));
                }
                body.extend_from_slice(&chunk);
            }
            let body = serde_json::from_slice(&body).unwrap_or_default();
            Ok(Response { status, body })
        })?
    }

    /// Makes the error of a catalog that did not respond.
    fn unreached(&self, failure: NoResponse) -> LoadError {
        match failure {
            NoResponse::Cancelled => LoadError::Cancelled,
            NoResponse::NotConnected { cause, is_transient } => {
                LoadError::Connect { target: self.target.clone(), cause, hint: None, is_transient }
            }
            NoResponse::Lost(cause) => LoadError::Refused {
                table: self.table.clone(),
                cause: format!("no response from {}: {cause}", self.target),
                hint: Some("run the same command again: it loads what is not there yet".to_owned()),
                is_transient: true,
            },
        }
    }

    /// Makes the error of a response.
    fn refused(&self, response: &Response) -> LoadError {
        let is_transient = is_transient(response.status);
        let cause = self.message(response);
        match response.status.as_u16() {
            401 | 403 | 419 => {
                let hint = "set ICEBERG_TOKEN, or ICEBERG_CREDENTIAL to the client id and secret with a colon between";
                let (target, hint) = (self.target.clone(), Some(hint.to_owned()));
                LoadError::Connect { target, cause, hint, is_transient: false }
            }
            404 if !response.is_catalog_error() && self.config.borrow().is_none() => {
                let hint = "the URL is that of the catalog, to which drawoff adds /v1/config".to_owned();
                let cause = "there is no Iceberg REST catalog (404)".to_owned();
                LoadError::Connect { target: self.target.clone(), cause, hint: Some(hint), is_transient: false }
            }
            _ => LoadError::Refused { table: self.table.clone(), cause, hint: None, is_transient },
        }
    }

    /// Fetches a token for the credential.
    fn new_token(&self) -> Result<Option<String>, LoadError> {
        let Some(credential) = &self.settings.credential else { return Ok(None) };
        let (id, secret) = credential.split_once(':').unwrap_or(("", credential));
        let url = self.settings.token_url.clone().unwrap_or_else(|| format!("{}/v1/oauth/tokens", self.settings.url));
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", id)
            .append_pair("client_secret", secret)
            .append_pair("scope", &self.settings.scope)
            .finish();
        let mut waits = WAITS.iter().take(3);
        loop {
            let request = self.client.post(&url).header("content-type", "application/x-www-form-urlencoded");
            let failure = match self.send(request.body(form.clone())) {
                Ok(response) if response.status.is_success() => {
                    return match response.body.get("access_token").and_then(Value::as_str) {
                        Some(token) => Ok(Some(token.to_owned())),
                        None => Err(self.refused(&response)),
                    };
                }
                Ok(response) => self.refused(&response),
                Err(failure) => self.unreached(failure),
            };
            match waits.next().filter(|_| failure.is_transient()) {
                Some(wait) => self.pause(*wait)?,
                None => return Err(failure),
            }
        }
    }

    /// Sends a request with the token, and once more with a new one if it has expired.
    fn authorized(
        &self,
        method: &Method,
        url: &str,
        body: Option<&Value>,
    ) -> Result<Response, Result<NoResponse, LoadError>> {
        let mut is_fresh = false;
        if self.token.borrow().is_none() && self.settings.credential.is_some() {
            *self.token.borrow_mut() = self.new_token().map_err(Err)?;
            is_fresh = true;
        }
        loop {
            let mut request = self.client.request(method.clone(), url).header("accept", "application/json");
            // Credentials for the table's own files, where the catalog has them.
            request = request.header("x-iceberg-access-delegation", "vended-credentials");
            if let Some(token) = &*self.token.borrow() {
                request = request.bearer_auth(token);
            }
            if let Some(body) = body {
                request = request.header("content-type", "application/json").body(body.to_string());
            }
            let response = self.send(request).map_err(Ok)?;
            let has_expired = matches!(response.status.as_u16(), 401 | 419);
            if !has_expired || is_fresh || self.settings.credential.is_none() {
                return Ok(response);
            }
            *self.token.borrow_mut() = self.new_token().map_err(Err)?;
            is_fresh = true;
        }
    }

    /// Sends a request that may be carried out twice, and again if the catalog does not respond.
    fn repeated(&self, method: &Method, url: &str, body: Option<&Value>) -> Result<Response, LoadError> {
        let mut waits = WAITS.iter().take(4);
        loop {
            let failure = match self.authorized(method, url, body) {
                Ok(response) if is_transient(response.status) => self.refused(&response),
                Ok(response) => return Ok(response),
                Err(Ok(failure)) => self.unreached(failure),
                Err(Err(failure)) => return Err(failure),
            };
            match waits.next().filter(|_| failure.is_transient()) {
                Some(wait) => self.pause(*wait)?,
                None => return Err(failure),
            }
        }
    }

    /// Returns the start of the paths of the catalog.
    fn prefix(&self) -> Result<String, LoadError> {
        if let Some(config) = &*self.config.borrow() {
            return Ok(config.prefix.clone());
        }
        let query = self.settings.warehouse.as_ref().map(|warehouse| {
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            format!("?{}", query.append_pair("warehouse", warehouse).finish())
        });
        let url = format!("{}/v1/config{}", self.settings.url, query.unwrap_or_default());
        let response = self.repeated(&Method::GET, &url, None)?;
        if !response.status.is_success() {
            return Err(self.refused(&response));
        }
        if !response.body.is_object() {
            let cause = "its configuration cannot be read: it is no Iceberg REST catalog".to_owned();
            return Err(LoadError::Connect { target: self.target.clone(), cause, hint: None, is_transient: false });
        }
        let of = |kind: &str| response.body.get(kind).and_then(Value::as_object).cloned().unwrap_or_default();
        let (defaults, overrides) = (of("defaults"), of("overrides"));
        let named = |of: &Map<String, Value>| Some(of.get("prefix")?.as_str()?.to_owned());
        let named = [named(&overrides), named(&defaults)].into_iter().flatten().find(|prefix| !prefix.is_empty());
        let prefix = match named {
            Some(prefix) => format!("{}/v1/{prefix}", self.settings.url),
            None => format!("{}/v1", self.settings.url),
        };
        *self.config.borrow_mut() = Some(CatalogConfig { prefix: prefix.clone(), defaults, overrides });
        Ok(prefix)
    }

    /// Returns the options of the stores of a table that the catalog hands out with `body`.
    fn options(&self, body: &Value) -> Vec<(String, String)> {
        let config = self.config.borrow().clone().unwrap_or_default();
        let location = body.get("metadata").and_then(|of| of.get("location")?.as_str()).unwrap_or_default();
        store_options(&config, &self.own_options, body, location)
    }

    /// Returns the URL of the tables of the namespace.
    fn tables_url(&self) -> Result<String, LoadError> {
        let namespace = encoded(&self.name.namespace.join(NAMESPACE_SEPARATOR));
        Ok(format!("{}/namespaces/{namespace}/tables", self.prefix()?))
    }

    fn table_url(&self) -> Result<String, LoadError> {
        Ok(format!("{}/{}", self.tables_url()?, encoded(&self.name.name)))
    }

    fn unreadable(&self, what: &str) -> LoadError {
        let cause = format!("the catalog's response cannot be read: {what}");
        LoadError::Refused { table: self.table.clone(), cause, hint: None, is_transient: false }
    }
}

impl Catalog for RestCatalog {
    fn load(&self) -> Result<Option<CatalogTable>, LoadError> {
        let response = self.repeated(&Method::GET, &self.table_url()?, None)?;
        if response.status == StatusCode::NOT_FOUND && response.is_catalog_error() {
            return Ok(None);
        }
        if !response.status.is_success() {
            return Err(self.refused(&response));
        }
        let metadata = response.body.get("metadata").cloned().unwrap_or_default();
        let metadata = TableMetadata::read(metadata.to_string().as_bytes()).map_err(|cause| self.unreadable(&cause))?;
        let location = response.body.get("metadata-location").and_then(Value::as_str).map(str::to_owned);
        Ok(Some(CatalogTable { metadata, metadata_location: location, options: self.options(&response.body) }))
    }

    fn new_table(&self) -> Result<NewTable, LoadError> {
        // The columns are known at the end. A staged table is in no list, and the commit states all of it.
        let body = json!({
            "name": self.name.name,
            "schema": {"type": "struct", "schema-id": 0, "fields": []},
            "stage-create": true,
        });
        let response = self.repeated(&Method::POST, &self.tables_url()?, Some(&body))?;
        if response.status == StatusCode::NOT_FOUND && response.is_catalog_error() {
            return Err(LoadError::Unsupported {
                table: self.table.clone(),
                what: format!(
                    "the catalog has no namespace `{}`: {}",
                    self.name.namespace_text(),
                    self.message(&response)
                ),
                hint: Some(
                    "create the namespace by the engine that owns the catalog, as in CREATE NAMESPACE".to_owned(),
                ),
            });
        }
        if !response.status.is_success() {
            return Err(match self.refused(&response) {
                LoadError::Refused { table, cause, hint: None, is_transient } => {
                    let hint = "a catalog that cannot stage tables takes loads into tables that exist: create it with the \
                                statement that `ddl:iceberg` prints";
                    LoadError::Refused { table, cause, hint: Some(hint.to_owned()), is_transient }
                }
                other => other,
            });
        }
        let member = |name: &str| {
            let text = response.body.get("metadata")?.get(name)?.as_str()?;
            Some(text.to_owned())
        };
        let location = member("location").ok_or_else(|| self.unreadable("a staged table has no location"))?;
        Ok(NewTable {
            location: location.trim_end_matches('/').to_owned(),
            uuid: member("table-uuid"),
            options: self.options(&response.body),
        })
    }

    fn commit(&self, commit: &Commit<'_>) -> Result<CommitOutcome, LoadError> {
        let url = self.table_url()?;
        let body = json!({
            "identifier": {"namespace": self.name.namespace, "name": self.name.name},
            "requirements": commit.requirements,
            "updates": commit.updates,
        });
        let unknown = |cause: String| LoadError::Unknown { table: self.table.clone(), cause };
        // The last cause for which a request may have been carried out.
        let mut last: Option<String> = None;
        for wait in [Duration::ZERO].iter().chain(&WAITS) {
            if let Err(error) = self.pause(*wait) {
                return Err(last.map_or(error, unknown));
            }
            match self.authorized(&Method::POST, &url, Some(&body)) {
                Ok(response) => match response.status.as_u16() {
                    200..=299 if response.body.get("metadata").is_some_and(Value::is_object) => {
                        return Ok(CommitOutcome::Done);
                    }
                    // Of a proxy, or of a page to log in: sent again, like a response that was lost.
                    200..=299 => {
                        last = Some(format!("the response of status {} is no commit of a catalog", response.status));
                    }
                    409 => return Ok(CommitOutcome::Conflict(self.message(&response))),
                    // Not carried out.
                    429 => {}
                    // By the specification or by a proxy: the state is unknown.
                    500..=599 => last = Some(self.message(&response)),
                    _ => return Err(last.map_or_else(|| self.refused(&response), unknown)),
                },
                Err(Ok(NoResponse::Lost(cause))) => last = Some(cause),
                Err(Ok(NoResponse::NotConnected { is_transient: true, .. })) => {}
                // A request that is dropped may be carried out.
                Err(Ok(NoResponse::Cancelled)) => {
                    return Err(unknown("the load was cancelled in its commit".to_owned()));
                }
                Err(Ok(failure)) => {
                    let error = self.unreached(failure);
                    return Err(last.map_or(error, unknown));
                }
                Err(Err(error)) => return Err(last.map_or(error, unknown)),
            }
        }
        Err(match last {
            Some(cause) => unknown(cause),
            None => LoadError::Connect {
                target: self.target.clone(),
                cause: "it takes no commits".to_owned(),
                hint: Some("run the same command again: it loads what is not there yet".to_owned()),
                is_transient: true,
            },
        })
    }
}

impl Drop for RestCatalog {
    fn drop(&mut self) {
        // A plain drop would wait for a name lookup that hangs.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 500..=599)
}

/// Encodes a text as one segment of a path.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Returns the options of stores that a catalog hands out with a table at `location`, each setting before those that it replaces:
/// credentials for the longest prefix of the location, the settings of the table, the overrides of the catalog, and its
/// defaults, unless `own` has an option of that name.
fn store_options(config: &CatalogConfig, own: &[String], body: &Value, location: &str) -> Vec<(String, String)> {
    let place = without_scheme(location);
    let matched = |of: &Value| {
        let prefix = of.get("prefix").and_then(Value::as_str).unwrap_or_default();
        let is_match = location.starts_with(prefix) || place.starts_with(without_scheme(prefix));
        is_match.then_some(without_scheme(prefix).len())
    };
    let credentials = body.get("storage-credentials").and_then(Value::as_array).into_iter().flatten();
    let best =
        credentials.filter_map(|of| Some((matched(of)?, of.get("config")?.as_object()?))).max_by_key(|(len, _)| *len);
    let mut options = Vec::new();
    add_options(&config.defaults, &mut options);
    let keys = ["aws_access_key_id", "aws_secret_access_key", "aws_session_token"];
    let has_keys = own.iter().any(|name| keys.contains(&&**name));
    let has_endpoint = own.iter().any(|name| name.starts_with("aws_endpoint"));
    options.retain(|(name, _)| match &**name {
        "aws_allow_http" | "aws_endpoint_url" | "aws_virtual_hosted_style_request" if has_endpoint => false,
        name if keys.contains(&name) => !has_keys,
        name => !own.iter().any(|other| other == name),
    });
    add_options(&config.overrides, &mut options);
    if let Some(of_table) = body.get("config").and_then(Value::as_object) {
        add_options(of_table, &mut options);
    }
    if let Some((_, of_place)) = best {
        add_options(of_place, &mut options);
    }
    options
}

/// Adds the options that settings of a catalog mean; each replaces one of its name.
fn add_options(settings: &Map<String, Value>, options: &mut Vec<(String, String)>) {
    const NAMES: &[(&str, &str)] = &[
        ("s3.access-key-id", "aws_access_key_id"),
        ("s3.secret-access-key", "aws_secret_access_key"),
        ("s3.session-token", "aws_session_token"),
        ("s3.endpoint", "aws_endpoint_url"),
        ("s3.region", "aws_region"),
        ("client.region", "aws_region"),
    ];
    let mut set = |name: &str, value: &str| {
        options.retain(|(other, _)| other != name);
        options.push((name.to_owned(), value.to_owned()));
    };
    for (name, value) in settings {
        let Some(value) = value.as_str() else { continue };
        if let Some((_, ours)) = NAMES.iter().find(|(theirs, _)| theirs == name) {
            set(ours, value);
        }
        if name == "s3.endpoint" && value.starts_with("http://") {
            set("aws_allow_http", "true");
        }
        if name == "s3.path-style-access" {
            set("aws_virtual_hosted_style_request", if value == "true" { "false" } else { "true" });
        }
        if name.starts_with("adls.sas-token") {
            set("azure_storage_sas_token", value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_of_a_catalog_become_options_of_stores() {
        let body = json!({
            "config": {"s3.access-key-id": "old", "s3.path-style-access": "true", "unknown": "x"},
            "storage-credentials": [{"prefix": "s3://b", "config": {"s3.access-key-id": "new", "s3.endpoint": "http://s"}}],
        });
        let mut options = store_options(&CatalogConfig::default(), &[], &body, "s3://b/t");
        options.sort();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            options,
            [
                pair("aws_access_key_id", "new"),
                pair("aws_allow_http", "true"),
                pair("aws_endpoint_url", "http://s"),
                pair("aws_virtual_hosted_style_request", "false"),
            ]
        );
        // The longest prefix of the location wins, wherever it is in the list.
        let key = |key: &str| json!({"s3.access-key-id": key});
        let body = json!({"config": key("table"), "storage-credentials": [
            {"prefix": "s3://lake/t", "config": key("good")},
            {"prefix": "s3", "config": key("any")},
            {"prefix": "s3://other", "config": key("bad")}]});
        let found = |config: &CatalogConfig, own: &[String], body: &Value, location: &str| {
            let options = store_options(config, own, body, location);
            options.into_iter().find(|(name, _)| name == "aws_access_key_id").map(|(_, value)| value)
        };
        let none = CatalogConfig::default();
        assert_eq!(found(&none, &[], &body, "s3a://lake/t/1").as_deref(), Some("good"));
        assert_eq!(found(&none, &[], &body, "s3://third/t").as_deref(), Some("any"));
        assert_eq!(found(&none, &[], &json!({"config": key("table")}), "s3://b").as_deref(), Some("table"));
        // The configuration of the catalog: overrides before our own, which are before the defaults.
        let object = |value: Value| value.as_object().unwrap().clone();
        let defaults = CatalogConfig { defaults: object(key("default")), ..CatalogConfig::default() };
        let overrides = CatalogConfig { overrides: object(key("override")), ..defaults.clone() };
        let own = ["aws_access_key_id".to_owned()];
        assert_eq!(found(&defaults, &[], &json!({}), "s3://b").as_deref(), Some("default"));
        assert_eq!(found(&defaults, &own, &json!({}), "s3://b"), None);
        assert_eq!(found(&overrides, &own, &json!({}), "s3://b").as_deref(), Some("override"));
        assert_eq!(found(&overrides, &own, &body, "s3://x").as_deref(), Some("any"));
        assert_eq!(encoded("a\u{1f}b c/é"), "a%1Fb%20c%2F%C3%A9");
    }
}
