//! Requests for the API in a service that stands before the hosted one: handed on and recorded, or answered from recorded
//! pairs. Signed links of the hosted service become links of this one, so that downloads take the same way.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RANGE, RETRY_AFTER, TRANSFER_ENCODING,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use chrono::TimeDelta;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use url::Url;

use super::files::{check_link, reject_head, stream_of};
use super::key::{is_accepted, unauthorized};
use super::links::origin;
use crate::api::RunId;
use crate::api::routes::{API_KEY_HEADER, IDEMPOTENCY_KEY_HEADER};
use crate::service::api_error::ApiError;
use crate::service::app::App;
use crate::service::clock::timestamp;
use crate::service::contract::differences;
use crate::service::faults::flushed;
use crate::service::hosted::{
    Hosted, LINK_PREFIX, Missing, Pair, REQUEST_HEADERS, RESPONSE_HEADERS, RecordedBody, RecordedRequest,
    RecordedResponse, Recorder, Replay, ReplayedRequest, SentBody, Upstream, is_allowed, is_json, media_type,
    redacted_path, redacted_query, redacted_text, with_links,
};
use crate::service::journal::{DifferencesFromContract, RunOfRequest};
use crate::service::page;
use crate::service::paths::FILES_PREFIX;
use crate::service::private_files;
use crate::service::request::{blocking, given_key, query};
use crate::text::error_chain;

/// Largest JSON response that is compared and recorded; it is held in memory.
const MAX_JSON_BYTES: usize = 64 << 20;

/// Largest body of a request that is read before it is sent, so that it is known even if it is not sent to its end.
const MAX_READ_BODY: u64 = 1 << 20;

/// Chunks of a response that wait for the disk.
const CHUNKS: usize = 8;

/// Answers a request for the API. Links need no key, because they are signed.
pub(super) async fn answer(State(app): State<Arc<App>>, request: Request) -> Response {
    let uri = request.uri().clone();
    if page::is_page(uri.path()) {
        return page::not_found();
    }
    let link = match uri.path().strip_prefix(FILES_PREFIX) {
        None if is_accepted(&app, given_key(request.headers())) => None,
        None => return unauthorized(request).await,
        Some(rest) => {
            let query = query(&uri);
            if let Err(error) = check_link(&app, uri.path(), &query) {
                return error.into_response();
            }
            match *request.method() {
                Method::GET => {}
                Method::HEAD => return reject_head().await.into_response(),
                _ => {
                    let text = "Method Not Allowed".to_owned();
                    return ApiError::Text(StatusCode::METHOD_NOT_ALLOWED, text).into_response();
                }
            }
            rest.split('/').next().and_then(|number| number.parse().ok())
        }
    };
    match &app.hosted {
        Some(Hosted::Proxy { upstream, recorder }) => match forward(&app, upstream, recorder, request, link).await {
            Ok(response) => response,
            Err(error) => error.into_response(),
        },
        Some(Hosted::Replay(recorded)) => replay(&app, recorded, request).await,
        None => ApiError::not_found("Not Found").into_response(),
    }
}

