//! What an answer says beside its body: the words of a refusal, the wait that it names.

use std::time::{Duration, SystemTime};

use reqwest::Response;
use reqwest::header::{HeaderMap, HeaderName, RETRY_AFTER};

use super::retry;
use super::trust::{scrubbed, secrets_of};
use super::{Error, Kind};
use crate::api;
use crate::secret::ApiKey;

/// The error for an answer that is not 2xx. What the server says is shown without the secrets of the request.
pub(super) fn refusal(status: u16, body: &[u8], method: &'static str, url: &str, key: Option<&ApiKey>) -> Error {
    let kind = match status {
        401 => Kind::KeyRefused,
        403 => Kind::Forbidden,
        404 | 410 => Kind::NotFound,
        429 => Kind::RateLimited,
        400..500 => Kind::Refused,
        500..600 => Kind::ServerFault,
        _ => Kind::BadAnswer,
    };
    let secrets = secrets_of(url);
    let secrets: Vec<&str> = secrets.iter().map(String::as_str).chain(key.map(ApiKey::reveal)).collect();
    let words = scrubbed(words_of(&String::from_utf8_lossy(body)), &secrets);
    Error::new(kind, method, url).with_status(status).with_text(words)
}

/// What an error body says, on one line. Pages made for browsers say nothing that the status does not; of XML, which
/// object stores send, the text between the tags is kept.
fn words_of(body: &str) -> String {
    let body = body.trim_start();
    if !body.starts_with('<') {
        return one_line(&api::error_text(body));
    }
    if !body.starts_with("<?xml") {
        return String::new();
    }
    let mut words = String::new();
    for piece in body.split('<').skip(1) {
        words.push_str(piece.split_once('>').map_or("", |(_, text)| text));
        words.push(' ');
    }
    one_line(&words).chars().take(200).collect()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The wait that an answer names, if any. The reset of the rate limit counts only where the limit is what refused:
/// answers of all kinds carry it.
pub(super) fn named_wait(response: &Response) -> Option<Duration> {
    let now = SystemTime::now();
    let named = |name: &str| response.headers().get(name)?.to_str().ok();
    let reset = || match response.status().as_u16() {
        429 => retry::rate_limit_reset(named("x-ratelimit-reset")?, now),
        _ => None,
    };
    named(RETRY_AFTER.as_str()).and_then(|value| retry::retry_after(value, now)).or_else(reset)
}

/// A header's text, trimmed, if it is there and text.
pub(super) fn header(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.trim().to_owned())
}

/// What is wrong with an answer's JSON, without the values that the parser quotes: they may be signed links.
pub(super) fn json_problem(error: &serde_json::Error) -> String {
    let mut plain = String::new();
    let (mut quoted, mut escaped) = (false, false);
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
    fn a_parsers_words_hold_no_values() {
        let error = serde_json::from_str::<u32>(r#""https://f.test/?sig=marked \" marked\\""#).unwrap_err();
        let text = json_problem(&error);
        assert!(text.starts_with("invalid type: string \"…\", expected u32 at line 1 column "), "{text}");
    }
}
