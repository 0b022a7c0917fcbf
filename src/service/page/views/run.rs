//! Page of one run: its state and actions, its graph, its blocks with their results, specs and first rows, its input and its
//! definition.

use std::time::Duration;

use super::commands::{ActCommands, Commands, command_list, json_block};
use super::document::{PageContext, Part, live_page, workflow_link};
use super::overview::cancel_button;
use super::pieces::{
    block_time, count_or_dash, data, duration, escaped_json, page_path, path_segment, pretty, progress, query_value,
    rate, rows, rows_in, rows_out, rows_read, run_duration, state, status_name, timestamp,
};
use crate::api::routes as paths;
use crate::service::command_line::{ClientAct, RunInput};
use crate::service::page::graph::{self, Node};
use crate::service::page::html::Html;
use crate::service::rows::{BlockRow, BlockStatus, InputRow, JobRow, RunRow};
use crate::text::{human_bytes, human_count};

/// A run with what is known of it.
pub(in crate::service::page) struct RunView {
    pub run: RunRow,
    /// Graph and input; `None` for a run of an archive or of an earlier version.
    pub job: Option<JobRow>,
    /// True if the workflow can still be opened.
    pub workflow_exists: bool,
    /// Rows of the input as JSON, if they are few enough for a command line.
    pub input_rows: Option<String>,
}

/// Renders one run.
pub(in crate::service::page) fn run(view: &RunView, commands: &Commands, context: &PageContext) -> Html {
    let RunView { run, job, .. } = view;
    let now = context.now;
    let mut body = Html::default();
    body.tag("<h1>Run of ").html(workflow_link(&run.workflow_id.0, &run.workflow_name, view.workflow_exists));
    body.tag("</h1><p class=\"line\" ");
    data(&mut body, run);
    body.tag(">");
    state(&mut body, run.status.as_str());
    body.tag(" ");
    if !run.status.is_terminal() {
        progress(&mut body, run, now);
    }
    body.tag("</p>");
    if let Some(error) = &run.error_message {
        body.tag("<p class=\"error\" role=\"alert\">").text(error).tag("</p>");
    }
    body.html(actions(view));
    facts(&mut body, view, context);
    body.tag("<h2>Graph</h2>").html(graph::draw(&nodes(run, context)));
    body.tag("<h2 id=\"blocks\">Blocks and results</h2>");
    block_table(&mut body, run, context);
    body.tag("<h2 id=\"data\">Rows and specs</h2>");
    input(&mut body, view);
    let last = run.blocks.iter().rposition(|block| block.status == BlockStatus::Completed);
    for (i, block) in run.blocks.iter().enumerate() {
        let specs = job.as_ref().and_then(|job| specs_of(job, block));
        block_details(&mut body, run, block, specs, run.status.is_terminal() && last == Some(i));
    }
    if let Some(job) = job {
        body.tag("<details id=\"d-definition\" class=\"more\"><summary id=\"s-definition\">Definition as JSON, as this run had it");
        body.tag("</summary>");
        json_block(&mut body, "definition", "the definition", &pretty(&job.graph));
        body.tag("</details>");
    }
    command_list(&mut body, commands.has_key, &act_commands(view, commands));
    let title = format!("{} · run of {}", run.status.as_str(), run.workflow_name);
    live_page(&title, context, vec![Part::Live(body)])
}

fn actions(view: &RunView) -> Html {
    let RunView { run, job, .. } = view;
    let mut body = Html::default();
    let id = query_value(&run.id.0);
    body.tag("<p class=\"actions\">");
    if run.status.is_terminal() {
        if job.is_some() {
            body.tag("<button type=\"button\" id=\"again\" class=\"main\" data-post=\"/ui/actions/again?run_id=")
                .text(&id);
            body.tag("\">Run again</button> ");
        }
        body.tag("<button type=\"button\" id=\"delete\" data-post=\"/ui/actions/delete_run?run_id=").text(&id);
        body.tag("\" data-confirm=\"Delete this run with its results?\" data-goto=\"/\">Delete</button>");
    } else {
        body.html(cancel_button(run));
    }
    body.tag("</p>");
    body
}

