//! Frame of every page: head, navigation, settings in force, footer; and the pages of one paragraph.

use chrono::{DateTime, Utc};

use super::pieces::page_path;
use crate::service::in_force::InForce;
use crate::service::page::assets::{SCRIPT, STYLE};
use crate::service::page::html::Html;
use crate::text::counted;

/// State of the service that every page shows or needs.
pub(in crate::service::page) struct PageContext {
    pub in_force: InForce,
    /// Time by the service's clock.
    pub now: DateTime<Utc>,
}

/// Reason why a login was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::service::page) enum LoginRefusal {
    WrongKey,
    /// The limit on attempts is exceeded for this many seconds.
    TooMany {
        wait: i64,
    },
}

/// Renders the form that requests the API key, with the reason why the last attempt was refused.
pub(in crate::service::page) fn login(refused: Option<LoginRefusal>) -> Html {
    let mut body = Html::default();
    body.tag("<h1>API key required</h1><p>Enter the API key of this service to see the page.</p>");
    match refused {
        None => {}
        Some(LoginRefusal::WrongKey) => {
            body.tag("<p class=\"error\" role=\"alert\">The key is wrong.</p>");
        }
        Some(LoginRefusal::TooMany { wait }) => {
            body.tag("<p class=\"error\" role=\"alert\">There were too many attempts; even the right key is refused ");
            body.tag("for now. Try again in ").text(wait).tag(" s.</p>");
        }
    }
    body.tag("<form method=\"post\" action=\"/ui/login\"><label for=\"key\">API key<br>");
    body.tag("<input id=\"key\" name=\"key\" type=\"password\" autocomplete=\"current-password\" required autofocus>");
    body.tag("</label><button>Log in</button></form>");
    document("API key", Content::Still(body))
}

/// Renders a page with a title and one paragraph, such as an error.
pub(in crate::service::page) fn message(title: &str, text: &str) -> Html {
    let mut body = Html::default();
    body.tag("<h1>").text(title).tag("</h1><p>").text(text).tag("</p><p><a href=\"/\">All runs and workflows</a></p>");
    document(title, Content::Still(body))
}

/// Renders the page of a run that the service does not have.
pub(in crate::service::page) fn gone_run(id: &str) -> Html {
    let mut body = Html::default();
    body.tag("<h1>This run is gone</h1><p>The service has no run <code>").text(id).tag("</code>.</p><p>");
    body.tag("It was deleted, removed by age or number (retention) or by a reset, or it belongs to a service with ");
    body.tag("another data directory.</p><p><a href=\"/\">All runs and workflows</a></p>");
    document("Run not found", Content::Still(body))
}

/// Renders the page of a workflow that the service does not have. Its runs may still be there.
pub(in crate::service::page) fn gone_workflow(id: &str, n_runs: usize) -> Html {
    let mut body = Html::default();
    body.tag("<h1>This workflow is gone</h1><p>The service has no workflow <code>").text(id).tag("</code>.</p><p>");
    body.tag("It was deleted, removed by a reset, or it belongs to a service with another data directory.</p>");
    if n_runs > 0 {
        body.tag("<p><a href=\"/?q=")
            .text(super::pieces::query_value(id))
            .tag("\">")
            .text(counted(n_runs as u64, "run"));
        body.tag(" of it</a> with results can still be seen.</p>");
    }
    body.tag("<p><a href=\"/\">All runs and workflows</a></p>");
    document("Workflow not found", Content::Still(body))
}

/// Part of a page.
pub(super) enum Part {
    /// Replaced as the state of the service changes.
    Live(Html),
    /// Stays as it is, for example a form that is being filled in.
    Fixed(Html),
}

/// Wraps the parts of a page that follows the state of the service.
pub(super) fn live_page(title: &str, context: &PageContext, parts: Vec<Part>) -> Html {
    document(title, Content::Live(context, parts))
}

/// Content of a page.
enum Content<'a> {
    Live(&'a PageContext, Vec<Part>),
    Still(Html),
}

/// Wraps the contents of a page that does not change.
pub(super) fn still(title: &str, body: Html) -> Html {
    document(title, Content::Still(body))
}

fn document(title: &str, content: Content<'_>) -> Html {
    let is_live = matches!(content, Content::Live(..));
    let mut html = Html::default();
    html.tag("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">");
    html.tag("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>").text(title);
    html.tag(" · drawoff</title><link rel=\"icon\" href=\"data:,\"><style>").tag(STYLE).tag("</style></head><body>");
    html.tag("<a class=\"skip\" href=\"#main\">To the content</a><header><div>");
    html.tag("<a href=\"/\">drawoff</a><span>the local Workflows service, version ").text(env!("CARGO_PKG_VERSION"));
    html.tag("</span></div></header><main id=\"main\" tabindex=\"-1\">");
    match content {
        Content::Still(body) => {
            html.html(body);
        }
        Content::Live(context, parts) => {
            // For the script: changes of state, read out by screen readers, a lost connection, and actions that fail.
            html.tag("<p id=\"announcements\" class=\"unseen\" aria-live=\"polite\"></p>");
            html.tag("<p id=\"connection-error\" class=\"error\" role=\"status\"></p>");
            html.tag("<p id=\"action-error\" class=\"error\" role=\"alert\"></p>");
            html.tag(
                "<noscript><p class=\"soft\">Without scripts this page shows the state at the time it was loaded, ",
            );
            html.tag("and changes nothing.</p></noscript>");
            let unusual = Part::Live(unusual(&context.in_force));
            for (i, part) in std::iter::once(unusual).chain(parts).enumerate() {
                match part {
                    Part::Live(body) => {
                        html.tag("<div class=\"live\" id=\"live-").text(i).tag("\">").html(body).tag("</div>");
                    }
                    Part::Fixed(body) => {
                        html.html(body);
                    }
                }
            }
        }
    }
    html.tag(
        "</main><footer><span id=\"zone\">Times are UTC.</span> <a href=\"/openapi.json\">OpenAPI description</a> · ",
    );
    html.tag("<a href=\"/metrics\">Metrics</a></footer>");
    if is_live {
        html.tag("<script>").tag(SCRIPT).tag("</script>");
    }
    html.tag("</body></html>\n");
    html
}

/// Renders the faults and the clock if they are not the usual ones: on every page, because they explain what it shows.
fn unusual(in_force: &InForce) -> Html {
    let mut body = Html::default();
    if in_force.faults.is_empty() && in_force.clock.is_none() {
        return body;
    }
    body.tag("<p class=\"unusual\" role=\"note\">");
    if !in_force.faults.is_empty() {
        body.tag("<strong>Faults are injected:</strong> ");
        for (i, fault) in in_force.faults.iter().enumerate() {
            body.tag(if i > 0 { ", " } else { "" }).tag("<code>").text(&fault.text).tag("</code> (");
            body.text(counted(fault.struck, "time")).tag(" so far)");
        }
        body.tag(". ");
    }
    if let Some(clock) = &in_force.clock {
        body.tag("<strong>The clock is changed:</strong> ").text(clock).tag(".");
    }
    body.tag("</p>");
    body
}

/// Renders a link to the page of a workflow, or its name alone if the workflow is gone.
pub(super) fn workflow_link(id: &str, name: &str, exists: bool) -> Html {
    let mut html = Html::default();
    if exists {
        html.tag("<a id=\"workflow\" href=\"").text(page_path("workflows", id)).tag("\">").text(name).tag("</a>");
    } else {
        html.text(name);
    }
    html
}
