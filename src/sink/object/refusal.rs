//! The message of a response that refuses a request, in XML, in JSON or in headers.

use std::error::Error as StdError;

use object_store::HeaderMap;

use crate::sink::store_error::StoreProblem;

/// Longest text of a store that is shown, in characters.
const MAX_SHOWN: usize = 200;

/// A response that refuses a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Status of the response, or the one that its error code stands for.
    pub(super) status: u16,
    /// The store's code, such as `AccessDenied`; empty if it has none.
    pub(super) code: String,
    /// The store's sentence; empty if it has none.
    message: String,
    /// The host that refused, if it was asked for credentials and not for an object.
    pub(super) provider: Option<String>,
}

impl StdError for Refusal {}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &*self.code {
            "" => write!(f, "status {}", self.status)?,
            code => write!(f, "{code} ({})", self.status)?,
        }
        if self.message.is_empty() { Ok(()) } else { write!(f, ": {}", self.message) }
    }
}

impl Refusal {
    /// Reads the code and the message of a response. A body of another kind, such as the page of a proxy, has neither.
    pub(super) fn read(status: u16, headers: &HeaderMap, body: &[u8]) -> Self {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(shown);
        let text = String::from_utf8_lossy(body);
        let (code, mut message) = match serde_json::from_str::<serde_json::Value>(&text) {
            Ok(json) => {
                // Google nests it; OAuth has `error` and `error_description`.
                let inner = json.get("error").filter(|error| error.is_object()).unwrap_or(&json);
                let field = |names: &[&str]| {
                    let found = names.iter().find_map(|name| inner.get(name)?.as_str());
                    found.map(shown).unwrap_or_default()
                };
                (field(&["status", "code", "error"]), field(&["message", "error_description"]))
            }
            Err(_) => (element(&text, "Code"), element(&text, "Message")),
        };
        let code = if code.is_empty() { header("x-ms-error-code").unwrap_or_default() } else { code };
        if let (301 | 307, Some(region)) = (status, header("x-amz-bucket-region")) {
            message = format!("the bucket is in the region {region}");
        }
        Refusal { status, code, message, provider: None }
    }

    /// Returns what helps; `permission` is the one that the request needed.
    pub(super) fn problem(&self, permission: Option<&'static str>) -> StoreProblem {
        const CREDENTIALS: [&str; 12] = [
            "InvalidAccessKeyId",
            "SignatureDoesNotMatch",
            "ExpiredToken",
            "InvalidToken",
            "TokenRefreshRequired",
            "RequestTimeTooSkewed",
            "AuthorizationHeaderMalformed",
            "AuthenticationFailed",
            "AuthenticationRequired",
            "InvalidSecurity",
            "PermanentRedirect",
            "IllegalLocationConstraintException",
        ];
        match (self.status, &*self.code) {
            _ if self.provider.is_some() => StoreProblem::Credentials,
            (_, "NoSuchBucket" | "ContainerNotFound") => StoreProblem::NoBucket,
            (_, code) if CREDENTIALS.contains(&code) => StoreProblem::Credentials,
            (301 | 307 | 401, _) => StoreProblem::Credentials,
            (403, _) => StoreProblem::Forbidden(permission),
            (412, _) | (409, "ConditionalRequestConflict" | "BlobAlreadyExists") => StoreProblem::Exists,
            (500.., _) if self.status != 501 => StoreProblem::Unreachable,
            _ => StoreProblem::Other,
        }
    }
}

/// Returns the text of the first element `name`; empty if there is none.
fn element(xml: &str, name: &str) -> String {
    let found = xml.split_once(&format!("<{name}>")).and_then(|(_, rest)| rest.split_once(&format!("</{name}>")));
    let text = found.map_or("", |(text, _)| text);
    let decoded = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'");
    shown(&decoded.replace("&amp;", "&"))
}

/// Returns a text on one line and at most [`MAX_SHOWN`] characters long.
pub(super) fn shown(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, body: &str) -> Refusal {
        Refusal::read(status, &HeaderMap::new(), body.as_bytes())
    }

    #[test]
    fn a_refusal_is_one_short_sentence() {
        let xml = "<?xml version=\"1.0\"?>\n<Error><Code>AccessDenied</Code><Message>Access\n Denied &amp; logged</Message>\
                   <RequestId>secret-1</RequestId></Error>";
        assert_eq!(read(403, xml).to_string(), "AccessDenied (403): Access Denied & logged");
        assert_eq!(read(502, "<html><body>Bad gateway</body></html>").to_string(), "status 502");
        assert_eq!(read(404, "").to_string(), "status 404");
        let google = r#"{"error":{"code":403,"message":"no access","status":"PERMISSION_DENIED"}}"#;
        assert_eq!(read(403, google).to_string(), "PERMISSION_DENIED (403): no access");
        let oauth = r#"{"error":"invalid_grant","error_description":"Bad JWT"}"#;
        assert_eq!(read(400, oauth).to_string(), "invalid_grant (400): Bad JWT");
        let long = format!("<Code>A</Code><Message>{}</Message>", "é".repeat(5000));
        assert_eq!(read(400, &long).to_string().chars().count(), "A (400): ".len() + MAX_SHOWN + 1);
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-bucket-region", "eu-north-1".parse().unwrap());
        let moved = Refusal::read(301, &headers, b"<Code>PermanentRedirect</Code><Message>Use the endpoint</Message>");
        assert_eq!(moved.to_string(), "PermanentRedirect (301): the bucket is in the region eu-north-1");
    }

    #[test]
    fn a_refusal_tells_what_helps() {
        let problem = |status, code: &str| read(status, &format!("<Code>{code}</Code>")).problem(Some("p"));
        assert_eq!(problem(404, "NoSuchBucket"), StoreProblem::NoBucket);
        assert_eq!(problem(403, "SignatureDoesNotMatch"), StoreProblem::Credentials);
        assert_eq!(problem(403, "AccessDenied"), StoreProblem::Forbidden(Some("p")));
        assert_eq!(problem(412, "PreconditionFailed"), StoreProblem::Exists);
        assert_eq!(problem(503, "SlowDown"), StoreProblem::Unreachable);
        assert_eq!(problem(501, "NotImplemented"), StoreProblem::Other);
    }
}
