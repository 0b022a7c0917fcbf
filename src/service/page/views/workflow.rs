//! Page of one workflow: the form that runs it, its graph, the specs of its blocks, its definition and its runs.

use serde_json::{Map, Value, json};

use super::commands::{ActCommands, BODY_PLACE, Commands, ROWS_PLACE, command_list, json_block, one_line};
use super::document::{PageContext, Part, live_page};
use super::overview::{Page, pages};
use super::pieces::{escaped_json, nodes_of, parse_time, pretty, query_value, run_table, timestamp};
use crate::api::Workflow;
use crate::api::routes as paths;
use crate::service::command_line::{ClientAct, RunInput};
use crate::service::page::graph;
use crate::service::page::html::Html;

/// Input that the source of a workflow takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::service::page) enum SourceInput {
    /// Rows in the request.
    Rows,
    /// An uploaded file.
    File,
    /// None.
    Nothing,
}

/// A workflow with its runs.
pub(in crate::service::page) struct WorkflowView {
    pub workflow: Workflow,
    pub page: Page,
    pub input: SourceInput,
}

/// Renders one workflow.
pub(in crate::service::page) fn workflow(view: &WorkflowView, commands: &Commands, context: &PageContext) -> Html {
    let workflow = &view.workflow;
    let mut body = Html::default();
    body.tag("<h1>").text(&workflow.name).tag("</h1>");
    if let Some(description) = workflow.description.as_deref().filter(|text| !text.is_empty()) {
        body.tag("<p>").text(description).tag("</p>");
    }
    body.tag("<dl><dt>Id</dt><dd><code>").text(&workflow.id).tag("</code></dd><dt>Changed</dt><dd>");
    timestamp(&mut body, parse_time(&workflow.updated_at));
    body.tag("</dd></dl>");
    let top = Part::Live(body);
    let mut body = Html::default();
    body.tag("<h2>Graph</h2>");
    if let Some(graph) = &workflow.workflow_definition {
        body.html(graph::draw(&nodes_of(graph)));
        let mut blocks: Vec<_> = graph.blocks.iter().collect();
        blocks.sort_by_key(|block| block.sequence_number);
        for block in blocks {
            let number = block.sequence_number;
            body.tag("<details class=\"more\" id=\"block-")
                .text(number)
                .tag("\"><summary id=\"s-")
                .text(number)
                .tag("\"><strong>");
            body.text(number)
                .tag(" ")
                .text(&block.block_name)
                .tag("</strong> <span class=\"soft\">specs</span></summary>");
            json_block(&mut body, &format!("specs-{number}"), "the specs", &pretty(&block.specs));
            body.tag("</details>");
        }
    }
    let definition = json!({
        "workflow_name": workflow.name,
        "workflow_description": workflow.description.as_deref().unwrap_or_default(),
        "workflow_definition": workflow.workflow_definition,
    });
    body.tag("<details id=\"d-definition\" class=\"more\"><summary id=\"s-definition\">Definition as JSON</summary>");
    json_block(&mut body, "definition", "the definition", &pretty(&definition));
    body.tag("</details><section aria-labelledby=\"runs\"><h2 id=\"runs\">Runs</h2>");
    if view.page.runs.is_empty() {
        body.tag("<p class=\"soft\">There is no run of this workflow yet.</p>");
    } else {
        run_table(&mut body, "runs", &view.page.runs, context.now);
    }
    pages(&mut body, &view.page, "?");
    body.tag("</section>");
    let mut fixed = run_form(view);
    command_list(&mut fixed, commands.has_key, &act_commands(view, commands));
    let mut end = Html::default();
    end.tag("<p class=\"actions\"><button type=\"button\" id=\"delete\" data-post=\"/ui/actions/delete_workflow?workflow_id=");
    end.text(query_value(&workflow.id.0))
        .tag("\" data-confirm=\"Delete this workflow? Its runs are kept.\" data-goto=\"/\">");
    end.tag("Delete this workflow</button></p>");
    let parts = vec![top, Part::Fixed(fixed), Part::Live(body), Part::Fixed(end)];
    live_page(&workflow.name, context, parts)
}

