//! Views of the page: functions from rows of the store to HTML. They read no store, and every text from outside goes
//! through [`Html::text`].

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use super::assets::{SCRIPT, STYLE};
use super::graph::{self, Node};
use super::html::Html;
use crate::api::{Graph, RunStatus, Workflow};
use crate::service::in_force::InForce;
use crate::service::rows::{BlockStatus, RunRow};
use crate::text::{counted, human_bytes, human_count, human_duration};

/// Maximum number of errors on the overview. By eye.
const SHOWN_ERRORS: usize = 5;

/// Renders the start page: active runs, recent errors, runs and workflows.
pub(super) fn overview(workflows: &[Workflow], runs: &[RunRow], in_force: &InForce, now: DateTime<Utc>) -> Html {
    let mut body = Html::default();
    body.tag("<h1>Workflows service</h1>");
    let active: Vec<&RunRow> = runs.iter().filter(|run| !run.status.is_terminal()).collect();
    body.tag("<section aria-labelledby=\"active\"><h2 id=\"active\">Active runs</h2>");
    if active.is_empty() {
        body.tag("<p class=\"soft\">No run is active.</p>");
    } else {
        body.tag("<ul class=\"plain\">");
        for run in active {
            body.tag("<li>");
            run_link(&mut body, run, "now");
            body.tag(" ");
            state(&mut body, run.status.as_str());
            body.tag(" ");
            progress(&mut body, run);
            body.tag("</li>");
        }
        body.tag("</ul>");
    }
    body.tag("</section>");
    // Runs are sorted from new to old, so the first failed ones are the most recent.
    let failed: Vec<&RunRow> = runs.iter().filter(|run| run.error_message.is_some()).take(SHOWN_ERRORS).collect();
    if !failed.is_empty() {
        body.tag("<section aria-labelledby=\"errors\"><h2 id=\"errors\">Recent errors</h2><ul class=\"plain\">");
        for run in failed {
            body.tag("<li>");
            run_link(&mut body, run, "error");
            body.tag(" ");
            timestamp(&mut body, run.completed_at.or(Some(run.updated_at)));
            body.tag("<div class=\"error\">").text(run.error_message.as_deref().unwrap_or_default());
            body.tag("</div></li>");
        }
        body.tag("</ul></section>");
    }
    body.tag("<section aria-labelledby=\"runs\"><h2 id=\"runs\">Runs</h2>");
    run_table(&mut body, runs, now);
    body.tag("</section><section aria-labelledby=\"workflows\"><h2 id=\"workflows\">Workflows</h2>");
    if workflows.is_empty() {
        body.tag(
            "<p class=\"soft\">There is no workflow yet. Create one from a definition file with \
             <code>drawoff workflows create FILE</code>.</p>",
        );
    } else {
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
            timestamp(&mut body, parse_time(&workflow.updated_at));
            body.tag("</td><td>");
            timestamp(&mut body, workflow.last_run_date.as_deref().and_then(parse_time));
            body.tag("</td></tr>");
        }
        body.tag("</tbody></table></div>");
    }
    body.tag("</section>");
    body.html(limits_and_faults(in_force));
    live_page("Workflows", body)
}

/// Renders the limits, faults and clock of the service.
fn limits_and_faults(in_force: &InForce) -> Html {
    let mut body = Html::default();
    body.tag("<section aria-labelledby=\"in-force\"><h2 id=\"in-force\">In force</h2><dl><dt>Limits</dt><dd>");
    if in_force.limits.is_empty() {
        body.tag("none");
    }
    body.text(in_force.limits.join(", ")).tag("</dd><dt>Faults</dt><dd>");
    if in_force.faults.is_empty() {
        body.tag("none");
    }
    for (i, fault) in in_force.faults.iter().enumerate() {
        body.tag(if i > 0 { "<br>" } else { "" }).tag("<code>").text(&fault.text).tag("</code> ");
        body.tag("<span class=\"soft\">").text(counted(fault.struck, "time")).tag(" so far</span>");
    }
    body.tag("</dd><dt>Clock</dt><dd>").text(in_force.clock.as_deref().unwrap_or("that of the system"));
    body.tag("</dd></dl></section>");
    body
}