/// Hands a request on to the hosted service, or a download to the store behind the link with this number.
async fn forward(
    app: &Arc<App>,
    upstream: &Upstream,
    recorder: &Recorder,
    request: Request,
    link: Option<u64>,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
    // A URL resolves them, so that another path would be asked for than is recorded.
    if path.split('/').any(|part| matches!(&*part.to_ascii_lowercase().replace("%2e", "."), "." | "..")) {
        return Err(ApiError::bad_request("the path has a segment of dots"));
    }
    // The signature of a link is for this service.
    let sent_query = if link.is_some() { "" } else { parts.uri.query().unwrap_or("") };
    let key = given_key(&parts.headers).to_owned();
    let (mut outgoing, gets_key) = match link {
        None => (upstream.request(method.clone(), &path, sent_query), true),
        Some(number) => {
            let forgotten = || ApiError::not_found("the link is unknown; request new ones");
            upstream.download(recorder.link(number).ok_or_else(forgotten)?)
        }
    };
    if gets_key && !key.is_empty() {
        outgoing = outgoing.header(API_KEY_HEADER, &key);
    }
    for name in REQUEST_HEADERS {
        for value in parts.headers.get_all(&name) {
            outgoing = outgoing.header(&name, value);
        }
    }
    let sent_body = Arc::new(Mutex::new(SentBody::new(content_type(&parts.headers))));
    let len = parts.headers.get(CONTENT_LENGTH);
    let is_small = len.and_then(|len| len.to_str().ok()?.parse().ok()).is_some_and(|len: u64| len <= MAX_READ_BODY);
    if is_small {
        let unread = |_| ApiError::bad_request("cannot read the request body");
        let bytes = to_bytes(body, usize::MAX).await.map_err(unread)?;
        lock(&sent_body).add(&bytes);
        outgoing = outgoing.body(bytes);
    } else if len.is_some() || parts.headers.contains_key(TRANSFER_ENCODING) {
        if let Some(len) = len {
            outgoing = outgoing.header(CONTENT_LENGTH, len);
        }
        let sent_body = Arc::clone(&sent_body);
        let body = body.into_data_stream().inspect_ok(move |chunk| lock(&sent_body).add(chunk));
        outgoing = outgoing.body(reqwest::Body::wrap_stream(body));
    }
    let recorded = RecordedRequest {
        method: method.to_string(),
        path: path.clone(),
        query: sent_query.to_owned(),
        headers: recorded_headers(&parts.headers, &REQUEST_HEADERS),
        body: RecordedBody::None,
    };
    let number = recorder.next_number();
    let at = timestamp(app.config.clock.now());
    let sent = outgoing.send().await;
    let mut pair = Pair {
        number,
        at,
        request: RecordedRequest { body: lock(&sent_body).recorded(&key, &path), ..recorded },
        response: RecordedResponse {
            status: StatusCode::BAD_GATEWAY.as_u16(),
            headers: BTreeMap::new(),
            body: RecordedBody::None,
            is_complete: true,
        },
        differences: Vec::new(),
    };
    let incoming = match sent {
        Ok(incoming) => incoming,
        Err(error) => {
            // The address of a link is a secret.
            let text = format!("the hosted service cannot be reached: {}", error_chain(&error.without_url()));
            return Ok(unanswered(app, recorder, pair, key, text).await);
        }
    };
    let status = incoming.status();
    let headers = incoming.headers().clone();
    let media_type = media_type(content_type(&headers));
    pair.response.status = status.as_u16();
    pair.response.headers = recorded_headers(&headers, &RESPONSE_HEADERS);
    // Where a redirect leads, so that what it names takes the way through this service too.
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let location = location.and_then(|to| recorded_location(upstream, recorder, incoming.url(), to, &key));
    if let Some(location) = &location {
        pair.response.headers.insert(LOCATION.as_str().to_owned(), location.clone());
    }
    let location = location.and_then(|to| served_location(app, &parts.headers, &to));
    let located = move |mut response: Response| {
        if let Some(location) = location {
            response.headers_mut().insert(LOCATION, location);
        }
        response
    };
    // A member of a body may be named as a secret.
    let compare = |value: Option<&Value>| -> Vec<String> {
        let found = differences(method.as_str(), &path, status.as_u16(), &media_type, value);
        found.iter().map(|difference| redacted_text(difference, &key)).collect()
    };
    let is_coded = headers.get(CONTENT_ENCODING).is_some_and(|coding| coding != "identity");
    // A body without a type may be JSON with links.
    let may_be_json = is_json(&media_type) || media_type.is_empty();
    if link.is_some() || is_coded || !may_be_json || method == Method::HEAD {
        if method != Method::HEAD {
            pair.differences = compare(None);
        }
        // The rows of a download; an error of the store may name the signature.
        let is_kept = link.is_some() && matches!(status.as_u16(), 200 | 206);
        return streamed(app, recorder, incoming, Bytes::new(), pair, key, is_kept).await.map(located);
    }
    let bytes = match whole(incoming).await {
        Ok(bytes) => bytes,
        // It is the client's all the same: the hosted service has done what it was asked for.
        Err(Unread::TooLarge { head, rest }) => {
            pair.differences = vec!["the body is too large to be compared".to_owned()];
            return streamed(app, recorder, rest, head, pair, key, false).await.map(located);
        }
        Err(Unread::Broken(text)) => return Ok(unanswered(app, recorder, pair, key, text).await),
    };
    let mut value: Option<Value> = serde_json::from_slice(&bytes).ok();
    pair.differences = match &value {
        None if is_json(&media_type) => vec!["the body is not JSON".to_owned()],
        value => compare(value.as_ref()),
    };
    let mut has_links = false;
    if let Some(value) = &mut value {
        with_links(value, &path, &mut |link| {
            has_links = true;
            let url = Url::parse(link).ok().filter(is_allowed)?;
            let name = file_name(&url);
            Some(format!("{LINK_PREFIX}{}/{name}", recorder.add_link(url)))
        });
    }
    pair.response.body = match &value {
        Some(value) => RecordedBody::Json(value.clone()),
        None if bytes.is_empty() => RecordedBody::None,
        None => RecordedBody::Omitted(bytes.len() as u64),
    };
    let run = value.as_ref().and_then(started_run);
    // The bytes as they came, unless a link is in them.
    let sent = match &mut value {
        Some(value) if has_links => {
            serve_links(app, &parts.headers, &path, value);
            Bytes::from(value.to_string())
        }
        _ => bytes,
    };
    let found = pair.differences.clone();
    add(app, pair, key).await;
    let mut response = (status, sent).into_response();
    copy_headers(&headers, response.headers_mut(), false);
    response.extensions_mut().insert(DifferencesFromContract(found));
    if let Some(run) = run {
        response.extensions_mut().insert(RunOfRequest(run));
    }
    Ok(located(response))
}

