//! Facts read from a response apart from its payload: the error text of a refusal, the retry delay that the server
//! names, and the position of a JSON error. All texts are freed of secrets here, before they become errors.

use std::time::{Duration, SystemTime};

use reqwest::Response;
use reqwest::header::{CONTENT_ENCODING, DATE, HeaderMap, HeaderName, RETRY_AFTER};

use super::body::ResponseBody;
use super::retry;
use super::trust::{redact_secrets, secrets_in_url};
use super::{Error, Kind};
use crate::api;
use crate::secret::ApiKey;

/// Longest message of a server that is shown, in characters: a few lines of a terminal.
const MAX_MESSAGE_CHARS: usize = 500;

/// Returns the error for a response with a status other than 2xx. Its text is the server's, without the secrets of the
/// request: servers quote keys and signed URLs back.
pub(super) fn refusal(status: u16, body: &[u8], method: &'static str, url: &str, key: Option<&ApiKey>) -> Error {
    let kind = match status {
        401 => Kind::KeyRefused,
        403 => Kind::Forbidden,
        404 | 410 => Kind::NotFound,
        429 => Kind::RateLimited,
        400..500 => Kind::Refused,
        500..600 => Kind::ServerFault,
        // 1xx and 3xx: the client library should have handled them.
        _ => Kind::BadResponse,
    };
    let secrets = secrets_in_url(url);
    let secrets: Vec<&str> = secrets.iter().map(String::as_str).chain(key.map(ApiKey::reveal)).collect();
    // Redacted before anything is cut, for a part of a secret would not be found; and again, for JSON may escape it.
    let text = redact_secrets(String::from_utf8_lossy(body).into_owned(), &secrets);
    let message = shortened(redact_secrets(error_message(&text), &secrets));
    Error::new(kind, method, url).with_status(status).with_text(message).with_api_body(api::is_error_body(body))
}

/// Extracts the message of an error body as one line. An HTML page is dropped, for it repeats the status; of XML, the
/// error format of object stores, the text between the tags is kept, up to 200 characters.
fn error_message(body: &str) -> String {
    let body = body.trim_start();
    if !body.starts_with('<') {
        return one_line(&api::error_text(body));
    }
    if !body.starts_with("<?xml") {
        return String::new();
    }
    let mut message = String::new();
    for piece in body.split('<').skip(1) {
        message.push_str(piece.split_once('>').map_or("", |(_, text)| text));
        message.push(' ');
    }
    one_line(&message).chars().take(200).collect()
}

/// Returns at most the first [`MAX_MESSAGE_CHARS`] characters of a message, with an ellipsis if it is longer.
fn shortened(message: String) -> String {
    match message.char_indices().nth(MAX_MESSAGE_CHARS) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message,
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns the content encoding of a response in lower case; empty if there is none. `aws-chunked` is none: it frames the
/// body of an upload, and some S3-like stores hand it back with the object, which is not framed.
pub(super) fn content_encoding(headers: &HeaderMap) -> String {
    let lines = headers.get_all(CONTENT_ENCODING).iter().filter_map(|line| line.to_str().ok());
    let text = lines.collect::<Vec<_>>().join(",").to_ascii_lowercase();
    let names = text.split(',').map(str::trim).filter(|name| !matches!(*name, "" | "identity" | "aws-chunked"));
    names.collect::<Vec<_>>().join(", ")
}

/// Returns the text of an error if a body that should be text is left in the `encoding` of its response: one that was not
/// requested, or several. A text under a name that is no encoding is none.
pub(super) fn undecoded(encoding: &str, body: &[u8]) -> Option<String> {
    let is_encoded = !encoding.is_empty() && !ResponseBody::decodes(encoding) && std::str::from_utf8(body).is_err();
    is_encoded.then(|| format!("unsupported content encoding `{encoding}`, which was not requested"))
}

/// Returns the delay that the server requests: `Retry-After`, else `X-RateLimit-Reset`. The latter counts only on a
/// 429, for responses of every status carry it.
pub(super) fn requested_delay(response: &Response) -> Option<Duration> {
    let now = SystemTime::now();
    let named = |name: &str| response.headers().get(name)?.to_str().ok();
    // Dates in these headers are compared with the local clock. A wrong clock is bounded by `retry_after_cap`.
    let reset = || match response.status().as_u16() {
        429 => retry::rate_limit_reset(named("x-ratelimit-reset")?, now),
        _ => None,
    };
    named(RETRY_AFTER.as_str()).and_then(|value| retry::retry_after(value, now)).or_else(reset)
}

/// Returns the seconds by which the server's clock is ahead of this machine's; `None` if the response names no time.
pub(super) fn seconds_ahead(response: &Response) -> Option<i64> {
    let date = httpdate::parse_http_date(response.headers().get(DATE)?.to_str().ok()?).ok()?;
    let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    Some(match date.duration_since(SystemTime::now()) {
        Ok(ahead) => seconds(ahead),
        Err(behind) => -seconds(behind.duration()),
    })
}

/// Returns the trimmed value of a header; `None` if it is absent or not text.
pub(super) fn header(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.trim().to_owned())
}

/// Returns the text of a JSON error with its quoted values removed: they may be signed links.
pub(super) fn json_error_text(error: &serde_json::Error) -> String {
    let mut plain = String::new();
    let (mut quoted, mut escaped) = (false, false);
    // Drops the text between quotes, in which serde_json escapes quotes by a backslash.
    for c in error.to_string().chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => {
                quoted = !quoted;
                plain.push_str(if quoted { "\"…" } else { "\"" });
            }
            _ if quoted => {}
            c => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_redacted_wherever_a_message_is_cut() {
        let key = ApiKey::new("marked-secret");
        for padding in 180..210 {
            for body in [
                format!("{}marked-secret is wrong", "x".repeat(padding)),
                format!("<?xml version=\"1.0\"?><m>{}marked-secret</m>", "x".repeat(padding)),
                format!(r#"{{"detail":"{}marked\u002dsecret"}}"#, "x".repeat(padding + 300)),
            ] {
                let error = refusal(400, body.as_bytes(), "GET", "https://api.test/x", Some(&key));
                assert!(!error.text().contains("mark"), "{error}");
            }
        }
    }

    #[test]
    fn json_errors_are_shown_without_values() {
        let error = serde_json::from_str::<u32>(r#""https://f.test/?sig=marked \" marked\\""#).unwrap_err();
        let text = json_error_text(&error);
        assert!(text.starts_with("invalid type: string \"…\", expected u32 at line 1 column "), "{text}");
    }
}
