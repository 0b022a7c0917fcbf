//! Command lines of drawoff that the page of `serve` shows, for copying into a shell.

use super::shell::joined;
use crate::service::{ClientAct, CommandLine, CommandRequest, RunInput};

/// Returns the writer of command lines for the page.
pub(super) fn command_line() -> CommandLine {
    CommandLine::new(line)
}

fn line(request: CommandRequest<'_>) -> String {
    let CommandRequest { base_url, has_key, act } = request;
    let mut words = vec!["drawoff", "--endpoint", base_url];
    match act {
        ClientAct::CreateWorkflow { file } => words.extend(["workflows", "create", file]),
        ClientAct::GetWorkflow { workflow } => words.extend(["workflows", "get", workflow]),
        ClientAct::DeleteWorkflow { workflow } => words.extend(["workflows", "delete", workflow]),
        ClientAct::Watch { run } => words.extend(["runs", "watch", run]),
        ClientAct::Cancel { run } => words.extend(["runs", "cancel", run]),
        ClientAct::Pull { run } => words.extend(["pull", run, "-o", "results.ndjson"]),
        ClientAct::Run { workflow, input } => {
            words.extend(["run", workflow]);
            let file_of_rows;
            match input {
                RunInput::Rows(rows) => words.extend(["--payload", rows]),
                RunInput::RowsFile(file) => {
                    file_of_rows = format!("@{file}");
                    return finish(words, &["--payload", &file_of_rows], has_key);
                }
                RunInput::File(file) => words.extend(["--input", file]),
                RunInput::Nothing => {}
            }
            return finish(words, &[], has_key);
        }
    }
    with_key(joined(words.into_iter().map(str::to_owned)), has_key)
}

/// Adds what every run has: it is a new one, also with an input that was run before.
fn finish(words: Vec<&str>, more: &[&str], has_key: bool) -> String {
    let words = words.into_iter().chain(more.iter().copied()).chain(["--new-run", "-o", "results.ndjson"]);
    with_key(joined(words.map(str::to_owned)), has_key)
}

/// A service without a key takes any; one with a key takes it from the environment of the shell, not from its history.
fn with_key(line: String, has_key: bool) -> String {
    if has_key { line } else { format!("SIXTYFOUR_API_KEY=any {line}") }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::args::Args;

    #[test]
    fn every_line_is_a_command() {
        for (act, part) in [
            (ClientAct::CreateWorkflow { file: "workflow.json" }, "workflows create workflow.json"),
            (ClientAct::GetWorkflow { workflow: "w" }, "workflows get w"),
            (ClientAct::DeleteWorkflow { workflow: "w" }, "workflows delete w"),
            (ClientAct::Run { workflow: "w", input: RunInput::Nothing }, "run w --new-run -o results.ndjson"),
            (ClientAct::Run { workflow: "w", input: RunInput::Rows("[]") }, "run w --payload '[]' --new-run"),
            (ClientAct::Run { workflow: "w", input: RunInput::RowsFile("r.json") }, "--payload @r.json --new-run"),
            (ClientAct::Run { workflow: "w", input: RunInput::File("a b.csv") }, "--input 'a b.csv' --new-run"),
            (ClientAct::Watch { run: "r" }, "runs watch r"),
            (ClientAct::Cancel { run: "r" }, "runs cancel r"),
            (ClientAct::Pull { run: "r" }, "pull r -o results.ndjson"),
        ] {
            let line = line(CommandRequest { base_url: "http://127.0.0.1:8064", has_key: true, act });
            assert!(line.starts_with("drawoff --endpoint http://127.0.0.1:8064 ") && line.contains(part), "{line}");
            // No word of these lines has a blank or a quote inside but the name of the file.
            let words = line.replace("'a b.csv'", "a.csv").replace('\'', "");
            Args::try_parse_from(words.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
        let act = ClientAct::Pull { run: "it's" };
        let open = line(CommandRequest { base_url: "http://h:1", has_key: false, act });
        assert_eq!(open, r"SIXTYFOUR_API_KEY=any drawoff --endpoint http://h:1 pull 'it'\''s' -o results.ndjson");
    }
}
