//! Command lines for copying: each act as a call of curl, and as one of drawoff where the service was handed a function that
//! writes those. Neither contains a key: a service with a key takes it from the environment of the shell.

use serde_json::Value;

use crate::service::command_line::{ClientAct, CommandLine, CommandRequest};
use crate::service::page::html::Html;

/// Variable of the shell with the key, that of the vendor's clients.
const KEY_VARIABLE: &str = "SIXTYFOUR_API_KEY";

/// Place in a command line for the rows, or the whole body, that a form on the page has at the moment.
pub(super) const ROWS_PLACE: &str = "⟦rows⟧";
pub(super) const BODY_PLACE: &str = "⟦body⟧";

/// Writer of the command lines for one request of the page.
pub(in crate::service::page) struct Commands {
    /// Base URL under which the browser reached the service.
    pub base_url: String,
    pub has_key: bool,
    pub client: Option<CommandLine>,
}

impl Commands {
    /// Returns the call of curl that sends a request to `path`, with a JSON body if there is one.
    pub(super) fn curl(&self, method: &str, path: &str, body: Option<&str>) -> String {
        let mut line = format!("curl -sS {}", self.curl_key());
        if method != "GET" && !(method == "POST" && body.is_some()) {
            line.push_str(&format!(" -X {method}"));
        }
        if let Some(body) = body {
            line.push_str(&format!(" -H 'content-type: application/json' -d {}", quoted(body)));
        }
        format!("{line} {}", quoted(&format!("{}{path}", self.base_url)))
    }

    /// Returns the call of curl that uploads a file.
    pub(super) fn curl_upload(&self, file: &str) -> String {
        let url = quoted(&format!("{}{}", self.base_url, crate::api::routes::UPLOAD_FILE));
        format!("curl -sS {} -F {} {url}", self.curl_key(), quoted(&format!("file=@{file}")))
    }

    fn curl_key(&self) -> String {
        if self.has_key { format!("-H \"x-api-key: ${KEY_VARIABLE}\"") } else { "-H 'x-api-key: any'".to_owned() }
    }

    /// Returns the call of drawoff; `None` if the service was handed no function for it.
    pub(super) fn drawoff(&self, act: ClientAct<'_>) -> Option<String> {
        let request = CommandRequest { base_url: &self.base_url, has_key: self.has_key, act };
        self.client.as_ref().map(|client| client.of(request))
    }
}

/// An act with its command lines.
pub(super) struct ActCommands {
    /// Short name, such as `Cancel`.
    pub name: &'static str,
    /// Id of its elements, unique on the page.
    pub id: &'static str,
    pub curl: String,
    pub drawoff: Option<String>,
    /// True if the lines end with a place for the contents of the form.
    pub is_template: bool,
}

/// Appends the command lines of some acts, closed at first.
pub(super) fn command_list(body: &mut Html, has_key: bool, acts: &[ActCommands]) {
    body.tag("<details id=\"commands\" class=\"more\"><summary id=\"s-commands\">The same as commands</summary>");
    if has_key {
        body.tag("<p class=\"soft\">The key is taken from the variable <code>").text(KEY_VARIABLE).tag("</code>.</p>");
    }
    for act in acts {
        body.tag("<h3>").text(act.name).tag("</h3>");
        command(body, act, "curl", &act.curl);
        if let Some(line) = &act.drawoff {
            command(body, act, "drawoff", line);
        }
    }
    body.tag("</details>");
}

/// Appends one command line with a button that copies it. The script fills in the last place of a template; others are part
/// of a name.
pub(super) fn command(body: &mut Html, act: &ActCommands, tool: &'static str, line: &str) {
    body.tag("<div class=\"command\"><pre tabindex=\"0\" id=\"").tag(tool).tag("-").text(act.id).tag("\"");
    if act.is_template {
        body.tag(" data-template=\"").text(line).tag("\"");
    }
    body.tag(">").text(line).tag("</pre><button type=\"button\" id=\"copy-").tag(tool).tag("-").text(act.id);
    body.tag("\" data-copy=\"").tag(tool).tag("-").text(act.id).tag("\">");
    body.tag(if tool == "curl" { "Copy as curl" } else { "Copy as drawoff" });
    body.tag("<span class=\"unseen\">: ").text(act.name).tag("</span></button></div>");
}

/// Appends JSON with a button that copies it.
pub(super) fn json_block(body: &mut Html, id: &str, name: &str, value: &str) {
    body.tag("<div class=\"json\"><button type=\"button\" id=\"copy-").text(id).tag("\" data-copy=\"json-").text(id);
    body.tag("\">Copy<span class=\"unseen\">: ")
        .text(name)
        .tag("</span></button><pre tabindex=\"0\" id=\"json-")
        .text(id);
    body.tag("\">").text(value).tag("</pre></div>");
}

/// Quotes a word for a POSIX shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Returns rows as JSON on one line.
pub(super) fn one_line(rows: &Value) -> String {
    rows.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_command_contains_a_key_or_an_open_quote() {
        let mut commands = Commands { base_url: "http://127.0.0.1:8064".to_owned(), has_key: false, client: None };
        assert_eq!(
            commands.curl("POST", "/a?b=c", Some("{\"n\":\"it's\"}")),
            r#"curl -sS -H 'x-api-key: any' -H 'content-type: application/json' -d '{"n":"it'\''s"}' 'http://127.0.0.1:8064/a?b=c'"#
        );
        assert_eq!(commands.curl("GET", "/a", None), "curl -sS -H 'x-api-key: any' 'http://127.0.0.1:8064/a'");
        assert_eq!(commands.drawoff(ClientAct::Watch { run: "r" }), None);
        commands.has_key = true;
        let line = commands.curl("POST", "/a", None);
        assert_eq!(line, "curl -sS -H \"x-api-key: $SIXTYFOUR_API_KEY\" -X POST 'http://127.0.0.1:8064/a'");
        commands.client =
            Some(CommandLine::new(|request| format!("{} {} {:?}", request.base_url, request.has_key, request.act)));
        assert!(commands.drawoff(ClientAct::Pull { run: "r" }).unwrap().starts_with("http://127.0.0.1:8064 true Pull"));
    }
}
