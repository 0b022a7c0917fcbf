//! Removal of secrets from what is recorded: signing secrets of webhooks, signatures of links, members that are secrets by
//! their names, and the key itself wherever it stands. Links to files are replaced by links of this service before.
//!
//! Rows are the user's: in the places where the API has rows, the key and signing secrets alone are replaced.

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use crate::api::routes::RUN_WORKFLOW;

/// Text in place of a secret.
const REDACTED: &str = "REDACTED";

/// Members of JSON objects whose text is a link to a file.
const LINK_MEMBERS: [&str; 2] = ["download_url", "results_download_url"];

/// Path whose response has its link in the member `url`.
const SEARCH_DOWNLOAD: &str = "/search/download";

/// Start of the paths whose responses have a list of files in their member `results`.
const JOB_STATUS: &str = "/job-status/";

/// End of the paths whose responses have a list of files, each with inline rows in its member `results`.
const DOWNLOAD_LINKS: &str = "/results/download-links";

/// Start of the signing secret of webhooks.
const WEBHOOK_SECRET: &str = "sk_whsec_";

/// Shortest key that is looked for in texts. One of a few letters is none of the hosted service's, and may be part of any
/// word.
const MIN_KEY_BYTES: usize = 8;

/// URLs within the queries of URLs that are looked into. By eye: a redirect has one.
const MAX_NESTING: u8 = 4;

/// Replaces every link to a file in the response to a request for `path` by what `replace` returns for it; a link for
/// which that is `None` becomes null, as the API has it for a file that it cannot sign.
pub(in crate::service) fn with_links(value: &mut Value, path: &str, replace: &mut dyn FnMut(&str) -> Option<String>) {
    links(value, path, path.starts_with(JOB_STATUS), replace);
}

/// `has_files` is true where the member `results` is a list of files.
fn links(value: &mut Value, path: &str, has_files: bool, replace: &mut dyn FnMut(&str) -> Option<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let is_link = LINK_MEMBERS.contains(&name.as_str()) || name == "url" && path == SEARCH_DOWNLOAD;
                match value.as_str().filter(|_| is_link) {
                    Some(link) => *value = replace(link).map_or(Value::Null, Value::String),
                    // Rows are the user's, whatever their columns are called.
                    None if name == "results" && !has_files => {}
                    None => links(value, path, false, replace),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| links(item, path, has_files, replace)),
        _ => {}
    }
}

/// Replaces secrets in a body that is to be recorded, of a request for `path` or of its response.
pub(super) fn json(value: &mut Value, key: &str, path: &str) {
    let rows = if path == RUN_WORKFLOW {
        Rows::In("webhook_payload")
    } else if path.starts_with(JOB_STATUS) {
        Rows::Below("results")
    } else if path.ends_with(DOWNLOAD_LINKS) {
        Rows::In("results")
    } else {
        Rows::Nowhere
    };
    members(value, key, rows);
}

/// Place of the user's rows in a body.
#[derive(Clone, Copy)]
enum Rows {
    Nowhere,
    /// In the member with this name.
    In(&'static str),
    /// In the member with this name below another one with it.
    Below(&'static str),
}

fn members(value: &mut Value, key: &str, rows: Rows) {
    match value {
        Value::String(found) => *found = text(found, key),
        Value::Array(items) => items.iter_mut().for_each(|item| members(item, key, rows)),
        Value::Object(object) => {
            for (name, mut value) in std::mem::take(object) {
                let below = match rows {
                    Rows::Below(place) if place == name => Rows::In(place),
                    rows => rows,
                };
                match rows {
                    Rows::In(place) if place == name => plain_texts(&mut value, key),
                    _ if is_secret(&name) => hide(&mut value),
                    _ => members(&mut value, key, below),
                }
                object.insert(text(&name, key), value);
            }
        }
        _ => {}
    }
}

/// Replaces the key and signing secrets in rows, and nothing else.
fn plain_texts(value: &mut Value, key: &str) {
    match value {
        Value::String(found) => *found = plain(found, key),
        Value::Array(items) => items.iter_mut().for_each(|item| plain_texts(item, key)),
        Value::Object(object) => {
            let replaced = std::mem::take(object).into_iter().map(|(name, mut value)| {
                plain_texts(&mut value, key);
                (plain(&name, key), value)
            });
            *object = replaced.collect::<Map<_, _>>();
        }
        _ => {}
    }
}

/// Replaces every text and number of a secret.
fn hide(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(hide),
        Value::Object(object) => object.values_mut().for_each(hide),
        Value::Null | Value::Bool(_) => {}
        Value::String(_) | Value::Number(_) => *value = REDACTED.into(),
    }
}

/// Replaces secrets in a text: the key, signing secrets, and the query of a URL with a signature or a secret.
pub(in crate::service) fn text(found: &str, key: &str) -> String {
    // JSON within a text, as bodies of other services are quoted.
    if found.starts_with(['{', '['])
        && let Ok(mut inner) = serde_json::from_str::<Value>(found)
    {
        let before = inner.clone();
        members(&mut inner, key, Rows::Nowhere);
        return if inner == before { found.to_owned() } else { inner.to_string() };
    }
    let is_end = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '`');
    let mut text = String::with_capacity(found.len());
    let mut follows_bearer = false;
    for word in plain(found, key).split_inclusive(is_end) {
        let (word, end) = match word.char_indices().next_back() {
            Some((start, c)) if is_end(c) => word.split_at(start),
            _ => (word, ""),
        };
        match follows_bearer && !word.is_empty() {
            true => text.push_str(REDACTED),
            false => text.push_str(&without_secret_query(word, key, MAX_NESTING)),
        }
        if !word.is_empty() {
            follows_bearer = word.eq_ignore_ascii_case("bearer");
        }
        text.push_str(end);
    }
    text
}

