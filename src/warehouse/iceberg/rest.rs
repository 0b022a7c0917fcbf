//! Catalogs over HTTP, by the Iceberg REST specification. A commit names the snapshot that it was made from, so that the
//! catalog refuses it with 409 if another one came first. A commit whose response was lost is sent again as it is: the
//! catalog then makes it, or refuses it because it was made.

use std::cell::RefCell;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::catalog::{Catalog, CatalogTable, Commit, CommitOutcome, NewTable, TableName};
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
    /// The start of the paths of the catalog, after it has been asked for its configuration.
    prefix: RefCell<Option<String>>,
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

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
    /// Returns the message of an error.
    fn message(&self) -> String {
        let text = self.body.get("error").and_then(|error| error.get("message")).and_then(Value::as_str);
        match text {
            Some(text) => format!("{} ({})", text, self.status.as_u16()),
            None => format!("the catalog responded with status {}", self.status),
        }
    }

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
            prefix: RefCell::new(None),
            runtime: Some(runtime),
        })
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
        let cause = response.message();
        match response.status.as_u16() {
            401 | 403 | 419 => {
                let hint = "set ICEBERG_TOKEN, or ICEBERG_CREDENTIAL to the client id and secret with a colon between";
                let (target, hint) = (self.target.clone(), Some(hint.to_owned()));
                LoadError::Connect { target, cause, hint, is_transient: false }
            }
            404 if !response.is_catalog_error() => {
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
        if let Some(prefix) = &*self.prefix.borrow() {
            return Ok(prefix.clone());
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
        let of = |kind: &str| response.body.get(kind)?.get("prefix")?.as_str().filter(|prefix| !prefix.is_empty());
        let prefix = match of("overrides").or_else(|| of("defaults")) {
            Some(prefix) => format!("{}/v1/{prefix}", self.settings.url),
            None => format!("{}/v1", self.settings.url),
        };
        *self.prefix.borrow_mut() = Some(prefix.clone());
        Ok(prefix)
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
        Ok(Some(CatalogTable { metadata, metadata_location: location, options: store_options(&response.body) }))
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
                what: format!("the catalog has no namespace `{}`: {}", self.name.namespace_text(), response.message()),
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
            options: store_options(&response.body),
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
                    200..=299 => return Ok(CommitOutcome::Done),
                    409 => return Ok(CommitOutcome::Conflict),
                    // Not carried out.
                    429 => {}
                    // By the specification or by a proxy: the state is unknown.
                    500..=599 => last = Some(response.message()),
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

/// Returns the options of stores that a catalog hands out with a table.
fn store_options(body: &Value) -> Vec<(String, String)> {
    const NAMES: &[(&str, &str)] = &[
        ("s3.access-key-id", "aws_access_key_id"),
        ("s3.secret-access-key", "aws_secret_access_key"),
        ("s3.session-token", "aws_session_token"),
        ("s3.endpoint", "aws_endpoint_url"),
        ("s3.region", "aws_region"),
        ("client.region", "aws_region"),
    ];
    let config = body.get("config").and_then(Value::as_object);
    let credentials = body.get("storage-credentials").and_then(Value::as_array).into_iter().flatten();
    let credentials = credentials.filter_map(|of| of.get("config")?.as_object());
    let mut options: Vec<(String, String)> = Vec::new();
    let mut set = |name: &str, value: &str| {
        options.retain(|(other, _)| other != name);
        options.push((name.to_owned(), value.to_owned()));
    };
    for (name, value) in config.into_iter().chain(credentials).flatten() {
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
    options
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
        let mut options = store_options(&body);
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
        assert_eq!(encoded("a\u{1f}b c/é"), "a%1Fb%20c%2F%C3%A9");
    }
}