/// Returns the 502 of a request that the hosted service has not answered, or not to the end. It is recorded as what the
/// client saw, so that a replay has it in its place.
async fn unanswered(app: &Arc<App>, recorder: &Recorder, mut pair: Pair, key: String, text: String) -> Response {
    recorder.count_unanswered();
    let media_type = (CONTENT_TYPE.as_str().to_owned(), "application/json".to_owned());
    pair.response = RecordedResponse {
        status: StatusCode::BAD_GATEWAY.as_u16(),
        headers: BTreeMap::from([media_type]),
        body: RecordedBody::Json(json!({ "detail": text })),
        is_complete: true,
    };
    add(app, pair, key).await;
    ApiError::Text(StatusCode::BAD_GATEWAY, text).into_response()
}

/// Returns the form in which a redirect to `to` is recorded: a path of the API, or a link in place of another address that
/// rows may come from. `None` for an address that is not handed on.
fn recorded_location(upstream: &Upstream, recorder: &Recorder, from: &Url, to: &str, key: &str) -> Option<String> {
    let url = from.join(to).ok()?;
    match upstream.path_of(&url) {
        // A signature in it is kept from the recording as that of any link is.
        Some(path) if redacted_text(&path, key) == path => Some(path),
        _ if is_allowed(&url) => {
            let name = file_name(&url);
            Some(format!("{LINK_PREFIX}{}/{name}", recorder.add_link(url)))
        }
        _ => None,
    }
}

/// Returns the header of a redirect in the recorded form: a link is signed.
fn served_location(app: &App, headers: &HeaderMap, recorded: &str) -> Option<HeaderValue> {
    let mut link = Value::String(recorded.to_owned());
    if recorded.starts_with(LINK_PREFIX) {
        link = json!({ "download_url": recorded });
        serve_links(app, headers, "", &mut link);
        link = link["download_url"].take();
    }
    HeaderValue::from_str(link.as_str()?).ok()
}

/// Returns the run that a response names as started or cancelled.
fn started_run(value: &Value) -> Option<String> {
    value.get("job_id").or_else(|| value.get("task_id"))?.as_str().map(str::to_owned)
}

/// Reason why a JSON response is not read as a whole.
enum Unread {
    /// It is larger than [`MAX_JSON_BYTES`]; its first bytes and the rest.
    TooLarge { head: Bytes, rest: reqwest::Response },
    /// It broke off.
    Broken(String),
}

/// Reads a whole JSON response.
async fn whole(mut incoming: reqwest::Response) -> Result<Bytes, Unread> {
    let mut bytes = Vec::new();
    loop {
        match incoming.chunk().await {
            Ok(None) => return Ok(bytes.into()),
            Ok(Some(chunk)) => {
                bytes.extend_from_slice(&chunk);
                if bytes.len() > MAX_JSON_BYTES {
                    return Err(Unread::TooLarge { head: bytes.into(), rest: incoming });
                }
            }
            Err(error) => {
                let text = error_chain(&error.without_url());
                return Err(Unread::Broken(format!("the response of the hosted service ended early: {text}")));
            }
        }
    }
}

/// A message to the thread that records a body.
enum Message {
    Chunk(Bytes),
    /// The body has ended as it should.
    End,
}