/// Replaces the key and signing secrets in a text.
fn plain(found: &str, key: &str) -> String {
    let mut text = found.to_owned();
    if key.len() >= MIN_KEY_BYTES {
        text = text.replace(key, REDACTED);
    }
    while let Some(start) = text.find(WEBHOOK_SECRET) {
        let rest = &text[start + WEBHOOK_SECRET.len()..];
        let len = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        text.replace_range(start..start + WEBHOOK_SECRET.len() + len, REDACTED);
    }
    text
}

/// Replaces the user and password of a URL, and the whole of its query and fragment if one parameter is a secret. A word
/// that is no URL may be a query by itself.
fn without_secret_query(word: &str, key: &str, nesting: u8) -> String {
    let mut word = word.to_owned();
    if let Some(start) = word.find("://").map(|at| at + 3) {
        let end = word[start..].find(['/', '?', '#']).map_or(word.len(), |at| start + at);
        if let Some(at) = word[start..end].rfind('@') {
            word.replace_range(start..start + at, REDACTED);
        }
    }
    let start = word.find(['?', '#']).map_or(0, |at| at + 1);
    // Ampersands as JSON and HTML may write them.
    let tail = word[start..].replace("\\u0026", "&").replace("&amp;", "&");
    let is_secret =
        tail.split(['&', ';', '#', '?', ',']).any(|part| part.contains('=') && is_secret_part(part, key, nesting));
    if is_secret {
        word.replace_range(start.., REDACTED);
    }
    word
}

/// Returns true for a parameter that authorizes, or has a secret in its value, which may be another URL.
fn is_secret_part(part: &str, key: &str, nesting: u8) -> bool {
    let has_secret = |found: &str| {
        plain(found, key) != found || nesting > 0 && without_secret_query(found, key, nesting - 1) != found
    };
    let mut pairs = url::form_urlencoded::parse(part.as_bytes());
    pairs.any(|(name, value)| is_signature(&name) || has_secret(&name) || has_secret(&value))
}

/// Returns a path without secrets, which may be percent-encoded.
pub(in crate::service) fn path(path: &str, key: &str) -> String {
    let part = |part: &str| {
        let decoded = percent_decode_str(part).decode_utf8_lossy();
        if plain(&decoded, key) == decoded { part.to_owned() } else { plain(&decoded, key).replace('/', "%2F") }
    };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// Returns a query without the values of signatures, tokens and keys.
pub(in crate::service) fn query(query: &str, key: &str) -> String {
    let part = |part: &str| {
        if !is_secret_part(part, key, MAX_NESTING) {
            return part.to_owned();
        }
        let name = url::form_urlencoded::parse(part.as_bytes()).next().map(|(name, _)| name.into_owned());
        format!("{}={REDACTED}", plain(&name.unwrap_or_default(), key))
    };
    query.split('&').map(part).collect::<Vec<_>>().join("&")
}

/// Returns a name in lower case without its separators.
fn letters(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '-' | '_' | ' ' | '.')).collect::<String>().to_ascii_lowercase()
}

/// Returns true for names of members and parameters whose value is a secret.
fn is_secret(name: &str) -> bool {
    const NAMES: [&str; 6] =
        ["authorization", "proxyauthorization", "cookie", "setcookie", "credential", "credentials"];
    const ENDS: [&str; 9] =
        ["secret", "secrets", "password", "passwd", "passphrase", "token", "apikey", "accesskey", "privatekey"];
    let name = letters(name);
    NAMES.contains(&name.as_str()) || ENDS.iter().any(|end| name.ends_with(end)) || name.ends_with("secretkey")
}

