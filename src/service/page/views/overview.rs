//! Start page: active runs, ended runs or those that a search found, workflows, and the settings in force.

use super::commands::{ActCommands, Commands, command};
use super::document::{PageContext, Part, live_page};
use super::pieces::{page_path, parse_time, progress, query_value, run_link, run_table, state, timestamp};
use crate::api::routes as paths;
use crate::api::{RunStatus, Workflow};
use crate::service::command_line::{ClientAct, RunInput};
use crate::service::page::html::Html;
use crate::service::rows::RunRow;
use crate::text::counted;

/// States that runs can be filtered by: the word in the query, and the one on the page.
const STATES: [(&str, &str); 6] = [
    ("", "any state"),
    ("active", "active"),
    ("completed", "completed"),
    ("failed", "failed"),
    ("cancelled", "cancelled"),
    ("timeout", "timed out"),
];

/// Most queued runs that are listed one by one. By eye.
const LISTED_QUEUED: usize = 3;

/// One page of a list of runs.
pub(in crate::service::page) struct Page {
    pub runs: Vec<RunRow>,
    /// Number of the page, from 1.
    pub number: usize,
    /// True if older runs are on a further page.
    pub has_more: bool,
}

/// Runs and workflows of the start page.
pub(in crate::service::page) struct Listing {
    /// Runs that have not ended, newest first; of all, whatever the search.
    pub active: Vec<RunRow>,
    /// Ended runs without a search, else the found ones.
    pub page: Page,
    /// Search text; empty without a search.
    pub text: String,
    /// Word of the state to filter by; empty without a filter.
    pub state: String,
    pub workflows: Vec<Workflow>,
    /// True for a service that stands before the hosted one, and has no workflows and runs of its own.
    pub is_before_hosted: bool,
    /// Address, key and directory of the service, each with its name.
    pub facts: Vec<(&'static str, String)>,
}

impl Listing {
    fn is_search(&self) -> bool {
        !self.text.is_empty() || !self.state.is_empty()
    }
}

/// Renders the start page.
pub(in crate::service::page) fn overview(listing: &Listing, commands: &Commands, context: &PageContext) -> Html {
    let mut top = Html::default();
    top.tag("<h1>Workflows service</h1>");
    if listing.is_before_hosted {
        top.tag(
            "<p id=\"hosted\">This service hands requests on to the hosted one, or answers from recorded ones. It has ",
        )
        .tag("no workflows and runs of its own.</p>")
        .html(service(listing, context));
        return live_page("Workflows", context, vec![Part::Live(top)]);
    }
    let is_empty = listing.workflows.is_empty() && listing.active.is_empty() && listing.page.runs.is_empty();
    let mut parts = Vec::new();
    if is_empty && !listing.is_search() {
        top.html(first_steps(commands)).html(service(listing, context));
        parts.push(Part::Live(top));
    } else {
        active(&mut top, &listing.active, context);
        parts.extend([Part::Live(top), Part::Fixed(search(listing))]);
        let mut lists = Html::default();
        runs(&mut lists, listing, context);
        workflows(&mut lists, listing);
        lists.html(service(listing, context));
        parts.push(Part::Live(lists));
    }
    parts.push(Part::Fixed(create()));
    live_page("Workflows", context, parts)
}

/// Renders the way to a first run: by one click, and by commands.
fn first_steps(commands: &Commands) -> Html {
    let mut body = Html::default();
    let key = if commands.has_key { "the key of the service" } else { "any key that is not empty" };
    body.tag(
        "<section aria-labelledby=\"begin\"><h2 id=\"begin\">How to begin</h2><p>This service has no workflow yet. ",
    );
    body.tag("Clients reach it at <code id=\"base\">")
        .text(&commands.base_url)
        .tag("</code> with ")
        .text(key)
        .tag(".</p>");
    body.tag("<p><button type=\"button\" id=\"example\" class=\"main\" data-example=\"").text(EXAMPLE.trim());
    body.tag("\" data-rows=\"").text(EXAMPLE_ROWS).tag("\">Make an example and run it</button></p>");
    body.tag(
        "<p>Or from a shell: save a definition as <code>workflow.json</code>, create the workflow, and run it.</p>",
    );
    super::commands::json_block(&mut body, "example", "the definition", EXAMPLE.trim());
    let create = ActCommands {
        name: "Create a workflow",
        id: "create",
        is_template: false,
        curl: commands.curl("POST", paths::CREATE_WORKFLOW, Some("@workflow.json")),
        drawoff: commands.drawoff(ClientAct::CreateWorkflow { file: "workflow.json" }),
    };
    let run = ActCommands {
        name: "Run it",
        id: "run",
        is_template: false,
        curl: commands.curl(
            "POST",
            &format!("{}?workflow_id=ID", paths::RUN_WORKFLOW),
            Some(&format!("{{\"webhook_payload\":{EXAMPLE_ROWS}}}")),
        ),
        drawoff: commands.drawoff(ClientAct::Run { workflow: "workflow.json", input: RunInput::Rows(EXAMPLE_ROWS) }),
    };
    for act in &[create, run] {
        body.tag("<h3>").text(act.name).tag("</h3>");
        command(&mut body, act, "curl", &act.curl);
        if let Some(line) = &act.drawoff {
            command(&mut body, act, "drawoff", line);
        }
    }
    body.tag("</section>");
    body
}

/// Definition for a first try, and rows for it.
const EXAMPLE: &str = include_str!("example.json");
const EXAMPLE_ROWS: &str = r#"[{"domain":"acme.example","employees":120},{"domain":"acme.example","employees":120},{"domain":"small.example","employees":3}]"#;

fn active(body: &mut Html, active: &[RunRow], context: &PageContext) {
    body.tag("<section aria-labelledby=\"active\"><h2 id=\"active\">Active runs</h2>");
    if active.is_empty() {
        body.tag("<p class=\"soft\">No run is active.</p></section>");
        return;
    }
    // What runs is above what waits, and the oldest first: the order in which they will end.
    let (queued, running): (Vec<&RunRow>, Vec<&RunRow>) =
        active.iter().rev().partition(|run| run.status == RunStatus::Queued);
    body.tag("<ul class=\"plain\">");
    let n_listed = if queued.len() > LISTED_QUEUED { 0 } else { queued.len() };
    for run in running.iter().chain(&queued[..n_listed]) {
        body.tag("<li ");
        super::pieces::data(body, run);
        body.tag(">");
        run_link(body, run, "now");
        body.tag(" ");
        state(body, run.status.as_str());
        body.tag(" ");
        if run.status == RunStatus::Queued {
            body.tag("since ");
            timestamp(body, Some(run.queued_at));
        } else {
            progress(body, run, context.now);
        }
        body.tag(" ").html(cancel_button(run)).tag("</li>");
    }
    if n_listed < queued.len() {
        body.tag("<li><details id=\"queued\"><summary id=\"s-queued\">");
        state(body, "queued");
        body.tag(" ").text(counted(queued.len() as u64, "run")).tag(" waiting for a free place</summary><ul>");
        for run in queued {
            body.tag("<li ");
            super::pieces::data(body, run);
            body.tag(">");
            run_link(body, run, "now");
            body.tag(" since ");
            timestamp(body, Some(run.queued_at));
            body.tag(" ").html(cancel_button(run)).tag("</li>");
        }
        body.tag("</ul></details></li>");
    }
    body.tag("</ul></section>");
}

/// Renders the button that cancels a run.
pub(super) fn cancel_button(run: &RunRow) -> Html {
    let mut body = Html::default();
    body.tag("<button type=\"button\" id=\"cancel-").text(&run.id).tag("\" data-post=\"/ui/actions/cancel?job_id=");
    body.text(query_value(&run.id.0))
        .tag("\">Cancel<span class=\"unseen\"> run ")
        .text(&run.id)
        .tag("</span></button>");
    body
}

fn runs(body: &mut Html, listing: &Listing, context: &PageContext) {
    let title = if listing.is_search() { "Found runs" } else { "Ended runs" };
    body.tag("<section aria-labelledby=\"runs\"><h2 id=\"runs\">").text(title).tag("</h2>");
    if listing.page.runs.is_empty() {
        body.tag("<p class=\"soft\">").tag(if listing.is_search() {
            "No run matches."
        } else {
            "No run has ended yet."
        });
        if listing.is_search() {
            body.tag(" <a href=\"/\">All runs</a>");
        }
        body.tag("</p>");
    } else {
        run_table(body, "runs", &listing.page.runs, context.now);
    }
    let query = format!("?q={}&state={}", query_value(&listing.text), query_value(&listing.state));
    pages(body, &listing.page, &query);
    body.tag("</section>");
}

/// Appends links to the newer and the older runs. `query` is the beginning of their addresses.
pub(super) fn pages(body: &mut Html, page: &Page, query: &str) {
    if page.number == 1 && !page.has_more {
        return;
    }
    body.tag("<nav class=\"pages\" aria-label=\"Pages of runs\">");
    if page.number > 1 {
        body.tag("<a id=\"newer\" rel=\"prev\" href=\"")
            .text(query)
            .tag("&amp;page=")
            .text(page.number - 1)
            .tag("\">Newer runs</a>");
    }
    body.tag("<span>page ").text(page.number).tag("</span>");
    if page.has_more {
        body.tag("<a id=\"older\" rel=\"next\" href=\"")
            .text(query)
            .tag("&amp;page=")
            .text(page.number + 1)
            .tag("\">Older runs</a>");
    }
    body.tag("</nav>");
}

/// Renders the form of the search, which is a plain link to the same page with a query.
fn search(listing: &Listing) -> Html {
    let mut body = Html::default();
    body.tag("<form method=\"get\" action=\"/\" role=\"search\" id=\"search\"><label for=\"q\">Search runs<br>");
    body.tag("<input id=\"q\" name=\"q\" type=\"search\" placeholder=\"id or workflow\" value=\"").text(&listing.text);
    body.tag("\"></label><label for=\"state\">State<br><select id=\"state\" name=\"state\">");
    for (word, name) in STATES {
        body.tag("<option value=\"").tag(word).tag(if listing.state == word { "\" selected>" } else { "\">" });
        body.tag(name).tag("</option>");
    }
    body.tag("</select></label><button>Search</button></form>");
    body
}

fn workflows(body: &mut Html, listing: &Listing) {
    let workflows = &listing.workflows;
    body.tag("<section aria-labelledby=\"workflows\"><h2 id=\"workflows\">Workflows</h2>");
    if workflows.is_empty() {
        body.tag("<p class=\"soft\">There is no workflow. Create one from a definition below.</p></section>");
        return;
    }
    body.tag("<div class=\"scroll\" role=\"group\" aria-labelledby=\"workflows\" tabindex=\"0\" id=\"wt\"><table>");
    body.tag("<thead><tr><th scope=\"col\">Name</th><th scope=\"col\">Blocks</th>");
    body.tag("<th scope=\"col\">Changed</th><th scope=\"col\">Last run</th></tr></thead><tbody>");
    for workflow in workflows {
        let graph = workflow.workflow_definition.as_ref();
        let mut blocks: Vec<_> = graph.into_iter().flat_map(|graph| &graph.blocks).collect();
        blocks.sort_by_key(|block| block.sequence_number);
        let names: Vec<&str> = blocks.iter().map(|block| block.block_name.as_str()).collect();
        body.tag("<tr><th scope=\"row\"><a id=\"w-").text(&workflow.id).tag("\" href=\"");
        body.text(page_path("workflows", &workflow.id.0)).tag("\">").text(&workflow.name).tag("</a></th><td>");
        body.text(names.join(", ")).tag("</td><td>");
        timestamp(body, parse_time(&workflow.updated_at));
        body.tag("</td><td>");
        timestamp(body, workflow.last_run_date.as_deref().and_then(parse_time));
        body.tag("</td></tr>");
    }
    body.tag("</tbody></table></div></section>");
}

/// Renders the form that creates a workflow from its definition.
fn create() -> Html {
    let mut body = Html::default();
    body.tag("<details class=\"more\"><summary>Create a workflow from its definition</summary>");
    body.tag("<form id=\"create\" class=\"tall\"><label for=\"definition\">Definition as JSON: the body of ");
    body.tag("<code>create_workflow</code><br><textarea id=\"definition\" rows=\"10\" spellcheck=\"false\" required>");
    body.tag("</textarea></label><button class=\"main\">Create</button></form></details>");
    body
}

/// Renders the facts of the service, with the limits, faults and clock in force.
fn service(listing: &Listing, context: &PageContext) -> Html {
    let in_force = &context.in_force;
    let mut body = Html::default();
    body.tag("<section aria-labelledby=\"in-force\"><h2 id=\"in-force\">This service</h2><dl>");
    for (name, fact) in &listing.facts {
        body.tag("<dt>").tag(name).tag("</dt><dd>").text(fact).tag("</dd>");
    }
    body.tag("<dt>Limits</dt><dd>");
    body.tag(if in_force.limits.is_empty() { "none" } else { "" }).text(in_force.limits.join(", "));
    body.tag("</dd><dt>Faults</dt><dd>").tag(if in_force.faults.is_empty() { "none" } else { "" });
    for (i, fault) in in_force.faults.iter().enumerate() {
        body.tag(if i > 0 { "<br>" } else { "" }).tag("<code>").text(&fault.text).tag("</code> ");
        body.tag("<span class=\"soft\">").text(counted(fault.struck, "time")).tag(" so far</span>");
    }
    body.tag("</dd><dt>Clock</dt><dd>").text(in_force.clock.as_deref().unwrap_or("that of the system"));
    body.tag("</dd></dl></section>");
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_a_definition() {
        let create: crate::api::CreateWorkflow = serde_json::from_str(EXAMPLE).unwrap();
        assert_eq!(create.workflow_definition.blocks.len(), 3);
        assert!(serde_json::from_str::<Vec<serde_json::Map<String, serde_json::Value>>>(EXAMPLE_ROWS).is_ok());
    }
}
