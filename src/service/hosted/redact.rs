//! Removal of secrets from what is recorded: signing secrets of webhooks, signatures of links, and the key itself should
//! it stand in a body. Links to files are replaced by links of this service before.

use serde_json::Value;
use url::Url;

/// Text in place of a secret.
const REDACTED: &str = "REDACTED";

/// Members of JSON objects whose text is a link to a file.
const LINK_MEMBERS: [&str; 2] = ["download_url", "results_download_url"];

/// Path whose response has its link in the member `url`.
const SEARCH_DOWNLOAD: &str = "/search/download";

/// Start of the signing secret of webhooks.
const WEBHOOK_SECRET: &str = "sk_whsec_";

/// Members of JSON objects whose text is a secret.
const SECRET_MEMBERS: [&str; 4] = ["secret", "signing_secret", "api_key", "x-api-key"];

/// Replaces every link to a file in the response to a request for `path` by what `replace` returns for it; a link for
/// which that is `None` becomes null, as the API has it for a file that it cannot sign.
pub(in crate::service) fn with_links(value: &mut Value, path: &str, replace: &mut dyn FnMut(&str) -> Option<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let is_link = LINK_MEMBERS.contains(&name.as_str()) || name == "url" && path == SEARCH_DOWNLOAD;
                match value.as_str().filter(|_| is_link) {
                    Some(link) => *value = replace(link).map_or(Value::Null, Value::String),
                    // Rows are the user's, whatever their columns are called.
                    None if name == "results" && is_rows(value) => {}
                    None => with_links(value, path, replace),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| with_links(item, path, replace)),
        _ => {}
    }
}

/// Returns true for inline rows, in contrast to the list of files of a bulk job.
fn is_rows(value: &Value) -> bool {
    value.as_array().is_some_and(|items| items.iter().all(|item| item.get("filename").is_none()))
}

/// Replaces secrets in a body that is to be recorded.
pub(super) fn json(value: &mut Value, key: &str) {
    match value {
        Value::String(found) => *found = text(found, key),
        Value::Array(items) => items.iter_mut().for_each(|item| json(item, key)),
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(text) if SECRET_MEMBERS.contains(&name.to_ascii_lowercase().as_str()) => {
                        REDACTED.clone_into(text);
                    }
                    value => json(value, key),
                }
            }
        }
        _ => {}
    }
}

/// Replaces secrets in a text: the key, signing secrets, and the query of a URL that is signed.
pub(super) fn text(found: &str, key: &str) -> String {
    let mut text = found.to_owned();
    // A key of a few letters is none of the hosted service's, and may be part of any word.
    if key.len() >= 8 {
        text = text.replace(key, REDACTED);
    }
    while let Some(start) = text.find(WEBHOOK_SECRET) {
        let rest = &text[start + WEBHOOK_SECRET.len()..];
        let len = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        text.replace_range(start..start + WEBHOOK_SECRET.len() + len, REDACTED);
    }
    if let Ok(mut url) = Url::parse(&text)
        && url.query_pairs().any(|(name, _)| is_signature(&name))
    {
        url.set_query(Some(REDACTED));
        text = url.into();
    }
    text
}

/// Returns a query without the values of signatures and tokens.
pub(in crate::service) fn query(query: &str) -> String {
    let part = |part: &str| {
        let name = url::form_urlencoded::parse(part.as_bytes()).next().map(|(name, _)| name.into_owned());
        match name.filter(|name| is_signature(name)) {
            Some(name) => format!("{name}={REDACTED}"),
            None => part.to_owned(),
        }
    };
    query.split('&').map(part).collect::<Vec<_>>().join("&")
}

/// Returns true for parameters that authorize, in the links of any store.
fn is_signature(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["sig", "signature", "token", "access_token", "api_key", "key"].contains(&name.as_str())
        || ["x-amz-", "x-goog-"].iter().any(|start| name.starts_with(start))
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
        super::json(&mut body, "the-real-key");
        assert_eq!(
            body,
            json!({
                "secret": "REDACTED", "note": "key is REDACTED, REDACTED.", "n": 1.50,
                "url": "https://s3.test/a?REDACTED", "site": "https://a.test/?page=2", "sig": "kept",
            })
        );
        assert_eq!(text("a k b", "k"), "a k b");
        assert_eq!(query("format=csv&%73ig=x&Token=y"), "format=csv&sig=REDACTED&Token=REDACTED");
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
}