/// Renders one workflow: its graph and its runs.
pub(super) fn workflow(workflow: &Workflow, runs: &[RunRow], now: DateTime<Utc>) -> Html {
    let mut body = Html::default();
    body.tag("<h1>").text(&workflow.name).tag("</h1>");
    if let Some(description) = workflow.description.as_deref().filter(|text| !text.is_empty()) {
        body.tag("<p>").text(description).tag("</p>");
    }
    body.tag("<dl><dt>Id</dt><dd><code>").text(&workflow.id).tag("</code></dd><dt>Changed</dt><dd>");
    timestamp(&mut body, parse_time(&workflow.updated_at));
    body.tag("</dd></dl><h2>Blocks</h2>");
    if let Some(graph) = &workflow.workflow_definition {
        body.html(graph::draw(&nodes_of(graph)));
    }
    body.tag("<section aria-labelledby=\"runs\"><h2 id=\"runs\">Runs</h2>");
    run_table(&mut body, runs, now);
    body.tag("</section>");
    live_page(&workflow.name, body)
}

/// Renders one run: its graph with the progress of the blocks, and their results.
pub(super) fn run(run: &RunRow, now: DateTime<Utc>) -> Html {
    let mut body = Html::default();
    let live = run.live();
    body.tag("<h1>Run of <a id=\"workflow\" href=\"").text(page_path("workflows", &run.workflow_id.0)).tag("\">");
    body.text(&run.workflow_name).tag("</a></h1><p ");
    data(&mut body, run);
    body.tag(">");
    state(&mut body, run.status.as_str());
    body.tag(" ");
    if !run.status.is_terminal() {
        progress(&mut body, run);
    }
    body.tag("</p>");
    if let Some(error) = &run.error_message {
        body.tag("<p class=\"error\" role=\"alert\">").text(error).tag("</p>");
    }
    body.tag("<dl><dt>Id</dt><dd><code>").text(&run.id).tag("</code></dd><dt>Queued</dt><dd>");
    timestamp(&mut body, Some(run.queued_at));
    body.tag("</dd><dt>Started</dt><dd>");
    timestamp(&mut body, run.started_at);
    body.tag("</dd><dt>Ended</dt><dd>");
    timestamp(&mut body, run.completed_at);
    body.tag("</dd><dt>Duration</dt><dd>").text(duration(run, now)).tag("</dd>");
    if let Some(reason) = &run.status_reason {
        body.tag("<dt>Reason</dt><dd>").text(reason).tag("</dd>");
    }
    body.tag("</dl><h2>Graph</h2>");
    let index_of = |id: &String| run.blocks.iter().position(|block| block.block_id == *id);
    let nodes = run.blocks.iter().zip(&live.blocks).map(|(block, live)| Node {
        number: block.sequence_number,
        name: block.block_name.clone(),
        state: status_name(block.status),
        detail: match block.status {
            BlockStatus::Pending => String::new(),
            _ => format!("{} rows", human_count(block.row_count)),
        },
        percent: (block.status == BlockStatus::Running).then_some(live.progress_percentage),
        parents: block.previous_block_ids.iter().filter_map(index_of).collect(),
    });
    body.html(graph::draw(&nodes.collect::<Vec<_>>()));
    body.tag("<h2 id=\"blocks\">Blocks and results</h2>");
    body.tag("<div class=\"scroll\" role=\"group\" aria-labelledby=\"blocks\" tabindex=\"0\" id=\"bt\"><table>");
    body.tag(
        "<thead><tr><th scope=\"col\" class=\"n\">No.</th><th scope=\"col\">Block</th><th scope=\"col\">State</th>",
    );
    body.tag("<th scope=\"col\" class=\"n\">Rows read</th><th scope=\"col\" class=\"n\">Rows out</th>");
    body.tag("<th scope=\"col\">Results</th></tr></thead><tbody>");
    for (block, live) in run.blocks.iter().zip(&live.blocks) {
        body.tag("<tr><td class=\"n\">").text(block.sequence_number).tag("</td><th scope=\"row\">");
        body.text(&block.block_name).tag("</th><td>");
        state(&mut body, status_name(block.status));
        // The note of a plan is outdated once its block has failed.
        if let Some(step) = live.current_step.as_ref().filter(|_| live.error_message.is_none()) {
            body.tag("<div class=\"soft\">").text(step).tag("</div>");
        }
        if let Some(error) = &block.error_message {
            body.tag("<div class=\"error\">").text(error).tag("</div>");
        }
        body.tag("</td><td class=\"n\">").text(human_count(block.processed));
        // Once all rows are read, the total says nothing new.
        if let Some(total) = block.total.filter(|total| *total != block.processed) {
            body.tag(" of ").text(human_count(total));
        }
        body.tag("</td><td class=\"n\">").text(human_count(block.row_count)).tag("</td><td>");
        for file in &block.files {
            let path = format!("{}/files/{}", page_path("runs", &run.id.0), path_segment(file.filename.as_str()));
            body.tag("<a id=\"f-").text(file.filename.as_str()).tag("\" href=\"").text(path).tag("\" download>");
            body.text(file.format.as_str().to_uppercase()).tag("<span class=\"unseen\"> of block ");
            body.text(block.sequence_number).tag("</span></a> <span class=\"soft\">");
            body.text(human_bytes(file.size_bytes)).tag("</span> ");
        }
        body.tag("</td></tr>");
    }
    body.tag("</tbody></table></div>");
    live_page(&format!("{} · run of {}", run.status.as_str(), run.workflow_name), body)
}