/// Returns true for parameters that authorize, in the links of any store.
fn is_signature(name: &str) -> bool {
    let found = letters(name);
    ["sig", "signature", "key", "auth", "awsaccesskeyid", "googleaccessid", "keypairid"].contains(&found.as_str())
        || ["xamz", "xgoog"].iter().any(|start| found.starts_with(start))
        || is_secret(name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_replaced_and_rows_kept() {
        let secret = format!("sk_whsec_{}", "a".repeat(64));
        let mut body = json!({
            "secret": "abc", "note": format!("key is the-real-key, {secret}."), "n": 1.50,
            "url": "https://s3.test/a?X-Amz-Signature=abc&b=1", "site": "https://a.test/?page=2", "sig": "kept",
        });
        super::json(&mut body, "the-real-key", "/x");
        assert_eq!(
            body,
            json!({
                "secret": "REDACTED", "note": "key is REDACTED, REDACTED.", "n": 1.50,
                "url": "https://s3.test/a?REDACTED", "site": "https://a.test/?page=2", "sig": "kept",
            })
        );
        assert_eq!(text("a k b", "k"), "a k b");
        assert_eq!(query("format=csv&%73ig=x&Token=y", ""), "format=csv&sig=REDACTED&Token=REDACTED");
        assert_eq!(
            query("apikey=k&foo=the-real-key&n=the%2Dreal-key&the-real-key=1&workflow_id=w", "the-real-key"),
            "apikey=REDACTED&foo=REDACTED&n=REDACTED&REDACTED=REDACTED&workflow_id=w"
        );
        assert_eq!(path("/a%20b/the%2Dreal-key/x", "the-real-key"), "/a%20b/REDACTED/x");
    }

    #[test]
    fn links_are_replaced_but_not_in_rows() {
        let mut links = json!([
            { "filename": "a.csv", "download_url": "https://s3.test/a", "results": [{ "download_url": "mine" }] },
            { "filename": "b.csv", "download_url": null, "results": null },
        ]);
        let mut found = Vec::new();
        let mut replace = |link: &str| {
            found.push(link.to_owned());
            Some("new".to_owned())
        };
        with_links(&mut links, "/workflows/runs/x/results/download-links", &mut replace);
        let mut job = json!({ "results": [{ "filename": "c", "download_url": "https://s3.test/c" }] });
        with_links(&mut job, "/job-status/x", &mut replace);
        let mut search = json!({ "url": "https://s3.test/d" });
        with_links(&mut search, "/search/download", &mut replace);
        let mut other = json!({ "url": "https://hooks.test" });
        with_links(&mut other, "/workflows/x", &mut replace);
        assert_eq!(found, ["https://s3.test/a", "https://s3.test/c", "https://s3.test/d"]);
        assert_eq!(
            (&links[0]["download_url"], &links[0]["results"][0]["download_url"]),
            (&json!("new"), &json!("mine"))
        );
        assert_eq!((&search["url"], &other["url"]), (&json!("new"), &json!("https://hooks.test")));
    }

    #[test]
    fn secrets_are_found_in_texts_names_and_lists() {
        let mut body = json!({
            "message": "see https://s3.test/x?a=1&X-Amz-Signature=abc, or https://u:pw@h.test/y#access_token=abc",
            "html": "<a href=\"https://s3.test/x?a=1&amp;sig=abc\">x</a>", "escaped": "https://s3.test/?a=1\\u0026sig=abc",
            "nested": "https://a.test/?next=https%3A%2F%2Fs3.test%2Fx%3Fsig%3Dabc", "quoted": r#"{"password":"abc"}"#,
            "header": "Authorization: Bearer abc", "form": "api_key=abc", "the-real-key": 1,
            "secret": ["abc", { "n": 12345 }], "access_token": "abc", "clientSecret": "abc", "password": 12345,
            "plain": "what? a=b, page 2: https://a.test/?page=2", "tokens": 7,
        });
        super::json(&mut body, "the-real-key", "/x");
        let text = body.to_string();
        assert!(!text.contains("abc") && !text.contains("pw@") && !text.contains("12345"), "{text}");
        assert!(!text.contains("the-real-key"), "{text}");
        assert_eq!((&body["REDACTED"], &body["tokens"]), (&json!(1), &json!(7)));
        assert_eq!(body["plain"], "what? a=b, page 2: https://a.test/?page=2");
        assert_eq!(body["message"], "see https://s3.test/x?REDACTED or https://REDACTED@h.test/y#REDACTED");
    }

    #[test]
    fn rows_are_the_users() {
        let row =
            json!({ "filename": "a", "download_url": "https://user.test/?token=abc", "secret": "s", "api_key": 5 });
        let link = json!({ "filename": "x.csv", "download_url": "https://s3.test/x", "results": [row] });
        for (place, path) in
            [("/0/results/0", "/workflows/runs/r/results/download-links"), ("/results/0/results/0", "/job-status/r")]
        {
            let mut body = if path.starts_with("/job") { json!({ "results": [link] }) } else { json!([link]) };
            let mut links = 0;
            with_links(&mut body, path, &mut |_| {
                links += 1;
                Some("new".to_owned())
            });
            super::json(&mut body, "the-real-key", path);
            assert_eq!((links, body.pointer(place)), (1, Some(&row)), "{path}");
        }
        let mut sent = json!({ "webhook_payload": [row, { "note": "the-real-key" }], "secret": "s" });
        super::json(&mut sent, "the-real-key", RUN_WORKFLOW);
        assert_eq!(sent, json!({ "webhook_payload": [row, { "note": "REDACTED" }], "secret": "REDACTED" }));
    }
}
