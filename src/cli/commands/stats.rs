//! `stats`: reads all rows of its sources and prints statistics of every column. Writes no rows.

use std::io::Write as _;
use std::path::Path;

use super::head::{end, look_failure, look_plan};
use crate::cli::choices::ListFormat;
use crate::cli::context::Context;
use crate::cli::error::{Error, Failure};
use crate::cli::exit::Exit;
use crate::cli::look::{StatsArgs, accuracy, json_of, statistics_grid, statistics_page};
use crate::cli::run_source::open_sources_or_run;
use crate::cli::{engine, output_checks, table};
use crate::column::statistics::StatisticsOptions;
use crate::pipeline::{Control, collect_statistics};
use crate::sink::{Sink, TargetKind};
use crate::text::counted;

/// Collects the statistics and prints them, or writes them as a page.
pub(crate) async fn stats(context: &Context, args: StatsArgs) -> Result<Exit, Failure> {
    let StatsArgs { look, values, html, output } = args;
    look.steps.steps()?;
    let dialect = look.input.resolve(&context.settings)?;
    if html.as_deref() == Some(Path::new("-")) {
        let error = Error::Usage("`--html` writes a file, and not standard output".to_owned());
        return Err(Failure::new(error, "specify a name, such as `--html stats.html`"));
    }
    if let Some(page) = &html {
        TargetKind::check_writable(page, false).map_err(|cause| Error::Write { path: page.clone(), cause })?;
    }
    let (opened, declared) = open_sources_or_run(context, &look.sources, &dialect, None).await?;
    if let Some(page) = &html {
        output_checks::require_not_input(page, &opened.files)?;
    }
    let mut plan = look_plan(context, &look, &dialect, declared)?;
    let names: Vec<String> = opened.sources.iter().map(|source| source.name.to_string()).collect();
    plan.sources = opened.sources;
    plan.sources.iter_mut().for_each(|source| source.keeps_not_finite = true);
    let options = StatisticsOptions { values };
    let work = move |control: &Control| collect_statistics(plan, options, control);
    let collected = engine::run_blocking(context, "reading", opened.total_bytes, opened.stoppers, |_, _| {}, work)
        .await
        .map_err(look_failure)?;
    let columns = &collected.columns;
    if let Some(page) = &html {
        write_page(page, &statistics_page(&title(&names), columns, collected.rows))?;
    } else {
        let json = columns.iter().map(|column| json_of(column, values));
        match output {
            ListFormat::Table => {
                let advice = "make the table wider with `--width N`, or print all with `-o ndjson`";
                table::write_grid(&context.screen, &statistics_grid(columns, values), look.width, advice)?;
                let rows = counted(collected.rows, "row");
                context.screen.note(&format!("{rows}; {}", accuracy(columns)));
            }
            ListFormat::Ndjson => {
                table::write_data(&json.map(|line| table::json_line(&line) + "\n").collect::<String>())?
            }
            ListFormat::Json => table::write_data(&(table::pretty(&json.collect::<Vec<_>>()) + "\n"))?,
        }
    }
    Ok(end(context, opened.notes, &collected.report))
}

/// Returns the title of the page: the sources, of many the first.
fn title(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [only] => only.clone(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    }
}

/// Writes the page, which appears whole.
fn write_page(path: &Path, page: &str) -> Result<(), Failure> {
    let written = Sink::file(path, false).and_then(|mut sink| {
        sink.write_all(page.as_bytes())?;
        sink.commit()
    });
    written.map_err(|cause| {
        let failure = Failure::from(Error::Write { path: path.to_owned(), cause });
        match failure.exit() {
            Exit::DiskFull => failure.with_hint("free some space, or write the page elsewhere with `--html FILE`"),
            _ => failure,
        }
    })
}