/// Renders the form that requests the API key. `refused` adds that the last attempt failed.
pub(super) fn login(refused: bool) -> Html {
    let mut body = Html::default();
    body.tag("<h1>API key required</h1><p>Enter the API key of this service to see the page.</p>");
    if refused {
        body.tag("<p class=\"error\" role=\"alert\">The key is wrong, or there were too many attempts. ");
        body.tag("Try again in a minute.</p>");
    }
    body.tag("<form method=\"post\" action=\"/ui/login\"><label for=\"key\">API key<br>");
    body.tag("<input id=\"key\" name=\"key\" type=\"password\" autocomplete=\"current-password\" required autofocus>");
    body.tag("</label><button>Log in</button></form>");
    static_page("API key", body)
}

/// Renders a page with a title and one paragraph, such as an error.
pub(super) fn message(title: &str, text: &str) -> Html {
    let mut body = Html::default();
    body.tag("<h1>").text(title).tag("</h1><p>").text(text).tag("</p><p><a href=\"/\">All runs</a></p>");
    static_page(title, body)
}

/// Wraps the content of a page that refreshes itself.
fn live_page(title: &str, body: Html) -> Html {
    document(title, body, true)
}

/// Wraps the content of a page without script.
fn static_page(title: &str, body: Html) -> Html {
    document(title, body, false)
}