/// Passes a response on, of which `head` was read already, while it is recorded, with its bytes if they are to be kept. The pair is written before the last
/// byte is sent, or when the client or the hosted service gives up.
async fn streamed(
    app: &Arc<App>,
    recorder: &Recorder,
    incoming: reqwest::Response,
    head: Bytes,
    mut pair: Pair,
    key: String,
    is_kept: bool,
) -> Result<Response, ApiError> {
    let (status, headers) = (incoming.status(), incoming.headers().clone());
    let found = pair.differences.clone();
    let file = if is_kept { recorder.body_file(pair.number)? } else { None };
    // Such a body is never read, and one whose length is known is not read beyond it.
    let is_empty = pair.request.method == "HEAD" || matches!(status.as_u16(), 204 | 304);
    let expected = if is_empty { Some(0) } else { incoming.content_length().map(|rest| rest + head.len() as u64) };
    let (messages, mut waiting) = mpsc::channel(CHUNKS);
    let shared = Arc::clone(app);
    let writer = tokio::task::spawn_blocking(move || {
        let (name, mut file) = match file {
            Some((name, file)) => (Some(name), Some(file)),
            None => (None, None),
        };
        let (mut bytes, mut is_complete, mut failed) = (0, expected == Some(0), false);
        while let Some(message) = waiting.blocking_recv() {
            match message {
                Message::Chunk(chunk) => {
                    bytes += chunk.len() as u64;
                    failed |= file.as_mut().is_some_and(|file| file.write_all(&chunk).is_err());
                }
                Message::End => is_complete = true,
            }
        }
        failed |= file.as_mut().is_some_and(|file| file.flush().is_err());
        pair.response.is_complete = is_complete && !failed;
        pair.response.body = match name {
            _ if bytes == 0 => RecordedBody::None,
            Some(name) => RecordedBody::File(name),
            None => RecordedBody::Omitted(bytes),
        };
        if let Some(Hosted::Proxy { recorder, .. }) = &shared.hosted {
            recorder.add(pair, &key);
        }
    });
    let head = (!head.is_empty()).then_some(Ok(head));
    let chunks = Box::pin(stream::iter(head).chain(incoming.bytes_stream()));
    let state = (chunks, Some((messages, writer)), 0_u64);
    let body = stream::try_unfold(state, move |(mut chunks, mut recording, mut passed)| async move {
        let next = match chunks.next().await {
            Some(Ok(chunk)) => Some(chunk),
            Some(Err(error)) => {
                flushed().await;
                return Err(std::io::Error::other(error.without_url()));
            }
            None => None,
        };
        if let (Some((messages, _)), Some(chunk)) = (&recording, &next) {
            passed += chunk.len() as u64;
            let _ = messages.send(Message::Chunk(chunk.clone())).await;
        }
        if (next.is_none() || expected == Some(passed))
            && let Some((messages, writer)) = recording.take()
        {
            let _ = messages.send(Message::End).await;
            drop(messages);
            let _ = writer.await;
        }
        Ok::<_, std::io::Error>(next.map(|chunk| (chunk, (chunks, recording, passed))))
    });
    let mut response = (status, Body::from_stream(body)).into_response();
    copy_headers(&headers, response.headers_mut(), true);
    response.extensions_mut().insert(DifferencesFromContract(found));
    Ok(response)
}

async fn add(app: &Arc<App>, pair: Pair, key: String) {
    let shared = Arc::clone(app);
    let added = tokio::task::spawn_blocking(move || {
        if let Some(Hosted::Proxy { recorder, .. }) = &shared.hosted {
            recorder.add(pair, &key);
        }
    });
    let _ = added.await;
}