fn facts(body: &mut Html, view: &RunView, context: &PageContext) {
    let run = &view.run;
    body.tag("<dl><dt>Id</dt><dd><code>").text(&run.id).tag("</code></dd><dt>Queued</dt><dd>");
    timestamp(body, Some(run.queued_at));
    body.tag("</dd><dt>Started</dt><dd>");
    timestamp(body, run.started_at);
    body.tag("</dd><dt>Ended</dt><dd>");
    timestamp(body, run.completed_at);
    body.tag("</dd><dt>Duration</dt><dd>").text(run_duration(run, context.now)).tag("</dd><dt>Rows</dt><dd>");
    body.text(count_or_dash(rows_in(run))).tag(" in");
    if let Some(n) = rows_out(run) {
        body.tag(", ").text(human_count(n)).tag(" out");
    }
    body.tag("</dd>");
    if let Some(reason) = &run.status_reason {
        body.tag("<dt>Reason</dt><dd>").text(reason).tag("</dd>");
    }
    body.tag("</dl>");
}

fn nodes(run: &RunRow, context: &PageContext) -> Vec<Node> {
    let live = run.live();
    let index_of = |id: &String| run.blocks.iter().position(|block| block.block_id == *id);
    let node = |(block, live): (&BlockRow, &crate::api::BlockLiveStatus)| Node {
        number: block.sequence_number,
        name: block.block_name.clone(),
        state: status_name(block.status),
        detail: match block.status {
            BlockStatus::Pending | BlockStatus::Failed => String::new(),
            BlockStatus::Running => human_count(block.processed),
            BlockStatus::Completed => {
                let time =
                    block_time(block, context.now).map_or_else(String::new, |time| format!(", {}", duration(time)));
                format!("{}{time}", rows(block.row_count))
            }
        },
        percent: (block.status == BlockStatus::Running).then_some(live.progress_percentage),
        parents: block.previous_block_ids.iter().filter_map(index_of).collect(),
    };
    run.blocks.iter().zip(&live.blocks).map(node).collect()
}