fn document(title: &str, body: Html, live: bool) -> Html {
    let mut html = Html::default();
    html.tag("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">");
    html.tag("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>").text(title);
    html.tag(" · drawoff</title><link rel=\"icon\" href=\"data:,\"><style>").tag(STYLE).tag("</style></head><body>");
    html.tag("<a class=\"skip\" href=\"#main\">To the content</a><header><div>");
    html.tag("<a href=\"/\">drawoff</a><span>the local Workflows service, version ").text(env!("CARGO_PKG_VERSION"));
    html.tag("</span></div></header><main id=\"main\" tabindex=\"-1\">");
    if live {
        // For the script: changes of state, read out by screen readers, and a lost connection.
        html.tag("<p id=\"announcements\" class=\"unseen\" aria-live=\"polite\"></p>");
        html.tag("<p id=\"connection-error\" class=\"error\" role=\"status\"></p>");
        html.tag("<noscript><p class=\"soft\">Reload this page to see the current state.</p></noscript>");
        html.tag("<div id=\"live\">");
    }
    html.html(body);
    if live {
        html.tag("</div>");
    }
    html.tag("</main><footer>Times are UTC. <a href=\"/openapi.json\">OpenAPI description</a> · ");
    html.tag("<a href=\"/metrics\">Metrics</a></footer>");
    if live {
        html.tag("<script>").tag(SCRIPT).tag("</script>");
    }
    html.tag("</body></html>\n");
    html
}

fn run_table(body: &mut Html, runs: &[RunRow], now: DateTime<Utc>) {
    if runs.is_empty() {
        body.tag("<p class=\"soft\">There is no run yet.</p>");
        return;
    }
    body.tag(
        "<div class=\"scroll\" role=\"group\" aria-labelledby=\"runs\" tabindex=\"0\" id=\"rt\"><table><thead><tr>",
    );
    body.tag("<th scope=\"col\">Run</th><th scope=\"col\">State</th><th scope=\"col\">Queued</th>");
    body.tag("<th scope=\"col\" class=\"n\">Duration</th><th scope=\"col\" class=\"n\">Rows out</th></tr>");
    body.tag("</thead><tbody>");
    for run in runs {
        body.tag("<tr ");
        data(body, run);
        body.tag("><th scope=\"row\">");
        run_link(body, run, "run");
        body.tag("</th><td>");
        state(body, run.status.as_str());
        body.tag("</td><td>");
        timestamp(body, Some(run.queued_at));
        let rows = run.blocks.last().filter(|_| run.status == RunStatus::Completed).map(|block| block.row_count);
        body.tag("</td><td class=\"n\">").text(duration(run, now)).tag("</td><td class=\"n\">");
        body.text(rows.map_or_else(|| "–".to_owned(), human_count)).tag("</td></tr>");
    }
    body.tag("</tbody></table></div>");
}

/// Appends the attributes by which the script identifies a run and notices a change of its state.
fn data(body: &mut Html, run: &RunRow) {
    body.tag("data-run=\"").text(&run.id).tag("\" data-state=\"").text(run.status.as_str());
    body.tag("\" data-name=\"").text(&run.workflow_name).tag("\"");
}

/// Appends a link to a run. `prefix` keeps element ids unique on a page that shows a run more than once.
fn run_link(body: &mut Html, run: &RunRow, prefix: &'static str) {
    let short: String = run.id.0.chars().take(8).collect();
    body.tag("<a id=\"").tag(prefix).tag("-").text(&run.id).tag("\" href=\"").text(page_path("runs", &run.id.0));
    body.tag("\">").text(&run.workflow_name).tag(" <code>").text(short).tag("</code></a>");
}

fn state(body: &mut Html, name: &str) {
    body.tag("<span class=\"state ").text(name).tag("\"><span aria-hidden=\"true\">").text(graph::symbol(name));
    body.tag("</span> ").text(name).tag("</span>");
}

fn progress(body: &mut Html, run: &RunRow) {
    let live = run.live();
    let percent = live.overall_progress_percentage;
    body.tag("<progress max=\"100\" value=\"").text(percent).tag("\" aria-label=\"Progress of the run\">");
    body.tag("</progress> ").text(percent).tag(" %");
    if let (Some(name), Some(number)) = (&live.current_block, live.current_block_sequence) {
        body.tag(" · block ").text(number).tag(" of ").text(live.total_blocks).tag(", ").text(name);
        let block = live.blocks.iter().find(|block| block.sequence_number == number);
        if let Some(step) = block.and_then(|block| block.current_step.as_ref()) {
            body.tag(" · ").text(step);
        }
    }
}

fn timestamp(body: &mut Html, time: Option<DateTime<Utc>>) {
    match time {
        Some(time) => {
            body.tag("<time datetime=\"").text(time.to_rfc3339_opts(SecondsFormat::Millis, true)).tag("\">");
            let text = time.to_rfc3339_opts(SecondsFormat::Secs, true).replace('T', " ").replace('Z', "");
            body.text(text).tag("</time>");
        }
        None => {
            body.tag("–");
        }
    }
}

/// Parses a time in the API's format.
fn parse_time(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.with_timezone(&Utc))
}

/// Returns the duration of a run until its end, or until now; a dash if it has not started.
fn duration(run: &RunRow, now: DateTime<Utc>) -> String {
    let Some(started) = run.started_at else { return "–".to_owned() };
    let span: TimeDelta = run.completed_at.unwrap_or(now) - started;
    human_duration(span.to_std().unwrap_or_default())
}

fn status_name(status: BlockStatus) -> &'static str {
    match status {
        BlockStatus::Pending => "pending",
        BlockStatus::Running => "running",
        BlockStatus::Completed => "completed",
        BlockStatus::Failed => "failed",
    }
}

fn nodes_of(graph: &Graph) -> Vec<Node> {
    let mut blocks: Vec<_> = graph.blocks.iter().collect();
    blocks.sort_by_key(|block| block.sequence_number);
    let index_of = |id: &str| blocks.iter().position(|block| block.block_id.as_deref() == Some(id));
    let node = |i: usize| {
        let block = blocks[i];
        let incoming = graph.edges.iter().filter(|edge| Some(edge.to_block_id.as_str()) == block.block_id.as_deref());
        Node {
            number: block.sequence_number,
            name: block.block_name.clone(),
            state: "",
            detail: String::new(),
            percent: None,
            parents: incoming.filter_map(|edge| index_of(&edge.from_block_id)).collect(),
        }
    };
    (0..blocks.len()).map(node).collect()
}

/// Returns the path of the page of a run or workflow; `kind` is `runs` or `workflows`.
fn page_path(kind: &str, id: &str) -> String {
    format!("/ui/{kind}/{}", path_segment(id))
}

/// Percent-encodes a text as one segment of a path.
fn path_segment(text: &str) -> String {
    crate::api::routes::with_id("{id}", text)
}
