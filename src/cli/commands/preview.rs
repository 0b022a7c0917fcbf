//! `convert --preview`: shows the first rows that would come out, and where they would go. Writes nothing.

use crate::cli::args::ConvertArgs;
use crate::cli::context::Context;
use crate::cli::dialect::InputDialect;
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::look::read_first_rows;
use crate::cli::outputs::{self, target_name};
use crate::cli::{engine, output_checks, sources, table};
use crate::format::Compression;
use crate::pipeline::{Control, Directory, Output, Target};

/// Rows that are shown.
const ROWS: u64 = 10;

/// Reads the first rows, applies the steps, and prints them with the names of the outputs.
pub(super) async fn preview(
    context: &Context,
    args: &ConvertArgs,
    outputs: Vec<Output>,
    dialect: &InputDialect,
) -> Result<Exit, Failure> {
    let opened = sources::open(context, &args.sources, dialect).await?;
    let files: Vec<_> = opened.files.iter().map(|path| path.as_path()).collect();
    output_checks::check_inputs(&args.plan, &outputs, &files)?;
    let mut plan = outputs::plan(opened.sources, outputs.clone(), &args.plan, dialect, &context.settings)?;
    // Bad records would be set aside in a file.
    plan.rejects = None;
    let work = move |control: &Control| read_first_rows(plan, ROWS, control);
    let first = engine::run_blocking(context, "reading", None, opened.stoppers, |_, _| {}, work).await?;
    table::write_grid(&context.screen, &first.grid, None, "choose with `--select`, or use a wider terminal")?;
    context.screen.note(&super::head::rows_note(&first, "the rest was not read, and may widen the types"));
    outputs.iter().for_each(|output| context.screen.note(&format!("would write {}", described(output))));
    context.screen.note("nothing was written");
    Ok(super::head::end(context, opened.notes, &first.report))
}

/// Describes the files of an output and their format.
fn described(output: &Output) -> String {
    let name = target_name(output);
    let format = output.format.named().map_or("rows of a table", |format| format.extension());
    match &output.target {
        Target::Directory(directory) => {
            format!("{} ({format})", directory_files(directory, &file_name(directory, output)))
        }
        Target::File { path, append: true, .. } if path.exists() => format!("{name} ({format}), behind what it has"),
        Target::File { path, .. } if path.is_file() => format!("{name} ({format}), in place of the file that is there"),
        Target::Table(_) => format!("into {name}"),
        _ => format!("{name} ({format})"),
    }
}

/// Returns the name of the first file of a directory.
fn file_name(directory: &Directory, output: &Output) -> String {
    let codec = match output.compression {
        Compression::None => "",
        Compression::Gzip => ".gz",
        Compression::Zstd => ".zst",
    };
    format!("{}-00001.{}{codec}", directory.set, output.format.extension())
}

/// Returns the path of the files in a directory, below those of the values that choose it.
fn directory_files(directory: &Directory, file: &str) -> String {
    let root = directory.path.display().to_string();
    let mut path = root.trim_end_matches('/').to_owned();
    for column in directory.partition_by.iter() {
        path.push_str(&format!("/{column}=…"));
    }
    let more =
        if directory.max_file_rows.is_some() || directory.max_file_bytes.is_some() { " and further ones" } else { "" };
    format!("{path}/{file}{more}")
}