/// Renders the form that starts a run.
fn run_form(view: &WorkflowView) -> Html {
    let mut body = Html::default();
    let id = query_value(&view.workflow.id.0);
    body.tag(
        "<section aria-labelledby=\"start\"><h2 id=\"start\">Run this workflow</h2><form id=\"run\" class=\"tall\" ",
    );
    body.tag("data-workflow=\"").text(id).tag("\">");
    match view.input {
        SourceInput::Rows => {
            body.tag("<label for=\"rows-in\">Rows as a JSON array of objects<br><textarea id=\"rows-in\" rows=\"6\" ");
            body.tag("spellcheck=\"false\">").text(sample_rows(&view.workflow)).tag("</textarea></label>");
        }
        SourceInput::File => {
            body.tag(
                "<label for=\"file-in\">File to upload (CSV, NDJSON, JSON), or none for the one that the workflow ",
            );
            body.tag("names<br><input id=\"file-in\" type=\"file\"></label>");
        }
        SourceInput::Nothing => {
            body.tag("<p class=\"soft\">The first block makes the rows itself.</p>");
        }
    }
    body.tag("<details><summary>Other specs of the first block for this run</summary><label for=\"override\">");
    body.tag(
        "<code>specs_override</code> as a JSON object<br><textarea id=\"override\" rows=\"3\" spellcheck=\"false\">",
    );
    body.tag("</textarea></label></details><button class=\"main\">Run</button></form></section>");
    body
}

/// Returns one row with a value for each declared column of the source, as JSON.
fn sample_rows(workflow: &Workflow) -> String {
    let graph = workflow.workflow_definition.as_ref();
    let source = graph.and_then(|graph| graph.blocks.iter().find(|block| block.block_name == "webhook"));
    let declared = source.and_then(|source| source.specs.get("input_schema")?.as_object());
    let row: Map<String, Value> = match declared {
        Some(declared) if !declared.is_empty() => {
            declared.iter().map(|(name, declared)| (name.clone(), sample_value(declared))).collect()
        }
        _ => Map::from_iter([("domain".to_owned(), Value::from("acme.example"))]),
    };
    // The form has the names as they are stored, so that a run of it has these columns.
    escaped_json(&format!("[\n  {}\n]", Value::from(row)))
}

fn sample_value(declared: &Value) -> Value {
    let name = declared.as_str().or_else(|| declared.get("type")?.as_str()).unwrap_or("string");
    match name {
        "int" | "integer" => json!(1),
        "float" | "number" => json!(1.5),
        "bool" | "boolean" => json!(true),
        name if name.starts_with("list") => json!([]),
        name if name.starts_with("dict") || name == "object" => json!({}),
        _ => json!("text"),
    }
}

fn act_commands(view: &WorkflowView, commands: &Commands) -> Vec<ActCommands> {
    let id = &view.workflow.id.0;
    let path = format!("{}?workflow_id={}", paths::RUN_WORKFLOW, query_value(id));
    let (curl, input) = match view.input {
        SourceInput::Rows => (commands.curl("POST", &path, Some(BODY_PLACE)), RunInput::Rows(ROWS_PLACE)),
        SourceInput::Nothing => (commands.curl("POST", &path, Some(BODY_PLACE)), RunInput::Nothing),
        SourceInput::File => {
            let body = json!({ "specs_override": { "resource_handle_id": "HANDLE" } });
            let upload = commands.curl_upload("rows.csv");
            (format!("{upload}\n{}", commands.curl("POST", &path, Some(&one_line(&body)))), RunInput::File("rows.csv"))
        }
    };
    vec![
        ActCommands {
            name: "Run",
            id: "run",
            is_template: view.input != SourceInput::File,
            curl,
            drawoff: commands.drawoff(ClientAct::Run { workflow: id, input }),
        },
        ActCommands {
            name: "Definition",
            id: "get",
            is_template: false,
            curl: commands.curl("GET", &paths::with_id(paths::GET_WORKFLOW, id), None),
            drawoff: commands.drawoff(ClientAct::GetWorkflow { workflow: id }),
        },
        ActCommands {
            name: "Delete",
            id: "delete",
            is_template: false,
            curl: commands.curl("POST", &format!("{}?workflow_id={}", paths::DELETE_WORKFLOW, query_value(id)), None),
            drawoff: commands.drawoff(ClientAct::DeleteWorkflow { workflow: id }),
        },
    ]
}