fn block_table(body: &mut Html, run: &RunRow, context: &PageContext) {
    body.tag(
        "<div class=\"scroll\" role=\"group\" aria-labelledby=\"blocks\" tabindex=\"0\" id=\"bt\"><table><thead><tr>",
    );
    body.tag("<th scope=\"col\" class=\"n\">No.</th><th scope=\"col\">Block</th><th scope=\"col\">State</th>");
    body.tag("<th scope=\"col\" class=\"n\">Rows read</th><th scope=\"col\" class=\"n\">Rows out</th>");
    body.tag("<th scope=\"col\" class=\"n\">Duration</th><th scope=\"col\" class=\"n\">Rate</th>");
    body.tag("<th scope=\"col\">Results</th></tr></thead><tbody>");
    for block in &run.blocks {
        let has_begun = block.status != BlockStatus::Pending;
        let is_completed = block.status == BlockStatus::Completed;
        body.tag("<tr><td class=\"n\">").text(block.sequence_number).tag("</td><th scope=\"row\"><a id=\"to-");
        body.text(block.sequence_number).tag("\" href=\"#block-").text(block.sequence_number).tag("\">");
        body.text(&block.block_name).tag("</a></th><td>");
        state(body, status_name(block.status));
        // The note of a plan is outdated once its block has failed.
        if let Some(note) = block.note.as_ref().filter(|_| block.error_message.is_none()) {
            body.tag("<div class=\"soft\">").text(note).tag("</div>");
        }
        if let Some(error) = &block.error_message {
            body.tag("<div class=\"error\">").text(error).tag("</div>");
        }
        body.tag("</td><td class=\"n\">");
        // A block that failed before it read anything has nothing to say of rows.
        if block.processed > 0 || is_completed || block.status == BlockStatus::Running {
            let read = rows_read(block);
            body.text(read.trim_end_matches(" rows").trim_end_matches(" row"));
        } else {
            body.tag("–");
        }
        body.tag("</td><td class=\"n\">")
            .text(count_or_dash(is_completed.then_some(block.row_count)))
            .tag("</td><td class=\"n\">");
        let time: Option<Duration> = block_time(block, context.now).filter(|_| has_begun);
        body.text(time.map_or_else(|| "–".to_owned(), duration)).tag("</td><td class=\"n\">");
        body.text(rate(block, context.now).unwrap_or_else(|| "–".to_owned())).tag("</td><td class=\"files\">");
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
}

fn input(body: &mut Html, view: &RunView) {
    let text = match view.job.as_ref().map(|job| &job.input) {
        None => "Input: not stored with this run".to_owned(),
        Some(InputRow::Payload { name, rows: n }) => format!("Input: {}, {}", name, rows(*n)),
        Some(InputRow::Upload { name, .. }) => format!("Input: the uploaded file {name}"),
        Some(InputRow::Nothing) => "Input: none, the first block makes the rows".to_owned(),
    };
    let has_rows = view.job.as_ref().is_some_and(|job| !matches!(job.input, InputRow::Nothing));
    if !has_rows {
        body.tag("<p class=\"soft\">").text(text).tag(".</p>");
        return;
    }
    let path = format!("{}/input", page_path("runs", &view.run.id.0));
    body.tag("<details id=\"d-input\" class=\"more\" data-src=\"").text(&path).tag("\" data-version=\"1\">");
    body.tag("<summary id=\"s-input\">")
        .text(text)
        .tag("</summary><div class=\"rows\"><noscript><a href=\"")
        .text(path);
    body.tag("\">First rows</a></noscript></div></details>");
}

fn block_details(body: &mut Html, run: &RunRow, block: &BlockRow, specs: Option<String>, is_open: bool) {
    let number = block.sequence_number;
    let path = format!("{}/blocks/{number}", page_path("runs", &run.id.0));
    body.tag("<details class=\"more\" id=\"block-")
        .text(number)
        .tag("\" data-version=\"")
        .tag(status_name(block.status));
    body.tag("\" data-src=\"")
        .text(&path)
        .tag("\"")
        .tag(if is_open { " open" } else { "" })
        .tag("><summary id=\"s-")
        .text(number);
    body.tag("\"><strong>").text(number).tag(" ").text(&block.block_name).tag("</strong> ");
    if block.status == BlockStatus::Completed {
        body.tag("<span class=\"soft\">").text(rows(block.row_count)).tag("</span>");
    } else {
        state(body, status_name(block.status));
    }
    body.tag("</summary>");
    if let Some(specs) = specs {
        body.tag("<h3>Specs</h3>");
        json_block(body, &format!("specs-{number}"), "the specs", &specs);
    }
    body.tag("<h3>Rows</h3><div class=\"rows\"><noscript><a href=\"")
        .text(path)
        .tag("\">First rows</a></noscript></div></details>");
}

/// Returns the specs of a block as JSON.
fn specs_of(job: &JobRow, block: &BlockRow) -> Option<String> {
    let of = job.graph.blocks.iter().find(|other| other.block_id.as_deref() == Some(&block.block_id))?;
    Some(pretty(&of.specs))
}

fn act_commands(view: &RunView, commands: &Commands) -> Vec<ActCommands> {
    let run = &view.run.id.0;
    let mut acts = vec![ActCommands {
        name: "State and progress",
        id: "watch",
        is_template: false,
        curl: commands.curl("GET", &paths::with_id(paths::LIVE_STATUS, run), None),
        drawoff: commands.drawoff(ClientAct::Watch { run }),
    }];
    if view.run.blocks.iter().any(|block| !block.files.is_empty()) {
        acts.push(ActCommands {
            name: "Results",
            id: "pull",
            is_template: false,
            curl: commands.curl("GET", &paths::with_id(paths::DOWNLOAD_LINKS, run), None),
            drawoff: commands.drawoff(ClientAct::Pull { run }),
        });
    }
    if !view.run.status.is_terminal() {
        acts.push(ActCommands {
            name: "Cancel",
            id: "cancel",
            is_template: false,
            curl: commands.curl("POST", &format!("{}?job_id={run}", paths::CANCEL_RUN), None),
            drawoff: commands.drawoff(ClientAct::Cancel { run }),
        });
    } else if view.workflow_exists {
        let input_rows = view.input_rows.as_deref().map(escaped_json);
        let (body, input) = match (view.job.as_ref().map(|job| &job.input), &input_rows) {
            (Some(InputRow::Payload { .. }), Some(rows)) => {
                (format!("{{\"webhook_payload\":{rows}}}"), RunInput::Rows(rows))
            }
            (Some(InputRow::Payload { .. }), None) => ("@body.json".to_owned(), RunInput::RowsFile("rows.json")),
            (Some(InputRow::Upload { name, file }), _) => {
                let handle = file.as_str().split('.').next().unwrap_or_default();
                (format!("{{\"specs_override\":{{\"resource_handle_id\":\"{handle}\"}}}}"), RunInput::File(name))
            }
            (Some(InputRow::Nothing) | None, _) => ("{}".to_owned(), RunInput::Nothing),
        };
        let workflow = &view.run.workflow_id.0;
        let path = format!("{}?workflow_id={}", paths::RUN_WORKFLOW, query_value(workflow));
        acts.push(ActCommands {
            name: "Run again",
            id: "again",
            is_template: false,
            curl: commands.curl("POST", &path, Some(&body)),
            drawoff: commands.drawoff(ClientAct::Run { workflow, input }),
        });
    }
    acts
}