/// Answers a request from the recorded pairs.
async fn replay(app: &Arc<App>, recorded: &Replay, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    let key = given_key(&parts.headers);
    let mut sent_body = SentBody::new(content_type(&parts.headers));
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        match chunk {
            Ok(chunk) => sent_body.add(&chunk),
            Err(_) => return ApiError::bad_request("cannot read the request body").into_response(),
        }
    }
    let sent_query = if path.starts_with(FILES_PREFIX) { "" } else { parts.uri.query().unwrap_or("") };
    let header = |name: HeaderName| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let wanted = ReplayedRequest {
        method: parts.method.as_str(),
        path,
        query: sent_query,
        body: sent_body.recorded(key, path),
        range: header(RANGE),
        idempotency_key: header(HeaderName::from_static(IDEMPOTENCY_KEY_HEADER)),
        key,
    };
    let pair = match recorded.next(&wanted) {
        Ok(pair) => pair,
        Err(missing) => {
            let query = redacted_query(sent_query, key);
            let query = if query.is_empty() { query } else { format!("?{query}") };
            let place = format!("{} {}{query}", parts.method, redacted_path(path, key));
            let text = match missing {
                Missing::Unknown => format!("no response to this request is recorded: {place}"),
                Missing::Exhausted(times) => format!(
                    "no further response to this request is recorded, all {times} were replayed (a reset begins again): \
                     {place}"
                ),
            };
            return ApiError::not_found(text).into_response();
        }
    };
    let status = StatusCode::from_u16(pair.response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let (body, keeps_length) = match &pair.response.body {
        RecordedBody::None | RecordedBody::Digest { .. } => (Body::empty(), !pair.response.is_complete),
        RecordedBody::Json(value) => {
            let mut value = value.clone();
            serve_links(app, &parts.headers, path, &mut value);
            (Body::from(value.to_string()), false)
        }
        RecordedBody::File(name) => {
            let path = recorded.file(name);
            let opened = blocking(move || {
                let file = private_files::open(&path)?;
                let len = file.metadata()?.len();
                Ok((file, len))
            });
            match opened.await {
                Ok((file, len)) => (stream_of(file, len), true),
                Err(error) => return error.into_response(),
            }
        }
        RecordedBody::Omitted(bytes) => {
            let text =
                format!("the body of the response was not recorded: {bytes} bytes that are neither JSON nor rows");
            // The status alone says that it is an error.
            let status = if status.as_u16() >= 400 { status } else { StatusCode::NOT_IMPLEMENTED };
            let mut response = ApiError::Text(status, text).into_response();
            if let Some(value) = pair.response.headers.get(RETRY_AFTER.as_str())
                && let Ok(value) = HeaderValue::from_str(value)
            {
                response.headers_mut().insert(RETRY_AFTER, value);
            }
            return response;
        }
    };
    // The client sees the connection break where it broke.
    let body = match pair.response.is_complete {
        true => body,
        false => {
            let end = stream::once(async {
                flushed().await;
                Err(axum::Error::new(std::io::Error::other("the recorded transfer ended here")))
            });
            Body::from_stream(body.into_data_stream().chain(end))
        }
    };
    let mut response = (status, body).into_response();
    for (name, value) in &pair.response.headers {
        if name == LOCATION.as_str() {
            if let Some(value) = served_location(app, &parts.headers, value) {
                response.headers_mut().insert(LOCATION, value);
            }
            continue;
        }
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value))
            && (keeps_length || name != CONTENT_LENGTH)
        {
            response.headers_mut().insert(name, value);
        }
    }
    if let RecordedBody::Json(value) = &pair.response.body
        && parts.method == Method::POST
        && let Some(run) = started_run(value)
    {
        response.extensions_mut().insert(RunOfRequest(run));
    }
    response
}

/// Replaces recorded links by signed links of this service.
fn serve_links(app: &App, headers: &HeaderMap, path: &str, value: &mut Value) {
    let life = TimeDelta::from_std(app.config.link_life).unwrap_or(TimeDelta::MAX);
    let expires = (app.config.clock.now() + life).timestamp();
    let origin = origin(app, headers);
    with_links(value, path, &mut |link| {
        let (number, name) = link.strip_prefix(LINK_PREFIX)?.split_once('/')?;
        Some(format!("{origin}{}", app.signer.link(&RunId(number.to_owned()), name, expires)))
    });
}

/// Returns the file name of a link as one plain path segment.
fn file_name(url: &Url) -> String {
    let name = url.path_segments().and_then(|mut segments| segments.next_back()).unwrap_or_default();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let name: String = name.chars().filter(|c| is_plain(*c)).take(100).collect();
    if name.trim_matches('.').is_empty() { "file".to_owned() } else { name }
}

fn content_type(headers: &HeaderMap) -> &str {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("")
}

fn lock(body: &Mutex<SentBody>) -> MutexGuard<'_, SentBody> {
    body.lock().unwrap_or_else(PoisonError::into_inner)
}

fn recorded_headers(headers: &HeaderMap, names: &[HeaderName]) -> BTreeMap<String, String> {
    let text = |name: &HeaderName| {
        let value = headers.get(name)?;
        Some((name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
    };
    names.iter().filter_map(text).collect()
}

fn copy_headers(from: &HeaderMap, to: &mut HeaderMap, is_same_body: bool) {
    for name in RESPONSE_HEADERS {
        if let Some(value) = from.get(&name)
            && (is_same_body || ![CONTENT_LENGTH, CONTENT_ENCODING].contains(&name))
        {
            to.insert(name, value.clone());
        }
    }
}
